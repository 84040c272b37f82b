//! Owners that died with very many nodes: gone at once for readers, removed in pieces.

use crate::change::Change;

/// A session whose ephemeral nodes all went at one zxid.
pub struct DeadOwner<'a> {
    tree: &'a crate::Tree,
}

impl DeadOwner<'_> {
    /// How many nodes.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is none: never, as a small owner does not die this way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One NodeDeleted a node.
    pub fn for_each_node(&self, _each: impl FnMut(Change<'_>)) {
        let _ = self.tree;
        todo!()
    }
}
