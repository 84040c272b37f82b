//! Answers to reads, encoded straight from the tree (ZooKeeper `FinalRequestProcessor`).

use core::cell::Cell;

use gk_proto::acl::{self, perm};
use gk_proto::jute::Write as _;
use gk_proto::multi::{self, ReadOp};
use gk_proto::op::OpCode;
use gk_proto::request::{Read, SetWatches};
use gk_proto::watch::{self, AddWatchMode, EventType, WatcherType};
use gk_proto::{ConnId, ErrorCode, SessionId, Xid, Zxid, planted, reply};
use gk_tree::{NodeRef, WatchKind};

use super::listing::{self, Listing};
use super::{Asked, Complaint, Conn, World};
use crate::auth::{AuthRules, Ids};
use crate::message::{Delivery, Request};

/// Paths that one connection may watch, and bytes of them; beyond either it is closed. A client that needs more has lost
/// count.
const WATCHED_PATHS_MAX: usize = 4_000_000;
const WATCHED_BYTES_MAX: usize = 256 << 20;

impl Conn {
    /// Answers a read; false if the operation is none.
    pub(super) fn read(&mut self, asked: &Asked<'_>, op: OpCode, world: &impl World, out: &mut Vec<u8>) -> bool {
        let Some(request) = Read::decode(op, asked.payload) else { return false };
        let xid = asked.header.xid;
        let zxid = world.tree().last_zxid().wire();
        let Ok(request) = request else {
            self.bare(xid, zxid, ErrorCode::MarshallingError, out);
            return true;
        };
        if let Read::SetWatches(paths) = &request {
            self.catch_up(paths, world, out);
        }
        if let Read::GetChildren { path, watch, stat } = &request
            && world.tree().find(path).is_some_and(|node| node.child_count() > listing::PIECE)
        {
            let ids = asked.ids.unwrap_or(&self.ids).clone();
            self.listing = Some(Box::new(Listing::new(xid, path, (*watch, *stat), ids)));
            self.advance_listing(world, out);
            return true;
        }
        let mut asker = self.asker(asked.ids.unwrap_or(&self.ids));
        asker.encode(xid, zxid, &request, world, out);
        if asker.is_over_watched {
            self.close_for(Complaint::OverWatched);
        }
        self.stats.sent += 1;
        true
    }

    /// Sets a watch for this connection.
    pub(super) fn watch(&mut self, path: &str, kind: WatchKind, world: &impl World) {
        let mut asker = self.asker(&self.ids);
        asker.watch(path, kind, world);
        if asker.is_over_watched {
            self.close_for(Complaint::OverWatched);
        }
    }

    /// Reads as this connection, with the ids that it had when the request came.
    pub(super) fn asker<'a>(&'a self, ids: &'a Ids) -> Asker<'a> {
        let (conn, session, rules, steps) = (self.id, self.session, &*self.rules, &self.steps);
        Asker { conn, session, ids, rules, steps, is_over_watched: false }
    }

    /// setWatches: tells at once what happened since the client's last zxid, and sets the watches that did not fire
    /// (`DataTree.setWatches`).
    fn catch_up(&mut self, paths: &SetWatches<'_>, world: &impl World, out: &mut Vec<u8>) {
        let seen = |zxid: Zxid| zxid.wire() <= paths.relative_zxid;
        let mut missed: Vec<(EventType, &str)> = Vec::new();
        let mut kept: Vec<(WatchKind, &str)> = Vec::new();
        for path in &paths.data {
            match world.tree().find(path) {
                None => missed.push((EventType::NodeDeleted, path)),
                Some(node) if !seen(node.stat().mzxid) => missed.push((EventType::NodeDataChanged, path)),
                Some(_) => kept.push((WatchKind::Data, path)),
            }
        }
        for path in &paths.exist {
            match world.tree().find(path) {
                Some(_) if !planted!(CatchUpMissesCreation) => missed.push((EventType::NodeCreated, path)),
                Some(_) | None => kept.push((WatchKind::Data, path)),
            }
        }
        for path in &paths.child {
            match world.tree().find(path) {
                None => missed.push((EventType::NodeDeleted, path)),
                Some(node) if !seen(node.stat().pzxid) => missed.push((EventType::NodeChildrenChanged, path)),
                Some(_) => kept.push((WatchKind::Child, path)),
            }
        }
        kept.extend(paths.persistent.iter().map(|path| (WatchKind::Persistent, &**path)));
        kept.extend(paths.recursive.iter().map(|path| (WatchKind::PersistentRecursive, &**path)));
        for (event, path) in missed {
            watch::encode_event(watch::CATCH_UP.wire(), event, path, out);
            self.stats.sent += 1;
        }
        for (kind, path) in kept {
            self.watch(path, kind, world);
        }
    }
}

/// Who reads: a connection, by what its machine or its request says of it.
pub(super) struct Asker<'a> {
    conn: ConnId,
    session: SessionId,
    ids: &'a Ids,
    rules: &'a AuthRules,
    /// What it had to look at one by one.
    steps: &'a Cell<usize>,
    /// It watches more than it may.
    pub(super) is_over_watched: bool,
}

impl Asker<'_> {
    /// Appends the reply.
    fn encode(&mut self, xid: Xid, zxid: i64, request: &Read<'_>, world: &impl World, out: &mut Vec<u8>) {
        let start = out.len();
        reply::frame(out, |out| {
            reply::encode_header(xid, zxid, ErrorCode::Ok, out);
            if let Err(code) = self.body(request, world, out) {
                // An error has no body: what was begun is taken back.
                out.truncate(start + 4);
                reply::encode_header(xid, zxid, code, out);
            }
        });
    }

    fn body(&mut self, request: &Read<'_>, world: &impl World, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        match request {
            Read::GetData { path, watch } => {
                let node = self.readable(path, world)?;
                if *watch {
                    self.watch(path, WatchKind::Data, world);
                }
                encode_data(node, out);
            }
            Read::Exists { path, watch } => {
                if path.contains('\0') {
                    return Err(ErrorCode::BadArguments);
                }
                let node = self.readable(path, world);
                if *watch && node.as_ref().err() != Some(&ErrorCode::NoAuth) {
                    self.watch(path, WatchKind::Data, world);
                }
                node?.stat().encode(out);
            }
            Read::GetChildren { path, watch, stat } => {
                let node = self.readable(path, world)?;
                if *watch {
                    self.watch(path, WatchKind::Child, world);
                }
                encode_children(node, out);
                if *stat {
                    node.stat().encode(out);
                }
            }
            Read::GetAcl { path } => self.encode_acl(path, world, out)?,
            Read::GetAllChildrenNumber { path } => {
                let descendants = self.readable(path, world)?.descendants();
                self.step(descendants);
                // By its empty name the root counts itself, as in `DataTree.getAllChildrenNumber`.
                out.put_count(descendants + usize::from(path.is_empty()));
            }
            Read::GetEphemerals { prefix } => self.encode_ephemerals(prefix.as_deref(), world, out),
            Read::WhoAmI => {
                out.put_count(self.ids.len());
                for id in self.ids.iter() {
                    out.put_text(&id.scheme);
                    out.put_text(self.rules.user(id));
                }
            }
            Read::Watches { path, kind, remove } => {
                let kind = WatcherType::from_code(*kind).ok_or(ErrorCode::MarshallingError)?;
                let found = world.watches(|watches| {
                    if *remove {
                        watches.remove(self.conn, path, kind)
                    } else {
                        watches.contains(self.conn, path, kind)
                    }
                });
                if !found {
                    return Err(ErrorCode::NoWatcher);
                }
            }
            Read::AddWatch { path, mode } => {
                let kind = match AddWatchMode::from_code(*mode).ok_or(ErrorCode::MarshallingError)? {
                    AddWatchMode::Persistent => WatchKind::Persistent,
                    AddWatchMode::PersistentRecursive => WatchKind::PersistentRecursive,
                };
                self.watch(path, kind, world);
                out.put_int(0);
            }
            Read::SetWatches(_) => {}
            Read::MultiRead(ops) => self.encode_multi(ops, world, out),
        }
        Ok(())
    }

    fn encode_acl(&self, path: &str, world: &impl World, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let node = world.tree().find(path).ok_or(ErrorCode::NoNode)?;
        self.step(node.acl().len());
        if !self.rules.allows(node.acl(), perm::READ | perm::ADMIN, self.ids) {
            return Err(ErrorCode::NoAuth);
        }
        acl::encode(&self.rules.masked(node.acl(), self.ids), out);
        node.stat().encode(out);
        Ok(())
    }

    fn step(&self, count: usize) {
        self.steps.set(self.steps.get() + count);
    }

    /// The node, if it is there and may be read.
    pub(super) fn readable<'w>(&self, path: &str, world: &'w impl World) -> Result<NodeRef<'w>, ErrorCode> {
        let node = world.tree().find(path).ok_or(ErrorCode::NoNode)?;
        self.step(node.acl().len());
        if self.rules.allows(node.acl(), perm::READ, self.ids) { Ok(node) } else { Err(ErrorCode::NoAuth) }
    }

    pub(super) fn watch(&mut self, path: &str, kind: WatchKind, world: &impl World) {
        self.is_over_watched |= world.watches(|watches| {
            watches.add(self.conn, path, kind);
            watches.path_count(self.conn) > WATCHED_PATHS_MAX || watches.path_bytes(self.conn) > WATCHED_BYTES_MAX
        });
    }

    fn encode_ephemerals(&self, prefix: Option<&str>, world: &impl World, out: &mut Vec<u8>) {
        let prefix = prefix.filter(|prefix| !prefix.trim().is_empty() && *prefix != "/").unwrap_or_default();
        let start = out.len();
        self.step(world.tree().ephemeral_count_of(self.session));
        out.put_count(0);
        let mut count: i32 = 0;
        for path in world.tree().ephemerals(self.session).filter(|path| path.starts_with(prefix)) {
            out.put_text(&path);
            count += 1;
        }
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&count.to_be_bytes());
        }
    }

    /// Each op has its own result; a failed one does not stop the others.
    fn encode_multi(&self, ops: &[ReadOp<'_>], world: &impl World, out: &mut Vec<u8>) {
        for op in ops {
            let (path, code) = match op {
                ReadOp::GetData { path } => (path, OpCode::GetData),
                ReadOp::GetChildren { path } => (path, OpCode::GetChildren),
            };
            match self.readable(path, world) {
                Err(code) => reply::encode_multi_error(code, out),
                Ok(node) => {
                    multi::encode_header(code.code(), false, 0, out);
                    if code == OpCode::GetData { encode_data(node, out) } else { encode_children(node, out) }
                }
            }
        }
        multi::encode_end(out);
    }
}

/// Answers reads of one connection that came through the node, from the tree as it is now.
///
/// A long child list is encoded at once here; `expected` keeps those away that were long when they were sent.
pub fn answer_reads(requests: &[Request], rules: &AuthRules, world: &impl World) -> Delivery {
    let zxid = world.tree().last_zxid();
    let steps = Cell::new(0);
    let mut frames = Vec::with_capacity(requests.iter().map(|request| request.answer_bytes).sum());
    let mut over_watched = false;
    for Request { conn, session, xid, op, body, ids, answer_bytes: _ } in requests {
        let mut asker = Asker { conn: *conn, session: *session, ids, rules, steps: &steps, is_over_watched: false };
        match Read::decode(*op, body) {
            Some(Ok(read)) => asker.encode(*xid, zxid.wire(), &read, world, &mut frames),
            Some(Err(_)) => reply::encode_bare(*xid, zxid.wire(), ErrorCode::MarshallingError, &mut frames),
            None => {
                assert_eq!(*op, OpCode::Ping, "only reads and pings are sent through the node");
                reply::encode_bare(Xid::PING, zxid.wire(), ErrorCode::Ok, &mut frames);
            }
        }
        over_watched |= asker.is_over_watched;
    }
    let last = requests.last().expect("INVARIANT: there is no run without a read");
    Delivery::Answers { xid: last.xid, count: requests.len(), zxid, frames, over_watched }
}

/// About how many bytes the answer has, if the request may be sent through the node.
pub(super) fn expected(op: OpCode, payload: &[u8], world: &impl World) -> Option<usize> {
    let size = |path: &str, of: fn(NodeRef<'_>) -> usize| world.tree().find(path).map_or(0, of);
    let data = |node: NodeRef<'_>| node.data().map_or(0, <[u8]>::len);
    let names = |node: NodeRef<'_>| node.child_names().map(|name| name.len() + 4).sum();
    let bytes = match Read::decode(op, payload) {
        None if op == OpCode::Ping => 0,
        None => return None,
        Some(Err(_)) => 0,
        Some(Ok(read)) => match read {
            Read::GetData { path, .. } => size(&path, data),
            Read::GetChildren { path, .. } => {
                if size(&path, |node| node.child_count()) > listing::PIECE {
                    return None;
                }
                size(&path, names)
            }
            Read::Exists { .. } | Read::Watches { .. } | Read::AddWatch { .. } => 0,
            // Of any size, or any work, or events come with it: answered by the connection.
            Read::GetAcl { .. }
            | Read::GetAllChildrenNumber { .. }
            | Read::GetEphemerals { .. }
            | Read::WhoAmI
            | Read::MultiRead(_)
            | Read::SetWatches(_) => return None,
        },
    };
    Some(bytes + ANSWER_USUAL)
}

/// Bytes of an answer besides its data or names.
const ANSWER_USUAL: usize = 128;

fn encode_data(node: NodeRef<'_>, out: &mut Vec<u8>) {
    out.put_buffer(node.data());
    node.stat().encode(out);
}

fn encode_children(node: NodeRef<'_>, out: &mut Vec<u8>) {
    out.put_count(node.child_count());
    for name in node.child_names() {
        out.put_buffer(Some(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use gk_proto::acl::OPEN_BYTES;
    use gk_proto::stat::{Owner, OwnerRules, StatPersisted};
    use gk_tree::{Tree, TreeBuilder, TreeOptions, Watches};

    struct Still(Tree);

    impl World for Still {
        fn tree(&self) -> &Tree {
            &self.0
        }

        fn watches<R>(&self, _change: impl FnOnce(&mut Watches) -> R) -> R {
            unreachable!("no watch is set while sizes are looked up")
        }
    }

    /// `/small` and `/large` with data, `/wide` with children.
    fn world() -> Still {
        let options = TreeOptions { owner_rules: OwnerRules::default(), hash_key: 1, digest: false };
        let mut builder = TreeBuilder::new(options);
        builder.acl(1, acl::decode(&mut gk_proto::jute::Reader::new(OPEN_BYTES)).unwrap());
        let stat = StatPersisted { ephemeral_owner: Owner::Persistent.stored(), ..StatPersisted::default() };
        let mut node = |path: &str, data: &[u8]| builder.node(path, Some(data), 1, &stat).unwrap();
        node("", b"");
        node("/small", &[1; 100]);
        node("/large", &[1; 100_000]);
        node("/wide", b"");
        for child in 0..=listing::PIECE {
            node(&format!("/wide/{child}"), b"");
        }
        Still(builder.finish(Zxid(1)).unwrap())
    }

    fn expected_of(read: &Read<'_>, world: &Still) -> Option<usize> {
        let mut body = Vec::new();
        read.encode(&mut body);
        expected(read.op(), &Bytes::from(body), world)
    }

    #[test]
    fn what_is_sent_through_the_node_is_of_known_and_bounded_size() {
        let world = world();
        let get = |path: &'static str| Read::GetData { path: path.into(), watch: true };
        let list = |path: &'static str| Read::GetChildren { path: path.into(), watch: false, stat: true };
        assert_eq!(expected_of(&get("/small"), &world), Some(100 + ANSWER_USUAL), "its data");
        assert_eq!(expected_of(&get("/large"), &world), Some(100_000 + ANSWER_USUAL), "above what is sent");
        assert_eq!(expected_of(&get("/none"), &world), Some(ANSWER_USUAL), "an error");
        assert_eq!(expected_of(&list("/wide"), &world), None, "answered in pieces, by the connection");
        assert!(expected_of(&list("/"), &world).is_some(), "a short list");
        assert_eq!(expected_of(&Read::SetWatches(SetWatches::default()), &world), None, "events come with it");
        assert_eq!(expected(OpCode::Ping, b"", &world), Some(ANSWER_USUAL), "a ping");
        assert_eq!(expected(OpCode::SetData, b"", &world), None, "a write");
    }
}
