//! Data directories that Apache ZooKeeper wrote, opened: the tree that a client read from it, Stat field by Stat
//! field, and every digest on the way. Records and snapshots are held byte for byte against what we write.

#![allow(clippy::unwrap_used, reason = "all of this file is tests and their helpers")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{dump, options, take_snapshot};
use gk_proto::stat::Stat;
use gk_proto::txn::LoggedTxn;
use gk_proto::{SessionId, WallTime, Zxid};
use gk_storage::{Compression, Opened, RealDisk};
use serde_json::Value;
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/vectors/storage").join(name)
}

/// A copy of a golden directory that may be changed, logs unpacked.
fn copy(name: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let target = copy.path().join("version-2");
    fs::create_dir(&target).unwrap();
    for entry in fs::read_dir(golden(name).join("version-2")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(&path).unwrap();
        match name.strip_suffix(".gz") {
            Some(name) if name.starts_with("log.") => {
                let mut unpacked = Vec::new();
                flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).unwrap();
                fs::write(target.join(name), unpacked).unwrap();
            }
            _ => fs::write(target.join(name), bytes).unwrap(),
        }
    }
    copy
}

fn open(dir: &Path) -> Opened {
    gk_storage::open(Arc::new(RealDisk), &options(dir)).unwrap()
}

fn expected(name: &str) -> Value {
    serde_json::from_slice(&fs::read(golden(name).join("expected-tree.json")).unwrap()).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

fn stat_of(value: &Value) -> Stat {
    let long = |name: &str| value[name].as_i64().unwrap();
    let int = |name: &str| i32::try_from(long(name)).unwrap();
    Stat {
        czxid: Zxid::from_wire(long("czxid")),
        mzxid: Zxid::from_wire(long("mzxid")),
        ctime: WallTime(long("ctime")),
        mtime: WallTime(long("mtime")),
        version: int("version"),
        cversion: int("cversion"),
        aversion: int("aversion"),
        ephemeral_owner: long("ephemeralOwner"),
        data_length: int("dataLength"),
        num_children: int("numChildren"),
        pzxid: Zxid::from_wire(long("pzxid")),
    }
}

/// Holds a tree against what a client had read, but for what each server computes by itself: usage of quotas, and
/// when it wrote its configuration into the tree.
fn assert_is_expected(opened: &Opened, expected: &Value, context: &str) {
    assert_eq!(opened.tree.last_zxid(), Zxid(hex(expected["lastZxid"].as_str().unwrap())), "{context}: last txn");
    let sessions: BTreeMap<SessionId, i64> = (expected["sessions"].as_object().unwrap().iter())
        .map(|(id, timeout)| (SessionId(hex(id)), timeout.as_i64().unwrap()))
        .collect();
    let found: BTreeMap<SessionId, i64> = opened.tree.sessions().map(|(id, ms)| (id, i64::from(ms))).collect();
    assert_eq!(found, sessions, "{context}: sessions");

    let mut nodes = dump(&opened.tree);
    for (path, node) in expected["tree"].as_object().unwrap() {
        let Some(seen) = nodes.remove(path) else { panic!("{context}: {path} is missing") };
        if path == "/zookeeper/config" {
            continue;
        }
        if !path.ends_with("/zookeeper_stats") {
            let data = node["data"].as_str().map(unhex);
            assert_eq!(seen.data.unwrap_or_default(), data.unwrap_or_default(), "{context}: data of {path}");
            assert_eq!(seen.stat, stat_of(&node["stat"]), "{context}: stat of {path}");
        }
        let acl: Vec<Value> =
            seen.acl.iter().map(|acl| serde_json::json!([acl.perms, acl.id.scheme, acl.id.id])).collect();
        assert_eq!(Value::from(acl), node["acl"], "{context}: ACL of {path}");
    }
    assert_eq!(nodes.keys().collect::<Vec<_>>(), [""; 0], "{context}: nodes that should not be there");
}

#[test]
fn standalone_directory_opens_as_the_tree_a_client_read() {
    let dir = copy("standalone");
    let opened = open(dir.path());
    assert_is_expected(&opened, &expected("standalone"), "standalone");
    assert_eq!(opened.report.snapshot.as_deref(), Some("snapshot.58"), "the newest");
    assert_eq!(opened.report.digest_mismatch_count, 0, "{:?}", opened.report.digest_mismatches);
    assert_eq!(opened.report.warnings, [""; 0], "nothing to say");
    opened.tree.check_invariants();
}

/// The same history from each of the snapshots: three of them are fuzzy, and each replays more of the log.
#[test]
fn every_older_snapshot_leads_to_the_same_tree() {
    let expected = expected("standalone");
    for newest in ["snapshot.58", "snapshot.30", "snapshot.17", "snapshot.0"] {
        let dir = copy("standalone");
        let newest_zxid = hex(newest.strip_prefix("snapshot.").unwrap());
        for name in ["snapshot.58", "snapshot.30", "snapshot.17"] {
            if hex(name.strip_prefix("snapshot.").unwrap()) > newest_zxid {
                fs::remove_file(dir.path().join("version-2").join(name)).unwrap();
            }
        }
        let opened = open(dir.path());
        assert_is_expected(&opened, &expected, newest);
        assert_eq!(opened.report.snapshot.as_deref(), Some(newest), "loaded");
        assert_eq!(opened.report.digest_mismatch_count, 0, "{newest}: {:?}", opened.report.digest_mismatches);
        assert!(opened.report.digests_checked > 0, "{newest}: digests were compared");
    }
}

#[test]
fn from_the_first_txn_on_every_digest_agrees() {
    let dir = copy("standalone");
    for name in ["snapshot.58", "snapshot.30", "snapshot.17"] {
        fs::remove_file(dir.path().join("version-2").join(name)).unwrap();
    }
    let opened = open(dir.path());
    let with_digest = fs::read_to_string(golden("standalone/txns.jsonl")).unwrap().matches("treeDigest").count();
    assert_eq!(opened.report.digests_checked, with_digest as u64, "every txn that carries one");
    assert_eq!(opened.report.digest_mismatch_count, 0, "and each agrees");
}

#[test]
fn ensemble_members_open_as_their_clients_read_them() {
    for member in ["s1", "s2", "s3"] {
        let name = format!("ensemble/{member}");
        let dir = copy(&name);
        let opened = open(dir.path());
        assert_is_expected(&opened, &expected(&name), &name);
        assert_eq!(opened.report.digest_mismatch_count, 0, "{name}: {:?}", opened.report.digest_mismatches);
    }
}

#[test]
fn truncated_log_and_a_later_epoch_are_one_history() {
    let dir = copy("multi-epoch");
    let opened = open(dir.path());
    let lines = fs::read_to_string(golden("multi-epoch/txns.jsonl")).unwrap();
    let zxid = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["hdr"]["zxid"].as_str().map(hex)
    };
    let last = lines.lines().filter_map(zxid).next_back().unwrap();
    assert_eq!(opened.tree.last_zxid(), Zxid(last), "to the end of epoch 3");
    assert_eq!(opened.report.digest_mismatch_count, 0, "{:?}", opened.report.digest_mismatches);
}

#[test]
fn three_compressions_hold_the_same_tree() {
    let mut dumps = Vec::new();
    for name in ["snapshot.5f", "snapshot.5f.gz", "snapshot.5f.snappy"] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("version-2")).unwrap();
        fs::copy(golden("compressed").join(name), dir.path().join("version-2").join(name)).unwrap();
        let opened = open(dir.path());
        assert_eq!(opened.report.snapshot.as_deref(), Some(name), "loaded");
        assert_eq!(opened.tree.last_zxid(), Zxid(0x5f), "{name}");
        assert_is_expected(&opened, &expected("standalone"), name);
        dumps.push((dump(&opened.tree), opened.tree.sessions().collect::<Vec<_>>(), opened.tree.digest()));
    }
    assert_eq!(dumps[0], dumps[1], "gzip");
    assert_eq!(dumps[0], dumps[2], "snappy");
}

#[test]
fn what_we_write_in_each_compression_reads_back_the_same() {
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        let source = copy("standalone");
        let dir = source.path();
        let options = gk_storage::StoreOptions { compression, ..options(dir) };
        let mut opened = gk_storage::open(Arc::new(RealDisk), &options).unwrap();
        let before = dump(&opened.tree);
        let info = take_snapshot(&mut opened).unwrap();
        assert_eq!(info.bytes, fs::metadata(&info.path).unwrap().len(), "{compression:?}: length as reported");
        drop(opened);
        let reopened = open(dir);
        assert_eq!(reopened.report.snapshot.as_deref(), info.path.file_name().and_then(|name| name.to_str()));
        assert_eq!(dump(&reopened.tree), before, "{compression:?}");
        assert_is_expected(&reopened, &expected("standalone"), "ours");
    }
}

#[test]
fn record_bytes_are_those_of_zookeeper() {
    for name in ["log.1", "log.19", "log.32", "log.5a"] {
        let bytes = fs::read(golden("standalone/version-2").join(name)).unwrap();
        let records = records_of(&bytes);
        assert!(!records.is_empty(), "{name} holds records");
        for payload in records {
            let payload = bytes::Bytes::copy_from_slice(payload);
            let logged = LoggedTxn::decode(&payload).unwrap();
            let mut again = Vec::new();
            logged.encode(&mut again);
            // ZooKeeper writes characters above U+FFFF in a manner of its own, which reads as the same text.
            if !payload.windows(2).any(|pair| pair[0] == 0xed && pair[1] >= 0xa0) {
                assert_eq!(again, payload, "{name}: {:?}", logged.header);
            }
        }
    }
}

/// Our log of ZooKeeper's payloads is ZooKeeper's log, padding included.
#[test]
fn log_file_bytes_are_those_of_zookeeper() {
    for (name, snapshot) in [("log.1", "snapshot.0"), ("log.19", "snapshot.17")] {
        let theirs = fs::read(golden("standalone/version-2").join(name)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let version_dir = dir.path().join("version-2");
        fs::create_dir(&version_dir).unwrap();
        fs::copy(golden("standalone/version-2").join(snapshot), version_dir.join(snapshot)).unwrap();
        if name == "log.19" {
            // The snapshot is at 0x17 and the log starts with 0x19: 0x18 ends the log before.
            fs::copy(golden("standalone/version-2/log.1"), version_dir.join("log.1")).unwrap();
        }
        let mut opened = open(dir.path());
        for payload in records_of(&theirs) {
            let logged = LoggedTxn::decode(&bytes::Bytes::copy_from_slice(payload)).unwrap();
            opened.log.append(logged.header.zxid, payload);
            opened.log.commit().unwrap();
        }
        let ours = fs::read(version_dir.join(name)).unwrap();
        assert_eq!(ours.len(), theirs.len(), "{name}: padded as far");
        assert!(ours == theirs, "{name}: same bytes");
        opened.log.close().unwrap();
        let trimmed = fs::read(version_dir.join(name)).unwrap();
        assert!(trimmed.len().is_multiple_of(4096) && theirs.starts_with(&trimmed), "{name}: shorter in the end");
        assert!(theirs[trimmed.len()..].iter().all(|&byte| byte == 0), "{name}: by padding only");
    }
}

fn records_of(log: &[u8]) -> Vec<&[u8]> {
    let mut out = Vec::new();
    let mut rest = &log[16..];
    while rest.len() > 12 {
        let length = u32::from_be_bytes(rest[8..12].try_into().unwrap());
        if length == 0 {
            break;
        }
        let length = usize::try_from(length).unwrap();
        out.push(&rest[12..12 + length]);
        rest = &rest[13 + length..];
    }
    out
}
