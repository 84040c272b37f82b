//! Answers to reads, encoded straight from the tree (ZooKeeper `FinalRequestProcessor`).

use gk_proto::acl::{self, perm};
use gk_proto::jute::Write as _;
use gk_proto::multi::{self, ReadOp};
use gk_proto::op::OpCode;
use gk_proto::request::{Read, SetWatches};
use gk_proto::watch::{self, AddWatchMode, EventType, WatcherType};
use gk_proto::{ErrorCode, Xid, Zxid, reply};
use gk_tree::{NodeRef, WatchKind};

use super::listing::{self, Listing};
use super::{Conn, World};

/// Paths that one connection may watch; at this many it is closed. A client that needs more has lost count.
const WATCHED_PATHS_MAX: usize = 4_000_000;

impl Conn {
    /// Answers a read; false if the operation is none.
    pub(super) fn read(&mut self, xid: Xid, op: OpCode, payload: &[u8], world: &impl World, out: &mut Vec<u8>) -> bool {
        let Some(request) = Read::decode(op, payload) else { return false };
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
            self.listing = Some(Box::new(Listing::new(xid, path, *watch, *stat)));
            self.advance_listing(world, out);
            return true;
        }
        let start = out.len();
        reply::frame(out, |out| {
            reply::encode_header(xid, zxid, ErrorCode::Ok, out);
            if let Err(code) = self.body(&request, world, out) {
                // An error has no body: what was begun is taken back.
                out.truncate(start + 4);
                reply::encode_header(xid, zxid, code, out);
            }
        });
        self.stats.sent += 1;
        true
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
            Read::GetAcl { path } => {
                let node = world.tree().find(path).ok_or(ErrorCode::NoNode)?;
                if !self.rules.allows(node.acl(), perm::READ | perm::ADMIN, &self.ids) {
                    return Err(ErrorCode::NoAuth);
                }
                acl::encode(&self.rules.masked(node.acl(), &self.ids), out);
                node.stat().encode(out);
            }
            Read::GetAllChildrenNumber { path } => {
                let node = self.readable(path, world)?;
                out.put_count(node.descendants());
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
                    if *remove { watches.remove(self.id, path, kind) } else { watches.contains(self.id, path, kind) }
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

    /// The node, if it is there and may be read.
    pub(super) fn readable<'w>(&self, path: &str, world: &'w impl World) -> Result<NodeRef<'w>, ErrorCode> {
        let node = world.tree().find(path).ok_or(ErrorCode::NoNode)?;
        if self.rules.allows(node.acl(), perm::READ, &self.ids) { Ok(node) } else { Err(ErrorCode::NoAuth) }
    }

    pub(super) fn watch(&mut self, path: &str, kind: WatchKind, world: &impl World) {
        let watched = world.watches(|watches| {
            watches.add(self.id, path, kind);
            watches.path_count(self.id)
        });
        if watched > WATCHED_PATHS_MAX {
            self.close();
        }
    }

    fn encode_ephemerals(&self, prefix: Option<&str>, world: &impl World, out: &mut Vec<u8>) {
        let prefix = prefix.filter(|prefix| !prefix.trim().is_empty() && *prefix != "/").unwrap_or_default();
        let start = out.len();
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
                None => kept.push((WatchKind::Data, path)),
                Some(_) => missed.push((EventType::NodeCreated, path)),
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
