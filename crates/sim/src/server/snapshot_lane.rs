//! The snapshots' thread (`gk_server::snapshots`): an exact view in pieces, purges, and the marks beside the log.

use std::sync::Arc;

use gk_storage::testing::MemDisk;
use gk_storage::{MarksSync, SnapshotInfo, SnapshotStore, SnapshotWriter, StorageError};
use gk_tree::{ViewCursor, ViewHead, ViewStatus};

use super::{Message, Server};
use crate::around::{Around, Event, Lane, Wake, nanos};
use crate::lies::Lie;

/// Snapshots that a purge keeps.
const KEPT: usize = 3;

pub(super) struct SnapshotLane {
    disk: Arc<MemDisk>,
    store: SnapshotStore,
    marks: MarksSync,
    doing: Doing,
    wanted: bool,
    next_purge: u64,
    wake: Wake,
}

/// What it is at.
enum Doing {
    Resting,
    /// The node was asked to begin a view.
    Asking,
    /// The log is to begin a new file.
    Rolling(Box<ViewHead>),
    Writing(Box<Writing>),
}

/// A snapshot on its way.
struct Writing {
    writer: SnapshotWriter,
    cursor: ViewCursor,
    piece: Vec<u8>,
}

impl SnapshotLane {
    pub(super) fn new(disk: Arc<MemDisk>, store: SnapshotStore, marks: MarksSync) -> Self {
        Self { disk, store, marks, doing: Doing::Resting, wanted: false, next_purge: 0, wake: Wake::default() }
    }
}

impl Server {
    pub(super) fn wake_snapshots(&mut self, around: &mut Around, after: u64) {
        around.wake(&mut self.snapshots.wake, after, Event::Lane(Lane::Snapshots));
    }

    pub(super) fn snapshot_step(&mut self, around: &mut Around) {
        self.snapshots.wake = Wake::default();
        let mut after = around.lag();
        let doing = std::mem::replace(&mut self.snapshots.doing, Doing::Resting);
        self.snapshots.doing = match doing {
            Doing::Resting => {
                after = nanos(around.options.round_ms);
                self.round(around)
            }
            Doing::Asking => match self.view.take() {
                None => {
                    after = nanos(around.options.round_ms);
                    Doing::Asking
                }
                Some(None) => {
                    self.snapshots.wanted = true;
                    Doing::Resting
                }
                Some(Some(head)) => Doing::Rolling(Box::new(head)),
            },
            Doing::Rolling(head) if !self.log.is_free() => Doing::Rolling(head),
            Doing::Rolling(head) => {
                self.log.snapshot_began();
                match self.snapshots.store.writer(&head) {
                    Ok(writer) => {
                        let (cursor, piece) = (ViewCursor::default(), Vec::new());
                        Doing::Writing(Box::new(Writing { writer, cursor, piece }))
                    }
                    Err(failed) => self.view_ends(around, false, Some(&failed)),
                }
            }
            Doing::Writing(writing) => {
                after += around.disk_time();
                self.write(around, writing)
            }
        };
        self.wake_snapshots(around, after);
    }

    fn round(&mut self, around: &mut Around) -> Doing {
        match self.snapshots.marks.sync() {
            Ok(()) if around.unproven => {}
            Ok(()) => around.proven = self.log.durable(),
            Err(failed) => {
                around.note(|| format!("marks: {failed}"));
                around.unproven = true;
            }
        }
        if around.now >= self.snapshots.next_purge {
            self.snapshots.next_purge = around.now + nanos(around.options.purge_ms);
            let purged = self.snapshots.store.purge(KEPT);
            around.note(|| format!("purge: {purged:?}"));
        }
        if !(std::mem::take(&mut self.log.rings) || std::mem::take(&mut self.snapshots.wanted)) {
            return Doing::Resting;
        }
        self.send(around, Message::BeginView);
        Doing::Asking
    }

    /// What a snapshot says by itself, without the logs around it.
    fn read_alone(&self, around: &mut Around, done: &SnapshotInfo) {
        let alone = MemDisk::new();
        let Some(content) = self.snapshots.disk.peek(&done.path) else { return };
        alone.poke(&done.path, &content);
        match gk_storage::open(alone, &around.options.store) {
            Ok(opened) => around.checker.snapshot(done.zxid, &opened.tree),
            Err(error) => around.checker.fail(&format!("I13 snapshot {:?} by itself: {error}", done.zxid)),
        }
    }

    fn view_ends(&mut self, around: &mut Around, abandoned: bool, failed: Option<&StorageError>) -> Doing {
        if let Some(failed) = failed {
            around.note(|| format!("the snapshot is dropped: {failed}"));
        }
        self.send(around, Message::EndView);
        self.snapshots.wanted = abandoned;
        Doing::Resting
    }

    fn write(&mut self, around: &mut Around, mut writing: Box<Writing>) -> Doing {
        let budget = around.options.guard_piece;
        let status = self.tree.view_piece(&mut writing.cursor, &mut writing.piece, budget);
        match status {
            ViewStatus::Abandoned => {
                writing.writer.abandon();
                return self.view_ends(around, true, None);
            }
            ViewStatus::More if writing.piece.len() < around.options.disk_piece => return Doing::Writing(writing),
            ViewStatus::More | ViewStatus::Done => {}
        }
        if around.lies(Lie::SnapshotWrong)
            && let Some(byte) = writing.piece.last_mut()
        {
            *byte ^= 1;
        }
        if let Err(failed) = writing.writer.piece(&writing.piece) {
            return self.view_ends(around, false, Some(&failed));
        }
        writing.piece.clear();
        if status == ViewStatus::More {
            return Doing::Writing(writing);
        }
        match writing.writer.finish() {
            Ok(done) => {
                around.note(|| format!("snapshot {done:?}"));
                self.log.snapshot_done(done.bytes);
                self.read_alone(around, &done);
                self.view_ends(around, false, None)
            }
            Err(failed) => self.view_ends(around, false, Some(&failed)),
        }
    }
}
