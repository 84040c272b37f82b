//! Every key that ZooKeeper 3.9 reads from zoo.cfg or from a system property, and what becomes of it here.
//!
//! ZooKeeper knows two kinds. *Native* keys are parsed by name from the file and nowhere else. Any other key `K` turns
//! into the system property `zookeeper.K`, so it may as well be given as `-Dzookeeper.K=..`; a few properties have no
//! prefix, and ZooKeeper reads those from `-D` only, where we take the plain line too.

/// What is known about one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// As in zoo.cfg.
    pub(super) name: &'static str,
    pub(super) source: Source,
    pub(super) fate: Fate,
}

/// Where ZooKeeper reads a key from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The file only; a value of the wrong form is fatal even where we make no use of it.
    Native(Form),
    /// The file, or `-Dzookeeper.K`; the file wins.
    Property,
    /// `-DK` without prefix; it wins over a line of the file, which ZooKeeper ignores.
    Bare,
    /// As `Property`, and `-DK` too.
    Both,
}

/// What ZooKeeper requires of a native key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Number,
    Boolean,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It does what it does in ZooKeeper.
    Honoured,
    /// It concerns ensembles, of which a standalone server is none: accepted without a word, as ZooKeeper does.
    Ensemble,
    /// It belongs to something we do not offer yet: one warning.
    NotOffered(Area),
    /// It tunes the inside of the Java server: one remark.
    JavaOnly,
}

/// What is not offered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    Tls,
    Sasl,
    AuthProviders,
    AdminServer,
    Metrics,
    Audit,
    Throttling,
}

impl Area {
    /// As in "accepted, but .. not offered yet".
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tls => "TLS is",
            Self::Sasl => "SASL is",
            Self::AuthProviders => "authentication schemes other than digest and ip are",
            Self::AdminServer => "the admin server is",
            Self::Metrics => "the metrics server is",
            Self::Audit => "the audit log is",
            Self::Throttling => "throttling by these keys is",
        }
    }
}

/// The entry of `name`, which may be one of the alternative spellings of ZooKeeper's documentation.
pub(super) fn find(name: &str) -> Option<Key> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, canonical)| canonical);
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return Some(*key);
    }
    let (name, fate) = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix))?;
    Some(Key { name, source: Source::Property, fate: *fate })
}

/// All keys, in the order of the table.
pub(super) fn all() -> impl Iterator<Item = Key> {
    KEYS.iter().copied()
}

const fn key(name: &'static str, source: Source, fate: Fate) -> Key {
    Key { name, source, fate }
}

use Area::{AdminServer, Audit, AuthProviders, Metrics, Sasl, Throttling, Tls};
use Fate::{Ensemble, Honoured, JavaOnly, NotOffered};
use Form::{Boolean, Number, Text};
use Source::{Bare, Both, Native, Property};

const KEYS: &[Key] = &[
    // Basic.
    key("dataDir", Native(Text), Honoured),
    key("dataLogDir", Native(Text), Honoured),
    key("clientPort", Native(Number), Honoured),
    key("clientPortAddress", Native(Text), Honoured),
    key("secureClientPort", Native(Number), NotOffered(Tls)),
    key("secureClientPortAddress", Native(Text), NotOffered(Tls)),
    key("tickTime", Native(Number), Honoured),
    key("clientPortListenBacklog", Native(Number), Honoured),
    key("clientTcpKeepAlive", Property, Honoured),
    key("4lw.commands.whitelist", Property, Honoured),
    key("extendedTypesEnabled", Property, Honoured),
    key("emulate353TTLNodes", Property, Honoured),
    key("datadir.autocreate", Property, Honoured),
    key("db.autocreate", Property, Ensemble),
    // Both front ends of the Java server are accepted without a word: users of TLS had to name one.
    key("serverCnxnFactory", Property, Ensemble),
    // Ensemble.
    key("initLimit", Native(Number), Ensemble),
    key("syncLimit", Native(Number), Ensemble),
    key("connectToLearnerMasterLimit", Native(Number), Ensemble),
    key("electionAlg", Native(Number), Ensemble),
    key("peerType", Native(Text), Ensemble),
    key("quorumListenOnAllIPs", Native(Boolean), Ensemble),
    key("standaloneEnabled", Native(Boolean), Honoured),
    key("reconfigEnabled", Native(Boolean), Honoured),
    key("dynamicConfigFile", Native(Text), Honoured),
    key("syncEnabled", Native(Boolean), Ensemble),
    key("observer.syncEnabled", Property, Ensemble),
    key("observerMasterPort", Native(Number), Ensemble),
    key("oraclePath", Native(Text), Ensemble),
    key("multiAddress.enabled", Native(Boolean), Honoured),
    key("multiAddress.reachabilityCheckEnabled", Native(Boolean), Ensemble),
    key("multiAddress.reachabilityCheckTimeoutMs", Native(Number), Ensemble),
    key("quorum.cnxn.threads.size", Native(Number), JavaOnly),
    key("jvm.pause.monitor", Native(Boolean), JavaOnly),
    key("jvm.pause.info-threshold.ms", Native(Number), JavaOnly),
    key("jvm.pause.warn-threshold.ms", Native(Number), JavaOnly),
    key("jvm.pause.sleep.time.ms", Native(Number), JavaOnly),
    key("leaderServes", Property, Ensemble),
    key("leader.maxTimeToWaitForEpoch", Property, Ensemble),
    key("leader.maxConcurrentSnapSyncs", Property, Ensemble),
    key("leader.maxConcurrentDiffSyncs", Property, Ensemble),
    key("leader.ackLoggingFrequency", Property, Ensemble),
    key("cnxTimeout", Property, Ensemble),
    key("quorumCnxnTimeoutMs", Property, Ensemble),
    key("electionPortBindRetry", Property, Ensemble),
    key("tcpKeepAlive", Property, Ensemble),
    key("fastleader.minNotificationInterval", Property, Ensemble),
    key("fastleader.maxNotificationInterval", Property, Ensemble),
    key("leaderConnectDelayDuringRetryMs", Property, Ensemble),
    key("snapshotSizeFactor", Property, Ensemble),
    key("forceSnapshotSync", Property, Ensemble),
    key("observerMaster.sizeLimit", Property, Ensemble),
    key("observer.reconnectDelayMs", Property, Ensemble),
    key("observer.election.DelayMs", Property, Ensemble),
    key("enableEagerACLCheck", Property, Ensemble),
    key("commitLogCount", Property, Ensemble),
    key("readonlymode.enabled", Bare, Honoured),
    key("leader.nodelay", Bare, JavaOnly),
    key("follower.nodelay", Bare, JavaOnly),
    key("learner.asyncSending", Both, JavaOnly),
    key("learner.closeSocketAsync", Both, JavaOnly),
    key("leader.closeSocketAsync", Both, JavaOnly),
    key("forward_learner_requests_to_commit_processor_disabled", Property, JavaOnly),
    key("follower.skipLearnerRequestToNextProcessor", Property, JavaOnly),
    // Sessions, connections, limits.
    key("minSessionTimeout", Native(Number), Honoured),
    key("maxSessionTimeout", Native(Number), Honoured),
    key("maxClientCnxns", Native(Number), Honoured),
    key("maxCnxns", Property, Honoured),
    key("globalOutstandingLimit", Property, Honoured),
    key("localSessionsEnabled", Native(Boolean), Honoured),
    key("localSessionsUpgradingEnabled", Native(Boolean), Honoured),
    key("jute.maxbuffer", Bare, Honoured),
    key("jute.maxbuffer.extrasize", Property, Honoured),
    key("largeRequestMaxBytes", Property, Honoured),
    key("largeRequestThreshold", Property, NotOffered(Throttling)),
    key("maxResponseCacheSize", Property, JavaOnly),
    key("maxGetChildrenResponseCacheSize", Property, JavaOnly),
    key("closeSessionTxn.enabled", Property, Honoured),
    key("enforceQuota", Property, Honoured),
    key("nio.sessionlessCnxnTimeout", Property, Honoured),
    key("nio.numWorkerThreads", Property, Honoured),
    key("watchManagerName", Property, JavaOnly),
    key("watcherCleanThreadsNum", Property, JavaOnly),
    key("watcherCleanIntervalInSeconds", Property, JavaOnly),
    key("watcherCleanThreshold", Property, JavaOnly),
    key("maxInProcessingDeadWatchers", Property, JavaOnly),
    key("bitHashCacheSize", Property, JavaOnly),
    key("znode.container.checkIntervalMs", Bare, Honoured),
    key("znode.container.maxPerMinute", Bare, Honoured),
    key("znode.container.maxNeverUsedIntervalMs", Bare, Honoured),
    // Storage, snapshots, purge.
    key("forceSync", Property, Honoured),
    key("preAllocSize", Property, Honoured),
    key("snapCount", Property, Honoured),
    key("snapSizeLimitInKb", Property, Honoured),
    key("txnLogSizeLimitInKb", Property, Honoured),
    key("flushDelay", Property, JavaOnly),
    key("maxWriteQueuePollTime", Property, JavaOnly),
    key("maxBatchSize", Property, JavaOnly),
    key("fsync.warningthresholdms", Both, Honoured),
    key("digest.enabled", Property, Honoured),
    key("intBufferStartingSizeBytes", Property, JavaOnly),
    key("autopurge.snapRetainCount", Native(Number), Honoured),
    key("autopurge.purgeInterval", Native(Text), Honoured),
    key("snapshot.compression.method", Property, Honoured),
    key("snapshot.trust.empty", Property, Honoured),
    key("serializeLastProcessedZxid.enabled", Property, Honoured),
    // Authentication and ACLs.
    key("skipACL", Property, Honoured),
    key("DigestAuthenticationProvider.superDigest", Property, Honoured),
    key("DigestAuthenticationProvider.enabled", Property, Honoured),
    key("DigestAuthenticationProvider.digestAlg", Property, Honoured),
    key("enforce.auth.enabled", Property, Honoured),
    key("enforce.auth.schemes", Property, Honoured),
    key("sessionRequireClientSASLAuth", Property, Honoured),
    key("allowSaslFailedClients", Property, NotOffered(Sasl)),
    key("ensembleAuthName", Property, NotOffered(AuthProviders)),
    key("IPAuthenticationProvider.usexforwardedfor", Property, NotOffered(AdminServer)),
    key("security.auth_to_local", Property, NotOffered(Sasl)),
    key("letAnySaslUserDoX", Property, NotOffered(Sasl)),
    key("requireKerberosConfig", Property, JavaOnly),
    key("kinit", Property, JavaOnly),
    key("java.security.auth.login.config", Bare, NotOffered(Sasl)),
    key("java.security.krb5.conf", Bare, NotOffered(Sasl)),
    // Peers over TLS and SASL.
    key("sslQuorum", Native(Boolean), NotOffered(Tls)),
    key("portUnification", Native(Boolean), NotOffered(Tls)),
    key("sslQuorumReloadCertFiles", Native(Boolean), NotOffered(Tls)),
    key("client.certReload", Property, NotOffered(Tls)),
    key("client.portUnification", Property, NotOffered(Tls)),
    key("fips-mode", Property, NotOffered(Tls)),
    key("quorum.auth.enableSasl", Native(Boolean), NotOffered(Sasl)),
    key("quorum.auth.learnerRequireSasl", Native(Boolean), NotOffered(Sasl)),
    key("quorum.auth.serverRequireSasl", Native(Boolean), NotOffered(Sasl)),
    key("quorum.auth.learner.saslLoginContext", Native(Text), NotOffered(Sasl)),
    key("quorum.auth.server.saslLoginContext", Native(Text), NotOffered(Sasl)),
    key("quorum.auth.kerberos.servicePrincipal", Native(Text), NotOffered(Sasl)),
    // Throttling.
    key("connection_throttle_tokens", Property, Honoured),
    key("connection_throttle_fill_time", Property, Honoured),
    key("connection_throttle_fill_count", Property, Honoured),
    key("connection_throttle_freeze_time", Property, NotOffered(Throttling)),
    key("connection_throttle_drop_increase", Property, NotOffered(Throttling)),
    key("connection_throttle_drop_decrease", Property, NotOffered(Throttling)),
    key("connection_throttle_decrease_ratio", Property, NotOffered(Throttling)),
    key("connection_throttle_weight_enabled", Property, NotOffered(Throttling)),
    key("connection_throttle_global_session_weight", Property, NotOffered(Throttling)),
    key("connection_throttle_local_session_weight", Property, NotOffered(Throttling)),
    key("connection_throttle_renew_session_weight", Property, NotOffered(Throttling)),
    key("request_throttle_max_requests", Property, Honoured),
    key("request_throttle_stall_time", Property, NotOffered(Throttling)),
    key("request_throttle_drop_stale", Property, NotOffered(Throttling)),
    key("request_stale_connection_check", Property, NotOffered(Throttling)),
    key("request_stale_latency_check", Property, NotOffered(Throttling)),
    key("request_throttler.shutdownTimeout", Property, JavaOnly),
    key("throttled_op_wait_time", Property, NotOffered(Throttling)),
    // Metrics; the class is checked even so.
    key("metricsProvider.className", Native(Text), NotOffered(Metrics)),
    key("controllerPort", Property, JavaOnly),
    key("testingonly.initialZxid", Property, JavaOnly),
];

/// Families of keys; the first that fits counts, so longer prefixes come first.
const PREFIXES: &[(&str, Fate)] = &[
    ("ssl.", NotOffered(Tls)),
    ("netty.server.", NotOffered(Tls)),
    ("netty.", JavaOnly),
    ("X509AuthenticationProvider.", NotOffered(Tls)),
    ("authProvider.", NotOffered(AuthProviders)),
    ("sasl.", NotOffered(Sasl)),
    ("kerberos.", NotOffered(Sasl)),
    ("superUser", NotOffered(Sasl)),
    ("SASLAuthenticationProvider.", NotOffered(Sasl)),
    ("admin.", NotOffered(AdminServer)),
    ("metricsProvider.", NotOffered(Metrics)),
    ("audit.", NotOffered(Audit)),
    ("nio.", JavaOnly),
    ("commitProcessor.", JavaOnly),
    ("messageTracker.", JavaOnly),
    ("pathStats.", JavaOnly),
    ("jmx.", JavaOnly),
];

/// Spellings that ZooKeeper's documentation gives but its code does not read.
const ALIASES: &[(&str, &str)] = &[
    ("connectionMaxTokens", "connection_throttle_tokens"),
    ("connectionTokenFillTime", "connection_throttle_fill_time"),
    ("connectionTokenFillCount", "connection_throttle_fill_count"),
    ("connectionFreezeTime", "connection_throttle_freeze_time"),
    ("connectionDropIncrease", "connection_throttle_drop_increase"),
    ("connectionDropDecrease", "connection_throttle_drop_decrease"),
    ("connectionDecreaseRatio", "connection_throttle_decrease_ratio"),
    ("requestThrottleLimit", "request_throttle_max_requests"),
    ("requestThrottleStallTime", "request_throttle_stall_time"),
    ("requestThrottleDropStale", "request_throttle_drop_stale"),
    ("requestStaleLatencyCheck", "request_stale_latency_check"),
    ("requestStaleConnectionCheck", "request_stale_connection_check"),
    ("throttledOpWaitTime", "throttled_op_wait_time"),
    ("maxConcurrentSnapSyncs", "leader.maxConcurrentSnapSyncs"),
    ("maxConcurrentDiffSyncs", "leader.maxConcurrentDiffSyncs"),
    ("maxTimeToWaitForEpoch", "leader.maxTimeToWaitForEpoch"),
    ("advancedFlowControlEnabled", "netty.advancedFlowControl.enabled"),
    ("outstandingHandshake.limit", "netty.server.outstandingHandshake.limit"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_listed_twice_and_every_alias_leads_to_one() {
        let mut names: Vec<_> = all().map(|key| key.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "names are unique");
        for (alias, canonical) in ALIASES {
            assert!(find(canonical).is_some(), "{canonical} is known");
            assert_eq!(find(alias).map(|key| key.name), find(canonical).map(|key| key.name), "{alias}");
        }
    }

    #[test]
    fn a_listed_key_wins_over_the_prefix_of_its_family() {
        assert_eq!(find("nio.sessionlessCnxnTimeout").unwrap().fate, Honoured, "one of its family is honoured");
        assert_eq!(find("nio.numSelectorThreads").unwrap().fate, JavaOnly, "the rest is not");
        assert!(find("snapcount").is_none(), "names are case-sensitive");
    }
}
