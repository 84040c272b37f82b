//! Sequential names: no two are the same, and those of one client rise (I27).

use gk_client::core::Failure;
use gk_proto::answer::Answer;
use gk_proto::op::OpCode;
use gk_proto::request::Write;
use gk_proto::rng::Rng;

use super::{Call, Program, Shared, create, ensure};
use crate::model::Verdict;

pub(super) struct Sequence {
    last: String,
    own: Vec<String>,
}

impl Sequence {
    pub(super) fn new() -> Self {
        Self { last: String::new(), own: Vec::new() }
    }
}

impl Program for Sequence {
    fn setup(&self) -> Vec<Call> {
        vec![ensure("/s", "")]
    }

    fn next(&mut self, rng: &mut Rng) -> Call {
        if rng.below(3) == 0
            && let Some(path) = self.own.pop()
        {
            return Call::Write(Write::Delete { path, version: -1 });
        }
        // Persistent or ephemeral, with a suffix.
        let flags = if rng.below(3) == 0 { 3 } else { 2 };
        Call::Write(create(OpCode::Create2, "/s/n-", b"x", flags))
    }

    fn answered(&mut self, _: &Call, result: &Result<Answer, Failure>, _: u64, shared: &mut Shared) -> Verdict {
        shared.tick();
        let Ok(Answer::PathStat(path, _)) = result else { return Ok(()) };
        if *path <= self.last {
            return Err(format!("I27 {path} was given after {}", self.last));
        }
        if !shared.names.insert(path.clone()) {
            return Err(format!("I27 {path} was given twice"));
        }
        self.last.clone_from(path);
        self.own.push(path.clone());
        Ok(())
    }
}
