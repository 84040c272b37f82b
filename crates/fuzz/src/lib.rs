//! Fuzz targets: for each a function that takes any bytes and panics if something that must hold does not.
//!
//! The harness of libFuzzer is in `fuzz/`, a workspace of its own; the tests of this crate run the same functions on a
//! stable compiler over the seeds in `fuzz/seeds`, and over some thousands of mutations of each. `docs/fuzzing.md` says
//! how to run them and what came of it.
//!
//! Knows nothing of libFuzzer. A target that takes a script reads its input as commands, so that chance spends its time
//! on what happens behind checksums, handshakes and frames; raw bytes are always one of the commands.
//!
//! Read in this order:
//! - `input`: bytes of the fuzzer as numbers, choices and pieces
//! - `requests`, `replies`, `txns`: decoders, each with its encoder as the way back
//! - `text`: paths, configurations, connect strings, identities
//! - `disk`, `log_file`, `snapshot_file`: a data directory recovered from any bytes
//! - `rig`, `session`: a whole server, without IO, under several connections
//! - `client_session`: the client's session under any server

mod input;
mod requests;
mod replies;
mod txns;
mod text;
mod disk;
mod log_file;
mod snapshot_file;
mod rig;
mod session;
mod client_session;
#[cfg(test)]
mod seeds;

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As on the command line, and the name of its directory of seeds.
    pub name: &'static str,
    /// Takes any bytes; panics when something does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target { name: "requests", run: requests::run },
    Target { name: "replies", run: replies::run },
    Target { name: "txns", run: txns::run },
    Target { name: "text", run: text::run },
    Target { name: "log_file", run: log_file::run },
    Target { name: "snapshot_file", run: snapshot_file::run },
    Target { name: "session", run: session::run },
    Target { name: "client_session", run: client_session::run },
];

/// Runs the target of this name; the harness has one program for each.
///
/// # Panics
/// If there is no such target, and as the target does.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("no target is called {name}"));
    (target.run)(data);
}
