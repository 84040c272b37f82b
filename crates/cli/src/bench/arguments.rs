//! The command line of `bench`, and what it comes to.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use gk_client::ConnectString;

use super::mix::Mix;

/// What a load generator is told.
#[derive(Args, Debug)]
pub(crate) struct BenchArguments {
    /// Where the servers are, and the path below which all this happens
    ///
    /// Connections are spread over them at random, as those of any client.
    #[arg(long, value_name = "HOST:PORT,..[/CHROOT]", default_value = "127.0.0.1:2181")]
    pub(crate) servers: String,

    /// Connections, each with a session of its own
    ///
    /// Servers take 60 from one address unless their maxClientCnxns says otherwise.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) connections: usize,

    /// Operations that each connection has under way at most
    ///
    /// 1 unless given, as a program that waits for every answer; with --rate 100.
    #[arg(long, value_name = "N")]
    pub(crate) depth: Option<usize>,

    /// Operations a second, sent on schedule whatever the servers do
    ///
    /// Latency is then measured from the moment an operation was due, so that a stall shows in full. Without it every
    /// connection sends the next operation as soon as an answer comes, and the servers are as busy as they can be.
    #[arg(long, value_name = "OPS/S")]
    pub(crate) rate: Option<NonZeroU32>,

    /// How long to measure, such as 500ms, 30s or 2m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,

    /// How long to run before that
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) warm_up: Duration,

    /// What to do: operations with weights, or a preset
    ///
    /// Operations: read, write, exists, children (of the node that holds all nodes), create-delete, ephemeral (created
    /// and deleted), watch (set, written to and fired), sync. Presets: mixed (read=90,write=10), reads, writes.
    #[arg(long, value_name = "NAME=WEIGHT,..", default_value = "mixed")]
    pub(crate) mix: Mix,

    /// Nodes to work on, chosen at random for each operation
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) nodes: usize,

    /// Data of a node: a number of bytes, or a range such as 100-2000
    #[arg(long, value_name = "BYTES", default_value = "100")]
    pub(crate) data_size: DataSize,

    /// Session timeout to ask for
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) session_timeout: Duration,

    /// Authenticate every session, as digest:user:password, or @FILE to read that from a file
    ///
    /// The nodes are then made for this identity alone, so that every operation has its ACL checked.
    #[arg(long, value_name = "SCHEME:TEXT | @FILE")]
    pub(crate) auth: Vec<String>,

    /// The node below which everything is made; it must not exist yet [default: /gamekeeper-bench-RANDOM]
    #[arg(long, value_name = "PATH")]
    pub(crate) root: Option<String>,

    /// Threads [default: one for each processor, at most 8]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// How to report
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,

    /// Whether to show a line of progress on stderr; auto is at a terminal only
    #[arg(long, value_enum, default_value_t = When::Auto)]
    pub(crate) progress: When,

    /// Remove what runs that were killed have left behind, and do nothing else
    ///
    /// That is every node /gamekeeper-bench-RANDOM, or the one named with --root, that such a run has made and that
    /// none is using.
    #[arg(long)]
    pub(crate) clean: bool,
}

/// How to report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Output {
    /// A table
    Text,
    /// One JSON object
    Json,
}

/// Whether to do something that suits a terminal only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

/// Bytes of data that a node gets: from the smallest to the largest, all equally likely.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DataSize(RangeInclusive<usize>);

impl DataSize {
    /// The smallest.
    pub(crate) fn min(&self) -> usize {
        *self.0.start()
    }

    /// The largest.
    pub(crate) fn max(&self) -> usize {
        *self.0.end()
    }
}

impl FromStr for DataSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        match (min.trim().parse(), max.trim().parse()) {
            (Ok(min), Ok(max)) if min <= max && max <= DATA_MAX => Ok(Self(min..=max)),
            (Ok(min), Ok(max)) if min <= max => {
                Err(format!("servers take about {DATA_MAX} bytes in one request (their jute.maxbuffer)"))
            }
            (Ok(_), Ok(_)) => Err("the range ends before it begins".to_owned()),
            _ => Err("neither a number of bytes nor a range such as 100-2000".to_owned()),
        }
    }
}

impl fmt::Display for DataSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min() == self.max() { write!(f, "{}", self.min()) } else { write!(f, "{}-{}", self.min(), self.max()) }
    }
}

/// What a run is to be: every part of it makes sense, and with the others.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) servers: String,
    /// One connect string for each server alone, without chroot.
    pub(crate) each_server: Vec<String>,
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    pub(crate) rate: Option<NonZeroU32>,
    pub(crate) duration: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) mix: Mix,
    pub(crate) nodes: usize,
    pub(crate) data_size: DataSize,
    pub(crate) session_timeout: Duration,
    /// Scheme and what it needs: secrets.
    pub(crate) auth: Vec<(String, String)>,
    pub(crate) root: Option<String>,
    pub(crate) threads: usize,
}

impl Settings {
    /// What the arguments come to, or what is wrong with them.
    pub(crate) fn new(arguments: &BenchArguments) -> Result<Self, String> {
        let servers: ConnectString =
            arguments.servers.parse().map_err(|error: gk_client::Error| format!("--servers: {error}"))?;
        within("--connections", arguments.connections, 1..=CONNECTIONS_MAX)?;
        within("--nodes", arguments.nodes, 1..=NODES_MAX)?;
        let depth = arguments.depth.unwrap_or(if arguments.rate.is_some() { RATE_DEPTH } else { 1 });
        within("--depth", depth, 1..=DEPTH_MAX)?;
        within("--duration", arguments.duration.as_millis(), 100..=DAY_MS).map_err(|wrong| wrong + " ms")?;
        within("--warm-up", arguments.warm_up.as_millis(), 0..=DAY_MS).map_err(|wrong| wrong + " ms")?;
        let timeout_ms = arguments.session_timeout.as_millis();
        within("--session-timeout", timeout_ms, 100..=DAY_MS).map_err(|wrong| wrong + " ms")?;
        let data_bytes = arguments.nodes.saturating_mul(arguments.data_size.max());
        if data_bytes > DATA_TOTAL_MAX {
            return Err(format!(
                "--nodes times --data-size is {data_bytes} bytes, which every server would hold in memory; \
                 {DATA_TOTAL_MAX} is the most that is allowed"
            ));
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads =
            arguments.threads.unwrap_or_else(|| processors.min(THREADS_DEFAULT_MAX).min(arguments.connections));
        within("--threads", threads, 1..=THREADS_MAX.min(arguments.connections))
            .map_err(|wrong| wrong + ": a connection has one thread")?;
        let root = arguments.root.as_deref().map(valid_root).transpose()?;
        Ok(Self {
            servers: arguments.servers.clone(),
            each_server: servers.servers().map(ToString::to_string).collect(),
            connections: arguments.connections,
            depth,
            rate: arguments.rate,
            duration: arguments.duration,
            warm_up: arguments.warm_up,
            mix: arguments.mix.clone(),
            nodes: arguments.nodes,
            data_size: arguments.data_size.clone(),
            session_timeout: arguments.session_timeout,
            auth: arguments.auth.iter().map(|text| identity(text)).collect::<Result<_, _>>()?,
            root,
            threads,
        })
    }
}

/// A path that can be ours: not the root of everything, and nothing that servers keep for themselves.
fn valid_root(path: &str) -> Result<String, String> {
    let reserved =
        path.strip_prefix(gk_proto::path::RESERVED).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !gk_proto::path::is_valid(path) || path == "/" || reserved {
        return Err(format!("--root: \"{path}\" is no path that can be made for this run, such as /bench"));
    }
    Ok(path.to_owned())
}

/// Scheme and text of an identity.
fn identity(text: &str) -> Result<(String, String), String> {
    let text = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).map_err(|error| format!("--auth: {file}: {error}"))?,
        None => text.to_owned(),
    };
    // What was given is a secret, and is not shown.
    let (scheme, rest) = text.trim_end().split_once(':').unwrap_or_default();
    if scheme.is_empty() || rest.is_empty() {
        return Err("--auth: not of the form scheme:text, such as digest:user:password".to_owned());
    }
    Ok((scheme.to_owned(), rest.to_owned()))
}

fn within<T: PartialOrd + fmt::Display>(what: &str, value: T, range: RangeInclusive<T>) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(format!("{what} is {value}, which is not from {} to {}", range.start(), range.end()))
}

/// `500ms`, `30s`, `2m`, `1h`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_seconds = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return Err(format!("\"{unit}\" is no unit of time; there are ms, s, m and h")),
    };
    let number: f64 = number.parse().map_err(|_| "not a time such as 500ms, 30s or 2m".to_owned())?;
    Duration::try_from_secs_f64(number * unit_seconds).map_err(|_| "longer than any run".to_owned())
}

/// Data that fits a request of 1,048,575 bytes with its path and ACL.
const DATA_MAX: usize = 1_000_000;
/// Data of all nodes together.
const DATA_TOTAL_MAX: usize = 1 << 30;
/// Listing them is one answer of some 10 MB.
const NODES_MAX: usize = 1_000_000;
/// More than one address has ports for.
const CONNECTIONS_MAX: usize = 60_000;
/// What a client may have waiting is ten times that.
const DEPTH_MAX: usize = 10_000;
/// On schedule: enough that a short pause of a server is not noticed by what is sent.
const RATE_DEPTH: usize = 100;
const THREADS_MAX: usize = 256;
const THREADS_DEFAULT_MAX: usize = 8;
const DAY_MS: u128 = 24 * 3_600 * 1_000;

/// What `--help` says first.
pub(crate) const ABOUT: &str = "Measure what servers can take: throughput, latencies and errors under load.

Works with any ensemble that speaks ZooKeeper's client protocol. Everything happens below a node of its own, which is \
removed at the end, also after Ctrl-C; nothing else is touched. But the load is real: an ensemble that serves others \
will serve them more slowly meanwhile. --rate limits it.";

/// What `--help` says last.
pub(crate) const EXAMPLES: &str = "\
Examples:
  The server on this machine, 90 % reads, for ten seconds
    gamekeeper bench
  How much it can take
    gamekeeper bench --connections 50 --depth 16 --mix reads
  The latency of 2,000 operations a second at an ensemble, gently
    gamekeeper bench --servers zk1:2181,zk2:2181,zk3:2181 --rate 2000 --duration 1m
  For a script
    gamekeeper bench --mix write=1,create-delete=1 --data-size 100-4000 --output json
  Remove what a run that was killed has left behind
    gamekeeper bench --servers zk1:2181 --clean

Environment:
  RUST_LOG       Log lines of the client library on stderr, such as RUST_LOG=warn; none by default

Exit codes:
    1  No server could be reached, not one operation succeeded, or something could not be removed
    2  Wrong command line
  130, 143  Stopped by SIGINT (Ctrl-C), SIGTERM, after the report";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Bench {
        #[command(flatten)]
        arguments: BenchArguments,
    }

    fn settings(words: &[&str]) -> Result<Settings, String> {
        let parsed = Bench::try_parse_from(["bench"].iter().chain(words)).map_err(|error| error.to_string())?;
        Settings::new(&parsed.arguments)
    }

    #[test]
    fn depth_is_one_unless_operations_are_sent_on_schedule() {
        assert_eq!(settings(&[]).unwrap().depth, 1, "one at a time");
        assert_eq!(settings(&["--rate", "1000"]).unwrap().depth, RATE_DEPTH, "on schedule");
        assert_eq!(settings(&["--rate", "1000", "--depth", "7"]).unwrap().depth, 7, "as given");
    }

    #[test]
    fn times_have_units() {
        let read = |text: &str| duration(text).map(|time| time.as_millis());
        assert_eq!(["500ms", "1.5s", "3", "2m", "1h"].map(read), [500, 1_500, 3_000, 120_000, 3_600_000].map(Ok));
        for text in ["", "s", "-1s", "1 fortnight", "1e9s", "99999999999999999999999h"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        for (words, reason) in [
            (&["--servers", "a:0"][..], "--servers: \"a:0\" is no list of servers"),
            (&["--connections", "0"], "--connections is 0, which is not from 1 to 60000"),
            (&["--connections", "2", "--threads", "3"], "--threads is 3, which is not from 1 to 2"),
            (&["--depth", "10001"], "--depth is 10001"),
            (&["--rate", "0"], "--rate"),
            (&["--duration", "10ms"], "--duration is 10, which is not from 100 to 86400000 ms"),
            (&["--duration", "soon"], "\"soon\" is no unit of time"),
            (&["--mix", "red=1"], "no operation is called \"red\""),
            (&["--nodes", "0"], "--nodes is 0"),
            (&["--nodes", "1000000", "--data-size", "2000"], "2000000000 bytes"),
            (&["--data-size", "2000000"], "jute.maxbuffer"),
            (&["--data-size", "9-3"], "ends before it begins"),
            (&["--data-size", "1k"], "neither a number of bytes nor a range"),
            (&["--root", "/"], "--root: \"/\" is no path"),
            (&["--root", "/zookeeper/x"], "--root: \"/zookeeper/x\" is no path"),
            (&["--auth", "secret"], "--auth: not of the form"),
        ] {
            let error = settings(words).unwrap_err();
            assert!(error.contains(reason) && !error.contains("secret"), "{words:?}: {error}");
        }
    }

    #[test]
    fn an_identity_is_scheme_and_text() {
        assert_eq!(identity("digest:u:p").unwrap(), ("digest".to_owned(), "u:p".to_owned()));
    }
}
