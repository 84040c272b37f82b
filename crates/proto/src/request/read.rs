//! Requests that change nothing.

use crate::jute::{Reader, Write as _};
use crate::op::OpCode;
use crate::request::Path;
use crate::{DecodeError, multi};

/// A request that is answered where the client is connected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read<'a> {
    /// `ExistsRequest`
    Exists {
        /// Node asked for.
        path: Path<'a>,
        /// Whether to set a one-shot data watch.
        watch: bool,
    },
    /// `GetDataRequest`
    GetData {
        /// Node asked for.
        path: Path<'a>,
        /// Whether to set a one-shot data watch.
        watch: bool,
    },
    /// `GetACLRequest`
    GetAcl {
        /// Node asked for.
        path: Path<'a>,
    },
    /// `GetChildrenRequest`, `GetChildren2Request`
    GetChildren {
        /// Node asked for.
        path: Path<'a>,
        /// Whether to set a one-shot child watch.
        watch: bool,
        /// Whether the reply has a stat (GetChildren2).
        stat: bool,
    },
    /// `GetAllChildrenNumberRequest`
    GetAllChildrenNumber {
        /// Node asked for.
        path: Path<'a>,
    },
    /// `GetEphemeralsRequest`
    GetEphemerals {
        /// String prefix of the paths; null asks for all.
        prefix: Option<Path<'a>>,
    },
    /// whoAmI has no body.
    WhoAmI,
    /// `CheckWatchesRequest`, `RemoveWatchesRequest`
    Watches {
        /// Watched path; null arrives as an empty string.
        path: Path<'a>,
        /// See [`crate::watch::WatcherType`].
        kind: i32,
        /// Remove, or only check.
        remove: bool,
    },
    /// `AddWatchRequest`
    AddWatch {
        /// Watched path; need not be valid, and null arrives as an empty string.
        path: Path<'a>,
        /// See [`crate::watch::AddWatchMode`].
        mode: i32,
    },
    /// `SetWatches`, `SetWatches2`
    SetWatches(SetWatches<'a>),
    /// `MultiRequest` of reads.
    MultiRead(Vec<multi::ReadOp<'a>>),
}

/// Body of setWatches and setWatches2.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SetWatches<'a> {
    /// Last zxid the client has seen.
    pub relative_zxid: i64,
    /// Paths of one-shot data watches on existing nodes.
    pub data: Vec<Path<'a>>,
    /// Paths of one-shot data watches on missing nodes.
    pub exist: Vec<Path<'a>>,
    /// Paths of one-shot child watches.
    pub child: Vec<Path<'a>>,
    /// Paths of persistent watches.
    pub persistent: Vec<Path<'a>>,
    /// Paths of persistent recursive watches.
    pub recursive: Vec<Path<'a>>,
}

impl<'a> Read<'a> {
    /// Decodes the body of an operation that is a read; `None` for all others.
    pub fn decode(op: OpCode, body: &'a [u8]) -> Option<Result<Self, DecodeError>> {
        let mut reader = Reader::new(body);
        Some(match op {
            OpCode::Exists => path_watch(&mut reader).map(|(path, watch)| Self::Exists { path, watch }),
            OpCode::GetData => path_watch(&mut reader).map(|(path, watch)| Self::GetData { path, watch }),
            OpCode::GetAcl => reader.text().map(|path| Self::GetAcl { path }),
            OpCode::GetChildren | OpCode::GetChildren2 => path_watch(&mut reader)
                .map(|(path, watch)| Self::GetChildren { path, watch, stat: op == OpCode::GetChildren2 }),
            OpCode::GetAllChildrenNumber => reader.text().map(|path| Self::GetAllChildrenNumber { path }),
            OpCode::GetEphemerals => reader.string().map(|prefix| Self::GetEphemerals { prefix }),
            OpCode::WhoAmI => Ok(Self::WhoAmI),
            OpCode::CheckWatches | OpCode::RemoveWatches => path_int(&mut reader).map(|(path, kind)| Self::Watches {
                path,
                kind,
                remove: op == OpCode::RemoveWatches,
            }),
            OpCode::AddWatch => path_int(&mut reader).map(|(path, mode)| Self::AddWatch { path, mode }),
            OpCode::SetWatches | OpCode::SetWatches2 => {
                SetWatches::decode(&mut reader, op == OpCode::SetWatches2).map(Self::SetWatches)
            }
            OpCode::MultiRead => multi::ReadOp::decode_all(&mut reader).map(Self::MultiRead),
            OpCode::Create
            | OpCode::Delete
            | OpCode::SetData
            | OpCode::SetAcl
            | OpCode::Sync
            | OpCode::Ping
            | OpCode::Check
            | OpCode::Multi
            | OpCode::Create2
            | OpCode::Reconfig
            | OpCode::CreateContainer
            | OpCode::DeleteContainer
            | OpCode::CreateTtl
            | OpCode::Auth
            | OpCode::Sasl
            | OpCode::CloseSession => return None,
        })
    }

    /// The operation that carries it.
    pub fn op(&self) -> OpCode {
        match self {
            Self::Exists { .. } => OpCode::Exists,
            Self::GetData { .. } => OpCode::GetData,
            Self::GetAcl { .. } => OpCode::GetAcl,
            Self::GetChildren { stat: false, .. } => OpCode::GetChildren,
            Self::GetChildren { stat: true, .. } => OpCode::GetChildren2,
            Self::GetAllChildrenNumber { .. } => OpCode::GetAllChildrenNumber,
            Self::GetEphemerals { .. } => OpCode::GetEphemerals,
            Self::WhoAmI => OpCode::WhoAmI,
            Self::Watches { remove: false, .. } => OpCode::CheckWatches,
            Self::Watches { remove: true, .. } => OpCode::RemoveWatches,
            Self::AddWatch { .. } => OpCode::AddWatch,
            Self::SetWatches(watches) => watches.op(),
            Self::MultiRead(_) => OpCode::MultiRead,
        }
    }

    /// Appends the body that [`Self::op`] has.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Exists { path, watch } | Self::GetData { path, watch } | Self::GetChildren { path, watch, .. } => {
                out.put_text(path);
                out.put_boolean(*watch);
            }
            Self::GetAcl { path } | Self::GetAllChildrenNumber { path } => out.put_text(path),
            Self::GetEphemerals { prefix } => out.put_string(prefix.as_deref()),
            Self::WhoAmI => {}
            Self::Watches { path, kind: number, .. } | Self::AddWatch { path, mode: number } => {
                out.put_text(path);
                out.put_int(*number);
            }
            Self::SetWatches(watches) => watches.encode(out),
            Self::MultiRead(ops) => multi::encode_reads(ops, out),
        }
    }
}

fn path_watch<'a>(reader: &mut Reader<'a>) -> Result<(Path<'a>, bool), DecodeError> {
    Ok((reader.text()?, reader.boolean()?))
}

/// Where any string will do: null is one that no node has.
fn path_int<'a>(reader: &mut Reader<'a>) -> Result<(Path<'a>, i32), DecodeError> {
    Ok((reader.string()?.unwrap_or_default(), reader.int()?))
}

impl<'a> SetWatches<'a> {
    fn decode(reader: &mut Reader<'a>, second: bool) -> Result<Self, DecodeError> {
        let relative_zxid = reader.long()?;
        let mut paths = || -> Result<Vec<Path<'a>>, DecodeError> {
            let count = reader.count()?.ok_or(DecodeError::UnexpectedNull)?;
            let mut list = Vec::new();
            for _ in 0..count {
                list.push(reader.text()?);
            }
            Ok(list)
        };
        let (data, exist, child) = (paths()?, paths()?, paths()?);
        let (persistent, recursive) = if second { (paths()?, paths()?) } else { Default::default() };
        Ok(Self { relative_zxid, data, exist, child, persistent, recursive })
    }

    /// setWatches unless it cannot hold all: servers before 3.6 know no other.
    fn op(&self) -> OpCode {
        let plain = self.persistent.is_empty() && self.recursive.is_empty();
        if plain { OpCode::SetWatches } else { OpCode::SetWatches2 }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_long(self.relative_zxid);
        let mut paths = |list: &[Path<'_>]| {
            out.put_count(list.len());
            for path in list {
                out.put_text(path);
            }
        };
        paths(&self.data);
        paths(&self.exist);
        paths(&self.child);
        if self.op() == OpCode::SetWatches2 {
            paths(&self.persistent);
            paths(&self.recursive);
        }
    }
}
