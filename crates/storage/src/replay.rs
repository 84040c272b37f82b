//! Replaying the logs after a snapshot onto a tree, and deciding what in them may be believed
//! (ZooKeeper `FileTxnSnapLog.fastForwardFromEdits`, stricter).
//!
//! Nothing is changed on disk here. What must change before the result counts is listed as [`Repair`]s.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use gk_proto::jute::Reader;
use gk_proto::txn::{LoggedTxn, Txn, decode_header};
use gk_proto::{DecodeError, Zxid, planted};
use gk_tree::Tree;

use crate::disk::Disk;
use crate::error::{Damage, StorageError};
use crate::log::{BATCH_MAX, HEADER_END, LogSize, RECORD_OVERHEAD};
use crate::marks::{Mark, Marks};
use crate::name;
use crate::repair::Repair;
use crate::scan::{Found, Header, Record, Scan};
use crate::store::RecoveryReport;

/// How replay judges what it finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplayOptions {
    pub(crate) accept_loss: bool,
    pub(crate) force_sync: bool,
    pub(crate) payload_max: usize,
    /// Reads no further than this txn.
    pub(crate) upto: Option<Zxid>,
}

/// A log file that may hold txns after the snapshot.
#[derive(Debug)]
pub(crate) struct LogFile {
    pub(crate) zxid: Zxid,
    pub(crate) name: String,
    /// Whether it begins with a sound record.
    pub(crate) has_record: bool,
    marks: Option<Marks>,
}

/// The logs from the one that may hold the txn after `base` on, each looked into.
pub(crate) fn find_logs(disk: &dyn Disk, dir: &Path, base: Zxid) -> Result<Vec<LogFile>, StorageError> {
    let mut logs = log_names(disk, dir)?;
    let first = logs.partition_point(|&(zxid, _)| zxid.0 <= base.0.saturating_add(1)).saturating_sub(1);
    logs.drain(first..).map(|(zxid, name)| LogFile::look(disk, dir, zxid, name)).collect()
}

/// Names that are logs', oldest first.
pub(crate) fn log_names(disk: &dyn Disk, dir: &Path) -> Result<Vec<(Zxid, String)>, StorageError> {
    let names = disk.list(dir).map_err(StorageError::io("list", dir))?;
    let mut logs: Vec<_> = names.into_iter().filter_map(|name| Some((name::log_zxid(&name)?, name))).collect();
    logs.sort_unstable();
    Ok(logs)
}

/// Which digests of txns can be compared with the tree's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DigestCheck {
    /// From this txn on; `None` when a snapshot may hold parts of txns and does not say of which.
    pub(crate) from: Option<Zxid>,
    /// The digest of a fuzzy snapshot and the txn at which the tree must have it.
    pub(crate) target: Option<(Zxid, u64)>,
}

/// Replays logs onto a tree.
///
/// Invariant: txns are applied in ascending order without a gap, whatever the files hold (tests `hazards`).
pub(crate) struct Replay<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) dir: PathBuf,
    pub(crate) options: ReplayOptions,
    /// `None` to judge only.
    pub(crate) tree: Option<&'a mut Tree>,
    pub(crate) digests: DigestCheck,
    pub(crate) report: &'a mut RecoveryReport,
    pub(crate) repairs: Vec<Repair>,
    /// The zxid of the snapshot.
    base: Zxid,
    /// The last txn that was read, applied or not.
    last_read: Option<Zxid>,
}

/// What one log is by itself.
pub(crate) struct LogVerdict {
    /// The sound ones, up to where the next log goes on.
    pub(crate) txns: Option<RangeInclusive<Zxid>>,
    pub(crate) txn_count: u64,
    /// Byte after the last of them.
    pub(crate) end: u64,
    /// The last txn before it, if those between the two are missing.
    pub(crate) gap_after: Option<Zxid>,
    pub(crate) is_torn: bool,
    /// The next log has the rest too.
    pub(crate) is_repeated: bool,
    /// Of the marks that were made for this file.
    pub(crate) watermark: Option<Mark>,
    pub(crate) warnings: Vec<String>,
    /// What a start that needs this log would end with.
    pub(crate) damage: Option<StorageError>,
}

/// What is known of the file that is being read.
struct Progress<'a> {
    first: Option<Zxid>,
    last: Zxid,
    good_end: u64,
    /// The first record that is not proven durable.
    doubt: Option<(u64, Zxid)>,
    torn: bool,
    /// Records from here on are in the next file too.
    repeated: bool,
    /// Records from here on are later than what was asked for.
    reached: bool,
    marks: Proof<'a>,
}

/// Marks being compared with what is read.
struct Proof<'a> {
    marks: Option<&'a Marks>,
    next: usize,
}

enum Verdict {
    Agrees,
    /// Not even the first mark fits: the file is not the one that the marks were made for.
    OtherFile,
    Changed,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(
        disk: &'a dyn Disk,
        dir: PathBuf,
        options: ReplayOptions,
        tree: Option<&'a mut Tree>,
        digests: DigestCheck,
        report: &'a mut RecoveryReport,
    ) -> Self {
        let base = tree.as_ref().map_or(Zxid::ZERO, |tree| tree.last_zxid());
        Self { disk, dir, options, tree, digests, report, repairs: Vec::new(), base, last_read: None }
    }

    /// Replays all of them. With `accept_loss` what cannot be believed, and all after it, is put on the list to be set
    /// aside; otherwise it is an error.
    pub(crate) fn run(&mut self, logs: &[LogFile]) -> Result<(), StorageError> {
        for (index, log) in logs.iter().enumerate() {
            let later = &logs[index + 1..];
            let mut progress = Progress::new(log);
            match self.read_log(log, later, &mut progress) {
                Ok(()) if progress.reached => return Ok(()),
                Ok(()) => self.plan(log, later, &progress),
                Err(error @ (StorageError::Corrupt { .. } | StorageError::Gap { .. })) if self.options.accept_loss => {
                    self.report.warnings.push(format!("loss accepted: {error}"));
                    self.plan_loss(log, later, &progress);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What recovery would make of each log by itself, on the trust that what comes before it is there. Only for a
    /// replay that has no tree.
    pub(crate) fn judge_each(&mut self, logs: &[LogFile]) -> Vec<LogVerdict> {
        debug_assert!(self.tree.is_none(), "logs that are judged by themselves make no tree");
        let (mut verdicts, mut previous) = (Vec::new(), None);
        for (index, log) in logs.iter().enumerate() {
            (self.base, self.last_read) = (Zxid(log.zxid.0.saturating_sub(1)), None);
            self.report.replayed = LogSize::default();
            let mut progress = Progress::new(log);
            let damage = self.read_log(log, &logs[index + 1..], &mut progress).err();
            let marks = progress.marks.marks;
            let txns = progress.first.map(|first| first..=progress.last);
            let gap = |last: &Zxid| progress.first.is_some_and(|first| first > *last && !follows(*last, first));
            verdicts.push(LogVerdict {
                txn_count: self.report.replayed.txns,
                end: if txns.is_some() { progress.good_end } else { 0 },
                gap_after: previous.filter(gap),
                is_torn: progress.torn,
                is_repeated: progress.repeated,
                watermark: marks.and_then(Marks::watermark),
                warnings: std::mem::take(&mut self.report.warnings),
                damage,
                txns,
            });
            previous = match verdicts.last() {
                // What cannot be read is there, all the same.
                Some(LogVerdict { damage: Some(_), .. }) => None,
                _ => progress.first.map(|_| progress.last).or(previous),
            };
        }
        verdicts
    }

    fn read_log(&mut self, log: &LogFile, later: &[LogFile], progress: &mut Progress<'_>) -> Result<(), StorageError> {
        let path = self.dir.join(&log.name);
        let mut scan = Scan::open(self.disk, &path)?;
        match scan.header().map_err(StorageError::io("read", &path))? {
            Header::Sound => {}
            Header::Unwritten if planted!(EmptyLogStopsStart) => {
                return Err(StorageError::Corrupt { path, offset: 0, damage: Damage::BadHeader });
            }
            Header::Unwritten if !log.promises_txns() && !later.iter().any(|log| log.has_record) => return Ok(()),
            Header::Unwritten | Header::Foreign => {
                return Err(StorageError::Corrupt { path, offset: 0, damage: Damage::BadHeader });
            }
        }
        let next_file = later.iter().find(|log| log.has_record).map(|log| log.zxid);
        loop {
            match scan.next().map_err(StorageError::io("read", &path))? {
                Found::Record(record) => {
                    let zxid = self.zxid_of(&record, &path)?;
                    if progress.first.is_none() && zxid != log.zxid {
                        let damage = Damage::Misnamed { found: zxid };
                        return Err(StorageError::Corrupt { path, offset: record.start, damage });
                    }
                    // What is proven to have been durable here is not given up for another file.
                    if record.end > progress.marks.proven() && next_file.is_some_and(|next| zxid >= next) {
                        progress.repeated = true;
                        return Ok(());
                    }
                    if self.options.upto.is_some_and(|upto| zxid > upto) {
                        progress.reached = true;
                        return Ok(());
                    }
                    self.compare(&record, zxid, scan.crc(), &path, progress)?;
                    self.take(zxid, &record, &path, progress)?;
                    progress.note(&record, zxid);
                }
                Found::End => return self.check_end(log, later, &path, progress),
                Found::Bad(damage) => return self.judge(&scan, damage, later, path, progress),
            }
        }
    }

    fn zxid_of(&self, record: &Record, path: &Path) -> Result<Zxid, StorageError> {
        match decode_header(&mut Reader::new(&record.payload)) {
            Ok((header, _)) => Ok(header.zxid),
            Err(error) => Err(undecodable(path, record, error)),
        }
    }

    /// Checks a txn's place in the history and applies it, unless the snapshot has it.
    fn take(
        &mut self,
        zxid: Zxid,
        record: &Record,
        path: &Path,
        progress: &mut Progress<'_>,
    ) -> Result<(), StorageError> {
        if let Some(last) = self.last_read.filter(|&last| zxid <= last) {
            // Not so if marks prove what is here: it was copied from such a log.
            if progress.marks.marks.is_some() && record.end > progress.marks.proven() {
                let damage = Damage::OutOfOrder { after: last, found: zxid };
                return Err(StorageError::Corrupt { path: path.to_owned(), offset: record.start, damage });
            }
            // As ZooKeeper does with a log of its own making: idempotent, so it may be applied again.
            if self.report.warnings.len() < WARNINGS_MAX {
                self.report.warnings.push(format!("{}: txn 0x{zxid} follows 0x{last}", path.display()));
            }
        }
        let before = self.last_read.unwrap_or(self.base).max(self.base);
        if zxid > before && !follows(before, zxid) {
            return Err(StorageError::Gap { after: before, found: zxid, path: path.to_owned() });
        }
        if zxid > self.base {
            let logged = LoggedTxn::decode(&record.payload).map_err(|error| undecodable(path, record, error))?;
            if planted!(RecordTooLong) && record.payload.len() > self.options.payload_max {
                return Err(undecodable(path, record, DecodeError::Truncated));
            }
            let is_limit = |path: &str| path.ends_with("/zookeeper_limits");
            if planted!(QuotaStopsStart) && matches!(&logged.txn, Txn::Create { path, .. } if is_limit(path)) {
                return Err(undecodable(path, record, DecodeError::Truncated));
            }
            self.apply(&logged);
            self.report.replayed.txns += 1;
            self.report.replayed.bytes += record.end - record.start;
        }
        self.last_read = self.last_read.max(Some(zxid));
        Ok(())
    }

    fn apply(&mut self, logged: &LoggedTxn) {
        let zxid = logged.header.zxid;
        let Some(tree) = &mut self.tree else { return };
        tree.apply(&logged.header, &logged.txn, &mut ());
        if matches!(logged.txn, Txn::CloseSession { .. }) {
            while tree.sweep(SWEEP) {}
        }
        if let Some((_, expected)) = self.digests.target.filter(|&(target, _)| target == zxid) {
            self.digests.from = Some(zxid);
            self.compare_digest(zxid, expected);
        }
        if self.digests.from.is_some_and(|from| zxid >= from)
            && let Some(expected) = logged.digest
        {
            self.compare_digest(zxid, expected);
        }
    }

    fn compare_digest(&mut self, zxid: Zxid, expected: u64) {
        if let Some(digest) = self.tree.as_ref().and_then(|tree| tree.digest()) {
            self.report.compare_digest(zxid, expected, digest);
        }
    }

    /// Compares what was read with the marks, before any of it is applied.
    fn compare(
        &mut self,
        record: &Record,
        zxid: Zxid,
        crc: u32,
        path: &Path,
        progress: &mut Progress<'_>,
    ) -> Result<(), StorageError> {
        match progress.marks.verdict(record.end, zxid, crc) {
            Verdict::Agrees => {}
            Verdict::OtherFile => {
                let text = "is not the file that its marks were made for; they are ignored";
                self.report.warnings.push(format!("{} {text}", path.display()));
                progress.marks.marks = None;
                progress.doubt = progress.first.map(|first| (HEADER_END, first));
            }
            Verdict::Changed => {
                let damage = Damage::NotWhatWasCommitted;
                return Err(StorageError::Corrupt { path: path.to_owned(), offset: progress.good_end, damage });
            }
        }
        Ok(())
    }

    /// The file ends as it should. Not so if the marks know of more, unless somebody else has written since: an
    /// Apache server that was told to truncate its log does so in place.
    fn check_end(
        &mut self,
        log: &LogFile,
        later: &[LogFile],
        path: &Path,
        progress: &Progress<'_>,
    ) -> Result<(), StorageError> {
        let proven = progress.marks.proven();
        if proven <= progress.good_end {
            return Ok(());
        }
        if later.iter().any(LogFile::is_foreign) {
            let text = "is shorter than it was, and was followed by logs of another server";
            self.report.warnings.push(format!("{} {text}", path.display()));
            return Ok(());
        }
        debug_assert!(log.marks.is_some(), "only marks prove anything");
        let damage = Damage::CommittedMissing { committed: proven };
        Err(StorageError::Corrupt { path: path.to_owned(), offset: progress.good_end, damage })
    }

    /// A torn tail is what one batch that was never acknowledged can leave: above the watermark, and
    /// - in the last log that holds anything, no longer than a batch. In a log without marks, batches that were
    ///   acknowledged may lie above what is damaged: there a sound record behind it makes it damage;
    /// - or in a log whose last sound txn is followed at once by the first of the next log: nothing can be missing
    ///   between the two. Recovery leaves that when it is cut off between copying a tail and cutting it off, and
    ///   ZooKeeper when it goes on after a cut record.
    fn judge(
        &mut self,
        scan: &Scan,
        damage: Damage,
        later: &[LogFile],
        path: PathBuf,
        progress: &mut Progress<'_>,
    ) -> Result<(), StorageError> {
        let offset = scan.offset();
        let bytes = scan.content_end().map_err(StorageError::io("read", &path))? - offset;
        let torn = progress.marks.proven() <= offset
            && match later.iter().find(|log| log.has_record) {
                Some(next) => self.last_read.unwrap_or(self.base).next() == Some(next.zxid),
                None => self.may_be_tail(scan, bytes, progress).map_err(StorageError::io("read", &path))?,
            };
        if !torn {
            return Err(StorageError::Corrupt { path, offset, damage });
        }
        self.report.warnings.push(format!(
            "{}: {bytes} bytes from byte {offset} on belong to a write that a crash cut short ({damage}); it was never \
             acknowledged and is dropped",
            path.display()
        ));
        progress.torn = true;
        Ok(())
    }

    fn may_be_tail(&self, scan: &Scan, bytes: u64, progress: &Progress<'_>) -> std::io::Result<bool> {
        let batch_max = BATCH_MAX.max(self.options.payload_max + RECORD_OVERHEAD) as u64;
        Ok(bytes <= batch_max && (progress.marks.marks.is_some() || !scan.sound_record_follows(bytes)?))
    }

    /// What must be done to a log that was read to its end before what is in it counts.
    fn plan(&mut self, log: &LogFile, later: &[LogFile], progress: &Progress<'_>) {
        let path = self.dir.join(&log.name);
        let Some(first) = progress.first else {
            if !progress.repeated && !later.iter().any(|log| log.has_record) {
                // Before anything is copied, perhaps to this name.
                self.repairs.insert(0, Repair::Remove { path });
            }
            return;
        };
        self.report.logs.push(log.name.clone());
        let is_last = !later.iter().any(|log| log.has_record);
        let ours = progress.marks.marks.is_some();
        let doubt = match progress.doubt {
            // The next log was begun only after all of this one was synced.
            Some(_) if ours && !is_last => None,
            Some(_) if !self.options.force_sync => None,
            // The snapshot has all of it.
            Some(_) if progress.last <= self.base && !progress.torn => None,
            // Of a log without marks everything is in doubt.
            Some(_) if !ours => Some((HEADER_END, first)),
            doubt => doubt,
        };
        if let Some((from, first)) = doubt {
            let (to, last) = (progress.good_end, progress.last);
            self.report.copied_bytes += to - from;
            self.repairs.push(Repair::Copy { path: path.clone(), from, to, first, last });
        }
        match doubt {
            Some((from, _)) if from > HEADER_END => self.repairs.push(Repair::Cut { path, at: from }),
            Some(_) => {}
            None if progress.torn || progress.repeated => {
                self.repairs.push(Repair::Cut { path, at: progress.good_end });
            }
            None => {}
        }
    }

    /// The operator gives up what is damaged and all after it: what is sound of this log becomes a log of its own,
    /// the rest is kept where no rule finds it.
    fn plan_loss(&mut self, log: &LogFile, later: &[LogFile], progress: &Progress<'_>) {
        // A tail that is cut off because this log has it too may now be the only sound one.
        let cut = self.repairs.iter().filter_map(|repair| match repair {
            Repair::Cut { path, .. } => Some(Repair::KeepCopy { path: path.clone() }),
            Repair::Remove { .. } | Repair::Copy { .. } | Repair::SetAside { .. } | Repair::KeepCopy { .. } => None,
        });
        let kept: Vec<Repair> = cut.collect();
        self.repairs.splice(0..0, kept);
        for log in later.iter().rev() {
            self.repairs.push(Repair::SetAside { path: self.dir.join(&log.name) });
        }
        let path = self.dir.join(&log.name);
        match progress.first {
            None => self.repairs.push(Repair::SetAside { path }),
            Some(first) => {
                self.report.logs.push(log.name.clone());
                self.repairs.push(Repair::KeepCopy { path: path.clone() });
                let (from, to, last) = (HEADER_END, progress.good_end, progress.last);
                self.repairs.push(Repair::Copy { path, from, to, first, last });
            }
        }
    }
}

impl LogFile {
    pub(crate) fn look(disk: &dyn Disk, dir: &Path, zxid: Zxid, name: String) -> Result<Self, StorageError> {
        let path = dir.join(&name);
        let mut scan = Scan::open(disk, &path)?;
        let read = StorageError::io("read", &path);
        let has_record = match scan.header().map_err(read)? {
            Header::Sound => matches!(scan.next().map_err(StorageError::io("read", &path))?, Found::Record(_)),
            Header::Unwritten | Header::Foreign => false,
        };
        let marks = Marks::read(disk, &dir.join(name::OWN_DIR), zxid)?;
        Ok(Self { zxid, name, has_record, marks })
    }

    /// Whether there were txns in it, by what can be read or by what its marks say.
    pub(crate) fn is_evidence(&self) -> bool {
        self.has_record || self.promises_txns()
    }

    /// Whether somebody else wrote it.
    pub(crate) fn is_foreign(&self) -> bool {
        self.has_record && self.marks.is_none()
    }

    /// Whether its marks say that txns in it were durable.
    fn promises_txns(&self) -> bool {
        self.marks.as_ref().is_some_and(|marks| marks.watermark().is_some())
    }
}

impl<'a> Progress<'a> {
    fn new(log: &'a LogFile) -> Self {
        Self {
            first: None,
            last: Zxid::ZERO,
            good_end: HEADER_END,
            doubt: None,
            torn: false,
            repeated: false,
            reached: false,
            marks: Proof { marks: log.marks.as_ref(), next: 0 },
        }
    }

    /// A record was taken; from the first one on that is not proven, nothing is known to be durable.
    fn note(&mut self, record: &Record, zxid: Zxid) {
        self.first.get_or_insert(zxid);
        if record.end > self.marks.proven() {
            self.doubt.get_or_insert((record.start, zxid));
        }
        self.good_end = record.end;
        self.last = zxid;
    }
}

impl Proof<'_> {
    /// Up to where the marks say that the log was durable.
    fn proven(&self) -> u64 {
        self.marks.and_then(Marks::watermark).map_or(0, |mark| mark.end)
    }

    fn verdict(&mut self, end: u64, zxid: Zxid, crc: u32) -> Verdict {
        let Some(mark) = self.marks.and_then(|marks| marks.marks.get(self.next)) else {
            return Verdict::Agrees;
        };
        if mark.end > end {
            return Verdict::Agrees;
        }
        if (mark.end, mark.zxid, mark.crc) == (end, zxid, crc) {
            self.next += 1;
            Verdict::Agrees
        } else if self.next == 0 {
            Verdict::OtherFile
        } else {
            Verdict::Changed
        }
    }
}

/// Whether `next` may come right after `last`: the next of its epoch, or the first of a later one.
fn follows(last: Zxid, next: Zxid) -> bool {
    last.next() == Some(next) || (next.epoch() > last.epoch() && next.counter() == 1)
}

fn undecodable(path: &Path, record: &Record, error: DecodeError) -> StorageError {
    let damage = Damage::Undecodable(error);
    StorageError::Corrupt { path: path.to_owned(), offset: record.start, damage }
}

/// Nodes of a closed session removed at a time; any number does, nobody waits for the tree here.
const SWEEP: usize = 1 << 16;
/// Beyond so many warnings, disorder in a log is not mentioned any more.
const WARNINGS_MAX: usize = 100;
