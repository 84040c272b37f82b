//! What a seed does to the server, its disk, its clock, its network and its clients. Each must be survived, in the sense
//! that its line says.

use gk_proto::rng::Rng;
use gk_storage::testing::{Crash, Operation};

use crate::options::{FAULTS_MIN, SECONDS_MIN, pick};

/// One fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The process ends between two steps of its threads. Nothing acknowledged is lost, here and in all lines below.
    Kill { down_ms: u64 },
    /// The power fails between two steps; of what was not synced this much is left.
    PowerFailure { how: Left, down_ms: u64 },
    /// The machine stops after so many more operations of its disk, in the middle of whatever that is.
    StopAtOperation { after: u64, how: Left, down_ms: u64 },
    /// The server is told to stop, and started again.
    Restart { down_ms: u64 },
    /// An operation of the disk fails with EIO. A log that fails ends the server, a start that cannot read is one that
    /// failed, a snapshot is dropped, a purge is left for later.
    DiskError { which: Operation, after: u64 },
    /// No room for so long, restarts or not. Writes are refused, reads go on; snapshots are dropped. Where writes that need
    /// room fail too, the server may end, or not start before there is some.
    DiskFull { for_ms: u64, is_strict: bool },
    /// The file system can only be read for so long. The server ends with its next write and does not start again before.
    ReadOnly { for_ms: u64 },
    /// The disk takes so many times longer.
    SlowDisk { times: u64, for_ms: u64 },
    /// The next operation of the disk takes so long.
    Stall { ms: u64 },
    /// The server goes, by a kill or a power failure, and while it is down bytes on its disk change. It says so and does
    /// not start, and the disk is restored; or nothing is missing. Two exceptions are documented. After a power failure
    /// what was acknowledged since marks were last synced may be missing. After an error that cost a log its marks it
    /// proves less, and then nothing is damaged here.
    Damage { what: Damage, how: Option<Left>, down_ms: u64 },
    /// While the server is down its whole directory is replaced by a copy made so long before. What came after the copy is
    /// lost, and nothing else; clients that have seen more are refused until there is more.
    Restore { age_ms: u64, down_ms: u64 },
    /// The power fails, and when it is back the wall clock shows what it showed when the server last started. Sessions
    /// get new ids all the same.
    SameClock { down_ms: u64 },
    /// The wall clock is set. Sessions do not care.
    WallClock { ms: i64 },
    /// The clocks of the server run faster or slower from now on, by so many millionths.
    Drift { ppm: i64 },
    /// The process is not run for so long. Nobody is expired who spoke meanwhile.
    PauseServer { for_ms: u64 },
    /// A client is not run for so long. Its session may expire.
    PauseClient { client: u64, for_ms: u64 },
    /// Connections are cut at a byte in transit.
    Cut { client: Option<u64> },
    /// A connection swallows everything.
    Hole { client: u64 },
    /// A client goes without a word and never comes back; another takes its place.
    Vanish { client: u64 },
    /// A stranger tries to resume the session of a client. It is refused, and its owner notices nothing.
    Stranger { client: u64 },
}

/// What is left of what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    Nothing,
    Everything,
    /// Any part, sector by sector and name by name.
    Some(u64),
}

impl Left {
    pub(crate) fn crash(self) -> Crash {
        match self {
            Self::Nothing => Crash::LoseAll,
            Self::Everything => Crash::KeepAll,
            Self::Some(seed) => Crash::Random(seed),
        }
    }
}

/// What happens to one file, chosen by its number among those with content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Damage {
    /// One bit is turned.
    Bit { file: u64, at: u64 },
    /// One sector of 512 bytes is zeros.
    Sector { file: u64, at: u64 },
    /// The file is cut off.
    Truncated { file: u64, at: u64 },
    /// The file is gone.
    Gone { file: u64 },
    /// The file is as it was when the server was last started.
    Stale { file: u64 },
    /// One sector is as it was when the server was last started.
    StaleSector { file: u64, at: u64 },
    /// One sector holds what belongs into another one of the same file.
    Misplaced { file: u64, at: u64, from: u64 },
    /// One sector cannot be read.
    Unreadable { file: u64, at: u64 },
}

impl Damage {
    /// The number of its file.
    pub(crate) fn file(self) -> u64 {
        let (Self::Bit { file, .. }
        | Self::Sector { file, .. }
        | Self::Truncated { file, .. }
        | Self::Gone { file }
        | Self::Stale { file }
        | Self::StaleSector { file, .. }
        | Self::Misplaced { file, .. }
        | Self::Unreadable { file, .. }) = self;
        file
    }
}

/// Faults over most of the run, in order of time.
pub(crate) fn draw(rng: &mut Rng) -> Vec<(u64, Fault)> {
    let most = pick(rng, &[3, 6, 12]);
    let count = (FAULTS_MIN as u64).max(rng.below(most + 1));
    let mut faults: Vec<_> = (0..count).map(|_| (rng.below(SECONDS_MIN * 900), fault(rng))).collect();
    faults.sort_by_key(|(at, _)| *at);
    faults
}

fn fault(rng: &mut Rng) -> Fault {
    let down_ms = pick(rng, &[1, 50, 500, 3000]);
    let client = rng.next_u64();
    match rng.below(100) {
        0..9 => Fault::Kill { down_ms },
        9..19 => Fault::PowerFailure { how: left(rng), down_ms },
        19..31 => {
            let most = pick(rng, &[1, 10, 100]);
            Fault::StopAtOperation { after: rng.below(most), how: left(rng), down_ms }
        }
        31..36 => Fault::Restart { down_ms },
        36..59 => of_the_disk(rng, down_ms),
        59..68 => of_the_clock(rng, down_ms),
        68..73 => Fault::PauseServer { for_ms: pick(rng, &[10, 300, 3000, 20_000, 60_000]) },
        73..77 => Fault::PauseClient { client, for_ms: pick(rng, &[100, 1000, 10_000]) },
        77..87 => Fault::Cut { client: (rng.below(2) == 0).then_some(client) },
        87..91 => Fault::Hole { client },
        91..96 => Fault::Vanish { client },
        _ => Fault::Stranger { client },
    }
}

fn of_the_disk(rng: &mut Rng, down_ms: u64) -> Fault {
    match rng.below(23) {
        0..6 => {
            let which = [Operation::Any, Operation::Write, Operation::Sync, Operation::Metadata, Operation::Read];
            let which = *crate::options::one(rng, &which);
            Fault::DiskError { which, after: rng.below(10) }
        }
        6..9 => Fault::DiskFull { for_ms: 100 + rng.below(4000), is_strict: rng.below(3) == 0 },
        9 => Fault::ReadOnly { for_ms: 10 + rng.below(3000) },
        10..12 => Fault::SlowDisk { times: pick(rng, &[10, 100, 1000]), for_ms: rng.below(5000) },
        12..14 => Fault::Stall { ms: pick(rng, &[100, 3000, 30_000]) },
        14..21 => {
            let how = (rng.below(3) == 0).then(|| left(rng));
            Fault::Damage { what: damage(rng), how, down_ms }
        }
        _ => {
            let most = pick(rng, &[500, 5000, 20_000]);
            Fault::Restore { age_ms: rng.below(most), down_ms }
        }
    }
}

fn of_the_clock(rng: &mut Rng, down_ms: u64) -> Fault {
    match rng.below(9) {
        0..4 => {
            // Up to beyond the year at which ids that begin with the time begin anew.
            let ms = pick(rng, &[1, 1000, 86_400_000, 315_360_000_000, 630_720_000_000]);
            Fault::WallClock { ms: either(rng, ms) }
        }
        4..7 => {
            let ppm = pick(rng, &[0, 500, 20_000, 100_000]);
            Fault::Drift { ppm: either(rng, ppm) }
        }
        _ => Fault::SameClock { down_ms },
    }
}

fn either(rng: &mut Rng, size: u64) -> i64 {
    let size = i64::try_from(size).unwrap_or(0);
    if rng.below(2) == 0 { size } else { -size }
}

fn left(rng: &mut Rng) -> Left {
    match rng.below(4) {
        0 => Left::Nothing,
        1 => Left::Everything,
        _ => Left::Some(rng.next_u64()),
    }
}

fn damage(rng: &mut Rng) -> Damage {
    let (file, at) = (rng.next_u64(), rng.next_u64());
    match rng.below(14) {
        0..3 => Damage::Bit { file, at },
        3..5 => Damage::Sector { file, at },
        5 => Damage::Truncated { file, at },
        6 => Damage::Gone { file },
        7 => Damage::Stale { file },
        8..10 => Damage::StaleSector { file, at },
        10..12 => Damage::Misplaced { file, at, from: rng.next_u64() },
        _ => Damage::Unreadable { file, at },
    }
}
