//! What this client watches, by path: whom an event is for, what to register again on the next connection, and when the
//! server may forget a watch.
//!
//! The server keeps one watch a path and group for a connection, however many parts of the program wait for it. So a
//! watch is removed at the server only when nobody waits any more, those included whose read is still under way: their
//! read may have set the watch already.

use std::collections::BTreeMap;
use std::sync::Arc;

use gk_proto::path;
use gk_proto::request::SetWatches;
use gk_proto::watch::{EventType, WatcherType};

/// One waiting part of the program: a one-shot watch or a stream. Chosen by the driver and never used again: the read
/// that was to set a watch may be answered long after the watch was given up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WatcherId(pub u64);

/// What is watched for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum WatchKind {
    /// One change of a node's data, or its end. An exists that finds no node makes it [`WatchKind::Exist`].
    Data,
    /// One creation.
    Exist,
    /// One change of the list of children, or the node's end.
    Child,
    /// All changes of a node and its list of children.
    Persistent,
    /// All changes of a node and of everything below, lists of children not counted.
    Recursive,
}

impl WatchKind {
    /// What removes it at the server.
    fn group(self) -> WatcherType {
        match self {
            Self::Data | Self::Exist => WatcherType::Data,
            Self::Child => WatcherType::Children,
            Self::Persistent => WatcherType::Persistent,
            Self::Recursive => WatcherType::PersistentRecursive,
        }
    }

    /// Whether it ends with its first event.
    pub(super) fn is_one_shot(self) -> bool {
        match self {
            Self::Data | Self::Exist | Self::Child => true,
            Self::Persistent | Self::Recursive => false,
        }
    }

    /// Whether an event of this type at the watched path is for it (Java: `ZKWatchManager.materialize`).
    fn hears(self, event: EventType) -> bool {
        match (self, event) {
            (Self::Data, EventType::NodeCreated | EventType::NodeDataChanged | EventType::NodeDeleted)
            | (Self::Exist, EventType::NodeCreated | EventType::NodeDataChanged | EventType::NodeDeleted)
            | (Self::Child, EventType::NodeChildrenChanged | EventType::NodeDeleted)
            | (Self::Persistent, _)
            | (Self::Recursive, EventType::NodeCreated | EventType::NodeDataChanged | EventType::NodeDeleted) => true,
            (Self::Data | Self::Exist | Self::Recursive, EventType::NodeChildrenChanged)
            | (Self::Child, EventType::NodeCreated | EventType::NodeDataChanged) => false,
        }
    }
}

/// Bytes of paths in one setWatches2: far below the smallest `jute.maxbuffer` that is in use (Z-706).
const CHUNK_BYTES_MAX: usize = 120 * 1024;

#[derive(Clone, Copy, Debug)]
struct Registration {
    watcher: WatcherId,
    kind: WatchKind,
    /// Whether the server has confirmed it; before that its read is under way.
    set: bool,
}

#[derive(Default, Debug)]
struct Entry {
    registrations: Vec<Registration>,
    /// Groups, as bits, of which the server has a watch that nobody waits for: kept while a read under way may share it.
    orphaned: u8,
}

/// All watches of a session.
///
/// - An entry has a registration: those without are removed.
#[derive(Default, Debug)]
pub(super) struct Watches {
    entries: BTreeMap<Arc<str>, Entry>,
    /// So that an event need not look at all its ancestors when nobody watches a subtree.
    recursive_count: usize,
}

/// A watch that the server may forget.
pub(super) type Removal = (Arc<str>, WatcherType);

impl Watches {
    /// A read or addWatch that will set this watch has been handed in.
    pub(super) fn begin(&mut self, path: &Arc<str>, kind: WatchKind, watcher: WatcherId) {
        self.recursive_count += usize::from(kind == WatchKind::Recursive);
        let entry = self.entries.entry(path.clone()).or_default();
        if entry.registrations.capacity() == 0 {
            entry.registrations.reserve_exact(1);
        }
        entry.registrations.push(Registration { watcher, kind, set: false });
    }

    /// Its reply has come: the server has the watch, as `kind`. What the server may forget, if nobody waits any more.
    pub(super) fn confirm(&mut self, path: &Arc<str>, kind: WatchKind, watcher: WatcherId) -> Option<Removal> {
        let group = kind.group();
        let Some(entry) = self.entries.get_mut(path) else { return Some((path.clone(), group)) };
        if let Some(registration) = entry.registrations.iter_mut().find(|other| other.watcher == watcher) {
            registration.kind = kind;
            registration.set = true;
            entry.orphaned &= !bit(group);
            return None;
        }
        if entry.has(group) {
            entry.orphaned |= bit(group);
            return None;
        }
        Some((path.clone(), group))
    }

    /// The program waits no longer, or the read failed. What the server may forget with it, if it is the last.
    pub(super) fn end(&mut self, path: &str, watcher: WatcherId) -> Option<Removal> {
        let (key, _) = self.entries.get_key_value(path)?;
        let key = key.clone();
        let entry = self.entries.get_mut(path)?;
        let at = entry.registrations.iter().position(|other| other.watcher == watcher)?;
        let gone = entry.registrations.swap_remove(at);
        self.recursive_count -= usize::from(gone.kind == WatchKind::Recursive);
        let group = gone.kind.group();
        if gone.set {
            entry.orphaned |= bit(group);
        }
        let removable = !entry.has(group) && entry.orphaned & bit(group) != 0;
        if removable {
            entry.orphaned &= !bit(group);
        }
        if entry.registrations.is_empty() {
            self.entries.remove(path);
        }
        removable.then_some((key, group))
    }

    /// Those whom an event is for, in the order in which they were registered; one-shot ones end with it.
    pub(super) fn fire(&mut self, event: EventType, path: &str, deliver: &mut impl FnMut(WatcherId, WatchKind)) {
        self.fire_at(event, path, true, deliver);
        if self.recursive_count == 0 {
            return;
        }
        let mut below = path;
        while let Some(parent) = path::parent(below) {
            self.fire_at(event, parent, false, deliver);
            below = parent;
        }
    }

    fn fire_at(
        &mut self,
        event: EventType,
        path: &str,
        is_target: bool,
        deliver: &mut impl FnMut(WatcherId, WatchKind),
    ) {
        let Some(entry) = self.entries.get_mut(path) else { return };
        entry.registrations.retain(|registration| {
            let wanted = is_target || registration.kind == WatchKind::Recursive;
            if !(wanted && registration.set && registration.kind.hears(event)) {
                return true;
            }
            deliver(registration.watcher, registration.kind);
            !registration.kind.is_one_shot()
        });
        if is_target {
            entry.orphaned &= !used_up(event);
        }
        if entry.registrations.is_empty() {
            self.entries.remove(path);
        }
    }

    /// The connection has ended, and with it everything that the server had. What is set stays, to be registered again.
    pub(super) fn connection_ended(&mut self) {
        for entry in self.entries.values_mut() {
            entry.orphaned = 0;
        }
    }

    /// Streams that may have missed events, in order of their paths.
    pub(super) fn streams(&self) -> impl Iterator<Item = WatcherId> + '_ {
        let all = self.entries.values().flat_map(|entry| &entry.registrations);
        all.filter(|registration| registration.set && !registration.kind.is_one_shot()).map(|found| found.watcher)
    }

    /// What to register again, in pieces that fit a frame.
    pub(super) fn chunks(&self, relative_zxid: i64) -> Vec<SetWatches<'_>> {
        let mut chunks = Vec::new();
        let empty = || SetWatches { relative_zxid, ..SetWatches::default() };
        let (mut chunk, mut bytes) = (empty(), 0);
        for (path, entry) in &self.entries {
            let mut kinds: Vec<_> = entry.registrations.iter().filter(|found| found.set).map(|r| r.kind).collect();
            kinds.sort_unstable();
            kinds.dedup();
            for kind in kinds {
                if bytes + path.len() > CHUNK_BYTES_MAX && bytes > 0 {
                    chunks.push(std::mem::replace(&mut chunk, empty()));
                    bytes = 0;
                }
                let list = match kind {
                    WatchKind::Data => &mut chunk.data,
                    WatchKind::Exist => &mut chunk.exist,
                    WatchKind::Child => &mut chunk.child,
                    WatchKind::Persistent => &mut chunk.persistent,
                    WatchKind::Recursive => &mut chunk.recursive,
                };
                list.push((&**path).into());
                bytes += path.len() + 4;
            }
        }
        if bytes > 0 {
            chunks.push(chunk);
        }
        chunks
    }

    /// How many watchers there are.
    pub(super) fn len(&self) -> usize {
        self.entries.values().map(|entry| entry.registrations.len()).sum()
    }
}

impl Entry {
    fn has(&self, group: WatcherType) -> bool {
        self.registrations.iter().any(|registration| registration.kind.group() == group)
    }
}

fn bit(group: WatcherType) -> u8 {
    match group {
        WatcherType::Data => 1,
        WatcherType::Children => 2,
        WatcherType::Any => 0,
        WatcherType::Persistent => 4,
        WatcherType::PersistentRecursive => 8,
    }
}

/// The groups whose watch at the server an event ends.
fn used_up(event: EventType) -> u8 {
    match event {
        EventType::NodeCreated | EventType::NodeDataChanged => bit(WatcherType::Data),
        EventType::NodeDeleted => bit(WatcherType::Data) | bit(WatcherType::Children),
        EventType::NodeChildrenChanged => bit(WatcherType::Children),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/a";

    fn path() -> Arc<str> {
        PATH.into()
    }

    fn begun(kinds: &[WatchKind]) -> Watches {
        let mut watches = Watches::default();
        for (id, kind) in (0..).zip(kinds) {
            watches.begin(&path(), *kind, WatcherId(id));
        }
        watches
    }

    fn set(kinds: &[WatchKind]) -> Watches {
        let mut watches = begun(kinds);
        for (id, kind) in (0..).zip(kinds) {
            assert_eq!(watches.confirm(&path(), *kind, WatcherId(id)), None, "wanted");
        }
        watches
    }

    fn fired(watches: &mut Watches, event: EventType, at: &str) -> Vec<u64> {
        let mut ids = Vec::new();
        watches.fire(event, at, &mut |watcher, _kind| ids.push(watcher.0));
        ids
    }

    const ALL: [WatchKind; 5] =
        [WatchKind::Data, WatchKind::Exist, WatchKind::Child, WatchKind::Persistent, WatchKind::Recursive];

    #[test]
    fn events_reach_the_kinds_that_zookeeper_names() {
        let cases: [(EventType, &[u64]); 4] = [
            (EventType::NodeCreated, &[0, 1, 3, 4]),
            (EventType::NodeDeleted, &[0, 1, 2, 3, 4]),
            (EventType::NodeDataChanged, &[0, 1, 3, 4]),
            (EventType::NodeChildrenChanged, &[2, 3]),
        ];
        for (event, expected) in cases {
            let mut watches = set(&ALL);
            assert_eq!(fired(&mut watches, event, PATH), expected, "{event:?}");
            let streams: Vec<u64> = expected.iter().copied().filter(|id| *id >= 3).collect();
            assert_eq!(fired(&mut watches, event, PATH), streams, "{event:?} again: one-shots are used up");
        }
    }

    #[test]
    fn only_recursive_watches_hear_what_is_below() {
        let mut watches = set(&ALL);
        assert_eq!(fired(&mut watches, EventType::NodeDataChanged, "/a/b/c"), [4], "below");
        assert_eq!(
            fired(&mut watches, EventType::NodeChildrenChanged, "/a/b"),
            [0; 0],
            "no lists of children (Z-4475)"
        );
        assert_eq!(fired(&mut watches, EventType::NodeDataChanged, "/ab"), [0; 0], "a name that begins alike");
    }

    #[test]
    fn a_watch_whose_read_is_under_way_hears_nothing() {
        let mut watches = begun(&[WatchKind::Data]);
        assert_eq!(fired(&mut watches, EventType::NodeDataChanged, PATH), [0; 0]);
    }

    #[test]
    fn the_server_forgets_a_watch_when_the_last_who_waits_goes() {
        let mut watches = set(&[WatchKind::Data, WatchKind::Exist, WatchKind::Child]);
        assert_eq!(watches.end(PATH, WatcherId(0)), None, "one of its group is left");
        assert_eq!(watches.end(PATH, WatcherId(1)), Some((path(), WatcherType::Data)), "the last of its group");
        assert_eq!(watches.end(PATH, WatcherId(2)), Some((path(), WatcherType::Children)), "another group");
        assert_eq!(watches.len(), 0, "nothing is left");
    }

    #[test]
    fn a_read_under_way_keeps_the_watch_that_it_may_share() {
        let mut watches = set(&[WatchKind::Data]);
        watches.begin(&path(), WatchKind::Data, WatcherId(9));
        assert_eq!(watches.end(PATH, WatcherId(0)), None, "the read may have set it again");
        assert_eq!(watches.confirm(&path(), WatchKind::Data, WatcherId(9)), None, "it has");
        assert_eq!(watches.end(PATH, WatcherId(9)), Some((path(), WatcherType::Data)), "now nobody waits");
    }

    #[test]
    fn a_read_that_fails_lets_the_orphaned_watch_go() {
        let mut watches = set(&[WatchKind::Child]);
        watches.begin(&path(), WatchKind::Child, WatcherId(9));
        assert_eq!(watches.end(PATH, WatcherId(0)), None, "kept for the read");
        assert_eq!(watches.end(PATH, WatcherId(9)), Some((path(), WatcherType::Children)), "which failed");
    }

    #[test]
    fn an_event_uses_an_orphaned_watch_up() {
        let mut watches = set(&[WatchKind::Data]);
        watches.begin(&path(), WatchKind::Data, WatcherId(9));
        assert_eq!(watches.end(PATH, WatcherId(0)), None, "kept for the read");
        assert_eq!(fired(&mut watches, EventType::NodeDataChanged, PATH), [0; 0], "nobody waits");
        assert_eq!(watches.end(PATH, WatcherId(9)), None, "the server has none any more");
    }

    #[test]
    fn a_watch_given_up_before_its_reply_is_removed_with_the_reply() {
        let mut watches = begun(&[WatchKind::Data]);
        assert_eq!(watches.end(PATH, WatcherId(0)), None, "the server may not have it yet");
        let removal = watches.confirm(&path(), WatchKind::Data, WatcherId(0));
        assert_eq!(removal, Some((path(), WatcherType::Data)), "now it has");
    }

    #[test]
    fn what_is_set_is_registered_again_in_pieces_and_nothing_else() {
        let mut watches = set(&[WatchKind::Data, WatchKind::Data, WatchKind::Recursive]);
        watches.begin(&"/b".into(), WatchKind::Child, WatcherId(7));
        let chunks = watches.chunks(5);
        assert_eq!(chunks.len(), 1, "one piece");
        assert_eq!((chunks[0].relative_zxid, chunks[0].data.len(), chunks[0].recursive.len()), (5, 1, 1), "each once");
        assert!(chunks[0].child.is_empty(), "a read under way sets its watch itself");

        let mut watches = Watches::default();
        for id in 0..2_000 {
            let path: Arc<str> = format!("/{id:0>200}").into();
            watches.begin(&path, WatchKind::Exist, WatcherId(id));
            assert_eq!(watches.confirm(&path, WatchKind::Exist, WatcherId(id)), None, "wanted");
        }
        let chunks = watches.chunks(5);
        assert_eq!(chunks.iter().map(|chunk| chunk.exist.len()).sum::<usize>(), 2_000, "all of them");
        for chunk in chunks {
            assert!(chunk.exist.iter().map(|path| path.len() + 4).sum::<usize>() <= 128 * 1024, "below 128 KiB");
        }
    }
}
