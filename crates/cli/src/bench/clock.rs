//! The one place of the load generator that reads clocks (S1), and a timer that is more exact than the runtime's.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use gk_proto::Instant;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Monotonic time from the start of the program.
#[derive(Clone, Copy, Debug)]
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
        Instant(nanos(since))
    }

    /// A number that two runs hardly share. Not a secret.
    #[expect(clippy::disallowed_methods, reason = "the one real clock")]
    pub(crate) fn seed(&self) -> u64 {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        nanos(wall) ^ (u64::from(std::process::id()) << 40)
    }

    /// CPU time of the whole process so far.
    pub(crate) fn cpu(&self) -> Duration {
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(spent.tv_sec).unwrap_or_default();
        Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(spent.tv_nsec).unwrap_or_default())
    }
}

/// A span as whole nanoseconds: enough for 584 years.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Time between two moments; none if they are the other way round.
pub(crate) fn between(earlier: Instant, later: Instant) -> Duration {
    Duration::from_nanos(later.0.saturating_sub(earlier.0))
}

/// A timer of the system. The runtime's own goes in steps of a millisecond, which is longer than most operations take:
/// what is sent on schedule would be sent late.
#[derive(Debug)]
pub(crate) struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// Must be made within the runtime that waits for it.
    #[expect(deprecated, reason = "what takes its place is unsafe, and demands no more than an owned descriptor is")]
    pub(crate) fn new() -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self(AsyncFd::new(fd)?))
    }

    /// Waits for that long.
    pub(crate) async fn wait(&self, span: Duration) -> io::Result<()> {
        // Zero would disarm it.
        let span = span.max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: span.subsec_nanos().into(),
            },
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut expirations = [0; 8];
            match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut expirations)?)) {
                Ok(read) => return read.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}
