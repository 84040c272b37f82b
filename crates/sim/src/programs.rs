//! What clients do: workloads, each with what only its own client can know to be wrong.

mod bank;
mod list;
mod mirror;
mod mix;
mod quota;
mod register;
mod sequence;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use gk_client::core::{Failure, WatchItem};
use gk_proto::answer::Answer;
use gk_proto::op::OpCode;
use gk_proto::request::{AclSpec, Create, Read, Write};
use gk_proto::rng::Rng;

use crate::checkers::linearize::{Found, Operation, State, search};
use crate::model::{Model, Verdict};

/// Which workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Reads, writes and conditional writes of a few registers, for the linearizability checker.
    Register,
    /// Everything there is, on few nodes: ACLs, identities, multis, ephemerals, containers, times to live, watches.
    Mix,
    /// Transfers between accounts by conditional multis; the total never changes.
    Bank,
    /// Items appended to a list, with their count beside it, by conditional multis.
    List,
    /// Sequential names, which must rise.
    Sequence,
    /// Ephemeral nodes of sessions that come and go.
    Churn,
    /// A copy of a subtree kept by a recursive watch; in the end it is right.
    Mirror,
    /// A subtree with hard limits.
    Quota,
}

impl Kind {
    /// Every run has registers and a mix of everything; the rest is drawn.
    pub(crate) fn draw(rng: &mut Rng, number: u64) -> Self {
        let all = [
            Self::Register,
            Self::Mix,
            Self::Bank,
            Self::List,
            Self::Sequence,
            Self::Churn,
            Self::Mirror,
            Self::Quota,
            Self::Mix,
        ];
        match number {
            0 | 1 => Self::Register,
            2 => Self::Mix,
            _ => *crate::options::one(rng, &all),
        }
    }

    pub(crate) fn program(self, client: usize, data_max: usize) -> Box<dyn Program> {
        match self {
            Self::Register => Box::new(register::Register::new(client)),
            Self::Mix => Box::new(mix::Mix::new(client, data_max, false)),
            Self::Churn => Box::new(mix::Mix::new(client, data_max, true)),
            Self::Bank => Box::new(bank::Bank::new()),
            Self::List => Box::new(list::List::new()),
            Self::Sequence => Box::new(sequence::Sequence::new()),
            Self::Mirror => Box::new(mirror::Mirror::new()),
            Self::Quota => Box::new(quota::Quota::new()),
        }
    }
}

/// What a program asks its session for.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Read(Read<'static>),
    Write(Write),
    Auth {
        user: u64,
    },
    /// Give up one of the watches that wait, by its number.
    Unwatch(u64),
    /// End the session; a new one follows.
    Close,
}

/// What all programs of a run share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Calls on each register, and what it held before them if not what it is made with.
    pub(crate) histories: BTreeMap<String, Vec<Operation>>,
    starts: BTreeMap<String, State>,
    /// Sequential names that were given out.
    pub(crate) names: BTreeSet<String>,
    /// Place in the order of all events.
    pub(crate) clock: u64,
}

impl Shared {
    /// Judges the calls on registers; how many of the registers took too long to judge.
    pub(crate) fn judge(&self) -> Result<u32, String> {
        let mut undecided = 0;
        for (path, history) in &self.histories {
            match search(history.clone(), self.starts.get(path).copied().unwrap_or_default()) {
                Found::Linearizable => {}
                Found::GaveUp => undecided += 1,
                Found::Impossible => return Err(format!("I22 the calls on {path} have no order: {history:?}")),
            }
        }
        Ok(undecided)
    }

    /// History ends with what the model holds now; what comes is judged from there on.
    pub(crate) fn go_back(&mut self, model: &Model) {
        self.histories.clear();
        self.names.clear();
        self.starts.clear();
        for path in model.below(model.last(), "/r") {
            let Some(node) = model.at(model.last(), path) else { continue };
            let value = number(node.data.as_ref()).unwrap_or_default();
            self.starts.insert(path.to_owned(), State { value, version: node.stat.version });
        }
    }

    pub(crate) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

/// One workload of one client. It outlives the sessions of its client.
pub(crate) trait Program {
    /// What must be done before all else; asked for again with each session until it has been done.
    fn setup(&self) -> Vec<Call>;

    /// The next thing to ask for.
    fn next(&mut self, rng: &mut Rng) -> Call;

    /// What follows from answers and events, asked for at once and beyond the count of operations.
    fn follow_up(&mut self) -> Option<Call> {
        None
    }

    /// An answer; `invoked` is the time of the call.
    fn answered(&mut self, call: &Call, result: &Result<Answer, Failure>, invoked: u64, shared: &mut Shared)
    -> Verdict;

    /// Something for a watch of a call.
    fn watched(&mut self, _item: &WatchItem) {}

    /// A new session begins: watches and ephemerals of the last are gone.
    fn renewed(&mut self) {}

    /// All is at rest: whether what the program knows is what there is.
    fn finish(&self, _model: &Model) -> Verdict {
        Ok(())
    }
}

/// Creates a persistent node that may be there.
fn ensure(path: &str, data: &str) -> Call {
    Call::Write(create(OpCode::Create, path, data.as_bytes(), 0))
}

/// A create with an open ACL.
fn create(op: OpCode, path: &str, data: &[u8], flags: i32) -> Write {
    let data = Some(Bytes::copy_from_slice(data));
    Write::Create(Create { op, path: path.to_owned(), data, acl: AclSpec::Open, flags, ttl_ms: None })
}

fn get(path: &str) -> Call {
    Call::Read(Read::GetData { path: path.to_owned().into(), watch: false })
}

/// A number as text.
fn number(data: Option<&Bytes>) -> Option<u64> {
    std::str::from_utf8(data?).ok()?.parse().ok()
}

/// Whether the request was certainly not carried out.
fn was_not_sent(failure: Failure) -> bool {
    matches!(failure, Failure::ConnectionLost | Failure::TooManyRequests)
}
