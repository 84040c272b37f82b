//! Recovery from a snapshot, plain or compressed, beside the sound one of an empty tree. The first byte is a set of
//! switches; then follows either the file as it is, or commands that write one whose seals are right, and damage it.

use std::io::Write as _;

use flate2::write::GzEncoder;
use gk_proto::jute::Write as _;
use gk_proto::{Zxid, acl, digest};
use gk_storage::testing::Crash;

use crate::disk;
use crate::input::Input;

/// Switches of the first byte; the two lowest bits are how the file is compressed.
const RAW: u8 = 4;
const ACCEPT_LOSS: u8 = 8;
const HAS_DIGEST: u8 = 16;
const HAS_ZXID: u8 = 32;
const IS_OLD_DIGEST: u8 = 64;
const DAMAGED: u8 = 128;

/// Of the txn in the file's name.
const ZXID: Zxid = Zxid(0x20);
const ITEMS_MAX: usize = 256;
/// Of blocks of snappy-java, small so that a file has several.
const BLOCK: usize = 1024;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let name = match flags & 3 {
        0 | 3 => format!("snapshot.{ZXID}"),
        1 => format!("snapshot.{ZXID}.gz"),
        _ => format!("snapshot.{ZXID}.snappy"),
    };
    let bytes = if flags & RAW != 0 {
        input.rest().to_vec()
    } else {
        let mut bytes = sealed(flags, &mut input);
        if flags & DAMAGED != 0 {
            let (at, change) = (usize::from(input.short()) % bytes.len(), input.byte());
            bytes[at] ^= change;
        }
        match flags & 3 {
            0 | 3 => bytes,
            1 => gzip(&bytes),
            _ => snappy(&bytes),
        }
    };
    let disk = disk::new_directory();
    disk.poke(&disk::file(&name), &bytes);
    let then = if flags & 3 == 3 { Crash::Kill } else { Crash::LoseAll };
    disk::recover(&disk, true, flags & ACCEPT_LOSS != 0, then);
}

/// A snapshot whose seals are right.
fn sealed(flags: u8, input: &mut Input<'_>) -> Vec<u8> {
    let mut out = b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
    let sessions = input.byte() % 8;
    out.put_int(i32::from(sessions));
    for _ in 0..sessions {
        out.put_long(input.long());
        out.put_int(input.int());
    }
    let lists = input.byte() % 8;
    out.put_int(i32::from(lists));
    for id in 1..=lists {
        out.put_long(i64::from(id));
        match input.piece() {
            [] => acl::encode(&acl::open(), &mut out),
            list => out.extend_from_slice(list),
        }
    }
    node(&mut out, b"", input);
    for _ in 0..ITEMS_MAX {
        let Some(path) = input.command() else { break };
        match path {
            0 => break,
            0xff => out.extend_from_slice(input.piece()),
            0xfe => {
                let path = input.piece();
                node(&mut out, path, input);
            }
            path => {
                let path = PATHS[usize::from(path) % PATHS.len()];
                node(&mut out, path.as_bytes(), input);
            }
        }
    }
    out.put_text("/");
    seal(&mut out);
    if flags & HAS_DIGEST != 0 {
        out.put_long(input.long());
        out.put_int(if flags & IS_OLD_DIGEST == 0 { digest::VERSION } else { 1 });
        if flags & IS_OLD_DIGEST == 0 {
            out.put_long(input.long())
        } else {
            out.put_buffer(Some(input.piece()))
        }
        seal(&mut out);
    }
    if flags & HAS_ZXID != 0 {
        out.put_long(input.long());
        seal(&mut out);
    }
    out
}

fn node(out: &mut Vec<u8>, path: &[u8], input: &mut Input<'_>) {
    let shape = input.byte();
    out.put_buffer(Some(path));
    out.put_buffer((shape & 1 == 0).then(|| input.piece()));
    out.put_long(if shape & 2 == 0 { -1 } else { input.long() });
    for zxid in [1, 2] {
        out.put_long(if shape & 4 == 0 { zxid } else { input.long() });
    }
    for time in [3, 4] {
        out.put_long(time);
    }
    for _version in 0..3 {
        out.put_int(if shape & 8 == 0 { 0 } else { input.int() });
    }
    out.put_long(if shape & 16 == 0 { 0 } else { input.long() });
    out.put_long(5);
}

const PATHS: [&str; 10] = [
    "/zookeeper",
    "/zookeeper/quota",
    "/zookeeper/config",
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "/a",
    "/a/b",
    "/a/b/c",
    "/e",
];

fn seal(out: &mut Vec<u8>) {
    let sum = i64::from(simd_adler32::adler32(&out.as_slice()));
    out.put_long(sum);
    out.put_text("/");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("INVARIANT: writing to memory does not fail")
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in bytes.chunks(BLOCK) {
        let compressed = snap::raw::Encoder::new().compress_vec(block);
        out.put_buffer(compressed.ok().as_deref());
    }
    out
}
