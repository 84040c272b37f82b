//! Every crash point there is: the machine stops after the k-th operation on the disk, for every k, in the middle of
//! a history with commits, batches, rolls, snapshots and a purge. Then the directory is opened again, and
//!
//! - every txn whose commit had returned is there,
//! - nothing is there that was not appended, and nothing out of order or in part,
//! - what recovery showed once is there for good: the power fails right after it, and it is still there,
//! - the log goes on, and what is appended then is there after the next power failure.

#![allow(clippy::unwrap_used, reason = "all of this file is tests and their helpers")]

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;

use common::{assert_is_model, open, options, take_snapshot, write_batch, write_each};
use gk_storage::testing::{Crash, MemDisk};
use gk_storage::{StorageError, StoreOptions};

/// How far the history had come when it ended.
#[derive(Clone, Copy, Default, Debug)]
struct Came {
    /// Appended, whether or not the commit returned.
    appended: u64,
    /// The commit returned.
    acked: u64,
}

enum Step {
    Each(u64),
    Batch(u64),
    SyncMarks,
    /// Rolls the log and takes a snapshot, as the server does.
    Snapshot,
    Purge,
    /// Ends in good order and opens again.
    Restart,
}

const HISTORY: &[Step] = &[
    Step::Each(4),
    Step::Batch(11),
    Step::SyncMarks,
    Step::Each(13),
    Step::Snapshot,
    Step::Each(15),
    Step::Batch(31),
    Step::Snapshot,
    Step::Batch(34),
    Step::Restart,
    Step::Each(36),
    Step::Snapshot,
    Step::Batch(40),
    Step::Snapshot,
    Step::Purge,
    Step::Each(42),
    Step::SyncMarks,
    Step::Batch(46),
];

/// Random crashes tried at each point.
const SEEDS: u64 = 8;

const MODES: &[Crash] = &[Crash::Kill, Crash::LoseAll, Crash::KeepAll];

fn dir() -> &'static Path {
    Path::new("/data")
}

/// Lives through the history until it ends or the machine stops.
fn live(disk: &Arc<MemDisk>, options: &StoreOptions, came: &mut Came) -> Result<(), StorageError> {
    let mut opened = open(disk, options)?;
    for step in HISTORY {
        match *step {
            Step::Each(to) => {
                for n in came.acked + 1..=to {
                    came.appended = n;
                    write_each(&mut opened, n, n)?;
                    came.acked = n;
                }
                opened.log.ensure_space()?;
            }
            Step::Batch(to) => {
                came.appended = to;
                write_batch(&mut opened, came.acked + 1, to)?;
                came.acked = to;
            }
            Step::SyncMarks => opened.log.marks_sync().sync()?,
            Step::Snapshot => {
                opened.log.roll();
                opened.log.snapshot_began();
                take_snapshot(&mut opened)?;
            }
            Step::Purge => drop(opened.snapshots.purge(3)?),
            Step::Restart => {
                opened.log.close()?;
                drop((opened.tree, opened.snapshots));
                opened = open(disk, options)?;
            }
        }
    }
    opened.log.close()
}

/// The history stopped after `stop` operations; true if it came to its end.
fn stopped_after(stop: u64, options: &StoreOptions) -> (Arc<MemDisk>, Came, bool) {
    let disk = MemDisk::new();
    disk.stop_after(stop);
    let mut came = Came::default();
    let ended = live(&disk, options, &mut came).is_ok();
    (disk, came, ended)
}

/// What a crash left to be done: the suite must have met all of it.
#[derive(Default, Debug)]
struct Met {
    torn: u64,
    copied: u64,
    in_flight: u64,
}

/// Opens what a crash left, and then lives on through two power failures.
fn check(disk: &Arc<MemDisk>, came: Came, options: &StoreOptions, context: &str) {
    check_and_count(disk, came, options, context, &mut Met::default());
}

fn check_and_count(disk: &Arc<MemDisk>, came: Came, options: &StoreOptions, context: &str, met: &mut Met) {
    let opened = match open(disk, options) {
        Ok(opened) => opened,
        Err(error) => panic!("{context}: {error}"),
    };
    let last = opened.tree.last_zxid().0;
    assert!(came.acked <= last && last <= came.appended, "{context}: {came:?}, recovered up to {last}");
    assert_is_model(&opened.tree, last, context);
    met.torn += u64::from(opened.report.warnings.iter().any(|text| text.contains("cut short")));
    met.copied += u64::from(opened.report.copied_bytes > 0);
    met.in_flight += u64::from(came.acked < last && last < came.appended);
    drop(opened);

    let disk = disk.crash(Crash::LoseAll);
    let mut opened = open(&disk, options).unwrap_or_else(|error| panic!("{context}, again: {error}"));
    assert_is_model(&opened.tree, last, &format!("{context}, after the power failed"));
    write_batch(&mut opened, last + 1, last + 2).unwrap();
    drop(opened);

    let disk = disk.crash(Crash::LoseAll);
    let opened = open(&disk, options).unwrap_or_else(|error| panic!("{context}, at last: {error}"));
    assert_is_model(&opened.tree, last + 2, &format!("{context}, after going on"));
}

#[test]
fn whatever_was_acknowledged_survives_every_crash_point() {
    let (options, mut met) = (options(dir()), Met::default());
    for stop in 0.. {
        let (disk, came, ended) = stopped_after(stop, &options);
        for &mode in MODES {
            let context = format!("stopped after operation {stop} ({:?}), {mode:?}", disk.trace().last());
            check_and_count(&disk.crash(mode), came, &options, &context, &mut met);
        }
        for seed in (0..SEEDS).map(|k| stop * SEEDS + k) {
            let context = format!("stopped after operation {stop} ({:?}), seed {seed}", disk.trace().last());
            check_and_count(&disk.crash(Crash::Random(seed)), came, &options, &context, &mut met);
        }
        if ended {
            let all_met = met.torn > 10 && met.copied > 10 && met.in_flight > 4;
            assert!(all_met, "torn tails, copies and batches in part were met: {met:?}");
            assert!(stop > 100, "the history has more than {stop} operations");
            return;
        }
    }
}

/// The same with snapshots and logs in directories of their own.
#[test]
fn separate_directories_survive_every_crash_point() {
    let options = StoreOptions { log_dir: "/log".into(), ..options(dir()) };
    for stop in 0.. {
        let (disk, came, ended) = stopped_after(stop, &options);
        for mode in [Crash::LoseAll, Crash::Random(stop)] {
            check(&disk.crash(mode), came, &options, &format!("stopped after operation {stop}, {mode:?}"));
        }
        if ended {
            return;
        }
    }
}

/// Recovery itself is cut off anywhere, over what crashes of every kind left.
#[test]
fn recovery_survives_being_cut_off_at_every_point() {
    let options = options(dir());
    for stop in (0..).step_by(3) {
        let (disk, came, ended) = stopped_after(stop, &options);
        for first in [Crash::Kill, Crash::Random(stop)] {
            let left = disk.crash(first);
            for cut in 0.. {
                let again = left.clone_files();
                again.stop_after(cut);
                let done = open(&again, &options).is_ok();
                for second in [Crash::LoseAll, Crash::KeepAll, Crash::Random(cut)] {
                    let context = format!("stopped after {stop}, {first:?}, recovery cut off after {cut}, {second:?}");
                    check(&again.crash(second), came, &options, &context);
                }
                if done {
                    break;
                }
            }
        }
        if ended {
            return;
        }
    }
}

/// Any one operation fails once. Whatever it was, nothing that was acknowledged is lost, and a log that failed takes
/// nothing more.
#[test]
fn whatever_was_acknowledged_survives_every_single_failure() {
    let options = options(dir());
    for failing in 0.. {
        let disk = MemDisk::new();
        disk.fail(failing, io::ErrorKind::Other);
        let mut came = Came::default();
        let ended = live(&disk, &options, &mut came).is_ok();
        for mode in [Crash::Kill, Crash::LoseAll, Crash::Random(failing)] {
            let context = format!("operation {failing} failed, {mode:?}");
            check(&disk.crash(mode), came, &options, &context);
        }
        if ended && disk.operations() <= failing {
            return;
        }
    }
}
