//! Bodies of successful replies as a client reads them.
//!
//! A reply does not say what it answers: its layout follows from the operation that was asked. Bytes after a body's last
//! field are ignored, as newer servers may add some. Nothing of an answer refers to the buffer it was read from, so that
//! a small value does not keep a large buffer alive.
//!
//! Not done here: errors, which stand in the [header](crate::reply::Header), and notifications
//! ([`WatcherEvent`](crate::watch::WatcherEvent)).

use bytes::Bytes;

use crate::DecodeError;
use crate::acl::{self, AclList};
use crate::jute::Reader;
use crate::multi::{Outcome, ReadOutcome};
use crate::op::OpCode;
use crate::stat::Stat;

/// What a server answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Nothing beyond the header, or nothing worth reading.
    None,
    /// create: the path, with its suffix if it is sequential.
    Path(String),
    /// create2, createContainer, createTTL: path and stat.
    PathStat(String, Stat),
    /// exists, setData, setACL
    Stat(Stat),
    /// getData; reconfig, whose data is the new configuration.
    Data(Option<Bytes>, Stat),
    /// getChildren: names, in no order.
    Children(Vec<String>),
    /// getChildren2: names, in no order, and the parent's stat.
    ChildrenStat(Vec<String>, Stat),
    /// getACL
    Acl(AclList, Stat),
    /// sync: the path as it was sent.
    Sync(Option<String>),
    /// getAllChildrenNumber: how many descendants there are.
    Number(i32),
    /// getEphemerals: full paths, in no order.
    Paths(Vec<String>),
    /// whoAmI, in no order.
    ClientInfo(Vec<ClientInfo>),
    /// multi: one for each op, in their order.
    Multi(Vec<Outcome>),
    /// multiRead: one for each op, in their order.
    MultiRead(Vec<ReadOutcome>),
    /// sasl: the next token; null if there is none.
    Token(Option<Bytes>),
}

/// An identity of the connection (`ClientInfo`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientInfo {
    /// `ip`, `digest` …
    pub scheme: String,
    /// The name without any secret.
    pub user: String,
}

impl Answer {
    /// Reads the body behind a reply header whose error is 0.
    pub fn decode(op: OpCode, body: &[u8]) -> Result<Self, DecodeError> {
        let r = &mut Reader::new(body);
        Ok(match op {
            OpCode::Create => Self::Path(r.text()?.into_owned()),
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Self::PathStat(r.text()?.into_owned(), Stat::decode(r)?)
            }
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl => Self::Stat(Stat::decode(r)?),
            OpCode::GetData | OpCode::Reconfig => Self::Data(data(r)?, Stat::decode(r)?),
            OpCode::GetAcl => Self::Acl(acl::decode(r)?, Stat::decode(r)?),
            OpCode::GetChildren => Self::Children(strings(r)?),
            OpCode::GetChildren2 => Self::ChildrenStat(strings(r)?, Stat::decode(r)?),
            OpCode::Sync => Self::Sync(r.string()?.map(Into::into)),
            OpCode::GetAllChildrenNumber => Self::Number(r.int()?),
            OpCode::GetEphemerals => Self::Paths(strings(r)?),
            OpCode::WhoAmI => Self::ClientInfo(ClientInfo::decode_all(r)?),
            OpCode::Multi => Self::Multi(Outcome::decode_all(r)?),
            OpCode::MultiRead => Self::MultiRead(ReadOutcome::decode_all(r)?),
            OpCode::Sasl => Self::Token(data(r)?),
            // addWatch answers with an error code of its own, which is 0 where that of the header is.
            OpCode::AddWatch
            | OpCode::Delete
            | OpCode::Ping
            | OpCode::Check
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::DeleteContainer
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::SetWatches2
            | OpCode::CloseSession => Self::None,
        })
    }
}

impl ClientInfo {
    /// A `vector<ClientInfo>`; a null vector reads as empty, null strings as empty ones.
    fn decode_all(reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let mut list = Vec::new();
        for _ in 0..reader.count()?.unwrap_or(0) {
            let scheme = reader.string()?.unwrap_or_default().into_owned();
            let user = reader.string()?.unwrap_or_default().into_owned();
            list.push(Self { scheme, user });
        }
        Ok(list)
    }
}

/// A copy of a buffer.
pub(crate) fn data(reader: &mut Reader<'_>) -> Result<Option<Bytes>, DecodeError> {
    Ok(reader.buffer()?.map(Bytes::copy_from_slice))
}

/// A `vector<ustring>`; a null vector reads as empty.
pub(crate) fn strings(reader: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let count = reader.count()?.unwrap_or(0);
    // Each has a length of four bytes: a count beyond what those can make up is a lie, and found out below.
    let mut list = Vec::with_capacity(count.min(reader.remaining() / 4));
    for _ in 0..count {
        list.push(reader.text()?.into_owned());
    }
    Ok(list)
}
