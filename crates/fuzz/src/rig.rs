//! A server without IO: the node, its connections, the tree and the watches, with a log that is durable when told so.
//!
//! Held against each other: what a connection is sent against what was asked on it ([`Talk`]), the digest that the node
//! predicts against that of the tree, and at the end a second tree, made of the logged bytes alone, against the first.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use gk_node::auth::{AuthRules, DigestAlgorithm, DigestScheme, Ids, IpScheme, ip_id};
use gk_node::conn::{self, Conn, World};
use gk_node::password::Passwords;
use gk_node::{Delivery, Effect, Input, Node, NodeConfig, Now, Step};
use gk_proto::acl::{AclList, perm};
use gk_proto::stat::OwnerRules;
use gk_proto::txn::LoggedTxn;
use gk_proto::watch::EventType;
use gk_proto::{ConnId, Instant, Millis, WallTime, Zxid};
use gk_tree::{Change, ChangeSink, DeadOwner, Tree, TreeOptions, Watches};

use crate::session::Talk;

pub(crate) struct Rig {
    config: Arc<NodeConfig>,
    rules: Arc<AuthRules>,
    now: Now,
    tree: Tree,
    watches: RefCell<Watches>,
    node: Node,
    pub(crate) clients: BTreeMap<ConnId, Client>,
    logged: Vec<Bytes>,
    /// The last one appended that is not durable yet.
    undurable: Option<Zxid>,
    pub(crate) disk_held: bool,
    inputs: VecDeque<Input>,
    /// What was applied: the node is told before anything else.
    applied: VecDeque<Input>,
    next_conn: u64,
}

pub(crate) struct Client {
    conn: Conn,
    ids: Ids,
    pub(crate) talk: Talk,
    heard: Instant,
}

/// Nodes of a closed session that are removed at once: few, so that sweeping is common.
const INLINE_DELETES_MAX: usize = 2;
const FRAME_MAX: usize = 4096;
/// Requests that a connection holds back at most, by its own bounds and one guard's worth of frames.
const HELD_MAX: usize = 1024 + 128;

impl Rig {
    pub(crate) fn new() -> Self {
        let mut config = NodeConfig::new();
        config.owner_rules = OwnerRules { extended_types: true, emulate_353: false };
        config.enforce_quota = true;
        config.frame_max = FRAME_MAX;
        config.record_max = 2 * FRAME_MAX;
        let digest = DigestScheme { super_digest: None, algorithm: DigestAlgorithm::Sha1 };
        let rules =
            AuthRules { schemes: vec![Box::new(IpScheme), Box::new(digest)], skip_acl: false, enforced: Vec::new() };
        let (config, rules) = (Arc::new(config), Arc::new(rules));
        let tree = new_tree(&config);
        let now = Now { instant: Instant(0), wall: WallTime(1_000_000) };
        let node = Node::standalone((*config).clone(), rules.clone(), Passwords::Computable, &tree, now);
        Self {
            config,
            rules,
            now,
            tree,
            watches: RefCell::new(Watches::new(1)),
            node,
            clients: BTreeMap::new(),
            logged: Vec::new(),
            undurable: None,
            disk_held: false,
            inputs: VecDeque::new(),
            applied: VecDeque::new(),
            next_conn: 1,
        }
    }

    /// A new connection.
    pub(crate) fn accept(&mut self) -> ConnId {
        let id = ConnId(self.next_conn);
        self.next_conn += 1;
        let remote = core::net::IpAddr::from([127, 0, 0, 1]);
        let conn = Conn::new(id, remote, self.config.clone(), self.rules.clone());
        let ids: Ids = Arc::new([ip_id(remote)]);
        self.clients.insert(id, Client { conn, ids, talk: Talk::default(), heard: self.now.instant });
        id
    }

    /// Bytes arrive on a connection.
    pub(crate) fn bytes(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.talk.sent(bytes);
        client.heard = self.now.instant;
        self.conn_input(id, conn::Input::Bytes(bytes));
        self.pump();
    }

    /// A socket ends, from either side.
    pub(crate) fn disconnect(&mut self, id: ConnId) {
        let Some(client) = self.clients.remove(&id) else { return };
        self.watches.borrow_mut().drop_conn(id);
        if let Some(session) = client.conn.session() {
            self.inputs.push_back(Input::Disconnected { conn: id, session, heard: client.heard });
        }
        self.pump();
    }

    pub(crate) fn tell_node(&mut self, input: Input) {
        self.inputs.push_back(input);
        self.pump();
    }

    /// Time passes; what was heard is collected first.
    pub(crate) fn wait(&mut self, ms: u64) {
        self.now.instant = self.now.instant + Millis(ms);
        self.now.wall.0 += i64::try_from(ms).unwrap_or(0);
        let heard = self.clients.values().filter_map(|client| Some((client.conn.session()?, client.heard)));
        self.inputs.push_back(Input::Touched(heard.collect()));
        self.pump();
        for _ in 0..64 {
            if self.now.instant < self.node.poll_timeout() {
                break;
            }
            self.node.handle_timeout(self.now, &self.tree);
            self.pump();
        }
    }

    /// Removes what a dead owner left.
    pub(crate) fn sweep(&mut self) -> bool {
        self.tree.sweep(1)
    }

    /// Carries out all that follows from what has happened, one input at a time.
    pub(crate) fn pump(&mut self) {
        loop {
            while let Some(effect) = self.node.poll_effect() {
                self.effect(effect);
            }
            if let Some(input) = self.applied.pop_front().or_else(|| self.inputs.pop_front()) {
                self.node.handle(self.now, input, &self.tree);
            } else if let Some(upto) = self.undurable.take_if(|_| !self.disk_held) {
                self.node.handle(self.now, Input::Durable { upto }, &self.tree);
            } else if let Some(id) = self.with_backlog() {
                self.conn_input(id, conn::Input::Continue);
            } else if let Some(id) = self.ended() {
                self.disconnect_quietly(id);
            } else {
                break;
            }
            self.node.check_invariants();
        }
    }

    /// Everything that can be asserted of the whole.
    pub(crate) fn check(&self) {
        self.node.check_invariants();
        self.tree.check_invariants();
        for client in self.clients.values() {
            client.conn.check_invariants();
            assert!(client.conn.queued() <= HELD_MAX, "{} requests are held back", client.conn.queued());
        }
    }

    /// Once nothing is held up any more: whoever is still connected has been answered, and the log is the tree.
    pub(crate) fn finish(mut self) {
        self.disk_held = false;
        self.pump();
        while self.sweep() {}
        self.check();
        for client in self.clients.values() {
            assert_eq!(client.conn.queued(), 0, "requests are held back by nothing");
            client.talk.check_all_answered();
        }
        let mut again = new_tree(&self.config);
        for payload in &self.logged {
            let logged = LoggedTxn::decode(payload).expect("INVARIANT: decoded once already, when it was appended");
            again.apply(&logged.header, &logged.txn, &mut ());
        }
        while again.sweep(usize::MAX) {}
        assert_eq!(again.digest(), self.tree.digest(), "the digest of the log replayed");
        assert_eq!(again.node_count(), self.tree.node_count(), "nodes of the log replayed");
        assert!(again.sessions().eq(self.tree.sessions()), "sessions of the log replayed");
    }

    fn with_backlog(&self) -> Option<ConnId> {
        self.clients.iter().find(|(_, client)| client.conn.has_backlog()).map(|(id, _)| *id)
    }

    fn ended(&self) -> Option<ConnId> {
        self.clients.iter().find(|(_, client)| client.talk.has_ended).map(|(id, _)| *id)
    }

    fn disconnect_quietly(&mut self, id: ConnId) {
        let Some(client) = self.clients.remove(&id) else { return };
        self.watches.borrow_mut().drop_conn(id);
        if let Some(session) = client.conn.session() {
            self.inputs.push_back(Input::Disconnected { conn: id, session, heard: client.heard });
        }
    }

    fn conn_input(&mut self, id: ConnId, input: conn::Input<'_>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let mut out = Vec::new();
        client.conn.handle(self.now.instant, input, &Reading(&self.tree, &self.watches), &mut out);
        let mut requests = Vec::new();
        while let Some(effect) = client.conn.poll_effect() {
            match effect {
                conn::Effect::Request(request) => requests.push(request),
                conn::Effect::Connect(connect) => self.inputs.push_back(Input::Connect(connect)),
                conn::Effect::Authenticated(ids) => client.ids = ids,
                conn::Effect::Word { .. } | conn::Effect::Close => client.talk.has_ended = true,
            }
        }
        client.talk.received(&out);
        client.conn.check_invariants();
        if !requests.is_empty() {
            self.inputs.push_back(Input::Requests(requests));
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Append { zxid, payload } => {
                assert!(
                    self.undurable.is_none_or(|last| zxid > last),
                    "{zxid:?} is appended after {:?}",
                    self.undurable
                );
                let logged = LoggedTxn::decode(&payload);
                assert!(logged.is_ok(), "what is logged cannot be read: {logged:?}");
                self.logged.push(payload);
                self.undurable = Some(zxid);
            }
            Effect::Apply { upto, steps } => self.apply(upto, &steps),
            Effect::OverQuota(_) | Effect::Expiring { .. } => {}
            Effect::Deliver(id, delivery) => self.deliver(id, delivery),
        }
    }

    fn deliver(&mut self, id: ConnId, delivery: Delivery) {
        self.conn_input(id, conn::Input::Deliver(delivery));
        self.conn_input(id, conn::Input::Continue);
    }

    fn apply(&mut self, upto: Zxid, steps: &[Step]) {
        let (mut outcomes, mut answers, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Txn(logged) => {
                    let mut watches = self.watches.borrow_mut();
                    let mut firing = Firing { watches: &mut watches, told: Vec::new() };
                    outcomes.push(self.tree.apply(&logged.header, &logged.txn, &mut firing));
                    told.append(&mut firing.told);
                    if let (Some(want), Some(have)) = (logged.digest, self.tree.digest()) {
                        assert_eq!(want, have, "predicted digest of {:?}", logged.header.zxid);
                    }
                }
                Step::Reads(requests) => {
                    let is_there = requests.first().is_some_and(|first| self.clients.contains_key(&first.conn));
                    let answer = || conn::answer_reads(requests, &self.rules, &Reading(&self.tree, &self.watches));
                    answers.push(is_there.then(answer));
                }
            }
        }
        for (id, delivery, acl) in told {
            let may = self.clients.get(&id).is_some_and(|client| self.rules.allows(&acl, perm::READ, &client.ids));
            if may {
                self.deliver(id, delivery);
            }
        }
        self.applied.push_back(Input::Applied { upto, outcomes, answers });
    }
}

fn new_tree(config: &NodeConfig) -> Tree {
    let mut tree = Tree::new(TreeOptions { owner_rules: config.owner_rules, hash_key: 1, digest: true });
    tree.set_inline_deletes_max(INLINE_DELETES_MAX);
    tree
}

struct Reading<'a>(&'a Tree, &'a RefCell<Watches>);

impl World for Reading<'_> {
    fn tree(&self) -> &Tree {
        self.0
    }

    fn watches<R>(&self, change: impl FnOnce(&mut Watches) -> R) -> R {
        change(&mut self.1.borrow_mut())
    }
}

/// Fires watches while txns are applied.
struct Firing<'a> {
    watches: &'a mut Watches,
    told: Vec<(ConnId, Delivery, AclList)>,
}

impl ChangeSink for Firing<'_> {
    fn changed(&mut self, change: Change<'_>) {
        let told = &mut self.told;
        self.watches.fire(&change, &mut |conn, kind, path, acl| {
            told.push(event(conn, change.zxid, kind, path, acl));
        });
    }

    fn owner_died(&mut self, dead: &DeadOwner<'_>) {
        let (zxid, told) = (dead.zxid(), &mut self.told);
        self.watches.fire_dead(dead, &mut |conn, kind, path, acl| told.push(event(conn, zxid, kind, path, acl)));
    }
}

fn event(conn: ConnId, zxid: Zxid, kind: EventType, path: &Arc<str>, acl: &AclList) -> (ConnId, Delivery, AclList) {
    (conn, Delivery::Event { zxid, kind, path: path.clone() }, acl.clone())
}
