//! The client's session under any server: answers that are right, wrong, late, out of turn or no answers at all, on
//! connections that come and go, while a program asks and gives up.
//!
//! Held against it: every request is answered exactly once; watches are told only what was asked for; what is due in time
//! gets done, so that nobody who waits for it waits for ever or spins.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use gk_client::core::{
    Backoff, Effect, Identity, Input as SessionInput, Limits, Request, ServerAddress, Session, SessionOptions, Token,
    WatchIntent, WatchKind, WatcherId,
};
use gk_proto::connect::ConnectResponse;
use gk_proto::jute::{Reader, Write as _};
use gk_proto::reply::frame;
use gk_proto::request::{Header, Read, Write};
use gk_proto::rng::Rng;
use gk_proto::watch::{EventType, encode_event};
use gk_proto::{ConnId, Instant, Millis, SessionId};

use crate::input::Input;

/// Commands, in the low half of their byte; what the upper half means depends on the command.
const CONNECT: u8 = 0;
pub(crate) const CONNECT_ONLY: u8 = 0x80;
pub(crate) const RECEIVE: u8 = 2;

const COMMANDS_MAX: usize = 128;
const LIMITS: Limits = Limits { requests_max: 16, request_bytes_max: 2_000, answer_bytes_max: 1_000 };
/// Steps within which whatever is due at one moment must be done.
const STEPS_MAX: usize = 16;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut program = Program::new(&mut input);
    for _ in 0..COMMANDS_MAX {
        let Some(command) = input.command() else { break };
        program.command(command, &mut input);
        program.settle();
    }
    program.session.handle(program.now, SessionInput::Detach);
    program.settle();
    assert!(program.waiting.is_empty(), "never answered: {:?}", program.waiting);
    assert_eq!(program.session.waiting(), (0, 0), "requests wait in a session that is over");
    assert_eq!(program.session.poll_timeout(), None, "time for a session that is over");
}

/// The program and the network of one session.
struct Program {
    session: Session,
    now: Instant,
    /// The connection that was asked for last, if it was not given up.
    conn: Option<ConnId>,
    is_connected: bool,
    has_greeted: bool,
    /// What the transport took, as far as it is no whole frame.
    taken: Vec<u8>,
    /// Requests that the server has.
    asked: VecDeque<Header>,
    next_token: u32,
    waiting: BTreeSet<Token>,
    watchers: u64,
}

fn servers(first: u16, count: u8) -> Vec<Arc<ServerAddress>> {
    (0..u16::from(count)).map(|i| Arc::new(ServerAddress { host: "h".to_owned(), port: first + i })).collect()
}

impl Program {
    fn new(input: &mut Input<'_>) -> Self {
        let flags = input.byte();
        let identity = Identity { session: SessionId(7), password: [1; 16] };
        let options = SessionOptions {
            timeout: Millis(10_000),
            read_only: flags & 1 != 0,
            resume: (flags & 2 != 0).then_some(identity),
            limits: LIMITS,
            backoff: Backoff { first: Millis(100), max: Millis(5_000) },
        };
        let now = Instant(0);
        let session = Session::new(options, servers(1, 1 + flags % 3), Rng::new(1), now);
        let mut program = Self {
            session,
            now,
            conn: None,
            is_connected: false,
            has_greeted: false,
            taken: Vec::new(),
            asked: VecDeque::new(),
            next_token: 0,
            waiting: BTreeSet::new(),
            watchers: 0,
        };
        program.settle();
        program
    }

    fn command(&mut self, command: u8, input: &mut Input<'_>) {
        match command & 15 {
            CONNECT | 1 => self.connect(input, command & CONNECT_ONLY == 0),
            RECEIVE => self.receive(input.piece()),
            3..=5 => self.answer(command, input),
            6 => self.event(input),
            7 => self.transmit(usize::from(input.byte())),
            8..=10 => self.ask(command, input),
            11 => self.pass(command, input),
            12 => self.end_connection(command),
            13 => self.authenticate(input),
            14 => self.rare(command, input),
            _ => {
                let watcher = WatcherId(u64::from(command >> 4) % self.watchers.max(1));
                let path = path(input);
                self.session.handle(self.now, SessionInput::Unwatch { path, watcher });
            }
        }
    }

    /// The connection is there, and the handshake is answered, rightly in most cases.
    fn connect(&mut self, input: &mut Input<'_>, is_right: bool) {
        let Some(conn) = self.conn else { return };
        if !self.is_connected {
            self.is_connected = true;
            self.session.handle(self.now, SessionInput::Connected(conn));
            self.settle();
            self.transmit(usize::MAX);
        }
        if self.has_greeted || !is_right {
            return;
        }
        let shape = input.byte();
        let known = self.session.identity().filter(|_| shape & 1 == 0);
        let identity = known.unwrap_or(Identity { session: SessionId(u64::from(shape & 6)), password: [2; 16] });
        let timeout_ms = if shape & 8 == 0 { 10_000 } else { input.int() };
        let read_only = [Some(false), Some(true), None][usize::from(shape >> 4) % 3];
        let response =
            ConnectResponse { timeout_ms, session: identity.session, password: identity.password, read_only };
        let mut out = Vec::new();
        frame(&mut out, |out| response.encode(out));
        self.receive(&out);
        self.has_greeted = true;
    }

    fn receive(&mut self, bytes: &[u8]) {
        let Some(conn) = self.conn.filter(|_| self.is_connected) else { return };
        self.session.handle(self.now, SessionInput::Received(conn, bytes));
    }

    /// The reply that is due, or another one, with any body.
    fn answer(&mut self, command: u8, input: &mut Input<'_>) {
        let at = if command & 0x80 == 0 { 0 } else { usize::from(input.byte()) % 4 };
        let Some(asked) = self.asked.remove(at) else { return };
        let xid = if command & 0x40 == 0 { asked.xid.0 } else { input.int() };
        let (zxid, err) = (input.long(), if command & 0x20 == 0 { 0 } else { -i32::from(input.byte()) });
        let body = input.piece();
        let mut out = Vec::new();
        frame(&mut out, |out| {
            out.put_int(xid);
            out.put_long(zxid);
            out.put_int(err);
            out.extend_from_slice(body);
        });
        self.receive(&out);
    }

    fn event(&mut self, input: &mut Input<'_>) {
        const KINDS: [EventType; 4] = [
            EventType::NodeCreated,
            EventType::NodeDeleted,
            EventType::NodeDataChanged,
            EventType::NodeChildrenChanged,
        ];
        let (zxid, kind) = (input.long(), input.choose(&KINDS));
        let mut out = Vec::new();
        encode_event(zxid, kind, path(input), &mut out);
        self.receive(&out);
    }

    /// The transport takes so many bytes.
    fn transmit(&mut self, most: usize) {
        let bytes = self.session.transmit();
        let count = bytes.len().min(most);
        if count == 0 {
            return;
        }
        self.taken.extend_from_slice(&bytes[..count]);
        self.session.transmitted(self.now, count);
        self.read_taken();
    }

    fn read_taken(&mut self) {
        let mut reader = Reader::new(&self.taken);
        let mut at = 0;
        while let Ok(Some(body)) = reader.buffer() {
            at += 4 + body.len();
            // The handshake is no request.
            if self.session.state().is_connected()
                && let Ok(header) = Header::decode(&mut Reader::new(body))
            {
                self.asked.push_back(header);
            }
        }
        self.taken.drain(..at);
    }

    fn ask(&mut self, command: u8, input: &mut Input<'_>) {
        let path_of = path(input);
        let path = std::borrow::Cow::Borrowed(path_of);
        let watch = command & 0x40 != 0;
        let read = match command >> 4 & 3 {
            0 => Read::GetData { path, watch },
            1 => Read::Exists { path, watch },
            2 => Read::GetChildren { path, watch, stat: command & 0x80 != 0 },
            _ if watch => Read::AddWatch { path, mode: i32::from(command >> 7) },
            _ => Read::WhoAmI,
        };
        let kind = match command >> 4 & 3 {
            0 | 1 => WatchKind::Data,
            2 => WatchKind::Child,
            _ if command & 0x80 == 0 => WatchKind::Persistent,
            _ => WatchKind::Recursive,
        };
        let request = if command & 15 == 10 {
            let data = input.piece();
            Request::set_data(path_of, data, -1)
        } else if watch {
            self.watchers += 1;
            let intent = WatchIntent { watcher: WatcherId(self.watchers - 1), kind, path: path_of.into() };
            Request::watching(&read, intent)
        } else if command & 15 == 9 {
            Request::write(&Write::Delete { path: path_of.to_owned(), version: -1 })
        } else {
            Request::read(&read)
        };
        let token = self.token();
        self.session.handle(self.now, SessionInput::Submit(token, request));
        if command & 15 != 8 {
            self.settle();
            self.transmit(usize::MAX);
        }
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        self.waiting.insert(Token(self.next_token));
        Token(self.next_token)
    }

    /// Time passes: to the next moment at which something is due, or by so much.
    fn pass(&mut self, command: u8, input: &mut Input<'_>) {
        if command & 0x80 != 0 {
            self.now = self.now + Millis(u64::from(input.byte()) * 50);
        } else if let Some(due) = self.session.poll_timeout() {
            self.now = self.now.max(due);
        }
        for _ in 0..STEPS_MAX {
            if self.session.poll_timeout().is_none_or(|due| due > self.now) {
                return;
            }
            self.session.handle_timeout(self.now);
            self.settle();
        }
        let due = self.session.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now), "still due at {:?}: {due:?}", self.now);
    }

    /// The connection ends, or news of an older one arrive.
    fn end_connection(&mut self, command: u8) {
        let Some(conn) = self.conn else { return };
        let old = ConnId(conn.0.saturating_sub(1));
        match command >> 4 & 3 {
            0 => {
                self.forget_connection();
                self.session.handle(self.now, SessionInput::Disconnected(conn));
            }
            1 => self.session.handle(self.now, SessionInput::Disconnected(old)),
            2 => self.session.handle(self.now, SessionInput::Received(old, b"\0\0\0\x01?")),
            _ => self.session.handle(self.now, SessionInput::Connected(old)),
        }
    }

    fn forget_connection(&mut self) {
        (self.conn, self.is_connected, self.has_greeted) = (None, false, false);
        self.taken.clear();
        self.asked.clear();
    }

    fn authenticate(&mut self, input: &mut Input<'_>) {
        let (token, auth) = (self.token(), input.piece().to_vec());
        self.session.handle(self.now, SessionInput::Authenticate { token, scheme: "digest".to_owned(), auth });
    }

    fn rare(&mut self, command: u8, input: &mut Input<'_>) {
        match command >> 4 & 3 {
            0 => {
                let token = self.token();
                self.session.handle(self.now, SessionInput::Close(Some(token)));
            }
            1 => {
                let list = servers(u16::from(input.byte() % 4), 1 + input.byte() % 3);
                self.session.handle(self.now, SessionInput::Servers(list));
            }
            2 => {
                let server = servers(u16::from(input.byte() % 4), 1).remove(0);
                self.session.handle(self.now, SessionInput::Probed { server, read_write: true });
            }
            _ => self.session.handle(self.now, SessionInput::Close(None)),
        }
    }

    /// Takes all effects.
    fn settle(&mut self) {
        let mut told = None;
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Connect { conn, .. } => {
                    self.forget_connection();
                    self.conn = Some(conn);
                }
                Effect::Disconnect { conn, .. } => {
                    if self.conn == Some(conn) {
                        self.forget_connection();
                    }
                }
                Effect::Answer { token, .. } => {
                    assert!(self.waiting.remove(&token), "{token:?} is answered, and does not wait");
                }
                Effect::Watch { watcher, .. } => {
                    assert!(watcher.0 < self.watchers, "{watcher:?} is told something, and is nobody");
                }
                Effect::State(state) => told = Some(state),
                Effect::Probe { .. } => {}
            }
        }
        let state = self.session.state();
        assert!(told.is_none_or(|told| told == state), "told that it is {told:?}, and it is {state:?}");
        self.session.check_invariants();
    }
}

fn path(input: &mut Input<'_>) -> &'static str {
    input.choose(&["/a", "/a/b", "/c", "/"])
}
