//! Exchanges recorded from Apache ZooKeeper: every request and every reply is decoded, encoded again and held byte for
//! byte against the recording.

#![allow(clippy::unwrap_used, reason = "all of this file is tests and their helpers")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use common::encoded;
use gk_proto::acl::{Acl, Id};
use gk_proto::answer::{Answer, ClientInfo};
use gk_proto::connect::{ConnectRequest, ConnectResponse};
use gk_proto::jute::Reader;
use gk_proto::multi::{Outcome, ReadOutcome};
use gk_proto::op::OpCode;
use gk_proto::reply;
use gk_proto::request::{AuthPacket, Header, Read, Write};
use gk_proto::stat::Stat;
use gk_proto::watch::{self, EventType, WatcherEvent};
use gk_proto::{ErrorCode, Xid, Zxid};

/// One connection, as frames without their lengths.
struct Exchange {
    name: String,
    sent: Vec<Bytes>,
    received: Vec<Bytes>,
}

impl Exchange {
    /// All recordings but those that are no frames: a four-letter word, and a length without its frame.
    fn all() -> Vec<Self> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/vectors/client");
        let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
        files.sort();
        let all = files.iter().map(|path| Self::read(path));
        all.filter(|exchange| !matches!(exchange.number(), "56" | "57")).collect()
    }

    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let stream = |mark: &str| -> Vec<u8> {
            let lines = text.lines().map(|line| line.strip_prefix("setup").unwrap_or(line));
            lines.filter_map(|line| line.strip_prefix(mark)).flat_map(unhex).collect()
        };
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        Self { name, sent: frames(&stream("> ")), received: frames(&stream("< ")) }
    }

    fn number(&self) -> &str {
        &self.name[..2]
    }

    /// The requests behind the handshake: headers and bodies.
    fn requests(&self) -> impl Iterator<Item = (Header, Bytes)> {
        self.sent.iter().skip(1).map(|frame| {
            let mut reader = Reader::new(frame);
            let header = Header::decode(&mut reader).unwrap();
            (header, frame.slice_ref(reader.rest()))
        })
    }

    /// The replies and notifications behind the handshake: headers and bodies.
    fn replies(&self) -> impl Iterator<Item = (reply::Header, Bytes)> {
        self.received.iter().skip(1).map(|frame| {
            let mut reader = Reader::new(frame);
            let header = reply::Header::decode(&mut reader).unwrap();
            (header, frame.slice_ref(reader.rest()))
        })
    }

    /// The successful replies that are no notifications: what was asked, the body, and what it decodes to.
    fn answers(&self) -> Vec<(OpCode, Bytes, Answer)> {
        let mut asked = BTreeMap::new();
        for (header, _) in self.requests() {
            let before = asked.insert(header.xid, header.op);
            assert!(before.is_none_or(|op| op == header.op), "{}: {:?} names two requests", self.name, header.xid);
        }
        let successful = self.replies().filter(|(header, _)| header.err == 0 && header.xid != Xid::NOTIFICATION);
        successful
            .map(|(header, body)| {
                let op = OpCode::from_code(asked[&header.xid]).unwrap();
                let answer = Answer::decode(op, &body).unwrap_or_else(|e| panic!("{}: {op:?}: {e}", self.name));
                (op, body, answer)
            })
            .collect()
    }
}

/// Cuts a stream of frames, each behind its length.
fn frames(stream: &[u8]) -> Vec<Bytes> {
    let mut reader = Reader::new(stream);
    std::iter::from_fn(|| Some(Bytes::copy_from_slice(reader.buffer().ok()??))).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// What one recording's answers to an operation decode to.
fn answers(number: &str, op: OpCode) -> Vec<Answer> {
    let exchange = Exchange::all().into_iter().find(|exchange| exchange.number() == number).unwrap();
    exchange.answers().into_iter().filter(|(asked, ..)| *asked == op).map(|(.., answer)| answer).collect()
}

/// The body encoded again, or why that cannot be.
fn encoded_again(header: Header, body: &Bytes) -> Result<Vec<u8>, &'static str> {
    let op = OpCode::from_code(header.op).ok_or("unknown operation")?;
    let mut out = Vec::new();
    if let Some(read) = Read::decode(op, body) {
        let read = read.map_err(|_| "undecodable")?;
        assert_eq!(read.op(), op, "{read:?}");
        read.encode(&mut out);
    } else if let Some(write) = Write::decode(op, body) {
        let write = write.map_err(|_| "undecodable")?;
        assert_eq!(write.op(), op, "{write:?}");
        write.encode(&mut out);
    } else if op == OpCode::Auth {
        AuthPacket::decode(body).map_err(|_| "undecodable")?.encode(&mut out);
    } else if op != OpCode::Ping {
        return Err("no request of its own");
    }
    Ok(out)
}

#[test]
fn recorded_requests_are_what_we_would_send() {
    let (mut same, mut others) = (0, Vec::new());
    for exchange in Exchange::all() {
        for (header, body) in exchange.requests() {
            match encoded_again(header, &body) {
                Ok(again) => {
                    assert_eq!(again, body, "{}, {header:?}", exchange.name);
                    same += 1;
                }
                Err(why) => others.push((exchange.number().to_owned(), why)),
            }
        }
    }
    let others: Vec<_> = others.iter().map(|(number, why)| (number.as_str(), *why)).collect();
    let expected = [
        ("47", "undecodable"),
        ("52", "unknown operation"),
        ("53", "no request of its own"),
        ("54", "undecodable"),
        ("61", "no request of its own"),
        ("61", "no request of its own"),
        ("62", "no request of its own"),
        ("62", "no request of its own"),
        ("63", "no request of its own"),
    ];
    assert_eq!(others, expected, "what a client of ours never sends, and SASL tokens");
    assert!(same > 100, "{same} requests compared");
}

#[test]
fn recorded_handshakes_are_what_we_would_send() {
    for exchange in Exchange::all() {
        let request = ConnectRequest::decode(&exchange.sent[0]).unwrap();
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(out, exchange.sent[0], "{}: {request:?}", exchange.name);
        let Some(frame) = exchange.received.first() else {
            assert_eq!(exchange.number(), "08", "closed without a reply");
            continue;
        };
        let response = ConnectResponse::decode(frame).unwrap();
        let mut out = Vec::new();
        response.encode(&mut out);
        assert_eq!(&out, frame, "{}: {response:?}", exchange.name);
    }
}

#[test]
fn recorded_answers_hold_nothing_that_is_not_decoded() {
    let mut compared = BTreeMap::new();
    for exchange in Exchange::all() {
        for (op, body, answer) in exchange.answers() {
            let again = if op == OpCode::AddWatch { vec![0; 4] } else { encoded(&answer) };
            assert_eq!(again, body, "{}: {op:?}: {answer:?}", exchange.name);
            *compared.entry(op.code()).or_insert(0) += 1;
        }
        for (header, body) in exchange.replies().filter(|(header, _)| header.err != 0) {
            assert!(ErrorCode::from_code(header.err).is_some(), "{}: error {}", exchange.name, header.err);
            let null_token: &[u8] = if exchange.number() == "62" { &[0xff; 4] } else { &[] };
            assert_eq!(body, null_token, "{}: an error has no body but that of sasl", exchange.name);
        }
    }
    let ops: Vec<i32> = compared.into_keys().collect();
    let expected =
        [-11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14, 15, 17, 18, 19, 21, 22, 100, 101, 102, 103, 104, 105, 106, 107];
    assert_eq!(ops, expected, "all operations but those that no recording carries out");
}

#[test]
fn recorded_notifications_are_what_we_would_send() {
    let mut seen = Vec::new();
    for exchange in Exchange::all() {
        for (header, body) in exchange.replies().filter(|(header, _)| header.xid == Xid::NOTIFICATION) {
            let event = WatcherEvent::decode(&body).unwrap();
            let mut out = Vec::new();
            watch::encode_event(header.zxid, event.kind, &event.path, &mut out);
            assert_eq!(&out[4 + reply::HEADER_LEN..], &body[..], "{}: {event:?}", exchange.name);
            seen.push((exchange.number().to_owned(), header.zxid, event.kind, event.path));
        }
    }
    let of = |number: &str| -> Vec<_> {
        let those = seen.iter().filter(|(exchange, ..)| exchange == number);
        those.map(|(_, zxid, kind, path)| (*zxid, *kind, path.as_str())).collect()
    };
    let persistent = [(117, EventType::NodeDataChanged, "/v39"), (118, EventType::NodeChildrenChanged, "/v39")];
    assert_eq!(of("39"), persistent, "of a persistent watch");
    let catch_up = [
        (-1, EventType::NodeDataChanged, "/v42/a"),
        (-1, EventType::NodeDeleted, "/v42/gone"),
        (-1, EventType::NodeCreated, "/v42/n"),
        (-1, EventType::NodeChildrenChanged, "/v42"),
    ];
    assert_eq!(of("42"), catch_up, "behind setWatches");
}

#[test]
fn null_and_empty_data_differ() {
    let data = |number| {
        let Answer::Data(data, stat) = answers(number, OpCode::GetData).remove(0) else { panic!("not data") };
        (data, stat.data_length)
    };
    assert_eq!(data("11"), (None, 0), "null");
    assert_eq!(data("12"), (Some(Bytes::new()), 0), "empty");
}

#[test]
fn a_failed_multi_tells_which_op_it_was() {
    let outcomes =
        [ErrorCode::Ok, ErrorCode::NodeExists, ErrorCode::RuntimeInconsistency, ErrorCode::RuntimeInconsistency];
    let expected = vec![Answer::Multi(outcomes.map(Outcome::Error).into())];
    assert_eq!(answers("45", OpCode::Multi), expected, "the second of four failed");
    assert_eq!(answers("46", OpCode::Multi), [Answer::Multi(Vec::new())], "without ops");
}

#[test]
fn a_multi_answers_each_op_in_its_own_way() {
    let Answer::Multi(outcomes) = answers("44", OpCode::Multi).remove(0) else { panic!("not a multi") };
    let [Outcome::Create(path), Outcome::Create2(sequential, created), Outcome::SetData(changed), rest @ ..] =
        &outcomes[..]
    else {
        panic!("{outcomes:?}")
    };
    assert_eq!((path.as_str(), sequential.as_str()), ("/v44/a", "/v44/s-0000000001"), "paths");
    assert_eq!((created.czxid, created.version), (Zxid(138), 0), "of the node created");
    assert_eq!((changed.mzxid, changed.version), (Zxid(138), 1), "of the node changed");
    assert_eq!(rest, [Outcome::Check, Outcome::Delete], "have nothing to tell");
}

#[test]
fn a_multi_read_answers_each_op_in_its_own_way() {
    let Answer::MultiRead(outcomes) = answers("48", OpCode::MultiRead).remove(0) else { panic!("not a multiRead") };
    let [ReadOutcome::Data(data, stat), rest @ ..] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!(data.as_deref(), Some(&b"d"[..]), "data");
    let Stat { czxid, pzxid, num_children, data_length, .. } = *stat;
    assert_eq!((czxid, pzxid, num_children, data_length), (Zxid(151), Zxid(152), 1, 1), "stat");
    let children = ReadOutcome::Children(vec!["c".into()]);
    assert_eq!(rest, [children, ReadOutcome::Error(ErrorCode::NoNode)], "children, and a missing node");
}

#[test]
fn the_lesser_answers_are_read_as_recorded() {
    let info = |scheme: &str, user: &str| ClientInfo { scheme: scheme.into(), user: user.into() };
    let infos = vec![info("digest", "user"), info("ip", "127.0.0.1")];
    assert_eq!(answers("36", OpCode::WhoAmI), [Answer::ClientInfo(infos)], "whoAmI");
    let paths = [Answer::Paths(vec!["/v49".into()]), Answer::Paths(Vec::new())];
    assert_eq!(answers("49", OpCode::GetEphemerals), paths, "getEphemerals");
    assert_eq!(answers("63", OpCode::Sasl), [Answer::Token(None)], "sasl where it is not configured");
    let Answer::Acl(acl, stat) = answers("33", OpCode::GetAcl).remove(0) else { panic!("not an ACL") };
    let id = Id::new("digest", "user:2Om+GBbT2q/tS6pdvACZbbm7/1A=");
    assert_eq!((&acl[..], stat.czxid), (&[Acl { perms: 31, id }][..], Zxid(97)), "getACL");
}
