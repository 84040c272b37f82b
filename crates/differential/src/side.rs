//! One of the two servers with the connections to it: does its half of a step, and tells what it heard.

use std::collections::BTreeMap;

use gk_proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use gk_proto::op::OpCode;
use gk_proto::{ErrorCode, SessionId};

use crate::lies::Liar;
use crate::options::Options;
use crate::script::{Action, Field, Form, Frame, Password, Step};
use crate::servers::Server;
use crate::view::{View, error_of, zxid_of};
use crate::wire::{Connection, Heard};

/// A server, and all that was opened to it.
pub(crate) struct Side {
    server: Server,
    view: View,
    slots: BTreeMap<usize, Connection>,
    sessions: BTreeMap<String, Session>,
    /// Tampers with what is heard.
    pub(crate) liar: Option<Liar>,
}

/// A session that was opened, by the name that the script gives it.
struct Session {
    id: SessionId,
    password: Vec<u8>,
    slot: Option<usize>,
    is_closed: bool,
}

/// What was heard in one step.
#[derive(Default)]
pub(crate) struct Told {
    /// By slot, comparable.
    pub(crate) lines: BTreeMap<usize, Vec<String>>,
    /// Answers to the requests of the step, as they came; `None` if the connection ended instead.
    pub(crate) answers: Vec<Option<Vec<u8>>>,
    /// Whether a handshake was accepted.
    pub(crate) is_greeted: bool,
}

/// Ahead of any server.
const FAR_AHEAD: i64 = i64::MAX / 2;

impl Side {
    /// Starts a server.
    pub(crate) fn start(command: &str, options: &Options) -> Result<Self, String> {
        let server = Server::start(command, options)?;
        Ok(Self { server, view: View::new(), slots: BTreeMap::new(), sessions: BTreeMap::new(), liar: None })
    }

    /// The last lines that the server logged.
    pub(crate) fn log_tail(&self) -> String {
        self.server.log_tail()
    }

    /// Slots that are connected.
    pub(crate) fn connected(&self) -> Vec<usize> {
        self.slots.keys().copied().collect()
    }

    /// Slots whose connections may have set a watch.
    pub(crate) fn watching(&self) -> Vec<usize> {
        self.slots.iter().filter(|(_, connection)| connection.may_watch).map(|(slot, _)| *slot).collect()
    }

    /// Names of sessions that have not ended.
    pub(crate) fn open_sessions(&self) -> Vec<String> {
        self.sessions.iter().filter(|(_, session)| !session.is_closed).map(|(name, _)| name.clone()).collect()
    }

    /// Forgets sessions that have ended, whose names may be used again.
    pub(crate) fn forget_closed(&mut self) {
        self.sessions.retain(|_, session| !session.is_closed);
    }

    /// Sends what the step sends. False if it cannot be done: the slot is not connected, the session was never opened.
    pub(crate) fn begin(&mut self, step: &Step) -> bool {
        match &step.action {
            Action::Open { timeout_ms, form, .. } => {
                self.open(step.slot, *timeout_ms, *form, SessionId::NONE, &[0; 16])
            }
            Action::Resume { session, password, timeout_ms } => {
                let Some(password) = self.password(session, password) else { return false };
                let Some(id) = self.sessions.get(session).map(|session| session.id) else { return false };
                self.open(step.slot, *timeout_ms, Form::Plain, id, &password)
            }
            Action::Cut => {
                self.drop_slot(step.slot);
                true
            }
            Action::Bytes(bytes) => {
                let Some(connection) = self.slots.get_mut(&step.slot) else { return false };
                connection.write(bytes);
                true
            }
            Action::Send(frames) => self.send(step.slot, frames),
        }
    }

    fn password(&self, session: &str, password: &Password) -> Option<Vec<u8>> {
        let mut bytes = self.sessions.get(session)?.password.clone();
        match password {
            Password::Right => {}
            Password::Wrong => bytes.iter_mut().for_each(|byte| *byte ^= 1),
            Password::Empty => bytes.clear(),
            Password::Of(other) => bytes.clone_from(&self.sessions.get(other)?.password),
        }
        Some(bytes)
    }

    fn open(&mut self, slot: usize, timeout_ms: i32, form: Form, session: SessionId, password: &[u8]) -> bool {
        self.drop_slot(slot);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: if form == Form::Ahead { FAR_AHEAD } else { 0 },
            timeout_ms,
            session,
            password: password.to_vec(),
            read_only: (form != Form::Short).then_some(false),
        };
        let Ok(connection) = Connection::open(self.server.address, &request) else { return false };
        self.slots.insert(slot, connection);
        true
    }

    fn send(&mut self, slot: usize, frames: &[Frame]) -> bool {
        let Some(connection) = self.slots.get_mut(&slot) else { return false };
        let mut bytes = Vec::new();
        for frame in frames {
            let xid = connection.next_xid();
            frame.encode(xid, connection.last_zxid, &mut bytes);
            connection.may_watch |= sets_watches(frame.op);
        }
        connection.send(&bytes, frames.iter().map(|frame| frame.op));
        true
    }

    /// Reads what the step brings.
    pub(crate) fn finish(&mut self, step: &Step) -> Told {
        let mut told = Told::default();
        match &step.action {
            Action::Open { session, .. } => self.greet(step.slot, session, true, &mut told),
            Action::Resume { session, .. } => self.greet(step.slot, session, false, &mut told),
            Action::Cut => {}
            Action::Bytes(_) => self.read_rest(step.slot, &mut told),
            Action::Send(frames) => {
                let Some(connection) = self.slots.get_mut(&step.slot) else { return told };
                let heard = connection.answers();
                let mut replies = heard.iter().filter_map(|heard| match heard {
                    Heard::Reply(_, frame) => Some(frame.clone()),
                    Heard::Greeting(_) | Heard::Event(_) | Heard::Closed | Heard::Silence => None,
                });
                told.answers = frames.iter().map(|_| replies.next()).collect();
                self.tell(step.slot, heard, &mut told);
                let ends_session = |(frame, answer): (&Frame, &Option<Vec<u8>>)| {
                    frame.op == OpCode::CloseSession.code() && answer.as_deref().and_then(error_of) == Some(0)
                };
                let ends_session = frames.iter().zip(&told.answers).any(ends_session);
                if ends_session && let Some(session) = self.session_in(step.slot) {
                    session.is_closed = true;
                }
                // A ping that comes before the server has got round to closing may still be answered.
                if ends_session || told.answers.iter().flatten().any(|answer| ends_connection(answer)) {
                    self.read_rest(step.slot, &mut told);
                }
            }
        }
        told
    }

    /// The answer to a handshake. Who is resumed elsewhere loses the connection; who is refused does too.
    fn greet(&mut self, slot: usize, name: &str, is_new: bool, told: &mut Told) {
        let Some(connection) = self.slots.get_mut(&slot) else { return };
        let heard = connection.greeting();
        let Heard::Greeting(frame) = &heard else {
            self.tell(slot, vec![heard], told);
            return;
        };
        let Ok(response) = ConnectResponse::decode(frame) else {
            self.tell(slot, vec![heard], told);
            return;
        };
        let has_password = response.password != [0; PASSWORD_LEN];
        told.is_greeted = response.timeout_ms > 0;
        let mut former = None;
        if told.is_greeted {
            let entry = Session {
                id: response.session,
                password: response.password.to_vec(),
                slot: Some(slot),
                is_closed: false,
            };
            if is_new {
                self.view.name_session(response.session.wire(), name);
            }
            former = self.sessions.insert(name.to_owned(), entry).filter(|_| !is_new);
        }
        let is_same = former.as_ref().is_none_or(|former| {
            former.id == response.session && former.password.as_slice() == response.password.as_slice()
        });
        let line = format!(
            "greeting of {} bytes: timeout {}, read-only {:?}, session {}, password {has_password}, as before {is_same}",
            frame.len(),
            response.timeout_ms,
            response.read_only,
            if response.session == SessionId::NONE { "none" } else { name },
        );
        told.lines.entry(slot).or_default().push(line);
        if !told.is_greeted {
            self.read_rest(slot, told);
        }
        if let Some(old) = former.and_then(|former| former.slot).filter(|old| *old != slot) {
            self.read_rest(old, told);
        }
    }

    fn read_rest(&mut self, slot: usize, told: &mut Told) {
        if let Some(connection) = self.slots.get_mut(&slot) {
            let heard = connection.rest();
            self.tell(slot, heard, told);
        }
    }

    /// Sends pings: whatever was sent to these connections before arrives before their answers.
    pub(crate) fn begin_pings(&mut self, slots: &[usize]) {
        let ping = Frame::new(OpCode::Ping, Vec::new());
        for slot in slots {
            let Some(connection) = self.slots.get_mut(slot) else { continue };
            let mut bytes = Vec::new();
            ping.encode(0, 0, &mut bytes);
            connection.send(&bytes, [ping.op]);
        }
    }

    /// Reads what comes with their answers.
    pub(crate) fn finish_pings(&mut self, slots: &[usize], told: &mut Told) {
        for slot in slots {
            if let Some(connection) = self.slots.get_mut(slot) {
                let heard = connection.answers();
                let is_last = |heard: &Heard| matches!(heard, Heard::Reply(_, answer) if ends_connection(answer));
                let ends = heard.iter().any(is_last);
                self.tell(*slot, heard, told);
                if ends {
                    self.read_rest(*slot, told);
                }
            }
        }
    }

    fn tell(&mut self, slot: usize, mut heard: Vec<Heard>, told: &mut Told) {
        if let Some(liar) = &mut self.liar {
            liar.tamper(&mut heard);
        }
        let lines = told.lines.entry(slot).or_default();
        lines.extend(heard.iter().map(|heard| self.view.line(heard)));
        if self.slots.get(&slot).is_some_and(|connection| connection.is_closed) {
            self.drop_slot(slot);
        }
    }

    /// Ends a connection from this end.
    pub(crate) fn drop_slot(&mut self, slot: usize) {
        self.slots.remove(&slot);
        if let Some(session) = self.session_in(slot) {
            session.slot = None;
        }
    }

    fn session_in(&mut self, slot: usize) -> Option<&mut Session> {
        self.sessions.values_mut().find(|session| session.slot == Some(slot))
    }

    /// Makes its connections believe that they have seen what the other server's have.
    pub(crate) fn believe(&mut self, other: &Self) {
        for (slot, connection) in &mut self.slots {
            if let Some(model) = other.slots.get(slot) {
                connection.last_zxid = model.last_zxid;
            }
        }
    }

    /// The server's last zxid; `None` if it does not say.
    pub(crate) fn zxid(&mut self, slot: usize) -> Option<i64> {
        self.begin_pings(&[slot]);
        self.slots.get_mut(&slot)?.answers().iter().find_map(|heard| match heard {
            Heard::Reply(_, frame) => zxid_of(frame),
            Heard::Greeting(_) | Heard::Event(_) | Heard::Closed | Heard::Silence => None,
        })
    }

    /// Uses up so many zxids, by requests that are refused.
    pub(crate) fn waste_zxids(&mut self, slot: usize, count: i64) {
        let refused = Frame::new(OpCode::Delete, vec![Field::text(""), Field::Int(-1)]);
        for _ in 0..count {
            let Some(connection) = self.slots.get_mut(&slot) else { return };
            let mut bytes = Vec::new();
            refused.encode(0, 0, &mut bytes);
            connection.send(&bytes, [refused.op]);
            connection.answers();
        }
    }
}

/// Whether an answer is the last on its connection: to what is no operation of a client, and to a failed auth.
fn ends_connection(answer: &[u8]) -> bool {
    let err = error_of(answer).and_then(ErrorCode::from_code);
    match err {
        Some(ErrorCode::Unimplemented) => zxid_of(answer) == Some(-1),
        Some(ErrorCode::AuthFailed | ErrorCode::SessionClosedRequireAuth) => true,
        _ => false,
    }
}

/// Whether an operation may set a watch.
fn sets_watches(op: i32) -> bool {
    matches!(
        OpCode::from_code(op),
        Some(
            OpCode::Exists
                | OpCode::GetData
                | OpCode::GetChildren
                | OpCode::GetChildren2
                | OpCode::AddWatch
                | OpCode::SetWatches
                | OpCode::SetWatches2
        )
    )
}
