//! The files of a data directory, each by itself, and what the next start would do with them.

use std::path::Path;
use std::sync::Arc;

use gk_proto::Zxid;
use gk_storage::{
    Compression, Files, Forecast, LogFileState, MarksState, Repair, SnapshotFile, StorageError, StoreOptions, examine,
    foresee,
};
use serde_json::{Value, json};

use crate::serve::is_inaccessible;

use super::arguments::DirectoryArguments;
use super::directory::{self, TRIES_IN_USE, Traces, file_name, holder, shown};
use super::output::Output;
use super::watched::Watched;
use super::{Found, Look, Stop, text};

/// All that is known of a directory.
struct Findings<'a> {
    options: &'a StoreOptions,
    /// The process that uses it.
    user: Option<u32>,
    files: Files,
    start: Result<Forecast, StorageError>,
    /// What a start with the loss accepted would do, where one without ends with an error.
    with_loss: Option<Result<Forecast, StorageError>>,
}

impl Look<'_> {
    pub(super) fn check(&self, of: &DirectoryArguments, output: &mut Output) -> Result<Found, Stop> {
        let options = directory::directory(of, self.arguments)?;
        let disk = Watched::new(false);
        let mut before = Traces::of(&options);
        let mut findings = Findings::look(&disk, &options);
        for _ in 1..TRIES_IN_USE {
            let after = Traces::of(&options);
            // What a server is in the middle of may look like damage; what is damaged still is at the next look.
            if findings.verdict() == Found::Sound || after == before {
                break;
            }
            (before, findings) = (after, Findings::look(&disk, &options));
        }
        disk.done();
        let verdict = findings.verdict();
        if self.is_json {
            output.json_document(&findings.json(verdict))?;
        } else {
            findings.print(verdict, output)?;
        }
        Ok(verdict)
    }
}

impl<'a> Findings<'a> {
    fn look(disk: &Arc<Watched>, options: &'a StoreOptions) -> Self {
        let user = holder(options);
        let (files, start) = match examine(disk.clone(), options) {
            Ok(files) => (files, foresee(disk.clone(), options)),
            Err(error) => (Files::default(), Err(error)),
        };
        let may_be_accepted = start.as_ref().is_err_and(|error| !is_inaccessible(error));
        let loss = StoreOptions { accept_loss: true, ..options.clone() };
        let with_loss = may_be_accepted.then(|| foresee(disk.clone(), &loss));
        Self { options, user, files, start, with_loss }
    }
}

impl Findings<'_> {
    fn verdict(&self) -> Found {
        let snapshots = self.files.snapshots.iter().any(|file| file.sections.is_err());
        let logs = self.files.logs.iter().any(|file| state(file).is_damage() || marks_are_damaged(file.marks));
        match &self.start {
            Err(error) if is_inaccessible(error) => Found::Unusable,
            Err(_) => Found::Refused,
            Ok(start) if snapshots || logs || start.report.digest_mismatch_count > 0 => Found::Damaged,
            Ok(_) => Found::Sound,
        }
    }

    fn print(&self, verdict: Found, output: &mut Output) -> Result<(), Stop> {
        output.line(&format!("data  {}", shown(&self.options.data_dir)))?;
        if self.options.log_dir != self.options.data_dir {
            output.line(&format!("log   {}", shown(&self.options.log_dir)))?;
        }
        if let Some(process) = self.user {
            output.line(&format!("used  by process {process}, now"))?;
        }
        if !self.files.snapshots.is_empty() {
            output.line("\nsnapshots")?;
            let mut rows = vec![["file", "nodes", "size", "state"].map(str::to_owned).to_vec()];
            rows.extend(self.files.snapshots.iter().map(snapshot_row));
            output.table(&[false, true, true, false], &rows)?;
        }
        if !self.files.logs.is_empty() {
            output.line("\nlogs")?;
            let mut rows =
                vec![["file", "first", "last", "txns", "size", "proven to", "state"].map(str::to_owned).to_vec()];
            rows.extend(self.files.logs.iter().map(log_row));
            output.table(&[false, true, true, true, true, true, false], &rows)?;
        }
        let when =
            if self.user.is_some() { "if that server were killed now, the next start" } else { "the next start" };
        output.line(&format!("\n{when}"))?;
        match &self.start {
            Ok(start) => print_start(start, output)?,
            Err(error) => {
                output.line(&format!("  refuses: {}", text::escaped(&error.to_string())))?;
                match &self.with_loss {
                    Some(Ok(start)) => {
                        output.line("\nthe next start, with --accept-data-loss")?;
                        print_start(start, output)?;
                        if let Some(known) = self.known().filter(|&known| known > start.report.last_zxid) {
                            let last = text::zxid(start.report.last_zxid);
                            output.line(&format!(
                                "  loses what came after {last}, up to {} at least",
                                text::zxid(known)
                            ))?;
                        }
                    }
                    Some(Err(error)) => {
                        output.line("\nthe next start, with --accept-data-loss")?;
                        output.line(&format!("  refuses: {}", text::escaped(&error.to_string())))?;
                    }
                    None => {}
                }
            }
        }
        output.line(match verdict {
            Found::Sound if self.start.as_ref().is_ok_and(|start| start.report.fresh) => "\nno data",
            Found::Sound => "\nsound",
            Found::Damaged => "\ndamaged, but a start goes on",
            Found::Refused => "\ndamaged, and a start refuses it",
            Found::Unusable => "\na start cannot use it",
        })?;
        Ok(())
    }

    /// The last txn that any of the files speaks of.
    fn known(&self) -> Option<Zxid> {
        let logs = self.files.logs.iter().flat_map(|file| {
            let proven = match file.marks {
                MarksState::Sound { watermark, .. } => watermark.map(|(_, zxid)| zxid),
                MarksState::None | MarksState::Unreadable => None,
            };
            [file.txns.map(|(_, last)| last), proven]
        });
        logs.flatten().chain(self.files.snapshots.iter().map(|file| file.zxid)).max()
    }

    fn json(&self, verdict: Found) -> Value {
        json!({
            "data_dir": self.options.data_dir.to_string_lossy(),
            "log_dir": self.options.log_dir.to_string_lossy(),
            "used_by_process": self.user,
            "known_zxid": self.known().map(text::zxid),
            "verdict": match verdict {
                Found::Sound => "sound",
                Found::Damaged => "damaged",
                Found::Refused => "refused",
                Found::Unusable => "unusable",
            },
            "snapshots": self.files.snapshots.iter().map(snapshot_json).collect::<Vec<_>>(),
            "logs": self.files.logs.iter().map(log_json).collect::<Vec<_>>(),
            "start": outcome_json(&self.start),
            "start_accepting_data_loss": self.with_loss.as_ref().map(outcome_json),
        })
    }
}

fn print_start(start: &Forecast, output: &mut Output) -> Result<(), Stop> {
    let Forecast { tree, report, repairs, leftovers } = start;
    let from = report.snapshot.as_deref().unwrap_or("an empty tree");
    let txns = text::some(report.replayed.txns, "txn");
    let logs = report.logs.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let of = if logs.is_empty() { String::new() } else { format!(" of {logs}") };
    output.line(&format!("  loads {from} and {txns}{of}"))?;
    output.line(&format!(
        "  ends at txn {} with {} and {}",
        text::zxid(report.last_zxid),
        text::some(tree.node_count() as u64 - 1, "node"),
        text::some(tree.session_count() as u64, "session"),
    ))?;
    if report.orphans > 0 {
        let nodes = text::some(report.orphans as u64, "ephemeral node");
        // Without the setting that knows them, nodes with a time to live have an owner that is no session.
        let ttl = if tree.options().owner_rules.extended_types {
            ""
        } else {
            "; TTL nodes are among those unless the server runs with extendedTypesEnabled=true"
        };
        output.line(&format!("  deletes {nodes} whose session does not exist{ttl}"))?;
    }
    if report.unknown_acls > 0 {
        let nodes = text::some(report.unknown_acls as u64, "node");
        output.line(&format!("  leaves {nodes} to super alone: the snapshot does not hold their ACL"))?;
    }
    if report.digest_mismatch_count > 0 {
        output.line(&format!(
            "  finds that the tree is not the one that was written: {} of {} digests differ, first after {}",
            report.digest_mismatch_count,
            report.digests_checked,
            report.digest_mismatches.iter().map(|&zxid| text::zxid(zxid)).collect::<Vec<_>>().join(", "),
        ))?;
    }
    for warning in &report.warnings {
        output.line(&format!("  warns: {}", text::escaped(warning)))?;
    }
    for path in leftovers {
        output.line(&format!("  removes {}, which was never finished", file_name(path)))?;
    }
    for repair in repairs {
        output.line(&format!("  {}", repair_words(repair)))?;
    }
    if start.writes_snapshot() {
        output.line("  writes a first snapshot")?;
    }
    Ok(())
}

fn repair_words(repair: &Repair) -> String {
    match repair {
        Repair::Remove { path } => format!("removes {}, which holds nothing", file_name(path)),
        Repair::Copy { path, from, to, first, last } => format!(
            "writes {} to {} anew into log.{first}, from bytes {from} to {to} of {}: nothing proves that they are durable",
            text::zxid(*first),
            text::zxid(*last),
            file_name(path),
        ),
        Repair::Cut { path, at } => format!("cuts {} at byte {at}", file_name(path)),
        Repair::SetAside { path } => format!("moves {} to set-aside", file_name(path)),
        Repair::KeepCopy { path } => format!("keeps a copy of {} in set-aside", file_name(path)),
    }
}

fn snapshot_row(file: &SnapshotFile) -> Vec<String> {
    let (nodes, state) = match &file.sections {
        Ok(sections) => (sections.nodes.to_string(), "sound".to_owned()),
        Err(error) => ("-".to_owned(), format!("damaged: {}", text::escaped(&error.to_string()))),
    };
    vec![file_name(&file.path), nodes, text::size(file.bytes), state]
}

/// What a log comes to.
enum State<'a> {
    Sound,
    /// It ends in what a crash leaves.
    Torn,
    Empty,
    /// The next log has the rest too.
    Repeated,
    Gap(Zxid),
    Damaged(&'a StorageError),
}

impl State<'_> {
    fn is_damage(&self) -> bool {
        match self {
            Self::Sound | Self::Torn | Self::Empty | Self::Repeated => false,
            Self::Gap(_) | Self::Damaged(_) => true,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Torn => "torn",
            Self::Empty => "empty",
            Self::Repeated => "repeated",
            Self::Gap(_) => "gap",
            Self::Damaged(_) => "damaged",
        }
    }

    fn reason(&self, file: &LogFileState) -> Option<String> {
        match self {
            Self::Sound => None,
            Self::Torn => Some(format!("from byte {} on, as a crash in the middle of a write leaves it", file.end)),
            Self::Empty => Some("begun, and nothing written to it".to_owned()),
            Self::Repeated => Some(format!("the next log has what follows byte {} too", file.end)),
            Self::Gap(after) => Some(format!("txns after {} are missing before it", text::zxid(*after))),
            Self::Damaged(StorageError::Corrupt { offset, damage, .. }) => Some(format!("at byte {offset}: {damage}")),
            Self::Damaged(StorageError::Gap { after, found, .. }) => {
                Some(format!("{} follows {}", text::zxid(*found), text::zxid(*after)))
            }
            Self::Damaged(error) => Some(error.to_string()),
        }
    }
}

fn state(file: &LogFileState) -> State<'_> {
    match (&file.damage, file.gap_after) {
        (Some(error), _) => State::Damaged(error),
        (None, Some(after)) => State::Gap(after),
        (None, None) if file.is_torn => State::Torn,
        (None, None) if file.is_repeated => State::Repeated,
        (None, None) if file.txns.is_none() => State::Empty,
        (None, None) => State::Sound,
    }
}

fn marks_are_damaged(marks: MarksState) -> bool {
    match marks {
        MarksState::None => false,
        MarksState::Unreadable => true,
        MarksState::Sound { damaged, .. } => damaged > 0,
    }
}

fn log_row(file: &LogFileState) -> Vec<String> {
    let (first, last) = match file.txns {
        Some((first, last)) => (text::zxid(first), text::zxid(last)),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let proven = match file.marks {
        MarksState::None => "-".to_owned(),
        MarksState::Unreadable => "marks damaged".to_owned(),
        MarksState::Sound { watermark, damaged, .. } => {
            let proven = watermark.map_or_else(|| "nothing".to_owned(), |(_, zxid)| text::zxid(zxid));
            if damaged > 0 { format!("{proven}, {}", text::some(damaged as u64, "damaged mark")) } else { proven }
        }
    };
    let state = state(file);
    let reason = state.reason(file).map(|reason| format!(": {}", text::escaped(&reason))).unwrap_or_default();
    let (count, size) = (file.txn_count.to_string(), text::size(file.bytes));
    vec![file_name(&file.path), first, last, count, size, proven, format!("{}{reason}", state.word())]
}

fn snapshot_json(file: &SnapshotFile) -> Value {
    let mut value = json!({
        "file": file.path.to_string_lossy(),
        "zxid": text::zxid(file.zxid),
        "bytes": file.bytes,
        "compression": match file.compression {
            Compression::None => "none",
            Compression::Gzip => "gz",
            Compression::Snappy => "snappy",
        },
    });
    match &file.sections {
        Ok(sections) => {
            value["state"] = "sound".into();
            value["nodes"] = sections.nodes.into();
        }
        Err(error) => {
            value["state"] = "damaged".into();
            value["reason"] = error.to_string().into();
        }
    }
    value
}

fn log_json(file: &LogFileState) -> Value {
    let state = state(file);
    json!({
        "file": file.path.to_string_lossy(),
        "bytes": file.bytes,
        "first": file.txns.map(|(first, _)| text::zxid(first)),
        "last": file.txns.map(|(_, last)| text::zxid(last)),
        "txns": file.txn_count,
        "records_end_at": file.end,
        "state": state.word(),
        "reason": state.reason(file),
        "marks": match file.marks {
            MarksState::None => Value::Null,
            MarksState::Unreadable => json!({"state": "damaged"}),
            MarksState::Sound { count, damaged, watermark } => json!({
                "state": if damaged > 0 { "damaged" } else { "sound" },
                "count": count,
                "damaged": damaged,
                "proven_bytes": watermark.map(|(end, _)| end),
                "proven_to": watermark.map(|(_, zxid)| text::zxid(zxid)),
            }),
        },
        "warnings": file.warnings,
    })
}

fn outcome_json(outcome: &Result<Forecast, StorageError>) -> Value {
    let start = match outcome {
        Ok(start) => start,
        Err(error) => return json!({"goes_on": false, "error": error.to_string()}),
    };
    let report = &start.report;
    json!({
        "goes_on": true,
        "snapshot": report.snapshot,
        "fresh": report.fresh,
        "logs": report.logs,
        "txns": report.replayed.txns,
        "last_zxid": text::zxid(report.last_zxid),
        "nodes": start.tree.node_count() - 1,
        "sessions": start.tree.session_count(),
        "orphans_deleted": report.orphans,
        "unknown_acls": report.unknown_acls,
        "digests_checked": report.digests_checked,
        "digest_mismatches": report.digest_mismatch_count,
        "warnings": report.warnings,
        "removes_unfinished": start.leftovers.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "changes": start.repairs.iter().map(repair_json).collect::<Vec<_>>(),
        "writes_snapshot": start.writes_snapshot(),
    })
}

fn repair_json(repair: &Repair) -> Value {
    let of = |path: &Path, what: &str| json!({"change": what, "file": path.to_string_lossy()});
    match repair {
        Repair::Remove { path } => of(path, "remove"),
        Repair::SetAside { path } => of(path, "set_aside"),
        Repair::KeepCopy { path } => of(path, "keep_copy"),
        Repair::Cut { path, at } => {
            let mut value = of(path, "cut");
            value["at"] = (*at).into();
            value
        }
        Repair::Copy { path, from, to, first, last } => {
            let mut value = of(path, "copy");
            (value["from"], value["to"]) = ((*from).into(), (*to).into());
            (value["first"], value["last"]) = (text::zxid(*first).into(), text::zxid(*last).into());
            value
        }
    }
}
