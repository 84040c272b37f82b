//! The bytes of snapshots: those of an empty tree as ZooKeeper writes them, the sections that may be missing, records
//! longer than any buffer, and the three ways to store them.

#![allow(clippy::unwrap_used, reason = "all of this file is tests and their helpers")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{assert_is_model, open, options, take_snapshot, write_each};
use gk_proto::Zxid;
use gk_proto::acl;
use gk_proto::txn::{CreateKind, Txn};
use gk_storage::testing::MemDisk;
use gk_storage::{Compression, Opened, StorageError, StoreOptions};

fn dir() -> &'static Path {
    Path::new("/data")
}

fn file(name: &str) -> PathBuf {
    dir().join("version-2").join(name)
}

/// The bytes of a snapshot at txn 9, which has a digest and a last zxid.
fn sample() -> Vec<u8> {
    let disk = MemDisk::new();
    let mut opened = open(&disk, &options(dir())).unwrap();
    write_each(&mut opened, 1, 9).unwrap();
    let info = take_snapshot(&mut opened).unwrap();
    disk.peek(&info.path).unwrap()
}

fn open_only(bytes: &[u8]) -> Result<Opened, StorageError> {
    let disk = MemDisk::new();
    disk.poke(&file("snapshot.9"), bytes);
    open(&disk, &options(dir()))
}

/// Appends the seal of all bytes before it.
fn seal(bytes: &mut Vec<u8>) {
    let adler = simd_adler32::adler32(&&bytes[..]);
    bytes.extend_from_slice(&u64::from(adler).to_be_bytes());
    bytes.extend_from_slice(b"\0\0\0\x01/");
}

/// The order of siblings is that of a hash table in ZooKeeper; all other bytes are the same.
#[test]
fn empty_tree_is_byte_for_byte_what_zookeeper_writes() {
    let golden = "../../interop/vectors/storage/standalone/version-2/snapshot.0";
    let theirs = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(golden)).unwrap();
    // Path, data, ACL id and stat of the two children of /zookeeper, and what comes before and after them.
    let (config, quota) = (4 + 17 + 4 + 8 + 60, 4 + 16 + 4 + 8 + 60);
    let nodes_end = theirs.len() - 54 - 13 - 5;
    let mut reordered = theirs[..nodes_end + 5].to_vec();
    reordered[nodes_end - config - quota..nodes_end].rotate_left(config);
    seal(&mut reordered);
    reordered.extend_from_slice(&[0; 8]);
    reordered.extend_from_slice(&2u32.to_be_bytes());
    reordered.extend_from_slice(&[0; 8]);
    seal(&mut reordered);
    reordered.extend_from_slice(&[0; 8]);
    seal(&mut reordered);

    let disk = MemDisk::new();
    open(&disk, &options(dir())).unwrap();
    assert_eq!(disk.peek(&file("snapshot.0")).unwrap(), reordered, "snapshot.0");
}

#[test]
fn sections_after_the_first_seal_may_be_missing() {
    let whole = sample();
    let (without_last_zxid, without_both) = (whole.len() - 21, whole.len() - 54);
    for (len, what, digests) in [(whole.len(), "both", 1), (without_last_zxid, "digest", 1), (without_both, "none", 0)]
    {
        let opened = open_only(&whole[..len]).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_is_model(&opened.tree, 9, what);
        assert_eq!(opened.report.digests_checked, digests, "{what}: digest compared");
        assert_eq!(opened.report.digest_mismatch_count, 0, "{what}: and equal");
    }
    let mut only_last_zxid = whole[..without_both].to_vec();
    only_last_zxid.extend_from_slice(&9u64.to_be_bytes());
    seal(&mut only_last_zxid);
    assert_is_model(&open_only(&only_last_zxid).unwrap().tree, 9, "last zxid only");
}

/// Before version 2 the digest was a string of hex digits, of a function that nobody computes any more.
#[test]
fn digest_of_version_one_is_passed_over() {
    let whole = sample();
    let mut old = whole[..whole.len() - 54].to_vec();
    old.extend_from_slice(&9u64.to_be_bytes());
    old.extend_from_slice(&1u32.to_be_bytes());
    old.extend_from_slice(b"\0\0\0\x0a1f0e0d0c0b");
    seal(&mut old);
    let opened = open_only(&old).unwrap();
    assert_is_model(&opened.tree, 9, "version 1");
    assert_eq!(opened.report.digests_checked, 0, "not compared");
}

#[test]
fn bytes_after_the_last_section_are_refused() {
    let mut longer = sample();
    longer.extend_from_slice(b"\0\0\0\x01/");
    assert!(matches!(open_only(&longer), Err(StorageError::NoSoundSnapshot { .. })), "the cheap check lets it pass");
}

/// A digest that differs is reported and stops nothing, as in ZooKeeper.
#[test]
fn differing_digest_is_reported() {
    let whole = sample();
    let mut other = whole[..whole.len() - 54].to_vec();
    other.extend_from_slice(&9u64.to_be_bytes());
    other.extend_from_slice(&2u32.to_be_bytes());
    other.extend_from_slice(&0xbad_u64.to_be_bytes());
    seal(&mut other);
    let opened = open_only(&other).unwrap();
    assert_is_model(&opened.tree, 9, "used all the same");
    assert_eq!(opened.report.digest_mismatches, [Zxid(9)], "reported");
}

#[test]
fn large_and_many_records_come_back_in_every_compression() {
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        let options = StoreOptions { compression, ..options(dir()) };
        let disk = MemDisk::new();
        let mut opened = open(&disk, &options).unwrap();
        for n in 1..=300u64 {
            let (mut header, _) = common::txn(1);
            header.zxid = Zxid(n);
            let mut rng = gk_proto::rng::Rng::new(n);
            let size = if n == 100 { 900_000 } else { rng.below(3000) };
            let data: Vec<u8> = (0..size).map(|_| rng.next_u64().to_be_bytes()[0]).collect();
            let (path, kind) = (format!("/{n}"), CreateKind::Create);
            let txn = Txn::Create { path, data: Some(data.into()), acl: acl::open(), kind, parent_cversion: -1 };
            opened.tree.apply(&header, &txn, &mut ());
        }
        let before = common::dump(&opened.tree);
        take_snapshot(&mut opened).unwrap();
        drop(opened);
        let opened = open(&disk, &options).unwrap();
        assert_eq!(opened.tree.last_zxid(), Zxid(300), "{compression:?}");
        assert!(common::dump(&opened.tree) == before, "{compression:?}: the same nodes");
    }
}

#[test]
fn abandoned_snapshot_leaves_nothing() {
    let disk = MemDisk::new();
    let mut opened = open(&disk, &options(dir())).unwrap();
    write_each(&mut opened, 1, 3).unwrap();
    let before = disk.paths();
    let head = opened.tree.begin_view().unwrap();
    let mut writer = opened.snapshots.writer(&head).unwrap();
    writer.piece(b"whatever").unwrap();
    writer.abandon();
    assert_eq!(disk.paths(), before, "no file more");
}

#[test]
fn newest_and_sizes_count_what_is_there() {
    let disk = MemDisk::new();
    let mut opened = open(&disk, &options(dir())).unwrap();
    assert_eq!(opened.snapshots.newest().unwrap().unwrap().zxid, Zxid(0), "snapshot.0");
    write_each(&mut opened, 1, 3).unwrap();
    let info = take_snapshot(&mut opened).unwrap();
    assert_eq!(opened.snapshots.newest().unwrap(), Some(info.clone()), "the new one");
    let sizes = opened.snapshots.sizes().unwrap();
    let log = disk.peek(&file("log.1")).unwrap().len() as u64;
    let all = info.bytes + disk.peek(&file("snapshot.0")).unwrap().len() as u64 + log;
    assert_eq!((sizes.data, sizes.log), (all, all), "one directory, counted for both as ZooKeeper does");
}
