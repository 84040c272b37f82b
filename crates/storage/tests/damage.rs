//! Disks that lie: flipped bits, zeroed, swapped and stale sectors, cut files, in logs, snapshots and marks. Whatever
//! it is, opening says so or finds the whole state; it never panics and never serves less than was acknowledged. And
//! whoever only looks is told what opening will say.

#![allow(clippy::unwrap_used, reason = "all of this file is tests and their helpers")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{assert_is_model, open_as_foreseen as open, options, payload, take_snapshot, write_batch, write_each};
use gk_proto::Zxid;
use gk_proto::rng::Rng;
use gk_proto::txn::{Txn, encode};
use gk_storage::testing::{Crash, MemDisk};
use gk_storage::{Compression, Damage, StorageError, StoreOptions};
use proptest::prelude::*;

const SECTOR: usize = 512;
const COUNT: u64 = 14;

fn dir() -> &'static Path {
    Path::new("/data")
}

fn file(name: &str) -> PathBuf {
    dir().join("version-2").join(name)
}

/// A directory with one log of [`COUNT`] txns, stopped in good order, and the log.
fn one_log() -> (Arc<MemDisk>, Vec<u8>) {
    let disk = MemDisk::new();
    let mut opened = open(&disk, &options(dir())).unwrap();
    write_each(&mut opened, 1, 6).unwrap();
    write_batch(&mut opened, 7, COUNT).unwrap();
    opened.log.close().unwrap();
    let log = disk.peek(&file("log.1")).unwrap();
    (disk, log)
}

/// The same as Apache would have left it.
fn one_foreign_log() -> (Arc<MemDisk>, Vec<u8>) {
    let (disk, log) = one_log();
    disk.unpoke(&file("gamekeeper/log.1.marks"));
    (disk, log)
}

/// Where each record of the log ends.
fn ends() -> Vec<usize> {
    let mut end = 16;
    (1..=COUNT)
        .map(|n| {
            end += 13 + payload(n).len();
            end
        })
        .collect()
}

fn records_end() -> usize {
    *ends().last().unwrap()
}

/// Opens a copy with another log; the last txn found, after checking that the tree is the one after it.
fn open_with(disk: &MemDisk, log: &[u8], context: &str) -> Result<u64, StorageError> {
    let disk = disk.clone_files();
    disk.poke(&file("log.1"), log);
    let opened = open(&disk, &options(dir()))?;
    let last = opened.tree.last_zxid().0;
    assert_is_model(&opened.tree, last, context);
    Ok(last)
}

fn assert_all_or_error(disk: &MemDisk, log: &[u8], context: &str) {
    match open_with(disk, log, context) {
        Ok(last) => assert_eq!(last, COUNT, "{context}: shortened"),
        Err(StorageError::Corrupt { .. } | StorageError::Gap { .. } | StorageError::TailLost { .. }) => {}
        Err(StorageError::NoSnapshot { .. }) => panic!("{context}: the snapshot is there"),
        Err(other) => panic!("{context}: {other}"),
    }
}

#[test]
fn flipped_bit_in_a_log_is_noticed_or_harmless() {
    let (disk, log) = one_log();
    for at in 0..records_end() + 600 {
        let mut damaged = log.clone();
        damaged[at] ^= 1 << (at % 8);
        assert_all_or_error(&disk, &damaged, &format!("byte {at}"));
    }
}

#[test]
fn log_cut_anywhere_is_noticed() {
    let (disk, log) = one_log();
    for len in 0..records_end() {
        let found = open_with(&disk, &log[..len], &format!("cut to {len}"));
        assert!(found.is_err(), "cut to {len}: found {found:?}");
    }
}

#[test]
fn zeroed_swapped_and_repeated_sectors_in_a_log_are_noticed() {
    let (disk, log) = one_log();
    let sectors = records_end().div_ceil(SECTOR);
    assert!(sectors > 8, "enough of them");
    for a in 0..sectors {
        let mut zeroed = log.clone();
        zeroed[a * SECTOR..(a + 1) * SECTOR].fill(0);
        assert_all_or_error(&disk, &zeroed, &format!("sector {a} zeroed"));
        for b in 0..a {
            let (low, high) = (b * SECTOR, a * SECTOR);
            let mut swapped = log.clone();
            let (first, second) = swapped.split_at_mut(high);
            first[low..low + SECTOR].swap_with_slice(&mut second[..SECTOR]);
            assert_all_or_error(&disk, &swapped, &format!("sectors {b} and {a} swapped"));
            let mut repeated = log.clone();
            repeated.copy_within(low..low + SECTOR, high);
            assert_all_or_error(&disk, &repeated, &format!("sector {b} also in the place of {a}"));
        }
    }
}

/// A record in place of another: its own checksum is right, which is all that ZooKeeper's format can say.
#[test]
fn sound_record_that_was_never_committed_is_noticed() {
    let (disk, log) = one_log();
    let ends = ends();
    for n in 2..=COUNT {
        let (mut header, txn) = common::txn(n);
        header.time.0 += 1;
        let logged = gk_proto::txn::LoggedTxn::decode(&payload(n).into()).unwrap();
        let mut other = Vec::new();
        encode(&header, &txn, logged.digest, &mut other);
        let (start, end) = (ends[usize::try_from(n).unwrap() - 2], ends[usize::try_from(n).unwrap() - 1]);
        let mut damaged = log.clone();
        damaged[start..start + 8].copy_from_slice(&u64::from(simd_adler32::adler32(&&other[..])).to_be_bytes());
        damaged[start + 12..end - 1].copy_from_slice(&other);
        let copy = disk.clone_files();
        copy.poke(&file("log.1"), &damaged);
        let error = open(&copy, &options(dir())).err().unwrap();
        let noticed = matches!(error, StorageError::Corrupt { damage: Damage::NotWhatWasCommitted, .. });
        assert!(noticed, "txn {n}: {error}");
    }
}

/// In a log by Apache nothing says how much of it was acknowledged; a sound record behind the damage says enough.
#[test]
fn damage_in_a_foreign_log_is_no_end_of_file_unless_it_is_the_end() {
    let (disk, log) = one_foreign_log();
    let ends = ends();
    let last_start = ends[ends.len() - 2];
    for at in 16..records_end() {
        let mut damaged = log.clone();
        damaged[at] ^= 1 << (at % 8);
        match open_with(&disk, &damaged, &format!("byte {at}")) {
            Ok(last) => assert_eq!((last, at >= last_start), (COUNT - 1, true), "byte {at}: a torn tail at most"),
            Err(StorageError::Corrupt { .. }) => assert!(at < last_start, "byte {at}: could be a torn tail"),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    for sector in 0..last_start / SECTOR {
        let mut zeroed = log.clone();
        zeroed[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
        let found = open_with(&disk, &zeroed, &format!("sector {sector} zeroed"));
        assert!(matches!(found, Err(StorageError::Corrupt { .. })), "sector {sector} zeroed: {found:?}");
    }
}

/// The tail that ZooKeeper itself leaves when it is killed in a write.
#[test]
fn foreign_log_cut_anywhere_ends_with_its_last_whole_record() {
    let (disk, log) = one_foreign_log();
    for len in 0..records_end() {
        let whole = ends().into_iter().take_while(|&end| end <= len).count() as u64;
        let found = open_with(&disk, &log[..len], &format!("cut to {len}")).unwrap();
        assert_eq!(found, whole, "cut to {len}");
    }
}

/// What the marks that a power failure leaves behind cannot prove, the length of a batch bounds: more than that was
/// never unsynced at once.
#[test]
fn damage_further_from_the_end_than_a_batch_is_noticed_without_marks() {
    let disk = MemDisk::new();
    let options = options(dir());
    let mut opened = open(&disk, &options).unwrap();
    for n in 1..=15 {
        let (header, _) = common::txn(n);
        let mut payload = Vec::new();
        let txn = Txn::SetData { path: "/x".into(), data: Some(vec![1; 100_000].into()), version: 1 };
        encode(&header, &txn, None, &mut payload);
        opened.log.append(Zxid(n), &payload);
        opened.log.commit().unwrap();
    }
    drop(opened);
    // The marks were never synced.
    let disk = disk.crash(Crash::LoseAll);
    let log = disk.peek(&file("log.1")).unwrap();
    let at = |sector: usize| {
        let disk = disk.clone_files();
        let mut zeroed = log.clone();
        zeroed[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
        disk.poke(&file("log.1"), &zeroed);
        open(&disk, &options).map(|opened| opened.tree.last_zxid().0)
    };
    assert!(matches!(at(10), Err(StorageError::Corrupt { .. })), "early: {:?}", at(10));
    assert_eq!(at(15 * 100_000 / SECTOR - 10).unwrap(), 14, "in the last txn: a torn tail");
}

/// Damage all over the newest snapshot, in each compression: an older one and the logs lead to the same state.
#[test]
fn damaged_snapshot_is_passed_over_for_an_older_one() {
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        let options = StoreOptions { compression, ..options(dir()) };
        let disk = MemDisk::new();
        let mut opened = open(&disk, &options).unwrap();
        write_each(&mut opened, 1, 9).unwrap();
        let info = take_snapshot(&mut opened).unwrap();
        write_each(&mut opened, 10, COUNT).unwrap();
        opened.log.close().unwrap();
        let snapshot = disk.peek(&info.path).unwrap();
        // Every second byte, as one seal is over all of them; the next test takes every one.
        for at in (0..snapshot.len()).step_by(2) {
            let mut damaged = snapshot.clone();
            damaged[at] ^= 1 << (at / 2 % 8);
            let copy = disk.clone_files();
            copy.poke(&info.path, &damaged);
            let context = format!("{compression:?}, byte {at}");
            let opened = open(&copy, &options).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_is_model(&opened.tree, COUNT, &context);
        }
        for len in (0..snapshot.len()).step_by(13) {
            let copy = disk.clone_files();
            copy.poke(&info.path, &snapshot[..len]);
            let context = format!("{compression:?}, cut to {len}");
            let opened = open(&copy, &options).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_is_model(&opened.tree, COUNT, &context);
        }
    }
}

/// The only snapshot is damaged: nothing to fall back on.
#[test]
fn damaged_only_snapshot_is_an_error() {
    let disk = MemDisk::new();
    let mut opened = open(&disk, &options(dir())).unwrap();
    write_each(&mut opened, 1, 9).unwrap();
    let info = take_snapshot(&mut opened).unwrap();
    opened.log.close().unwrap();
    disk.unpoke(&file("snapshot.0"));
    disk.unpoke(&file("log.1"));
    disk.unpoke(&file("gamekeeper/log.1.marks"));
    let snapshot = disk.peek(&info.path).unwrap();
    // The header's version and database id are under the seal like all else.
    for at in 0..snapshot.len() {
        let mut damaged = snapshot.clone();
        damaged[at] ^= 1 << (at % 8);
        let copy = disk.clone_files();
        copy.poke(&info.path, &damaged);
        let error = open(&copy, &options(dir())).err();
        assert!(matches!(error, Some(StorageError::NoSoundSnapshot { .. })), "byte {at}: {error:?}");
    }
}

#[test]
fn flipped_bit_in_marks_never_costs_a_txn() {
    let (disk, _) = one_log();
    let path = file("gamekeeper/log.1.marks");
    let marks = disk.peek(&path).unwrap();
    for at in 0..marks.len() {
        let mut damaged = marks.clone();
        damaged[at] ^= 1 << (at % 8);
        let copy = disk.clone_files();
        copy.poke(&path, &damaged);
        assert_is_model(&open(&copy, &options(dir())).unwrap().tree, COUNT, &format!("byte {at}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_as_a_log_open_or_fail(bytes: Vec<u8>, with_header: bool) {
        let (disk, log) = one_log();
        let header = if with_header { &log[..16] } else { &[] };
        disk.poke(&file("log.1"), &[header, &bytes].concat());
        let _ = open(&disk, &options(dir()));
        let loss = StoreOptions { accept_loss: true, ..options(dir()) };
        prop_assert!(open(&disk, &loss).is_ok(), "what is lost can be given up");
        prop_assert!(open(&disk, &options(dir())).is_ok(), "once");
    }

    #[test]
    fn any_bytes_as_a_snapshot_open_or_fail(bytes: Vec<u8>, compression in 0..3usize, ended: bool) {
        let disk = MemDisk::new();
        let name = ["snapshot.5", "snapshot.5.gz", "snapshot.5.snappy"][compression];
        let start: &[u8] =
            [&b"ZKSN\0\0\0\x02\0\0\0\0\0\0\0\0"[..], b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"]
                [compression];
        let end: &[u8] = if ended { b"\0\0\0\x01/" } else { b"" };
        disk.poke(&file(name), &[start, &bytes, end].concat());
        prop_assert!(open(&disk, &options(dir())).is_err(), "not by chance");
    }

    #[test]
    fn any_bytes_as_marks_open_or_fail(bytes: Vec<u8>) {
        let (disk, _) = one_log();
        disk.poke(&file("gamekeeper/log.1.marks"), &bytes);
        prop_assert!(open(&disk, &options(dir())).is_ok(), "marks are only proofs");
    }

    /// Several faults at once, in any files.
    #[test]
    fn several_faults_at_once_never_panic_and_never_invent(seed: u64) {
        let mut rng = Rng::new(seed);
        let disk = MemDisk::new();
        let mut opened = open(&disk, &options(dir())).unwrap();
        write_each(&mut opened, 1, 4).unwrap();
        opened.log.roll();
        take_snapshot(&mut opened).unwrap();
        write_batch(&mut opened, 5, COUNT).unwrap();
        opened.log.close().unwrap();
        let paths = disk.paths();
        let index = |value: u64| usize::try_from(value).unwrap();
        for _ in 0..1 + rng.below(4) {
            let path = &paths[index(rng.below(paths.len() as u64))];
            let Some(mut bytes) = disk.peek(path).filter(|bytes| !bytes.is_empty()) else { continue };
            let at = index(rng.below(bytes.len().min(4000) as u64));
            match rng.below(4) {
                0 => bytes[at] ^= 0x10,
                1 => bytes.truncate(at),
                2 => {
                    let end = (at + SECTOR).min(bytes.len());
                    bytes[at..end].fill(0);
                }
                _ => disk.unpoke(path),
            }
            if disk.peek(path).is_some() {
                disk.poke(path, &bytes);
            }
        }
        if let Ok(opened) = open(&disk, &options(dir())) {
            assert_is_model(&opened.tree, opened.tree.last_zxid().0, &format!("seed {seed}"));
        }
    }
}
