//! The server at its edges: sockets, threads, clocks, the operating system. What is decided is decided in `gk-node`;
//! here bytes and files are moved and the state machines are fed.
//!
//! Threads: one a `shard` for the connections on it, one for the node (`driver`), one for the log (`log_lane`), one for
//! snapshots (`snapshots`), and one that starts and ends them all and accepts connections (`start`). A process may have
//! any number of servers; only [`serve`] touches what belongs to the process, its signals.
//!
//! Read in this order:
//! - [`config`]: what the operator says
//! - [`words`]: texts of the four-letter words
//! - [`error`]: how it ends
//! - `clock`: the one real clock
//! - `inbox`, `link`, `shared`, `shard`: what threads hand each other, and share
//! - `driver`: the node's thread
//! - `log_lane`, `snapshots`: the disk's threads
//! - `throttle`, `task`, `listener`: connections
//! - `report`: what the four-letter words are told
//! - `key`: the secret behind session passwords
//! - `start`: putting it together, and taking it apart
//! - `serve`: a server as the whole of a process

pub mod config;
pub mod words;
pub mod error;
mod clock;
mod inbox;
mod link;
mod shared;
mod shard;
mod driver;
mod log_lane;
mod snapshots;
mod throttle;
mod farewell;
mod task;
mod listener;
mod report;
mod key;
mod start;
mod serve;

pub use config::Config;
pub use error::{Exit, Listening, ServeError};
pub use serve::serve;
pub use start::{Server, store_options};
