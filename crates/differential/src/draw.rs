//! What a seed draws: one step after the other, each with an eye on what the tree and the sessions are like by then.
//!
//! Not drawn, as Apache 3.9.5 stops or goes astray for good: createTTL with plain flags and a negative ttl, or within a
//! multi; limits on `/`; texts below `/zookeeper/quota` that do not parse. Not drawn, as it takes more than a run: what
//! expires, what is reaped, and the bounds on watches, ids and queues of one connection. Not drawn, as Apache's own answer
//! is a matter of time: several requests at once under a hard quota, which it checks against what has been applied, or behind
//! a setACL, of which it knows the new list only when it has been applied.

mod acls;
mod paths;
mod requests;
mod spoil;

use std::collections::BTreeMap;

use gk_proto::op::OpCode;
use gk_proto::reply::HEADER_LEN;

use crate::chance::Chance;
use crate::model::{Effect, Model};
use crate::options::Options;
use crate::script::{Action, Field, Form, Frame, OPERATIONS, Password, Step};
use crate::side::Told;
use crate::view::error_of;

/// Connections at once.
pub(crate) const SLOTS: usize = 10;

/// The stream of steps of one seed.
pub(crate) struct Draw {
    chance: Chance,
    model: Model,
    options: Options,
    /// Session connected in each slot.
    slots: [Option<String>; SLOTS],
    /// Paths that the connection in each slot was told to watch.
    watched: [Vec<String>; SLOTS],
    /// Whether it is known by `digest`.
    is_known: [bool; SLOTS],
    /// Sessions that have not ended: the slot in which each is connected.
    sessions: BTreeMap<String, Option<usize>>,
    ended: Vec<String>,
    opened: u32,
    /// Whether the request being drawn stands alone: what a rule explains is only drawn then.
    is_alone: bool,
    /// What the frames of the step under way will have done.
    effects: Vec<Effect>,
}

/// Whether a request is about a quota: what is wrong with such a text stops Apache's server, or others' requests.
fn is_about_quota(frame: &Frame) -> bool {
    matches!(frame.fields.first(), Some(Field::Buffer(Some(path))) if path.starts_with(b"/zookeeper/quota"))
}

/// A request, and what it will have done.
pub(crate) struct Request {
    frame: Frame,
    effect: Effect,
}

impl Request {
    fn new(op: OpCode, fields: Vec<Field>, effect: Effect) -> Self {
        Self { frame: Frame::new(op, fields), effect }
    }

    /// A request without a body.
    fn bare(op: i32) -> Self {
        Self { frame: Frame { op, fields: Vec::new() }, effect: Effect::None }
    }
}

impl Draw {
    /// The stream of `seed`.
    pub(crate) fn new(seed: u64, options: &Options) -> Self {
        Self {
            chance: Chance::new(seed),
            model: Model::default(),
            options: *options,
            slots: [const { None }; SLOTS],
            watched: [const { Vec::new() }; SLOTS],
            is_known: [false; SLOTS],
            sessions: BTreeMap::new(),
            ended: Vec::new(),
            opened: 0,
            is_alone: true,
            effects: Vec::new(),
        }
    }

    /// The next step.
    pub(crate) fn step(&mut self) -> Step {
        self.effects.clear();
        let slot = self.chance.below(SLOTS);
        let action = if self.slots[slot].is_none() {
            self.connect()
        } else {
            match self.chance.below(1000) {
                0..6 => Action::Cut,
                6..12 => self.connect(),
                12..15 => Action::Bytes(self.nonsense()),
                15.. if self.options.enforces_auth && !self.is_known[slot] => self.first(slot),
                15..95 if !(self.options.enforces_quota && self.model.has_limits()) => self.pipeline(slot),
                _ => self.single(slot),
            }
        };
        Step { slot, action }
    }

    /// Of a connection that has to authenticate first: that, or anything else, and then the end. It stands alone: what is
    /// behind one that is refused is a matter of time.
    fn first(&mut self, slot: usize) -> Action {
        let request = match self.chance.below(20) {
            0..9 => self.request_of(OpCode::Auth, slot),
            9 => self.unknown(),
            _ => {
                let op = self.chance.pick(OPERATIONS).1;
                OpCode::from_code(op).map_or_else(|| Request::bare(op), |op| self.request_of(op, slot))
            }
        };
        self.effects.push(request.effect);
        Action::Send(vec![request.frame])
    }

    fn single(&mut self, slot: usize) -> Action {
        let mut request = self.request(slot);
        if self.chance.one_in(25) && !is_about_quota(&request.frame) {
            self.spoil(&mut request);
        }
        self.effects.push(request.effect);
        Action::Send(vec![request.frame])
    }

    /// Requests that end no connection, and that no known deviation is about.
    fn pipeline(&mut self, slot: usize) -> Action {
        self.is_alone = false;
        let count = 2 + self.chance.below(5);
        let drawn = std::iter::repeat_with(|| self.plain_request(slot));
        let requests: Vec<Request> =
            drawn.filter(|request| request.frame.op != OpCode::SetAcl.code()).take(count).collect();
        self.is_alone = true;
        let (frames, effects) = requests.into_iter().map(|request| (request.frame, request.effect)).unzip();
        self.effects = effects;
        Action::Send(frames)
    }

    /// A handshake.
    fn connect(&mut self) -> Action {
        let timeout_ms = self.chance.pick(&[1_200_000, 1_500_000, 2_400_000, 0, -1, i32::MAX, 60_000]);
        let orphans: Vec<String> =
            self.sessions.iter().filter(|(_, slot)| slot.is_none()).map(|(name, _)| name.clone()).collect();
        let others: Vec<String> = self.sessions.keys().cloned().collect();
        let resume = |session: &String, password| Action::Resume { session: session.clone(), password, timeout_ms };
        let choice = self.chance.below(100);
        if choice < 45 && !orphans.is_empty() {
            return resume(&self.chance.pick(&orphans), Password::Right);
        }
        if choice < 60 && others.len() > 1 {
            let session = self.chance.pick(&others);
            let password = match self.chance.below(6) {
                0 => Password::Wrong,
                1 => Password::Empty,
                2 => Password::Of(self.chance.pick(&others)),
                _ => Password::Right,
            };
            // Its own would be right.
            let is_right = matches!(&password, Password::Of(other) if *other == session);
            return resume(&session, if is_right { Password::Right } else { password });
        }
        if choice < 66 && !self.ended.is_empty() {
            return resume(&self.chance.pick(&self.ended), Password::Right);
        }
        self.opened += 1;
        let form = match self.chance.below(12) {
            0 => Form::Short,
            1 => Form::Ahead,
            _ => Form::Plain,
        };
        Action::Open { session: format!("s{}", self.opened), timeout_ms, form }
    }

    /// Bytes after which servers close.
    fn nonsense(&mut self) -> Vec<u8> {
        let length = i32::try_from(self.options.buffer_max).unwrap_or(i32::MAX);
        match self.chance.below(6) {
            0 => (-1_i32).to_be_bytes().to_vec(),
            1 => (length + 1).to_be_bytes().to_vec(),
            2 => i32::MIN.to_be_bytes().to_vec(),
            3 => b"ruok".to_vec(),
            4 => b"\0\0\0\x03\0\0\0".to_vec(),
            _ => b"\0\0\0\0".to_vec(),
        }
    }

    /// Takes in what came of the step.
    pub(crate) fn learn(&mut self, step: &Step, told: &Told) {
        match &step.action {
            Action::Open { session, .. } | Action::Resume { session, .. } if told.is_greeted => {
                self.leave(step.slot);
                if let Some(Some(old)) = self.sessions.insert(session.clone(), Some(step.slot)) {
                    self.slots[old] = None;
                }
                self.slots[step.slot] = Some(session.clone());
            }
            Action::Open { .. } | Action::Resume { .. } | Action::Cut => self.leave(step.slot),
            Action::Bytes(_) => {}
            Action::Send(frames) => {
                let effects = std::mem::take(&mut self.effects);
                for ((frame, effect), answer) in frames.iter().zip(effects).zip(&told.answers) {
                    let Some(answer) = answer.as_deref().filter(|answer| error_of(answer) == Some(0)) else { continue };
                    self.model.learn(frame.op, &effect, answer.get(HEADER_LEN..).unwrap_or_default());
                    self.learn_of_connection(step.slot, frame);
                    if let Effect::EndSession(session) = effect {
                        self.sessions.remove(&session);
                        self.ended.push(session);
                    }
                }
            }
        }
        for (slot, lines) in &told.lines {
            if *slot < SLOTS && lines.last().is_some_and(|line| line == "closed" || line == "nothing") {
                self.leave(*slot);
            }
        }
    }

    /// What a request that succeeded has changed for its connection.
    fn learn_of_connection(&mut self, slot: usize, frame: &Frame) {
        match (OpCode::from_code(frame.op), frame.fields.as_slice()) {
            (Some(OpCode::AddWatch), [Field::Buffer(Some(path)), ..])
            | (_, [Field::Buffer(Some(path)), Field::Boolean(true)]) => {
                self.watched[slot].push(String::from_utf8_lossy(path).into_owned());
            }
            (Some(OpCode::Auth), [_, Field::Buffer(Some(scheme)), ..]) => self.is_known[slot] |= scheme == b"digest",
            _ => {}
        }
    }

    fn leave(&mut self, slot: usize) {
        self.watched[slot].clear();
        self.is_known[slot] = false;
        if let Some(session) = self.slots[slot].take()
            && let Some(place) = self.sessions.get_mut(&session)
        {
            *place = None;
        }
    }
}
