use gk_proto::acl;
use gk_proto::path;
use gk_proto::txn::{CreateKind, Txn};
use gk_proto::watch::EventType;
use gk_proto::{ConnId, ErrorCode, SessionId, Zxid};

use super::{DEAD_OWNERS_MAX, INLINE_DELETES_MAX};
use crate::testing::{Bench, close, create, create_kind};
use crate::{Change, ChangeSink, DeadOwner, Outcome, Tree, WatchKind, Watches};

const SESSION: SessionId = SessionId(0x1_0000);
const MANY: usize = INLINE_DELETES_MAX + 100;

/// `/p` and `/q`, the first with a persistent child and many ephemeral ones of the session, the second with one.
fn crowded() -> Bench {
    let mut bench = Bench::new();
    for path in ["/p", "/q", "/p/stays"] {
        bench.apply(&create(path));
    }
    bench.apply_as(SESSION, &create_kind("/q/e", CreateKind::Ephemeral));
    crowd(&mut bench, SESSION, MANY - 1);
    bench
}

/// Many ephemeral nodes below `/p`, in one txn, as each txn of a bench is checked.
fn crowd(bench: &mut Bench, session: SessionId, count: usize) {
    let ops = (0..count).map(|n| create_kind(&format!("/p/{session}-{n}"), CreateKind::Ephemeral)).collect();
    bench.apply_as(session, &Txn::Multi(ops));
}

/// The tree as a tree that deletes one by one would have it: what readers see.
fn seen(tree: &Tree) -> Vec<String> {
    let mut left = vec!["/".to_owned()];
    let mut lines = Vec::new();
    while let Some(at) = left.pop() {
        let node = tree.find(&at).unwrap();
        let names: Vec<_> = node.children().collect();
        assert_eq!(names.len(), node.child_count(), "children of {at}");
        lines.push(format!("{at} {:?}", node.stat()));
        left.extend(names.into_iter().map(|name| path::join(&at, name)));
    }
    lines.sort_unstable();
    lines
}

#[test]
fn a_large_close_takes_effect_at_once_and_is_swept_in_pieces() {
    let mut bench = crowded();
    let before = bench.tree.digest();
    bench.apply_as(SESSION, &Txn::CloseSession { paths: None });
    assert_eq!(bench.changes.dead, [(SESSION, MANY)], "told as one");
    assert!(bench.changes.lines.is_empty(), "and not one by one");

    let gone = format!("/p/{SESSION}-0");
    assert!(bench.tree.find(&gone).is_none(), "not found");
    assert_eq!(bench.children("/p"), ["stays"], "not listed");
    assert_eq!((bench.tree.ephemeral_count(), bench.tree.node_count()), (0, 8), "not counted");
    assert_eq!(bench.tree.find("/").unwrap().descendants(), 6, "not below the root");
    assert_eq!(bench.tree.find("/p").unwrap().descendants(), 1, "nor below their parent");
    let stat = bench.stat("/p");
    let creates = i32::try_from(MANY).unwrap();
    assert_eq!((stat.num_children, stat.cversion, stat.pzxid), (1, 2 * creates - 1, Zxid(6)), "as if deleted");
    assert_eq!(bench.tree.ephemerals(SESSION).count(), 0, "the session owns nothing");
    assert_eq!((bench.tree.digest(), bench.tree.begin_view().is_none()), (None, true), "no digest, no view meanwhile");

    let shown = seen(&bench.tree);
    let mut pieces = 0;
    while bench.tree.sweep(1000) {
        assert_eq!(seen(&bench.tree), shown, "sweeping changes nothing that can be read");
        pieces += 1;
    }
    assert_eq!(pieces, MANY / 1000, "in pieces");
    bench.tree.check_invariants();
    assert_eq!(seen(&bench.tree), shown, "to the end");
    assert_ne!(bench.tree.digest(), before, "of the tree without them");
    assert!(!bench.tree.is_sweeping() && bench.tree.begin_view().is_some(), "all is as ever");
}

#[test]
fn a_large_close_ends_like_the_same_close_in_small_steps() {
    let (mut at_once, mut one_by_one) = (crowded(), crowded());
    at_once.apply_as(SESSION, &close(&["/p/unknown"]));
    assert!(at_once.tree.is_sweeping(), "a large close");
    while at_once.tree.sweep(1000) {}
    let paths: Vec<String> = one_by_one.tree.ephemerals(SESSION).collect();
    let zxid = one_by_one.next;
    one_by_one.apply_at(zxid, SESSION, &Txn::Multi(paths.into_iter().map(|path| Txn::Delete { path }).collect()));
    assert_eq!(seen(&at_once.tree), seen(&one_by_one.tree), "every stat");
    assert_eq!(at_once.tree.digest(), one_by_one.tree.digest(), "and the digest");
}

#[test]
fn later_writes_meet_a_tree_without_the_dead() {
    let mut bench = crowded();
    bench.apply_as(SESSION, &Txn::CloseSession { paths: None });
    let path = |n| format!("/p/{SESSION}-{n}");
    let Outcome::Created(stat) = bench.apply(&create(&path(0))) else { panic!("the path is free") };
    assert_eq!((stat.czxid, stat.ephemeral_owner), (Zxid(7), 0), "a new node");
    let missing = Outcome::Failed(ErrorCode::NoNode);
    assert_eq!(bench.apply(&Txn::Delete { path: path(1) }), missing, "nothing to delete");
    assert_eq!(bench.stat("/p").pzxid, Zxid(8), "which the parent notes, as ever");
    let set = Txn::SetData { path: path(2), data: None, version: 1 };
    assert_eq!(bench.apply(&set), missing, "nothing to change");
    let mut names = bench.children("/p");
    names.retain(|name| *name != "stays");
    assert_eq!(names.len(), 1, "the new node alone: {names:?}");

    assert_eq!(bench.apply(&Txn::Delete { path: "/q".into() }), Outcome::None, "empty for all who read it");
    bench.apply_as(SESSION, &create_kind("/back", CreateKind::Ephemeral));
    assert!(!bench.tree.is_sweeping(), "the same session again has to wait for the sweep");
    assert_eq!(bench.tree.ephemerals(SESSION).collect::<Vec<_>>(), ["/back"], "and owns the new node only");
}

#[test]
fn what_quota_txns_find_does_not_depend_on_the_sweep() {
    let mut bench = crowded();
    let usage = "/zookeeper/quota/p/zookeeper_stats";
    for path in ["/zookeeper/quota/p", "/zookeeper/quota/p/zookeeper_limits", usage] {
        bench.apply(&create(path));
    }
    assert_eq!(bench.text(usage), format!("count={},bytes=8", MANY + 1), "all of them, and two that stay");
    bench.apply_as(SESSION, &Txn::CloseSession { paths: None });
    bench.tree.sweep(10);
    bench.apply(&crate::testing::set_data(usage, "count=100,bytes=0", 1));
    assert!(!bench.tree.is_sweeping(), "what is to be counted down was counted down before");
    assert_eq!(bench.text(usage), "count=100,bytes=0", "so the text stays as it was set");
}

#[test]
fn dead_owners_are_bounded() {
    let mut bench = Bench::new();
    bench.checked = false;
    bench.apply(&create("/p"));
    let sessions: Vec<SessionId> = (1..=DEAD_OWNERS_MAX + 1).map(|n| SessionId(u64::try_from(n).unwrap())).collect();
    for &session in &sessions {
        crowd(&mut bench, session, MANY);
        bench.apply_as(session, &Txn::CloseSession { paths: None });
    }
    assert_eq!(bench.tree.owners.dead().len(), DEAD_OWNERS_MAX, "the oldest was swept whole");
    assert_eq!(bench.stat("/p").num_children, 0, "none is seen");
    while bench.tree.sweep(10_000) {}
    bench.tree.check_invariants();
    assert_eq!(bench.tree.node_count(), 6, "none is left");
}

/// Fires watches as a server does, and checks that no event comes for what can still be read.
struct Server<'w> {
    watches: &'w mut Watches,
    events: Vec<String>,
}

impl ChangeSink for Server<'_> {
    fn changed(&mut self, change: Change<'_>) {
        let events = &mut self.events;
        self.watches.fire(&change, &mut |conn, kind, path, _| events.push(line(conn, kind, path)));
    }

    fn owner_died(&mut self, dead: &DeadOwner<'_>) {
        let events = &mut self.events;
        self.watches.fire_dead(dead, &mut |conn, kind, path, acl| {
            assert_eq!(acl, &acl::open(), "the node's ACL comes along");
            events.push(line(conn, kind, path));
        });
    }
}

fn line(conn: ConnId, kind: EventType, path: &str) -> String {
    format!("{} {kind:?} {path}", conn.0)
}

/// Closes the session of a crowded tree under these watches, and returns the events, sorted.
fn events(watched: &[(u64, &str, WatchKind)], filler: usize) -> Vec<String> {
    let mut bench = crowded();
    let mut watches = Watches::new(7);
    for (conn, path, kind) in watched {
        watches.add(ConnId(*conn), path, *kind);
    }
    for n in 0..filler {
        watches.add(ConnId(999), &format!("/elsewhere/{n}"), WatchKind::Data);
    }
    let header = gk_proto::txn::TxnHeader {
        session: SESSION,
        cxid: gk_proto::Xid(0),
        zxid: Zxid(bench.next),
        time: gk_proto::WallTime(0),
    };
    let mut server = Server { watches: &mut watches, events: Vec::new() };
    bench.tree.apply(&header, &Txn::CloseSession { paths: None }, &mut server);
    assert!(bench.tree.is_sweeping(), "a large close");
    let mut events = server.events;
    watches.check_invariants();
    events.sort_unstable();
    events
}

#[test]
fn watches_of_the_dead_fire_when_they_die_whichever_table_is_larger() {
    let first = format!("/p/{SESSION}-1");
    let watched = [
        (1, first.as_str(), WatchKind::Data),
        (2, first.as_str(), WatchKind::Child),
        (3, first.as_str(), WatchKind::Persistent),
        (4, "/p", WatchKind::Child),
        (5, "/p", WatchKind::Data),
        (6, "/p", WatchKind::Persistent),
        (7, "/q", WatchKind::Child),
        (8, "/p/stays", WatchKind::Persistent),
    ];
    let want = [
        format!("1 NodeDeleted {first}"),
        format!("2 NodeDeleted {first}"),
        format!("3 NodeDeleted {first}"),
        "4 NodeChildrenChanged /p".to_owned(),
        "6 NodeChildrenChanged /p".to_owned(),
        "7 NodeChildrenChanged /q".to_owned(),
    ];
    assert_eq!(events(&watched, 0), want, "few watches");
    assert_eq!(events(&watched, 2 * MANY), want, "more watches than dead nodes");
}

#[test]
fn recursive_watches_see_every_dead_node_below_them() {
    let all = events(&[(1, "/p", WatchKind::PersistentRecursive), (2, "/q/e", WatchKind::PersistentRecursive)], 0);
    assert_eq!(all.len(), MANY, "one each");
    assert!(all.contains(&"2 NodeDeleted /q/e".to_owned()), "the path itself too");
}

#[test]
fn nobody_watches_and_nothing_is_told() {
    assert!(events(&[], 0).is_empty(), "no event");
}
