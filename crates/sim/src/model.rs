//! What the tree must be after each txn: a second implementation, simple and slow, that remembers every version.
//!
//! It is strict where the tree is tolerant: here a txn that does not fit what came before it is a violation, because a
//! server that loads exact snapshots and its own log never meets one.
//!
//! Source: semantics §3 to §6, §9, §10, §12. Not done here: which requests are refused (`spec`), who is told (`watching`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use gk_proto::acl::{self, AclList};
use gk_proto::path::{self, CONFIG, LIMITS, QUOTA_ROOT, RESERVED, STATS};
use gk_proto::stat::{Owner, OwnerRules, Stat, StatPersisted};
use gk_proto::txn::{CreateKind, LoggedTxn, Txn, TxnHeader};
use gk_proto::watch::EventType;
use gk_proto::{SessionId, Zxid};
use gk_tree::Tree;

/// One version of one node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) data: Option<Bytes>,
    pub(crate) acl: AclList,
    pub(crate) stat: StatPersisted,
    pub(crate) children: Arc<BTreeSet<String>>,
}

impl Node {
    pub(crate) fn owner(&self) -> Owner {
        Owner::from_stored(self.stat.ephemeral_owner, OWNER_RULES)
    }

    pub(crate) fn data_length(&self) -> usize {
        self.data.as_ref().map_or(0, Bytes::len)
    }

    /// As clients see it.
    pub(crate) fn shown(&self) -> Stat {
        let count = int(self.children.len());
        Stat {
            czxid: self.stat.czxid,
            mzxid: self.stat.mzxid,
            ctime: self.stat.ctime,
            mtime: self.stat.mtime,
            version: self.stat.version,
            cversion: self.stat.cversion.wrapping_mul(2).wrapping_sub(count),
            aversion: self.stat.aversion,
            ephemeral_owner: self.owner().shown(),
            data_length: int(self.data_length()),
            num_children: count,
            pzxid: self.stat.pzxid,
        }
    }
}

/// How owners are read in every run: nodes with a time to live are always allowed.
pub(crate) const OWNER_RULES: OwnerRules = OwnerRules { extended_types: true, emulate_353: false };

/// One change that watches may be for, in the order in which it happened.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) kind: EventType,
    pub(crate) path: String,
    pub(crate) acl: AclList,
    pub(crate) parent_acl: AclList,
}

/// What a thing was from which txn on; nothing while it did not exist.
type Versions<T> = Vec<(Zxid, Option<T>)>;

/// All versions of everything.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    last: Zxid,
    nodes: BTreeMap<String, Versions<Arc<Node>>>,
    sessions: BTreeMap<SessionId, Versions<i32>>,
    txns: BTreeMap<Zxid, LoggedTxn>,
    changes: BTreeMap<Zxid, Vec<Change>>,
    /// The last txn that was applied when a txn was decided on, by the latter.
    decided_after: BTreeMap<Zxid, Zxid>,
}

/// What is wrong, in words.
pub(crate) type Verdict = Result<(), String>;

impl Model {
    /// The tree of a new server.
    pub(crate) fn new() -> Self {
        let mut model = Self {
            last: Zxid::ZERO,
            nodes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            txns: BTreeMap::new(),
            changes: BTreeMap::new(),
            decided_after: BTreeMap::new(),
        };
        let built_in: [(&str, &[&str]); 4] =
            [("/", &["zookeeper"]), (RESERVED, &["quota", "config"]), (QUOTA_ROOT, &[]), (CONFIG, &[])];
        for (path, children) in built_in {
            let is_config = path == CONFIG;
            let stat = StatPersisted { aversion: if is_config { -1 } else { 0 }, ..StatPersisted::default() };
            let acl = if is_config { acl::read_only() } else { acl::open() };
            let children = Arc::new(children.iter().map(|&name| name.to_owned()).collect());
            model.put(Zxid::ZERO, path, Some(Node { data: Some(Bytes::new()), acl, stat, children }));
        }
        model
    }

    /// The last txn.
    pub(crate) fn last(&self) -> Zxid {
        self.last
    }

    /// A node as of a txn.
    pub(crate) fn at(&self, zxid: Zxid, path: &str) -> Option<&Arc<Node>> {
        let path = if path.is_empty() { "/" } else { path };
        let versions = self.nodes.get(path)?;
        let count = versions.partition_point(|(since, _)| *since <= zxid);
        versions.get(count.checked_sub(1)?)?.1.as_ref()
    }

    /// A session's timeout as of a txn.
    pub(crate) fn session_at(&self, zxid: Zxid, session: SessionId) -> Option<i32> {
        let versions = self.sessions.get(&session)?;
        let count = versions.partition_point(|(since, _)| *since <= zxid);
        versions.get(count.checked_sub(1)?)?.1
    }

    /// The txn that made a session.
    pub(crate) fn session_made_at(&self, session: SessionId) -> Zxid {
        self.sessions.get(&session).and_then(|versions| versions.first()).map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    /// The txn of this zxid.
    pub(crate) fn txn(&self, zxid: Zxid) -> Option<&LoggedTxn> {
        self.txns.get(&zxid)
    }

    /// The next txn of this number is decided on while another one is the last that is applied.
    pub(crate) fn decide(&mut self, zxid: Zxid, applied: Zxid) {
        self.decided_after.insert(zxid, applied);
    }

    /// The last txn that was applied when this one was decided on.
    pub(crate) fn decided_after(&self, zxid: Zxid) -> Zxid {
        self.decided_after.get(&zxid).copied().unwrap_or(zxid)
    }

    /// I24: a node that should have been reaped by now, of containers and of these TTL nodes.
    pub(crate) fn overdue<'a>(&'a self, mut aged: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        let at = |path: &str| self.at(self.last, path).filter(|node| node.children.is_empty());
        let is_ttl = |path: &&str| at(path).is_some_and(|node| matches!(node.owner(), Owner::Ttl(_)));
        let is_used_up = |node: &Arc<Node>| node.owner() == Owner::Container && node.stat.cversion > 0;
        let container = || self.nodes.keys().map(String::as_str).find(|path| at(path).is_some_and(is_used_up));
        aged.find(is_ttl).or_else(container)
    }

    /// What changed in the txns after one and up to another, in order.
    pub(crate) fn changes(&self, after: Zxid, upto: Zxid) -> impl Iterator<Item = (Zxid, &Change)> {
        let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Included(upto.max(after)));
        let some = (after < upto).then(|| self.changes.range(range));
        some.into_iter().flatten().flat_map(|(zxid, changes)| changes.iter().map(|change| (*zxid, change)))
    }

    /// Paths of all nodes as of a txn that are below a path, in order.
    pub(crate) fn below(&self, zxid: Zxid, path: &str) -> Vec<&str> {
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let names = self.nodes.range(prefix.clone()..).map(|(name, _)| name.as_str());
        let inside = names.take_while(|name| name.starts_with(&prefix)).filter(|name| *name != "/");
        inside.filter(|name| self.at(zxid, name).is_some()).collect()
    }

    /// Paths of a session's ephemeral nodes as of a txn, in order.
    pub(crate) fn ephemerals(&self, zxid: Zxid, session: SessionId) -> Vec<&str> {
        let owned = |path: &&str| self.at(zxid, path).is_some_and(|node| node.owner() == Owner::Session(session));
        self.below(zxid, "/").into_iter().filter(owned).collect()
    }

    /// Sessions that are alive after the last txn.
    pub(crate) fn live_sessions(&self) -> impl Iterator<Item = (SessionId, i32)> {
        let live = |(session, versions): (&SessionId, &Versions<i32>)| Some((*session, versions.last()?.1?));
        self.sessions.iter().filter_map(live)
    }

    /// Takes the next txn, or says why it cannot be one.
    pub(crate) fn apply(&mut self, logged: &LoggedTxn) -> Verdict {
        let header = &logged.header;
        if header.zxid.0 != self.last.0 + 1 {
            return Err(format!("txn {:?} follows {:?}", header.zxid, self.last));
        }
        let before = self.last;
        self.last = header.zxid;
        match &logged.txn {
            Txn::CreateSession { timeout_ms } => {
                if self.sessions.contains_key(&header.session) {
                    return Err(format!("session {} is made again by {:?}", header.session, header.zxid));
                }
                self.sessions.insert(header.session, vec![(header.zxid, Some(*timeout_ms))]);
            }
            Txn::CloseSession { paths } => self.close_session(header, paths.as_deref())?,
            Txn::Multi(txns) => self.multi(header, txns)?,
            Txn::Create { .. }
            | Txn::Delete { .. }
            | Txn::DeleteContainer { .. }
            | Txn::SetData { .. }
            | Txn::Reconfig { .. }
            | Txn::SetAcl { .. }
            | Txn::Check { .. }
            | Txn::Error { .. } => self.one(header, &logged.txn)?,
        }
        if header.session != SessionId::NONE
            && self.session_at(header.zxid.max(before), header.session).is_none()
            && !matches!(logged.txn, Txn::CloseSession { .. })
        {
            return Err(format!("txn {:?} is of session {}, which is not alive", header.zxid, header.session));
        }
        self.txns.insert(header.zxid, logged.clone());
        Ok(())
    }

    /// The last txn up to which two histories are the same.
    pub(crate) fn last_in_common(&self, other: &Self) -> Zxid {
        let mut pairs = self.txns.iter().zip(&other.txns);
        let first_other = pairs.find(|(one, other)| one != other).map(|((zxid, _), _)| *zxid);
        first_other.map_or(self.last.min(other.last), |zxid| Zxid(zxid.0 - 1))
    }

    /// Forgets all after a txn, as if it had never been.
    pub(crate) fn go_back(&mut self, last: Zxid) {
        fn cut<T>(versions: &mut Versions<T>, last: Zxid) -> bool {
            versions.retain(|(since, _)| *since <= last);
            !versions.is_empty()
        }
        self.last = last;
        self.nodes.retain(|_, versions| cut(versions, last));
        self.sessions.retain(|_, versions| cut(versions, last));
        self.txns.retain(|zxid, _| *zxid <= last);
        self.changes.retain(|zxid, _| *zxid <= last);
    }

    /// Whether a tree is what it should be after its last txn, in every field.
    pub(crate) fn compare(&self, tree: &Tree) -> Verdict {
        let zxid = tree.last_zxid();
        if zxid > self.last {
            return Err(format!("the tree is at {zxid:?}, beyond the last txn {:?}", self.last));
        }
        let mut count = 1;
        for (path, node) in self.nodes.keys().filter_map(|path| Some((path, self.at(zxid, path)?))) {
            count += 1;
            let Some(real) = tree.find(path) else { return Err(format!("{path} is missing at {zxid:?}")) };
            let children: BTreeSet<&str> = real.children().collect();
            let same = real.data() == node.data.as_deref()
                && real.persisted() == node.stat
                && *real.acl() == node.acl
                && children.iter().copied().eq(node.children.iter().map(String::as_str))
                && real.child_count() == node.children.len();
            if !same {
                let have = (real.data(), real.persisted(), real.acl(), children);
                return Err(format!("{path} at {zxid:?} is {have:?}, and should be {node:?}"));
            }
        }
        if tree.node_count() != count {
            return Err(format!("{} nodes at {zxid:?}, and there should be {count}", tree.node_count()));
        }
        let sessions: Vec<_> = tree.sessions().collect();
        let expected: Vec<_> = self.sessions.keys().filter_map(|id| Some((*id, self.session_at(zxid, *id)?))).collect();
        if sessions != expected {
            return Err(format!("sessions at {zxid:?} are {sessions:?}, and should be {expected:?}"));
        }
        Ok(())
    }
}

impl Model {
    fn put(&mut self, zxid: Zxid, path: &str, node: Option<Node>) {
        let versions = self.nodes.entry(path.to_owned()).or_default();
        let node = node.map(Arc::new);
        match versions.last_mut() {
            Some((since, last)) if *since == zxid => *last = node,
            _ => versions.push((zxid, node)),
        }
    }

    fn edit(&mut self, zxid: Zxid, path: &str, change: impl FnOnce(&mut Node)) -> Verdict {
        let Some(node) = self.at(zxid, path) else { return Err(format!("{path} does not exist before {zxid:?}")) };
        let mut node = Node::clone(node);
        change(&mut node);
        self.put(zxid, path, Some(node));
        Ok(())
    }

    fn multi(&mut self, header: &TxnHeader, txns: &[Txn]) -> Verdict {
        if txns.iter().any(|txn| matches!(txn, Txn::Error { .. })) {
            return Ok(());
        }
        txns.iter().try_for_each(|txn| self.one(header, txn))
    }

    fn one(&mut self, header: &TxnHeader, txn: &Txn) -> Verdict {
        let zxid = header.zxid;
        match txn {
            Txn::Create { path, data, acl, kind, parent_cversion } => {
                self.create(header, path, data.clone(), acl, *kind, *parent_cversion)
            }
            Txn::Delete { path } => self.delete(zxid, path),
            Txn::DeleteContainer { path } => self.reap(header, path),
            Txn::SetData { path, data, version } => self.set_data(header, path, data.clone(), *version),
            Txn::SetAcl { path, acl, version } => {
                let mut fits = false;
                self.edit(zxid, path, |node| {
                    fits = node.stat.aversion.wrapping_add(1) == *version;
                    node.stat.aversion = *version;
                    node.acl = acl.clone();
                })?;
                if fits { Ok(()) } else { Err(format!("{zxid:?} makes {path} ACL version {version}")) }
            }
            Txn::Check { path, version } => {
                let Some(node) = self.at(zxid, path) else { return Err(format!("{zxid:?} checks {path}, not there")) };
                let found = node.stat.version.wrapping_add(1);
                if found == *version { Ok(()) } else { Err(format!("{zxid:?} checks {path} for {version}, {found}")) }
            }
            Txn::Error { .. } => Ok(()),
            Txn::Reconfig { .. } | Txn::Multi(_) | Txn::CreateSession { .. } | Txn::CloseSession { .. } => {
                Err(format!("{zxid:?} is a txn that has no place here: {txn:?}"))
            }
        }
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<Bytes>,
        acl: &AclList,
        kind: CreateKind,
        parent_cversion: i32,
    ) -> Verdict {
        let zxid = header.zxid;
        let (above, name) = path::split(path).ok_or_else(|| format!("{zxid:?} creates {path}"))?;
        if self.at(zxid, path).is_some() {
            return Err(format!("{zxid:?} creates {path}, which is there"));
        }
        let parent = self.at(zxid, above).ok_or_else(|| format!("{zxid:?} creates {path} without a parent"))?;
        if matches!(parent.owner(), Owner::Session(_)) {
            return Err(format!("{zxid:?} creates {path} below an ephemeral node"));
        }
        if parent.stat.cversion.wrapping_add(1) != parent_cversion {
            return Err(format!("{zxid:?} counts {parent_cversion} children of {above}: {parent:?}"));
        }
        let parent_acl = parent.acl.clone();
        self.edit(zxid, above, |parent| {
            Arc::make_mut(&mut parent.children).insert(name.to_owned());
            parent.stat.cversion = parent_cversion;
            parent.stat.pzxid = zxid;
        })?;
        let owner = match kind {
            CreateKind::Create | CreateKind::Create2 => Owner::Persistent,
            CreateKind::Ephemeral | CreateKind::Ephemeral2 => Owner::Session(header.session),
            CreateKind::Container => Owner::Container,
            CreateKind::Ttl(ttl_ms) => Owner::Ttl(ttl_ms),
        };
        let stat = StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            ctime: header.time,
            mtime: header.time,
            pzxid: zxid,
            ephemeral_owner: owner.stored(),
            ..StatPersisted::default()
        };
        let length = data.as_ref().map_or(0, Bytes::len);
        self.put(zxid, path, Some(Node { data, acl: acl.clone(), stat, children: Arc::default() }));
        self.count_quota(zxid, path, 1, length_of(length));
        if let Some(on) = stats_of(path) {
            self.recount_quota(zxid, on)?;
        }
        let kind = EventType::NodeCreated;
        self.tell(zxid, Change { kind, path: path.to_owned(), acl: acl.clone(), parent_acl });
        Ok(())
    }

    fn delete(&mut self, zxid: Zxid, path: &str) -> Verdict {
        let Some(node) = self.at(zxid, path).cloned() else {
            return Err(format!("{zxid:?} deletes {path}, not there"));
        };
        if !node.children.is_empty() {
            return Err(format!("{zxid:?} deletes {path}, which has children {:?}", node.children));
        }
        let (above, name) = path::split(path).ok_or_else(|| format!("{zxid:?} deletes {path}"))?;
        let parent_acl = self.at(zxid, above).map(|parent| parent.acl.clone()).unwrap_or_else(acl::open);
        self.put(zxid, path, None);
        self.edit(zxid, above, |parent| {
            Arc::make_mut(&mut parent.children).remove(name);
            parent.stat.pzxid = zxid;
        })?;
        self.count_quota(zxid, path, -1, -length_of(node.data_length()));
        let kind = EventType::NodeDeleted;
        self.tell(zxid, Change { kind, path: path.to_owned(), acl: node.acl.clone(), parent_acl });
        Ok(())
    }

    /// I24: what the server deletes by itself is empty, of a kind that it may delete, and old enough.
    fn reap(&mut self, header: &TxnHeader, path: &str) -> Verdict {
        let zxid = header.zxid;
        let Some(node) = self.at(zxid, path) else { return Err(format!("{zxid:?} reaps {path}, not there")) };
        let is_due = match node.owner() {
            Owner::Container => node.stat.cversion > 0,
            Owner::Ttl(ttl_ms) => header.time.0 - node.stat.mtime.0 > ttl_ms,
            Owner::Persistent | Owner::Session(_) => false,
        };
        if !is_due {
            return Err(format!("I24 {zxid:?} at {:?} reaps {path}: {node:?}", header.time));
        }
        self.delete(zxid, path)
    }

    fn set_data(&mut self, header: &TxnHeader, path: &str, data: Option<Bytes>, version: i32) -> Verdict {
        let (zxid, mut before) = (header.zxid, (0, 0));
        let length = length_of(data.as_ref().map_or(0, Bytes::len));
        self.edit(zxid, path, |node| {
            before = (node.stat.version, node.data_length());
            node.data = data;
            node.stat.version = version;
            node.stat.mzxid = zxid;
            node.stat.mtime = header.time;
        })?;
        if before.0.wrapping_add(1) != version {
            return Err(format!("{zxid:?} makes {path} version {version} after {}", before.0));
        }
        self.count_quota(zxid, path, 0, length - length_of(before.1));
        let acl_of = |path: &str| self.at(zxid, path).map_or_else(acl::open, |node| node.acl.clone());
        let (acl, parent_acl) = (acl_of(path), acl_of(path::parent(path).unwrap_or("/")));
        self.tell(zxid, Change { kind: EventType::NodeDataChanged, path: path.to_owned(), acl, parent_acl });
        Ok(())
    }

    /// I17: the end of a session takes all of its ephemeral nodes with it, and nothing else.
    fn close_session(&mut self, header: &TxnHeader, listed: Option<&[String]>) -> Verdict {
        let (zxid, session) = (header.zxid, header.session);
        if self.session_at(zxid, session).is_none() {
            return Err(format!("{zxid:?} closes session {session}, which is not alive"));
        }
        let owned: Vec<String> = self.ephemerals(zxid, session).into_iter().map(str::to_owned).collect();
        if let Some(listed) = listed
            && listed.iter().collect::<BTreeSet<_>>() != owned.iter().collect()
        {
            return Err(format!("I17 {zxid:?} closes session {session} with {listed:?}, which owns {owned:?}"));
        }
        for path in listed.map_or(&owned[..], |listed| listed) {
            self.delete(zxid, path)?;
        }
        self.sessions.entry(session).or_default().push((zxid, None));
        Ok(())
    }

    fn tell(&mut self, zxid: Zxid, change: Change) {
        self.changes.entry(zxid).or_default().push(change);
    }
}

/// Quotas (semantics §12): the usage beside the deepest limits above a path, kept without a txn of its own.
impl Model {
    fn count_quota(&mut self, zxid: Zxid, path: &str, nodes: i64, bytes: i64) {
        let limited = |at: &&str| self.at(zxid, &format!("{QUOTA_ROOT}{at}/{LIMITS}")).is_some();
        let found = std::iter::successors(Some(path), |at| path::parent(at)).filter(|at| *at != "/").find(limited);
        let Some(on) = found.map(str::to_owned) else { return };
        let Some((count, size)) = self.usage(zxid, &on) else { return };
        self.put_usage(zxid, &on, count + nodes, size + bytes);
    }

    fn recount_quota(&mut self, zxid: Zxid, on: &str) -> Verdict {
        let mut paths = self.below(zxid, on);
        paths.push(on);
        let nodes: Vec<_> = paths.into_iter().filter_map(|path| self.at(zxid, path)).collect();
        let bytes = nodes.iter().map(|node| length_of(node.data_length())).sum();
        let count = length_of(nodes.len());
        self.put_usage(zxid, on, count, bytes);
        Ok(())
    }

    /// Nodes and bytes that the usage node of a path speaks of.
    pub(crate) fn usage(&self, zxid: Zxid, on: &str) -> Option<(i64, i64)> {
        let data = self.at(zxid, &format!("{QUOTA_ROOT}{on}/{STATS}"))?.data.clone()?;
        let text = String::from_utf8(data.to_vec()).ok()?;
        let (count, bytes) = text.strip_prefix("count=")?.split_once(",bytes=")?;
        Some((count.parse().ok()?, bytes.parse().ok()?))
    }

    fn put_usage(&mut self, zxid: Zxid, on: &str, count: i64, bytes: i64) {
        let path = format!("{QUOTA_ROOT}{on}/{STATS}");
        if let Some(node) = self.at(zxid, &path) {
            let data = Some(Bytes::from(format!("count={count},bytes={bytes}")));
            let node = Node { data, ..Node::clone(node) };
            self.put(zxid, &path, Some(node));
        }
    }
}

/// The path whose usage this node holds.
fn stats_of(path: &str) -> Option<&str> {
    let on = path.strip_prefix(QUOTA_ROOT)?.strip_suffix(STATS)?.strip_suffix('/')?;
    (!on.is_empty()).then_some(on)
}

fn length_of(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn int(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
