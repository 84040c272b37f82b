//! Who is told of a change, and in which order (`DataTree.createNode` and siblings, `WatchManager.triggerWatch`).
//!
//! A change fires the data table at its path and the recursive watches above, then, for a deleted node, the child table
//! at its path but not for connections that were just told, then the child table at the parent. Within one table a
//! connection is told once, however many of its modes match. Recursive watches are in no child table, so they never see
//! NodeChildrenChanged.

use std::sync::Arc;

use gk_proto::acl::AclList;
use gk_proto::watch::EventType;
use gk_proto::{ConnId, path, planted};

use super::Watches;
use super::modes::Modes;
use crate::change::Change;
use crate::dead::DeadOwner;

impl Watches {
    /// Finds who is to be told of a change, uses up one-shot watches, and calls `deliver` with the event's type and
    /// path and the ACL that must grant READ. `deliver` applies the ACL: a watch is used up whether or not its
    /// connection may see the event.
    pub fn fire(&mut self, change: &Change<'_>, deliver: &mut impl FnMut(ConnId, EventType, &Arc<str>, &AclList)) {
        if self.is_empty() {
            return;
        }
        self.fire_node(change, deliver);
        match change.kind {
            EventType::NodeCreated | EventType::NodeDeleted => {
                if let Some(parent) = path::parent(change.path) {
                    self.fire_children(parent, change.parent_acl, deliver);
                }
            }
            EventType::NodeDataChanged | EventType::NodeChildrenChanged => {}
        }
    }

    /// Fires for all nodes of a dead owner, then for all their parents, once each.
    ///
    /// Looks through the watched paths or through the dead nodes, whichever are fewer; through the nodes if there are
    /// recursive watches, as those may cover any of them.
    pub fn fire_dead(
        &mut self,
        dead: &DeadOwner<'_>,
        deliver: &mut impl FnMut(ConnId, EventType, &Arc<str>, &AclList),
    ) {
        if self.paths.len() < dead.node_count() && self.totals.recursive == 0 {
            for path in self.watched_paths(|path| dead.node(path).is_some()) {
                if let Some(change) = dead.node(&path) {
                    self.fire_node(&change, deliver);
                }
            }
        } else if !self.is_empty() {
            dead.for_each_node(|change| self.fire_node(&change, deliver));
        }
        if self.paths.len() < dead.parent_count() {
            for path in self.watched_paths(|path| dead.parent(path).is_some()) {
                if let Some(acl) = dead.parent(&path) {
                    self.fire_children(&path, acl, deliver);
                }
            }
        } else if !self.is_empty() {
            dead.for_each_parent(|path, acl| self.fire_children(path, acl, deliver));
        }
    }

    fn watched_paths(&self, wanted: impl Fn(&str) -> bool) -> Vec<Arc<str>> {
        self.paths.iter().filter(|(_, at)| wanted(&at.path)).map(|(_, at)| at.path.clone()).collect()
    }

    /// The data table, and for a deleted node the child table, at the node itself.
    fn fire_node(&mut self, change: &Change<'_>, deliver: &mut impl FnMut(ConnId, EventType, &Arc<str>, &AclList)) {
        let mut told = Vec::new();
        let mut path = self.take(change.path, Modes::DATA_TABLE, &mut told);
        if self.totals.recursive > 0 {
            self.find_recursive(change.path, &mut told);
        }
        let mut children = Vec::new();
        if change.kind == EventType::NodeDeleted {
            // Used up even where nobody is left to be told.
            let child_path = self.take(change.path, Modes::CHILD_TABLE, &mut children);
            path = path.or(child_path);
            children.retain(|conn| told.binary_search(conn).is_err());
        }
        if told.is_empty() && children.is_empty() {
            return;
        }
        let path = path.unwrap_or_else(|| change.path.into());
        for conn in told.into_iter().chain(children) {
            deliver(conn, change.kind, &path, change.acl);
        }
    }

    /// The child table at the parent of a node that came or went.
    fn fire_children(
        &mut self,
        parent: &str,
        acl: &AclList,
        deliver: &mut impl FnMut(ConnId, EventType, &Arc<str>, &AclList),
    ) {
        let mut told = Vec::new();
        let table = if planted!(RecursiveToldOfChildren) {
            Modes::CHILD_TABLE.with(Modes::RECURSIVE)
        } else {
            Modes::CHILD_TABLE
        };
        let Some(path) = self.take(parent, table, &mut told) else { return };
        for conn in told {
            deliver(conn, EventType::NodeChildrenChanged, &path, acl);
        }
    }

    /// Adds connections with a recursive watch above `path` to `told`, which stays sorted and without duplicates.
    fn find_recursive(&self, path: &str, told: &mut Vec<ConnId>) {
        let before = told.len();
        let mut at = path;
        while let Some(parent) = path::parent(at) {
            at = parent;
            if let Some(id) = self.find(at) {
                let recursive =
                    self.watched(id).watchers.iter().filter(|(_, modes)| modes.intersects(Modes::RECURSIVE));
                told.extend(recursive.map(|(conn, _)| conn));
            }
        }
        if told.len() > before {
            told.sort_unstable();
            told.dedup();
        }
    }

    /// Adds the connections that watch `path` in one of these modes to `told`, by ascending id, and uses up the
    /// one-shot ones among those modes. Returns the path as it is held here, if anybody watches it so.
    fn take(&mut self, path: &str, modes: Modes, told: &mut Vec<ConnId>) -> Option<Arc<str>> {
        let id = self.find(path)?;
        let at = self.watched(id);
        let hit: Vec<(ConnId, Modes)> = at.watchers.iter().filter(|(_, theirs)| theirs.intersects(modes)).collect();
        if hit.is_empty() {
            return None;
        }
        let path = at.path.clone();
        for (conn, theirs) in hit {
            let used_up = theirs.and(modes).and(Modes::ONE_SHOT);
            if used_up != Modes::NONE {
                self.set_modes(id, conn, theirs.without(used_up));
            }
            told.push(conn);
        }
        Some(path)
    }
}
