//! A tree against the model, with a view of it read while it changes.

use std::collections::BTreeMap;

use gk_proto::acl::{self, AclList};
use gk_proto::jute::Reader;
use gk_proto::rng::Rng;
use gk_proto::stat::StatPersisted;
use gk_proto::watch::EventType;
use gk_proto::{SessionId, path};
use gk_tree::{Change, ChangeSink, Tree, TreeBuilder, TreeOptions, ViewCursor, ViewHead, ViewStatus};

use crate::for_seeds;
use crate::model::{Model, RULES};
use crate::random;

const OPTIONS: TreeOptions = TreeOptions { owner_rules: RULES, hash_key: 7, digest: true };
const TXNS: usize = 400;

#[derive(Default)]
struct Lines(Vec<String>);

impl ChangeSink for Lines {
    fn changed(&mut self, change: Change<'_>) {
        let kind = match change.kind {
            EventType::NodeCreated => '+',
            EventType::NodeDeleted => '-',
            EventType::NodeDataChanged => '=',
            EventType::NodeChildrenChanged => '?',
        };
        self.0.push(format!("{kind} {}", change.path));
    }
}

#[test]
fn a_tree_is_as_the_model_after_every_txn() {
    for_seeds(20, |rng| {
        let mut tree = Tree::new(OPTIONS);
        tree.set_inline_deletes_max(3);
        let mut model = Model::new();
        let mut view: Option<Reading> = None;
        let mut views = 0;
        for _ in 0..TXNS {
            let (header, txn) = random::txn(rng, &model);
            let mut lines = Lines::default();
            let outcome = tree.apply(&header, &txn, &mut lines);
            let (want, mut changes) = model.apply(&header, &txn);
            assert_eq!(outcome, want, "outcome of {txn:?}");
            lines.0.sort_unstable();
            changes.sort_unstable();
            assert_eq!(lines.0, changes, "changes of {txn:?}");
            tree.check_invariants();
            compare(&tree, &model);
            tree.sweep(usize::try_from(rng.below(4)).unwrap());
            if view.is_none() && rng.below(10) == 0 {
                view = Reading::begin(&mut tree, &model);
            }
            if view.as_mut().is_some_and(|reading| reading.step(rng, &tree)) {
                drop(tree.end_view());
                view.take().unwrap().check();
                views += 1;
            }
        }
        assert!(views > 3, "only {views} views ended");
    });
}

/// Everything that can be read.
fn compare(tree: &Tree, model: &Model) {
    // A server may read while a dead owner is swept; only these two are late then.
    let exact = !tree.is_sweeping();
    assert_eq!(tree.digest(), exact.then(|| model.digest()), "digest");
    for (path, node) in &model.nodes {
        let found = tree.find(path).unwrap_or_else(|| panic!("{path} is missing"));
        if exact || !path.ends_with(path::STATS) {
            assert_eq!(found.data(), node.data.as_deref(), "data of {path}");
            assert_eq!(found.stat(), model.stat(path), "stat of {path}");
        }
        assert_eq!(found.persisted(), node.stat, "stored stat of {path}");
        assert_eq!(found.acl(), &node.acl, "ACL of {path}");
        let mut names: Vec<&str> = found.children().collect();
        names.sort_unstable();
        let mut want = model.children(path);
        want.sort_unstable();
        assert_eq!(names, want, "children of {path}");
        let below = format!("{}/", path.trim_end_matches('/'));
        let descendants = model.nodes.keys().filter(|other| other.starts_with(&below) && *other != "/").count();
        assert_eq!(found.descendants(), descendants, "nodes below {path}");
    }
    for path in model.past.iter().filter(|path| !model.nodes.contains_key(*path)) {
        assert!(tree.find(path).is_none(), "{path} is gone");
    }
    assert_eq!(tree.node_count(), model.nodes.len() + 1, "number of nodes");
    assert_eq!(tree.sessions().collect::<Vec<_>>(), model.sessions.clone().into_iter().collect::<Vec<_>>(), "sessions");
    let mut ephemerals = 0;
    for session in (0x10..0x13).map(SessionId) {
        let mut paths: Vec<String> = tree.ephemerals(session).collect();
        paths.sort_unstable();
        assert_eq!(paths, model.ephemerals(session), "nodes of session {session}");
        ephemerals += paths.len();
    }
    assert_eq!(tree.ephemeral_count(), ephemerals, "number of ephemeral nodes");
    assert_eq!(tree.last_zxid(), model.zxid, "last zxid");
}

/// A view that is being read, and the model as it was when the view began.
struct Reading {
    head: ViewHead,
    model: Model,
    cursor: ViewCursor,
    bytes: Vec<u8>,
}

impl Reading {
    fn begin(tree: &mut Tree, model: &Model) -> Option<Self> {
        let head = tree.begin_view()?;
        Some(Self { head, model: model.clone(), cursor: ViewCursor::default(), bytes: Vec::new() })
    }

    /// Reads a piece; whether it was the last.
    fn step(&mut self, rng: &mut Rng, tree: &Tree) -> bool {
        let budget = usize::try_from(rng.below(500)).unwrap();
        match tree.view_piece(&mut self.cursor, &mut self.bytes, budget) {
            ViewStatus::More => false,
            ViewStatus::Done => true,
            ViewStatus::Abandoned => panic!("so little is never too much"),
        }
    }

    /// Compares the records with the model, and loads them into a tree that must be as the model.
    fn check(&self) {
        let acls: BTreeMap<i64, AclList> = self.head.acls.iter().cloned().chain([(-1, acl::open())]).collect();
        let mut builder = TreeBuilder::new(OPTIONS);
        for (session, timeout_ms) in &self.head.sessions {
            builder.session(*session, *timeout_ms);
        }
        for (id, list) in &self.head.acls {
            builder.acl(*id, list.clone());
        }
        let mut reader = Reader::new(&self.bytes);
        let mut count = 0;
        while reader.remaining() > 0 {
            let path = reader.text().unwrap();
            let data = reader.buffer().unwrap();
            let acl_id = reader.long().unwrap();
            let stat = StatPersisted::decode(&mut reader).unwrap();
            let node = &self.model.nodes[if path.is_empty() { "/" } else { &path }];
            assert_eq!(data, node.data.as_deref(), "data of {path}");
            assert_eq!((stat, &acls[&acl_id]), (node.stat, &node.acl), "stat and ACL of {path}");
            builder.node(&path, data, acl_id, &stat).unwrap();
            count += 1;
        }
        assert_eq!((count, self.head.nodes), (self.model.nodes.len(), count), "one record a node");
        assert_eq!(self.head.digest, Some(self.model.digest()), "digest of the view");
        assert_eq!(builder.unknown_acls(), 0, "every ACL is listed");
        let tree = builder.finish(self.head.zxid).unwrap();
        tree.check_invariants();
        let mut model = self.model.clone();
        // Loading counts usage anew, and that of an outer quota then has the inner one's nodes, as in ZooKeeper.
        for (path, node) in model.nodes.iter_mut().filter(|(path, _)| path.ends_with(path::STATS)) {
            node.data = tree.find(path).unwrap().data().map(<[u8]>::to_vec);
        }
        compare(&tree, &model);
    }
}
