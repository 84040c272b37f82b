//! Which operation was answered how, and how often.

use std::collections::{BTreeMap, BTreeSet};

use gk_proto::multi::{Outcome, ReadOutcome};
use gk_proto::op::OpCode;
use gk_proto::reply::HEADER_LEN;
use gk_proto::{ErrorCode, answer::Answer};

use crate::cells::{CELLS, SEEN_MIN};
use crate::script::{Action, CREATE_SESSION, OPERATIONS, Step, operation_name};
use crate::side::Told;
use crate::view::error_of;

/// Counts by operation and outcome.
#[derive(Default)]
pub(crate) struct Coverage {
    cells: BTreeMap<(String, String), u64>,
    pub(crate) steps: u64,
    pub(crate) requests: u64,
    pub(crate) succeeded: u64,
    pub(crate) events: u64,
    pub(crate) explained: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// Takes in what Apache's server told in a step.
    pub(crate) fn count(&mut self, step: &Step, told: &Told) {
        self.steps += 1;
        self.events += told.lines.values().flatten().fold(0, |sum, line| sum + u64::from(crate::view::is_event(line)));
        match &step.action {
            Action::Open { .. } => self.cell("(open)", if told.is_greeted { "accepted" } else { "refused" }),
            Action::Resume { .. } => self.cell("(resume)", if told.is_greeted { "accepted" } else { "refused" }),
            Action::Cut => self.cell("(cut)", "done"),
            Action::Bytes(_) => self.cell("(nonsense)", "closed"),
            Action::Send(frames) => {
                for (frame, answer) in frames.iter().zip(&told.answers) {
                    let name = if OPERATIONS.iter().any(|(_, op)| *op == frame.op) {
                        operation_name(frame.op)
                    } else {
                        "(unknown)".to_owned()
                    };
                    self.requests += 1;
                    let err = answer.as_deref().and_then(error_of);
                    let outcome = err.map_or("closed".to_owned(), |err| err.to_string());
                    let inside = answer.as_deref().filter(|_| err == Some(0)).map(|answer| failed_op(frame.op, answer));
                    // No answer to a request but another greeting: what stands in place of an error is a session.
                    let greets = frame.op == CREATE_SESSION && outcome != "-124" && outcome != "closed";
                    let outcome = if greets { "greeted".to_owned() } else { outcome };
                    let outcome = inside.flatten().map_or(outcome, |code| format!("op {code}"));
                    self.succeeded += u64::from(outcome == "0");
                    self.cell(&name, &outcome);
                }
            }
        }
    }

    fn cell(&mut self, operation: &str, outcome: &str) {
        *self.cells.entry((operation.to_owned(), outcome.to_owned())).or_default() += 1;
    }

    /// Cells that were seen too rarely.
    pub(crate) fn rare(&self) -> Vec<String> {
        let all =
            CELLS.iter().flat_map(|(operation, outcomes)| outcomes.iter().map(move |outcome| (operation, outcome)));
        let seen = |(operation, outcome): &(&&str, &&str)| {
            self.cells.get(&((**operation).to_owned(), (**outcome).to_owned())).copied().unwrap_or(0)
        };
        all.filter(|cell| seen(cell) < SEEN_MIN).map(|(operation, outcome)| format!("{operation} {outcome}")).collect()
    }

    /// Cells that were seen, and that nobody expected.
    pub(crate) fn unlisted(&self) -> Vec<String> {
        let is_listed = |(name, outcome): &&(String, String)| {
            CELLS.iter().any(|(operation, outcomes)| operation == name && outcomes.contains(&outcome.as_str()))
        };
        let seen = self.cells.keys().filter(|cell| !is_listed(cell));
        seen.map(|(operation, outcome)| format!("{operation} {outcome}")).collect()
    }

    /// The table: a line for each operation, `!` behind what was seen too rarely.
    pub(crate) fn print(&self) {
        let operations: BTreeSet<&String> = self.cells.keys().map(|(operation, _)| operation).collect();
        println!("operation              outcomes (error or what else ended it: how often)");
        for operation in operations {
            let cells = self.cells.iter().filter(|((name, _), _)| name == operation);
            let texts: Vec<String> = cells
                .map(|((_, outcome), count)| format!("{outcome}: {count}{}", if *count < SEEN_MIN { "!" } else { "" }))
                .collect();
            println!("{operation:<22} {}", texts.join("  "));
        }
        let cells = CELLS.iter().map(|(_, outcomes)| outcomes.len()).sum::<usize>();
        let rare = self.rare();
        println!("{} of {cells} cells seen {SEEN_MIN} times or more", cells - rare.len());
        for (row, count) in &self.explained {
            println!("deliberately different, {count} times: {row}");
        }
    }
}

/// The first error inside a multi or multiRead.
fn failed_op(op: i32, answer: &[u8]) -> Option<i32> {
    let body = answer.get(HEADER_LEN..)?;
    match (OpCode::from_code(op), Answer::decode(OpCode::from_code(op)?, body).ok()?) {
        (Some(OpCode::Multi), Answer::Multi(outcomes)) => outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Error(code) if *code != ErrorCode::Ok => Some(code.code()),
            Outcome::UnknownError(code) => Some(*code),
            Outcome::Error(_)
            | Outcome::Create(_)
            | Outcome::Create2(..)
            | Outcome::Delete
            | Outcome::SetData(_)
            | Outcome::Check => None,
        }),
        (Some(OpCode::MultiRead), Answer::MultiRead(outcomes)) => outcomes.iter().find_map(|outcome| match outcome {
            ReadOutcome::Error(code) => Some(code.code()),
            ReadOutcome::UnknownError(code) => Some(*code),
            ReadOutcome::Data(..) | ReadOutcome::Children(_) => None,
        }),
        _ => None,
    }
}
