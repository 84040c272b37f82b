//! The end of a session, and of its ephemeral nodes.
//!
//! A session with very many nodes takes effect by marking it dead: its nodes are gone for every reader in that moment,
//! and are removed in pieces afterwards (`Tree::sweep`). Until then they are hidden from `find`, child lists, counts
//! and their parents' stats, and a txn that meets one removes it first. Deleting a parent removes all that it still
//! hides.
//!
//! Watch events of such an end are fired when it is marked, under the same write guard, so that nobody can read a node
//! as gone before the event: see [`Watches::fire_dead`](crate::Watches::fire_dead). Where ZooKeeper sends a persistent
//! child watch one event for each node that goes, here it gets one for each parent, as all went at one zxid.

use gk_proto::acl::AclList;
use gk_proto::path::{self, QUOTA_ROOT};
use gk_proto::stat::Owner;
use gk_proto::txn::TxnHeader;
use gk_proto::watch::EventType;
use gk_proto::{SessionId, Zxid, planted};

use crate::change::{Change, ChangeSink};
use crate::node::NodeId;
use crate::owners::Dead;
use crate::tree::Tree;

/// A session whose ephemeral nodes all went at one zxid.
pub struct DeadOwner<'a> {
    tree: &'a Tree,
    dead: &'a Dead,
}

impl DeadOwner<'_> {
    /// The session.
    pub fn session(&self) -> SessionId {
        self.dead.session
    }

    /// The txn that ended it.
    pub fn zxid(&self) -> Zxid {
        self.dead.zxid
    }

    /// How many nodes.
    pub fn node_count(&self) -> usize {
        self.dead.owned.nodes.len()
    }

    /// How many nodes have children among them.
    pub fn parent_count(&self) -> usize {
        self.dead.owned.parents.len()
    }

    /// The end of the node at `path`, if it is one of them.
    pub fn node<'p>(&'p self, path: &'p str) -> Option<Change<'p>> {
        let id = self.tree.any_id(path)?;
        self.dead.owned.nodes.contains(&id).then(|| self.change(id, path))
    }

    /// One NodeDeleted for each node.
    pub fn for_each_node(&self, mut each: impl FnMut(Change<'_>)) {
        for &id in &self.dead.owned.nodes {
            each(self.change(id, &self.tree.path_of(id)));
        }
    }

    /// The ACL of the node at `path`, if it has children among them.
    pub fn parent(&self, path: &str) -> Option<&AclList> {
        let id = self.tree.live_id(path)?;
        self.dead.owned.parents.contains_key(&id).then(|| self.acl(id))
    }

    /// Path and ACL of each node that has children among them.
    pub fn for_each_parent(&self, mut each: impl FnMut(&str, &AclList)) {
        for &id in self.dead.owned.parents.keys() {
            each(&self.tree.path_of(id), self.acl(id));
        }
    }

    fn change<'p>(&'p self, id: NodeId, path: &'p str) -> Change<'p> {
        let parent_acl = self.acl(self.tree.node(id).parent);
        Change { kind: EventType::NodeDeleted, path, acl: self.acl(id), parent_acl, zxid: self.dead.zxid }
    }

    fn acl(&self, id: NodeId) -> &AclList {
        self.tree.acls.list(self.tree.node(id).acl)
    }
}

impl Tree {
    /// Deletes ephemeral nodes whose session does not exist, at the last zxid, and returns their number. For a server
    /// that has just loaded its files and decides alone.
    pub fn drop_orphans(&mut self, changes: &mut impl ChangeSink) -> usize {
        let sessions: Vec<SessionId> =
            self.owners.sessions().filter(|session| !self.sessions.contains_key(session)).collect();
        let mut count = 0;
        for session in sessions {
            count += self.ephemeral_count_of(session);
            self.delete_ephemerals(session, self.last_zxid, changes);
        }
        count
    }

    /// Whether nodes of a dead owner remain.
    pub fn is_sweeping(&self) -> bool {
        !self.owners.dead().is_empty()
    }

    /// Removes up to `budget` nodes of dead owners; true while some remain.
    pub fn sweep(&mut self, budget: usize) -> bool {
        for _ in 0..budget {
            let Some(dead) = self.owners.dead().first() else { return false };
            let first = dead.owned.nodes.first();
            let id = *first.expect("INVARIANT: an owner without nodes is in no table");
            self.remove_gone(id, &self.path_of(id));
        }
        self.is_sweeping()
    }

    /// Lowers the number of ephemeral nodes up to which a closeSession removes them at once: for tests and the
    /// simulator, so that dead owners are common there. What a txn does in the end does not depend on it.
    pub fn set_inline_deletes_max(&mut self, max: usize) {
        self.inline_deletes_max = max.min(INLINE_DELETES_MAX);
    }

    /// The effect of closeSession: first the paths that it names, then what else is known of the session.
    pub(crate) fn close_session(&mut self, header: &TxnHeader, paths: &[String], changes: &mut impl ChangeSink) {
        let TxnHeader { session, zxid, .. } = *header;
        self.sessions.remove(&session);
        if self.ephemeral_count_of(session) <= self.inline_deletes_max {
            let paths =
                if planted!(EphemeralLeft) { paths.split_last().map_or(paths, |(_, rest)| rest) } else { paths };
            for path in paths {
                seen_by_view!(unless SnapshotMissesClose, self, self.delete(path, zxid, changes));
            }
            if !planted!(EphemeralLeft) {
                seen_by_view!(unless SnapshotMissesClose, self, self.delete_ephemerals(session, zxid, changes));
            }
            return;
        }
        for path in paths {
            if !self.owns(session, path) {
                self.delete(path, zxid, changes);
            }
        }
        if self.owners.dead().len() == DEAD_OWNERS_MAX {
            self.sweep_owner(self.owners.dead()[0].session);
        }
        self.owners.kill(session, zxid);
        if let Some(dead) = self.owners.dead().last().filter(|dead| dead.session == session) {
            changes.owner_died(&DeadOwner { tree: self, dead });
        }
    }

    /// Removes all nodes of all dead owners before a txn that is about quotas: what it finds or leaves in a usage node
    /// must not depend on how far the sweep is.
    pub(crate) fn sweep_for_quotas(&mut self, path: &str) {
        if path.starts_with(QUOTA_ROOT) {
            while self.sweep(usize::MAX) {}
        }
    }

    /// Removes all nodes of an owner if it is dead.
    pub(crate) fn sweep_owner(&mut self, session: SessionId) {
        while let Some(dead) = self.owners.dead().iter().find(|dead| dead.session == session) {
            let first = dead.owned.nodes.first();
            let id = *first.expect("INVARIANT: an owner without nodes is in no table");
            self.remove_gone(id, &self.path_of(id));
        }
    }

    /// Removes a node whose owner is dead, without any event.
    pub(crate) fn remove_gone(&mut self, id: NodeId, path: &str) {
        let zxid = self.death_of(id);
        self.raise_pzxid(self.node(id).parent, zxid);
        self.delete_subtree(id, path, zxid, &mut ());
    }

    fn death_of(&self, id: NodeId) -> Zxid {
        let dead = self.owners.dead().iter().find(|dead| dead.owned.nodes.contains(&id));
        dead.expect("INVARIANT: a node that is gone is among the nodes of a dead owner").zxid
    }

    fn owns(&self, session: SessionId, path: &str) -> bool {
        let owner = self.any_id(path).map(|id| self.owner_of(self.node(id)));
        owner == Some(Owner::Session(session)) && path::parent(path).is_some()
    }

    fn delete_ephemerals(&mut self, session: SessionId, zxid: Zxid, changes: &mut impl ChangeSink) {
        while let Some(&id) = self.owners.of(session).and_then(|owned| owned.nodes.first()) {
            self.raise_pzxid(self.node(id).parent, zxid);
            self.delete_subtree(id, &self.path_of(id), zxid, changes);
        }
    }
}

/// Ephemeral nodes that a closeSession removes at once, which takes some milliseconds; an owner of more is marked dead.
pub(crate) const INLINE_DELETES_MAX: usize = 4096;

/// Dead owners at a time, as every stat asks them all; the oldest is swept whole when one more comes.
const DEAD_OWNERS_MAX: usize = 16;

#[cfg(test)]
mod tests;
