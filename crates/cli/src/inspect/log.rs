//! The txns of logs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gk_proto::jute::Reader;
use gk_proto::txn::{LoggedTxn, Txn, TxnHeader, decode_header};
use gk_proto::{DecodeError, Zxid};
use gk_storage::{Damage, Disk, LogItem, LogReader, LogRecord, StoreOptions, log_files};
use serde_json::json;

use super::arguments::LogArguments;
use super::directory::{self, Source, file_name, shown};
use super::output::Output;
use super::watched::Watched;
use super::{Found, Look, Stop, text, txn};

impl Look<'_> {
    pub(super) fn log(&self, which: &LogArguments, output: &mut Output) -> Result<Found, Stop> {
        let disk = Watched::new(true);
        let logs = match Source::find(&which.source, which.log_dir.as_deref(), self.arguments)? {
            Source::Log(path) => vec![path],
            Source::Directory(options) => wanted_logs(disk.clone(), &options, which)?,
            Source::Snapshot(path) => {
                return Err(Stop::Usage(format!("{} is a snapshot; try `inspect snapshot`", shown(&path))));
            }
        };
        let mut printer = Printer { look: self, which, output, path: Path::new(""), headed: false, printed: 0 };
        let mut found = Found::Sound;
        for path in &logs {
            (printer.path, printer.headed) = (path, false);
            if !printer.log(disk.clone())? {
                found = Found::Damaged;
            }
        }
        disk.done();
        if printer.printed == 0 && found == Found::Sound && !self.is_json {
            let logs = text::some(logs.len() as u64, "log");
            printer.output.line(&format!("Nothing of that kind in {logs}."))?;
        }
        Ok(found)
    }
}

/// All logs but those that can hold nothing between the wanted zxids, as the names of their successors show.
fn wanted_logs(disk: Arc<dyn Disk>, options: &StoreOptions, which: &LogArguments) -> Result<Vec<PathBuf>, Stop> {
    let logs = log_files(disk, options)?;
    if logs.is_empty() {
        let dir = directory::shown(&options.log_dir.join("version-2"));
        return Err(Stop::Nothing(format!("no logs in {dir}; --log-dir says where they are if not with the data")));
    }
    let successors = logs.iter().skip(1).map(|&(zxid, _)| Some(zxid)).chain([None]);
    let is_wanted = |first: Zxid, next: Option<Zxid>| {
        which.to.is_none_or(|to| first <= to) && which.from.is_none_or(|from| next.is_none_or(|next| next > from))
    };
    let wanted = logs.iter().zip(successors).filter(|((first, _), next)| is_wanted(*first, *next));
    Ok(wanted.map(|((_, path), _)| path.clone()).collect())
}

/// What is in a log where its next record should be.
pub(super) struct Unreadable {
    offset: u64,
    bytes: u64,
    damage: Damage,
}

/// One record after the other; what follows the last, unless it is padding.
pub(super) fn each_record(
    disk: Arc<dyn Disk>,
    path: &Path,
    mut take: impl FnMut(&LogRecord) -> Result<(), Stop>,
) -> Result<Option<Unreadable>, Stop> {
    let mut reader = LogReader::open(disk, path)?;
    loop {
        match reader.next_item()? {
            LogItem::Record(record) => take(&record)?,
            LogItem::End { .. } => return Ok(None),
            LogItem::Bad { offset, bytes, damage } => return Ok(Some(Unreadable { offset, bytes, damage })),
        }
    }
}

struct Printer<'a, 'b> {
    look: &'a Look<'a>,
    which: &'a LogArguments,
    output: &'b mut Output,
    path: &'a Path,
    /// Whether the line above the first record of this log was printed.
    headed: bool,
    printed: u64,
}

impl Printer<'_, '_> {
    /// Prints what is wanted of one log; whether all of it is records and padding.
    fn log(&mut self, disk: Arc<dyn Disk>) -> Result<bool, Stop> {
        let path = self.path;
        let mut sound = true;
        let end = each_record(disk, path, |record| {
            let Ok((header, _)) = decode_header(&mut Reader::new(&record.payload)) else {
                sound = false;
                return self.undecodable(record, DecodeError::Truncated);
            };
            if !self.wants(&header) {
                return Ok(());
            }
            match LoggedTxn::decode(&record.payload) {
                Ok(logged) if !self.wants_txn(&logged.txn) => Ok(()),
                Ok(logged) => self.record(record, &logged),
                Err(error) => {
                    sound = false;
                    self.undecodable(record, error)
                }
            }
        })?;
        if let Some(Unreadable { offset, bytes, damage }) = end {
            sound = false;
            if self.look.is_json {
                let reason = damage.to_string();
                self.output.json_line(
                    &json!({"file": path.to_string_lossy(), "offset": offset, "bytes": bytes, "damage": reason}),
                )?;
            } else {
                self.head()?;
                self.output.line(&format!(
                    "  byte {offset}: {damage}; {} from there on are no record. `inspect check` says whether a crash \
                     explains them",
                    text::size(bytes)
                ))?;
            }
        }
        Ok(sound)
    }

    fn wants(&self, header: &TxnHeader) -> bool {
        let which = self.which;
        which.from.is_none_or(|from| header.zxid >= from)
            && which.to.is_none_or(|to| header.zxid <= to)
            && which.since.is_none_or(|since| header.time >= since)
            && which.until.is_none_or(|until| header.time < until)
            && which.session.is_none_or(|session| header.session == session)
    }

    fn wants_txn(&self, txn: &Txn) -> bool {
        match (&self.which.path, &self.which.below) {
            (Some(wanted), _) => txn::names(txn, &|path| path == wanted),
            (None, Some(top)) => txn::names(txn, &|path| text::is_below(path, top)),
            (None, None) => true,
        }
    }

    fn head(&mut self) -> Result<(), Stop> {
        if !self.headed {
            self.headed = true;
            self.output.line(&file_name(self.path))?;
        }
        Ok(())
    }

    fn record(&mut self, record: &LogRecord, logged: &LoggedTxn) -> Result<(), Stop> {
        self.printed += 1;
        let secrets = self.look.secrets;
        if self.look.is_json {
            let mut value = txn::record_json(logged, secrets);
            value.insert("file".into(), self.path.to_string_lossy().into());
            value.insert("offset".into(), record.offset.into());
            self.output.json_line(&value.into())?;
            return Ok(());
        }
        self.head()?;
        let header = &logged.header;
        let (words, ops) = txn::lines(&logged.txn, secrets);
        self.output.line(&format!(
            "  {:>12}  {}  {:<18}  {:<15} {words}",
            text::zxid(header.zxid),
            text::time(header.time),
            header.session.to_string(),
            txn::name(&logged.txn),
        ))?;
        for op in ops {
            self.output.line(&format!("{:64}{op}", ""))?;
        }
        Ok(())
    }

    fn undecodable(&mut self, record: &LogRecord, error: DecodeError) -> Result<(), Stop> {
        let offset = record.offset;
        if self.look.is_json {
            let damage = format!("the record cannot be decoded: {error}");
            self.output.json_line(&json!({"file": self.path.to_string_lossy(), "offset": offset, "damage": damage}))?;
        } else {
            self.head()?;
            self.output
                .line(&format!("  byte {offset}: a record with a right checksum that cannot be decoded: {error}"))?;
        }
        Ok(())
    }
}
