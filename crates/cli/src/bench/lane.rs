//! One connection under load: it keeps operations under way and measures them.
//!
//! Answers come in the order of requests, so only the oldest is waited for: however many are under way, a batch of
//! answers wakes the task once.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gk_client::{Client, CreateMode, CreateOptions, Error, SessionState, Version};
use gk_proto::Instant;
use gk_proto::rng::Rng;
use parking_lot::Mutex;

use super::load::{Load, below};
use super::mix::{Operation, Work};
use super::operation::{Answer, Done, Flight, Watched};
use super::tally::Tally;

/// A connection.
///
/// Invariants:
/// - At most `depth` operations are under way (asserted in `Lane::send`).
/// - A node that is deleted was made by this lane, in an operation that succeeded: without failures of the server no
///   delete fails (`every_operation_is_measured_and_every_node_removed`).
pub(crate) struct Lane {
    load: Arc<Load>,
    /// Shared with the lanes of the same thread, and once a second with the line of progress.
    tally: Arc<Mutex<Tally>>,
    bell: Arc<Bell>,
    client: Client,
    number: usize,
    rng: Rng,
    flights: VecDeque<Flight>,
    /// Operations sent so far.
    sent: u64,
    /// Nodes made and not yet deleted.
    made: Vec<String>,
    made_ephemeral: Vec<String>,
    names: u64,
}

/// Wakes a lane whose next operation is due.
#[derive(Default, Debug)]
pub(crate) struct Bell(Mutex<Option<Waker>>);

/// Why a lane stops sending.
enum Pause {
    /// The time is over and everything is answered.
    Over,
    /// There is no connection for now.
    Cut,
    /// A new session is needed.
    SessionOver,
}

/// How long a session's end is waited for, and between attempts at a new one.
const CLOSE_TIME: Duration = Duration::from_secs(2);
const RETRY_TIME: Duration = Duration::from_millis(200);

impl Lane {
    pub(crate) fn new(load: Arc<Load>, tally: Arc<Mutex<Tally>>, client: Client, number: usize) -> Self {
        let rng = Rng::new(load.seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self {
            load,
            tally,
            bell: Arc::default(),
            client,
            number,
            rng,
            flights: VecDeque::new(),
            sent: 0,
            made: Vec::new(),
            made_ephemeral: Vec::new(),
            names: 0,
        }
    }

    /// What wakes it.
    pub(crate) fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
    }

    /// Which of all connections it is.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Runs until the time is over.
    pub(crate) async fn run(mut self) {
        loop {
            match poll_fn(|context| self.poll(context)).await {
                Pause::Over => break,
                Pause::Cut => self.reconnected().await,
                Pause::SessionOver => self.replace_session().await,
            }
        }
        // An end that is not confirmed comes by the session timeout.
        let _ = tokio::time::timeout(CLOSE_TIME, self.client.close()).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Pause> {
        self.bell.listen(context);
        loop {
            if let Some(pause) = self.settle(context) {
                return Poll::Ready(pause);
            }
            let now = self.load.clock.now();
            if now >= self.load.window.end() {
                return if self.flights.is_empty() { Poll::Ready(Pause::Over) } else { Poll::Pending };
            }
            // What was sent is the oldest now, and must be asked once to wake this task.
            let was_idle = self.flights.is_empty();
            self.send(now);
            if !was_idle || self.flights.is_empty() {
                return Poll::Pending;
            }
        }
    }

    /// Takes the answers that are there.
    fn settle(&mut self, context: &mut Context<'_>) -> Option<Pause> {
        let mut now = None;
        let mut pause = None;
        let mut tally = None;
        while let Some(flight) = self.flights.front_mut() {
            let Poll::Ready(result) = flight.answer.poll(context) else { break };
            let now = *now.get_or_insert_with(|| self.load.clock.now());
            let tally = tally.get_or_insert_with(|| self.tally.lock());
            match result {
                Ok(done) => {
                    tally.succeeded(flight.operation, flight.intended, now, flight.is_measured);
                    match (done, flight.operation) {
                        (Done::Made(path), Operation::CreateEphemeral) => self.made_ephemeral.push(path),
                        (Done::Made(path), _) => self.made.push(path),
                        (Done::Other, _) => {}
                    }
                }
                Err(error) => {
                    tally.failed(flight.operation, &error, flight.is_measured);
                    pause = after(&error).or(pause);
                }
            }
            self.flights.pop_front();
        }
        pause
    }

    /// Sends what is due and has room.
    fn send(&mut self, now: Instant) {
        let tally = self.tally.clone();
        let mut tally = tally.lock();
        while let Some(intended) = self.may_send(now) {
            let (operation, answer) = self.begin();
            let is_measured = self.load.window.is_measured(intended);
            if is_measured {
                tally.sent(operation);
            }
            self.sent += 1;
            self.flights.push_back(Flight { operation, intended, is_measured, answer });
        }
        let (under_way, depth) = (self.flights.len(), self.load.settings.depth);
        assert!(under_way <= depth, "{under_way} operations are under way, {depth} may be");
    }

    /// When the next operation was to be sent, if it may be sent now.
    fn may_send(&self, now: Instant) -> Option<Instant> {
        if self.flights.len() >= self.load.settings.depth {
            return None;
        }
        match self.load.due(self.number, self.sent) {
            Some(due) => Some(due).filter(|due| *due <= now),
            None => Some(now),
        }
    }

    fn begin(&mut self) -> (Operation, Answer) {
        let client = &self.client;
        let nodes = &self.load.workspace.nodes;
        let node = nodes.get(below(&mut self.rng, nodes.len())).expect("INVARIANT: an index below their number");
        match self.load.settings.mix.pick(&mut self.rng) {
            Work::Read => (Operation::Read, Answer::Data(client.get_data(node))),
            Work::Write => {
                let data = self.load.data(&mut self.rng);
                (Operation::Write, Answer::Stat(client.set_data(node, data, Version::Any)))
            }
            Work::Exists => (Operation::Exists, Answer::Existing(client.exists(node), node.clone())),
            Work::Children => (Operation::Children, Answer::Names(client.children(&self.load.workspace.parent))),
            Work::CreateDelete => match self.made.pop() {
                Some(path) => (Operation::Delete, Answer::Nothing(client.delete(&path, Version::Any))),
                None => (Operation::Create, self.create(CreateMode::Persistent)),
            },
            Work::Ephemeral => match self.made_ephemeral.pop() {
                Some(path) => (Operation::DeleteEphemeral, Answer::Nothing(client.delete(&path, Version::Any))),
                None => (Operation::CreateEphemeral, self.create(CreateMode::Ephemeral)),
            },
            Work::Watch => {
                let set = Some(client.get_data_and_watch(node));
                let data = self.load.data(&mut self.rng);
                let written = Some(client.set_data(node, data, Version::Any));
                (Operation::Watch, Answer::Fired(Box::new(Watched { set, watch: None, written })))
            }
            Work::Sync => (Operation::Sync, Answer::Nothing(client.sync(node))),
        }
    }

    fn create(&mut self, mode: CreateMode) -> Answer {
        self.names += 1;
        let path = format!("{}/c{}-{}", self.load.workspace.churn, self.number, self.names);
        let options = CreateOptions::new(mode).acl(self.load.workspace.acl.clone());
        let data = self.load.data(&mut self.rng);
        Answer::Created(self.client.create(&path, data, options))
    }

    /// Waits until there is a connection or no session any more.
    async fn reconnected(&self) {
        let mut states = self.client.states();
        let is_settled = |state: SessionState| state.is_connected() || state.is_final();
        if is_settled(self.client.state()) {
            // Whatever failed without a connection to wait for: the session's own task gets its turn first.
            tokio::task::yield_now().await;
            return;
        }
        while let Some(state) = states.next().await {
            if is_settled(state) {
                return;
            }
        }
    }

    /// Begins a new session in place of one that has ended. Its ephemeral nodes went with it.
    async fn replace_session(&mut self) {
        while self.client.state().is_final() && self.load.clock.now() < self.load.window.end() {
            match self.load.connect().await {
                Ok(client) => {
                    let mut tally = self.tally.lock();
                    tally.sessions_replaced += 1;
                    tally.reconnects += reconnects(&self.client);
                    self.client = client;
                    self.made_ephemeral.clear();
                }
                Err(_not_yet) => tokio::time::sleep(RETRY_TIME).await,
            }
        }
    }
}

impl Drop for Lane {
    /// Also of a lane that is given up at the end of a run.
    fn drop(&mut self) {
        self.tally.lock().reconnects += reconnects(&self.client);
    }
}

fn reconnects(client: &Client) -> u64 {
    client.counters().connections.saturating_sub(1)
}

/// What has to happen after an error before more is sent.
fn after(error: &Error) -> Option<Pause> {
    if error.ends_session() {
        return Some(Pause::SessionOver);
    }
    // A server that answers can be asked again at once.
    let is_answer = matches!(error, Error::Server { .. } | Error::Multi { .. } | Error::UnknownCode { .. });
    (!is_answer).then_some(Pause::Cut)
}

impl Bell {
    /// Wakes the lane.
    pub(crate) fn ring(&self) {
        let waker = self.0.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn listen(&self, context: &Context<'_>) {
        let mut waker = self.0.lock();
        match &mut *waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => *waker = Some(context.waker().clone()),
        }
    }
}
