//! The line that shows how a run is going.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use gk_proto::Instant;
use parking_lot::Mutex;

use super::arguments::When;
use super::clock::between;
use super::load::Load;
use super::report::{count, latency};
use super::tally::{Recent, Tally};

/// Shows progress on stderr, or does not.
#[derive(Debug)]
pub(crate) struct Progress {
    style: Style,
    /// Taken from each thread in turn, so that none waits for more than a swap.
    spare: Recent,
    shown_at: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Style {
    Nothing,
    /// One line that is written over.
    InPlace,
    /// One line after the other, for files.
    Lines,
}

/// Between two lines.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);

impl Progress {
    pub(crate) fn new(when: When) -> Self {
        let style = match (when, std::io::stderr().is_terminal()) {
            (When::Never, _) | (When::Auto, false) => Style::Nothing,
            (When::Auto | When::Always, true) => Style::InPlace,
            (When::Always, false) => Style::Lines,
        };
        Self { style, spare: Recent::new(), shown_at: None }
    }

    /// Says what is being done before there is anything to measure.
    pub(crate) fn say(&self, what: &str) {
        self.write(what);
    }

    /// Shows what happened since the last time.
    pub(crate) fn show<'a>(&mut self, load: &Load, now: Instant, tallies: impl Iterator<Item = &'a Arc<Mutex<Tally>>>) {
        if self.style == Style::Nothing {
            return;
        }
        let mut all = Recent::new();
        for tally in tallies {
            tally.lock().swap_recent(&mut self.spare);
            all.take(&mut self.spare);
        }
        let since = self.shown_at.replace(now).unwrap_or(load.window.begin());
        let line = line(&all, between(since, now), between(now, load.window.end()), now < load.window.measured_from());
        self.write(&line);
    }

    /// Clears the line.
    pub(crate) fn end(&self) {
        if self.style == Style::InPlace {
            let _ = std::io::stderr().write_all(b"\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        let text = match self.style {
            Style::Nothing => return,
            Style::InPlace => format!("\r\x1b[K{text}"),
            Style::Lines => format!("{text}\n"),
        };
        // Nobody may be reading any more; the run goes on.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

fn line(recent: &Recent, span: Duration, left: Duration, is_warm_up: bool) -> String {
    let done = recent.latencies.count();
    let rate = done as f64 / span.as_secs_f64().max(0.001);
    let p99 = recent.latencies.quantile(0.99).map_or_else(|| "-".to_owned(), latency);
    let phase = if is_warm_up { ", warming up" } else { "" };
    format!(
        "{} ops/s, p99 {p99}, {} errors, {:.0} s left{phase}",
        count(rate),
        recent.errors,
        left.as_secs_f64().ceil()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use gk_client::Error;

    #[test]
    fn the_line_has_rate_percentile_errors_and_time_left() {
        let mut tally = Tally::new();
        for _ in 0..2_000 {
            tally.succeeded(super::super::mix::Operation::Read, Instant(0), Instant(250_000), false);
        }
        tally.failed(super::super::mix::Operation::Read, &Error::ConnectionLost, false);
        let mut recent = Recent::new();
        tally.swap_recent(&mut recent);
        let shown = line(&recent, Duration::from_secs(2), Duration::from_millis(8_200), true);
        assert_eq!(shown, "1,000 ops/s, p99 250µs, 1 errors, 9 s left, warming up");
        let quiet = line(&Recent::new(), Duration::from_secs(1), Duration::ZERO, false);
        assert_eq!(quiet, "0 ops/s, p99 -, 0 errors, 0 s left");
    }
}
