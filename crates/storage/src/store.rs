//! Opening a data directory: locks, directories, recovery, and what the server gets from it.

use std::path::PathBuf;
use std::sync::Arc;

use gk_proto::Zxid;
use gk_tree::{Tree, TreeOptions};

use crate::disk::Disk;
use crate::error::StorageError;
use crate::log::{Log, LogSize};
use crate::name::Compression;
use crate::snapshot::SnapshotStore;

/// Where the files are and how they are treated.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// `dataDir`: snapshots are in `version-2` below it.
    pub data_dir: PathBuf,
    /// `dataLogDir`: logs are in `version-2` below it; may be the same.
    pub log_dir: PathBuf,
    /// Step in which logs are reserved (`preAllocSize` × 1024); 0 reserves nothing.
    pub prealloc_bytes: u64,
    /// `forceSync`: without it nothing is synced and a power failure may lose what was acknowledged.
    pub force_sync: bool,
    /// How new snapshots are stored; all three kinds are read.
    pub compression: Compression,
    /// `snapshot.trust.empty`: logs without any snapshot are replayed onto an empty tree.
    pub trust_empty: bool,
    /// `datadir.autocreate`: missing directories are made.
    pub datadir_autocreate: bool,
    /// `db.autocreate`: without any data an empty tree is begun; otherwise only if the file `initialize` allows it.
    pub db_autocreate: bool,
    /// For the tree that is built.
    pub tree: TreeOptions,
    /// Goes on without what is damaged or missing; it is set aside. The operator's decision, for one start.
    pub accept_loss: bool,
    /// Longest payload of a txn: jute.maxbuffer and its extra.
    pub payload_max: usize,
}

/// A data directory in use. The other process that opens it gets [`StorageError::InUse`].
pub struct Opened {
    /// The tree after the last txn.
    pub tree: Tree,
    /// Takes the next txns.
    pub log: Log,
    /// Takes and purges snapshots.
    pub snapshots: SnapshotStore,
    /// What was found.
    pub report: RecoveryReport,
}

/// What recovery found and did.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Name of the snapshot that was loaded; `None` after starting from an empty tree.
    pub snapshot: Option<String>,
    /// Whether there was no data and an empty tree was begun.
    pub fresh: bool,
    /// Names of the logs that were replayed.
    pub logs: Vec<String>,
    /// What of them came after the snapshot.
    pub replayed: LogSize,
    /// The last txn.
    pub last_zxid: Zxid,
    /// How many txns carried a digest that was compared with the tree's.
    pub digests_checked: u64,
    /// Txns whose digest differed, the first few of them.
    pub digest_mismatches: Vec<Zxid>,
    /// How many digests differed.
    pub digest_mismatch_count: u64,
    /// Ephemeral nodes whose session did not exist, now deleted.
    pub orphans: usize,
    /// Nodes whose ACL is not in the snapshot's table: only super can reach them.
    pub unknown_acls: usize,
    /// Bytes of log above the watermark that were written anew before they counted.
    pub copied_bytes: u64,
    /// What an operator should read, in order.
    pub warnings: Vec<String>,
}

/// Opens a data directory, recovering what is in it. Reads first, and changes files only once it is certain that
/// nothing is lost (or the loss accepted); each change can be cut off anywhere and is done again at the next start.
pub fn open(_disk: Arc<dyn Disk>, _options: &StoreOptions) -> Result<Opened, StorageError> {
    todo!()
}
