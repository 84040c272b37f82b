//! The one place of this program that reads clocks (S1).

use std::time::{Duration, SystemTime};

/// A point of monotonic time.
#[derive(Clone, Copy)]
pub(crate) struct Moment(std::time::Instant);

impl Moment {
    /// The present.
    #[expect(clippy::disallowed_methods, reason = "the one real clock")]
    pub(crate) fn now() -> Self {
        Self(std::time::Instant::now())
    }

    /// How long ago it was.
    pub(crate) fn elapsed(self) -> Duration {
        Self::now().0.saturating_duration_since(self.0)
    }
}

/// Milliseconds since the epoch, as servers stamp txns with them.
#[expect(clippy::disallowed_methods, reason = "the one real clock")]
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
