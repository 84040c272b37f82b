//! What the four-letter words are told: figures gathered from the running server, handed to [`crate::words`] for text.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use gk_node::Node;
use gk_node::conn::{CREATE_SESSION, Latency};
use gk_proto::op::OpCode;
use gk_proto::{Instant, Millis, SessionId, WallTime};
use tokio::sync::oneshot;

use crate::inbox::Event;
use crate::link::Link;
use crate::shared::Shared;
use crate::words::{
    self, ConfReport, ConnReport, ConnSession, DumpReport, Environment, Expiry, Mode, MonitorReport, Sample,
    ServerReport, Summary, Value, WatchCounts, Word,
};

/// The text of a word, or where it will come from.
pub(crate) enum Answer {
    Text(String),
    Later(oneshot::Receiver<String>),
}

/// Answers a word for the connection `asking`. Opens the tree itself, and only for what it reads there: nothing that may
/// block is done under a guard.
pub(crate) fn answer(bytes: [u8; 4], mask: Option<i64>, shared: &Shared, asking: &Link) -> Answer {
    shared.stats.received.fetch_add(1, Ordering::Relaxed);
    shared.stats.sent.fetch_add(1, Ordering::Relaxed);
    let Some(word) = Word::from_first_bytes(bytes) else { return Answer::Text(String::new()) };
    if word != Word::TelnetClose && !shared.config.clients.words.allows(word) {
        return Answer::Text(words::not_executed(word));
    }
    tracing::info!("Processing {} command from {}", word.name(), asking.remote);
    Answer::Text(match word {
        Word::TelnetClose => String::new(),
        Word::Ruok => words::I_AM_OK.to_owned(),
        Word::Isro => words::isro(false).to_owned(),
        Word::Envi => words::envi(&Environment::of_process()),
        Word::Gtmk => words::trace_mask(shared.trace_mask.load(Ordering::Relaxed)),
        Word::Stmk => {
            let mask = mask.unwrap_or(words::TRACE_MASK);
            shared.trace_mask.store(mask, Ordering::Relaxed);
            words::trace_mask(mask)
        }
        Word::Srst => {
            shared.stats.reset();
            shared.disk.reset();
            words::SERVER_STATS_RESET.to_owned()
        }
        Word::Crst => {
            for link in shared.all_links() {
                link.reset_stats();
            }
            words::CONNECTION_STATS_RESET.to_owned()
        }
        Word::Srvr => words::srvr(&server(shared)),
        Word::Stat => words::stat(&server(shared), &connections(shared, asking)),
        Word::Cons => words::cons(&connections(shared, asking)),
        Word::Mntr => monitor(shared),
        Word::Conf => words::conf(&configuration(shared)),
        Word::Dirs => {
            let sizes = shared.snapshot_store.sizes().unwrap_or_default();
            words::dirs(sizes.data, sizes.log)
        }
        Word::Hash => words::hash(shared.digests.lock().iter().map(|(zxid, digest)| (*zxid, digest.cast_signed()))),
        Word::Wchs => {
            let counts = shared.watches.lock().summary();
            words::wchs(WatchCounts {
                connections: wide(counts.connections),
                paths: wide(counts.paths),
                watches: wide(counts.watches),
            })
        }
        Word::Wchc => watches_by_session(shared),
        Word::Wchp => watches_by_path(shared),
        Word::Dump => {
            let (ask, answer) = oneshot::channel();
            shared.inbox.push(Event::Dump(ask));
            return Answer::Later(answer);
        }
    })
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn server(shared: &Shared) -> ServerReport {
    let (zxid, node_count) = shared.tree.read(|tree| (tree.last_zxid(), tree.node_count()));
    ServerReport {
        latency: latency(&shared.stats.latency.lock()),
        packets_received: shared.stats.received.load(Ordering::Relaxed),
        packets_sent: shared.stats.sent.load(Ordering::Relaxed),
        connections: wide(shared.links.read().len()),
        outstanding: wide(shared.stats.outstanding.load(Ordering::Relaxed)),
        zxid,
        mode: Mode::Standalone,
        node_count: wide(node_count),
        proposal_sizes: None,
    }
}

fn latency(latency: &Latency) -> words::Latency {
    words::Latency { min: latency.min_ms, max: latency.max_ms, total: latency.sum_ms, count: latency.count }
}

fn connections(shared: &Shared, asking: &Link) -> Vec<ConnReport> {
    shared.all_links().iter().map(|link| connection(link, asking, shared)).collect()
}

fn connection(link: &Link, asking: &Link, shared: &Shared) -> ConnReport {
    let published = link.published.lock().clone();
    let stats = &published.stats;
    let asks = link.id == asking.id;
    let age = shared.clock.instant().since(link.opened);
    let session = (link.session() != SessionId::NONE).then(|| ConnSession {
        id: link.session(),
        last_operation: stats.last_op.map_or("NA", op_name),
        established: WallTime(shared.clock.wall().0 - i64::try_from(age.0).unwrap_or(0)),
        timeout_ms: published.timeout_ms,
        last_cxid: stats.last_xid.0.into(),
        last_zxid: stats.last_zxid,
        last_response_ms: stats.last_reply.millis(),
        last_latency_ms: stats.last_latency_ms,
        latency: latency(&stats.latency),
    });
    ConnReport {
        address: link.remote,
        interest: u8::from(!asks),
        queued: wide(published.queued),
        received: stats.received + u64::from(asks),
        sent: stats.sent,
        session,
    }
}

/// ZooKeeper's abbreviations of operations (`Request.op2String` in `ServerCnxn`).
fn op_name(code: i32) -> &'static str {
    if code == CREATE_SESSION {
        return "SESS";
    }
    match OpCode::from_code(code) {
        Some(OpCode::Ping) => "PING",
        Some(OpCode::Multi) => "MULT",
        Some(OpCode::MultiRead) => "MLTR",
        Some(OpCode::Create | OpCode::Create2 | OpCode::CreateTtl | OpCode::CreateContainer) => "CREA",
        Some(OpCode::Delete | OpCode::DeleteContainer) => "DELE",
        Some(OpCode::SetData) => "SETD",
        Some(OpCode::Reconfig) => "RECO",
        Some(OpCode::SetAcl) => "SETA",
        Some(OpCode::CloseSession) => "CLOS",
        Some(OpCode::Sync) => "SYNC",
        Some(OpCode::Check) => "CHEC",
        Some(OpCode::Exists) => "EXIS",
        Some(OpCode::GetData) => "GETD",
        Some(OpCode::SetWatches) => "SETW",
        Some(OpCode::SetWatches2) => "STW2",
        Some(OpCode::AddWatch) => "ADDW",
        Some(OpCode::GetAcl) => "GETA",
        Some(OpCode::GetChildren | OpCode::GetChildren2) => "GETC",
        Some(OpCode::GetAllChildrenNumber) => "GETACN",
        Some(OpCode::CheckWatches) => "CHKW",
        Some(OpCode::RemoveWatches) => "REMW",
        Some(OpCode::WhoAmI) => "HOMI",
        Some(OpCode::GetEphemerals) => "GETE",
        Some(OpCode::Auth | OpCode::Sasl) | None => "NA",
    }
}

fn monitor(shared: &Shared) -> String {
    let summary = |latency: &Latency| {
        Value::Summary(Summary { count: latency.count, sum: latency.sum_ms, min: latency.min_ms, max: latency.max_ms })
    };
    let counter = |value: u64| Value::Whole(i64::try_from(value).unwrap_or(i64::MAX));
    let rejected = shared.stats.connections_rejected.load(Ordering::Relaxed);
    let slow = shared.disk.slow_fsyncs.load(Ordering::Relaxed);
    let samples = [
        Sample { name: "fsynctime", key: None, value: summary(&shared.disk.fsync.lock()) },
        Sample { name: "snapshottime", key: None, value: summary(&shared.disk.snapshot.lock()) },
        Sample { name: "digest_mismatches_count", key: None, value: counter(shared.digest_mismatches) },
        Sample { name: "connection_rejected", key: None, value: counter(rejected) },
        Sample { name: "fsync_threshold_exceed_count", key: None, value: counter(slow) },
    ];
    let open_files = std::fs::read_dir("/proc/self/fd").ok().map(|files| wide(files.count()));
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let server = server(shared);
    let (ephemerals, data_size, sessions) =
        shared.tree.read(|tree| (tree.ephemeral_count(), tree.approximate_data_size(), tree.session_count()));
    words::mntr(&MonitorReport {
        server: &server,
        uptime: Millis(shared.clock.instant().millis()),
        watch_count: wide(shared.watches.lock().len()),
        ephemerals_count: wide(ephemerals),
        approximate_data_size: data_size,
        global_sessions: wide(sessions),
        local_sessions: 0,
        open_file_descriptors: open_files,
        max_file_descriptors: limit,
        samples: &samples,
    })
}

fn configuration(shared: &Shared) -> ConfReport {
    let sizes = shared.snapshot_store.sizes().unwrap_or_default();
    let config = &shared.config;
    let version = |dir: &std::path::Path| {
        let dir = dir.join("version-2");
        std::path::absolute(&dir).unwrap_or(dir)
    };
    ConfReport {
        client_port: config.clients.listen.as_ref().map_or(-1, |listen| i32::from(listen.port)),
        snapshot_dir: version(&config.storage.data_dir),
        snapshot_dir_bytes: sizes.data,
        log_dir: version(&config.storage.log_dir),
        log_dir_bytes: sizes.log,
        tick: config.sessions.tick,
        per_address_max: config.clients.per_address_max.map_or(0, wide),
        timeout_min: config.sessions.timeout_min,
        timeout_max: config.sessions.timeout_max,
        backlog: config.clients.backlog.and_then(|backlog| i32::try_from(backlog).ok()).unwrap_or(-1),
        server_id: 0,
    }
}

fn watches_by_session(shared: &Shared) -> String {
    let watches = shared.watches.lock();
    let session = |conn| shared.link(conn).map_or(SessionId::NONE, |link| link.session());
    words::wchc(watches.by_conn().map(|(conn, paths)| (session(conn), paths)))
}

fn watches_by_path(shared: &Shared) -> String {
    let watches = shared.watches.lock();
    let session = |conn| shared.link(conn).map_or(SessionId::NONE, |link| link.session());
    words::wchp(watches.by_path().map(|(path, conns)| (path, conns.into_iter().map(session).collect::<Vec<_>>())))
}

/// The text of `dump`, from the node's own thread.
pub(crate) fn dump(node: &Node, shared: &Shared) -> String {
    let (now, wall) = (shared.clock.instant(), shared.clock.wall());
    let at = |then: Instant| {
        let ahead = i64::try_from(then.millis()).unwrap_or(0) - i64::try_from(now.millis()).unwrap_or(0);
        WallTime(wall.0 + ahead)
    };
    let sessions = node.sessions().buckets().map(|(then, members)| Expiry { at: at(then), members });
    let mut connections: BTreeMap<Instant, Vec<_>> = BTreeMap::new();
    for link in shared.all_links() {
        let silent_for = match link.published.lock().timeout_ms {
            0 => shared.config.clients.sessionless_timeout,
            timeout_ms => Millis(u64::try_from(timeout_ms).unwrap_or(0)),
        };
        // ZooKeeper looks for silent connections at this interval, whatever the tick is (`NIOServerCnxnFactory`).
        let interval = shared.config.clients.sessionless_timeout.0.max(1);
        let due = ((link.last_heard() + silent_for).millis() / interval + 1) * interval;
        connections.entry(Instant::default() + Millis(due)).or_default().push((link.remote, link.session()));
    }
    let ephemerals = shared.tree.read(|tree| {
        let owners: Vec<SessionId> = tree.sessions_with_ephemerals().collect();
        owners.into_iter().map(|owner| (owner, tree.ephemerals(owner).collect())).collect()
    });
    words::dump(&DumpReport {
        sessions: sessions.collect(),
        ephemerals,
        connections: connections.into_iter().map(|(then, members)| Expiry { at: at(then), members }).collect(),
    })
}
