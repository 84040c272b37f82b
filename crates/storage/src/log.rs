//! Writing the transaction log (ZooKeeper `FileTxnLog`, `FilePadding`).
//!
//! Txns are gathered in a buffer; a commit is one write and one fdatasync for all of them. A new file appears under
//! its name only when its header and first txns are durable in it. Space is reserved ahead, in ZooKeeper's steps, so
//! that a full disk is met before a txn is written and not in the middle of one.
//!
//! Not done here: reading ([`crate::replay`]), and measuring how long a sync takes (the caller has the clock).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gk_proto::{Zxid, planted};

use crate::disk::{Disk, DiskFile};
use crate::error::StorageError;
use crate::marks::{Mark, MarksSync, MarksWriter};
use crate::name;

/// The log that is being written.
///
/// Invariants:
/// - Zxids of appended txns ascend (asserted in `append`).
/// - `durable` is the last txn whose bytes, and whose file's name, were synced (test `crash_points`).
/// - After any failed write or sync nothing is written again (`poisoned`; test
///   `failed_sync_poisons_the_log_for_ever`).
/// - Nothing is written beyond what is reserved, unless preallocation is off (asserted in `write_batch`).
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    own_dir: PathBuf,
    options: LogOptions,
    current: Option<Current>,
    /// A reserved file that has no name yet; used by the next new log.
    spare: Option<Spare>,
    roll_wanted: bool,
    buffer: Vec<u8>,
    /// The txns of the buffer, by where they end in it; the buffer is written in runs of whole txns.
    ends: Vec<(usize, Zxid)>,
    durable: Zxid,
    since_snapshot: LogSize,
    poisoned: bool,
    marks_sync: MarksSync,
    /// Held while the log is open.
    _locks: Locks,
}

/// Guards of the directories' locks.
pub(crate) type Locks = Vec<Box<dyn Send + Sync>>;

/// How a log is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogOptions {
    pub(crate) prealloc_bytes: u64,
    pub(crate) force_sync: bool,
    pub(crate) payload_max: usize,
}

/// An amount of log: txns, and bytes of their records without padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogSize {
    /// Number of txns.
    pub txns: u64,
    /// Bytes of records.
    pub bytes: u64,
}

/// What one commit did.
#[derive(Debug)]
pub struct CommitReport {
    /// Every txn up to this one is durable (or, with `forceSync=no`, handed to the operating system).
    pub durable: Zxid,
    /// What was written.
    pub written: LogSize,
    /// How many times the log was synced: once, or more often for a very large batch.
    pub syncs: u32,
    /// Whether a new file was begun.
    pub new_file: bool,
    /// Marks could not be written, nor begun anew: the log goes on without them until it rolls. Reported once a file.
    pub marks_failed: Option<StorageError>,
    /// Marks could not be written, and were begun anew: nothing is less certain for it.
    pub marks_renewed: Option<StorageError>,
}

/// Whether the disk has room for more txns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    /// As much as usual is reserved.
    Ample,
    /// The reserve could not be renewed. What was accepted fits into what is left; accept no more.
    Short {
        /// Reserved bytes that are left.
        left: u64,
    },
}

#[derive(Debug)]
struct Current {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    first: Zxid,
    /// End of the last durable record.
    end: u64,
    /// Length that is reserved.
    reserved: u64,
    /// Over all bytes up to `end`.
    crc: crc32fast::Hasher,
    marks: Option<MarksWriter>,
}

#[derive(Debug)]
struct Spare {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    reserved: u64,
}

impl Log {
    /// Continues after `durable`. The first commit begins a new file: an old log is never appended to.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: LogOptions,
        durable: Zxid,
        since_snapshot: LogSize,
        locks: Locks,
    ) -> Self {
        Self {
            disk,
            own_dir: dir.join(name::OWN_DIR),
            dir,
            options,
            current: None,
            spare: None,
            roll_wanted: false,
            buffer: Vec::new(),
            ends: Vec::new(),
            durable,
            since_snapshot,
            poisoned: false,
            marks_sync: MarksSync::default(),
            _locks: locks,
        }
    }

    /// Adds a txn to the buffer. The payload is header, record and digest as in a PROPOSAL; the caller has refused
    /// what is longer than the configured maximum. Nothing is durable before [`Self::commit`].
    pub fn append(&mut self, zxid: Zxid, payload: &[u8]) {
        let last = self.ends.last().map_or(self.durable, |&(_, zxid)| zxid);
        assert!(zxid > last, "txn {zxid:?} appended after {last:?}");
        let max = self.options.payload_max;
        let fits = payload.len() <= max || planted!(RecordTooLong);
        assert!(!payload.is_empty() && fits, "a payload of {} bytes, maximum {max}", payload.len());
        encode_record(payload, &mut self.buffer);
        self.ends.push((self.buffer.len(), zxid));
    }

    /// Makes all appended txns durable: one write, one fdatasync.
    ///
    /// [`StorageError::NoSpace`] leaves what is not yet durable in the buffer, to be tried again; any other error is
    /// final.
    pub fn commit(&mut self) -> Result<CommitReport, StorageError> {
        if self.poisoned {
            return Err(StorageError::Poisoned);
        }
        let mut report = CommitReport {
            durable: self.durable,
            written: LogSize::default(),
            syncs: 0,
            new_file: false,
            marks_failed: None,
            marks_renewed: None,
        };
        while !self.ends.is_empty() {
            match self.write_batch(&mut report) {
                Ok(()) => {}
                Err(error) => {
                    self.poisoned = !matches!(error, StorageError::NoSpace { .. });
                    return Err(error);
                }
            }
        }
        report.durable = self.durable;
        Ok(report)
    }

    /// Ends the current file; the next txn begins a new one. Whatever was appended must have been committed. A log that
    /// failed stays as it is.
    pub fn roll(&mut self) {
        if self.poisoned {
            return;
        }
        assert!(self.ends.is_empty(), "rolled with {} txns uncommitted", self.ends.len());
        self.roll_wanted = self.current.is_some();
    }

    /// Renews the reserve when it runs low. To be called at start and after commits, off the path of replies; while it
    /// says [`Space::Short`], no further txn may be accepted.
    pub fn ensure_space(&mut self) -> Result<Space, StorageError> {
        let step = self.options.prealloc_bytes;
        if step == 0 || self.poisoned {
            return Ok(Space::Ample);
        }
        let Some(current) = &mut self.current else {
            return self.ensure_spare();
        };
        let left = current.reserved.saturating_sub(current.end);
        let waiting = self.buffer.len() as u64;
        if left >= (step / 4).max(waiting) {
            return Ok(Space::Ample);
        }
        let wanted = padded_size(current.end, current.end + waiting, current.reserved + step, step);
        match current.reserve(wanted) {
            Ok(()) => Ok(Space::Ample),
            Err(StorageError::NoSpace { .. }) => Ok(Space::Short { left }),
            Err(error) => {
                self.poisoned = true;
                Err(error)
            }
        }
    }

    /// The last durable txn.
    pub fn durable(&self) -> Zxid {
        self.durable
    }

    /// How much has become durable since the last snapshot began.
    pub fn since_snapshot(&self) -> LogSize {
        self.since_snapshot
    }

    /// Notes that a snapshot begins with the txn that is durable now.
    pub fn snapshot_began(&mut self) {
        self.since_snapshot = LogSize::default();
    }

    /// The handle by which another thread makes the marks durable.
    pub fn marks_sync(&self) -> MarksSync {
        self.marks_sync.clone()
    }

    /// Ends the log in good order: what was appended is committed, and the marks are synced, so that the next start has
    /// nothing to doubt and nothing to copy.
    pub fn close(mut self) -> Result<(), StorageError> {
        self.commit()?;
        if let Some(spare) = self.spare.take() {
            self.disk.remove(&spare.path).map_err(StorageError::io("remove", &spare.path))?;
        }
        if let Some(current) = self.current.take() {
            current.end();
        }
        Ok(())
    }

    /// Writes and syncs as many of the appended txns as one batch may hold.
    fn write_batch(&mut self, report: &mut CommitReport) -> Result<(), StorageError> {
        let count = self.ends.iter().take_while(|&&(end, _)| end <= BATCH_MAX).count().max(1);
        let (len, last) = self.ends[count - 1];
        if self.current.is_none() || self.roll_wanted {
            match self.begin_file(len) {
                Ok((mark, failed)) => {
                    report.new_file = true;
                    report.syncs += 1;
                    self.push_mark(mark, failed, report);
                    self.written(report, count, len, last);
                    return Ok(());
                }
                // Without room for a new file the old one goes on, as far as its reserve reaches.
                Err(StorageError::NoSpace { .. }) if self.current.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        let current = self.current.as_mut().expect("INVARIANT: begin_file returned an error or made one");
        let (batch, _) = self.buffer.split_at(len);
        let (end, padded) = (current.end + len as u64, current.reserved);
        if self.options.prealloc_bytes > 0 {
            current.reserve(padded_size(current.end, end, current.reserved, self.options.prealloc_bytes))?;
            assert!(end <= current.reserved, "batch ends at {end} beyond the reserve {}", current.reserved);
        }
        current.file.write_at(batch, current.end).map_err(StorageError::io("write", &current.path))?;
        if planted!(PaddingCutsRecord)
            && len as u64 > self.options.prealloc_bytes
            && padded < end
            && self.options.prealloc_bytes > 0
        {
            current.file.set_len(padded).map_err(StorageError::io("pad", &current.path))?;
        }
        if self.options.force_sync {
            // Row L3: from here on the batch survives a power failure.
            let synced = current.file.sync_data().map_err(StorageError::io("sync", &current.path));
            synced.or_else(|error| if planted!(FailedSyncIgnored) { Ok(()) } else { Err(error) })?;
        }
        report.syncs += 1;
        let mark = current.advance(batch, last);
        self.push_mark(mark, None, report);
        self.written(report, count, len, last);
        Ok(())
    }

    /// Notes beside the log what is durable now; `failed` is why it has no marks yet. Where that cannot be done the marks are
    /// begun anew, once: without them, damage in what comes could pass for a tail that nobody was told of.
    fn push_mark(&mut self, mark: Mark, failed: Option<StorageError>, report: &mut CommitReport) {
        let current = self.current.as_mut().expect("INVARIANT: the caller has just written to it");
        let failed = match (&mut current.marks, failed) {
            (Some(marks), _) => marks.push(mark).err(),
            (None, failed) => failed,
        };
        let is_other = report.new_file || failed.is_some();
        if let Some(failed) = failed {
            match MarksWriter::renew(&*self.disk, &self.own_dir, current.first, self.options.force_sync, mark) {
                Ok(marks) => {
                    current.marks = Some(marks);
                    report.marks_renewed = Some(failed);
                }
                Err(again) => {
                    current.marks = None;
                    report.marks_failed = Some(again);
                }
            }
        }
        if is_other {
            self.marks_sync.follow(current.marks.as_ref());
        }
        self.marks_sync.touch();
    }

    fn written(&mut self, report: &mut CommitReport, count: usize, len: usize, last: Zxid) {
        let size = LogSize { txns: count as u64, bytes: len as u64 };
        for total in [&mut report.written, &mut self.since_snapshot] {
            total.txns += size.txns;
            total.bytes += size.bytes;
        }
        self.durable = last;
        if count == self.ends.len() {
            self.buffer.clear();
            self.buffer.shrink_to(BATCH_MAX);
            self.ends.clear();
        } else {
            self.buffer.drain(..len);
            self.ends.drain(..count);
            for (end, _) in &mut self.ends {
                *end -= len;
            }
        }
    }

    /// Begins a new file with the first `len` bytes of the buffer. On success they are durable; without space
    /// nothing has changed. Returns what to note beside it, and the error that keeps it from having marks.
    fn begin_file(&mut self, len: usize) -> Result<(Mark, Option<StorageError>), StorageError> {
        let (first, last) = (self.first_zxid(), self.ends.iter().rfind(|&&(end, _)| end == len));
        let last = last.expect("INVARIANT: the caller took len from this list").1;
        let step = self.options.prealloc_bytes;
        let end = HEADER_END + len as u64;
        let spare = match self.spare.take() {
            Some(spare) => spare,
            None => self.make_spare()?,
        };
        if step > 0
            && let Err(error) =
                reserve(&*spare.file, &spare.path, spare.reserved, padded_size(HEADER_END, end, spare.reserved, step))
        {
            self.disk.remove(&spare.path).map_err(StorageError::io("remove", &spare.path))?;
            return Err(error);
        }
        let (batch, _) = self.buffer.split_at(len);
        let path = self.dir.join(name::log_name(first));
        if planted!(EmptyLogStopsStart) {
            self.name_log(&spare.path, &path)?;
        }
        let write = StorageError::io("write", &spare.path);
        spare.file.write_at(&[HEADER_BYTES, batch].concat(), 0).map_err(write)?;
        // Row L1: the marks exist before the log does, so that a log of ours is never taken for somebody else's.
        let marks = MarksWriter::create(&*self.disk, &self.own_dir, first, self.options.force_sync);
        if self.options.force_sync {
            // Row L1: header and first batch are durable before the file has its name.
            spare.file.sync_all().map_err(StorageError::io("sync", &spare.path))?;
        }
        if !planted!(EmptyLogStopsStart) {
            self.name_log(&spare.path, &path)?;
        }
        let reserved = spare.file.len().map_err(StorageError::io("look at", &path))?;
        let (marks, failed) = match marks {
            Ok(marks) => (Some(marks), None),
            Err(error) => (None, Some(error)),
        };
        let mut crc = crc32fast::Hasher::new();
        crc.update(HEADER_BYTES);
        let mut current = Current { file: spare.file, path, first, end: HEADER_END, reserved, crc, marks };
        let mark = current.advance(batch, last);
        if let Some(old) = self.current.replace(current) {
            old.end();
        }
        self.roll_wanted = false;
        Ok((mark, failed))
    }

    /// Gives a log the name under which it is found.
    fn name_log(&self, temporary: &Path, path: &Path) -> Result<(), StorageError> {
        self.disk.rename(temporary, path).map_err(StorageError::io("rename", path))?;
        if self.options.force_sync && !planted!(NameNotSynced) {
            // Row L2: the name is durable; only now is the batch.
            self.disk.sync_dir(&self.dir).map_err(StorageError::io("sync", &self.dir))?;
        }
        Ok(())
    }

    fn first_zxid(&self) -> Zxid {
        self.ends.first().expect("INVARIANT: a file is begun only for a txn").1
    }

    fn ensure_spare(&mut self) -> Result<Space, StorageError> {
        let end = HEADER_END + self.buffer.len() as u64;
        let mut spare = match self.spare.take() {
            Some(spare) if spare.reserved >= end => {
                self.spare = Some(spare);
                return Ok(Space::Ample);
            }
            Some(spare) => spare,
            None => self.make_spare()?,
        };
        let wanted = padded_size(HEADER_END, end, spare.reserved, self.options.prealloc_bytes);
        match reserve(&*spare.file, &spare.path, spare.reserved, wanted) {
            Ok(()) => {
                spare.reserved = wanted;
                self.spare = Some(spare);
                Ok(Space::Ample)
            }
            Err(StorageError::NoSpace { .. }) => {
                self.disk.remove(&spare.path).map_err(StorageError::io("remove", &spare.path))?;
                Ok(Space::Short { left: 0 })
            }
            Err(error) => Err(error),
        }
    }

    fn make_spare(&self) -> Result<Spare, StorageError> {
        let path = self.own_dir.join(SPARE);
        let file = self.disk.create(&path).map_err(StorageError::io("create", &path))?;
        Ok(Spare { file, path, reserved: 0 })
    }
}

impl Current {
    /// Takes note of a batch that is durable.
    fn advance(&mut self, batch: &[u8], last: Zxid) -> Mark {
        self.end += batch.len() as u64;
        self.crc.update(batch);
        Mark { end: self.end, zxid: last, crc: self.crc.clone().finalize() }
    }

    /// Ends a file that nothing will be added to. Neither step is needed for what is in it, so that neither may fail it.
    fn end(self) {
        if let Some(marks) = &self.marks {
            // Row L5: the log is proven to its end.
            let _ = marks.sync();
        }
        // Gives back what was reserved and not used, but for the rest of the last block: a block that holds txns is
        // never written again.
        let used = self.end.next_multiple_of(BLOCK);
        if used < self.reserved {
            let _ = self.file.set_len(used);
        }
    }

    fn reserve(&mut self, wanted: u64) -> Result<(), StorageError> {
        reserve(&*self.file, &self.path, self.reserved, wanted)?;
        self.reserved = self.reserved.max(wanted);
        Ok(())
    }
}

/// Appends one record: Adler-32 of the payload, its length, the payload, `B`.
pub(crate) fn encode_record(payload: &[u8], out: &mut Vec<u8>) {
    let length = i32::try_from(payload.len()).expect("INVARIANT: payloads are bounded by jute.maxbuffer, an int");
    out.reserve(payload.len() + RECORD_OVERHEAD);
    out.extend_from_slice(&u64::from(simd_adler32::adler32(&payload)).to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
    out.push(END_MARK);
}

/// The size that a log of `size` bytes is padded to before `start..end` is written (`FilePadding`): the next step when
/// less than 4 KiB are left at `start`. Unlike ZooKeeper, which notices only at the next write that one went beyond the
/// padding, we pad for this write before it is made; the sizes are the same.
fn padded_size(start: u64, end: u64, size: u64, step: u64) -> u64 {
    let size = size.max(HEADER_END);
    let padded = if start + 4096 >= size { size + step } else { size };
    if end > padded { (end + step) / step * step } else { padded }
}

fn reserve(file: &dyn DiskFile, path: &Path, reserved: u64, wanted: u64) -> Result<(), StorageError> {
    if wanted <= reserved {
        return Ok(());
    }
    match file.allocate(reserved, wanted - reserved) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            Err(StorageError::NoSpace { path: path.to_owned(), wanted })
        }
        Err(source) => Err(StorageError::Io { action: "extend", path: path.to_owned(), source }),
    }
}

/// `FileHeader` of a log: magic "ZKLG", version 2, database id 0.
pub(crate) const HEADER_BYTES: &[u8; 16] = b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0";
/// Offset of the first record.
pub(crate) const HEADER_END: u64 = HEADER_BYTES.len() as u64;
/// Bytes of a record around its payload.
pub(crate) const RECORD_OVERHEAD: usize = 13;
/// The last byte of each record.
pub(crate) const END_MARK: u8 = b'B';
/// Most bytes that are written before a sync, unless a single txn is larger. What a crash may tear is bounded by it,
/// and so is what recovery may take for torn.
pub(crate) const BATCH_MAX: usize = 1 << 20;
/// Blocks of file systems are of this size, or of a fraction of it.
const BLOCK: u64 = 4096;
/// Name of the reserved file without a zxid yet.
pub(crate) const SPARE: &str = "next.log";
