//! A node as readers see it.

use gk_proto::acl::AclList;
use gk_proto::stat::{Owner, Stat, StatPersisted};

use crate::Tree;
use crate::node::{Node, NodeId};

/// One node of a tree, for as long as the tree is borrowed.
#[derive(Clone, Copy)]
pub struct NodeRef<'a> {
    tree: &'a Tree,
    id: NodeId,
    node: &'a Node,
}

impl<'a> NodeRef<'a> {
    pub(crate) fn new(tree: &'a Tree, id: NodeId) -> Self {
        Self { tree, id, node: tree.node(id) }
    }

    /// Its data; null and empty differ.
    pub fn data(self) -> Option<&'a [u8]> {
        self.node.data()
    }

    /// As clients see it.
    pub fn stat(self) -> Stat {
        let stat = self.persisted();
        let num_children = int(self.child_count());
        Stat {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            // Creates plus deletes, from creates and what is left (`DataNode.copyStat`).
            cversion: stat.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion: stat.aversion,
            ephemeral_owner: Owner::from_stored(stat.ephemeral_owner, self.tree.options().owner_rules).shown(),
            data_length: int(self.node.data_length()),
            num_children,
            pzxid: stat.pzxid,
        }
    }

    /// As snapshots have it, but with what a dead owner's end does to its parents done already.
    pub fn persisted(self) -> StatPersisted {
        let mut stat = self.node.stat();
        stat.pzxid = stat.pzxid.max(self.tree.owners.dead_children(self.id).1);
        stat
    }

    /// Whose it is, or what kind of node.
    pub fn owner(self) -> Owner {
        self.tree.owner_of(self.node)
    }

    /// Its ACL.
    pub fn acl(self) -> &'a AclList {
        self.tree.acls.list(self.node.acl)
    }

    /// Last component of the path; empty for the root.
    pub fn name(self) -> &'a str {
        self.node.name_text()
    }

    /// The whole path, `/` for the root.
    pub fn path(self) -> String {
        self.tree.path_of(self.id)
    }

    /// Number of children.
    pub fn child_count(self) -> usize {
        self.node.children().len() - self.tree.owners.dead_children(self.id).0
    }

    /// Names of the children, in no order that means anything.
    pub fn children(self) -> impl Iterator<Item = &'a str> {
        self.children_from(0).map(|(_, name)| name)
    }

    /// The same as bytes of UTF-8: for encoding, where checking each name again would be half of the work.
    pub fn child_names(self) -> impl Iterator<Item = &'a [u8]> {
        let any_gone = !self.tree.owners.dead().is_empty();
        let children = self.node.children().iter().map(move |&id| self.tree.node(id));
        children.filter(move |child| !any_gone || !self.tree.is_gone(child)).map(|child| child.name())
    }

    /// Names of the children from a place on, each with the place where the next one would start: for encoding a large
    /// list in pieces. Places hold while the node's cversion and pzxid stay as they are, and no dead owner is swept.
    pub fn children_from(self, place: usize) -> impl Iterator<Item = (usize, &'a str)> {
        let children = self.node.children().get(place..).unwrap_or_default();
        let placed = (place + 1..).zip(children.iter().map(move |&id| self.tree.node(id)));
        let any_gone = !self.tree.owners.dead().is_empty();
        placed
            .filter(move |(_, child)| !any_gone || !self.tree.is_gone(child))
            .map(|(next, child)| (next, child.name_text()))
    }

    /// All nodes below it (getAllChildrenNumber). Walks the subtree, but for the root.
    pub fn descendants(self) -> usize {
        let all = if self.id == NodeId::ROOT {
            self.tree.slab.len() - self.tree.owners.dead_count()
        } else {
            self.tree.subtree(self.id).filter(|&id| !self.tree.is_gone(self.tree.node(id))).count()
        };
        all - 1
    }

    /// [`prefix_crc`](crate::prefix_crc) of its path and data; 0 in a tree without digest.
    pub fn prefix_crc(self) -> u32 {
        self.node.prefix_crc
    }
}

fn int(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
