//! `cargo xtask client-network`: the client's session on a simulated network, for many seeds, for one, or with planted
//! bugs.

use std::error::Error;
use std::path::Path;
use std::process::Command;

/// Seeds when none are asked for: enough for a change of the session.
const SEEDS: u64 = 20_000;

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// The first so many seeds.
    Seeds(u64),
    /// One seed, with every step of it shown.
    Seed(u64),
    /// A hunt for each planted bug, in a build of its own.
    Bugs,
}

impl Runs {
    /// Reads what follows the command; `None` if it is not understood.
    pub fn parse(arguments: &[&str]) -> Option<Self> {
        match arguments {
            [] => Some(Self::Seeds(SEEDS)),
            ["--seeds", count] => count.parse().ok().map(Self::Seeds),
            ["--seed", seed] => seed.parse().ok().map(Self::Seed),
            ["--bugs"] => Some(Self::Bugs),
            _ => None,
        }
    }

    /// The test to run, and its environment.
    fn test(self) -> (&'static str, Vec<(&'static str, String)>) {
        const SEEDS_TEST: &str = "every_seed_ends_as_the_protocol_promises";
        match self {
            Self::Seeds(count) => (SEEDS_TEST, vec![("GK_SEEDS", count.to_string())]),
            Self::Seed(seed) => (SEEDS_TEST, vec![("GK_SEED", seed.to_string()), ("GK_TRACE", "1".to_owned())]),
            Self::Bugs => {
                ("every_planted_bug_is_found_from_outside", vec![("RUSTFLAGS", "--cfg gk_planted_bugs".to_owned())])
            }
        }
    }
}

/// Runs it, with its output shown as it comes: it takes minutes.
///
/// # Errors
/// It could not be started, or it failed; it says itself what repeats it.
pub fn run(root: &Path, runs: Runs) -> Result<(), Box<dyn Error>> {
    let (test, environment) = runs.test();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--release", "--locked", "--package", "gk-client", "--test", "network"]);
    if runs == Runs::Bugs {
        command.arg("--target-dir").arg(root.join("target").join("planted-bugs"));
    }
    command.args(["--", "--exact", "--nocapture"]);
    command.arg(if runs == Runs::Bugs { format!("bugs::{test}") } else { test.to_owned() });
    let status = command.envs(environment).current_dir(root).status()?;
    if status.success() { Ok(()) } else { Err("client-network: failed, as shown above".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_the_runs() {
        assert_eq!(Runs::parse(&[]), Some(Runs::Seeds(SEEDS)));
        assert_eq!(Runs::parse(&["--seeds", "7"]), Some(Runs::Seeds(7)));
        assert_eq!(Runs::parse(&["--seed", "9"]), Some(Runs::Seed(9)));
        assert_eq!(Runs::parse(&["--bugs"]), Some(Runs::Bugs));
        assert_eq!(Runs::parse(&["--seed"]), None, "a seed without its number");
    }
}
