use gk_proto::acl;
use gk_proto::jute::Reader;
use gk_proto::stat::StatPersisted;
use gk_proto::txn::{CreateKind, Txn};
use gk_proto::{SessionId, Zxid};

use super::{PRE_IMAGE_BYTES_MAX, ViewCursor, ViewStatus};
use crate::testing::{Bench, OPTIONS, close, create, create_kind, create_with, delete, set_data};
use crate::{Tree, TreeBuilder};

/// Reads the rest of a view, in pieces of a few records.
fn rest(tree: &Tree, cursor: &mut ViewCursor, out: &mut Vec<u8>) -> ViewStatus {
    loop {
        match tree.view_piece(cursor, out, 200) {
            ViewStatus::More => {}
            status @ (ViewStatus::Done | ViewStatus::Abandoned) => return status,
        }
    }
}

/// Paths and data of the records, in order.
fn records(bytes: &[u8]) -> Vec<(String, String)> {
    let mut reader = Reader::new(bytes);
    let mut all = Vec::new();
    while reader.remaining() > 0 {
        let path = reader.text().unwrap().into_owned();
        let data = String::from_utf8_lossy(reader.buffer().unwrap().unwrap_or(b"null")).into_owned();
        reader.long().unwrap();
        StatPersisted::decode(&mut reader).unwrap();
        all.push((path, data));
    }
    all
}

fn paths(bytes: &[u8]) -> Vec<String> {
    records(bytes).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn a_view_of_a_still_tree_has_every_node_after_its_parent() {
    let mut bench = Bench::new();
    for path in ["/b", "/a", "/b/c", "/a/d"] {
        bench.apply(&create(path));
    }
    let head = bench.tree.begin_view().unwrap();
    assert_eq!((head.zxid, head.nodes, head.digest), (Zxid(4), 8, bench.tree.digest()), "what the file begins with");
    assert_eq!(head.acls, [(1, acl::read_only()), (2, acl::open())], "the built-in open list is not listed");
    let mut out = Vec::new();
    assert_eq!(rest(&bench.tree, &mut ViewCursor::default(), &mut out), ViewStatus::Done, "whole");
    let want = ["", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/b", "/a", "/b/c", "/a/d"];
    assert_eq!(paths(&out), want, "the root by its empty name, first");
    assert!(bench.tree.begin_view().is_none(), "one at a time");
    bench.tree.end_view();
    assert!(bench.tree.begin_view().is_some(), "then the next");
}

#[test]
fn what_changes_while_a_view_is_read_is_shown_as_it_was() {
    let mut bench = Bench::new();
    for path in ["/changed", "/deleted", "/deleted/child", "/replaced", "/moved"] {
        bench.apply(&create(path));
    }
    bench.tree.begin_view().unwrap();
    // Slots of the deleted are used again by what comes later, also for a child of a node that the view shows.
    for path in ["/deleted/child", "/deleted", "/replaced"] {
        bench.apply(&delete(path));
    }
    for path in ["/new", "/moved/new", "/replaced"] {
        bench.apply(&create_with(path, Some(b"new"), acl::open(), CreateKind::Create, -1));
    }
    bench.apply(&set_data("/changed", "one", 1));
    bench.apply(&set_data("/changed", "two", 2));
    bench.apply(&Txn::SetAcl { path: "/moved".into(), acl: acl::read_only(), version: 1 });
    let mut out = Vec::new();
    let mut cursor = ViewCursor::default();
    assert_eq!(bench.tree.view_piece(&mut cursor, &mut out, 1), ViewStatus::More, "one record");
    bench.apply(&set_data("/", "new", 1));
    bench.apply(&set_data("/new", "newer", 1));
    assert_eq!(rest(&bench.tree, &mut cursor, &mut out), ViewStatus::Done, "whole");
    let mut shown = records(&out);
    shown.retain(|(path, _)| !path.starts_with("/zookeeper"));
    shown.sort_unstable();
    let old = |path: &str| (path.to_owned(), "data".to_owned());
    let want = ["/changed", "/deleted", "/deleted/child", "/moved", "/replaced"].map(old);
    assert_eq!(shown[0], (String::new(), String::new()), "the root had been read");
    assert_eq!(shown[1..], want, "old nodes with old data, and no new one");
    bench.tree.end_view();
}

#[test]
fn a_reused_slot_still_comes_after_its_old_parent() {
    let mut bench = Bench::new();
    bench.apply(&create("/gap"));
    for path in ["/p", "/p/q"] {
        bench.apply(&create(path));
    }
    // `/p/q/r` gets the slot of `/gap`, before those of its ancestors.
    bench.apply(&delete("/gap"));
    bench.apply(&create("/p/q/r"));
    bench.tree.begin_view().unwrap();
    for path in ["/p/q/r", "/p/q", "/p"] {
        bench.apply(&delete(path));
    }
    let mut out = Vec::new();
    assert_eq!(rest(&bench.tree, &mut ViewCursor::default(), &mut out), ViewStatus::Done, "whole");
    assert_eq!(paths(&out)[4..], ["/p", "/p/q", "/p/q/r"], "from their pre-images, ancestors first");
}

#[test]
fn a_view_that_would_hold_too_much_is_abandoned() {
    let mut bench = Bench::new();
    let big = "x".repeat(PRE_IMAGE_BYTES_MAX / 4);
    for n in 0..5 {
        bench.apply(&create_with(&format!("/{n}"), Some(big.as_bytes()), acl::open(), CreateKind::Create, -1));
    }
    bench.tree.begin_view().unwrap();
    let mut out = Vec::new();
    let mut cursor = ViewCursor::default();
    for n in 0..5 {
        assert_eq!(bench.tree.view_piece(&mut cursor, &mut out, 1), ViewStatus::More, "still within bounds");
        bench.apply(&set_data(&format!("/{}", 4 - n), "", 1));
        if bench.tree.view_piece(&mut cursor.clone(), &mut Vec::new(), 1) == ViewStatus::Abandoned {
            bench.tree.end_view();
            assert!(bench.tree.begin_view().is_some(), "the next may succeed");
            return;
        }
    }
    panic!("{} bytes of pre-images are too many", 5 * big.len());
}

/// Hazard 66 (Z-3144): sessions and zxid are of one moment, the view's beginning.
#[test]
fn sessions_are_those_of_the_views_zxid() {
    let mut bench = Bench::new();
    let session = SessionId(5);
    bench.apply_as(session, &Txn::CreateSession { timeout_ms: 4000 });
    bench.apply_as(session, &create_kind("/e", CreateKind::Ephemeral));
    let head = bench.tree.begin_view().unwrap();
    bench.apply_as(session, &close(&["/e"]));
    bench.apply_as(SessionId(6), &Txn::CreateSession { timeout_ms: 4000 });
    assert_eq!((head.zxid, head.sessions), (Zxid(2), vec![(session, 4000)]), "before the close");
    let mut out = Vec::new();
    assert_eq!(rest(&bench.tree, &mut ViewCursor::default(), &mut out), ViewStatus::Done, "whole");
    assert_eq!(paths(&out).last().map(String::as_str), Some("/e"), "and so is its node");
}

#[test]
fn runs_of_free_slots_end_a_piece_too() {
    let mut builder = TreeBuilder::new(OPTIONS);
    builder.node("", None, -1, &StatPersisted::default()).unwrap();
    for n in 0..10_000 {
        let owned = StatPersisted { ephemeral_owner: 5, ..StatPersisted::default() };
        builder.node(&format!("/{n}"), None, -1, &owned).unwrap();
    }
    let mut bench = Bench::on(builder.finish(Zxid(1)).unwrap());
    bench.tree.drop_orphans(&mut ());
    bench.tree.begin_view().unwrap();
    let mut cursor = ViewCursor::default();
    let mut out = Vec::new();
    bench.tree.view_piece(&mut cursor, &mut out, 10_000);
    assert_eq!(bench.tree.view_piece(&mut cursor, &mut out, 10_000), ViewStatus::More, "after a bounded look");
    assert_eq!(rest(&bench.tree, &mut cursor, &mut out), ViewStatus::Done, "whole");
    assert_eq!(paths(&out).len(), 4, "the built-in nodes");
}
