//! The sessions and nodes of one snapshot, as they come from the file.

use std::collections::BTreeMap;
use std::path::Path;

use gk_proto::acl::AclList;
use gk_proto::stat::{OwnerRules, StatPersisted};
use gk_proto::{SessionId, Zxid};
use gk_storage::{Damage, FileKind, SnapshotSections, SnapshotSink, newest_snapshot, read_snapshot};
use serde_json::{Value, json};

use super::arguments::SubtreeArguments;
use super::directory::{Source, file_name, shown};
use super::node::{self, Node};
use super::output::Output;
use super::text::{self, Secrets};
use super::watched::Watched;
use super::{Found, Look, Stop, snapshot_stop};

impl Look<'_> {
    pub(super) fn snapshot(
        &self,
        source: &Path,
        subtree: &SubtreeArguments,
        output: &mut Output,
    ) -> Result<Found, Stop> {
        let disk = Watched::new(true);
        let path = match Source::find(source, None, self.arguments)? {
            Source::Snapshot(path) => path,
            Source::Directory(options) => {
                let newest = newest_snapshot(disk.clone(), &options)?;
                let dir = shown(&options.data_dir.join("version-2"));
                newest.ok_or_else(|| Stop::Nothing(format!("no snapshots in {dir}")))?
            }
            Source::Log(path) => return Err(Stop::Usage(format!("{} is a log; try `inspect log`", shown(&path)))),
        };
        if !self.is_json {
            output.line(&file_name(&path))?;
        }
        let mut printer = Printer {
            output,
            is_json: self.is_json,
            secrets: self.secrets,
            rules: self.tree_options()?.owner_rules,
            below: subtree.below.as_deref(),
            acls: BTreeMap::new(),
            stage: Stage::Start,
            failed: None,
        };
        let read = read_snapshot(disk.clone(), &path, &mut printer);
        disk.done();
        if let Some(error) = printer.failed.take() {
            return Err(error.into());
        }
        let sections = read.map_err(snapshot_stop(&path))?;
        end(self.is_json, &path, sections, output)?;
        Ok(Found::Sound)
    }
}

/// What a snapshot says of itself as a whole: only known, and only true, at its end.
fn end(is_json: bool, path: &Path, sections: SnapshotSections, output: &mut Output) -> Result<(), Stop> {
    let zxid = match FileKind::of(path) {
        Some(FileKind::Snapshot(zxid)) => Some(zxid),
        Some(FileKind::Log(_)) | None => None,
    };
    let later = sections.digest.map(|(zxid, _)| zxid).filter(|&later| zxid.is_some_and(|zxid| later > zxid));
    if is_json {
        let hex = |zxid: Option<Zxid>| zxid.map(text::zxid);
        return Ok(output.json_line(&json!({"end": {
            "file": path.to_string_lossy(),
            "bytes": sections.bytes,
            "nodes": sections.nodes,
            "zxid": hex(zxid),
            "holds_parts_up_to": hex(later),
            "last_zxid": hex(sections.last_zxid),
            "tree_digest": sections.digest.map(|(_, digest)| format!("{digest:#x}")),
        }}))?);
    }
    let nodes = text::some(sections.nodes, "node");
    let after = zxid.map(|zxid| format!(", after txn {}", text::zxid(zxid))).unwrap_or_default();
    output.line(&format!("{nodes} in {}{after}; every checksum is right", text::size(sections.bytes)))?;
    if let Some(later) = later {
        let text = "ZooKeeper wrote it while txns went on: it may hold parts of later ones, up to";
        output.line(&format!("{text} {}", text::zxid(later)))?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    Sessions,
    Nodes,
}

struct Printer<'a> {
    output: &'a mut Output,
    is_json: bool,
    secrets: Secrets,
    rules: OwnerRules,
    below: Option<&'a str>,
    /// The file has each list once, before the nodes.
    acls: BTreeMap<i64, AclList>,
    stage: Stage,
    /// Why the answer cannot be printed: then nothing more is.
    failed: Option<std::io::Error>,
}

impl Printer<'_> {
    fn print(&mut self, heading: &[&str], stage: Stage, text: &str, json: impl FnOnce() -> Value) {
        if self.failed.is_some() {
            return;
        }
        let begins = self.stage != stage && !self.is_json;
        let mut lines = heading.iter().copied().filter(|_| begins).chain((!self.is_json).then_some(text));
        let mut printed = lines.try_for_each(|line| self.output.line(line));
        if self.is_json {
            printed = self.output.json_line(&json());
        }
        (self.stage, self.failed) = (stage, printed.err());
    }
}

impl SnapshotSink for Printer<'_> {
    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        if self.below.is_some() {
            return;
        }
        let text = format!("  {session}  timeout {}", text::duration(i64::from(timeout_ms)));
        let json = || json!({"session": session.to_string(), "timeout_ms": timeout_ms});
        self.print(&["sessions"], Stage::Sessions, &text, json);
    }

    fn acl(&mut self, id: i64, list: AclList) {
        self.acls.insert(id, list);
    }

    fn node(&mut self, path: &str, data: Option<&[u8]>, acl_id: i64, stat: &StatPersisted) -> Result<(), Damage> {
        let path = if path.is_empty() { "/" } else { path };
        if self.below.is_some_and(|top| !text::is_below(path, top)) || self.failed.is_some() {
            return Ok(());
        }
        // -1 is the list that all may do all with; it is in no table.
        let open = gk_proto::acl::open();
        let list = if acl_id == -1 { Some(&open) } else { self.acls.get(&acl_id) };
        let acl = list.cloned();
        let node = Node { path, data, acl: acl.as_deref(), stat: *stat, child_count: None };
        let (rules, secrets) = (self.rules, self.secrets);
        let text = if self.is_json { String::new() } else { node.row(rules, secrets) };
        let heading = node::heading();
        self.print(&["nodes", &heading], Stage::Nodes, &text, || node.json(rules, secrets).into());
        Ok(())
    }
}
