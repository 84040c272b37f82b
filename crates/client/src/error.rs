//! What can go wrong, told apart by what the program may do next.

use gk_proto::{DecodeError, ErrorCode};

use crate::core::SessionState;

/// Why a request was not answered as asked.
///
/// Three questions matter to a program, and each has its answer here: did it take effect ([`Error::OutcomeUnknown`] is
/// the only one of which nobody can say), may it be repeated as it is ([`Error::is_repeatable`]), and is the session
/// over ([`Error::ends_session`]).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server answered with an error: the request had no effect.
    #[error("{path}: {}", describe(*code))]
    Server {
        /// ZooKeeper's code.
        code: ErrorCode,
        /// The path of the request as the program gave it; empty if it has none.
        path: String,
    },
    /// One operation of a multi failed, so that none was carried out.
    #[error("operation {index} of the multi, {path}: {}", describe(*code))]
    Multi {
        /// Which operation, from 0.
        index: usize,
        /// ZooKeeper's code for it.
        code: ErrorCode,
        /// Its path as the program gave it.
        path: String,
    },
    /// The server answered with a code that this library does not know: the request had no effect.
    #[error("{path}: the server answered with the unknown error code {code}")]
    UnknownCode {
        /// The number on the wire.
        code: i32,
        /// The path of the request as the program gave it; empty if it has none.
        path: String,
    },
    /// No server took the request in time, or each ended the connection instead of answering a read: it had no effect.
    #[error("no server was reached in time, or none answered; the request had no effect")]
    ConnectionLost,
    /// The request was sent and the connection ended before its answer: it may or may not have taken effect. Once the
    /// client is connected again a read tells.
    #[error("the connection ended after the request was sent and before it was answered; it may have taken effect")]
    OutcomeUnknown,
    /// The session is over: its ephemeral nodes are gone. A new client is needed.
    #[error("the session has expired; its ephemeral nodes are gone, connect again for a new one")]
    SessionExpired,
    /// The server refused what was given to `auth`: the session cannot be used any more.
    #[error("the server refused the authentication")]
    AuthFailed,
    /// The client was closed by the program.
    #[error("the client is closed")]
    Closed,
    /// More requests, or bytes of requests, wait than the client may hold: this one was not sent.
    #[error("too many requests are waiting; await some before making more")]
    TooManyRequests,
    /// The arguments cannot be sent.
    #[error("{what}")]
    BadArgument {
        /// What is wrong, and with what.
        what: String,
    },
    /// A connect string that cannot be read.
    #[error("{text:?} is no list of servers: {reason}")]
    BadServers {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No server took the session within the time allowed.
    #[error("no session within {waited_ms} ms; {attempts}")]
    NotConnected {
        /// Milliseconds that were waited.
        waited_ms: u64,
        /// The last attempt at each server and how it ended.
        attempts: String,
    },
    /// The answer is not what the protocol allows; the connection was given up.
    #[error("the server's answer cannot be read: {0}")]
    BadAnswer(#[from] DecodeError),
}

impl Error {
    /// Whether the request certainly had no effect, and the same request may succeed later on this client.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::ConnectionLost | Self::TooManyRequests => true,
            Self::Server { code, .. } => *code == ErrorCode::ThrottledOp,
            Self::UnknownCode { .. }
            | Self::Multi { .. }
            | Self::OutcomeUnknown
            | Self::SessionExpired
            | Self::AuthFailed
            | Self::Closed
            | Self::BadArgument { .. }
            | Self::BadServers { .. }
            | Self::NotConnected { .. }
            | Self::BadAnswer(_) => false,
        }
    }

    /// Whether every further request of this client will fail as well.
    pub fn ends_session(&self) -> bool {
        matches!(self, Self::SessionExpired | Self::AuthFailed | Self::Closed)
    }

    /// What is told to those who wait when a session has come to its end.
    pub(crate) fn of_state(state: SessionState) -> Self {
        match state {
            SessionState::Expired => Self::SessionExpired,
            SessionState::AuthFailed => Self::AuthFailed,
            SessionState::Closed => Self::Closed,
            SessionState::Connecting
            | SessionState::Connected
            | SessionState::ConnectedReadOnly
            | SessionState::Disconnected
            | SessionState::Lost => Self::ConnectionLost,
        }
    }

    /// The server's code, if it answered with one.
    pub fn code(&self) -> Option<ErrorCode> {
        if let Self::Server { code, .. } | Self::Multi { code, .. } = self { Some(*code) } else { None }
    }
}

/// What a code means to whoever reads it in a log at night.
fn describe(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Ok => "no error",
        ErrorCode::SystemError => "the server failed to carry this out; its log says why",
        ErrorCode::RuntimeInconsistency => "not tried: another operation of the same multi failed",
        ErrorCode::DataInconsistency => "the server found its data inconsistent; its log says more",
        ErrorCode::MarshallingError => "the server could not read the request",
        ErrorCode::Unimplemented => "the server does not offer this operation (old version, or switched off)",
        ErrorCode::BadArguments => "path, flags or time to live are not valid",
        ErrorCode::UnknownSession => "the server does not know the session",
        ErrorCode::NewConfigNoQuorum => "the new configuration has no quorum of connected, synced servers",
        ErrorCode::ReconfigInProgress => "another reconfiguration is running",
        ErrorCode::NoNode => "the node does not exist (for a create: its parent)",
        ErrorCode::NoAuth => "the node's ACL does not permit this to the ids of this client",
        ErrorCode::BadVersion => "the version given is not the current one",
        ErrorCode::NoChildrenForEphemerals => "an ephemeral node cannot have children",
        ErrorCode::NodeExists => "the node exists already",
        ErrorCode::NotEmpty => "the node has children",
        ErrorCode::SessionExpired => "the session has expired or is closing",
        ErrorCode::InvalidAcl => "the ACL is empty or has an id that is not valid",
        ErrorCode::AuthFailed => "the authentication was refused",
        ErrorCode::SessionMoved => "the session has moved to another connection",
        ErrorCode::NotReadOnly => "the server is read-only for now (it has lost its quorum)",
        ErrorCode::EphemeralOnLocalSession => "local sessions cannot have ephemeral nodes on this server",
        ErrorCode::NoWatcher => "there is no such watch",
        ErrorCode::ReconfigDisabled => "reconfiguration is switched off on the server",
        ErrorCode::SessionClosedRequireAuth => "the server demands authentication before anything else",
        ErrorCode::QuotaExceeded => "a hard quota would be exceeded",
        ErrorCode::ThrottledOp => "the server was too busy and did not carry this out; try again later",
    }
}
