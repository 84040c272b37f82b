//! A node as readers see it.

use gk_proto::acl::AclList;
use gk_proto::stat::{Owner, Stat, StatPersisted};

use crate::Tree;

/// One node of a tree, for as long as the tree is borrowed.
#[derive(Clone, Copy)]
pub struct NodeRef<'a> {
    tree: &'a Tree,
}

impl<'a> NodeRef<'a> {
    /// Its data; null and empty differ.
    pub fn data(self) -> Option<&'a [u8]> {
        let _ = self.tree;
        todo!()
    }

    /// As clients see it.
    pub fn stat(self) -> Stat {
        todo!()
    }

    /// As snapshots have it.
    pub fn persisted(self) -> StatPersisted {
        todo!()
    }

    /// Whose it is, or what kind of node.
    pub fn owner(self) -> Owner {
        todo!()
    }

    /// Its ACL.
    pub fn acl(self) -> &'a AclList {
        todo!()
    }

    /// Last component of the path; empty for the root.
    pub fn name(self) -> &'a str {
        todo!()
    }

    /// The whole path, `/` for the root.
    pub fn path(self) -> String {
        todo!()
    }

    /// Number of children.
    pub fn child_count(self) -> usize {
        todo!()
    }

    /// Names of the children, in no order that means anything.
    pub fn children(self) -> impl Iterator<Item = &'a str> {
        self.children_from(0).map(|(_, name)| name)
    }

    /// Names of the children from a place on, each with the place where the next one would start: for encoding a large
    /// list in pieces. Places hold while the node's cversion and pzxid stay as they are.
    pub fn children_from(self, _place: usize) -> impl Iterator<Item = (usize, &'a str)> {
        std::iter::empty()
    }

    /// All nodes below it (getAllChildrenNumber). Walks the subtree.
    pub fn descendants(self) -> usize {
        todo!()
    }

    /// [`prefix_crc`](crate::prefix_crc) of its path and data; 0 in a tree without digest.
    pub fn prefix_crc(self) -> u32 {
        todo!()
    }
}
