//! Watch kinds and the notification frame.

use crate::Zxid;
use crate::jute::Write;

/// What happened to a node (`Watcher.Event.EventType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// 1
    NodeCreated,
    /// 2
    NodeDeleted,
    /// 3
    NodeDataChanged,
    /// 4
    NodeChildrenChanged,
}

impl EventType {
    /// The number on the wire.
    pub fn code(self) -> i32 {
        match self {
            Self::NodeCreated => 1,
            Self::NodeDeleted => 2,
            Self::NodeDataChanged => 3,
            Self::NodeChildrenChanged => 4,
        }
    }
}

/// `AddWatchMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddWatchMode {
    /// 0: data and children of one node.
    Persistent,
    /// 1: a node and everything below.
    PersistentRecursive,
}

impl AddWatchMode {
    /// The mode of a number on the wire.
    pub fn from_code(code: i32) -> Option<Self> {
        match code {
            0 => Some(Self::Persistent),
            1 => Some(Self::PersistentRecursive),
            _ => None,
        }
    }
}

/// `Watcher.WatcherType`: what checkWatches and removeWatches are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatcherType {
    /// 1: one-shot child watches.
    Children,
    /// 2: one-shot data and exists watches.
    Data,
    /// 3: everything on the path.
    Any,
    /// 4: persistent watches.
    Persistent,
    /// 5: persistent recursive watches.
    PersistentRecursive,
}

impl WatcherType {
    /// The type of a number on the wire.
    pub fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            1 => Self::Children,
            2 => Self::Data,
            3 => Self::Any,
            4 => Self::Persistent,
            5 => Self::PersistentRecursive,
            _ => return None,
        })
    }
}

/// Appends a whole notification frame: length, ReplyHeader with xid -1, WatcherEvent in state SyncConnected.
///
/// `zxid` is that of the triggering txn, -1 for what a setWatches catches up with.
pub fn encode_event(zxid: i64, event: EventType, path: &str, out: &mut Vec<u8>) {
    out.put_count(16 + 8 + 4 + path.len());
    out.put_int(-1);
    out.put_long(zxid);
    out.put_int(0);
    out.put_int(event.code());
    out.put_int(3);
    out.put_text(path);
}

/// The zxid of catch-up events.
pub const CATCH_UP: Zxid = Zxid(u64::MAX);
