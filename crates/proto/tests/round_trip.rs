//! What one side encodes the other decodes to the same value, for every request and every reply.

mod common;

use bytes::Bytes;
use common::encoded;
use gk_proto::acl::{self, Acl, AclList, Id};
use gk_proto::answer::{Answer, ClientInfo};
use gk_proto::jute::{Reader, Write as _};
use gk_proto::multi::{Outcome, ReadOp, ReadOutcome};
use gk_proto::op::{CreateMode, OpCode};
use gk_proto::reply;
use gk_proto::request::{AclSpec, AuthPacket, Create, Path, RawAcl, Read, SetWatches, Write};
use gk_proto::stat::Stat;
use gk_proto::watch::{self, AddWatchMode, EventType, WatcherEvent, WatcherType};
use gk_proto::{ErrorCode, WallTime, Xid, Zxid};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

// ---------------------------------------------------------------------------------------------------------------------
// Values

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "/[a-z]{1,8}(/[a-z0-9]{1,8}){0,2}", 1 => any::<String>()]
}

fn path() -> impl Strategy<Value = Path<'static>> {
    text().prop_map(Into::into)
}

fn paths() -> impl Strategy<Value = Vec<Path<'static>>> {
    vec(path(), 0..3)
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    option::of(vec(any::<u8>(), 0..40).prop_map(Bytes::from))
}

fn raw_acl() -> impl Strategy<Value = RawAcl> {
    (any::<i32>(), option::of(text()), option::of(text())).prop_map(|(perms, scheme, id)| RawAcl { perms, scheme, id })
}

fn acl_spec() -> impl Strategy<Value = AclSpec> {
    prop_oneof![Just(AclSpec::Open), option::of(vec(raw_acl(), 0..3)).prop_map(AclSpec::List)]
}

fn acl_list() -> impl Strategy<Value = AclList> {
    let entry = (any::<i32>(), text(), text()).prop_map(|(perms, scheme, id)| Acl { perms, id: Id { scheme, id } });
    prop_oneof![Just(acl::open()), vec(entry, 0..3).prop_map(Into::into)]
}

fn stat() -> impl Strategy<Value = Stat> {
    (any::<[i64; 6]>(), any::<[i32; 5]>()).prop_map(|(longs, ints)| {
        let [czxid, mzxid, ctime, mtime, ephemeral_owner, pzxid] = longs;
        let [version, cversion, aversion, data_length, num_children] = ints;
        Stat {
            czxid: Zxid::from_wire(czxid),
            mzxid: Zxid::from_wire(mzxid),
            ctime: WallTime(ctime),
            mtime: WallTime(mtime),
            version,
            cversion,
            aversion,
            ephemeral_owner,
            data_length,
            num_children,
            pzxid: Zxid::from_wire(pzxid),
        }
    })
}

fn error_code() -> impl Strategy<Value = ErrorCode> {
    (-130..1).prop_filter_map("no code", ErrorCode::from_code)
}

fn unknown_code() -> impl Strategy<Value = i32> {
    any::<i32>().prop_filter("a known code", |code| ErrorCode::from_code(*code).is_none())
}

fn read_op() -> impl Strategy<Value = ReadOp<'static>> {
    prop_oneof![path().prop_map(|path| ReadOp::GetData { path }), path().prop_map(|path| ReadOp::GetChildren { path }),]
}

fn read() -> impl Strategy<Value = Read<'static>> {
    let set_watches = (any::<i64>(), paths(), paths(), paths(), paths(), paths());
    prop_oneof![
        (path(), any::<bool>()).prop_map(|(path, watch)| Read::Exists { path, watch }),
        (path(), any::<bool>()).prop_map(|(path, watch)| Read::GetData { path, watch }),
        path().prop_map(|path| Read::GetAcl { path }),
        (path(), any::<bool>(), any::<bool>()).prop_map(|(path, watch, stat)| Read::GetChildren { path, watch, stat }),
        path().prop_map(|path| Read::GetAllChildrenNumber { path }),
        option::of(path()).prop_map(|prefix| Read::GetEphemerals { prefix }),
        Just(Read::WhoAmI),
        (path(), any::<i32>(), any::<bool>()).prop_map(|(path, kind, remove)| Read::Watches { path, kind, remove }),
        (path(), any::<i32>()).prop_map(|(path, mode)| Read::AddWatch { path, mode }),
        set_watches.prop_map(|(relative_zxid, data, exist, child, persistent, recursive)| {
            Read::SetWatches(SetWatches { relative_zxid, data, exist, child, persistent, recursive })
        }),
        vec(read_op(), 0..4).prop_map(Read::MultiRead),
    ]
}

fn create(flags: impl Strategy<Value = i32>) -> impl Strategy<Value = Write> {
    let op = prop_oneof![
        Just(OpCode::Create),
        Just(OpCode::Create2),
        Just(OpCode::CreateContainer),
        Just(OpCode::CreateTtl),
    ];
    (op, text(), data(), acl_spec(), flags, any::<i64>()).prop_map(|(op, path, data, acl, flags, ttl_ms)| {
        let ttl_ms = (op == OpCode::CreateTtl).then_some(ttl_ms);
        Write::Create(Create { op, path, data, acl, flags, ttl_ms })
    })
}

/// A write that may stand alone or in a multi.
fn plain_write() -> impl Strategy<Value = Write> {
    prop_oneof![
        (text(), any::<i32>()).prop_map(|(path, version)| Write::Delete { path, version }),
        (text(), data(), any::<i32>()).prop_map(|(path, data, version)| Write::SetData { path, data, version }),
    ]
}

/// A multi turns a create with the container flag into another operation, and refuses flags that fit none, and null lists of
/// ACLs but in createTTL.
fn multi_op() -> impl Strategy<Value = Write> {
    let create = |flags| {
        create(flags).prop_map(|mut write| {
            if let Write::Create(create) = &mut write
                && create.op != OpCode::CreateTtl
                && create.acl == AclSpec::List(None)
            {
                create.acl = AclSpec::List(Some(Vec::new()));
            }
            write
        })
    };
    let check = (text(), any::<i32>()).prop_map(|(path, version)| Write::Check { path, version });
    prop_oneof![create(0..4), plain_write(), check]
}

fn write() -> impl Strategy<Value = Write> {
    let servers = || option::of(text());
    prop_oneof![
        create(any::<i32>()),
        plain_write(),
        (text(), acl_spec(), any::<i32>()).prop_map(|(path, acl, version)| Write::SetAcl { path, acl, version }),
        vec(multi_op(), 0..5).prop_map(Write::Multi),
        option::of(text()).prop_map(|path| Write::Sync { path }),
        (servers(), servers(), servers(), any::<i64>()).prop_map(|(joining, leaving, members, config_id)| {
            Write::Reconfig { joining, leaving, members, config_id }
        }),
        Just(Write::CloseSession),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        text().prop_map(Outcome::Create),
        (text(), stat()).prop_map(|(path, stat)| Outcome::Create2(path, stat)),
        Just(Outcome::Delete),
        stat().prop_map(Outcome::SetData),
        Just(Outcome::Check),
        error_code().prop_map(Outcome::Error),
        unknown_code().prop_map(Outcome::UnknownError),
    ]
}

fn read_outcome() -> impl Strategy<Value = ReadOutcome> {
    prop_oneof![
        (data(), stat()).prop_map(|(data, stat)| ReadOutcome::Data(data, stat)),
        vec(text(), 0..3).prop_map(ReadOutcome::Children),
        error_code().prop_map(ReadOutcome::Error),
        unknown_code().prop_map(ReadOutcome::UnknownError),
    ]
}

/// An answer to an operation that has one.
fn answer() -> impl Strategy<Value = (OpCode, Answer)> {
    let info = (text(), text()).prop_map(|(scheme, user)| ClientInfo { scheme, user });
    prop_oneof![
        text().prop_map(|path| (OpCode::Create, Answer::Path(path))),
        (of(&[OpCode::Create2, OpCode::CreateContainer, OpCode::CreateTtl]), text(), stat())
            .prop_map(|(op, path, stat)| (op, Answer::PathStat(path, stat))),
        (of(&[OpCode::Exists, OpCode::SetData, OpCode::SetAcl]), stat())
            .prop_map(|(op, stat)| (op, Answer::Stat(stat))),
        (of(&[OpCode::GetData, OpCode::Reconfig]), data(), stat())
            .prop_map(|(op, data, stat)| (op, Answer::Data(data, stat))),
        vec(text(), 0..4).prop_map(|names| (OpCode::GetChildren, Answer::Children(names))),
        (vec(text(), 0..4), stat()).prop_map(|(names, stat)| (OpCode::GetChildren2, Answer::ChildrenStat(names, stat))),
        (acl_list(), stat()).prop_map(|(acl, stat)| (OpCode::GetAcl, Answer::Acl(acl, stat))),
        option::of(text()).prop_map(|path| (OpCode::Sync, Answer::Sync(path))),
        any::<i32>().prop_map(|count| (OpCode::GetAllChildrenNumber, Answer::Number(count))),
        vec(text(), 0..4).prop_map(|paths| (OpCode::GetEphemerals, Answer::Paths(paths))),
        vec(info, 0..3).prop_map(|infos| (OpCode::WhoAmI, Answer::ClientInfo(infos))),
        vec(outcome(), 0..4).prop_map(|outcomes| (OpCode::Multi, Answer::Multi(outcomes))),
        vec(read_outcome(), 0..4).prop_map(|outcomes| (OpCode::MultiRead, Answer::MultiRead(outcomes))),
        data().prop_map(|token| (OpCode::Sasl, Answer::Token(token))),
    ]
}

fn of(ops: &'static [OpCode]) -> impl Strategy<Value = OpCode> {
    proptest::sample::select(ops)
}

/// Every operation that a client may send.
fn all_ops() -> Vec<OpCode> {
    (-11..=107).filter_map(OpCode::from_code).collect()
}

// ---------------------------------------------------------------------------------------------------------------------
// Tests

proptest! {
    #[test]
    fn reads_round_trip(read in read()) {
        let mut out = Vec::new();
        read.encode(&mut out);
        prop_assert_eq!(Read::decode(read.op(), &out), Some(Ok(read)));
    }

    #[test]
    fn writes_round_trip(write in write()) {
        let mut out = Vec::new();
        write.encode(&mut out);
        prop_assert_eq!(Write::decode(write.op(), &out.into()), Some(Ok(write)));
    }

    #[test]
    fn auth_packets_round_trip(scheme in option::of(path()), auth: Option<Vec<u8>>) {
        let packet = AuthPacket { scheme, auth: auth.as_deref() };
        let mut out = Vec::new();
        packet.encode(&mut out);
        prop_assert_eq!(AuthPacket::decode(&out), Ok(packet));
    }

    #[test]
    fn answers_round_trip_whatever_follows_them((op, answer) in answer(), more: Vec<u8>) {
        let mut body = encoded(&answer);
        body.extend(more);
        prop_assert_eq!(Answer::decode(op, &body), Ok(answer));
    }

    #[test]
    fn cut_answers_are_refused((op, answer) in answer()) {
        let body = encoded(&answer);
        for cut in 0..body.len() {
            prop_assert!(Answer::decode(op, &body[..cut]).is_err(), "{op:?} cut to {cut} of {}", body.len());
        }
    }

    #[test]
    fn any_bytes_decode_or_fail(body: Vec<u8>) {
        for op in all_ops() {
            let _ = Answer::decode(op, &body);
        }
        let _ = WatcherEvent::decode(&body);
        let _ = reply::Header::decode(&mut Reader::new(&body));
    }

    #[test]
    fn events_round_trip_behind_their_header(zxid: i64, code in 1..5i32, path in text()) {
        let kind = EventType::from_code(code).unwrap();
        let mut out = Vec::new();
        watch::encode_event(zxid, kind, &path, &mut out);
        let mut reader = Reader::new(&out);
        prop_assert_eq!(reader.int(), Ok(i32::try_from(out.len() - 4).unwrap()));
        let header = reply::Header::decode(&mut reader);
        prop_assert_eq!(header, Ok(reply::Header { xid: Xid::NOTIFICATION, zxid, err: 0 }));
        let event = WatcherEvent { kind, state: watch::SYNC_CONNECTED, path };
        prop_assert_eq!(WatcherEvent::decode(reader.rest()), Ok(event));
    }

    #[test]
    fn acl_lists_are_sent_as_they_are(list in acl_list()) {
        let spec = AclSpec::from(&*list);
        let mut out = Vec::new();
        Write::SetAcl { path: String::new(), acl: spec.clone(), version: 0 }.encode(&mut out);
        prop_assert_eq!(acl::decode(&mut Reader::new(&out[4..])), Ok(list.clone()));
        prop_assert_eq!(spec == AclSpec::Open, list == acl::open());
    }
}

#[test]
fn numbers_of_enumerations_round_trip() {
    let known = |round: fn(i32) -> Option<i32>| {
        (-2..9)
            .filter(|code| round(*code).inspect(|round| assert_eq!(round, code, "back to its number")).is_some())
            .count()
    };
    assert_eq!(known(|code| EventType::from_code(code).map(EventType::code)), 4, "event types");
    assert_eq!(known(|code| AddWatchMode::from_code(code).map(AddWatchMode::code)), 2, "watch modes");
    assert_eq!(known(|code| WatcherType::from_code(code).map(WatcherType::code)), 5, "watcher types");
    assert_eq!(known(|code| CreateMode::from_flags(code).map(CreateMode::flags)), 7, "create modes");
}

/// Servers before 3.6 do not know setWatches2.
#[test]
fn set_watches_2_is_used_only_for_what_needs_it() {
    let one_shot = SetWatches { data: vec!["/a".into()], exist: vec!["/b".into()], ..Default::default() };
    assert_eq!(Read::SetWatches(one_shot.clone()).op(), OpCode::SetWatches, "one-shot watches only");
    let persistent = SetWatches { persistent: vec!["/p".into()], ..one_shot.clone() };
    assert_eq!(Read::SetWatches(persistent).op(), OpCode::SetWatches2, "a persistent one");
    let recursive = SetWatches { recursive: vec!["/r".into()], ..one_shot };
    assert_eq!(Read::SetWatches(recursive).op(), OpCode::SetWatches2, "a recursive one");
}

#[test]
fn only_operations_without_an_answer_decode_an_empty_body() {
    let bare: Vec<OpCode> = all_ops().into_iter().filter(|op| Answer::decode(*op, &[]) == Ok(Answer::None)).collect();
    let watches =
        [OpCode::CheckWatches, OpCode::RemoveWatches, OpCode::SetWatches, OpCode::SetWatches2, OpCode::AddWatch];
    let others =
        [OpCode::Delete, OpCode::Ping, OpCode::Check, OpCode::DeleteContainer, OpCode::Auth, OpCode::CloseSession];
    for op in all_ops() {
        let expected = watches.contains(&op) || others.contains(&op);
        assert_eq!(bare.contains(&op), expected, "{op:?}");
        assert_eq!(Answer::decode(op, &[]).is_ok(), expected, "{op:?} has fields to read");
    }
    assert_eq!(Answer::decode(OpCode::AddWatch, &[0; 4]), Ok(Answer::None), "an ErrorResponse of 0");
}

/// A count is not backed by bytes: it must not become a reservation.
#[test]
fn counts_that_lie_are_refused() {
    let mut body = Vec::new();
    body.put_int(i32::MAX);
    body.extend([0; 16]);
    for op in [OpCode::GetChildren, OpCode::GetChildren2, OpCode::GetEphemerals, OpCode::WhoAmI, OpCode::GetAcl] {
        assert!(Answer::decode(op, &body).is_err(), "{op:?}");
    }
}

#[test]
fn null_lists_read_as_empty() {
    let null = (-1i32).to_be_bytes();
    assert_eq!(Answer::decode(OpCode::GetChildren, &null), Ok(Answer::Children(Vec::new())), "names");
    assert_eq!(Answer::decode(OpCode::WhoAmI, &null), Ok(Answer::ClientInfo(Vec::new())), "ids");
}
