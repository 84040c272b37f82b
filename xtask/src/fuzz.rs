//! `cargo xtask fuzz`: builds the harness in `fuzz/` as cargo-fuzz does, but with the compiler that is there (nothing of
//! it needs a nightly one), and runs each target for a while.
//!
//! No sanitizer is built in: our crates have no `unsafe` code, and without one a target runs several times faster.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Seconds for each target when none are asked for: enough for a change of a decoder.
const SECONDS: u32 = 60;
/// Memory at which a target is stopped, in MB: an input has a few kilobytes.
const MEMORY_MAX_MB: u32 = 1024;
/// Seconds that one input may take.
const INPUT_SECONDS_MAX: u32 = 10;

/// What libFuzzer looks at: which edges are reached, and what is compared with what.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
/// What llvm-cov looks at.
const COUNTED: &str = "-Cinstrument-coverage --cfg fuzzing";

/// Source files whose coverage is shown, from the root.
const SHOWN: [&str; 6] = [
    "crates/proto/src",
    "crates/storage/src",
    "crates/tree/src",
    "crates/node/src",
    "crates/client/src/core",
    "crates/server/src/config",
];

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs {
    seconds: u32,
    targets: Vec<String>,
    coverage: bool,
}

impl Runs {
    /// Reads what follows the command; `None` if it is not understood.
    pub fn parse(arguments: &[&str]) -> Option<Self> {
        let mut runs = Self { seconds: SECONDS, targets: Vec::new(), coverage: false };
        let mut rest = arguments;
        loop {
            rest = match rest {
                [] => return Some(runs),
                ["--seconds", seconds, rest @ ..] => {
                    runs.seconds = seconds.parse().ok()?;
                    rest
                }
                ["--target", target, rest @ ..] => {
                    runs.targets.push((*target).to_owned());
                    rest
                }
                ["--coverage", rest @ ..] => {
                    runs.coverage = true;
                    rest
                }
                _ => return None,
            };
        }
    }
}

/// Builds and runs the targets, one after the other, and prints a line for each; with `--coverage` then shows what the
/// inputs kept so far reach.
///
/// # Errors
/// The harness does not build, there is no such target, or one has a finding; the input and what repeats it are named.
pub fn run(root: &Path, runs: &Runs) -> Result<(), Box<dyn Error>> {
    let place = Place::new(root)?;
    let known = place.targets()?;
    let targets = if runs.targets.is_empty() { &known } else { &runs.targets };
    if let Some(unknown) = targets.iter().find(|target| !known.contains(target)) {
        return Err(format!("fuzz: no target is called {unknown}; there are {}", known.join(", ")).into());
    }
    // To libFuzzer, no seconds are any number of them.
    if runs.seconds > 0 {
        let programs = place.build("fuzz", INSTRUMENTED, targets)?;
        for target in targets {
            println!("{}", place.fuzz(&programs, target, runs.seconds)?);
        }
    }
    if runs.coverage { place.coverage(targets) } else { Ok(()) }
}

/// Directories and the platform.
struct Place {
    root: PathBuf,
    target_dir: PathBuf,
    host: String,
}

impl Place {
    fn new(root: &Path) -> Result<Self, Box<dyn Error>> {
        let target_dir = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let output = Command::new("rustc").arg("-vV").output()?;
        let version = String::from_utf8(output.stdout)?;
        let host =
            version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not name its host")?;
        Ok(Self { root: root.to_owned(), target_dir, host: host.to_owned() })
    }

    fn targets(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join("fuzz/fuzz_targets"))? {
            names.extend(entry?.path().file_stem().and_then(|name| name.to_str()).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    /// Builds the programs of these targets with these flags, in a directory of their own; returns where they are.
    fn build(&self, kind: &str, flags: &str, targets: &[String]) -> Result<PathBuf, Box<dyn Error>> {
        let target_dir = self.target_dir.join(kind);
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // With a target named, build scripts and macros are not built with the flags.
        command.args(["build", "--quiet", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target"]);
        command.arg(&self.host).arg("--target-dir").arg(&target_dir);
        for target in targets {
            command.args(["--bin", target]);
        }
        let status = command.env("RUSTFLAGS", flags).current_dir(&self.root).status()?;
        if !status.success() {
            return Err("fuzz: the harness does not build; libFuzzer itself needs g++ or clang++".into());
        }
        Ok(target_dir.join(&self.host).join("release"))
    }

    /// Runs one target on its seeds and what earlier runs have kept; what it reaches anew is kept.
    fn fuzz(&self, programs: &Path, target: &str, seconds: u32) -> Result<String, Box<dyn Error>> {
        let kept = self.kept(target);
        let artifacts = self.root.join("fuzz/artifacts").join(target);
        fs::create_dir_all(&kept)?;
        fs::create_dir_all(&artifacts)?;
        let mut command = Command::new(programs.join(target));
        command.arg(format!("-max_total_time={seconds}")).arg(format!("-rss_limit_mb={MEMORY_MAX_MB}"));
        command.arg(format!("-timeout={INPUT_SECONDS_MAX}")).arg("-print_final_stats=1");
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        let output = command.arg(&kept).arg(self.seeds(target)).stdout(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let repeat = "repeat with that file as the only argument of";
            let program = programs.join(target);
            return Err(format!("{said}\nfuzz: {target} has a finding; {repeat} {}", program.display()).into());
        }
        Ok(summary(target, &said))
    }

    fn kept(&self, target: &str) -> PathBuf {
        self.root.join("fuzz/corpus").join(target)
    }

    fn seeds(&self, target: &str) -> PathBuf {
        self.root.join("fuzz/seeds").join(target)
    }

    /// Runs all inputs once in programs that count lines, and prints what llvm-cov makes of it.
    fn coverage(&self, targets: &[String]) -> Result<(), Box<dyn Error>> {
        let programs = self.build("fuzz-coverage", COUNTED, targets)?;
        let profiles = self.target_dir.join("fuzz-coverage/profiles");
        fs::create_dir_all(&profiles)?;
        let merged = profiles.join("merged.profdata");
        let mut merge = tool("llvm-profdata");
        merge.args(["merge", "--sparse", "-o"]).arg(&merged);
        let mut report = tool("llvm-cov");
        report.arg("report").arg(format!("--instr-profile={}", merged.display()));
        report.args(["--show-region-summary=false", "--show-branch-summary=false"]);
        for (i, target) in targets.iter().enumerate() {
            let profile = profiles.join(format!("{target}.profraw"));
            let program = programs.join(target);
            let mut command = Command::new(&program);
            command.arg("-runs=0").arg(self.kept(target)).arg(self.seeds(target)).env("LLVM_PROFILE_FILE", &profile);
            if !command.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
                return Err(format!("fuzz: {target} fails on an input that was kept").into());
            }
            merge.arg(&profile);
            if i > 0 {
                report.arg("--object");
            }
            report.arg(program);
        }
        must(&mut merge)?;
        must(report.arg("--sources").args(SHOWN.map(|folder| self.root.join(folder))))
    }
}

/// One line of what libFuzzer said at the end.
fn summary(target: &str, said: &str) -> String {
    let stat = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':'));
        line.map_or("?", str::trim)
    };
    let (runs, rate) = (stat("number_of_executed_units"), stat("average_exec_per_sec"));
    let edges = said.lines().rev().find_map(|line| line.split_once(" cov: ")?.1.split(' ').next()).unwrap_or("?");
    let memory = stat("peak_rss_mb");
    let mut line = format!("fuzz: {target:<15}");
    let _ = write!(line, "{runs:>12} runs, {rate:>7} a second, {edges:>5} edges, {memory} MB, no finding");
    line
}

/// A tool of LLVM: that of the compiler (`rustup component add llvm-tools`), or one on the path.
fn tool(name: &str) -> Command {
    let output = Command::new("rustc").args(["--print", "target-libdir"]).output();
    let beside = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let bundled = beside.and_then(|dir| Some(Path::new(dir.trim()).parent()?.join("bin").join(name)));
    Command::new(bundled.filter(|path| path.exists()).unwrap_or_else(|| name.into()))
}

fn must(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| format!("{program} does not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program} failed").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_the_runs() {
        let runs = |seconds, targets: &[&str], coverage| {
            let targets = targets.iter().map(|&target| target.to_owned()).collect();
            Some(Runs { seconds, targets, coverage })
        };
        assert_eq!(Runs::parse(&[]), runs(SECONDS, &[], false));
        let arguments = ["--target", "a", "--seconds", "7", "--target", "b", "--coverage"];
        assert_eq!(Runs::parse(&arguments), runs(7, &["a", "b"], true));
        assert_eq!(Runs::parse(&["--seconds", "x"]), None, "no number");
        assert_eq!(Runs::parse(&["--target"]), None, "a target without its name");
    }

    #[test]
    fn every_target_has_its_program_and_its_seeds() {
        let root = crate::ci::workspace_root();
        let place = Place::new(&root).unwrap();
        let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        let targets = place.targets().unwrap();
        assert!(!targets.is_empty(), "there are targets");
        for target in targets {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is in fuzz/Cargo.toml");
            assert!(place.seeds(&target).is_dir(), "{target} has seeds");
        }
    }

    #[test]
    fn what_libfuzzer_says_becomes_a_line() {
        let said = "#2\tDONE   cov: 1016 ft: 2450 corp: 5/1Kb\nstat::number_of_executed_units: 1647647\n\
                    stat::average_exec_per_sec:     126742\nstat::peak_rss_mb:              31\n";
        let line = summary("requests", said);
        assert_eq!(line, "fuzz: requests            1647647 runs,  126742 a second,  1016 edges, 31 MB, no finding");
    }
}
