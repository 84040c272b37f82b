//! What requests are told: versions, and what a new node is to be.

use std::time::Duration;

use gk_proto::acl::{self, Acl, Id, perm};
use gk_proto::op::CreateMode;
use gk_proto::stat::Stat;

/// The version that a node must have for a change to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// Any.
    Any,
    /// Exactly this one; otherwise the server answers `BadVersion`.
    Exactly(i32),
}

impl Version {
    /// As requests carry it.
    pub(crate) fn wire(self) -> i32 {
        match self {
            Self::Any => -1,
            Self::Exactly(version) => version,
        }
    }
}

impl From<Stat> for Version {
    /// The version of the data that was read.
    fn from(stat: Stat) -> Self {
        Self::Exactly(stat.version)
    }
}

/// What a new node is to be. A [`CreateMode`] alone is one: open to everybody.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    pub(crate) mode: CreateMode,
    pub(crate) acl: Vec<Acl>,
    pub(crate) ttl: Option<Duration>,
}

impl CreateOptions {
    /// Of this mode, open to everybody.
    pub fn new(mode: CreateMode) -> Self {
        Self { mode, acl: open_acl(), ttl: None }
    }

    /// Who may do what with it.
    #[must_use]
    pub fn acl(mut self, acl: impl Into<Vec<Acl>>) -> Self {
        self.acl = acl.into();
        self
    }

    /// How long it stays without children and changes, 1 ms to 1,099,511,627,775 ms (34 years). Needed for, and only
    /// allowed with, [`CreateMode::Ttl`] and [`CreateMode::TtlSequential`]; the server must have
    /// `extendedTypesEnabled`.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

impl From<CreateMode> for CreateOptions {
    fn from(mode: CreateMode) -> Self {
        Self::new(mode)
    }
}

/// Everybody may do everything.
pub fn open_acl() -> Vec<Acl> {
    acl::open().to_vec()
}

/// Everybody may read, nobody may change anything.
pub fn read_only_acl() -> Vec<Acl> {
    acl::read_only().to_vec()
}

/// Whoever this client has authenticated as may do everything, nobody else anything.
pub fn creator_acl() -> Vec<Acl> {
    vec![Acl { perms: perm::ALL, id: Id::new("auth", "") }]
}

/// A node that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Created {
    /// Its path: for sequential modes with the number at its end.
    pub path: String,
    /// Its stat.
    pub stat: Stat,
}
