//! The thread that owns the log: everything that arrives while it syncs is written and synced together.
//!
//! A small batch on a fast disk need not wait for this thread: where nothing else waits for the node, its own thread
//! commits it, which saves two context switches (design rule 11, there for a single write).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gk_proto::Zxid;
use gk_proto::rng::Rng;
use gk_storage::{CommitReport, Log, LogSize, Space, StorageError};
use parking_lot::{Condvar, Mutex};
use tracing::{error, warn};

use crate::config::StorageConfig;
use crate::inbox::Event;
use crate::shared::Shared;

/// A commit below this time may be waited for by the node's thread, if it is of no more txns than this.
const FAST_COMMIT_US: u64 = 1000;
const SMALL_BATCH: usize = 128;
/// Pause between attempts to find room on a full disk.
const SPACE_RETRY: Duration = Duration::from_secs(1);
/// Whatever the sizes say, a log this long calls for a snapshot.
const LOG_BYTES_MAX: u64 = 4 << 30;

/// The log and the txns on their way into it.
pub(crate) struct LogLane {
    queue: Mutex<Queue>,
    arrived: Condvar,
    log: Mutex<Writer>,
    load: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    txns: Vec<(Zxid, Bytes)>,
    /// The node's thread met a full disk: try again without new txns.
    retry: bool,
    stopping: bool,
}

struct Writer {
    log: Log,
    trigger: Trigger,
    file: FileLimit,
    snapshots: Arc<SnapshotBell>,
    /// The disk has no room: what was accepted waits in the log's buffer, and nothing more is accepted.
    full: bool,
}

impl LogLane {
    pub(crate) fn new(
        log: Log,
        config: &StorageConfig,
        snapshot_bytes: u64,
        rng: Rng,
        bell: Arc<SnapshotBell>,
    ) -> Self {
        let trigger = Trigger::new(config, snapshot_bytes, rng);
        Self {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            log: Mutex::new(Writer { log, trigger, file: FileLimit::new(config), snapshots: bell, full: false }),
            load: AtomicUsize::new(0),
        }
    }

    /// Makes the txns durable: at once if that is quick, else by the thread. The zxid up to which all is durable now.
    pub(crate) fn append(&self, txns: &mut Vec<(Zxid, Bytes)>, may_wait: bool, shared: &Shared) -> Option<Zxid> {
        let load = self.note_load(txns.len());
        let fast = shared.disk.last_commit_us.load(Ordering::Relaxed) < FAST_COMMIT_US;
        if may_wait
            && fast
            && load <= SMALL_BATCH
            && self.queue.lock().txns.is_empty()
            && let Some(mut writer) = self.log.try_lock()
        {
            let durable = writer.commit(txns, shared);
            if writer.full {
                self.queue.lock().retry = true;
                self.arrived.notify_one();
            }
            return durable;
        }
        self.queue.lock().txns.append(txns);
        self.arrived.notify_one();
        None
    }

    /// The largest of the recent batches, older ones fading: between large ones a small one is better left to the thread,
    /// as the node's has the next to prepare.
    fn note_load(&self, batch: usize) -> usize {
        let faded = self.load.load(Ordering::Relaxed) * 7 / 8;
        self.load.store(faded.max(batch), Ordering::Relaxed);
        faded.max(batch)
    }

    /// Starts a new file with the next txn, as a snapshot begins.
    pub(crate) fn snapshot_began(&self) {
        let mut writer = self.log.lock();
        writer.log.snapshot_began();
        writer.snapshots.answer();
        // A new file would need the room that is missing.
        if !writer.full {
            writer.log.roll();
            writer.file.bytes = 0;
        }
    }

    /// A snapshot has been written: what the next one is measured by.
    pub(crate) fn snapshot_done(&self, bytes: u64) {
        self.log.lock().trigger.snapshot_bytes = bytes;
    }

    /// Has the thread finish what it has and end.
    pub(crate) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.arrived.notify_one();
    }

    /// The thread.
    pub(crate) fn run(&self, shared: &Shared) {
        let mut txns = Vec::new();
        // A disk that is full already is met before the first write.
        let mut full = self.turn(&mut txns, shared);
        while self.wait_for_work(full) {
            full = self.turn(&mut txns, shared);
        }
    }

    /// Waits for txns, or, while the disk is full, for the next attempt; false when the thread must end.
    fn wait_for_work(&self, full: bool) -> bool {
        let mut queue = self.queue.lock();
        while queue.txns.is_empty() && !queue.retry && !queue.stopping {
            if !full {
                self.arrived.wait(&mut queue);
            } else if self.arrived.wait_for(&mut queue, SPACE_RETRY).timed_out() {
                break;
            }
        }
        !(queue.stopping && (full || queue.txns.is_empty()))
    }

    /// Commits what has come; whether the disk is full. The log is locked before the queue is free again: otherwise
    /// the node's thread could commit a later txn first.
    fn turn(&self, txns: &mut Vec<(Zxid, Bytes)>, shared: &Shared) -> bool {
        let mut queue = self.queue.lock();
        let mut writer = self.log.lock();
        std::mem::swap(&mut queue.txns, txns);
        queue.retry = false;
        drop(queue);
        if let Some(durable) = writer.commit(txns, shared) {
            shared.inbox.push(Event::Durable(durable));
        }
        writer.full
    }

    /// Ends the log in good order, once its thread has ended.
    pub(crate) fn close(self) -> Result<(), StorageError> {
        self.log.into_inner().log.close()
    }
}

impl Writer {
    /// Writes and syncs what is given and what waits; the last durable txn, or `None` if nothing became durable: the disk
    /// is full, or an error ends the server.
    fn commit(&mut self, txns: &mut Vec<(Zxid, Bytes)>, shared: &Shared) -> Option<Zxid> {
        for (zxid, payload) in txns.drain(..) {
            self.log.append(zxid, &payload);
        }
        let began = shared.clock.instant();
        let committed = self.log.commit();
        let report = match committed {
            Ok(report) => report,
            Err(StorageError::NoSpace { .. }) => {
                self.set_full(true, shared);
                return None;
            }
            Err(failed) => return fail(failed, shared),
        };
        if report.syncs > 0 {
            self.measure(began, &report, shared);
        }
        if let Some(failed) = report.marks_renewed {
            warn!("the marks beside the log could not be written and were begun anew: {failed}");
        }
        if let Some(failed) = report.marks_failed {
            warn!("the marks beside the log could not be written and pause until the next log file: {failed}");
        }
        match self.log.ensure_space() {
            Ok(space) => self.set_full(space != Space::Ample, shared),
            Err(failed) => return fail(failed, shared),
        }
        if self.file.is_exceeded(report.written.bytes) && !self.full {
            self.log.roll();
        }
        if self.trigger.is_due(self.log.since_snapshot()) {
            self.snapshots.ring();
        }
        (report.written.txns > 0).then_some(report.durable)
    }

    /// While the disk is full writes are refused and reads go on.
    fn set_full(&mut self, full: bool, shared: &Shared) {
        if std::mem::replace(&mut self.full, full) == full {
            return;
        }
        if full {
            error!("the disk of the transaction log is full: writes are refused until it has room, reads go on");
        } else {
            warn!("the disk of the transaction log has room again: writes are accepted");
        }
        shared.inbox.push(Event::DiskFull(full));
    }

    fn measure(&self, began: gk_proto::Instant, report: &CommitReport, shared: &Shared) {
        let took_us = shared.clock.instant().0.saturating_sub(began.0) / 1000;
        shared.disk.last_commit_us.store(took_us, Ordering::Relaxed);
        shared.disk.fsync.lock().add(took_us / 1000);
        if took_us / 1000 > shared.config.storage.fsync_warning.0 {
            shared.disk.slow_fsyncs.fetch_add(1, Ordering::Relaxed);
            warn!(
                "fsync-ing the write ahead log in log-writer took {}ms which will adversely effect operation latency. \
                 {} bytes of {} txns were written",
                took_us / 1000,
                report.written.bytes,
                report.written.txns
            );
        }
    }
}

/// An error of the disk is final: nothing after it is acknowledged, and the server ends.
fn fail(failed: StorageError, shared: &Shared) -> Option<Zxid> {
    shared.inbox.push(Event::Stop(Some(failed.into())));
    None
}

/// Decides when a log file is long enough (`txnLogSizeLimitInKb`). A start begins a new file.
struct FileLimit {
    bytes: u64,
    bytes_max: u64,
}

impl FileLimit {
    fn new(config: &StorageConfig) -> Self {
        Self { bytes: 0, bytes_max: config.log_file_bytes_max.unwrap_or(u64::MAX) }
    }

    /// Counts what was written; true, and counting anew, when the next txn belongs into a new file.
    fn is_exceeded(&mut self, written: u64) -> bool {
        self.bytes += written;
        let exceeded = self.bytes > self.bytes_max;
        if exceeded {
            self.bytes = 0;
        }
        exceeded
    }
}

/// Decides when a snapshot is due: by count or bytes as ZooKeeper, at a random point so that members of an ensemble
/// do not all write at once; but not before the log is as long as the last snapshot.
struct Trigger {
    txns_max: u64,
    bytes_max: Option<u64>,
    txns_due: u64,
    bytes_due: u64,
    snapshot_bytes: u64,
    rng: Rng,
}

impl Trigger {
    fn new(config: &StorageConfig, snapshot_bytes: u64, rng: Rng) -> Self {
        let (txns_max, bytes_max) = (config.snapshot_txns, config.snapshot_log_bytes);
        let mut trigger = Self { txns_max, bytes_max, txns_due: 0, bytes_due: 0, snapshot_bytes, rng };
        trigger.draw();
        trigger
    }

    fn draw(&mut self) {
        let half = |max: u64, rng: &mut Rng| max / 2 + rng.below(max / 2);
        self.txns_due = half(self.txns_max, &mut self.rng);
        self.bytes_due = self.bytes_max.map_or(u64::MAX, |max| half(max, &mut self.rng));
    }

    fn is_due(&mut self, since: LogSize) -> bool {
        let wanted = since.txns > self.txns_due || since.bytes > self.bytes_due;
        let worth_it = since.bytes >= self.snapshot_bytes.min(LOG_BYTES_MAX) || since.txns >= self.txns_max * 10;
        let due = wanted && worth_it;
        if due {
            self.draw();
        }
        due
    }
}

/// Calls for a snapshot. What was called for before one begins, that one answers; what is called for while it is being
/// written waits until it is done.
#[derive(Default)]
pub(crate) struct SnapshotBell {
    call: Mutex<Call>,
    changed: Condvar,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Call {
    #[default]
    Quiet,
    Waiting,
    Stopping,
}

impl SnapshotBell {
    /// Calls for one.
    pub(crate) fn ring(&self) {
        let mut call = self.call.lock();
        if *call == Call::Quiet {
            *call = Call::Waiting;
            self.changed.notify_one();
        }
    }

    /// The snapshot that begins now is what was called for: under load the log calls again before it does.
    pub(crate) fn answer(&self) {
        let mut call = self.call.lock();
        if *call == Call::Waiting {
            *call = Call::Quiet;
        }
    }

    /// Has whoever waits end.
    pub(crate) fn stop(&self) {
        *self.call.lock() = Call::Stopping;
        self.changed.notify_one();
    }

    /// Whether the server stops.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.call.lock() == Call::Stopping
    }

    /// Waits at most so long for a call; true if there was one.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let mut call = self.call.lock();
        if *call == Call::Quiet {
            self.changed.wait_for(&mut call, timeout);
        }
        let called = *call == Call::Waiting;
        if called {
            *call = Call::Quiet;
        }
        called
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(snapshot_bytes: u64) -> Trigger {
        let mut config = crate::config::Config::built_in().storage;
        config.snapshot_txns = 100;
        Trigger::new(&config, snapshot_bytes, Rng::new(1))
    }

    #[test]
    fn a_log_file_ends_once_it_exceeds_its_limit() {
        let mut config = crate::config::Config::built_in().storage;
        assert!(!FileLimit::new(&config).is_exceeded(u64::MAX), "no limit");
        config.log_file_bytes_max = Some(100);
        let mut file = FileLimit::new(&config);
        assert_eq!([100, 1, 100, 1].map(|written| file.is_exceeded(written)), [false, true, false, true], "twice");
    }

    /// Under load every snapshot was followed by a second one at once: the log had called again before the first began.
    #[test]
    fn a_snapshot_answers_every_call_before_it() {
        let bell = SnapshotBell::default();
        bell.ring();
        assert!(bell.wait(Duration::ZERO), "called");
        bell.ring();
        bell.answer();
        assert!(!bell.wait(Duration::ZERO), "called again before it began");
        bell.ring();
        assert!(bell.wait(Duration::ZERO), "called while it is being written");
        bell.stop();
        bell.answer();
        assert!(bell.is_stopping(), "an answer does not undo the end");
    }

    #[test]
    fn a_snapshot_is_due_between_half_the_count_and_the_count() {
        let mut trigger = trigger(0);
        assert!(!trigger.is_due(LogSize { txns: 50, bytes: 1 }), "at half");
        assert!(trigger.is_due(LogSize { txns: 101, bytes: 1 }), "above the count");
    }

    #[test]
    fn a_large_tree_is_not_written_again_for_a_short_log() {
        let mut trigger = trigger(1 << 20);
        assert!(!trigger.is_due(LogSize { txns: 500, bytes: 1 << 19 }), "log shorter than the snapshot");
        assert!(trigger.is_due(LogSize { txns: 500, bytes: 1 << 20 }), "as long");
        assert!(trigger.is_due(LogSize { txns: 1000, bytes: 1 }), "ten times the count");
    }
}
