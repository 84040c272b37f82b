//! One session, its program, the network and the ensemble, run from one seed in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;

use gk_client::core::{
    Effect, Failure, Input, Request, ServerAddress, Session, SessionOptions, SessionState, WatcherId,
};
use gk_proto::rng::Rng;
use gk_proto::{ConnId, Instant, Millis};

use crate::checker::{Asking, Checker, Violation, fits};
use crate::ensemble::{Ensemble, Mode};
use crate::network::{Network, Weather, below};
use crate::options::Options;
use crate::program::{Op, Paths, token};

/// What is due at some time.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Connected(ConnId, usize),
    NotConnected(ConnId),
    ToServer(ConnId),
    ToClient(ConnId),
    /// One side learns of a cut.
    ServerEnd(ConnId),
    ClientEnd(ConnId),
    Cut(ConnId),
    Writable(ConnId),
    Probed(usize),
    Apply(usize),
    /// A server is as it should be again.
    Mended(usize),
    Expire,
    Program,
    Others,
    Fault,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Instant,
    agenda: BTreeMap<(Instant, u64), Event>,
    scheduled: u64,
    pub(crate) rng: Rng,
    pub(crate) options: Options,
    pub(crate) session: Session,
    pub(crate) ensemble: Ensemble,
    pub(crate) network: Network,
    pub(crate) checker: Checker,
    pub(crate) paths: Paths,
    /// The connection that the session asked for last.
    pub(crate) current: ConnId,
    /// That which it may send on.
    wire: Option<ConnId>,
    /// Whether the session wants `current`, or has it.
    is_asked: bool,
    /// Whether the transport takes nothing for now.
    is_blocked: bool,
    /// Bytes that the transport takes at a time, if a script says so.
    pub(crate) takes: Option<usize>,
    /// Until when a server applies nothing.
    pub(crate) lags_until: Vec<Instant>,
    applies: Vec<bool>,
    pub(crate) paused_until: Instant,
    pub(crate) ops_left: u32,
    pub(crate) is_healed: bool,
    is_closing: bool,
    last_tag: u32,
    /// Cuts to make: by number of connection, at which byte to the server, and to the client.
    pub(crate) cuts: BTreeMap<u64, (Option<u64>, Option<u64>)>,
    wakes: u32,
    hash: u64,
    trace: bool,
}

impl World {
    pub(crate) fn new(mut rng: Rng, options: Options) -> Self {
        let session_options = SessionOptions {
            timeout: Millis(options.timeout_ms),
            read_only: options.read_only,
            resume: None,
            limits: options.limits,
            backoff: options.backoff,
        };
        let servers = (0..options.servers).map(address).collect();
        let session = Session::new(session_options, servers, Rng::new(rng.next_u64()), Instant(0));
        #[cfg(gk_planted_bugs)]
        let session = planted(session, options.bug);
        let ensemble = Ensemble::new(options.servers, (options.timeout_ms / 2, options.timeout_ms * 2));
        let mut world = Self {
            now: Instant(0),
            agenda: BTreeMap::new(),
            scheduled: 0,
            session,
            network: Network::default(),
            checker: Checker::new(options.limits.answer_bytes_max < 100_000, options.padding > 0),
            paths: Paths::new(options.padding),
            current: ConnId(0),
            wire: None,
            is_asked: false,
            is_blocked: false,
            takes: None,
            lags_until: vec![Instant(0); options.servers],
            applies: vec![false; options.servers],
            paused_until: Instant(0),
            ops_left: options.ops,
            is_healed: false,
            is_closing: false,
            last_tag: 0,
            cuts: BTreeMap::new(),
            wakes: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            trace: std::env::var_os("GK_TRACE").is_some(),
            ensemble,
            rng,
            options,
        };
        world.schedule(0, Event::Expire);
        world.pump();
        world
    }

    pub(crate) fn schedule(&mut self, after_ms: u64, event: Event) {
        self.schedule_at(self.now + Millis(after_ms), event);
    }

    fn schedule_at(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.agenda.insert((at, self.scheduled), event);
    }

    /// Whether this comes to pass, of 100 times so often.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    fn note(&self, text: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>9.3} {}", Millis(self.now.millis()).0 as f64 / 1e3, text());
        }
    }

    /// So that two runs can be compared.
    fn fold(&mut self, bytes: &[u8]) {
        for byte in self.now.0.to_le_bytes().iter().chain(bytes) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The next thing that is due.
    pub(crate) fn step(&mut self) {
        let wake = self.session.poll_timeout().map(|at| at.max(self.now).max(self.paused_until));
        let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
        if let Some(wake) = wake
            && next.is_none_or(|next| wake < next)
        {
            self.wakes = if wake == self.now { self.wakes + 1 } else { 0 };
            if self.wakes > 100 {
                self.checker.fail("liveness", format!("woken 100 times at {wake:?} for nothing"));
            }
            self.now = wake;
            self.session.handle_timeout(self.now);
            return self.pump();
        }
        let Some(((at, _), event)) = self.agenda.pop_first() else {
            return self.checker.fail("liveness", "nothing is ever due again".to_owned());
        };
        if self.paused_until > at && event.is_of_the_client() {
            let at = Instant(self.paused_until.0 + self.rng.below(2));
            return self.schedule_at(at, event);
        }
        self.now = self.now.max(at);
        self.event(event);
        self.flush();
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected(conn, server) => self.connected(conn, server),
            Event::NotConnected(conn) => self.input(Input::Disconnected(conn)),
            Event::ToServer(conn) => self.at_server(conn),
            Event::ToClient(conn) => self.at_client(conn),
            Event::ServerEnd(conn) => self.ensemble.hang_up(conn),
            Event::ClientEnd(conn) => self.client_end(conn),
            Event::Cut(conn) => self.cut(conn),
            Event::Writable(conn) if self.wire == Some(conn) => {
                self.is_blocked = false;
                self.transmit();
            }
            Event::Writable(_) => {}
            Event::Probed(server) => {
                let read_write = self.ensemble.servers[server].mode == Mode::ReadWrite;
                self.input(Input::Probed { server: address(server), read_write });
            }
            Event::Apply(server) => self.apply(server),
            Event::Mended(server) => {
                self.note(|| format!("server {server} is mended"));
                if self.ensemble.servers[server].mode != Mode::ReadWrite {
                    self.ensemble.set_mode(server, Mode::ReadWrite);
                }
            }
            Event::Expire => {
                self.ensemble.expire(self.now);
                self.schedule(self.options.timeout_ms / 16 + 1, Event::Expire);
            }
            Event::Program => self.program(),
            Event::Others if !self.is_healed => {
                let changes = self.paths.by_others(&mut self.rng, &self.ensemble.history);
                self.note(|| format!("others change {changes:?}"));
                self.ensemble.history.append(changes);
                let after = self.rng.below(2 * self.options.others_every_ms + 1);
                self.schedule(after, Event::Others);
            }
            Event::Fault if !self.is_healed => self.fault(),
            Event::Others | Event::Fault => {}
        }
    }

    fn connected(&mut self, conn: ConnId, server: usize) {
        if conn == self.current && self.wire.is_none() {
            let (to_server, to_client) = self.cuts.get(&conn.0).copied().unwrap_or_else(|| self.early_cut());
            let pipe = self.network.open(conn);
            pipe.to_server.limit = to_server;
            pipe.to_client.limit = to_client;
            self.ensemble.accept(conn, server);
            self.wire = Some(conn);
            self.is_blocked = false;
            self.input(Input::Connected(conn));
        } else if self.chance(self.options.weather.late) {
            self.input(Input::Connected(conn));
        }
    }

    /// Some connections are cut while they begin: in the handshake, or while watches are registered again.
    fn early_cut(&mut self) -> (Option<u64>, Option<u64>) {
        if self.is_healed || !self.chance(self.options.early_cuts) {
            return (None, None);
        }
        let is_long = self.options.padding > 0;
        match self.rng.below(2) {
            0 => (Some(self.rng.below(if is_long { 400_000 } else { 500 })), None),
            _ => (None, Some(self.rng.below(if is_long { 60_000 } else { 500 }))),
        }
    }

    fn at_server(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(pipe) = self.network.pipes.get_mut(&conn) else { return };
        let bytes = pipe.to_server.arrived(now);
        let (is_cut, is_over) = (pipe.to_server.is_cut(), pipe.to_server.closes && pipe.to_server.is_empty());
        self.fold(&bytes);
        self.ensemble.receive(now, conn, &bytes);
        if is_cut {
            // What these bytes caused is on its way back before the cut is noticed.
            self.flush();
            self.broken(conn);
        } else if is_over {
            self.ensemble.hang_up(conn);
        }
    }

    fn at_client(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(pipe) = self.network.pipes.get_mut(&conn) else { return };
        let bytes = pipe.to_client.arrived(now);
        let (is_cut, is_over) = (pipe.to_client.is_cut(), pipe.to_client.closes && pipe.to_client.is_empty());
        let is_current = !pipe.ended && !pipe.given_up;
        let is_heard = !pipe.ended && (!pipe.given_up || pipe.heard);
        if is_heard && !bytes.is_empty() {
            self.fold(&bytes);
            *self.checker.received.entry(conn).or_default() += bytes.len() as u64;
            self.input(Input::Received(conn, &bytes));
            if is_current {
                self.refused(conn);
            }
        }
        if is_cut {
            self.broken(conn);
        } else if is_over {
            self.client_end(conn);
        }
    }

    /// A refusal that has arrived ends the session.
    fn refused(&mut self, conn: ConnId) {
        let received = self.checker.received[&conn];
        let is_refused = self.ensemble.refusals.iter().any(|(other, end)| *other == conn && *end <= received);
        if is_refused && !self.session.state().is_final() {
            self.checker.fail("session", format!("refused on {conn:?}, and {:?}", self.session.state()));
        }
    }

    /// A stream has come to its cut: what the other has under way is lost too, or arrives, and both sides learn of it, or
    /// do not.
    fn broken(&mut self, conn: ConnId) {
        if self.chance(50) {
            self.network.cut(&mut self.rng, conn);
        }
        let (server_end, client_end) = (self.rng.below(300), self.rng.below(100));
        if self.is_healed || !self.chance(10) {
            self.schedule(server_end, Event::ServerEnd(conn));
        }
        if self.is_healed || !self.chance(10) {
            let last = self.network.pipes[&conn].to_client.last().max(self.now);
            self.schedule_at(last + Millis(client_end), Event::ClientEnd(conn));
        }
    }

    pub(crate) fn cut(&mut self, conn: ConnId) {
        self.network.cut(&mut self.rng, conn);
        self.schedule(0, Event::ToServer(conn));
        self.schedule(0, Event::ToClient(conn));
    }

    fn client_end(&mut self, conn: ConnId) {
        let Some(pipe) = self.network.pipes.get_mut(&conn) else { return };
        if std::mem::replace(&mut pipe.ended, true) || (pipe.given_up && !pipe.heard) {
            return;
        }
        if self.wire == Some(conn) {
            self.wire = None;
        }
        self.note(|| format!("{conn:?} has ended"));
        self.input(Input::Disconnected(conn));
    }

    fn apply(&mut self, server: usize) {
        self.applies[server] = false;
        if self.lags_until[server] > self.now {
            let until = self.lags_until[server];
            self.applies[server] = true;
            self.schedule_at(until, Event::Apply(server));
        } else {
            // Some or all of what it lacks, so that no server falls behind for ever.
            let lacks = self.ensemble.history.len() - self.ensemble.servers[server].applied;
            for _ in 0..lacks.min(1 + below(&mut self.rng, lacks + lacks / 2 + 1)) {
                if self.ensemble.is_behind(server) {
                    self.ensemble.apply(server);
                }
            }
        }
    }

    /// What the model has to say goes on its way.
    pub(crate) fn flush(&mut self) {
        for server in 0..self.ensemble.servers.len() {
            if self.ensemble.is_behind(server) && !self.applies[server] {
                self.applies[server] = true;
                let after = self.rng.below(self.options.apply_max_ms + 1);
                self.schedule(after, Event::Apply(server));
            }
        }
        let speaking = self.ensemble.conns.iter().filter(|(_, conn)| conn.closing || !conn.out.is_empty());
        for id in speaking.map(|(id, _)| *id).collect::<Vec<_>>() {
            let conn = self.ensemble.conns.get_mut(&id).unwrap();
            let (bytes, closes) = (std::mem::take(&mut conn.out), conn.closing);
            let lane = &mut self.network.pipes.get_mut(&id).unwrap().to_client;
            let mut arrivals = lane.send(&mut self.rng, &self.options.weather, self.now, &bytes);
            if closes {
                lane.closes = true;
                arrivals.push(lane.last().max(self.now));
                self.ensemble.hang_up(id);
            }
            arrivals.into_iter().for_each(|at| self.schedule_at(at, Event::ToClient(id)));
        }
        self.checker.executed(&self.ensemble);
    }

    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.note(|| match &input {
            Input::Received(conn, bytes) => format!("> {} bytes on {conn:?}", bytes.len()),
            Input::Submit(token, request) => format!("> submit #{} {:?}", token.0, request.op()),
            other => format!("> {other:?}"),
        });
        self.is_asked &= !matches!(input, Input::Disconnected(conn) if conn == self.current);
        self.session.handle(self.now, input);
        self.pump();
    }

    /// Takes what the session wants done.
    fn pump(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            self.note(|| format!("    {effect:?}"));
            match effect {
                Effect::Connect { conn, server, timeout: _ } => self.connect(conn, usize::from(server.port)),
                Effect::Disconnect { conn, why: _ } => self.given_up(conn),
                Effect::Probe { server } => {
                    let server = usize::from(server.port);
                    if self.is_healed || self.ensemble.servers[server].mode != Mode::Down {
                        let after = self.rng.below(50);
                        self.schedule(after, Event::Probed(server));
                    }
                }
                Effect::Answer { token, result } => {
                    let was_taken = self.network.taken.contains(&token.0);
                    let failure = result.as_ref().err().copied();
                    self.fold(&token.0.to_le_bytes());
                    let seen = (&self.ensemble, self.current);
                    self.checker.answered(token.0, &result, seen, was_taken);
                    self.fitting(token.0, failure);
                }
                Effect::Watch { watcher, item } => {
                    self.fold(&watcher.0.to_le_bytes());
                    let tag = u32::try_from(watcher.0).unwrap();
                    self.checker.told(tag, &item, &self.ensemble, self.current);
                }
                Effect::State(_) => {}
            }
        }
        let state = self.session.state();
        if self.is_asked && state.is_final() {
            self.checker.fail("session", format!("{:?} is asked for, and it is {state:?}", self.current));
        }
        self.session.check_invariants();
        self.transmit();
    }

    fn fitting(&mut self, tag: u32, failure: Option<Failure>) {
        let state = self.session.state();
        if failure.is_some_and(|failure| !fits(failure, state, self.is_closing)) {
            self.checker.fail("answers", format!("#{tag} fails with {failure:?}, and the session is {state:?}"));
        }
    }

    fn connect(&mut self, conn: ConnId, server: usize) {
        self.current = conn;
        self.wire = None;
        self.is_asked = true;
        let Weather { delay_max_ms, refused, never, .. } = self.options.weather;
        let after = self.rng.below(delay_max_ms + 1);
        if self.ensemble.servers[server].mode == Mode::Down || self.chance(refused) {
            self.schedule(after, Event::NotConnected(conn));
        } else if !self.chance(never) {
            self.schedule(after, Event::Connected(conn, server));
        }
    }

    /// The client closes its socket: what its transport took still arrives.
    fn given_up(&mut self, conn: ConnId) {
        self.is_asked &= conn != self.current;
        if self.wire == Some(conn) {
            self.wire = None;
        }
        let heard = self.chance(self.options.weather.late);
        if let Some(pipe) = self.network.pipes.get_mut(&conn) {
            pipe.given_up = true;
            pipe.heard = heard;
            pipe.to_server.closes = true;
            let at = pipe.to_server.last().max(self.now);
            self.schedule_at(at, Event::ToServer(conn));
        }
    }

    /// Gives the transport what it takes.
    fn transmit(&mut self) {
        loop {
            let bytes = self.session.transmit().to_vec();
            if bytes.is_empty() {
                return;
            }
            let Some(conn) = self.wire.filter(|_| !self.session.state().is_final()) else {
                let state = self.session.state();
                return self.checker.fail("session", format!("{} bytes to send while {state:?}", bytes.len()));
            };
            if self.is_blocked {
                return;
            }
            let is_partial = self.chance(self.options.weather.partial);
            let part = self.takes.or_else(|| is_partial.then(|| below(&mut self.rng, bytes.len() + 1)));
            let taken = part.unwrap_or(bytes.len()).min(bytes.len());
            self.fold(&bytes[..taken]);
            self.network.take(conn, &bytes[..taken]);
            self.session.transmitted(self.now, taken);
            let lane = &mut self.network.pipes.get_mut(&conn).unwrap().to_server;
            let arrivals = lane.send(&mut self.rng, &self.options.weather, self.now, &bytes[..taken]);
            arrivals.into_iter().for_each(|at| self.schedule_at(at, Event::ToServer(conn)));
            if taken < bytes.len() {
                self.is_blocked = true;
                let after = if self.takes.is_some() { 1_000 } else { self.rng.below(20) };
                return self.schedule(after, Event::Writable(conn));
            }
        }
    }

    /// The program does something; the tag of its request, if it is one.
    pub(crate) fn ask(&mut self, op: &Op) -> Option<u32> {
        if let Op::Unwatch(choice) = op {
            let (watcher, path) = self.checker.unwatch(*choice)?;
            self.input(Input::Unwatch { path: &path, watcher: WatcherId(u64::from(watcher)) });
            return None;
        }
        self.last_tag += 1;
        let tag = self.last_tag;
        match op {
            Op::Auth { is_known } => {
                self.checker.asked(tag, Asking::Auth, None, false);
                let scheme = if *is_known { "digest" } else { "unheard of" }.to_owned();
                self.input(Input::Authenticate { token: token(tag), scheme, auth: format!("u{tag}").into_bytes() });
            }
            Op::Close => {
                self.is_closing = true;
                self.checker.asked(tag, Asking::Close, None, false);
                self.input(Input::Close(Some(token(tag))));
            }
            _ => {
                let asked = op.request(tag).expect("a request");
                let kind = if asked.is_write { Asking::Write } else { Asking::Read };
                self.checker.asked(tag, kind, asked.watch, asked.is_exists);
                self.submit(tag, asked.request);
            }
        }
        Some(tag)
    }

    fn submit(&mut self, tag: u32, request: Request) {
        self.input(Input::Submit(token(tag), request));
    }

    /// Whether the session is served, all is answered, and nothing is under way.
    pub(crate) fn is_at_rest(&self) -> bool {
        let Some(pipe) = self.network.pipes.get(&self.current) else { return false };
        self.session.state() == SessionState::Connected
            && self.session.waiting() == (0, 0)
            && self.checker.unanswered().is_empty()
            && pipe.to_client.is_empty()
            && pipe.to_server.is_empty()
            && (0..self.ensemble.servers.len()).all(|server| !self.ensemble.is_behind(server))
            && self.ensemble.conns.get(&self.current).is_some_and(|conn| conn.session.is_some())
    }

    pub(crate) fn violation(&self) -> Option<Violation> {
        self.checker.violation.clone()
    }
}

impl Event {
    /// Whether it waits while the client is paused.
    fn is_of_the_client(&self) -> bool {
        match self {
            Self::Connected(..)
            | Self::NotConnected(_)
            | Self::ToClient(_)
            | Self::ClientEnd(_)
            | Self::Writable(_)
            | Self::Probed(_)
            | Self::Program => true,
            Self::ToServer(_)
            | Self::ServerEnd(_)
            | Self::Cut(_)
            | Self::Apply(_)
            | Self::Mended(_)
            | Self::Expire
            | Self::Others
            | Self::Fault => false,
        }
    }
}

/// The address of a server, which is its number.
pub(crate) fn address(server: usize) -> Arc<ServerAddress> {
    Arc::new(ServerAddress { host: "server".to_owned(), port: u16::try_from(server).unwrap() })
}

#[cfg(gk_planted_bugs)]
fn planted(mut session: Session, bug: Option<gk_client::core::Bug>) -> Session {
    if let Some(bug) = bug {
        session.plant(bug);
    }
    session
}
