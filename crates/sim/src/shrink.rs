//! Makes a failing run smaller: fewer faults, fewer clients, fewer operations, as long as it still breaks the same
//! invariant. What is left can be read, and repeated from the seed and the cuts.

use std::collections::BTreeSet;

use gk_proto::rng::Rng;

use crate::checkers::Violation;
use crate::options::Options;
use crate::run::Report;

/// What is left out of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Cuts {
    /// Faults and clients that stay, by number; all of them if there is no list.
    faults: Option<BTreeSet<usize>>,
    clients: Option<BTreeSet<usize>>,
    /// Operations of each client, at most.
    operations: Option<u32>,
}

/// Runs that shrinking may take.
const TRIES_MAX: u32 = 120;

impl Cuts {
    /// Reads what [`Cuts::arguments`] wrote.
    pub(crate) fn parse(arguments: &[&str]) -> Option<Self> {
        let list = |text: &str| {
            let parts = text.split(',').filter(|part| !part.is_empty() && *part != "none");
            parts.map(|part| part.parse().ok()).collect::<Option<BTreeSet<usize>>>()
        };
        let mut cuts = Self::default();
        for pair in arguments.chunks(2) {
            match pair {
                ["--faults", text] => cuts.faults = Some(list(text)?),
                ["--clients", text] => cuts.clients = Some(list(text)?),
                ["--operations", text] => cuts.operations = Some(text.parse().ok()?),
                _ => return None,
            }
        }
        Some(cuts)
    }

    /// As arguments of a command.
    pub(crate) fn arguments(&self) -> String {
        let list = |name: &str, numbers: &Option<BTreeSet<usize>>| {
            let Some(numbers) = numbers else { return String::new() };
            let texts: Vec<String> = numbers.iter().map(usize::to_string).collect();
            let text = if texts.is_empty() { "none".to_owned() } else { texts.join(",") };
            format!(" --{name} {text}")
        };
        let operations = self.operations.map_or(String::new(), |count| format!(" --operations {count}"));
        format!("{}{}{operations}", list("faults", &self.faults), list("clients", &self.clients))
    }

    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn apply(&self, options: &mut Options) {
        if let Some(kept) = &self.faults {
            let mut number = 0;
            options.faults.retain(|_| {
                number += 1;
                kept.contains(&(number - 1))
            });
        }
        for (number, client) in options.clients.iter_mut().enumerate() {
            let stays = self.clients.as_ref().is_none_or(|kept| kept.contains(&number));
            let most = self.operations.unwrap_or(u32::MAX);
            client.operations = if stays { client.operations.min(most) } else { 0 };
        }
    }

    /// What is left, to be read.
    pub(crate) fn script(&self, seed: u64) -> String {
        let mut options = Options::draw(&mut Rng::new(seed));
        self.apply(&mut options);
        let mut text = format!("seed {seed}\n");
        for (number, client) in options.clients.iter().enumerate().filter(|(_, client)| client.operations > 0) {
            text += &format!("client {number}: {:?}, {} operations\n", client.kind, client.operations);
        }
        for (at_ms, fault) in &options.faults {
            text += &format!("at {at_ms} ms: {fault:?}\n");
        }
        text
    }
}

/// The smallest run found that breaks the same invariant.
pub(crate) fn shrink(
    seed: u64,
    violation: &Violation,
    again: impl FnMut(&Cuts) -> Result<Report, Violation>,
) -> (Cuts, Violation) {
    let options = Options::draw(&mut Rng::new(seed));
    let mut search = Search { again, cuts: Cuts::default(), violation: violation.clone(), tries: 0 };
    search.numbers(options.faults.len(), |cuts| &mut cuts.faults);
    search.numbers(options.clients.len(), |cuts| &mut cuts.clients);
    for operations in [1, 2, 5, 10, 20, 40] {
        if search.attempt(Cuts { operations: Some(operations), ..search.cuts.clone() }) {
            break;
        }
    }
    search.numbers(options.faults.len(), |cuts| &mut cuts.faults);
    (search.cuts, search.violation)
}

struct Search<F> {
    again: F,
    cuts: Cuts,
    violation: Violation,
    tries: u32,
}

impl<F: FnMut(&Cuts) -> Result<Report, Violation>> Search<F> {
    /// Whether it still fails with these cuts, which are kept if so.
    fn attempt(&mut self, cuts: Cuts) -> bool {
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return false;
        }
        match (self.again)(&cuts) {
            Err(violation) if violation.invariant == self.violation.invariant => {
                (self.cuts, self.violation) = (cuts, violation);
                true
            }
            Err(_) | Ok(_) => false,
        }
    }

    /// Leaves out halves, quarters and so on of a list.
    fn numbers(&mut self, count: usize, of: impl Fn(&mut Cuts) -> &mut Option<BTreeSet<usize>>) {
        let mut kept: BTreeSet<usize> = of(&mut self.cuts).clone().unwrap_or_else(|| (0..count).collect());
        let mut size = kept.len();
        while size > 0 {
            let numbers: Vec<usize> = kept.iter().copied().collect();
            for part in numbers.chunks(size) {
                let less: BTreeSet<usize> = kept.iter().copied().filter(|number| !part.contains(number)).collect();
                let mut cuts = self.cuts.clone();
                *of(&mut cuts) = Some(less.clone());
                if self.attempt(cuts) {
                    kept = less;
                }
            }
            size /= 2;
        }
    }
}
