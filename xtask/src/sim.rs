//! `cargo xtask sim`: the simulator of servers, in a build of its own that is as fast as a release and survives panics of
//! what it simulates.

use std::error::Error;
use std::path::Path;
use std::process::Command;

/// Seeds when none are asked for: enough for a change of the server.
const SEEDS: &str = "2000";

/// Runs it with these arguments, with its output shown as it comes.
///
/// # Errors
/// It could not be started, or it failed; it says itself what repeats it.
pub fn run(root: &Path, arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let arguments = if arguments.is_empty() { &["--seeds", SEEDS] } else { arguments };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--profile", "sim", "--locked", "--package", "gk-sim", "--"]);
    if arguments.first() == Some(&"--bugs") {
        command
            .env("RUSTFLAGS", "--cfg gk_planted_bugs")
            .env("CARGO_TARGET_DIR", root.join("target").join("planted-bugs"));
    }
    let status = command.args(arguments).current_dir(root).status()?;
    if status.success() { Ok(()) } else { Err("sim: failed, as shown above".into()) }
}
