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
    /// An operation of the disk fails with EIO. A log that fails ends the server; a snapshot is dropped.
    DiskError { which: Operation, after: u64 },
    /// No room for so long. Writes are refused, reads go on; snapshots are dropped.
    DiskFull { for_ms: u64 },
    /// The disk takes so many times longer.
    SlowDisk { times: u64, for_ms: u64 },
    /// While the server is down, bytes on its disk change. It says so and does not start, and the disk is restored; or
    /// nothing is missing. Not after an error has cost a log its marks: that such a log proves less is documented.
    Damage { what: Damage, down_ms: u64 },
    /// The wall clock is set. Sessions do not care.
    WallClock { ms: i64 },
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
        0..10 => Fault::Kill { down_ms },
        10..22 => Fault::PowerFailure { how: left(rng), down_ms },
        22..37 => {
            let most = pick(rng, &[1, 10, 100]);
            Fault::StopAtOperation { after: rng.below(most), how: left(rng), down_ms }
        }
        37..42 => Fault::Restart { down_ms },
        42..50 => {
            let which = [Operation::Any, Operation::Write, Operation::Sync, Operation::Metadata];
            let which = *crate::options::one(rng, &which);
            Fault::DiskError { which, after: rng.below(10) }
        }
        50..54 => Fault::DiskFull { for_ms: 100 + rng.below(4000) },
        54..58 => Fault::SlowDisk { times: pick(rng, &[10, 100, 1000]), for_ms: rng.below(5000) },
        58..66 => Fault::Damage { what: damage(rng), down_ms },
        66..70 => {
            let ms = i64::try_from(pick(rng, &[1, 1000, 86_400_000, 315_360_000_000])).unwrap_or(1);
            Fault::WallClock { ms: if rng.below(2) == 0 { ms } else { -ms } }
        }
        70..75 => Fault::PauseServer { for_ms: pick(rng, &[10, 300, 3000, 20_000]) },
        75..79 => Fault::PauseClient { client, for_ms: pick(rng, &[100, 1000, 10_000]) },
        79..89 => Fault::Cut { client: (rng.below(2) == 0).then_some(client) },
        89..93 => Fault::Hole { client },
        93..97 => Fault::Vanish { client },
        _ => Fault::Stranger { client },
    }
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
    match rng.below(8) {
        0..3 => Damage::Bit { file, at },
        3..5 => Damage::Sector { file, at },
        5 => Damage::Truncated { file, at },
        6 => Damage::Gone { file },
        _ => Damage::Stale { file },
    }
}
