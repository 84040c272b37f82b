//! The gate of the repository: one command that says whether a commit may land, and the rules of style that a
//! compiler does not check.
//!
//! Knows nothing of ZooKeeper: no crate of the server is linked here, so the gate still runs when the server does not
//! build. Steps are other programs (cargo, the interop suites) or functions of this crate; a step that does nothing has
//! no place here.
//!
//! Read in this order:
//! - [`tidy`]: the rules over the sources, each a pure function of the repository's files, each with a test that shows
//!   it failing; `tidy/repository.rs` loads the files, `tidy/rust_text.rs` tells code from comments, strings and tests
//! - [`ci`]: the steps of the gate, run in order up to the first failure
//! - [`network`]: the client's session on a simulated network, for as many seeds as asked for
//! - [`sim`]: the simulator of servers, disks and clients, likewise
//! - [`fuzz`]: libFuzzer on the targets of `crates/fuzz`
//!
//! The binary (`main.rs`) only reads the command line.

pub mod tidy;
pub mod ci;
pub mod network;
pub mod sim;
pub mod fuzz;
