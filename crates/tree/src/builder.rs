//! A tree from the records of a snapshot.

use std::collections::{BTreeMap, BTreeSet};

use gk_proto::acl::AclList;
use gk_proto::path::{self, CONFIG, QUOTA_ROOT, RESERVED};
use gk_proto::stat::StatPersisted;
use gk_proto::{SessionId, Zxid};

use crate::acls::{self, AclIndex, BUILT_IN_ID};
use crate::node::NodeId;
use crate::tree::{Tree, TreeOptions, is_joined};

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
    /// No record of the root.
    #[error("there is no root")]
    NoRoot,
    /// A built-in node with an owner.
    #[error("built-in node {0:?} has an owner")]
    OwnedBuiltIn(String),
}

/// Takes a snapshot's parts in the order of the file.
pub struct TreeBuilder {
    tree: Tree,
    acls: BTreeMap<i64, AclIndex>,
    unknown_acls: usize,
    /// Built-in nodes that came from the file; the others are as in an empty tree.
    seen: BTreeSet<NodeId>,
    /// The last node's parent, which is likely the next one's too.
    last_parent: (String, NodeId),
}

impl TreeBuilder {
    /// Nothing yet.
    pub fn new(options: TreeOptions) -> Self {
        Self {
            tree: Tree::new(options),
            acls: BTreeMap::new(),
            unknown_acls: 0,
            seen: BTreeSet::new(),
            last_parent: ("/".to_owned(), NodeId::ROOT),
        }
    }

    /// A session.
    pub fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.tree.sessions.insert(session, timeout_ms);
    }

    /// An entry of the ACL table. Of two entries with one id the last counts.
    pub fn acl(&mut self, id: i64, list: AclList) {
        // The table itself is a user, so that no list goes before the nodes come.
        let index = self.tree.acls.acquire(&list);
        if let Some(old) = self.acls.insert(id, index) {
            self.tree.acls.release(old);
        }
    }

    /// A node: the root (`""`) first, each after its parent. An ACL id that is not in the table gives the node a list
    /// that matches nobody, so that only super gets at it until the create in the log comes again.
    pub fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), BuildError> {
        if let Some(id) = built_in(path) {
            return self.built_in_node(id, path, data, acl_id, stat);
        }
        if !self.seen.contains(&NodeId::ROOT) {
            return Err(BuildError::Orphan(path.to_owned()));
        }
        let Some((parent_path, _)) = path::split(path).filter(|_| is_joined(path)) else {
            return Err(BuildError::BadPath(path.to_owned()));
        };
        let parent = if self.last_parent.0 == parent_path {
            self.last_parent.1
        } else {
            let parent = self.tree.any_id(parent_path).ok_or_else(|| BuildError::Orphan(path.to_owned()))?;
            self.last_parent = (parent_path.to_owned(), parent);
            parent
        };
        if self.tree.any_id(path).is_some() {
            return Err(BuildError::Duplicate(path.to_owned()));
        }
        let acl = self.acl_of(acl_id);
        self.tree.insert(parent, path, data, acl, *stat);
        Ok(())
    }

    /// How many nodes named an ACL that is not in the table.
    pub fn unknown_acls(&self) -> usize {
        self.unknown_acls
    }

    /// The tree at `zxid`, built-in nodes added where missing, usage of quotas counted anew.
    pub fn finish(mut self, zxid: Zxid) -> Result<Tree, BuildError> {
        if !self.seen.contains(&NodeId::ROOT) {
            return Err(BuildError::NoRoot);
        }
        for index in self.acls.into_values() {
            self.tree.acls.release(index);
        }
        self.tree.last_zxid = zxid;
        self.tree.load_quotas();
        Ok(self.tree)
    }

    fn built_in_node(
        &mut self,
        id: NodeId,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), BuildError> {
        if stat.ephemeral_owner != 0 {
            return Err(BuildError::OwnedBuiltIn(path.to_owned()));
        }
        if !self.seen.insert(id) {
            return Err(BuildError::Duplicate(path.to_owned()));
        }
        let acl = self.acl_of(acl_id);
        self.tree.put_data(id, path, data, |_| ());
        let old = self.tree.edit(id, |node| node.restore(stat, acl));
        self.tree.acls.release(old);
        Ok(())
    }

    fn acl_of(&mut self, id: i64) -> AclIndex {
        if id == BUILT_IN_ID {
            return AclIndex::BUILT_IN;
        }
        match self.acls.get(&id) {
            Some(&index) => {
                self.tree.acls.retain(index);
                index
            }
            None => {
                self.unknown_acls += 1;
                self.tree.acls.acquire(&acls::nobody())
            }
        }
    }
}

fn built_in(path: &str) -> Option<NodeId> {
    match path {
        "" | "/" => Some(NodeId::ROOT),
        RESERVED => Some(NodeId::RESERVED),
        QUOTA_ROOT => Some(NodeId::QUOTA),
        CONFIG => Some(NodeId::CONFIG),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
