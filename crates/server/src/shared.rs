//! What the threads of one server share.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::FixedState;
use gk_node::NodeConfig;
use gk_node::auth::AuthRules;
use gk_node::conn::{Latency, World};
use gk_proto::{ConnId, Instant, Zxid};
use gk_storage::SnapshotStore;
use gk_tree::{Tree, Watches};
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::clock::Clock;
use crate::config::Config;
use crate::farewell::Farewells;
use crate::inbox::Inbox;
use crate::link::Link;
use crate::shard::Shard;
use crate::throttle::Throttle;

/// Everything that more than one thread reaches. Lock order: tree, watches, connections, outbox.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) node_config: Arc<NodeConfig>,
    pub(crate) rules: Arc<AuthRules>,
    pub(crate) clock: Clock,
    pub(crate) tree: SharedTree,
    pub(crate) watches: Mutex<Watches>,
    pub(crate) links: RwLock<HashMap<ConnId, Arc<Link>, FixedState>>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) throttle: Throttle,
    /// What was said of connections that ended.
    pub(crate) farewells: Farewells,
    pub(crate) stats: Stats,
    pub(crate) disk: DiskStats,
    pub(crate) snapshot_store: SnapshotStore,
    /// Txns read at the start whose digest was not the tree's.
    pub(crate) digest_mismatches: u64,
    /// Digests of the tree now and then, for the `hash` word.
    pub(crate) digests: Mutex<VecDeque<(Zxid, u64)>>,
    /// Means nothing; set and shown by the words `stmk` and `gtmk`.
    pub(crate) trace_mask: AtomicI64,
    /// Set once the server stops: nothing new is accepted.
    pub(crate) stopping: AtomicBool,
}

/// A digest is kept of every so many txns, and so many are kept (`DataTree.DIGEST_LOG_INTERVAL`, `DIGEST_LOG_LIMIT`).
const DIGEST_INTERVAL: u64 = 128;
const DIGESTS_MAX: usize = 1024;

/// The tree behind its lock, reached by closures only, so that the lock can be replaced.
pub(crate) struct SharedTree(RwLock<Tree>);

impl SharedTree {
    pub(crate) fn new(tree: Tree) -> Self {
        Self(RwLock::new(tree))
    }

    /// Runs `f` on the tree as it is; writers wait meanwhile, so `f` must be short (200 µs).
    pub(crate) fn read<R>(&self, f: impl FnOnce(&Tree) -> R) -> R {
        f(&self.0.read())
    }

    /// Runs `f` on the tree alone. Only the node's thread calls this.
    pub(crate) fn write<R>(&self, f: impl FnOnce(&mut Tree) -> R) -> R {
        f(&mut self.0.write())
    }

    /// As [`Self::write`], and lets readers that wait go first: for a writer that comes back at once, again and again.
    pub(crate) fn write_yielding<R>(&self, f: impl FnOnce(&mut Tree) -> R) -> R {
        let mut guard = self.0.write();
        let result = f(&mut guard);
        RwLockWriteGuard::unlock_fair(guard);
        result
    }

    /// The guard itself, for a connection that serves several frames under it.
    pub(crate) fn guard(&self) -> RwLockReadGuard<'_, Tree> {
        self.0.read()
    }
}

/// What a connection reads, under one guard.
pub(crate) struct Guarded<'a> {
    tree: RwLockReadGuard<'a, Tree>,
    watches: &'a Mutex<Watches>,
}

impl Shared {
    /// Opens the tree for reading.
    pub(crate) fn world(&self) -> Guarded<'_> {
        Guarded { tree: self.tree.guard(), watches: &self.watches }
    }

    /// The connection, if it is still there.
    pub(crate) fn link(&self, id: ConnId) -> Option<Arc<Link>> {
        self.links.read().get(&id).cloned()
    }

    /// Connections in the order in which they came.
    pub(crate) fn all_links(&self) -> Vec<Arc<Link>> {
        let mut links: Vec<_> = self.links.read().values().cloned().collect();
        links.sort_unstable_by_key(|link| link.id);
        links
    }

    /// Keeps a digest now and then.
    pub(crate) fn note_digest(&self, zxid: Zxid, digest: Option<u64>) {
        if zxid.0.is_multiple_of(DIGEST_INTERVAL)
            && let Some(digest) = digest
        {
            let mut digests = self.digests.lock();
            if digests.len() == DIGESTS_MAX {
                digests.pop_front();
            }
            digests.push_back((zxid, digest));
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

impl World for Guarded<'_> {
    fn tree(&self) -> &Tree {
        &self.tree
    }

    fn watches<R>(&self, change: impl FnOnce(&mut Watches) -> R) -> R {
        change(&mut self.watches.lock())
    }
}

/// Counters of the whole server since its start or the `srst` word.
#[derive(Default)]
pub(crate) struct Stats {
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    /// Requests at the node, as of its last turn.
    pub(crate) outstanding: AtomicUsize,
    /// Bytes of requests at the node and of those that wait behind them.
    pub(crate) outstanding_bytes: AtomicUsize,
    pub(crate) latency: Mutex<Latency>,
    pub(crate) connections_rejected: AtomicU64,
}

impl Stats {
    /// Adds what one turn of a connection did.
    pub(crate) fn add(&self, received: u64, sent: u64, before: &Latency, after: &Latency) {
        if received > 0 {
            self.received.fetch_add(received, Ordering::Relaxed);
        }
        if sent > 0 {
            self.sent.fetch_add(sent, Ordering::Relaxed);
        }
        if after.count > before.count {
            let mut latency = self.latency.lock();
            let first = latency.count == 0;
            latency.count += after.count - before.count;
            latency.sum_ms += after.sum_ms - before.sum_ms;
            latency.max_ms = latency.max_ms.max(after.max_ms);
            latency.min_ms = if first { after.min_ms } else { latency.min_ms.min(after.min_ms) };
        }
    }

    /// Forgets everything, for the `srst` word.
    pub(crate) fn reset(&self) {
        self.received.store(0, Ordering::Relaxed);
        self.sent.store(0, Ordering::Relaxed);
        *self.latency.lock() = Latency::default();
    }
}

/// How the disk has done.
#[derive(Default)]
pub(crate) struct DiskStats {
    pub(crate) fsync: Mutex<Latency>,
    pub(crate) slow_fsyncs: AtomicU64,
    pub(crate) snapshot: Mutex<Latency>,
    /// When the last commit took how long, in microseconds: whether a lone write may wait for the disk itself.
    pub(crate) last_commit_us: AtomicU64,
    /// When the last snapshot ended; 0 for never.
    pub(crate) last_snapshot: Mutex<Option<Instant>>,
}

impl DiskStats {
    /// Forgets what `mntr` shows as a series, for the `srst` word.
    pub(crate) fn reset(&self) {
        *self.fsync.lock() = Latency::default();
        *self.snapshot.lock() = Latency::default();
    }
}
