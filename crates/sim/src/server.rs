//! One life of a server: the machines and the storage that are shipped, and in place of their threads *lanes*, each of
//! which takes its next step when the run says so.
//!
//! A step is what a thread does between two points at which others may come in between: under one guard of the tree, or
//! in one call of the disk. What the edge (`gk_server`) does around the machines is done here again, lane by lane: the
//! edge is thin so that this can be.
//!
//! Not done here: four-letter words, limits of connections, the log's file lock between processes.

mod node_lane;
mod log_lane;
mod conn_lane;
mod snapshot_lane;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use gk_node::auth::{AuthRules, DigestAlgorithm, DigestScheme, IpScheme};
use gk_node::password::Passwords;
use gk_node::{Connect, Delivery, Node, NodeConfig, Request};
use gk_proto::{ConnId, Instant, Millis, SessionId, Zxid};
use gk_storage::testing::MemDisk;
use gk_storage::{Opened, StorageError};
use gk_tree::{Tree, ViewHead, Watches};

use crate::around::{Around, Event, Lane, Wake, nanos};
use crate::lies::Lie;
use crate::network::below;
use conn_lane::ConnLane;
use log_lane::LogLane;
use node_lane::NodeLane;
use snapshot_lane::SnapshotLane;

/// What reaches the node's lane.
#[derive(Debug)]
enum Message {
    Requests(Vec<Request>),
    Connect(Connect),
    Disconnected { conn: ConnId, session: SessionId, heard: Instant },
    Durable(Zxid),
    DiskFull(bool),
    BeginView,
    EndView,
}

/// Why a server cannot go on.
pub(crate) type Stopped = StorageError;

/// A running server.
pub(crate) struct Server {
    tree: Tree,
    watches: Watches,
    node: NodeLane,
    log: LogLane,
    snapshots: SnapshotLane,
    conns: BTreeMap<ConnId, ConnLane>,
    inbox: VecDeque<Message>,
    /// What connections of each thread have for the node.
    handover: Vec<Vec<Message>>,
    /// Requests at the node, as of its last turn.
    outstanding: usize,
    config: Arc<NodeConfig>,
    rules: Arc<AuthRules>,
    passwords: Passwords,
    door: Wake,
    /// The error that ends it.
    failed: Option<Stopped>,
    /// The view that the node's lane began for the snapshots' lane.
    view: Option<Option<ViewHead>>,
}

/// What the lanes hand to each other, beside what they own.
impl Server {
    /// Starts on what is on the disk, as `Parts::open` of the server does.
    pub(crate) fn start(around: &mut Around, disk: Arc<MemDisk>, passwords: Passwords) -> Result<Self, StorageError> {
        around.process_started();
        let opened = gk_storage::open(disk.clone(), &around.options.store)?;
        let Opened { mut tree, log, snapshots, report } = opened;
        tree.set_inline_deletes_max(around.options.inline_deletes);
        around.note(|| format!("started at {:?}: {:?}", tree.last_zxid(), report.warnings));
        around.checker.recovered(&tree, around.server_instant());
        let mut config = around.options.node.clone();
        config.enforce_quota &= around.options.lie != Some(Lie::QuotaIgnored);
        if around.options.lie == Some(Lie::NeverReaped) {
            config.reap_interval = Millis(1 << 40);
        }
        let config = Arc::new(config);
        let skip_acl = around.options.lie == Some(Lie::AclIgnored);
        let rules = Arc::new(AuthRules { skip_acl, ..rules() });
        let node = Node::standalone((*config).clone(), rules.clone(), passwords.clone(), &tree, around.server_now());
        let newest = snapshots.newest()?.map_or(0, |newest| newest.bytes);
        let marks = log.marks_sync();
        let mut server = Self {
            watches: Watches::new(around.options.store.tree.hash_key),
            tree,
            node: NodeLane::new(node, around.server_instant()),
            log: LogLane::new(log, newest, around),
            snapshots: SnapshotLane::new(disk, snapshots, marks),
            conns: BTreeMap::new(),
            inbox: VecDeque::new(),
            handover: (0..around.options.shards).map(|_| Vec::new()).collect(),
            outstanding: 0,
            config,
            rules,
            passwords,
            door: Wake::default(),
            failed: None,
            view: None,
        };
        server.wake_node(around, 0);
        server.wake_log(around, 0);
        server.wake_snapshots(around, 0);
        server.wake_door(around);
        Ok(server)
    }

    /// One step of a lane; the error that ends the server, if there is one.
    pub(crate) fn step(&mut self, around: &mut Around, lane: Lane) -> Option<Stopped> {
        around.steps += 1;
        match lane {
            Lane::Node => self.node_step(around),
            Lane::Log => self.log_step(around),
            Lane::Snapshots => self.snapshot_step(around),
            Lane::Conn(conn) => self.conn_step(around, conn),
            Lane::Handover(shard) => self.hand_over(around, shard),
            Lane::Door => self.door_step(around),
        }
        self.failed.take()
    }

    /// The tree, for those who compare it.
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Asserts what must hold between steps; bounds among it (I29).
    pub(crate) fn check(&self, around: &mut Around, lane: Lane) {
        match lane {
            Lane::Node => self.node.check_invariants(),
            Lane::Conn(conn) => {
                let worst = self.conns.get(&conn).and_then(|conn| conn.check_bounds(around.options.node.frame_max));
                if let Some(what) = worst {
                    around.checker.fail(&format!("I29 {conn:?}: {what}"));
                }
            }
            Lane::Log | Lane::Snapshots | Lane::Handover(_) | Lane::Door => {}
        }
        if around.steps.is_multiple_of(around.options.compare_every) {
            around.checker.tree(&self.tree);
            self.watches.check_invariants();
            let watched = self.watches.by_conn().find(|(conn, _)| !self.conns.contains_key(conn));
            if let Some((conn, paths)) = watched {
                around.checker.fail(&format!("I29 {conn:?} has ended and still watches {paths:?}"));
            }
        }
    }

    /// Whether nothing is under way in it.
    pub(crate) fn is_idle(&self) -> bool {
        self.inbox.is_empty()
            && self.handover.iter().all(Vec::is_empty)
            && self.node.is_idle()
            && self.log.is_idle()
            && !self.tree.is_sweeping()
    }

    /// Ends in good order, as `Threads` and `run` of the server do: first the node's thread, then the connections, then
    /// the log's, which writes what it has.
    pub(crate) fn stop(mut self, around: &mut Around) -> Result<(), StorageError> {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.end_conn(around, conn);
        }
        self.log.stop()
    }

    /// The process is gone: its sockets end, or the machine with them, and then nobody is told.
    pub(crate) fn crash(self, around: &mut Around, is_silent: bool) {
        for conn in self.conns.into_keys() {
            around.checker.ended(conn);
            let Some(pipe) = around.network.pipes.get_mut(&conn) else { continue };
            pipe.server_gone = true;
            if is_silent {
                pipe.down.goes_dark();
                continue;
            }
            let (now, weather) = (around.now, around.options.weather.clone());
            let at = pipe.down.end(&mut around.rng, &weather, now);
            around.schedule(at - now, Event::ToClient(conn));
        }
    }

    fn wake_door(&mut self, around: &mut Around) {
        let after = nanos(around.options.sessionless_ms / 4 + 1);
        let mut wake = Wake::default();
        around.wake(&mut wake, after, Event::Lane(Lane::Door));
        self.door = wake;
    }

    /// Ends connections that have no session for too long, and those that end and do not take what is left for them.
    fn door_step(&mut self, around: &mut Around) {
        let (now, limit) = (around.now, nanos(around.options.sessionless_ms));
        let mut to_wake = Vec::new();
        for (id, conn) in &mut self.conns {
            if conn.is_overdue(now, limit) {
                to_wake.push(*id);
            }
        }
        for id in to_wake {
            self.wake_conn(around, id, 0);
        }
        self.wake_door(around);
    }

    /// Puts something into the outbox of a connection, if it is still there.
    fn push(&mut self, around: &mut Around, conn: ConnId, delivery: Delivery) {
        if let Some(lane) = self.conns.get_mut(&conn) {
            lane.push(delivery);
            let after = around.lag();
            self.wake_conn(around, conn, after);
        }
    }

    fn send(&mut self, around: &mut Around, message: Message) {
        self.inbox.push_back(message);
        let after = around.lag();
        self.wake_node(around, after);
    }

    /// Requests of connections of one thread reach the node.
    fn hand_over(&mut self, around: &mut Around, shard: usize) {
        let Some(messages) = self.handover.get_mut(shard) else { return };
        for message in std::mem::take(messages) {
            match (self.inbox.back_mut(), message) {
                (Some(Message::Requests(before)), Message::Requests(mut more)) => before.append(&mut more),
                (_, message) => self.inbox.push_back(message),
            }
        }
        let after = around.lag();
        self.wake_node(around, after);
    }

    fn gather(&mut self, around: &mut Around, shard: usize, message: Message) {
        if let Some(messages) = self.handover.get_mut(shard) {
            if messages.is_empty() {
                let after = around.lag();
                around.schedule(after, Event::Lane(Lane::Handover(shard)));
            }
            messages.push(message);
        }
    }

    /// Accepts a connection.
    pub(crate) fn accept(&mut self, around: &mut Around, id: ConnId) {
        let shard = below(&mut around.rng, around.options.shards);
        let lane = ConnLane::new(id, shard, self.config.clone(), self.rules.clone(), around);
        self.conns.insert(id, lane);
        around.checker.accepted(id);
    }
}

/// The schemes that the server has by default.
fn rules() -> AuthRules {
    AuthRules {
        schemes: vec![
            Box::new(IpScheme),
            Box::new(DigestScheme { super_digest: None, algorithm: DigestAlgorithm::Sha1 }),
        ],
        skip_acl: false,
        enforced: Vec::new(),
    }
}
