use std::sync::Arc;

use gk_proto::acl::{self, AclList};
use gk_proto::watch::{EventType, WatcherType};
use gk_proto::{ConnId, Zxid};

use super::{WatchKind, WatchSummary, Watches};
use crate::change::Change;

use EventType::{NodeCreated, NodeDataChanged, NodeDeleted};
use WatchKind::{Child, Data, Persistent, PersistentRecursive};

fn watches(all: &[(u64, &str, WatchKind)]) -> Watches {
    let mut watches = Watches::new(7);
    for (conn, path, kind) in all {
        watches.add(ConnId(*conn), path, *kind);
        watches.check_invariants();
    }
    watches
}

/// Fires one change and returns what was delivered: connection, event, path.
fn fire(watches: &mut Watches, kind: EventType, path: &str) -> Vec<String> {
    let (acl, parent_acl) = (acl::read_only(), acl::open());
    let mut told = Vec::new();
    let mut deliver = |conn: ConnId, event: EventType, at: &Arc<str>, of: &AclList| {
        let parents = event == EventType::NodeChildrenChanged;
        assert_eq!(of, if parents { &parent_acl } else { &acl }, "the ACL of the node that the event names");
        told.push(format!("{} {event:?} {at}", conn.0));
    };
    watches.fire(&Change { kind, path, acl: &acl, parent_acl: &parent_acl, zxid: Zxid(1) }, &mut deliver);
    watches.check_invariants();
    told
}

#[test]
fn each_change_fires_the_tables_of_the_spec() {
    let all = [(1, "/a/b", Data), (2, "/a/b", Child), (3, "/a", Child), (4, "/a", Data), (5, "/", Child)];
    assert_eq!(fire(&mut watches(&all), NodeCreated, "/a/b"), ["1 NodeCreated /a/b", "3 NodeChildrenChanged /a"], "+");
    assert_eq!(fire(&mut watches(&all), NodeDataChanged, "/a/b"), ["1 NodeDataChanged /a/b"], "=");
    let deleted = ["1 NodeDeleted /a/b", "2 NodeDeleted /a/b", "3 NodeChildrenChanged /a"];
    assert_eq!(fire(&mut watches(&all), NodeDeleted, "/a/b"), deleted, "-");
    assert_eq!(fire(&mut watches(&all), NodeCreated, "/c"), ["5 NodeChildrenChanged /"], "below the root");
    assert!(fire(&mut watches(&all), NodeDataChanged, "/").is_empty(), "the root itself");
}

#[test]
fn one_shot_watches_fire_once_and_persistent_ones_stay() {
    let mut watches =
        watches(&[(1, "/a", Data), (2, "/a", Persistent), (3, "/", PersistentRecursive), (4, "/a", Child)]);
    let first = fire(&mut watches, NodeDataChanged, "/a");
    assert_eq!(first, ["1 NodeDataChanged /a", "2 NodeDataChanged /a", "3 NodeDataChanged /a"], "all of them");
    let second = fire(&mut watches, NodeDataChanged, "/a");
    assert_eq!(second, ["2 NodeDataChanged /a", "3 NodeDataChanged /a"], "those that stay");
    let child = fire(&mut watches, NodeCreated, "/a/b");
    let want = ["3 NodeCreated /a/b", "2 NodeChildrenChanged /a", "4 NodeChildrenChanged /a"];
    assert_eq!(child, want, "a persistent watch is in both tables");
}

#[test]
fn a_deleted_node_is_told_once_to_each_connection_and_uses_up_both_watches() {
    let mut both = watches(&[(1, "/a", Data), (1, "/a", Child), (2, "/a", Child), (2, "/", PersistentRecursive)]);
    assert_eq!(fire(&mut both, NodeDeleted, "/a"), ["1 NodeDeleted /a", "2 NodeDeleted /a"], "once each");
    assert!(!both.contains(ConnId(1), "/a", WatcherType::Any), "both watches of the first are used up");
    assert!(!both.contains(ConnId(2), "/a", WatcherType::Any), "a watch is used up even if it is told otherwise");
}

/// Hazard 95 (Z-4475): a recursive watch hears of every node below it, and never of NodeChildrenChanged.
#[test]
fn recursive_watches_hear_of_nodes_only() {
    let mut all = watches(&[(1, "/a", PersistentRecursive), (2, "/a/b", PersistentRecursive), (1, "/a/b", Child)]);
    let created = fire(&mut all, NodeCreated, "/a/b/c");
    let want = ["1 NodeCreated /a/b/c", "2 NodeCreated /a/b/c", "1 NodeChildrenChanged /a/b"];
    assert_eq!(created, want, "a child watch of the same connection is another matter");
    assert_eq!(fire(&mut all, NodeDeleted, "/a"), ["1 NodeDeleted /a"], "the path itself");
    assert!(fire(&mut all, NodeDeleted, "/ab").is_empty(), "not a neighbour whose name begins alike");
}

#[test]
fn nested_recursive_watches_of_one_connection_tell_once() {
    let mut all = watches(&[(1, "/", PersistentRecursive), (1, "/a", PersistentRecursive), (1, "/a/b", Data)]);
    assert_eq!(fire(&mut all, NodeDataChanged, "/a/b"), ["1 NodeDataChanged /a/b"], "however many match");
}

/// Hazard 96 (Z-4466, Z-4472): modes on one path neither replace each other nor go together.
#[test]
fn modes_on_one_path_are_set_and_removed_one_by_one() {
    const TYPES: [(WatchKind, WatcherType); 4] = [
        (Data, WatcherType::Data),
        (Child, WatcherType::Children),
        (Persistent, WatcherType::Persistent),
        (PersistentRecursive, WatcherType::PersistentRecursive),
    ];
    for (_, removed) in TYPES {
        let mut all = watches(&TYPES.map(|(kind, _)| (1, "/a", kind)));
        assert!(all.remove(ConnId(1), "/a", removed), "{removed:?} is there");
        assert!(!all.remove(ConnId(1), "/a", removed), "{removed:?} is gone");
        for (_, other) in TYPES {
            assert_eq!(all.contains(ConnId(1), "/a", other), other != removed, "{other:?} without {removed:?}");
        }
        assert!(!all.contains(ConnId(2), "/a", WatcherType::Any), "another connection has none");
        assert!(all.remove(ConnId(1), "/a", WatcherType::Any), "the rest");
        assert!(all.is_empty() && !all.contains(ConnId(1), "/a", WatcherType::Any), "nothing left");
        all.check_invariants();
    }
}

#[test]
fn a_dropped_connection_takes_its_watches_and_no_others() {
    let mut all =
        watches(&[(1, "/a", Data), (2, "/a", Data), (1, "/b", Persistent), (1, "/b", Child), (3, "/c", Child)]);
    all.drop_conn(ConnId(1));
    all.check_invariants();
    assert_eq!((all.len(), all.path_count(ConnId(1)), all.path_count(ConnId(2))), (2, 0, 1), "the others'");
    assert!(fire(&mut all, NodeDataChanged, "/b").is_empty(), "nobody watches it");
    all.drop_conn(ConnId(1));
    all.drop_conn(ConnId(2));
    all.drop_conn(ConnId(3));
    assert!(all.is_empty(), "none left");
    all.check_invariants();
}

#[test]
fn counts_are_zookeepers() {
    let all = watches(&[
        (1, "/a", Data),
        (1, "/a", PersistentRecursive),
        (1, "/b", Persistent),
        (2, "/b", Data),
        (3, "/c", Child),
    ]);
    let summary = WatchSummary { connections: 2, paths: 2, watches: 3 };
    assert_eq!(all.summary(), summary, "child watches do not count, modes on one path count once");
    assert_eq!(all.len(), 5, "the gauge counts both tables");
    let by_conn: Vec<_> = all.by_conn().collect();
    assert_eq!(by_conn, [(ConnId(1), vec!["/a", "/b"]), (ConnId(2), vec!["/b"])], "wchc");
    let by_path: Vec<_> = all.by_path().collect();
    assert_eq!(by_path, [("/a", vec![ConnId(1)]), ("/b", vec![ConnId(1), ConnId(2)])], "wchp");
}

#[test]
fn paths_are_any_strings() {
    let mut all = watches(&[(1, "", Data), (1, "no slash", Data), (1, "//", PersistentRecursive)]);
    assert!(fire(&mut all, NodeCreated, "/a").is_empty(), "no node has such a path");
    assert!(all.remove(ConnId(1), "", WatcherType::Data), "but they can be removed");
}
