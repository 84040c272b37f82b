//! What the operator decided that the state machines need to know.

use gk_proto::stat::OwnerRules;
use gk_proto::{Instant, Millis, WallTime};

/// Settings of the node and of its connections; the names in `zoo.cfg` stand in parentheses.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Base unit of time (`tickTime`).
    pub tick: Millis,
    /// Shortest timeout a session gets (`minSessionTimeout`), milliseconds.
    pub session_timeout_min_ms: i32,
    /// Longest timeout a session gets (`maxSessionTimeout`), milliseconds.
    pub session_timeout_max_ms: i32,
    /// Top byte of session ids; a standalone server uses 1.
    pub server_id: u8,
    /// How TTL marks are read and whether TTL nodes may be made (`extendedTypesEnabled`, `emulate353TTLNodes`).
    pub owner_rules: OwnerRules,
    /// Refuse what would exceed a hard quota (`enforceQuota`).
    pub enforce_quota: bool,
    /// List the ephemerals in closeSession txns (`closeSessionTxn.enabled`).
    pub close_session_lists: bool,
    /// New sessions are local (`localSessionsEnabled`).
    pub local_sessions: bool,
    /// A local session becomes global with its first ephemeral (`localSessionsUpgradingEnabled`).
    pub local_sessions_upgrade: bool,
    /// Answer reconfig as a server that would do it (`reconfigEnabled`).
    pub reconfig_enabled: bool,
    /// Compute Apache's tree digest (`digest.enabled`).
    pub digest: bool,
    /// Pause between searches for empty containers and dead TTL nodes (`znode.container.checkIntervalMs`).
    pub reap_interval: Millis,
    /// Most nodes reaped in a minute (`znode.container.maxPerMinute`).
    pub reap_per_minute: u32,
    /// After this time a container that never had a child goes too; 0 is never (`maxNeverUsedIntervalMs`).
    pub reap_never_used_ms: i64,
    /// Largest request frame (`jute.maxbuffer`), bytes.
    pub frame_max: usize,
    /// Largest record that may be logged: beyond this an Apache peer would drop the link (`jute.maxbuffer` + extra).
    pub record_max: usize,
}

impl NodeConfig {
    /// ZooKeeper's defaults at a tick of 2 seconds.
    pub fn new() -> Self {
        Self {
            tick: Millis(2000),
            session_timeout_min_ms: 4000,
            session_timeout_max_ms: 40_000,
            server_id: 1,
            owner_rules: OwnerRules::default(),
            enforce_quota: false,
            close_session_lists: true,
            local_sessions: false,
            local_sessions_upgrade: false,
            reconfig_enabled: false,
            digest: true,
            reap_interval: Millis(60_000),
            reap_per_minute: 10_000,
            reap_never_used_ms: 0,
            frame_max: 0xf_ffff,
            record_max: 2 * 0xf_ffff,
        }
    }

    /// A wanted session timeout, brought into the configured range.
    pub fn negotiate(&self, wanted_ms: i32) -> i32 {
        wanted_ms.min(self.session_timeout_max_ms).max(self.session_timeout_min_ms)
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// The two clocks, read together at the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For timeouts.
    pub instant: Instant,
    /// For the header of a txn (S6).
    pub wall: WallTime,
}
