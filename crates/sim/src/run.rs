//! One seed from its start to its end, many seeds, and what is printed of them.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use gk_proto::rng::Rng;

use crate::around::nanos;
use crate::checkers::{Counts, Violation};
use crate::lies::Lie;
use crate::options::{FAULTS_MIN, OPERATIONS_MIN, Options, SECONDS_MIN};
use crate::shrink::{self, Cuts};
use crate::world::World;

/// What a run came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Report {
    pub(crate) hash: u64,
    pub(crate) seconds: u64,
    pub(crate) operations: u64,
    pub(crate) faults: u64,
    pub(crate) starts: u64,
    pub(crate) refusals: u64,
    pub(crate) harmless: u64,
    pub(crate) undecided: u64,
    pub(crate) steps: u64,
    pub(crate) counts: Counts,
}

impl Report {
    fn add(&mut self, other: &Self) {
        self.hash ^= other.hash;
        self.seconds += other.seconds;
        self.operations += other.operations;
        self.faults += other.faults;
        self.starts += other.starts;
        self.refusals += other.refusals;
        self.harmless += other.harmless;
        self.undecided += other.undecided;
        self.steps += other.steps;
        self.counts.add(other.counts);
    }
}

/// What stands for an invariant when the server itself gave up.
pub(crate) const PANIC: &str = "panic";
/// Simulated seconds after the last fault in which everything must come to rest.
const REST_SECONDS: u64 = 120;
/// Milliseconds from the first rest to the last look.
const SETTLE_MS: u64 = 500;

/// Runs one seed, or what cuts leave of it. A panic of what is simulated is a violation too.
pub(crate) fn run(seed: u64, cuts: &Cuts, trace: bool) -> Result<Report, Violation> {
    run_with(seed, cuts, trace, |_| ())
}

/// The same, with other options than the seed drew.
pub(crate) fn run_with(
    seed: u64,
    cuts: &Cuts,
    trace: bool,
    adjust: impl FnOnce(&mut Options),
) -> Result<Report, Violation> {
    let result = catch_unwind(AssertUnwindSafe(|| whole(seed, cuts, trace, adjust)));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation { invariant: PANIC.to_owned(), what: text.unwrap_or_default() })
    })
}

fn whole(seed: u64, cuts: &Cuts, trace: bool, adjust: impl FnOnce(&mut Options)) -> Result<Report, Violation> {
    let mut rng = Rng::new(seed);
    let mut options = Options::draw(&mut rng);
    cuts.apply(&mut options);
    adjust(&mut options);
    let mut world = World::new(rng, options, trace);
    while !world.is_over() && !world.is_done() {
        world.step();
    }
    let done_at = world.around.now;
    world.heal();
    come_to_rest(&mut world, done_at);
    // What is under way when all have their answers, events above all, has time to arrive.
    let settled_at = world.around.now + nanos(SETTLE_MS);
    while !world.is_over() && world.around.now < settled_at {
        world.step();
    }
    come_to_rest(&mut world, done_at);
    if !world.is_over() {
        world.finish();
    }
    if let Some(violation) = world.around.checker.violation() {
        return Err(violation.clone());
    }
    let report = Report {
        hash: world.around.hash(),
        seconds: world.around.seconds(),
        operations: u64::from(world.operations()),
        faults: world.faults_done() as u64,
        starts: u64::from(world.starts()),
        refusals: u64::from(world.refusals),
        harmless: u64::from(world.harmless),
        undecided: u64::from(world.undecided),
        steps: world.around.steps,
        counts: world.around.checker.counts,
    };
    if cuts.is_none() {
        assert!(report.seconds >= SECONDS_MIN, "a run of {} s", report.seconds);
        assert!(report.operations >= u64::from(OPERATIONS_MIN), "a run of {} operations", report.operations);
        assert!(report.faults >= FAULTS_MIN as u64, "a run of {} faults", report.faults);
    }
    Ok(report)
}

/// Until nobody waits for anything.
fn come_to_rest(world: &mut World, done_at: u64) {
    while !world.is_over() && !world.is_at_rest() {
        world.step();
        if world.around.now > done_at + nanos(REST_SECONDS * 1000) {
            let what = match world.overdue() {
                Some(path) => format!("I24 {path} is still there {REST_SECONDS} s after the last fault"),
                None => format!("I28 not at rest {REST_SECONDS} s after the last fault: {}", world.waits_for()),
            };
            world.around.checker.fail(&what);
        }
    }
}

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// So many seeds from this one on.
    Seeds { from: u64, count: u64 },
    /// One, shown step by step.
    Seed { seed: u64, cuts: Cuts },
    /// The hash of one.
    Hash(u64),
    /// Whether every lie is found.
    Lies,
    /// Whether planted bugs are found: these, or all.
    #[cfg(gk_planted_bugs)]
    Bugs(Vec<String>),
}

impl Wanted {
    /// Reads arguments; `None` if they are not understood.
    pub(crate) fn parse(arguments: &[&str]) -> Option<Self> {
        Some(match arguments {
            ["--seeds", count] => Self::Seeds { from: 1, count: count.parse().ok()? },
            ["--seeds", count, "--from", from] => Self::Seeds { from: from.parse().ok()?, count: count.parse().ok()? },
            ["--lies"] => Self::Lies,
            #[cfg(gk_planted_bugs)]
            ["--bugs", names @ ..] => Self::Bugs(names.iter().map(|&name| name.to_owned()).collect()),
            ["--hash", seed] => Self::Hash(seed.parse().ok()?),
            ["--seed", seed, cuts @ ..] => Self::Seed { seed: seed.parse().ok()?, cuts: Cuts::parse(cuts)? },
            _ => return None,
        })
    }
}

/// The program: exits with failure if a seed fails.
pub fn main(arguments: &[&str]) -> ExitCode {
    std::panic::set_hook(Box::new(|_| ()));
    let Some(wanted) = Wanted::parse(arguments) else {
        eprintln!(
            "usage: --seeds COUNT [--from SEED] | --lies | --hash SEED | --bugs [NAME …] | --seed SEED [what a failure printed]"
        );
        return ExitCode::from(2);
    };
    match wanted {
        Wanted::Hash(seed) => match run(seed, &Cuts::default(), false) {
            Ok(report) => {
                println!("{:016x}", report.hash);
                ExitCode::SUCCESS
            }
            Err(violation) => failed(seed, &Cuts::default(), &violation),
        },
        Wanted::Seed { seed, cuts } => {
            println!("seed {seed}");
            match run(seed, &cuts, true) {
                Ok(report) => {
                    println!("{report:?}");
                    ExitCode::SUCCESS
                }
                Err(violation) => failed(seed, &cuts, &violation),
            }
        }
        Wanted::Seeds { from, count } => many(from, count),
        Wanted::Lies => lies(),
        #[cfg(gk_planted_bugs)]
        Wanted::Bugs(names) => crate::planted::hunt(&names),
    }
}

/// Seeds in which a lie must be found.
const LIE_SEEDS: u64 = 300;

/// The first seed in which a lie is found, and as what.
fn find_lie(lie: Lie) -> Option<(u64, Violation)> {
    (1..=LIE_SEEDS).find_map(|seed| {
        let told = run_with(seed, &Cuts::default(), false, |options| options.lie = Some(lie));
        told.err().map(|violation| (seed, violation))
    })
}

fn lies() -> ExitCode {
    let mut all_found = true;
    for (lie, invariants) in Lie::ALL {
        let found = find_lie(lie);
        let right = found.as_ref().is_some_and(|(_, violation)| invariants.contains(&&*violation.invariant));
        all_found &= right;
        match found {
            Some((seed, violation)) => println!("{lie:?}: {} in seed {seed}, right: {right}", violation.invariant),
            None => println!("{lie:?}: not found in {LIE_SEEDS} seeds"),
        }
    }
    if all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(from: u64, count: u64) -> ExitCode {
    let mut total = Report::default();
    for seed in from..from + count {
        match run(seed, &Cuts::default(), false) {
            Ok(report) => total.add(&report),
            Err(violation) => {
                println!("seed {seed}");
                println!("{}: {}", violation.invariant, violation.what);
                println!("shrinking …");
                let _ = std::io::stdout().flush();
                let again = |cuts: &Cuts| run(seed, cuts, false);
                let (cuts, violation) = shrink::shrink(seed, &violation, again);
                print!("{}", cuts.script(seed));
                return failed(seed, &cuts, &violation);
            }
        }
    }
    println!("{count} seeds from {from} on: {total:?}");
    ExitCode::SUCCESS
}

fn failed(seed: u64, cuts: &Cuts, violation: &Violation) -> ExitCode {
    println!("{}: {}", violation.invariant, violation.what);
    println!("repeat with: cargo xtask sim --seed {seed}{}", cuts.arguments());
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_shrunk_to_what_still_fails() {
        let again = |seed, cuts: &Cuts| run_with(seed, cuts, false, |options| options.lie = Some(Lie::EventTwice));
        let (seed, violation) = find_lie(Lie::EventTwice).expect("it is found");
        let (cuts, smaller) = shrink::shrink(seed, &violation, |cuts| again(seed, cuts));
        assert_eq!(smaller.invariant, violation.invariant, "the same is broken");
        assert_eq!(again(seed, &cuts), Err(smaller), "the cuts repeat it");
        assert!(cuts.arguments().contains("--faults none"), "no fault is needed: {}", cuts.arguments());
        let arguments = cuts.arguments();
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        assert_eq!(Cuts::parse(&arguments), Some(cuts), "and can be typed");
    }

    #[test]
    fn arguments_name_what_is_wanted() {
        assert_eq!(Wanted::parse(&["--seeds", "7"]), Some(Wanted::Seeds { from: 1, count: 7 }));
        assert_eq!(Wanted::parse(&["--seeds", "7", "--from", "3"]), Some(Wanted::Seeds { from: 3, count: 7 }));
        let cuts = Cuts::parse(&["--clients", "1,2"]).unwrap();
        assert_eq!(Wanted::parse(&["--seed", "9", "--clients", "1,2"]), Some(Wanted::Seed { seed: 9, cuts }));
        assert_eq!(Wanted::parse(&["--seed", "9", "--wrong", "1"]), None);
        assert_eq!(Wanted::parse(&[]), None);
    }
}
