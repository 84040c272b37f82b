//! Data directories to look into, and a watch over them: looking changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use gk_proto::txn::{CreateKind, LoggedTxn, Txn, TxnHeader};
use gk_proto::{SessionId, WallTime, Xid, Zxid, acl};
use gk_storage::{Opened, RealDisk, StoreOptions};
use tempfile::TempDir;

/// Every golden directory; `compressed` is made of single snapshots.
pub(crate) const GOLDEN: [&str; 8] = [
    "standalone",
    "ensemble/s1",
    "ensemble/s2",
    "ensemble/s3",
    "multi-epoch",
    "compressed/snapshot.5f",
    "compressed/snapshot.5f.gz",
    "compressed/snapshot.5f.snappy",
];

/// What the golden directories need to be read as they were meant.
pub(crate) const TTL: &str = "-Dzookeeper.extendedTypesEnabled=true";

pub(crate) fn golden_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/vectors/storage").join(name)
}

/// A copy of a golden directory, logs unpacked.
pub(crate) fn golden(name: &str) -> TempDir {
    let (copy, source) = (tempfile::tempdir().unwrap(), golden_file(name));
    let target = copy.path().join("version-2");
    fs::create_dir(&target).unwrap();
    if source.is_file() {
        fs::copy(&source, target.join(source.file_name().unwrap())).unwrap();
        return copy;
    }
    for entry in fs::read_dir(source.join("version-2")).unwrap() {
        let path = entry.unwrap().path();
        let (name, bytes) = (path.file_name().unwrap().to_str().unwrap(), fs::read(&path).unwrap());
        match name.strip_suffix(".gz").filter(|name| name.starts_with("log.")) {
            Some(name) => {
                let mut unpacked = Vec::new();
                flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).unwrap();
                fs::write(target.join(name), unpacked).unwrap();
            }
            None => fs::write(target.join(name), bytes).unwrap(),
        }
    }
    copy
}

/// How a server with the golden directories' settings treats its files.
pub(crate) fn options(dir: &Path) -> StoreOptions {
    let mut config = gk_server::Config::built_in();
    config.storage.data_dir = dir.to_owned();
    config.storage.log_dir = dir.to_owned();
    config.reaper.extended_types = true;
    gk_server::store_options(&config)
}

pub(crate) fn open(dir: &Path) -> Result<Opened, gk_storage::StorageError> {
    gk_storage::open(Arc::new(RealDisk), &options(dir))
}

/// A directory of ours: three logs with marks, of ten txns each, every txn synced by itself.
pub(crate) fn ours() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let small = StoreOptions { prealloc_bytes: 16 * 1024, ..options(dir.path()) };
    let mut opened = gk_storage::open(Arc::new(RealDisk), &small).unwrap();
    for n in 1..=30 {
        opened.log.append(Zxid(n), &payload(n));
        opened.log.commit().unwrap();
        if n % 10 == 0 {
            opened.log.roll();
        }
    }
    dir
}

/// Txn 1 opens a session; the others create nodes with 600 bytes each, more than a sector.
pub(crate) fn payload(n: u64) -> Vec<u8> {
    let counter = i32::try_from(n).unwrap();
    let header =
        TxnHeader { session: SessionId(0x77), cxid: Xid(counter), zxid: Zxid(n), time: WallTime(1_795_161_785_000) };
    let txn = match n {
        1 => Txn::CreateSession { timeout_ms: 30_000 },
        _ => Txn::Create {
            path: format!("/n{n}"),
            data: Some(vec![b'x'; 600].into()),
            acl: acl::open(),
            kind: CreateKind::Create,
            parent_cversion: counter,
        },
    };
    let mut out = Vec::new();
    LoggedTxn { header, txn, digest: None }.encode(&mut out);
    out
}

/// Every file below a directory: bytes, time of the last change, mode. Looking changes none of it.
pub(crate) fn state(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, i64, u32)> {
    let (mut found, mut left) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).into_iter().flatten().map(|entry| entry.unwrap().path()));
        }
        let bytes = if metadata.is_file() { fs::read(&path).unwrap_or_default() } else { Vec::new() };
        let name = path.strip_prefix(dir).unwrap().to_owned();
        found.insert(name, (bytes, metadata.mtime_nsec() + metadata.mtime() * 1_000_000_000, metadata.mode()));
    }
    found
}

/// A copy of a whole directory, links as links.
pub(crate) fn copy(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let done = Command::new("cp").arg("-a").arg(dir.join(".")).arg(copy.path()).status().unwrap();
    assert!(done.success(), "cp -a {}", dir.display());
    copy
}

pub(crate) fn gamekeeper(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gamekeeper"));
    command.args(arguments).env_remove("JVMFLAGS").env_remove("SERVER_JVMFLAGS").env_remove("RUST_LOG");
    command
}

/// Runs `inspect` and holds it to what it promises always: nothing below `dir` changes, and what it prints is safe at a
/// terminal.
pub(crate) fn inspect(dir: &Path, arguments: &[&str]) -> Output {
    let before = state(dir);
    let output = gamekeeper(&["inspect"]).args(arguments).output().unwrap();
    assert_eq!(state(dir), before, "inspect {arguments:?} changed something");
    for bytes in [&output.stdout, &output.stderr] {
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(!text.chars().any(|c| c != '\n' && c.is_control()), "inspect {arguments:?}: {text}");
    }
    output
}

/// The same where it must succeed: what it prints.
pub(crate) fn answer(dir: &Path, arguments: &[&str]) -> String {
    let output = inspect(dir, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "inspect {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}
