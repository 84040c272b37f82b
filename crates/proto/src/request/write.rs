//! Requests that change the tree, and those that must keep their place among them.

use std::borrow::Cow;

use bytes::Bytes;

use crate::jute::{self, Reader};
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
