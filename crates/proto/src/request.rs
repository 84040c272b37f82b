//! Requests as clients send them: a header, then a body by operation.
//!
//! Reads borrow from the frame and are answered at once. Writes own their parts, as slices of the shared frame.
//! Bytes after a body's last field are ignored, as ZooKeeper does.

use std::borrow::Cow;

use bytes::Bytes;

use crate::jute::{self, Reader, Write as _};
use crate::op::{CreateMode, OpCode};
use crate::{DecodeError, Xid, acl, multi};

/// `RequestHeader`. The operation is left a number: unknown ones get an answer too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Echoed in the reply.
    pub xid: Xid,
    /// See [`OpCode::from_code`].
    pub op: i32,
}

/// Bytes of a [`Header`].
pub const HEADER_LEN: usize = 8;

impl Header {
    /// Reads 8 bytes.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { xid: Xid(reader.int()?), op: reader.int()? })
    }

    /// Appends 8 bytes.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.put_int(self.xid.0);
        out.put_int(self.op);
    }
}

/// A path that a read names, as text; malformed ones are simply not found.
pub type Path<'a> = Cow<'a, str>;

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
        /// Watched path.
        path: Path<'a>,
        /// See [`crate::watch::WatcherType`].
        kind: i32,
        /// Remove, or only check.
        remove: bool,
    },
    /// `AddWatchRequest`
    AddWatch {
        /// Watched path; need not be valid.
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
}

fn path_watch<'a>(reader: &mut Reader<'a>) -> Result<(Path<'a>, bool), DecodeError> {
    Ok((reader.text()?, reader.boolean()?))
}

fn path_int<'a>(reader: &mut Reader<'a>) -> Result<(Path<'a>, i32), DecodeError> {
    Ok((reader.text()?, reader.int()?))
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
}

/// A request that is decided in one order for all: a txn, or a sync.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// create, create2, createContainer, createTTL
    Create(Create),
    /// `DeleteRequest`
    Delete {
        /// Node to delete.
        path: String,
        /// Version it must have, or -1.
        version: i32,
    },
    /// `SetDataRequest`
    SetData {
        /// Node to change; null arrives as an empty string, which no node has.
        path: String,
        /// New data.
        data: Option<Bytes>,
        /// Version it must have, or -1.
        version: i32,
    },
    /// `SetACLRequest`
    SetAcl {
        /// Node to change; null arrives as an empty string.
        path: String,
        /// New list.
        acl: AclSpec,
        /// ACL version it must have, or -1.
        version: i32,
    },
    /// `CheckVersionRequest`, only inside a multi.
    Check {
        /// Node to check; null arrives as an empty string.
        path: String,
        /// Version it must have, or -1 for existence alone.
        version: i32,
    },
    /// `MultiRequest` of writes.
    Multi(Vec<Self>),
    /// `SyncRequest`: the path is echoed, whatever it is.
    Sync {
        /// Echoed.
        path: Option<String>,
    },
    /// `ReconfigRequest`
    Reconfig,
    /// closeSession has no body.
    CloseSession,
}

/// Which of the four create operations, with its fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Create {
    /// create, create2, createContainer or createTTL.
    pub op: OpCode,
    /// Path asked for, before any suffix.
    pub path: String,
    /// Data; null stays null.
    pub data: Option<Bytes>,
    /// ACL as sent.
    pub acl: AclSpec,
    /// Create flags, not yet checked.
    pub flags: i32,
    /// Time to live in milliseconds (createTTL only).
    pub ttl_ms: Option<i64>,
}

/// An ACL list as a client sent it, before validation and expansion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AclSpec {
    /// Exactly `world:anyone` with all permissions: the common case, recognised without decoding.
    Open,
    /// Anything else; `None` is a null list.
    List(Option<Vec<RawAcl>>),
}

/// An ACL entry with its nulls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawAcl {
    /// Permission bits, any.
    pub perms: i32,
    /// Scheme; null is invalid.
    pub scheme: Option<String>,
    /// Id; null is invalid.
    pub id: Option<String>,
}

impl Write {
    /// Decodes the body of an operation that is a write; `None` for all others.
    pub fn decode(op: OpCode, body: &Bytes) -> Option<Result<Self, DecodeError>> {
        let mut reader = Reader::new(body);
        Some(match op {
            OpCode::Multi => multi::decode_writes(&mut reader, body).map(Self::Multi),
            OpCode::Sync => reader.string().map(|path| Self::Sync { path: path.map(Cow::into_owned) }),
            OpCode::Reconfig => decode_reconfig(&mut reader),
            OpCode::CloseSession => Ok(Self::CloseSession),
            OpCode::Create
            | OpCode::Create2
            | OpCode::CreateContainer
            | OpCode::CreateTtl
            | OpCode::Delete
            | OpCode::SetData
            | OpCode::SetAcl => Self::decode_sub(op, &mut reader, body)?,
            OpCode::Exists
            | OpCode::GetData
            | OpCode::GetAcl
            | OpCode::GetChildren
            | OpCode::Ping
            | OpCode::GetChildren2
            | OpCode::Check
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::DeleteContainer
            | OpCode::MultiRead
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::Sasl
            | OpCode::GetEphemerals
            | OpCode::GetAllChildrenNumber
            | OpCode::SetWatches2
            | OpCode::AddWatch
            | OpCode::WhoAmI => return None,
        })
    }

    /// Decodes one operation that may stand alone or in a multi, from a reader within `frame`.
    pub(crate) fn decode_sub(op: OpCode, r: &mut Reader<'_>, frame: &Bytes) -> Option<Result<Self, DecodeError>> {
        match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Some(Create::decode(op, r, frame).map(Self::Create))
            }
            OpCode::Delete => Some(owned_path_int(r).map(|(path, version)| Self::Delete { path, version })),
            OpCode::SetData => Some((|| {
                let path = r.string()?.unwrap_or_default().into_owned();
                let data = r.buffer()?.map(|part| jute::shared(frame, part));
                Ok(Self::SetData { path, data, version: r.int()? })
            })()),
            OpCode::SetAcl => Some((|| {
                let path = r.string()?.unwrap_or_default().into_owned();
                Ok(Self::SetAcl { path, acl: AclSpec::decode(r)?, version: r.int()? })
            })()),
            OpCode::Check => Some((|| {
                let path = r.string()?.unwrap_or_default().into_owned();
                Ok(Self::Check { path, version: r.int()? })
            })()),
            OpCode::Exists
            | OpCode::GetData
            | OpCode::GetAcl
            | OpCode::GetChildren
            | OpCode::Sync
            | OpCode::Ping
            | OpCode::GetChildren2
            | OpCode::Multi
            | OpCode::Reconfig
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::DeleteContainer
            | OpCode::MultiRead
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::Sasl
            | OpCode::GetEphemerals
            | OpCode::GetAllChildrenNumber
            | OpCode::SetWatches2
            | OpCode::AddWatch
            | OpCode::WhoAmI
            | OpCode::CloseSession => None,
        }
    }
}

fn owned_path_int(reader: &mut Reader<'_>) -> Result<(String, i32), DecodeError> {
    Ok((reader.text()?.into_owned(), reader.int()?))
}

fn decode_reconfig(reader: &mut Reader<'_>) -> Result<Write, DecodeError> {
    for _ in 0..3 {
        reader.string()?;
    }
    reader.long()?;
    Ok(Write::Reconfig)
}

impl Create {
    fn decode(op: OpCode, r: &mut Reader<'_>, frame: &Bytes) -> Result<Self, DecodeError> {
        Ok(Self {
            op,
            path: r.text()?.into_owned(),
            data: r.buffer()?.map(|part| jute::shared(frame, part)),
            acl: AclSpec::decode(r)?,
            flags: r.int()?,
            ttl_ms: if op == OpCode::CreateTtl { Some(r.long()?) } else { None },
        })
    }

    /// What becomes of a create in a multi. There the mode decides whether it makes a container, and flags that do not
    /// fit the operation spoil the whole request (`MultiOperationRecord`, `Op.Create`).
    pub(crate) fn within_multi(mut self) -> Result<Self, DecodeError> {
        if self.op != OpCode::CreateTtl {
            match self.mode() {
                Some(CreateMode::Container) => self.op = OpCode::CreateContainer,
                Some(mode) if !mode.is_ttl() => {}
                _ => return Err(DecodeError::Unknown { what: "create flags in a multi", value: self.flags }),
            }
        }
        Ok(self)
    }

    /// The mode that the flags name, if any.
    pub fn mode(&self) -> Option<CreateMode> {
        CreateMode::from_flags(self.flags)
    }
}

impl AclSpec {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.rest().starts_with(acl::OPEN_BYTES) {
            reader.take(acl::OPEN_BYTES.len())?;
            return Ok(Self::Open);
        }
        let Some(count) = reader.count()? else { return Ok(Self::List(None)) };
        let mut list = Vec::new();
        for _ in 0..count {
            let perms = reader.int()?;
            let scheme = reader.string()?.map(Cow::into_owned);
            let id = reader.string()?.map(Cow::into_owned);
            list.push(RawAcl { perms, scheme, id });
        }
        Ok(Self::List(Some(list)))
    }
}

/// `AuthPacket`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthPacket<'a> {
    /// Scheme to authenticate with; null is refused like an unknown one.
    pub scheme: Option<Path<'a>>,
    /// What the scheme needs.
    pub auth: &'a [u8],
}

impl<'a> AuthPacket<'a> {
    /// Reads the body of an auth request.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        reader.int()?;
        Ok(Self { scheme: reader.string()?, auth: reader.buffer()?.unwrap_or_default() })
    }
}
