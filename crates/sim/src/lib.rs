//! A server, its machine, the network and its clients in one thread, from one seed, with checkers outside.
//!
//! The node, its connections, agreement, the tree, storage and the client's core are those that are shipped. What the
//! edge of server and client does around them with threads and sockets is done here by lanes, one step at a time, in an
//! order that the seed draws. Knows nothing of real time, files or sockets.
//!
//! Read in this order:
//! - `options`, `faults`: what a seed draws before a run begins
//! - `around`: the clock, the agenda, the one source of chance
//! - `network`: sockets
//! - `server`: one life of a server, lane by lane
//! - `clients`, `programs`: clients and what they do
//! - `model`, `spec`: what the tree must be, and what requests must be answered: written once more, apart from the server
//! - `checkers`: what is held against it
//! - `lies`: ways to make a run wrong, which show that the checkers speak up
//! - `world`: one run
//! - `run`, `shrink`: many of them, and a failing one made small

mod options;
mod faults;
mod around;
mod network;
mod server;
mod clients;
mod programs;
mod model;
mod spec;
mod checkers;
mod lies;
mod world;
#[cfg(gk_planted_bugs)]
mod planted;
pub mod run;
mod shrink;
