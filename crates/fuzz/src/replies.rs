//! What servers send: answers to handshakes, notifications, and the answer to every operation. The first byte says which.
//!
//! What decodes is encoded again as the server does it, and decoded again: the two must be the same.

use gk_proto::answer::Answer;
use gk_proto::connect::ConnectResponse;
use gk_proto::jute::Reader;
use gk_proto::op::OpCode;
use gk_proto::reply::{self, Header};
use gk_proto::watch::{SYNC_CONNECTED, WatcherEvent, encode_event};

#[path = "../../proto/tests/common/mod.rs"]
mod server;

/// First byte of the answer to a handshake, a notification, and a whole reply behind its header.
pub(crate) const CONNECTED: u8 = 0x80;
pub(crate) const EVENT: u8 = 0x81;
pub(crate) const REPLY: u8 = 0x82;

pub(crate) fn run(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    match first {
        CONNECTED => connected(body),
        EVENT => event(body),
        REPLY => {
            let Some((&op, body)) = body.split_first() else { return };
            let mut reader = Reader::new(body);
            let Ok(header) = Header::decode(&mut reader) else { return };
            if header.err == 0 {
                answer(i32::from(op.cast_signed()), reader.rest());
            }
        }
        op => answer(i32::from(op.cast_signed()), body),
    }
}

fn connected(body: &[u8]) {
    let Ok(response) = ConnectResponse::decode(body) else { return };
    let mut out = Vec::new();
    response.encode(&mut out);
    assert_eq!(ConnectResponse::decode(&out), Ok(response), "the answer to a handshake encoded again");
}

fn event(body: &[u8]) {
    let Ok(event) = WatcherEvent::decode(body) else { return };
    let mut out = Vec::new();
    encode_event(-1, event.kind, &event.path, &mut out);
    let frame = Reader::new(&out).buffer();
    let body = frame.ok().flatten().and_then(|frame| frame.get(reply::HEADER_LEN..));
    let again = body.map(WatcherEvent::decode);
    assert_eq!(again, Some(Ok(WatcherEvent { state: SYNC_CONNECTED, ..event })), "a notification encoded again");
}

fn answer(code: i32, body: &[u8]) {
    let Some(op) = OpCode::from_code(code) else { return };
    let Ok(answer) = Answer::decode(op, body) else { return };
    let out = server::encoded(&answer);
    assert!(out.len() <= 3 * body.len() + 64, "{} bytes came of {}", out.len(), body.len());
    assert_eq!(Answer::decode(op, &out).as_ref(), Ok(&answer), "the answer to {op:?} encoded again");
}
