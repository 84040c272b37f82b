//! What the model does with each request, and how its answers look on the wire.

use bytes::Bytes;
use gk_proto::answer::Answer;
use gk_proto::jute::Write as _;
use gk_proto::multi::{self, Outcome, ReadOp, ReadOutcome};
use gk_proto::op::{CreateMode, OpCode};
use gk_proto::request::{Create, Read, SetWatches, Write};
use gk_proto::watch::{AddWatchMode, EventType, WatcherType};
use gk_proto::{ConnId, ErrorCode, Xid, reply};

use crate::ensemble::{Conn, Ensemble, Mode, Table};
use crate::history::{Change, History, Tree, parent};

/// Below it nobody may read.
pub(crate) const DENIED: &str = "/denied";

/// The tag that goes behind a path.
pub(crate) fn tagged(path: &str, tag: u32) -> String {
    format!("{path}#{tag}")
}

/// Path and tag.
fn untagged(path: &str) -> (&str, u32) {
    let (path, tag) = path.rsplit_once('#').expect("a tag");
    (path, tag.parse().expect("a number"))
}

/// Without the tag, if there is one: only the first operation of a multi has it.
fn bare(path: &str) -> &str {
    path.rsplit_once('#').map_or(path, |(path, _)| path)
}

impl Ensemble {
    pub(crate) fn request(&mut self, id: ConnId, xid: Xid, op: i32, body: &Bytes) {
        let op = OpCode::from_code(op).expect("an operation");
        if op == OpCode::Ping {
            let zxid = self.zxid_of(id);
            return self.conns.get_mut(&id).unwrap().write(|out| reply::encode_bare(xid, zxid, ErrorCode::Ok, out));
        }
        if let Some(read) = Read::decode(op, body) {
            return self.read(id, xid, &read.expect("a read"));
        }
        let write = Write::decode(op, body).expect("a write").expect("a body");
        self.write(id, xid, &write);
    }

    fn zxid_of(&self, id: ConnId) -> i64 {
        History::zxid(self.servers[self.conns[&id].server].applied)
    }

    fn read(&mut self, id: ConnId, xid: Xid, read: &Read<'_>) {
        let zxid = self.zxid_of(id);
        let conn = self.conns.get_mut(&id).unwrap();
        let tree = &self.servers[conn.server].tree;
        let (tag, result) = match read {
            Read::Exists { path, watch } => {
                let (path, tag) = untagged(path);
                let found = allowed(path).and_then(|()| tree.stat(path).ok_or(ErrorCode::NoNode.code()));
                if *watch && matches!(found, Ok(_) | Err(-101)) {
                    conn.watches.set(Table::Data, path, zxid);
                }
                (tag, found.map(Answer::Stat))
            }
            Read::GetData { path, watch } => {
                let (path, tag) = untagged(path);
                let found = allowed(path).and_then(|()| data(tree, path));
                if *watch && found.is_ok() {
                    conn.watches.set(Table::Data, path, zxid);
                }
                (tag, found)
            }
            Read::GetChildren { path, watch, stat } => {
                let (path, tag) = untagged(path);
                let found = allowed(path).and_then(|()| children(tree, path, *stat));
                if *watch && found.is_ok() {
                    conn.watches.set(Table::Child, path, zxid);
                }
                (tag, found)
            }
            Read::AddWatch { path, mode } => {
                let (path, tag) = untagged(path);
                let table = match AddWatchMode::from_code(*mode).expect("a mode") {
                    AddWatchMode::Persistent => Table::Persistent,
                    AddWatchMode::PersistentRecursive => Table::Recursive,
                };
                conn.watches.set(table, path, zxid);
                (tag, Ok(Answer::None))
            }
            Read::MultiRead(ops) => multi_read(tree, ops),
            Read::Watches { path, kind, remove } => {
                assert!(*remove, "the session asks for no checkWatches");
                let code = if conn.remove_watch(path, *kind) { ErrorCode::Ok } else { ErrorCode::NoWatcher };
                return conn.write(|out| reply::encode_bare(xid, zxid, code, out));
            }
            Read::SetWatches(list) => {
                conn.catch_up(tree, zxid, list);
                return conn.write(|out| reply::encode_bare(xid, zxid, ErrorCode::Ok, out));
            }
            Read::GetAcl { .. } | Read::GetAllChildrenNumber { .. } | Read::GetEphemerals { .. } | Read::WhoAmI => {
                panic!("the program does not ask for {read:?}")
            }
        };
        self.answer(id, xid, tag, zxid, result, false);
    }

    fn write(&mut self, id: ConnId, xid: Xid, write: &Write) {
        if let Write::Sync { path } = write {
            let path = path.clone().expect("a path");
            let tag = untagged(&path).1;
            return self.sync(id, xid, tag, path);
        }
        let conn = &self.conns[&id];
        let session = conn.session.expect("a session");
        let is_read_only = self.servers[conn.server].mode == Mode::ReadOnly;
        if !self.owns_session(id) {
            return self.refuse_moved(id);
        }
        if *write == Write::CloseSession {
            if is_read_only {
                self.sessions.remove(&session);
                return self.refuse_moved(id);
            }
            return self.end_session(id, xid, session);
        }
        let tag = tag_of(write);
        if is_read_only {
            let zxid = self.zxid_of(id);
            return self.answer(id, xid, tag, zxid, Err(ErrorCode::NotReadOnly.code()), false);
        }
        let (changes, result) = check(&self.history, session.wire(), write);
        self.commit(id, xid, Some(tag), changes, |head| result.map(|done| done.told(head)));
    }
}

/// A checked write, before the stats of its reply are known.
enum Done {
    Created(String),
    Set(String),
    Deleted,
    Multi(Vec<Outcome>),
}

impl Done {
    fn told(self, head: &Tree) -> Answer {
        match self {
            Self::Created(path) => {
                let stat = head.stat(&path).unwrap();
                Answer::PathStat(path, stat)
            }
            Self::Set(path) => Answer::Stat(head.stat(&path).unwrap()),
            Self::Deleted => Answer::None,
            Self::Multi(outcomes) => Answer::Multi(outcomes),
        }
    }
}

fn tag_of(write: &Write) -> u32 {
    match write {
        Write::Create(Create { path, .. })
        | Write::Delete { path, .. }
        | Write::SetData { path, .. }
        | Write::Check { path, .. } => untagged(path).1,
        Write::Multi(ops) => tag_of(&ops[0]),
        Write::SetAcl { .. } | Write::Sync { .. } | Write::Reconfig { .. } | Write::CloseSession => {
            panic!("the program does not ask for {write:?}")
        }
    }
}

/// The changes of a write as far as they are allowed, and what is answered.
fn check(history: &History, session: i64, write: &Write) -> (Vec<Change>, Result<Done, i32>) {
    let Write::Multi(ops) = write else {
        return match check_one(&history.head, session, write) {
            Ok((change, done)) => (change.into_iter().collect(), Ok(done)),
            Err(code) => (Vec::new(), Err(code.code())),
        };
    };
    let mut tree = history.head.clone();
    let zxid = History::zxid(history.len() + 1);
    let (mut changes, mut outcomes) = (Vec::new(), Vec::new());
    for (at, op) in ops.iter().enumerate() {
        match check_one(&tree, session, op) {
            Ok((change, done)) => {
                change.iter().for_each(|change| tree.apply(zxid, change));
                changes.extend(change);
                outcomes.push(match (op, done.told(&tree)) {
                    (Write::Create(_), Answer::PathStat(path, stat)) => Outcome::Create2(path, stat),
                    (Write::SetData { .. }, Answer::Stat(stat)) => Outcome::SetData(stat),
                    (Write::Check { .. }, _) => Outcome::Check,
                    _ => Outcome::Delete,
                });
            }
            Err(code) => {
                let mut failed = vec![Outcome::Error(ErrorCode::RuntimeInconsistency); ops.len()];
                failed[..at].fill(Outcome::Error(ErrorCode::Ok));
                failed[at] = Outcome::Error(code);
                return (Vec::new(), Ok(Done::Multi(failed)));
            }
        }
    }
    (changes, Ok(Done::Multi(outcomes)))
}

fn check_one(tree: &Tree, session: i64, write: &Write) -> Result<(Option<Change>, Done), ErrorCode> {
    match write {
        Write::Create(Create { path, data, flags, .. }) => {
            let path = bare(path).to_owned();
            let above = tree.nodes.get(parent(&path)).ok_or(ErrorCode::NoNode)?;
            if above.owner != 0 {
                return Err(ErrorCode::NoChildrenForEphemerals);
            }
            if tree.nodes.contains_key(&path) {
                return Err(ErrorCode::NodeExists);
            }
            let is_ephemeral = CreateMode::from_flags(*flags).is_some_and(CreateMode::is_ephemeral);
            let owner = if is_ephemeral { session } else { 0 };
            let data = data.clone().unwrap_or_default().to_vec();
            Ok((Some(Change::Create { path: path.clone(), data, owner }), Done::Created(path)))
        }
        Write::Delete { path, version } => {
            let path = bare(path);
            check_version(tree, path, *version)?;
            if !tree.children(path).is_empty() {
                return Err(ErrorCode::NotEmpty);
            }
            Ok((Some(Change::Delete { path: path.to_owned() }), Done::Deleted))
        }
        Write::SetData { path, data, version } => {
            let path = bare(path).to_owned();
            check_version(tree, &path, *version)?;
            let data = data.clone().unwrap_or_default().to_vec();
            Ok((Some(Change::SetData { path: path.clone(), data }), Done::Set(path)))
        }
        Write::Check { path, version } => {
            check_version(tree, bare(path), *version)?;
            Ok((None, Done::Deleted))
        }
        Write::SetAcl { .. } | Write::Multi(_) | Write::Sync { .. } | Write::Reconfig { .. } | Write::CloseSession => {
            panic!("the program does not ask for {write:?}")
        }
    }
}

fn check_version(tree: &Tree, path: &str, version: i32) -> Result<(), ErrorCode> {
    let stat = tree.stat(path).filter(|_| path != "/").ok_or(ErrorCode::NoNode)?;
    if version != -1 && version != stat.version { Err(ErrorCode::BadVersion) } else { Ok(()) }
}

fn allowed(path: &str) -> Result<(), i32> {
    if path == DENIED { Err(ErrorCode::NoAuth.code()) } else { Ok(()) }
}

fn data(tree: &Tree, path: &str) -> Result<Answer, i32> {
    let stat = tree.stat(path).ok_or(ErrorCode::NoNode.code())?;
    Ok(Answer::Data(Some(Bytes::from(tree.nodes[path].data.clone())), stat))
}

fn children(tree: &Tree, path: &str, with_stat: bool) -> Result<Answer, i32> {
    let stat = tree.stat(path).ok_or(ErrorCode::NoNode.code())?;
    let names: Vec<String> = tree.children(path).into_iter().map(str::to_owned).collect();
    Ok(if with_stat { Answer::ChildrenStat(names, stat) } else { Answer::Children(names) })
}

fn multi_read(tree: &Tree, ops: &[ReadOp<'_>]) -> (u32, Result<Answer, i32>) {
    let first = match &ops[0] {
        ReadOp::GetData { path } | ReadOp::GetChildren { path } => untagged(path).1,
    };
    let outcome = |op: &ReadOp<'_>| {
        let found = match op {
            ReadOp::GetData { path } => data(tree, bare(path)),
            ReadOp::GetChildren { path } => children(tree, bare(path), false),
        };
        match found {
            Ok(Answer::Data(data, stat)) => ReadOutcome::Data(data, stat),
            Ok(Answer::Children(names)) => ReadOutcome::Children(names),
            Ok(_) => unreachable!("neither data nor children"),
            Err(code) => ReadOutcome::Error(ErrorCode::from_code(code).unwrap()),
        }
    };
    (first, Ok(Answer::MultiRead(ops.iter().map(outcome).collect())))
}

impl Conn {
    /// Semantics §8, line by line.
    fn catch_up(&mut self, tree: &Tree, zxid: i64, list: &SetWatches<'_>) {
        let since = list.relative_zxid;
        for path in &list.data {
            match tree.nodes.get(&**path) {
                None => self.event(-1, EventType::NodeDeleted, path),
                Some(node) if node.mzxid > since => self.event(-1, EventType::NodeDataChanged, path),
                Some(_) => self.watches.set(Table::Data, path, zxid),
            }
        }
        self.watches.pieces += 1;
        for path in &list.exist {
            self.watches.for_creation.insert(path.to_string());
            match tree.nodes.get(&**path) {
                None => self.watches.set(Table::Data, path, zxid),
                Some(_) => self.event(-1, EventType::NodeCreated, path),
            }
        }
        for path in &list.child {
            match tree.nodes.get(&**path) {
                None => self.event(-1, EventType::NodeDeleted, path),
                Some(node) if node.pzxid > since => self.event(-1, EventType::NodeChildrenChanged, path),
                Some(_) => self.watches.set(Table::Child, path, zxid),
            }
        }
        for path in &list.persistent {
            self.watches.set(Table::Persistent, path, zxid);
        }
        for path in &list.recursive {
            self.watches.set(Table::Recursive, path, zxid);
        }
    }
}

impl Conn {
    fn remove_watch(&mut self, path: &str, kind: i32) -> bool {
        let table = match WatcherType::from_code(kind).expect("a kind") {
            WatcherType::Children => Table::Child,
            WatcherType::Data => Table::Data,
            WatcherType::Persistent => Table::Persistent,
            WatcherType::PersistentRecursive => Table::Recursive,
            WatcherType::Any => panic!("the session removes one kind at a time"),
        };
        self.watches.take(table, path)
    }
}

/// The body of a reply.
pub(crate) fn encode(answer: &Answer, out: &mut Vec<u8>) {
    match answer {
        Answer::None => {}
        Answer::PathStat(path, stat) => {
            out.put_text(path);
            stat.encode(out);
        }
        Answer::Stat(stat) => stat.encode(out),
        Answer::Data(data, stat) => {
            out.put_buffer(data.as_deref());
            stat.encode(out);
        }
        Answer::Children(names) => put_names(names, out),
        Answer::ChildrenStat(names, stat) => {
            put_names(names, out);
            stat.encode(out);
        }
        Answer::Sync(path) => out.put_string(path.as_deref()),
        Answer::Multi(outcomes) => {
            outcomes.iter().for_each(|outcome| outcome.encode(out));
            multi::encode_end(out);
        }
        Answer::MultiRead(outcomes) => {
            outcomes.iter().for_each(|outcome| put_read(outcome, out));
            multi::encode_end(out);
        }
        Answer::Path(_)
        | Answer::Acl(..)
        | Answer::Number(_)
        | Answer::Paths(_)
        | Answer::ClientInfo(_)
        | Answer::Token(_) => panic!("the model does not answer {answer:?}"),
    }
}

fn put_names(names: &[String], out: &mut Vec<u8>) {
    out.put_count(names.len());
    names.iter().for_each(|name| out.put_text(name));
}

fn put_read(outcome: &ReadOutcome, out: &mut Vec<u8>) {
    match outcome {
        ReadOutcome::Data(data, stat) => {
            multi::encode_header(OpCode::GetData.code(), false, 0, out);
            out.put_buffer(data.as_deref());
            stat.encode(out);
        }
        ReadOutcome::Children(names) => {
            multi::encode_header(OpCode::GetChildren.code(), false, 0, out);
            put_names(names, out);
        }
        ReadOutcome::Error(code) => reply::encode_multi_error(*code, out),
        ReadOutcome::UnknownError(code) => panic!("the model knows no error {code}"),
    }
}
