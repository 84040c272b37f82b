//! The thread that owns the node: feeds it batches and carries out what it wants done.
//!
//! Writing to the shared tree happens here alone. Under the write guard txns are applied, the watches they fire are put into
//! outboxes, and the reads that stand between them are answered; everything else (replies, wake-ups, freeing) happens
//! outside.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use gk_node::conn::World;
use gk_node::{Delivery, Effect, Input, Node, OverQuota, Request, Step};
use gk_proto::acl::perm;
use gk_proto::{ConnId, Instant, SessionId, Zxid};
use gk_tree::{Change, ChangeSink, DeadOwner, Tree, Watches};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::error::ServeError;
use crate::inbox::Event;
use crate::link::Link;
use crate::log_lane::LogLane;
use crate::shared::Shared;
use crate::throttle::Remarks;

/// Nodes of a dead owner removed under one write guard, and the pause between two such pieces if nothing else comes.
const SWEEP_PIECE: usize = 200;
const SWEEP_PAUSE: Duration = Duration::from_micros(200);
/// Txns that are handed to the log before all that has arrived is done.
const HANDED_OVER_AT: usize = 400;
/// Views that were given up in a row after which writes are slowed until one completes.
const VIEWS_ABANDONED_MAX: u32 = 2;

/// Drives one node until it is told to stop.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    node: Node,
    log: Arc<LogLane>,
    appends: Vec<(Zxid, Bytes)>,
    /// Inputs that follow from effects, fed once the effects are drained.
    follow_ups: Vec<Input>,
    /// Connections that got something and sleep, by shard.
    to_wake: Vec<ToWake>,
    touches_since: Instant,
    views_abandoned: u32,
    quota_remarks: Remarks,
    /// Sessions that are being expired on demand, and who is told once they are gone.
    expiring: Vec<(SessionId, oneshot::Sender<bool>)>,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, node: Node, log: Arc<LogLane>) -> Self {
        let to_wake = shared.shards.iter().map(|_| ToWake::default()).collect();
        let touches_since = shared.clock.instant();
        Self {
            shared,
            node,
            log,
            appends: Vec::new(),
            follow_ups: Vec::new(),
            to_wake,
            touches_since,
            views_abandoned: 0,
            quota_remarks: Remarks::new(1),
            expiring: Vec::new(),
        }
    }

    /// Runs until [`Event::Stop`]; the error that came with it.
    pub(crate) fn run(mut self) -> Option<ServeError> {
        let mut events = Vec::new();
        loop {
            let sweeping = self.shared.tree.read(gk_tree::Tree::is_sweeping);
            let wait = if sweeping { SWEEP_PAUSE } else { self.shared.clock.until(self.node.poll_timeout()) };
            self.shared.inbox.take(wait, &mut events);
            for event in events.drain(..) {
                if let ControlFlow::Break(error) = self.event(event) {
                    return error;
                }
                // The log can be written while the node goes on.
                if self.appends.len() >= HANDED_OVER_AT {
                    self.flush();
                }
            }
            if self.shared.clock.instant() >= self.node.poll_timeout() {
                self.timeout();
            }
            if sweeping {
                self.shared.tree.write_yielding(|tree| tree.sweep(SWEEP_PIECE));
            }
            self.flush();
        }
    }

    fn event(&mut self, event: Event) -> ControlFlow<Option<ServeError>> {
        match event {
            Event::Requests(requests) => self.input(Input::Requests(requests)),
            Event::Connect(connect) => self.input(Input::Connect(connect)),
            Event::Disconnected { conn, session, heard } => {
                self.input(Input::Disconnected { conn, session, heard });
            }
            Event::Durable(upto) => self.input(Input::Durable { upto }),
            Event::DiskFull(full) => self.input(Input::DiskFull(full)),
            Event::BeginView(answer) => {
                let head = self.shared.tree.write(gk_tree::Tree::begin_view);
                // Whoever asked has ended only if the server stops.
                let _ = answer.send(head);
            }
            Event::EndView { abandoned } => {
                self.views_abandoned = if abandoned { self.views_abandoned + 1 } else { 0 };
                let remains = self.shared.tree.write(gk_tree::Tree::end_view);
                drop(remains);
            }
            Event::ExpireSession { session, answer } => {
                if self.is_live(session) {
                    self.input(Input::Expire(session));
                    self.expiring.push((session, answer));
                } else {
                    let _ = answer.send(false);
                }
            }
            Event::Dump(answer) => {
                let _ = answer.send(crate::report::dump(&self.node, &self.shared));
            }
            Event::Stop(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }

    fn is_live(&self, session: SessionId) -> bool {
        self.node.sessions().get(session).is_some_and(|known| !known.closing)
    }

    /// Answers those whose session is gone.
    fn answer_expired(&mut self) {
        let sessions = self.node.sessions();
        for (_, answer) in self.expiring.extract_if(.., |(session, _)| sessions.get(*session).is_none()) {
            let _ = answer.send(true);
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.shared.clock.now();
        let (node, shared) = (&mut self.node, &self.shared);
        shared.tree.read(|tree| node.handle(now, input, tree));
        self.effects();
    }

    fn timeout(&mut self) {
        self.collect_touches();
        let now = self.shared.clock.now();
        let (node, shared) = (&mut self.node, &self.shared);
        shared.tree.read(|tree| node.handle_timeout(now, tree));
        self.effects();
    }

    /// Tells the node which sessions were heard since the last time.
    fn collect_touches(&mut self) {
        let since = std::mem::replace(&mut self.touches_since, self.shared.clock.instant());
        let heard = |link: &Arc<Link>| {
            let at = link.last_heard();
            (at >= since && link.session() != SessionId::NONE).then_some((link.session(), at))
        };
        let touched = self.shared.links.read().values().filter_map(heard).collect();
        self.input(Input::Touched(touched));
    }

    /// Carries out all effects of the last input, and of the inputs that follow from them.
    fn effects(&mut self) {
        // Answers to what one connection sent together come one behind the other.
        let mut to: Option<Arc<Link>> = None;
        loop {
            while let Some(effect) = self.node.poll_effect() {
                match effect {
                    Effect::Append { zxid, payload } => self.appends.push((zxid, payload)),
                    Effect::Apply { upto, steps } => self.apply(upto, &steps),
                    Effect::OverQuota(over) => self.over_quota(&over),
                    Effect::Expiring { session, timeout_ms } => {
                        info!("Expiring session {session}, timeout of {timeout_ms}ms exceeded");
                    }
                    Effect::Deliver(conn, delivery) => {
                        if to.as_ref().is_none_or(|link| link.id != conn) {
                            to = self.shared.link(conn);
                        }
                        if let Some(link) = &to {
                            push(link, delivery, &mut self.to_wake);
                        }
                    }
                }
            }
            let Some(input) = (!self.follow_ups.is_empty()).then(|| self.follow_ups.remove(0)) else { return };
            let now = self.shared.clock.now();
            let (node, shared) = (&mut self.node, &self.shared);
            shared.tree.read(|tree| node.handle(now, input, tree));
        }
    }

    /// All of it under one guard. Events go into the outboxes at once, answers and results by way of the node.
    fn apply(&mut self, upto: Zxid, steps: &[Step]) {
        let shared = self.shared.clone();
        let to_wake = &mut self.to_wake;
        let (mut outcomes, mut answers) = (Vec::with_capacity(steps.len()), Vec::new());
        if steps.iter().any(|step| matches!(step, Step::Txn(_))) {
            shared.tree.write(|tree| {
                let mut watches = shared.watches.lock();
                for step in steps {
                    match step {
                        Step::Txn(logged) => {
                            let mut firing = Firing { shared: &shared, watches: &mut watches, to_wake };
                            let outcome = tree.apply(&logged.header, &logged.txn, &mut firing);
                            let (want, have) = (logged.digest, tree.digest());
                            let is_same = want.is_none() || have.is_none() || want == have;
                            assert!(is_same, "digest after {:?}", logged.header.zxid);
                            shared.note_digest(logged.header.zxid, have);
                            outcomes.push(outcome);
                        }
                        Step::Reads(requests) => {
                            let world = Alone { tree, watches: RefCell::new(&mut watches) };
                            answers.push(answer(&shared, requests, &world));
                        }
                    }
                }
            });
        } else {
            // Others may read meanwhile.
            let world = shared.world();
            for step in steps {
                if let Step::Reads(requests) = step {
                    answers.push(answer(&shared, requests, &world));
                }
            }
        }
        self.follow_ups.push(Input::Applied { upto, outcomes, answers });
    }

    /// One line a second at most: a client over its limit may write thousands of times.
    fn over_quota(&mut self, over: &OverQuota) {
        if self.quota_remarks.allow(self.shared.clock.instant()).is_none() {
            return;
        }
        warn!("Quota exceeded: {} has {} {}, limit {}", over.path, over.wanted, over.what, over.limit);
    }

    /// Hands what was proposed to the log, and wakes connections.
    fn flush(&mut self) {
        if self.views_abandoned >= VIEWS_ABANDONED_MAX && !self.appends.is_empty() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        while !self.appends.is_empty() {
            let alone = self.shared.inbox.is_empty();
            if let Some(upto) = self.log.append(&mut self.appends, alone, &self.shared) {
                self.input(Input::Durable { upto });
            }
        }
        self.shared.stats.outstanding.store(self.node.outstanding_requests(), Ordering::Relaxed);
        for (shard, wake) in self.shared.shards.iter().zip(&mut self.to_wake) {
            wake.replies.append(&mut wake.events);
            shard.wake(&mut wake.replies);
        }
        if !self.expiring.is_empty() {
            self.answer_expired();
        }
    }
}

impl Drop for Driver {
    /// However this thread ends: nobody is left waiting for an answer of it.
    fn drop(&mut self) {
        self.shared.inbox.close();
    }
}

/// Answers reads that have their place between two txns; none if their connection has ended. It may end meanwhile, and with
/// it its watches: one that was set after that is taken back.
fn answer(shared: &Shared, requests: &[Request], world: &impl World) -> Option<Delivery> {
    let conn = requests.first()?.conn;
    let answer = gk_node::conn::answer_reads(requests, &shared.rules, world);
    if shared.links.read().contains_key(&conn) {
        return Some(answer);
    }
    world.watches(|watches| watches.drop_conn(conn));
    None
}

/// The tree and the watches as they are between two txns of one guard.
struct Alone<'a> {
    tree: &'a Tree,
    watches: RefCell<&'a mut Watches>,
}

impl World for Alone<'_> {
    fn tree(&self) -> &Tree {
        self.tree
    }

    fn watches<R>(&self, change: impl FnOnce(&mut Watches) -> R) -> R {
        change(&mut self.watches.borrow_mut())
    }
}

/// Puts something into an outbox and notes whom to wake.
fn push(link: &Arc<Link>, delivery: Delivery, to_wake: &mut [ToWake]) {
    let is_event = matches!(delivery, Delivery::Event { .. });
    if link.push(delivery)
        && let Some(shard) = to_wake.get_mut(link.shard)
    {
        let list = if is_event { &mut shard.events } else { &mut shard.replies };
        list.push(link.clone());
    }
}

/// Connections of one shard that got something and sleep. Who waits for a reply is woken before those that only watch:
/// a writer should not wait for two thousand watchers. On one connection events still come first.
#[derive(Default)]
struct ToWake {
    replies: Vec<Arc<Link>>,
    events: Vec<Arc<Link>>,
}

/// Fires watches while txns are applied, under the write guard: a watch set before it cannot be missed, one set after
/// it does not see the change.
struct Firing<'a> {
    shared: &'a Shared,
    watches: &'a mut Watches,
    to_wake: &'a mut [ToWake],
}

impl Firing<'_> {
    fn fire(&mut self, zxid: Zxid, fire: impl FnOnce(&mut Watches, &mut Deliver<'_>)) {
        let (shared, to_wake) = (self.shared, &mut *self.to_wake);
        fire(self.watches, &mut |conn, kind, path, acl| {
            let Some(link) = shared.link(conn) else { return };
            // What the client may not read it is not told of (CVE-2024-23944).
            if shared.rules.allows(acl, perm::READ, &link.ids.lock()) {
                push(&link, Delivery::Event { zxid, kind, path: path.clone() }, to_wake);
            }
        });
    }
}

type Deliver<'d> = dyn FnMut(ConnId, gk_proto::watch::EventType, &Arc<str>, &gk_proto::acl::AclList) + 'd;

impl ChangeSink for Firing<'_> {
    fn changed(&mut self, change: Change<'_>) {
        if !self.watches.is_empty() {
            self.fire(change.zxid, |watches, mut deliver| watches.fire(&change, &mut deliver));
        }
    }

    fn owner_died(&mut self, dead: &DeadOwner<'_>) {
        if !self.watches.is_empty() {
            self.fire(dead.zxid(), |watches, mut deliver| watches.fire_dead(dead, &mut deliver));
        }
    }
}
