//! The directory of snapshots: taking one, finding them, and purging what no snapshot needs.

mod read;
mod stream;
mod write;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gk_proto::{Zxid, planted};
use gk_tree::ViewHead;

use crate::disk::Disk;
use crate::error::StorageError;
use crate::name::{self, Compression};

pub(crate) use read::{CheckOnly, read};
pub use read::{SnapshotError, SnapshotSections, SnapshotSink};
pub use write::SnapshotWriter;

/// The directory of snapshots. Cheap to clone; one snapshot is taken at a time.
#[derive(Clone, Debug)]
pub struct SnapshotStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    log_dir: PathBuf,
    compression: Compression,
    /// Names of snapshots that were read or written whole by this process.
    known_sound: Arc<Mutex<BTreeSet<String>>>,
}

/// A snapshot on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotInfo {
    /// The tree in it is as it was after this txn.
    pub zxid: Zxid,
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// What a purge removed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PurgeReport {
    /// Snapshots and logs that are gone, in order of removal.
    pub removed: Vec<PathBuf>,
    /// Snapshots that turned out to be damaged: not counted among those to keep, and left where they are.
    pub damaged: Vec<PathBuf>,
}

/// Sizes as the words `dirs` and `conf` show them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DirSizes {
    /// Bytes in files of the snapshots' directory.
    pub data: u64,
    /// Bytes in files of the logs' directory.
    pub log: u64,
}

impl SnapshotStore {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf, log_dir: PathBuf, compression: Compression) -> Self {
        Self { disk, dir, log_dir, compression, known_sound: Arc::default() }
    }

    /// Begins a snapshot under a temporary name.
    pub fn writer(&self, head: &ViewHead) -> Result<SnapshotWriter, StorageError> {
        let name = name::snapshot_name(head.zxid, self.compression);
        let temporary = self.dir.join(name::OWN_DIR).join(format!("{name}.tmp"));
        SnapshotWriter::create(self.disk.clone(), temporary, self.dir.join(name), head)
    }

    /// The newest snapshot that passes the cheap check.
    pub fn newest(&self) -> Result<Option<SnapshotInfo>, StorageError> {
        for (zxid, name) in self.candidates()? {
            let path = self.dir.join(name);
            if let Some(bytes) = self.complete_len(&path)? {
                return Ok(Some(SnapshotInfo { zxid, path, bytes }));
            }
        }
        Ok(None)
    }

    /// Removes snapshots and logs that are not needed for the `retain` newest sound snapshots (at least three).
    ///
    /// A snapshot is kept count of only if it can be read whole, which is found out once a file: three damaged ones
    /// must not cause the last sound one to go (Z-3231).
    pub fn purge(&self, retain: usize) -> Result<PurgeReport, StorageError> {
        let mut report = PurgeReport::default();
        let candidates = self.candidates()?;
        let mut oldest_kept = None;
        let mut kept = 0;
        for (zxid, name) in &candidates {
            if kept == retain.max(RETAIN_MIN) {
                break;
            }
            if self.is_sound(name)? {
                kept += 1;
                oldest_kept = Some(*zxid);
            } else {
                report.damaged.push(self.dir.join(name));
            }
        }
        let Some(oldest_kept) = oldest_kept else { return Ok(report) };
        for (_, name) in candidates.iter().rev().filter(|&&(zxid, _)| zxid < oldest_kept) {
            self.remove(self.dir.join(name), &mut report)?;
        }
        self.purge_logs(oldest_kept, &mut report)?;
        for dir in [&self.dir, &self.log_dir] {
            // Row P1.
            self.disk.sync_dir(dir).map_err(StorageError::io("sync", dir))?;
        }
        Ok(report)
    }

    /// Bytes in the two directories, as ZooKeeper counts them: files only, padding included.
    pub fn sizes(&self) -> Result<DirSizes, StorageError> {
        Ok(DirSizes { data: self.dir_size(&self.dir)?, log: self.dir_size(&self.log_dir)? })
    }

    /// Removes logs that end before `oldest_kept`: all but the newest that begins at or before it, which holds (or
    /// may hold) the txns right after it (Z-2420). Marks go before their log: a log without marks is only one that
    /// nobody vouches for, marks without a log would be a sign of loss.
    fn purge_logs(&self, oldest_kept: Zxid, report: &mut PurgeReport) -> Result<(), StorageError> {
        let names = self.disk.list(&self.log_dir).map_err(StorageError::io("list", &self.log_dir))?;
        let mut logs: Vec<(Zxid, String)> =
            names.into_iter().filter_map(|name| Some((name::log_zxid(&name)?, name))).collect();
        logs.sort_unstable();
        logs.retain(|&(zxid, _)| zxid <= oldest_kept);
        if !planted!(PurgeTakesNeededLog) {
            logs.pop();
        }
        for (zxid, name) in logs {
            let marks = self.log_dir.join(name::OWN_DIR).join(name::marks_name(zxid));
            if self.disk.exists(&marks).map_err(StorageError::io("look for", &marks))? {
                self.disk.remove(&marks).map_err(StorageError::io("remove", &marks))?;
            }
            self.remove(self.log_dir.join(name), report)?;
        }
        Ok(())
    }

    fn remove(&self, path: PathBuf, report: &mut PurgeReport) -> Result<(), StorageError> {
        self.disk.remove(&path).map_err(StorageError::io("remove", &path))?;
        report.removed.push(path);
        Ok(())
    }

    /// Names that are snapshots', newest first.
    pub(crate) fn candidates(&self) -> Result<Vec<(Zxid, String)>, StorageError> {
        let names = self.disk.list(&self.dir).map_err(StorageError::io("list", &self.dir))?;
        let mut found: Vec<(Zxid, String)> =
            names.into_iter().filter_map(|name| Some((name::snapshot_zxid(&name)?, name))).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// The length of a file that passes the cheap check.
    pub(crate) fn complete_len(&self, path: &Path) -> Result<Option<u64>, StorageError> {
        let file = self.disk.open(path).map_err(StorageError::io("open", path))?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let complete =
            read::looks_complete(&file, Compression::of_name(name)).map_err(StorageError::io("read", path))?;
        if complete { file.len().map(Some).map_err(StorageError::io("look at", path)) } else { Ok(None) }
    }

    /// Notes that a snapshot was read or written whole.
    pub(crate) fn note_sound(&self, name: &str) {
        self.known_sound.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    fn is_sound(&self, name: &str) -> Result<bool, StorageError> {
        if self.known_sound.lock().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return Ok(true);
        }
        match read(&*self.disk, &self.dir.join(name), &mut CheckOnly) {
            Ok(_) => {
                self.note_sound(name);
                Ok(true)
            }
            Err(SnapshotError::Damaged(_)) => Ok(false),
            Err(SnapshotError::Disk(error)) => Err(error),
        }
    }

    fn dir_size(&self, dir: &Path) -> Result<u64, StorageError> {
        let mut total = 0;
        for name in self.disk.list(dir).map_err(StorageError::io("list", dir))? {
            if name::log_zxid(&name).is_some() || name::snapshot_zxid(&name).is_some() {
                let path = dir.join(name);
                let file = self.disk.open(&path).map_err(StorageError::io("open", &path))?;
                total += file.len().map_err(StorageError::io("look at", &path))?;
            }
        }
        Ok(total)
    }
}

/// Fewer snapshots are never kept (`PurgeTxnLog`).
const RETAIN_MIN: usize = 3;
