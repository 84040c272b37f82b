//! What accepted but not yet applied txns will have made of the nodes they touch (ZooKeeper
//! `PrepRequestProcessor.outstandingChanges`): later requests are checked against this first, then against the tree.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;
use gk_proto::acl::AclList;
use gk_proto::stat::{Owner, StatPersisted};
use gk_proto::{SessionId, Zxid, digest, planted};
use gk_tree::{NodeRef, Tree};
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;

/// A node as requests see it: what checks and the tree digest need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub stat: StatPersisted,
    pub acl: AclList,
    pub owner: Owner,
    pub child_count: usize,
    pub data_len: usize,
    pub prefix_crc: u32,
}

impl Entry {
    fn from_node(node: NodeRef<'_>) -> Self {
        Self {
            stat: node.persisted(),
            acl: node.acl().clone(),
            owner: node.owner(),
            child_count: node.child_count(),
            data_len: node.data().map_or(0, <[u8]>::len),
            prefix_crc: node.prefix_crc(),
        }
    }

    fn checksum(&self) -> u64 {
        gk_tree::checksum(self.prefix_crc, &self.stat)
    }
}

/// A change to one path and the txn that makes it; `None` is a deletion.
#[derive(Clone, Debug)]
struct Pending {
    zxid: Zxid,
    entry: Option<Entry>,
}

/// The table of changes, and the tree digest after them.
///
/// - Every path in the table stands in the queue with its zxid, and the queue is in zxid order; `applied` is the only
///   thing that trims either (design: "Apply is a lane like the disk").
#[derive(Debug)]
pub(crate) struct Outstanding {
    table: HashMap<Arc<str>, Pending, FixedState>,
    queue: VecDeque<(Zxid, Arc<str>)>,
    /// Digest of the tree once all that is accepted is applied; `None` while it is not known (a sweep runs, or
    /// digests are off).
    digest: Option<u64>,
    undo: Vec<(Arc<str>, Option<Pending>)>,
}

/// Where a multi began, to go back to.
#[derive(Debug)]
pub(crate) struct Mark {
    undo: usize,
    queue: usize,
    digest: Option<u64>,
}

impl Outstanding {
    pub(crate) fn new(digest: Option<u64>) -> Self {
        Self { table: HashMap::default(), queue: VecDeque::new(), digest, undo: Vec::new() }
    }

    pub(crate) fn digest(&self) -> Option<u64> {
        self.digest
    }

    pub(crate) fn set_digest(&mut self, digest: Option<u64>) {
        self.digest = digest;
    }

    /// The node as it will be once all that is accepted is applied.
    pub(crate) fn get(&self, tree: &Tree, path: &str) -> Option<Entry> {
        if !self.table.is_empty()
            && let Some(pending) = self.table.get(path)
        {
            return pending.entry.clone();
        }
        tree.find(path).map(Entry::from_node)
    }

    /// Notes what the txn `zxid` makes of a path. `before` is what [`Self::get`] said, for the digest.
    pub(crate) fn put(&mut self, zxid: Zxid, path: &str, before: Option<&Entry>, after: Option<Entry>) {
        if let Some(digest) = &mut self.digest
            && digest::counts(path)
        {
            let minus = before.map_or(0, Entry::checksum);
            let plus = after.as_ref().map_or(0, Entry::checksum);
            *digest = digest.wrapping_sub(minus).wrapping_add(plus);
        }
        let pending = Pending { zxid, entry: after };
        let (key, old) = match self.table.entry_ref(path) {
            EntryRef::Occupied(mut place) => (place.key().clone(), Some(place.insert(pending))),
            EntryRef::Vacant(place) => (place.insert_entry_with_key(path.into(), pending).key().clone(), None),
        };
        self.queue.push_back((zxid, key.clone()));
        self.undo.push((key, old));
    }

    /// Begins a txn of one or several ops.
    pub(crate) fn mark(&mut self) -> Mark {
        self.undo.clear();
        Mark { undo: self.undo.len(), queue: self.queue.len(), digest: self.digest }
    }

    /// Takes back all since the mark.
    pub(crate) fn roll_back(&mut self, mark: &Mark) {
        if planted!(FailedMultiBelieved) {
            self.digest = mark.digest;
            return;
        }
        while self.undo.len() > mark.undo {
            let Some((key, old)) = self.undo.pop() else { break };
            match old {
                Some(old) => self.table.insert(key, old),
                None => self.table.remove(&key),
            };
        }
        self.queue.truncate(mark.queue);
        self.digest = mark.digest;
    }

    /// Forgets what the tree has now.
    pub(crate) fn applied(&mut self, upto: Zxid) {
        while let Some((zxid, _)) = self.queue.front()
            && *zxid <= upto
        {
            let Some((zxid, key)) = self.queue.pop_front() else { break };
            if let EntryRef::Occupied(place) = self.table.entry_ref(&*key)
                && place.get().zxid == zxid
            {
                place.remove();
            }
        }
    }

    /// Ephemeral nodes of a session: those of the tree, with what is accepted since. In a fixed order.
    pub(crate) fn ephemerals(&self, tree: &Tree, session: SessionId) -> Vec<String> {
        let owned = |entry: &Option<Entry>| entry.as_ref().is_some_and(|e| e.owner == Owner::Session(session));
        let mut paths: Vec<String> = tree
            .ephemerals(session)
            .filter(|path| self.table.get(path.as_str()).is_none_or(|pending| owned(&pending.entry)))
            .collect();
        let mut fresh = BTreeSet::new();
        for (_, path) in self.queue.iter().filter(|_| !planted!(PendingEphemeralLeft)) {
            let known = || tree.find(path).is_some_and(|node| node.owner() == Owner::Session(session));
            if self.table.get(path).is_some_and(|pending| owned(&pending.entry)) && !known() {
                fresh.insert(path.to_string());
            }
        }
        paths.extend(fresh);
        paths
    }

    /// Gives back room beyond so many entries.
    pub(crate) fn shrink_to(&mut self, entries: usize) {
        self.table.shrink_to(entries);
        self.queue.shrink_to(entries);
        self.undo.shrink_to(entries);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn check_invariants(&self) {
        let mut last = Zxid::ZERO;
        for (zxid, path) in &self.queue {
            assert!(last <= *zxid, "queue out of order at {path}");
            assert!(self.table.get(path).is_some_and(|pending| pending.zxid >= *zxid), "{path} left the table early");
            last = *zxid;
        }
    }
}
