//! The thread that writes snapshots and purges old files.
//!
//! A snapshot is an exact view of the tree at one zxid, read in pieces between which writes go on, written in pieces
//! each of which is synced, with pauses, so that the log's own syncs do not wait behind a large one.
//!
//! Between its other duties the thread makes the marks beside the log durable, so that no commit waits for that.

use std::sync::Arc;
use std::time::Duration;

use gk_storage::{MarksSync, SnapshotInfo, SnapshotStore, StorageError};
use gk_tree::{ViewCursor, ViewHead, ViewStatus};
use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use crate::inbox::Event;
use crate::log_lane::{LogLane, SnapshotBell};
use crate::shared::Shared;

/// Bytes of the tree encoded under one guard.
const GUARD_PIECE: usize = 32 << 10;
/// Bytes written and synced at once.
const DISK_PIECE: usize = 256 << 10;
/// Pause after a disk piece, as a multiple of the time it took: leaves most of the disk to the log.
const PAUSE_FACTOR: u32 = 10;
/// Shortest such pause: a snapshot of a gigabyte takes twenty seconds at least.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// How often the marks are made durable, and a view that could not be begun is tried again. After a power failure no
/// more of the log than was written in this time is without proof.
const ROUND: Duration = Duration::from_secs(1);

/// The thread's state.
pub(crate) struct Snapshots {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: SnapshotStore,
    pub(crate) log: Arc<LogLane>,
    pub(crate) bell: Arc<SnapshotBell>,
    pub(crate) marks: MarksSync,
}

/// How an attempt ended.
enum Attempt {
    Written(SnapshotInfo),
    /// Too much changed meanwhile, or the tree is being swept.
    NotNow,
    Stopping,
}

impl Snapshots {
    /// Runs until the bell is told to stop.
    pub(crate) fn run(&self) {
        let mut next_purge = self.shared.clock.instant();
        let mut wanted = false;
        while !self.bell.is_stopping() {
            wanted |= self.bell.wait(ROUND);
            self.sync_marks();
            if wanted {
                wanted = self.snapshot();
            }
            if let Some(purge) = self.shared.config.storage.purge
                && self.shared.clock.instant() >= next_purge
            {
                next_purge = self.shared.clock.instant() + purge.interval;
                self.purge(purge.snapshots_kept);
            }
        }
    }

    fn sync_marks(&self) {
        if let Err(failed) = self.marks.sync() {
            warn!(
                "the marks beside the log are not durable; a power failure now would leave less of it proven: {failed}"
            );
        }
    }

    /// Tries to take one; true if it must be tried again.
    fn snapshot(&self) -> bool {
        let began = self.shared.clock.instant();
        match self.attempt() {
            Ok(Attempt::Written(done)) => {
                let took = self.shared.clock.instant().since(began);
                self.shared.disk.snapshot.lock().add(took.0);
                *self.shared.disk.last_snapshot.lock() = Some(self.shared.clock.instant());
                self.log.snapshot_done(done.bytes);
                info!("snapshot {} of {} bytes written in {} ms", done.path.display(), done.bytes, took.0);
                false
            }
            Ok(Attempt::NotNow) => {
                warn!("the tree changes too fast for a snapshot now; it is tried again");
                true
            }
            Ok(Attempt::Stopping) => false,
            Err(failed) => {
                error!("the snapshot was dropped, the older ones and the log stand: {failed}");
                false
            }
        }
    }

    fn attempt(&self) -> Result<Attempt, StorageError> {
        let (ask, answer) = oneshot::channel();
        self.shared.inbox.push(Event::BeginView(ask));
        let head = match answer.blocking_recv() {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(Attempt::NotNow),
            Err(_) => return Ok(Attempt::Stopping),
        };
        self.log.snapshot_began();
        let attempt = self.write(&head);
        let abandoned = matches!(attempt, Ok(Attempt::NotNow));
        self.shared.inbox.push(Event::EndView { abandoned });
        attempt
    }

    fn write(&self, head: &ViewHead) -> Result<Attempt, StorageError> {
        debug!("snapshot of {} nodes at {} begins", head.nodes, head.zxid);
        let mut writer = self.store.writer(head)?;
        let (mut cursor, mut piece) = (ViewCursor::default(), Vec::new());
        let mut marks_synced = self.shared.clock.instant();
        loop {
            let status = self.shared.tree.read(|tree| tree.view_piece(&mut cursor, &mut piece, GUARD_PIECE));
            match status {
                ViewStatus::Abandoned => {
                    writer.abandon();
                    return Ok(Attempt::NotNow);
                }
                ViewStatus::More if piece.len() < DISK_PIECE => continue,
                ViewStatus::More | ViewStatus::Done => {}
            }
            let began = self.shared.clock.instant();
            writer.piece(&piece)?;
            piece.clear();
            if status == ViewStatus::Done {
                return writer.finish().map(Attempt::Written);
            }
            if self.shared.clock.instant().since(marks_synced).0 >= u64::try_from(ROUND.as_millis()).unwrap_or(0) {
                marks_synced = self.shared.clock.instant();
                self.sync_marks();
            }
            let took = Duration::from_nanos(self.shared.clock.instant().0.saturating_sub(began.0));
            if self.bell.is_stopping() {
                writer.abandon();
                return Ok(Attempt::Stopping);
            }
            std::thread::park_timeout((took * PAUSE_FACTOR).clamp(PAUSE_MIN, PAUSE_MAX));
        }
    }

    fn purge(&self, keep: usize) {
        match self.store.purge(keep) {
            Ok(purged) => {
                for path in purged.removed {
                    info!("purged {}", path.display());
                }
                for path in purged.damaged {
                    error!(
                        "{} is damaged: it is left where it is and not counted among the snapshots kept",
                        path.display()
                    );
                }
            }
            Err(failed) => error!("old snapshots and logs could not be purged: {failed}"),
        }
    }
}
