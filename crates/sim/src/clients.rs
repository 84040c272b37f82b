//! Clients: each is the shipped core of the client library with a program on top and a socket below.

use std::collections::BTreeMap;
use std::sync::Arc;

use gk_client::core::{
    Effect, Failure, Input, Request, ServerAddress, Session, SessionOptions, SessionState, Token, WatchIntent,
    WatchItem, WatchKind, WatcherId,
};
use gk_proto::answer::Answer;
use gk_proto::connect::Password;
use gk_proto::request::Read;
use gk_proto::rng::Rng;
use gk_proto::watch::AddWatchMode;
use gk_proto::{ConnId, ErrorCode, Instant, SessionId, Zxid};

use crate::around::{Around, Event, Wake, millis, nanos};
use crate::network::below;
use crate::options::ClientOptions;
use crate::programs::{Call, Program, Shared};

/// One client and its sessions, one after the other.
pub(crate) struct Client {
    number: usize,
    options: ClientOptions,
    session: Session,
    program: Box<dyn Program>,
    rng: Rng,
    /// Calls of the program that must be answered well before it begins.
    setup: Vec<Call>,
    asked: BTreeMap<u32, Asked>,
    /// Watches that wait: their paths and kinds.
    watches: BTreeMap<u64, (String, WatchKind)>,
    next_token: u32,
    attempt: ConnId,
    pipe: Option<ConnId>,
    wake: Wake,
    program_wake: Wake,
    paused_until: u64,
    /// Calls that the program has left, and calls made, setup and follow-ups not counted.
    pub(crate) left: u32,
    pub(crate) made: u32,
    /// The last txn that sessions before this one knew of.
    seen_before: Zxid,
    /// What it knew was lost by the server: it asks for nothing until then, and begins anew.
    lost_until: Option<u64>,
    /// Went without a word: neither program nor session goes on.
    gone: bool,
    /// How many sessions have ended under it.
    pub(crate) sessions_lost: u32,
}

/// A call without an answer.
struct Asked {
    call: Call,
    invoked: u64,
    is_setup: bool,
}

/// Where the server is.
fn address() -> Arc<ServerAddress> {
    Arc::new(ServerAddress { host: "server".into(), port: 2181 })
}

fn session(options: &ClientOptions, seed: u64, now: Instant) -> Session {
    let session = SessionOptions {
        timeout: millis(options.timeout_ms),
        read_only: false,
        resume: None,
        limits: options.limits,
        backoff: options.backoff,
    };
    Session::new(session, vec![address()], Rng::new(seed), now)
}

impl Client {
    pub(crate) fn new(number: usize, options: ClientOptions, around: &mut Around) -> Self {
        let mut rng = Rng::new(options.seed);
        let now = around.client_instant(options.drift_ppm);
        let data_max = around.options.node.frame_max.saturating_sub(90);
        let program = options.kind.program(number, data_max);
        Self {
            number,
            session: session(&options, rng.next_u64(), now),
            setup: program.setup(),
            program,
            rng,
            asked: BTreeMap::new(),
            watches: BTreeMap::new(),
            next_token: 0,
            attempt: ConnId(0),
            pipe: None,
            wake: Wake::default(),
            program_wake: Wake::default(),
            paused_until: 0,
            left: options.operations,
            made: 0,
            seen_before: Zxid::ZERO,
            lost_until: None,
            gone: false,
            sessions_lost: 0,
            options,
        }
    }

    /// Begins.
    pub(crate) fn begin(&mut self, around: &mut Around, shared: &mut Shared) {
        self.pump(around, shared);
        around.wake(&mut self.program_wake, 0, Event::Program(self.number));
    }

    /// Whether all that it wanted is done and answered, and its session is served.
    pub(crate) fn is_at_rest(&self, now: u64) -> bool {
        self.gone
            || (self.left == 0
                && self.lost_until.is_none()
                && self.paused(now).is_none()
                && self.setup.is_empty()
                && self.asked.is_empty()
                && self.session.state() == SessionState::Connected)
    }

    /// What it waits for, for whoever asks why a run does not end.
    pub(crate) fn waits_for(&self) -> String {
        let calls: Vec<_> = self.asked.values().map(|asked| &asked.call).take(3).collect();
        let state = self.session.state();
        format!("client {}: {state:?}, {} calls left, waits for {calls:?}", self.number, self.left)
    }

    /// Its session, if it is one that the server should know.
    pub(crate) fn session_id(&self) -> Option<(SessionId, Password)> {
        let identity = self.session.identity()?;
        Some((identity.session, identity.password))
    }

    pub(crate) fn has_gone(&self) -> bool {
        self.gone
    }

    pub(crate) fn pipe(&self) -> Option<ConnId> {
        self.pipe
    }

    pub(crate) fn program(&self) -> &dyn Program {
        &*self.program
    }

    pub(crate) fn pause(&mut self, until: u64) {
        self.paused_until = self.paused_until.max(until);
    }

    /// Goes without a word.
    pub(crate) fn vanish(&mut self, around: &mut Around, shared: &mut Shared) {
        self.gone = true;
        around.wake_at(&mut self.wake, None, Event::Client(self.number));
        around.wake_at(&mut self.program_wake, None, Event::Program(self.number));
        self.give_up(shared);
        if let Some(pipe) = self.pipe.and_then(|pipe| around.network.pipes.get_mut(&pipe)) {
            pipe.client_gone = true;
            pipe.up.goes_dark();
        }
    }

    /// The last txn that it knows of.
    pub(crate) fn has_seen(&self) -> Zxid {
        self.seen_before.max(Zxid::from_wire(self.session.last_zxid_seen()))
    }

    /// The server has lost what it knew. Its program forgets, and its session tries to go on until this time.
    pub(crate) fn lost_history(&mut self, around: &mut Around, shared: &mut Shared, until: u64) {
        if self.gone {
            return;
        }
        around.note(|| format!("client {} knows what is lost", self.number));
        self.lost_until = Some(until);
        self.give_up(shared);
        self.watches.clear();
        let data_max = around.options.node.frame_max.saturating_sub(90);
        self.program = self.options.kind.program(self.number, data_max);
        self.setup = self.program.setup();
        around.wake_at(&mut self.program_wake, Some(until), Event::Program(self.number));
    }

    /// What has no answer may be carried out or not.
    fn give_up(&mut self, shared: &mut Shared) {
        for asked in std::mem::take(&mut self.asked).into_values() {
            let failed = Err(Failure::OutcomeUnknown);
            let _ = self.program.answered(&asked.call, &failed, asked.invoked, shared);
        }
    }

    /// No more calls of its own accord from now on.
    pub(crate) fn rest(&mut self) {
        self.left = 0;
    }

    /// If the client does not run now: when it does again.
    pub(crate) fn paused(&self, now: u64) -> Option<u64> {
        (self.paused_until > now).then_some(self.paused_until)
    }
}

/// What happens to it.
impl Client {
    /// Time has come for the session.
    pub(crate) fn timeout(&mut self, around: &mut Around, shared: &mut Shared) {
        self.wake = Wake::default();
        if self.gone {
            return;
        }
        self.session.handle_timeout(around.client_instant(self.options.drift_ppm));
        self.pump(around, shared);
    }

    /// An attempt to connect has come to its end.
    pub(crate) fn dialled(&mut self, around: &mut Around, shared: &mut Shared, attempt: ConnId, pipe: Option<ConnId>) {
        if self.gone || attempt != self.attempt {
            if let Some(pipe) = pipe {
                close(around, pipe);
            }
            return;
        }
        self.pipe = pipe;
        let input = if pipe.is_some() { Input::Connected(attempt) } else { Input::Disconnected(attempt) };
        self.input(around, shared, input);
    }

    /// Bytes, or an end, have arrived.
    pub(crate) fn received(&mut self, around: &mut Around, shared: &mut Shared, id: ConnId) {
        let now = around.now;
        let Some(pipe) = around.network.pipes.get_mut(&id) else { return };
        pipe.down.arrive(now);
        let (bytes, attempt) = (std::mem::take(&mut pipe.down.arrived), pipe.attempt);
        let has_ended = pipe.down.has_ended(now);
        if self.gone || self.pipe != Some(id) {
            return;
        }
        if !bytes.is_empty() {
            around.fold(&bytes);
            // The window is open again.
            let after = around.lag();
            around.schedule(after, Event::ToServer(id));
            self.input(around, shared, Input::Received(attempt, &bytes));
        }
        if has_ended && self.pipe == Some(id) {
            self.pipe = None;
            close(around, id);
            self.input(around, shared, Input::Disconnected(attempt));
        }
    }

    /// The socket takes bytes again.
    pub(crate) fn writable(&mut self, around: &mut Around, id: ConnId) {
        if self.pipe == Some(id) && !self.gone {
            self.transmit(around);
        }
    }

    /// The program goes on: a burst of calls.
    pub(crate) fn run(&mut self, around: &mut Around, shared: &mut Shared) {
        self.program_wake = Wake::default();
        if self.gone {
            return;
        }
        if self.lost_until.is_some() {
            self.renew(around, shared);
        }
        if self.setup.is_empty() {
            let burst = 1 + self.rng.below(self.options.burst_max);
            for _ in 0..burst {
                if self.left > 0 && self.setup.is_empty() {
                    self.left -= 1;
                    self.made += 1;
                    let call = self.program.next(&mut self.rng);
                    self.ask(around, shared, call, false);
                }
            }
        } else if self.asked.is_empty() {
            // One by one: what comes later may need what comes first.
            let call = self.setup.remove(0);
            self.ask(around, shared, call, true);
        }
        let pause = if self.setup.is_empty() { self.options.pause_ms } else { 5 };
        let after = nanos(1 + self.rng.below(2 * pause));
        if self.left > 0 || !self.setup.is_empty() {
            around.wake(&mut self.program_wake, after, Event::Program(self.number));
        }
    }

    fn ask(&mut self, around: &mut Around, shared: &mut Shared, call: Call, is_setup: bool) {
        if self.session.state().is_final() {
            self.renew(around, shared);
        }
        self.next_token += 1;
        let number = self.next_token;
        let invoked = shared.tick();
        let token = Token(number);
        around.note(|| format!("client {} asks #{number} {call:?}", self.number));
        let input = match &call {
            Call::Read(read) => Input::Submit(token, self.read(read, u64::from(number))),
            Call::Write(write) => Input::Submit(token, Request::write(write)),
            Call::Auth { user } => {
                let auth = format!("user{user}:secret").into_bytes();
                Input::Authenticate { token, scheme: "digest".into(), auth }
            }
            Call::Close => Input::Close(Some(token)),
            Call::Unwatch(which) => {
                let at = below(&mut Rng::new(*which), self.watches.len().max(1));
                let Some(id) = self.watches.keys().nth(at).copied() else { return };
                let Some((path, _)) = self.watches.remove(&id) else { return };
                return self.input(around, shared, Input::Unwatch { path: &path, watcher: WatcherId(id) });
            }
        };
        self.asked.insert(number, Asked { call, invoked, is_setup });
        self.input(around, shared, input);
    }

    fn read(&mut self, read: &Read<'static>, watcher: u64) -> Request {
        let watched = match read {
            Read::GetData { path, watch: true } | Read::Exists { path, watch: true } => Some((path, WatchKind::Data)),
            Read::GetChildren { path, watch: true, .. } => Some((path, WatchKind::Child)),
            Read::AddWatch { path, mode } if *mode == AddWatchMode::Persistent.code() => {
                Some((path, WatchKind::Persistent))
            }
            Read::AddWatch { path, .. } => Some((path, WatchKind::Recursive)),
            Read::GetData { .. }
            | Read::Exists { .. }
            | Read::GetChildren { .. }
            | Read::GetAcl { .. }
            | Read::GetAllChildrenNumber { .. }
            | Read::GetEphemerals { .. }
            | Read::WhoAmI
            | Read::Watches { .. }
            | Read::SetWatches(_)
            | Read::MultiRead(_) => None,
        };
        let Some((path, kind)) = watched else { return Request::read(read) };
        self.watches.insert(watcher, (path.to_string(), kind));
        Request::watching(read, WatchIntent { watcher: WatcherId(watcher), kind, path: (&**path).into() })
    }

    /// The next session, after one that is over.
    fn renew(&mut self, around: &mut Around, shared: &mut Shared) {
        around.note(|| format!("client {} begins a new session", self.number));
        self.sessions_lost += 1;
        // Whoever lost what it knew begins with nothing.
        self.seen_before = if self.lost_until.take().is_some() { Zxid::ZERO } else { self.has_seen() };
        self.watches.clear();
        self.program.renewed();
        self.setup = self.program.setup();
        let now = around.client_instant(self.options.drift_ppm);
        // Attempts are numbered anew with each session.
        if let Some(pipe) = self.pipe.take() {
            close(around, pipe);
        }
        self.attempt = ConnId(0);
        self.session = session(&self.options, self.rng.next_u64(), now);
        self.pump(around, shared);
    }

    fn input(&mut self, around: &mut Around, shared: &mut Shared, input: Input<'_>) {
        self.session.handle(around.client_instant(self.options.drift_ppm), input);
        self.pump(around, shared);
    }

    /// Takes what the session wants done.
    fn pump(&mut self, around: &mut Around, shared: &mut Shared) {
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Connect { conn, .. } => {
                    self.attempt = conn;
                    let after = around.micros(around.options.weather.delay_us * 2);
                    around.schedule(after, Event::Dialled { client: self.number, attempt: conn });
                }
                Effect::Disconnect { conn, .. } if conn == self.attempt => {
                    if let Some(pipe) = self.pipe.take() {
                        close(around, pipe);
                    }
                }
                Effect::Disconnect { .. } | Effect::Probe { .. } => {}
                Effect::Answer { token, result } => self.answered(around, shared, token, result),
                Effect::Watch { watcher, item } => self.watched(around, watcher, &item),
                Effect::State(state) => around.note(|| format!("client {} is {state:?}", self.number)),
            }
        }
        self.session.check_invariants();
        self.transmit(around);
        let due = self.session.poll_timeout();
        let at = due.map(|at| around.now + around.client_until(self.options.drift_ppm, at));
        around.wake_at(&mut self.wake, at, Event::Client(self.number));
        while let Some(call) = self.follow_up() {
            self.ask(around, shared, call, false);
        }
        if self.session.state().is_final() && self.asked.is_empty() {
            self.renew(around, shared);
            around.wake(&mut self.program_wake, 0, Event::Program(self.number));
        }
    }

    /// Follow-ups wait for a session: without one each would fail at once and be asked again.
    fn follow_up(&mut self) -> Option<Call> {
        if self.session.state().is_connected() && self.lost_until.is_none() { self.program.follow_up() } else { None }
    }

    fn answered(&mut self, around: &mut Around, shared: &mut Shared, token: Token, result: Result<Answer, Failure>) {
        around.note(|| format!("client {} has #{} {result:?}", self.number, token.0));
        if self.lost_until.is_some() {
            return;
        }
        let Some(asked) = self.asked.remove(&token.0) else {
            return around.checker.fail(&format!("I18 client {} is answered #{} twice", self.number, token.0));
        };
        around.fold(&token.0.to_le_bytes());
        // An exists that finds nothing has set its watch.
        let waits_for_creation = matches!(asked.call, Call::Read(Read::Exists { .. }))
            && result == Err(Failure::Server(ErrorCode::NoNode.code()));
        if result.is_err() && !waits_for_creation {
            self.watches.remove(&u64::from(token.0));
        }
        if asked.is_setup {
            let is_lost = matches!(&result, Err(failure) if !matches!(failure, Failure::Server(_)));
            if is_lost {
                self.setup.insert(0, asked.call.clone());
            }
            around.wake(&mut self.program_wake, nanos(1), Event::Program(self.number));
        }
        if let Err(what) = self.program.answered(&asked.call, &result, asked.invoked, shared) {
            around.checker.fail(&what);
        }
    }

    fn watched(&mut self, around: &mut Around, watcher: WatcherId, item: &WatchItem) {
        around.note(|| format!("client {} is told {item:?} for {watcher:?}", self.number));
        if self.lost_until.is_some() {
            return;
        }
        self.program.watched(item);
        match self.watches.get(&watcher.0) {
            Some((_, WatchKind::Persistent | WatchKind::Recursive)) => {}
            Some((_, WatchKind::Data | WatchKind::Exist | WatchKind::Child)) => {
                self.watches.remove(&watcher.0);
            }
            None => {
                around.checker.fail(&format!("I21 client {} is told {item:?} for a watch that is over", self.number));
            }
        }
    }

    /// Gives the socket what it takes.
    fn transmit(&mut self, around: &mut Around) {
        let Some(id) = self.pipe else { return };
        let waiting = self.session.transmit();
        if waiting.is_empty() {
            return;
        }
        let Some(pipe) = around.network.pipes.get_mut(&id) else { return };
        let weather = &around.options.weather;
        let is_partial = around.rng.below(1000) < weather.partial;
        let room = pipe.up.room(weather.window).min(waiting.len());
        let taken = if is_partial { below(&mut around.rng, room + 1) } else { room };
        let sent = waiting.get(..taken).unwrap_or_default();
        let arrivals = pipe.up.send(&mut around.rng, weather, around.now, sent);
        let is_more = taken < waiting.len();
        if taken > 0 {
            self.session.transmitted(around.client_instant(self.options.drift_ppm), taken);
        }
        for at in arrivals {
            around.schedule(at - around.now, Event::ToServer(id));
        }
        if is_more && is_partial {
            let after = around.lag();
            around.schedule(after + 1, Event::Writable(id));
        }
    }
}

/// The client's side of a socket is closed.
fn close(around: &mut Around, id: ConnId) {
    let Some(pipe) = around.network.pipes.get_mut(&id) else { return };
    pipe.client_gone = true;
    let at = pipe.up.end(&mut around.rng, &around.options.weather, around.now);
    around.schedule(at - around.now, Event::ToServer(id));
}
