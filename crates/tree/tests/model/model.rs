//! The model: a map from paths to nodes, with every rule written out as the spec has it and nothing kept that can be
//! computed.

use std::collections::{BTreeMap, BTreeSet};

use gk_proto::acl::{self, AclList};
use gk_proto::path;
use gk_proto::stat::{Owner, OwnerRules, Stat, StatPersisted};
use gk_proto::txn::{CreateKind, Txn, TxnHeader};
use gk_proto::{ErrorCode, SessionId, Zxid, digest};
use gk_tree::Outcome;

pub(crate) const RULES: OwnerRules = OwnerRules { extended_types: true, emulate_353: false };

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) acl: AclList,
    pub(crate) stat: StatPersisted,
}

#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) sessions: BTreeMap<SessionId, i32>,
    pub(crate) zxid: Zxid,
    /// Paths of nodes that were, some of which are again.
    pub(crate) past: BTreeSet<String>,
}

const BUILT_IN: [&str; 4] = ["/", path::RESERVED, path::QUOTA_ROOT, path::CONFIG];

impl Model {
    pub(crate) fn new() -> Self {
        let node = |path: &str| {
            let config = path == path::CONFIG;
            let stat = StatPersisted { aversion: if config { -1 } else { 0 }, ..StatPersisted::default() };
            let acl = if config { acl::read_only() } else { acl::open() };
            (path.to_owned(), Node { data: Some(Vec::new()), acl, stat })
        };
        Self { nodes: BUILT_IN.map(node).into(), sessions: BTreeMap::new(), zxid: Zxid::ZERO, past: BTreeSet::new() }
    }

    pub(crate) fn children(&self, of: &str) -> Vec<&str> {
        let split = self.nodes.keys().filter_map(|path| path::split(path));
        split.filter(|(parent, _)| *parent == of).map(|(_, name)| name).collect()
    }

    pub(crate) fn stat(&self, path: &str) -> Stat {
        let Node { data, stat, .. } = &self.nodes[path];
        let num_children = i32::try_from(self.children(path).len()).unwrap();
        Stat {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            cversion: stat.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion: stat.aversion,
            ephemeral_owner: Owner::from_stored(stat.ephemeral_owner, RULES).shown(),
            data_length: i32::try_from(data.as_ref().map_or(0, Vec::len)).unwrap(),
            num_children,
            pzxid: stat.pzxid,
        }
    }

    pub(crate) fn owner(&self, path: &str) -> Owner {
        Owner::from_stored(self.nodes[path].stat.ephemeral_owner, RULES)
    }

    pub(crate) fn ephemerals(&self, session: SessionId) -> Vec<String> {
        self.nodes.keys().filter(|path| self.owner(path) == Owner::Session(session)).cloned().collect()
    }

    pub(crate) fn digest(&self) -> u64 {
        let counted = self.nodes.iter().filter(|(path, _)| digest::counts(path));
        let crcs = counted.map(|(path, node)| {
            let path = if path == "/" { "" } else { path };
            let mut bytes = path.as_bytes().to_vec();
            bytes.extend_from_slice(node.data.as_deref().unwrap_or_default());
            bytes.extend_from_slice(&digest::stat_bytes(&node.stat));
            u64::from(crc32fast::hash(&bytes))
        });
        crcs.fold(0, u64::wrapping_add)
    }

    /// Applies a txn; its outcome, and one line for each change.
    pub(crate) fn apply(&mut self, header: &TxnHeader, txn: &Txn) -> (Outcome, Vec<String>) {
        let mut changes = Vec::new();
        let outcome = self.step(header, txn, &mut changes);
        self.zxid = self.zxid.max(header.zxid);
        (outcome, changes)
    }

    fn step(&mut self, header: &TxnHeader, txn: &Txn, changes: &mut Vec<String>) -> Outcome {
        match txn {
            Txn::Create { path, data, acl, kind, parent_cversion } => {
                let node = (data.as_ref().map(|data| data.to_vec()), acl.clone());
                self.create(header, path, node, *kind, *parent_cversion, changes)
            }
            Txn::Delete { path } | Txn::DeleteContainer { path } => self.delete(header.zxid, path, changes),
            Txn::SetData { path, data, version } | Txn::Reconfig { path, data, version } => {
                let Some(node) = self.nodes.get_mut(path) else { return Outcome::Failed(ErrorCode::NoNode) };
                let before = length(&node.data);
                node.data = data.as_ref().map(|data| data.to_vec());
                let difference = length(&node.data) - before;
                node.stat = StatPersisted { version: *version, mzxid: header.zxid, mtime: header.time, ..node.stat };
                self.count(path, 0, difference);
                changes.push(format!("= {path}"));
                Outcome::Changed(self.stat(path))
            }
            Txn::SetAcl { path, acl, version } => {
                let Some(node) = self.nodes.get_mut(path) else { return Outcome::Failed(ErrorCode::NoNode) };
                node.acl = acl.clone();
                node.stat.aversion = *version;
                Outcome::Changed(self.stat(path))
            }
            Txn::Check { .. } => Outcome::None,
            Txn::Multi(txns) => self.multi(header, txns, changes),
            Txn::CreateSession { timeout_ms } => {
                self.sessions.insert(header.session, *timeout_ms);
                Outcome::None
            }
            Txn::CloseSession { paths } => {
                self.sessions.remove(&header.session);
                for path in paths.iter().flatten() {
                    self.delete(header.zxid, path, changes);
                }
                for path in self.ephemerals(header.session) {
                    self.delete(header.zxid, &path, changes);
                }
                Outcome::None
            }
            Txn::Error { code } => Outcome::Failed(ErrorCode::from_code(*code).unwrap()),
        }
    }

    fn multi(&mut self, header: &TxnHeader, txns: &[Txn], changes: &mut Vec<String>) -> Outcome {
        let Some(error) = txns.iter().position(|txn| matches!(txn, Txn::Error { .. })) else {
            return Outcome::Multi(txns.iter().map(|txn| self.step(header, txn, changes)).collect());
        };
        let outcome = |at: usize| {
            if let Txn::Error { code } = txns[at] {
                return Outcome::Failed(ErrorCode::from_code(code).unwrap());
            }
            Outcome::Failed(if at < error { ErrorCode::Ok } else { ErrorCode::RuntimeInconsistency })
        };
        Outcome::Multi((0..txns.len()).map(outcome).collect())
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        path: &str,
        (data, acl): (Option<Vec<u8>>, AclList),
        kind: CreateKind,
        parent_cversion: i32,
        changes: &mut Vec<String>,
    ) -> Outcome {
        let parent = path::parent(path).unwrap();
        if !self.nodes.contains_key(parent) {
            return Outcome::Failed(ErrorCode::NoNode);
        }
        let exists = self.nodes.contains_key(path);
        if !exists || matches!(kind, CreateKind::Create | CreateKind::Ephemeral) {
            let stat = &mut self.nodes.get_mut(parent).unwrap().stat;
            let cversion = if parent_cversion == -1 { stat.cversion + 1 } else { parent_cversion };
            if cversion > stat.cversion {
                (stat.cversion, stat.pzxid) = (cversion, header.zxid);
            }
        }
        if exists {
            return Outcome::Failed(ErrorCode::NodeExists);
        }
        let owner = match kind {
            CreateKind::Create | CreateKind::Create2 => Owner::Persistent,
            CreateKind::Ephemeral | CreateKind::Ephemeral2 => Owner::Session(header.session),
            CreateKind::Container => Owner::Container,
            CreateKind::Ttl(ttl_ms) => Owner::Ttl(ttl_ms),
        };
        let stat = StatPersisted {
            czxid: header.zxid,
            mzxid: header.zxid,
            pzxid: header.zxid,
            ctime: header.time,
            mtime: header.time,
            ephemeral_owner: owner.stored(),
            ..StatPersisted::default()
        };
        let bytes = length(&data);
        self.nodes.insert(path.to_owned(), Node { data, acl, stat });
        if let Some(on) = quota_path(path, path::STATS) {
            self.recount(&on);
        }
        self.count(path, 1, bytes);
        changes.push(format!("+ {path}"));
        Outcome::Created(self.stat(path))
    }

    fn delete(&mut self, zxid: Zxid, path: &str, changes: &mut Vec<String>) -> Outcome {
        if BUILT_IN.contains(&path) {
            return Outcome::Failed(ErrorCode::BadArguments);
        }
        let Some(parent) = path::parent(path).and_then(|parent| self.nodes.get_mut(parent)) else {
            return Outcome::Failed(ErrorCode::NoNode);
        };
        parent.stat.pzxid = parent.stat.pzxid.max(zxid);
        if !self.nodes.contains_key(path) {
            return Outcome::Failed(ErrorCode::NoNode);
        }
        let below = format!("{path}/");
        let gone: Vec<String> =
            self.nodes.keys().filter(|other| *other == path || other.starts_with(&below)).cloned().collect();
        // Children first: a quota's nodes count while its limits are there.
        for path in gone.into_iter().rev() {
            let node = self.nodes.remove(&path).unwrap();
            self.count(&path, -1, -length(&node.data));
            changes.push(format!("- {path}"));
            self.past.insert(path);
        }
        Outcome::None
    }

    /// Adds to the usage of the deepest quota at or above `path`.
    fn count(&mut self, path: &str, count: i64, bytes: i64) {
        let mut on = path.to_owned();
        while !self.nodes.contains_key(&quota_node(&on, path::LIMITS)) || on == "/" {
            match path::parent(&on) {
                Some(parent) => on = parent.to_owned(),
                None => return,
            }
        }
        let Some(stats) = self.nodes.get_mut(&quota_node(&on, path::STATS)) else { return };
        let text = String::from_utf8(stats.data.clone().unwrap()).unwrap();
        let numbers: Option<(i64, i64)> = text.strip_prefix("count=").and_then(|rest| {
            let (count, bytes) = rest.split_once(",bytes=")?;
            Some((count.parse().ok()?, bytes.parse().ok()?))
        });
        let Some((was, held)) = numbers else { return };
        if count != 0 || bytes != 0 {
            stats.data = Some(format!("count={},bytes={}", was + count, held + bytes).into_bytes());
        }
    }

    fn recount(&mut self, on: &str) {
        let below = format!("{on}/");
        let counted: Vec<&Node> = self
            .nodes
            .iter()
            .filter(|(path, _)| *path == on || path.starts_with(&below))
            .map(|(_, node)| node)
            .collect();
        let bytes: i64 = counted.iter().map(|node| length(&node.data)).sum();
        let text = format!("count={},bytes={bytes}", counted.len());
        self.nodes.get_mut(&quota_node(on, path::STATS)).unwrap().data = Some(text.into_bytes());
    }
}

fn length(data: &Option<Vec<u8>>) -> i64 {
    i64::try_from(data.as_ref().map_or(0, Vec::len)).unwrap()
}

fn quota_node(on: &str, name: &str) -> String {
    format!("{}{on}/{name}", path::QUOTA_ROOT)
}

fn quota_path(path: &str, name: &str) -> Option<String> {
    let on = path.strip_prefix(path::QUOTA_ROOT)?.strip_suffix(name)?.strip_suffix('/')?;
    (!on.is_empty()).then(|| on.to_owned())
}
