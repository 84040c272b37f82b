//! Random txns on a tree and on a model of it that is too simple to be wrong in the same way; random watches likewise.
//!
//! A seed is the whole test: `GK_SEED=<number> cargo test -p gk-tree --test model` runs that one alone.

#![expect(clippy::unwrap_used, reason = "a test crate, of which the lint only knows the test functions")]

mod model;
mod random;
mod trees;
mod watches;

use gk_proto::rng::Rng;

/// Runs `test` for each of some seeds, or for the one that the environment names, and says which one failed.
fn for_seeds(count: u64, test: impl Fn(&mut Rng) + std::panic::RefUnwindSafe) {
    let named = std::env::var("GK_SEED").ok().map(|seed| seed.parse().expect("GK_SEED is a number"));
    let seeds = named.map_or(0..count, |seed: u64| seed..seed + 1);
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| test(&mut Rng::new(seed))) {
            eprintln!("failed with GK_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
