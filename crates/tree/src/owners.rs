//! Who owns nodes: sessions their ephemeral ones, and the reaper containers and TTL nodes.

use std::collections::{BTreeMap, BTreeSet};

use gk_proto::stat::Owner;
use gk_proto::{SessionId, Zxid};

use crate::node::NodeId;

/// The ephemeral nodes of one session.
///
/// - `parents` counts `nodes` by their parent.
#[derive(Debug, Default)]
pub(crate) struct Owned {
    pub(crate) nodes: BTreeSet<NodeId>,
    pub(crate) parents: BTreeMap<NodeId, usize>,
}

/// A session that ended with too many nodes to remove them at once.
#[derive(Debug)]
pub(crate) struct Dead {
    pub(crate) session: SessionId,
    /// Of its closeSession: when all its nodes went.
    pub(crate) zxid: Zxid,
    pub(crate) owned: Owned,
}

/// Side tables of the nodes that are not plain persistent ones.
///
/// - a session is a key of `live`, or in `dead`, only while it has nodes there; never in both.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    live: BTreeMap<SessionId, Owned>,
    dead: Vec<Dead>,
    /// All ephemeral nodes, those of the dead included.
    ephemerals: usize,
    reapable: BTreeSet<NodeId>,
}

impl Owners {
    /// A node that was added.
    pub(crate) fn add(&mut self, owner: Owner, node: NodeId, parent: NodeId) {
        match owner {
            Owner::Persistent => {}
            Owner::Container | Owner::Ttl(_) => {
                self.reapable.insert(node);
            }
            Owner::Session(session) => {
                assert!(!self.is_dead(session), "a node for session {session}, which is dead and not swept");
                let owned = self.live.entry(session).or_default();
                owned.nodes.insert(node);
                *owned.parents.entry(parent).or_default() += 1;
                self.ephemerals += 1;
            }
        }
    }

    /// A node that is being removed.
    pub(crate) fn remove(&mut self, owner: Owner, node: NodeId, parent: NodeId) {
        match owner {
            Owner::Persistent => {}
            Owner::Container | Owner::Ttl(_) => {
                self.reapable.remove(&node);
            }
            Owner::Session(session) => {
                self.ephemerals -= 1;
                let dead = self.dead.iter_mut().position(|dead| dead.session == session);
                let owned = match dead {
                    Some(at) => &mut self.dead[at].owned,
                    None => self.live.entry(session).or_default(),
                };
                owned.remove(node, parent);
                if owned.nodes.is_empty() {
                    match dead {
                        Some(at) => drop(self.dead.remove(at)),
                        None => drop(self.live.remove(&session)),
                    }
                }
            }
        }
    }

    /// Ephemeral nodes that readers can see.
    pub(crate) fn ephemeral_count(&self) -> usize {
        self.ephemerals - self.dead_count()
    }

    /// The nodes of a session that is not dead.
    pub(crate) fn of(&self, session: SessionId) -> Option<&Owned> {
        self.live.get(&session)
    }

    /// Sessions with nodes that are not dead.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.live.keys().copied()
    }

    /// Container and TTL nodes.
    pub(crate) fn reapable(&self) -> &BTreeSet<NodeId> {
        &self.reapable
    }

    /// All nodes of the session are gone from now on.
    pub(crate) fn kill(&mut self, session: SessionId, zxid: Zxid) {
        if let Some(owned) = self.live.remove(&session) {
            self.dead.push(Dead { session, zxid, owned });
        }
    }

    /// Dead owners, the first one first.
    pub(crate) fn dead(&self) -> &[Dead] {
        &self.dead
    }

    pub(crate) fn is_dead(&self, session: SessionId) -> bool {
        self.dead.iter().any(|dead| dead.session == session)
    }

    /// How many nodes are gone but still there.
    pub(crate) fn dead_count(&self) -> usize {
        self.dead.iter().map(|dead| dead.owned.nodes.len()).sum()
    }

    /// How many children of a node are gone but still there, and the zxid at which the last of them went.
    pub(crate) fn dead_children(&self, parent: NodeId) -> (usize, Zxid) {
        let mut sum = (0, Zxid::ZERO);
        for dead in &self.dead {
            if let Some(count) = dead.owned.parents.get(&parent) {
                sum = (sum.0 + count, sum.1.max(dead.zxid));
            }
        }
        sum
    }

    /// Asserts what is said above; the tree checks the nodes themselves.
    pub(crate) fn check_invariants(&self) {
        let dead = self.dead.iter().map(|dead| (dead.session, &dead.owned));
        let all: Vec<_> = self.live.iter().map(|(&session, owned)| (session, owned)).chain(dead).collect();
        let sessions: BTreeSet<_> = all.iter().map(|(session, _)| *session).collect();
        assert_eq!(sessions.len(), all.len(), "a session is live or dead, once");
        for (session, owned) in &all {
            assert!(!owned.nodes.is_empty(), "session {session} without nodes");
            let counted: usize = owned.parents.values().sum();
            assert_eq!(counted, owned.nodes.len(), "children of session {session} by parent");
        }
        let total: usize = all.iter().map(|(_, owned)| owned.nodes.len()).sum();
        assert_eq!(self.ephemerals, total, "all ephemeral nodes");
    }
}

impl Owned {
    fn remove(&mut self, node: NodeId, parent: NodeId) {
        assert!(self.nodes.remove(&node), "{node:?} is not among the nodes of its owner");
        let count = self.parents.get_mut(&parent).expect("INVARIANT: every node is counted at its parent");
        *count -= 1;
        if *count == 0 {
            self.parents.remove(&parent);
        }
    }
}
