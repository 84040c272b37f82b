//! What must hold, asked from outside of the servers: from txns at the seam between node and log, bytes at the sockets,
//! trees that were recovered, and what the disk would give back.

pub(crate) mod watching;
pub(crate) mod wire;
pub(crate) mod linearize;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use gk_node::Delivery;
use gk_proto::connect::{ConnectRequest, ConnectResponse, Password};
use gk_proto::txn::{CreateKind, LoggedTxn, Txn};
use gk_proto::{ConnId, Instant, SessionId, Zxid};
use gk_tree::Tree;

use crate::model::{Model, Verdict};
use wire::{Circumstances, Said, Tap};

/// The first thing that was wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Violation {
    /// Number of the invariant (hazards §2), or what else was asked.
    pub(crate) invariant: String,
    /// What was seen.
    pub(crate) what: String,
}

/// What is known of a session.
#[derive(Clone, Debug)]
struct Facts {
    password: Option<Password>,
    timeout_ms: i32,
    /// On the clock of this life of the server.
    heard: Instant,
    /// The same, as of when the node last asked who was heard: what is heard right after that may come too late.
    counted: Instant,
    closing: bool,
    /// The connection that was told of it last.
    owner: Option<ConnId>,
}

/// What a directory held at some time: txns that were applied, and others of which any number may be there.
#[derive(Debug)]
pub(crate) struct Past {
    model: Model,
    proposed: BTreeMap<Zxid, LoggedTxn>,
    sessions: BTreeMap<SessionId, Facts>,
}

/// Everything that is known of the servers from outside.
///
/// - I9, I14, I30: whatever was shown to anybody, or applied, is there after each recovery, in every field;
/// - I16: ids of sessions are new, passwords are asked for, nobody expires early;
/// - I13, I17, I24, I27: see [`Model::apply`] and [`Model::compare`].
#[derive(Debug)]
pub(crate) struct Checker {
    pub(crate) model: Model,
    pub(crate) how: Circumstances,
    /// Txns that the node handed to the log and that are not yet applied.
    proposed: BTreeMap<Zxid, LoggedTxn>,
    taps: BTreeMap<ConnId, Tap>,
    /// TTL nodes that were written in this life of the server: their time to live, and when that was.
    aging: BTreeMap<String, (i64, Instant)>,
    /// The wall clock was set back in this life of the server.
    is_set_back: bool,
    /// The last txn that was applied when the node began with what it is at.
    applied_then: Zxid,
    /// When that was.
    decided: Instant,
    sessions: BTreeMap<SessionId, Facts>,
    /// Every session that a client was told of, ended ones and those of a history that was given up among them.
    told: BTreeSet<SessionId>,
    /// The last txn that anybody outside was shown.
    revealed: Zxid,
    /// The next recovery may find no more than what was up to this txn.
    may_lose: Option<Zxid>,
    /// History after this txn was lost, as it may be, and clients do not know yet.
    went_back: Option<Zxid>,
    violation: Option<Violation>,
    /// A session whose connection was just ended by the node.
    cut_off: Option<SessionId>,
    /// How often each kind of check was made, so that a run can be asked whether it checked anything.
    pub(crate) counts: Counts,
}

/// What was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) frames: u64,
    pub(crate) txns: u64,
    pub(crate) trees: u64,
    pub(crate) recoveries: u64,
    pub(crate) expiries: u64,
    pub(crate) resumed: u64,
    pub(crate) losses: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.frames += other.frames;
        self.txns += other.txns;
        self.trees += other.trees;
        self.recoveries += other.recoveries;
        self.expiries += other.expiries;
        self.resumed += other.resumed;
        self.losses += other.losses;
    }
}

impl Checker {
    pub(crate) fn new(how: Circumstances) -> Self {
        Self {
            model: Model::new(),
            how,
            proposed: BTreeMap::new(),
            taps: BTreeMap::new(),
            aging: BTreeMap::new(),
            is_set_back: false,
            applied_then: Zxid::ZERO,
            decided: Instant(0),
            sessions: BTreeMap::new(),
            told: BTreeSet::new(),
            revealed: Zxid::ZERO,
            may_lose: None,
            went_back: None,
            violation: None,
            cut_off: None,
            counts: Counts::default(),
        }
    }

    /// What was wrong first.
    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Notes that something is wrong. The first word is the invariant.
    pub(crate) fn fail(&mut self, what: &str) {
        if self.violation.is_none() {
            let is_name = |word: &&str| word.starts_with('I') && word[1..].bytes().all(|byte| byte.is_ascii_digit());
            let invariant = what.split_whitespace().find(is_name).unwrap_or("other").to_owned();
            self.violation = Some(Violation { invariant, what: what.to_owned() });
        }
    }

    fn judge(&mut self, verdict: Verdict) {
        if let Err(what) = verdict {
            self.fail(&what);
        }
    }
}

/// The wall clock may run ahead by this much before the server takes it for set.
const CLOCK_NOISE_MS: u64 = 510;

/// Between node and log.
impl Checker {
    /// The node hands a txn to the log.
    pub(crate) fn proposed(&mut self, zxid: Zxid, payload: &Bytes, now: Instant) {
        let logged = match LoggedTxn::decode(payload) {
            Ok(logged) => logged,
            Err(error) => return self.fail(&format!("I3 the payload of {zxid:?}: {error}")),
        };
        let last = self.proposed.last_key_value().map_or(self.model.last(), |(zxid, _)| *zxid);
        if zxid.0 != last.0 + 1 || logged.header.zxid != zxid {
            return self.fail(&format!("I10 {zxid:?} ({:?}) is proposed after {last:?}", logged.header.zxid));
        }
        let session = logged.header.session;
        self.model.decide(zxid, self.applied_then);
        self.ages(&logged.txn, now);
        match &logged.txn {
            Txn::CreateSession { timeout_ms } => {
                let facts = Facts {
                    password: None,
                    timeout_ms: *timeout_ms,
                    // Not when the server came to do what it had decided.
                    heard: self.decided,
                    counted: self.decided,
                    closing: false,
                    owner: None,
                };
                if self.sessions.insert(session, facts).is_some() {
                    self.fail(&format!("I16 session {session} is made a second time"));
                }
            }
            Txn::CloseSession { .. } => self.closing(session, logged.header.cxid.0 == 0, now),
            Txn::Create { .. }
            | Txn::Delete { .. }
            | Txn::DeleteContainer { .. }
            | Txn::SetData { .. }
            | Txn::Reconfig { .. }
            | Txn::SetAcl { .. }
            | Txn::Check { .. }
            | Txn::Multi(_)
            | Txn::Error { .. } => {}
        }
        self.proposed.insert(zxid, logged);
    }

    /// I24 again, by a clock that nobody sets: a time to live is not over because the wall clock says so.
    fn ages(&mut self, txn: &Txn, now: Instant) {
        match txn {
            Txn::Create { path, kind: CreateKind::Ttl(ttl_ms), .. } => {
                self.aging.insert(path.clone(), (*ttl_ms, now));
            }
            Txn::SetData { path, .. } => {
                if let Some((_, written)) = self.aging.get_mut(path) {
                    *written = now;
                }
            }
            Txn::Multi(txns) if !txns.iter().any(|txn| matches!(txn, Txn::Error { .. })) => {
                txns.iter().for_each(|txn| self.ages(txn, now));
            }
            Txn::Delete { path } => drop(self.aging.remove(path)),
            Txn::DeleteContainer { path } => {
                let Some((ttl_ms, written)) = self.aging.remove(path) else { return };
                let age = now.since(written).0 + CLOCK_NOISE_MS;
                if age < u64::try_from(ttl_ms).unwrap_or(0) {
                    self.fail(&format!("I24 {path} is reaped after less than {age} ms, of {ttl_ms}"));
                }
            }
            Txn::Create { .. }
            | Txn::Multi(_)
            | Txn::Reconfig { .. }
            | Txn::SetAcl { .. }
            | Txn::Check { .. }
            | Txn::CreateSession { .. }
            | Txn::CloseSession { .. }
            | Txn::Error { .. } => {}
        }
    }

    fn closing(&mut self, session: SessionId, is_expiry: bool, now: Instant) {
        let Some(facts) = self.sessions.get_mut(&session) else {
            return self.fail(&format!("I16 session {session} is closed and was never made"));
        };
        facts.closing = true;
        let (silent_ms, timeout_ms) = (now.since(facts.counted).0, u64::try_from(facts.timeout_ms).unwrap_or(0));
        self.counts.expiries += u64::from(is_expiry);
        if is_expiry && silent_ms < timeout_ms {
            self.fail(&format!("I16 session {session} expires after {silent_ms} ms of silence, of {timeout_ms}"));
        }
    }

    /// The node is given something to decide on, with the tree as it is.
    pub(crate) fn deciding(&mut self, now: Instant) {
        self.decided = now;
        self.applied_then = self.model.last();
    }

    /// I24: containers and TTL nodes that nobody needs any more go in the end. Not asked after the wall clock was set back:
    /// then they only seem younger.
    pub(crate) fn overdue(&self, now: Instant) -> Option<&str> {
        let is_old = |(_, (ttl_ms, written)): &(&String, &(i64, Instant))| {
            let age = i64::try_from(now.since(*written).0).unwrap_or(i64::MAX);
            age > *ttl_ms && !self.is_set_back
        };
        self.model.overdue(self.aging.iter().filter(is_old).map(|(path, _)| path.as_str()))
    }

    /// The wall clock is set back.
    pub(crate) fn set_back(&mut self) {
        self.is_set_back = true;
    }

    /// The server is about to apply this txn.
    pub(crate) fn applying(&mut self, logged: &LoggedTxn) {
        let zxid = logged.header.zxid;
        match self.proposed.remove(&zxid) {
            Some(proposed) if proposed == *logged => {}
            other => return self.fail(&format!("I3 {zxid:?} is applied as {logged:?}, proposed as {other:?}")),
        }
        self.counts.txns += 1;
        let verdict = self.model.apply(logged);
        self.judge(verdict.map_err(|what| if what.starts_with('I') { what } else { format!("I15 {what}") }));
    }

    /// A session is heard.
    pub(crate) fn heard(&mut self, session: SessionId, now: Instant) {
        if let Some(facts) = self.sessions.get_mut(&session) {
            facts.heard = facts.heard.max(now);
        }
    }

    /// The node hands a session to another connection.
    pub(crate) fn resumed(&mut self, session: SessionId, timeout_ms: i32, now: Instant) {
        self.counts.resumed += 1;
        if let Some(facts) = self.sessions.get_mut(&session) {
            facts.heard = facts.heard.max(now);
            facts.counted = facts.heard;
            facts.timeout_ms = timeout_ms;
        }
    }

    /// The node tells a connection something. A session that lives loses its connection only to another one that
    /// resumes it, and is told so next.
    pub(crate) fn told(&mut self, conn: ConnId, delivery: &Delivery) {
        let resumed = match delivery {
            Delivery::Connected { session, .. } => Some(*session),
            Delivery::Event { .. }
            | Delivery::Reply { .. }
            | Delivery::Answers { .. }
            | Delivery::Refused(_)
            | Delivery::Close => None,
        };
        if let Some(session) = self.cut_off.take().filter(|session| resumed != Some(*session)) {
            self.fail(&format!("I16 session {session} lives, and its connection was ended"));
        }
        if let Some(facts) = resumed.and_then(|session| self.sessions.get_mut(&session)) {
            facts.owner = Some(conn);
        }
        if matches!(delivery, Delivery::Close) {
            let owned = |facts: &Facts| facts.owner == Some(conn) && !facts.closing;
            self.cut_off = self.sessions.iter().find(|(_, facts)| owned(facts)).map(|(session, _)| *session);
        }
    }

    /// The node asks all connections when they were heard.
    pub(crate) fn collected(&mut self) {
        for session in self.taps.values().filter_map(Tap::session) {
            if let Some(facts) = self.sessions.get_mut(&session) {
                facts.counted = facts.heard;
            }
        }
    }

    /// The node is told that a connection has ended.
    pub(crate) fn disconnected(&mut self, session: SessionId) {
        if let Some(facts) = self.sessions.get_mut(&session) {
            facts.counted = facts.heard;
        }
    }
}

/// Trees.
impl Checker {
    /// The tree as the server has it, compared as a whole.
    pub(crate) fn tree(&mut self, tree: &Tree) {
        self.counts.trees += 1;
        if tree.last_zxid() != self.model.last() {
            return self.fail(&format!(
                "I12 the tree is at {:?}, applied is {:?}",
                tree.last_zxid(),
                self.model.last()
            ));
        }
        tree.check_invariants();
        let verdict = self.model.compare(tree);
        self.judge(verdict.map_err(|what| format!("I12 {what}")));
    }

    /// What a snapshot holds by itself: the tree of its txn, no more and no less.
    pub(crate) fn snapshot(&mut self, zxid: Zxid, tree: &Tree) {
        self.counts.trees += 1;
        let right = if tree.last_zxid() == zxid { Ok(()) } else { Err(format!("it is of {:?}", tree.last_zxid())) };
        let verdict = right.and_then(|()| self.model.compare(tree));
        self.judge(verdict.map_err(|what| format!("I13 snapshot {zxid:?} by itself: {what}")));
    }

    /// What the disk would give back if the power failed now.
    pub(crate) fn what_if(&mut self, tree: &Tree) {
        self.counts.recoveries += 1;
        let last = tree.last_zxid();
        let verdict = self
            .is_possible(last)
            .and_then(|()| if last <= self.model.last() { self.model.compare(tree) } else { Ok(()) });
        self.judge(verdict.map_err(|what| format!("I11 after a power failure: {what}")));
    }

    fn is_possible(&self, last: Zxid) -> Verdict {
        let newest = self.proposed.last_key_value().map_or(self.model.last(), |(zxid, _)| *zxid);
        if last < self.model.last() {
            return Err(format!("recovered up to {last:?}, applied is {:?}", self.model.last()));
        }
        if last > newest {
            return Err(format!("recovered up to {last:?}, the last txn that there ever was is {newest:?}"));
        }
        Ok(())
    }

    /// What is known of the directory at this moment, for whoever makes a copy of it.
    pub(crate) fn past(&self) -> Past {
        Past { model: self.model.clone(), proposed: self.proposed.clone(), sessions: self.sessions.clone() }
    }

    /// The directory is what it was when a copy was made; what came later is lost.
    pub(crate) fn restored(&mut self, past: Past) {
        let common = past.model.last_in_common(&self.model);
        self.went_back = Some(self.went_back.unwrap_or(common).min(common));
        self.model = past.model;
        self.proposed = past.proposed;
        self.sessions = past.sessions;
    }

    /// Acknowledged txns after this one may be missing at the next start.
    pub(crate) fn may_lose_after(&mut self, proven: Option<Zxid>) {
        self.may_lose = proven;
    }

    /// If history was lost, the last txn that is as clients know it.
    pub(crate) fn take_loss(&mut self) -> Option<Zxid> {
        self.went_back.take()
    }

    /// A server has started with this tree.
    pub(crate) fn recovered(&mut self, tree: &Tree, now: Instant) {
        self.counts.recoveries += 1;
        let last = tree.last_zxid();
        if last < self.model.last() && self.may_lose.take().is_some_and(|proven| last >= proven) {
            self.went_back = Some(self.went_back.unwrap_or(last).min(last));
            self.model.go_back(last);
            self.proposed.clear();
        }
        self.counts.losses += u64::from(self.went_back.is_some());
        self.revealed = self.went_back.map_or(self.revealed, |last| self.revealed.min(last));
        if let Err(what) = self.is_possible(last) {
            return self.fail(&format!("I9 {what}; shown was {:?}", self.revealed));
        }
        for (zxid, logged) in std::mem::take(&mut self.proposed) {
            if zxid <= last {
                let verdict = self.model.apply(&logged);
                self.judge(verdict.map_err(|what| if what.starts_with('I') { what } else { format!("I15 {what}") }));
            }
        }
        let verdict = self.model.compare(tree);
        self.judge(verdict.map_err(|what| format!("I13 {what}")));
        tree.check_invariants();
        self.taps.clear();
        self.aging.clear();
        self.is_set_back = false;
        // The server may have ended between the two things that it tells then.
        self.cut_off = None;
        self.sessions.retain(|session, _| self.model.session_at(last, *session).is_some());
        for facts in self.sessions.values_mut() {
            facts.heard = now;
            facts.counted = now;
            facts.closing = false;
            facts.owner = None;
        }
    }
}

/// At the sockets.
impl Checker {
    /// A connection was accepted.
    pub(crate) fn accepted(&mut self, conn: ConnId) {
        let ip = gk_proto::acl::Id::new("ip", "127.0.0.1");
        self.taps.insert(conn, Tap::new(conn, ip, self.how));
    }

    /// The server took bytes from a socket.
    pub(crate) fn taken(&mut self, conn: ConnId, bytes: &[u8], now: Instant) {
        let revealed = self.revealed;
        let Some(tap) = self.taps.get_mut(&conn) else { return };
        tap.taken(bytes, revealed);
        if let Some(session) = tap.session() {
            self.heard(session, now);
        }
    }

    /// The server took back bytes that a socket had not taken before: so the client is there.
    pub(crate) fn drained(&mut self, conn: ConnId, now: Instant) {
        if let Some(session) = self.taps.get(&conn).and_then(Tap::session) {
            self.heard(session, now);
        }
    }

    /// The server gave bytes for a socket, looking at the tree of `at`.
    pub(crate) fn given(&mut self, conn: ConnId, bytes: &[u8], at: Zxid) {
        let Some(mut tap) = self.taps.remove(&conn) else {
            return self.fail(&format!("I18 {} bytes given to {conn:?}, which has ended", bytes.len()));
        };
        self.counts.frames += 1;
        let mut said = Vec::new();
        let verdict = tap.given(bytes, &self.model, (at, self.how), &mut said);
        self.taps.insert(conn, tap);
        self.judge(verdict);
        for said in said {
            match said {
                Said::Revealed(zxid) => self.revealed = self.revealed.max(zxid),
                Said::Greeted(hello, response) => self.greeted(conn, &hello, &response),
            }
        }
    }

    /// The connection is no more.
    pub(crate) fn ended(&mut self, conn: ConnId) {
        self.taps.remove(&conn);
    }

    fn greeted(&mut self, conn: ConnId, hello: &ConnectRequest, response: &ConnectResponse) {
        if hello.last_zxid_seen > self.model.last().wire() {
            self.fail(&format!("I19 a client of {:#x} is served at {:?}", hello.last_zxid_seen, self.model.last()));
        }
        let verdict = self.judge_greeting(hello, response);
        self.judge(verdict.map_err(|what| format!("I16 {conn:?}: {what}")));
    }

    fn judge_greeting(&mut self, hello: &ConnectRequest, response: &ConnectResponse) -> Verdict {
        let last = self.model.last();
        let is_refused = response.timeout_ms == 0;
        let alive = |session| self.model.session_at(last, session).is_some();
        if is_refused {
            let known = self.sessions.get(&hello.session);
            let right = known.is_some_and(|facts| facts.password.as_ref().is_some_and(|word| hello.password == word));
            let lives = known.is_some_and(|facts| !facts.closing) && alive(hello.session);
            return if right && lives { Err(format!("live session {} is refused", hello.session)) } else { Ok(()) };
        }
        // A new one may be over before it is told, where the disk takes longer than its timeout.
        let is_new = hello.session == SessionId::NONE && self.model.session_made_at(response.session) > Zxid::ZERO;
        if !is_new && !alive(response.session) {
            return Err(format!("session {} is told and is not alive at {last:?}", response.session));
        }
        let Some(facts) = self.sessions.get_mut(&response.session) else {
            return Err(format!("session {} was never made", response.session));
        };
        if hello.session == SessionId::NONE {
            if !self.told.insert(response.session) {
                return Err(format!("session {} was given to a client before", response.session));
            }
            if facts.password.replace(response.password).is_some() {
                return Err(format!("session {} is given to two clients", response.session));
            }
        } else if hello.session != response.session {
            return Err(format!("{} is asked for, {} is given", hello.session, response.session));
        } else if facts.password.is_some_and(|password| hello.password != password) {
            return Err(format!("session {} is resumed with a wrong password", hello.session));
        }
        self.revealed = self.revealed.max(self.model.session_made_at(response.session));
        Ok(())
    }
}
