//! Words shared by every crate: ids, time, chance, the jute codec, the records of the client protocol and of the
//! transaction log, error codes, path rules.
//!
//! Knows nothing of trees, sockets, files or agreement. Nothing here reads a clock or draws a random number; nothing
//! decoded here is trusted for its lengths.
//!
//! Read in this order:
//! - [`id`], [`time`], [`rng`]: newtypes for ids and time, the one PRNG
//! - [`error`]: ZooKeeper's wire codes and what can be wrong with bytes
//! - [`jute`]: the encoding under every frame and file
//! - [`path`]: which strings name a znode
//! - [`acl`], [`stat`]: the two records that appear in many others
//! - [`connect`], [`op`], [`request`], [`multi`], [`reply`], [`answer`], [`watch`]: the client protocol, each record for
//!   the side that writes it and the side that reads it
//! - [`txn`]: what is logged and proposed
//! - [`digest`]: the checksum of a znode in Apache's tree digest

pub mod id;
pub mod time;
pub mod rng;
pub mod error;
pub mod jute;
pub mod path;
pub mod acl;
pub mod stat;
pub mod connect;
pub mod op;
pub mod request;
pub mod multi;
pub mod reply;
pub mod answer;
pub mod watch;
pub mod txn;
pub mod digest;
#[cfg(gk_planted_bugs)]
pub mod planted;

/// True if this bug is planted ([`planted::Bug`] in builds that have them); never in an ordinary build.
#[cfg(gk_planted_bugs)]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is_planted($crate::planted::Bug::$bug)
    };
}
/// True if a bug is planted on purpose, for the simulator to find; never in an ordinary build.
#[cfg(not(gk_planted_bugs))]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

pub use error::{DecodeError, ErrorCode};
pub use id::{ConnId, Epoch, ServerId, SessionId, Xid, Zxid};
pub use time::{Instant, Millis, WallTime};
