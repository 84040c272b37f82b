//! The log's thread (`gk_server::log_lane`): takes what is queued, commits it, and tells the node some time later.

use bytes::Bytes;
use gk_proto::Zxid;
use gk_storage::{Log, LogSize, Space, StorageError};

use super::{Message, Server};
use crate::around::{Around, Event, Lane, Wake, nanos};
use crate::lies::Lie;

/// Pause between attempts to find room on a full disk, milliseconds.
const SPACE_RETRY_MS: u64 = 100;

pub(super) struct LogLane {
    log: Log,
    queue: Vec<(Zxid, Bytes)>,
    turn: Turn,
    /// The disk has no room: what was accepted waits in the log's buffer, and nothing more is accepted.
    full: bool,
    retry: bool,
    trigger: Trigger,
    file_bytes: u64,
    wake: Wake,
    /// A snapshot is due.
    pub(super) rings: bool,
}

/// Where the thread is. It holds the log from the moment it has taken the queue until it has told the node.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Waiting,
    Taken(Vec<(Zxid, Bytes)>),
    Committed(Option<Zxid>),
}

/// When a snapshot is due: after so many txns, but not before the log is as long as the last snapshot.
struct Trigger {
    due: u64,
    snapshot_bytes: u64,
}

impl LogLane {
    pub(super) fn new(log: Log, snapshot_bytes: u64, around: &mut Around) -> Self {
        let due = half(around);
        Self {
            log,
            queue: Vec::new(),
            turn: Turn::Waiting,
            full: false,
            retry: true,
            trigger: Trigger { due, snapshot_bytes },
            file_bytes: 0,
            wake: Wake::default(),
            rings: false,
        }
    }

    pub(super) fn queue(&mut self, txns: Vec<(Zxid, Bytes)>) {
        self.queue.extend(txns);
    }

    /// Whether nothing waits and nobody holds the log.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.turn == Turn::Waiting
    }

    /// A snapshot begins: the next txn begins a new file.
    pub(super) fn snapshot_began(&mut self) {
        self.log.snapshot_began();
        if !self.full {
            self.log.roll();
            self.file_bytes = 0;
        }
    }

    /// The last txn that is durable.
    pub(super) fn durable(&self) -> Zxid {
        self.log.durable()
    }

    /// Whether somebody else may use the log.
    pub(super) fn is_free(&self) -> bool {
        self.turn == Turn::Waiting
    }

    pub(super) fn snapshot_done(&mut self, bytes: u64) {
        self.trigger.snapshot_bytes = bytes;
    }

    /// Finishes what it has and ends.
    pub(super) fn stop(mut self) -> Result<(), StorageError> {
        if let Turn::Taken(txns) = std::mem::replace(&mut self.turn, Turn::Waiting) {
            self.queue.splice(0..0, txns);
        }
        if !self.full {
            for (zxid, payload) in std::mem::take(&mut self.queue) {
                self.log.append(zxid, &payload);
            }
        }
        self.log.close()
    }

    fn is_due(&mut self, since: LogSize, around: &mut Around) -> bool {
        let worth_it = since.bytes >= self.trigger.snapshot_bytes || since.txns >= around.options.snapshot_txns * 10;
        let due = since.txns > self.trigger.due && worth_it;
        if due {
            self.trigger.due = half(around);
        }
        due
    }
}

fn half(around: &mut Around) -> u64 {
    let most = around.options.snapshot_txns;
    most / 2 + around.rng.below(most / 2)
}

impl Server {
    pub(super) fn wake_log(&mut self, around: &mut Around, after: u64) {
        around.wake(&mut self.log.wake, after, Event::Lane(Lane::Log));
    }

    pub(super) fn log_step(&mut self, around: &mut Around) {
        self.log.wake = Wake::default();
        match std::mem::replace(&mut self.log.turn, Turn::Waiting) {
            Turn::Waiting if self.log.queue.is_empty() && !self.log.retry => {}
            Turn::Waiting => {
                self.log.retry = false;
                self.log.turn = Turn::Taken(std::mem::take(&mut self.log.queue));
                let after = around.disk_time();
                self.wake_log(around, after);
            }
            Turn::Taken(txns) if !txns.is_empty() && around.lies(Lie::DurableTooEarly) => {
                if let Some((upto, _)) = txns.last() {
                    self.send(around, Message::Durable(*upto));
                }
                self.log.turn = Turn::Taken(txns);
                self.wake_log(around, nanos(20));
            }
            Turn::Taken(txns) => {
                let durable = self.commit(around, txns);
                self.log.turn = Turn::Committed(durable);
                let after = around.disk_time();
                self.wake_log(around, after);
            }
            Turn::Committed(durable) => {
                if let Some(upto) = durable {
                    self.send(around, Message::Durable(upto));
                }
                if self.log.full {
                    self.log.retry = true;
                    self.wake_log(around, nanos(SPACE_RETRY_MS));
                } else if !self.log.queue.is_empty() {
                    let after = around.lag();
                    self.wake_log(around, after);
                }
            }
        }
    }

    /// Writes and syncs what is given and what waits; the last durable txn (`Writer::commit`).
    pub(super) fn commit(&mut self, around: &mut Around, txns: Vec<(Zxid, Bytes)>) -> Option<Zxid> {
        let last = txns.last().map(|(zxid, _)| *zxid);
        for (zxid, payload) in txns {
            if !around.lies(Lie::AppendLost) {
                self.log.log.append(zxid, &payload);
            }
        }
        let report = match self.log.log.commit() {
            Ok(report) => report,
            Err(StorageError::NoSpace { .. }) => {
                self.set_full(around, true);
                return None;
            }
            Err(_) if around.options.lie == Some(Lie::ErrorIgnored) => return last,
            Err(failed) => {
                self.failed = Some(failed);
                return None;
            }
        };
        around.note(|| format!("log: {report:?}"));
        around.unproven |= report.marks_failed.is_some();
        match self.log.log.ensure_space() {
            Ok(space) => self.set_full(around, space != Space::Ample),
            Err(failed) => {
                self.failed = Some(failed);
                return None;
            }
        }
        self.log.file_bytes += report.written.bytes;
        if self.log.file_bytes > around.options.log_file_bytes && !self.log.full {
            self.log.file_bytes = 0;
            self.log.log.roll();
        }
        let since = self.log.log.since_snapshot();
        self.log.rings |= self.log.is_due(since, around);
        (report.written.txns > 0).then_some(report.durable)
    }

    fn set_full(&mut self, around: &mut Around, full: bool) {
        if std::mem::replace(&mut self.log.full, full) != full {
            around.note(|| format!("log: full is {full}"));
            self.send(around, Message::DiskFull(full));
            self.log.retry |= full;
            self.wake_log(around, nanos(SPACE_RETRY_MS));
        }
    }
}
