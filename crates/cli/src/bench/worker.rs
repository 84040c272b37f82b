//! A thread under load: a runtime of its own, and some of the connections.
//!
//! Threads share nothing that changes while they run but the time at which the run ends. Each has figures of its own.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use gk_client::{Client, Error};
use gk_proto::Instant;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::clock::{Timer, between};
use super::lane::{Bell, Lane};
use super::load::Load;
use super::tally::Tally;

/// What a thread reports.
#[derive(Debug)]
pub(crate) enum Event {
    /// All its connections are there.
    Connected,
    /// One could not be made: the thread ends.
    Failed(Error),
    /// Its part of the run is over: the thread ends.
    Done,
}

/// A thread under load.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) tally: Arc<Mutex<Tally>>,
    thread: JoinHandle<()>,
}

/// Connections that a thread makes at a time. A server that gets more than it can accept drops some.
const CONNECTING_MAX: usize = 16;
/// How long answers are waited for after the end.
const GRACE: Duration = Duration::from_secs(5);
/// How often a thread looks whether the run was ended early.
const LOOK: Duration = Duration::from_millis(50);

impl Worker {
    /// Starts a thread with every `threads`-th connection from `first` on. It begins when `go` says so, and ends early
    /// when that is dropped.
    pub(crate) fn start(
        load: &Arc<Load>,
        first: usize,
        events: mpsc::Sender<Event>,
        go: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let tally = Arc::new(Mutex::new(Tally::new()));
        let part = Part { load: load.clone(), tally: tally.clone(), first };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(format!("bench-{first}")).spawn(move || {
            runtime.block_on(async {
                let event = part.run(&events, go).await;
                // Nobody listens any more if the run was given up.
                let _ = events.send(event).await;
            });
        })?;
        Ok(Self { tally, thread })
    }

    /// Waits for the end of the thread.
    pub(crate) fn join(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// What a thread works on.
struct Part {
    load: Arc<Load>,
    tally: Arc<Mutex<Tally>>,
    first: usize,
}

impl Part {
    async fn run(self, events: &mpsc::Sender<Event>, mut go: watch::Receiver<bool>) -> Event {
        let connecting = tokio::select! {
            connected = self.connect() => connected,
            // Ended before it began.
            _ = go.wait_for(|_| false) => return Event::Done,
        };
        let lanes = match connecting {
            Ok(lanes) => lanes,
            Err(error) => return Event::Failed(error),
        };
        let _ = events.send(Event::Connected).await;
        if go.wait_for(|is_begun| *is_begun).await.is_err() {
            return Event::Done;
        }
        self.load(lanes).await;
        Event::Done
    }

    /// All its connections, each level with what was made before.
    async fn connect(&self) -> Result<Vec<Lane>, Error> {
        let permits = Arc::new(Semaphore::new(CONNECTING_MAX));
        let mut connecting = JoinSet::new();
        let settings = &self.load.settings;
        for number in (self.first..settings.connections).step_by(settings.threads) {
            let (permits, load) = (permits.clone(), self.load.clone());
            connecting.spawn(async move {
                let _permit = permits.acquire_owned().await;
                let client = load.connect().await?;
                client.sync(&load.workspace.root).await?;
                Ok::<(usize, Client), Error>((number, client))
            });
        }
        let mut clients = Vec::new();
        while let Some(connected) = connecting.join_next().await {
            clients.push(connected.expect("INVARIANT: these tasks neither panic nor are they cancelled")?);
        }
        // The schedule needs them in order.
        clients.sort_by_key(|(number, _)| *number);
        let lane = |(number, client)| Lane::new(self.load.clone(), self.tally.clone(), client, number);
        Ok(clients.into_iter().map(lane).collect())
    }

    async fn load(&self, lanes: Vec<Lane>) {
        let bells: Vec<(usize, Arc<Bell>)> = lanes.iter().map(|lane| (lane.number(), lane.bell())).collect();
        let mut running = JoinSet::new();
        for lane in lanes {
            running.spawn(lane.run());
        }
        if self.load.settings.rate.is_some() {
            // Without a timer there is the slower look below.
            if let Ok(timer) = Timer::new() {
                let (load, bells) = (self.load.clone(), bells.clone());
                tokio::spawn(async move { ring_when_due(&load, &bells, &timer).await });
            }
        }
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                ended = running.join_next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(error)) => panic!("a connection under load was stopped: {error}"),
                    None => return,
                },
                _ = looks.tick() => {
                    let (now, end) = (self.load.clock.now(), self.load.window.end());
                    if now >= end {
                        // Those that wait for an operation to be due learn that there will be none.
                        bells.iter().for_each(|(_, bell)| bell.ring());
                    }
                    if between(end, now) >= GRACE {
                        return;
                    }
                }
            }
        }
    }
}

/// Wakes each connection when its next operation is due, until the end.
async fn ring_when_due(load: &Load, bells: &[(usize, Arc<Bell>)], timer: &Timer) {
    let turn = |ring: u64| {
        let lanes = bells.len() as u64;
        let at = usize::try_from(ring % lanes).expect("INVARIANT: below the number of lanes");
        let (number, bell) = bells.get(at).expect("INVARIANT: below the number of lanes");
        (load.due(*number, ring / lanes).unwrap_or(Instant(u64::MAX)), bell)
    };
    let mut ring = 0;
    loop {
        let now = load.clock.now();
        if now >= load.window.end() {
            return;
        }
        let (mut due, mut bell) = turn(ring);
        while due <= now {
            bell.ring();
            ring += 1;
            (due, bell) = turn(ring);
        }
        // A timer that fails is a timer that goes off at once: the rate is kept, at the cost of CPU.
        if timer.wait(between(load.clock.now(), due)).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}
