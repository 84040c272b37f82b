//! Operation codes of the client protocol (`ZooDefs.OpCode`).

macro_rules! op_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// What a request asks for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum OpCode { $($(#[$doc])* $name,)* }

        impl OpCode {
            /// The number on the wire.
            pub fn code(self) -> i32 {
                match self { $(Self::$name => $code,)* }
            }

            /// The operation of a number on the wire, if a client may send it.
            pub fn from_code(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

op_codes! {
    /// Create a node; the reply has its path.
    Create = 1,
    /// Delete a node.
    Delete = 2,
    /// Stat of a node.
    Exists = 3,
    /// Data and stat.
    GetData = 4,
    /// Replace the data.
    SetData = 5,
    /// ACL and stat.
    GetAcl = 6,
    /// Replace the ACL.
    SetAcl = 7,
    /// Names of the children.
    GetChildren = 8,
    /// Catch up with the leader.
    Sync = 9,
    /// Keep the session alive.
    Ping = 11,
    /// Names of the children, and stat.
    GetChildren2 = 12,
    /// Check a version; only inside a multi.
    Check = 13,
    /// Several writes as one txn.
    Multi = 14,
    /// Create a node; the reply has its path and stat.
    Create2 = 15,
    /// Change the ensemble.
    Reconfig = 16,
    /// Ask whether a watch is set.
    CheckWatches = 17,
    /// Remove watches.
    RemoveWatches = 18,
    /// Create a container node.
    CreateContainer = 19,
    /// Remove an empty container or TTL node; the server's own.
    DeleteContainer = 20,
    /// Create a TTL node.
    CreateTtl = 21,
    /// Several reads in one go.
    MultiRead = 22,
    /// Authenticate the connection.
    Auth = 100,
    /// Set one-shot watches again after a reconnect.
    SetWatches = 101,
    /// A SASL token.
    Sasl = 102,
    /// Paths of the session's ephemeral nodes.
    GetEphemerals = 103,
    /// Number of all descendants.
    GetAllChildrenNumber = 104,
    /// Set watches of all kinds again after a reconnect.
    SetWatches2 = 105,
    /// Set a persistent watch.
    AddWatch = 106,
    /// Ids of the connection.
    WhoAmI = 107,
    /// End the session.
    CloseSession = -11,
}

impl OpCode {
    /// Whether it goes through agreement (sync does too, without a txn).
    pub fn is_write(self) -> bool {
        match self {
            Self::Create
            | Self::Delete
            | Self::SetData
            | Self::SetAcl
            | Self::Sync
            | Self::Multi
            | Self::Create2
            | Self::Reconfig
            | Self::CreateContainer
            | Self::CreateTtl
            | Self::CloseSession => true,
            Self::Exists
            | Self::GetData
            | Self::GetAcl
            | Self::GetChildren
            | Self::Ping
            | Self::GetChildren2
            | Self::Check
            | Self::CheckWatches
            | Self::RemoveWatches
            | Self::DeleteContainer
            | Self::MultiRead
            | Self::Auth
            | Self::SetWatches
            | Self::Sasl
            | Self::GetEphemerals
            | Self::GetAllChildrenNumber
            | Self::SetWatches2
            | Self::AddWatch
            | Self::WhoAmI => false,
        }
    }
}

/// Create flags (`CreateMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CreateMode {
    /// 0
    Persistent,
    /// 1
    Ephemeral,
    /// 2
    PersistentSequential,
    /// 3
    EphemeralSequential,
    /// 4
    Container,
    /// 5
    Ttl,
    /// 6
    TtlSequential,
}

impl CreateMode {
    /// The mode of a flags field.
    pub fn from_flags(flags: i32) -> Option<Self> {
        Some(match flags {
            0 => Self::Persistent,
            1 => Self::Ephemeral,
            2 => Self::PersistentSequential,
            3 => Self::EphemeralSequential,
            4 => Self::Container,
            5 => Self::Ttl,
            6 => Self::TtlSequential,
            _ => return None,
        })
    }

    /// The number on the wire.
    pub fn flags(self) -> i32 {
        match self {
            Self::Persistent => 0,
            Self::Ephemeral => 1,
            Self::PersistentSequential => 2,
            Self::EphemeralSequential => 3,
            Self::Container => 4,
            Self::Ttl => 5,
            Self::TtlSequential => 6,
        }
    }

    /// Whether the server appends a number to the path.
    pub fn is_sequential(self) -> bool {
        matches!(self, Self::PersistentSequential | Self::EphemeralSequential | Self::TtlSequential)
    }

    /// Whether the node goes with its session.
    pub fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    /// Whether the node has a time to live.
    pub fn is_ttl(self) -> bool {
        matches!(self, Self::Ttl | Self::TtlSequential)
    }
}
