//! A server without threads, sockets, disk or clock: the node, connections by name, and lanes that can be held.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use gk_node::auth::{AuthRules, DigestAlgorithm, DigestScheme, IpScheme};
use gk_node::conn::{self, Conn, World};
use gk_node::password::Passwords;
use gk_node::{Delivery, Effect, Input, Node, NodeConfig, Now, Step};
use gk_proto::acl::{self, perm};
use gk_proto::connect::ConnectRequest;
use gk_proto::jute::{Reader, Write};
use gk_proto::op::OpCode;
use gk_proto::reply::frame;
use gk_proto::request::Header;
use gk_proto::stat::{OwnerRules, Stat};
use gk_proto::txn::LoggedTxn;
use gk_proto::{ConnId, ErrorCode, Instant, Millis, SessionId, WallTime, Xid, Zxid, multi};
use gk_tree::{Change, ChangeSink, DeadOwner, Tree, TreeOptions, Watches};

/// Everything of one server.
pub(crate) struct Rig {
    config: Arc<NodeConfig>,
    rules: Arc<AuthRules>,
    now: Now,
    tree: Tree,
    watches: RefCell<Watches>,
    node: Node,
    clients: BTreeMap<String, Client>,
    /// Appended and not yet durable, while the disk is held.
    undurable: VecDeque<Zxid>,
    disk_held: bool,
    /// What was applied, which the node hears of before anything else.
    applied: VecDeque<Input>,
    inputs: VecDeque<Input>,
    pumping: bool,
    next_conn: u64,
    trace: Vec<String>,
}

struct Client {
    id: ConnId,
    conn: Conn,
    xid: i32,
    /// What was sent and not answered, to decode the replies by.
    asked: VecDeque<(Xid, i32)>,
    connected: bool,
    session: SessionId,
    password: Vec<u8>,
    /// What was delivered while its task does not run.
    outbox: Option<Vec<Delivery>>,
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

/// Collects events while txns are applied.
struct Firing<'a> {
    watches: &'a mut Watches,
    events: Vec<(ConnId, Delivery, acl::AclList)>,
}

impl ChangeSink for Firing<'_> {
    fn changed(&mut self, change: Change<'_>) {
        let events = &mut self.events;
        self.watches.fire(&change, &mut |conn, kind, path, acl| {
            events.push((conn, Delivery::Event { zxid: change.zxid, kind, path: path.clone() }, acl.clone()));
        });
    }

    fn owner_died(&mut self, dead: &DeadOwner<'_>) {
        let (zxid, events) = (dead.zxid(), &mut self.events);
        self.watches.fire_dead(dead, &mut |conn, kind, path, acl| {
            events.push((conn, Delivery::Event { zxid, kind, path: path.clone() }, acl.clone()));
        });
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        let mut config = NodeConfig::new();
        config.owner_rules = OwnerRules { extended_types: true, emulate_353: false };
        config.enforce_quota = true;
        let rules = AuthRules {
            schemes: vec![
                Box::new(IpScheme),
                Box::new(DigestScheme { super_digest: None, algorithm: DigestAlgorithm::Sha1 }),
            ],
            skip_acl: false,
            enforced: Vec::new(),
        };
        let (config, rules) = (Arc::new(config), Arc::new(rules));
        let options = TreeOptions { owner_rules: config.owner_rules, hash_key: 1, digest: true };
        let tree = Tree::new(options);
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
            undurable: VecDeque::new(),
            disk_held: false,
            applied: VecDeque::new(),
            inputs: VecDeque::new(),
            pumping: false,
            next_conn: 1,
            trace: Vec::new(),
        }
    }

    /// Carries out one command and returns what it caused.
    pub(crate) fn command(&mut self, command: &str) -> Vec<String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        match *words.as_slice() {
            ["hello", name] => self.hello(name, SessionId::NONE, vec![0; 16], 0),
            ["hello", name, "as", other] => {
                let (session, password) = (self.clients[other].session, self.clients[other].password.clone());
                self.hello(name, session, password, 0);
            }
            ["hello", name, "as", other, "badly"] => {
                let session = self.clients[other].session;
                self.hello(name, session, vec![7; 16], 0);
            }
            ["hello", name, "seen", zxid] => self.hello(name, SessionId::NONE, vec![0; 16], zxid.parse().unwrap()),
            ["drop", name] => self.drop_client(name, Instant::default()),
            ["drop", name, "heard"] => self.drop_client(name, self.now.instant),
            ["expire", name] => self.node_input(Input::Expire(self.clients[name].session)),
            ["disk", "held"] => self.disk_held = true,
            ["disk", "synced"] => {
                self.disk_held = false;
                self.pump();
            }
            ["disk", "full"] => self.node_input(Input::DiskFull(true)),
            ["disk", "room"] => self.node_input(Input::DiskFull(false)),
            ["pause", ms] => self.advance(ms.parse().unwrap(), false),
            ["wait", ms] => self.advance(ms.parse().unwrap(), true),
            ["fill", name, path, count] => {
                for i in 0..count.parse().unwrap() {
                    let request = self.request(name, &format!("create {path}/n{i} -"));
                    self.bytes(name, &request);
                }
                self.trace.clear();
            }
            ["continue", name] => {
                assert!(self.clients[name].conn.has_backlog(), "{name} has nothing to go on with");
                self.conn_input(name, conn::Input::Continue);
                self.pump();
            }
            ["busy", name] => self.clients.get_mut(name).unwrap().outbox = Some(Vec::new()),
            ["idle", name] => {
                for delivery in self.clients.get_mut(name).unwrap().outbox.take().unwrap() {
                    self.conn_input(name, conn::Input::Deliver(delivery));
                }
                self.conn_input(name, conn::Input::Continue);
                self.pump();
            }
            ["bytes", name, hex] => self.bytes(name, &unhex(hex)),
            [name, ..] => {
                let requests: Vec<&str> = command[name.len()..].split(" ;").map(str::trim).collect();
                let mut all = Vec::new();
                for request in requests {
                    all.extend(self.request(name, request));
                }
                self.bytes(name, &all);
            }
            [] => panic!("an empty command"),
        }
        self.check();
        std::mem::take(&mut self.trace)
    }

    fn check(&self) {
        self.node.check_invariants();
        self.tree.check_invariants();
        for client in self.clients.values() {
            client.conn.check_invariants();
        }
    }

    fn hello(&mut self, name: &str, session: SessionId, password: Vec<u8>, last_zxid_seen: i64) {
        let id = ConnId(self.next_conn);
        self.next_conn += 1;
        let conn = Conn::new(id, [127, 0, 0, 1].into(), self.config.clone(), self.rules.clone());
        let (asked, connected) = (VecDeque::new(), false);
        let client =
            Client { id, conn, xid: 0, asked, connected, session: SessionId::NONE, password: Vec::new(), outbox: None };
        self.clients.insert(name.to_owned(), client);
        let read_only = Some(false);
        let request =
            ConnectRequest { protocol_version: 0, last_zxid_seen, timeout_ms: 6000, session, password, read_only };
        let mut out = Vec::new();
        frame(&mut out, |out| request.encode(out));
        self.bytes(name, &out);
    }

    /// A socket ends; `heard` is when bytes came on it last, if nobody has collected that yet.
    fn drop_client(&mut self, name: &str, heard: Instant) {
        let client = self.clients.remove(name).unwrap();
        self.watches.borrow_mut().drop_conn(client.id);
        self.node_input(Input::Disconnected { conn: client.id, session: client.session, heard });
    }

    /// Lets time pass in quarter ticks; connected clients ping meanwhile if `alive`.
    fn advance(&mut self, ms: u64, alive: bool) {
        let step = if alive { 500 } else { ms };
        for _ in 0..ms / step {
            self.now.instant = self.now.instant + Millis(step);
            self.now.wall.0 += i64::try_from(step).unwrap();
            while self.now.instant >= self.node.poll_timeout() {
                self.node.handle_timeout(self.now, &self.tree);
                self.pump();
            }
        }
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        let heard = self.clients[name].session;
        self.node_input(Input::Touched(vec![(heard, self.now.instant)]));
        self.conn_input(name, conn::Input::Bytes(bytes));
        self.pump();
    }

    fn conn_input(&mut self, name: &str, input: conn::Input<'_>) {
        let Some(client) = self.clients.get_mut(name) else { return };
        let mut out = Vec::new();
        client.conn.handle(self.now.instant, input, &Reading(&self.tree, &self.watches), &mut out);
        let mut requests = Vec::new();
        let mut closed = false;
        let mut connect = None;
        while let Some(effect) = client.conn.poll_effect() {
            match effect {
                conn::Effect::Request(request) => requests.push(request),
                conn::Effect::Connect(wanted) => connect = Some(wanted),
                conn::Effect::Word { word, .. } => self.trace.push(format!("{name} word {}", word.escape_ascii())),
                conn::Effect::Authenticated(ids) => self.trace.push(format!("{name} is {}", ids.len())),
                conn::Effect::Close => closed = true,
            }
        }
        self.show(name, &out);
        if closed {
            let why = self.clients.get_mut(name).and_then(|client| client.conn.take_complaint());
            self.trace.push(why.map_or_else(|| format!("{name} closed"), |why| format!("{name} closed: {why}")));
        }
        if let Some(connect) = connect {
            self.node_input(Input::Connect(connect));
        }
        if !requests.is_empty() {
            self.node_input(Input::Requests(requests));
        }
    }

    /// Feeds the node, and everything that follows from it, one input at a time.
    fn node_input(&mut self, input: Input) {
        self.inputs.push_back(input);
        self.pump();
    }

    fn pump(&mut self) {
        if std::mem::replace(&mut self.pumping, true) {
            return;
        }
        loop {
            while let Some(effect) = self.node.poll_effect() {
                self.effect(effect);
            }
            if let Some(input) = self.applied.pop_front().or_else(|| self.inputs.pop_front()) {
                self.node.handle(self.now, input, &self.tree);
            } else if let Some(upto) = self.undurable.back().copied().filter(|_| !self.disk_held) {
                self.undurable.clear();
                self.node.handle(self.now, Input::Durable { upto }, &self.tree);
            } else {
                break;
            }
        }
        self.pumping = false;
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Append { zxid, payload } => {
                let logged = LoggedTxn::decode(&payload).expect("what is logged can be read");
                self.trace.push(format!("log {zxid:?} {}", summary(&logged)));
                self.undurable.push_back(zxid);
            }
            Effect::Apply { upto, steps } => self.apply(upto, &steps),
            Effect::Expiring { session, timeout_ms } => {
                self.trace.push(format!("{session} expires after {timeout_ms} ms"));
            }
            Effect::OverQuota(over) => {
                self.trace.push(format!("over quota {} {} of {}", over.path, over.what, over.limit))
            }
            Effect::Deliver(conn, delivery) => self.deliver(conn, delivery),
        }
    }

    fn apply(&mut self, upto: Zxid, steps: &[Step]) {
        let (mut outcomes, mut answers, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Txn(logged) => {
                    let mut watches = self.watches.borrow_mut();
                    let mut firing = Firing { watches: &mut watches, events: Vec::new() };
                    outcomes.push(self.tree.apply(&logged.header, &logged.txn, &mut firing));
                    events.append(&mut firing.events);
                    if let (Some(want), Some(have)) = (logged.digest, self.tree.digest()) {
                        assert_eq!(want, have, "predicted digest of {:?}", logged.header.zxid);
                    }
                }
                Step::Reads(requests) => {
                    let world = Reading(&self.tree, &self.watches);
                    answers.push(Some(conn::answer_reads(requests, &self.rules, &world)));
                }
            }
        }
        for (conn, delivery, acl) in events {
            if self.rules.allows(&acl, perm::READ, &[]) {
                self.deliver(conn, delivery);
            }
        }
        self.applied.push_back(Input::Applied { upto, outcomes, answers });
    }

    fn deliver(&mut self, conn: ConnId, delivery: Delivery) {
        let found = self.clients.iter().find(|(_, client)| client.id == conn).map(|(name, _)| name.clone());
        let Some(name) = found else { return };
        if let Some(outbox) = self.clients.get_mut(&name).and_then(|client| client.outbox.as_mut()) {
            return outbox.push(delivery);
        }
        self.conn_input(&name, conn::Input::Deliver(delivery));
        self.conn_input(&name, conn::Input::Continue);
    }

    /// One request as a frame.
    fn request(&mut self, name: &str, text: &str) -> Vec<u8> {
        let client = self.clients.get_mut(name).unwrap();
        client.xid += 1;
        let words: Vec<&str> = text.split_whitespace().collect();
        let (op, body) = encode(&words);
        let xid = if op == OpCode::Ping.code() { Xid::PING } else { Xid(client.xid) };
        client.asked.push_back((xid, op));
        let mut out = Vec::new();
        frame(&mut out, |out| {
            Header { xid, op }.encode(out);
            out.extend_from_slice(&body);
        });
        out
    }

    /// Decodes what the client got.
    fn show(&mut self, name: &str, out: &[u8]) {
        let client = self.clients.get_mut(name).unwrap();
        let mut reader = Reader::new(out);
        while reader.remaining() > 0 {
            let body = reader.buffer().unwrap().unwrap();
            let line = if client.connected { show_reply(client, body) } else { show_hello(client, body) };
            self.trace.push(format!("{name} < {line}"));
        }
    }
}

fn show_hello(client: &mut Client, body: &[u8]) -> String {
    let response = gk_proto::connect::ConnectResponse::decode(body).unwrap();
    if response.session == SessionId::NONE {
        return "refused".to_owned();
    }
    client.connected = true;
    client.session = response.session;
    client.password = response.password.to_vec();
    format!("connected {} for {} ms", response.session, response.timeout_ms)
}

fn show_reply(client: &mut Client, body: &[u8]) -> String {
    let mut r = Reader::new(body);
    let (xid, zxid, err) = (Xid(r.int().unwrap()), r.long().unwrap(), r.int().unwrap());
    if xid == Xid::NOTIFICATION {
        let (kind, _, path) = (r.int().unwrap(), r.int().unwrap(), r.text().unwrap());
        let kind = ["", "created", "deleted", "changed", "children"][usize::try_from(kind).unwrap()];
        return format!("event {kind} {path} at {zxid}");
    }
    let code = ErrorCode::from_code(err).unwrap();
    let Some(at) = client.asked.iter().position(|(asked, _)| *asked == xid) else {
        return format!("reply to bytes #{} at {zxid} {code:?}", xid.0);
    };
    let (_, op) = client.asked.remove(at).unwrap();
    let name = OpCode::from_code(op).map_or(format!("op {op}"), |op| format!("{op:?}"));
    let rest = if code == ErrorCode::Ok { show_body(op, &mut r) } else { String::new() };
    assert_eq!(r.remaining(), 0, "bytes behind the reply to {name}");
    let error = if code == ErrorCode::Ok { String::new() } else { format!(" {code:?}") };
    format!("{name} #{} at {zxid}{error}{rest}", xid.0)
}

fn show_body(op: i32, r: &mut Reader<'_>) -> String {
    let stat = |r: &mut Reader<'_>| {
        let s = Stat::decode(r).unwrap();
        let owner = SessionId::from_wire(s.ephemeral_owner);
        let zxids = format!("c{} m{} p{}", s.czxid.0, s.mzxid.0, s.pzxid.0);
        let versions = format!("v{} c{} a{}", s.version, s.cversion, s.aversion);
        format!(" [{zxids} {versions} owner {owner} len {} children {}]", s.data_length, s.num_children)
    };
    match OpCode::from_code(op).unwrap() {
        OpCode::Create | OpCode::Sync => format!(" {:?}", r.string().unwrap()),
        OpCode::Create2 | OpCode::CreateTtl | OpCode::CreateContainer => {
            let path = r.text().unwrap().into_owned();
            format!(" {path}{}", stat(r))
        }
        OpCode::SetData | OpCode::SetAcl | OpCode::Exists => stat(r),
        OpCode::GetData => {
            let data = r.buffer().unwrap().map(|data| data.escape_ascii().to_string());
            format!(" {data:?}{}", stat(r))
        }
        OpCode::GetChildren => {
            let mut names: Vec<_> = (0..r.count().unwrap().unwrap()).map(|_| r.text().unwrap().into_owned()).collect();
            names.sort();
            names.dedup();
            if names.len() > 10 { format!(" {} names", names.len()) } else { format!(" {names:?}") }
        }
        OpCode::Multi => {
            let mut results = Vec::new();
            loop {
                let (op, done, err) = (r.int().unwrap(), r.boolean().unwrap(), r.int().unwrap());
                if done {
                    return format!(" [{}]", results.join(", "));
                }
                if op == -1 {
                    r.int().unwrap();
                    results.push(format!("{:?}", ErrorCode::from_code(err).unwrap()));
                } else {
                    results.push(format!("{op}{}", show_body(op, r)));
                }
            }
        }
        OpCode::AddWatch | OpCode::GetAllChildrenNumber => format!(" {}", r.int().unwrap()),
        OpCode::Sasl => format!(" {:?}", r.buffer().unwrap()),
        _ => String::new(),
    }
}

fn encode(words: &[&str]) -> (i32, Vec<u8>) {
    let mut out = Vec::new();
    let version = |word: Option<&&str>| word.map_or(-1, |word| word.parse().unwrap());
    let op = match *words {
        ["create", path, data, ref flags @ ..] => {
            encode_create(path, data, flags, &mut out);
            match flags.first() {
                Some(&"container") => OpCode::CreateContainer,
                Some(flag) if flag.starts_with("ttl") => OpCode::CreateTtl,
                _ => OpCode::Create,
            }
        }
        ["create2", path, data, ref flags @ ..] => {
            encode_create(path, data, flags, &mut out);
            OpCode::Create2
        }
        ["delete", path, ref rest @ ..] => {
            out.put_text(path);
            out.put_int(version(rest.first()));
            OpCode::Delete
        }
        ["set", path, data, ref rest @ ..] => {
            out.put_text(path);
            out.put_buffer(Some(data.as_bytes()));
            out.put_int(version(rest.first()));
            OpCode::SetData
        }
        ["check", path, v] => {
            out.put_text(path);
            out.put_int(v.parse().unwrap());
            OpCode::Check
        }
        _ => return encode_rest(words),
    };
    (op.code(), out)
}

fn encode_rest(words: &[&str]) -> (i32, Vec<u8>) {
    let mut out = Vec::new();
    let op = match *words {
        [op @ ("get" | "exists" | "children"), path, ref rest @ ..] => {
            out.put_text(path);
            out.put_boolean(rest == ["watch"]);
            match op {
                "get" => OpCode::GetData,
                "exists" => OpCode::Exists,
                _ => OpCode::GetChildren,
            }
        }
        ["addwatch", path, mode] => {
            out.put_text(path);
            out.put_int(mode.parse().unwrap());
            OpCode::AddWatch
        }
        ["auth", user] => {
            out.put_int(0);
            out.put_text("digest");
            out.put_text(user);
            OpCode::Auth
        }
        ["sync", path] => {
            out.put_text(path);
            OpCode::Sync
        }
        ["setacl", path, who] => {
            out.put_text(path);
            let id = acl::Id::new(if who == "auth" { "auth" } else { "digest" }, if who == "auth" { "" } else { who });
            acl::encode(&[acl::Acl { perms: perm::ALL, id }], &mut out);
            out.put_int(-1);
            OpCode::SetAcl
        }
        ["multi", ..] => {
            for op in words.join(" ").trim_start_matches("multi").split(',').filter(|op| !op.trim().is_empty()) {
                let (code, body) = encode(&op.split_whitespace().collect::<Vec<_>>());
                multi::encode_header(code, false, -1, &mut out);
                out.extend_from_slice(&body);
            }
            multi::encode_end(&mut out);
            OpCode::Multi
        }
        ["setwatches", zxid, data, exist, child] => {
            out.put_long(zxid.parse().unwrap());
            for path in [data, exist, child] {
                out.put_count(1);
                out.put_text(path);
            }
            OpCode::SetWatches
        }
        ["number", path] => {
            out.put_text(path);
            OpCode::GetAllChildrenNumber
        }
        ["ping"] => OpCode::Ping,
        ["sasl"] => OpCode::Sasl,
        ["sasl", token] => {
            out.put_buffer(Some(token.as_bytes()));
            OpCode::Sasl
        }
        ["close"] => OpCode::CloseSession,
        ["op", code] => return (code.parse().unwrap(), out),
        _ => panic!("unknown request {words:?}"),
    };
    (op.code(), out)
}

fn encode_create(path: &str, data: &str, flags: &[&str], out: &mut Vec<u8>) {
    out.put_text(path);
    out.put_buffer((data != "null").then_some(data.as_bytes()));
    acl::encode(&acl::open(), out);
    let flag = flags.first().copied().unwrap_or_default();
    let ttl = flag.strip_prefix("ttl").map(|ttl| ttl.parse::<i64>().unwrap());
    out.put_int(match flag {
        "" => 0,
        "ephemeral" => 1,
        "sequential" => 2,
        "container" => 4,
        _ if ttl.is_some() => 5,
        other => other.parse().unwrap(),
    });
    if let Some(ttl) = ttl {
        out.put_long(ttl);
    }
}

fn summary(logged: &LoggedTxn) -> String {
    use gk_proto::txn::Txn;
    let digest = if logged.digest.is_some() { "" } else { " without digest" };
    let txn = match &logged.txn {
        Txn::Create { path, parent_cversion, .. } => format!("create {path} pcv {parent_cversion}"),
        Txn::Delete { path } | Txn::DeleteContainer { path } => format!("delete {path}"),
        Txn::SetData { path, version, .. } | Txn::Reconfig { path, version, .. } => format!("set {path} v{version}"),
        Txn::SetAcl { path, version, .. } => format!("acl {path} a{version}"),
        Txn::Check { path, version } => format!("check {path} v{version}"),
        Txn::Multi(txns) => format!("multi of {}", txns.len()),
        Txn::CreateSession { timeout_ms } => format!("session for {timeout_ms} ms"),
        Txn::CloseSession { paths } => format!("close with {:?}", paths.as_ref().map(Vec::len)),
        Txn::Error { code } => format!("error {code}"),
    };
    format!("{txn}{digest}")
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}
