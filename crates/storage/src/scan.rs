//! Reading one log file, record by record, and saying exactly what ends it.
//!
//! ZooKeeper takes a zero length, a missing end mark and a cut record alike for the end of the file
//! (`FileTxnIterator.next`). Here only zeros up to the end of the file are padding; everything else is [`Found::Bad`],
//! and the caller decides whether a crash explains it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, DiskFile, read_full};
use crate::error::{Damage, StorageError};
use crate::log::{END_MARK, HEADER_BYTES, RECORD_OVERHEAD};

/// A cursor over the records of a log.
#[derive(Debug)]
pub(crate) struct Scan {
    file: Arc<dyn DiskFile>,
    len: u64,
    chunk: Bytes,
    /// Offset of the chunk in the file.
    chunk_at: u64,
    /// Consumed in the chunk.
    at: usize,
    /// Over all consumed bytes of the file.
    crc: crc32fast::Hasher,
}

/// A record whose checksum and end mark are right.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) payload: Bytes,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Found {
    Record(Record),
    /// The file ends here, or nothing but zeros follows.
    End,
    /// What follows is neither a record nor padding.
    Bad(Damage),
}

/// What the first bytes of a file are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Header {
    Sound,
    /// Nothing, a part of the header, or zeros: a file whose making was cut off, or its preallocation.
    Unwritten,
    Foreign,
}

impl Scan {
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StorageError> {
        let file = disk.open(path).map_err(StorageError::io("open", path))?;
        let len = file.len().map_err(StorageError::io("look at", path))?;
        let crc = crc32fast::Hasher::new();
        Ok(Self { file, len, chunk: Bytes::new(), chunk_at: 0, at: 0, crc })
    }

    /// Reads the header. Version and database id are not looked at, as in ZooKeeper.
    pub(crate) fn header(&mut self) -> io::Result<Header> {
        let bytes = self.peek(HEADER_BYTES.len())?;
        if bytes.len() < HEADER_BYTES.len() {
            let unwritten = HEADER_BYTES.starts_with(&bytes) || is_zero(&bytes);
            return Ok(if unwritten { Header::Unwritten } else { Header::Foreign });
        }
        if bytes.starts_with(&HEADER_BYTES[..4]) {
            self.consume(HEADER_BYTES.len());
            return Ok(Header::Sound);
        }
        Ok(if self.content_end()? == 0 { Header::Unwritten } else { Header::Foreign })
    }

    /// The next record, or why there is none. After anything but a record the cursor stays.
    ///
    /// What is no record counts only if it reads the same again: whoever looks while a server writes may have read a part
    /// of what is whole by now, and padding where a record is.
    pub(crate) fn next(&mut self) -> io::Result<Found> {
        loop {
            match self.next_as_read()? {
                Found::Bad(damage) if !self.has_changed()? => return Ok(Found::Bad(damage)),
                Found::Bad(_) => {}
                found @ (Found::Record(_) | Found::End) => return Ok(found),
            }
        }
    }

    /// Reads again what lies at the cursor, and returns whether it, or the file's length, is no longer what it was.
    fn has_changed(&mut self) -> io::Result<bool> {
        let before = (self.len, self.chunk.slice(self.at..));
        (self.chunk_at, self.at, self.chunk) = (self.offset(), 0, Bytes::new());
        self.len = self.file.len()?;
        let again = self.peek(before.1.len())?;
        Ok((self.len, again) != before)
    }

    fn next_as_read(&mut self) -> io::Result<Found> {
        let start = self.offset();
        let head = self.peek(RECORD_OVERHEAD - 1)?;
        let Some((checksum, length)) = parse_head(&head) else {
            return Ok(if is_zero(&head) { Found::End } else { Found::Bad(Damage::Cut) });
        };
        let Some(payload_len) = usize::try_from(length).ok().filter(|&len| len > 0) else {
            return Ok(match length {
                0 if self.content_end()? <= start => Found::End,
                0 => Found::Bad(Damage::ZeroedRecord),
                _ => Found::Bad(Damage::BadLength(length)),
            });
        };
        let end = start + (RECORD_OVERHEAD + payload_len) as u64;
        if end > self.len {
            return Ok(Found::Bad(Damage::Cut));
        }
        let record = self.peek(RECORD_OVERHEAD + payload_len)?;
        match check_record(&record, checksum) {
            Some(damage) => Ok(Found::Bad(damage)),
            None => {
                self.consume(record.len());
                let payload = record.slice(RECORD_OVERHEAD - 1..record.len() - 1);
                Ok(Found::Record(Record { start, end, payload }))
            }
        }
    }

    /// Where the next record would begin.
    pub(crate) fn offset(&self) -> u64 {
        self.chunk_at + self.at as u64
    }

    /// CRC-32 of all bytes before [`Self::offset`].
    pub(crate) fn crc(&self) -> u32 {
        self.crc.clone().finalize()
    }

    /// The end of the last byte from here on that is not zero, or where the cursor is.
    pub(crate) fn content_end(&self) -> io::Result<u64> {
        let mut end = self.offset();
        let mut offset = end;
        let left = usize::try_from(self.len.saturating_sub(end)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; left.min(CHUNK)];
        while !buffer.is_empty() {
            let n = read_full(&*self.file, &mut buffer, offset)?;
            let (bytes, _) = buffer.split_at(n);
            if !is_zero(bytes)
                && let Some(last) = bytes.iter().rposition(|&byte| byte != 0)
            {
                end = offset + last as u64 + 1;
            }
            if n < buffer.len() {
                break;
            }
            offset += n as u64;
        }
        Ok(end)
    }

    /// Whether a sound record begins anywhere between the cursor (exclusive) and `limit` bytes after it. When the
    /// search would take too long the answer is yes, which is the careful one.
    pub(crate) fn sound_record_follows(&self, limit: u64) -> io::Result<bool> {
        let from = self.offset() + 1;
        let span = usize::try_from(limit.min(self.len.saturating_sub(from))).unwrap_or(usize::MAX);
        let mut bytes = vec![0; span];
        let n = read_full(&*self.file, &mut bytes, from)?;
        bytes.truncate(n);
        let mut budget = SEARCH_MAX;
        for start in 0..bytes.len() {
            let rest = bytes.get(start..).unwrap_or_default();
            let Some((checksum, length)) = rest.get(..RECORD_OVERHEAD - 1).and_then(parse_head) else { break };
            let Some(len) = usize::try_from(length).ok().filter(|&len| len > 0 && checksum >> 32 == 0) else {
                continue;
            };
            let Some(record) = rest.get(..RECORD_OVERHEAD + len).filter(|record| record.ends_with(&[END_MARK])) else {
                continue;
            };
            budget = budget.saturating_sub(len);
            if budget == 0 || check_record(record, checksum).is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The next `n` bytes, fewer at the end of the file.
    fn peek(&mut self, n: usize) -> io::Result<Bytes> {
        if self.chunk.len() - self.at < n {
            let rest = self.chunk.slice(self.at..);
            let offset = self.offset();
            let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
            let mut chunk = vec![0; left.min(CHUNK.max(n))];
            let (kept, room) = chunk.split_at_mut(rest.len());
            kept.copy_from_slice(&rest);
            let read = read_full(&*self.file, room, offset + rest.len() as u64)?;
            chunk.truncate(rest.len() + read);
            (self.chunk, self.chunk_at, self.at) = (chunk.into(), offset, 0);
        }
        Ok(self.chunk.slice(self.at..self.chunk.len().min(self.at + n)))
    }

    fn consume(&mut self, n: usize) {
        self.crc.update(&self.chunk[self.at..self.at + n]);
        self.at += n;
    }
}

fn parse_head(head: &[u8]) -> Option<(u64, i32)> {
    let (checksum, rest) = head.split_first_chunk()?;
    let (length, _) = rest.split_first_chunk()?;
    Some((u64::from_be_bytes(*checksum), i32::from_be_bytes(*length)))
}

fn check_record(record: &[u8], checksum: u64) -> Option<Damage> {
    let payload = record.get(RECORD_OVERHEAD - 1..record.len() - 1).unwrap_or_default();
    if u64::from(simd_adler32::adler32(&payload)) != checksum {
        Some(Damage::BadChecksum)
    } else if !record.ends_with(&[END_MARK]) {
        Some(Damage::BadEndMark)
    } else {
        None
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    // Blocks without an early exit inside compile to wide instructions: padding is read at the speed of memory.
    blocks.iter().all(|block| block.iter().fold(0, |acc, &byte| acc | byte) == 0) && rest.iter().all(|&byte| byte == 0)
}

const CHUNK: usize = 1 << 20;
/// Most bytes that are checksummed in search of a record behind a damaged one.
const SEARCH_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::log::encode_record;

    /// A file that a server writes to while it is read: each read sees a later state, the last one again and again.
    #[derive(Debug)]
    struct Written {
        states: Vec<Vec<u8>>,
        reads: AtomicUsize,
    }

    impl DiskFile for Written {
        fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
            let state = self.reads.fetch_add(1, Ordering::Relaxed).min(self.states.len() - 1);
            let rest = self.states[state].get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            let n = rest.len().min(into.len());
            into[..n].copy_from_slice(&rest[..n]);
            Ok(n)
        }

        fn len(&self) -> io::Result<u64> {
            Ok(self.states[0].len() as u64)
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            unreachable!("only read")
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            unreachable!("only read")
        }

        fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
            unreachable!("only read")
        }

        fn sync_data(&self) -> io::Result<()> {
            unreachable!("only read")
        }

        fn sync_all(&self) -> io::Result<()> {
            unreachable!("only read")
        }
    }

    fn scan(states: Vec<Vec<u8>>) -> Scan {
        let len = states[0].len() as u64;
        let file = Arc::new(Written { states, reads: AtomicUsize::new(0) });
        Scan { file, len, chunk: Bytes::new(), chunk_at: 0, at: 0, crc: crc32fast::Hasher::new() }
    }

    /// A log with so many records, and how much of the last one has arrived.
    fn log(records: usize, missing: usize) -> Vec<u8> {
        let mut bytes = HEADER_BYTES.to_vec();
        for _ in 0..records {
            encode_record(&[7; 100], &mut bytes);
        }
        bytes.truncate(bytes.len() - missing);
        bytes.resize(4096, 0);
        bytes
    }

    #[test]
    fn records_that_arrive_while_the_log_is_read_are_no_damage() {
        for first in [log(1, 0), log(2, 60), log(2, 110), log(2, 1)] {
            let mut scan = scan(vec![first, log(3, 0)]);
            assert_eq!(scan.header().unwrap(), Header::Sound);
            let mut records = 0;
            while let Found::Record(_) = scan.next().unwrap() {
                records += 1;
            }
            assert!(matches!(scan.next().unwrap(), Found::End), "{:?}", scan.next());
            assert_eq!(records, 3, "all that have arrived");
        }
    }

    #[test]
    fn what_reads_the_same_again_is_damage() {
        let mut scan = scan(vec![log(2, 60)]);
        assert_eq!(scan.header().unwrap(), Header::Sound);
        assert!(matches!(scan.next().unwrap(), Found::Record(_)), "the first is whole");
        assert!(matches!(scan.next().unwrap(), Found::Bad(Damage::BadChecksum)), "the second is not");
    }
}
