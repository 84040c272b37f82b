//! Putting a server together, and taking it apart again.

use std::sync::Arc;
use std::thread::JoinHandle;

use gk_node::auth::{AuthRules, DigestAlgorithm, DigestScheme, IpScheme, Scheme};
use gk_node::{Node, NodeConfig};
use gk_proto::rng::Rng;
use gk_proto::stat::OwnerRules;
use gk_storage::{Disk, Log, Opened, RealDisk, RecoveryReport, SnapshotStore, StoreOptions};
use gk_tree::{TreeOptions, Watches};
use parking_lot::{Mutex, RwLock};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::{AccessConfig, Compression, Config};
use crate::driver::Driver;
use crate::error::{Exit, Listening, ServeError};
use crate::inbox::{Event, Inbox};
use crate::listener::{Door, bind};
use crate::log_lane::{LogLane, SnapshotBell};
use crate::shard::Shard;
use crate::shared::{DiskStats, Shared, SharedTree, Stats};
use crate::snapshots::Snapshots;
use crate::{config, key};

/// Serves until a signal or an error ends it. `ready` is told once clients can connect.
pub fn serve(config: Config, ready: impl FnOnce(&Listening)) -> Result<Exit, ServeError> {
    let clock = Clock::start();
    let node_config = Arc::new(node_config(&config));
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    // The key only has to be hard to guess for a client: it never leaves the process.
    let hash_key = Rng::new(clock.wall().0.cast_unsigned() ^ (u64::from(std::process::id()) << 32)).next_u64();
    let Opened { tree, log, snapshots, report } =
        gk_storage::open(disk, &store_options(&config, &node_config, hash_key))?;
    tell_recovery(&report);
    let passwords = key::load_or_make(&config.storage.data_dir, &tree)?;
    let rules = Arc::new(auth_rules(&config.access));
    let now = clock.now();
    let node = Node::standalone((*node_config).clone(), rules.clone(), passwords, &tree, now);
    let (shards, stops) = start_shards()?;
    let shared = Arc::new(Shared {
        config,
        node_config,
        rules,
        clock,
        tree: SharedTree::new(tree),
        watches: Mutex::new(Watches::new(hash_key)),
        links: RwLock::default(),
        inbox: Inbox::default(),
        shards,
        stats: Stats::default(),
        disk: DiskStats::default(),
        snapshot_store: snapshots.clone(),
        digest_mismatches: report.digest_mismatch_count,
        digests: Mutex::default(),
        trace_mask: crate::words::TRACE_MASK.into(),
        stopping: false.into(),
    });
    for shard in &shared.shards {
        shard.attach(&shared);
    }
    let running = Running::start(shared.clone(), node, log, snapshots)?;
    let outcome = accept(&shared, running.driver, ready);
    shared.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
    drop(stops);
    running.log.stop();
    running.bell.stop();
    let _ = running.log_thread.join();
    let _ = running.snapshot_thread.join();
    let exit = outcome?;
    if let Ok(lane) = Arc::try_unwrap(running.log) {
        lane.close()?;
    }
    Ok(exit)
}

struct Running {
    log: Arc<LogLane>,
    bell: Arc<SnapshotBell>,
    driver: JoinHandle<Option<ServeError>>,
    log_thread: JoinHandle<()>,
    snapshot_thread: JoinHandle<()>,
}

impl Running {
    fn start(shared: Arc<Shared>, node: Node, log: Log, store: SnapshotStore) -> Result<Self, ServeError> {
        let bell = Arc::new(SnapshotBell::default());
        let newest = store.newest()?.map_or(0, |newest| newest.bytes);
        let marks = log.marks_sync();
        let rng = Rng::new(shared.clock.wall().0.cast_unsigned());
        let log = Arc::new(LogLane::new(log, &shared.config.storage, newest, rng, bell.clone()));
        let driver = Driver::new(shared.clone(), node, log.clone());
        let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let failed = ServeError::system("start a thread");
        let driver = spawn("node").spawn(move || driver.run()).map_err(failed)?;
        let lane = log.clone();
        let with = shared.clone();
        let failed = ServeError::system("start a thread");
        let log_thread = spawn("log-writer").spawn(move || lane.run(&with)).map_err(failed)?;
        let snapshots = Snapshots { shared, store, log: log.clone(), bell: bell.clone(), marks };
        let failed = ServeError::system("start a thread");
        let snapshot_thread = spawn("snapshots").spawn(move || snapshots.run()).map_err(failed)?;
        Ok(Self { log, bell, driver, log_thread, snapshot_thread })
    }
}

/// Accepts connections on the caller's thread until a signal comes or the node's thread ends.
fn accept(
    shared: &Arc<Shared>,
    driver: JoinHandle<Option<ServeError>>,
    ready: impl FnOnce(&Listening),
) -> Result<Exit, ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::system("start a runtime"))?;
    runtime.block_on(async {
        let door = Arc::new(Door::new(shared.clone()));
        let mut addresses = Vec::new();
        if let Some(listen) = &shared.config.clients.listen {
            for listener in bind(listen, shared)? {
                addresses.extend(listener.local_addr());
                let listener = tokio::net::TcpListener::from_std(listener)
                    .map_err(ServeError::system("register the client port"))?;
                let door = door.clone();
                tokio::spawn(async move { door.accept(listener).await });
            }
        }
        tokio::spawn(async move { door.sweep().await });
        // Before anybody is told: a signal that comes the moment after must find us listening for it.
        let signals = Signals::new()?;
        ready(&Listening { addresses });
        wait_for_end(shared, driver, signals).await
    })
}

/// The signals that end a server.
struct Signals([(SignalKind, Signal); 3]);

impl Signals {
    fn new() -> Result<Self, ServeError> {
        let listen = |kind| signal(kind).map(|signal| (kind, signal)).map_err(ServeError::system("listen for signals"));
        Ok(Self([listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?]))
    }

    /// The number of the first that comes.
    async fn next(&mut self) -> i32 {
        let [(term, on_term), (int, on_int), (hup, on_hup)] = &mut self.0;
        tokio::select! {
            _ = on_term.recv() => term.as_raw_value(),
            _ = on_int.recv() => int.as_raw_value(),
            _ = on_hup.recv() => hup.as_raw_value(),
        }
    }
}

async fn wait_for_end(
    shared: &Shared,
    driver: JoinHandle<Option<ServeError>>,
    mut signals: Signals,
) -> Result<Exit, ServeError> {
    let mut driver = tokio::task::spawn_blocking(move || driver.join());
    let number = tokio::select! {
        number = signals.next() => number,
        ended = &mut driver => return Err(ended_by_itself(ended)),
    };
    info!("stopping on signal {number}");
    shared.inbox.push(Event::Stop(None));
    match driver.await {
        Ok(Ok(None)) => Ok(Exit::Signal(number)),
        other => Err(ended_by_itself(other)),
    }
}

type Ended = Result<std::thread::Result<Option<ServeError>>, tokio::task::JoinError>;

fn ended_by_itself(ended: Ended) -> ServeError {
    match ended {
        Ok(Ok(Some(error))) => error,
        Ok(Ok(None) | Err(_)) | Err(_) => {
            ServeError::System { what: "go on serving", source: std::io::Error::other("the node's thread has ended") }
        }
    }
}

type Stops = Vec<tokio::sync::oneshot::Sender<()>>;

/// Half of the cores serve connections; the others are for node and log.
fn start_shards() -> Result<(Vec<Shard>, Stops), ServeError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let started: std::io::Result<Vec<_>> = (0..(cores / 2).max(1)).map(Shard::start).collect();
    Ok(started.map_err(ServeError::system("start a thread for connections"))?.into_iter().unzip())
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

fn store_options(config: &Config, node: &NodeConfig, hash_key: u64) -> StoreOptions {
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
