//! One session as a state machine, without IO: requests and received bytes go in, bytes to send and answers come out.
//!
//! Knows nothing of sockets, threads, clocks or futures: [`Session`] is told what time it is and what arrived. The driver
//! of this crate runs it over TCP, a simulator runs it over nothing at all. Chroots are not known here either; paths are
//! those of the server.
//!
//! Read in this order: `servers` (whose turn it is), `request` (what is kept of a request), `watches` (who waits for
//! what), `wire` (bytes of one connection), `interface` (inputs and
//! effects), `session` (the machine).
//!
//! Not done here: resolving names, SASL (its place is between the handshake and the first request), TLS.

mod servers;
mod watches;
mod request;
mod wire;
mod interface;
#[cfg(gk_planted_bugs)]
mod bugs;
mod session;

#[cfg(gk_planted_bugs)]
pub use bugs::Bug;
pub use interface::{
    Backoff, Effect, End, Failure, Identity, Input, Limits, SessionOptions, SessionState, WatchItem, WatchedEvent,
};
pub use request::{Request, Token, WatchIntent};
pub use servers::ServerAddress;
pub use session::Session;
pub use watches::{WatchKind, WatcherId};
