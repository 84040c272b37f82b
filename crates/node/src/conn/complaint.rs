//! Why a connection was closed, for the log of the server: what its client did.

use core::fmt;

use gk_proto::SessionId;

/// What a client did that ended its connection, or kept it from a session. `Display` is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// A length that no frame may have, or four bytes that are no word.
    FrameLength {
        /// The first four bytes, as a number.
        length: i32,
        /// Longest frame at this point.
        max: usize,
    },
    /// The first frame is no ConnectRequest.
    MalformedHandshake,
    /// The header of a request, or an auth packet, cannot be decoded.
    MalformedRequest,
    /// An operation that there is not, or not for clients.
    UnknownOperation(i32),
    /// A request before the client authenticated, where it has to (`enforce.auth.enabled`).
    NotAuthenticated,
    /// An auth packet that earned nothing.
    AuthFailed {
        /// As the client wrote it, its beginning if it is long.
        scheme: String,
    },
    /// More watched paths than one connection may have.
    OverWatched,
    /// The client has seen a txn that this server does not have.
    SeenMore {
        /// The session it asked for.
        session: SessionId,
        /// What it has seen.
        seen: i64,
        /// The last one here.
        last: i64,
    },
    /// The session is not there, or is ending.
    UnknownSession(SessionId),
    /// The password is not that of the session.
    WrongPassword(SessionId),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameLength { length, max } => write!(
                f,
                "Len error. A message with advertised length of {length} is either a malformed message or too large to \
                 process (the longest is {max})"
            ),
            Self::MalformedHandshake => f.write_str("the first frame is no ConnectRequest"),
            Self::MalformedRequest => f.write_str("a request that cannot be decoded"),
            Self::UnknownOperation(code) => write!(f, "Received packet at server of unknown type {code}"),
            Self::NotAuthenticated => f.write_str("a request before it authenticated, as enforce.auth.enabled demands"),
            Self::AuthFailed { scheme } => write!(f, "authentication failed for scheme {scheme:?}"),
            Self::OverWatched => f.write_str("more watched paths than one connection may have"),
            Self::SeenMore { session, seen, last } => {
                write!(f, "session {session} has seen zxid {seen:#x}, our last zxid is {last:#x}")
            }
            Self::UnknownSession(session) => write!(f, "session {session} is not there, it probably expired"),
            Self::WrongPassword(session) => write!(f, "incorrect password for session {session}"),
        }
    }
}
