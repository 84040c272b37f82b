//! Who changed a path last: from the logs, and from the node's stat where the logs do not go back that far.

use std::collections::BTreeMap;

use gk_proto::jute::Reader;
use gk_proto::path::parent;
use gk_proto::txn::{CreateKind, LoggedTxn, Txn, TxnHeader, decode_header};
use gk_proto::{SessionId, WallTime, Zxid};
use gk_storage::{Disk, StoreOptions, log_files};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::serve::is_inaccessible;

use super::arguments::DirectoryArguments;
use super::directory::{self, file_name, steadily};
use super::log::each_record;
use super::node::Node;
use super::output::Output;
use super::tree::{complain, load, of_tree};
use super::watched::Watched;
use super::{Found, Look, Stop, text, txn};

/// What can happen to a path, in the order in which it is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Deed {
    Created,
    DataSet,
    AclSet,
    Deleted,
    /// A child was created or deleted.
    Children,
}

impl Deed {
    fn words(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::DataSet => "data set",
            Self::AclSet => "ACL set",
            Self::Deleted => "deleted",
            Self::Children => "child created or deleted",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::DataSet => "data_set",
            Self::AclSet => "acl_set",
            Self::Deleted => "deleted",
            Self::Children => "children_changed",
        }
    }
}

/// One of them, as far as it is known.
#[derive(Clone, Debug)]
struct Trace {
    zxid: Zxid,
    time: Option<WallTime>,
    /// Who asked, by what, and where that stands; `None` if only the stat of the node tells of it.
    logged: Option<Logged>,
}

#[derive(Clone, Debug)]
struct Logged {
    session: SessionId,
    operation: &'static str,
    file: String,
    offset: u64,
}

impl Look<'_> {
    pub(super) fn who(&self, of: &DirectoryArguments, path: &str, output: &mut Output) -> Result<Found, Stop> {
        let options = directory::directory(of, self.arguments)?;
        let disk = Watched::new(false);
        let tree = load(disk.clone(), &options, None);
        let mut found = Found::Sound;
        let forecast = match tree {
            Ok(forecast) => Some(forecast),
            Err(error) => {
                found = if is_inaccessible(&error) { Found::Unusable } else { Found::Refused };
                complain(&format!(
                    "only what can be read of the logs is told, not what the node is now: {}",
                    text::escaped(&error.to_string())
                ));
                None
            }
        };
        let node = forecast.as_ref().and_then(|forecast| forecast.tree.find(path));
        let mut search = Search { path, traces: BTreeMap::new(), headers: BTreeMap::new(), owner: None };
        if let Some(node) = node {
            let stat = node.persisted();
            search.headers = [stat.czxid, stat.mzxid, stat.pzxid].map(|zxid| (zxid, None)).into();
        }
        let logs = steadily(&options, || log_files(disk.clone(), &options));
        let read = logs.map_err(Stop::from).and_then(|logs| search.read(&disk, &logs));
        disk.done();
        read?;
        if let Some(node) = node {
            search.add_stat(node.persisted());
        }
        self.tell(path, &search, node.map(|node| of_tree(path, node)), &options, output)?;
        Ok(found)
    }

    fn tell(
        &self,
        path: &str,
        search: &Search<'_>,
        node: Option<Node<'_>>,
        options: &StoreOptions,
        output: &mut Output,
    ) -> Result<(), Stop> {
        let last =
            search.traces.iter().filter(|(deed, _)| **deed != Deed::Children).max_by_key(|(_, trace)| trace.zxid);
        if last.is_none() && search.traces.is_empty() && node.is_none() {
            let shown = text::escaped(path);
            return Err(Stop::Nothing(format!(
                "nothing is known of {shown}: no node, and no txn in the logs that are left"
            )));
        }
        if self.is_json {
            let traces = search.traces.iter().map(|(deed, trace)| (deed.key().to_owned(), trace_json(trace)));
            let traces: serde_json::Map<String, Value> = traces.collect();
            let now = node.map(|node| node.json(options.tree.owner_rules, self.secrets));
            return Ok(output.json_document(&json!({
                "path": path,
                "last_change": last.map(|(deed, _)| deed.key()),
                "changes": traces,
                "now": now,
            }))?);
        }
        output.line(&text::escaped(path))?;
        if let Some((deed, trace)) = last {
            output.line(&format!("  last change: {} {}", deed.words(), trace_words(trace)))?;
        }
        let mut traces: Vec<(&Deed, &Trace)> = search.traces.iter().collect();
        traces.sort_by_key(|(_, trace)| trace.zxid);
        let rows: Vec<Vec<String>> = traces.into_iter().map(|(deed, trace)| trace_row(*deed, trace)).collect();
        if rows.is_empty() {
            output.line("  nothing has changed it in the logs that are left")?;
        }
        output.line("")?;
        output.table(&[false, true, false, false, false, false], &rows)?;
        output.line("")?;
        match node {
            Some(node) => {
                let stat = &node.stat;
                let data = text::data(node.data, self.secrets);
                let acl = node.acl.map(|acl| text::acl(acl, self.secrets)).unwrap_or_default();
                let children = node.child_count.unwrap_or(0);
                let children = if children == 1 { "1 child".to_owned() } else { format!("{children} children") };
                output.line(&format!("  now: {data}, version {}, {children}, acl {acl}", stat.version))?;
            }
            None => output.line("  now: not there")?,
        }
        Ok(())
    }
}

fn trace_words(trace: &Trace) -> String {
    let time = trace.time.map(|time| format!(" at {}", text::time(time))).unwrap_or_default();
    match &trace.logged {
        Some(logged) => format!("by session {} with txn {}{time}", logged.session, text::zxid(trace.zxid)),
        None => format!("by txn {}{time}; the log that says by whom is gone", text::zxid(trace.zxid)),
    }
}

fn trace_row(deed: Deed, trace: &Trace) -> Vec<String> {
    let time = trace.time.map_or_else(|| "-".to_owned(), text::time);
    let mut row = vec![deed.words().to_owned(), text::zxid(trace.zxid), time];
    match &trace.logged {
        Some(logged) => row.extend([
            logged.session.to_string(),
            logged.operation.to_owned(),
            format!("{}, byte {}", logged.file, logged.offset),
        ]),
        None => row.push("from the node's stat; not in the logs that are left".to_owned()),
    }
    row
}

fn trace_json(trace: &Trace) -> Value {
    let logged = trace.logged.as_ref();
    json!({
        "zxid": text::zxid(trace.zxid),
        "time_ms": trace.time.map(|time| time.0),
        "session": logged.map(|logged| logged.session.to_string()),
        "type": logged.map(|logged| logged.operation),
        "file": logged.map(|logged| &logged.file),
        "offset": logged.map(|logged| logged.offset),
    })
}

/// Reads the logs, oldest first, and keeps the last of each deed.
struct Search<'a> {
    path: &'a str,
    traces: BTreeMap<Deed, Trace>,
    /// The txns that the node's stat names.
    headers: BTreeMap<Zxid, Option<Trace>>,
    /// The session that the node goes with, while it is there.
    owner: Option<SessionId>,
}

impl Search<'_> {
    fn read(&mut self, disk: &Arc<Watched>, logs: &[(Zxid, std::path::PathBuf)]) -> Result<(), Stop> {
        for (_, path) in logs {
            let file = file_name(path);
            let end = each_record(disk.clone() as Arc<dyn Disk>, path, |record| {
                let Ok((header, _)) = decode_header(&mut Reader::new(&record.payload)) else { return Ok(()) };
                let wanted = self.headers.contains_key(&header.zxid);
                if let Ok(logged) = LoggedTxn::decode(&record.payload) {
                    let at =
                        At { header: &header, operation: txn::name(&logged.txn), file: &file, offset: record.offset };
                    if wanted {
                        self.headers.insert(header.zxid, Some(at.trace()));
                    }
                    self.take(&logged.txn, &at);
                }
                Ok(())
            })?;
            if end.is_some() {
                complain(&format!("{file} is not readable to its end; what follows in it is not told"));
            }
        }
        Ok(())
    }

    fn take(&mut self, txn: &Txn, at: &At<'_>) {
        let is_own = |path: &str| path == self.path;
        let is_child = |path: &str| parent(path) == Some(self.path);
        match txn {
            Txn::Multi(_) if txn::is_failed_multi(txn) => {}
            Txn::Multi(txns) => {
                for txn in txns {
                    self.take(txn, &At { operation: txn::name(txn), ..*at });
                }
            }
            Txn::Create { path, kind, .. } if is_own(path) => {
                let ephemeral = matches!(kind, CreateKind::Ephemeral | CreateKind::Ephemeral2);
                self.owner = ephemeral.then_some(at.header.session);
                // What was before belongs to a node of the same name.
                self.traces.clear();
                self.note(Deed::Created, at);
            }
            Txn::Delete { path } | Txn::DeleteContainer { path } if is_own(path) => self.deleted(at),
            Txn::SetData { path, .. } | Txn::Reconfig { path, .. } if is_own(path) => self.note(Deed::DataSet, at),
            Txn::SetAcl { path, .. } if is_own(path) => self.note(Deed::AclSet, at),
            Txn::CloseSession { .. } if self.owner == Some(at.header.session) => self.deleted(at),
            Txn::CloseSession { paths: Some(paths) } => {
                if paths.iter().any(|path| is_own(path)) {
                    self.deleted(at);
                } else if paths.iter().any(|path| is_child(path)) {
                    self.note(Deed::Children, at);
                }
            }
            Txn::Create { path, .. } | Txn::Delete { path } | Txn::DeleteContainer { path } if is_child(path) => {
                self.note(Deed::Children, at);
            }
            Txn::Create { .. }
            | Txn::Delete { .. }
            | Txn::DeleteContainer { .. }
            | Txn::SetData { .. }
            | Txn::Reconfig { .. }
            | Txn::SetAcl { .. }
            | Txn::Check { .. }
            | Txn::CreateSession { .. }
            | Txn::CloseSession { paths: None }
            | Txn::Error { .. } => {}
        }
    }

    fn deleted(&mut self, at: &At<'_>) {
        self.owner = None;
        self.note(Deed::Deleted, at);
    }

    fn note(&mut self, deed: Deed, at: &At<'_>) {
        self.traces.insert(deed, at.trace());
    }

    /// Where the stat of the node knows of a later txn than the logs, or they are gone, the stat is told.
    fn add_stat(&mut self, stat: gk_proto::stat::StatPersisted) {
        let known = [
            (Deed::Created, stat.czxid, Some(stat.ctime)),
            (Deed::DataSet, stat.mzxid, Some(stat.mtime)),
            (Deed::Children, stat.pzxid, None),
        ];
        for (deed, zxid, time) in known {
            // A node that was only created names that txn three times.
            let is_create = deed != Deed::Created && zxid == stat.czxid;
            let is_told = self.traces.get(&deed).is_some_and(|trace| trace.zxid >= zxid);
            if zxid == Zxid::ZERO || is_create || is_told {
                continue;
            }
            let header = self.headers.get(&zxid).cloned().flatten();
            self.traces.insert(deed, header.unwrap_or(Trace { zxid, time, logged: None }));
        }
    }
}

/// Where a txn stands.
struct At<'a> {
    header: &'a TxnHeader,
    operation: &'static str,
    file: &'a str,
    offset: u64,
}

impl At<'_> {
    fn trace(&self) -> Trace {
        let logged = Logged {
            session: self.header.session,
            operation: self.operation,
            file: self.file.to_owned(),
            offset: self.offset,
        };
        Trace { zxid: self.header.zxid, time: Some(self.header.time), logged: Some(logged) }
    }
}
