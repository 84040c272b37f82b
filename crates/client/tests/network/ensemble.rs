//! A model of the servers: 1 to 5 of them share one history, each has applied it up to a point of its own. One that was
//! restored from an older copy goes back and catches up.
//!
//! As in ZooKeeper: the handshake with its checks in their order (protocol notes §3.3), sessions with expiry and owners,
//! watch tables by connection, events before the replies that show what they are about, answers in the order of the
//! requests but for auth, which overtakes. A write has its place in the history at once; its reply, and whatever the
//! connection asked after it, waits until the server has applied it.
//!
//! Requests carry a tag that only this model knows: `#<number>` behind a path (`operations.rs`), or in the name of an
//! auth. What was carried out, for whom and with what result, is kept for the checkers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use gk_client::core::WatchKind;
use gk_proto::answer::Answer;
use gk_proto::connect::{ConnectRequest, ConnectResponse};
use gk_proto::jute::Reader;
use gk_proto::op::OpCode;
use gk_proto::request::{self, AuthPacket};
use gk_proto::watch::{EventType, encode_event};
use gk_proto::{ConnId, ErrorCode, Instant, Millis, SessionId, Xid, reply};

use crate::history::{Change, History, Tree, is_within, parent};

/// What the servers of an ensemble have in common.
#[derive(Debug)]
pub(crate) struct Ensemble {
    pub(crate) history: History,
    pub(crate) servers: Vec<Server>,
    pub(crate) sessions: BTreeMap<SessionId, Owned>,
    pub(crate) conns: BTreeMap<ConnId, Conn>,
    /// Everything carried out for the program, in order.
    pub(crate) executions: Vec<Execution>,
    /// Refused handshakes: connection, and where in its stream the refusal ends.
    pub(crate) refusals: Vec<(ConnId, u64)>,
    pub(crate) timeout_range: (u64, u64),
    sessions_made: u64,
    /// The watches of connections that have ended.
    ended: BTreeMap<ConnId, Tables>,
}

/// Which watches of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Table {
    Data,
    Child,
    Persistent,
    Recursive,
}

#[derive(Debug)]
pub(crate) struct Server {
    /// How many txns it has applied.
    pub(crate) applied: usize,
    pub(crate) tree: Tree,
    pub(crate) mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    ReadWrite,
    /// Cut off from the others: applies nothing, takes no writes and no sessions of theirs.
    ReadOnly,
    Down,
}

/// A session as the ensemble knows it.
#[derive(Debug)]
pub(crate) struct Owned {
    timeout: Millis,
    deadline: Instant,
    owner: ConnId,
    /// Known to one read-only server only.
    local: Option<usize>,
}

/// A connection as its server knows it.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) server: usize,
    input: Vec<u8>,
    /// For the network to take.
    pub(crate) out: Vec<u8>,
    /// Bytes written so far.
    written: u64,
    has_greeted: bool,
    pub(crate) session: Option<SessionId>,
    pipeline: VecDeque<(Xid, i32, Vec<u8>)>,
    waits: Option<Waiting>,
    pub(crate) watches: Tables,
    auths: BTreeSet<u32>,
    /// To be closed once `out` has been taken.
    pub(crate) closing: bool,
    /// A fault: the next reply is left out.
    pub(crate) skips_reply: bool,
}

/// The watches of one connection, each with the zxid of its server when it was first set.
#[derive(Default, Debug)]
pub(crate) struct Tables {
    held: BTreeSet<(Table, String)>,
    first: BTreeMap<(Table, String), i64>,
    /// Watches for a creation that setWatches brought, and in how many pieces it came.
    pub(crate) for_creation: BTreeSet<String>,
    pub(crate) pieces: u32,
}

/// What the first request of a pipeline waits for.
#[derive(Debug)]
struct Waiting {
    applied: usize,
    reply: Reply,
}

#[derive(Debug)]
enum Reply {
    Greeting(ConnectResponse),
    /// The execution whose result is told.
    Write {
        xid: Xid,
        execution: Option<usize>,
        closes: bool,
    },
    Sync {
        xid: Xid,
        tag: u32,
        path: String,
    },
}

/// One request of the program, carried out.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) tag: u32,
    pub(crate) conn: ConnId,
    /// Of the reply's header.
    pub(crate) zxid: i64,
    pub(crate) result: Result<Answer, i32>,
    /// Where in the connection's stream the reply ends, once it is written.
    pub(crate) end: Option<u64>,
    /// Auths that the connection had.
    pub(crate) auths: BTreeSet<u32>,
    pub(crate) is_write: bool,
}

impl Ensemble {
    pub(crate) fn new(servers: usize, timeout_range: (u64, u64)) -> Self {
        let server = || Server { applied: 0, tree: Tree::new(), mode: Mode::ReadWrite };
        Self {
            history: History::new(),
            servers: (0..servers).map(|_| server()).collect(),
            sessions: BTreeMap::new(),
            conns: BTreeMap::new(),
            executions: Vec::new(),
            refusals: Vec::new(),
            timeout_range,
            sessions_made: 0,
            ended: BTreeMap::new(),
        }
    }

    /// The zxid of the server when this watch was first set on the connection.
    pub(crate) fn registered(&self, conn: ConnId, kind: WatchKind, path: &str) -> Option<i64> {
        let tables = self.conns.get(&conn).map(|conn| &conn.watches).or_else(|| self.ended.get(&conn))?;
        tables.first.get(&(Table::of(kind), path.to_owned())).copied()
    }

    pub(crate) fn accept(&mut self, id: ConnId, server: usize) {
        let conn = Conn {
            server,
            input: Vec::new(),
            out: Vec::new(),
            written: 0,
            has_greeted: false,
            session: None,
            pipeline: VecDeque::new(),
            waits: None,
            watches: Tables::default(),
            auths: BTreeSet::new(),
            closing: false,
            skips_reply: false,
        };
        self.conns.insert(id, conn);
    }

    /// The other end is gone; whatever it had sent was received before.
    pub(crate) fn hang_up(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.remove(&id) {
            self.ended.insert(id, conn.watches);
        }
    }

    pub(crate) fn receive(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.closing) else { return };
        conn.input.extend_from_slice(bytes);
        while let Some(frame) = self.conns.get_mut(&id).filter(|conn| !conn.closing).and_then(Conn::next_frame) {
            self.frame(now, id, &frame);
        }
    }

    fn frame(&mut self, now: Instant, id: ConnId, frame: &[u8]) {
        let conn = self.conns.get_mut(&id).unwrap();
        if !conn.has_greeted {
            conn.has_greeted = true;
            let request = ConnectRequest::decode(frame).expect("a handshake");
            return self.greet(now, id, &request);
        }
        if let Some(owned) = conn.session.and_then(|session| self.sessions.get_mut(&session))
            && owned.owner == id
        {
            owned.deadline = now + owned.timeout;
        }
        let mut reader = Reader::new(frame);
        let request::Header { xid, op } = request::Header::decode(&mut reader).expect("a header");
        if op == OpCode::Auth.code() {
            return self.authenticate(id, xid, reader.rest());
        }
        conn.pipeline.push_back((xid, op, reader.rest().to_vec()));
        self.advance(id);
    }

    /// Answered by the connection, ahead of what its pipeline waits for.
    fn authenticate(&mut self, id: ConnId, xid: Xid, body: &[u8]) {
        let packet = AuthPacket::decode(body).expect("an auth packet");
        let tag = std::str::from_utf8(packet.auth.unwrap()).unwrap().trim_start_matches('u').parse().expect("the tag");
        let is_known = packet.scheme.as_deref() == Some("digest");
        let code = if is_known { ErrorCode::Ok } else { ErrorCode::AuthFailed };
        let conn = self.conns.get_mut(&id).unwrap();
        if is_known {
            conn.auths.insert(tag);
        }
        conn.write(|out| reply::encode_bare(xid, 0, code, out));
        conn.closing = !is_known;
        let result = if is_known { Ok(Answer::None) } else { Err(code.code()) };
        let (end, auths) = (Some(conn.written), conn.auths.clone());
        self.executions.push(Execution { tag, conn: id, zxid: 0, result, end, auths, is_write: false });
    }

    fn greet(&mut self, now: Instant, id: ConnId, request: &ConnectRequest) {
        let server = self.conns[&id].server;
        let Server { applied, mode, .. } = self.servers[server];
        let is_read_only = mode == Mode::ReadOnly;
        let is_refused = mode == Mode::Down || (is_read_only && request.read_only != Some(true));
        let is_resumed = request.session != SessionId::NONE;
        if is_refused || request.last_zxid_seen > History::zxid(applied) || (is_read_only && is_resumed) {
            return self.close(id);
        }
        let (least, most) = self.timeout_range;
        let timeout = Millis(u64::try_from(request.timeout_ms).unwrap_or(0).clamp(least, most));
        let session = if is_resumed { request.session } else { self.next_session() };
        let response = ConnectResponse {
            timeout_ms: i32::try_from(timeout.0).unwrap(),
            session,
            password: password(session),
            read_only: Some(is_read_only),
        };
        if is_resumed {
            let same = self
                .conns
                .iter()
                .filter(|(other, conn)| **other != id && conn.server == server && conn.session == Some(session));
            for other in same.map(|(other, _)| *other).collect::<Vec<_>>() {
                self.close(other);
            }
            let is_known = self.sessions.get(&session).is_some_and(|owned| owned.local.is_none());
            if !is_known || request.password != password(session) {
                let conn = self.conns.get_mut(&id).unwrap();
                let refusal = ConnectResponse::refused(Some(is_read_only));
                conn.write(|out| reply::frame(out, |out| refusal.encode(out)));
                self.refusals.push((id, conn.written));
                return self.close(id);
            }
        } else if !is_read_only {
            self.history.append(Vec::new());
        }
        let local = is_read_only.then_some(server);
        self.sessions.insert(session, Owned { timeout, deadline: now + timeout, owner: id, local });
        let applied = if is_resumed || is_read_only { applied } else { self.history.len() };
        let conn = self.conns.get_mut(&id).unwrap();
        conn.session = Some(session);
        conn.waits = Some(Waiting { applied, reply: Reply::Greeting(response) });
        self.advance(id);
    }

    fn next_session(&mut self) -> SessionId {
        self.sessions_made += 1;
        SessionId(0x100 + self.sessions_made)
    }

    fn close(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.closing = true;
            conn.pipeline.clear();
            conn.waits = None;
        }
    }

    /// Carries out what the pipeline of a connection holds, as far as nothing has to be waited for.
    pub(crate) fn advance(&mut self, id: ConnId) {
        loop {
            let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.closing) else { return };
            if let Some(waiting) = &conn.waits {
                if waiting.applied > self.servers[conn.server].applied {
                    return;
                }
                let waiting = conn.waits.take().unwrap();
                self.finish(id, waiting);
                continue;
            }
            let Some((xid, op, body)) = conn.pipeline.pop_front() else { return };
            self.request(id, xid, op, &Bytes::from(body));
        }
    }

    /// The reply to what was waited for.
    fn finish(&mut self, id: ConnId, waiting: Waiting) {
        let conn = self.conns.get_mut(&id).unwrap();
        let zxid = History::zxid(self.servers[conn.server].applied);
        match waiting.reply {
            Reply::Greeting(response) => conn.write(|out| reply::frame(out, |out| response.encode(out))),
            Reply::Write { xid, execution, closes } => {
                let zxid = History::zxid(waiting.applied);
                match execution {
                    Some(index) => self.tell(id, xid, zxid, index),
                    None => conn.write(|out| reply::encode_bare(xid, zxid, ErrorCode::Ok, out)),
                }
                if closes {
                    self.close(id);
                }
            }
            Reply::Sync { xid, tag, path } => {
                self.answer(id, xid, tag, zxid, Ok(Answer::Sync(Some(path))), false);
            }
        }
    }

    /// A reply to the program, and the note of what was carried out.
    pub(crate) fn answer(
        &mut self,
        id: ConnId,
        xid: Xid,
        tag: u32,
        zxid: i64,
        result: Result<Answer, i32>,
        is_write: bool,
    ) {
        let auths = self.conns[&id].auths.clone();
        self.executions.push(Execution { tag, conn: id, zxid, result, end: None, auths, is_write });
        self.tell(id, xid, zxid, self.executions.len() - 1);
    }

    /// The reply with the result of an execution.
    fn tell(&mut self, id: ConnId, xid: Xid, zxid: i64, execution: usize) {
        let conn = self.conns.get_mut(&id).unwrap();
        if std::mem::take(&mut conn.skips_reply) {
            return;
        }
        let execution = &mut self.executions[execution];
        conn.write(|out| match &execution.result {
            Ok(answer) => reply::frame(out, |out| {
                reply::encode_header(xid, zxid, ErrorCode::Ok, out);
                crate::operations::encode(answer, out);
            }),
            Err(code) => reply::encode_bare(xid, zxid, ErrorCode::from_code(*code).unwrap(), out),
        });
        execution.end = Some(conn.written);
    }

    /// A write by the owner of a session, in its place in the history. `None` as result: nothing of the program's.
    pub(crate) fn commit(
        &mut self,
        id: ConnId,
        xid: Xid,
        tag: Option<u32>,
        changes: Vec<Change>,
        result: impl FnOnce(&Tree) -> Result<Answer, i32>,
    ) {
        let zxid = self.history.append(changes);
        let result = result(&self.history.head);
        let auths = self.conns[&id].auths.clone();
        let execution = tag.map(|tag| {
            self.executions.push(Execution { tag, conn: id, zxid, result, end: None, auths, is_write: true });
            self.executions.len() - 1
        });
        let reply = Reply::Write { xid, execution, closes: tag.is_none() };
        self.conns.get_mut(&id).unwrap().waits = Some(Waiting { applied: self.history.len(), reply });
    }

    /// closeSession: the session and its ephemeral nodes end here.
    pub(crate) fn end_session(&mut self, id: ConnId, xid: Xid, session: SessionId) {
        self.sessions.remove(&session);
        let ephemerals = self.history.head.ephemerals(session.wire());
        let changes = ephemerals.into_iter().map(|path| Change::Delete { path }).collect();
        self.commit(id, xid, None, changes, |_| Ok(Answer::None));
    }

    pub(crate) fn sync(&mut self, id: ConnId, xid: Xid, tag: u32, path: String) {
        let waiting = Waiting { applied: self.history.len(), reply: Reply::Sync { xid, tag, path } };
        self.conns.get_mut(&id).unwrap().waits = Some(waiting);
    }

    /// Whether writes of this connection count: its session lives and has not moved.
    pub(crate) fn owns_session(&self, id: ConnId) -> bool {
        let session = self.conns[&id].session.and_then(|session| self.sessions.get(&session));
        session.is_some_and(|owned| owned.owner == id)
    }

    pub(crate) fn refuse_moved(&mut self, id: ConnId) {
        self.close(id);
    }

    /// One server applies its next txn: events first, then the replies that waited for it.
    pub(crate) fn apply(&mut self, server: usize) {
        let index = self.servers[server].applied;
        let zxid = History::zxid(index + 1);
        for change in self.history.txn(index) {
            self.servers[server].tree.apply(zxid, change);
            for conn in self.conns.values_mut().filter(|conn| conn.server == server && !conn.closing) {
                conn.fire(zxid, change);
            }
        }
        self.servers[server].applied += 1;
        for id in self.conns.keys().copied().collect::<Vec<_>>() {
            self.advance(id);
        }
    }

    pub(crate) fn is_behind(&self, server: usize) -> bool {
        let Server { applied, mode, .. } = self.servers[server];
        mode == Mode::ReadWrite && applied < self.history.len()
    }

    /// Ends sessions that were silent for their timeout.
    pub(crate) fn expire(&mut self, now: Instant) {
        let due = self.sessions.iter().filter(|(_, owned)| now >= owned.deadline).map(|(id, _)| *id);
        for session in due.collect::<Vec<_>>() {
            self.expire_session(session);
        }
    }

    pub(crate) fn expire_session(&mut self, session: SessionId) {
        let Some(owned) = self.sessions.remove(&session) else { return };
        if owned.local.is_none() {
            let ephemerals = self.history.head.ephemerals(session.wire());
            self.history.append(ephemerals.into_iter().map(|path| Change::Delete { path }).collect());
        }
        let of_it = self.conns.iter().filter(|(_, conn)| conn.session == Some(session)).map(|(id, _)| *id);
        of_it.collect::<Vec<_>>().into_iter().for_each(|id| self.close(id));
    }

    /// Another mode; all connections of the server are closed.
    pub(crate) fn set_mode(&mut self, server: usize, mode: Mode) {
        self.servers[server].mode = mode;
        let of_it = self.conns.iter().filter(|(_, conn)| conn.server == server).map(|(id, _)| *id);
        of_it.collect::<Vec<_>>().into_iter().for_each(|id| self.close(id));
        if mode != Mode::ReadOnly {
            self.sessions.retain(|_, owned| owned.local != Some(server));
        }
    }

    /// The server comes back with an older copy of the tree.
    pub(crate) fn restore(&mut self, server: usize, applied: usize) {
        self.set_mode(server, Mode::ReadWrite);
        self.servers[server].tree = self.history.tree_at(applied);
        self.servers[server].applied = applied;
    }
}

impl Conn {
    fn next_frame(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(i32::from_be_bytes(*self.input.first_chunk()?)).expect("a length");
        if self.input.len() < 4 + length {
            return None;
        }
        let rest = self.input.split_off(4 + length);
        Some(std::mem::replace(&mut self.input, rest).split_off(4))
    }

    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.out.len();
        write(&mut self.out);
        self.written += (self.out.len() - before) as u64;
    }

    pub(crate) fn event(&mut self, zxid: i64, kind: EventType, path: &str) {
        self.write(|out| encode_event(zxid, kind, path, out));
    }

    /// Semantics §7.2, line by line.
    fn fire(&mut self, zxid: i64, change: &Change) {
        match change {
            Change::Create { path, .. } => {
                self.fire_data(zxid, EventType::NodeCreated, path);
                self.fire_child(zxid, EventType::NodeChildrenChanged, parent(path), false);
            }
            Change::SetData { path, .. } => {
                self.fire_data(zxid, EventType::NodeDataChanged, path);
            }
            Change::Delete { path } => {
                let told = self.fire_data(zxid, EventType::NodeDeleted, path);
                self.fire_child(zxid, EventType::NodeDeleted, path, told);
                self.fire_child(zxid, EventType::NodeChildrenChanged, parent(path), false);
            }
        }
    }

    fn fire_data(&mut self, zxid: i64, kind: EventType, path: &str) -> bool {
        let once = self.watches.take(Table::Data, path);
        let above = self.watches.held(Table::Recursive).any(|top| is_within(path, top));
        let told = once || above || self.watches.has(Table::Persistent, path);
        if told {
            self.event(zxid, kind, path);
        }
        told
    }

    fn fire_child(&mut self, zxid: i64, kind: EventType, path: &str, told: bool) {
        let once = self.watches.take(Table::Child, path);
        if (once || self.watches.has(Table::Persistent, path)) && !told {
            self.event(zxid, kind, path);
        }
    }
}

impl Table {
    pub(crate) const ALL: [Self; 4] = [Self::Data, Self::Child, Self::Persistent, Self::Recursive];

    pub(crate) fn of(kind: WatchKind) -> Self {
        match kind {
            WatchKind::Data | WatchKind::Exist => Self::Data,
            WatchKind::Child => Self::Child,
            WatchKind::Persistent => Self::Persistent,
            WatchKind::Recursive => Self::Recursive,
        }
    }
}

impl Tables {
    pub(crate) fn set(&mut self, table: Table, path: &str, zxid: i64) {
        self.held.insert((table, path.to_owned()));
        self.first.entry((table, path.to_owned())).or_insert(zxid);
    }

    pub(crate) fn take(&mut self, table: Table, path: &str) -> bool {
        self.held.remove(&(table, path.to_owned()))
    }

    fn has(&self, table: Table, path: &str) -> bool {
        self.held.contains(&(table, path.to_owned()))
    }

    pub(crate) fn held(&self, table: Table) -> impl Iterator<Item = &String> {
        self.held.iter().filter(move |(other, _)| *other == table).map(|(_, path)| path)
    }
}

/// Any function of the id will do.
fn password(session: SessionId) -> [u8; 16] {
    [u8::try_from(session.0 & 0xff).unwrap(); 16]
}
