//! What was measured: latencies and errors of each operation.

use std::collections::BTreeMap;

use gk_client::Error;
use gk_proto::Instant;
use hdrhistogram::Histogram;

use super::clock::between;
use super::mix::Operation;

/// Figures of one thread, later of all.
#[derive(Debug)]
pub(crate) struct Tally {
    figures: Vec<Figures>,
    /// Sessions that expired and were replaced.
    pub(crate) sessions_replaced: u64,
    /// Connections that were made again after a cut.
    pub(crate) reconnects: u64,
    /// What happened since the last line of progress.
    recent: Recent,
}

/// One operation in the time that is measured.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Sent. Each ends as an answer, an error, or neither when the run is given up.
    pub(crate) sent: u64,
    /// Latencies of those that succeeded, in µs.
    pub(crate) latencies: Latencies,
    /// Those that failed, by kind.
    pub(crate) errors: BTreeMap<String, u64>,
}

/// What a line of progress shows.
#[derive(Debug)]
pub(crate) struct Recent {
    /// Latencies in µs.
    pub(crate) latencies: Latencies,
    /// Failures.
    pub(crate) errors: u64,
}

/// Microseconds, with three digits that count. It is made when the first one comes: most operations are not in most
/// mixes.
#[derive(Default, Debug)]
pub(crate) struct Latencies(Option<Histogram<u64>>);

/// The longest latency that is told apart: an hour. Longer ones count as that.
const LATENCY_MAX_US: u64 = 3_600_000_000;

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            figures: Operation::ALL.iter().map(|_| Figures::new()).collect(),
            sessions_replaced: 0,
            reconnects: 0,
            recent: Recent::new(),
        }
    }

    /// The figures of one operation.
    pub(crate) fn of(&self, operation: Operation) -> &Figures {
        self.figures.get(operation.index()).expect("INVARIANT: there are figures for each operation")
    }

    fn of_mut(&mut self, operation: Operation) -> &mut Figures {
        self.figures.get_mut(operation.index()).expect("INVARIANT: there are figures for each operation")
    }

    /// An operation was sent.
    pub(crate) fn sent(&mut self, operation: Operation) {
        self.of_mut(operation).sent += 1;
    }

    /// An operation succeeded. Without `is_measured` only the progress shows it.
    pub(crate) fn succeeded(&mut self, operation: Operation, intended: Instant, answered: Instant, is_measured: bool) {
        let latency = u64::try_from(between(intended, answered).as_micros()).unwrap_or(u64::MAX);
        self.recent.latencies.record(latency);
        if is_measured {
            self.of_mut(operation).latencies.record(latency);
        }
    }

    /// An operation failed.
    pub(crate) fn failed(&mut self, operation: Operation, error: &Error, is_measured: bool) {
        self.recent.errors += 1;
        if is_measured {
            *self.of_mut(operation).errors.entry(kind(error)).or_default() += 1;
        }
    }

    /// What happened since this was last asked; `spare` takes its place.
    pub(crate) fn swap_recent(&mut self, spare: &mut Recent) {
        std::mem::swap(&mut self.recent, spare);
    }

    /// Adds the figures of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.figures.iter_mut().zip(&other.figures) {
            mine.sent += theirs.sent;
            mine.latencies.add(&theirs.latencies);
            for (kind, count) in &theirs.errors {
                *mine.errors.entry(kind.clone()).or_default() += count;
            }
        }
        self.sessions_replaced += other.sessions_replaced;
        self.reconnects += other.reconnects;
    }

    /// Counts what was sent and has neither succeeded nor failed as an error of its own kind.
    pub(crate) fn give_up(&mut self) {
        for figures in &mut self.figures {
            let settled = figures.succeeded() + figures.failed();
            assert!(settled <= figures.sent, "{settled} ended of {} that were sent", figures.sent);
            let unanswered = figures.sent - settled;
            if unanswered > 0 {
                figures.errors.insert(UNANSWERED.to_owned(), unanswered);
            }
        }
    }

    /// All operations together.
    pub(crate) fn total(&self) -> Figures {
        let mut total = Figures::new();
        for figures in &self.figures {
            total.sent += figures.sent;
            total.latencies.add(&figures.latencies);
            for (kind, count) in &figures.errors {
                *total.errors.entry(kind.clone()).or_default() += count;
            }
        }
        total
    }
}

impl Figures {
    fn new() -> Self {
        Self { sent: 0, latencies: Latencies::default(), errors: BTreeMap::new() }
    }

    /// How many succeeded.
    pub(crate) fn succeeded(&self) -> u64 {
        self.latencies.count()
    }

    /// How many failed.
    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { latencies: Latencies::default(), errors: 0 }
    }

    /// Adds what happened in another thread, and empties that.
    pub(crate) fn take(&mut self, other: &mut Self) {
        self.latencies.add(&other.latencies);
        self.errors += other.errors;
        other.clear();
    }

    pub(crate) fn clear(&mut self) {
        if let Some(histogram) = &mut self.latencies.0 {
            histogram.reset();
        }
        self.errors = 0;
    }
}

impl Latencies {
    fn record(&mut self, latency_us: u64) {
        self.0.get_or_insert_with(histogram).saturating_record(latency_us.max(1));
    }

    fn add(&mut self, other: &Self) {
        let Some(other) = &other.0 else { return };
        let sum = self.0.get_or_insert_with(histogram);
        sum.add(other).expect("INVARIANT: all histograms have the same bounds");
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// What this share of them does not exceed, in µs; `None` if there are none.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<u64> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(histogram.value_at_quantile(quantile).min(histogram.max()))
    }

    /// The longest, in µs; `None` if there are none.
    pub(crate) fn max(&self) -> Option<u64> {
        self.quantile(1.0)
    }

    /// Their mean in µs; `None` if there are none.
    pub(crate) fn mean(&self) -> Option<f64> {
        self.0.as_ref().filter(|histogram| !histogram.is_empty()).map(Histogram::mean)
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("INVARIANT: the bounds are in order, the digits at most 5")
}

/// Sent, and nothing was heard of it until the end of the run.
const UNANSWERED: &str = "Unanswered";

/// The name under which an error is counted: ZooKeeper's for those of a server.
fn kind(error: &Error) -> String {
    let name = match error {
        Error::Server { code, .. } | Error::Multi { code, .. } => return format!("{code:?}"),
        Error::UnknownCode { code, .. } => return format!("UnknownCode{code}"),
        Error::ConnectionLost => "ConnectionLost",
        Error::OutcomeUnknown => "OutcomeUnknown",
        Error::SessionExpired => "SessionExpired",
        Error::AuthFailed => "AuthFailed",
        Error::Closed => "Closed",
        Error::TooManyRequests => "TooManyRequests",
        Error::BadArgument { .. } => "BadArgument",
        Error::BadServers { .. } => "BadServers",
        Error::NotConnected { .. } => "NotConnected",
        Error::BadAnswer(_) => "BadAnswer",
        _ => "Other",
    };
    name.to_owned()
}

/// What the kinds mean that are not ZooKeeper's, for those who read a report.
pub(crate) fn meaning(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "ConnectionLost" => "no server could be reached; not carried out",
        "OutcomeUnknown" => "sent, and the connection ended before the answer",
        "SessionExpired" => "the session had expired; it was replaced",
        "BadAnswer" => "an answer that the protocol does not allow",
        UNANSWERED => "sent, and not answered when the run was given up",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_us(us: u64) -> Instant {
        Instant(us * 1_000)
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut tally = Tally::new();
        for us in 1..=1_000 {
            tally.sent(Operation::Read);
            tally.succeeded(Operation::Read, at_us(10), at_us(10 + us), true);
        }
        let latencies = &tally.of(Operation::Read).latencies;
        let quantiles = [0.5, 0.9, 0.99, 0.999].map(|quantile| latencies.quantile(quantile).unwrap());
        assert_eq!(quantiles, [500, 900, 990, 999], "percentiles");
        assert_eq!((latencies.max(), latencies.count()), (Some(1_000), 1_000), "extremes");
        assert_eq!(tally.of(Operation::Write).latencies.quantile(0.5), None, "nothing was recorded there");
    }

    #[test]
    fn what_is_not_measured_is_progress_only() {
        let mut tally = Tally::new();
        tally.succeeded(Operation::Read, at_us(0), at_us(5), false);
        tally.failed(Operation::Read, &Error::ConnectionLost, false);
        let mut recent = Recent::new();
        tally.swap_recent(&mut recent);
        assert_eq!((recent.latencies.count(), recent.errors), (1, 1), "progress");
        assert_eq!((tally.total().succeeded(), tally.total().failed()), (0, 0), "not measured");
    }

    #[test]
    fn threads_add_up_and_what_never_ended_is_an_error() {
        let (mut all, mut other) = (Tally::new(), Tally::new());
        for _ in 0..3 {
            other.sent(Operation::Write);
        }
        other.succeeded(Operation::Write, at_us(0), at_us(7), true);
        other.failed(Operation::Write, &Error::OutcomeUnknown, true);
        all.add(&other);
        all.add(&other);
        all.give_up();
        let errors: Vec<_> = all.of(Operation::Write).errors.iter().map(|(kind, count)| (&**kind, *count)).collect();
        assert_eq!(errors, [("OutcomeUnknown", 2), ("Unanswered", 2)], "errors");
        assert_eq!(all.total().sent, 6, "sent");
    }
}
