//! Time as an argument: core code is told what time it is.

use std::ops::{Add, Sub};

/// Monotonic time in nanoseconds from an arbitrary start; set by the edge (or a simulator), never read in the core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Instant(pub u64);

impl Instant {
    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0) / 1_000_000)
    }

    /// Whole milliseconds since the start of the clock.
    pub fn millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl Add<Millis> for Instant {
    type Output = Self;
    fn add(self, rhs: Millis) -> Self {
        Self(self.0.saturating_add(rhs.0.saturating_mul(1_000_000)))
    }
}

impl Sub<Millis> for Instant {
    type Output = Self;
    fn sub(self, rhs: Millis) -> Self {
        Self(self.0.saturating_sub(rhs.0.saturating_mul(1_000_000)))
    }
}

/// A span of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Millis(pub u64);

/// Wall-clock time, milliseconds since 1970 UTC: stamped into a txn once, by the leader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct WallTime(pub i64);
