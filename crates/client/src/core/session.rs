//! The machine: connect, keep alive, match replies, survive a cut, end.
//!
//! What happens to a request when the connection is cut follows from two questions. Did the transport take all of it?
//! If not, no server can have carried it out, and it is sent on the next connection. If so, may it be carried out twice?
//! If it may, it is sent again; if not, its outcome is unknown and the program is told so.
//!
//! What was seen: the zxid that is sent with the next handshake, and to which watches that are registered again catch up,
//! advances with replies to the program's own requests only. Not with notifications: the events of one multi share a
//! zxid, and a client that took the first for all would lose the rest at a cut (Z-4655). Not with replies to setWatches:
//! a later piece catches up from the same point.
//!
//! Sources: Java's `ClientCnxn`; protocol notes §3, §4, §11, §12, §16.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use gk_proto::answer::Answer;
use gk_proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use gk_proto::op::OpCode;
use gk_proto::request::{AuthPacket, Read};
use gk_proto::rng::Rng;
use gk_proto::watch::WatcherType;
use gk_proto::{ConnId, DecodeError, Instant, Millis, SessionId, Xid, reply};

use super::interface::{Backoff, Effect, End, Failure, Identity, Input, SessionOptions, SessionState, WatchItem};
use super::request::{Request, Token};
use super::servers::{ServerAddress, ServerList};
use super::watches::Watches;
use super::wire::Wire;

/// True if this bug is planted; never in an ordinary build.
#[cfg(gk_planted_bugs)]
macro_rules! planted {
    ($session:expr, $bug:ident) => {
        $session.bug == Some(crate::core::bugs::Bug::$bug)
    };
}
#[cfg(not(gk_planted_bugs))]
macro_rules! planted {
    ($session:expr, $bug:ident) => {
        false
    };
}

mod requests;

/// A session and everything that waits for it.
///
/// - A token is answered exactly once.
/// - `in_flight` is in the order of the bytes on the wire, and all of it belongs to the connection of `link`.
/// - Nothing is sent once `state` is final.
/// - `waiting_bytes` is the sum over `queue` and `in_flight`.
#[derive(Debug)]
pub struct Session {
    options: SessionOptions,
    rng: Rng,
    servers: ServerList,
    state: SessionState,
    link: Link,
    identity: Option<Identity>,
    /// Whether a server that takes writes has ever known the session: one of a read-only server is unknown elsewhere.
    is_global: bool,
    timeout: Millis,
    last_zxid_seen: i64,
    last_heard: Instant,
    /// The latest time of which it is known that the server heard from us after it: when the last answered request was
    /// sent. The session lives for its timeout from then on, whatever has been heard since.
    confirmed: Instant,
    auths: Vec<Auth>,
    watches: Watches,
    queue: VecDeque<Pending>,
    in_flight: VecDeque<InFlight>,
    waiting_bytes: usize,
    xid: i32,
    conn: ConnId,
    closing: Option<Closing>,
    effects: VecDeque<Effect>,
    #[cfg(gk_planted_bugs)]
    bug: Option<super::bugs::Bug>,
}

/// The connection, by how far it has come.
#[derive(Debug)]
enum Link {
    /// None; the next attempt is due at this time.
    Waiting { until: Instant },
    /// The driver connects.
    Connecting { server: Arc<ServerAddress>, deadline: Instant },
    /// The handshake is sent and not answered.
    Greeting { server: Arc<ServerAddress>, deadline: Instant, since: Instant, wire: Wire },
    /// The session is served.
    Open(Open),
    /// The session is over.
    Over,
}

#[derive(Debug)]
struct Open {
    server: Arc<ServerAddress>,
    wire: Wire,
    last_sent: Instant,
    /// When the oldest ping without an answer was sent.
    ping_sent: Option<Instant>,
    /// No further request is sent: the connection is left once all that are in flight are answered.
    leaving: bool,
    read_only: Option<Probing>,
}

/// The search for a server that takes writes.
#[derive(Debug)]
struct Probing {
    next: Instant,
    wait: Millis,
}

struct Auth {
    scheme: String,
    auth: Vec<u8>,
    /// Who waits for the first acceptance.
    token: Option<Token>,
    /// Whether the connection that there is has answered it: auths are answered in the order in which they were sent,
    /// which is that of the list.
    answered: bool,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// A request that is not on the wire.
#[derive(Debug)]
struct Pending {
    token: Option<Token>,
    request: Request,
    sent_count: u8,
}

/// A request that is on the wire.
#[derive(Debug)]
struct InFlight {
    xid: Xid,
    /// Place in the stream of bytes at which it ends.
    end: u64,
    /// When the transport took the last of it.
    sent: Option<Instant>,
    pending: Pending,
}

#[derive(Debug)]
struct Closing {
    token: Option<Token>,
    deadline: Instant,
}

/// Requests on the wire of one connection; the others wait, so that a cut leaves few outcomes unknown.
const IN_FLIGHT_MAX: usize = 1_000;
/// How often a read is sent again before it fails: one that makes servers drop the connection must not go on for ever.
const SENT_MAX: u8 = 6;
/// At most so long before the first attempt after a cut, so that not all clients of a server come back at the same moment.
const FIRST_DELAY_MAX: Millis = Millis(20);
/// There is time for so many attempts in a session timeout, also where there are fewer servers: Apache's, while it starts,
/// takes connections that it will never answer, and one of these must not cost the session.
const ATTEMPTS_MIN: u64 = 3;
/// An attempt has at least so long, however many servers share the session timeout.
const ATTEMPT_MIN: Millis = Millis(250);
const PROBE_WAIT_MIN: Millis = Millis(100);
const PROBE_WAIT_MAX: Millis = Millis(60_000);

impl Session {
    /// A session that is to be made, or resumed, at one of these servers. The first [`Effect::Connect`] follows at once.
    pub fn new(options: SessionOptions, servers: Vec<Arc<ServerAddress>>, mut rng: Rng, now: Instant) -> Self {
        let servers = ServerList::new(servers, &mut rng);
        let mut session = Self {
            identity: options.resume,
            is_global: options.resume.is_some(),
            timeout: options.timeout,
            options,
            rng,
            servers,
            state: SessionState::Connecting,
            link: Link::Waiting { until: now },
            last_zxid_seen: 0,
            last_heard: now,
            confirmed: now,
            auths: Vec::new(),
            watches: Watches::default(),
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            waiting_bytes: 0,
            xid: 0,
            conn: ConnId(0),
            closing: None,
            effects: VecDeque::new(),
            #[cfg(gk_planted_bugs)]
            bug: None,
        };
        session.attempt(now);
        session
    }

    /// Plants a bug.
    #[cfg(gk_planted_bugs)]
    pub fn plant(&mut self, bug: super::bugs::Bug) {
        self.bug = Some(bug);
    }

    /// Takes one input. All effects of the one before must have been taken.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        assert!(self.effects.is_empty(), "an input came before the effects of the last were taken");
        match input {
            Input::Connected(conn) if self.is_current(conn) => self.greet(now),
            Input::Received(conn, bytes) if self.is_current(conn) => self.receive(now, bytes),
            Input::Disconnected(conn) if self.is_current(conn) => self.ended(now, End::ByPeer, false),
            Input::Connected(_) | Input::Received(..) | Input::Disconnected(_) => {}
            Input::Submit(token, request) => self.submit(token, request),
            Input::Authenticate { token, scheme, auth } => self.authenticate(token, scheme, auth),
            Input::Unwatch { path, watcher } => {
                let removal = self.watches.end(path, watcher);
                let last = planted!(self, SharedWatchRemoved).then(|| (path.into(), WatcherType::Data));
                self.remove_watch(last.or(removal));
            }
            Input::Servers(servers) => self.change_servers(now, servers),
            Input::Probed { server, read_write } => self.probed(now, &server, read_write),
            Input::Close(token) => self.close(now, token),
            Input::Detach => self.over(SessionState::Closed, End::Closed),
        }
    }

    /// Does what time asks for. May be called early.
    pub fn handle_timeout(&mut self, now: Instant) {
        assert!(self.effects.is_empty(), "time went on before the effects of the last input were taken");
        if self.closing.as_ref().is_some_and(|closing| now >= closing.deadline) {
            return self.close_in_vain(Failure::ConnectionLost);
        }
        match &self.link {
            Link::Waiting { until } if now >= *until => self.attempt(now),
            Link::Connecting { deadline, .. } | Link::Greeting { deadline, .. } if now >= *deadline => {
                self.ended(now, End::Silence, true);
            }
            Link::Open(_) if now >= self.last_heard + self.read_patience() => self.ended(now, End::Silence, true),
            Link::Open(_) => self.keep_alive(now),
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Greeting { .. } | Link::Over => {}
        }
        if matches!(self.state, SessionState::Connecting | SessionState::Disconnected)
            && now >= self.confirmed + self.timeout
        {
            self.lost();
        }
    }

    /// When to call [`Session::handle_timeout`] next; `None` once the session is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let link = match &self.link {
            Link::Waiting { until } => *until,
            Link::Connecting { deadline, .. } | Link::Greeting { deadline, .. } => *deadline,
            Link::Open(open) => {
                let probe = open.read_only.as_ref().map(|probing| probing.next);
                let keep_alive = (open.last_sent + self.ping_interval()).min(self.last_heard + self.read_patience());
                probe.map_or(keep_alive, |probe| probe.min(keep_alive))
            }
            Link::Over => return None,
        };
        let lost = match self.state {
            SessionState::Connecting | SessionState::Disconnected => Some(self.confirmed + self.timeout),
            SessionState::Connected
            | SessionState::ConnectedReadOnly
            | SessionState::Lost
            | SessionState::Expired
            | SessionState::AuthFailed
            | SessionState::Closed => None,
        };
        let closing = self.closing.as_ref().map(|closing| closing.deadline);
        Some([lost, closing].into_iter().flatten().fold(link, Instant::min))
    }

    /// The next thing to do, if any.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The bytes to send on the connection now. Those that the transport took are told by [`Session::transmitted`].
    pub fn transmit(&mut self) -> &[u8] {
        self.fill();
        match &self.link {
            Link::Greeting { wire, .. } | Link::Open(Open { wire, .. }) => wire.waiting(),
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Over => &[],
        }
    }

    /// The transport took so many bytes of the last [`Session::transmit`].
    pub fn transmitted(&mut self, now: Instant, bytes: usize) {
        match &mut self.link {
            Link::Greeting { wire, .. } => wire.take(bytes),
            Link::Open(open) => {
                open.wire.take(bytes);
                open.last_sent = now;
                for request in self.in_flight.iter_mut().rev().take_while(|request| request.sent.is_none()) {
                    if open.wire.has_left(request.end) {
                        request.sent = Some(now);
                    }
                }
            }
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Over => {
                panic!("{bytes} bytes were sent without a connection")
            }
        }
    }

    /// Where the session stands.
    pub fn state(&self) -> SessionState {
        self.state
    }

    /// Its id and password, once there is one.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The timeout that was granted; before that, the one that is asked for.
    pub fn timeout(&self) -> Millis {
        self.timeout
    }

    /// The server that serves it, if one does.
    pub fn server(&self) -> Option<&Arc<ServerAddress>> {
        if let Link::Open(open) = &self.link { Some(&open.server) } else { None }
    }

    /// The highest zxid in a reply to a request of the program.
    pub fn last_zxid_seen(&self) -> i64 {
        self.last_zxid_seen
    }

    /// Requests that wait to be sent, and requests that wait for their replies.
    pub fn waiting(&self) -> (usize, usize) {
        (self.queue.len(), self.in_flight.len())
    }

    /// Watches, those included whose request is under way.
    pub fn watch_count(&self) -> usize {
        self.watches.len()
    }

    /// Asserts what must hold between inputs.
    pub fn check_invariants(&self) {
        let bytes = self.queue.iter().chain(self.in_flight.iter().map(|sent| &sent.pending));
        let bytes: usize = bytes.map(|pending| pending.request.len()).sum();
        assert_eq!(bytes, self.waiting_bytes, "bytes of what waits");
        let ordered = self.in_flight.iter().zip(self.in_flight.iter().skip(1)).all(|(one, next)| one.end < next.end);
        assert!(ordered, "requests in flight are not in the order of the wire");
        assert!(
            matches!(self.link, Link::Open(_)) || self.in_flight.is_empty() || planted!(self, InFlightKept),
            "{} requests in flight without a connection",
            self.in_flight.len()
        );
        assert_eq!(self.state.is_connected(), matches!(self.link, Link::Open(_)), "state {:?}", self.state);
        assert_eq!(self.state.is_final(), matches!(self.link, Link::Over), "state {:?}", self.state);
    }
}

impl Session {
    fn is_current(&self, conn: ConnId) -> bool {
        let has_one = !matches!(self.link, Link::Waiting { .. } | Link::Over);
        has_one && (conn == self.conn || planted!(self, OldConnectionHeard))
    }

    fn ping_interval(&self) -> Millis {
        Millis(self.timeout.0 / 3).max(Millis(1))
    }

    fn read_patience(&self) -> Millis {
        Millis(self.timeout.0 * 2 / 3)
    }

    /// Asks for the next connection.
    fn attempt(&mut self, now: Instant) {
        let share = Millis(self.timeout.0 / (self.servers.len() as u64).max(ATTEMPTS_MIN));
        let timeout = share.max(ATTEMPT_MIN);
        let server = self.servers.take();
        self.conn.0 += 1;
        self.link = Link::Connecting { server: server.clone(), deadline: now + timeout };
        self.effects.push_back(Effect::Connect { conn: self.conn, server, timeout });
    }

    /// The transport is there: the handshake goes out.
    fn greet(&mut self, now: Instant) {
        let Link::Connecting { server, deadline } = &self.link else { return };
        let mut wire = Wire::new(self.options.limits.answer_bytes_max);
        // A session of a read-only server is unknown to all others: they are asked for a new one.
        let identity = self.identity.filter(|_| self.is_global);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid_seen,
            timeout_ms: i32::try_from(self.options.timeout.0).unwrap_or(i32::MAX),
            session: identity.map_or(SessionId::NONE, |identity| identity.session),
            password: identity.map_or([0; PASSWORD_LEN], |identity| identity.password).to_vec(),
            read_only: Some(self.options.read_only),
        };
        wire.queue(|out| reply::frame(out, |out| request.encode(out)));
        self.link = Link::Greeting { server: server.clone(), deadline: *deadline, since: now, wire };
    }

    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let wire = match &mut self.link {
            Link::Greeting { wire, .. } | Link::Open(Open { wire, .. }) => wire,
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Over => return,
        };
        if self.state.is_connected() {
            self.last_heard = now;
        }
        if wire.is_between_frames() {
            let used = self.frames(now, bytes);
            let rest = bytes.get(used..).unwrap_or_default();
            self.keep(rest.to_vec(), 0);
        } else {
            let mut buffer = wire.take_partial();
            buffer.extend_from_slice(bytes);
            let used = self.frames(now, &buffer);
            self.keep(buffer, used);
        }
    }

    fn keep(&mut self, buffer: Vec<u8>, start: usize) {
        match &mut self.link {
            Link::Greeting { wire, .. } | Link::Open(Open { wire, .. }) => wire.keep_partial(buffer, start),
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Over => {}
        }
    }

    /// Takes all whole frames, and says how many bytes they were.
    fn frames(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let conn = self.conn;
        let mut rest = bytes;
        while self.conn == conn {
            let wire = match &self.link {
                Link::Greeting { wire, .. } | Link::Open(Open { wire, .. }) => wire,
                Link::Waiting { .. } | Link::Connecting { .. } | Link::Over => break,
            };
            match wire.cut(rest) {
                Ok(Some((frame, behind))) => {
                    rest = behind;
                    self.frame(now, frame);
                }
                Ok(None) => break,
                Err(error) => {
                    self.unreadable(now, error);
                    break;
                }
            }
        }
        bytes.len() - rest.len()
    }

    fn frame(&mut self, now: Instant, frame: &[u8]) {
        match &self.link {
            Link::Greeting { .. } => self.greeted(now, frame),
            Link::Open(_) => self.reply(now, frame),
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Over => {}
        }
    }

    /// A frame that is too long belongs to the request that is due: sent again it would be as long.
    fn unreadable(&mut self, now: Instant, error: DecodeError) {
        if matches!(self.link, Link::Open(_))
            && let Some(sent) = self.in_flight.pop_front()
        {
            self.fail(sent.pending, Failure::BadAnswer(error));
        }
        self.ended(now, End::BadFrame(error), true);
    }

    /// The answer to the handshake.
    fn greeted(&mut self, now: Instant, frame: &[u8]) {
        let Ok(response) = ConnectResponse::decode(frame) else { return self.ended(now, End::BadHandshake, true) };
        let resumed = self.identity.filter(|_| self.is_global);
        let is_refusal = response.timeout_ms <= 0 || response.session == SessionId::NONE;
        match resumed {
            Some(_) if is_refusal && planted!(self, ExpiryIgnored) => return self.ended(now, End::Refused, true),
            Some(_) if is_refusal => return self.over(SessionState::Expired, End::Refused),
            // Another session than ours: ours is not known there, and this one is not wanted.
            Some(identity) if identity.session != response.session => {
                return self.over(SessionState::Expired, End::Refused);
            }
            None if is_refusal => return self.ended(now, End::BadHandshake, true),
            Some(_) | None => {}
        }
        let Link::Greeting { server, since, wire, .. } = std::mem::replace(&mut self.link, Link::Over) else { return };
        self.confirmed = since;
        self.identity = Some(Identity { session: response.session, password: response.password });
        self.timeout = Millis(u64::try_from(response.timeout_ms).unwrap_or_default());
        let is_read_only = response.read_only == Some(true);
        self.is_global |= !is_read_only;
        self.last_heard = now;
        self.servers.succeeded();
        let probing = Probing { next: now + PROBE_WAIT_MIN, wait: PROBE_WAIT_MIN };
        let read_only = is_read_only.then_some(probing);
        self.link = Link::Open(Open { server, wire, last_sent: now, ping_sent: None, leaving: false, read_only });
        self.enter(if is_read_only { SessionState::ConnectedReadOnly } else { SessionState::Connected });
        if planted!(self, WatchesAfterRequests) {
            self.fill();
        }
        self.introduce();
        if self.closing.is_some() {
            self.queue.push_back(Pending::own(Request::bare(OpCode::CloseSession)));
            self.waiting_bytes += Request::bare(OpCode::CloseSession).len();
        }
    }

    /// What every new connection is told first: who we are, and what we watch.
    fn introduce(&mut self) {
        let auths: Vec<Request> = self.auths.iter().map(Auth::request).collect();
        for request in auths {
            self.send(Xid::AUTH, request);
        }
        let chunks = self.watches.chunks(self.last_zxid_seen);
        let mut requests: Vec<Request> = Vec::with_capacity(chunks.len());
        for mut chunk in chunks {
            if planted!(self, ExistAsData) {
                chunk.data.append(&mut chunk.exist);
            }
            requests.push(Request::read(&Read::SetWatches(chunk)));
        }
        if planted!(self, LastPieceForgotten) {
            requests.pop();
        }
        for request in requests {
            self.send(Xid::SET_WATCHES, request);
        }
        if !planted!(self, MissedNotTold) {
            let told = self.watches.streams().map(|watcher| Effect::Watch { watcher, item: WatchItem::Missed });
            self.effects.extend(told);
        }
    }

    /// Puts a request of our own on the wire, ahead of all that wait.
    fn send(&mut self, xid: Xid, request: Request) {
        let Link::Open(open) = &mut self.link else { return };
        let end = open.wire.queue(|out| request.encode(xid, out));
        self.waiting_bytes += request.len();
        self.in_flight.push_back(InFlight { xid, end, sent: None, pending: Pending::own(request) });
    }

    /// Moves requests that wait onto the wire, as far as it has room.
    fn fill(&mut self) {
        let Link::Open(open) = &mut self.link else { return };
        while !open.leaving && !open.wire.is_full() && self.in_flight.len() < IN_FLIGHT_MAX {
            let Some(mut pending) = self.queue.pop_front() else { break };
            self.xid = self.xid.checked_add(1).unwrap_or(1);
            let xid = Xid(self.xid);
            let end = open.wire.queue(|out| pending.request.encode(xid, out));
            pending.sent_count = pending.sent_count.saturating_add(1);
            self.in_flight.push_back(InFlight { xid, end, sent: None, pending });
        }
    }

    /// The connection is there: pings when nothing else was sent, and looks for a better server.
    fn keep_alive(&mut self, now: Instant) {
        let ping_interval = self.ping_interval();
        let Link::Open(open) = &mut self.link else { return };
        if now >= open.last_sent + ping_interval && open.wire.waiting().is_empty() {
            open.wire.shrink();
            open.wire.queue(|out| Request::bare(OpCode::Ping).encode(Xid::PING, out));
            open.last_sent = now;
            open.ping_sent.get_or_insert(now);
        } else if now >= open.last_sent + ping_interval {
            // The transport takes nothing: the read deadline decides.
            open.last_sent = now;
        }
        if let Some(probing) = &mut open.read_only
            && now >= probing.next
        {
            probing.wait = Millis(probing.wait.0 * 2).min(PROBE_WAIT_MAX);
            probing.next = now + probing.wait;
            let server = self.servers.take();
            self.effects.push_back(Effect::Probe { server });
        }
    }

    fn probed(&mut self, now: Instant, server: &ServerAddress, read_write: bool) {
        let Link::Open(open) = &mut self.link else { return };
        if read_write && open.read_only.is_some() {
            self.servers.prefer(server);
            self.leave(now);
        }
    }

    fn change_servers(&mut self, now: Instant, servers: Vec<Arc<ServerAddress>>) {
        let current = match &self.link {
            Link::Open(Open { server, .. }) | Link::Connecting { server, .. } | Link::Greeting { server, .. } => {
                Some(server.clone())
            }
            Link::Waiting { .. } | Link::Over => None,
        };
        let leaves = self.servers.update(servers, current.as_deref(), &mut self.rng);
        match &self.link {
            Link::Open(_) if leaves => self.leave(now),
            Link::Connecting { .. } | Link::Greeting { .. } if leaves => self.ended(now, End::Moved, true),
            // The wait was for the servers of the old list.
            Link::Waiting { .. } => self.attempt(now),
            Link::Open(_) | Link::Connecting { .. } | Link::Greeting { .. } | Link::Over => {}
        }
    }

    /// Leaves the connection for another server as soon as nothing is in flight, so that no outcome is unknown.
    fn leave(&mut self, now: Instant) {
        let Link::Open(open) = &mut self.link else { return };
        open.leaving = true;
        if self.in_flight.is_empty() {
            self.ended(now, End::Moved, true);
        }
    }

    /// The connection is over: what becomes of the requests, and when the next attempt is due. `ours` if it is for us
    /// to close it.
    fn ended(&mut self, now: Instant, why: End, ours: bool) {
        if ours {
            self.effects.push_back(Effect::Disconnect { conn: self.conn, why });
        }
        let was_open = matches!(self.link, Link::Open(_));
        self.cut();
        if self.closing.is_some() && was_open && why != End::Moved {
            return self.close_in_vain(Failure::OutcomeUnknown);
        }
        let delay = if was_open && why != End::Moved {
            Millis(self.rng.below(FIRST_DELAY_MAX.0 + 1))
        } else if self.servers.begins_round() {
            self.backoff()
        } else {
            Millis(0)
        };
        self.link = Link::Waiting { until: now + delay };
        if was_open {
            self.enter(SessionState::Disconnected);
        }
        if delay == Millis(0) {
            self.attempt(now);
        }
    }

    /// Half to whole of what the rounds so far ask for.
    fn backoff(&mut self) -> Millis {
        let Backoff { first, max } = self.options.backoff;
        let max = max.min(Millis(self.timeout.0 / 6)).max(Millis(1));
        let doublings = u32::try_from(self.servers.rounds().saturating_sub(1)).unwrap_or(u32::MAX).min(20);
        let wait = Millis(first.0.saturating_mul(1 << doublings)).min(max).max(Millis(1));
        Millis(wait.0 / 2 + self.rng.below(wait.0 / 2 + 1)).max(Millis(1))
    }

    /// Sorts what was in flight: sent again, or outcome unknown.
    fn cut(&mut self) {
        let wire = match std::mem::replace(&mut self.link, Link::Over) {
            Link::Open(open) => open.wire,
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Greeting { .. } | Link::Over => return,
        };
        self.watches.connection_ended();
        self.auths.iter_mut().for_each(|auth| auth.answered = false);
        if planted!(self, InFlightKept) {
            return;
        }
        let mut again = VecDeque::new();
        for InFlight { end, mut pending, .. } in std::mem::take(&mut self.in_flight) {
            let has_left = wire.has_left(end) && !planted!(self, SentCountsAsUnsent);
            let has_begun = wire.has_left(end - pending.request.len() as u64 + 1);
            if pending.token.is_none() {
                // Our own: the next connection begins with what it needs of these.
                self.waiting_bytes -= pending.request.len();
            } else if !has_left && has_begun && pending.sent_count >= SENT_MAX {
                // One that is too long for the server is never taken whole: it must not cost every connection.
                self.fail(pending, Failure::ConnectionLost);
            } else if !has_left || planted!(self, WriteSentAgain) {
                pending.sent_count -= u8::from(!has_begun);
                again.push_back(pending);
            } else if !pending.request.is_repeatable() {
                self.fail(pending, Failure::OutcomeUnknown);
            } else if pending.sent_count >= SENT_MAX {
                self.fail(pending, Failure::ConnectionLost);
            } else {
                again.push_back(pending);
            }
        }
        let (own, queue): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.queue).into_iter().partition(|pending| pending.token.is_none());
        self.waiting_bytes -= own.iter().map(|pending| pending.request.len()).sum::<usize>();
        self.queue = if planted!(self, ResentLast) {
            queue.into_iter().chain(again).collect()
        } else {
            again.into_iter().chain(queue).collect()
        };
    }

    /// No server for a whole session timeout: nothing waits any longer.
    fn lost(&mut self) {
        self.fail_all(Failure::ConnectionLost);
        if self.closing.is_some() {
            return self.close_in_vain(Failure::ConnectionLost);
        }
        self.enter(SessionState::Lost);
    }

    /// No server has confirmed the end of the session: there it lives until its timeout.
    fn close_in_vain(&mut self, failure: Failure) {
        if let Some(token) = self.closing.as_mut().and_then(|closing| closing.token.take()) {
            self.effects.push_back(Effect::Answer { token, result: Err(failure) });
        }
        self.over(SessionState::Closed, End::Closed);
    }

    fn enter(&mut self, state: SessionState) {
        self.state = state;
        self.effects.push_back(Effect::State(state));
    }

    /// The session is over, for this reason.
    fn over(&mut self, state: SessionState, why: End) {
        assert!(state.is_final(), "{state:?} does not end a session");
        if self.state.is_final() {
            return;
        }
        if !matches!(self.link, Link::Waiting { .. } | Link::Over) {
            self.effects.push_back(Effect::Disconnect { conn: self.conn, why });
        }
        self.cut();
        self.link = Link::Over;
        self.fail_all(Self::final_failure(state));
        if let Some(token) = self.closing.take().and_then(|closing| closing.token) {
            // That the session is over is what was asked for, whoever ended it.
            self.effects.push_back(Effect::Answer { token, result: Ok(Answer::None) });
        }
        self.enter(state);
    }

    fn final_failure(state: SessionState) -> Failure {
        match state {
            SessionState::Expired => Failure::SessionExpired,
            SessionState::AuthFailed => Failure::AuthFailed,
            SessionState::Closed => Failure::Closed,
            SessionState::Connecting
            | SessionState::Connected
            | SessionState::ConnectedReadOnly
            | SessionState::Disconnected
            | SessionState::Lost => Failure::ConnectionLost,
        }
    }

    /// Nothing that waits will be sent.
    fn fail_all(&mut self, failure: Failure) {
        for pending in std::mem::take(&mut self.queue) {
            self.fail(pending, failure);
        }
        let mut given_up = Vec::new();
        self.auths.retain_mut(|auth| match auth.token.take() {
            Some(token) => {
                given_up.push(token);
                false
            }
            None => true,
        });
        let answers = given_up.into_iter().map(|token| Effect::Answer { token, result: Err(failure) });
        self.effects.extend(answers);
    }

    fn fail(&mut self, pending: Pending, failure: Failure) {
        self.waiting_bytes -= pending.request.len();
        if let Some(watch) = pending.request.watch() {
            let removal = self.watches.end(&watch.path, watch.watcher);
            self.remove_watch(removal);
        }
        if let Some(token) = pending.token {
            self.effects.push_back(Effect::Answer { token, result: Err(failure) });
        }
    }
}

impl Pending {
    /// A request of the session's own, which nobody waits for.
    fn own(request: Request) -> Self {
        Self { token: None, request, sent_count: 0 }
    }
}

impl Auth {
    fn request(&self) -> Request {
        Request::auth(&AuthPacket { scheme: Some(self.scheme.as_str().into()), auth: Some(&self.auth) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Backoff, Limits};

    const LIMITS: Limits = Limits { requests_max: 10, request_bytes_max: 1_000, answer_bytes_max: 1_000 };

    fn servers(port: u16) -> Vec<Arc<ServerAddress>> {
        vec![Arc::new(ServerAddress { host: "h".into(), port })]
    }

    fn session() -> Session {
        let options = SessionOptions {
            timeout: Millis(10_000),
            read_only: false,
            resume: None,
            limits: LIMITS,
            backoff: Backoff { first: Millis(1_000), max: Millis(5_000) },
        };
        Session::new(options, servers(1), Rng::new(1), Instant(0))
    }

    /// The ports to which it wants to connect.
    fn dialed(session: &mut Session) -> Vec<(ConnId, u16)> {
        std::iter::from_fn(|| session.poll_effect())
            .filter_map(|effect| match effect {
                Effect::Connect { conn, server, .. } => Some((conn, server.port)),
                Effect::Disconnect { .. }
                | Effect::Probe { .. }
                | Effect::Answer { .. }
                | Effect::Watch { .. }
                | Effect::State(_) => None,
            })
            .collect()
    }

    /// A client settled on the server that was being dialed, though it was not on the list any more.
    #[test]
    fn a_server_that_left_the_list_while_it_was_dialed_is_given_up() {
        let mut session = session();
        let [(old, 1)] = dialed(&mut session)[..] else { panic!("the first server") };
        session.handle(Instant(0), Input::Servers(servers(2)));
        let [(new, 2)] = dialed(&mut session)[..] else { panic!("the new server") };
        session.handle(Instant(0), Input::Connected(old));
        assert_eq!(session.transmit(), b"", "the old connection does not count");
        session.handle(Instant(0), Input::Connected(new));
        assert!(!session.transmit().is_empty(), "the new one does");
    }

    #[test]
    fn a_new_list_does_not_wait_for_the_back_off_of_the_old_one() {
        let mut session = session();
        let [(conn, 1)] = dialed(&mut session)[..] else { panic!("the first server") };
        session.handle(Instant(0), Input::Disconnected(conn));
        assert_eq!(dialed(&mut session), [], "after a whole round in vain it waits");
        session.handle(Instant(0), Input::Servers(servers(2)));
        assert_eq!(dialed(&mut session).len(), 1, "and tries the new one at once");
    }

    /// A server that closes as soon as it sees the length of a frame never lets the transport take all of it: the request
    /// was sent again for ever, and each time it took the connection with it.
    #[test]
    fn a_request_that_no_connection_takes_whole_is_given_up() {
        let mut session = session();
        let write = gk_proto::request::Write::Sync { path: Some("/too/long".into()) };
        let mut hello = Vec::new();
        let response = ConnectResponse {
            timeout_ms: 10_000,
            session: SessionId(7),
            password: [0; PASSWORD_LEN],
            read_only: Some(false),
        };
        reply::frame(&mut hello, |out| response.encode(out));
        let (mut now, mut failed, mut dialed) = (Instant(0), Vec::new(), None);
        for _ in 0..30 {
            while let Some(effect) = session.poll_effect() {
                match effect {
                    Effect::Connect { conn, .. } => dialed = Some(conn),
                    Effect::Answer { token, result } => failed.push((token, result)),
                    Effect::Disconnect { .. } | Effect::Probe { .. } | Effect::Watch { .. } | Effect::State(_) => {}
                }
            }
            if !failed.is_empty() {
                break;
            }
            let Some(conn) = dialed.take() else {
                now = session.poll_timeout().unwrap();
                session.handle_timeout(now);
                continue;
            };
            session.handle(now, Input::Connected(conn));
            let greeting = session.transmit().len();
            session.transmitted(now, greeting);
            session.handle(now, Input::Received(conn, &hello));
            while session.poll_effect().is_some() {}
            if session.waiting() == (0, 0) {
                session.handle(now, Input::Submit(Token(1), Request::write(&write)));
                session.handle(now, Input::Submit(Token(2), Request::write(&write)));
            }
            assert!(session.transmit().len() > 10, "the requests wait");
            session.transmitted(now, 10);
            session.handle(now, Input::Disconnected(conn));
        }
        assert_eq!(failed.first(), Some(&(Token(1), Err(Failure::ConnectionLost))), "the first one, never carried out");
        assert_eq!((failed.len(), session.waiting()), (1, (1, 0)), "the one behind it is not to blame");
    }
}
