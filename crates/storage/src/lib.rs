//! ZooKeeper's files, written and read byte for byte, and kept so that a crash loses nothing that was acknowledged.
//!
//! Knows nothing of sessions, agreement, clients or threads. It blocks: its callers are threads that may.
//!
//! Read in this order:
//! - `disk`: what is asked of a file system; [`RealDisk`]
//! - `error`: what can be wrong, and what the operator can do
//! - `name`: which file is what
//! - `marks`: how far a log is proven durable, beside the log
//! - `log`: append, commit, roll: [`Log`]
//! - `snapshot`: taking and purging snapshots: [`SnapshotStore`], [`SnapshotWriter`]
//! - `scan`: one log file, record by record
//! - `replay`: all of them, and what in them may be believed
//! - `repair`: what must change on disk before it counts
//! - `read_only`: a disk for those who only look
//! - `store`: opening a directory, or foreseeing what that does: [`StoreOptions`], [`Opened`], [`RecoveryReport`]
//! - `inspect`: each file by itself
//!
//! With the feature of that name there is `testing`, a disk in memory that crashes.
//!
//! What lies where, byte by byte, and what each crash leaves: `docs/durability.md`. The format is storage that Apache
//! ZooKeeper 3.5 to 3.10 reads and writes (`FileTxnLog`, `FileSnap`, `FileTxnSnapLog`).

mod disk;
mod error;
mod name;
mod marks;
mod log;
mod snapshot;
mod scan;
mod replay;
mod repair;
mod read_only;
mod store;
mod inspect;
#[cfg(feature = "testing")]
pub mod testing;

pub use disk::{Disk, DiskFile, RealDisk};
pub use error::{Damage, StorageError};
pub use inspect::{
    FileKind, Files, LogFileState, LogItem, LogReader, LogRecord, MarksState, SnapshotFile, examine, load_snapshot,
    lock_files, log_files, newest_snapshot, read_snapshot,
};
pub use log::{CommitReport, Log, LogSize, Space};
pub use marks::MarksSync;
pub use name::Compression;
pub use repair::Repair;
pub use snapshot::{
    DirSizes, PurgeReport, SnapshotError, SnapshotInfo, SnapshotSections, SnapshotSink, SnapshotStore, SnapshotWriter,
};
pub use store::{Forecast, Opened, RecoveryReport, StoreOptions, foresee, open, tree_at};
