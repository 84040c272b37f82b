//! What passes between connections, the node, and the thread that drives them.

use crate::conn::Complaint;
use std::sync::Arc;

use bytes::Bytes;
use gk_proto::connect::Password;
use gk_proto::op::OpCode;
use gk_proto::reply::Body;
use gk_proto::txn::LoggedTxn;
use gk_proto::watch::EventType;
use gk_proto::{ConnId, ErrorCode, Instant, SessionId, Xid, Zxid};
use gk_tree::Outcome;

use crate::auth::Ids;

/// A request of a connection that must go through the node: a write, or a read between two writes of one connection,
/// which is answered at its place in the order.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where the answer goes.
    pub conn: ConnId,
    /// Session that the connection believes it owns; the node decides.
    pub session: SessionId,
    /// Echoed in the reply.
    pub xid: Xid,
    /// A write (see [`OpCode::is_write`]), or one of the reads that [`crate::conn::answer_reads`] answers.
    pub op: OpCode,
    /// Body of the frame, not decoded yet.
    pub body: Bytes,
    /// Ids of the connection when the request arrived.
    pub ids: Ids,
    /// About how many bytes the answer has, if it is a read.
    pub answer_bytes: usize,
}

/// A handshake, after the checks that need no session table.
#[derive(Debug, Clone)]
pub struct Connect {
    /// The connection.
    pub conn: ConnId,
    /// Session to resume, or [`SessionId::NONE`].
    pub session: SessionId,
    /// Password given for it.
    pub password: Vec<u8>,
    /// Timeout wanted, already negotiated.
    pub timeout_ms: i32,
}

/// What happens to the node.
#[derive(Debug)]
pub enum Input {
    /// Requests, in the order in which each connection sent its own.
    Requests(Vec<Request>),
    /// A handshake.
    Connect(Connect),
    /// Sessions that were heard from since the last such report, and when.
    Touched(Vec<(SessionId, Instant)>),
    /// The socket of a connection that had a session is gone; the session lives on until it expires.
    Disconnected {
        /// The connection.
        conn: ConnId,
        /// Its session.
        session: SessionId,
        /// When the client was last heard on it: nobody will report that later.
        heard: Instant,
    },
    /// End a session as if its client had been silent for too long; one that is unknown or ends already is left alone.
    Expire(SessionId),
    /// The log has everything up to here on stable storage.
    Durable {
        /// Last durable txn.
        upto: Zxid,
    },
    /// An [`Effect::Apply`] has been carried out.
    Applied {
        /// Last applied txn.
        upto: Zxid,
        /// One result a txn, in order.
        outcomes: Vec<Outcome>,
        /// One for [`Step::Reads`] each, in order; `None` where the connection is gone.
        answers: Vec<Option<Delivery>>,
    },
    /// No log space can be reserved: refuse writes (`true`), or space is back (`false`).
    DiskFull(bool),
}

/// What the node wants done.
#[derive(Debug)]
pub enum Effect {
    /// Append to the log; answer with [`Input::Durable`] when it is on stable storage.
    Append {
        /// Place in the history.
        zxid: Zxid,
        /// Payload of the log record.
        payload: Bytes,
    },
    /// Do this with the shared tree, in this order; answer with [`Input::Applied`].
    Apply {
        /// Last of the txns, or of those before them if there are only reads.
        upto: Zxid,
        /// Few enough for one guard of the tree.
        steps: Vec<Step>,
    },
    /// A limit was exceeded that is not enforced: tell the operator.
    OverQuota(OverQuota),
    /// A session was not heard of in time, and ends: tell the operator.
    Expiring {
        /// The session.
        session: SessionId,
        /// Its timeout, milliseconds.
        timeout_ms: i32,
    },
    /// Hand something to a connection; connections that are gone are skipped.
    Deliver(ConnId, Delivery),
}

/// What is done with the shared tree.
#[derive(Debug)]
pub enum Step {
    /// A txn is applied.
    Txn(LoggedTxn),
    /// Reads of one connection are answered: they see what stands before them, and not what follows
    /// ([`crate::conn::answer_reads`]).
    Reads(Vec<Request>),
}

/// A quota that is exceeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverQuota {
    /// The path that the quota is on.
    pub path: String,
    /// `nodes` or `bytes`.
    pub what: &'static str,
    /// The limit.
    pub limit: i64,
    /// What the request makes of it.
    pub wanted: i64,
}

/// What a connection gets from elsewhere, in one order (design: one FIFO carries events and write results).
#[derive(Debug, Clone)]
pub enum Delivery {
    /// A watch fired.
    Event {
        /// Txn that fired it.
        zxid: Zxid,
        /// What happened.
        kind: EventType,
        /// Path in the event.
        path: Arc<str>,
    },
    /// The result of a write.
    Reply {
        /// Of the request.
        xid: Xid,
        /// The txn's own, or the last applied one.
        zxid: Zxid,
        /// Body or error.
        result: Result<Body, ErrorCode>,
    },
    /// The answers to reads that were sent through the node.
    Answers {
        /// Of the last of them.
        xid: Xid,
        /// How many.
        count: usize,
        /// Last txn applied when they were made.
        zxid: Zxid,
        /// The whole frames.
        frames: Vec<u8>,
        /// The connection watches more than it may and is to be closed.
        over_watched: bool,
    },
    /// The handshake succeeded.
    Connected {
        /// New or resumed session.
        session: SessionId,
        /// Its password.
        password: Password,
        /// Negotiated timeout, milliseconds.
        timeout_ms: i32,
    },
    /// The handshake failed: unknown or expired session, or wrong password.
    Refused(Complaint),
    /// Close without another word: the session expired, moved, or was resumed elsewhere.
    Close,
}
