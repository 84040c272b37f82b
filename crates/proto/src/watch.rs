//! Watch kinds and the notification frame.

use crate::jute::{Reader, Write};
use crate::{DecodeError, Zxid};

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

    /// The type of a number on the wire, if a server may send it.
    pub fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            1 => Self::NodeCreated,
            2 => Self::NodeDeleted,
            3 => Self::NodeDataChanged,
            4 => Self::NodeChildrenChanged,
            _ => return None,
        })
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

    /// The number on the wire.
    pub fn code(self) -> i32 {
        match self {
            Self::Persistent => 0,
            Self::PersistentRecursive => 1,
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

    /// The number on the wire.
    pub fn code(self) -> i32 {
        match self {
            Self::Children => 1,
            Self::Data => 2,
            Self::Any => 3,
            Self::Persistent => 4,
            Self::PersistentRecursive => 5,
        }
    }
}

/// `WatcherEvent`: the body of a notification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatcherEvent {
    /// What happened.
    pub kind: EventType,
    /// State of the session; servers send [`SYNC_CONNECTED`], whatever it is.
    pub state: i32,
    /// The watched node, or one below it for a recursive watch.
    pub path: String,
}

impl WatcherEvent {
    /// Reads the body behind a reply header with [`Xid::NOTIFICATION`](crate::Xid::NOTIFICATION).
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let value = reader.int()?;
        let kind = EventType::from_code(value).ok_or(DecodeError::Unknown { what: "event type", value })?;
        Ok(Self { kind, state: reader.int()?, path: reader.text()?.into_owned() })
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
    out.put_int(SYNC_CONNECTED);
    out.put_text(path);
}

/// The one state in notifications (`KeeperState.SyncConnected`).
pub const SYNC_CONNECTED: i32 = 3;

/// The zxid of catch-up events.
pub const CATCH_UP: Zxid = Zxid(u64::MAX);
