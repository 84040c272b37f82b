//! Snapshots.

use std::path::PathBuf;

use gk_proto::Zxid;
use gk_tree::ViewHead;

use crate::error::StorageError;

/// The directory of snapshots. Cheap to clone; one snapshot is taken at a time.
#[derive(Clone, Debug)]
pub struct SnapshotStore {}

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
    /// Begins a snapshot under a temporary name.
    pub fn writer(&self, _head: &ViewHead) -> Result<SnapshotWriter, StorageError> {
        todo!()
    }

    /// The newest snapshot that passes the cheap check.
    pub fn newest(&self) -> Result<Option<SnapshotInfo>, StorageError> {
        todo!()
    }

    /// Removes snapshots and logs that are not needed for the `retain` newest sound snapshots (at least three).
    pub fn purge(&self, _retain: usize) -> Result<PurgeReport, StorageError> {
        todo!()
    }

    /// Bytes in the two directories.
    pub fn sizes(&self) -> Result<DirSizes, StorageError> {
        todo!()
    }
}

/// A snapshot being written. Dropping it is abandoning it.
#[derive(Debug)]
pub struct SnapshotWriter {}

impl SnapshotWriter {
    /// Writes node records as `Tree::view_piece` gives them; synced every few pieces, so that no large sync comes at
    /// the end.
    pub fn piece(&mut self, _records: &[u8]) -> Result<(), StorageError> {
        todo!()
    }

    /// Seals the file and gives it its name, durably.
    pub fn finish(self) -> Result<SnapshotInfo, StorageError> {
        todo!()
    }

    /// Removes what was written.
    pub fn abandon(self) {}
}
