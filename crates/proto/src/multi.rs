//! Framing of multi and multiRead: a header before each op, and an end marker; no count.

use bytes::Bytes;

use crate::jute::{Reader, Write as _};
use crate::op::OpCode;
use crate::request::{Path, Write};
use crate::stat::Stat;
use crate::{DecodeError, ErrorCode};
use crate::{answer, reply};

/// Appends a `MultiHeader`.
pub fn encode_header(op: i32, done: bool, err: i32, out: &mut Vec<u8>) {
    out.put_int(op);
    out.put_boolean(done);
    out.put_int(err);
}

/// Appends the end marker.
pub fn encode_end(out: &mut Vec<u8>) {
    encode_header(-1, true, -1, out);
}

/// The type of the next op, or `None` at the end marker.
fn next_op(reader: &mut Reader<'_>) -> Result<Option<i32>, DecodeError> {
    let op = reader.int()?;
    let done = reader.boolean()?;
    reader.int()?;
    Ok((!done).then_some(op))
}

/// The ops of a multi: writes and checks only.
pub(crate) fn decode_writes(reader: &mut Reader<'_>, frame: &Bytes) -> Result<Vec<Write>, DecodeError> {
    let mut ops = Vec::new();
    while let Some(value) = next_op(reader)? {
        let unknown = DecodeError::Unknown { what: "op of a multi", value };
        let op = OpCode::from_code(value).ok_or(unknown)?;
        if op == OpCode::SetAcl {
            return Err(unknown);
        }
        let write = Write::decode_sub(op, reader, frame).ok_or(unknown)??;
        ops.push(if let Write::Create(create) = write { Write::Create(create.within_multi()?) } else { write });
    }
    Ok(ops)
}

/// Appends the body of a multi.
pub(crate) fn encode_writes(ops: &[Write], out: &mut Vec<u8>) {
    for op in ops {
        encode_header(op.op().code(), false, -1, out);
        op.encode(out);
    }
    encode_end(out);
}

/// One op of a multiRead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadOp<'a> {
    /// `GetDataRequest`; its watch flag is ignored.
    GetData {
        /// Node asked for.
        path: Path<'a>,
    },
    /// `GetChildrenRequest`; its watch flag is ignored.
    GetChildren {
        /// Node asked for.
        path: Path<'a>,
    },
}

impl<'a> ReadOp<'a> {
    /// The ops of a multiRead.
    pub(crate) fn decode_all(reader: &mut Reader<'a>) -> Result<Vec<Self>, DecodeError> {
        let mut ops = Vec::new();
        while let Some(value) = next_op(reader)? {
            let path = reader.text()?;
            reader.boolean()?;
            ops.push(match OpCode::from_code(value) {
                Some(OpCode::GetData) => Self::GetData { path },
                Some(OpCode::GetChildren) => Self::GetChildren { path },
                _ => return Err(DecodeError::Unknown { what: "op of a multiRead", value }),
            });
        }
        Ok(ops)
    }
}

/// Appends the body of a multiRead.
pub(crate) fn encode_reads(ops: &[ReadOp<'_>], out: &mut Vec<u8>) {
    for op in ops {
        let (code, path) = match op {
            ReadOp::GetData { path } => (OpCode::GetData, path),
            ReadOp::GetChildren { path } => (OpCode::GetChildren, path),
        };
        encode_header(code.code(), false, -1, out);
        out.put_text(path);
        out.put_boolean(false);
    }
    encode_end(out);
}

/// Result of one op of a multi.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// create: the path.
    Create(String),
    /// All other creates: path and stat, under type 15.
    Create2(String, Stat),
    /// delete
    Delete,
    /// setData: the stat.
    SetData(Stat),
    /// check
    Check,
    /// Failed, or not tried because another op failed; [`ErrorCode::Ok`] where it was undone for that reason.
    Error(ErrorCode),
    /// Failed with a code that only a newer server has; never made by ours.
    UnknownError(i32),
}

impl Outcome {
    /// Appends result header and body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create(path) => {
                encode_header(OpCode::Create.code(), false, 0, out);
                out.put_text(path);
            }
            Self::Create2(path, stat) => {
                encode_header(OpCode::Create2.code(), false, 0, out);
                out.put_text(path);
                stat.encode(out);
            }
            Self::Delete => encode_header(OpCode::Delete.code(), false, 0, out),
            Self::SetData(stat) => {
                encode_header(OpCode::SetData.code(), false, 0, out);
                stat.encode(out);
            }
            Self::Check => encode_header(OpCode::Check.code(), false, 0, out),
            Self::Error(code) => reply::encode_multi_error(*code, out),
            Self::UnknownError(code) => encode_error(*code, out),
        }
    }

    /// The results of a multi.
    pub(crate) fn decode_all(reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let mut outcomes = Vec::new();
        while let Some(value) = next_op(reader)? {
            outcomes.push(match OpCode::from_code(value) {
                None if value == ERROR => {
                    let code = reader.int()?;
                    ErrorCode::from_code(code).map_or(Self::UnknownError(code), Self::Error)
                }
                Some(OpCode::Create) => Self::Create(reader.text()?.into_owned()),
                Some(OpCode::Create2) => Self::Create2(reader.text()?.into_owned(), Stat::decode(reader)?),
                Some(OpCode::Delete) => Self::Delete,
                Some(OpCode::SetData) => Self::SetData(Stat::decode(reader)?),
                Some(OpCode::Check) => Self::Check,
                _ => return Err(DecodeError::Unknown { what: "result of a multi", value }),
            });
        }
        Ok(outcomes)
    }
}

/// Result of one op of a multiRead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadOutcome {
    /// getData: data and stat.
    Data(Option<Bytes>, Stat),
    /// getChildren: names, in no order.
    Children(Vec<String>),
    /// Failed; the others were still tried.
    Error(ErrorCode),
    /// Failed with a code that only a newer server has.
    UnknownError(i32),
}

impl ReadOutcome {
    /// The results of a multiRead.
    pub(crate) fn decode_all(reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let mut outcomes = Vec::new();
        while let Some(value) = next_op(reader)? {
            outcomes.push(match OpCode::from_code(value) {
                None if value == ERROR => {
                    let code = reader.int()?;
                    ErrorCode::from_code(code).map_or(Self::UnknownError(code), Self::Error)
                }
                Some(OpCode::GetData) => Self::Data(answer::data(reader)?, Stat::decode(reader)?),
                Some(OpCode::GetChildren) => Self::Children(answer::strings(reader)?),
                _ => return Err(DecodeError::Unknown { what: "result of a multiRead", value }),
            });
        }
        Ok(outcomes)
    }
}

/// Appends the result of a failed op: its code stands in the header and in the body.
pub(crate) fn encode_error(code: i32, out: &mut Vec<u8>) {
    encode_header(ERROR, false, code, out);
    out.put_int(code);
}

/// Type of a failed op's result.
const ERROR: i32 = -1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl;

    /// A multi of one create.
    fn decoded(op: OpCode, flags: i32) -> Result<Vec<Write>, DecodeError> {
        let mut body = Vec::new();
        encode_header(op.code(), false, -1, &mut body);
        body.put_text("/a");
        body.put_buffer(None);
        acl::encode(&acl::open(), &mut body);
        body.put_int(flags);
        if op == OpCode::CreateTtl {
            body.put_long(1);
        }
        encode_end(&mut body);
        let body = Bytes::from(body);
        decode_writes(&mut Reader::new(&body), &body)
    }

    /// Answered per op, where Apache 3.9.5 refuses the whole request.
    #[test]
    fn create_flags_that_do_not_fit_the_op_spoil_the_multi() {
        for op in [OpCode::Create, OpCode::Create2, OpCode::CreateContainer] {
            for flags in [-1, 5, 6, 7] {
                assert!(decoded(op, flags).is_err(), "{op:?} with flags {flags}");
            }
        }
        for flags in [0, 5, 9] {
            assert!(decoded(OpCode::CreateTtl, flags).is_ok(), "createTTL with flags {flags} fails by itself");
        }
    }

    /// Alone it is answered as an invalid ACL; in a multi it was too, where Apache 3.9.5 refuses the whole request.
    #[test]
    fn a_null_acl_list_spoils_the_multi() {
        let mut body = Vec::new();
        encode_header(OpCode::Create.code(), false, -1, &mut body);
        body.put_text("/a");
        body.put_buffer(None);
        body.put_int(-1);
        body.put_int(0);
        encode_end(&mut body);
        let body = Bytes::from(body);
        assert_eq!(decode_writes(&mut Reader::new(&body), &body), Err(DecodeError::UnexpectedNull));
    }

    #[test]
    fn the_container_flag_makes_a_container_in_a_multi() {
        let made = |op, flags| match decoded(op, flags).unwrap().first() {
            Some(Write::Create(create)) => create.op,
            other => panic!("{op:?} became {other:?}"),
        };
        for op in [OpCode::Create, OpCode::Create2, OpCode::CreateContainer] {
            assert_eq!(made(op, 4), OpCode::CreateContainer, "{op:?}");
        }
        assert_eq!(made(OpCode::Create, 0), OpCode::Create, "without the flag it stays what it was");
    }
}
