//! What the suites share: a disk in memory that crashes, txns to log, and a tree held against what it should be.
#![allow(dead_code, reason = "each suite uses its own part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use gk_proto::acl::{self, AclList};
use gk_proto::stat::{OwnerRules, Stat};
use gk_proto::txn::{CreateKind, LoggedTxn, Txn, TxnHeader};
use gk_proto::{SessionId, WallTime, Xid, Zxid};
use gk_storage::testing::MemDisk;
use gk_storage::{Compression, Disk, Opened, SnapshotInfo, StorageError, StoreOptions};
use gk_tree::{Tree, TreeOptions, ViewCursor, ViewStatus};

pub(crate) const TREE: TreeOptions = TreeOptions {
    owner_rules: OwnerRules { extended_types: true, emulate_353: false },
    hash_key: 0x5eed,
    digest: true,
};

/// Options with a small preallocation, so that its edges are met often.
pub(crate) fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        data_dir: dir.to_owned(),
        log_dir: dir.to_owned(),
        prealloc_bytes: 16 * 1024,
        force_sync: true,
        compression: Compression::None,
        trust_empty: false,
        datadir_autocreate: true,
        db_autocreate: true,
        tree: TREE,
        accept_loss: false,
        payload_max: 1 << 20,
    }
}

/// The history that the suites write: txn `n` is the same in every test.
///
/// Txn 1 opens a session; every seventh sets data of an earlier node, every eleventh makes an ephemeral node, the
/// others create; sizes go from nothing over several sectors.
pub(crate) fn txn(n: u64) -> (TxnHeader, Txn) {
    let session = SessionId(0x77);
    let counter = i32::try_from(n).expect("small");
    let header =
        TxnHeader { session, cxid: Xid(counter), zxid: Zxid(n), time: WallTime(1_000_000 + i64::from(counter)) };
    let size = [0, 10, 700, 90, 1500, 3][usize::try_from(n % 6).expect("small")];
    let data = Some(vec![b'a' + u8::try_from(n % 26).expect("small"); size].into());
    let txn = match n {
        1 => Txn::CreateSession { timeout_ms: 30_000 },
        _ if n.is_multiple_of(7) => Txn::SetData { path: format!("/n{:03}", n - 1), data, version: 1 },
        _ => Txn::Create {
            path: format!("/n{n:03}"),
            data,
            acl: if n.is_multiple_of(5) { acl::read_only() } else { acl::open() },
            kind: if n.is_multiple_of(11) { CreateKind::Ephemeral } else { CreateKind::Create },
            parent_cversion: counter,
        },
    };
    (header, txn)
}

/// A tree to which the first `n` txns were applied.
pub(crate) fn model(n: u64) -> Tree {
    let mut tree = Tree::new(TREE);
    for n in 1..=n {
        let (header, txn) = txn(n);
        tree.apply(&header, &txn, &mut ());
    }
    tree
}

/// The payload of txn `n`, with the digest that the tree has after it.
pub(crate) fn payload(n: u64) -> Vec<u8> {
    static CACHE: Mutex<BTreeMap<u64, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache.entry(n).or_insert_with(|| encode_payload(n)).clone()
}

fn encode_payload(n: u64) -> Vec<u8> {
    let (header, txn) = txn(n);
    let mut out = Vec::new();
    LoggedTxn { header, txn, digest: model(n).digest() }.encode(&mut out);
    out
}

/// Everything that can be seen of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) acl: AclList,
    pub(crate) stat: Stat,
}

/// Every node of a tree by path.
pub(crate) fn dump(tree: &Tree) -> BTreeMap<String, Seen> {
    let mut out = BTreeMap::new();
    let mut open = vec!["/".to_owned()];
    while let Some(path) = open.pop() {
        let node = tree.find(&path).unwrap_or_else(|| panic!("{path} is listed but not found"));
        let prefix = if path == "/" { "" } else { &path };
        open.extend(node.children().map(|name| format!("{prefix}/{name}")));
        let seen = Seen { data: node.data().map(<[u8]>::to_vec), acl: node.acl().clone(), stat: node.stat() };
        out.insert(path, seen);
    }
    out
}

/// What a tree is after a number of txns.
struct Expected {
    sessions: Vec<(SessionId, i32)>,
    nodes: BTreeMap<String, Seen>,
    digest: Option<u64>,
}

fn expected(n: u64) -> Arc<Expected> {
    static CACHE: Mutex<BTreeMap<u64, Arc<Expected>>> = Mutex::new(BTreeMap::new());
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        let model = model(n);
        Arc::new(Expected { sessions: model.sessions().collect(), nodes: dump(&model), digest: model.digest() })
    };
    cache.entry(n).or_insert_with(make).clone()
}

/// Asserts that a tree is the one after the first `n` txns.
pub(crate) fn assert_is_model(tree: &Tree, n: u64, context: &str) {
    let expected = expected(n);
    assert_eq!(tree.last_zxid(), Zxid(n), "{context}: last txn");
    assert_eq!(tree.sessions().collect::<Vec<_>>(), expected.sessions, "{context}: sessions");
    let found = dump(tree);
    for (path, node) in &expected.nodes {
        assert_eq!(found.get(path), Some(node), "{context}: {path} after {n} txns");
    }
    assert_eq!(found.len(), expected.nodes.len(), "{context}: nodes after {n} txns");
    assert_eq!(tree.digest(), expected.digest, "{context}: digest");
}

/// Takes a snapshot of a tree that nobody changes meanwhile.
pub(crate) fn take_snapshot(opened: &mut Opened) -> Result<SnapshotInfo, StorageError> {
    let head = opened.tree.begin_view().expect("no view runs");
    let mut cursor = ViewCursor::default();
    let written = opened.snapshots.writer(&head).and_then(|mut writer| {
        loop {
            let mut records = Vec::new();
            let status = opened.tree.view_piece(&mut cursor, &mut records, 1000);
            writer.piece(&records)?;
            match status {
                ViewStatus::More => {}
                ViewStatus::Done => return writer.finish(),
                ViewStatus::Abandoned => panic!("nothing changes the tree"),
            }
        }
    });
    let _ = opened.tree.end_view();
    written
}

/// Appends, commits and applies txns `from..=to`, one commit each.
pub(crate) fn write_each(opened: &mut Opened, from: u64, to: u64) -> Result<(), StorageError> {
    for n in from..=to {
        write_batch(opened, n, n)?;
    }
    Ok(())
}

/// Appends txns `from..=to`, commits them together, and applies them.
pub(crate) fn write_batch(opened: &mut Opened, from: u64, to: u64) -> Result<(), StorageError> {
    for n in from..=to {
        opened.log.append(Zxid(n), &payload(n));
    }
    opened.log.commit()?;
    for n in from..=to {
        let (header, txn) = txn(n);
        opened.tree.apply(&header, &txn, &mut ());
    }
    Ok(())
}

pub(crate) fn open(disk: &Arc<MemDisk>, options: &StoreOptions) -> Result<Opened, StorageError> {
    gk_storage::open(disk.clone() as Arc<dyn Disk>, options)
}

/// The same, held against what was foreseen of it; and where a log is damaged, the look at each file names that log.
pub(crate) fn open_as_foreseen(disk: &Arc<MemDisk>, options: &StoreOptions) -> Result<Opened, StorageError> {
    let foreseen = gk_storage::foresee(disk.clone() as Arc<dyn Disk>, options);
    let opened = open(disk, options);
    match (&foreseen, &opened) {
        (Ok(foreseen), Ok(opened)) => {
            assert_eq!(foreseen.report, opened.report, "found as foreseen");
            assert_eq!(foreseen.tree.digest(), opened.tree.digest(), "the same tree");
        }
        (Err(foreseen), Err(error)) => {
            assert_eq!(foreseen.to_string(), error.to_string(), "refused as foreseen");
            if let StorageError::Corrupt { path, .. } = error {
                let disk = disk.clone() as Arc<dyn Disk>;
                let files = gk_storage::examine(disk, options).expect("directories can be listed");
                let log = files.logs.iter().find(|log| log.path == *path).expect("the log is listed");
                assert!(log.damage.is_some() || log.gap_after.is_some(), "{error}: by itself {log:?}");
            }
        }
        (Ok(_), Err(error)) => panic!("not foreseen: {error}"),
        (Err(error), Ok(_)) => panic!("foreseen, and did not come: {error}"),
    }
    opened
}
