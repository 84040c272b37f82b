//! A data directory in memory: what a new server leaves there, files of the fuzzer's beside it, and opening it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use gk_proto::stat::OwnerRules;
use gk_proto::txn::{LoggedTxn, Txn, TxnHeader};
use gk_proto::{SessionId, WallTime, Xid, Zxid};
use gk_storage::testing::{Crash, MemDisk};
use gk_storage::{Compression, Disk, Log, Opened, StorageError, StoreOptions, open};
use gk_tree::TreeOptions;

/// Where the files are.
const DIR: &str = "/d/version-2";

/// What a server that has just begun leaves: directories, and `snapshot.0`.
static NEW: LazyLock<Arc<MemDisk>> = LazyLock::new(|| {
    let disk = MemDisk::new();
    let opened = open(disk.clone(), &options(true, false));
    drop(opened.expect("INVARIANT: nothing keeps a server from beginning on an empty disk"));
    disk.crash(Crash::Kill)
});

/// A copy of the directory of a server that has just begun.
pub(crate) fn new_directory() -> Arc<MemDisk> {
    NEW.clone_files()
}

/// The path of a log or snapshot.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// The path of a file of ours.
pub(crate) fn own_file(name: &str) -> PathBuf {
    Path::new(DIR).join("gamekeeper").join(name)
}

/// How the directory is opened.
pub(crate) fn options(force_sync: bool, accept_loss: bool) -> StoreOptions {
    StoreOptions {
        data_dir: "/d".into(),
        log_dir: "/d".into(),
        prealloc_bytes: 0,
        force_sync,
        compression: Compression::None,
        trust_empty: false,
        datadir_autocreate: true,
        db_autocreate: true,
        tree: TreeOptions {
            owner_rules: OwnerRules { extended_types: true, emulate_353: false },
            hash_key: 1,
            digest: true,
        },
        accept_loss,
        payload_max: 1 << 20,
    }
}

/// Opens the directory as a start of the server does, and holds recovery to its promises:
/// - a start that is refused has changed nothing but the lock;
/// - with the loss accepted no start is refused;
/// - what a start has found, and a txn that is logged then, the next one finds too after this crash, without anything to accept.
pub(crate) fn recover(disk: &Arc<MemDisk>, force_sync: bool, accept_loss: bool, then: Crash) {
    let before = files(disk);
    let mut opened = match open(disk.clone(), &options(force_sync, accept_loss)) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(!accept_loss, "refused although the loss is accepted: {error}");
            assert!(!matches!(error, StorageError::Io { .. }), "this disk does not fail: {error}");
            assert!(files(disk) == before, "refused, but files have changed: {error}");
            return;
        }
    };
    opened.tree.check_invariants();
    let mut found = summary(&opened);
    if let Some(next) = found.0.next() {
        go_on(&mut opened.log, next);
        found.0 = next;
    }
    drop(opened);
    // What was never synced need not be there after a power failure.
    let then = if force_sync { then } else { Crash::Kill };
    match open(disk.crash(then), &options(force_sync, false)) {
        Ok(again) => assert_eq!(summary(&again), found, "found by the next start after {then:?}"),
        Err(error) => panic!("refused by the next start after {then:?}: {error}"),
    }
}

/// Logs a txn that changes nothing.
fn go_on(log: &mut Log, zxid: Zxid) {
    let header = TxnHeader { session: SessionId::NONE, cxid: Xid(0), zxid, time: WallTime(0) };
    let mut payload = Vec::new();
    LoggedTxn { header, txn: Txn::Error { code: -1 }, digest: None }.encode(&mut payload);
    log.append(zxid, &payload);
    let committed = log.commit();
    assert!(committed.is_ok(), "this disk does not fail: {committed:?}");
}

/// What a tree is known by: last zxid, digest, nodes, sessions.
fn summary(opened: &Opened) -> (Zxid, Option<u64>, usize, usize) {
    let tree = &opened.tree;
    // Where nodes without session were removed, their parents' pzxid is that of the last txn before the start, as with
    // ZooKeeper; so it is another one at the next start, and the digest with it.
    let digest = tree.digest().filter(|_| opened.report.orphans == 0);
    (tree.last_zxid(), digest, tree.node_count(), tree.session_count())
}

/// All files but the lock, with their bytes.
fn files(disk: &Arc<MemDisk>) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let own = Path::new(DIR).join("gamekeeper");
    let list = |dir: &Path| {
        let names = disk.list(dir).expect("INVARIANT: both directories are there, and this disk does not fail");
        let paths = names.into_iter().map(|name| dir.join(name));
        paths.map(|path| (path.clone(), disk.peek(&path))).collect::<Vec<_>>()
    };
    let mut files = list(Path::new(DIR));
    files.extend(list(&own));
    files.retain(|(path, _)| !path.ends_with("lock"));
    files
}
