//! Marks: a small file beside each log that says how far it was durable, and of which bytes.
//!
//! One mark is appended after each fdatasync of the log, and is not synced itself on that path: a mark that is found
//! is a proof, however it came to the disk, and one that is missing only leaves more of the log unproven. Each holds
//! the CRC-32 of the log's bytes from its very first one, so a sector that is zeroed, stale or somebody else's shows
//! at the next mark even where each record is sound by itself. `docs/durability.md` draws the bytes.
//!
//! Not done here: deciding what a missing or contradicting mark means; that is [`crate::replay`]'s.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gk_proto::Zxid;

use crate::disk::{Disk, DiskFile, FileReader};
use crate::error::StorageError;
use crate::log::HEADER_END;
use crate::name;

/// The first `end` bytes of a log were durable, ended with `zxid` and had this checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    pub(crate) end: u64,
    pub(crate) zxid: Zxid,
    pub(crate) crc: u32,
}

/// What a file of marks holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Marks {
    /// Whether the log was synced before each mark; not so with `forceSync=no`, when marks prove the bytes only.
    pub(crate) synced: bool,
    /// Every mark that verifies, by `end`.
    pub(crate) marks: Vec<Mark>,
    /// How many before the last of those do not: no crash leaves that.
    pub(crate) damaged: usize,
}

impl Marks {
    /// Reads the marks of the log that starts with `first`; `None` if there are none or their header is damaged.
    pub(crate) fn read(disk: &dyn Disk, own_dir: &Path, first: Zxid) -> Result<Option<Self>, StorageError> {
        let path = own_dir.join(name::marks_name(first));
        if !disk.exists(&path).map_err(StorageError::io("look for", &path))? {
            return Ok(None);
        }
        let file = disk.open(&path).map_err(StorageError::io("open", &path))?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut FileReader::new(file, 0), &mut bytes)
            .map_err(StorageError::io("read", &path))?;
        Ok(Self::parse(&bytes, first))
    }

    fn parse(bytes: &[u8], first: Zxid) -> Option<Self> {
        let (head, entries) = bytes.split_first_chunk::<HEADER>()?;
        let synced = [true, false].into_iter().find(|&synced| header(first, synced) == *head)?;
        let seed = seed(head);
        let (mut marks, mut damaged) = (Vec::new(), 0);
        for (number, entry) in entries.as_chunks::<ENTRY>().0.iter().enumerate() {
            // A mark of no txn proves nothing; nobody writes one.
            if let Some(mark) = decode(entry, seed).filter(|mark| mark.end > HEADER_END) {
                marks.push(mark);
                damaged = number + 1 - marks.len();
            }
        }
        marks.sort_unstable_by_key(|mark| mark.end);
        Some(Self { synced, marks, damaged })
    }

    /// How far the log was durable for certain.
    pub(crate) fn watermark(&self) -> Option<Mark> {
        if self.synced { self.marks.last().copied() } else { None }
    }
}

/// Appends marks. An error here costs proofs, never txns: it is handed up once and the log goes on without marks.
#[derive(Debug)]
pub(crate) struct MarksWriter {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    offset: u64,
    seed: u32,
}

impl MarksWriter {
    /// Makes the file durable, header and name, before the log that it is for appears (row L1). In the place of older
    /// marks it comes whole: without a header of ours, a torn log would be judged as somebody else's.
    pub(crate) fn create(disk: &dyn Disk, own_dir: &Path, first: Zxid, synced: bool) -> Result<Self, StorageError> {
        Self::begin(disk, own_dir, first, synced, None)
    }

    /// Begins anew with one mark, in the place of marks to which none could be added (row L6). It proves all that they did:
    /// a mark speaks of its log from the first byte on.
    pub(crate) fn renew(
        disk: &dyn Disk,
        own_dir: &Path,
        first: Zxid,
        synced: bool,
        mark: Mark,
    ) -> Result<Self, StorageError> {
        Self::begin(disk, own_dir, first, synced, Some(mark))
    }

    fn begin(
        disk: &dyn Disk,
        own_dir: &Path,
        first: Zxid,
        synced: bool,
        mark: Option<Mark>,
    ) -> Result<Self, StorageError> {
        let path = own_dir.join(name::marks_name(first));
        let temporary = path.with_extension("tmp");
        let file = disk.create(&temporary).map_err(StorageError::io("create", &temporary))?;
        let head = header(first, synced);
        let seed = seed(&head);
        let mut content = head.to_vec();
        content.extend(mark.into_iter().flat_map(|mark| encode(mark, seed)));
        file.write_at(&content, 0).map_err(StorageError::io("write", &temporary))?;
        file.sync_all().map_err(StorageError::io("sync", &temporary))?;
        disk.rename(&temporary, &path).map_err(StorageError::io("rename", &path))?;
        disk.sync_dir(own_dir).map_err(StorageError::io("sync", own_dir))?;
        Ok(Self { file, path, offset: content.len() as u64, seed })
    }

    /// Appends one mark, unsynced.
    pub(crate) fn push(&mut self, mark: Mark) -> Result<(), StorageError> {
        let entry = encode(mark, self.seed);
        self.file.write_at(&entry, self.offset).map_err(StorageError::io("write", &self.path))?;
        self.offset += ENTRY as u64;
        Ok(())
    }

    /// Makes the marks so far durable (row L5).
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(StorageError::io("sync", &self.path))
    }
}

/// Makes marks durable from another thread than the log's, so that no commit waits for it.
///
/// Called a few times a second it bounds what a power failure leaves unproven to that time. Never needed for what a
/// killed process leaves: the kernel still has the marks then.
#[derive(Clone, Debug, Default)]
pub struct MarksSync(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    current: Mutex<Option<(Arc<dyn DiskFile>, PathBuf)>>,
    dirty: AtomicBool,
}

impl MarksSync {
    /// Syncs the marks written since the last call, if there are any (row L4). An error costs proofs, not txns.
    pub fn sync(&self) -> Result<(), StorageError> {
        if !self.0.dirty.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((file, path)) = current else { return Ok(()) };
        file.sync_data().map_err(StorageError::io("sync", &path))
    }

    pub(crate) fn follow(&self, writer: Option<&MarksWriter>) {
        let current = writer.map(|writer| (writer.file.clone(), writer.path.clone()));
        *self.0.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }

    pub(crate) fn touch(&self) {
        self.0.dirty.store(true, Ordering::Relaxed);
    }
}

const HEADER: usize = 32;
const ENTRY: usize = 24;
const MAGIC: [u8; 8] = *b"GKMARKS1";

fn header(first: Zxid, synced: bool) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(&MAGIC);
    out[8..16].copy_from_slice(&first.0.to_be_bytes());
    out[16..20].copy_from_slice(&u32::from(synced).to_be_bytes());
    let crc = crc32fast::hash(&out[..28]);
    out[28..].copy_from_slice(&crc.to_be_bytes());
    out
}

/// Ties each entry to its file: an entry of another log's marks does not verify.
fn seed(header: &[u8; HEADER]) -> u32 {
    crc32fast::hash(header)
}

fn encode(mark: Mark, seed: u32) -> [u8; ENTRY] {
    let mut out = [0; ENTRY];
    out[..8].copy_from_slice(&mark.end.to_be_bytes());
    out[8..16].copy_from_slice(&mark.zxid.0.to_be_bytes());
    out[16..20].copy_from_slice(&mark.crc.to_be_bytes());
    let check = check(&out, seed);
    out[20..].copy_from_slice(&check.to_be_bytes());
    out
}

fn decode(entry: &[u8; ENTRY], seed: u32) -> Option<Mark> {
    let (end, rest) = entry.split_first_chunk()?;
    let (zxid, rest) = rest.split_first_chunk()?;
    let (crc, stored) = rest.split_first_chunk()?;
    if *stored != check(entry, seed).to_be_bytes() {
        return None;
    }
    let zxid = Zxid(u64::from_be_bytes(*zxid));
    Some(Mark { end: u64::from_be_bytes(*end), zxid, crc: u32::from_be_bytes(*crc) })
}

fn check(entry: &[u8; ENTRY], seed: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&entry[..20]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(count: u64) -> (Vec<u8>, Vec<Mark>) {
        let head = header(Zxid(9), true);
        let mut bytes = head.to_vec();
        let mut marks = Vec::new();
        for i in 1..=count {
            let mark = Mark { end: i * 100, zxid: Zxid(8 + i), crc: crc32fast::hash(&i.to_be_bytes()) };
            bytes.extend_from_slice(&encode(mark, seed(&head)));
            marks.push(mark);
        }
        (bytes, marks)
    }

    #[test]
    fn marks_round_trip() {
        let (bytes, marks) = sample(5);
        let read = Marks::parse(&bytes, Zxid(9)).unwrap();
        assert_eq!(read, Marks { synced: true, marks: marks.clone(), damaged: 0 }, "as written");
        assert_eq!(read.watermark(), marks.last().copied(), "the last one counts");
        assert_eq!(Marks::parse(&bytes, Zxid(8)), None, "marks of another log");
    }

    #[test]
    fn unsynced_marks_are_no_watermark() {
        let read = Marks::parse(&header(Zxid(9), false), Zxid(9)).unwrap();
        assert_eq!(read.watermark(), None, "forceSync=no");
    }

    #[test]
    fn flipped_bit_costs_one_mark_or_the_whole_file() {
        let (bytes, marks) = sample(3);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let read = Marks::parse(&damaged, Zxid(9));
            if bit / 8 < HEADER {
                assert_eq!(read, None, "bit {bit} of the header");
            } else {
                let lost = (bit / 8 - HEADER) / ENTRY;
                let left: Vec<Mark> = (0..3).filter(|&i| i != lost).map(|i| marks[i]).collect();
                let read = read.unwrap();
                assert_eq!(read.marks, left, "bit {bit}");
                assert_eq!(read.damaged, usize::from(lost < 2), "bit {bit}: the last one may be torn");
            }
        }
    }

    /// One start removed a log without txns; the next one refused, because such marks spoke of txns that it had held.
    #[test]
    fn mark_of_no_txn_proves_nothing() {
        let head = header(Zxid(9), true);
        let mark = Mark { end: HEADER_END, zxid: Zxid(9), crc: 1 };
        let bytes = [&head[..], &encode(mark, seed(&head))].concat();
        assert_eq!(Marks::parse(&bytes, Zxid(9)).unwrap().marks, [], "nothing is left of it");
    }

    #[test]
    fn torn_and_padded_ends_are_passed_over() {
        let (mut bytes, marks) = sample(2);
        bytes.truncate(bytes.len() - 1);
        assert_eq!(Marks::parse(&bytes, Zxid(9)).unwrap().marks, marks[..1], "cut");
        bytes.extend_from_slice(&[0; 100]);
        assert_eq!(Marks::parse(&bytes, Zxid(9)).unwrap().marks, marks[..1], "zeros");
    }
}
