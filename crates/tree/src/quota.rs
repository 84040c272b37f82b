//! Quotas: limits that clients set on a subtree, and the usage that every server counts for itself.
//!
//! A quota on `/a` is the text of `/zookeeper/quota/a/zookeeper_limits`; its usage is that of `zookeeper_stats` beside
//! it, which changes with every create, delete and setData at or below `/a` without a txn and without a change of its
//! own stat (`DataTree.updateQuotaStat`, `StatsTrack`).
//!
//! Two things stop an Apache server and not this one: a quota on `/` counts nothing, and a usage that does not parse is
//! left as it is. While nodes of a dead owner are being removed, usage still counts those that remain; a txn on a node
//! below `/zookeeper/quota` waits for none of them to remain.
//!
//! Not done here: refusing what a hard limit forbids, which is decided before a txn is made.

use std::collections::{BTreeMap, BTreeSet};

use gk_proto::path::{self, LIMITS, QUOTA_ROOT, STATS};

use crate::node::NodeId;
use crate::tree::Tree;

/// A path's limits and usage. -1 means no limit, as in the texts of the nodes that hold them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quota {
    /// The path that the quota is on.
    pub path: String,
    /// Limits, soft and hard.
    pub limits: QuotaLimits,
    /// What is there.
    pub usage: QuotaUsage,
}

/// Contents of a `zookeeper_limits` node; -1 is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuotaLimits {
    /// Nodes, the quota's own path among them; going above is only logged.
    pub count: i64,
    /// Bytes of data; going above is only logged.
    pub bytes: i64,
    /// Nodes; going above is refused where quotas are enforced. Replaces `count` in the test.
    pub count_hard: i64,
    /// Bytes of data; going above is refused where quotas are enforced. Replaces `bytes` in the test.
    pub bytes_hard: i64,
}

/// Contents of a `zookeeper_stats` node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QuotaUsage {
    /// Nodes at and below the path.
    pub count: i64,
    /// Sum of their data lengths.
    pub bytes: i64,
}

/// What a path below [`QUOTA_ROOT`] is to quotas.
enum QuotaNode<'a> {
    /// The limits node of this path.
    Limits(&'a str),
    /// The usage node of this path.
    Stats(&'a str),
}

impl<'a> QuotaNode<'a> {
    fn of(node: &'a str) -> Option<Self> {
        // Nearly every path is refused by its length or its last bytes.
        let (limits, rest) = match node.strip_suffix(LIMITS) {
            Some(rest) => (true, rest),
            None => (false, node.strip_suffix(STATS)?),
        };
        let on = rest.strip_suffix('/')?.strip_prefix(QUOTA_ROOT)?;
        // An empty path is the quota on `/`, another character means a sibling of the quota root.
        if !on.starts_with('/') {
            return None;
        }
        Some(if limits { Self::Limits(on) } else { Self::Stats(on) })
    }
}

/// Paths that have a limits node, whether or not they exist themselves.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    paths: BTreeSet<String>,
}

impl Quotas {
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The deepest path with limits at or above `path`.
    fn covering(&self, path: &str) -> Option<&str> {
        if self.is_empty() {
            return None;
        }
        let mut at = path;
        loop {
            if let Some(found) = self.paths.get(at) {
                return Some(found);
            }
            at = path::parent(at)?;
        }
    }
}

impl Tree {
    /// The quota that counts for a path: of its deepest ancestor-or-self that has limits, whether or not the path
    /// exists. `None` also if that quota has no usage that can be read, as there is nothing to compare then.
    pub fn quota(&self, path: &str) -> Option<Quota> {
        let on = self.quotas.covering(path)?;
        let stats = self.find(&quota_node(on, STATS))?;
        let usage = parse(stats.data()?)?;
        let limits = self.find(&quota_node(on, LIMITS)).and_then(|node| parse(node.data()?)).unwrap_or_default();
        let value = |of: &Text, key| of.get(key).copied().unwrap_or(-1);
        Some(Quota {
            path: on.to_owned(),
            limits: QuotaLimits {
                count: value(&limits, COUNT),
                bytes: value(&limits, BYTES),
                count_hard: value(&limits, "countHardLimit"),
                bytes_hard: value(&limits, "byteHardLimit"),
            },
            usage: QuotaUsage { count: value(&usage, COUNT), bytes: value(&usage, BYTES) },
        })
    }

    /// After a node was created at `path`.
    pub(crate) fn quota_created(&mut self, path: &str, data_length: usize) {
        match QuotaNode::of(path) {
            Some(QuotaNode::Limits(on)) => {
                self.quotas.paths.insert(on.to_owned());
            }
            Some(QuotaNode::Stats(on)) => self.recount(on),
            None => {}
        }
        self.quota_add(path, 1, length(data_length));
    }

    /// After the node at `path` was deleted.
    pub(crate) fn quota_deleted(&mut self, path: &str, data_length: usize) {
        if let Some(QuotaNode::Limits(on)) = QuotaNode::of(path) {
            self.quotas.paths.remove(on);
        }
        self.quota_add(path, -1, -length(data_length));
    }

    /// After the data of the node at `path` changed.
    pub(crate) fn quota_changed(&mut self, path: &str, length_before: usize, length_after: usize) {
        self.quota_add(path, 0, length(length_after) - length(length_before));
    }

    /// Finds the limits nodes of a tree that was loaded, and counts all usage anew (`DataTree.setupQuota`).
    pub(crate) fn load_quotas(&mut self) {
        let limits: Vec<String> = self
            .subtree(NodeId::QUOTA)
            .filter(|&id| self.node(id).name() == LIMITS.as_bytes())
            .map(|id| self.path_of(id))
            .collect();
        for path in limits {
            if let Some(QuotaNode::Limits(on)) = QuotaNode::of(&path) {
                self.quotas.paths.insert(on.to_owned());
                self.recount(on);
            }
        }
    }

    /// Paths with limits, for checking them against the nodes.
    pub(crate) fn quota_paths(&self) -> &BTreeSet<String> {
        &self.quotas.paths
    }

    fn quota_add(&mut self, path: &str, count: i64, bytes: i64) {
        if count == 0 && bytes == 0 {
            return;
        }
        let Some(on) = self.quotas.covering(path) else { return };
        let stats = quota_node(on, STATS);
        let Some(id) = self.live_id(&stats) else { return };
        let Some(mut text) = self.node(id).data().and_then(parse) else { return };
        for (key, difference) in [(COUNT, count), (BYTES, bytes)] {
            let value = text.entry(key.to_owned()).or_insert(-1);
            *value = value.wrapping_add(difference);
        }
        self.put_data(id, &stats, Some(render(&text).as_bytes()), |_| ());
    }

    fn recount(&mut self, on: &str) {
        let stats = quota_node(on, STATS);
        let Some(stats_id) = self.live_id(&stats) else { return };
        let mut usage = QuotaUsage::default();
        if let Some(top) = self.live_id(on) {
            for id in self.subtree(top) {
                usage.count += 1;
                usage.bytes += length(self.node(id).data_length());
            }
        }
        let text = Text::from([(COUNT.to_owned(), usage.count), (BYTES.to_owned(), usage.bytes)]);
        self.put_data(stats_id, &stats, Some(render(&text).as_bytes()), |_| ());
    }
}

fn quota_node(on: &str, name: &str) -> String {
    format!("{QUOTA_ROOT}{on}/{name}")
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Keys and values of a limits or usage text.
type Text = BTreeMap<String, i64>;

/// `StatsTrack(String)`: pairs between runs of `,` and `;`, an empty value being -1. Where that throws, `None`.
fn parse(data: &[u8]) -> Option<Text> {
    let text = std::str::from_utf8(data).ok()?;
    let mut values = Text::new();
    for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
        let mut parts = pair.split('=');
        let key = parts.next().unwrap_or_default();
        let value = parts.next()?;
        values.insert(key.to_owned(), if value.is_empty() { -1 } else { value.parse().ok()? });
    }
    Some(values)
}

/// `StatsTrack.toString`: count and bytes first, the others by name.
fn render(text: &Text) -> String {
    let value = |key| text.get(key).copied().unwrap_or(-1);
    let mut out = format!("{COUNT}={},{BYTES}={}", value(COUNT), value(BYTES));
    let mut separator = "=;";
    for (key, value) in text.iter().filter(|(key, _)| *key != COUNT && *key != BYTES) {
        out.push_str(&format!("{separator}{key}={value}"));
        separator = ";";
    }
    out
}

const COUNT: &str = "count";
const BYTES: &str = "bytes";

#[cfg(test)]
mod tests {
    use gk_proto::acl;
    use gk_proto::txn::{CreateKind, Txn};

    use super::*;
    use crate::testing::{Bench, create, create_with, delete, set_data};

    const USAGE: &str = "/zookeeper/quota/q/zookeeper_stats";

    fn node(path: &str, data: &str) -> Txn {
        create_with(path, Some(data.as_bytes()), acl::open(), CreateKind::Create, -1)
    }

    /// `/q` with 5 bytes, and a quota on it, made as clients make it.
    fn with_quota() -> Bench {
        let mut bench = Bench::new();
        bench.apply(&node("/q", "12345"));
        bench.apply(&node("/zookeeper/quota/q", ""));
        bench.apply(&node("/zookeeper/quota/q/zookeeper_limits", "count=3,bytes=-1=;byteHardLimit=20"));
        bench.apply(&node(USAGE, "count=0,bytes=0"));
        bench
    }

    #[test]
    fn usage_follows_every_change_below_without_touching_its_stat() {
        let mut bench = with_quota();
        assert_eq!(bench.text(USAGE), "count=1,bytes=5", "counted when the usage node is made, its own path included");
        let stat = bench.stat(USAGE);
        bench.apply(&node("/q/a", "123"));
        assert_eq!(bench.text(USAGE), "count=2,bytes=8", "create");
        bench.apply(&set_data("/q/a", "1", 1));
        assert_eq!(bench.text(USAGE), "count=2,bytes=6", "setData");
        bench.apply(&set_data("/q", "", 1));
        assert_eq!(bench.text(USAGE), "count=2,bytes=1", "setData of the path itself");
        bench.apply(&node("/qq", "123"));
        assert_eq!(bench.text(USAGE), "count=2,bytes=1", "a neighbour whose name begins alike");
        bench.apply(&delete("/q/a"));
        assert_eq!(bench.text(USAGE), "count=1,bytes=0", "delete");
        assert_eq!(bench.stat(USAGE), gk_proto::stat::Stat { data_length: 15, ..stat }, "only the data changed");
        assert_eq!(bench.changes.lines, ["-/q/a@9"], "and nobody is told");
    }

    #[test]
    fn the_deepest_quota_counts() {
        let mut bench = with_quota();
        for path in ["/q/in", "/zookeeper/quota/q/in"] {
            bench.apply(&node(path, ""));
        }
        bench.apply(&node("/zookeeper/quota/q/in/zookeeper_limits", "count=9,bytes=9"));
        bench.apply(&node("/zookeeper/quota/q/in/zookeeper_stats", ""));
        bench.apply(&node("/q/in/a", "123"));
        assert_eq!(bench.text(USAGE), "count=2,bytes=5", "the outer one is left out");
        let quota = bench.tree.quota("/q/in/not/there").unwrap();
        let limits = QuotaLimits { count: 9, bytes: 9, count_hard: -1, bytes_hard: -1 };
        assert_eq!((quota.path.as_str(), quota.limits), ("/q/in", limits), "the inner one");
        assert_eq!(quota.usage, QuotaUsage { count: 2, bytes: 3 }, "and its usage");
        bench.apply(&delete("/zookeeper/quota/q/in/zookeeper_limits"));
        let quota = bench.tree.quota("/q/in/a").unwrap();
        assert_eq!((quota.path.as_str(), quota.limits.bytes_hard), ("/q", 20), "the outer one again");
        assert_eq!(bench.tree.quota("/other"), None, "none");
    }

    /// Two texts that stop an Apache server: a quota on the root, and a usage that does not parse.
    #[test]
    fn hostile_quotas_count_nothing_and_stop_nothing() {
        let mut bench = with_quota();
        for name in [LIMITS, STATS] {
            bench.apply(&node(&format!("{QUOTA_ROOT}/{name}"), "count=1,bytes=1"));
        }
        bench.apply(&create("/a"));
        assert_eq!(bench.text("/zookeeper/quota/zookeeper_stats"), "count=1,bytes=1", "no quota on the root");
        assert_eq!(bench.tree.quota("/a"), None, "nor is it found");
        bench.apply(&Txn::SetData { path: USAGE.into(), data: None, version: 1 });
        bench.apply(&create("/q/a"));
        bench.apply(&set_data(USAGE, "count=", 1));
        bench.apply(&create("/q/b"));
        assert_eq!(bench.text(USAGE), "count=0,bytes=3", "an empty value is -1, as is a missing one");
        bench.apply(&set_data(USAGE, "nonsense", 1));
        bench.apply(&create("/q/c"));
        assert_eq!(bench.text(USAGE), "nonsense", "left as it is");
        assert_eq!(bench.tree.quota("/q"), None, "nothing to compare with");
        bench.apply(&set_data(USAGE, &format!("count={},bytes=0", i64::MAX), 1));
        bench.apply(&create("/q/d"));
        assert_eq!(bench.text(USAGE), format!("count={},bytes=4", i64::MIN), "wraps, as in Java");
    }

    /// Hazard 57 (Z-1448): create, quota and delete in any order, also with the quota's own path missing.
    #[test]
    fn a_quota_may_be_older_than_its_path() {
        let mut bench = with_quota();
        bench.apply(&delete("/q"));
        assert_eq!(bench.text(USAGE), "count=0,bytes=0", "nothing there");
        bench.apply(&delete(USAGE));
        bench.apply(&create("/q"));
        assert_eq!(bench.tree.quota("/q"), None, "limits without usage");
        bench.apply(&node(USAGE, ""));
        assert_eq!(bench.text(USAGE), "count=1,bytes=4", "counted");
    }

    #[test]
    fn texts_read_and_write_as_zookeepers() {
        let long = "count=2,bytes=10=;byteHardLimit=20;countHardLimit=3";
        assert_eq!(render(&parse(long.as_bytes()).unwrap()), long, "with hard limits");
        assert_eq!(render(&parse(b"bytes=,count=7").unwrap()), "count=7,bytes=-1", "empty is no limit");
        assert_eq!(render(&parse(b"").unwrap()), "count=-1,bytes=-1", "missing is no limit");
        for bad in [&b"count=x"[..], b"count", b"\xff", b"count=99999999999999999999"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_nodes_below_the_quota_root_with_a_path_between_are_quotas() {
        let limits = |path| matches!(QuotaNode::of(path), Some(QuotaNode::Limits("/a/b")));
        assert!(limits("/zookeeper/quota/a/b/zookeeper_limits"), "that is one");
        for none in [
            "/zookeeper/quota/zookeeper_limits",
            "/zookeeper/quotax/zookeeper_limits",
            "/zookeeper/quota/a/xzookeeper_stats",
            "/a/zookeeper_stats",
            "zookeeper_stats",
        ] {
            assert!(QuotaNode::of(none).is_none(), "{none}");
        }
    }
}
