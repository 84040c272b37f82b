//! Watch tables, keyed by path and connection.

use std::sync::Arc;

use gk_proto::ConnId;
use gk_proto::acl::AclList;
use gk_proto::watch::{EventType, WatcherType};

use crate::change::Change;
use crate::dead::DeadOwner;

/// What is asked to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchKind {
    /// One-shot, data table: getData and exists.
    Data,
    /// One-shot, child table: getChildren.
    Child,
    /// Stays; both tables.
    Persistent,
    /// Stays; data table, for the node and everything below.
    PersistentRecursive,
}

/// Totals of `wchs`: watches of the data table only, several modes of one connection on one path counting once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WatchSummary {
    /// Connections that have any.
    pub connections: usize,
    /// Paths that have any.
    pub paths: usize,
    /// Pairs of connection and path.
    pub watches: usize,
}

/// All watches of one server.
#[derive(Default)]
pub struct Watches {
    recursive: usize,
}

impl Watches {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a watch; any string may be watched. The same watch twice is one.
    pub fn add(&mut self, _conn: ConnId, _path: &str, _kind: WatchKind) {
        todo!()
    }

    /// Removes what [`contains`](Self::contains) would find; whether there was any.
    pub fn remove(&mut self, _conn: ConnId, _path: &str, _kind: WatcherType) -> bool {
        todo!()
    }

    /// Whether the connection has a watch of this type on the path.
    pub fn contains(&self, _conn: ConnId, _path: &str, _kind: WatcherType) -> bool {
        todo!()
    }

    /// Forgets a connection, in time proportional to its watches.
    pub fn drop_conn(&mut self, _conn: ConnId) {
        todo!()
    }

    /// Finds who is to be told of a change, uses up one-shot watches, and calls `deliver` with the event's type and path
    /// and the ACL that must grant READ. `deliver` applies the ACL: a watch is used up whether or not its connection
    /// may see the event.
    pub fn fire(&mut self, _change: &Change<'_>, _deliver: &mut impl FnMut(ConnId, EventType, &Arc<str>, &AclList)) {
        todo!()
    }

    /// As [`fire`](Self::fire) for all nodes of a dead owner, at a cost of the smaller of watches and nodes.
    pub fn fire_dead(
        &mut self,
        _dead: &DeadOwner<'_>,
        _deliver: &mut impl FnMut(ConnId, EventType, &Arc<str>, &AclList),
    ) {
        todo!()
    }

    /// Whether there is no watch at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Watches of the data table plus watches of the child table, as the gauge `watch_count` has them: a persistent
    /// watch counts in both.
    pub fn len(&self) -> usize {
        self.recursive
    }

    /// How many paths a connection watches.
    pub fn path_count(&self, _conn: ConnId) -> usize {
        todo!()
    }

    /// Totals for `wchs`.
    pub fn summary(&self) -> WatchSummary {
        todo!()
    }

    /// For `wchc`: connections by ascending id, each with its paths in the data table, sorted.
    pub fn by_conn(&self) -> impl Iterator<Item = (ConnId, Vec<&str>)> {
        std::iter::empty()
    }

    /// For `wchp`: paths in the data table, sorted, each with its connections by ascending id.
    pub fn by_path(&self) -> impl Iterator<Item = (&str, Vec<ConnId>)> {
        std::iter::empty()
    }

    /// Asserts every invariant, in time proportional to the tables.
    pub fn check_invariants(&self) {
        todo!()
    }
}
