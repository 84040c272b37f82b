//! What the server is told at its start: an ordinary zoo.cfg, Java-style properties, or nothing at all.
//!
//! Text becomes a typed [`Config`] once ([`parse`]); past that nothing is checked again. What the operator should know
//! about a setting comes back as [`Notice`]s, what stops the start as a [`ConfigError`] that names file, line, fault
//! and cure. Only [`load`] touches files and the environment.
//!
//! Read in this order: the types here; `properties` (the text format), `keys` (every key of ZooKeeper 3.9 and its
//! fate), `settings` (which of several sources counts), `values` (typed reading), `ensemble` (`server.N` lines),
//! `parse` (from settings to [`Config`]), `load` (files, `-D` and JVMFLAGS).
//!
//! Not done here: opening what is named (directories, ports), and anything about ensembles beyond recognising one.

mod secret;
mod error;
mod properties;
mod keys;
mod settings;
mod values;
mod ensemble;
mod parse;
mod load;

pub use error::{ConfigError, Notice, Place, Problem, Severity};
pub use load::{Loaded, load, load_shorthand, system_properties};
pub use parse::parse;
pub use secret::Secret;
pub use settings::SystemProperty;

use crate::words::Whitelist;
use gk_proto::Millis;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// Everything that can be set, with ZooKeeper's meaning and units made explicit.
#[derive(Clone, Debug)]
pub struct Config {
    /// Log, snapshots, purge.
    pub storage: StorageConfig,
    /// The client port and the connections on it.
    pub clients: ClientConfig,
    /// Session timeouts and their unit.
    pub sessions: SessionConfig,
    /// Limits of a single request and of all requests together.
    pub requests: RequestConfig,
    /// Who may do what.
    pub access: AccessConfig,
    /// Container and TTL nodes, and their removal.
    pub reaper: ReaperConfig,
    /// Keep and check Apache's digest of the tree (`digest.enabled`).
    pub tree_digest: bool,
}

/// Where and how data is kept.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// Parent of the `version-2` with the snapshots (`dataDir`).
    pub data_dir: PathBuf,
    /// Parent of the `version-2` with the transaction log (`dataLogDir`, else `dataDir`).
    pub log_dir: PathBuf,
    /// Make missing directories (`datadir.autocreate`); otherwise their absence ends the start with exit code 3.
    pub autocreate: bool,
    /// fsync the log before anything is acknowledged (`forceSync`).
    pub force_sync: bool,
    /// Step by which log files are preallocated, in bytes (`preAllocSize`, there in KB).
    pub preallocation_bytes: u64,
    /// Transactions between snapshots, before randomisation (`snapCount`, at least 2).
    pub snapshot_txns: u64,
    /// Bytes of log between snapshots, before randomisation (`snapSizeLimitInKb`); `None` when off.
    pub snapshot_log_bytes: Option<u64>,
    /// A log file that has grown beyond this is closed (`txnLogSizeLimitInKb`); `None` when off.
    pub log_file_bytes_max: Option<u64>,
    /// A longer fsync is logged and counted (`fsync.warningthresholdms`).
    pub fsync_warning: Millis,
    /// How snapshots are compressed (`snapshot.compression.method`).
    pub compression: Compression,
    /// Start from a log without any snapshot (`snapshot.trust.empty`), as left behind by ZooKeeper before 3.5.
    pub trust_empty_snapshot: bool,
    /// Remove old snapshots and logs; `None` when `autopurge.purgeInterval=0`.
    pub purge: Option<PurgeConfig>,
    /// Start although the log is corrupt before its end, dropping what follows (`--accept-data-loss`).
    pub accept_data_loss: bool,
}

/// Compression of snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// `gz`.
    Gzip,
    /// `snappy`.
    Snappy,
}

/// Removal of old snapshots and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeConfig {
    /// Snapshots kept, with the logs needed on top of the oldest of them (`autopurge.snapRetainCount`, at least 3).
    pub snapshots_kept: usize,
    /// Time between two runs (`autopurge.purgeInterval`); the first is at the start.
    pub interval: Millis,
}

/// The client port and the connections on it.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where clients are accepted (`clientPort`, `clientPortAddress`); `None` when no port is set, which is legal.
    pub listen: Option<ListenAddress>,
    /// Length of the accept queue (`clientPortListenBacklog`); `None` leaves it to the system.
    pub backlog: Option<u32>,
    /// TCP keepalive on client sockets (`clientTcpKeepAlive`).
    pub tcp_keepalive: bool,
    /// Connections from one address (`maxClientCnxns`); `None` when off. One more is closed at once.
    pub per_address_max: Option<usize>,
    /// Connections in all (`maxCnxns`); `None` leaves it to the process's file limit. One more is closed at once.
    pub total_max: Option<usize>,
    /// How fast handshakes may come (`connection_throttle_*`); `None` when off. Without a token the connection is closed.
    pub connect_rate: Option<ConnectRate>,
    /// A connection that has no session after this time is closed (`nio.sessionlessCnxnTimeout`).
    pub sessionless_timeout: Millis,
    /// Threads that connections live on (`nio.numWorkerThreads`), of which there are no more than cores; `None` is
    /// half of the cores.
    pub threads: Option<usize>,
    /// Four-letter words that are answered (`4lw.commands.whitelist`).
    pub words: Whitelist,
}

/// A bucket of tokens, one of which each handshake takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRate {
    /// Tokens in a full bucket (`connection_throttle_tokens`).
    pub tokens_max: u32,
    /// After each such time (`connection_throttle_fill_time`) …
    pub fill_time: Millis,
    /// … so many are put in (`connection_throttle_fill_count`).
    pub fill_count: u32,
}

/// A host and a port to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// Which addresses of this machine.
    pub host: ListenHost,
    /// TCP port; 0 lets the system choose.
    pub port: u16,
}

/// Which addresses of this machine to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenHost {
    /// `127.0.0.1`, and `::1` where there is IPv6.
    Loopback,
    /// All, of IPv4 and IPv6.
    Any,
    /// A name or an address.
    Named(String),
}

impl ListenAddress {
    /// The socket addresses behind it, the one that must succeed first: `Any` and `Loopback` list their IPv6 address
    /// too, which a machine without IPv6 cannot bind. Asks the resolver for a name.
    pub fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        let both =
            |v4: Ipv4Addr, v6: Ipv6Addr| [IpAddr::V4(v4), IpAddr::V6(v6)].map(|ip| SocketAddr::new(ip, self.port));
        match &self.host {
            ListenHost::Loopback => Ok(both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST).into()),
            ListenHost::Any => Ok(both(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED).into()),
            // Java binds the first address of a name, so that a name with two leads to one port here as there.
            ListenHost::Named(name) => Ok((name.as_str(), self.port).to_socket_addrs()?.take(1).collect()),
        }
    }

    /// Whether only this machine can connect.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            ListenHost::Loopback => true,
            ListenHost::Any => false,
            ListenHost::Named(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        }
    }
}

/// A text that is no `[HOST:]PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address; write PORT for this machine only, or HOST:PORT, such as 0.0.0.0:2181 for every address")]
pub struct NotAnAddress;

impl std::str::FromStr for ListenAddress {
    type Err = NotAnAddress;

    /// `HOST:PORT` as in a server line; a bare port is open to this machine only.
    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if let Ok(port) = text.parse() {
            return Ok(Self { host: ListenHost::Loopback, port });
        }
        ensemble::client_address(text)
            .filter(|address| address.host != ListenHost::Named(String::new()))
            .ok_or(NotAnAddress)
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = match &self.host {
            ListenHost::Loopback => "127.0.0.1",
            ListenHost::Any => "0.0.0.0",
            ListenHost::Named(name) => name,
        };
        if host.contains(':') { write!(f, "[{host}]:{}", self.port) } else { write!(f, "{host}:{}", self.port) }
    }
}

/// Session timeouts and their unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Unit of time: sessions expire on multiples of it (`tickTime`).
    pub tick: Millis,
    /// Smallest timeout a client gets (`minSessionTimeout`).
    pub timeout_min: Millis,
    /// Largest timeout a client gets (`maxSessionTimeout`).
    pub timeout_max: Millis,
    /// New sessions are known to this server only (`localSessionsEnabled`).
    pub local: bool,
    /// A local session becomes a global one when it makes its first ephemeral (`localSessionsUpgradingEnabled`).
    pub local_upgrade: bool,
    /// Write the list of ephemerals into closeSession txns (`closeSessionTxn.enabled`).
    pub close_lists_ephemerals: bool,
}

/// Limits of a single request and of all requests together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestConfig {
    /// Longest request and longest data of a znode, in bytes (`jute.maxbuffer`).
    pub length_max: u32,
    /// How much longer a stored record may be (`jute.maxbuffer.extrasize`).
    pub record_extra: u32,
    /// Refuse what would exceed a quota instead of only logging it (`enforceQuota`).
    pub enforce_quota: bool,
    /// With more requests than this in the server, a connection that has one under way is not read until it is answered
    /// (`globalOutstandingLimit`, and `request_throttle_max_requests` where it is set and smaller).
    pub outstanding_max: usize,
    /// The same for bytes of requests (`largeRequestMaxBytes`).
    pub outstanding_bytes_max: usize,
}

/// Who may do what.
#[derive(Clone, Debug)]
pub struct AccessConfig {
    /// Check no ACL at all (`skipACL`).
    pub skip_acl: bool,
    /// `super:<digest>`: who authenticates so passes every check (`DigestAuthenticationProvider.superDigest`).
    pub super_digest: Option<Secret>,
    /// Offer the scheme `digest` (`DigestAuthenticationProvider.enabled`).
    pub digest_enabled: bool,
    /// Hash of the scheme `digest` (`DigestAuthenticationProvider.digestAlg`).
    pub digest_algorithm: DigestAlgorithm,
    /// Sessions must authenticate with one of these schemes before they may do anything (`enforce.auth.schemes`);
    /// `None` when nothing is enforced. Each of them is offered.
    pub enforced_schemes: Option<Vec<String>>,
    /// Accept `reconfig` (`reconfigEnabled`).
    pub reconfig: bool,
}

/// Hash of the scheme `digest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// SHA-1, what clients and existing ACLs expect.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// Container and TTL nodes, and their removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaperConfig {
    /// Allow TTL nodes (`extendedTypesEnabled`).
    pub extended_types: bool,
    /// Read TTL nodes as ZooKeeper 3.5.3 wrote them (`emulate353TTLNodes`).
    pub emulate_353: bool,
    /// Time between two rounds (`znode.container.checkIntervalMs`).
    pub interval: Millis,
    /// Removals a minute (`znode.container.maxPerMinute`).
    pub removals_per_minute: u32,
    /// A container that never had a child goes after this time (`znode.container.maxNeverUsedIntervalMs`); 0 is never.
    pub never_used: Millis,
}

impl Config {
    /// What holds without any configuration: loopback only, data in `./gamekeeper-data`, the words that probes use.
    pub fn built_in() -> Self {
        let mut config = Self::zookeeper_defaults(PathBuf::from("gamekeeper-data"));
        config.clients.words = Whitelist::of("srvr,ruok,isro");
        config.set_tick(Millis(2000));
        config.listen_on(ListenAddress { host: ListenHost::Loopback, port: 2181 });
        config
    }

    /// For a server inside another program that needs it for a while, such as a test: this machine only, on a port that
    /// the system chooses; session timeouts from 200 ms to a minute; TTL nodes; no write waits for the disk, so a power
    /// failure may lose what was acknowledged.
    pub fn embedded(data_dir: PathBuf) -> Self {
        let mut config = Self::zookeeper_defaults(data_dir);
        config.clients.words = Whitelist::of("srvr,ruok,isro");
        config.set_tick(Millis(100));
        config.sessions.timeout_max = Millis(60_000);
        config.listen_on(ListenAddress { host: ListenHost::Named(Ipv4Addr::LOCALHOST.to_string()), port: 0 });
        config.storage.force_sync = false;
        config.storage.preallocation_bytes = 1 << 20;
        config.reaper.extended_types = true;
        // As often as an ordinary server's tick: a program that waits for a node to go should not wait for minutes.
        config.reaper.interval = Millis(2000);
        config
    }

    /// Listens on `address`, where no configuration says how many connections one address may open: a peer on the
    /// network gets ZooKeeper's 60, this machine's own programs as many as they like.
    pub fn listen_on(&mut self, address: ListenAddress) {
        self.clients.per_address_max = (!address.is_loopback()).then_some(CONNECTIONS_PER_ADDRESS_MAX);
        self.clients.listen = Some(address);
    }

    /// Sets `tickTime` and the bounds of session timeouts that follow from it.
    pub fn set_tick(&mut self, tick: Millis) {
        self.sessions.tick = tick;
        self.sessions.timeout_min = Millis(tick.0 * 2);
        self.sessions.timeout_max = Millis(tick.0 * 20);
    }

    /// What holds for a zoo.cfg that sets `dataDir` only.
    fn zookeeper_defaults(data_dir: PathBuf) -> Self {
        Self {
            storage: StorageConfig {
                log_dir: data_dir.clone(),
                data_dir,
                autocreate: true,
                force_sync: true,
                preallocation_bytes: 64 << 20,
                snapshot_txns: 100_000,
                snapshot_log_bytes: Some(4 << 30),
                log_file_bytes_max: None,
                fsync_warning: Millis(1000),
                compression: Compression::None,
                trust_empty_snapshot: false,
                // ZooKeeper never purges unless told to, and so fills the disks of those who did not know.
                purge: Some(PurgeConfig { snapshots_kept: 3, interval: Millis(3_600_000) }),
                accept_data_loss: false,
            },
            clients: ClientConfig {
                listen: None,
                backlog: None,
                tcp_keepalive: false,
                per_address_max: Some(CONNECTIONS_PER_ADDRESS_MAX),
                total_max: None,
                connect_rate: None,
                sessionless_timeout: Millis(10_000),
                threads: None,
                words: Whitelist::of("srvr"),
            },
            sessions: SessionConfig {
                tick: Millis(3000),
                timeout_min: Millis(6000),
                timeout_max: Millis(60_000),
                local: false,
                local_upgrade: false,
                close_lists_ephemerals: true,
            },
            requests: RequestConfig {
                length_max: 0xfffff,
                record_extra: 0xfffff,
                enforce_quota: false,
                outstanding_max: 1000,
                outstanding_bytes_max: 100 << 20,
            },
            access: AccessConfig {
                skip_acl: false,
                super_digest: None,
                digest_enabled: true,
                digest_algorithm: DigestAlgorithm::Sha1,
                enforced_schemes: None,
                reconfig: false,
            },
            reaper: ReaperConfig {
                extended_types: false,
                emulate_353: false,
                interval: Millis(60_000),
                removals_per_minute: 10_000,
                never_used: Millis(0),
            },
            tree_digest: true,
        }
    }
}

/// ZooKeeper's default of `maxClientCnxns`.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_configuration_only_this_machine_can_connect() {
        let config = Config::built_in();
        let addresses = config.clients.listen.as_ref().unwrap().resolve().unwrap();
        assert_eq!(addresses, ["127.0.0.1:2181".parse().unwrap(), "[::1]:2181".parse().unwrap()], "loopback");
        assert_eq!(config.clients.per_address_max, None, "no limit for this machine's own programs");
        assert_eq!((config.sessions.timeout_min, config.sessions.timeout_max), (Millis(4000), Millis(40_000)), "ticks");
    }

    #[test]
    fn listening_beyond_loopback_limits_connections_of_one_address() {
        let mut config = Config::built_in();
        for (host, limit) in [("127.0.0.9", None), ("::1", None), ("localhost", None), ("10.1.2.3", Some(60))] {
            config.listen_on(ListenAddress { host: ListenHost::Named(host.into()), port: 1 });
            assert_eq!(config.clients.per_address_max, limit, "{host}");
        }
        config.listen_on(ListenAddress { host: ListenHost::Any, port: 1 });
        assert_eq!(config.clients.per_address_max, Some(60), "any");
    }

    #[test]
    fn addresses_on_a_command_line() {
        let shown =
            |text: &str| text.parse::<ListenAddress>().map(|address| (address.to_string(), address.is_loopback()));
        assert_eq!(shown("2181"), Ok(("127.0.0.1:2181".to_owned(), true)), "a bare port");
        assert_eq!(shown("0.0.0.0:0"), Ok(("0.0.0.0:0".to_owned(), false)), "every address");
        assert_eq!(shown("[2001:db8::1]:2181"), Ok(("[2001:db8::1]:2181".to_owned(), false)), "IPv6");
        for text in ["", "host", ":2181", "host:", "host:66000", "2001:db8::1:2181"] {
            assert_eq!(shown(text), Err(NotAnAddress), "{text:?}");
        }
    }

    #[test]
    fn a_printed_configuration_holds_no_secret() {
        let mut config = Config::built_in();
        config.access.super_digest = Some(Secret::new("super:canary"));
        let shown = format!("{config:?}{config:#?}");
        assert!(shown.contains("<redacted>") && !shown.contains("canary"), "{shown}");
    }
}
