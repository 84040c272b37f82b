//! What a connection counts, for `cons`, `stat` and `mntr`.

use gk_proto::{Instant, Xid, Zxid};

/// Time from request to reply, whole milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Latency {
    /// Replies measured.
    pub count: u64,
    /// Sum.
    pub sum_ms: u64,
    /// Smallest; 0 before the first.
    pub min_ms: u64,
    /// Largest.
    pub max_ms: u64,
}

impl Latency {
    /// Adds one.
    pub fn add(&mut self, ms: u64) {
        self.min_ms = if self.count == 0 { ms } else { self.min_ms.min(ms) };
        self.max_ms = self.max_ms.max(ms);
        self.count += 1;
        self.sum_ms += ms;
    }
}

/// Type of the operation by which a session is made (`ZooDefs.OpCode.createSession`); no client sends it.
pub const CREATE_SESSION: i32 = -10;

/// Counters of one connection.
#[derive(Clone, Debug, Default)]
pub struct ConnStats {
    /// Frames received.
    pub received: u64,
    /// Frames sent, notifications included.
    pub sent: u64,
    /// Type of the last request answered.
    pub last_op: Option<i32>,
    /// Its xid, or that of an earlier one if it was a ping; -1 after a reset.
    pub last_xid: Xid,
    /// Zxid in its reply; all ones after a reset.
    pub last_zxid: Zxid,
    /// When it was answered.
    pub last_reply: Instant,
    /// How long it took, milliseconds.
    pub last_latency_ms: u64,
    /// All of them.
    pub latency: Latency,
    /// When the session was established on this connection.
    pub established: Instant,
}

impl ConnStats {
    /// Notes a reply.
    pub(super) fn answered(&mut self, op: i32, xid: Xid, zxid: Zxid, since: Instant, now: Instant) {
        self.last_op = Some(op);
        // As in `ServerCnxn.updateStatsForResponse`: a ping does not hide the client's last real operation.
        if xid.0 >= 0 {
            self.last_xid = xid;
        }
        self.last_zxid = zxid;
        self.last_reply = now;
        self.last_latency_ms = now.since(since).0;
        self.latency.add(self.last_latency_ms);
    }

    /// The client asks for a new session, which ZooKeeper counts as its first operation.
    pub(super) fn creates_session(&mut self) {
        self.last_op = Some(CREATE_SESSION);
    }

    /// The session is there: if it is new, it came with this zxid or one before it.
    pub(super) fn connected(&mut self, zxid: Zxid, now: Instant) {
        self.established = now;
        if self.last_op == Some(CREATE_SESSION) {
            self.last_zxid = zxid;
            self.last_reply = now;
        }
    }

    /// Begins anew (`ServerCnxn.resetStats`).
    pub fn reset(&mut self) {
        let (last_xid, last_zxid) = (Xid(-1), Zxid(u64::MAX));
        *self = Self { established: self.established, last_xid, last_zxid, ..Self::default() };
    }
}
