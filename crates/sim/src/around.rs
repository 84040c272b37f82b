//! What every part of a run needs: the one clock, the one source of chance, what is due when, the sockets, the checkers.

use std::collections::BTreeMap;

use gk_node::Now;
use gk_proto::rng::Rng;
use gk_proto::{ConnId, Instant, Millis, WallTime, Zxid};

use crate::checkers::Checker;
use crate::lies::Lie;
use crate::network::Network;
use crate::options::Options;

/// What is due at some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// A lane of the server takes its next step.
    Lane(Lane),
    /// Bytes, or an end, arrive at the server's or the client's side of a socket.
    ToServer(ConnId),
    ToClient(ConnId),
    /// A socket takes bytes of its client again.
    Writable(ConnId),
    /// An attempt of a client to connect comes to its end.
    Dialled {
        client: usize,
        attempt: ConnId,
    },
    /// A client's session is due.
    Client(usize),
    /// A client's program goes on.
    Program(usize),
    /// A planned fault.
    Fault(usize),
    /// The copy of the directory that a planned fault brings back is made.
    Copy(usize),
    /// What a fault did is over.
    Mended(Mend),
    /// The server is started.
    Start,
}

/// A thread of the server, or a runtime of its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    Node,
    Log,
    Snapshots,
    Conn(ConnId),
    /// Connections of one thread hand over what they have for the node.
    Handover(usize),
    /// The door looks for connections that have no session, or do not end.
    Door,
}

/// What is as it should be again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mend {
    Disk,
    FastDisk,
    Writable,
}

/// When a part is due, so that it can be made due earlier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Wake(Option<(u64, u64)>);

/// The clocks of the machine that the server runs on.
#[derive(Clone, Debug)]
pub(crate) struct ServerClock {
    /// True time since when it drifts as it does, and what it showed then: nanoseconds since the process started, and wall
    /// time without jumps, as nanoseconds since the start of the run.
    since: u64,
    shown: u64,
    shown_wall: u64,
    /// Nanoseconds that it gains or loses in a million.
    drift: i64,
    /// Milliseconds of all jumps of the wall clock.
    jumped_ms: i64,
    /// Wall time at which the process started.
    wall_at_start: WallTime,
    /// The next process starts at this wall time too.
    repeats: bool,
}

/// Wall time at the start of a run: November 2023.
const WALL_START_MS: i64 = 1_700_000_000_000;
const SECOND: u64 = 1_000_000_000;

#[derive(Debug)]
pub(crate) struct Around {
    /// True time, nanoseconds since the start of the run.
    pub(crate) now: u64,
    agenda: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    pub(crate) rng: Rng,
    pub(crate) options: Options,
    pub(crate) network: Network,
    pub(crate) checker: Checker,
    pub(crate) clock: ServerClock,
    /// Marks beside a log could not be written: from then on damage in it may look like a torn tail (`docs/durability.md`).
    pub(crate) unproven: bool,
    /// Txns up to this one stay provable whatever happens to what the disk has not synced.
    pub(crate) proven: Zxid,
    /// A commit of the disk takes so many times longer.
    pub(crate) disk_slowness: u64,
    /// The next operation of the disk takes so much longer, milliseconds.
    pub(crate) stall_ms: u64,
    /// Steps of the server so far, and those after which trees are compared.
    pub(crate) steps: u64,
    hash: u64,
    trace: bool,
}

impl Around {
    pub(crate) fn new(rng: Rng, options: Options, checker: Checker, trace: bool) -> Self {
        let drift = options.server_drift_ppm;
        let wall_at_start = WallTime(WALL_START_MS);
        let clock =
            ServerClock { since: 0, shown: 0, shown_wall: 0, drift, jumped_ms: 0, wall_at_start, repeats: false };
        Self {
            now: 0,
            agenda: BTreeMap::new(),
            scheduled: 0,
            rng,
            options,
            network: Network::default(),
            checker,
            clock,
            unproven: false,
            proven: Zxid::ZERO,
            disk_slowness: 1,
            stall_ms: 0,
            steps: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            trace,
        }
    }

    /// Has something happen after so many nanoseconds.
    pub(crate) fn schedule(&mut self, after: u64, event: Event) -> (u64, u64) {
        self.scheduled += 1;
        let key = (self.now + after, self.scheduled);
        self.agenda.insert(key, event);
        key
    }

    /// Has a part woken after so many nanoseconds, unless it is earlier anyway.
    pub(crate) fn wake(&mut self, wake: &mut Wake, after: u64, event: Event) {
        if let Some(key) = wake.0 {
            if key.0 <= self.now + after {
                return;
            }
            self.agenda.remove(&key);
        }
        wake.0 = Some(self.schedule(after, event));
    }

    /// Has a part woken at this time and no other.
    pub(crate) fn wake_at(&mut self, wake: &mut Wake, at: Option<u64>, event: Event) {
        if let Some(key) = wake.0.take() {
            self.agenda.remove(&key);
        }
        wake.0 = at.map(|at| self.schedule(at.saturating_sub(self.now), event));
    }

    /// The next thing that is due; time goes on to it.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let ((at, _), event) = self.agenda.pop_first()?;
        self.now = self.now.max(at);
        Some(event)
    }

    /// Forgets all that is due for a server that is no more.
    pub(crate) fn forget_lanes(&mut self) {
        self.agenda.retain(|_, event| !matches!(event, Event::Lane(_)));
    }

    /// A time below so many microseconds, as nanoseconds.
    pub(crate) fn micros(&mut self, below: u64) -> u64 {
        self.rng.below(below * 1000 + 1)
    }

    /// Whether this comes to pass, of 1,000 times so often.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.rng.below(1000) < per_mille
    }

    /// Whether this lie is told now.
    pub(crate) fn lies(&mut self, lie: Lie) -> bool {
        self.options.lie == Some(lie) && self.chance(100)
    }

    /// How long a thread waits for the processor before its next step: nearly always no time, now and then long.
    pub(crate) fn lag(&mut self) -> u64 {
        let below = match self.rng.below(1000) {
            0..900 => self.options.lag_us,
            900..995 => self.options.lag_us * 20,
            _ => self.options.lag_rare_us,
        };
        self.micros(below)
    }

    /// How long a write and sync of the disk takes.
    pub(crate) fn disk_time(&mut self) -> u64 {
        let below = if self.chance(20) { self.options.disk_us * 20 } else { self.options.disk_us };
        self.micros(below) * self.disk_slowness + nanos(std::mem::take(&mut self.stall_ms))
    }

    /// What time it is in true seconds.
    pub(crate) fn seconds(&self) -> u64 {
        self.now / SECOND
    }

    /// So that two runs can be compared.
    pub(crate) fn fold(&mut self, bytes: &[u8]) {
        for byte in self.now.to_le_bytes().iter().chain(bytes) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// A line for whoever reads a run.
    pub(crate) fn note(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>5}.{:06} {}", self.now / SECOND, self.now % SECOND / 1000, text());
        }
    }
}

impl Around {
    /// The clocks as the server reads them.
    pub(crate) fn server_now(&self) -> Now {
        Now { instant: self.server_instant(), wall: self.wall() }
    }

    pub(crate) fn server_instant(&self) -> Instant {
        Instant(self.clock.shown + self.ticked())
    }

    pub(crate) fn wall(&self) -> WallTime {
        let ms = ((self.clock.shown_wall + self.ticked()) / 1_000_000).cast_signed();
        WallTime(WALL_START_MS + ms + self.clock.jumped_ms)
    }

    /// Nanoseconds that the clocks have gone since their drift last changed.
    fn ticked(&self) -> u64 {
        let since = self.now - self.clock.since;
        since.saturating_add_signed(drifted(since, self.clock.drift))
    }

    /// The clocks run faster or slower from now on.
    pub(crate) fn drifts(&mut self, ppm: i64) {
        let ticked = self.ticked();
        let clock = &mut self.clock;
        (clock.since, clock.shown, clock.shown_wall) = (self.now, clock.shown + ticked, clock.shown_wall + ticked);
        clock.drift = ppm;
    }

    /// True nanoseconds until the server's clock shows this.
    pub(crate) fn until(&self, instant: Instant) -> u64 {
        let left = instant.0.saturating_sub(self.server_instant().0);
        // A little longer than needed, so that the time has come for certain.
        left.saturating_add_signed(drifted(left, -self.clock.drift)) + left / 1000 + 1
    }

    /// The process begins to count its time.
    pub(crate) fn process_started(&mut self) {
        self.drifts(self.clock.drift);
        self.clock.shown = 0;
        if std::mem::take(&mut self.clock.repeats) {
            self.clock.jumped_ms += self.clock.wall_at_start.0 - self.wall().0;
        }
        self.clock.wall_at_start = self.wall();
    }

    /// Whether the next process is started at the wall time at which the last one was.
    pub(crate) fn wall_repeats(&mut self, repeats: bool) {
        self.clock.repeats = repeats;
    }

    /// The wall clock is set.
    pub(crate) fn wall_jumps(&mut self, ms: i64) {
        self.clock.jumped_ms += ms;
    }

    /// The clock of a client.
    pub(crate) fn client_instant(&self, drift_ppm: i64) -> Instant {
        Instant(self.now.saturating_add_signed(drifted(self.now, drift_ppm)))
    }

    /// True nanoseconds until a client's clock shows this.
    pub(crate) fn client_until(&self, drift_ppm: i64, instant: Instant) -> u64 {
        let left = instant.0.saturating_sub(self.client_instant(drift_ppm).0);
        left.saturating_add_signed(drifted(left, -drift_ppm)) + left / 1000 + 1
    }
}

fn drifted(nanos: u64, ppm: i64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX).saturating_mul(ppm) / 1_000_000
}

/// Milliseconds as nanoseconds.
pub(crate) fn nanos(ms: u64) -> u64 {
    ms * 1_000_000
}

/// A span of time as milliseconds.
pub(crate) fn millis(ms: u64) -> Millis {
    Millis(ms)
}
