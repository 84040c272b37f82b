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
//! - `testing`, behind the feature of that name: a server inside a program's own tests

pub mod core;
pub mod error;
#[cfg(feature = "testing")]
pub mod testing;

pub use error::Error;
