//! A tree from the records of a snapshot.

use gk_proto::acl::AclList;
use gk_proto::stat::StatPersisted;
use gk_proto::{SessionId, Zxid};

use crate::tree::{Tree, TreeOptions};

/// Why records do not make a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A node before its parent, or without one.
    #[error("node {0:?} comes before its parent")]
    Orphan(String),
    /// A path twice.
    #[error("node {0:?} comes twice")]
    Duplicate(String),
    /// Not the path of a node.
    #[error("{0:?} is no path of a node")]
    BadPath(String),
    /// More nodes than can be numbered.
    #[error("more than {0} nodes")]
    TooMany(usize),
}

/// Takes a snapshot's parts in the order of the file.
pub struct TreeBuilder {
    tree: Tree,
}

impl TreeBuilder {
    /// Nothing yet.
    pub fn new(options: TreeOptions) -> Self {
        Self { tree: Tree::new(options) }
    }

    /// A session.
    pub fn session(&mut self, _session: SessionId, _timeout_ms: i32) {
        todo!()
    }

    /// An entry of the ACL table.
    pub fn acl(&mut self, _id: i64, _list: AclList) {
        todo!()
    }

    /// A node: the root (`""`) first, each after its parent. An ACL id that is not in the table gives the node a list
    /// that matches nobody, so that only super gets at it.
    pub fn node(
        &mut self,
        _path: &str,
        _data: Option<&[u8]>,
        _acl_id: i64,
        _stat: &StatPersisted,
    ) -> Result<(), BuildError> {
        todo!()
    }

    /// How many nodes named an ACL that is not in the table.
    pub fn unknown_acls(&self) -> usize {
        todo!()
    }

    /// The tree at `zxid`, built-in nodes added where missing, usage of quotas counted anew.
    pub fn finish(self, _zxid: Zxid) -> Result<Tree, BuildError> {
        Ok(self.tree)
    }
}
