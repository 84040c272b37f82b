//! Recovery from one or two logs and their marks. The first byte is a set of switches; then follow either a whole log as
//! it is, or commands that write one: sound records around any payload, marks, zeros, any bytes, damage.
//!
//! The writer of marks here is one of its own, from `docs/durability.md`.

use gk_proto::jute::Write as _;
use gk_storage::testing::{Crash, MemDisk};

use crate::disk;
use crate::input::Input;

/// Switches of the first byte.
const RAW: u8 = 1;
const ACCEPT_LOSS: u8 = 2;
const NO_SYNC: u8 = 4;
const WITHOUT_MARKS: u8 = 8;
const IS_SYNCED_BY_MARKS: u8 = 16;
const POWER_FAILS: u8 = 32;

/// Records that one input can write: each is replayed up to three times.
const RECORDS_MAX: usize = 64;
const ZEROS_MAX: usize = 4096;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let disk = disk::new_directory();
    if flags & RAW != 0 {
        disk.poke(&disk::file("log.1"), input.rest());
    } else {
        let mut log = Log::new(1, flags);
        let mut zxid = 1;
        for _ in 0..RECORDS_MAX {
            let Some(command) = input.command() else { break };
            if command % 8 == 7 {
                log.put(&disk);
                log = Log::new(zxid, flags);
            } else {
                log.command(command, &mut zxid, &mut input);
            }
        }
        log.put(&disk);
    }
    let then = if flags & POWER_FAILS == 0 { Crash::Kill } else { Crash::LoseAll };
    disk::recover(&disk, flags & NO_SYNC == 0, flags & ACCEPT_LOSS != 0, then);
}

/// A log being written, and its marks.
struct Log {
    first_zxid: u64,
    bytes: Vec<u8>,
    marks: Option<Vec<u8>>,
    /// What ties a mark to its file.
    seed: u32,
}

impl Log {
    fn new(first_zxid: u64, flags: u8) -> Self {
        let mut header = b"GKMARKS1".to_vec();
        header.extend(first_zxid.to_be_bytes());
        header.extend(u32::from(flags & IS_SYNCED_BY_MARKS != 0).to_be_bytes());
        header.extend([0; 8]);
        header.extend(crc32fast::hash(&header).to_be_bytes());
        let seed = crc32fast::hash(&header);
        let marks = (flags & WITHOUT_MARKS == 0).then_some(header);
        Self { first_zxid, bytes: b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec(), marks, seed }
    }

    fn command(&mut self, command: u8, zxid: &mut u64, input: &mut Input<'_>) {
        match command % 8 {
            // A txn that follows the one before, of any type.
            0..=2 => {
                let (code, body) = (input.signed_byte(), input.piece());
                let mut payload = Vec::new();
                payload.put_long(i64::from(command >> 4));
                payload.put_int(0);
                payload.extend(zxid.to_be_bytes());
                payload.put_long(1_000_000);
                payload.put_int(code);
                payload.extend_from_slice(body);
                self.record(&payload);
                *zxid += 1;
            }
            3 => self.record(input.piece()),
            4 => self.mark(zxid.saturating_sub(1)),
            5 => {
                // Any bytes, or a number of zeros.
                let count = usize::from(input.short()) % ZEROS_MAX;
                if command & 0x80 == 0 { self.bytes.resize(self.bytes.len() + count, 0) } else { self.raw(input) }
            }
            _ => {
                // Damage: a changed byte, a cut, or another zxid to go on with.
                let (at, change) = (usize::from(input.short()), input.byte());
                match command >> 6 {
                    0 | 1 => {
                        let at = at % self.bytes.len();
                        self.bytes[at] ^= change;
                    }
                    2 => self.bytes.truncate(at),
                    _ => *zxid = (u64::from(change) << 32) + 1,
                }
                if self.bytes.is_empty() {
                    self.bytes.push(change);
                }
            }
        }
    }

    fn raw(&mut self, input: &mut Input<'_>) {
        self.bytes.extend_from_slice(input.piece());
    }

    fn record(&mut self, payload: &[u8]) {
        self.bytes.extend(u64::from(simd_adler32::adler32(&payload)).to_be_bytes());
        self.bytes.put_buffer(Some(payload));
        self.bytes.push(b'B');
    }

    fn mark(&mut self, zxid: u64) {
        let Some(marks) = &mut self.marks else { return };
        let mut mark = Vec::new();
        mark.extend((self.bytes.len() as u64).to_be_bytes());
        mark.extend(zxid.to_be_bytes());
        mark.extend(crc32fast::hash(&self.bytes).to_be_bytes());
        let mut crc = crc32fast::Hasher::new_with_initial(self.seed);
        crc.update(&mark);
        mark.extend(crc.finalize().to_be_bytes());
        marks.extend(mark);
    }

    fn put(&self, disk: &MemDisk) {
        let name = format!("log.{:x}", self.first_zxid);
        disk.poke(&disk::file(&name), &self.bytes);
        if let Some(marks) = &self.marks {
            disk.poke(&disk::own_file(&format!("{name}.marks")), marks);
        }
    }
}
