//! Exact views: the tree at one zxid, read in pieces while writes go on.
//!
//! A view walks the slab. A node that was there when the view began is written out as it was then: from the slab if
//! nothing has touched it since, else from the pre-image that the first touch left. Nodes that came later are skipped.
//!
//! The reader holds the tree shared, so what it has written out is marked in atomics; writers see the marks, as they
//! hold the tree alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use gk_proto::acl::AclList;
use gk_proto::jute::Write;
use gk_proto::{SessionId, Zxid, planted};

use crate::node::NodeId;
use crate::tree::Tree;

/// What a snapshot holds before its nodes, and the digest after them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ViewHead {
    /// The tree is shown as it was right after this txn.
    pub zxid: Zxid,
    /// Sessions and timeouts in milliseconds, by ascending id.
    pub sessions: Vec<(SessionId, i32)>,
    /// The ACL table by ascending id. Id -1, the open ACL of the built-in nodes, is not in it.
    pub acls: Vec<(i64, AclList)>,
    /// Apache's tree digest, where it is kept.
    pub digest: Option<u64>,
    /// How many node records will follow.
    pub nodes: usize,
}

/// How far a view has been read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ViewCursor {
    next: u32,
}

/// What a piece of a view means for the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ViewStatus {
    /// There is more to read.
    More,
    /// That was the last record.
    Done,
    /// Too much changed meanwhile, or there is no view: what was read is of no use, end the view and try again later.
    Abandoned,
}

/// The memory of an ended view. Freeing it may take long: drop it where nobody waits.
pub struct ViewRemains {
    _view: Option<Box<View>>,
}

/// A view that runs.
///
/// - a slot below `end` is either written out (its bit is set), or holds a node that is as it was when the view began,
///   or has a pre-image, or was free then and still is;
/// - a slot has at most one pre-image, and none made after it was written out.
#[derive(Debug)]
pub(crate) struct View {
    end: u32,
    written: Vec<AtomicU64>,
    pre_images: BTreeMap<NodeId, PreImage>,
    /// Encoded records, one after the other.
    arena: Vec<u8>,
    abandoned: bool,
}

#[derive(Debug)]
struct PreImage {
    parent: NodeId,
    start: usize,
    length: usize,
}

impl Tree {
    /// Starts an exact view of the tree as it is now. `None` while one runs, or while nodes of a dead owner remain.
    ///
    /// Copies the session table and the ACL table, and clears one bit a node.
    pub fn begin_view(&mut self) -> Option<ViewHead> {
        if self.view.is_some() || self.is_sweeping() {
            return None;
        }
        self.view = Some(Box::new(View::new(self.slab.end())));
        let mut head = ViewHead {
            zxid: self.last_zxid,
            sessions: self.sessions().collect(),
            acls: self.acls.table(),
            digest: self.digest(),
            nodes: self.slab.len(),
        };
        if planted!(SnapshotMissesSession) {
            head.sessions.pop();
        }
        if planted!(SnapshotMissesAcl) {
            head.acls.pop();
        }
        Some(head)
    }

    /// Appends node records (storage-format: path and DataNode, the root first and as `""`, parents before their
    /// children) until `budget` bytes are reached. Writes may happen between pieces, other readers at any time, but
    /// only one reader reads the view.
    pub fn view_piece(&self, cursor: &mut ViewCursor, out: &mut Vec<u8>, budget: usize) -> ViewStatus {
        let Some(view) = self.view.as_ref().filter(|view| !view.abandoned) else { return ViewStatus::Abandoned };
        let limit = out.len().saturating_add(budget);
        let mut looked_at = 0;
        while cursor.next < view.end {
            if out.len() + looked_at >= limit {
                return ViewStatus::More;
            }
            let id = NodeId(cursor.next);
            cursor.next += 1;
            looked_at += LOOK_BYTES;
            if !view.is_written(id) && (view.pre_images.contains_key(&id) || self.slab.get(id.0).is_some()) {
                self.write_with_ancestors(view, id, out);
            }
        }
        ViewStatus::Done
    }

    /// Ends the view, whole or not. What it returns holds the view's memory.
    pub fn end_view(&mut self) -> ViewRemains {
        ViewRemains { _view: self.view.take() }
    }

    /// Before a node changes or goes: keeps it for the view as it is, once.
    #[inline]
    pub(crate) fn preserve(&mut self, id: NodeId) {
        if self.view.is_some() {
            self.preserve_for_view(id);
        }
    }

    fn preserve_for_view(&mut self, id: NodeId) {
        let Some(mut view) = self.view.take() else { return };
        if !view.abandoned && !view.is_written(id) && !view.pre_images.contains_key(&id) {
            let start = view.arena.len();
            self.put_record(id, &mut view.arena);
            let length = view.arena.len() - start;
            view.pre_images.insert(id, PreImage { parent: self.node(id).parent, start, length });
            if view.arena.len() > PRE_IMAGE_BYTES_MAX {
                view.abandoned = true;
            }
        }
        self.view = Some(view);
    }

    fn write_with_ancestors(&self, view: &View, id: NodeId, out: &mut Vec<u8>) {
        let mut chain = vec![id];
        let mut at = id;
        while at != NodeId::ROOT {
            at = view.pre_images.get(&at).map_or_else(|| self.node(at).parent, |image| image.parent);
            if view.is_written(at) {
                break;
            }
            chain.push(at);
        }
        for at in chain.into_iter().rev() {
            view.mark_written(at);
            match view.pre_images.get(&at) {
                Some(image) => out.extend_from_slice(&view.arena[image.start..image.start + image.length]),
                None => self.put_record(at, out),
            }
        }
    }

    fn put_record(&self, id: NodeId, out: &mut Vec<u8>) {
        let length_at = out.len();
        out.put_count(0);
        self.put_path(id, out);
        let mut length = Vec::with_capacity(size_of::<i32>());
        length.put_count(out.len() - length_at - size_of::<i32>());
        out[length_at..length_at + size_of::<i32>()].copy_from_slice(&length);
        let node = self.node(id);
        out.put_buffer(node.data());
        out.put_long(node.acl.snapshot_id());
        node.stat().encode(out);
    }
}

impl View {
    fn new(end: u32) -> Self {
        let words = end.div_ceil(u64::BITS);
        Self {
            end,
            written: (0..words).map(|_| AtomicU64::new(0)).collect(),
            pre_images: BTreeMap::new(),
            arena: Vec::new(),
            abandoned: false,
        }
    }

    /// A node that came after the view began: not to be written out, unless its slot still owes a pre-image.
    pub(crate) fn skip_new(&self, id: NodeId) {
        if id.0 < self.end && !self.pre_images.contains_key(&id) {
            self.mark_written(id);
        }
    }

    fn is_written(&self, id: NodeId) -> bool {
        let (word, bit) = self.bit(id);
        // Beyond the end nothing is of this view, which is as good as written.
        word.is_none_or(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    fn mark_written(&self, id: NodeId) {
        let (word, bit) = self.bit(id);
        if let Some(word) = word {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn bit(&self, id: NodeId) -> (Option<&AtomicU64>, u64) {
        let word = usize::try_from(id.0 / u64::BITS).unwrap_or(usize::MAX);
        (self.written.get(word).filter(|_| id.0 < self.end), 1 << (id.0 % u64::BITS))
    }
}

/// Pre-images that a view may hold; beyond, it is abandoned.
const PRE_IMAGE_BYTES_MAX: usize = 64 << 20;

/// What looking at a slot costs of a piece's budget, so that a run of free slots ends a piece too.
const LOOK_BYTES: usize = 16;

#[cfg(test)]
mod tests;
