//! Watch tables, keyed by path and connection (`WatchManager`, `WatcherOrBitSet`).
//!
//! ZooKeeper's data table and child table are one here: each pair of path and connection has one set of modes, and a
//! table is those modes that it fires. Keys are paths, never node numbers: any string may be watched, nodes come and
//! go.
//!
//! Not done here: the ACL that filters an event, which is `deliver`'s; and the catch-up of setWatches, which compares
//! zxids with the tree before it sets a watch.

mod modes;
mod fire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gk_proto::watch::WatcherType;
use gk_proto::{ConnId, planted};

use crate::index::{PathHash, PathIndex};
use crate::slab::Slab;

use modes::Modes;

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
///
/// - a path is in `paths` and `index`, and a connection in `conns`, only while it has watches;
/// - `conns` has exactly the pairs of `paths`, and adds up the paths of each;
/// - `totals` counts pairs by mode and table.
pub struct Watches {
    paths: Slab<Watched>,
    index: PathIndex,
    conns: BTreeMap<ConnId, Watching>,
    totals: Totals,
}

/// What one connection watches.
#[derive(PartialEq, Eq, Debug, Default)]
struct Watching {
    ids: BTreeSet<u32>,
    /// Length of all their paths.
    path_bytes: usize,
}

struct Watched {
    path: Arc<str>,
    hash: PathHash,
    watchers: Watchers,
}

/// Nearly every path has one watcher, so that one needs no allocation.
enum Watchers {
    One(ConnId, Modes),
    Many(BTreeMap<ConnId, Modes>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Totals {
    data_table: usize,
    child_table: usize,
    recursive: usize,
}

impl Watches {
    /// None yet. The key is that of the tree's path hash, for the same reason.
    pub fn new(hash_key: u64) -> Self {
        Self {
            paths: Slab::new(),
            index: PathIndex::new(hash_key, SHARD_BITS),
            conns: BTreeMap::new(),
            totals: Totals::default(),
        }
    }

    /// Sets a watch; any string may be watched. The same watch twice is one.
    pub fn add(&mut self, conn: ConnId, path: &str, kind: WatchKind) {
        let id = self.find(path).unwrap_or_else(|| self.insert_path(path));
        let modes = self.modes(id, conn).filter(|_| !planted!(WatchModesClobber)).unwrap_or(Modes::NONE);
        self.set_modes(id, conn, modes.with(Modes::of_kind(kind)));
    }

    /// Removes what [`contains`](Self::contains) would find; whether there was any.
    pub fn remove(&mut self, conn: ConnId, path: &str, kind: WatcherType) -> bool {
        let Some(id) = self.find(path) else { return false };
        let Some(modes) = self.modes(id, conn) else { return false };
        let removed = Modes::of_type(kind);
        if !modes.intersects(removed) {
            return false;
        }
        self.set_modes(id, conn, modes.without(removed));
        true
    }

    /// Whether the connection has a watch of this type on the path.
    pub fn contains(&self, conn: ConnId, path: &str, kind: WatcherType) -> bool {
        let modes = self.find(path).and_then(|id| self.modes(id, conn));
        modes.is_some_and(|modes| modes.intersects(Modes::of_type(kind)))
    }

    /// Forgets a connection, in time proportional to its watches.
    pub fn drop_conn(&mut self, conn: ConnId) {
        for id in self.conns.remove(&conn).unwrap_or_default().ids {
            self.set_modes(id, conn, Modes::NONE);
        }
    }

    /// Whether there is no watch at all.
    pub fn is_empty(&self) -> bool {
        self.paths.len() == 0
    }

    /// Watches of the data table plus watches of the child table, as the gauge `watch_count` has them: a persistent
    /// watch counts in both.
    pub fn len(&self) -> usize {
        self.totals.data_table + self.totals.child_table
    }

    /// How many paths a connection watches.
    pub fn path_count(&self, conn: ConnId) -> usize {
        self.conns.get(&conn).map_or(0, |watching| watching.ids.len())
    }

    /// How long these paths are, all together.
    pub fn path_bytes(&self, conn: ConnId) -> usize {
        self.conns.get(&conn).map_or(0, |watching| watching.path_bytes)
    }

    /// Totals for `wchs`. Looks at every watch.
    pub fn summary(&self) -> WatchSummary {
        let in_data = |id, conn| self.modes(id, conn).is_some_and(Modes::in_data_table);
        let any = |conn: ConnId, watching: &Watching| watching.ids.iter().any(|&id| in_data(id, conn));
        let connections = self.conns.iter().filter(|(conn, watching)| any(**conn, watching)).count();
        let paths =
            self.paths.iter().filter(|(_, at)| at.watchers.iter().any(|(_, modes)| modes.in_data_table())).count();
        WatchSummary { connections, paths, watches: self.totals.data_table }
    }

    /// For `wchc`: connections by ascending id, each with its paths in the data table, sorted.
    pub fn by_conn(&self) -> impl Iterator<Item = (ConnId, Vec<&str>)> {
        self.conns.iter().filter_map(|(&conn, watching)| {
            let in_data = watching.ids.iter().filter(|&&id| self.modes(id, conn).is_some_and(Modes::in_data_table));
            let mut paths: Vec<&str> = in_data.map(|&id| &*self.watched(id).path).collect();
            paths.sort_unstable();
            (!paths.is_empty()).then_some((conn, paths))
        })
    }

    /// For `wchp`: paths in the data table, sorted, each with its connections by ascending id.
    pub fn by_path(&self) -> impl Iterator<Item = (&str, Vec<ConnId>)> {
        let conns = |at: &Watched| {
            at.watchers.iter().filter(|(_, modes)| modes.in_data_table()).map(|(conn, _)| conn).collect::<Vec<_>>()
        };
        let mut paths: Vec<_> = self.paths.iter().map(|(_, at)| (&*at.path, conns(at))).collect();
        paths.retain(|(_, conns)| !conns.is_empty());
        paths.sort_unstable();
        paths.into_iter()
    }

    /// Asserts every invariant, in time proportional to the tables.
    pub fn check_invariants(&self) {
        assert_eq!(self.index.len(), self.paths.len(), "paths in the index");
        let mut totals = Totals::default();
        let mut conns = BTreeMap::<ConnId, Watching>::new();
        for (id, at) in self.paths.iter() {
            assert_eq!(self.find(&at.path), Some(id), "{} leads to its watches", at.path);
            let mut count = 0;
            for (conn, modes) in at.watchers.iter() {
                assert_ne!(modes, Modes::NONE, "{conn:?} at {} has a mode", at.path);
                totals.count(Modes::NONE, modes);
                let watching = conns.entry(conn).or_default();
                watching.ids.insert(id);
                watching.path_bytes += at.path.len();
                count += 1;
            }
            assert_ne!(count, 0, "{} has a watcher", at.path);
        }
        assert_eq!(self.conns, conns, "paths by connection");
        assert_eq!(self.totals, totals, "totals");
    }
}

impl Watches {
    fn find(&self, path: &str) -> Option<u32> {
        self.index.find(self.index.hash(path), |id| &*self.watched(id).path == path)
    }

    fn watched(&self, id: u32) -> &Watched {
        self.paths.get(id).expect("INVARIANT: the index and the connections hold numbers of watched paths only")
    }

    fn watched_mut(&mut self, id: u32) -> &mut Watched {
        self.paths.get_mut(id).expect("INVARIANT: the index and the connections hold numbers of watched paths only")
    }

    fn modes(&self, id: u32, conn: ConnId) -> Option<Modes> {
        self.watched(id).watchers.get(conn)
    }

    /// Gives a connection these modes on a path, no mode meaning that it does not watch it.
    fn set_modes(&mut self, id: u32, conn: ConnId, modes: Modes) {
        let before = self.watched_mut(id).watchers.set(conn, modes);
        self.totals.count(before, modes);
        if before == Modes::NONE && modes != Modes::NONE {
            let path_bytes = self.watched(id).path.len();
            let watching = self.conns.entry(conn).or_default();
            watching.ids.insert(id);
            watching.path_bytes += path_bytes;
        }
        if modes == Modes::NONE {
            self.forget(id, conn);
        }
    }

    /// After a connection's last mode on a path went.
    fn forget(&mut self, id: u32, conn: ConnId) {
        let path_bytes = self.watched(id).path.len();
        if let Some(watching) = self.conns.get_mut(&conn) {
            if watching.ids.remove(&id) {
                watching.path_bytes -= path_bytes;
            }
            if watching.ids.is_empty() {
                self.conns.remove(&conn);
            }
        }
        if self.watched(id).watchers.is_empty() {
            let gone = self.paths.remove(id);
            let was_there = self.index.remove(gone.hash, id);
            assert!(was_there, "{} was not in the index", gone.path);
        }
    }

    fn insert_path(&mut self, path: &str) -> u32 {
        let hash = self.index.hash(path);
        let id = self.paths.insert(Watched { path: path.into(), hash, watchers: Watchers::Many(BTreeMap::new()) });
        let paths = &self.paths;
        self.index.insert(hash, id, |id| paths.get(id).map_or(PathHash::NONE, |at| at.hash));
        id
    }
}

impl Watchers {
    fn get(&self, conn: ConnId) -> Option<Modes> {
        match self {
            Self::One(one, modes) => (*one == conn).then_some(*modes),
            Self::Many(many) => many.get(&conn).copied(),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::One(..) => false,
            Self::Many(many) => many.is_empty(),
        }
    }

    /// By ascending connection.
    fn iter(&self) -> impl Iterator<Item = (ConnId, Modes)> {
        let (one, many) = match self {
            Self::One(conn, modes) => (Some((*conn, *modes)), None),
            Self::Many(many) => (None, Some(many)),
        };
        one.into_iter().chain(many.into_iter().flatten().map(|(&conn, &modes)| (conn, modes)))
    }

    /// Gives a connection modes, [`Modes::NONE`] taking it out; returns those it had.
    fn set(&mut self, conn: ConnId, modes: Modes) -> Modes {
        match self {
            Self::One(one, before) if *one == conn => {
                let before = std::mem::replace(before, modes);
                if modes == Modes::NONE {
                    *self = Self::Many(BTreeMap::new());
                }
                before
            }
            Self::One(one, theirs) => {
                if modes != Modes::NONE {
                    *self = Self::Many(BTreeMap::from([(*one, *theirs), (conn, modes)]));
                }
                Modes::NONE
            }
            Self::Many(many) if modes == Modes::NONE => many.remove(&conn).unwrap_or(Modes::NONE),
            Self::Many(many) if many.is_empty() => {
                *self = Self::One(conn, modes);
                Modes::NONE
            }
            Self::Many(many) => many.insert(conn, modes).unwrap_or(Modes::NONE),
        }
    }
}

impl Totals {
    /// One pair went from `before` to `after`.
    fn count(&mut self, before: Modes, after: Modes) {
        let step = |total: &mut usize, in_table: fn(Modes) -> bool| {
            *total += usize::from(in_table(after));
            *total -= usize::from(in_table(before));
        };
        step(&mut self.data_table, Modes::in_data_table);
        step(&mut self.child_table, Modes::in_child_table);
        step(&mut self.recursive, |modes| modes.intersects(Modes::RECURSIVE));
    }
}

/// 256 shards: 8 KB while empty, and growing one among a million paths moves 4,000 numbers.
const SHARD_BITS: u32 = 8;

#[cfg(test)]
mod tests;
