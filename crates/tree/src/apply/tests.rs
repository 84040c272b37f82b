use gk_proto::acl;
use gk_proto::stat::{Stat, StatPersisted};
use gk_proto::txn::{CreateKind, Txn};
use gk_proto::{ErrorCode, SessionId, WallTime, Zxid};

use crate::testing::{Bench, OPTIONS, close, create, create_kind, create_with, delete, set_data};
use crate::{Outcome, Tree, TreeBuilder, TreeOptions};

const SESSION: SessionId = SessionId(0x1_0000);
const NO_NODE: Outcome = Outcome::Failed(ErrorCode::NoNode);
const NODE_EXISTS: Outcome = Outcome::Failed(ErrorCode::NodeExists);

#[test]
fn an_empty_tree_is_zookeepers() {
    let tree = Tree::new(OPTIONS);
    tree.check_invariants();
    assert_eq!(tree.digest(), Some(1_371_985_504), "of a fresh server");
    assert_eq!((tree.node_count(), tree.approximate_data_size()), (5, 44), "as in mntr");
    assert_eq!(tree.find("/zookeeper").unwrap().stat().cversion, -2, "two children, none of them created");
    assert_eq!(tree.find("/zookeeper/config").unwrap().stat().aversion, -1, "its ACL was never set");
    assert_eq!(tree.find("/zookeeper/config").unwrap().acl(), &acl::read_only(), "for readers");
    assert_eq!(tree.find("").unwrap().descendants(), 3, "all but the root");
    assert!(tree.find("/").unwrap().data().is_some_and(<[u8]>::is_empty), "empty, not null");
}

#[test]
fn create_set_and_delete_leave_the_stats_of_the_spec() {
    let mut bench = Bench::new();
    let created = bench.apply(&create("/a"));
    let fresh = Stat {
        czxid: Zxid(1),
        mzxid: Zxid(1),
        pzxid: Zxid(1),
        ctime: WallTime(1000),
        mtime: WallTime(1000),
        data_length: 4,
        ..Stat::default()
    };
    assert_eq!(created, Outcome::Created(fresh), "the stat right after the create");
    assert_eq!(bench.changes.lines, ["+/a@1"], "one change");
    let root = bench.stat("/");
    assert_eq!((root.cversion, root.pzxid, root.num_children, root.mzxid), (0, Zxid(1), 2, Zxid(0)), "the parent");

    let changed = bench.apply(&set_data("/a", "longer", 1));
    let after = Stat { version: 1, mzxid: Zxid(2), mtime: WallTime(2000), data_length: 6, ..fresh };
    assert_eq!(changed, Outcome::Changed(after), "version as the txn says");
    assert_eq!(bench.changes.lines, ["=/a@2"], "one change");

    let acl = Txn::SetAcl { path: "/a".into(), acl: acl::read_only(), version: 1 };
    assert_eq!(bench.apply(&acl), Outcome::Changed(Stat { aversion: 1, ..after }), "nothing but aversion");
    assert!(bench.changes.lines.is_empty(), "and no change is told");

    bench.apply(&create("/a/b"));
    let parent = bench.stat("/a");
    assert_eq!((parent.cversion, parent.pzxid, parent.num_children), (1, Zxid(4), 1), "one create");
    assert_eq!(bench.apply(&delete("/a/b")), Outcome::None, "a delete has no stat");
    let parent = bench.stat("/a");
    assert_eq!((parent.cversion, parent.pzxid, parent.num_children), (2, Zxid(5), 0), "one create, one delete");
    assert_eq!(bench.changes.lines, ["-/a/b@5"], "one change");
    assert_eq!(bench.tree.last_zxid(), Zxid(5), "the last txn");
}

#[test]
fn null_and_empty_data_are_kept_apart() {
    let mut bench = Bench::new();
    for (path, data) in [("/null", None), ("/empty", Some(&b""[..]))] {
        bench.apply(&create_with(path, data, acl::open(), CreateKind::Create2, 1));
        assert_eq!(bench.tree.find(path).unwrap().data(), data, "{path}");
        assert_eq!(bench.stat(path).data_length, 0, "{path}");
    }
}

#[test]
fn what_does_not_fit_changes_nothing_but_the_zxid() {
    let mut bench = Bench::new();
    let digest = bench.tree.digest();
    for txn in [create("/no/a"), delete("/no/a"), set_data("/no", "", 1), create("")] {
        assert_eq!(bench.apply(&txn), NO_NODE, "{txn:?}");
    }
    assert_eq!(bench.apply(&create("/")), NODE_EXISTS, "the root");
    assert_eq!(bench.apply(&Txn::Error { code: -101 }), NO_NODE, "an error txn is its code");
    assert_eq!(bench.apply(&Txn::Error { code: -4 }), Outcome::Failed(ErrorCode::SystemError), "a code not ours");
    assert_eq!((bench.tree.digest(), bench.tree.last_zxid()), (digest, Zxid(7)), "only the zxid moves on");
}

/// Hazard 56 (Z-2213): a txn with a path that no request check lets through must not stop every server that replays it.
#[test]
fn poison_paths_stop_nothing() {
    let mut bench = Bench::new();
    bench.apply(&create("/a"));
    for path in
        ["//a", "/a/", "/a//b", "a", "a/b", "//", "/", "", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"]
    {
        for txn in [create(path), delete(path), set_data(path, "poison", 1), close(&[path])] {
            bench.apply_as(SESSION, &txn);
        }
        bench.apply(&Txn::SetAcl { path: path.into(), acl: acl::open(), version: 1 });
    }
    assert_eq!(bench.tree.find("").unwrap().descendants(), 4, "nothing came, nothing went");
    assert_eq!(bench.text("/"), "poison", "the root has data, under either of its names");
}

/// Hazard 68 (Z-3125): the parent's pzxid of a delete that a fuzzy snapshot holds already.
#[test]
fn deleting_what_is_gone_moves_the_parents_pzxid_on() {
    let mut bench = Bench::new();
    bench.apply(&create("/a"));
    assert_eq!(bench.apply_at(9, SESSION, &delete("/a/gone")), NO_NODE, "it is not there");
    assert_eq!((bench.stat("/a").pzxid, bench.stat("/a").cversion), (Zxid(9), 0), "but it was");
    assert!(bench.changes.lines.is_empty(), "nobody is told");
    bench.apply_at(5, SESSION, &delete("/a/gone"));
    assert_eq!(bench.stat("/a").pzxid, Zxid(9), "never backwards");
}

/// Hazard 69 (Z-3249): creates that a fuzzy snapshot holds must not take the parent's counter back.
#[test]
fn replayed_creates_only_raise_the_parents_counter() {
    let mut bench = Bench::new();
    bench.apply(&create("/p"));
    let child = |kind, parent_cversion| create_with("/p/c", None, acl::open(), kind, parent_cversion);
    bench.apply_at(20, SESSION, &child(CreateKind::Create, 5));
    let stat = bench.tree.find("/p").unwrap().persisted();
    assert_eq!((stat.cversion, stat.pzxid), (5, Zxid(20)), "as the txn says");
    assert_eq!(bench.apply_at(10, SESSION, &child(CreateKind::Create, 3)), NODE_EXISTS, "an earlier create again");
    assert_eq!(bench.tree.find("/p").unwrap().persisted(), stat, "changes nothing");
    assert_eq!(bench.apply_at(30, SESSION, &child(CreateKind::Ephemeral, 7)), NODE_EXISTS, "a later create");
    let stat = bench.tree.find("/p").unwrap().persisted();
    assert_eq!((stat.cversion, stat.pzxid), (7, Zxid(30)), "counts although the child is there");
    for kind in [CreateKind::Create2, CreateKind::Ephemeral2, CreateKind::Container, CreateKind::Ttl(5)] {
        assert_eq!(bench.apply_at(40, SESSION, &child(kind, 9)), NODE_EXISTS, "{kind:?}");
    }
    assert_eq!(bench.tree.find("/p").unwrap().persisted(), stat, "only type 1 counts then, as in ZooKeeper");
    assert_eq!(bench.apply_at(50, SESSION, &child(CreateKind::Create, -1)), NODE_EXISTS, "an old record");
    assert_eq!(bench.tree.find("/p").unwrap().persisted().cversion, 8, "counts by one");
}

#[test]
fn counters_wrap_as_zookeepers_do() {
    let mut builder = TreeBuilder::new(OPTIONS);
    let stat = StatPersisted { cversion: i32::MAX, version: i32::MAX, ..StatPersisted::default() };
    builder.node("", None, -1, &StatPersisted::default()).unwrap();
    builder.node("/p", None, -1, &stat).unwrap();
    let mut bench = Bench::on(builder.finish(Zxid(1)).unwrap());
    bench.apply(&create("/p/a"));
    bench.apply(&create_with("/p/b", None, acl::open(), CreateKind::Create, i32::MIN));
    assert_eq!(bench.tree.find("/p").unwrap().persisted().cversion, i32::MAX, "never backwards, so it stays");
    assert_eq!(bench.stat("/p").cversion, -4, "twice that, less two children, in 32 bits");
    bench.apply(&set_data("/p", "", i32::MIN));
    assert_eq!(bench.stat("/p").version, i32::MIN, "as the txn says");
}

#[test]
fn a_multi_shows_each_stat_as_it_was_right_after_its_op() {
    let mut bench = Bench::new();
    let ops = vec![
        create("/m"),
        create_kind("/m/c", CreateKind::Create2),
        Txn::Check { path: "/m".into(), version: 1 },
        set_data("/m", "x", 1),
        delete("/m/c"),
        delete("/m"),
    ];
    let Outcome::Multi(outcomes) = bench.apply(&Txn::Multi(ops)) else { panic!("a multi has many outcomes") };
    let fresh = |stat: &Outcome| matches!(stat, Outcome::Created(stat) if stat.num_children == 0 && stat.version == 0);
    assert!(fresh(&outcomes[0]) && fresh(&outcomes[1]), "creates before what follows: {outcomes:?}");
    assert_eq!(outcomes[2], Outcome::None, "a check has no stat");
    let Outcome::Changed(stat) = outcomes[3] else { panic!("setData has a stat") };
    assert_eq!((stat.num_children, stat.version, stat.mzxid), (1, 1, Zxid(1)), "before the delete of the child");
    assert_eq!(outcomes[4..], [Outcome::None, Outcome::None], "deletes");
    // Hazard 93 (Z-4655): all events of a multi share its zxid, in the order of the ops.
    assert_eq!(bench.changes.lines, ["+/m@1", "+/m/c@1", "=/m@1", "-/m/c@1", "-/m@1"], "one after the other");
}

/// Hazard 65 (Z-3127): the last zxid says which txns are in the tree whole, so a refused multi changes nothing but it.
#[test]
fn a_refused_multi_changes_nothing() {
    let mut bench = Bench::new();
    let digest = bench.tree.digest();
    let error = |code| Txn::Error { code };
    let ops = vec![create("/m"), error(-110), error(-2), delete("/m")];
    let refused = |code| Outcome::Failed(code);
    let inconsistent = refused(ErrorCode::RuntimeInconsistency);
    let outcome = Outcome::Multi(vec![
        refused(ErrorCode::Ok),
        refused(ErrorCode::NodeExists),
        inconsistent.clone(),
        inconsistent,
    ]);
    assert_eq!(bench.apply(&Txn::Multi(ops)), outcome, "the codes of the reply");
    assert_eq!((bench.tree.digest(), bench.tree.last_zxid()), (digest, Zxid(1)), "only the zxid moves on");
    assert!(bench.changes.lines.is_empty(), "nobody is told");
}

#[test]
fn sessions_come_and_go_with_their_ephemeral_nodes() {
    let mut bench = Bench::new();
    bench.apply_as(SESSION, &Txn::CreateSession { timeout_ms: 30_000 });
    assert_eq!(bench.tree.session_timeout(SESSION), Some(30_000), "as negotiated");
    for path in ["/e1", "/e2", "/e3"] {
        bench.apply_as(SESSION, &create_kind(path, CreateKind::Ephemeral));
    }
    bench.apply(&create("/stays"));
    assert_eq!(bench.stat("/e1").ephemeral_owner, SESSION.wire(), "shown to clients");
    assert_eq!(bench.tree.ephemerals(SESSION).collect::<Vec<_>>(), ["/e1", "/e2", "/e3"], "paths");
    assert_eq!(bench.tree.sessions_with_ephemerals().collect::<Vec<_>>(), [SESSION], "one owner");

    bench.apply_as(SESSION, &close(&["/e2", "/gone"]));
    assert_eq!(bench.changes.lines, ["-/e2@6", "-/e1@6", "-/e3@6"], "those named, then the others");
    assert_eq!((bench.tree.session_count(), bench.tree.ephemeral_count()), (0, 0), "all gone");
    assert_eq!(bench.children("/"), ["stays", "zookeeper"], "but for what is not the session's");
    assert_eq!((bench.stat("/").cversion, bench.stat("/").pzxid), (6, Zxid(6)), "four creates, three deletes");
}

/// Hazard 67 (Z-3145): closeSession names its paths, so that replaying it over a snapshot without them is the same.
#[test]
fn closing_again_moves_the_parents_pzxid_as_the_first_time() {
    let mut bench = Bench::new();
    bench.apply(&create("/p"));
    bench.apply_at(10, SESSION, &close(&["/p/e"]));
    assert_eq!(bench.stat("/p").pzxid, Zxid(10), "although the node is not there");
}

/// Hazard 86 (Z-2901): with extended types off, an owner that looks like a TTL mark is a session.
#[test]
fn sessions_that_look_like_ttl_marks_own_their_nodes() {
    let session = SessionId(0xff00_0000_0000_0005);
    for (extended_types, owned) in [(false, 1), (true, 0)] {
        let owner_rules = gk_proto::stat::OwnerRules { extended_types, emulate_353: false };
        let mut bench = Bench::on(Tree::new(TreeOptions { owner_rules, ..OPTIONS }));
        bench.apply_as(session, &create_kind("/e", CreateKind::Ephemeral));
        assert_eq!(bench.tree.ephemeral_count_of(session), owned, "extended types: {extended_types}");
        bench.apply_as(session, &close(&[]));
        assert_eq!(bench.tree.find("/e").is_none(), owned == 1, "extended types: {extended_types}");
    }
}

/// Over a fuzzy snapshot a node may be deleted that already has the children of its next life.
#[test]
fn deleting_a_node_with_children_takes_them_along() {
    let mut bench = Bench::new();
    for path in ["/a", "/a/b", "/a/b/c", "/a/d"] {
        bench.apply(&create(path));
    }
    bench.apply(&delete("/a"));
    assert_eq!(bench.changes.lines.last().map(String::as_str), Some("-/a@5"), "children before their parents");
    assert_eq!(bench.changes.lines.len(), 4, "each is told: {:?}", bench.changes.lines);
    assert_eq!(bench.tree.node_count(), 5, "an empty tree again");
}

#[test]
fn without_digest_nothing_is_computed() {
    let mut bench = Bench::on(Tree::new(TreeOptions { digest: false, ..OPTIONS }));
    bench.apply(&create("/a"));
    assert_eq!((bench.tree.digest(), bench.tree.find("/a").unwrap().prefix_crc()), (None, 0), "neither");
}
