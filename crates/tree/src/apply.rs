//! What each txn does to the tree (`DataTree.processTxn`).
//!
//! Txns come from agreement, from the log, and from the log over a snapshot that may hold their effects already, wholly
//! or in part (Apache's snapshots are fuzzy). So a txn that does not fit changes nothing or little, says so in its
//! outcome, and never fails otherwise; and what a later txn has done is not undone.
//!
//! Not done here: any check of rights, versions, quotas or emptiness, which were made before the txn was.

use bytes::Bytes;
use gk_proto::acl::AclList;
use gk_proto::path::{self, is_deletable};
use gk_proto::stat::{Owner, StatPersisted};
use gk_proto::txn::{CreateKind, Txn, TxnHeader};
use gk_proto::watch::EventType;
use gk_proto::{ErrorCode, Zxid};

use crate::acls;
use crate::change::{Change, ChangeSink, Outcome};
use crate::node::{Node, NodeId};
use crate::node_ref::NodeRef;
use crate::tree::{Tree, is_joined};

/// The fields of a create.
struct Create<'a> {
    path: &'a str,
    data: Option<&'a [u8]>,
    acl: &'a AclList,
    kind: CreateKind,
    parent_cversion: i32,
}

impl Tree {
    /// Applies one txn. Total, deterministic, and tolerant of txns that a fuzzy snapshot already holds.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn, changes: &mut impl ChangeSink) -> Outcome {
        let outcome = match txn {
            Txn::Multi(txns) => self.apply_multi(header, txns, changes),
            Txn::CreateSession { timeout_ms } => {
                self.sweep_owner(header.session);
                self.sessions.insert(header.session, *timeout_ms);
                Outcome::None
            }
            Txn::CloseSession { paths } => {
                self.close_session(header, paths.as_deref().unwrap_or_default(), changes);
                Outcome::None
            }
            Txn::Create { .. }
            | Txn::Delete { .. }
            | Txn::DeleteContainer { .. }
            | Txn::SetData { .. }
            | Txn::Reconfig { .. }
            | Txn::SetAcl { .. }
            | Txn::Check { .. }
            | Txn::Error { .. } => self.apply_op(header, txn, changes),
        };
        // Only now, and once for all ops of a multi: it says which txns are in the tree whole.
        self.last_zxid = self.last_zxid.max(header.zxid);
        outcome
    }

    fn apply_multi(&mut self, header: &TxnHeader, txns: &[Txn], changes: &mut impl ChangeSink) -> Outcome {
        let is_error = |txn: &Txn| matches!(txn, Txn::Error { .. });
        if !txns.iter().any(is_error) {
            let mut outcomes = Vec::with_capacity(txns.len());
            if let Some((first, rest)) = txns.split_first() {
                outcomes.push(self.apply_op(header, first, changes));
                for txn in rest {
                    let outcome = seen_by_view!(unless SnapshotInsideMulti, self, self.apply_op(header, txn, changes));
                    outcomes.push(outcome);
                }
            }
            return Outcome::Multi(outcomes);
        }
        let mut others = ErrorCode::Ok;
        let outcomes = txns.iter().map(|txn| match txn {
            Txn::Error { code } => {
                others = ErrorCode::RuntimeInconsistency;
                failed(*code)
            }
            Txn::Create { .. }
            | Txn::Delete { .. }
            | Txn::DeleteContainer { .. }
            | Txn::SetData { .. }
            | Txn::Reconfig { .. }
            | Txn::SetAcl { .. }
            | Txn::Check { .. }
            | Txn::Multi(_)
            | Txn::CreateSession { .. }
            | Txn::CloseSession { .. } => Outcome::Failed(others),
        });
        Outcome::Multi(outcomes.collect())
    }

    /// A txn that may be a part of a multi.
    fn apply_op(&mut self, header: &TxnHeader, txn: &Txn, changes: &mut impl ChangeSink) -> Outcome {
        match txn {
            Txn::Create { path, data, acl, kind, parent_cversion } => {
                let (data, kind, parent_cversion) = (data.as_deref(), *kind, *parent_cversion);
                self.create(header, &Create { path, data, acl, kind, parent_cversion }, changes)
            }
            Txn::Delete { path } | Txn::DeleteContainer { path } => self.delete(path, header.zxid, changes),
            Txn::SetData { path, data, version } | Txn::Reconfig { path, data, version } => {
                self.set_data(header, path, data.as_ref(), *version, changes)
            }
            Txn::SetAcl { path, acl, version } => self.set_acl(path, acl, *version),
            Txn::Check { .. } => Outcome::None,
            Txn::Error { code } => failed(*code),
            // No server writes these inside a multi, and the decoder takes none apart that is nested.
            Txn::Multi(_) | Txn::CreateSession { .. } | Txn::CloseSession { .. } => {
                Outcome::Failed(ErrorCode::Unimplemented)
            }
        }
    }

    fn create(&mut self, header: &TxnHeader, create: &Create<'_>, changes: &mut impl ChangeSink) -> Outcome {
        let Create { path, data, acl, kind, parent_cversion } = *create;
        let Some((parent_path, _)) = path::split(path) else {
            return Outcome::Failed(if path == "/" { ErrorCode::NodeExists } else { ErrorCode::NoNode });
        };
        if !is_joined(path) {
            return Outcome::Failed(ErrorCode::BadArguments);
        }
        self.sweep_for_quotas(path);
        let Some(parent) = self.live_id(parent_path) else { return Outcome::Failed(ErrorCode::NoNode) };
        if let Some(existing) = self.any_id(path) {
            if self.is_gone(self.node(existing)) {
                self.remove_gone(existing, path);
            } else {
                self.restore_acl(existing, acl);
                if matches!(kind, CreateKind::Create | CreateKind::Ephemeral) {
                    self.count_create(parent, parent_cversion, header.zxid);
                }
                return Outcome::Failed(ErrorCode::NodeExists);
            }
        }
        let owner = match kind {
            CreateKind::Create | CreateKind::Create2 => Owner::Persistent,
            CreateKind::Ephemeral | CreateKind::Ephemeral2 => Owner::Session(header.session),
            CreateKind::Container => Owner::Container,
            CreateKind::Ttl(ttl_ms) => Owner::Ttl(ttl_ms),
        };
        let ephemeral_owner = owner.stored();
        // A TTL mark may read as a session, and the other way round: what counts is what a restart would read.
        if let Owner::Session(session) = Owner::from_stored(ephemeral_owner, self.options().owner_rules) {
            self.sweep_owner(session);
        }
        let stat = StatPersisted {
            czxid: header.zxid,
            mzxid: header.zxid,
            pzxid: header.zxid,
            ctime: header.time,
            mtime: header.time,
            ephemeral_owner,
            ..StatPersisted::default()
        };
        self.count_create(parent, parent_cversion, header.zxid);
        let index = self.acls.acquire(acl);
        let id = self.insert(parent, path, data, index, stat);
        self.quota_created(path, data.map_or(0, <[u8]>::len));
        self.tell(EventType::NodeCreated, id, path, header.zxid, changes);
        Outcome::Created(NodeRef::new(self, id).stat())
    }

    /// Counts a child in the parent's stat, unless the parent has counted it already.
    fn count_create(&mut self, parent: NodeId, parent_cversion: i32, zxid: Zxid) {
        let current = self.node(parent).cversion;
        let cversion = if parent_cversion == -1 { current.wrapping_add(1) } else { parent_cversion };
        if cversion > current {
            let count = |parent: &mut Node| {
                parent.cversion = cversion;
                parent.pzxid = zxid;
            };
            seen_by_view!(unless SnapshotMissesCreate, self, self.edit(parent, count));
        }
    }

    /// A fuzzy snapshot may hold a node whose ACL is not in its table; the create that comes again brings it.
    fn restore_acl(&mut self, id: NodeId, acl: &AclList) {
        if *self.acls.list(self.node(id).acl) == acls::nobody() {
            let aversion = self.node(id).stat().aversion;
            self.put_acl(id, acl, aversion);
        }
    }

    /// Deletes a node as a txn does: the parent's pzxid moves on even if the node is gone already.
    pub(crate) fn delete(&mut self, path: &str, zxid: Zxid, changes: &mut impl ChangeSink) -> Outcome {
        if !is_deletable(path) {
            return Outcome::Failed(ErrorCode::BadArguments);
        }
        self.sweep_for_quotas(path);
        let parent = path::parent(path).and_then(|parent| self.live_id(parent));
        let Some(parent) = parent else { return Outcome::Failed(ErrorCode::NoNode) };
        seen_by_view!(unless SnapshotMissesDelete, self, self.raise_pzxid(parent, zxid));
        let Some(id) = self.any_id(path) else { return Outcome::Failed(ErrorCode::NoNode) };
        if self.is_gone(self.node(id)) {
            self.remove_gone(id, path);
            return Outcome::Failed(ErrorCode::NoNode);
        }
        self.delete_subtree(id, path, zxid, changes);
        Outcome::None
    }

    pub(crate) fn raise_pzxid(&mut self, id: NodeId, zxid: Zxid) {
        if zxid > self.node(id).pzxid {
            self.edit(id, |node| node.pzxid = zxid);
        }
    }

    /// A node that is deleted has no children, but for those of dead owners, and but for replay over a fuzzy snapshot:
    /// there they come from a later life of the node, and their own creates will come again.
    pub(crate) fn delete_subtree(&mut self, top: NodeId, path: &str, zxid: Zxid, changes: &mut impl ChangeSink) {
        if !self.node(top).children().is_empty() {
            let mut below = vec![];
            let mut left = self.node(top).children().to_vec();
            while let Some(id) = left.pop() {
                left.extend(self.node(id).children());
                below.push(id);
            }
            for id in below.into_iter().rev() {
                let path = self.path_of(id);
                if self.is_gone(self.node(id)) {
                    self.remove(id, &path);
                } else {
                    self.tell(EventType::NodeDeleted, id, &path, zxid, changes);
                    self.remove(id, &path);
                }
            }
        }
        self.tell(EventType::NodeDeleted, top, path, zxid, changes);
        self.remove(top, path);
    }

    fn set_data(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<&Bytes>,
        version: i32,
        changes: &mut impl ChangeSink,
    ) -> Outcome {
        self.sweep_for_quotas(path);
        let Some(id) = self.live_id(path) else { return Outcome::Failed(ErrorCode::NoNode) };
        // The root goes by two names here, and by one everywhere else.
        let path = if id == NodeId::ROOT { "/" } else { path };
        let before = self.node(id).data_length();
        let data = data.map(|data| &data[..]);
        self.put_data(id, path, data, |node| node.stamp_data(version, header.zxid, header.time));
        self.quota_changed(path, before, data.map_or(0, <[u8]>::len));
        self.tell(EventType::NodeDataChanged, id, path, header.zxid, changes);
        Outcome::Changed(NodeRef::new(self, id).stat())
    }

    fn set_acl(&mut self, path: &str, acl: &AclList, version: i32) -> Outcome {
        let Some(id) = self.live_id(path) else { return Outcome::Failed(ErrorCode::NoNode) };
        self.put_acl(id, acl, version);
        Outcome::Changed(NodeRef::new(self, id).stat())
    }

    fn put_acl(&mut self, id: NodeId, acl: &AclList, version: i32) {
        let index = self.acls.acquire(acl);
        let old = self.edit(id, |node: &mut Node| node.set_acl(index, version));
        self.acls.release(old);
    }

    fn tell(&self, kind: EventType, id: NodeId, path: &str, zxid: Zxid, changes: &mut impl ChangeSink) {
        let node = self.node(id);
        let parent_acl = self.acls.list(self.node(node.parent).acl);
        changes.changed(Change { kind, path, acl: self.acls.list(node.acl), parent_acl, zxid });
    }
}

fn failed(code: i32) -> Outcome {
    Outcome::Failed(ErrorCode::from_code(code).unwrap_or(ErrorCode::SystemError))
}

#[cfg(test)]
mod tests;
