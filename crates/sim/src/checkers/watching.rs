//! I21: which events one connection must be sent, from the watches it has and the changes of each txn (semantics §7, §8).

use std::collections::{BTreeMap, BTreeSet};

use gk_proto::acl::{AclList, Id, perm};
use gk_proto::path;
use gk_proto::request::{Read, SetWatches};
use gk_proto::watch::{AddWatchMode, EventType, WatcherType};
use gk_proto::{ErrorCode, Zxid};

use crate::model::{Change, Model};
use crate::spec::allows;

/// What a connection watches on one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Modes {
    data: bool,
    child: bool,
    persistent: bool,
    recursive: bool,
}

/// Adds a mode.
type Set = fn(&mut Modes);

/// All watches of one connection.
#[derive(Debug, Default)]
pub(super) struct Watching {
    paths: BTreeMap<String, Modes>,
}

impl Watching {
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    fn add(&mut self, path: &str, set: impl FnOnce(&mut Modes)) {
        set(self.paths.entry(path.to_owned()).or_default());
    }

    /// A read has been answered.
    pub(super) fn answered(&mut self, read: &Read<'_>, err: i32) {
        let ok = err == ErrorCode::Ok.code();
        match read {
            Read::Exists { path, watch: true } if ok || err == ErrorCode::NoNode.code() => {
                self.add(path, |modes| modes.data = true);
            }
            Read::GetData { path, watch: true } if ok => self.add(path, |modes| modes.data = true),
            Read::GetChildren { path, watch: true, .. } if ok => self.add(path, |modes| modes.child = true),
            Read::AddWatch { path, mode } if ok => match AddWatchMode::from_code(*mode) {
                Some(AddWatchMode::Persistent) => self.add(path, |modes| modes.persistent = true),
                Some(AddWatchMode::PersistentRecursive) => self.add(path, |modes| modes.recursive = true),
                None => {}
            },
            Read::Watches { path, kind, remove: true } if ok => self.remove(path, *kind),
            Read::Exists { .. }
            | Read::GetData { .. }
            | Read::GetChildren { .. }
            | Read::AddWatch { .. }
            | Read::Watches { .. }
            | Read::SetWatches(_)
            | Read::GetAcl { .. }
            | Read::GetAllChildrenNumber { .. }
            | Read::GetEphemerals { .. }
            | Read::WhoAmI
            | Read::MultiRead(_) => {}
        }
    }

    fn remove(&mut self, path: &str, kind: i32) {
        let Some(modes) = self.paths.get_mut(path) else { return };
        match WatcherType::from_code(kind) {
            Some(WatcherType::Children) => modes.child = false,
            Some(WatcherType::Data) => modes.data = false,
            Some(WatcherType::Persistent) => modes.persistent = false,
            Some(WatcherType::PersistentRecursive) => modes.recursive = false,
            Some(WatcherType::Any) => *modes = Modes::default(),
            None => {}
        }
        self.tidy(path);
    }

    /// Whether removing or asking for a watch of this type should find one.
    pub(super) fn has(&self, path: &str, kind: i32) -> bool {
        let Some(modes) = self.paths.get(path) else { return false };
        match WatcherType::from_code(kind) {
            Some(WatcherType::Children) => modes.child,
            Some(WatcherType::Data) => modes.data,
            Some(WatcherType::Persistent) => modes.persistent,
            Some(WatcherType::PersistentRecursive) => modes.recursive,
            Some(WatcherType::Any) => true,
            None => false,
        }
    }

    fn tidy(&mut self, path: &str) {
        if self.paths.get(path) == Some(&Modes::default()) {
            self.paths.remove(path);
        }
    }

    /// setWatches at a version: the events that come before its answer, in order; the watches it leaves are set.
    pub(super) fn catch_up(&mut self, model: &Model, zxid: Zxid, list: &SetWatches<'_>) -> Vec<(EventType, String)> {
        let mut events = Vec::new();
        let since = list.relative_zxid;
        let mut kept: Vec<(&str, Set)> = Vec::new();
        for path in &list.data {
            match model.at(zxid, path) {
                None => events.push((EventType::NodeDeleted, path.to_string())),
                Some(node) if node.stat.mzxid.wire() > since => {
                    events.push((EventType::NodeDataChanged, path.to_string()));
                }
                Some(_) => kept.push((path, |modes| modes.data = true)),
            }
        }
        for path in &list.exist {
            match model.at(zxid, path) {
                None => kept.push((path, |modes| modes.data = true)),
                Some(_) => events.push((EventType::NodeCreated, path.to_string())),
            }
        }
        for path in &list.child {
            match model.at(zxid, path) {
                None => events.push((EventType::NodeDeleted, path.to_string())),
                Some(node) if node.stat.pzxid.wire() > since => {
                    events.push((EventType::NodeChildrenChanged, path.to_string()));
                }
                Some(_) => kept.push((path, |modes| modes.child = true)),
            }
        }
        kept.extend(list.persistent.iter().map(|path| (&**path, (|modes| modes.persistent = true) as Set)));
        kept.extend(list.recursive.iter().map(|path| (&**path, (|modes| modes.recursive = true) as Set)));
        for (path, set) in kept {
            self.add(path, set);
        }
        events
    }

    /// The events of one change, in order. What the connection may not read uses up its watch and is not told.
    pub(super) fn fire(&mut self, change: &Change, ids: &[Id]) -> Vec<(EventType, String)> {
        let own = self.fire_node(change);
        let parents = if change.kind == EventType::NodeDataChanged { None } else { self.fire_parent(change) };
        readable(own.into_iter().chain(parents), ids)
    }

    /// The events of nodes that are gone all at once: those of the nodes, then each parent's, once.
    pub(super) fn fire_dead(&mut self, changes: &[(Zxid, &Change)], ids: &[Id]) -> Vec<(EventType, String)> {
        let mut events = Vec::new();
        for (_, change) in changes {
            events.extend(self.fire_node(change));
        }
        let mut parents = BTreeSet::new();
        for (_, change) in changes {
            if path::parent(&change.path).is_some_and(|parent| parents.insert(parent)) {
                events.extend(self.fire_parent(change));
            }
        }
        readable(events.into_iter(), ids)
    }

    fn fire_node<'c>(&mut self, change: &'c Change) -> Option<Fired<'c>> {
        let at = self.paths.get(&change.path).copied().unwrap_or_default();
        let ancestors = std::iter::successors(path::parent(&change.path), |above| path::parent(above));
        let covered = self.paths.values().any(|modes| modes.recursive)
            && ancestors.into_iter().any(|above| self.paths.get(above).is_some_and(|modes| modes.recursive));
        let told = at.data || at.persistent || at.recursive || covered;
        let is_deleted = change.kind == EventType::NodeDeleted;
        if let Some(modes) = self.paths.get_mut(&change.path) {
            modes.data = false;
            modes.child &= !is_deleted;
        }
        self.tidy(&change.path);
        (told || (is_deleted && at.child)).then_some((change.kind, change.path.as_str(), &change.acl))
    }

    fn fire_parent<'c>(&mut self, change: &'c Change) -> Option<Fired<'c>> {
        let parent = path::parent(&change.path)?;
        let modes = self.paths.get_mut(parent)?;
        let told = modes.child || modes.persistent;
        modes.child = false;
        self.tidy(parent);
        told.then_some((EventType::NodeChildrenChanged, parent, &change.parent_acl))
    }
}

/// An event, and the ACL that says who may be told.
type Fired<'c> = (EventType, &'c str, &'c AclList);

fn readable<'c>(events: impl Iterator<Item = Fired<'c>>, ids: &[Id]) -> Vec<(EventType, String)> {
    let allowed = events.filter(|(_, _, acl)| allows(acl, perm::READ, ids));
    allowed.map(|(kind, path, _)| (kind, path.to_owned())).collect()
}
