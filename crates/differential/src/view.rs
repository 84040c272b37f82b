//! What a server said as text, with what must differ between two servers replaced by what must not: sessions by their
//! names, times by the zxid of their txn, names of children in alphabetical order.
//!
//! Times are checked here, each server against itself: all that one txn stamped has one time, which lies between the
//! start of the run and now. A time that does not is shown as it is, and so differs.
//!
//! Bodies are read field by field, not with the decoders that our client uses: null and empty differ here, and bytes
//! behind the last field are seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use gk_proto::jute::Reader;
use gk_proto::op::OpCode;
use gk_proto::reply::Header;
use gk_proto::stat::Stat;
use gk_proto::{DecodeError, Xid};

use crate::clock::wall_ms;
use crate::script::{hex, operation_name, quoted};
use crate::wire::{Heard, UNASKED};

/// What one server's numbers stand for.
#[derive(Default)]
pub(crate) struct View {
    /// Names of sessions by their ids.
    sessions: BTreeMap<i64, String>,
    /// Times of txns by their zxids.
    times: BTreeMap<i64, i64>,
    since_ms: i64,
}

/// Data longer than this is shown by its length and a hash.
const SHOWN_MAX: usize = 120;

/// By how much a server's clock may seem to differ from ours: it is the same one, read to the millisecond.
const CLOCK_SLACK_MS: i64 = 5;

impl View {
    /// That of a server that has just started.
    pub(crate) fn new() -> Self {
        Self { since_ms: wall_ms() - 1_000, ..Self::default() }
    }

    /// From now on this session has a name.
    pub(crate) fn name_session(&mut self, id: i64, name: &str) {
        self.sessions.insert(id, name.to_owned());
    }

    /// What was heard, but for greetings, as a line.
    pub(crate) fn line(&mut self, heard: &Heard) -> String {
        match heard {
            Heard::Greeting(frame) => format!("greeting {}", hex(frame)),
            Heard::Reply(op, frame) => self.reply(*op, frame),
            Heard::Event(frame) => event(frame),
            Heard::Closed => "closed".to_owned(),
            Heard::Silence => "nothing".to_owned(),
        }
    }

    fn reply(&mut self, op: i32, frame: &[u8]) -> String {
        let mut reader = Reader::new(frame);
        let Ok(header) = Header::decode(&mut reader) else { return format!("broken {}", hex(frame)) };
        let name = if op == UNASKED { "unasked".to_owned() } else { operation_name(op) };
        let mut line = format!("{name} xid {} zxid {} err {}", header.xid.0, header.zxid, header.err);
        if header.err == 0
            && let Err(problem) = self.body(op, &mut reader, &mut line)
        {
            let _ = write!(line, " BROKEN ({problem})");
        }
        if reader.remaining() > 0 {
            let _ = write!(line, " then {}", hex(reader.rest()));
        }
        line
    }

    fn body(&mut self, op: i32, reader: &mut Reader<'_>, line: &mut String) -> Result<(), DecodeError> {
        let Some(op) = OpCode::from_code(op) else { return Ok(()) };
        match op {
            OpCode::Create | OpCode::Sync => text(reader, line)?,
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                text(reader, line)?;
                self.stat(reader, line)?;
            }
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl => self.stat(reader, line)?,
            OpCode::GetData | OpCode::Reconfig => {
                data(reader, line)?;
                self.stat(reader, line)?;
            }
            OpCode::GetAcl => {
                acl(reader, line)?;
                self.stat(reader, line)?;
            }
            OpCode::GetChildren | OpCode::GetEphemerals => names(reader, line)?,
            OpCode::GetChildren2 => {
                names(reader, line)?;
                self.stat(reader, line)?;
            }
            OpCode::GetAllChildrenNumber | OpCode::AddWatch => {
                let _ = write!(line, " {}", reader.int()?);
            }
            OpCode::WhoAmI => clients(reader, line)?,
            OpCode::Multi | OpCode::MultiRead => self.results(reader, line)?,
            OpCode::Sasl => data(reader, line)?,
            OpCode::Delete
            | OpCode::DeleteContainer
            | OpCode::Check
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::SetWatches
            | OpCode::SetWatches2
            | OpCode::Auth
            | OpCode::Ping
            | OpCode::CloseSession => {}
        }
        Ok(())
    }

    fn results(&mut self, reader: &mut Reader<'_>, line: &mut String) -> Result<(), DecodeError> {
        loop {
            let (op, is_done, err) = (reader.int()?, reader.boolean()?, reader.int()?);
            let _ = write!(line, " [{op} {is_done} {err}");
            if is_done {
                line.push(']');
                return Ok(());
            }
            if op == -1 {
                let _ = write!(line, " {}", reader.int()?);
            } else {
                self.body(op, reader, line)?;
            }
            line.push(']');
        }
    }

    fn stat(&mut self, reader: &mut Reader<'_>, line: &mut String) -> Result<(), DecodeError> {
        let stat = Stat::decode(reader)?;
        let ctime = self.time(stat.czxid.wire(), stat.ctime.0);
        let mtime = self.time(stat.mzxid.wire(), stat.mtime.0);
        let owner = stat.ephemeral_owner;
        let owner = self.sessions.get(&owner).cloned().unwrap_or_else(|| owner.to_string());
        let _ = write!(
            line,
            " {{czxid {} mzxid {} pzxid {} ctime {ctime} mtime {mtime} version {} cversion {} aversion {} owner {owner} \
             bytes {} children {}}}",
            stat.czxid.wire(),
            stat.mzxid.wire(),
            stat.pzxid.wire(),
            stat.version,
            stat.cversion,
            stat.aversion,
            stat.data_length,
            stat.num_children,
        );
        Ok(())
    }

    fn time(&mut self, zxid: i64, time_ms: i64) -> String {
        if zxid == 0 {
            return time_ms.to_string();
        }
        let is_new = !self.times.contains_key(&zxid);
        let known = *self.times.entry(zxid).or_insert(time_ms);
        let bounds = self.since_ms..=wall_ms() + CLOCK_SLACK_MS;
        if known == time_ms && (!is_new || bounds.contains(&time_ms)) {
            format!("of-{zxid}")
        } else {
            time_ms.to_string()
        }
    }
}

fn event(frame: &[u8]) -> String {
    let mut reader = Reader::new(frame);
    let mut read = || {
        let header = Header::decode(&mut reader)?;
        let (kind, state) = (reader.int()?, reader.int()?);
        let mut line = format!("event zxid {} err {} type {kind} state {state}", header.zxid, header.err);
        text(&mut reader, &mut line)?;
        reader.finish()?;
        Ok::<_, DecodeError>(line)
    };
    read().unwrap_or_else(|problem| format!("event BROKEN ({problem}) {}", hex(frame)))
}

/// Whether a line tells of an event.
pub(crate) fn is_event(line: &str) -> bool {
    line.starts_with("event ")
}

fn text(reader: &mut Reader<'_>, line: &mut String) -> Result<(), DecodeError> {
    let text = reader.buffer()?.map_or("null".to_owned(), quoted);
    let _ = write!(line, " {text}");
    Ok(())
}

fn data(reader: &mut Reader<'_>, line: &mut String) -> Result<(), DecodeError> {
    let shown = match reader.buffer()? {
        None => "null".to_owned(),
        Some(bytes) if bytes.len() <= SHOWN_MAX => quoted(bytes),
        Some(bytes) => {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            format!("{} bytes with hash {:x}", bytes.len(), hasher.finish())
        }
    };
    let _ = write!(line, " {shown}");
    Ok(())
}

/// Strings in alphabetical order: theirs is that of a hash table.
fn names(reader: &mut Reader<'_>, line: &mut String) -> Result<(), DecodeError> {
    let Some(count) = reader.count()? else {
        line.push_str(" null");
        return Ok(());
    };
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(reader.buffer()?.map_or("null".to_owned(), quoted));
    }
    names.sort();
    let _ = write!(line, " ({})", names.join(" "));
    Ok(())
}

/// Entries in their order. Those of several users are sorted: what `auth` stands for has none.
fn acl(reader: &mut Reader<'_>, line: &mut String) -> Result<(), DecodeError> {
    let Some(count) = reader.count()? else {
        line.push_str(" null");
        return Ok(());
    };
    let mut entries = Vec::new();
    for _ in 0..count {
        let mut entry = reader.int()?.to_string();
        text(reader, &mut entry)?;
        text(reader, &mut entry)?;
        entries.push(entry);
    }
    if entries.iter().filter(|entry| entry.contains("\"digest\"")).count() > 1 {
        entries.sort();
    }
    let _ = write!(line, " acl({})", entries.join(", "));
    Ok(())
}

fn clients(reader: &mut Reader<'_>, line: &mut String) -> Result<(), DecodeError> {
    let mut clients = Vec::new();
    for _ in 0..reader.count()?.unwrap_or(0) {
        let mut client = String::new();
        text(reader, &mut client)?;
        text(reader, &mut client)?;
        clients.push(client);
    }
    clients.sort();
    let _ = write!(line, " ids({})", clients.join(", "));
    Ok(())
}

/// The error of an answer's header.
pub(crate) fn error_of(frame: &[u8]) -> Option<i32> {
    Header::decode(&mut Reader::new(frame)).ok().map(|header| header.err)
}

/// The zxid of an answer's header.
pub(crate) fn zxid_of(frame: &[u8]) -> Option<i64> {
    Header::decode(&mut Reader::new(frame)).ok().filter(|header| header.xid != Xid::AUTH).map(|header| header.zxid)
}
