//! The handshake that opens a connection: no header, and a last field that old clients leave out.

use crate::jute::{Reader, Write};
use crate::{DecodeError, SessionId};

/// Bytes of a session's password.
pub const PASSWORD_LEN: usize = 16;
/// A session's password.
pub type Password = [u8; PASSWORD_LEN];

/// `ConnectRequest`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectRequest {
    /// Ignored by servers.
    pub protocol_version: i32,
    /// Highest zxid the client has seen; negative values pass every check.
    pub last_zxid_seen: i64,
    /// Session timeout asked for, milliseconds.
    pub timeout_ms: i32,
    /// Session to resume, or [`SessionId::NONE`].
    pub session: SessionId,
    /// Password of that session; any length arrives.
    pub password: Vec<u8>,
    /// Whether a read-only server will do; `None` if the client is too old to say.
    pub read_only: Option<bool>,
}

impl ConnectRequest {
    /// Reads the body of the first frame; bytes after the last field are ignored.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        Ok(Self {
            protocol_version: reader.int()?,
            last_zxid_seen: reader.long()?,
            timeout_ms: reader.int()?,
            session: SessionId::from_wire(reader.long()?),
            password: reader.buffer()?.unwrap_or_default().to_vec(),
            read_only: reader.boolean().ok(),
        })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_int(self.protocol_version);
        out.put_long(self.last_zxid_seen);
        out.put_int(self.timeout_ms);
        out.put_long(self.session.wire());
        out.put_buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            out.put_boolean(read_only);
        }
    }
}

/// `ConnectResponse`. A refusal has timeout 0, session 0 and a password of zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectResponse {
    /// Negotiated session timeout, milliseconds.
    pub timeout_ms: i32,
    /// The session.
    pub session: SessionId,
    /// What resumes it.
    pub password: Password,
    /// Whether the server is read-only; sent only to clients that sent theirs.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// The answer to a session that is unknown, expired, or whose password is wrong.
    pub fn refused(read_only: Option<bool>) -> Self {
        Self { timeout_ms: 0, session: SessionId::NONE, password: [0; PASSWORD_LEN], read_only }
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_int(0);
        out.put_int(self.timeout_ms);
        out.put_long(self.session.wire());
        out.put_buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            out.put_boolean(read_only);
        }
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        reader.int()?;
        let timeout_ms = reader.int()?;
        let session = SessionId::from_wire(reader.long()?);
        let password = reader.buffer()?.unwrap_or_default();
        let password = password.try_into().map_err(|_| DecodeError::Truncated)?;
        Ok(Self { timeout_ms, session, password, read_only: reader.boolean().ok() })
    }
}

/// ZooKeeper's computable password: a `java.util.Random` stream seeded with the id (`ZooKeeperServer.generatePasswd`).
///
/// A checksum, not a secret: kept for sessions of ensembles without a key, and those found when a key is made.
pub fn computable_password(session: SessionId) -> Password {
    const MULTIPLIER: u64 = 0x5_deec_e66d;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = (session.0 ^ 0xb341_5c00 ^ MULTIPLIER) & MASK;
    let mut password = [0; PASSWORD_LEN];
    for chunk in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xb) & MASK;
        let [_, _, word @ .., _, _] = state.to_be_bytes();
        for (byte, value) in chunk.iter_mut().zip(word.into_iter().rev()) {
            *byte = value;
        }
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computable_password_matches_apache() {
        let password = computable_password(SessionId(0x0100_0011_7a23_0015));
        let hex: String = password.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "ed395837011e0cf9ac2364dd11d0a9a4", "example of the protocol notes");
        let recorded = computable_password(SessionId(0x0100_0019_dbcc_0000));
        assert_eq!(recorded[..4], [0x96, 0xd7, 0xf8, 0x5d], "vector 01-connect");
    }

    #[test]
    fn read_only_byte_is_optional() {
        let mut request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 5,
            timeout_ms: 10_000,
            session: SessionId(3),
            password: vec![1; 16],
            read_only: None,
        };
        for (read_only, length) in [(None, 44), (Some(true), 45)] {
            request.read_only = read_only;
            let mut out = Vec::new();
            request.encode(&mut out);
            assert_eq!(out.len(), length, "bytes of the body");
            assert_eq!(ConnectRequest::decode(&out), Ok(request.clone()), "round trip");
        }
    }
}
