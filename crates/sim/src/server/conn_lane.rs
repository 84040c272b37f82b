//! One connection (`gk_server::task`, `link`): each step is one turn of its task, with what is delivered and what was
//! read handed to the machine under one guard of the tree.

use std::collections::VecDeque;
use std::sync::Arc;

use gk_node::auth::{AuthRules, Ids, ip_id};
use gk_node::conn::{Conn, Effect, Input, World};
use gk_node::{Delivery, NodeConfig};
use gk_proto::{ConnId, Instant, SessionId, Zxid};
use gk_tree::{Tree, Watches};

use super::{Message, Server};
use crate::around::{Around, Event, Lane, Wake, nanos};
use crate::lies::{self, Lie};
use crate::network::below;

pub(super) struct ConnLane {
    conn: Conn,
    shard: usize,
    outbox: VecDeque<Delivery>,
    is_ready: bool,
    ids: Ids,
    session: SessionId,
    /// On the clock of this life of the server.
    heard: Instant,
    opened: u64,
    unsent: Vec<u8>,
    closing: bool,
    /// True time at which it was told to close.
    closing_since: Option<u64>,
    aborted: bool,
    wake: Wake,
    /// For lies, which leave handshakes alone.
    was_greeted: bool,
}

/// What the machine reads, under one guard.
pub(super) struct Guarded<'a> {
    tree: &'a Tree,
    watches: std::cell::RefCell<&'a mut Watches>,
}

impl<'a> Guarded<'a> {
    pub(super) fn new(tree: &'a Tree, watches: &'a mut Watches) -> Self {
        Self { tree, watches: std::cell::RefCell::new(watches) }
    }
}

impl World for Guarded<'_> {
    fn tree(&self) -> &Tree {
        self.tree
    }

    fn watches<R>(&self, change: impl FnOnce(&mut Watches) -> R) -> R {
        change(&mut self.watches.borrow_mut())
    }
}

/// What a turn of a task ends with.
enum Turn {
    /// There may be more to do.
    Again,
    /// Nothing can be done before something happens.
    Wait,
    /// The socket is of no more use.
    Gone,
}

/// Bytes that one guard may give, and one reply more; frames held back; see `gk_node::conn`.
const BYTES_A_GUARD: usize = 128 << 10;
const HELD_MAX: usize = 1024 + 128;

impl ConnLane {
    pub(super) fn new(
        id: ConnId,
        shard: usize,
        config: Arc<NodeConfig>,
        rules: Arc<AuthRules>,
        around: &Around,
    ) -> Self {
        let remote = core::net::IpAddr::from([127, 0, 0, 1]);
        Self {
            conn: Conn::new(id, remote, config, rules),
            shard,
            outbox: VecDeque::new(),
            is_ready: false,
            ids: Arc::new([ip_id(remote)]),
            session: SessionId::NONE,
            heard: around.server_instant(),
            opened: around.now,
            unsent: Vec::new(),
            closing: false,
            closing_since: None,
            aborted: false,
            wake: Wake::default(),
            was_greeted: false,
        }
    }

    pub(super) fn push(&mut self, delivery: Delivery) {
        self.outbox.push_back(delivery);
        self.is_ready = true;
    }

    pub(super) fn last_heard(&self) -> Instant {
        self.heard
    }

    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    /// Whether nothing but its turn keeps it from reading.
    pub(super) fn could_read(&self) -> bool {
        self.unsent.is_empty() && !self.closing && self.conn.wants_bytes() && self.conn.queued() == 0
    }

    pub(super) fn ids(&self) -> &Ids {
        &self.ids
    }

    /// I29: what it holds beyond its bounds.
    pub(super) fn check_bounds(&self, frame_max: usize) -> Option<String> {
        self.conn.check_invariants();
        if self.conn.queued() > HELD_MAX {
            return Some(format!("{} requests are held", self.conn.queued()));
        }
        // One guard's worth, one reply, and the events that came with them.
        let most = 2 * BYTES_A_GUARD + 64 * frame_max;
        (self.unsent.len() > most).then(|| format!("{} bytes wait for the client", self.unsent.len()))
    }

    /// Tells a connection without a session to close; aborts one that does not obey.
    pub(super) fn is_overdue(&mut self, now: u64, limit: u64) -> bool {
        let told = self.outbox.iter().any(|delivery| matches!(delivery, Delivery::Close | Delivery::Refused(_)));
        if told && self.closing_since.is_none() {
            self.closing_since = Some(now);
        }
        if self.closing_since.is_some_and(|since| since + limit <= now) {
            self.aborted = true;
        } else if self.session == SessionId::NONE && self.opened + limit <= now && !told {
            self.push(Delivery::Close);
        } else {
            return false;
        }
        true
    }
}

impl Server {
    pub(super) fn wake_conn(&mut self, around: &mut Around, id: ConnId, after: u64) {
        if let Some(lane) = self.conns.get_mut(&id) {
            if lane.session != SessionId::NONE && around.options.lie == Some(Lie::NeverWoken) {
                return;
            }
            around.wake(&mut lane.wake, after, Event::Lane(Lane::Conn(id)));
        }
    }

    /// Something happened at the socket of a connection.
    pub(crate) fn socket_changed(&mut self, around: &mut Around, id: ConnId) {
        let late = around.options.lie == Some(Lie::ReadLate) && (2..12).contains(&around.seconds());
        let after = if late { nanos(5000) } else { around.lag() };
        self.wake_conn(around, id, after);
    }

    pub(super) fn conn_step(&mut self, around: &mut Around, id: ConnId) {
        let Some(mut lane) = self.conns.remove(&id) else { return };
        lane.wake = Wake::default();
        let turn = self.turn(around, id, &mut lane);
        self.conns.insert(id, lane);
        match turn {
            Turn::Again => {
                let after = around.lag();
                self.wake_conn(around, id, after);
            }
            Turn::Wait => {}
            Turn::Gone => self.end_conn(around, id),
        }
    }

    fn turn(&mut self, around: &mut Around, id: ConnId, lane: &mut ConnLane) -> Turn {
        if lane.aborted || !around.network.pipes.contains_key(&id) {
            return Turn::Gone;
        }
        if !lane.unsent.is_empty() {
            let unsent = std::mem::take(&mut lane.unsent);
            let taken = send(around, id, &unsent);
            if taken > 0 {
                lane.heard = around.server_instant();
                around.checker.drained(id, lane.heard);
            }
            lane.unsent.extend_from_slice(unsent.get(taken..).unwrap_or_default());
            if !lane.unsent.is_empty() {
                return if has_ended(around, id) { Turn::Gone } else { Turn::Wait };
            }
        }
        if lane.closing {
            return Turn::Gone;
        }
        let must_wait = self.outstanding > around.options.outstanding_max && lane.conn.queued() > 0;
        let mut bytes = Vec::new();
        if !(lane.is_ready || lane.conn.has_backlog()) {
            if !lane.conn.wants_bytes() || must_wait {
                return Turn::Wait;
            }
            bytes = read(around, id);
            if bytes.is_empty() {
                return if has_ended(around, id) { Turn::Gone } else { Turn::Wait };
            }
        }
        self.serve(around, id, lane, &bytes);
        Turn::Again
    }

    /// Hands deliveries, then input, to the machine, all under one guard of the tree.
    fn serve(&mut self, around: &mut Around, id: ConnId, lane: &mut ConnLane, bytes: &[u8]) {
        let now = around.server_instant();
        if !bytes.is_empty() {
            lane.heard = now;
            around.checker.taken(id, bytes, now);
        }
        lane.is_ready = false;
        let (mut out, mut wanted) = (Vec::new(), Vec::new());
        let world = Guarded::new(&self.tree, &mut self.watches);
        for delivery in std::mem::take(&mut lane.outbox) {
            lane.conn.handle(now, Input::Deliver(delivery), &world, &mut out);
            lane.effects(&mut wanted);
        }
        let mut forgetful = Vec::new();
        if around.options.lie == Some(Lie::SeenForgotten) && !bytes.is_empty() && !lane.was_greeted {
            forgetful.extend_from_slice(bytes);
            lies::forget_what_was_seen(&mut forgetful);
        }
        let bytes = if forgetful.is_empty() { bytes } else { &forgetful };
        let input = if bytes.is_empty() { Input::Continue } else { Input::Bytes(bytes) };
        lane.conn.handle(now, input, &world, &mut out);
        lane.effects(&mut wanted);
        // One that ends tells nothing more: its client catches up on the next.
        let at = if lane.closing { Zxid::ZERO } else { self.tree.last_zxid() };
        for message in wanted {
            self.gather(around, lane.shard, message);
        }
        if lane.closing {
            lane.closing_since.get_or_insert(around.now);
        }
        if let Some(lie) = around.options.lie
            && !out.is_empty()
        {
            let mut frames = lies::frames(&out);
            if around.lies(lie) && lie.tamper(&mut frames, lane.was_greeted) {
                out = frames.concat();
            }
            lane.was_greeted = true;
        }
        around.note(|| format!("{id:?} takes {} bytes and gives {}", bytes.len(), out.len()));
        around.checker.given(id, &out, at);
        let taken = send(around, id, &out);
        lane.unsent.extend_from_slice(out.get(taken..).unwrap_or_default());
        if around.lies(Lie::Hoard) {
            lane.unsent.resize(lane.unsent.len() + (16 << 20), 0);
        }
    }

    /// Removes every trace of the connection but its session.
    pub(super) fn end_conn(&mut self, around: &mut Around, id: ConnId) {
        let Some(lane) = self.conns.remove(&id) else { return };
        self.watches.drop_conn(id);
        if let Some(session) = lane.conn.session() {
            self.gather(around, lane.shard, Message::Disconnected { conn: id, session, heard: lane.heard });
        }
        around.checker.ended(id);
        if let Some(pipe) = around.network.pipes.get_mut(&id) {
            pipe.server_gone = true;
            let at = pipe.down.end(&mut around.rng, &around.options.weather, around.now);
            around.schedule(at - around.now, Event::ToClient(id));
        }
    }
}

impl ConnLane {
    fn effects(&mut self, wanted: &mut Vec<Message>) {
        while let Some(effect) = self.conn.poll_effect() {
            match effect {
                Effect::Request(request) => match wanted.last_mut() {
                    Some(Message::Requests(requests)) => requests.push(request),
                    _ => wanted.push(Message::Requests(vec![request])),
                },
                Effect::Connect(connect) => wanted.push(Message::Connect(connect)),
                Effect::Authenticated(ids) => self.ids = ids,
                Effect::Close | Effect::Word { .. } => self.closing = true,
            }
        }
        if let Some(session) = self.conn.session() {
            self.session = session;
        }
    }
}

/// Bytes of the socket, at most as many as fit the buffer of a thread.
fn read(around: &mut Around, id: ConnId) -> Vec<u8> {
    let most = around.options.read_max;
    let Some(pipe) = around.network.pipes.get_mut(&id) else { return Vec::new() };
    let length = pipe.up.arrived.len().min(most);
    let bytes: Vec<u8> = pipe.up.arrived.drain(..length).collect();
    if pipe.up.arrived.is_empty() {
        pipe.up.unread_since = None;
    }
    if !bytes.is_empty() {
        let after = around.lag();
        around.schedule(after, Event::Writable(id));
    }
    bytes
}

/// Whether the socket shows its end.
fn has_ended(around: &Around, id: ConnId) -> bool {
    let now = around.now;
    let ended = |pipe: &crate::network::Pipe| pipe.up.arrived.is_empty() && pipe.up.has_ended(now);
    around.network.pipes.get(&id).is_none_or(ended)
}

/// Gives bytes to the socket, as many as it takes.
fn send(around: &mut Around, id: ConnId, bytes: &[u8]) -> usize {
    let is_partial = around.chance(around.options.weather.partial);
    let Some(pipe) = around.network.pipes.get_mut(&id) else { return 0 };
    let room = pipe.down.room(around.options.weather.window).min(bytes.len());
    let taken = if is_partial { below(&mut around.rng, room + 1) } else { room };
    let sent = bytes.get(..taken).unwrap_or_default();
    let arrivals = pipe.down.send(&mut around.rng, &around.options.weather, around.now, sent);
    for at in arrivals {
        around.schedule(at - around.now, Event::ToClient(id));
    }
    if is_partial && taken < bytes.len() {
        // A transport that took less than it could takes more soon.
        let after = around.lag();
        around.schedule(after, Event::ToServer(id));
    }
    taken
}
