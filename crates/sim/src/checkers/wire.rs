//! What one connection was asked and what it answered, read from the bytes that the server took and gave.
//!
//! - I15, I23, I25: every answer is exactly that of the version that its zxid names, for who asks;
//! - I18: answers come in the order of the requests, and writes take effect in it;
//! - I19: zxids of answers do not go back;
//! - I20: the answer to a sync names a txn no older than what anybody had been told when the sync arrived;
//! - I21: see `watching`.

use std::collections::VecDeque;

use bytes::Bytes;
use gk_node::auth::{DigestAlgorithm, DigestScheme, Scheme as _};
use gk_proto::acl::Id;
use gk_proto::answer::Answer;
use gk_proto::connect::{ConnectRequest, ConnectResponse};
use gk_proto::jute::Reader;
use gk_proto::multi::ReadOutcome;
use gk_proto::op::OpCode;
use gk_proto::request::{self, AuthPacket, HEADER_LEN, Read, Write};
use gk_proto::txn::Txn;
use gk_proto::watch::{EventType, WatcherEvent};
use gk_proto::{ConnId, ErrorCode, SessionId, Xid, Zxid, reply};

use super::watching::Watching;
use crate::model::{Change, Model, Verdict};
use crate::spec::{self, Asker, Draft};

const DIGEST: DigestScheme = DigestScheme { super_digest: None, algorithm: DigestAlgorithm::Sha1 };

/// One request that has no answer yet.
#[derive(Debug)]
struct Asked {
    xid: Xid,
    op: OpCode,
    body: Bytes,
    /// The last txn that anybody had been told of when it arrived.
    revealed: Zxid,
    /// How many ids those auths that came before it had earned: an auth that overtakes it does not count for it.
    ids: usize,
}

/// One connection, seen from outside.
#[derive(Debug)]
pub(crate) struct Tap {
    conn: ConnId,
    input: Vec<u8>,
    hello: Option<ConnectRequest>,
    greeted: bool,
    pending: VecDeque<Asked>,
    /// What it is and may be told: ids that were earned and answered.
    asker: Asker,
    /// All ids that were earned, answered or not.
    earned: Vec<Id>,
    last_zxid: Zxid,
    /// Zxid of the last write that was answered as a txn.
    last_write: Zxid,
    watching: Watching,
    /// Txns up to this one have been turned into events that are expected.
    fired: Zxid,
    /// The ids from the changes behind a txn on.
    later_ids: VecDeque<(Zxid, Vec<Id>)>,
    expected: VecDeque<(Zxid, EventType, String)>,
    caught_up: Vec<(EventType, String)>,
    inline_deletes: usize,
}

/// What the wire says that others must know.
#[derive(Debug)]
pub(crate) enum Said {
    /// A handshake was answered.
    Greeted(ConnectRequest, ConnectResponse),
    /// A txn has shown.
    Revealed(Zxid),
}

/// What a reply may depend on besides the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    /// Hard quotas refuse.
    pub(crate) quotas: bool,
    /// The disk was full at some time of this life of the server.
    pub(crate) was_full: bool,
    /// Longest record that may be logged.
    pub(crate) record_max: usize,
    /// The end of a session with more ephemeral nodes than this takes effect at once and is swept later.
    pub(crate) inline_deletes: usize,
}

impl Tap {
    pub(crate) fn new(conn: ConnId, ip: Id, how: Circumstances) -> Self {
        Self {
            conn,
            input: Vec::new(),
            hello: None,
            greeted: false,
            pending: VecDeque::new(),
            asker: Asker { session: SessionId::NONE, ids: vec![ip.clone()] },
            earned: vec![ip],
            last_zxid: Zxid::ZERO,
            last_write: Zxid::ZERO,
            watching: Watching::default(),
            fired: Zxid::ZERO,
            later_ids: VecDeque::new(),
            expected: VecDeque::new(),
            caught_up: Vec::new(),
            inline_deletes: how.inline_deletes,
        }
    }

    /// Its session, once there is one.
    pub(crate) fn session(&self) -> Option<SessionId> {
        (self.asker.session != SessionId::NONE).then_some(self.asker.session)
    }

    /// The server took these bytes.
    pub(crate) fn taken(&mut self, bytes: &[u8], revealed: Zxid) {
        self.input.extend_from_slice(bytes);
        while let Some(length) = self.input.first_chunk().map(|length| i32::from_be_bytes(*length)) {
            let Some(length) = usize::try_from(length).ok().filter(|length| self.input.len() >= 4 + length) else {
                break;
            };
            let frame: Vec<u8> = self.input.drain(..4 + length).skip(4).collect();
            if self.hello.is_none() {
                self.hello = ConnectRequest::decode(&frame).ok();
                continue;
            }
            let Ok(header) = request::Header::decode(&mut Reader::new(&frame)) else { continue };
            let Some(op) = OpCode::from_code(header.op) else { continue };
            let body = Bytes::from(frame).slice(HEADER_LEN..);
            if op == OpCode::Auth {
                self.earn(&body);
            }
            let ids = self.earned.len();
            self.pending.push_back(Asked { xid: header.xid, op, body, revealed, ids });
        }
    }

    /// The server gave these bytes, whole frames. While it did, it looked at the tree of `at`: all events up to there
    /// must have been given, but for those that wait for the answer to a write; they come before or right behind it.
    pub(crate) fn given(
        &mut self,
        bytes: &[u8],
        model: &Model,
        (at, how): (Zxid, Circumstances),
        said: &mut Vec<Said>,
    ) -> Verdict {
        self.frames(bytes, model, (at, how), said)?;
        if !self.greeted {
            return Ok(());
        }
        // A read ahead of a write may have its place before `at`, and set a watch there.
        if self.pending.iter().any(|asked| asked.op.is_write()) {
            return Ok(());
        }
        self.fire(model, at);
        match self.expected.front().filter(|(of, ..)| *of <= at) {
            Some(late) => Err(format!("{:?}: I21 event {late:?} is not told at {at:?}", self.conn)),
            None => Ok(()),
        }
    }

    fn frames(
        &mut self,
        mut bytes: &[u8],
        model: &Model,
        (at, how): (Zxid, Circumstances),
        said: &mut Vec<Said>,
    ) -> Verdict {
        while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
            let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let (frame, behind) =
                rest.split_at_checked(length).ok_or_else(|| format!("{:?}: half a frame was given", self.conn))?;
            bytes = behind;
            self.frame(frame, model, (at, how), said).map_err(|what| format!("{:?}: {what}", self.conn))?;
        }
        Ok(())
    }

    fn frame(
        &mut self,
        frame: &[u8],
        model: &Model,
        (at, how): (Zxid, Circumstances),
        said: &mut Vec<Said>,
    ) -> Verdict {
        if !self.greeted {
            self.greeted = true;
            let response = ConnectResponse::decode(frame).map_err(|error| format!("I18 handshake: {error}"))?;
            let hello = self.hello.clone().ok_or("I18 a handshake answered that was not asked")?;
            self.asker.session = response.session;
            said.push(Said::Greeted(hello, response));
            return Ok(());
        }
        let header = reply::Header::decode(&mut Reader::new(frame)).map_err(|error| format!("I18 {error}"))?;
        let body = frame.get(reply::HEADER_LEN..).unwrap_or_default();
        if header.xid == Xid::NOTIFICATION {
            return self.event(header.zxid, body, model, said);
        }
        let asked = self.asked(header.xid)?;
        if asked.op == OpCode::Auth {
            return self.authenticated(&asked, header.err, at);
        }
        let zxid = Zxid::from_wire(header.zxid);
        if header.zxid < 0 || zxid > model.last() {
            return Err(format!("I23 {:?} answered at {zxid:?}, applied is {:?}", asked.op, model.last()));
        }
        if zxid < self.last_zxid {
            return Err(format!("I19 {:?} answered at {zxid:?} after {:?}", asked.op, self.last_zxid));
        }
        self.last_zxid = zxid;
        said.push(Said::Revealed(zxid));
        self.fire(model, zxid);
        if let Some(missed) = self.expected.front().filter(|(at, ..)| *at <= zxid) {
            return Err(format!("I21 {:?} answered at {zxid:?} before event {missed:?}", asked.op));
        }
        self.answer(&asked, header.err, zxid, body, model, how)
    }

    /// The request that this reply is for: the oldest; only auth overtakes.
    fn asked(&mut self, xid: Xid) -> Result<Asked, String> {
        let is_auth = xid == Xid::AUTH;
        let at = self.pending.iter().position(|asked| (asked.op == OpCode::Auth) == is_auth);
        let asked = at.and_then(|at| self.pending.remove(at));
        match asked {
            Some(asked) if asked.xid == xid => Ok(asked),
            other => Err(format!("I18 an answer to {xid:?} while {other:?} is the oldest request")),
        }
    }

    fn authenticated(&mut self, asked: &Asked, err: i32, at: Zxid) -> Verdict {
        let packet = AuthPacket::decode(&asked.body).map_err(|error| format!("I25 {error}"))?;
        let is_known = packet.scheme.as_deref() == Some(DIGEST.name());
        if is_known != (err == 0) {
            return Err(format!("I25 scheme {:?} answered with {err}", packet.scheme));
        }
        let told = self.earned.get(..asked.ids).unwrap_or_default();
        // What fired before is held against the ids of before.
        self.later_ids.push_back((at, told.to_vec()));
        Ok(())
    }

    /// An auth has come: what is asked after it may count on what it earns.
    fn earn(&mut self, body: &[u8]) {
        let Ok(packet) = AuthPacket::decode(body) else { return };
        let is_known = packet.scheme.as_deref() == Some(DIGEST.name());
        let remote = core::net::IpAddr::from([127, 0, 0, 1]);
        for id in DIGEST.authenticate(remote, packet.auth).filter(|_| is_known).into_iter().flatten() {
            if !self.earned.contains(&id) {
                self.earned.push(id);
            }
        }
    }

    /// Who asked that, with the ids of then.
    fn asker(&self, asked: &Asked) -> Asker {
        let ids = self.earned.get(..asked.ids).unwrap_or_default();
        Asker { session: self.asker.session, ids: ids.to_vec() }
    }

    /// Turns changes up to a txn into events that must come.
    fn fire(&mut self, model: &Model, upto: Zxid) {
        while let Some((at, ids)) = self.later_ids.pop_front_if(|(at, _)| *at <= upto) {
            self.fire_with_ids(model, at);
            self.asker.ids = ids;
        }
        self.fire_with_ids(model, upto);
    }

    /// The same while the ids stay.
    fn fire_with_ids(&mut self, model: &Model, upto: Zxid) {
        if upto <= self.fired {
            return;
        }
        let after = std::mem::replace(&mut self.fired, upto);
        if self.watching.is_empty() {
            return;
        }
        let changes: Vec<(Zxid, &Change)> = model.changes(after, upto).collect();
        for of_one in changes.chunk_by(|(one, _), (next, _)| one == next) {
            let Some((zxid, _)) = of_one.first() else { continue };
            let events = if self.is_swept(model, *zxid) {
                self.watching.fire_dead(of_one, &self.asker.ids)
            } else {
                of_one.iter().flat_map(|(_, change)| self.watching.fire(change, &self.asker.ids)).collect()
            };
            self.expected.extend(events.into_iter().map(|(kind, path)| (*zxid, kind, path)));
        }
    }

    /// Whether a txn ended a session whose nodes are swept later: then each parent is told once, after all nodes.
    fn is_swept(&self, model: &Model, zxid: Zxid) -> bool {
        let is_close = model.txn(zxid).is_some_and(|logged| matches!(logged.txn, Txn::CloseSession { .. }));
        is_close && model.changes(Zxid(zxid.0 - 1), zxid).count() > self.inline_deletes
    }

    fn event(&mut self, zxid: i64, body: &[u8], model: &Model, said: &mut Vec<Said>) -> Verdict {
        let event = WatcherEvent::decode(body).map_err(|error| format!("I21 {error}"))?;
        if zxid == -1 {
            self.caught_up.push((event.kind, event.path));
            return Ok(());
        }
        let zxid = Zxid::from_wire(zxid);
        if zxid > model.last() {
            return Err(format!("I23 event {event:?} of {zxid:?}, applied is {:?}", model.last()));
        }
        said.push(Said::Revealed(zxid));
        self.fire(model, zxid);
        // A session that ends without a list of its nodes lets them go in an order of the server's own.
        let unlisted = model.txn(zxid).is_some_and(|logged| matches!(logged.txn, Txn::CloseSession { paths: None }))
            || self.is_swept(model, zxid);
        let is_it = |(at, kind, path): &(Zxid, EventType, String)| {
            (*at, *kind, path.as_str()) == (zxid, event.kind, event.path.as_str())
        };
        let at = match self.expected.front() {
            Some(first) if is_it(first) => Some(0),
            Some((at, ..)) if *at == zxid && unlisted => self.expected.iter().position(is_it),
            Some(_) | None => None,
        };
        match at.and_then(|at| self.expected.remove(at)) {
            Some(_) => Ok(()),
            None => Err(format!("I21 event {event:?} of {zxid:?}, expected is {:?}", self.expected.front())),
        }
    }

    fn answer(
        &mut self,
        asked: &Asked,
        err: i32,
        zxid: Zxid,
        body: &[u8],
        model: &Model,
        how: Circumstances,
    ) -> Verdict {
        let told = if err == 0 {
            Ok(Answer::decode(asked.op, body).map_err(|error| format!("I18 answer to {:?}: {error}", asked.op))?)
        } else {
            Err(err)
        };
        if let Some(read) = Read::decode(asked.op, &asked.body) {
            let read = read.map_err(|error| format!("I18 {error}"))?;
            return self.read(&self.asker(asked), &read, told, zxid, model);
        }
        match Write::decode(asked.op, &asked.body) {
            Some(Ok(Write::Sync { .. })) if zxid < asked.revealed => {
                Err(format!("I20 a sync answered at {zxid:?}, {:?} had been told", asked.revealed))
            }
            Some(Ok(Write::Sync { .. } | Write::CloseSession)) | None => Ok(()),
            Some(Ok(write)) => self.write(asked, &write, told, zxid, model, how),
            Some(Err(error)) => Err(format!("I18 {error}")),
        }
    }

    fn read(
        &mut self,
        asker: &Asker,
        read: &Read<'_>,
        told: Result<Answer, i32>,
        zxid: Zxid,
        model: &Model,
    ) -> Verdict {
        if let Read::SetWatches(list) = read {
            let expected = self.watching.catch_up(model, zxid, list);
            let told = std::mem::take(&mut self.caught_up);
            let right = told == expected;
            return if right { Ok(()) } else { Err(format!("I21 caught up with {told:?}, expected {expected:?}")) };
        }
        if !self.caught_up.is_empty() {
            return Err(format!("I21 caught up with {:?} unasked", self.caught_up));
        }
        let err = told.as_ref().err().copied().unwrap_or_default();
        let expected = match read {
            Read::Watches { path, kind, .. } if !self.watching.has(path, *kind) => Err(ErrorCode::NoWatcher),
            Read::Exists { .. }
            | Read::GetData { .. }
            | Read::GetChildren { .. }
            | Read::GetAcl { .. }
            | Read::GetAllChildrenNumber { .. }
            | Read::GetEphemerals { .. }
            | Read::WhoAmI
            | Read::Watches { .. }
            | Read::AddWatch { .. }
            | Read::SetWatches(_)
            | Read::MultiRead(_) => spec::read(model, zxid, read, asker),
        };
        if told.map(sorted) != expected.clone().map(sorted).map_err(ErrorCode::code) {
            return Err(format!("I23 {read:?} answered at {zxid:?} with {err}, and not with {expected:?}"));
        }
        self.watching.answered(read, err);
        Ok(())
    }

    fn write(
        &mut self,
        asked: &Asked,
        write: &Write,
        told: Result<Answer, i32>,
        zxid: Zxid,
        model: &Model,
        how: Circumstances,
    ) -> Verdict {
        let logged = model.txn(zxid).filter(|logged| {
            (logged.header.session, logged.header.cxid) == (self.asker.session, asked.xid)
                && !matches!(logged.txn, Txn::CreateSession { .. } | Txn::CloseSession { .. })
        });
        let Some(logged) = logged else {
            // Without a txn of its own: undecodable or too long, of a session that has ended, or no room on the disk.
            let right = match told {
                Err(-112) => true,
                Err(-1) => how.was_full,
                Err(-5) => asked.body.len() + 200 > how.record_max,
                _ => false,
            };
            return if right {
                Ok(())
            } else {
                Err(format!("I9 {write:?} answered at {zxid:?} with {told:?}, no txn"))
            };
        };
        if zxid <= self.last_write {
            return Err(format!("I18 write {:?} is {zxid:?}, the one before {:?}", asked.xid, self.last_write));
        }
        self.last_write = zxid;
        let asker = self.asker(asked);
        let quotas = how.quotas.then(|| model.decided_after(zxid));
        let expected =
            Draft::new(model, zxid, logged.header.time, &asker, quotas).answer(write).map_err(ErrorCode::code);
        if expected == told {
            return Ok(());
        }
        Err(format!("I22 {write:?} answered at {zxid:?} with {told:?}, and not with {expected:?}"))
    }
}

/// Names and ids come in no order.
fn sorted(mut answer: Answer) -> Answer {
    match &mut answer {
        Answer::Children(names) | Answer::ChildrenStat(names, _) | Answer::Paths(names) => names.sort_unstable(),
        Answer::ClientInfo(list) => list.sort_by(|a, b| (&a.scheme, &a.user).cmp(&(&b.scheme, &b.user))),
        Answer::MultiRead(outcomes) => outcomes.iter_mut().for_each(|outcome| {
            if let ReadOutcome::Children(names) = outcome {
                names.sort_unstable();
            }
        }),
        Answer::None
        | Answer::Path(_)
        | Answer::PathStat(..)
        | Answer::Stat(_)
        | Answer::Data(..)
        | Answer::Acl(..)
        | Answer::Sync(_)
        | Answer::Number(_)
        | Answer::Multi(_)
        | Answer::Token(_) => {}
    }
    answer
}
