//! One client connection as a state machine: frames in, bytes out (ZooKeeper `NIOServerCnxn`,
//! `ZooKeeperServer.processPacket`, `CommitProcessor`).
//!
//! Reads are answered at once from the tree that is handed in; writes go to the node, and while one is in flight the
//! reads behind it wait, so that answers leave in the order of the requests. If another write follows, these reads are sent
//! through the node ahead of it: they are answered between the two, and the writes of a client that mixes both reach the
//! disk together. Auth and sasl overtake, as in ZooKeeper.
//!
//! Whoever drives this hands in everything that was delivered to the connection before it lets the machine read the
//! tree, both under one guard: then an event always leaves before a reply that shows its effect (design rule 1).
//!
//! Not done here: sockets, the texts of four-letter words, deadlines of connections that never say hello.

mod hello;
mod complaint;
mod budget;
mod copies;
mod ids;
mod later;
mod read;
mod listing;
mod stats;

use core::cell::Cell;
use core::net::IpAddr;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use gk_proto::connect::ConnectResponse;
use gk_proto::jute::Reader;
use gk_proto::op::OpCode;
use gk_proto::request::{HEADER_LEN, Header};
use gk_proto::{ConnId, ErrorCode, Instant, SessionId, Xid, Zxid, planted, reply, watch};
use gk_tree::{Tree, Watches};

use crate::auth::{AuthRules, Ids, ip_id};
use crate::config::NodeConfig;
use crate::message::{Connect, Delivery, Request};

use budget::Budget;
pub use complaint::Complaint;
use copies::Copies;
use later::Later;
pub use read::answer_reads;
pub use stats::{CREATE_SESSION, ConnStats, Latency};

/// What a connection reads: the tree under a guard, and the watch tables.
pub trait World {
    /// The shared tree. The guard is held for as long as this borrow lives.
    fn tree(&self) -> &Tree;

    /// The watch tables, locked after the tree.
    fn watches<R>(&self, change: impl FnOnce(&mut Watches) -> R) -> R;
}

/// What happens to a connection.
#[derive(Debug)]
pub enum Input<'a> {
    /// The socket brought bytes.
    Bytes(&'a [u8]),
    /// The node or a watch has something for the client. All that there is comes first, then one of the others.
    Deliver(Delivery),
    /// Go on with frames that were left for the next guard, and with what waited for a delivery.
    Continue,
}

/// What a connection wants done, besides sending what it put into `out`.
#[derive(Debug)]
pub enum Effect {
    /// Hand a request to the node.
    Request(Request),
    /// Hand a handshake to the node.
    Connect(Connect),
    /// Answer a four-letter word as text and close.
    Word {
        /// The word.
        word: [u8; 4],
        /// The eight bytes behind `stmk`.
        argument: Option<i64>,
    },
    /// The ids have changed: watches that fire from now on are checked against these.
    Authenticated(Ids),
    /// Send what is in `out`, then close.
    Close,
}

/// Largest first frame: a ConnectRequest has 45 bytes; a password of another length may make it longer.
const CONNECT_FRAME_MAX: usize = 4096;
/// Requests waiting behind writes, and bytes of them, at which the connection is not read until some are answered.
const HELD_MAX: usize = 1024;
const HELD_BYTES_MAX: usize = 4 << 20;
/// Bytes of answers to reads that may be on their way through the node: those of a client that takes nothing.
const EXPECTED_MAX: usize = 1 << 20;
/// A read whose answer is longer is not sent through the node.
const EXPECTED_EACH_MAX: usize = 64 << 10;

/// Beyond every txn.
const LAST: Zxid = Zxid(u64::MAX);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing but a word or a ConnectRequest may come.
    Fresh,
    /// The node decides about the session; what follows waits.
    Connecting,
    /// Requests are served.
    Open,
    /// closeSession is on its way: whatever follows it is dropped.
    Ending,
    /// Nothing more is read or answered.
    Closed,
}

/// A request whose answer must wait its turn.
#[derive(Debug)]
enum Held {
    /// At the node: a write, or a read (`expected` bytes of answer) that stands before one.
    AtNode { xid: Xid, op: OpCode, since: Instant, expected: usize },
    /// Behind a write of this session, or behind a read that is.
    Behind(Waiting),
}

/// A request that waits.
#[derive(Debug)]
struct Waiting {
    /// The whole frame.
    body: Bytes,
    since: Instant,
    /// Those of the connection when it came: an auth that overtakes it does not count for it (`Request.authInfo`).
    ids: Ids,
}

/// A request as it is answered.
struct Asked<'a> {
    header: Header,
    payload: &'a [u8],
    since: Instant,
    /// None: those that the connection has.
    ids: Option<&'a Ids>,
}

/// The machine of one connection.
///
/// - `held` is what is at the node, then whatever came after the first read behind it that was not sent there: a read
///   never waits for nothing but the next guard, and a write never overtakes a read (`check_invariants`).
/// - `expected` is the sum over `held`.
/// - `later` is empty unless something is at the node (`check_invariants`).
/// - `partial` holds less than a frame, or what the phase, a guard's budget or a bound keeps from being served.
#[derive(Debug)]
pub struct Conn {
    id: ConnId,
    remote: IpAddr,
    config: Arc<NodeConfig>,
    rules: Arc<AuthRules>,
    phase: Phase,
    session: SessionId,
    timeout_ms: i32,
    /// Whether the ConnectRequest had the last field, which the response then has too.
    speaks_read_only: bool,
    ids: Ids,
    held: VecDeque<Held>,
    held_bytes: usize,
    expected: usize,
    later: Later,
    partial: Vec<u8>,
    copies: Copies,
    effects: VecDeque<Effect>,
    /// A long child list on its way: nothing behind it is answered before it is complete.
    listing: Option<Box<listing::Listing>>,
    /// What answers under this guard had to look at one by one: entries of ACLs, nodes.
    steps: Cell<usize>,
    stats: ConnStats,
    complaint: Option<Box<Complaint>>,
}

impl Conn {
    /// A connection that has just been accepted.
    pub fn new(id: ConnId, remote: IpAddr, config: Arc<NodeConfig>, rules: Arc<AuthRules>) -> Self {
        Self {
            id,
            remote,
            config,
            rules,
            phase: Phase::Fresh,
            session: SessionId::NONE,
            timeout_ms: 0,
            speaks_read_only: false,
            ids: Arc::new([ip_id(remote)]),
            held: VecDeque::new(),
            held_bytes: 0,
            expected: 0,
            later: Later::default(),
            partial: Vec::new(),
            copies: Copies::default(),
            effects: VecDeque::new(),
            listing: None,
            steps: Cell::new(0),
            stats: ConnStats::default(),
            complaint: None,
        }
    }

    /// Takes one input and appends to `out` what is to be sent; the effects of the one before must have been drained.
    pub fn handle(&mut self, now: Instant, input: Input<'_>, world: &impl World, out: &mut Vec<u8>) {
        assert!(self.effects.is_empty(), "input while {} effects wait", self.effects.len());
        match input {
            Input::Bytes(bytes) => {
                self.release(now, world, out);
                if self.partial.is_empty() {
                    let used = self.serve(now, bytes, world, out);
                    if self.is_reading() {
                        self.partial.extend_from_slice(bytes.get(used..).unwrap_or_default());
                    }
                } else {
                    self.partial.extend_from_slice(bytes);
                    self.serve_partial(now, world, out);
                }
            }
            Input::Continue => {
                if self.listing.is_some() {
                    self.advance_listing(world, out);
                }
                self.release(now, world, out);
                self.serve_partial(now, world, out);
            }
            Input::Deliver(delivery) => self.deliver(now, delivery, world, out),
        }
    }

    /// The next thing to do, if any.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let next = self.effects.pop_front();
        if next.is_none() && self.held.is_empty() {
            // An idle connection keeps no queues.
            self.effects = VecDeque::new();
            self.held = VecDeque::new();
        }
        next
    }

    /// Whether the socket should be read: false while too much waits, and once the connection ends.
    pub fn wants_bytes(&self) -> bool {
        matches!(self.phase, Phase::Fresh | Phase::Open) && self.has_room()
    }

    /// Whether there is work that only the last guard's budget kept from being done: whole frames, requests that waited
    /// for nothing else, or more of a long child list.
    pub fn has_backlog(&self) -> bool {
        if self.listing.is_some() || matches!(self.held.front(), Some(Held::Behind(..))) {
            return self.phase != Phase::Closed;
        }
        self.wants_bytes() && frame_at(&self.partial).is_some_and(|length| self.partial.len() >= 4 + length)
    }

    /// The session, once there is one.
    pub fn session(&self) -> Option<SessionId> {
        (self.session != SessionId::NONE).then_some(self.session)
    }

    /// Negotiated session timeout, milliseconds; 0 before the handshake is done.
    pub fn timeout_ms(&self) -> i32 {
        self.timeout_ms
    }

    /// Counters for the four-letter words.
    pub fn stats(&self) -> &ConnStats {
        &self.stats
    }

    /// What the client did for which its connection is closed, if that is the reason; told once.
    pub fn take_complaint(&mut self) -> Option<Complaint> {
        self.complaint.take().map(|complaint| *complaint)
    }

    /// Forgets the counters, for the `crst` word.
    pub fn reset_stats(&mut self) {
        self.stats.reset();
    }

    /// Requests of this connection that wait for the node or behind one that does.
    pub fn queued(&self) -> usize {
        self.held.len()
    }

    /// About how many bytes these have, at most.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Panics if the machine contradicts itself.
    pub fn check_invariants(&self) {
        let behind = |held: &&Held| matches!(held, Held::Behind(..));
        let waits = self.held.front().as_ref().is_some_and(behind);
        assert!(!waits || self.phase == Phase::Closed || self.has_backlog(), "{:?}: a read waits for nothing", self.id);
        assert!(self.is_at_node() || self.later.is_empty(), "{:?}: events wait for nothing", self.id);
        let overtaken = self.held.iter().skip_while(|held| !behind(held)).any(|held| !behind(&held));
        assert!(!overtaken, "{:?}: a write overtakes a read", self.id);
    }

    fn is_at_node(&self) -> bool {
        matches!(self.held.front(), Some(Held::AtNode { .. }))
    }

    fn is_reading(&self) -> bool {
        matches!(self.phase, Phase::Fresh | Phase::Connecting | Phase::Open)
    }

    fn has_room(&self) -> bool {
        self.held.len() < HELD_MAX && self.held_bytes < HELD_BYTES_MAX && self.listing.is_none()
    }

    /// Closes the connection because of something that its client did.
    fn close_for(&mut self, complaint: Complaint) {
        if self.phase != Phase::Closed {
            self.complaint = Some(Box::new(complaint));
        }
        self.close();
    }

    fn close(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.partial = Vec::new();
            self.effects.push_back(Effect::Close);
        }
    }

    fn serve_partial(&mut self, now: Instant, world: &impl World, out: &mut Vec<u8>) {
        let mut bytes = std::mem::take(&mut self.partial);
        let used = self.serve(now, &bytes, world, out);
        if self.is_reading() && used < bytes.len() {
            bytes.drain(..used);
            self.partial = bytes;
        }
    }

    /// Serves whole frames at the start of `bytes` until one is cut, the phase or a bound says stop, or the guard has
    /// been held long enough; how many bytes were used.
    fn serve(&mut self, now: Instant, bytes: &[u8], world: &impl World, out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        let mut budget = Budget::new(&self.steps, out);
        while self.wants_bytes() && budget.take(&self.steps, out) {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(length) = frame_at(rest) else {
                if rest.len() >= 4 {
                    self.word_or_close(rest, self.config.frame_max);
                }
                break;
            };
            let max = if self.phase == Phase::Fresh {
                CONNECT_FRAME_MAX.min(self.config.frame_max)
            } else {
                self.config.frame_max
            };
            if length > max {
                self.word_or_close(rest, max);
                break;
            }
            let Some(body) = rest.get(4..4 + length) else { break };
            self.copies.ahead = rest.len();
            at += 4 + length;
            if self.phase == Phase::Fresh { self.connect(body, world) } else { self.frame(now, body, world, out) }
        }
        self.copies = Copies::default();
        at
    }

    fn frame(&mut self, now: Instant, body: &[u8], world: &impl World, out: &mut Vec<u8>) {
        self.stats.received += 1;
        let Ok(header) = Header::decode(&mut Reader::new(body)) else {
            return self.close_for(Complaint::MalformedRequest);
        };
        let op = OpCode::from_code(header.op);
        let payload = body.get(HEADER_LEN..).unwrap_or_default();
        match op {
            Some(OpCode::Auth) => return self.authenticate(header.xid, payload, out),
            Some(OpCode::Sasl) => return self.sasl(header.xid, payload, out),
            _ => {}
        }
        if self.rules.must_authenticate(&self.ids) {
            self.bare(header.xid, 0, ErrorCode::SessionClosedRequireAuth, out);
            return self.close_for(Complaint::NotAuthenticated);
        }
        match op {
            Some(op) if op.is_write() && self.send_reads_ahead(world) => {
                self.held.push_back(Held::AtNode { xid: header.xid, op, since: now, expected: 0 });
                let body = self.copies.of(payload);
                self.forward(header.xid, op, body, self.ids.clone(), 0);
            }
            Some(op) if planted!(ReadOvertakesWrite) && !op.is_write() => {
                self.answer(now, &Asked { header, payload, since: now, ids: None }, world, out);
            }
            _ if !self.held.is_empty() => {
                self.held_bytes += body.len();
                let body = self.copies.of(body);
                self.held.push_back(Held::Behind(Waiting { body, since: now, ids: self.ids.clone() }));
            }
            _ => self.answer(now, &Asked { header, payload, since: now, ids: None }, world, out),
        }
        if op == Some(OpCode::CloseSession) {
            self.phase = Phase::Ending;
        }
    }

    /// Sends the reads that wait through the node, ahead of a write; false if one of them must be answered here first.
    fn send_reads_ahead(&mut self, world: &impl World) -> bool {
        let from = self.held.iter().rposition(|held| matches!(held, Held::AtNode { .. })).map_or(0, |last| last + 1);
        let mut sent: Vec<(usize, Header, OpCode, usize)> = Vec::new();
        let mut expected = self.expected;
        for at in from..self.held.len() {
            let Some(Held::Behind(Waiting { body, .. })) = self.held.get(at) else { return false };
            let Ok(header) = Header::decode(&mut Reader::new(body)) else { return false };
            let payload = body.get(HEADER_LEN..).unwrap_or_default();
            let found = OpCode::from_code(header.op).and_then(|op| Some((op, read::expected(op, payload, world)?)));
            let Some((op, bytes)) = found else { return false };
            expected += bytes;
            if bytes > EXPECTED_EACH_MAX || expected > EXPECTED_MAX {
                return false;
            }
            sent.push((at, header, op, bytes));
        }
        for (at, Header { xid, .. }, op, expected) in sent {
            let Some(held) = self.held.get_mut(at) else { break };
            let Held::Behind(Waiting { since, .. }) = *held else { break };
            let before = std::mem::replace(held, Held::AtNode { xid, op, since, expected });
            let Held::Behind(Waiting { body, ids, .. }) = before else { break };
            self.expected += expected;
            self.held_bytes -= body.len().min(self.held_bytes);
            self.forward(xid, op, body.slice(HEADER_LEN..), ids, expected);
        }
        true
    }

    fn forward(&mut self, xid: Xid, op: OpCode, body: Bytes, ids: Ids, answer_bytes: usize) {
        self.held_bytes += body.len();
        self.effects.push_back(Effect::Request(Request {
            conn: self.id,
            session: self.session,
            xid,
            op,
            body,
            ids,
            answer_bytes,
        }));
    }

    /// Answers what needs no agreement: reads, pings, and what nobody may ask.
    fn answer(&mut self, now: Instant, asked: &Asked<'_>, world: &impl World, out: &mut Vec<u8>) {
        let Asked { header: h, since, .. } = *asked;
        let served = match OpCode::from_code(h.op) {
            Some(OpCode::Ping) => {
                self.bare(Xid::PING, world.tree().last_zxid().wire(), ErrorCode::Ok, out);
                true
            }
            Some(op) => self.read(asked, op, world, out),
            None => false,
        };
        if !served {
            self.bare(h.xid, -1, ErrorCode::Unimplemented, out);
            return self.close_for(Complaint::UnknownOperation(h.op));
        }
        self.stats.answered(h.op, h.xid, world.tree().last_zxid(), since, now);
    }

    fn deliver(&mut self, now: Instant, delivery: Delivery, world: &impl World, out: &mut Vec<u8>) {
        if self.phase == Phase::Closed {
            return;
        }
        match delivery {
            Delivery::Event { zxid, kind, path } => {
                if !(self.is_at_node() && self.later.keep(zxid, kind, &path)) {
                    self.events_upto(LAST, out);
                    watch::encode_event(zxid.wire(), kind, &path, out);
                    self.stats.sent += 1;
                }
            }
            Delivery::Reply { xid, zxid, result } => {
                self.events_upto(zxid, out);
                reply::encode_write(xid, zxid.wire(), &result, out);
                self.answered_by_node(now, (1, xid), zxid, out);
            }
            Delivery::Answers { xid, count, zxid, frames, over_watched } => {
                self.events_upto(zxid, out);
                out.extend_from_slice(&frames);
                if over_watched {
                    return self.close_for(Complaint::OverWatched);
                }
                self.answered_by_node(now, (count, xid), zxid, out);
            }
            Delivery::Connected { session, password, timeout_ms } => {
                self.phase = Phase::Open;
                self.session = session;
                self.timeout_ms = timeout_ms;
                self.stats.connected(world.tree().last_zxid(), now);
                let read_only = self.speaks_read_only.then_some(false);
                let response = ConnectResponse { timeout_ms, session, password, read_only };
                reply::frame(out, |out| response.encode(out));
                self.stats.sent += 1;
            }
            Delivery::Refused(complaint) => {
                let response = ConnectResponse::refused(self.speaks_read_only.then_some(false));
                reply::frame(out, |out| response.encode(out));
                self.close_for(complaint);
            }
            Delivery::Close => {
                self.events_upto(LAST, out);
                self.close();
            }
        }
    }

    /// Events of txns up to this one that waited.
    fn events_upto(&mut self, upto: Zxid, out: &mut Vec<u8>) {
        self.stats.sent += self.later.release(upto, out);
    }

    /// The answers of the node to the first `count` of what is there, the last of them `xid`, have been written. What waited
    /// for them goes on once all is delivered: the tree may be ahead of the events that are still to come.
    fn answered_by_node(&mut self, now: Instant, (count, xid): (usize, Xid), zxid: Zxid, out: &mut Vec<u8>) {
        let mut last = None;
        for _ in 0..count {
            let Some(Held::AtNode { xid: asked, op, since, expected }) = self.held.pop_front() else {
                panic!("{:?}: an answer to {xid:?} while nothing is at the node", self.id);
            };
            self.expected -= expected;
            self.stats.sent += 1;
            self.stats.answered(op.code(), asked, zxid, since, now);
            last = Some(asked);
        }
        assert_eq!(last, Some(xid), "{:?}: answers come in the order of the requests", self.id);
        if !self.is_at_node() {
            self.events_upto(LAST, out);
        }
    }

    /// Once nothing is at the node: answers the reads that waited for it, as many as one guard may, then lets the writes behind
    /// them go: a write must not take effect before the reads that were asked ahead of it.
    fn release(&mut self, now: Instant, world: &impl World, out: &mut Vec<u8>) {
        if self.is_at_node() {
            return;
        }
        let mut budget = Budget::new(&self.steps, out);
        while self.listing.is_none()
            && budget.take(&self.steps, out)
            && let Some(Held::Behind(Waiting { body, .. })) = self.held.front()
        {
            let Ok(header) = Header::decode(&mut Reader::new(body)) else { break };
            if write_of(header).is_some() {
                break;
            }
            let Some(Held::Behind(Waiting { body, since, ids })) = self.held.pop_front() else { break };
            self.held_bytes -= body.len().min(self.held_bytes);
            let payload = body.get(HEADER_LEN..).unwrap_or_default();
            self.answer(now, &Asked { header, payload, since, ids: Some(&ids) }, world, out);
        }
        let mut next = 0;
        while self.listing.is_none()
            && let Some(Held::Behind(Waiting { body, since, .. })) = self.held.get(next)
        {
            let Ok(header) = Header::decode(&mut Reader::new(body)) else { break };
            let Some(op) = write_of(header) else { break };
            let sent = Held::AtNode { xid: header.xid, op, since: *since, expected: 0 };
            let before = self.held.get_mut(next).map(|held| std::mem::replace(held, sent));
            let Some(Held::Behind(Waiting { body, ids, .. })) = before else { break };
            self.held_bytes -= body.len().min(self.held_bytes);
            self.forward(header.xid, op, body.slice(HEADER_LEN..), ids, 0);
            next += 1;
        }
        if self.held.is_empty() {
            self.held_bytes = 0;
            assert_eq!(self.expected, 0, "{:?}: answers expected while nothing is at the node", self.id);
        }
    }

    fn bare(&mut self, xid: Xid, zxid: i64, code: ErrorCode, out: &mut Vec<u8>) {
        reply::encode_bare(xid, zxid, code, out);
        self.stats.sent += 1;
    }
}

/// The operation, if it must go through the node.
fn write_of(header: Header) -> Option<OpCode> {
    OpCode::from_code(header.op).filter(|op| op.is_write())
}

/// The length of the frame that begins here, if four bytes are there and it is not negative.
fn frame_at(bytes: &[u8]) -> Option<usize> {
    let length = i32::from_be_bytes(*bytes.first_chunk()?);
    usize::try_from(length).ok()
}
