//! What the tests of this crate share: a tree with a clock that counts txns, and a sink that writes changes down.

use bytes::Bytes;
use gk_proto::acl::{self, AclList};
use gk_proto::stat::{OwnerRules, Stat};
use gk_proto::txn::{CreateKind, Txn, TxnHeader};
use gk_proto::watch::EventType;
use gk_proto::{SessionId, WallTime, Xid, Zxid};

use crate::{Change, ChangeSink, DeadOwner, Outcome, Tree, TreeOptions};

pub(crate) const OPTIONS: TreeOptions =
    TreeOptions { owner_rules: OwnerRules { extended_types: true, emulate_353: false }, hash_key: 7, digest: true };

/// A tree, and the changes that its last txn made.
pub(crate) struct Bench {
    pub(crate) tree: Tree,
    pub(crate) changes: Log,
    pub(crate) next: u64,
    /// Whether invariants are checked after each txn, which takes as long as the tree is large.
    pub(crate) checked: bool,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) lines: Vec<String>,
    pub(crate) dead: Vec<(SessionId, usize)>,
}

impl ChangeSink for Log {
    fn changed(&mut self, change: Change<'_>) {
        let kind = match change.kind {
            EventType::NodeCreated => '+',
            EventType::NodeDeleted => '-',
            EventType::NodeDataChanged => '=',
            EventType::NodeChildrenChanged => '?',
        };
        self.lines.push(format!("{kind}{}@{}", change.path, change.zxid));
    }

    fn owner_died(&mut self, dead: &DeadOwner<'_>) {
        self.dead.push((dead.session(), dead.node_count()));
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::on(Tree::new(OPTIONS))
    }

    /// Goes on after the tree's last txn.
    pub(crate) fn on(tree: Tree) -> Self {
        let next = tree.last_zxid().0 + 1;
        Self { tree, changes: Log::default(), next, checked: true }
    }

    /// Applies the next txn, as of session 0.
    pub(crate) fn apply(&mut self, txn: &Txn) -> Outcome {
        self.apply_as(SessionId::NONE, txn)
    }

    pub(crate) fn apply_as(&mut self, session: SessionId, txn: &Txn) -> Outcome {
        let zxid = self.next;
        self.next += 1;
        self.apply_at(zxid, session, txn)
    }

    /// Applies a txn of any zxid; its time is 1000 times that.
    pub(crate) fn apply_at(&mut self, zxid: u64, session: SessionId, txn: &Txn) -> Outcome {
        let time = WallTime(i64::try_from(zxid * 1000).unwrap());
        let header = TxnHeader { session, cxid: Xid(1), zxid: Zxid(zxid), time };
        self.changes = Log::default();
        let outcome = self.tree.apply(&header, txn, &mut self.changes);
        if self.checked {
            self.tree.check_invariants();
        }
        outcome
    }

    pub(crate) fn stat(&self, path: &str) -> Stat {
        self.tree.find(path).unwrap_or_else(|| panic!("{path} is missing")).stat()
    }

    pub(crate) fn text(&self, path: &str) -> String {
        let data = self.tree.find(path).unwrap_or_else(|| panic!("{path} is missing")).data();
        String::from_utf8(data.unwrap_or(b"null").to_vec()).unwrap()
    }

    pub(crate) fn children(&self, path: &str) -> Vec<&str> {
        let mut names: Vec<_> = self.tree.find(path).unwrap().children().collect();
        names.sort_unstable();
        names
    }
}

pub(crate) fn create(path: &str) -> Txn {
    create_with(path, Some(b"data"), acl::open(), CreateKind::Create, -1)
}

pub(crate) fn create_kind(path: &str, kind: CreateKind) -> Txn {
    create_with(path, Some(b""), acl::open(), kind, -1)
}

pub(crate) fn create_with(
    path: &str,
    data: Option<&[u8]>,
    acl: AclList,
    kind: CreateKind,
    parent_cversion: i32,
) -> Txn {
    Txn::Create { path: path.into(), data: data.map(Bytes::copy_from_slice), acl, kind, parent_cversion }
}

pub(crate) fn delete(path: &str) -> Txn {
    Txn::Delete { path: path.into() }
}

pub(crate) fn set_data(path: &str, data: &str, version: i32) -> Txn {
    Txn::SetData { path: path.into(), data: Some(Bytes::copy_from_slice(data.as_bytes())), version }
}

pub(crate) fn close(paths: &[&str]) -> Txn {
    Txn::CloseSession { paths: Some(paths.iter().map(|&path| path.into()).collect()) }
}
