//! The one history of the ensemble, and the tree that a prefix of it makes: too simple to be wrong in the way of the
//! code under test.

use std::collections::BTreeMap;

use gk_proto::stat::Stat;
use gk_proto::watch::EventType;
use gk_proto::{WallTime, Zxid};

/// Zxid of the txn before the first.
pub(crate) const ZXID_START: i64 = 1 << 32;

/// What one txn does to one node.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Create { path: String, data: Vec<u8>, owner: i64 },
    Delete { path: String },
    SetData { path: String, data: Vec<u8> },
}

/// One event of the history: what a watch of the right kind hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Happening {
    pub(crate) zxid: i64,
    pub(crate) kind: EventType,
    pub(crate) path: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) data: Vec<u8>,
    pub(crate) czxid: i64,
    pub(crate) mzxid: i64,
    pub(crate) pzxid: i64,
    version: i32,
    children_changes: i32,
    pub(crate) owner: i64,
}

/// The tree after some prefix of the history.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: BTreeMap<String, Node>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let mut tree = Self { nodes: BTreeMap::new() };
        tree.insert("/", Vec::new(), 0, 0);
        tree
    }

    fn insert(&mut self, path: &str, data: Vec<u8>, owner: i64, zxid: i64) {
        let node = Node { data, czxid: zxid, mzxid: zxid, pzxid: zxid, version: 0, children_changes: 0, owner };
        self.nodes.insert(path.to_owned(), node);
    }

    /// Carries out a change that was checked.
    pub(crate) fn apply(&mut self, zxid: i64, change: &Change) {
        match change {
            Change::Create { path, data, owner } => {
                self.insert(path, data.clone(), *owner, zxid);
                self.touch_parent(zxid, path);
            }
            Change::Delete { path } => {
                self.nodes.remove(path);
                self.touch_parent(zxid, path);
            }
            Change::SetData { path, data } => {
                let node = self.nodes.get_mut(path).expect("setData was checked");
                node.data.clone_from(data);
                node.version += 1;
                node.mzxid = zxid;
            }
        }
    }

    fn touch_parent(&mut self, zxid: i64, path: &str) {
        let parent = self.nodes.get_mut(parent(path)).expect("the parent was checked");
        parent.pzxid = zxid;
        parent.children_changes += 1;
    }

    /// Full paths of the children.
    pub(crate) fn children(&self, path: &str) -> Vec<&str> {
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let below = self.nodes.keys().filter_map(|key| key.strip_prefix(&prefix));
        below.filter(|name| !name.is_empty() && !name.contains('/')).collect()
    }

    pub(crate) fn stat(&self, path: &str) -> Option<Stat> {
        let node = self.nodes.get(path)?;
        Some(Stat {
            czxid: Zxid::from_wire(node.czxid),
            mzxid: Zxid::from_wire(node.mzxid),
            ctime: WallTime(node.czxid),
            mtime: WallTime(node.mzxid),
            version: node.version,
            cversion: node.children_changes,
            aversion: 0,
            ephemeral_owner: node.owner,
            data_length: i32::try_from(node.data.len()).unwrap(),
            num_children: i32::try_from(self.children(path).len()).unwrap(),
            pzxid: Zxid::from_wire(node.pzxid),
        })
    }

    pub(crate) fn ephemerals(&self, session: i64) -> Vec<String> {
        self.nodes.iter().filter(|(_, node)| node.owner == session).map(|(path, _)| path.clone()).collect()
    }
}

/// All txns, and all that happened, in order.
#[derive(Debug)]
pub(crate) struct History {
    txns: Vec<Vec<Change>>,
    pub(crate) happenings: Vec<Happening>,
    /// The tree after all of it.
    pub(crate) head: Tree,
    /// The trees after so many txns each, so that an older one need not be made from the beginning.
    copies: Vec<Tree>,
}

const TXNS_A_COPY: usize = 64;

impl History {
    pub(crate) fn new() -> Self {
        Self { txns: Vec::new(), happenings: Vec::new(), head: Tree::new(), copies: vec![Tree::new()] }
    }

    pub(crate) fn len(&self) -> usize {
        self.txns.len()
    }

    /// The zxid after so many txns.
    pub(crate) fn zxid(applied: usize) -> i64 {
        ZXID_START + i64::try_from(applied).unwrap()
    }

    pub(crate) fn txn(&self, index: usize) -> &[Change] {
        &self.txns[index]
    }

    /// Appends one txn, whose changes were checked one after the other; its zxid. A failed write is a txn without any.
    pub(crate) fn append(&mut self, changes: Vec<Change>) -> i64 {
        let zxid = Self::zxid(self.txns.len() + 1);
        for change in &changes {
            self.head.apply(zxid, change);
            for (kind, path) in happenings(change) {
                self.happenings.push(Happening { zxid, kind, path: path.to_owned() });
            }
        }
        self.txns.push(changes);
        if self.txns.len().is_multiple_of(TXNS_A_COPY) {
            self.copies.push(self.head.clone());
        }
        zxid
    }

    /// The tree after the first `applied` txns.
    pub(crate) fn tree_at(&self, applied: usize) -> Tree {
        let copy = applied / TXNS_A_COPY;
        let mut tree = self.copies[copy].clone();
        for (index, txn) in self.txns.iter().enumerate().take(applied).skip(copy * TXNS_A_COPY) {
            txn.iter().for_each(|change| tree.apply(Self::zxid(index + 1), change));
        }
        tree
    }
}

/// Node event, then parent event.
pub(crate) fn happenings(change: &Change) -> Vec<(EventType, &str)> {
    match change {
        Change::Create { path, .. } => {
            vec![(EventType::NodeCreated, path), (EventType::NodeChildrenChanged, parent(path))]
        }
        Change::Delete { path } => {
            vec![(EventType::NodeDeleted, path), (EventType::NodeChildrenChanged, parent(path))]
        }
        Change::SetData { path, .. } => vec![(EventType::NodeDataChanged, path)],
    }
}

pub(crate) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

/// Whether `path` is `top` or below it.
pub(crate) fn is_within(path: &str, top: &str) -> bool {
    top == "/" || path == top || path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}
