//! Txns: what the log holds and proposals carry. `TxnHeader`, a record by type, and Apache's tree digest.

use bytes::Bytes;

use crate::acl::{self, AclList};
use crate::jute::{self, Reader, Write};
use crate::{DecodeError, SessionId, WallTime, Xid, Zxid, digest};

/// `TxnHeader` without its type, which is the txn's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnHeader {
    /// Session that asked; 0 for the server itself.
    pub session: SessionId,
    /// The session's number of the request.
    pub cxid: Xid,
    /// Place in the history.
    pub zxid: Zxid,
    /// Wall time at the leader.
    pub time: WallTime,
}

/// What a node is created as, with the record that says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateKind {
    /// create (1): stays.
    Create,
    /// create (1) with the ephemeral flag.
    Ephemeral,
    /// create2 (15): stays.
    Create2,
    /// create2 (15) with the ephemeral flag.
    Ephemeral2,
    /// createContainer (19).
    Container,
    /// createTTL (21), milliseconds.
    Ttl(i64),
}

/// One change, idempotent and complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Txn {
    /// `CreateTxn`, `CreateTTLTxn`, `CreateContainerTxn`
    Create {
        /// Path with its suffix.
        path: String,
        /// Data.
        data: Option<Bytes>,
        /// Expanded ACL.
        acl: AclList,
        /// Persistent, ephemeral, container or TTL.
        kind: CreateKind,
        /// The parent's count of created children after this one; -1 in records of old servers.
        parent_cversion: i32,
    },
    /// `DeleteTxn`
    Delete {
        /// Node to delete.
        path: String,
    },
    /// `DeleteTxn` of the reaper (20).
    DeleteContainer {
        /// Node to delete.
        path: String,
    },
    /// `SetDataTxn`
    SetData {
        /// Node to change.
        path: String,
        /// New data.
        data: Option<Bytes>,
        /// Version after the change.
        version: i32,
    },
    /// `SetDataTxn` of `/zookeeper/config` (16).
    Reconfig {
        /// The config node.
        path: String,
        /// New configuration.
        data: Option<Bytes>,
        /// -1.
        version: i32,
    },
    /// `SetACLTxn`
    SetAcl {
        /// Node to change.
        path: String,
        /// Expanded ACL.
        acl: AclList,
        /// ACL version after the change.
        version: i32,
    },
    /// `CheckVersionTxn`: no effect, inside a multi only.
    Check {
        /// Node that was checked.
        path: String,
        /// As ZooKeeper writes it: the expected version plus one.
        version: i32,
    },
    /// `MultiTxn`
    Multi(Vec<Self>),
    /// `CreateSessionTxn`
    CreateSession {
        /// Negotiated timeout.
        timeout_ms: i32,
    },
    /// `CloseSessionTxn`; without paths each server deletes what it knows of the session.
    CloseSession {
        /// Ephemeral nodes of the session.
        paths: Option<Vec<String>>,
    },
    /// `ErrorTxn`: a refused request; takes a zxid and changes nothing.
    Error {
        /// The wire code.
        code: i32,
    },
}

impl Txn {
    /// The type as logged.
    pub fn code(&self) -> i32 {
        match self {
            Self::Create { kind, .. } => match kind {
                CreateKind::Create | CreateKind::Ephemeral => 1,
                CreateKind::Create2 | CreateKind::Ephemeral2 => 15,
                CreateKind::Container => 19,
                CreateKind::Ttl(_) => 21,
            },
            Self::Delete { .. } => 2,
            Self::DeleteContainer { .. } => 20,
            Self::SetData { .. } => 5,
            Self::Reconfig { .. } => 16,
            Self::SetAcl { .. } => 7,
            Self::Check { .. } => 13,
            Self::Multi(_) => 14,
            Self::CreateSession { .. } => -10,
            Self::CloseSession { .. } => -11,
            Self::Error { .. } => -1,
        }
    }

    /// Appends the record (without header).
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create { path, data, acl, kind, parent_cversion } => {
                out.put_text(path);
                out.put_buffer(data.as_deref());
                acl::encode(acl, out);
                match kind {
                    CreateKind::Create | CreateKind::Create2 => out.put_boolean(false),
                    CreateKind::Ephemeral | CreateKind::Ephemeral2 => out.put_boolean(true),
                    CreateKind::Container | CreateKind::Ttl(_) => {}
                }
                out.put_int(*parent_cversion);
                if let CreateKind::Ttl(ttl_ms) = kind {
                    out.put_long(*ttl_ms);
                }
            }
            Self::Delete { path } | Self::DeleteContainer { path } => out.put_text(path),
            Self::SetData { path, data, version } | Self::Reconfig { path, data, version } => {
                out.put_text(path);
                out.put_buffer(data.as_deref());
                out.put_int(*version);
            }
            Self::SetAcl { path, acl, version } => {
                out.put_text(path);
                acl::encode(acl, out);
                out.put_int(*version);
            }
            Self::Check { path, version } => {
                out.put_text(path);
                out.put_int(*version);
            }
            Self::Multi(txns) => {
                out.put_count(txns.len());
                for txn in txns {
                    out.put_int(txn.code());
                    crate::reply::frame(out, |out| txn.encode(out));
                }
            }
            Self::CreateSession { timeout_ms } => out.put_int(*timeout_ms),
            Self::CloseSession { paths: None } => {}
            Self::CloseSession { paths: Some(paths) } => {
                out.put_count(paths.len());
                for path in paths {
                    out.put_text(path);
                }
            }
            Self::Error { code } => out.put_int(*code),
        }
    }

    /// Reads the record of `code` from a reader within `whole`.
    pub fn decode(code: i32, r: &mut Reader<'_>, whole: &Bytes) -> Result<Self, DecodeError> {
        Ok(match code {
            1 | 15 | 19 | 21 => return decode_create(code, r, whole),
            2 => Self::Delete { path: r.text()?.into_owned() },
            20 => Self::DeleteContainer { path: r.text()?.into_owned() },
            5 | 16 => {
                let path = r.text()?.into_owned();
                let data = r.buffer()?.map(|part| jute::shared(whole, part));
                let version = r.int()?;
                if code == 5 { Self::SetData { path, data, version } } else { Self::Reconfig { path, data, version } }
            }
            7 => {
                let path = r.text()?.into_owned();
                Self::SetAcl { path, acl: acl::decode(r)?, version: r.int()? }
            }
            13 => Self::Check { path: r.text()?.into_owned(), version: r.int()? },
            14 => return decode_multi(r, whole),
            -10 => Self::CreateSession { timeout_ms: r.int()? },
            -11 => return decode_close_session(r),
            -1 => Self::Error { code: r.int()? },
            value => return Err(DecodeError::Unknown { what: "txn type", value }),
        })
    }
}

fn decode_create(code: i32, r: &mut Reader<'_>, whole: &Bytes) -> Result<Txn, DecodeError> {
    let path = r.text()?.into_owned();
    let data = r.buffer()?.map(|part| jute::shared(whole, part));
    let acl = acl::decode(r)?;
    let (kind, parent_cversion) = match code {
        19 => (CreateKind::Container, r.int()?),
        21 => {
            let parent_cversion = r.int()?;
            (CreateKind::Ttl(r.long()?), parent_cversion)
        }
        _ => {
            let ephemeral = r.boolean()?;
            // CreateTxnV0 of old servers ends here.
            let parent_cversion = if r.remaining() == 0 { -1 } else { r.int()? };
            let kind = match (code, ephemeral) {
                (1, false) => CreateKind::Create,
                (1, true) => CreateKind::Ephemeral,
                (_, false) => CreateKind::Create2,
                (_, true) => CreateKind::Ephemeral2,
            };
            (kind, parent_cversion)
        }
    };
    Ok(Txn::Create { path, data, acl, kind, parent_cversion })
}

fn decode_multi(r: &mut Reader<'_>, whole: &Bytes) -> Result<Txn, DecodeError> {
    let mut txns = Vec::new();
    for _ in 0..r.count()?.unwrap_or(0) {
        let code = r.int()?;
        if code == 14 {
            return Err(DecodeError::Unknown { what: "txn type in a multi", value: code });
        }
        let part = r.buffer()?.unwrap_or_default();
        txns.push(Txn::decode(code, &mut Reader::new(part), whole)?);
    }
    Ok(Txn::Multi(txns))
}

fn decode_close_session(r: &mut Reader<'_>) -> Result<Txn, DecodeError> {
    if r.remaining() == 0 {
        return Ok(Txn::CloseSession { paths: None });
    }
    let Some(count) = r.count()? else { return Ok(Txn::CloseSession { paths: None }) };
    let mut paths = Vec::new();
    for _ in 0..count {
        paths.push(r.text()?.into_owned());
    }
    Ok(Txn::CloseSession { paths: Some(paths) })
}

/// A txn with everything that the log holds of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoggedTxn {
    /// Who, when, where in the history.
    pub header: TxnHeader,
    /// The change.
    pub txn: Txn,
    /// Apache's digest of the tree after it, where the writer computed one.
    pub digest: Option<u64>,
}

impl LoggedTxn {
    /// Appends the payload of a log record, which is also the data of a PROPOSAL.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(&self.header, &self.txn, self.digest, out);
    }

    /// Reads a payload. A digest of another version is left out; bytes after the digest are ignored, as newer
    /// versions may add fields.
    pub fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        let (header, code) = decode_header(&mut r)?;
        let txn = Txn::decode(code, &mut r, payload)?;
        let digest = match r.remaining() {
            0 => None,
            _ => {
                let version = r.int()?;
                let value = r.long()?;
                (version == digest::VERSION).then_some(value.cast_unsigned())
            }
        };
        Ok(Self { header, txn, digest })
    }
}

/// Reads only the header and the type of a payload: enough to find a zxid without decoding the record.
pub fn decode_header(r: &mut Reader<'_>) -> Result<(TxnHeader, i32), DecodeError> {
    let session = SessionId::from_wire(r.long()?);
    let cxid = Xid(r.int()?);
    let zxid = Zxid::from_wire(r.long()?);
    let time = WallTime(r.long()?);
    Ok((TxnHeader { session, cxid, zxid, time }, r.int()?))
}

/// Appends a payload from its parts.
pub fn encode(header: &TxnHeader, txn: &Txn, digest: Option<u64>, out: &mut Vec<u8>) {
    out.put_long(header.session.wire());
    out.put_int(header.cxid.0);
    out.put_long(header.zxid.wire());
    out.put_long(header.time.0);
    out.put_int(txn.code());
    txn.encode(out);
    if let Some(value) = digest {
        out.put_int(digest::VERSION);
        out.put_long(value.cast_signed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Txn> {
        let data = Some(Bytes::from_static(b"data"));
        let create = |kind, parent_cversion| Txn::Create {
            path: "/a".into(),
            data: data.clone(),
            acl: acl::open(),
            kind,
            parent_cversion,
        };
        vec![
            create(CreateKind::Create, 1),
            create(CreateKind::Ephemeral, 2),
            create(CreateKind::Create2, 3),
            create(CreateKind::Ephemeral2, 4),
            create(CreateKind::Container, 5),
            create(CreateKind::Ttl(60_000), 6),
            Txn::Delete { path: "/a".into() },
            Txn::DeleteContainer { path: "/a".into() },
            Txn::SetData { path: "/a".into(), data: None, version: 3 },
            Txn::Reconfig { path: "/zookeeper/config".into(), data, version: -1 },
            Txn::SetAcl { path: "/a".into(), acl: acl::read_only(), version: 3 },
            Txn::Multi(vec![Txn::Check { path: "/a".into(), version: 1 }, Txn::Error { code: -2 }]),
            Txn::CreateSession { timeout_ms: 30_000 },
            Txn::CloseSession { paths: Some(vec!["/e".into()]) },
            Txn::Error { code: -101 },
        ]
    }

    #[test]
    fn every_type_round_trips_with_and_without_digest() {
        let header = TxnHeader { session: SessionId(9), cxid: Xid(-7), zxid: Zxid(0x1_0000_0002), time: WallTime(5) };
        for txn in samples() {
            for digest in [None, Some(u64::MAX - 3)] {
                let logged = LoggedTxn { header, txn: txn.clone(), digest };
                let mut out = Vec::new();
                logged.encode(&mut out);
                assert_eq!(LoggedTxn::decode(&out.into()), Ok(logged), "{txn:?}");
            }
        }
    }

    #[test]
    fn create_of_old_servers_has_no_parent_cversion() {
        let mut out = Vec::new();
        out.put_text("/old");
        out.put_buffer(None);
        acl::encode(&acl::open(), &mut out);
        out.put_boolean(true);
        let bytes = Bytes::from(out);
        let txn = Txn::decode(1, &mut Reader::new(&bytes), &bytes);
        let kind = CreateKind::Ephemeral;
        let want = Txn::Create { path: "/old".into(), data: None, acl: acl::open(), kind, parent_cversion: -1 };
        assert_eq!(txn, Ok(want), "CreateTxnV0");
    }

    #[test]
    fn cut_anywhere_is_an_error_not_a_panic() {
        let header = TxnHeader { session: SessionId(9), cxid: Xid(1), zxid: Zxid(2), time: WallTime(3) };
        for txn in samples() {
            let mut out = Vec::new();
            encode(&header, &txn, Some(1), &mut out);
            for cut in 0..out.len() {
                let _ = LoggedTxn::decode(&Bytes::copy_from_slice(&out[..cut]));
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>, code in -12..30i32) {
            let bytes = Bytes::from(bytes);
            let _ = Txn::decode(code, &mut Reader::new(&bytes), &bytes);
            let _ = LoggedTxn::decode(&bytes);
        }
    }
}
