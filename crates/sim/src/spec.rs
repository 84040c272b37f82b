//! What a request must be answered, given the tree as it was: the rules of semantics §1, §3, §5, §6, §11 and §12, written
//! down once more and apart from the server.
//!
//! Reads are answered from the version that the reply's zxid names, writes are decided on the version before their own
//! txn: so every reply can be held against one exact answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use gk_proto::acl::{self, Acl, AclList, Id, perm};
use gk_proto::answer::{Answer, ClientInfo};
use gk_proto::multi::{Outcome, ReadOp, ReadOutcome};
use gk_proto::op::{CreateMode, OpCode};
use gk_proto::path;
use gk_proto::request::{AclSpec, Create, Read, Write};
use gk_proto::stat::{Owner, Stat, StatPersisted, TTL_MAX_MS};
use gk_proto::{ErrorCode, SessionId, WallTime, Zxid};

use crate::model::{Model, Node};

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) session: SessionId,
    pub(crate) ids: Vec<Id>,
}

/// Whether these ids have any of the wanted permissions (semantics §11.1).
pub(crate) fn allows(acl: &[Acl], wanted: i32, ids: &[Id]) -> bool {
    let grants = |entry: &Acl| {
        let everybody = entry.id.scheme == "world" && entry.id.id == "anyone";
        entry.perms & wanted != 0 && (everybody || ids.contains(&entry.id))
    };
    acl.is_empty() || ids.iter().any(|id| id.scheme == "super") || acl.iter().any(grants)
}

/// The answer to a read at a version.
pub(crate) fn read(model: &Model, zxid: Zxid, read: &Read<'_>, asker: &Asker) -> Result<Answer, ErrorCode> {
    let readable = |path: &str| readable(model, zxid, path, asker);
    Ok(match read {
        Read::Exists { path, .. } => Answer::Stat(readable(path)?.shown()),
        Read::GetData { path, .. } => {
            let node = readable(path)?;
            Answer::Data(node.data.clone(), node.shown())
        }
        Read::GetChildren { path, stat, .. } => {
            let node = readable(path)?;
            let names = node.children.iter().cloned().collect();
            if *stat { Answer::ChildrenStat(names, node.shown()) } else { Answer::Children(names) }
        }
        Read::GetAcl { path } => {
            let node = model.at(zxid, path).ok_or(ErrorCode::NoNode)?;
            if !allows(&node.acl, perm::READ | perm::ADMIN, &asker.ids) {
                return Err(ErrorCode::NoAuth);
            }
            Answer::Acl(masked(&node.acl, &asker.ids), node.shown())
        }
        Read::GetAllChildrenNumber { path } => {
            readable(path)?;
            Answer::Number(i32::try_from(model.below(zxid, path).len()).unwrap_or(i32::MAX))
        }
        Read::GetEphemerals { prefix } => {
            let prefix = prefix.as_deref().filter(|prefix| *prefix != "/").unwrap_or_default();
            let paths = model.ephemerals(zxid, asker.session);
            Answer::Paths(paths.into_iter().filter(|path| path.starts_with(prefix)).map(str::to_owned).collect())
        }
        Read::WhoAmI => {
            let user = |id: &Id| id.id.split(':').next().unwrap_or_default().to_owned();
            let info = |id: &Id| ClientInfo { scheme: id.scheme.clone(), user: user(id) };
            Answer::ClientInfo(asker.ids.iter().map(info).collect())
        }
        Read::MultiRead(ops) => Answer::MultiRead(ops.iter().map(|op| read_op(model, zxid, op, asker)).collect()),
        Read::AddWatch { .. } | Read::Watches { .. } | Read::SetWatches(_) => Answer::None,
    })
}

fn readable<'m>(model: &'m Model, zxid: Zxid, path: &str, asker: &Asker) -> Result<&'m Arc<Node>, ErrorCode> {
    let node = model.at(zxid, path).ok_or(ErrorCode::NoNode)?;
    if allows(&node.acl, perm::READ, &asker.ids) { Ok(node) } else { Err(ErrorCode::NoAuth) }
}

fn read_op(model: &Model, zxid: Zxid, op: &ReadOp<'_>, asker: &Asker) -> ReadOutcome {
    let path = match op {
        ReadOp::GetData { path } | ReadOp::GetChildren { path } => path,
    };
    match (op, readable(model, zxid, path, asker)) {
        (_, Err(code)) => ReadOutcome::Error(code),
        (ReadOp::GetData { .. }, Ok(node)) => ReadOutcome::Data(node.data.clone(), node.shown()),
        (ReadOp::GetChildren { .. }, Ok(node)) => ReadOutcome::Children(node.children.iter().cloned().collect()),
    }
}

/// Without ADMIN the hashes of the digest scheme are not shown.
fn masked(acl: &AclList, ids: &[Id]) -> AclList {
    if allows(acl, perm::ADMIN, ids) {
        return acl.clone();
    }
    let mask = |entry: &Acl| match entry.id.id.split_once(':') {
        Some((user, _)) if entry.id.scheme == "digest" => {
            Acl { perms: entry.perms, id: Id::new("digest", format!("{user}:x")) }
        }
        _ => entry.clone(),
    };
    acl.iter().map(mask).collect()
}

/// The tree as a write finds it: a version, and what earlier operations of the same multi make of it.
pub(crate) struct Draft<'a> {
    model: &'a Model,
    before: Zxid,
    asker: &'a Asker,
    zxid: Zxid,
    time: WallTime,
    over: BTreeMap<String, Option<Node>>,
    /// If hard quotas refuse: the last txn that counts for them.
    quotas: Option<Zxid>,
}

/// What became of one operation.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Done {
    Created(String, Stat),
    Changed(Stat),
    Deleted,
    Checked,
}

impl<'a> Draft<'a> {
    /// For the txn `zxid`, decided at `time`.
    pub(crate) fn new(model: &'a Model, zxid: Zxid, time: WallTime, asker: &'a Asker, quotas: Option<Zxid>) -> Self {
        Self { model, before: Zxid(zxid.0 - 1), asker, zxid, time, over: BTreeMap::new(), quotas }
    }

    /// The answer to a write that is not a sync.
    pub(crate) fn answer(&mut self, write: &Write) -> Result<Answer, ErrorCode> {
        if let Write::Multi(ops) = write {
            return Ok(Answer::Multi(self.multi(ops)));
        }
        Ok(match (write.op(), self.one(write)?) {
            (OpCode::Create, Done::Created(path, _)) => Answer::Path(path),
            (_, Done::Created(path, stat)) => Answer::PathStat(path, stat),
            (_, Done::Changed(stat)) => Answer::Stat(stat),
            (_, Done::Deleted | Done::Checked) => Answer::None,
        })
    }

    fn multi(&mut self, ops: &[Write]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (at, op) in ops.iter().enumerate() {
            match self.one(op) {
                Ok(done) => outcomes.push(match (op.op(), done) {
                    (OpCode::Create, Done::Created(path, _)) => Outcome::Create(path),
                    (_, Done::Created(path, stat)) => Outcome::Create2(path, stat),
                    (_, Done::Changed(stat)) => Outcome::SetData(stat),
                    (_, Done::Deleted) => Outcome::Delete,
                    (_, Done::Checked) => Outcome::Check,
                }),
                Err(code) => {
                    let mut failed = vec![Outcome::Error(ErrorCode::RuntimeInconsistency); ops.len()];
                    failed.iter_mut().take(at).for_each(|outcome| *outcome = Outcome::Error(ErrorCode::Ok));
                    failed.iter_mut().skip(at).take(1).for_each(|outcome| *outcome = Outcome::Error(code));
                    return failed;
                }
            }
        }
        outcomes
    }

    fn one(&mut self, write: &Write) -> Result<Done, ErrorCode> {
        match write {
            Write::Create(create) => self.create(create),
            Write::Delete { path, version } => self.delete(path, *version),
            Write::SetData { path, data, version } => {
                let mut node = self.existing(path)?;
                self.allow(&node, perm::WRITE)?;
                let length = data.as_ref().map_or(0, |data| data.len());
                self.check_quota(path, 0, signed(length) - signed(node.data_length()))?;
                check_version(*version, node.stat.version)?;
                node.data.clone_from(data);
                node.stat.version = node.stat.version.wrapping_add(1);
                node.stat.mzxid = self.zxid;
                node.stat.mtime = self.time;
                Ok(Done::Changed(self.put(path, node)))
            }
            Write::SetAcl { path, acl, version } => {
                if !path::is_valid(path) {
                    return Err(ErrorCode::BadArguments);
                }
                let list = expand(acl, &self.asker.ids)?;
                let mut node = self.existing(path)?;
                self.allow(&node, perm::ADMIN)?;
                check_version(*version, node.stat.aversion)?;
                node.acl = list;
                node.stat.aversion = node.stat.aversion.wrapping_add(1);
                Ok(Done::Changed(self.put(path, node)))
            }
            Write::Check { path, version } => {
                let node = self.existing(path)?;
                self.allow(&node, perm::READ)?;
                check_version(*version, node.stat.version)?;
                Ok(Done::Checked)
            }
            Write::Multi(_) | Write::Sync { .. } | Write::Reconfig { .. } | Write::CloseSession => {
                Err(ErrorCode::Unimplemented)
            }
        }
    }

    fn create(&mut self, create: &Create) -> Result<Done, ErrorCode> {
        let owner = self.owner(create)?;
        if !create.path.contains('/') || create.path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        let acl = expand(&create.acl, &self.asker.ids)?;
        let above = path::parent(&create.path).unwrap_or("/").to_owned();
        let mut parent = self.find(&above).ok_or(ErrorCode::NoNode)?;
        self.allow(&parent, perm::CREATE)?;
        let is_sequential = create.mode().is_some_and(CreateMode::is_sequential);
        let suffix = if is_sequential { format!("{:010}", parent.stat.cversion) } else { String::new() };
        let path = format!("{}{suffix}", create.path);
        if !path::is_valid(&path) {
            return Err(ErrorCode::BadArguments);
        }
        if self.find(&path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent.owner(), Owner::Session(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        self.check_quota(&path, 1, signed(create.data.as_ref().map_or(0, |data| data.len())))?;
        let (_, name) = path::split(&path).ok_or(ErrorCode::BadArguments)?;
        Arc::make_mut(&mut parent.children).insert(name.to_owned());
        parent.stat.cversion = parent.stat.cversion.wrapping_add(1);
        parent.stat.pzxid = self.zxid;
        self.put(&above, parent);
        let stat = StatPersisted {
            czxid: self.zxid,
            mzxid: self.zxid,
            ctime: self.time,
            mtime: self.time,
            pzxid: self.zxid,
            ephemeral_owner: owner.stored(),
            ..StatPersisted::default()
        };
        let stat = self.put(&path, Node { data: create.data.clone(), acl, stat, children: Arc::default() });
        Ok(Done::Created(path, stat))
    }

    fn owner(&self, create: &Create) -> Result<Owner, ErrorCode> {
        let mode = create.mode().ok_or(ErrorCode::BadArguments)?;
        match (create.op, mode.is_ttl(), create.ttl_ms) {
            (OpCode::CreateTtl, true, Some(ttl_ms)) if (1..=TTL_MAX_MS).contains(&ttl_ms) => Ok(Owner::Ttl(ttl_ms)),
            (OpCode::CreateTtl, _, _) | (_, true, _) => Err(ErrorCode::BadArguments),
            (OpCode::CreateContainer, ..) => Ok(Owner::Container),
            _ if mode.is_ephemeral() => Ok(Owner::Session(self.asker.session)),
            _ => Ok(Owner::Persistent),
        }
    }

    fn delete(&mut self, path: &str, version: i32) -> Result<Done, ErrorCode> {
        if !path.contains('/') || path.contains('\0') || !path::is_deletable(path) {
            return Err(ErrorCode::BadArguments);
        }
        let (above, name) = path::split(path).ok_or(ErrorCode::BadArguments)?;
        let mut parent = self.find(above).ok_or(ErrorCode::NoNode)?;
        self.allow(&parent, perm::DELETE)?;
        let node = self.find(path).ok_or(ErrorCode::NoNode)?;
        check_version(version, node.stat.version)?;
        if !node.children.is_empty() {
            return Err(ErrorCode::NotEmpty);
        }
        Arc::make_mut(&mut parent.children).remove(name);
        parent.stat.pzxid = self.zxid;
        self.put(above, parent);
        self.over.insert(path.to_owned(), None);
        Ok(Done::Deleted)
    }

    fn find(&self, path: &str) -> Option<Node> {
        match self.over.get(path) {
            Some(node) => node.clone(),
            None => self.model.at(self.before, path).map(|node| Node::clone(node)),
        }
    }

    fn existing(&self, path: &str) -> Result<Node, ErrorCode> {
        if !path::is_valid(path) {
            return Err(ErrorCode::BadArguments);
        }
        self.find(path).ok_or(ErrorCode::NoNode)
    }

    fn allow(&self, node: &Node, wanted: i32) -> Result<(), ErrorCode> {
        if allows(&node.acl, wanted, &self.asker.ids) { Ok(()) } else { Err(ErrorCode::NoAuth) }
    }

    fn put(&mut self, path: &str, node: Node) -> Stat {
        let stat = node.shown();
        self.over.insert(path.to_owned(), Some(node));
        stat
    }

    /// Hard limits of the deepest quota above; limits and usage are those of what is applied, and so do not count what was
    /// only accepted, or what the same multi did.
    fn check_quota(&self, path: &str, nodes: i64, bytes: i64) -> Result<(), ErrorCode> {
        let Some(applied) = self.quotas.filter(|_| !path.starts_with("/zookeeper/")) else { return Ok(()) };
        let limits_of = |at: &str| self.model.at(applied, &format!("{}{at}/{}", path::QUOTA_ROOT, path::LIMITS));
        let above = std::iter::successors(Some(path), |at| path::parent(at)).filter(|at| *at != "/");
        let Some((on, limits)) = above.filter_map(|at| Some((at, limits_of(at)?))).next() else { return Ok(()) };
        let Some((count, size)) = self.model.usage(applied, on) else { return Ok(()) };
        let text = String::from_utf8_lossy(limits.data.as_deref().unwrap_or_default()).into_owned();
        let hard = |key: &str| {
            let pairs = text.split([',', ';', '=']).collect::<Vec<_>>();
            let at = pairs.iter().position(|part| *part == key)?;
            pairs.get(at + 1)?.parse::<i64>().ok().filter(|limit| *limit >= 0)
        };
        let exceeds = |key, used: i64, more: i64| more != 0 && hard(key).is_some_and(|limit| used + more > limit);
        if exceeds("countHardLimit", count, nodes) || exceeds("byteHardLimit", size, bytes) {
            return Err(ErrorCode::QuotaExceeded);
        }
        Ok(())
    }
}

/// The list that is stored (semantics §11.2).
fn expand(spec: &AclSpec, ids: &[Id]) -> Result<AclList, ErrorCode> {
    let AclSpec::List(list) = spec else { return Ok(acl::open()) };
    let mut expanded: Vec<Acl> = Vec::new();
    for entry in list.iter().flatten() {
        let (Some(scheme), id) = (&entry.scheme, entry.id.as_deref().unwrap_or_default()) else {
            return Err(ErrorCode::InvalidAcl);
        };
        let meant: Vec<Id> = match scheme.as_str() {
            "auth" => ids.iter().filter(|id| id.scheme == "digest").cloned().collect(),
            "world" if id == "anyone" => vec![Id::new("world", id)],
            "digest" if id.split(':').filter(|part| !part.is_empty()).count() == 2 => vec![Id::new("digest", id)],
            _ => Vec::new(),
        };
        if meant.is_empty() {
            return Err(ErrorCode::InvalidAcl);
        }
        for id in meant {
            let entry = Acl { perms: entry.perms, id };
            if !expanded.contains(&entry) {
                expanded.push(entry);
            }
        }
    }
    if expanded.is_empty() { Err(ErrorCode::InvalidAcl) } else { Ok(expanded.into()) }
}

fn check_version(expected: i32, actual: i32) -> Result<(), ErrorCode> {
    if expected == -1 || expected == actual { Ok(()) } else { Err(ErrorCode::BadVersion) }
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
