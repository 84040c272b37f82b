//! A client of any ZooKeeper-compatible ensemble: sessions that survive servers, requests in the order in which they were
//! made, watches as values.
//!
//! Knows nothing of trees, logs or agreement: it speaks the client protocol of `gk-proto`, and its core does not even
//! know of sockets.
//!
//! The core is one state machine a session, without sockets, threads or clocks: requests and received bytes go in,
//! bytes to send and answers come out. Around it, one task a session owns the socket.
//!
//! Read in this order:
//! - [`core`]: the session as a state machine
//! - [`error`]: what can go wrong, told apart by what the program may do next
//! - `servers`, `chroot`, `options`, `counters`: what programs say and are told
//! - `clock`, `shared`, `dial`, `driver`: the machine among tasks and sockets
//! - `pending`, `watch`, `states`: answers, watches and states as values
//! - `srv`: lists of servers from DNS, with the feature of that name
//! - `client`, `multi`, `builder`, `create`, `quota`, `retry`: what a program calls
//! - [`blocking`]: the same without async
//! - `testing`, behind the feature of that name: a server inside a program's own tests

pub mod core;
pub mod error;
mod servers;
mod chroot;
mod options;
mod counters;
mod clock;
mod shared;
mod dial;
mod driver;
mod pending;
mod watch;
mod states;
mod srv;
mod client;
mod multi;
mod builder;
mod create;
mod quota;
mod retry;
pub mod blocking;
#[cfg(feature = "testing")]
pub mod testing;

pub use builder::ClientBuilder;
pub use client::Client;
pub use core::{Identity, SessionState, WatchItem, WatchedEvent};
pub use counters::Counters;
pub use error::Error;
pub use gk_proto::acl::{Acl, Id, perm};
pub use gk_proto::answer::ClientInfo;
pub use gk_proto::op::CreateMode;
pub use gk_proto::stat::Stat;
pub use gk_proto::watch::{AddWatchMode, EventType};
pub use gk_proto::{ErrorCode, SessionId, Zxid};
pub use multi::{Multi, MultiRead, MultiResult, ReadResult};
pub use options::{CreateOptions, Created, Version, creator_acl, open_acl, read_only_acl};
pub use pending::Pending;
pub use quota::{Quota, QuotaLimits};
pub use retry::Retry;
pub use servers::ConnectString;
pub use states::StateStream;
pub use watch::{OneshotWatch, WatchStream};
