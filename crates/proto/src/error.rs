//! What can be wrong: with bytes ([`DecodeError`]), and in ZooKeeper's words ([`ErrorCode`]).

/// Why bytes are not the record they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("ends inside a field")]
    Truncated,
    /// A length below -1, or beyond what the record may hold.
    #[error("impossible length {0}")]
    BadLength(i32),
    /// A null where the record has none.
    #[error("null where a value must be")]
    UnexpectedNull,
    /// A number outside its enumeration.
    #[error("unknown {what} {value}")]
    Unknown {
        /// Which enumeration.
        what: &'static str,
        /// What was found.
        value: i32,
    },
    /// Bytes after the last field, where none may be.
    #[error("{0} bytes after the last field")]
    Trailing(usize),
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// ZooKeeper's error codes as they stand in reply headers and error txns (`KeeperException.Code`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// The number on the wire.
            pub fn code(self) -> i32 {
                match self { $(Self::$name => $code,)* }
            }

            /// The code of a number on the wire, if it has one.
            pub fn from_code(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

error_codes! {
    /// No error.
    Ok = 0,
    /// The server failed in a way no other code names.
    SystemError = -1,
    /// In a multi: an op after the one that failed.
    RuntimeInconsistency = -2,
    /// The server found its data inconsistent.
    DataInconsistency = -3,
    /// The request could not be decoded, or holds a null where none may be.
    MarshallingError = -5,
    /// Unknown operation, or one that this server does not offer.
    Unimplemented = -6,
    /// Bad path, flags, ttl or reconfig arguments.
    BadArguments = -8,
    /// No such session.
    UnknownSession = -12,
    /// A new configuration has no quorum of connected, synced servers.
    NewConfigNoQuorum = -13,
    /// Another reconfiguration is running.
    ReconfigInProgress = -14,
    /// The node (or its parent) does not exist.
    NoNode = -101,
    /// The connection's ids lack the permission.
    NoAuth = -102,
    /// The version given is not the current one.
    BadVersion = -103,
    /// An ephemeral node cannot have children.
    NoChildrenForEphemerals = -108,
    /// The node exists.
    NodeExists = -110,
    /// The node has children.
    NotEmpty = -111,
    /// The session has expired or is closing.
    SessionExpired = -112,
    /// The ACL list is empty or names an invalid id.
    InvalidAcl = -114,
    /// Authentication failed; the connection is closed.
    AuthFailed = -115,
    /// The session lives on another connection; never sent, the connection is closed instead.
    SessionMoved = -118,
    /// A write on a read-only server.
    NotReadOnly = -119,
    /// An ephemeral node on a local session that may not be upgraded.
    EphemeralOnLocalSession = -120,
    /// No such watch.
    NoWatcher = -121,
    /// Reconfiguration is switched off.
    ReconfigDisabled = -123,
    /// The connection must authenticate first; it is closed.
    SessionClosedRequireAuth = -124,
    /// A hard quota would be exceeded.
    QuotaExceeded = -125,
    /// The operation waited too long in the queue.
    ThrottledOp = -127,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for code in -200..10 {
            if let Some(known) = ErrorCode::from_code(code) {
                assert_eq!(known.code(), code, "{known:?}");
            }
        }
        assert_eq!(ErrorCode::from_code(-4), None, "client-side codes never leave a server");
    }
}
