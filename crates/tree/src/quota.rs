//! Quotas: limits that clients set on a subtree, and the usage that every server counts for itself.

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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuotaUsage {
    /// Nodes at and below the path.
    pub count: i64,
    /// Sum of their data lengths.
    pub bytes: i64,
}
