//! What has gone wrong with files in ZooKeeper, one test each, and how a full or failing disk is met.

#![allow(clippy::unwrap_used, reason = "all of this file is tests and their helpers")]

mod common;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{assert_is_model, open, options, payload, take_snapshot, write_batch, write_each};
use gk_proto::Zxid;
use gk_storage::testing::{Crash, MemDisk, Operation, SECTOR};
use gk_storage::{Damage, Opened, Space, StorageError, StoreOptions};

fn dir() -> &'static Path {
    Path::new("/data")
}

fn file(name: &str) -> PathBuf {
    dir().join("version-2").join(name)
}

fn fresh() -> (Arc<MemDisk>, Opened) {
    let disk = MemDisk::new();
    let opened = open(&disk, &options(dir())).unwrap();
    (disk, opened)
}

/// Rolls the log and takes a snapshot.
fn snapshot(opened: &mut Opened) {
    opened.log.roll();
    opened.log.snapshot_began();
    take_snapshot(opened).unwrap();
}

fn close(opened: Opened) {
    opened.log.close().unwrap();
}

fn refused(disk: &Arc<MemDisk>, options: &StoreOptions) -> StorageError {
    match open(disk, options) {
        Ok(opened) => panic!("opened up to {}: {:?}", opened.tree.last_zxid(), opened.report),
        Err(error) => error,
    }
}

/// Without its marks a directory is what Apache would have left.
fn forget_marks(disk: &MemDisk) {
    for path in disk.paths().into_iter().filter(|path| path.extension().is_some_and(|end| end == "marks")) {
        disk.unpoke(&path);
    }
}

/// Z-2325: all snapshots gone or empty, logs present: what the logs say was served as if it were all.
#[test]
fn logs_without_any_snapshot_are_refused() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 3).unwrap();
    close(opened);
    disk.poke(&file("snapshot.0"), b"");
    // Whoever is told to trust an empty tree might do so, and lose what the snapshot held.
    assert!(matches!(refused(&disk, &options(dir())), StorageError::NoSoundSnapshot { .. }), "emptied");
    disk.unpoke(&file("snapshot.0"));
    assert!(matches!(refused(&disk, &options(dir())), StorageError::NoSnapshot { .. }), "gone");
}

/// Z-3644: the switch that trusts an empty tree also skipped the logs.
#[test]
fn trusting_an_empty_tree_replays_the_logs_and_leaves_a_snapshot() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 6).unwrap();
    close(opened);
    disk.unpoke(&file("snapshot.0"));
    let trusting = StoreOptions { trust_empty: true, ..options(dir()) };
    assert_is_model(&open(&disk, &trusting).unwrap().tree, 6, "replayed");
    let opened = open(&disk, &options(dir())).unwrap();
    assert_is_model(&opened.tree, 6, "without the switch afterwards");
    assert_eq!(opened.report.snapshot.as_deref(), Some("snapshot.6"), "taken at once");
}

/// The switch is no licence to begin in the middle.
#[test]
fn trusting_an_empty_tree_still_needs_the_first_txn() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 3).unwrap();
    opened.log.roll();
    write_each(&mut opened, 4, 6).unwrap();
    close(opened);
    disk.unpoke(&file("snapshot.0"));
    disk.unpoke(&file("log.1"));
    forget_marks(&disk);
    let error = refused(&disk, &StoreOptions { trust_empty: true, ..options(dir()) });
    assert!(matches!(error, StorageError::Gap { after: Zxid(0), found: Zxid(4), .. }), "{error}");
}

/// Z-3231: the newest snapshots were counted as kept although none of them could be read.
#[test]
fn purge_counts_only_snapshots_that_can_be_read() {
    let (disk, mut opened) = fresh();
    for n in 1..=6 {
        write_each(&mut opened, n, n).unwrap();
        snapshot(&mut opened);
    }
    for n in 4..=6 {
        let path = file(&format!("snapshot.{n}"));
        let mut bytes = disk.peek(&path).unwrap();
        bytes[100] ^= 1;
        disk.poke(&path, &bytes);
    }
    let report = opened.snapshots.purge(3).unwrap();
    assert_eq!(report.damaged.len(), 3, "told of");
    for n in [1, 2, 3] {
        assert!(disk.peek(&file(&format!("snapshot.{n}"))).is_some(), "snapshot {n} is sound and kept");
    }
    assert!(disk.peek(&file("snapshot.0")).is_none(), "not needed for three sound ones");
    write_each(&mut opened, 7, 7).unwrap();
    close(opened);
    assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 7, "from snapshot 3 and the logs");
}

/// Z-2420, Z-2574: a purge took the log that a kept snapshot still needed. At every place of the roll.
#[test]
fn purge_keeps_every_log_that_a_kept_snapshot_needs() {
    for lag in 0..4 {
        let (disk, mut opened) = fresh();
        let mut next = 1;
        for _ in 0..7 {
            write_batch(&mut opened, next, next + 4).unwrap();
            next += 5;
            // The log goes on for a while after the snapshot, as when a snapshot is due while the last one is taken.
            take_snapshot(&mut opened).unwrap();
            if lag > 0 {
                write_batch(&mut opened, next, next + lag - 1).unwrap();
                next += lag;
            }
            opened.log.roll();
        }
        let report = opened.snapshots.purge(3).unwrap();
        assert!(report.removed.len() > 5, "lag {lag}: something was purged: {report:?}");
        close(opened);
        for damaged in 0..3 {
            let disk = disk.clone_files();
            let mut snapshots: Vec<PathBuf> =
                disk.paths().into_iter().filter(|path| path.to_str().unwrap().contains("/snapshot.")).collect();
            assert_eq!(snapshots.len(), 3, "lag {lag}: kept");
            snapshots.sort_by_key(|path| u64::from_str_radix(path.extension().unwrap().to_str().unwrap(), 16).unwrap());
            for path in snapshots.iter().rev().take(damaged) {
                disk.poke(path, b"nothing");
            }
            let opened = open(&disk, &options(dir())).unwrap();
            assert_is_model(&opened.tree, next - 1, &format!("lag {lag}, {damaged} newest snapshots damaged"));
        }
    }
}

/// A purge that is cut off leaves nothing that the next start takes for a loss.
#[test]
fn purge_cut_off_anywhere_leaves_a_directory_that_opens() {
    for cut in 0..20 {
        for how in [Crash::Kill, Crash::LoseAll, Crash::KeepAll, Crash::Random(cut)] {
            let (disk, mut opened) = fresh();
            for n in 1..=6 {
                write_each(&mut opened, n, n).unwrap();
                snapshot(&mut opened);
            }
            write_each(&mut opened, 7, 7).unwrap();
            disk.stop_after(cut);
            let _ = opened.snapshots.purge(3);
            let disk = disk.crash(how);
            assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 7, &format!("cut {cut}, {how:?}"));
        }
    }
}

#[test]
fn purge_keeps_three_at_least_and_the_log_being_written() {
    let (disk, mut opened) = fresh();
    for n in 1..=5 {
        write_each(&mut opened, n, n).unwrap();
        snapshot(&mut opened);
    }
    opened.snapshots.purge(0).unwrap();
    let names: Vec<String> = (disk.paths().iter())
        .filter(|path| path.parent() == Some(&dir().join("version-2")))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["log.3", "log.4", "log.5", "snapshot.3", "snapshot.4", "snapshot.5"], "what is left");
}

/// Z-2249: a txn longer than the preallocation was written beyond it, and the padding then over it.
#[test]
fn txns_of_any_size_fit_any_preallocation() {
    for step in [0, 1024, 4096, 5000, 16 * 1024] {
        for size in [1, 500, 4000, 4095, 4096, 5000, 16_371, 16_384, 40_000] {
            let options = StoreOptions { prealloc_bytes: step, ..options(dir()) };
            let disk = MemDisk::new();
            let mut opened = open(&disk, &options).unwrap();
            write_each(&mut opened, 1, 2).unwrap();
            let path = "/big".to_owned();
            for n in 3..=8 {
                let (header, _) = common::txn(n);
                let data = Some(vec![7; size].into());
                let txn = gk_proto::txn::Txn::SetData { path: path.clone(), data, version: 1 };
                let mut bytes = Vec::new();
                gk_proto::txn::encode(&header, &txn, None, &mut bytes);
                opened.log.append(Zxid(n), &bytes);
                opened.log.commit().unwrap();
                opened.log.ensure_space().unwrap();
            }
            drop(opened);
            let disk = disk.crash(Crash::LoseAll);
            let opened = open(&disk, &options).unwrap();
            assert_eq!(opened.tree.last_zxid(), Zxid(8), "step {step}, txns of {size} bytes");
        }
    }
}

/// Z-1621, Z-2332: a last log that is empty, or ends within its header, or is nothing but preallocation.
#[test]
fn unwritten_last_log_does_not_keep_the_server_from_starting() {
    let contents: [&[u8]; 6] =
        [b"", b"Z", b"ZKLG\0\0\0\x02\0\0\0", b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0", &[0; 9], &[0; 70_000]];
    for content in contents {
        let (disk, mut opened) = fresh();
        write_each(&mut opened, 1, 4).unwrap();
        close(opened);
        disk.poke(&file("log.5"), content);
        let mut opened = open(&disk, &options(dir())).unwrap();
        assert_is_model(&opened.tree, 4, "without it");
        write_each(&mut opened, 5, 6).unwrap();
        close(opened);
        assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 6, "its name is used again");
    }
}

/// The same content in a log that others follow is no crash.
#[test]
fn unwritten_log_in_the_middle_is_damage() {
    for content in [&b""[..], b"ZKLG", &[0; 100]] {
        let (disk, mut opened) = fresh();
        write_each(&mut opened, 1, 2).unwrap();
        opened.log.roll();
        write_each(&mut opened, 3, 4).unwrap();
        opened.log.roll();
        write_each(&mut opened, 5, 6).unwrap();
        close(opened);
        disk.poke(&file("log.3"), content);
        let error = refused(&disk, &options(dir()));
        assert!(matches!(error, StorageError::Corrupt { damage: Damage::BadHeader, .. }), "{error}");
        forget_marks(&disk);
        let error = refused(&disk, &options(dir()));
        assert!(matches!(error, StorageError::Corrupt { damage: Damage::BadHeader, .. }), "by Apache: {error}");
    }
}

/// Z-3082: a snapshot that fails for want of space leaves nothing behind and does not hurt the log.
#[test]
fn failed_snapshot_leaves_the_old_one_and_the_log_as_they_were() {
    // Create, write, sync, rename, sync of the directory.
    for failing in 0..5 {
        let (disk, mut opened) = fresh();
        write_each(&mut opened, 1, 5).unwrap();
        disk.fail(failing, io::ErrorKind::StorageFull);
        let failed = take_snapshot(&mut opened);
        assert!(failed.is_err(), "operation {failing} of the snapshot fails: {failed:?}");
        assert!(disk.paths().iter().all(|path| path.extension().is_none_or(|end| end != "tmp")), "no remains");
        write_each(&mut opened, 6, 7).unwrap();
        take_snapshot(&mut opened).unwrap();
        close(opened);
        assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 7, "all there");
    }
}

/// Z-582: a snapshot of a later epoch and no logs at all: its zxid is where history ends.
#[test]
fn zxid_comes_from_the_snapshot_when_there_are_no_logs() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 5).unwrap();
    let info = take_snapshot(&mut opened).unwrap();
    close(opened);
    let bytes = disk.peek(&info.path).unwrap();
    let disk = MemDisk::new();
    disk.poke(&file("snapshot.1b00000005"), &bytes);
    let opened = open(&disk, &options(dir())).unwrap();
    assert_eq!(opened.tree.last_zxid(), Zxid(0x1b_0000_0005), "of the file's name");
}

/// Z-2003: nobody synced a directory, so a new log could vanish in a power failure with all that was acknowledged.
#[test]
fn new_log_and_new_snapshot_are_there_after_a_power_failure() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 2).unwrap();
    opened.log.roll();
    write_each(&mut opened, 3, 3).unwrap();
    let after = disk.crash(Crash::LoseAll);
    assert!(after.peek(&file("log.3")).is_some(), "the log's name is durable with its first txn");
    take_snapshot(&mut opened).unwrap();
    let after = disk.crash(Crash::LoseAll);
    assert!(after.peek(&file("snapshot.3")).is_some(), "the snapshot's when it is finished");
}

/// Missing middle log: Apache loses its txns without a word.
#[test]
fn missing_log_in_the_middle_is_a_gap() {
    let (disk, mut opened) = fresh();
    for n in 1..=6 {
        write_each(&mut opened, n, n).unwrap();
        opened.log.roll();
    }
    close(opened);
    disk.unpoke(&file("log.4"));
    let error = refused(&disk, &options(dir()));
    assert!(matches!(error, StorageError::Gap { after: Zxid(3), found: Zxid(5), .. }), "{error}");
    assert!(error.to_string().contains("--accept-data-loss"), "says what to do: {error}");
}

/// Missing last log: nothing in ZooKeeper's files tells of it, our marks do.
#[test]
fn missing_last_log_is_noticed_by_its_marks() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 3).unwrap();
    opened.log.roll();
    write_each(&mut opened, 4, 5).unwrap();
    close(opened);
    disk.unpoke(&file("log.4"));
    let error = refused(&disk, &options(dir()));
    assert!(matches!(error, StorageError::TailLost { end: Zxid(3), known: Zxid(5), .. }), "{error}");
    let opened = open(&disk, &StoreOptions { accept_loss: true, ..options(dir()) }).unwrap();
    assert_is_model(&opened.tree, 3, "accepted");
    drop(opened);
    assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 3, "and not asked again");
}

/// The newest snapshot is damaged and the logs that led to it are gone: an older one is not the state.
#[test]
fn older_snapshot_is_no_substitute_without_its_logs() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 4).unwrap();
    snapshot(&mut opened);
    close(opened);
    disk.unpoke(&file("log.1"));
    forget_marks(&disk);
    assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 4, "the snapshot has it all");
    let mut bytes = disk.peek(&file("snapshot.4")).unwrap();
    bytes[60] ^= 4;
    disk.poke(&file("snapshot.4"), &bytes);
    let error = refused(&disk, &options(dir()));
    assert!(matches!(error, StorageError::TailLost { known: Zxid(4), .. }), "{error}");
}

#[test]
fn accepted_loss_keeps_what_it_gives_up() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 4).unwrap();
    opened.log.roll();
    write_each(&mut opened, 5, 8).unwrap();
    opened.log.roll();
    write_each(&mut opened, 9, 10).unwrap();
    close(opened);
    let mut bytes = disk.peek(&file("log.5")).unwrap();
    // In the middle of the third record.
    bytes[16 + 2 * 13 + payload(5).len() + payload(6).len() + 20] ^= 0x80;
    disk.poke(&file("log.5"), &bytes);
    let error = refused(&disk, &options(dir()));
    assert!(matches!(error, StorageError::Corrupt { damage: Damage::BadChecksum, .. }), "{error}");

    let mut opened = open(&disk, &StoreOptions { accept_loss: true, ..options(dir()) }).unwrap();
    assert_is_model(&opened.tree, 6, "what comes before");
    let aside = file("gamekeeper/set-aside");
    assert_eq!(disk.peek(&aside.join("log.5.1")), Some(bytes), "the damaged log, whole");
    assert!(disk.peek(&aside.join("log.9.1")).is_some(), "the log after it");
    write_each(&mut opened, 7, 9).unwrap();
    close(opened);
    assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 9, "goes on from there");
}

/// S30: after a failed sync the kernel has forgotten what it could not write; a second try says yes and does nothing.
/// The zxid of its name and one record of another log, as a log.
fn poke_log(disk: &MemDisk, zxid: u64, record: &[u8]) {
    let header = &disk.peek(&file("log.1")).unwrap()[..16];
    disk.poke(&file(&format!("log.{zxid:x}")), &[header, record].concat());
}

/// The bytes of each record of `log.1`, which holds txns 1 to `count`.
fn records(disk: &MemDisk, count: u64) -> Vec<Vec<u8>> {
    let (log, mut at) = (disk.peek(&file("log.1")).unwrap(), 16);
    let record = |n| {
        let end = at + 12 + payload(n).len() + 1;
        log[std::mem::replace(&mut at, end)..end].to_vec()
    };
    (1..=count).map(record).collect()
}

/// A record that was sound, but not the one that was committed, was in the tree of a start that accepted the loss, and not
/// in the log: what that start logged then stood behind a gap.
#[test]
fn accepted_loss_leaves_the_same_in_the_tree_and_in_the_log() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 3).unwrap();
    close(opened);
    let mut log = disk.peek(&file("log.1")).unwrap();
    let start = 16 + records(&disk, 2).concat().len();
    let (data, end) = (start + 12, start + 12 + payload(3).len());
    log[data + 45] ^= 1;
    let checksum = u64::from(simd_adler32::adler32(&&log[data..end])).to_be_bytes();
    log[start..start + 8].copy_from_slice(&checksum);
    disk.poke(&file("log.1"), &log);
    let error = refused(&disk, &options(dir()));
    assert!(matches!(error, StorageError::Corrupt { damage: Damage::NotWhatWasCommitted, .. }), "{error}");
    let accepted = StoreOptions { accept_loss: true, ..options(dir()) };
    let mut opened = open(&disk, &accepted).unwrap();
    assert_is_model(&opened.tree, 2, "with the loss accepted");
    write_each(&mut opened, 3, 4).unwrap();
    drop(opened);
    assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 4, "at the next start");
}

/// A txn that its log proves was cut off, because the next log began with one of the same zxid.
#[test]
fn proven_txns_are_not_given_up_for_the_next_log() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 3).unwrap();
    close(opened);
    // A record that is sound but for its type, which nobody knows.
    let mut other = payload(3);
    other[31] = 108;
    let checksum = u64::from(simd_adler32::adler32(&other.as_slice())).to_be_bytes();
    let length = u32::try_from(other.len()).unwrap().to_be_bytes();
    poke_log(&disk, 3, &[&checksum[..], &length, &other, b"B"].concat());
    let before = disk.peek(&file("log.1")).unwrap();
    refused(&disk, &options(dir()));
    assert!(disk.peek(&file("log.1")) == Some(before), "nothing has been changed");
    let accepted = StoreOptions { accept_loss: true, ..options(dir()) };
    assert_is_model(&open(&disk, &accepted).unwrap().tree, 3, "with the loss accepted");
    assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 3, "at the next start");
}

/// Recovery was cut off between copying an unproven tail and cutting it off, and the copy was damaged: with the loss
/// accepted the tail was cut off all the same, sound as it was.
#[test]
fn accepted_loss_keeps_a_tail_whose_copy_is_damaged() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 3).unwrap();
    close(opened);
    let marks = file("gamekeeper/log.1.marks");
    disk.poke(&marks, &disk.peek(&marks).unwrap()[..32 + 24]);
    let whole = disk.peek(&file("log.1")).unwrap();
    let halfway = (0..).find_map(|operations| {
        let disk = disk.clone_files();
        disk.stop_after(operations);
        let _ = open(&disk, &options(dir()));
        let disk = disk.crash(Crash::KeepAll);
        let marks = disk.peek(&file("gamekeeper/log.2.marks"));
        marks.is_some_and(|marks| marks.len() == 32 + 24).then_some(disk)
    });
    let disk = halfway.unwrap();
    assert!(disk.peek(&file("log.1")).as_ref() == Some(&whole), "not cut off yet");
    let mut copy = disk.peek(&file("log.2")).unwrap();
    let end = copy.iter().rposition(|&byte| byte != 0).unwrap();
    copy[end - 20] ^= 1;
    disk.poke(&file("log.2"), &copy);
    refused(&disk, &options(dir()));
    let accepted = StoreOptions { accept_loss: true, ..options(dir()) };
    assert_is_model(&open(&disk, &accepted).unwrap().tree, 2, "with the loss accepted");
    assert!(disk.peek(&file("gamekeeper/set-aside/log.1.1")) == Some(whole), "the tail is kept");
    assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 2, "at the next start");
}

/// Txns that nothing proved were copied to a log of their own, which was then removed for the torn one of that name.
#[test]
fn copied_txns_are_not_removed_in_place_of_an_empty_log_of_their_name() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 3).unwrap();
    close(opened);
    let marks = file("gamekeeper/log.1.marks");
    disk.poke(&marks, &disk.peek(&marks).unwrap()[..32 + 24]);
    poke_log(&disk, 2, b"torn");
    let mut opened = open(&disk, &options(dir())).unwrap();
    assert_is_model(&opened.tree, 3, "as the first log has it");
    write_each(&mut opened, 4, 4).unwrap();
    drop(opened);
    assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 4, "at the next start");
}

/// A log that began with a txn of the next one was passed over, and refused once the next one was given up. One under an
/// older name was copied to its own and left there, and refused at the next start.
#[test]
fn log_under_the_name_of_another_is_refused_until_it_is_given_up() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 3).unwrap();
    close(opened);
    forget_marks(&disk);
    let records = records(&disk, 3);
    poke_log(&disk, 2, &records[1]);
    poke_log(&disk, 1, &records[2]);
    refused(&disk, &options(dir()));
    let accepted = StoreOptions { accept_loss: true, ..options(dir()) };
    assert_is_model(&open(&disk, &accepted).unwrap().tree, 0, "with the loss accepted");
    assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 0, "at the next start");
}

/// A log of Apache's with a txn twice was opened with a warning, copied, and refused by the start after that.
#[test]
fn disorder_in_a_foreign_log_is_no_more_damage_once_it_is_copied() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 3).unwrap();
    close(opened);
    forget_marks(&disk);
    let records = records(&disk, 3);
    poke_log(&disk, 1, &[&records[0][..], &records[1], &records[2], &records[1]].concat());
    let mut opened = open(&disk, &options(dir())).unwrap();
    assert_is_model(&opened.tree, 3, "as Apache left it");
    write_each(&mut opened, 4, 4).unwrap();
    drop(opened);
    assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 4, "at the next start");
}

#[test]
fn failed_sync_poisons_the_log_for_ever() {
    for failing in [0, 1] {
        let (disk, mut opened) = fresh();
        write_each(&mut opened, 1, 2).unwrap();
        disk.fail(failing, io::ErrorKind::Other);
        assert!(matches!(write_each(&mut opened, 3, 3), Err(StorageError::Io { .. })), "told at once");
        assert_eq!(opened.log.durable(), Zxid(2), "not counted");
        opened.log.append(Zxid(4), &payload(4));
        assert!(matches!(opened.log.commit(), Err(StorageError::Poisoned)), "and never again");
        opened.log.roll();
        assert!(matches!(opened.log.close(), Err(StorageError::Poisoned)), "not even to close");
    }
}

/// After an error of the marks file, a flipped bit in what was acknowledged later looked like a torn tail: the marks ended
/// before it, and the txns were gone without a word.
#[test]
fn damage_is_noticed_after_marks_could_not_be_written() {
    for place in 0..4 {
        let (disk, mut opened) = fresh();
        write_each(&mut opened, 1, 2).unwrap();
        // The first write is that of the log, the next that of its mark.
        disk.fail_operation(Operation::Write, 1, io::ErrorKind::Other);
        opened.log.append(Zxid(3), &payload(3));
        let report = opened.log.commit().unwrap();
        assert!(report.marks_renewed.is_some(), "an operator is told");
        assert!(report.marks_failed.is_none(), "{:?}", report.marks_failed);
        write_each(&mut opened, 4, 6).unwrap();
        drop(opened);
        let mut bytes = disk.peek(&file("log.1")).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[end - 20 * place - 5] ^= 1;
        let disk = disk.crash(Crash::Kill);
        disk.poke(&file("log.1"), &bytes);
        let error = refused(&disk, &options(dir()));
        assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
    }
}

/// Marks that are begun anew must never prove less than those in whose place they come.
#[test]
fn power_failure_while_marks_are_begun_anew_costs_no_proof() {
    for stop in 0..10 {
        let (disk, mut opened) = fresh();
        write_each(&mut opened, 1, 4).unwrap();
        opened.log.marks_sync().sync().unwrap();
        disk.fail_operation(Operation::Write, 1, io::ErrorKind::Other);
        opened.log.append(Zxid(5), &payload(5));
        disk.stop_after(stop);
        let _ = opened.log.commit();
        drop(opened);
        for crash in (0..20).map(Crash::Random) {
            let disk = disk.crash(crash);
            let whole = disk.peek(&file("log.1")).unwrap();
            let mut bytes = whole.clone();
            // In txn 4, which was proven.
            let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
            let at = (0..=end).rev().find(|at| whole[..*at].ends_with(&payload(4))).unwrap();
            bytes[at - 3] ^= 1;
            disk.poke(&file("log.1"), &bytes);
            refused(&disk, &options(dir()));
        }
    }
}

/// A start that cannot read must say which file, and must not take what it could read for all there is.
#[test]
fn start_that_cannot_read_a_file_is_refused_and_the_next_one_finds_everything() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 6).unwrap();
    snapshot(&mut opened);
    write_each(&mut opened, 7, 9).unwrap();
    close(opened);
    for failing in 0.. {
        let disk = disk.crash(Crash::Kill);
        disk.fail_operation(Operation::Read, failing, io::ErrorKind::Other);
        let opened = open(&disk, &options(dir()));
        if disk.failed() == 0 {
            assert!(failing > 8, "files are read in {failing} calls");
            break;
        }
        let error = opened.map(|_| "no error").expect_err(&format!("read {failing} fails"));
        assert!(matches!(error, StorageError::Io { .. }), "read {failing}: {error}");
        assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 9, "after an error that has passed");
    }
}

/// One sector of the newest snapshot or of the log cannot be read: that is no reason to go on with less.
#[test]
fn unreadable_sector_is_an_error_with_its_file() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 6).unwrap();
    snapshot(&mut opened);
    write_each(&mut opened, 7, 9).unwrap();
    close(opened);
    for name in ["snapshot.6", "log.7"] {
        let sectors = disk.peek(&file(name)).unwrap().len().div_ceil(SECTOR);
        for sector in 0..sectors {
            let disk = disk.crash(Crash::Kill);
            disk.break_sector(&file(name), sector);
            let error = refused(&disk, &options(dir()));
            let names_it = matches!(&error, StorageError::Io { path, .. } if *path == file(name));
            assert!(names_it, "sector {sector} of {name}: {error}");
        }
    }
}

/// A file system that becomes read-only ends the log with the next txn, and the next start is refused; both say so.
#[test]
fn read_only_file_system_ends_the_log_and_refuses_the_start() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 3).unwrap();
    disk.set_read_only(true);
    let is_read_only = |error: &StorageError| matches!(error, StorageError::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem);
    let error = write_each(&mut opened, 4, 4).unwrap_err();
    assert!(is_read_only(&error), "{error}");
    assert_eq!(opened.log.durable(), Zxid(3), "not counted");
    drop(opened);
    let disk = disk.crash(Crash::Kill);
    disk.set_read_only(true);
    let error = refused(&disk, &options(dir()));
    assert!(is_read_only(&error), "{error}");
    disk.set_read_only(false);
    assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 3, "once it can be written again");
}

/// What a failed sync left in memory only is read back after a restart, shown to clients, and must not then vanish.
#[test]
fn txns_read_back_after_a_failed_sync_survive_a_later_power_failure() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 2).unwrap();
    disk.fail(1, io::ErrorKind::Other);
    assert!(write_each(&mut opened, 3, 3).is_err(), "the sync of txn 3 fails");
    drop(opened);
    let disk = disk.crash(Crash::Kill);
    let opened = open(&disk, &options(dir())).unwrap();
    assert_is_model(&opened.tree, 3, "read back from memory");
    assert!(opened.report.copied_bytes > 0, "and written anew");
    drop(opened);
    let disk = disk.crash(Crash::LoseAll);
    assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 3, "there for good");
}

/// Once a later log follows it, a torn tail that came back would be damage: it must be gone for good before.
#[test]
fn torn_tail_does_not_come_back_after_a_power_failure() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 2).unwrap();
    close(opened);
    let mut torn = disk.peek(&file("log.1")).unwrap();
    let end = 16 + 2 * 13 + payload(1).len() + payload(2).len();
    torn[end..end + 100].fill(0xee);
    disk.poke(&file("log.1"), &torn);
    let mut opened = open(&disk, &options(dir())).unwrap();
    assert_is_model(&opened.tree, 2, "without the tail");
    assert!(opened.report.warnings.iter().any(|text| text.contains("cut short")), "{:?}", opened.report.warnings);
    write_each(&mut opened, 3, 3).unwrap();
    drop(opened);
    let opened = open(&disk.crash(Crash::LoseAll), &options(dir())).unwrap();
    assert_is_model(&opened.tree, 3, "goes on");
}

/// ZooKeeper drops a record that is cut off, leaves it where it is, and goes on in a new log.
#[test]
fn torn_tail_that_apache_went_on_after_is_passed_over() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 3).unwrap();
    opened.log.roll();
    write_each(&mut opened, 4, 6).unwrap();
    close(opened);
    forget_marks(&disk);
    let whole = disk.peek(&file("log.1")).unwrap();
    let end = 16 + 3 * 13 + payload(1).len() + payload(2).len() + payload(3).len();
    for (tail, what) in [(&payload(9)[..20], "cut off"), (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], "zeroed")] {
        let disk = disk.clone_files();
        disk.poke(&file("log.1"), &[&whole[..end], tail].concat());
        let opened = open(&disk, &options(dir())).unwrap();
        assert_is_model(&opened.tree, 6, what);
        drop(opened);
        let opened = open(&disk, &options(dir())).unwrap();
        assert_eq!(opened.report.warnings, [""; 0], "{what}: gone");
    }
    // The same in front of a gap is damage.
    disk.poke(&file("log.1"), &[&whole[..end - 13 - payload(3).len()], &payload(9)[..20]].concat());
    assert!(matches!(refused(&disk, &options(dir())), StorageError::Corrupt { .. }), "txn 3 is missing");
}

/// A start after a stop in good order copies nothing.
#[test]
fn clean_stop_leaves_nothing_in_doubt() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 9).unwrap();
    close(opened);
    let opened = open(&disk.crash(Crash::LoseAll), &options(dir())).unwrap();
    assert_eq!(opened.report.copied_bytes, 0, "all of it is proven");
    assert_eq!(opened.report.warnings, [""; 0], "nothing to say");
}

#[test]
fn full_disk_refuses_further_txns_and_loses_none() {
    let (disk, mut opened) = fresh();
    assert_eq!(opened.log.ensure_space().unwrap(), Space::Ample, "the first file is reserved before the first txn");
    let mut n = 0;
    disk.set_capacity(Some(60_000));
    // Batches of five until the reserve cannot be renewed.
    let left = loop {
        write_batch(&mut opened, n + 1, n + 5).unwrap();
        n += 5;
        match opened.log.ensure_space().unwrap() {
            Space::Ample => assert!(n < 500, "the disk gets full"),
            Space::Short { left } => break left,
        }
    };
    assert!(left > 0, "with a reserve for what was accepted already");
    // What does not fit any more is kept, not half written.
    let mut kept = n;
    let error = loop {
        opened.log.append(Zxid(kept + 1), &payload(kept + 1));
        kept += 1;
        match opened.log.commit() {
            Ok(_) => n = kept,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StorageError::NoSpace { .. }), "{error}");
    assert_is_model(&open(&disk.crash(Crash::LoseAll), &options(dir())).unwrap().tree, n, "all that was committed");

    disk.set_capacity(None);
    assert_eq!(opened.log.ensure_space().unwrap(), Space::Ample, "space returns");
    assert_eq!(opened.log.commit().unwrap().durable, Zxid(kept), "and the same commit goes through");
    assert_is_model(&open(&disk.crash(Crash::LoseAll), &options(dir())).unwrap().tree, kept, "with what waited");
}

/// A batch longer than what is left, and no more to be had: the log says short until it fits, so that a caller who waits
/// for room does not spin.
#[test]
fn space_is_short_while_what_waits_does_not_fit() {
    for begun in [false, true] {
        let (disk, mut opened) = fresh();
        let from = if begun { 3 } else { 1 };
        if begun {
            write_each(&mut opened, 1, 2).unwrap();
        }
        assert_eq!(opened.log.ensure_space().unwrap(), Space::Ample, "as usual");
        disk.set_capacity(Some(0));
        for n in from..=46 {
            opened.log.append(Zxid(n), &payload(n));
        }
        assert!(matches!(opened.log.commit(), Err(StorageError::NoSpace { .. })), "begun {begun}: too long");
        assert!(matches!(opened.log.ensure_space(), Ok(Space::Short { .. })), "begun {begun}: no room for it");
        disk.set_capacity(None);
        assert_eq!(opened.log.ensure_space().unwrap(), Space::Ample, "begun {begun}: room");
        assert_eq!(opened.log.commit().unwrap().durable, Zxid(46), "begun {begun}: written");
        assert_is_model(&open(&disk.crash(Crash::LoseAll), &options(dir())).unwrap().tree, 46, "all there");
    }
}

#[test]
fn without_space_for_a_new_log_the_old_one_goes_on() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 2).unwrap();
    disk.set_capacity(Some(0));
    opened.log.roll();
    write_each(&mut opened, 3, 4).unwrap();
    assert!(disk.peek(&file("log.3")).is_none(), "no new log");
    disk.set_capacity(None);
    write_each(&mut opened, 5, 5).unwrap();
    assert!(disk.peek(&file("log.5")).is_some(), "rolled when there is room");
    assert_is_model(&open(&disk.crash(Crash::LoseAll), &options(dir())).unwrap().tree, 5, "all there");
}

#[test]
fn second_server_on_the_same_directory_is_refused() {
    let (disk, opened) = fresh();
    assert!(matches!(refused(&disk, &options(dir())), StorageError::InUse { .. }), "in use");
    drop(opened);
    assert!(open(&disk, &options(dir())).is_ok(), "free again");
}

#[test]
fn empty_directory_needs_permission_when_autocreate_is_off() {
    let disk = MemDisk::new();
    let careful = StoreOptions { db_autocreate: false, ..options(dir()) };
    assert!(matches!(refused(&disk, &careful), StorageError::EmptyUntrusted { .. }), "no permission");
    disk.poke(&dir().join("initialize"), b"");
    let opened = open(&disk, &careful).unwrap();
    assert!(opened.report.fresh, "a new tree");
    assert!(disk.peek(&dir().join("initialize")).is_none(), "the permission is used up");
    assert!(disk.peek(&file("snapshot.0")).is_some(), "snapshot.0 comes before any log");
    drop(opened);
    assert!(!open(&disk, &careful).unwrap().report.fresh, "data is there now");
}

#[test]
fn missing_directory_is_not_made_when_that_is_forbidden() {
    let disk = MemDisk::new();
    let careful = StoreOptions { datadir_autocreate: false, ..options(dir()) };
    assert!(matches!(refused(&disk, &careful), StorageError::DirectoryMissing { .. }), "as configured");
    assert!(disk.paths().is_empty(), "nothing was made");
}

#[test]
fn logs_among_the_snapshots_are_refused_when_they_have_their_own_place() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 2).unwrap();
    close(opened);
    let error = refused(&disk, &StoreOptions { log_dir: "/elsewhere".into(), ..options(dir()) });
    assert!(matches!(error, StorageError::Misplaced { .. }), "{error}");
}

/// A backup of a log, or a snapshot that was never finished, is not data.
#[test]
fn files_with_other_names_are_left_alone() {
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 3).unwrap();
    close(opened);
    for name in ["log.2.bak", "snapshot.ff.tmp", "snapshot.x", "log.", "myid"] {
        disk.poke(&file(name), b"whatever");
    }
    assert_is_model(&open(&disk, &options(dir())).unwrap().tree, 3, "as without them");
    assert_eq!(disk.peek(&file("log.2.bak")).as_deref(), Some(&b"whatever"[..]), "untouched");
}

/// Somebody else wrote here since: a log of the same name that our marks were not made for.
#[test]
fn marks_of_another_file_are_ignored_with_a_warning() {
    let (theirs, mut opened) = fresh();
    for n in 1..=3 {
        let (mut header, txn) = common::txn(n);
        header.time.0 += 1;
        let mut payload = Vec::new();
        gk_proto::txn::encode(&header, &txn, None, &mut payload);
        opened.log.append(header.zxid, &payload);
    }
    close(opened);
    let log = theirs.peek(&file("log.1")).unwrap();
    let (disk, mut opened) = fresh();
    write_each(&mut opened, 1, 2).unwrap();
    close(opened);
    disk.poke(&file("log.1"), &log);
    let opened = open(&disk, &options(dir())).unwrap();
    assert_eq!(opened.tree.last_zxid(), Zxid(3), "by its own rules");
    assert!(opened.report.warnings.iter().any(|text| text.contains("marks")), "{:?}", opened.report.warnings);
    drop(opened);
    assert_eq!(open(&disk, &options(dir())).unwrap().report.warnings, [""; 0], "ours from now on");
}

/// With `forceSync=no` nothing is promised, but nothing is invented either.
#[test]
fn without_force_sync_a_killed_process_loses_nothing() {
    let options = StoreOptions { force_sync: false, ..options(dir()) };
    let disk = MemDisk::new();
    let mut opened = open(&disk, &options).unwrap();
    write_each(&mut opened, 1, 9).unwrap();
    let syncs = disk.trace().into_iter().rev().take_while(|step| !step.contains("rename"));
    assert_eq!(syncs.filter(|step| step.starts_with("sync")).count(), 0, "no sync after the log was begun");
    drop(opened);
    assert_is_model(&open(&disk.crash(Crash::Kill), &options).unwrap().tree, 9, "killed");
}
