//! Requests as clients send them: a header, then a body by operation.
//!
//! Reads borrow from the frame and are answered at once. Writes own their parts, as slices of the shared frame.
//! Bytes after a body's last field are ignored, as ZooKeeper does.
//!
//! Encoders take it that their values fit a frame: whoever takes values from a program measures them first.

use std::borrow::Cow;

use crate::jute::{Reader, Write as _};
use crate::{DecodeError, Xid};

mod read;
mod write;

pub use read::{Read, SetWatches};
pub use write::{AclSpec, Create, RawAcl, Write};

/// `RequestHeader`. The operation is left a number: unknown ones get an answer too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Echoed in the reply.
    pub xid: Xid,
    /// See [`OpCode::from_code`](crate::op::OpCode::from_code).
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

/// `AuthPacket`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthPacket<'a> {
    /// Scheme to authenticate with; null is refused like an unknown one.
    pub scheme: Option<Path<'a>>,
    /// What the scheme needs; some need nothing, and take null.
    pub auth: Option<&'a [u8]>,
}

impl<'a> AuthPacket<'a> {
    /// Reads the body of an auth request.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        reader.int()?;
        Ok(Self { scheme: reader.string()?, auth: reader.buffer()? })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_int(0);
        out.put_string(self.scheme.as_deref());
        out.put_buffer(self.auth);
    }
}
