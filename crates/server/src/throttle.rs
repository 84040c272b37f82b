//! How fast clients may come (ZooKeeper `BlueThrottle`, without the part of it that drops by chance, which is off unless
//! configured), and how often the log says that they come too fast.

use gk_proto::{Instant, Millis};
use parking_lot::Mutex;

use crate::config::ConnectRate;

/// Tokens that handshakes take; without one the connection is closed.
#[derive(Debug)]
pub(crate) struct Throttle {
    rate: Option<ConnectRate>,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: u64,
    filled: Instant,
}

impl Throttle {
    /// A full bucket; without a rate nobody is throttled.
    pub(crate) fn new(rate: Option<ConnectRate>, now: Instant) -> Self {
        let tokens = rate.map_or(0, |rate| rate.tokens_max.into());
        Self { rate, bucket: Mutex::new(Bucket { tokens, filled: now }) }
    }

    /// Takes a token; false if there is none.
    pub(crate) fn take(&self, now: Instant) -> bool {
        let Some(rate) = self.rate else { return true };
        let mut bucket = self.bucket.lock();
        let elapsed = now.since(bucket.filled);
        if elapsed > rate.fill_time {
            let filled = elapsed.0.saturating_mul(rate.fill_count.into()) / rate.fill_time.0.max(1);
            bucket.tokens = bucket.tokens.saturating_add(filled).min(rate.tokens_max.into());
            bucket.filled = now;
        }
        let has_one = bucket.tokens > 0;
        bucket.tokens -= u64::from(has_one);
        has_one
    }
}

/// Lets so many remarks through in a second, and counts the others: whoever causes them may do so thousands of times.
#[derive(Debug)]
pub(crate) struct Remarks {
    at_once: u64,
    /// Since when the second runs, and how many were made in it.
    second: Option<(Instant, u64)>,
    kept_back: u64,
}

/// How long what was remarked on counts.
const REMARK_PAUSE: Millis = Millis(1000);

impl Remarks {
    /// At most `at_once` in a second.
    pub(crate) fn new(at_once: u64) -> Self {
        Self { at_once, second: None, kept_back: 0 }
    }

    /// How many were kept back before this one, if it may be made now.
    pub(crate) fn allow(&mut self, now: Instant) -> Option<u64> {
        let (since, made) = self.second.filter(|(since, _)| now.since(*since) < REMARK_PAUSE).unwrap_or((now, 0));
        if made >= self.at_once {
            self.kept_back += 1;
            return None;
        }
        self.second = Some((since, made + 1));
        Some(std::mem::take(&mut self.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant(5_000_000_000);

    #[test]
    fn tokens_run_out_and_come_back_with_time() {
        let rate = ConnectRate { tokens_max: 3, fill_time: Millis(100), fill_count: 2 };
        let throttle = Throttle::new(Some(rate), START);
        let taken = |at: Millis| (0..10).filter(|_| throttle.take(START + at)).count();
        assert_eq!(taken(Millis(0)), 3, "a full bucket");
        assert_eq!(taken(Millis(100)), 0, "not before the time is over");
        assert_eq!(taken(Millis(101)), 2, "two each time");
        assert_eq!(taken(Millis(60_000)), 3, "no more than it holds");
    }

    #[test]
    fn nobody_is_throttled_without_a_rate() {
        let throttle = Throttle::new(None, START);
        assert!((0..1000).all(|_| throttle.take(START)), "there is no bucket");
    }

    #[test]
    fn remarks_come_once_a_second_and_tell_of_the_others() {
        let mut remarks = Remarks::new(1);
        let told: Vec<_> = [0, 1, 999, 1000, 1500, 3000].map(|at| remarks.allow(START + Millis(at))).into();
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1)], "those kept back are counted");
        let mut remarks = Remarks::new(2);
        let told: Vec<_> = [0, 1, 2, 3, 1000, 1001, 1002].map(|at| remarks.allow(START + Millis(at))).into();
        assert_eq!(told, [Some(0), Some(0), None, None, Some(2), Some(0), None], "two a second");
    }
}
