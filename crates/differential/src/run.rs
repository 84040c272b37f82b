//! The program: scripts of earlier findings, then seeds; or lies, which must be found.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::clock::Moment;
use crate::coverage::Coverage;
use crate::draw::Draw;
use crate::ending;
use crate::lies::{Liar, Lie};
use crate::options::Options;
use crate::pair::{Difference, Pair, Verdict};
use crate::script::{Script, Step};
use crate::shrink::shrink;
use crate::side::Told;

/// Random traffic to Apache ZooKeeper and to another server side by side; whatever differs is a finding.
#[derive(Parser)]
#[command(name = "differential")]
struct Arguments {
    /// The server under test; {config} becomes the path of a zoo.cfg.
    #[arg(long, value_name = "CMD")]
    server: String,
    /// Apache's server.
    #[arg(long, value_name = "CMD")]
    apache: String,
    /// How many seeds [default: 2, none with a script].
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Steps for each seed.
    #[arg(long, default_value_t = 2500)]
    steps: u64,
    /// This seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// These scripts, and no seeds unless they are asked for.
    #[arg(long, value_name = "FILE")]
    script: Vec<PathBuf>,
    /// Fail unless every operation was answered in every way that it can be, often enough.
    #[arg(long)]
    cover: bool,
    /// Tell lies in our server's name, and see whether each is found.
    #[arg(long)]
    lies: bool,
}

/// Counts for the closing line.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
}

/// A run that found something.
struct Finding {
    script: Script,
    difference: Difference,
    /// What the servers logged last, if one of them said nothing more.
    log: Option<String>,
}

impl Finding {
    fn new(script: Script, difference: Difference, pair: &Pair) -> Self {
        let is_silent = |lines: &[String]| lines.iter().any(|line| line == "nothing" || line == "closed");
        let silent = difference.slots.iter().any(|(_, apache, ours)| is_silent(apache) || is_silent(ours));
        let log = silent
            .then(|| format!("  Apache logged last:\n{}\n  ours:\n{}", pair.apache.log_tail(), pair.ours.log_tail()));
        Self { script, difference, log }
    }
}

/// Steps after which a lie should have been found long since.
const STEPS_A_LIE: u64 = 6_000;

/// Runs what the command line asks for; the status is 0 if nothing differed.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let began = Moment::now();
    let mut runner = Runner { arguments, pair: None, tally: Tally::default(), coverage: Coverage::default() };
    let outcome = runner.run();
    if let Err(problem) = &outcome {
        println!("FAILED  {problem}");
        runner.tally.failed += 1;
    }
    let coverage = &runner.coverage;
    if coverage.requests > 0 && !runner.arguments.lies {
        coverage.print();
        println!(
            "{} steps, {} requests, {} events; {} % of the requests succeeded; {:.0} s",
            coverage.steps,
            coverage.requests,
            coverage.events,
            100 * coverage.succeeded / coverage.requests,
            began.elapsed().as_secs_f64(),
        );
        let wanting: &[(&str, Vec<String>)] =
            &[("seen too rarely", coverage.rare()), ("not expected", coverage.unlisted())];
        for (what, cells) in wanting.iter().filter(|(_, cells)| runner.arguments.cover && !cells.is_empty()) {
            println!("FAILED  {what}: {}", cells.join(", "));
            runner.tally.failed += 1;
        }
    }
    println!("{} passed, {} failed", runner.tally.passed, runner.tally.failed);
    if runner.tally.failed == 0 && runner.tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Runner {
    arguments: Arguments,
    /// The servers, if they are as they were when they started.
    pair: Option<Pair>,
    tally: Tally,
    coverage: Coverage,
}

impl Runner {
    fn run(&mut self) -> Result<(), String> {
        for path in self.arguments.script.clone() {
            self.run_script(&path)?;
        }
        if self.arguments.lies {
            return self.run_lies();
        }
        let (first, seeds) = match self.arguments.seed {
            Some(seed) => (seed, 1),
            None => {
                let default = if self.arguments.script.is_empty() { 2 } else { 0 };
                (self.arguments.first, self.arguments.seeds.unwrap_or(default))
            }
        };
        for seed in first..first + seeds {
            self.run_seed(seed)?;
        }
        Ok(())
    }

    fn run_script(&mut self, path: &PathBuf) -> Result<(), String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let script = Script::parse(&text).map_err(|problem| format!("{}: {problem}", path.display()))?;
        match self.replay(&script)? {
            None => self.tally.passed += 1,
            Some(difference) => {
                self.tally.failed += 1;
                println!("FAILED  {}\n{}", path.display(), told(&difference));
            }
        }
        Ok(())
    }

    fn run_seed(&mut self, seed: u64) -> Result<(), String> {
        let began = Moment::now();
        let steps = self.arguments.steps;
        let Some(finding) = self.draw(seed, steps, None)? else {
            self.tally.passed += 1;
            println!("seed {seed}: {steps} steps in {:.1} s", began.elapsed().as_secs_f64());
            return Ok(());
        };
        self.tally.failed += 1;
        let steps_done = finding.script.steps.len();
        println!("FAILED  seed {seed}: step {steps_done} differs\n{}", told(&finding.difference));
        if let Some(log) = &finding.log {
            println!("{log}");
        }
        if self.replay(&finding.script)?.is_none() {
            println!("it does not differ when played again on servers that have just started; all of it:");
            println!("{}", finding.script);
        } else {
            let mut problem = None;
            let kind = kind(&finding.difference);
            let small = shrink(&finding.script, |script| match self.replay(script) {
                Ok(difference) => difference.is_some_and(|difference| self::kind(&difference) == kind),
                Err(error) => {
                    problem = Some(error);
                    false
                }
            });
            problem.map_or(Ok(()), Err)?;
            println!("made smaller, a script for --script:\n{small}");
            if let Some(difference) = self.replay(&small)? {
                println!("{}", told(&difference));
            }
        }
        println!("interop/differential --seed {seed} --steps {steps}");
        Ok(())
    }

    /// Draws steps until the servers differ, or enough of them were done.
    fn draw(&mut self, seed: u64, steps: u64, lie: Option<Lie>) -> Result<Option<Finding>, String> {
        let options = Options::of(seed);
        let mut pair = self.pair(&options)?;
        pair.ours.liar = lie.map(Liar::new);
        let mut draw = Draw::new(seed, &options);
        let mut script = Script { options, steps: Vec::new() };
        for _ in 0..steps {
            let step = draw.step();
            script.steps.push(step.clone());
            match self.one(&mut pair, &step) {
                Ok(Some(told)) => draw.learn(&step, &told),
                Ok(None) => {}
                Err(difference) => return Ok(Some(Finding::new(script, difference, &pair))),
            }
        }
        pair.ours.liar = None;
        if let Err(difference) = ending::end(&mut pair) {
            return Ok(Some(Finding::new(script, difference, &pair)));
        }
        self.pair = Some(pair);
        Ok(None)
    }

    fn one(&mut self, pair: &mut Pair, step: &Step) -> Result<Option<Told>, Difference> {
        match pair.step(step) {
            Verdict::Skipped => Ok(None),
            Verdict::Same(told) => {
                self.coverage.count(step, &told);
                Ok(Some(told))
            }
            Verdict::Explained(row, told) => {
                self.coverage.count(step, &told);
                *self.coverage.explained.entry(row).or_default() += 1;
                Ok(Some(told))
            }
            Verdict::Different(difference) => Err(difference),
        }
    }

    /// Plays a script on servers that no other has been played on since it differed.
    fn replay(&mut self, script: &Script) -> Result<Option<Difference>, String> {
        let mut pair = self.pair(&script.options)?;
        for step in &script.steps {
            if let Verdict::Different(difference) = pair.step(step) {
                return Ok(Some(difference));
            }
        }
        if let Err(difference) = ending::end(&mut pair) {
            return Ok(Some(difference));
        }
        self.pair = Some(pair);
        Ok(None)
    }

    /// Servers with these options: those that are there, or new ones.
    fn pair(&mut self, options: &Options) -> Result<Pair, String> {
        if let Some(pair) = self.pair.take().filter(|pair| pair.options == *options) {
            return Ok(pair);
        }
        Pair::start(&self.arguments.apache, &self.arguments.server, options)
    }

    fn run_lies(&mut self) -> Result<(), String> {
        for lie in Lie::ALL {
            match self.draw(self.arguments.first, STEPS_A_LIE, Some(lie))? {
                Some(finding) => {
                    self.tally.passed += 1;
                    println!("{lie:?}: found in step {}\n{}", finding.script.steps.len(), told(&finding.difference));
                }
                None => {
                    self.tally.failed += 1;
                    println!("FAILED  {lie:?}: not found in {STEPS_A_LIE} steps");
                }
            }
        }
        Ok(())
    }
}

/// What was asked when the servers differed: a smaller script should not find something else.
fn kind(difference: &Difference) -> String {
    difference.step.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// A difference as text: what both said, line by line, where they differ.
fn told(difference: &Difference) -> String {
    let mut text = format!("  {}\n", difference.step);
    for (slot, apache, ours) in &difference.slots {
        let sides = [("Apache", apache), ("ours", ours)];
        for (name, lines) in sides {
            let lines = if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n           ") };
            text += &format!("  slot {slot}, {name}:\n           {lines}\n");
        }
    }
    text
}
