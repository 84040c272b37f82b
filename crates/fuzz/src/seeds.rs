//! Where the seeds come from: exchanges and files recorded from Apache ZooKeeper (`interop/vectors`), cut into the inputs
//! of each target, and a few lines written by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use gk_proto::jute::Reader;
use gk_proto::op::OpCode;
use gk_proto::request::Header;
use gk_proto::{Xid, reply, txn};

use crate::input::LONG;
use crate::{TARGETS, client_session, replies, requests, session};

/// Inputs of one target, by name.
type Seeds = BTreeMap<String, Vec<u8>>;

/// Set to write the seeds that are missing or differ, in place of failing.
const REGENERATE: &str = "GK_REGENERATE";

#[test]
fn seeds_are_what_the_vectors_make_of_them() {
    let exchanges = Exchange::all();
    for target in TARGETS {
        let seeds = match target.name {
            "requests" => requests(&exchanges),
            "replies" => replies(&exchanges),
            "txns" => txns(),
            "text" => text(),
            "log_file" => log_file(),
            "snapshot_file" => snapshot_file(),
            "session" => sessions(&exchanges),
            "client_session" => client_sessions(&exchanges),
            other => panic!("{other} has no seeds"),
        };
        let dir = root().join("fuzz/seeds").join(target.name);
        let names = fs::read_dir(&dir).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        let there: BTreeSet<String> = names.map(|name| name.into_string().unwrap()).collect();
        if std::env::var_os(REGENERATE).is_some() {
            fs::create_dir_all(&dir).unwrap();
            there
                .iter()
                .filter(|name| !seeds.contains_key(*name))
                .for_each(|name| fs::remove_file(dir.join(name)).unwrap());
            seeds.iter().for_each(|(name, seed)| fs::write(dir.join(name), seed).unwrap());
            continue;
        }
        assert!(there.iter().eq(seeds.keys()), "{REGENERATE}=1 makes what is missing in {}", dir.display());
        for (name, seed) in seeds {
            assert!(
                fs::read(dir.join(&name)).unwrap() == seed,
                "{}/{name} differs; {REGENERATE}=1 writes it",
                dir.display()
            );
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One connection, as frames without their lengths.
struct Exchange {
    name: String,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl Exchange {
    fn all() -> Vec<Self> {
        let dir = root().join("interop/vectors/client");
        let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let stream = |mark: &str| -> Vec<u8> {
            let lines = text.lines().map(|line| line.strip_prefix("setup").unwrap_or(line));
            lines.filter_map(|line| line.strip_prefix(mark)).flat_map(unhex).collect()
        };
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        Self { name, sent: stream("> "), received: stream("< ") }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn frames(stream: &[u8]) -> Vec<&[u8]> {
    let mut reader = Reader::new(stream);
    std::iter::from_fn(|| reader.buffer().ok()?).collect()
}

/// Appends a piece as `Input::piece` reads it; what is longer than it may be is cut.
fn put_piece(piece: &[u8], out: &mut Vec<u8>) {
    let piece = piece.get(..usize::from(u16::MAX)).unwrap_or(piece);
    match u8::try_from(piece.len()).ok().filter(|&length| length < LONG) {
        Some(length) => out.push(length),
        None => {
            out.push(LONG);
            out.extend(u16::try_from(piece.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(piece);
}

/// The first of each kind and length.
#[derive(Default)]
struct Distinct {
    seen: BTreeSet<(u8, usize)>,
    seeds: Seeds,
}

impl Distinct {
    fn add(&mut self, name: String, first: u8, body: &[u8]) {
        if self.seen.insert((first, body.len())) {
            self.seeds.insert(name, [&[first], body].concat());
        }
    }
}

/// The first byte for an operation, if it has one.
fn code(op: i32) -> Option<u8> {
    i8::try_from(op).ok().map(i8::cast_unsigned)
}

fn requests(exchanges: &[Exchange]) -> Seeds {
    let mut all = Distinct::default();
    for Exchange { name, sent, .. } in exchanges {
        for (i, frame) in frames(sent).into_iter().enumerate() {
            let mut reader = Reader::new(frame);
            match Header::decode(&mut reader) {
                _ if i == 0 => all.add(format!("{name}-hello"), requests::CONNECT, frame),
                Ok(header) if header.op == OpCode::Auth.code() => {
                    all.add(format!("{name}-{i}"), requests::AUTH, reader.rest());
                }
                Ok(header) => {
                    if let Some(first) = code(header.op) {
                        all.add(format!("{name}-{i}"), first, reader.rest());
                    }
                }
                Err(_) => {}
            }
        }
    }
    all.seeds
}

fn replies(exchanges: &[Exchange]) -> Seeds {
    let mut all = Distinct::default();
    for Exchange { name, sent, received } in exchanges {
        let headers = frames(sent).into_iter().skip(1).filter_map(|frame| Header::decode(&mut Reader::new(frame)).ok());
        let asked: BTreeMap<Xid, i32> = headers.map(|header| (header.xid, header.op)).collect();
        for (i, frame) in frames(received).into_iter().enumerate() {
            let mut reader = Reader::new(frame);
            let name = format!("{name}-{i}");
            match reply::Header::decode(&mut reader) {
                _ if i == 0 => all.add(name, replies::CONNECTED, frame),
                Ok(header) if header.xid == Xid::NOTIFICATION => all.add(name, replies::EVENT, reader.rest()),
                Ok(header) if header.err == 0 => {
                    if let Some(first) = asked.get(&header.xid).and_then(|&op| code(op)) {
                        all.add(name, first, reader.rest());
                    }
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    all.seeds
}

/// Everything that a client sent, in one piece; and in one frame a piece.
fn sessions(exchanges: &[Exchange]) -> Seeds {
    let mut seeds = Seeds::new();
    for Exchange { name, sent, .. } in exchanges {
        let mut whole = vec![session::BYTES];
        put_piece(sent, &mut whole);
        seeds.insert(name.clone(), whole);
        let mut cut = Vec::new();
        for frame in frames(sent) {
            cut.push(session::BYTES);
            put_piece(&[&u32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat(), &mut cut);
        }
        seeds.insert(format!("{name}-cut"), cut);
    }
    seeds
}

fn client_sessions(exchanges: &[Exchange]) -> Seeds {
    let mut seeds = Seeds::new();
    for Exchange { name, received, .. } in exchanges {
        let mut input = vec![0, client_session::CONNECT_ONLY];
        for frame in frames(received) {
            input.push(client_session::RECEIVE);
            put_piece(&[&u32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat(), &mut input);
        }
        seeds.insert(name.clone(), input);
    }
    seeds
}

/// The payloads of a log of Apache's.
fn payloads(log: &str) -> Vec<Vec<u8>> {
    let bytes = fs::read(root().join("interop/vectors/storage").join(log)).unwrap();
    let mut reader = Reader::new(bytes.get(16..).unwrap());
    let mut payloads = Vec::new();
    while reader.long().is_ok()
        && let Ok(Some(payload)) = reader.buffer()
        && !payload.is_empty()
        && reader.take(1).is_ok()
    {
        payloads.push(payload.to_vec());
    }
    payloads
}

const LOGS: [&str; 6] = [
    "standalone/version-2/log.1",
    "standalone/version-2/log.19",
    "standalone/version-2/log.32",
    "standalone/version-2/log.5a",
    "ensemble/s1/version-2/log.100000001",
    "multi-epoch/version-2/log.100000001",
];

fn txns() -> Seeds {
    let mut all = Distinct::default();
    for log in LOGS {
        for payload in payloads(log) {
            let (header, code) = txn::decode_header(&mut Reader::new(&payload)).unwrap();
            if payload.len() < 1000 && all.seen.insert((code.to_be_bytes()[3], payload.len() / 16)) {
                all.seeds.insert(format!("txn-{}", header.zxid), payload);
            }
        }
    }
    all.seeds
}

/// Logs as they are, without their padding; and the first one again, written by commands, with a mark now and then.
fn log_file() -> Seeds {
    let mut seeds = Seeds::new();
    for log in LOGS {
        let bytes = fs::read(root().join("interop/vectors/storage").join(log)).unwrap();
        let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 33;
        if end < 20_000 {
            let bytes = bytes.get(..end).unwrap_or(&bytes);
            seeds.insert(log.replace('/', "-"), [&[1], bytes].concat());
        }
    }
    for (name, flags) in [("marked", 16), ("unsynced", 4), ("plain", 8), ("accepted", 18), ("power", 48)] {
        let mut input = vec![flags];
        for (i, payload) in payloads(LOGS[0]).iter().take(8).enumerate() {
            let body = payload.get(32..).unwrap();
            input.extend([0, payload[31]]);
            put_piece(body, &mut input);
            match i {
                1 | 3 => input.push(4),
                5 => input.push(7),
                _ => {}
            }
        }
        seeds.insert(name.to_owned(), input);
    }
    seeds
}

fn snapshot_file() -> Seeds {
    const FILES: [(&str, u8); 6] = [
        ("standalone/version-2/snapshot.0", 4),
        ("standalone/version-2/snapshot.30", 4),
        ("ensemble/s1/version-2/snapshot.100000027", 4),
        ("multi-epoch/version-2/snapshot.100000017", 4 | 8),
        ("compressed/snapshot.5f.gz", 4 | 1),
        ("compressed/snapshot.5f.snappy", 4 | 2),
    ];
    let mut seeds = Seeds::new();
    for (file, flags) in FILES {
        let bytes = fs::read(root().join("interop/vectors/storage").join(file)).unwrap();
        seeds.insert(file.replace('/', "-"), [&[flags], &*bytes].concat());
    }
    for (name, flags) in [("plain", 48), ("gzip", 49), ("snappy", 50), ("old-digest", 112), ("accepted", 40)] {
        // A session, an open list, the root, /zookeeper, /a with data and an owner, the end, digest and zxid.
        let tree = [1, 7, 100, 1, 0, 0, 0, 10, 0, 0, 6, 16, 2, b'h', b'i', 7, 7, 0, 0, 1, 1, 32, 1, 2, 3];
        seeds.insert(name.to_owned(), [&[flags], &tree[..]].concat());
    }
    seeds
}

fn text() -> Seeds {
    const PATHS: [&str; 8] = ["/", "/a/b", "/a/./b", "/a/../b", "/...", "/a//b", "/a/\u{e000}", "/\u{1F389}"];
    const SERVERS: [&str; 5] =
        ["a:2181,b,[fd00::3]:2182/app", "127.0.0.1:2181", "fd00::3", "dns-srv://_zk._tcp.example.com/app", "a:0,:1"];
    const CONFIGURATION: &str = "tickTime=2000\ndataDir=/d\nclientPort=2181\ninitLimit=10\nsyncLimit=5\n\
         server.1=a:2888:3888:participant;0.0.0.0:2181\nserver.2=b:2888:3888:observer;2181\n\
         4lw.commands.whitelist=stat, ruok\nautopurge.snapRetainCount=3\nautopurge.purgeInterval=1\n\
         maxClientCnxns=60\nsnapshot.compression.method=gz\nauthProvider.1=x\nadmin.serverPort=8080\n";
    let mut seeds = Seeds::new();
    for (i, path) in PATHS.iter().enumerate() {
        seeds.insert(format!("path-{i}"), [&[0], path.as_bytes()].concat());
    }
    for (i, list) in SERVERS.iter().enumerate() {
        seeds.insert(format!("servers-{i}"), [&[2], list.as_bytes()].concat());
    }
    let mut configuration = vec![1];
    put_piece(b"server.1=a:2888:3888;2181\nversion=100000000\n", &mut configuration);
    put_piece(b"-Dzookeeper.snapCount=1000 -Djute.maxbuffer=4096", &mut configuration);
    configuration.extend_from_slice(CONFIGURATION.as_bytes());
    seeds.insert("configuration".to_owned(), configuration);
    let mut address = vec![3];
    put_piece(b"10.1.2.3", &mut address);
    address.extend_from_slice(b"10.0.0.0/8");
    seeds.insert("address".to_owned(), address);
    let mut list = vec![4];
    put_piece(b"user:password", &mut list);
    list.extend([2, 31, 1 + 7, 1, 3 + 3 * 7, 16, 4 + 5 * 7, 4]);
    seeds.insert("list".to_owned(), list);
    seeds
}
