//! Replies: a length, a header, and a body unless the header holds an error.

use crate::jute::{Reader, Write};
use crate::multi::{self, Outcome};
use crate::stat::Stat;
use crate::{DecodeError, ErrorCode, Xid};

/// Bytes of a `ReplyHeader`.
pub const HEADER_LEN: usize = 16;

/// `ReplyHeader` as a client reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// That of the request, or one of the special ones of [`Xid`].
    pub xid: Xid,
    /// Last zxid of the server; 0 or -1 where it means nothing.
    pub zxid: i64,
    /// See [`ErrorCode::from_code`]; unless 0 no body follows. Left a number: newer servers have more of them.
    pub err: i32,
}

impl Header {
    /// Reads 16 bytes.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { xid: Xid(reader.int()?), zxid: reader.long()?, err: reader.int()? })
    }
}

/// Appends a frame whose body `body` writes, behind its length.
pub fn frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_int(0);
    body(out);
    let length = i32::try_from(out.len() - start - 4).expect("INVARIANT: replies are cut far below 2 GiB");
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends a `ReplyHeader`.
pub fn encode_header(xid: Xid, zxid: i64, code: ErrorCode, out: &mut Vec<u8>) {
    out.put_int(xid.0);
    out.put_long(zxid);
    out.put_int(code.code());
}

/// Appends a whole frame that is only a header.
pub fn encode_bare(xid: Xid, zxid: i64, code: ErrorCode, out: &mut Vec<u8>) {
    frame(out, |out| encode_header(xid, zxid, code, out));
}

/// Appends the result of a failed op inside a multi or multiRead.
pub fn encode_multi_error(code: ErrorCode, out: &mut Vec<u8>) {
    multi::encode_error(code.code(), out);
}

/// What the reply to a write carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// Header only.
    None,
    /// create
    Path(String),
    /// create2, createContainer, createTTL
    PathStat(String, Stat),
    /// setData, setACL
    Stat(Stat),
    /// sync
    Sync(Option<String>),
    /// multi
    Multi(Vec<Outcome>),
}

impl Body {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::Path(path) => out.put_text(path),
            Self::PathStat(path, stat) => {
                out.put_text(path);
                stat.encode(out);
            }
            Self::Stat(stat) => stat.encode(out),
            Self::Sync(path) => out.put_string(path.as_deref()),
            Self::Multi(outcomes) => {
                for outcome in outcomes {
                    outcome.encode(out);
                }
                multi::encode_end(out);
            }
        }
    }
}

/// Appends the whole reply to a write.
pub fn encode_write(xid: Xid, zxid: i64, result: &Result<Body, ErrorCode>, out: &mut Vec<u8>) {
    frame(out, |out| match result {
        Ok(body) => {
            encode_header(xid, zxid, ErrorCode::Ok, out);
            body.encode(out);
        }
        Err(code) => encode_header(xid, zxid, *code, out),
    });
}
