//! The node's thread (`gk_server::driver`), one step at a time: feed one input, carry out one effect, hand the log what
//! was proposed. Others may come in between any two.

use std::collections::VecDeque;

use bytes::Bytes;
use gk_node::{Delivery, Effect, Input, Node, Step};
use gk_proto::acl::{self, AclList, perm};
use gk_proto::txn::{LoggedTxn, Txn, TxnHeader};
use gk_proto::watch::EventType;
use gk_proto::{ConnId, Instant, SessionId, WallTime, Xid, Zxid};
use gk_tree::{Change, ChangeSink, DeadOwner, Outcome, Watches};

use super::conn_lane::{ConnLane, Guarded};
use super::{Message, Server};
use crate::around::{Around, Event, Lane, Wake};
use crate::lies::Lie;

/// Nodes of a dead owner removed in one step.
const SWEEP_PIECE: usize = 20;

pub(super) struct NodeLane {
    node: Node,
    /// The batch that is being worked on.
    batch: VecDeque<Message>,
    appends: Vec<(Zxid, Bytes)>,
    follow_ups: VecDeque<Input>,
    touches_since: Instant,
    phase: Phase,
    wake: Wake,
    /// The input that the effects at hand are of was a handshake.
    is_connecting: bool,
}

/// Where a turn of the thread is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing is at hand.
    Waiting,
    /// Messages of the batch, with what follows from them.
    Batch,
    /// Time is next, and whether touches have been collected for it.
    Timeout { collected: bool },
    /// Nodes of a dead owner.
    Sweep,
    /// What was proposed goes to the log.
    Flush,
}

impl NodeLane {
    pub(super) fn new(node: Node, now: Instant) -> Self {
        Self {
            node,
            batch: VecDeque::new(),
            appends: Vec::new(),
            follow_ups: VecDeque::new(),
            touches_since: now,
            phase: Phase::Waiting,
            wake: Wake::default(),
            is_connecting: false,
        }
    }

    pub(super) fn check_invariants(&self) {
        self.node.check_invariants();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Waiting && self.node.outstanding_requests() == 0
    }
}

impl Server {
    pub(super) fn wake_node(&mut self, around: &mut Around, after: u64) {
        around.wake(&mut self.node.wake, after, Event::Lane(Lane::Node));
    }

    pub(super) fn node_step(&mut self, around: &mut Around) {
        self.node.wake = Wake::default();
        let pause = self.node_turn(around);
        let after = match pause {
            Some(pause) => pause + around.lag(),
            None if self.inbox.is_empty() => {
                let due = around.until(self.node.node.poll_timeout());
                if self.tree.is_sweeping() { due.min(200_000) } else { due }
            }
            None => around.lag(),
        };
        self.wake_node(around, after);
    }

    /// One step; how long it took if the turn goes on, and nothing once the thread waits.
    fn node_turn(&mut self, around: &mut Around) -> Option<u64> {
        if let Some(effect) = self.node.node.poll_effect() {
            self.effect(around, effect);
            return Some(0);
        }
        if let Some(input) = self.node.follow_ups.pop_front() {
            self.input(around, input);
            return Some(0);
        }
        match self.node.phase {
            Phase::Waiting => {
                std::mem::swap(&mut self.inbox, &mut self.node.batch);
                self.node.phase = Phase::Batch;
            }
            Phase::Batch => match self.node.batch.pop_front() {
                Some(message) => self.message(around, message),
                None if around.server_instant() >= self.node.node.poll_timeout() => {
                    self.node.phase = Phase::Timeout { collected: false };
                }
                None => self.node.phase = Phase::Sweep,
            },
            Phase::Timeout { collected: false } => {
                self.node.phase = Phase::Timeout { collected: true };
                self.collect_touches(around);
            }
            Phase::Timeout { collected: true } => {
                self.node.phase = Phase::Sweep;
                around.checker.deciding(around.server_instant());
                self.node.node.handle_timeout(around.server_now(), &self.tree);
            }
            Phase::Sweep => {
                self.node.phase = Phase::Flush;
                if self.tree.is_sweeping() {
                    self.tree.sweep(SWEEP_PIECE);
                }
            }
            Phase::Flush if !self.node.appends.is_empty() => return Some(self.hand_to_log(around)),
            Phase::Flush => {
                self.outstanding = self.node.node.outstanding_requests();
                self.node.phase = Phase::Waiting;
                return None;
            }
        }
        Some(0)
    }

    fn message(&mut self, around: &mut Around, message: Message) {
        around.note(|| format!("node: {message:?}"));
        match message {
            Message::Requests(requests) => self.input(around, Input::Requests(requests)),
            Message::Connect(mut connect) => {
                if around.lies(Lie::AnyPassword) {
                    connect.password = self.passwords.of(connect.session).to_vec();
                }
                self.input(around, Input::Connect(connect));
            }
            Message::Disconnected { conn, session, heard } => {
                around.checker.disconnected(session);
                self.input(around, Input::Disconnected { conn, session, heard });
            }
            Message::Durable(upto) => self.input(around, Input::Durable { upto }),
            Message::DiskFull(full) => {
                around.checker.how.was_full |= full;
                self.input(around, Input::DiskFull(full));
            }
            Message::BeginView => {
                self.view = Some(self.tree.begin_view());
                self.wake_snapshots(around, 0);
            }
            Message::EndView => drop(self.tree.end_view()),
        }
    }

    fn input(&mut self, around: &mut Around, input: Input) {
        self.node.is_connecting = matches!(input, Input::Connect(_));
        around.checker.deciding(around.server_instant());
        self.node.node.handle(around.server_now(), input, &self.tree);
    }

    /// Tells the node which sessions were heard since the last time.
    fn collect_touches(&mut self, around: &mut Around) {
        around.checker.collected();
        let since = std::mem::replace(&mut self.node.touches_since, around.server_instant());
        let heard = |conn: &ConnLane| {
            let at = conn.last_heard();
            (at >= since && conn.session() != SessionId::NONE).then_some((conn.session(), at))
        };
        let all = around.options.lie != Some(Lie::TouchesLost);
        let touched = self.conns.values().filter(|_| all).filter_map(heard).collect();
        self.input(around, Input::Touched(touched));
    }

    fn effect(&mut self, around: &mut Around, effect: Effect) {
        match effect {
            Effect::Append { zxid, payload } => {
                self.check_unread(around, &payload);
                around.fold(&payload);
                around.checker.proposed(zxid, &payload, around.server_instant());
                self.node.appends.push((zxid, payload));
            }
            Effect::Apply { upto, steps } => self.apply(around, upto, &steps),
            Effect::OverQuota(_) | Effect::Expiring { .. } => {}
            Effect::Deliver(conn, delivery) => {
                around.checker.told(conn, &delivery);
                if let Delivery::Connected { session, timeout_ms, .. } = &delivery
                    && self.node.is_connecting
                {
                    around.checker.resumed(*session, *timeout_ms, around.server_instant());
                }
                self.push(around, conn, delivery);
            }
        }
    }

    /// Design rule 5: nobody expires whose bytes have been waiting to be read, if only the server was at fault.
    fn check_unread(&mut self, around: &mut Around, payload: &Bytes) {
        let Ok(logged) = LoggedTxn::decode(payload) else { return };
        if !matches!(logged.txn, Txn::CloseSession { .. }) || logged.header.cxid.0 != 0 {
            return;
        }
        let patience = 4 * 1000 * around.options.lag_rare_us + 1_000_000;
        let is_slow = around.options.node.tick.0 * 500_000 < patience;
        for (id, lane) in &self.conns {
            let since = around.network.pipes.get(id).and_then(|pipe| pipe.up.unread_since);
            let waits = since.is_some_and(|since| since + patience < around.now);
            if lane.session() == logged.header.session && waits && !is_slow && lane.could_read() {
                let what = format!("I16 session {} expires, unread since {since:?}", lane.session());
                around.checker.fail(&what);
            }
        }
    }

    fn apply(&mut self, around: &mut Around, upto: Zxid, steps: &[Step]) {
        around.note(|| format!("applies up to {upto:?}: {steps:?}"));
        let (mut outcomes, mut answers, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Txn(logged) => outcomes.push(self.apply_one(around, logged, &mut told)),
                Step::Reads(requests) => {
                    let is_there = requests.first().is_some_and(|first| self.conns.contains_key(&first.conn));
                    let world = Guarded::new(&self.tree, &mut self.watches);
                    let answer = || gk_node::conn::answer_reads(requests, &self.rules, &world);
                    answers.push(is_there.then(answer));
                }
            }
        }
        if around.lies(Lie::TreeChanged) {
            // An ACL is not in the digest: only who compares whole trees can see it.
            let header = TxnHeader { session: SessionId::NONE, cxid: Xid(0), zxid: upto, time: WallTime(0) };
            let txn = Txn::SetAcl { path: "/r".to_owned(), acl: acl::read_only(), version: 0 };
            self.tree.apply(&header, &txn, &mut ());
        }
        for (conn, delivery) in told {
            self.push(around, conn, delivery);
        }
        self.node.follow_ups.push_back(Input::Applied { upto, outcomes, answers });
    }

    fn apply_one(&mut self, around: &mut Around, logged: &LoggedTxn, told: &mut Told) -> Outcome {
        around.checker.applying(logged);
        let anybody = around.options.lie == Some(Lie::EventToAnybody);
        let server = (&mut self.watches, &self.conns, &*self.rules);
        let outcome = self.tree.apply(&logged.header, &logged.txn, &mut Firing { server, told, anybody });
        let (want, have) = (logged.digest, self.tree.digest());
        if want.is_some() && have.is_some() && want != have {
            around.checker.fail(&format!("I12 the digest after {:?} is {have:x?}, not {want:x?}", logged.header.zxid));
        }
        outcome
    }

    /// Gives the log what was proposed; how long that took.
    fn hand_to_log(&mut self, around: &mut Around) -> u64 {
        let appends = std::mem::take(&mut self.node.appends);
        let alone = self.inbox.is_empty() && self.log.is_idle();
        let own = around.options.own_commits;
        if !(alone && around.chance(own)) {
            self.log.queue(appends);
            let after = around.lag();
            self.wake_log(around, after);
            return 0;
        }
        if let Some(upto) = self.commit(around, appends) {
            self.node.follow_ups.push_back(Input::Durable { upto });
        }
        around.disk_time()
    }
}

type Told = Vec<(ConnId, Delivery)>;

/// Fires watches while txns are applied.
struct Firing<'a> {
    server: (&'a mut Watches, &'a std::collections::BTreeMap<ConnId, ConnLane>, &'a gk_node::auth::AuthRules),
    told: &'a mut Told,
    /// A lie: nobody is asked what they may read.
    anybody: bool,
}

impl Firing<'_> {
    fn fire(&mut self, zxid: Zxid, fire: impl FnOnce(&mut Watches, &mut Deliver<'_>)) {
        let (watches, conns, rules) = &mut self.server;
        let (told, anybody) = (&mut *self.told, self.anybody);
        fire(watches, &mut |conn, kind, path, acl| {
            let Some(lane) = conns.get(&conn) else { return };
            if anybody || rules.allows(acl, perm::READ, lane.ids()) {
                told.push((conn, Delivery::Event { zxid, kind, path: path.clone() }));
            }
        });
    }
}

type Deliver<'d> = dyn FnMut(ConnId, EventType, &std::sync::Arc<str>, &AclList) + 'd;

impl ChangeSink for Firing<'_> {
    fn changed(&mut self, change: Change<'_>) {
        self.fire(change.zxid, |watches, mut deliver| watches.fire(&change, &mut deliver));
    }

    fn owner_died(&mut self, dead: &DeadOwner<'_>) {
        self.fire(dead.zxid(), |watches, mut deliver| watches.fire_dead(dead, &mut deliver));
    }
}
