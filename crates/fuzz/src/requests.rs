//! What clients send: handshakes, auth packets, and the body of every operation. The first byte says which.
//!
//! What decodes is encoded again and decoded again: the two must be the same. So nothing that is accepted means something
//! else to the next reader, and every decoder is held against its encoder.

use bytes::Bytes;
use gk_proto::connect::ConnectRequest;
use gk_proto::jute::Reader;
use gk_proto::op::OpCode;
use gk_proto::request::{AuthPacket, Header, Read, Write};

/// First byte of a handshake, an auth packet, and a whole frame with its header; all others are operations.
pub(crate) const CONNECT: u8 = 0x80;
pub(crate) const AUTH: u8 = 0x81;
pub(crate) const FRAME: u8 = 0x82;

pub(crate) fn run(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    match first {
        CONNECT => connect(body),
        AUTH => auth(body),
        FRAME => {
            let mut reader = Reader::new(body);
            let Ok(header) = Header::decode(&mut reader) else { return };
            let mut out = Vec::new();
            header.encode(&mut out);
            assert_eq!(out, body[..out.len()], "the header {header:?} encoded again");
            operation(header.op, reader.rest());
        }
        operation_code => operation(i32::from(operation_code.cast_signed()), body),
    }
}

fn connect(body: &[u8]) {
    let Ok(request) = ConnectRequest::decode(body) else { return };
    let mut out = Vec::new();
    request.encode(&mut out);
    assert_eq!(ConnectRequest::decode(&out).as_ref(), Ok(&request), "a handshake encoded again");
}

fn auth(body: &[u8]) {
    let Ok(packet) = AuthPacket::decode(body) else { return };
    let mut out = Vec::new();
    packet.encode(&mut out);
    assert_eq!(AuthPacket::decode(&out).as_ref(), Ok(&packet), "an auth packet encoded again");
}

fn operation(code: i32, body: &[u8]) {
    let Some(op) = OpCode::from_code(code) else { return };
    assert_eq!(op.code(), code, "the number of {op:?}");
    if let Some(Ok(read)) = Read::decode(op, body) {
        let mut out = Vec::new();
        read.encode(&mut out);
        // The first kind of setWatches does for what the second one holds, if that has no persistent watches.
        let again = Read::decode(read.op(), &out);
        assert_eq!(again.as_ref(), Some(&Ok(read)), "{op:?} encoded again");
    }
    let body = Bytes::copy_from_slice(body);
    let write = Write::decode(op, &body);
    assert_eq!(write.is_some(), op.is_write(), "whether {op:?} is a write");
    if let Some(Ok(write)) = write {
        let mut out = Vec::new();
        write.encode(&mut out);
        assert_eq!(write.op(), op, "the operation of {write:?}");
        let again = Write::decode(op, &out.into());
        assert_eq!(again.as_ref(), Some(&Ok(write)), "{op:?} encoded again");
    }
}
