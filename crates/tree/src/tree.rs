//! The tree.

use gk_proto::stat::OwnerRules;
use gk_proto::txn::{Txn, TxnHeader};
use gk_proto::{SessionId, WallTime, Zxid};

use crate::change::{ChangeSink, Outcome};
use crate::node_ref::NodeRef;
use crate::quota::Quota;
use crate::view::{ViewCursor, ViewHead, ViewRemains, ViewStatus};

/// What differs between trees of the same history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeOptions {
    /// How stored owners are read.
    pub owner_rules: OwnerRules,
    /// Key of the path hash: keeps clients from choosing paths that collide. Nothing that leaves the tree depends on it.
    pub hash_key: u64,
    /// Whether Apache's tree digest is kept.
    pub digest: bool,
}

/// Where a scan for nodes to reap goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReapCursor(());

/// The znodes, the sessions, and the zxid of the last txn applied to them.
pub struct Tree {
    options: TreeOptions,
}

impl Tree {
    /// An empty tree: the root, `/zookeeper`, `/zookeeper/quota` and `/zookeeper/config`.
    pub fn new(options: TreeOptions) -> Self {
        Self { options }
    }

    /// As it was made.
    pub fn options(&self) -> TreeOptions {
        self.options
    }

    /// The last txn applied.
    pub fn last_zxid(&self) -> Zxid {
        todo!()
    }

    /// Apache's tree digest. `None` while nodes of a dead owner are still being removed, and in a tree without digest.
    pub fn digest(&self) -> Option<u64> {
        todo!()
    }

    /// Nodes as ZooKeeper counts them: the root twice, as it has two names in its table. 5 in an empty tree.
    pub fn node_count(&self) -> usize {
        todo!()
    }

    /// Ephemeral nodes.
    pub fn ephemeral_count(&self) -> usize {
        todo!()
    }

    /// Bytes of paths and data, as ZooKeeper counts them. 44 in an empty tree.
    pub fn approximate_data_size(&self) -> u64 {
        todo!()
    }

    /// The timeout of a session in milliseconds, if it exists.
    pub fn session_timeout(&self, _session: SessionId) -> Option<i32> {
        todo!()
    }

    /// Sessions and their timeouts in milliseconds, by ascending id.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, i32)> + '_ {
        std::iter::empty()
    }

    /// Number of sessions.
    pub fn session_count(&self) -> usize {
        todo!()
    }

    /// The node of a path; both `""` and `/` are the root.
    pub fn find(&self, _path: &str) -> Option<NodeRef<'_>> {
        todo!()
    }

    /// Paths of a session's ephemeral nodes. The order depends on the history only.
    pub fn ephemerals(&self, _session: SessionId) -> impl Iterator<Item = String> + '_ {
        std::iter::empty()
    }

    /// Number of a session's ephemeral nodes.
    pub fn ephemeral_count_of(&self, _session: SessionId) -> usize {
        todo!()
    }

    /// Sessions that own ephemeral nodes, by ascending id.
    pub fn sessions_with_ephemerals(&self) -> impl Iterator<Item = SessionId> + '_ {
        std::iter::empty()
    }

    /// The quota that counts for a path: of its deepest ancestor-or-self that has one, whether or not the path exists.
    pub fn quota(&self, _path: &str) -> Option<Quota> {
        todo!()
    }

    /// Looks at up to `budget` container and TTL nodes and appends the paths of those to delete. True while there are
    /// more to look at; the cursor is back at the start when it returns false.
    pub fn reap_candidates(
        &self,
        _now: WallTime,
        _never_used_ms: i64,
        _cursor: &mut ReapCursor,
        _budget: usize,
        _out: &mut Vec<String>,
    ) -> bool {
        todo!()
    }

    /// Applies one txn. Total, deterministic, and tolerant of txns that a fuzzy snapshot already holds
    /// (`DataTree.processTxn`).
    pub fn apply(&mut self, _header: &TxnHeader, _txn: &Txn, _changes: &mut impl ChangeSink) -> Outcome {
        todo!()
    }

    /// Deletes ephemeral nodes whose session does not exist, at the last zxid; their number. For a server that has just
    /// loaded and decides alone.
    pub fn drop_orphans(&mut self, _changes: &mut impl ChangeSink) -> usize {
        todo!()
    }

    /// Starts an exact view of the tree as it is now. `None` while one runs, or while nodes of a dead owner remain.
    pub fn begin_view(&mut self) -> Option<ViewHead> {
        todo!()
    }

    /// Appends node records (storage-format: path and DataNode, the root first and as `""`, parents before their
    /// children) until `budget` bytes are reached. Writes may happen between pieces.
    pub fn view_piece(&self, _cursor: &mut ViewCursor, _out: &mut Vec<u8>, _budget: usize) -> ViewStatus {
        todo!()
    }

    /// Ends the view, whole or not. What it returns holds the view's memory: drop it outside the guard.
    pub fn end_view(&mut self) -> ViewRemains {
        todo!()
    }

    /// Whether nodes of a dead owner remain.
    pub fn is_sweeping(&self) -> bool {
        todo!()
    }

    /// Removes up to `budget` nodes of dead owners; true while some remain.
    pub fn sweep(&mut self, _budget: usize) -> bool {
        todo!()
    }

    /// Asserts every invariant, in time proportional to the tree: for tests and the simulator.
    pub fn check_invariants(&self) {
        todo!()
    }
}
