//! What a run has shown, as a table for people and as JSON for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::arguments::Settings;
use super::mix::Operation;
use super::servers::Server;
use super::tally::{Figures, Latencies, Tally, meaning};

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) servers: &'a [Server],
    pub(crate) tally: &'a Tally,
    /// The time that was measured: shorter than asked for if the run was ended early.
    pub(crate) measured: Duration,
    /// CPU time of this program in that time.
    pub(crate) client_cpu: Duration,
    /// Operations that were due and were never sent, because answers did not come in time. `None` without a rate.
    pub(crate) never_sent: Option<u64>,
    /// Whether the run was ended early.
    pub(crate) is_interrupted: bool,
}

/// Quantiles of the report, with their names in the table and in JSON.
const QUANTILES: [(f64, &str, &str); 4] =
    [(0.5, "p50", "p50_us"), (0.9, "p90", "p90_us"), (0.99, "p99", "p99_us"), (0.999, "p99.9", "p99_9_us")];
/// A client thread that is busier than this share of the time is what limits the run.
const CPU_SHARE_MAX: f64 = 0.9;

impl Report<'_> {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = self.heading();
        text += &self.table();
        text += &self.errors();
        text += &self.remarks();
        text
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let named = |(operation, figures): (&str, &Figures)| (operation.to_owned(), self.figures_json(figures));
        let operations: serde_json::Map<String, Value> = self.operations().map(named).collect();
        json!({
            "settings": settings_json(self.settings),
            "servers": self.servers.iter().map(|server| json!({
                "address": server.address,
                "zookeeper_version": server.zookeeper_version,
                "mode": server.mode,
            })).collect::<Vec<_>>(),
            "measured_s": self.measured.as_secs_f64(),
            "interrupted": self.is_interrupted,
            "operations": operations,
            "total": self.figures_json(&self.tally.total()),
            "never_sent": self.never_sent,
            "reconnects": self.tally.reconnects,
            "sessions_replaced": self.tally.sessions_replaced,
            "client_cpu_s": self.client_cpu.as_secs_f64(),
            "client_version": env!("CARGO_PKG_VERSION"),
        })
    }

    /// Those that were sent at all.
    fn operations(&self) -> impl Iterator<Item = (&'static str, &Figures)> {
        let figures = Operation::ALL.into_iter().map(|operation| (operation.name(), self.tally.of(operation)));
        figures.filter(|(_, figures)| figures.sent > 0)
    }

    fn rate(&self, figures: &Figures) -> f64 {
        figures.succeeded() as f64 / self.measured.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn heading(&self) -> String {
        let settings = self.settings;
        let mut text = String::new();
        for server in self.servers {
            let version = server.zookeeper_version.as_deref().unwrap_or("does not tell its version");
            let mode = server.mode.as_ref().map(|mode| format!(", {mode}")).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "server    {}, {version}{mode}", server.address);
        }
        let rate = settings.rate.map_or_else(
            || "as fast as answers come".to_owned(),
            |rate| format!("{} ops/s on schedule", count(f64::from(rate.get()))),
        );
        let _ = writeln!(
            text,
            "load      {}, {rate}\n          {} on {}, at most {} under way on each connection\n          {} of {} bytes",
            settings.mix,
            some(settings.connections, "connection"),
            some(settings.threads, "thread"),
            settings.depth,
            some(settings.nodes, "node"),
            settings.data_size,
        );
        let early = if self.is_interrupted { ", ended early" } else { "" };
        let (measured, warm_up) = (self.measured.as_secs_f64(), settings.warm_up.as_secs_f64());
        let _ = writeln!(text, "measured  {measured:.1} s after {warm_up:.1} s of warm-up{early}\n");
        text
    }

    fn table(&self) -> String {
        let mut heads = vec!["operation", "count", "ops/s"];
        heads.extend(QUANTILES.map(|(_, name, _)| name));
        heads.extend(["max", "errors"]);
        let mut rows = vec![heads.into_iter().map(str::to_owned).collect()];
        rows.extend(self.operations().map(|(name, figures)| self.row(name, figures)));
        if rows.len() > 2 {
            rows.push(self.row("all", &self.tally.total()));
        }
        aligned(&rows)
    }

    fn row(&self, name: &str, figures: &Figures) -> Vec<String> {
        let shown = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), latency);
        let mut row = vec![name.to_owned(), count(figures.succeeded() as f64), count(self.rate(figures))];
        row.extend(QUANTILES.map(|(quantile, _, _)| shown(figures.latencies.quantile(quantile))));
        row.extend([shown(figures.latencies.max()), count(figures.failed() as f64)]);
        row
    }

    fn errors(&self) -> String {
        let mut rows = Vec::new();
        for (name, figures) in self.operations() {
            for (kind, errors) in &figures.errors {
                let meaning = meaning(kind).map(|meaning| format!("  ({meaning})")).unwrap_or_default();
                rows.push(format!("  {name}: {} {kind}{meaning}\n", count(*errors as f64)));
            }
        }
        if rows.is_empty() { String::new() } else { format!("\nerrors\n{}", rows.concat()) }
    }

    fn remarks(&self) -> String {
        let mut text = String::from("\n");
        let (cpu, measured) = (self.client_cpu.as_secs_f64(), self.measured.as_secs_f64().max(f64::MIN_POSITIVE));
        let _ = writeln!(text, "client    {:.2} processors in use on average", cpu / measured);
        if self.tally.reconnects > 0 || self.tally.sessions_replaced > 0 {
            let (reconnects, replaced) = (self.tally.reconnects, self.tally.sessions_replaced);
            let _ = writeln!(text, "cuts      {reconnects} reconnects, {replaced} expired sessions replaced");
        }
        if let Some(never_sent @ 1..) = self.never_sent {
            let _ = writeln!(
                text,
                "behind    {} operations were due and never sent: the rate was not kept",
                count(never_sent as f64)
            );
        }
        if cpu / measured > CPU_SHARE_MAX * self.settings.threads as f64 {
            text += "note      this program was as busy as its threads can be: more --threads, or more machines,\n          \
                     may show more\n";
        }
        text
    }

    fn figures_json(&self, figures: &Figures) -> Value {
        let mut value = json!({
            "count": figures.succeeded(),
            "ops_per_s": self.rate(figures),
            "latency": latencies_json(&figures.latencies),
            "errors": figures.failed(),
            "errors_by_kind": figures.errors,
        });
        value["sent"] = figures.sent.into();
        value
    }
}

fn latencies_json(latencies: &Latencies) -> Value {
    let quantiles =
        QUANTILES.iter().map(|(quantile, _, name)| ((*name).to_owned(), latencies.quantile(*quantile).into()));
    let mut value: serde_json::Map<String, Value> = quantiles.collect();
    value.insert("max_us".to_owned(), latencies.max().into());
    value.insert("mean_us".to_owned(), latencies.mean().into());
    value.into()
}

/// All that was asked for but secrets.
fn settings_json(settings: &Settings) -> Value {
    json!({
        "servers": settings.servers,
        "connections": settings.connections,
        "depth": settings.depth,
        "rate": settings.rate,
        "duration_s": settings.duration.as_secs_f64(),
        "warm_up_s": settings.warm_up.as_secs_f64(),
        "mix": settings.mix.to_string(),
        "nodes": settings.nodes,
        "data_size_min": settings.data_size.min(),
        "data_size_max": settings.data_size.max(),
        "session_timeout_s": settings.session_timeout.as_secs_f64(),
        "auth_schemes": settings.auth.iter().map(|(scheme, _)| scheme).collect::<Vec<_>>(),
        "threads": settings.threads,
    })
}

/// Columns as wide as they need to be; the first to the left, figures to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if column == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
        }
        text.push('\n');
    }
    text
}

/// A latency in µs, with three digits that count.
pub(crate) fn latency(us: u64) -> String {
    if us < 1_000 {
        return format!("{us}µs");
    }
    let (value, unit) = if us < 999_500 { (us as f64 / 1e3, "ms") } else { (us as f64 / 1e6, "s") };
    // What would be rounded up to a further digit has one less behind the point.
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}{unit}")
}

/// So many of something.
fn some(number: usize, what: &str) -> String {
    format!("{} {what}{}", count(number as f64), if number == 1 { "" } else { "s" })
}

/// A whole number with commas.
pub(crate) fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::arguments::BenchArguments;
    use super::*;
    use clap::Parser;
    use gk_client::Error;
    use gk_proto::Instant;

    #[derive(Parser)]
    struct Bench {
        #[command(flatten)]
        arguments: BenchArguments,
    }

    fn settings(words: &[&str]) -> Settings {
        let parsed = Bench::try_parse_from(["bench", "--threads", "1"].iter().chain(words)).unwrap();
        Settings::new(&parsed.arguments).unwrap()
    }

    /// 10,000 reads of 100 µs to 1.1 s, a write, and a write that failed.
    fn tally() -> Tally {
        let mut tally = Tally::new();
        for us in 0..10_000 {
            tally.sent(Operation::Read);
            tally.succeeded(Operation::Read, Instant(0), Instant(100_000 + us * 110_000), true);
        }
        for _ in 0..2 {
            tally.sent(Operation::Write);
        }
        tally.succeeded(Operation::Write, Instant(0), Instant(20_000_000), true);
        tally.failed(Operation::Write, &Error::OutcomeUnknown, true);
        tally
    }

    fn report<'a>(settings: &'a Settings, servers: &'a [Server], tally: &'a Tally) -> Report<'a> {
        Report {
            settings,
            servers,
            tally,
            measured: Duration::from_secs(4),
            client_cpu: Duration::from_millis(3_800),
            never_sent: Some(1_234),
            is_interrupted: false,
        }
    }

    #[test]
    fn latencies_have_three_digits_that_count() {
        let shown = [0, 1, 999, 1_000, 1_234, 9_994, 9_996, 12_345, 99_960, 123_456, 999_499, 999_500, 12_345_678]
            .map(latency)
            .join(" ");
        assert_eq!(shown, "0µs 1µs 999µs 1.00ms 1.23ms 9.99ms 10.0ms 12.3ms 100ms 123ms 999ms 1.00s 12.3s");
    }

    #[test]
    fn counts_have_commas() {
        assert_eq!([0.0, 12.4, 999.0, 1_000.0, 1_234_567.0].map(count), ["0", "12", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn the_text_is_a_heading_a_table_errors_and_remarks() {
        let (settings, tally) = (settings(&["--rate", "5000"]), tally());
        let servers = [
            Server { address: "a:1".into(), zookeeper_version: Some("3.9.5".into()), mode: Some("leader".into()) },
            Server { address: "b:2".into(), zookeeper_version: None, mode: None },
        ];
        let expected = "\
server    a:1, 3.9.5, leader
server    b:2, does not tell its version
load      read=90,write=10, 5,000 ops/s on schedule
          16 connections on 1 thread, at most 100 under way on each connection
          1,000 nodes of 100 bytes
measured  4.0 s after 2.0 s of warm-up

operation   count  ops/s     p50     p90     p99   p99.9     max  errors
read       10,000  2,500   550ms   990ms   1.09s   1.10s   1.10s       0
write           1      0  20.0ms  20.0ms  20.0ms  20.0ms  20.0ms       1
all        10,001  2,500   550ms   990ms   1.09s   1.10s   1.10s       1

errors
  write: 1 OutcomeUnknown  (sent, and the connection ended before the answer)

client    0.95 processors in use on average
behind    1,234 operations were due and never sent: the rate was not kept
note      this program was as busy as its threads can be: more --threads, or more machines,
          may show more
";
        let text = report(&settings, &servers, &tally).text();
        assert_eq!(text, expected, "{text}");
    }

    #[test]
    fn the_json_has_the_same_and_no_secret() {
        let (settings, tally) = (settings(&["--auth", "digest:user:canary"]), tally());
        let json = report(&settings, &[], &tally).json();
        let write = &json["operations"]["write"];
        assert_eq!((&write["sent"], &write["count"], &write["errors"]), (&json!(2), &json!(1), &json!(1)), "{json}");
        assert_eq!(write["errors_by_kind"], json!({ "OutcomeUnknown": 1 }), "{json}");
        assert_eq!(json["total"]["ops_per_s"], json!(2_500.25), "{json}");
        assert_eq!(json["total"]["latency"]["p99_9_us"].as_u64().map(|us| us / 10_000), Some(109), "{json}");
        assert_eq!(json["operations"].as_object().map(serde_json::Map::len), Some(2), "only what was sent: {json}");
        assert_eq!(json["settings"]["auth_schemes"], json!(["digest"]), "{json}");
        assert!(!json.to_string().contains("canary"), "{json}");
    }
}
