//! Requests that change the tree, and those that must keep their place among them.

use std::borrow::Cow;

use bytes::Bytes;

use crate::acl::Acl;
use crate::jute::{self, Reader, Write as _};
use crate::op::{CreateMode, OpCode};
use crate::{DecodeError, acl, multi};

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
    /// `ReconfigRequest`: servers that come and go, or the whole new membership.
    Reconfig {
        /// Servers to add or change, as lines of the configuration, comma-separated.
        joining: Option<String>,
        /// Ids of servers to remove, comma-separated.
        leaving: Option<String>,
        /// All members, in place of the two above.
        members: Option<String>,
        /// Version that the configuration must have, or -1.
        config_id: i64,
    },
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
    /// Time to live in milliseconds: with createTTL, and with nothing else.
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

    /// The operation that carries it.
    pub fn op(&self) -> OpCode {
        match self {
            Self::Create(create) => create.op,
            Self::Delete { .. } => OpCode::Delete,
            Self::SetData { .. } => OpCode::SetData,
            Self::SetAcl { .. } => OpCode::SetAcl,
            Self::Check { .. } => OpCode::Check,
            Self::Multi(_) => OpCode::Multi,
            Self::Sync { .. } => OpCode::Sync,
            Self::Reconfig { .. } => OpCode::Reconfig,
            Self::CloseSession => OpCode::CloseSession,
        }
    }

    /// Appends the body of a [`Self::SetData`] whose parts are borrowed.
    pub fn encode_set_data(path: &str, data: Option<&[u8]>, version: i32, out: &mut Vec<u8>) {
        out.put_text(path);
        out.put_buffer(data);
        out.put_int(version);
    }

    /// Appends the body that [`Self::op`] has.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create(create) => create.encode(out),
            Self::Delete { path, version } | Self::Check { path, version } => {
                out.put_text(path);
                out.put_int(*version);
            }
            Self::SetData { path, data, version } => Self::encode_set_data(path, data.as_deref(), *version, out),
            Self::SetAcl { path, acl, version } => {
                out.put_text(path);
                acl.encode(out);
                out.put_int(*version);
            }
            Self::Multi(ops) => multi::encode_writes(ops, out),
            Self::Sync { path } => out.put_string(path.as_deref()),
            Self::Reconfig { joining, leaving, members, config_id } => {
                out.put_string(joining.as_deref());
                out.put_string(leaving.as_deref());
                out.put_string(members.as_deref());
                out.put_long(*config_id);
            }
            Self::CloseSession => {}
        }
    }
}

fn owned_path_int(reader: &mut Reader<'_>) -> Result<(String, i32), DecodeError> {
    Ok((reader.text()?.into_owned(), reader.int()?))
}

fn decode_reconfig(reader: &mut Reader<'_>) -> Result<Write, DecodeError> {
    let mut servers = || Ok(reader.string()?.map(Cow::into_owned));
    let (joining, leaving, members) = (servers()?, servers()?, servers()?);
    Ok(Write::Reconfig { joining, leaving, members, config_id: reader.long()? })
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

    /// A createTTL without a time to live is sent with 0, which servers refuse.
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_text(&self.path);
        out.put_buffer(self.data.as_deref());
        self.acl.encode(out);
        out.put_int(self.flags);
        if self.op == OpCode::CreateTtl {
            out.put_long(self.ttl_ms.unwrap_or_default());
        }
    }

    /// What becomes of a create in a multi. There the mode decides whether it makes a container, and a null list of ACLs
    /// or flags that do not fit the operation spoil the whole request (`MultiOperationRecord`, `Op.Create`); createTTL
    /// has its errors to itself.
    pub(crate) fn within_multi(mut self) -> Result<Self, DecodeError> {
        if self.op != OpCode::CreateTtl {
            if self.acl == AclSpec::List(None) {
                return Err(DecodeError::UnexpectedNull);
            }
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

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Open => out.extend_from_slice(acl::OPEN_BYTES),
            Self::List(None) => out.put_int(-1),
            Self::List(Some(list)) => {
                out.put_count(list.len());
                for entry in list {
                    out.put_int(entry.perms);
                    out.put_string(entry.scheme.as_deref());
                    out.put_string(entry.id.as_deref());
                }
            }
        }
    }
}

impl From<&[Acl]> for AclSpec {
    fn from(list: &[Acl]) -> Self {
        if *list == *acl::open() {
            return Self::Open;
        }
        let raw =
            |acl: &Acl| RawAcl { perms: acl.perms, scheme: Some(acl.id.scheme.clone()), id: Some(acl.id.id.clone()) };
        Self::List(Some(list.iter().map(raw).collect()))
    }
}
