//! The one place of the server that reads a clock (S1).

use gk_node::Now;
use gk_proto::{Instant, WallTime};

/// Monotonic time from the start of the process, and wall time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// Starts counting.
    #[expect(clippy::disallowed_methods, reason = "the one real clock")]
    pub(crate) fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// Time since the start, for timeouts.
    #[expect(clippy::disallowed_methods, reason = "the one real clock")]
    pub(crate) fn instant(&self) -> Instant {
        let since = std::time::Instant::now().duration_since(self.start);
        Instant(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Milliseconds since 1970, for txn headers and texts.
    #[expect(clippy::disallowed_methods, reason = "the one real clock")]
    pub(crate) fn wall(&self) -> WallTime {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Both.
    pub(crate) fn now(&self) -> Now {
        Now { instant: self.instant(), wall: self.wall() }
    }

    /// How long until then, as the standard library has it.
    pub(crate) fn until(&self, then: Instant) -> std::time::Duration {
        std::time::Duration::from_nanos(then.0.saturating_sub(self.instant().0))
    }
}
