//! The steps of the gate (S38). Each is announced in one line with its time; the first failure ends the run and prints
//! what the step said and the command that repeats it.
//!
//! Not done here: the interop suites themselves, which are programs of `interop/`.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tidy;

/// How much of the gate to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Format, tidy, clippy and unit tests: under two minutes when warm.
    Quick,
    /// Everything a commit must pass.
    Full,
}

/// One step of the gate.
#[derive(Debug)]
enum Step {
    /// [`tidy::run`], in this process.
    Tidy,
    /// Another program, by its arguments to cargo.
    Cargo {
        name: &'static str,
        arguments: &'static [&'static str],
        environment: &'static [(&'static str, &'static str)],
    },
}

// Features only add modules (S39), so one pass with all of them sees all of the code.
const FORMAT: Step = Step::Cargo { name: "format", arguments: &["fmt", "--all", "--check"], environment: &[] };
const CLIPPY: Step = Step::Cargo {
    name: "clippy",
    arguments: &["clippy", "--workspace", "--all-targets", "--all-features", "--locked", "--", "-D", "warnings"],
    environment: &[],
};
const DOCUMENTATION: Step = Step::Cargo {
    name: "documentation",
    arguments: &["doc", "--workspace", "--no-deps", "--all-features", "--locked"],
    environment: &[("RUSTDOCFLAGS", "-D warnings")],
};
const UNIT_TESTS: Step = Step::Cargo {
    name: "unit tests",
    arguments: &["test", "--workspace", "--lib", "--bins", "--all-features", "--locked"],
    environment: &[],
};
const TESTS: Step =
    Step::Cargo { name: "tests", arguments: &["test", "--workspace", "--all-features", "--locked"], environment: &[] };
// Beside the seeds among the tests: more of them, in a build that is as fast as a release.
const SIMULATOR: Step = Step::Cargo {
    name: "simulator",
    arguments: &["run", "--quiet", "--profile", "sim", "--locked", "--package", "gk-sim", "--", "--seeds", "200"],
    environment: &[],
};

/// The root of the workspace this binary was built from.
pub fn workspace_root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// Runs the gate from the cheapest step to the dearest.
///
/// # Errors
/// The first step that fails, with its output and the command that repeats it.
pub fn run(root: &Path, depth: Depth) -> Result<(), Box<dyn Error>> {
    let steps: &[Step] = match depth {
        Depth::Quick => &[FORMAT, Step::Tidy, CLIPPY, UNIT_TESTS],
        Depth::Full => &[FORMAT, Step::Tidy, CLIPPY, DOCUMENTATION, TESTS, SIMULATOR],
    };
    let (seconds, result) = timed(|| steps.iter().try_for_each(|step| announce(root, step)));
    result?;
    println!("ci: passed in {seconds:.1} s");
    Ok(())
}

/// Runs the interop suites, or one of them, with their output shown as it comes: they take minutes.
///
/// # Errors
/// The suites could not be started, or one failed.
pub fn interop(root: &Path, suite: Option<&str>) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(root.join("interop").join("run-all"));
    command.args(suite).current_dir(root);
    let (seconds, status) = timed(|| command.status());
    let status = status.map_err(|error| format!("interop/run-all does not start: {error}"))?;
    if !status.success() {
        let suite = suite.map(|suite| format!(" {suite}")).unwrap_or_default();
        return Err(format!("interop: failed after {seconds:.1} s; repeat with: cargo xtask interop{suite}").into());
    }
    println!("interop: ok, {seconds:.1} s");
    Ok(())
}

fn announce(root: &Path, step: &Step) -> Result<(), Box<dyn Error>> {
    let (name, repeat) = match step {
        Step::Tidy => ("tidy", "cargo xtask tidy".to_owned()),
        Step::Cargo { name, arguments, environment } => (*name, command_line(arguments, environment)),
    };
    print!("ci: {name} … ");
    std::io::stdout().flush()?;
    let (seconds, result) = timed(|| match step {
        Step::Tidy => tidy::run(root).map(|_files| ()),
        Step::Cargo { arguments, environment, .. } => cargo(root, arguments, environment),
    });
    match result {
        Ok(()) => {
            println!("ok, {seconds:.1} s");
            Ok(())
        }
        Err(failure) => {
            println!("FAILED, {seconds:.1} s");
            Err(format!("{failure}\nci: {name} failed; repeat with: {repeat}").into())
        }
    }
}

/// Runs cargo and keeps its output to itself unless it fails, so that a green run is one line a step.
fn cargo(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).envs(environment.iter().copied()).current_dir(root).output()?;
    if output.status.success() {
        return Ok(());
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{stdout}{stderr}").into())
}

/// What to type into a shell for the same step.
fn command_line(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let variables: String = environment.iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
    format!("{variables}cargo {}", arguments.join(" "))
}

#[expect(clippy::disallowed_methods, reason = "times shown to a person; nothing decides by them")]
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = std::time::Instant::now();
    let result = work();
    (start.elapsed().as_secs_f64(), result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_step_ends_with_what_it_said_and_the_command_that_repeats_it() {
        let step = Step::Cargo { name: "sample", arguments: &["no-such-subcommand", "--flag"], environment: &[] };
        let failure = announce(&workspace_root(), &step).unwrap_err().to_string();
        let (said, repeat) = failure.rsplit_once('\n').unwrap();
        assert!(said.contains("no-such-subcommand"), "{said}");
        assert_eq!(repeat, "ci: sample failed; repeat with: cargo no-such-subcommand --flag");
    }

    #[test]
    fn the_command_to_repeat_a_step_carries_its_environment() {
        let line = command_line(&["doc", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")]);
        assert_eq!(line, "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn interop_without_its_programs_says_what_is_missing() {
        let failure = interop(Path::new("/nonexistent"), None).unwrap_err().to_string();
        assert!(failure.contains("interop/run-all"), "{failure}");
    }
}
