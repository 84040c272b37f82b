//! Both servers in lockstep: one step at each, then a ping on every connection that may be told of it, then what they
//! said is compared.
//!
//! Events of a txn leave before the answer to any ping that is sent after the txn's own answer, so nothing has to be
//! waited for. As both began empty and take the same requests in the same order, zxids are equal too.

use std::collections::BTreeSet;

use gk_proto::op::OpCode;

use crate::options::{Options, SUPER};
use crate::rules;
use crate::script::{Action, Field, Form, Frame, Step};
use crate::side::{Side, Told};
use crate::view::{error_of, is_event};

/// Apache's server and ours.
pub(crate) struct Pair {
    pub(crate) apache: Side,
    pub(crate) ours: Side,
    pub(crate) options: Options,
}

/// The slot of a super-user's connection, which looks at the tree and removes it in the end.
pub(crate) const KEEPER: usize = 1000;

/// The session in it.
pub(crate) const KEEPER_SESSION: &str = "keeper";

/// What came of a step.
pub(crate) enum Verdict {
    /// It could not be done at either: no connection there.
    Skipped,
    /// Both said the same.
    Same(Told),
    /// They differ, as this row of `docs/compatibility.md` says.
    Explained(&'static str, Told),
    Different(Difference),
}

/// What differed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Difference {
    pub(crate) step: String,
    /// By slot: what each said.
    pub(crate) slots: Vec<(usize, Vec<String>, Vec<String>)>,
}

impl Pair {
    /// Starts both.
    pub(crate) fn start(apache: &str, ours: &str, options: &Options) -> Result<Self, String> {
        let apache = Side::start(apache, options).map_err(|problem| format!("Apache: {problem}"))?;
        let ours = Side::start(ours, options).map_err(|problem| format!("ours: {problem}"))?;
        let mut pair = Self { apache, ours, options: *options };
        let timeout_ms = crate::options::SESSION_TIMEOUTS_MS.1;
        for action in [
            Action::Open { session: KEEPER_SESSION.to_owned(), timeout_ms, form: Form::Plain },
            Action::Send(vec![super_user()]),
        ] {
            match pair.step(&Step { slot: KEEPER, action }) {
                Verdict::Same(_) => {}
                Verdict::Different(difference) => return Err(format!("at once: {difference:?}")),
                Verdict::Skipped | Verdict::Explained(..) => return Err("there is no connection".to_owned()),
            }
        }
        Ok(pair)
    }

    /// Does a step at both, and compares.
    pub(crate) fn step(&mut self, step: &Step) -> Verdict {
        if !(self.apache.begin(step) & self.ours.begin(step)) {
            return Verdict::Skipped;
        }
        let mut apache = self.apache.finish(step);
        let mut ours = self.ours.finish(step);
        let pinged = self.to_ping(step, &apache, &ours);
        self.apache.begin_pings(&pinged);
        self.ours.begin_pings(&pinged);
        self.apache.finish_pings(&pinged, &mut apache);
        self.ours.finish_pings(&pinged, &mut ours);
        if ends_session(step) {
            sort_events(&mut apache);
            sort_events(&mut ours);
        }
        let slots: BTreeSet<usize> = apache.lines.keys().chain(ours.lines.keys()).copied().collect();
        let mut different = Vec::new();
        for slot in slots {
            let of = |told: &Told| told.lines.get(&slot).cloned().unwrap_or_default();
            let (apache, ours) = (of(&apache), of(&ours));
            if apache != ours {
                different.push((slot, apache, ours));
            }
        }
        if different.is_empty() {
            return Verdict::Same(apache);
        }
        if let Some(row) = rules::explain(step, &different)
            && self.realign().is_ok()
        {
            return Verdict::Explained(row, apache);
        }
        Verdict::Different(Difference { step: step.to_string(), slots: different })
    }

    /// The connections that may be told of a step, and its own where it may have been ended.
    fn to_ping(&self, step: &Step, apache: &Told, ours: &Told) -> Vec<usize> {
        let everybody = match &step.action {
            Action::Open { .. } | Action::Cut => false,
            Action::Resume { .. } | Action::Bytes(_) => return self.apache.connected(),
            Action::Send(frames) => frames.iter().any(|frame| may_fire(frame.op)),
        };
        let mut slots = if everybody { self.apache.watching() } else { Vec::new() };
        let is_ordinary = |answer: &Option<Vec<u8>>| {
            answer.as_deref().and_then(error_of).is_some_and(|err| err == 0 || (err < -100 && err != -115))
        };
        if !apache.answers.iter().chain(&ours.answers).all(is_ordinary) && !slots.contains(&step.slot) {
            slots.push(step.slot);
        }
        slots
    }

    /// Makes both alike again after they differed for a known reason: the same connections, the same zxid.
    pub(crate) fn realign(&mut self) -> Result<(), String> {
        let (apache, ours) = (self.apache.connected(), self.ours.connected());
        for slot in apache.iter().filter(|slot| !ours.contains(slot)) {
            self.apache.drop_slot(*slot);
        }
        for slot in ours.iter().filter(|slot| !apache.contains(slot)) {
            self.ours.drop_slot(*slot);
        }
        let zxids = (self.apache.zxid(KEEPER), self.ours.zxid(KEEPER));
        let (Some(apache), Some(ours)) = zxids else { return Err(format!("no zxids: {zxids:?}")) };
        self.apache.waste_zxids(KEEPER, ours - apache);
        self.ours.waste_zxids(KEEPER, apache - ours);
        self.ours.believe(&self.apache);
        if self.apache.zxid(KEEPER) == self.ours.zxid(KEEPER) { Ok(()) } else { Err("zxids stay apart".to_owned()) }
    }
}

/// What makes a connection one of the super-user.
pub(crate) fn super_user() -> Frame {
    Frame::new(OpCode::Auth, vec![Field::Int(0), Field::text("digest"), Field::text(SUPER)])
}

/// Whether an operation may fire watches of others, or end a connection.
fn may_fire(op: i32) -> bool {
    OpCode::from_code(op).is_none_or(|op| (op.is_write() && op != OpCode::Sync) || op == OpCode::DeleteContainer)
}

fn ends_session(step: &Step) -> bool {
    matches!(&step.action, Action::Send(frames) if frames.iter().any(|frame| frame.op == OpCode::CloseSession.code()))
}

/// The ephemerals of a session go in no order.
fn sort_events(told: &mut Told) {
    for lines in told.lines.values_mut() {
        let (mut events, others): (Vec<String>, Vec<String>) = lines.drain(..).partition(|line| is_event(line));
        events.sort();
        *lines = events;
        lines.extend(others);
    }
}
