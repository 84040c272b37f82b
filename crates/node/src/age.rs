//! How long ago a node was stamped, where the wall clock that stamped it may have been set since.
//!
//! ZooKeeper compares the wall clock with mtime (`ContainerManager`), so that a clock set forward takes all TTL nodes at once.
//! Here time by which the wall clock ran ahead of the monotonic one does not count. Of clocks set while no server ran, nothing
//! can be known.

use gk_proto::WallTime;

use crate::config::Now;

/// The wall clock, watched for steps.
///
/// - An age is never more than what has truly passed while this was watching, but for [`NOISE_MS`] a step.
/// - `steps` are in the order in which they were taken, at most [`STEPS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Ages {
    /// What the wall clock was ahead of the monotonic one, and what it said last.
    ahead_ms: Option<i64>,
    last: WallTime,
    steps: Vec<Step>,
}

/// The wall clock was set forward.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Step {
    /// What it said last before.
    before: WallTime,
    ms: i64,
}

impl Ages {
    /// Looks at both clocks.
    pub(crate) fn observe(&mut self, now: Now) {
        let uptime = i64::try_from(now.instant.millis()).unwrap_or(i64::MAX);
        let ahead = now.wall.0.saturating_sub(uptime);
        let step = ahead.saturating_sub(*self.ahead_ms.get_or_insert(ahead));
        if step.abs() > NOISE_MS {
            self.ahead_ms = Some(ahead);
            if step > 0 { self.forward(step) } else { self.back(-step) }
        }
        self.last = now.wall;
    }

    /// Milliseconds since `stamp`; negative if that is yet to come.
    pub(crate) fn since(&self, stamp: WallTime, now: WallTime) -> i64 {
        let later = self.steps.iter().filter(|step| stamp <= step.before);
        let stepped = later.fold(0_i64, |sum, step| sum.saturating_add(step.ms));
        now.0.saturating_sub(stamp.0).saturating_sub(stepped)
    }

    fn forward(&mut self, ms: i64) {
        if self.steps.len() == STEPS_MAX {
            // The two oldest become one, at the later time: what was stamped between them seems younger than it is.
            let first = self.steps.remove(0);
            if let Some(second) = self.steps.first_mut() {
                second.ms = second.ms.saturating_add(first.ms);
            }
        }
        self.steps.push(Step { before: self.last, ms });
    }

    /// A clock that is set back takes back the latest steps. Beyond that, nodes only seem younger than they are.
    fn back(&mut self, mut ms: i64) {
        while let Some(step) = self.steps.last_mut() {
            let taken = step.ms.min(ms);
            step.ms -= taken;
            ms -= taken;
            if step.ms > 0 {
                return;
            }
            self.steps.pop();
        }
    }
}

/// Differences up to this are those of reading two clocks one after the other.
const NOISE_MS: i64 = 500;
/// Steps that are told apart.
const STEPS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use gk_proto::{Instant, Millis};

    use super::*;

    fn at(uptime: u64, wall: i64) -> Now {
        Now { instant: Instant::default() + Millis(uptime), wall: WallTime(wall) }
    }

    fn ages(clocks: &[(u64, i64)]) -> Ages {
        let mut ages = Ages::default();
        for &(uptime, wall) in clocks {
            ages.observe(at(uptime, wall));
        }
        ages
    }

    #[test]
    fn a_clock_set_forward_ages_nothing() {
        let ages = ages(&[(0, 10_000), (1000, 11_000), (2000, 1_012_000), (3000, 1_013_000)]);
        assert_eq!(ages.since(WallTime(10_500), WallTime(1_013_000)), 2500, "stamped before the step of 1,000 s");
        assert_eq!(ages.since(WallTime(1_012_000), WallTime(1_013_000)), 1000, "stamped after it");
    }

    #[test]
    fn a_step_that_is_taken_back_leaves_ages_as_they_were() {
        let ages = ages(&[(0, 10_000), (1000, 1_011_000), (2000, 12_000), (9000, 19_000)]);
        assert_eq!(ages.since(WallTime(10_000), WallTime(19_000)), 9000, "stamped before both");
        assert_eq!(ages.since(WallTime(12_000), WallTime(19_000)), 7000, "stamped after both");
        assert!(ages.since(WallTime(1_011_000), WallTime(19_000)) < 0, "stamped between them: not before its time");
    }

    #[test]
    fn a_clock_that_runs_fast_is_noticed_in_time() {
        let clocks: Vec<(u64, i64)> =
            (0..=1000).map(|second| (second * 1000, 1050 * i64::try_from(second).unwrap())).collect();
        let ages = ages(&clocks);
        let age = ages.since(WallTime(0), WallTime(1_050_000));
        assert!((1_000_000 - NOISE_MS..=1_000_000 + NOISE_MS).contains(&age), "{age} ms for 1,000 s");
        assert!(ages.steps.len() <= STEPS_MAX, "{} steps", ages.steps.len());
    }

    #[test]
    fn noise_is_no_step() {
        let ages = ages(&[(0, 10_000), (1000, 11_400), (2000, 11_600), (3000, 13_000)]);
        assert_eq!(ages.since(WallTime(10_000), WallTime(13_000)), 3000, "as the wall clock says");
    }
}
