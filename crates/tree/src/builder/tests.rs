use gk_proto::acl::{self, perm};
use gk_proto::stat::StatPersisted;
use gk_proto::txn::{CreateKind, Txn};
use gk_proto::{SessionId, Zxid};

use crate::testing::{Bench, OPTIONS, create_with, delete};
use crate::{BuildError, TreeBuilder};

const STAT: StatPersisted = StatPersisted {
    czxid: Zxid(3),
    mzxid: Zxid(4),
    ctime: gk_proto::WallTime(5),
    mtime: gk_proto::WallTime(6),
    version: 7,
    cversion: 8,
    aversion: 9,
    ephemeral_owner: 0,
    pzxid: Zxid(10),
};

fn builder() -> TreeBuilder {
    let mut builder = TreeBuilder::new(OPTIONS);
    builder.acl(17, acl::read_only());
    builder.node("", Some(b"root"), -1, &STAT).unwrap();
    builder
}

#[test]
fn nodes_are_as_their_records_say() {
    let mut builder = builder();
    builder.session(SessionId(5), 4000);
    builder.node("/a", None, 17, &STAT).unwrap();
    builder.node("/zookeeper", Some(b"z"), 17, &STAT).unwrap();
    let owned = StatPersisted { ephemeral_owner: 5, ..STAT };
    builder.node("/a/e", Some(b"data"), -1, &owned).unwrap();
    let tree = builder.finish(Zxid(99)).unwrap();
    tree.check_invariants();
    assert_eq!(tree.last_zxid(), Zxid(99), "that of the snapshot");
    assert_eq!(tree.sessions().collect::<Vec<_>>(), [(SessionId(5), 4000)], "sessions");
    assert_eq!(tree.find("/").unwrap().persisted(), STAT, "built-in nodes too");
    assert_eq!(tree.find("/zookeeper").unwrap().acl(), &acl::read_only(), "and their ACLs");
    assert_eq!(tree.find("/zookeeper/config").unwrap().stat().aversion, -1, "what is missing is added");
    assert_eq!(tree.find("/a/e").unwrap().persisted(), owned, "a node");
    assert_eq!(tree.ephemerals(SessionId(5)).collect::<Vec<_>>(), ["/a/e"], "its owner knows it");
}

#[test]
fn records_that_make_no_tree_are_refused() {
    let mut orphan = builder();
    assert_eq!(orphan.node("/a/b", None, -1, &STAT), Err(BuildError::Orphan("/a/b".into())), "no parent");
    let mut twice = builder();
    twice.node("/a", None, -1, &STAT).unwrap();
    assert_eq!(twice.node("/a", None, -1, &STAT), Err(BuildError::Duplicate("/a".into())), "twice");
    assert_eq!(twice.node("", None, -1, &STAT), Err(BuildError::Duplicate(String::new())), "the root twice");
    for bad in ["a", "//a", "/a/"] {
        assert_eq!(twice.node(bad, None, -1, &STAT), Err(BuildError::BadPath(bad.into())), "no path");
    }
    let owned = StatPersisted { ephemeral_owner: 1, ..STAT };
    let refused = twice.node("/zookeeper", None, -1, &owned);
    assert_eq!(refused, Err(BuildError::OwnedBuiltIn("/zookeeper".into())), "it would go with its session");
    let mut rootless = TreeBuilder::new(OPTIONS);
    assert_eq!(rootless.node("/a", None, -1, &STAT), Err(BuildError::Orphan("/a".into())), "before the root");
    assert_eq!(rootless.finish(Zxid(1)).err(), Some(BuildError::NoRoot), "nothing");
}

/// Hazard 70 (Z-3306): a fuzzy snapshot lists its ACLs before a node with a new one comes into it.
#[test]
fn a_node_with_a_lost_acl_gets_it_back_from_its_create() {
    let mut builder = builder();
    builder.node("/a", None, 18, &STAT).unwrap();
    assert_eq!(builder.unknown_acls(), 1, "worth a line in the log");
    let mut bench = Bench::on(builder.finish(Zxid(99)).unwrap());
    let entries = bench.tree.find("/a").unwrap().acl().clone();
    assert!(entries.iter().all(|entry| entry.perms & perm::ALL == 0) && !entries.is_empty(), "matches nobody");
    bench.apply(&create_with("/a", None, acl::read_only(), CreateKind::Create2, 1));
    assert_eq!(bench.tree.find("/a").unwrap().acl(), &acl::read_only(), "that of the create");
    assert_eq!(bench.stat("/a").aversion, STAT.aversion, "and nothing else");
    bench.apply(&create_with("/a", None, acl::open(), CreateKind::Create2, 1));
    assert_eq!(bench.tree.find("/a").unwrap().acl(), &acl::read_only(), "a known ACL stays");
}

/// Hazard 70 (Z-3306): users of the lists are counted right after loading, so that a list goes with its last node only.
#[test]
fn lists_are_counted_by_the_nodes_that_use_them() {
    let mut builder = builder();
    builder.acl(18, acl::open());
    builder.acl(19, acl::read_only());
    builder.acl(18, acl::read_only());
    builder.node("/a", None, 18, &STAT).unwrap();
    builder.node("/b", None, 19, &STAT).unwrap();
    let mut bench = Bench::on(builder.finish(Zxid(99)).unwrap());
    bench.tree.check_invariants();
    bench.apply(&delete("/a"));
    assert_eq!(bench.tree.find("/b").unwrap().acl(), &acl::read_only(), "still used");
    let lists = bench.tree.begin_view().unwrap().acls;
    assert_eq!(lists.len(), 1, "lists that nobody uses are gone: {lists:?}");
}

/// Hazard 57 (Z-1448): quotas are found again after loading, and usage is what the tree says, not the file.
#[test]
fn usage_of_quotas_is_counted_anew() {
    let mut builder = builder();
    let node =
        |builder: &mut TreeBuilder, path, data: &str| builder.node(path, Some(data.as_bytes()), -1, &STAT).unwrap();
    node(&mut builder, "/q", "12345");
    node(&mut builder, "/q/a", "123");
    node(&mut builder, "/zookeeper/quota", "");
    node(&mut builder, "/zookeeper/quota/q", "");
    node(&mut builder, "/zookeeper/quota/q/zookeeper_limits", "count=5,bytes=-1");
    node(&mut builder, "/zookeeper/quota/q/zookeeper_stats", "nonsense");
    let mut bench = Bench::on(builder.finish(Zxid(99)).unwrap());
    bench.tree.check_invariants();
    assert_eq!(bench.text("/zookeeper/quota/q/zookeeper_stats"), "count=2,bytes=8", "counted");
    bench.apply(&Txn::Delete { path: "/q/a".into() });
    assert_eq!(bench.text("/zookeeper/quota/q/zookeeper_stats"), "count=1,bytes=5", "and kept");
}

#[test]
fn ephemerals_of_unknown_sessions_can_be_dropped() {
    let mut builder = builder();
    builder.session(SessionId(5), 4000);
    for (path, owner) in [("/known", 5), ("/unknown", 6)] {
        builder.node(path, None, -1, &StatPersisted { ephemeral_owner: owner, ..STAT }).unwrap();
    }
    let mut bench = Bench::on(builder.finish(Zxid(99)).unwrap());
    assert_eq!(bench.tree.drop_orphans(&mut ()), 1, "one of them");
    bench.tree.check_invariants();
    assert_eq!(bench.children("/"), ["known", "zookeeper"], "whose session is not in the table");
    assert_eq!(bench.stat("/").pzxid, Zxid(99), "at the last zxid");
}
