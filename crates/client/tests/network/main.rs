//! The session of `gk_client::core` on a network that delays, tears and cuts, against servers that lag, go back, expire
//! sessions and leave replies out; all of it in virtual time and from one seed.
//!
//! `cargo xtask client-network` runs many seeds; `GK_SEED=<number> cargo test -p gk-client --test network` runs one, and
//! `GK_TRACE=1` shows every step of it. What is drawn and what is checked: `docs/simulation.md`.
//!
//! Read in this order: `history` and `ensemble` (the model of the servers), `operations` (what it does with a request),
//! `network` (bytes on their way), `program` (what is asked), `checker` (what must hold), `options` and `world` (all of it
//! together), `run` (one seed), `situations` (the notable ones, by name), `cuts` (one script, cut at every byte).

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test may fail by panicking")]

mod history;
mod ensemble;
mod operations;
mod network;
mod program;
mod checker;
mod options;
mod world;
mod run;
mod situations;
mod cuts;
#[cfg(gk_planted_bugs)]
mod bugs;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Seeds of the gate; more by `GK_SEEDS`.
const SEEDS: u64 = 300;

#[test]
fn every_seed_ends_as_the_protocol_promises() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let first = number("GK_SEED");
    let seeds = first.map_or(0..number("GK_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let (mut executions, mut connections, mut watches, mut ended) = (0, 0, 0, 0);
    for seed in seeds.clone() {
        let result = catch_unwind(AssertUnwindSafe(|| run::run(seed, |_| ())));
        let what = match result {
            Ok(Ok(report)) => {
                executions += report.executions as u64;
                connections += report.connections;
                watches += report.watches as u64;
                ended += u64::from(report.ended.is_some());
                continue;
            }
            Ok(Err(violation)) => format!("{}: {}", violation.checker, violation.what),
            Err(_) => "a panic, shown above".to_owned(),
        };
        panic!("seed {seed}\n{what}\nreplay: GK_SEED={seed} cargo test -p gk-client --test network every_seed");
    }
    println!(
        "{} seeds: {executions} requests carried out, {connections} connections, {watches} watches compared, \
         {ended} sessions over before the end",
        seeds.count()
    );
}

#[test]
fn the_same_seed_runs_the_same_way_twice() {
    for seed in 0..20 {
        let twice = [(); 2].map(|()| run::run(seed, |_| ()).map_err(|violation| violation.what));
        assert_eq!(twice[0], twice[1], "seed {seed}");
    }
}
