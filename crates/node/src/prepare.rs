//! From a request to a txn: every check against the tree and what is accepted but not applied, in ZooKeeper's order
//! (`PrepRequestProcessor.pRequest2Txn`; the order of the checks is what clients see as the error they get).

use gk_proto::acl::perm;
use gk_proto::multi::Outcome as OpOutcome;
use gk_proto::op::{CreateMode, OpCode};
use gk_proto::request::{AclSpec, Create, Write};
use gk_proto::stat::{Owner, StatPersisted, TTL_MAX_MS};
use gk_proto::txn::{CreateKind, Txn};
use gk_proto::{ErrorCode, SessionId, WallTime, Zxid, path, planted};
use gk_tree::{Quota, Tree};

use crate::auth::{AuthRules, Ids};
use crate::config::NodeConfig;
use crate::message::OverQuota;
use crate::outstanding::{Entry, Outstanding};

/// Everything that the checks of one request look at.
pub(crate) struct Prepare<'a> {
    pub tree: &'a Tree,
    pub outstanding: &'a mut Outstanding,
    pub config: &'a NodeConfig,
    pub rules: &'a AuthRules,
    pub session: SessionId,
    pub ids: &'a Ids,
    /// The zxid that the txn will have, and its time.
    pub zxid: Zxid,
    pub time: WallTime,
    /// A soft limit that the request exceeds: worth a line in the log.
    pub over_quota: Option<OverQuota>,
}

/// How the reply is made from what applying the txn returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReplyShape {
    /// Header only: a delete.
    Delete,
    /// Only in a multi: a check.
    Check,
    /// The path of a create.
    Path(String),
    /// The path of a create and its stat.
    PathStat(String),
    /// The stat of a setData or setACL.
    Stat,
    /// A multi that succeeded: one shape an op.
    Multi(Vec<Self>),
    /// A multi that failed: known before it is applied.
    Failed(Vec<OpOutcome>),
}

impl Prepare<'_> {
    /// The txn of one write and the shape of its reply, or why it is refused.
    pub(crate) fn write(&mut self, write: Write) -> Result<(Txn, ReplyShape), ErrorCode> {
        match write {
            Write::Create(create) => self.create(&create),
            Write::Delete { path, version } => self.delete(path, version),
            Write::SetData { path, data, version } => {
                let before = self.existing(&path)?;
                self.allow(&before, perm::WRITE)?;
                let length = data.as_ref().map_or(0, bytes::Bytes::len);
                self.check_quota(&path, 0, signed(length) - signed(before.data_len))?;
                let stat = self.next_data_version(&before, version)?;
                let prefix_crc = gk_tree::prefix_crc(&path, data.as_deref());
                let after = Entry { stat, data_len: length, prefix_crc, ..before.clone() };
                self.outstanding.put(self.zxid, &path, Some(&before), Some(after));
                Ok((Txn::SetData { path, data, version: stat.version }, ReplyShape::Stat))
            }
            Write::SetAcl { path, acl, version } => self.set_acl(path, &acl, version),
            Write::Check { path, version } => {
                let node = self.existing(&path)?;
                self.allow(&node, perm::READ)?;
                check_version(version, node.stat.version)?;
                Ok((Txn::Check { path, version: node.stat.version.wrapping_add(1) }, ReplyShape::Check))
            }
            Write::Multi(ops) => self.multi(ops),
            Write::Sync { .. } | Write::Reconfig { .. } | Write::CloseSession => {
                unreachable!("{write:?} is not prepared against the tree")
            }
        }
    }

    /// A node that the path must name, validly.
    fn existing(&self, path: &str) -> Result<Entry, ErrorCode> {
        if !path::is_valid(path) {
            return Err(ErrorCode::BadArguments);
        }
        self.outstanding.get(self.tree, path).ok_or(ErrorCode::NoNode)
    }

    fn allow(&self, entry: &Entry, wanted: i32) -> Result<(), ErrorCode> {
        if self.rules.allows(&entry.acl, wanted, self.ids) { Ok(()) } else { Err(ErrorCode::NoAuth) }
    }

    fn next_data_version(&self, before: &Entry, expected: i32) -> Result<StatPersisted, ErrorCode> {
        check_version(expected, before.stat.version)?;
        let version = before.stat.version.wrapping_add(1);
        Ok(StatPersisted { version, mzxid: self.zxid, mtime: self.time, ..before.stat })
    }

    fn set_acl(&mut self, path: String, acl: &AclSpec, version: i32) -> Result<(Txn, ReplyShape), ErrorCode> {
        if !path::is_valid(&path) {
            return Err(ErrorCode::BadArguments);
        }
        let acl = self.rules.expand(acl, self.ids)?;
        let before = self.existing(&path)?;
        self.allow(&before, perm::ADMIN)?;
        check_version(version, before.stat.aversion)?;
        let aversion = before.stat.aversion.wrapping_add(1);
        let stat = StatPersisted { aversion, ..before.stat };
        let after = Entry { stat, acl: acl.clone(), ..before.clone() };
        self.outstanding.put(self.zxid, &path, Some(&before), Some(after));
        Ok((Txn::SetAcl { path, acl, version: aversion }, ReplyShape::Stat))
    }

    fn create(&mut self, request: &Create) -> Result<(Txn, ReplyShape), ErrorCode> {
        let kind = self.create_kind(request)?;
        if !request.path.contains('/') || request.path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        let acl = self.rules.expand(&request.acl, self.ids)?;
        // "/" splits into the empty name under itself: it exists, and says so.
        let parent_path = path::split(&request.path).map_or("/", |(parent, _)| parent);
        let parent = self.outstanding.get(self.tree, parent_path).ok_or(ErrorCode::NoNode)?;
        self.allow(&parent, perm::CREATE)?;
        let sequential = request.mode().is_some_and(CreateMode::is_sequential);
        let mut number = parent.stat.cversion;
        if planted!(SequenceOfApplied) {
            number = self.tree.find(parent_path).map_or(number, |parent| parent.stat().cversion);
        }
        let path = if sequential { format!("{}{number:010}", request.path) } else { request.path.clone() };
        if !path::is_valid(&path) {
            return Err(ErrorCode::BadArguments);
        }
        if self.outstanding.get(self.tree, &path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent.owner, Owner::Session(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let length = request.data.as_ref().map_or(0, bytes::Bytes::len);
        self.check_quota(&path, 1, signed(length))?;
        let parent_cversion = parent.stat.cversion.wrapping_add(1);
        self.put_created(&path, request, kind, acl.clone());
        // The counter moves only upwards when applied, so it stands still once it has wrapped.
        let stat = if parent_cversion > parent.stat.cversion {
            StatPersisted { cversion: parent_cversion, pzxid: self.zxid, ..parent.stat }
        } else {
            parent.stat
        };
        let after = Entry { stat, child_count: parent.child_count + 1, ..parent.clone() };
        self.outstanding.put(self.zxid, parent_path, Some(&parent), Some(after));
        let plain = request.op == OpCode::Create;
        let shape = if plain { ReplyShape::Path(path.clone()) } else { ReplyShape::PathStat(path.clone()) };
        Ok((Txn::Create { path, data: request.data.clone(), acl, kind, parent_cversion }, shape))
    }

    fn put_created(&mut self, path: &str, request: &Create, kind: CreateKind, acl: gk_proto::acl::AclList) {
        let owner = match kind {
            CreateKind::Create | CreateKind::Create2 => Owner::Persistent,
            CreateKind::Ephemeral | CreateKind::Ephemeral2 => Owner::Session(self.session),
            CreateKind::Container => Owner::Container,
            CreateKind::Ttl(ttl_ms) => Owner::Ttl(ttl_ms),
        };
        let stat = StatPersisted {
            czxid: self.zxid,
            mzxid: self.zxid,
            pzxid: self.zxid,
            ctime: self.time,
            mtime: self.time,
            ephemeral_owner: owner.stored(),
            ..StatPersisted::default()
        };
        let data_len = request.data.as_ref().map_or(0, bytes::Bytes::len);
        let prefix_crc = gk_tree::prefix_crc(path, request.data.as_deref());
        let entry = Entry { stat, acl, owner, child_count: 0, data_len, prefix_crc };
        self.outstanding.put(self.zxid, path, None, Some(entry));
    }

    /// Flags and ttl as one kind of node. createContainer makes containers whatever its flags (semantics §20).
    fn create_kind(&self, request: &Create) -> Result<CreateKind, ErrorCode> {
        let mode = request.mode().ok_or(ErrorCode::BadArguments)?;
        if mode.is_ttl() && !self.config.owner_rules.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        match (request.op, mode.is_ttl(), request.ttl_ms) {
            (OpCode::CreateTtl, true, Some(ttl_ms)) if (1..=TTL_MAX_MS).contains(&ttl_ms) => {
                Ok(CreateKind::Ttl(ttl_ms))
            }
            (OpCode::CreateTtl, _, _) | (_, true, _) => Err(ErrorCode::BadArguments),
            (OpCode::CreateContainer, ..) => Ok(CreateKind::Container),
            (OpCode::Create, ..) if mode.is_ephemeral() => Ok(CreateKind::Ephemeral),
            (OpCode::Create, ..) => Ok(CreateKind::Create),
            _ if mode.is_ephemeral() => Ok(CreateKind::Ephemeral2),
            _ => Ok(CreateKind::Create2),
        }
    }

    fn delete(&mut self, path: String, version: i32) -> Result<(Txn, ReplyShape), ErrorCode> {
        let (parent_path, parent) = self.parent_of_deletable(&path)?;
        self.allow(&parent, perm::DELETE)?;
        let node = self.outstanding.get(self.tree, &path).ok_or(ErrorCode::NoNode)?;
        check_version(version, node.stat.version)?;
        if node.child_count > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        self.put_deleted(&path, &node, parent_path, &parent);
        Ok((Txn::Delete { path }, ReplyShape::Delete))
    }

    /// The reaper's delete: no session, no ACL; the node must still be an empty container, or an empty TTL node past its
    /// time. The reaper looked at what is applied: a setData that was accepted since has given it more.
    /// `age` is the milliseconds since a time.
    pub(crate) fn delete_container(&mut self, path: &str, age: impl Fn(WallTime) -> i64) -> Result<Txn, ErrorCode> {
        let (parent_path, parent) = self.parent_of_deletable(path)?;
        let node = self.outstanding.get(self.tree, path).ok_or(ErrorCode::NoNode)?;
        if node.child_count > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        let is_due = match node.owner {
            Owner::Container => true,
            Owner::Ttl(ttl_ms) => age(node.stat.mtime) > ttl_ms,
            Owner::Persistent | Owner::Session(_) => false,
        };
        if !is_due {
            return Err(ErrorCode::BadVersion);
        }
        self.put_deleted(path, &node, parent_path, &parent);
        Ok(Txn::DeleteContainer { path: path.to_owned() })
    }

    fn parent_of_deletable<'p>(&self, path: &'p str) -> Result<(&'p str, Entry), ErrorCode> {
        if !path.contains('/') || path.contains('\0') || !path::is_deletable(path) {
            return Err(ErrorCode::BadArguments);
        }
        let parent_path = path::parent(path).ok_or(ErrorCode::BadArguments)?;
        let parent = self.outstanding.get(self.tree, parent_path).ok_or(ErrorCode::NoNode)?;
        Ok((parent_path, parent))
    }

    fn put_deleted(&mut self, path: &str, node: &Entry, parent_path: &str, parent: &Entry) {
        self.outstanding.put(self.zxid, path, Some(node), None);
        let stat = StatPersisted { pzxid: self.zxid, ..parent.stat };
        let child_count = parent.child_count.checked_sub(1).expect("INVARIANT: the node was one of the children");
        let after = Entry { stat, child_count, ..parent.clone() };
        self.outstanding.put(self.zxid, parent_path, Some(parent), Some(after));
    }

    /// Notes that all these ephemerals go with their session.
    pub(crate) fn close_session(&mut self, paths: &[String]) {
        for path in paths {
            let Some(node) = self.outstanding.get(self.tree, path) else { continue };
            let Some(parent_path) = path::parent(path) else { continue };
            let Some(parent) = self.outstanding.get(self.tree, parent_path) else { continue };
            self.put_deleted(path, &node, parent_path, &parent);
        }
    }

    fn multi(&mut self, ops: Vec<Write>) -> Result<(Txn, ReplyShape), ErrorCode> {
        let mark = self.outstanding.mark();
        let count = ops.len();
        let (mut txns, mut shapes) = (Vec::new(), Vec::new());
        for op in ops {
            match self.write(op) {
                Ok((txn, shape)) => {
                    txns.push(txn);
                    shapes.push(shape);
                }
                Err(code) => {
                    self.outstanding.roll_back(&mark);
                    return Ok(failed_multi(txns, code, count));
                }
            }
        }
        Ok((Txn::Multi(txns), ReplyShape::Multi(shapes)))
    }

    /// A hard limit refuses where quotas are enforced; a soft one, or a hard one that is not, only gets a line.
    fn check_quota(&mut self, path: &str, count: i64, bytes: i64) -> Result<(), ErrorCode> {
        if (count == 0 && bytes == 0) || path.starts_with("/zookeeper/") {
            return Ok(());
        }
        if planted!(QuotaMissesPending) && count == 0 && self.tree.find(path).is_none() {
            return Err(ErrorCode::NoNode);
        }
        let Some(Quota { path, limits, usage }) = self.tree.quota(path) else { return Ok(()) };
        let checks = [
            ("nodes", limits.count_hard, limits.count, usage.count, count),
            ("bytes", limits.bytes_hard, limits.bytes, usage.bytes, bytes),
        ];
        for (what, hard, soft, used, more) in checks {
            let limit = if hard >= 0 { hard } else { soft };
            let wanted = used.saturating_add(more);
            if more == 0 || limit < 0 || wanted <= limit {
                continue;
            }
            if hard >= 0 && self.config.enforce_quota {
                return Err(ErrorCode::QuotaExceeded);
            }
            self.over_quota = Some(OverQuota { path: path.clone(), what, limit, wanted });
        }
        Ok(())
    }
}

/// The txn and reply of a multi whose op after `before` failed: nothing is applied, one zxid is used.
fn failed_multi(mut before: Vec<Txn>, code: ErrorCode, ops: usize) -> (Txn, ReplyShape) {
    let mut outcomes = vec![OpOutcome::Error(ErrorCode::Ok); before.len()];
    before.push(Txn::Error { code: code.code() });
    outcomes.push(OpOutcome::Error(code));
    while before.len() < ops {
        before.push(Txn::Error { code: ErrorCode::RuntimeInconsistency.code() });
        outcomes.push(OpOutcome::Error(ErrorCode::RuntimeInconsistency));
    }
    (Txn::Multi(before), ReplyShape::Failed(outcomes))
}

fn check_version(expected: i32, actual: i32) -> Result<(), ErrorCode> {
    if expected == -1 || expected == actual { Ok(()) } else { Err(ErrorCode::BadVersion) }
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).expect("INVARIANT: data came in a frame below 2 GiB")
}

/// Whether the write makes a node that goes with its session.
pub(crate) fn makes_ephemeral(write: &Write) -> bool {
    match write {
        Write::Create(create) => {
            let plain = matches!(create.op, OpCode::Create | OpCode::Create2);
            plain && create.mode().is_some_and(CreateMode::is_ephemeral)
        }
        Write::Multi(ops) => ops.iter().any(makes_ephemeral),
        Write::Delete { .. }
        | Write::SetData { .. }
        | Write::SetAcl { .. }
        | Write::Check { .. }
        | Write::Sync { .. }
        | Write::Reconfig { .. }
        | Write::CloseSession => false,
    }
}

/// About how long applying the txn takes, in bytes that could be copied meanwhile.
pub(crate) fn data_len(txn: &Txn) -> usize {
    match txn {
        Txn::Create { data, .. } | Txn::SetData { data, .. } | Txn::Reconfig { data, .. } => {
            data.as_ref().map_or(0, bytes::Bytes::len)
        }
        // An op costs about as much time as copying a kilobyte.
        Txn::Multi(txns) => txns.iter().map(|txn| 1024 + data_len(txn)).sum(),
        Txn::CloseSession { paths } => paths.as_ref().map_or(0, |paths| paths.len() * 1024),
        Txn::Delete { .. }
        | Txn::DeleteContainer { .. }
        | Txn::SetAcl { .. }
        | Txn::Check { .. }
        | Txn::CreateSession { .. }
        | Txn::Error { .. } => 0,
    }
}
