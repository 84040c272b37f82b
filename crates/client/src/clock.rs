//! The one place of the client that reads a clock (S1).

use std::time::Duration;

use gk_proto::{Instant, Millis};

/// Monotonic time from the making of a client.
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

    /// Time since the start.
    #[expect(clippy::disallowed_methods, reason = "the one real clock")]
    pub(crate) fn now(&self) -> Instant {
        let since = std::time::Instant::now().duration_since(self.start);
        Instant(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// That time as the runtime has it.
    pub(crate) fn runtime(&self, at: Instant) -> tokio::time::Instant {
        (self.start + Duration::from_nanos(at.0)).into()
    }

    /// A number that two clients hardly share, for spreading them out. Not a secret.
    #[expect(clippy::disallowed_methods, reason = "the one real clock")]
    pub(crate) fn seed(&self) -> u64 {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(wall.as_nanos() & u128::from(u64::MAX)).unwrap_or_default();
        nanos ^ (u64::from(std::process::id()) << 40)
    }
}

/// A span as the core has it, rounded up: zero is only what was zero.
pub(crate) fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}
