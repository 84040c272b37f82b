//! A request as the session keeps it: already encoded, but for its xid.

use std::fmt;
use std::sync::Arc;

use gk_proto::jute::Write as _;
use gk_proto::op::OpCode;
use gk_proto::request::{AuthPacket, Read, Write};
use gk_proto::{Xid, reply};

use super::watches::{WatchKind, WatcherId};

/// The driver's name for a request, given back with its answer. Unique while the request is under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u32);

/// The watch that a request sets when it succeeds.
#[derive(Clone, Debug)]
pub struct WatchIntent {
    /// Who waits.
    pub watcher: WatcherId,
    /// What for. [`WatchKind::Data`] for an exists: the reply decides.
    pub kind: WatchKind,
    /// Where, as the server names it.
    pub path: Arc<str>,
}

/// One request, encoded. Shown without its data.
#[derive(Clone)]
pub struct Request {
    op: OpCode,
    frame: Vec<u8>,
    watch: Option<WatchIntent>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("op", &self.op).field("bytes", &self.frame.len()).finish_non_exhaustive()
    }
}

/// Where the xid stands in a frame: behind the length.
const XID_AT: std::ops::Range<usize> = 4..8;

/// Length of most frames: a path and a few integers.
const FRAME_USUAL: usize = 64;
/// Length of a frame with two empty strings and three integers.
const FRAME_MIN: usize = 24;

impl Request {
    /// An operation that reads.
    pub fn read(read: &Read<'_>) -> Self {
        Self::new(read.op(), |out| read.encode(out))
    }

    /// An operation that reads and sets a watch.
    pub fn watching(read: &Read<'_>, watch: WatchIntent) -> Self {
        Self { watch: Some(watch), ..Self::read(read) }
    }

    /// An operation that changes something, or syncs.
    pub fn write(write: &Write) -> Self {
        Self::new(write.op(), |out| write.encode(out))
    }

    /// setData, which need not own its data for that.
    pub fn set_data(path: &str, data: &[u8], version: i32) -> Self {
        let length = FRAME_MIN + path.len() + data.len();
        Self::sized(OpCode::SetData, length, |out| Write::encode_set_data(path, Some(data), version, out))
    }

    /// An auth packet.
    pub(super) fn auth(packet: &AuthPacket<'_>) -> Self {
        Self::new(OpCode::Auth, |out| packet.encode(out))
    }

    /// An operation without a body.
    pub(super) fn bare(op: OpCode) -> Self {
        Self::new(op, |_out| ())
    }

    fn new(op: OpCode, body: impl FnOnce(&mut Vec<u8>)) -> Self {
        Self::sized(op, FRAME_USUAL, body)
    }

    fn sized(op: OpCode, length: usize, body: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut frame = Vec::with_capacity(length);
        reply::frame(&mut frame, |out| {
            out.put_int(0);
            out.put_int(op.code());
            body(out);
        });
        Self { op, frame, watch: None }
    }

    /// Which operation.
    pub fn op(&self) -> OpCode {
        self.op
    }

    /// Bytes on the wire, the length in front included.
    pub fn len(&self) -> usize {
        self.frame.len()
    }

    /// Never: a frame has a header.
    pub fn is_empty(&self) -> bool {
        self.frame.is_empty()
    }

    /// The watch that comes with it.
    pub(super) fn watch(&self) -> Option<&WatchIntent> {
        self.watch.as_ref()
    }

    /// Appends the frame under this xid.
    pub(super) fn encode(&self, xid: Xid, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        if let Some(place) = out.get_mut(start + XID_AT.start..start + XID_AT.end) {
            place.copy_from_slice(&xid.0.to_be_bytes());
        }
    }

    /// Whether carrying it out twice is the same as once, so that it may be sent again when its reply was lost.
    ///
    /// Reads are; and what only concerns the connection, which is a new one. No write is: a conditional one would fail
    /// the second time, and an unconditional one could undo what somebody else did in between.
    pub(super) fn is_repeatable(&self) -> bool {
        match self.op {
            OpCode::Exists
            | OpCode::GetData
            | OpCode::GetAcl
            | OpCode::GetChildren
            | OpCode::Sync
            | OpCode::GetChildren2
            | OpCode::CheckWatches
            | OpCode::MultiRead
            | OpCode::GetEphemerals
            | OpCode::GetAllChildrenNumber
            | OpCode::AddWatch
            | OpCode::WhoAmI => true,
            OpCode::Create
            | OpCode::Delete
            | OpCode::SetData
            | OpCode::SetAcl
            | OpCode::Ping
            | OpCode::Check
            | OpCode::Multi
            | OpCode::Create2
            | OpCode::Reconfig
            | OpCode::RemoveWatches
            | OpCode::CreateContainer
            | OpCode::DeleteContainer
            | OpCode::CreateTtl
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::Sasl
            | OpCode::SetWatches2
            | OpCode::CloseSession => false,
        }
    }
}
