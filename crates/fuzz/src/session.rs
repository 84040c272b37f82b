//! Whole sessions: up to four connections at a time to one server, any bytes and well-formed frames on them, a log that
//! is held and released, time, and ends of every kind.

use std::collections::VecDeque;

use gk_node::Input as NodeInput;
use gk_proto::acl::{Acl, Id, perm};
use gk_proto::answer::Answer;
use gk_proto::connect::{ConnectRequest, ConnectResponse, computable_password};
use gk_proto::jute::Reader;
use gk_proto::multi::ReadOp;
use gk_proto::op::OpCode;
use gk_proto::reply::{self, frame};
use gk_proto::request::{AclSpec, AuthPacket, Create, Header, Read, SetWatches, Write};
use gk_proto::watch::WatcherEvent;
use gk_proto::{ConnId, SessionId, Xid};

use crate::input::Input;
use crate::rig::Rig;

/// Commands that one input can give: the tree is checked after each.
const COMMANDS_MAX: usize = 64;
const CONNECTIONS: usize = 4;

/// Commands, in the low half of their byte; the upper half is which connection, and two bits more.
pub(crate) const CONNECT: u8 = 0;
pub(crate) const BYTES: u8 = 1;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut script = Script { rig: Rig::new(), conns: [None; CONNECTIONS], xid: 0, gathered: None };
    for _ in 0..COMMANDS_MAX {
        let Some(command) = input.command() else { break };
        script.command(command, &mut input);
        script.rig.check();
    }
    script.flush();
    script.rig.finish();
}

struct Script {
    rig: Rig,
    conns: [Option<ConnId>; CONNECTIONS],
    xid: i32,
    /// Frames that are to arrive together, and where.
    gathered: Option<(ConnId, Vec<u8>)>,
}

impl Script {
    fn command(&mut self, command: u8, input: &mut Input<'_>) {
        let slot = usize::from(command >> 4) % CONNECTIONS;
        match command & 15 {
            CONNECT => self.connect(slot, command & 0x40 != 0, input),
            BYTES => {
                let bytes = input.piece();
                self.deliver(slot, bytes);
            }
            2 => {
                // A frame with any operation and any body.
                let (op, body) = (input.signed_byte(), input.piece());
                self.request(slot, op, |out| out.extend_from_slice(body));
            }
            3..=7 => {
                let write = write(input, command & 0x40 != 0);
                self.request(slot, write.op().code(), |out| write.encode(out));
            }
            8..=10 => {
                let path = path(input);
                let read = read(input, &path);
                self.request(slot, read.op().code(), |out| read.encode(out));
            }
            11 => self.rig.disk_held = command & 0x40 == 0,
            12 => {
                self.flush();
                self.rig.wait(u64::from(input.byte()) * 100);
            }
            13 => {
                if let Some(id) = self.conns[slot].take() {
                    self.rig.disconnect(id);
                }
            }
            14 if command & 0x40 == 0 => {
                let conn = self.conns[slot];
                self.gathered = self.gathered.take().or(conn.map(|id| (id, Vec::new())));
                return;
            }
            14 => self.authenticate(slot, input),
            _ => self.node(command, slot),
        }
        if command & 0x80 != 0 {
            self.flush();
        }
        self.rig.pump();
    }

    /// What happens to the node from elsewhere.
    fn node(&mut self, command: u8, slot: usize) {
        match command >> 6 {
            0 => self.rig.tell_node(NodeInput::DiskFull(true)),
            1 => self.rig.tell_node(NodeInput::DiskFull(false)),
            2 => {
                if let Some(session) = self.session(slot) {
                    self.rig.tell_node(NodeInput::Expire(session));
                }
            }
            _ => {
                self.rig.sweep();
            }
        }
    }

    fn session(&self, slot: usize) -> Option<SessionId> {
        self.conns[slot].and_then(|id| self.rig.clients.get(&id)).and_then(|client| client.talk.session)
    }

    /// A handshake, for a new session or for that of another connection.
    fn connect(&mut self, slot: usize, resumes: bool, input: &mut Input<'_>) {
        let session = if resumes { self.session(usize::from(input.byte()) % CONNECTIONS) } else { None };
        let session = session.unwrap_or(SessionId::NONE);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: if resumes { input.long() } else { 0 },
            timeout_ms: input.int(),
            session,
            password: computable_password(session).to_vec(),
            read_only: Some(false),
        };
        if let Some(id) = self.conns[slot].replace(self.rig.accept()) {
            self.rig.disconnect(id);
        }
        let mut out = Vec::new();
        frame(&mut out, |out| request.encode(out));
        self.deliver(slot, &out);
    }

    fn authenticate(&mut self, slot: usize, input: &mut Input<'_>) {
        let packet = AuthPacket { scheme: Some("digest".into()), auth: Some(input.piece()) };
        let mut out = Vec::new();
        frame(&mut out, |out| {
            Header { xid: Xid::AUTH, op: OpCode::Auth.code() }.encode(out);
            packet.encode(out);
        });
        self.deliver(slot, &out);
    }

    fn request(&mut self, slot: usize, op: i32, body: impl FnOnce(&mut Vec<u8>)) {
        self.xid += 1;
        let xid = if op == OpCode::Ping.code() { Xid::PING } else { Xid(self.xid) };
        let mut out = Vec::new();
        frame(&mut out, |out| {
            Header { xid, op }.encode(out);
            body(out);
        });
        self.deliver(slot, &out);
    }

    fn deliver(&mut self, slot: usize, bytes: &[u8]) {
        let id = *self.conns[slot].get_or_insert_with(|| self.rig.accept());
        match &mut self.gathered {
            Some((to, gathered)) if *to == id => gathered.extend_from_slice(bytes),
            Some(_) | None => self.rig.bytes(id, bytes),
        }
    }

    fn flush(&mut self) {
        if let Some((id, bytes)) = self.gathered.take() {
            self.rig.bytes(id, &bytes);
        }
    }
}

const PATHS: [&str; 16] = [
    "/",
    "/a",
    "/a/b",
    "/a/b/c",
    "/e",
    "/e/f",
    "/s-",
    "/a/s-",
    "/zookeeper",
    "/zookeeper/quota",
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "/zookeeper/config",
    "/a//b",
    "",
];

fn path(input: &mut Input<'_>) -> String {
    match input.byte() {
        0xff => gk_proto::jute::lenient_utf8(input.piece()).into_owned(),
        byte @ 0x80.. => format!("/a/n{}", byte & 7),
        byte => PATHS[usize::from(byte) % PATHS.len()].to_owned(),
    }
}

fn acl(input: &mut Input<'_>) -> AclSpec {
    let entry = |perms, scheme: &str, id: &str| Acl { perms, id: Id::new(scheme, id) };
    match input.byte() % 8 {
        0..=3 => AclSpec::Open,
        4 => AclSpec::from(&[entry(perm::ALL, "auth", "")][..]),
        5 => AclSpec::from(&[entry(perm::READ, "world", "anyone")][..]),
        6 => AclSpec::from(&[entry(input.signed_byte(), "digest", "u:x"), entry(perm::CREATE, "ip", "127.0.0.1")][..]),
        _ => AclSpec::List(None),
    }
}

/// A quota, or anything.
fn data(input: &mut Input<'_>) -> Option<bytes::Bytes> {
    match input.byte() {
        0 => None,
        1 => Some(bytes::Bytes::from_static(b"count=2,bytes=20")),
        2 => Some(bytes::Bytes::from_static(b"count=2,bytes=20;byteHardLimit=10;countHardLimit=3")),
        length @ 3..0x80 => Some(vec![length; usize::from(length)].into()),
        _ => Some(bytes::Bytes::copy_from_slice(input.piece())),
    }
}

fn write(input: &mut Input<'_>, is_multi: bool) -> Write {
    if is_multi {
        let count = input.byte() % 6;
        return Write::Multi((0..count).map(|_| write(input, false)).collect());
    }
    let (what, path) = (input.byte(), path(input));
    match what % 16 {
        0..=5 => {
            const OPS: [OpCode; 4] = [OpCode::Create, OpCode::Create2, OpCode::CreateContainer, OpCode::CreateTtl];
            let (op, flags) = (OPS[usize::from(what >> 4) % 4], input.signed_byte());
            let flags = if flags > 6 { flags % 4 } else { flags };
            let ttl_ms = (op == OpCode::CreateTtl).then(|| input.long());
            Write::Create(Create { op, path, data: data(input), acl: acl(input), flags, ttl_ms })
        }
        6..=8 => Write::Delete { path, version: input.signed_byte() },
        9..=11 => Write::SetData { path, data: data(input), version: input.signed_byte() },
        12 => Write::SetAcl { path, acl: acl(input), version: input.signed_byte() },
        13 => Write::Check { path, version: input.signed_byte() },
        14 => Write::Sync { path: Some(path) },
        _ if what < 0xf0 => Write::Reconfig { joining: Some(path), leaving: None, members: None, config_id: -1 },
        _ => Write::CloseSession,
    }
}

fn read<'a>(input: &mut Input<'_>, path: &'a str) -> Read<'a> {
    let what = input.byte();
    let (watch, path) = (what & 0x10 != 0, path.into());
    match what & 15 {
        0..=2 => Read::GetData { path, watch },
        3 | 4 => Read::Exists { path, watch },
        5 | 6 => Read::GetChildren { path, watch, stat: what & 0x20 != 0 },
        7 => Read::GetAcl { path },
        8 => Read::GetAllChildrenNumber { path },
        9 => Read::GetEphemerals { prefix: Some(path) },
        10 => Read::WhoAmI,
        11 => Read::Watches { path, kind: input.signed_byte(), remove: watch },
        12 | 13 => Read::AddWatch { path, mode: input.signed_byte() },
        14 => {
            let mut lists: [Vec<_>; 5] = Default::default();
            lists[usize::from(what >> 4) % 5].push(path);
            let [data, exist, child, persistent, recursive] = lists;
            Read::SetWatches(SetWatches { relative_zxid: input.long(), data, exist, child, persistent, recursive })
        }
        _ if watch => Read::MultiRead(vec![ReadOp::GetData { path: path.clone() }, ReadOp::GetChildren { path }]),
        _ => Read::MultiRead(vec![ReadOp::GetChildren { path }]),
    }
}

/// What is said on one connection, as its client sees it.
#[derive(Default)]
pub(crate) struct Talk {
    up: Vec<u8>,
    has_greeted: bool,
    /// Requests whose answers have not come; a closeSession is the last of them.
    asked: VecDeque<Header>,
    is_closing: bool,
    /// Answers can no longer be told from events or from answers out of turn, by the xids that the client chose.
    is_ambiguous: bool,
    pub(crate) session: Option<SessionId>,
    /// The server wants the connection closed.
    pub(crate) has_ended: bool,
}

impl Talk {
    /// The client's bytes.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        self.up.extend_from_slice(bytes);
        let mut at = 0;
        while !self.is_closing
            && let Some(body) = frame_at(&self.up, at)
        {
            at += 4 + body.len();
            if !std::mem::replace(&mut self.has_greeted, true) {
                continue;
            }
            // Too short for a header: the end of the connection.
            let Ok(header) = Header::decode(&mut Reader::new(body)) else { break };
            self.is_closing = header.op == OpCode::CloseSession.code();
            self.is_ambiguous |=
                header.xid == Xid::NOTIFICATION || (header.xid == Xid::PING) != is(header, OpCode::Ping);
            let twin = |other: &Header| other.xid == header.xid && overtakes(*other) != overtakes(header);
            self.is_ambiguous |= self.asked.iter().any(twin);
            self.asked.push_back(header);
        }
        self.up.drain(..at);
    }

    /// The server's bytes: whole frames, each the answer that is due, or an event.
    pub(crate) fn received(&mut self, bytes: &[u8]) {
        let mut reader = Reader::new(bytes);
        while reader.remaining() > 0 {
            let Ok(Some(body)) = reader.buffer() else { panic!("{} bytes are no whole frame", reader.remaining()) };
            if self.session.is_some() { self.reply(body) } else { self.welcome(body) }
        }
    }

    fn welcome(&mut self, body: &[u8]) {
        let response = ConnectResponse::decode(body);
        let Ok(response) = response else { panic!("an answer to a handshake that cannot be read: {response:?}") };
        self.session = (response.session != SessionId::NONE).then_some(response.session);
        assert_eq!(self.session.is_some(), response.timeout_ms > 0, "a session has a timeout");
    }

    fn reply(&mut self, body: &[u8]) {
        let mut reader = Reader::new(body);
        let header = reply::Header::decode(&mut reader);
        let Ok(header) = header else { panic!("a reply without a header") };
        if self.is_ambiguous {
            return;
        }
        if header.xid == Xid::NOTIFICATION {
            let event = WatcherEvent::decode(reader.rest());
            assert!(event.is_ok(), "an event that cannot be read: {event:?}");
            return;
        }
        // Auth and sasl are answered at once, among themselves in order.
        let early = self.asked.iter().position(|asked| overtakes(*asked) && asked.xid == header.xid);
        let at = early.or_else(|| self.asked.iter().position(|asked| !overtakes(*asked)));
        let asked = at.and_then(|at| self.asked.remove(at));
        let Some(asked) = asked else { panic!("nobody asked for {header:?}") };
        assert_eq!(asked.xid, header.xid, "{header:?} comes where the answer to {asked:?} is due");
        let op = OpCode::from_code(asked.op);
        match op {
            Some(op) if header.err == 0 => {
                let answer = Answer::decode(op, reader.rest());
                assert!(answer.is_ok(), "the answer to {op:?} cannot be read: {answer:?}");
            }
            _ => assert_eq!(reader.remaining(), 0, "a body behind the error {header:?}"),
        }
    }

    pub(crate) fn check_all_answered(&self) {
        let is_cut = self.session.is_none() || self.is_ambiguous;
        assert!(is_cut || self.asked.is_empty(), "never answered: {:?}", self.asked);
    }
}

fn is(header: Header, op: OpCode) -> bool {
    header.op == op.code()
}

fn overtakes(header: Header) -> bool {
    is(header, OpCode::Auth) || is(header, OpCode::Sasl)
}

fn frame_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes.get(at..)?);
    reader.buffer().ok().flatten()
}
