//! What all threads of a run share: what to do, when, and on which nodes.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use gk_client::{Client, ClientBuilder, Error};
use gk_proto::Instant;
use gk_proto::rng::Rng;

use super::arguments::Settings;
use super::clock::{Clock, nanos};
use super::workspace::Workspace;

/// A run. Nothing in it changes but its end.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) workspace: Workspace,
    /// Where random numbers begin.
    pub(crate) seed: u64,
    /// What nodes are filled with: as many bytes as the largest takes.
    pub(crate) payload: Vec<u8>,
    pub(crate) window: Window,
}

/// When the run begins, is measured and ends, known once all connections are there.
#[derive(Debug)]
pub(crate) struct Window {
    begin: AtomicU64,
    measured_from: AtomicU64,
    end: AtomicU64,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self { begin: AtomicU64::new(0), measured_from: AtomicU64::new(0), end: AtomicU64::new(u64::MAX) }
    }

    /// Begins the run.
    pub(crate) fn open(&self, now: Instant, settings: &Settings) {
        let measured_from = now.0.saturating_add(nanos(settings.warm_up));
        self.begin.store(now.0, Ordering::Relaxed);
        self.measured_from.store(measured_from, Ordering::Relaxed);
        self.end.store(measured_from.saturating_add(nanos(settings.duration)), Ordering::Relaxed);
    }

    /// Ends the run now.
    pub(crate) fn close(&self, now: Instant) {
        self.end.fetch_min(now.0, Ordering::Relaxed);
    }

    pub(crate) fn begin(&self) -> Instant {
        Instant(self.begin.load(Ordering::Relaxed))
    }

    pub(crate) fn measured_from(&self) -> Instant {
        Instant(self.measured_from.load(Ordering::Relaxed))
    }

    pub(crate) fn end(&self) -> Instant {
        Instant(self.end.load(Ordering::Relaxed))
    }

    /// Whether an operation that is to be sent at that moment counts.
    pub(crate) fn is_measured(&self, intended: Instant) -> bool {
        self.measured_from() <= intended && intended < self.end()
    }
}

impl Load {
    /// When a connection is to send its n-th operation: those of all connections are evenly spread. `None` without a rate.
    pub(crate) fn due(&self, connection: usize, nth: u64) -> Option<Instant> {
        let rate = u128::from(self.settings.rate?.get());
        let in_all = u128::from(nth) * self.settings.connections as u128 + connection as u128;
        let after = u64::try_from(in_all * 1_000_000_000 / rate).unwrap_or(u64::MAX);
        Some(Instant(self.window.begin().0.saturating_add(after)))
    }

    /// How many operations were due in the time that was measured. `None` without a rate.
    pub(crate) fn due_in_all(&self) -> Option<u64> {
        let rate = u128::from(self.settings.rate?.get());
        let before = |then: Instant| {
            let span = u128::from(then.0.saturating_sub(self.window.begin().0));
            u64::try_from((span * rate).div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
        };
        Some(before(self.window.end()).saturating_sub(before(self.window.measured_from())))
    }

    /// Data for a node.
    pub(crate) fn data(&self, rng: &mut Rng) -> &[u8] {
        let size = &self.settings.data_size;
        let spread = size.max() - size.min();
        let more = if spread == 0 { 0 } else { below(rng, spread + 1) };
        self.payload.get(..size.min() + more).unwrap_or_default()
    }

    /// Connects one session.
    pub(crate) fn connect(&self) -> impl Future<Output = Result<Client, Error>> + Send + use<> {
        connect(&self.settings)
    }
}

/// Connects a session as the settings want it.
pub(crate) fn connect(settings: &Settings) -> impl Future<Output = Result<Client, Error>> + Send + use<> {
    let servers = settings.servers.clone();
    let builder = builder(settings);
    async move { builder.connect(&servers).await }
}

fn builder(settings: &Settings) -> ClientBuilder {
    let builder = Client::builder()
        .session_timeout(settings.session_timeout)
        .connect_timeout(settings.session_timeout.min(CONNECT_TIMEOUT_MAX));
    settings.auth.iter().fold(builder, |builder, (scheme, text)| builder.auth(scheme, text))
}

/// Whoever waits for a load generator to start does not wait longer than this for a server that is not there.
const CONNECT_TIMEOUT_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// A number below `bound`, for indexes.
pub(crate) fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).expect("INVARIANT: it is below a usize")
}

/// Letters that do not compress to nothing.
pub(crate) fn payload(rng: &mut Rng, bytes: usize) -> Vec<u8> {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (0..bytes).map(|_| LETTERS.get(below(rng, LETTERS.len())).copied().unwrap_or_default()).collect()
}
