//! Putting a server together, and taking it apart again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use gk_node::auth::{AuthRules, DigestAlgorithm, DigestScheme, IpScheme, Scheme};
use gk_node::{Node, NodeConfig};
use gk_proto::SessionId;
use gk_proto::rng::Rng;
use gk_proto::stat::OwnerRules;
use gk_storage::{Disk, Log, Opened, RealDisk, RecoveryReport, SnapshotStore, StoreOptions};
use gk_tree::{TreeOptions, Watches};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::{AccessConfig, Compression, Config};
use crate::driver::Driver;
use crate::error::ServeError;
use crate::farewell::Farewells;
use crate::inbox::{Event, Inbox};
use crate::listener::{Door, bind};
use crate::log_lane::{LogLane, SnapshotBell};
use crate::shard::{Shard, ShardThread};
use crate::shared::{DiskStats, Shared, SharedTree, Stats};
use crate::snapshots::Snapshots;
use crate::throttle::Throttle;
use crate::{config, key};

/// A running server, on threads of its own.
///
/// It ends when it is stopped or dropped, or by itself when it cannot go on. Either way nothing more is answered, the port
/// is closed, connections break, sessions stay as they are, and the data directory is free for the next server.
///
/// A server raises the soft limit of open files of its process to the hard one.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    control: Option<Control>,
    thread: Option<JoinHandle<()>>,
    end: Option<oneshot::Receiver<Result<(), ServeError>>>,
}

impl Server {
    /// Starts a server; it is there once clients can connect. The future may be awaited on any executor, and one that
    /// is dropped leaves nothing running.
    ///
    /// # Errors
    /// The data directory cannot be opened, the port is taken, or the system refuses a thread.
    pub async fn start(config: Config) -> Result<Self, ServeError> {
        let (tell_started, started) = oneshot::channel();
        let (tell_end, end) = oneshot::channel();
        // Whoever started the server and is gone need not know how it ended.
        let thread = spawn("server", move || drop(tell_end.send(run(config, tell_started))))?;
        match started.await {
            Ok(Started { addresses, control }) => {
                Ok(Self { addresses, control: Some(control), thread: Some(thread), end: Some(end) })
            }
            Err(_) => {
                let failed = end.await.unwrap_or_else(|_| Err(has_ended())).err();
                join(Some(thread));
                Err(failed.unwrap_or_else(has_ended))
            }
        }
    }

    /// Where clients are accepted.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits until the server ends by itself, and says why. To be told again what was told is to be told that it has
    /// ended.
    pub async fn failed(&mut self) -> ServeError {
        self.end().await.err().unwrap_or_else(has_ended)
    }

    /// Ends a session as if its client had been silent for too long: its ephemeral nodes are deleted, and its connection
    /// is closed without a word. True once the session is gone; false if the server knows no such session, if the
    /// session is ending already, or if the server has ended.
    pub async fn expire_session(&self, session: SessionId) -> bool {
        let Some(control) = &self.control else { return false };
        let (answer, expired) = oneshot::channel();
        control.inbox.push(Event::ExpireSession { session, answer });
        expired.await.unwrap_or(false)
    }

    /// Stops the server in good order; done once it is gone, and its port and its directory are free.
    ///
    /// # Errors
    /// The server had ended by itself, or its log could not be ended in good order.
    pub async fn stop(mut self) -> Result<(), ServeError> {
        self.control = None;
        self.end().await
    }

    async fn end(&mut self) -> Result<(), ServeError> {
        let Some(end) = &mut self.end else { return Ok(()) };
        let result = end.await.unwrap_or_else(|_| Err(has_ended()));
        self.end = None;
        result
    }
}

impl Drop for Server {
    /// Stops the server and waits until it is gone, which takes as long as the disk takes for what is under way.
    fn drop(&mut self) {
        self.control = None;
        join(self.thread.take());
    }
}

/// What the server's thread tells once clients can connect.
struct Started {
    addresses: Vec<SocketAddr>,
    control: Control,
}

/// Whoever holds this keeps the server running.
struct Control {
    inbox: Arc<Inbox>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.inbox.push(Event::Stop(None));
    }
}

/// The server's thread: puts everything together, accepts connections, and takes everything apart again.
fn run(config: Config, started: oneshot::Sender<Started>) -> Result<(), ServeError> {
    let Parts { shared, connections, node, log, snapshots } = Parts::open(config)?;
    let clients = &shared.config.clients;
    let listeners = clients.listen.as_ref().map_or(Ok(Vec::new()), |listen| bind(listen, clients.backlog))?;
    let (threads, node_end) = Threads::start(&shared, connections, node, log, snapshots)?;
    let outcome = accept(&shared, listeners, node_end, started);
    let log = threads.log.clone();
    drop(threads);
    outcome?;
    if let Some(lane) = Arc::into_inner(log) {
        lane.close()?;
    }
    Ok(())
}

/// A server that does not run yet.
struct Parts {
    shared: Arc<Shared>,
    connections: Vec<ShardThread>,
    node: Node,
    log: Log,
    snapshots: SnapshotStore,
}

impl Parts {
    /// Reads the data directory.
    fn open(config: Config) -> Result<Self, ServeError> {
        let clock = Clock::start();
        let node_config = Arc::new(node_config(&config));
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        // The key only has to be hard to guess for a client: it never leaves the process.
        let hash_key = Rng::new(clock.wall().0.cast_unsigned() ^ (u64::from(std::process::id()) << 32)).next_u64();
        let Opened { tree, log, snapshots, report } =
            gk_storage::open(disk, &options_of_store(&config, &node_config, hash_key))?;
        tell_recovery(&report);
        let passwords = key::load_or_make(&config.storage.data_dir, &tree)?;
        let rules = Arc::new(auth_rules(&config.access));
        let node = Node::standalone((*node_config).clone(), rules.clone(), passwords, &tree, clock.now());
        let inbox = Arc::new(Inbox::default());
        let (shards, connections) = start_shards(&config, &inbox)?;
        let shared = Arc::new(Shared {
            throttle: Throttle::new(config.clients.connect_rate, clock.instant()),
            farewells: Farewells::default(),
            config,
            node_config,
            rules,
            clock,
            tree: SharedTree::new(tree),
            watches: Mutex::new(Watches::new(hash_key)),
            links: RwLock::default(),
            inbox,
            shards,
            stats: Stats::default(),
            disk: DiskStats::default(),
            snapshot_store: snapshots.clone(),
            digest_mismatches: report.digest_mismatch_count,
            digests: Mutex::default(),
            trace_mask: crate::words::TRACE_MASK.into(),
            stopping: false.into(),
        });
        Ok(Self { shared, connections, node, log, snapshots })
    }
}

/// Unless the configuration says otherwise half of the cores serve connections; the others are for node and log.
fn start_shards(config: &Config, inbox: &Arc<Inbox>) -> Result<(Vec<Shard>, Vec<ShardThread>), ServeError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = config.clients.threads.unwrap_or(cores / 2).clamp(1, cores);
    let start = |index| Shard::start(index, inbox.clone());
    let started: std::io::Result<Vec<_>> = (0..threads).map(start).collect();
    Ok(started.map_err(ServeError::system("start a thread for connections"))?.into_iter().unzip())
}

/// How the node's thread ended: with an error, or because it was asked to; nothing if it panicked.
type NodeEnd = oneshot::Receiver<Option<ServeError>>;

/// The threads beside the one that accepts. Dropping them ends them, each before those that it hands things to.
struct Threads {
    shared: Arc<Shared>,
    log: Arc<LogLane>,
    bell: Arc<SnapshotBell>,
    node: Option<JoinHandle<()>>,
    connections: Vec<ShardThread>,
    disk: Vec<JoinHandle<()>>,
}

impl Threads {
    fn start(
        shared: &Arc<Shared>,
        connections: Vec<ShardThread>,
        node: Node,
        log: Log,
        store: SnapshotStore,
    ) -> Result<(Self, NodeEnd), ServeError> {
        let bell = Arc::new(SnapshotBell::default());
        let newest = store.newest()?.map_or(0, |newest| newest.bytes);
        let marks = log.marks_sync();
        let rng = Rng::new(shared.clock.wall().0.cast_unsigned());
        let log = Arc::new(LogLane::new(log, &shared.config.storage, newest, rng, bell.clone()));
        let disk = Vec::new();
        let mut threads =
            Self { shared: shared.clone(), log: log.clone(), bell: bell.clone(), node: None, connections, disk };
        let (tell_end, node_end) = oneshot::channel();
        let driver = Driver::new(shared.clone(), node, log.clone());
        threads.node = Some(spawn("node", move || drop(tell_end.send(driver.run())))?);
        let (lane, with) = (log.clone(), shared.clone());
        threads.disk.push(spawn("log-writer", move || lane.run(&with))?);
        let snapshots = Snapshots { shared: shared.clone(), store, log, bell, marks };
        threads.disk.push(spawn("snapshots", move || snapshots.run())?);
        Ok((threads, node_end))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.inbox.push(Event::Stop(None));
        join(self.node.take());
        self.connections.clear();
        self.log.stop();
        self.bell.stop();
        for thread in self.disk.drain(..) {
            join(Some(thread));
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, ServeError> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(body).map_err(ServeError::system("start a thread"))
}

/// A panic in the thread has been printed, and ends the server.
fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        let _ = thread.join();
    }
}

/// Accepts connections on this thread until the node's has ended.
fn accept(
    shared: &Arc<Shared>,
    listeners: Vec<std::net::TcpListener>,
    node_end: NodeEnd,
    started: oneshot::Sender<Started>,
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::system("start a runtime"))?;
    runtime.block_on(async {
        let door = Arc::new(Door::new(shared.clone()));
        let mut addresses = Vec::new();
        for listener in listeners {
            addresses.extend(listener.local_addr());
            let listener =
                tokio::net::TcpListener::from_std(listener).map_err(ServeError::system("register the client port"))?;
            let door = door.clone();
            tokio::spawn(async move { door.accept(listener).await });
        }
        tokio::spawn(async move { door.sweep().await });
        // If nobody waits for it any more, the control comes back and its end stops the server.
        drop(started.send(Started { addresses, control: Control { inbox: shared.inbox.clone() } }));
        match node_end.await {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(has_ended()),
        }
    })
}

fn has_ended() -> ServeError {
    ServeError::System { what: "go on serving", source: std::io::Error::other("the node's thread has ended") }
}

fn tell_recovery(report: &RecoveryReport) {
    for warning in &report.warnings {
        warn!("{warning}");
    }
    let from = report.snapshot.as_deref().unwrap_or("an empty tree");
    info!(
        "data loaded from {from} and {} txns of {} logs; last zxid {}",
        report.replayed.txns,
        report.logs.len(),
        report.last_zxid
    );
    if report.digest_mismatch_count > 0 {
        warn!(
            "the tree digest differs after {} of {} txns, first {:?}: the data may have been damaged by whoever wrote it",
            report.digest_mismatch_count, report.digests_checked, report.digest_mismatches
        );
    }
    if report.orphans > 0 {
        info!("{} ephemeral nodes of ended sessions were deleted", report.orphans);
    }
}

fn node_config(config: &Config) -> NodeConfig {
    let ms = |span: gk_proto::Millis| i32::try_from(span.0).unwrap_or(i32::MAX);
    let length_max = usize::try_from(config.requests.length_max).unwrap_or(usize::MAX);
    let extra = usize::try_from(config.requests.record_extra).unwrap_or(usize::MAX);
    NodeConfig {
        tick: config.sessions.tick,
        session_timeout_min_ms: ms(config.sessions.timeout_min),
        session_timeout_max_ms: ms(config.sessions.timeout_max),
        server_id: 1,
        owner_rules: OwnerRules {
            extended_types: config.reaper.extended_types,
            emulate_353: config.reaper.emulate_353,
        },
        enforce_quota: config.requests.enforce_quota,
        close_session_lists: config.sessions.close_lists_ephemerals,
        local_sessions: config.sessions.local,
        local_sessions_upgrade: config.sessions.local_upgrade,
        reconfig_enabled: config.access.reconfig,
        digest: config.tree_digest,
        reap_interval: config.reaper.interval,
        reap_per_minute: config.reaper.removals_per_minute,
        reap_never_used_ms: i64::try_from(config.reaper.never_used.0).unwrap_or(i64::MAX),
        frame_max: length_max,
        record_max: length_max.saturating_add(extra),
    }
}

/// How a server of this configuration treats its files: for those who look into them without starting one. The key of
/// the tree's hash is not secret here.
pub fn store_options(config: &Config) -> StoreOptions {
    options_of_store(config, &node_config(config), 0)
}

fn options_of_store(config: &Config, node: &NodeConfig, hash_key: u64) -> StoreOptions {
    let storage = &config.storage;
    StoreOptions {
        data_dir: storage.data_dir.clone(),
        log_dir: storage.log_dir.clone(),
        prealloc_bytes: storage.preallocation_bytes,
        force_sync: storage.force_sync,
        compression: match storage.compression {
            Compression::None => gk_storage::Compression::None,
            Compression::Gzip => gk_storage::Compression::Gzip,
            Compression::Snappy => gk_storage::Compression::Snappy,
        },
        trust_empty: storage.trust_empty_snapshot,
        datadir_autocreate: storage.autocreate,
        db_autocreate: true,
        tree: TreeOptions { owner_rules: node.owner_rules, hash_key, digest: node.digest },
        accept_loss: storage.accept_data_loss,
        payload_max: node.record_max,
    }
}

fn auth_rules(access: &AccessConfig) -> AuthRules {
    let mut schemes: Vec<Box<dyn Scheme>> = vec![Box::new(IpScheme)];
    if access.digest_enabled {
        schemes.push(Box::new(DigestScheme {
            super_digest: access.super_digest.as_ref().map(|secret| secret.expose().to_owned()),
            algorithm: match access.digest_algorithm {
                config::DigestAlgorithm::Sha1 => DigestAlgorithm::Sha1,
                config::DigestAlgorithm::Sha256 => DigestAlgorithm::Sha256,
                config::DigestAlgorithm::Sha512 => DigestAlgorithm::Sha512,
            },
        }));
    }
    AuthRules { schemes, skip_acl: access.skip_acl, enforced: access.enforced_schemes.clone().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ListenHost;
    use gk_storage::StorageError;

    fn config(dir: &tempfile::TempDir) -> Config {
        Config::embedded(dir.path().to_owned())
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_told_and_leaves_nothing_running() {
        let dir = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut on_it = config(&dir);
        on_it.clients.listen.as_mut().unwrap().port = taken.local_addr().unwrap().port();
        let failed = Server::start(on_it).await.unwrap_err();
        assert!(matches!(failed, ServeError::Listen { .. }), "{failed}");
        Server::start(config(&dir)).await.unwrap().stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_second_server_on_the_same_directory_is_refused_until_the_first_has_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let first = Server::start(config(&dir)).await.unwrap();
        let refused = Server::start(config(&dir)).await.unwrap_err();
        assert!(matches!(refused, ServeError::Storage(StorageError::InUse { .. })), "{refused}");
        first.stop().await.unwrap();
        Server::start(config(&dir)).await.unwrap().stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_start_that_nobody_waits_for_leaves_nothing_running() {
        let dir = tempfile::tempdir().unwrap();
        {
            let mut start = std::pin::pin!(Server::start(config(&dir)));
            // Begins it; if it is done already its server is dropped.
            std::future::poll_fn(|cx| std::task::Poll::Ready(start.as_mut().poll(cx).is_ready())).await;
        }
        loop {
            match Server::start(config(&dir)).await {
                Err(ServeError::Storage(StorageError::InUse { .. })) => tokio::task::yield_now().await,
                other => return other.unwrap().stop().await.unwrap(),
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_cannot_go_on_says_why_and_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::start(config(&dir)).await.unwrap();
        let address = *server.addresses().first().unwrap();
        let broken = ServeError::system("write")(std::io::ErrorKind::BrokenPipe.into());
        server.control.as_ref().unwrap().inbox.push(Event::Stop(Some(broken)));
        let failed = server.failed().await;
        assert!(matches!(failed, ServeError::System { what: "write", .. }), "{failed}");
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens");
        assert!(!server.expire_session(SessionId(1)).await, "nobody answers");
        assert!(matches!(server.failed().await, ServeError::System { what: "go on serving", .. }), "told once");
    }

    #[tokio::test]
    async fn no_port_means_a_server_without_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let mut silent = config(&dir);
        assert_eq!(silent.clients.listen.take().unwrap().host, ListenHost::Named("127.0.0.1".into()), "this machine");
        let server = Server::start(silent).await.unwrap();
        assert_eq!(server.addresses(), [], "no port");
        server.stop().await.unwrap();
    }
}
