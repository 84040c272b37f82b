//! Opening a data directory: locks, directories, recovery, and what the server gets from it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gk_proto::Zxid;
use gk_tree::{Tree, TreeBuilder, TreeOptions, ViewCursor, ViewStatus};

use crate::disk::Disk;
use crate::error::{Damage, StorageError};
use crate::log::{self, Locks, Log, LogOptions, LogSize};
use crate::marks::Marks;
use crate::name::{self, Compression};
use crate::read_only::ReadOnly;
use crate::repair::{self, Repair};
use crate::replay::{self, DigestCheck, LogFile, Replay, ReplayOptions};
use crate::snapshot::{self, SnapshotError, SnapshotSections, SnapshotStore};

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
#[derive(Clone, PartialEq, Eq, Debug, Default)]
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

impl RecoveryReport {
    pub(crate) fn compare_digest(&mut self, zxid: Zxid, expected: u64, found: u64) {
        self.digests_checked += 1;
        if found != expected {
            self.digest_mismatch_count += 1;
            if self.digest_mismatches.len() < MISMATCHES_SHOWN {
                self.digest_mismatches.push(zxid);
            }
        }
    }
}

/// What a start finds in a data directory, and what it would do with it.
pub struct Forecast {
    /// The tree after the last txn.
    pub tree: Tree,
    /// What was found.
    pub report: RecoveryReport,
    /// What must change on disk before the tree counts, in order.
    pub repairs: Vec<Repair>,
    /// Files under temporary names, which go before that.
    pub leftovers: Vec<PathBuf>,
}

impl Forecast {
    /// Whether a first snapshot is written: a tree that is not from one gets it before its first txn is logged.
    pub fn writes_snapshot(&self) -> bool {
        self.report.snapshot.is_none()
    }
}

/// Opens a data directory, recovering what is in it. Reads first, and changes files only once it is certain that
/// nothing is lost (or the loss accepted); each change can be cut off anywhere and is done again at the next start.
pub fn open(disk: Arc<dyn Disk>, options: &StoreOptions) -> Result<Opened, StorageError> {
    let dirs = Dirs::new(options);
    dirs.refuse_missing(&*disk, options)?;
    let locks = dirs.make_and_lock(&*disk)?;
    dirs.refuse_misplaced(&*disk)?;
    let snapshots = dirs.snapshots(&disk, options);
    let opening = Opening { disk: &*disk, dirs: &dirs, snapshots: &snapshots, options, upto: None };
    let forecast = opening.foresee()?;

    // All is known; from here on files change.
    for path in &forecast.leftovers {
        disk.remove(path).map_err(StorageError::io("remove", path))?;
    }
    repair::run(&*disk, &forecast.repairs, options.force_sync)?;
    let first = forecast.writes_snapshot();
    let Forecast { mut tree, report, .. } = forecast;
    if first {
        write_first_snapshot(&snapshots, &mut tree)?;
    }
    dirs.remove_marker(&*disk)?;
    let how = LogOptions {
        prealloc_bytes: options.prealloc_bytes,
        force_sync: options.force_sync,
        payload_max: options.payload_max,
    };
    let log = Log::new(disk, dirs.log, how, report.last_zxid, report.replayed, locks);
    Ok(Opened { tree, log, snapshots, report })
}

/// What [`open`] would find and do, found by the same code; an error is the one that it would end with. Changes nothing
/// and takes no lock, so it may be asked while a server runs on the directory: then it is what a start would do if that
/// server were killed now.
///
/// Not foreseen: what the file system refuses to those who write.
pub fn foresee(disk: Arc<dyn Disk>, options: &StoreOptions) -> Result<Forecast, StorageError> {
    Dirs::new(options).looking(disk, options, None, |opening| {
        opening.dirs.refuse_missing(opening.disk, options)?;
        opening.dirs.refuse_misplaced(opening.disk)?;
        opening.foresee()
    })
}

/// The tree as it was after a txn, from the newest snapshot that holds nothing later and the logs after it. What lies
/// behind that txn is not read. Where the files end before it the tree is the last one that they hold.
///
/// [`StorageError::NotKept`] if the files that would be needed have been purged.
pub fn tree_at(disk: Arc<dyn Disk>, options: &StoreOptions, zxid: Zxid) -> Result<Forecast, StorageError> {
    Dirs::new(options).looking(disk, options, Some(zxid), |opening| {
        let mut report = RecoveryReport::default();
        let (tree, _) = opening.recover(&mut report)?;
        report.last_zxid = tree.last_zxid();
        Ok(Forecast { tree, report, repairs: Vec::new(), leftovers: Vec::new() })
    })
}

/// What recovery reads.
pub(crate) struct Opening<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) dirs: &'a Dirs,
    pub(crate) snapshots: &'a SnapshotStore,
    pub(crate) options: &'a StoreOptions,
    /// Reads no further than this txn: for looking back, never for a start.
    upto: Option<Zxid>,
}

impl Opening<'_> {
    /// Everything that a start decides. Changes nothing.
    fn foresee(&self) -> Result<Forecast, StorageError> {
        let mut report = RecoveryReport::default();
        let (mut tree, repairs) = self.recover(&mut report)?;
        let leftovers = self.dirs.leftovers(self.disk)?;
        report.orphans = tree.drop_orphans(&mut ());
        while tree.sweep(SWEEP) {}
        report.last_zxid = tree.last_zxid();
        Ok(Forecast { tree, report, repairs, leftovers })
    }

    /// The tree, and what must change on disk before it counts.
    fn recover(&self, report: &mut RecoveryReport) -> Result<(Tree, Vec<Repair>), StorageError> {
        let loaded = self.load_snapshot(report)?;
        let base = loaded.as_ref().map_or(Zxid::ZERO, |(tree, _)| tree.last_zxid());
        let logs = replay::find_logs(self.disk, &self.dirs.log, base)?;
        if loaded.is_none() && self.upto.is_none() {
            report.fresh = self.check_empty(&logs)?;
        }
        let start = DigestCheck { from: Some(Zxid::ZERO), target: None };
        let (mut tree, digests) = loaded.unwrap_or_else(|| (Tree::new(self.options.tree), start));
        let judging = ReplayOptions {
            accept_loss: self.options.accept_loss,
            force_sync: self.options.force_sync,
            payload_max: self.options.payload_max,
            upto: self.upto,
        };
        let mut replay = Replay::new(self.disk, self.dirs.log.clone(), judging, Some(&mut tree), digests, report);
        replay.run(&logs).map_err(|error| self.not_kept(error))?;
        let mut repairs = std::mem::take(&mut replay.repairs);
        if self.upto.is_some() {
            return Ok((tree, repairs));
        }
        repairs.extend(self.check_witnesses(&logs, tree.last_zxid(), report)?);
        Ok((tree, repairs))
    }

    /// Looking back over a purge: the history begins later than what was asked for.
    fn not_kept(&self, error: StorageError) -> StorageError {
        match (self.upto, error) {
            (Some(zxid), StorageError::Gap { after: Zxid::ZERO, .. }) => {
                StorageError::NotKept { zxid, dir: self.dirs.snap.clone() }
            }
            (_, error) => error,
        }
    }

    /// The newest snapshot that can be read whole, as a tree, and which digests it lets us compare.
    fn load_snapshot(&self, report: &mut RecoveryReport) -> Result<Option<(Tree, DigestCheck)>, StorageError> {
        let mut newest_damaged = None;
        let early_enough = |zxid| self.upto.is_none_or(|upto| zxid <= upto);
        let candidates = self.snapshots.candidates()?.into_iter().filter(|&(zxid, _)| early_enough(zxid));
        for (zxid, name) in candidates.take(SNAPSHOTS_TRIED) {
            let path = self.dirs.snap.join(&name);
            if self.snapshots.complete_len(&path)?.is_none() {
                report.warnings.push(format!("{} is not complete and is passed over", path.display()));
                continue;
            }
            match build(self.disk, &path, zxid, self.options) {
                // One that Apache took while txns went on may hold parts of later ones.
                Ok((_, sections, _)) if !early_enough(sections.digest.map_or(zxid, |(zxid, _)| zxid)) => {}
                Ok((tree, sections, unknown_acls)) => {
                    self.snapshots.note_sound(&name);
                    report.unknown_acls = unknown_acls;
                    let digests = what_to_compare(&tree, sections.digest, report);
                    report.snapshot = Some(name);
                    return Ok(Some((tree, digests)));
                }
                Err(SnapshotError::Disk(error)) => return Err(error),
                Err(SnapshotError::Damaged(damage)) => {
                    report.warnings.push(format!("{} is damaged and passed over: {damage}", path.display()));
                    newest_damaged.get_or_insert((name, damage));
                }
            }
        }
        match newest_damaged {
            None => Ok(None),
            Some(_) if self.upto.is_some() => Ok(None),
            Some((newest, damage)) => {
                Err(StorageError::NoSoundSnapshot { dir: self.dirs.snap.clone(), newest, damage })
            }
        }
    }

    /// Whether a directory without a loadable snapshot is a new one; an error if it should have had one.
    fn check_empty(&self, logs: &[LogFile]) -> Result<bool, StorageError> {
        let (snap_dir, log_dir) = (self.dirs.snap.clone(), self.dirs.log.clone());
        let is_evidence = logs.iter().any(LogFile::is_evidence);
        if is_evidence && self.options.trust_empty {
            return Ok(false);
        }
        // One that is cut short is no reason to do without any. The very first may be: nothing was there before it.
        let newest = self.snapshots.candidates()?.into_iter().next();
        if let Some((_, newest)) = newest.filter(|(zxid, _)| is_evidence || *zxid > Zxid::ZERO) {
            return Err(StorageError::NoSoundSnapshot { dir: snap_dir, newest, damage: Damage::Cut });
        }
        if is_evidence {
            return Err(StorageError::NoSnapshot { snap_dir, log_dir });
        }
        if !self.options.db_autocreate && !self.dirs.marker_exists(self.disk)? {
            return Err(StorageError::EmptyUntrusted { dir: snap_dir, marker: self.dirs.marker.clone() });
        }
        Ok(true)
    }

    /// Looks for files that prove that there was more: marks of a log that is gone, a newer snapshot that cannot be
    /// read.
    fn check_witnesses(
        &self,
        logs: &[LogFile],
        end: Zxid,
        report: &mut RecoveryReport,
    ) -> Result<Vec<Repair>, StorageError> {
        let (own, mut repairs, mut witnesses) = (&self.dirs.log_own, Vec::new(), Vec::new());
        for name in self.disk.list(own).map_err(StorageError::io("list", own))? {
            let Some(zxid) = name::marks_zxid(&name) else { continue };
            let log = self.dirs.log.join(name::log_name(zxid));
            if self.disk.exists(&log).map_err(StorageError::io("look for", &log))? {
                continue;
            }
            let path = own.join(name);
            let watermark = Marks::read(self.disk, own, zxid)?.and_then(|marks| marks.watermark());
            match watermark.filter(|mark| mark.zxid > end) {
                // Somebody without marks went on in another direction; then these say nothing.
                Some(_) if logs.iter().any(|log| log.zxid >= zxid && log.is_foreign()) => {
                    repairs.push(Repair::SetAside { path });
                }
                Some(mark) => witnesses.push((mark.zxid, path)),
                // Left behind by a purge that was cut off, or by Apache's, which does not know of marks.
                None => repairs.push(Repair::Remove { path }),
            }
        }
        for (zxid, name) in self.snapshots.candidates()?.into_iter().filter(|&(zxid, _)| zxid > end) {
            witnesses.push((zxid, self.dirs.snap.join(name)));
        }
        witnesses.sort();
        let Some((known, witness)) = witnesses.last().cloned() else { return Ok(repairs) };
        let error = StorageError::TailLost { end, known, witness };
        if !self.options.accept_loss {
            return Err(error);
        }
        report.warnings.push(format!("loss accepted: {error}"));
        repairs.extend(witnesses.into_iter().map(|(_, path)| Repair::SetAside { path }));
        Ok(repairs)
    }
}

pub(crate) fn build(
    disk: &dyn Disk,
    path: &Path,
    zxid: Zxid,
    options: &StoreOptions,
) -> Result<(Tree, SnapshotSections, usize), SnapshotError> {
    let mut builder = TreeBuilder::new(options.tree);
    let sections = snapshot::read(disk, path, &mut builder)?;
    if options.force_sync {
        // Row R6: ZooKeeper does not sync the snapshots that it takes in the background, and what was read may be in
        // memory only; logs before this one may be purged on the strength of it.
        let sync = |error| SnapshotError::Disk(StorageError::io("sync", path)(error));
        disk.open(path).and_then(|file| file.sync_all()).map_err(sync)?;
    }
    let unknown_acls = builder.unknown_acls();
    let tree = builder.finish(zxid).map_err(|error| Damage::NoTree(error.to_string()))?;
    Ok((tree, sections, unknown_acls))
}

/// A snapshot by ZooKeeper may hold parts of txns after its own zxid; its digest section then names the first txn at
/// which digests can be compared again.
fn what_to_compare(tree: &Tree, section: Option<(Zxid, u64)>, report: &mut RecoveryReport) -> DigestCheck {
    let base = tree.last_zxid();
    match section {
        Some((zxid, expected)) if zxid > base => DigestCheck { from: None, target: Some((zxid, expected)) },
        Some((zxid, expected)) if zxid == base && zxid > Zxid::ZERO => {
            if let Some(digest) = tree.digest() {
                report.compare_digest(zxid, expected, digest);
            }
            DigestCheck { from: Some(base), target: None }
        }
        Some(_) | None if base == Zxid::ZERO => DigestCheck { from: Some(base), target: None },
        Some(_) | None => DigestCheck { from: None, target: None },
    }
}

/// A tree that is not from a snapshot gets one before its first txn is logged: logs without any snapshot would be
/// refused at the next start.
fn write_first_snapshot(snapshots: &SnapshotStore, tree: &mut Tree) -> Result<(), StorageError> {
    let head = tree.begin_view().expect("INVARIANT: no view runs and no owner is dead in a tree that was just loaded");
    let mut writer = snapshots.writer(&head)?;
    let (mut cursor, mut records) = (ViewCursor::default(), Vec::new());
    loop {
        records.clear();
        let status = tree.view_piece(&mut cursor, &mut records, PIECE);
        writer.piece(&records)?;
        match status {
            ViewStatus::More => {}
            ViewStatus::Done => break,
            ViewStatus::Abandoned => unreachable!("a view is given up for changes, and nothing changes the tree here"),
        }
    }
    let _ = tree.end_view();
    writer.finish()?;
    Ok(())
}

/// Where everything is.
pub(crate) struct Dirs {
    pub(crate) snap: PathBuf,
    pub(crate) log: PathBuf,
    snap_own: PathBuf,
    pub(crate) log_own: PathBuf,
    /// The file that allows to start without data (`FileTxnSnapLog`).
    marker: PathBuf,
}

impl Dirs {
    pub(crate) fn new(options: &StoreOptions) -> Self {
        let (snap, log) = (name::version_dir(&options.data_dir), name::version_dir(&options.log_dir));
        let (snap_own, log_own) = (snap.join(name::OWN_DIR), log.join(name::OWN_DIR));
        Self { snap, log, snap_own, log_own, marker: options.log_dir.join("initialize") }
    }

    /// Has `look` run over these directories on a disk that refuses every change.
    pub(crate) fn looking<T>(
        &self,
        disk: Arc<dyn Disk>,
        options: &StoreOptions,
        upto: Option<Zxid>,
        look: impl FnOnce(&Opening<'_>) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let disk: Arc<dyn Disk> = Arc::new(ReadOnly::new(disk));
        let snapshots = self.snapshots(&disk, options);
        look(&Opening { disk: &*disk, dirs: self, snapshots: &snapshots, options, upto })
    }

    fn snapshots(&self, disk: &Arc<dyn Disk>, options: &StoreOptions) -> SnapshotStore {
        SnapshotStore::new(disk.clone(), self.snap.clone(), self.log.clone(), options.compression)
    }

    /// Refuses directories that are missing and must not be made.
    fn refuse_missing(&self, disk: &dyn Disk, options: &StoreOptions) -> Result<(), StorageError> {
        for dir in [&self.snap, &self.log] {
            let exists = disk.exists(dir).map_err(StorageError::io("look for", dir))?;
            if !exists && !options.datadir_autocreate {
                return Err(StorageError::DirectoryMissing { dir: dir.clone() });
            }
        }
        Ok(())
    }

    /// Makes what is missing and takes the locks.
    fn make_and_lock(&self, disk: &dyn Disk) -> Result<Locks, StorageError> {
        let mut own_dirs = vec![&self.log_own, &self.snap_own];
        own_dirs.dedup();
        let mut locks = Vec::new();
        for own in own_dirs {
            make_dir(disk, own)?;
            locks.push(lock(disk, own)?);
        }
        Ok(locks)
    }

    /// Refuses files in the wrong one of two directories.
    fn refuse_misplaced(&self, disk: &dyn Disk) -> Result<(), StorageError> {
        if self.snap == self.log {
            return Ok(());
        }
        let list = |dir: &Path| disk.list(dir).map_err(StorageError::io("list", dir));
        if let Some(name) = list(&self.log)?.into_iter().find(|name| name::snapshot_zxid(name).is_some()) {
            return Err(StorageError::Misplaced { path: self.log.join(name), dir: self.snap.clone() });
        }
        if let Some(name) = list(&self.snap)?.into_iter().find(|name| name::log_zxid(name).is_some()) {
            return Err(StorageError::Misplaced { path: self.snap.join(name), dir: self.log.clone() });
        }
        Ok(())
    }

    /// Whether the operator allowed to start without data.
    fn marker_exists(&self, disk: &dyn Disk) -> Result<bool, StorageError> {
        disk.exists(&self.marker).map_err(StorageError::io("look for", &self.marker))
    }

    /// The permission is used up by any start, as in ZooKeeper, but not before there is data.
    fn remove_marker(&self, disk: &dyn Disk) -> Result<(), StorageError> {
        if self.marker_exists(disk)? {
            disk.remove(&self.marker).map_err(StorageError::io("remove", &self.marker))?;
        }
        Ok(())
    }

    /// The files that a server locks.
    pub(crate) fn locks(&self) -> Vec<PathBuf> {
        let mut own_dirs = vec![&self.log_own, &self.snap_own];
        own_dirs.dedup();
        own_dirs.into_iter().map(|own| own.join(LOCK)).collect()
    }

    /// What was being written under a temporary name. It is removed, and never written over: where a rename between two
    /// directories reached the disk by halves, the temporary name may still lead to the file that counts.
    fn leftovers(&self, disk: &dyn Disk) -> Result<Vec<PathBuf>, StorageError> {
        let mut own_dirs = vec![&self.snap_own, &self.log_own];
        own_dirs.dedup();
        let mut found = Vec::new();
        for own in own_dirs {
            let names = disk.list(own).map_err(StorageError::io("list", own))?;
            let unfinished = |name: &String| name.ends_with(".tmp") || name == log::SPARE || name == repair::COPY;
            found.extend(names.into_iter().filter(unfinished).map(|name| own.join(name)));
        }
        Ok(found)
    }
}

/// Makes a directory and what is missing above it, each name durable (row R7).
fn make_dir(disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
    if disk.exists(dir).map_err(StorageError::io("look for", dir))? {
        return Ok(());
    }
    let above = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = above {
        make_dir(disk, parent)?;
    }
    disk.create_dir(dir).map_err(StorageError::io("create", dir))?;
    let parent = above.unwrap_or(Path::new("."));
    disk.sync_dir(parent).map_err(StorageError::io("sync", parent))
}

fn lock(disk: &dyn Disk, own: &Path) -> Result<Box<dyn Send + Sync>, StorageError> {
    let path = own.join(LOCK);
    disk.lock(&path).map_err(|error| {
        let taken = error.kind() == io::ErrorKind::WouldBlock;
        if taken { StorageError::InUse { dir: own.to_owned() } } else { StorageError::io("lock", &path)(error) }
    })
}

const LOCK: &str = "lock";
/// Snapshots that are tried before giving up (`FileSnap.deserialize`).
const SNAPSHOTS_TRIED: usize = 100;
const PIECE: usize = 256 * 1024;
const MISMATCHES_SHOWN: usize = 8;
/// Nodes of a closed session removed at a time; any number does, nobody waits for the tree here.
const SWEEP: usize = 1 << 16;
