//! What a node costs in memory, and what the commonest steps cost in time, for the performance budget of
//! `docs/benchmarks.md`.
//!
//! `cargo run --release -p gk-tree --example footprint`: 500,000 nodes with 100 bytes of data under 500 parents, a
//! watch on each, lookups in an order that no cache likes and of a few that all caches hold, then a view of all nodes.

use std::time::Duration;

use bytes::Bytes;
use gk_proto::acl;
use gk_proto::rng::Rng;
use gk_proto::stat::OwnerRules;
use gk_proto::txn::{CreateKind, Txn, TxnHeader};
use gk_proto::{SessionId, WallTime, Xid, Zxid};
use gk_tree::{Tree, TreeOptions, ViewCursor, ViewStatus, Watches};

const PARENTS: u64 = 500;
const NODES: u64 = 500_000;
const DATA: usize = 100;

fn main() {
    let before = resident_bytes();
    let mut tree = Tree::new(TreeOptions { owner_rules: OwnerRules::default(), hash_key: 0x5eed, digest: true });
    println!("empty tree: {} KB", (resident_bytes() - before) / 1024);
    let mut zxid = 0;
    let mut create = |path: String| {
        zxid += 1;
        let header =
            TxnHeader { session: SessionId(1), cxid: Xid(1), zxid: Zxid(zxid), time: WallTime(1_700_000_000_000) };
        let txn = Txn::Create {
            path,
            data: Some(Bytes::from_static(&[7; DATA])),
            acl: acl::open(),
            kind: CreateKind::Create,
            parent_cversion: -1,
        };
        tree.apply(&header, &txn, &mut ());
    };
    (0..PARENTS).for_each(|parent| create(format!("/{parent:04}")));
    let (_, time) = timed(|| (0..NODES).for_each(|n| create(path(n))));
    let each = (resident_bytes() - before) / usize::try_from(NODES).unwrap_or(1);
    let named = path(0).len() - path(0).rfind('/').unwrap_or(0) - 1;
    println!("{each} bytes a node, of them {} name and data, {} beside them", named + DATA, each - named - DATA);
    println!("{} ns a create", per_node(time));

    // Before anything large is freed, or the allocator would hand that out again.
    let before = resident_bytes();
    let mut watches = Watches::new(0x5eed);
    for n in 0..NODES {
        watches.add(gk_proto::ConnId(n % 1000), &path(n), gk_tree::WatchKind::Data);
    }
    println!("{} bytes a watch", (resident_bytes() - before) / watches.len());

    let mut rng = Rng::new(1);
    for (among, range) in [("all nodes", NODES), ("1,000 nodes", 1000)] {
        let paths: Vec<String> = (0..range).map(|_| path(rng.below(range))).collect();
        let data = |path: &String| tree.find(path).and_then(|node| node.data()).map_or(0, <[u8]>::len);
        let rounds = NODES / range;
        let (bytes, time) = timed(|| (0..rounds).map(|_| paths.iter().map(data).sum::<usize>()).sum::<usize>());
        println!("{} ns a lookup among {among} ({bytes} bytes seen)", per_node(time));
    }

    let (records, time) = timed(|| {
        tree.begin_view();
        let (mut cursor, mut out, mut records) = (ViewCursor::default(), Vec::new(), 0);
        while tree.view_piece(&mut cursor, &mut out, 64 << 10) == ViewStatus::More {
            records += out.len();
            out.clear();
        }
        records + out.len()
    });
    tree.end_view();
    println!("{} ns a node in a view ({records} bytes)", per_node(time));
}

/// The parents take turns, as they do under many clients.
fn path(n: u64) -> String {
    format!("/{:04}/n{:08}", n % PARENTS, n)
}

fn per_node(time: Duration) -> u128 {
    time.as_nanos() / u128::from(NODES)
}

#[expect(clippy::disallowed_methods, reason = "a measurement is about real time")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = std::time::Instant::now();
    (work(), start.elapsed())
}

/// From `/proc/self/statm`, whose second number is in pages of 4 KiB; 0 where there is none.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
