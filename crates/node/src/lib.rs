//! One server as state machines: [`Node`], which decides writes and sessions over agreement, and [`conn::Conn`], one a
//! client connection, which speaks the client protocol and answers reads from the shared tree.
//!
//! Knows nothing of sockets, files, threads and clocks: bytes, time and the tree are handed in, and what is to be done
//! comes out as effects. Feed one input, drain the effects, feed the next.
//!
//! Read in this order:
//! - [`config`]: settings and the pair of clocks
//! - [`auth`]: identities and access control
//! - [`password`]: passwords of sessions
//! - [`sessions`]: who is alive
//! - [`message`]: what passes between connection, node and driver
//! - `age`: how old a node is when the wall clock may have been set
//! - `outstanding`, `prepare`, `answer`: checks of a request, the txn it becomes, the reply it gets
//! - [`node`]: the machine that puts them in order
//! - [`conn`]: the machine of one connection

pub mod config;
pub mod auth;
pub mod password;
pub mod sessions;
pub mod message;
mod age;
mod outstanding;
mod prepare;
mod answer;
pub mod node;
pub mod conn;

pub use config::{NodeConfig, Now};
pub use message::{Connect, Delivery, Effect, Input, OverQuota, Request, Step};
pub use node::Node;
