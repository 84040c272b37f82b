//! Looking into files that a server has left or is writing: each log and snapshot by itself, and what is in it.
//!
//! What the files of a directory come to is told by [`foresee`](crate::foresee) and [`tree_at`](crate::tree_at). Here as
//! there the code is that of recovery, on a disk that refuses every change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use gk_proto::Zxid;
use gk_tree::{Tree, TreeBuilder, TreeOptions};

use crate::disk::Disk;
use crate::error::{Damage, StorageError};
use crate::marks::{Mark, Marks};
use crate::name::{self, Compression};
use crate::read_only::ReadOnly;
use crate::replay::{self, DigestCheck, LogFile, LogVerdict, Replay, ReplayOptions};
use crate::scan::{Found, Header, Scan};
use crate::snapshot::{self, SnapshotError, SnapshotSections, SnapshotSink};
use crate::store::{self, Dirs, Opening, RecoveryReport, StoreOptions};

/// The files of a data directory, each by itself.
#[derive(Debug, Default)]
pub struct Files {
    /// Snapshots, oldest first.
    pub snapshots: Vec<SnapshotFile>,
    /// Logs, oldest first.
    pub logs: Vec<LogFileState>,
}

/// A snapshot.
#[derive(Debug)]
pub struct SnapshotFile {
    /// The file.
    pub path: PathBuf,
    /// The txn in its name.
    pub zxid: Zxid,
    /// Its length in bytes; 0 if it cannot be opened.
    pub bytes: u64,
    /// How it is stored.
    pub compression: Compression,
    /// What it says beside its nodes, or why it cannot be loaded.
    pub sections: Result<SnapshotSections, SnapshotError>,
}

/// A log, judged as by a start that needs it.
#[derive(Debug)]
pub struct LogFileState {
    /// The file.
    pub path: PathBuf,
    /// The txn in its name.
    pub zxid: Zxid,
    /// Its length in bytes, padding included; 0 if it cannot be opened.
    pub bytes: u64,
    /// First and last sound txn, up to where the next log goes on.
    pub txns: Option<(Zxid, Zxid)>,
    /// How many they are.
    pub txn_count: u64,
    /// The byte after the last of them; 0 without any.
    pub end: u64,
    /// The last txn of the logs before it, if those between the two are missing.
    pub gap_after: Option<Zxid>,
    /// Whether what follows `end` is what a crash leaves of a write that nobody was told of.
    pub is_torn: bool,
    /// Whether the next log has the rest too.
    pub is_repeated: bool,
    /// What lies beside it in a file of marks.
    pub marks: MarksState,
    /// What a start that needs this log would end with.
    pub damage: Option<StorageError>,
    /// What a start that needs this log would warn of.
    pub warnings: Vec<String>,
}

/// The marks of a log: how far it is proven durable, and which bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MarksState {
    /// There are none: another server wrote the log.
    None,
    /// The file is not one of marks, or its header is damaged.
    Unreadable,
    /// They can be read.
    Sound {
        /// How many.
        count: usize,
        /// How many more, before the last of those, are damaged.
        damaged: usize,
        /// Up to where, and to which txn, they prove the log durable; `None` if they were made for other bytes, or
        /// without syncs.
        watermark: Option<(u64, Zxid)>,
    },
}

/// Looks at each log and each snapshot of a data directory, those that a start would not need among them. A file that
/// cannot be read is damaged; an error is a directory that cannot be listed.
pub fn examine(disk: Arc<dyn Disk>, options: &StoreOptions) -> Result<Files, StorageError> {
    Dirs::new(options).looking(disk, options, None, |opening| {
        let snapshots = snapshots(opening)?;
        Ok(Files { snapshots, logs: logs(opening)? })
    })
}

/// The files that a server locks while it uses a data directory; not there before a server of ours has used it.
pub fn lock_files(options: &StoreOptions) -> Vec<PathBuf> {
    Dirs::new(options).locks()
}

fn snapshots(opening: &Opening<'_>) -> Result<Vec<SnapshotFile>, StorageError> {
    let mut files = Vec::new();
    for (zxid, name) in opening.snapshots.candidates()?.into_iter().rev() {
        let path = opening.dirs.snap.join(&name);
        let sections = match opening.snapshots.complete_len(&path) {
            Ok(Some(_)) => store::build(opening.disk, &path, zxid, opening.options).map(|(_, sections, _)| sections),
            Ok(None) => Err(SnapshotError::Damaged(Damage::Cut)),
            Err(error) if is_gone(&error) => continue,
            Err(error) => Err(SnapshotError::Disk(error)),
        };
        let bytes = length(opening.disk, &path);
        files.push(SnapshotFile { path, zxid, bytes, compression: Compression::of_name(&name), sections });
    }
    Ok(files)
}

fn logs(opening: &Opening<'_>) -> Result<Vec<LogFileState>, StorageError> {
    let judging = ReplayOptions {
        accept_loss: false,
        force_sync: opening.options.force_sync,
        payload_max: opening.options.payload_max,
        upto: None,
    };
    let (disk, dir) = (opening.disk, &opening.dirs.log);
    let (mut logs, mut states) = (Vec::new(), Vec::new());
    for (zxid, name) in replay::log_names(disk, dir)? {
        let path = dir.join(&name);
        match LogFile::look(disk, dir, zxid, name) {
            Ok(log) => logs.push(log),
            Err(error) if is_gone(&error) => {}
            Err(error) => states.push(LogFileState::unreadable(disk, zxid, path, error)),
        }
    }
    let (mut report, no_digests) = (RecoveryReport::default(), DigestCheck { from: None, target: None });
    let verdicts = Replay::new(disk, dir.clone(), judging, None, no_digests, &mut report).judge_each(&logs);
    states.extend(logs.iter().zip(verdicts).map(|(log, verdict)| LogFileState::new(opening, log, verdict)));
    states.sort_by(|a, b| (a.zxid, &a.path).cmp(&(b.zxid, &b.path)));
    Ok(states)
}

impl LogFileState {
    fn new(opening: &Opening<'_>, log: &LogFile, verdict: LogVerdict) -> Self {
        let path = opening.dirs.log.join(&log.name);
        Self {
            zxid: log.zxid,
            bytes: length(opening.disk, &path),
            path,
            txns: verdict.txns.map(|txns| (*txns.start(), *txns.end())),
            txn_count: verdict.txn_count,
            end: verdict.end,
            gap_after: verdict.gap_after,
            is_torn: verdict.is_torn,
            is_repeated: verdict.is_repeated,
            marks: marks_state(opening, log.zxid, verdict.watermark),
            damage: verdict.damage,
            warnings: verdict.warnings,
        }
    }

    fn unreadable(disk: &dyn Disk, zxid: Zxid, path: PathBuf, error: StorageError) -> Self {
        Self {
            zxid,
            bytes: length(disk, &path),
            path,
            txns: None,
            txn_count: 0,
            end: 0,
            gap_after: None,
            is_torn: false,
            is_repeated: false,
            marks: MarksState::None,
            damage: Some(error),
            warnings: Vec::new(),
        }
    }
}

fn marks_state(opening: &Opening<'_>, zxid: Zxid, watermark: Option<Mark>) -> MarksState {
    let own_dir = &opening.dirs.log_own;
    let exists = opening.disk.exists(&own_dir.join(name::marks_name(zxid))).unwrap_or(true);
    match Marks::read(opening.disk, own_dir, zxid) {
        Ok(Some(marks)) => MarksState::Sound {
            count: marks.marks.len(),
            damaged: marks.damaged,
            watermark: watermark.map(|mark| (mark.end, mark.zxid)),
        },
        Ok(None) if !exists => MarksState::None,
        Ok(None) | Err(_) => MarksState::Unreadable,
    }
}

/// Whether a running server has purged a file since the directory was listed.
fn is_gone(error: &StorageError) -> bool {
    matches!(error, StorageError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// 0 for a file that cannot be opened.
fn length(disk: &dyn Disk, path: &Path) -> u64 {
    disk.open(path).and_then(|file| file.len()).unwrap_or(0)
}

/// What a file is, by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A log, by its first txn.
    Log(Zxid),
    /// A snapshot, by its txn.
    Snapshot(Zxid),
}

impl FileKind {
    /// The kind of a file of this name; a file of any other name is nothing that a server reads.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        name::log_zxid(name).map(Self::Log).or_else(|| name::snapshot_zxid(name).map(Self::Snapshot))
    }
}

/// The logs of a data directory by their first txns, oldest first.
pub fn log_files(disk: Arc<dyn Disk>, options: &StoreOptions) -> Result<Vec<(Zxid, PathBuf)>, StorageError> {
    Dirs::new(options).looking(disk, options, None, |opening| {
        let dir = &opening.dirs.log;
        let names = replay::log_names(opening.disk, dir)?;
        Ok(names.into_iter().map(|(zxid, name)| (zxid, dir.join(name))).collect())
    })
}

/// The newest snapshot of a data directory, sound or not.
pub fn newest_snapshot(disk: Arc<dyn Disk>, options: &StoreOptions) -> Result<Option<PathBuf>, StorageError> {
    Dirs::new(options).looking(disk, options, None, |opening| {
        let names = opening.snapshots.candidates()?;
        Ok(names.into_iter().next().map(|(_, name)| opening.dirs.snap.join(name)))
    })
}

/// Reads one log, record by record, in the memory of a few records.
#[derive(Debug)]
pub struct LogReader {
    scan: Scan,
    path: PathBuf,
    started: bool,
}

/// What comes next in a log.
#[derive(Debug)]
pub enum LogItem {
    /// A record whose checksum is right.
    Record(LogRecord),
    /// The log ends; nothing but padding follows.
    End {
        /// The byte after the last record.
        offset: u64,
    },
    /// What follows is neither a record nor padding. Whether a crash explains that, [`examine`] says.
    Bad {
        /// Where it begins.
        offset: u64,
        /// Bytes from there to the last one that is not zero.
        bytes: u64,
        /// What is wrong.
        damage: Damage,
    },
}

/// A record of a log.
#[derive(Debug)]
pub struct LogRecord {
    /// Its first byte in the file.
    pub offset: u64,
    /// Header, txn and digest, for [`gk_proto::txn::LoggedTxn::decode`].
    pub payload: Bytes,
}

impl LogReader {
    /// Opens a log of any name.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, StorageError> {
        Ok(Self { scan: Scan::open(&ReadOnly::new(disk), path)?, path: path.to_owned(), started: false })
    }

    /// The next record, or what ends the log; after that the same again.
    pub fn next_item(&mut self) -> Result<LogItem, StorageError> {
        let Self { scan, path, started } = self;
        let read = || StorageError::io("read", path);
        if !*started {
            match scan.header().map_err(read())? {
                Header::Sound => *started = true,
                Header::Unwritten => return Ok(LogItem::End { offset: 0 }),
                Header::Foreign => {
                    let bytes = scan.content_end().map_err(read())?;
                    return Ok(LogItem::Bad { offset: 0, bytes, damage: Damage::BadHeader });
                }
            }
        }
        Ok(match scan.next().map_err(read())? {
            Found::Record(record) => LogItem::Record(LogRecord { offset: record.start, payload: record.payload }),
            Found::End => LogItem::End { offset: scan.offset() },
            Found::Bad(damage) => {
                let offset = scan.offset();
                LogItem::Bad { offset, bytes: scan.content_end().map_err(read())? - offset, damage }
            }
        })
    }
}

/// Reads a snapshot of any name into `sink`, in the memory of a few hundred kilobytes. Compressed ones are told by their
/// name.
pub fn read_snapshot(
    disk: Arc<dyn Disk>,
    path: &Path,
    sink: &mut impl SnapshotSink,
) -> Result<SnapshotSections, SnapshotError> {
    snapshot::read(&ReadOnly::new(disk), path, sink)
}

/// The tree of one snapshot. A file whose name does not say of which txn it is counts as of the last one that it names.
pub fn load_snapshot(disk: Arc<dyn Disk>, path: &Path, options: TreeOptions) -> Result<Tree, SnapshotError> {
    let mut builder = TreeBuilder::new(options);
    let sections = read_snapshot(disk, path, &mut builder)?;
    let zxid = match FileKind::of(path) {
        Some(FileKind::Snapshot(zxid)) => zxid,
        Some(FileKind::Log(_)) | None => sections.last_zxid.unwrap_or_default(),
    };
    builder.finish(zxid).map_err(|error| SnapshotError::Damaged(Damage::NoTree(error.to_string())))
}
