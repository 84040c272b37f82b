//! One server's state machine over agreement: sessions, checks, the order of replies (ZooKeeper `ZooKeeperServer`,
//! `PrepRequestProcessor`, `FinalRequestProcessor`).
//!
//! A write becomes a txn (checked, encoded once, proposed), is durable, is committed, is applied, and then its reply
//! leaves. What needs no txn (sync, a request that cannot be decoded) waits in the same queue for all before it.
//!
//! Not done here: reads (a connection reads the shared tree itself; those between two writes of one connection only take
//! their place in the queue here), watches (fired by whoever applies), roles of an
//! ensemble.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gk_proto::reply::Body;
use gk_proto::request::Write;
use gk_proto::txn::{self, LoggedTxn, Txn, TxnHeader};
use gk_proto::{ConnId, ErrorCode, Instant, Millis, SessionId, WallTime, Xid, Zxid, planted};
use gk_tree::{Outcome, ReapCursor, Tree};
use gk_zab::Zab;

use crate::age::Ages;
use crate::answer::{Answer, Waiting};
use crate::auth::{AuthRules, Ids};
use crate::config::{NodeConfig, Now};
use crate::conn::Complaint;
use crate::message::{Connect, Delivery, Effect, Input, Request, Step};
use crate::outstanding::Outstanding;
use crate::password::Passwords;
use crate::prepare::{Prepare, data_len, makes_ephemeral};
use crate::sessions::Sessions;

/// Sessions with more ephemerals than this are closed by a txn without a list, which takes effect at once by marking
/// the owner dead and is swept afterwards (design rule 6).
const CLOSE_LIST_MAX: usize = 4096;

/// Txns applied under one write guard, at most; and bytes of data in them. Keeps readers from waiting.
const APPLY_BATCH_MAX: usize = 64;
const APPLY_BATCH_BYTES_MAX: usize = 64 << 10;

/// Reads of one connection that are one step, and bytes of the answer to each but the first.
const RUN_MAX: usize = 32;
const READ_OF_A_RUN_BYTES_MAX: usize = 2 << 10;

/// Bytes of a block from which payloads are cut.
const PAYLOAD_BLOCK: usize = 64 << 10;

/// Entries for which an idle node keeps room in its queues.
const QUEUE_KEPT: usize = 64;

/// Bytes of a record besides its fields: header, digest, a count.
const RECORD_OVERHEAD: usize = 64;

/// Nodes looked at in one search for what to reap, and the least pause before the next one goes on.
const REAP_LOOKS: usize = 1000;
const REAP_PAUSE: Millis = Millis(10);

/// The node of a standalone server.
///
/// - Every proposed txn has exactly one entry in `waiting` that takes an outcome, in zxid order (`check_invariants`).
/// - `applied <= zab.committed()`: nothing is applied that is not durable.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    rules: Arc<AuthRules>,
    passwords: Passwords,
    zab: Zab,
    sessions: Sessions,
    outstanding: Outstanding,
    /// Txns proposed and not yet handed out to be applied.
    proposed: VecDeque<LoggedTxn>,
    waiting: VecDeque<Waiting>,
    /// Reads not yet handed out to be answered, with the txn behind which they stand: those of one connection that follow
    /// each other share an entry, here and in `waiting`.
    reads: VecDeque<(Zxid, Vec<Request>)>,
    /// Last txn that was handed out.
    handed_out: Zxid,
    applied: Zxid,
    /// Until this txn is applied no request is prepared: it changes more than the table of changes can say.
    barrier: Option<Zxid>,
    held: VecDeque<Request>,
    disk_full: bool,
    effects: VecDeque<Effect>,
    next_tick: Instant,
    last_tick: Instant,
    next_reap: Instant,
    ages: Ages,
    reap: ReapCursor,
    scratch: Vec<u8>,
    payloads: BytesMut,
}

impl Node {
    /// A standalone node over a recovered tree. Every session of the tree gets a full timeout.
    pub fn standalone(config: NodeConfig, rules: Arc<AuthRules>, passwords: Passwords, tree: &Tree, now: Now) -> Self {
        let mut sessions = Sessions::new(config.tick, config.server_id, now.wall, tree.last_zxid());
        for (id, timeout_ms) in tree.sessions() {
            sessions.insert(id, timeout_ms, None, false, now.instant);
        }
        let digest = tree.digest();
        Self {
            next_tick: now.instant + half(config.tick),
            last_tick: now.instant,
            next_reap: now.instant + config.reap_interval,
            ages: Ages::default(),
            zab: Zab::standalone(tree.last_zxid()),
            handed_out: tree.last_zxid(),
            applied: tree.last_zxid(),
            outstanding: Outstanding::new(digest),
            config,
            rules,
            passwords,
            sessions,
            proposed: VecDeque::new(),
            waiting: VecDeque::new(),
            reads: VecDeque::new(),
            barrier: None,
            held: VecDeque::new(),
            disk_full: false,
            effects: VecDeque::new(),
            reap: ReapCursor::default(),
            scratch: Vec::new(),
            payloads: BytesMut::new(),
        }
    }

    /// Takes one input; the effects of the one before must have been drained.
    pub fn handle(&mut self, now: Now, input: Input, tree: &Tree) {
        assert!(self.effects.is_empty(), "input while {} effects wait", self.effects.len());
        self.ages.observe(now);
        match input {
            Input::Requests(requests) => {
                for request in requests {
                    self.request(now, request, tree);
                }
            }
            Input::Connect(connect) => self.connect(now, connect),
            Input::Touched(heard) => {
                for (session, at) in heard {
                    self.sessions.touch(session, at);
                }
            }
            Input::Disconnected { conn, session, heard } => {
                self.sessions.touch(session, heard);
                self.disconnected(conn, session);
            }
            Input::Expire(session) => {
                if self.sessions.get(session).is_some_and(|known| !known.closing) {
                    self.close_session(now, session, None, tree);
                }
            }
            Input::Durable { upto } => {
                self.zab.handle(gk_zab::Input::Durable { upto });
                self.drain_zab();
            }
            Input::Applied { upto, outcomes, answers } => self.applied(now, upto, outcomes, answers, tree),
            Input::DiskFull(full) => self.disk_full = full,
        }
    }

    /// Does what is due: expires sessions at half ticks, reaps containers and TTL nodes.
    pub fn handle_timeout(&mut self, now: Now, tree: &Tree) {
        assert!(self.effects.is_empty(), "timeout while {} effects wait", self.effects.len());
        self.ages.observe(now);
        if now.instant >= self.next_tick {
            let gap = now.instant.since(self.last_tick);
            self.last_tick = now.instant;
            self.next_tick = now.instant + half(self.config.tick);
            // After a pause of our own, clients may have been speaking to a server that did not listen: the next
            // tick sees what they said meanwhile (design rule 5).
            if gap.0 <= self.config.tick.0 {
                for session in self.sessions.expire(now.instant) {
                    let timeout_ms = self.sessions.get(session).map_or(0, |known| known.timeout_ms);
                    self.effects.push_back(Effect::Expiring { session, timeout_ms });
                    self.close_session(now, session, None, tree);
                }
            } else {
                self.postpone_expiry(now.instant);
            }
        }
        if now.instant >= self.next_reap {
            self.reap(now, tree);
        }
        self.resume_digest(tree);
        if self.waiting.is_empty() {
            self.shrink();
        }
    }

    /// When [`Self::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Instant {
        self.next_tick.min(self.next_reap)
    }

    /// The next thing to do, if any.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The last txn applied, as far as the node was told.
    pub fn last_applied(&self) -> Zxid {
        self.applied
    }

    /// Requests accepted and not yet answered.
    pub fn outstanding_requests(&self) -> usize {
        self.waiting.len() + self.held.len()
    }

    /// The sessions, for the four-letter words.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Panics if the machine contradicts itself.
    pub fn check_invariants(&self) {
        self.zab.check_invariants();
        self.outstanding.check_invariants();
        self.sessions.check_invariants();
        assert!(self.applied <= self.zab.committed(), "applied {:?} before it was committed", self.applied);
        let takers = self.waiting.iter().filter(|waiting| waiting.takes_outcome).count();
        let unapplied = self.zab.proposed().0 - self.applied.0;
        assert_eq!(u64::try_from(takers), Ok(unapplied), "one waiting entry a txn");
        assert!(self.waiting.iter().is_sorted_by_key(|waiting| waiting.zxid), "replies leave in zxid order");
        let reads = self.waiting.iter().rev().filter(|waiting| matches!(waiting.answer, Answer::Reads(_)));
        let waits = |(waiting, (zxid, _)): (&Waiting, &(Zxid, Vec<Request>))| waiting.zxid == *zxid;
        assert!(reads.zip(self.reads.iter().rev()).all(waits), "each read has its place");
        let overtaken = self.reads.front().is_some_and(|(zxid, _)| *zxid <= self.handed_out);
        assert!(!overtaken, "a read that could be answered is handed out");
    }

    fn connect(&mut self, now: Now, connect: Connect) {
        let Connect { conn, session, password, timeout_ms } = connect;
        if session == SessionId::NONE {
            self.create_session(now, conn, timeout_ms);
            return;
        }
        let known = self.sessions.get(session).is_some_and(|known| !known.closing);
        if planted!(OwnerCutBeforePassword)
            && let Some(owner) = self.sessions.get(session).and_then(|known| known.owner)
        {
            self.deliver(owner, Delivery::Close);
        }
        // The password comes first: a stranger must not be able to cut the owner off (hazards, row 89).
        if !known {
            return self.deliver(conn, Delivery::Refused(Complaint::UnknownSession(session)));
        }
        if !self.passwords.is_right(session, &password) {
            return self.deliver(conn, Delivery::Refused(Complaint::WrongPassword(session)));
        }
        if let Some(before) = self.sessions.resume(session, conn, timeout_ms, now.instant)
            && before != conn
        {
            self.deliver(before, Delivery::Close);
        }
        self.connected(conn, session, timeout_ms);
    }

    fn connected(&mut self, conn: ConnId, session: SessionId, timeout_ms: i32) {
        let password = self.passwords.of(session);
        self.deliver(conn, Delivery::Connected { session, password, timeout_ms });
    }

    fn create_session(&mut self, now: Now, conn: ConnId, timeout_ms: i32) {
        if self.disk_full && !self.config.local_sessions {
            self.deliver(conn, Delivery::Close);
            return;
        }
        let session = self.sessions.fresh_id();
        let local = self.config.local_sessions;
        self.sessions.insert(session, timeout_ms, Some(conn), local, now.instant);
        if local {
            self.connected(conn, session, timeout_ms);
            return;
        }
        let digest = self.outstanding.digest();
        let answer = Answer::Connected { conn, session, timeout_ms };
        self.propose(now.wall, session, Xid(0), Txn::CreateSession { timeout_ms }, digest, answer);
    }

    fn disconnected(&mut self, conn: ConnId, session: SessionId) {
        if let Some(known) = self.sessions.get_mut(session)
            && known.owner == Some(conn)
        {
            known.owner = None;
        }
    }

    fn request(&mut self, now: Now, request: Request, tree: &Tree) {
        if self.barrier.is_some() || !self.held.is_empty() {
            self.held.push_back(request);
            return;
        }
        match self.sessions.get(request.session) {
            None => return self.answer_now(&request, Err(ErrorCode::SessionExpired)),
            Some(known) if known.owner != Some(request.conn) => return self.deliver(request.conn, Delivery::Close),
            Some(known) if known.closing => return self.answer_now(&request, Err(ErrorCode::SessionExpired)),
            Some(_) => {}
        }
        #[cfg(gk_planted_bugs)]
        if planted!(MovedSessionNeedsPlainWrite)
            && let Some(known) = self.sessions.get_mut(request.session)
        {
            let is_multi = request.op == gk_proto::op::OpCode::Multi;
            known.moved &= is_multi;
            if known.moved {
                return self.deliver(request.conn, Delivery::Close);
            }
        }
        if !request.op.is_write() {
            return self.read(request);
        }
        let Some(Ok(write)) = Write::decode(request.op, &request.body) else {
            return self.answer_now(&request, Err(ErrorCode::MarshallingError));
        };
        match write {
            Write::Sync { path } => self.answer_now(&request, Ok(Body::Sync(path))),
            Write::CloseSession => self.close_session(now, request.session, Some(&request), tree),
            Write::Reconfig { .. } if !self.config.reconfig_enabled => {
                self.refuse(now, &request, ErrorCode::ReconfigDisabled)
            }
            Write::Reconfig { .. } => self.refuse(now, &request, ErrorCode::Unimplemented),
            _ if self.disk_full => self.refuse_for_space(&request),
            Write::Create(_)
            | Write::Delete { .. }
            | Write::SetData { .. }
            | Write::SetAcl { .. }
            | Write::Check { .. }
            | Write::Multi(_) => self.write(now, &request, write, tree),
        }
    }

    /// A read behind a write and ahead of another one of its connection: it sees the first and not the second.
    fn read(&mut self, request: Request) {
        let (zxid, conn) = (self.zab.proposed(), request.conn);
        let is_next = matches!(self.waiting.back(), Some(Waiting { answer: Answer::Reads(last), .. }) if *last == conn);
        let is_small = request.answer_bytes <= READ_OF_A_RUN_BYTES_MAX;
        if let Some((place, run)) = self.reads.back_mut().filter(|_| is_next && is_small)
            && *place == zxid
            && run.len() < RUN_MAX
        {
            return run.push(request);
        }
        self.waiting.push_back(Waiting { zxid, takes_outcome: false, answer: Answer::Reads(conn) });
        self.reads.push_back((zxid, vec![request]));
        self.commit(self.zab.committed());
    }

    fn write(&mut self, now: Now, request: &Request, write: Write, tree: &Tree) {
        if makes_ephemeral(&write)
            && let Err(code) = self.upgrade_local(now, request.session)
        {
            return self.refuse(now, request, code);
        }
        let mark = self.outstanding.mark();
        let mut prepare = Prepare {
            tree,
            outstanding: &mut self.outstanding,
            config: &self.config,
            rules: &self.rules,
            session: request.session,
            ids: &request.ids,
            zxid: self.zab.next_zxid(),
            time: now.wall,
            over_quota: None,
        };
        let prepared = prepare.write(write);
        if let Some(over) = prepare.over_quota {
            self.effects.push_back(Effect::OverQuota(over));
        }
        match prepared {
            Err(code) => self.refuse(now, request, code),
            Ok((txn, shape)) => {
                let header = self.header(now.wall, request.session, request.xid);
                let digest = self.outstanding.digest();
                self.scratch.clear();
                txn::encode(&header, &txn, digest, &mut self.scratch);
                if self.scratch.len() > self.config.record_max && !planted!(RecordTooLong) {
                    self.outstanding.roll_back(&mark);
                    return self.answer_now(request, Err(ErrorCode::MarshallingError));
                }
                let answer = Answer::Write { conn: request.conn, xid: request.xid, shape };
                self.propose_encoded(LoggedTxn { header, txn, digest }, answer);
            }
        }
    }

    /// A refused request takes a zxid and is logged as an error, without a digest.
    fn refuse(&mut self, now: Now, request: &Request, code: ErrorCode) {
        let answer = Answer::Refused { conn: request.conn, xid: request.xid, code };
        self.propose(now.wall, request.session, request.xid, Txn::Error { code: code.code() }, None, answer);
    }

    /// Refuses a write while the log has no room. What was accepted before may be waiting for room too; only its own
    /// connections, whose replies have an order, wait with it.
    fn refuse_for_space(&mut self, request: &Request) {
        if self.waiting.iter().any(|waiting| waiting.answer.conn() == Some(request.conn)) {
            return self.answer_now(request, Err(ErrorCode::SystemError));
        }
        let result = Err(ErrorCode::SystemError);
        self.deliver(request.conn, Delivery::Reply { xid: request.xid, zxid: self.applied, result });
    }

    /// Makes a local session global ahead of its first ephemeral.
    fn upgrade_local(&mut self, now: Now, session: SessionId) -> Result<(), ErrorCode> {
        let Some(known) = self.sessions.get_mut(session) else { return Err(ErrorCode::SessionExpired) };
        if !known.local {
            return Ok(());
        }
        if !self.config.local_sessions_upgrade {
            return Err(ErrorCode::EphemeralOnLocalSession);
        }
        known.local = false;
        let timeout_ms = known.timeout_ms;
        let digest = self.outstanding.digest();
        self.propose(now.wall, session, Xid(0), Txn::CreateSession { timeout_ms }, digest, Answer::Nobody);
        Ok(())
    }

    /// Ends a session, by its client's request or because it expired.
    fn close_session(&mut self, now: Now, session: SessionId, request: Option<&Request>, tree: &Tree) {
        let Some(known) = self.sessions.get_mut(session) else { return };
        known.closing = true;
        let (owner, local) = (known.owner, known.local);
        let xid = request.map_or(Xid(0), |request| request.xid);
        let answer = match request {
            Some(request) => Answer::Closed { conn: Some(request.conn), session, reply: Some(xid) },
            None => Answer::Closed { conn: owner, session, reply: None },
        };
        if local {
            self.waiting.push_back(Waiting { zxid: self.zab.proposed(), takes_outcome: false, answer });
            return self.flush_answers();
        }
        if tree.ephemeral_count_of(session) > CLOSE_LIST_MAX {
            // What the table of changes cannot say in short holds everybody's next request until it is applied.
            self.barrier = Some(self.zab.next_zxid());
            self.outstanding.set_digest(None);
            let txn = Txn::CloseSession { paths: None };
            return self.propose(now.wall, session, xid, txn, None, answer);
        }
        let paths = self.outstanding.ephemerals(tree, session);
        Prepare {
            tree,
            outstanding: &mut self.outstanding,
            config: &self.config,
            rules: &self.rules,
            session,
            ids: &Ids::from([]),
            zxid: self.zab.next_zxid(),
            time: now.wall,
            over_quota: None,
        }
        .close_session(&paths);
        let listed = self.config.close_session_lists && self.fits_a_record(&paths);
        // A record without a list cannot carry a digest: its reader would take one for the other.
        let digest = self.outstanding.digest().filter(|_| listed);
        let txn = Txn::CloseSession { paths: listed.then_some(paths) };
        self.propose(now.wall, session, xid, txn, digest, answer);
    }

    fn fits_a_record(&self, paths: &[String]) -> bool {
        paths.iter().map(|path| path.len() + 4).sum::<usize>() + RECORD_OVERHEAD <= self.config.record_max
    }

    fn header(&self, wall: WallTime, session: SessionId, cxid: Xid) -> TxnHeader {
        TxnHeader { session, cxid, zxid: self.zab.next_zxid(), time: wall }
    }

    fn propose(&mut self, wall: WallTime, session: SessionId, xid: Xid, txn: Txn, digest: Option<u64>, answer: Answer) {
        let header = self.header(wall, session, xid);
        self.scratch.clear();
        txn::encode(&header, &txn, digest, &mut self.scratch);
        assert!(self.scratch.len() <= self.config.record_max, "record of {} bytes", self.scratch.len());
        self.propose_encoded(LoggedTxn { header, txn, digest }, answer);
    }

    fn propose_encoded(&mut self, logged: LoggedTxn, answer: Answer) {
        let zxid = logged.header.zxid;
        let payload = self.shared_payload();
        self.proposed.push_back(logged);
        self.waiting.push_back(Waiting { zxid, takes_outcome: true, answer });
        self.zab.handle(gk_zab::Input::Propose { zxid, payload });
        self.drain_zab();
    }

    /// What was encoded, as shared bytes cut from a large block: a block of its own for each txn would leave a hole
    /// between the nodes that are made meanwhile.
    fn shared_payload(&mut self) -> Bytes {
        if self.payloads.capacity() < self.scratch.len() {
            self.payloads = BytesMut::with_capacity(PAYLOAD_BLOCK.max(self.scratch.len()));
        }
        self.payloads.extend_from_slice(&self.scratch);
        self.payloads.split().freeze()
    }

    fn drain_zab(&mut self) {
        while let Some(effect) = self.zab.poll_effect() {
            match effect {
                gk_zab::Effect::Append { zxid, payload } => self.effects.push_back(Effect::Append { zxid, payload }),
                gk_zab::Effect::Commit { upto } => self.commit(upto),
            }
        }
    }

    /// Hands out committed txns, and the reads that stand between them, in batches small enough that no reader waits long.
    fn commit(&mut self, upto: Zxid) {
        let room = (self.proposed.len() + self.reads.len()).min(APPLY_BATCH_MAX);
        let (mut steps, mut count, mut bytes) = (Vec::with_capacity(room), 0, 0);
        loop {
            if let Some((_, run)) = self.reads.pop_front_if(|(zxid, _)| *zxid <= self.handed_out) {
                bytes += run.iter().map(|read| read.answer_bytes).sum::<usize>();
                count += run.len();
                steps.push(Step::Reads(run));
            } else if let Some(logged) = self.proposed.pop_front_if(|logged| logged.header.zxid <= upto) {
                bytes += data_len(&logged.txn);
                count += 1;
                self.handed_out = logged.header.zxid;
                steps.push(Step::Txn(logged));
            } else {
                break;
            }
            if count >= APPLY_BATCH_MAX || bytes >= APPLY_BATCH_BYTES_MAX {
                self.effects.push_back(Effect::Apply { upto: self.handed_out, steps: std::mem::take(&mut steps) });
                (count, bytes) = (0, 0);
            }
        }
        if !steps.is_empty() {
            self.effects.push_back(Effect::Apply { upto: self.handed_out, steps });
        }
    }

    fn applied(&mut self, now: Now, upto: Zxid, outcomes: Vec<Outcome>, answers: Vec<Option<Delivery>>, tree: &Tree) {
        assert!(upto >= self.applied && upto <= self.zab.committed(), "applied {upto:?} after {:?}", self.applied);
        let (mut outcomes, mut answers) = (outcomes.into_iter(), answers.into_iter());
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.zxid <= upto) {
            if let Answer::Reads(conn) = waiting.answer {
                let Some(answer) = answers.next() else {
                    // It came after these were handed out.
                    self.waiting.push_front(waiting);
                    break;
                };
                answer.into_iter().for_each(|answer| self.deliver(conn, answer));
                continue;
            }
            let outcome = if waiting.takes_outcome { outcomes.next() } else { None };
            self.applied = waiting.zxid;
            self.answer(waiting, outcome);
        }
        assert!(outcomes.next().is_none() && answers.next().is_none(), "more results than there was to do");
        self.applied = upto;
        self.outstanding.applied(upto);
        if self.barrier.is_some_and(|barrier| barrier <= upto) {
            self.barrier = None;
            let held = std::mem::take(&mut self.held);
            for request in held {
                self.request(now, request, tree);
            }
        }
    }

    fn answer(&mut self, waiting: Waiting, outcome: Option<Outcome>) {
        let zxid = waiting.zxid;
        match waiting.answer {
            Answer::Nobody => {}
            Answer::Write { conn, xid, shape } => {
                let result = shape.body(outcome.expect("INVARIANT: a write's entry takes the outcome of its txn"));
                self.deliver(conn, Delivery::Reply { xid, zxid, result });
            }
            Answer::Refused { conn, xid, code } => self.deliver(conn, Delivery::Reply { xid, zxid, result: Err(code) }),
            Answer::Now { conn, xid, result } => self.deliver(conn, Delivery::Reply { xid, zxid, result }),
            Answer::Reads(_) => unreachable!("answers to reads come with what was applied"),
            Answer::Connected { conn, session, timeout_ms } => self.connected(conn, session, timeout_ms),
            Answer::Closed { conn, session, reply } => {
                self.sessions.remove(session);
                let Some(conn) = conn else { return };
                if let Some(xid) = reply {
                    self.deliver(conn, Delivery::Reply { xid, zxid, result: Ok(Body::None) });
                }
                self.deliver(conn, Delivery::Close);
            }
        }
    }

    /// Answers what needs no txn, after everything that was accepted before it.
    fn answer_now(&mut self, request: &Request, result: Result<Body, ErrorCode>) {
        let answer = Answer::Now { conn: request.conn, xid: request.xid, result };
        self.waiting.push_back(Waiting { zxid: self.zab.proposed(), takes_outcome: false, answer });
        self.flush_answers();
    }

    fn flush_answers(&mut self) {
        let applied = self.applied;
        let needs_nothing = |waiting: &mut Waiting| {
            !waiting.takes_outcome && waiting.zxid <= applied && !matches!(waiting.answer, Answer::Reads(_))
        };
        while let Some(waiting) = self.waiting.pop_front_if(needs_nothing) {
            self.answer(waiting, None);
        }
    }

    /// Gives every session that would expire now one more half tick.
    fn postpone_expiry(&mut self, now: Instant) {
        for session in self.sessions.expire(now) {
            self.sessions.grant(session, now + half(self.config.tick));
        }
    }

    /// Looks at some container and TTL nodes, and goes on soon if there are more, at the configured rate.
    fn reap(&mut self, now: Now, tree: &Tree) {
        let mut paths = Vec::new();
        let never_used_ms = self.config.reap_never_used_ms;
        let age = |stamp| self.ages.since(stamp, now.wall);
        let more = tree.reap_candidates(&age, never_used_ms, &mut self.reap, REAP_LOOKS, &mut paths);
        let pause =
            60_000 * u64::try_from(paths.len()).unwrap_or(u64::MAX) / u64::from(self.config.reap_per_minute.max(1));
        let pause = if more { Millis(pause.max(REAP_PAUSE.0)) } else { self.config.reap_interval };
        self.next_reap = now.instant + pause;
        for path in paths {
            let mut prepare = Prepare {
                tree,
                outstanding: &mut self.outstanding,
                config: &self.config,
                rules: &self.rules,
                session: SessionId::NONE,
                ids: &Ids::from([]),
                zxid: self.zab.next_zxid(),
                time: now.wall,
                over_quota: None,
            };
            if let Ok(txn) = prepare.delete_container(&path, |stamp| self.ages.since(stamp, now.wall)) {
                let digest = self.outstanding.digest();
                self.propose(now.wall, SessionId::NONE, Xid(0), txn, digest, Answer::Nobody);
            }
        }
    }

    /// After a sweep the digest of the tree is known again, once nothing is under way.
    fn resume_digest(&mut self, tree: &Tree) {
        let idle = self.applied == self.zab.proposed() && self.outstanding.is_empty();
        if self.outstanding.digest().is_none() && idle {
            self.outstanding.set_digest(tree.digest());
        }
    }

    /// Gives back what a burst needed: an idle node keeps short queues.
    fn shrink(&mut self) {
        self.proposed.shrink_to(QUEUE_KEPT);
        self.waiting.shrink_to(QUEUE_KEPT);
        self.reads.shrink_to(QUEUE_KEPT);
        self.effects.shrink_to(QUEUE_KEPT);
        self.scratch.shrink_to(QUEUE_KEPT);
        self.outstanding.shrink_to(QUEUE_KEPT);
    }

    fn deliver(&mut self, conn: ConnId, delivery: Delivery) {
        self.effects.push_back(Effect::Deliver(conn, delivery));
    }
}

fn half(tick: Millis) -> Millis {
    Millis((tick.0 / 2).max(1))
}
