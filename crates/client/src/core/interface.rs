//! What goes into a session and what comes out of it.

use std::fmt;
use std::sync::Arc;

use gk_proto::answer::Answer;
use gk_proto::connect::Password;
use gk_proto::watch::EventType;
use gk_proto::{ConnId, DecodeError, Millis, SessionId, Xid, Zxid};

use super::request::{Request, Token};
use super::servers::ServerAddress;
use super::watches::WatcherId;

/// What a session is asked to be.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Asked for; the server answers with what it grants.
    pub timeout: Millis,
    /// Whether a read-only server will do while no other can be reached.
    pub read_only: bool,
    /// A session to resume.
    pub resume: Option<Identity>,
    /// What this client may hold.
    pub limits: Limits,
    /// How long to wait between attempts to connect.
    pub backoff: Backoff,
}

/// Who a session is to its server. Not shown with its password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub session: SessionId,
    /// What resumes it.
    pub password: Password,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("session", &self.session).finish_non_exhaustive()
    }
}

/// Bounds of what a session holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Requests without an answer; a further one fails with [`Failure::TooManyRequests`].
    pub requests_max: usize,
    /// Bytes of requests without an answer; a further one fails with [`Failure::TooManyRequests`].
    pub request_bytes_max: usize,
    /// Bytes of one answer; the request of a longer one fails, and the connection is given up.
    pub answer_bytes_max: usize,
}

/// Time between attempts to connect. Within the first round of the list there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// Before the second round; doubled each round.
    pub first: Millis,
    /// Never longer. Nor longer than a sixth of the session timeout, so that a session is not lost by waiting.
    pub max: Millis,
}

/// What the session is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// The connection that [`Effect::Connect`] asked for is there.
    Connected(ConnId),
    /// Bytes of it arrived.
    Received(ConnId, &'a [u8]),
    /// It could not be made, or has ended.
    Disconnected(ConnId),
    /// A request of the program.
    Submit(Token, Request),
    /// An authentication, now and on every later connection.
    Authenticate {
        /// Answered when the server has accepted it.
        token: Token,
        /// Scheme, such as `digest`.
        scheme: String,
        /// What the scheme needs, such as `user:password`.
        auth: Vec<u8>,
    },
    /// Nobody waits for this watch any more.
    Unwatch {
        /// The path of its [`super::WatchIntent`].
        path: &'a str,
        /// Its watcher.
        watcher: WatcherId,
    },
    /// Another list of servers.
    Servers(Vec<Arc<ServerAddress>>),
    /// What a server said to [`Effect::Probe`]: whether it takes writes.
    Probed {
        /// Which server.
        server: Arc<ServerAddress>,
        /// Whether it is more than read-only.
        read_write: bool,
    },
    /// End the session at the server, after the requests made before.
    Close(Option<Token>),
    /// Forget the session, which lives on at the server until its timeout.
    Detach,
}

/// What the session asks for.
#[derive(Debug)]
pub enum Effect {
    /// Connect to a server, within this time.
    Connect {
        /// Names the connection from now on.
        conn: ConnId,
        /// Where to.
        server: Arc<ServerAddress>,
        /// For resolving and connecting together.
        timeout: Millis,
    },
    /// Give a connection up; nothing of it counts any more.
    Disconnect {
        /// Which connection.
        conn: ConnId,
        /// Why.
        why: End,
    },
    /// Ask a server whether it takes writes (`isro`).
    Probe {
        /// Which server.
        server: Arc<ServerAddress>,
    },
    /// The answer to a request.
    Answer {
        /// Which request.
        token: Token,
        /// What became of it.
        result: Result<Answer, Failure>,
    },
    /// Something for a watch. A one-shot watch has ended with it.
    Watch {
        /// Whose.
        watcher: WatcherId,
        /// What.
        item: WatchItem,
    },
    /// The session is in another state.
    State(SessionState),
}

/// What a watch is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WatchItem {
    /// Something changed.
    Event(WatchedEvent),
    /// Events may have been missed: read again what the watch is for. Streams are told so after every cut, because no
    /// server remembers what a persistent watch would have fired meanwhile, and when they were not read fast enough.
    Missed,
}

/// One change of a watched node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchedEvent {
    /// What happened.
    pub kind: EventType,
    /// To which node.
    pub path: String,
    /// By which txn; `None` if the server does not say (before 3.9, and after a reconnect).
    pub zxid: Option<Zxid>,
}

/// Why a request has no answer of the server's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The server answered with this code, a [`gk_proto::ErrorCode`] or one of a newer server.
    Server(i32),
    /// Never carried out: no server was reached in time.
    ConnectionLost,
    /// Sent, not answered: it may have been carried out.
    OutcomeUnknown,
    /// The session is over.
    SessionExpired,
    /// An authentication was refused.
    AuthFailed,
    /// The program closed the session.
    Closed,
    /// More waits than [`Limits`] allow: not sent.
    TooManyRequests,
    /// The answer cannot be read.
    BadAnswer(DecodeError),
}

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionState {
    /// There is no session yet.
    Connecting,
    /// A server serves it.
    Connected,
    /// A read-only server serves it: reads may be old, writes are refused.
    ConnectedReadOnly,
    /// Not connected, and not for long: the session lives, its ephemeral nodes too.
    Disconnected,
    /// Not connected, and the session timeout has passed since the last request was sent that a server answered: the
    /// session may be over, and somebody else may hold what it held. No server ends it earlier, unless its clock runs
    /// faster than ours. Attempts to connect go on; requests fail at once.
    Lost,
    /// Over: a server said so.
    Expired,
    /// Over: an authentication was refused.
    AuthFailed,
    /// Over: the program closed it.
    Closed,
}

impl SessionState {
    /// Whether it will never change again.
    pub fn is_final(self) -> bool {
        match self {
            Self::Expired | Self::AuthFailed | Self::Closed => true,
            Self::Connecting | Self::Connected | Self::ConnectedReadOnly | Self::Disconnected | Self::Lost => false,
        }
    }

    /// Whether requests go to a server right now.
    pub fn is_connected(self) -> bool {
        matches!(self, Self::Connected | Self::ConnectedReadOnly)
    }
}

/// Why a connection was given up or could not be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum End {
    /// It could not be made, or the other side ended it.
    #[error("closed by the server or the network")]
    ByPeer,
    /// Nothing was heard for two thirds of the session timeout, or the handshake took too long.
    #[error("nothing was heard in time")]
    Silence,
    /// The answer to the handshake makes no sense.
    #[error("the handshake was not answered as the protocol asks")]
    BadHandshake,
    /// The server refused the session: it is over.
    #[error("the session has expired")]
    Refused,
    /// A reply came that nobody waits for.
    #[error("a reply with xid {got} came while {expected:?} was due")]
    OutOfOrder {
        /// The xid that was due, if any.
        expected: Option<Xid>,
        /// The xid that came.
        got: i32,
    },
    /// A frame is longer than allowed, or not even a header.
    #[error("a frame cannot be read: {0}")]
    BadFrame(DecodeError),
    /// An authentication was refused.
    #[error("the authentication was refused")]
    AuthFailed,
    /// For another server: after a change of the list, or from a read-only one to one that takes writes.
    #[error("left for another server")]
    Moved,
    /// The program closed the session.
    #[error("closed by the program")]
    Closed,
}
