//! `mntr`: every figure on a line of its own, `zk_<name><TAB><value>`.
//!
//! Names and kinds are those of ZooKeeper's `ServerMetrics`; only what the server really measures is listed. Consumers
//! look for names, not places, so gauges come first and the rest follows as it is given.

use super::server::ServerReport;
use super::{VERSION, java};
use gk_proto::Millis;
use std::fmt::{Display, Write};

/// The figures that every server has, and whatever else it measures.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorReport<'a> {
    /// As `srvr` shows them.
    pub server: &'a ServerReport,
    /// Time since the server began to serve.
    pub uptime: Millis,
    /// Watches of both kinds of table, data and children.
    pub watch_count: u64,
    /// Ephemeral znodes.
    pub ephemerals_count: u64,
    /// Bytes of paths and data.
    pub approximate_data_size: u64,
    /// Sessions known to the ensemble.
    pub global_sessions: u64,
    /// Sessions known to this server only.
    pub local_sessions: u64,
    /// File descriptors in use; `None` where the system does not tell.
    pub open_file_descriptors: Option<u64>,
    /// File descriptors allowed.
    pub max_file_descriptors: Option<u64>,
    /// Counters and summaries, by ZooKeeper's names.
    pub samples: &'a [Sample],
}

/// One figure, named as in ZooKeeper's metrics without `zk_`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Such as `fsynctime`.
    pub name: &'static str,
    /// For figures kept per key (top-level path, server): it is put before the name.
    pub key: Option<String>,
    /// The figure.
    pub value: Value,
}

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A counter or a gauge.
    Whole(i64),
    /// A gauge with a fraction.
    Decimal(f64),
    /// `avg`, `min`, `max`, `cnt`, `sum`.
    Summary(Summary),
    /// The same and percentiles.
    Distribution(Distribution),
}

/// A series in brief.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The smallest; 0 before the first.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

/// A series in brief, with its percentiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// In brief.
    pub summary: Summary,
    /// 50th, 95th, 99th and 99.9th percentile.
    pub percentiles: [u64; 4],
}

/// `mntr`.
pub fn mntr(report: &MonitorReport<'_>) -> String {
    let mut lines = Lines(String::new());
    let server = report.server;
    lines.add("version", VERSION);
    lines.add("server_state", server.mode);
    lines.add("ephemerals_count", report.ephemerals_count);
    lines.add("num_alive_connections", server.connections);
    lines.add("avg_latency", java::double(server.latency.average()));
    lines.add("min_latency", server.latency.min);
    lines.add("max_latency", server.latency.max);
    lines.add("outstanding_requests", server.outstanding);
    lines.add("packets_received", server.packets_received);
    lines.add("packets_sent", server.packets_sent);
    lines.add("znode_count", server.node_count);
    lines.add("watch_count", report.watch_count);
    lines.add("approximate_data_size", report.approximate_data_size);
    lines.add("global_sessions", report.global_sessions);
    lines.add("local_sessions", report.local_sessions);
    lines.add("uptime", report.uptime.0);
    for (name, value) in [
        ("open_file_descriptor_count", report.open_file_descriptors),
        ("max_file_descriptor_count", report.max_file_descriptors),
    ] {
        if let Some(value) = value {
            lines.add(name, value);
        }
    }
    for sample in report.samples {
        lines.add_sample(sample);
    }
    lines.0
}

struct Lines(String);

impl Lines {
    fn add(&mut self, name: impl Display, value: impl Display) {
        writeln!(self.0, "zk_{name}\t{value}").expect("INVARIANT: writing to a String does not fail");
    }

    fn add_sample(&mut self, Sample { name, key, value }: &Sample) {
        let name = key.as_ref().map_or_else(|| (*name).to_owned(), |key| format!("{key}_{name}"));
        match value {
            Value::Whole(value) => self.add(name, value),
            Value::Decimal(value) => self.add(name, java::double(*value)),
            Value::Summary(summary) => self.add_summary(&name, summary),
            Value::Distribution(Distribution { summary, percentiles }) => {
                self.add_summary(&name, summary);
                for (percentile, value) in ["p50", "p95", "p99", "p999"].into_iter().zip(percentiles) {
                    self.add(format_args!("{percentile}_{name}"), value);
                }
            }
        }
    }

    fn add_summary(&mut self, name: &str, summary: &Summary) {
        let Summary { count, sum, min, max } = summary;
        self.add(format_args!("avg_{name}"), java::double(java::average(*sum, *count)));
        for (kind, value) in [("min", min), ("max", max), ("cnt", count), ("sum", sum)] {
            self.add(format_args!("{kind}_{name}"), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::{Latency, Mode};
    use super::*;
    use gk_proto::Zxid;

    #[test]
    fn mntr_prints_names_and_shapes_of_zookeeper() {
        let server = ServerReport {
            latency: Latency { min: 0, max: 7, total: 28, count: 15 },
            packets_received: 23,
            packets_sent: 22,
            connections: 3,
            outstanding: 1,
            zxid: Zxid(6),
            mode: Mode::Standalone,
            node_count: 9,
            proposal_sizes: None,
        };
        let summary = Summary { count: 306, sum: 188, min: 0, max: 7 };
        let sample = |name, key, value| Sample { name, key, value };
        let samples = [
            sample("bytes_received_count", None, Value::Whole(575)),
            sample("connection_drop_probability", None, Value::Decimal(0.0)),
            sample("fsynctime", None, Value::Summary(summary)),
            sample("updatelatency", None, Value::Distribution(Distribution { summary, percentiles: [1, 2, 4, 7] })),
            sample("quota_count_limit_per_namespace", Some("app".into()), Value::Whole(5)),
        ];
        let report = MonitorReport {
            server: &server,
            uptime: Millis(25_402),
            watch_count: 8,
            ephemerals_count: 3,
            approximate_data_size: 73,
            global_sessions: 2,
            local_sessions: 0,
            open_file_descriptors: Some(65),
            max_file_descriptors: None,
            samples: &samples,
        };
        let expected = "zk_version\t3.9.5-293c895a8d966a3ecb92872be4a1daf87d725da2, built on 2026-02-11 20:18 UTC\n\
            zk_server_state\tstandalone\nzk_ephemerals_count\t3\nzk_num_alive_connections\t3\nzk_avg_latency\t1.8667\n\
            zk_min_latency\t0\nzk_max_latency\t7\nzk_outstanding_requests\t1\nzk_packets_received\t23\n\
            zk_packets_sent\t22\nzk_znode_count\t9\nzk_watch_count\t8\nzk_approximate_data_size\t73\n\
            zk_global_sessions\t2\nzk_local_sessions\t0\nzk_uptime\t25402\nzk_open_file_descriptor_count\t65\n\
            zk_bytes_received_count\t575\nzk_connection_drop_probability\t0.0\nzk_avg_fsynctime\t0.6144\n\
            zk_min_fsynctime\t0\nzk_max_fsynctime\t7\nzk_cnt_fsynctime\t306\nzk_sum_fsynctime\t188\n\
            zk_avg_updatelatency\t0.6144\nzk_min_updatelatency\t0\nzk_max_updatelatency\t7\n\
            zk_cnt_updatelatency\t306\nzk_sum_updatelatency\t188\nzk_p50_updatelatency\t1\nzk_p95_updatelatency\t2\n\
            zk_p99_updatelatency\t4\nzk_p999_updatelatency\t7\nzk_app_quota_count_limit_per_namespace\t5\n";
        assert_eq!(mntr(&report), expected, "as Apache 3.9.5 names and prints them");
    }
}
