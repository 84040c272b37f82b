//! The hunt for bugs that are planted in the core crates ([`gk_proto::planted`]): each must be noticed by a checker outside the
//! server, in seeds that know nothing of it. A panic of the server's own does not count.

use std::process::ExitCode;

use gk_proto::planted::{self, Bug};

use crate::checkers::Violation;
use crate::run;
use crate::shrink::Cuts;

/// Seeds in which a bug must be found.
const SEEDS_MAX: u64 = 5_000;

/// Hunts those that are named, or all. Prints a row of the table in docs/simulation.md for each.
pub(crate) fn hunt(names: &[String]) -> ExitCode {
    let is_wanted = |bug: &&Bug| names.is_empty() || names.contains(&format!("{bug:?}"));
    let (mut hunted, mut missed) = (0, Vec::new());
    for &bug in Bug::ALL.iter().filter(is_wanted) {
        hunted += 1;
        match find(bug) {
            (Some((seed, violation)), panics) => {
                println!("| {} | `{bug:?}` | {} | {seed} |", bug.row(), violation.invariant);
                println!("    {} ({panics} seeds before it ended in a panic)", violation.what);
            }
            (None, panics) => {
                println!("| {} | `{bug:?}` | not found ({panics} panics) | |", bug.row());
                missed.push(bug);
            }
        }
    }
    println!("{} of {hunted} planted bugs found within {SEEDS_MAX} seeds each", hunted - missed.len());
    if missed.is_empty() && hunted > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first seed in which a checker notices the bug, and in how many before it the server itself panicked.
fn find(bug: Bug) -> (Option<(u64, Violation)>, u64) {
    planted::plant(Some(bug));
    let mut panics = 0;
    let found = (1..=SEEDS_MAX).find_map(|seed| {
        let violation = run::run(seed, &Cuts::default(), false).err()?;
        if violation.invariant == run::PANIC {
            panics += 1;
            return None;
        }
        Some((seed, violation))
    });
    planted::plant(None);
    (found, panics)
}
