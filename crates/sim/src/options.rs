//! What a seed draws before a run begins: everything about the server, its machine, the network and the clients, with
//! limits so small that their edges are common.

use gk_client::core::{Backoff, Limits};
use gk_node::NodeConfig;
use gk_proto::Millis;
use gk_proto::rng::Rng;
use gk_storage::{Compression, StoreOptions};
use gk_tree::TreeOptions;

use crate::faults::{self, Fault};
use crate::lies::Lie;
use crate::model::OWNER_RULES;
use crate::network::Weather;
use crate::programs::Kind;

/// Everything about one run but its schedule, which the same seed draws as it goes.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) node: NodeConfig,
    pub(crate) store: StoreOptions,
    pub(crate) weather: Weather,
    pub(crate) clients: Vec<ClientOptions>,
    /// Faults and the times at which they begin, milliseconds.
    pub(crate) faults: Vec<(u64, Fault)>,
    /// Nobody is hurt before the faults are over; milliseconds.
    pub(crate) calm_after_ms: u64,
    pub(crate) server_drift_ppm: i64,
    /// Steps of a lane wait for so long, usually and rarely, microseconds.
    pub(crate) lag_us: u64,
    pub(crate) lag_rare_us: u64,
    /// A commit takes up to so long, microseconds.
    pub(crate) disk_us: u64,
    /// Of 1,000 commits that the node's own thread could make, so many it makes.
    pub(crate) own_commits: u64,
    /// Threads of connections.
    pub(crate) shards: usize,
    /// Bytes read from a socket at once.
    pub(crate) read_max: usize,
    /// Requests in the server at which connections wait.
    pub(crate) outstanding_max: usize,
    /// Snapshots after so many txns; bytes of the tree encoded under one guard, and written at once.
    pub(crate) snapshot_txns: u64,
    pub(crate) guard_piece: usize,
    pub(crate) disk_piece: usize,
    /// Bytes of a log file.
    pub(crate) log_file_bytes: u64,
    /// Pauses of the snapshots' thread, milliseconds: between rounds, between purges.
    pub(crate) round_ms: u64,
    pub(crate) purge_ms: u64,
    /// Ephemeral nodes up to which the end of a session deletes them at once.
    pub(crate) inline_deletes: usize,
    /// A connection without a session is closed after so long, milliseconds.
    pub(crate) sessionless_ms: u64,
    /// Steps of the server after which the whole tree is compared, and after which a power failure is tried on a copy.
    pub(crate) compare_every: u64,
    pub(crate) what_if_every: u64,
    /// What is made wrong on purpose.
    pub(crate) lie: Option<Lie>,
}

/// One client.
#[derive(Clone, Debug)]
pub(crate) struct ClientOptions {
    pub(crate) kind: Kind,
    pub(crate) operations: u32,
    pub(crate) timeout_ms: u64,
    pub(crate) drift_ppm: i64,
    pub(crate) limits: Limits,
    pub(crate) backoff: Backoff,
    /// Mean time between two bursts, and operations in one.
    pub(crate) pause_ms: u64,
    pub(crate) burst_max: u64,
    /// What its own draws begin with.
    pub(crate) seed: u64,
}

/// The least that a run is: simulated seconds, operations of clients, faults.
pub(crate) const SECONDS_MIN: u64 = 30;
pub(crate) const OPERATIONS_MIN: u32 = 500;
pub(crate) const FAULTS_MIN: usize = 3;

impl Options {
    /// Draws them.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let tick = pick(rng, &[20, 50, 100, 200]);
        let node = node(rng, tick);
        let record_max = node.record_max;
        let faults = faults::draw(rng);
        let prealloc_bytes = pick(rng, &[0, 2048, 16 * 1024, 64 * 1024]);
        let compressions = [Compression::None, Compression::None, Compression::Gzip, Compression::Snappy];
        let log_dir = if rng.below(4) == 0 { "/log" } else { "/data" };
        let store = StoreOptions {
            data_dir: "/data".into(),
            log_dir: log_dir.into(),
            prealloc_bytes,
            force_sync: true,
            compression: *one(rng, &compressions),
            trust_empty: false,
            datadir_autocreate: true,
            db_autocreate: true,
            tree: TreeOptions { owner_rules: OWNER_RULES, hash_key: rng.next_u64(), digest: node.digest },
            accept_loss: false,
            payload_max: record_max,
        };
        let weather = Weather {
            delay_us: pick(rng, &[50, 500, 5000, 20_000]),
            torn: pick(rng, &[0, 50, 500]),
            partial: pick(rng, &[0, 50, 300]),
            refused: pick(rng, &[0, 50, 200]),
            unanswered: pick(rng, &[0, 20, 100]),
            window: usize::try_from(pick(rng, &[600, 4096, 65_536])).unwrap_or(4096),
        };
        let last_fault = faults.last().map_or(0, |(at, _)| *at);
        Self {
            clients: clients(rng, tick, node.frame_max),
            calm_after_ms: (SECONDS_MIN * 1000).max(last_fault),
            node,
            store,
            weather,
            faults,
            server_drift_ppm: signed(rng, &[0, 0, 500, 50_000]),
            lag_us: pick(rng, &[1, 10, 100]),
            lag_rare_us: pick(rng, &[100, 5000, 20_000]),
            disk_us: pick(rng, &[50, 500, 5000]),
            own_commits: pick(rng, &[0, 500, 1000]),
            shards: 1 + usize::try_from(rng.below(3)).unwrap_or(0),
            read_max: usize::try_from(pick(rng, &[64, 1000, 65_536])).unwrap_or(1000),
            outstanding_max: usize::try_from(pick(rng, &[2, 20, 1000])).unwrap_or(20),
            snapshot_txns: pick(rng, &[10, 60, 300]),
            guard_piece: usize::try_from(pick(rng, &[64, 500, 32_768])).unwrap_or(500),
            disk_piece: usize::try_from(pick(rng, &[256, 4096, 65_536])).unwrap_or(4096),
            log_file_bytes: pick(rng, &[5000, 50_000, u64::MAX]),
            round_ms: pick(rng, &[20, 200, 1000]),
            purge_ms: pick(rng, &[200, 2000, 20_000]),
            inline_deletes: usize::try_from(pick(rng, &[0, 1, 4096])).unwrap_or(1),
            sessionless_ms: 500 + rng.below(2000),
            compare_every: 500,
            what_if_every: 2500,
            lie: None,
        }
    }
}

fn node(rng: &mut Rng, tick: u64) -> NodeConfig {
    let frame_max = usize::try_from(pick(rng, &[2000, 8000, 100_000])).unwrap_or(8000);
    let tick_ms = i32::try_from(tick).unwrap_or(100);
    NodeConfig {
        tick: Millis(tick),
        session_timeout_min_ms: 4 * tick_ms,
        session_timeout_max_ms: 60 * tick_ms,
        owner_rules: OWNER_RULES,
        enforce_quota: rng.below(2) == 0,
        close_session_lists: rng.below(4) > 0,
        digest: rng.below(4) > 0,
        reap_interval: Millis(pick(rng, &[50, 300, 2000])),
        reap_per_minute: 100_000,
        frame_max,
        record_max: frame_max + usize::try_from(pick(rng, &[100, 2000])).unwrap_or(100),
        ..NodeConfig::new()
    }
}

fn clients(rng: &mut Rng, tick: u64, frame_max: usize) -> Vec<ClientOptions> {
    let count = 4 + rng.below(8);
    let share = u32::try_from(u64::from(OPERATIONS_MIN) / count + 1).unwrap_or(OPERATIONS_MIN);
    let mut clients = Vec::new();
    for number in 0..count {
        let operations = share + u32::try_from(rng.below(30)).unwrap_or(0);
        let burst_max = pick(rng, &[1, 3, 20]);
        // The operations are spread over most of the run.
        let bursts = u64::from(operations) * 2 / (burst_max + 1) + 1;
        clients.push(ClientOptions {
            kind: Kind::draw(rng, number),
            operations,
            timeout_ms: tick * pick(rng, &[4, 8, 20, 40]),
            drift_ppm: signed(rng, &[0, 1000, 50_000]),
            limits: Limits { requests_max: 1000, request_bytes_max: 10 * frame_max, answer_bytes_max: 4 << 20 },
            backoff: Backoff { first: Millis(1 + rng.below(20)), max: Millis(10 + rng.below(200)) },
            pause_ms: (SECONDS_MIN * 850 / bursts).max(1),
            burst_max,
            seed: rng.next_u64(),
        });
    }
    clients
}

/// One of several numbers.
pub(crate) fn pick(rng: &mut Rng, from: &[u64]) -> u64 {
    *one(rng, from)
}

fn signed(rng: &mut Rng, from: &[u64]) -> i64 {
    let value = i64::try_from(pick(rng, from)).unwrap_or(0);
    if rng.below(2) == 0 { value } else { -value }
}

/// One of several things.
pub(crate) fn one<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    let at = usize::try_from(rng.below(from.len() as u64)).unwrap_or(0);
    from.get(at).expect("INVARIANT: callers give at least one, and the number is below their count")
}
