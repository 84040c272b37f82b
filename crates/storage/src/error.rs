//! What can go wrong with files, and what the operator can do about it.

use std::io;
use std::path::{Path, PathBuf};

use gk_proto::{DecodeError, Zxid};

/// Why the store cannot be opened, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused. Final for a log: nothing after it is ever acknowledged (S30).
    #[error("cannot {action} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was asked, as a verb.
        action: &'static str,
        /// Of which file or directory.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// No space is left to reserve for what was appended. Nothing was written and nothing is lost: it is still in the
    /// log's buffer, and the same commit can be tried again.
    #[error("no space left to extend {} to {wanted} bytes", path.display())]
    NoSpace {
        /// The log.
        path: PathBuf,
        /// Length it should have been given.
        wanted: u64,
    },
    /// An earlier write or sync of this log failed; only a restart clears that.
    #[error("the log failed before and takes nothing more until a restart")]
    Poisoned,
    /// Another process has the directory.
    #[error("{} is in use by another process", dir.display())]
    InUse {
        /// The directory of the log.
        dir: PathBuf,
    },
    /// A directory is missing and must not be made (`datadir.autocreate=false`).
    #[error("{} does not exist, and datadir.autocreate=false forbids to make it", dir.display())]
    DirectoryMissing {
        /// The missing directory.
        dir: PathBuf,
    },
    /// Logs among the snapshots, or snapshots among the logs, where the two have directories of their own.
    #[error("{} belongs into {}: check dataDir and dataLogDir", path.display(), dir.display())]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// Where files of its kind are.
        dir: PathBuf,
    },
    /// There is no data at all and the configuration forbids to start afresh.
    #[error(
        "{} holds no data, and db.autocreate=false forbids to start an empty tree: \
         create the file {} to allow it once",
        dir.display(), marker.display()
    )]
    EmptyUntrusted {
        /// The directory of snapshots.
        dir: PathBuf,
        /// The file that allows it.
        marker: PathBuf,
    },
    /// Bytes that were committed, or that lie below others that were, are not what they were.
    #[error("{} is damaged at byte {offset}: {damage}. {REMEDY}", path.display())]
    Corrupt {
        /// The log or snapshot.
        path: PathBuf,
        /// First byte of the record or section that is wrong.
        offset: u64,
        /// What is wrong.
        damage: Damage,
    },
    /// Txns between two that are there are missing.
    #[error("the txns after 0x{after} are missing: the next one found is 0x{found} in {}. {REMEDY}", path.display())]
    Gap {
        /// Last txn before the gap.
        after: Zxid,
        /// First txn after it.
        found: Zxid,
        /// The log that holds it.
        path: PathBuf,
    },
    /// A file says that txns existed which no file holds any more.
    #[error("txns up to 0x{known} existed, as {} shows, but the files end at 0x{end}. {REMEDY}", witness.display())]
    TailLost {
        /// Last txn that was readable.
        end: Zxid,
        /// Txn that is known to have existed.
        known: Zxid,
        /// The file that proves it.
        witness: PathBuf,
    },
    /// There are logs but no snapshot: the beginning of history may be missing.
    #[error(
        "no snapshot in {}, but there are txns in {}: snapshot.trust.empty=true replays them onto an empty tree",
        snap_dir.display(), log_dir.display()
    )]
    NoSnapshot {
        /// Where snapshots should be.
        snap_dir: PathBuf,
        /// Where the logs are.
        log_dir: PathBuf,
    },
    /// Looking back, to a txn before the oldest snapshot from which history can be read on.
    #[error("the tree at 0x{zxid} cannot be made any more: no snapshot in {} goes back that far", dir.display())]
    NotKept {
        /// What was asked for.
        zxid: Zxid,
        /// Where snapshots are.
        dir: PathBuf,
    },
    /// Snapshots are there but none of them can be loaded.
    #[error("none of the snapshots in {} can be loaded; the newest, {newest}: {damage}. Restore one from a copy", dir.display())]
    NoSoundSnapshot {
        /// Where they are.
        dir: PathBuf,
        /// Name of the newest.
        newest: String,
        /// What is wrong with it.
        damage: Damage,
    },
}

const REMEDY: &str = "Nothing has been changed. Restore the file from a copy, or start once with --accept-data-loss to go \
     on without what follows (it is set aside, not deleted)";

impl StorageError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// What an operator may do about an error of the operating system, as the end of its message.
fn advice(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::ReadOnlyFilesystem {
        ". See the kernel's messages, check the file system (fsck) and mount it writable"
    } else if source.kind() == io::ErrorKind::PermissionDenied {
        ". Check its owner and permissions, and those of the directories above it"
    } else if source.raw_os_error() == Some(EIO) {
        ". The disk fails: see the kernel's messages, and start again once it can be relied on"
    } else {
        ""
    }
}

/// Of Linux; `io::ErrorKind` has no stable name for it.
const EIO: i32 = 5;

/// What is wrong with bytes in a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// Not the magic number of its kind of file.
    #[error("it does not begin with the header of its kind")]
    BadHeader,
    /// The file ends inside a record, a section or the header.
    #[error("it ends inside a record")]
    Cut,
    /// Length 0 marks the end of a log, but other bytes follow.
    #[error("a zeroed record is followed by other bytes")]
    ZeroedRecord,
    /// A length that no record can have.
    #[error("impossible record length {0}")]
    BadLength(i32),
    /// The checksum does not match the bytes.
    #[error("the checksum does not match")]
    BadChecksum,
    /// The byte after a record is not `B`.
    #[error("the end mark of a record is missing")]
    BadEndMark,
    /// Each record is sound by itself but they are not the ones that were committed.
    #[error("the records are sound but not those that were committed here")]
    NotWhatWasCommitted,
    /// Txns that were committed are not in the file any more.
    #[error("committed txns up to byte {committed} are missing")]
    CommittedMissing {
        /// Where the committed part ended.
        committed: u64,
    },
    /// A zxid that is not above the one before.
    #[error("txn 0x{found} follows 0x{after}")]
    OutOfOrder {
        /// The txn before.
        after: Zxid,
        /// The txn found.
        found: Zxid,
    },
    /// A log is named after its first txn.
    #[error("its first txn is 0x{found}, not the one in its name")]
    Misnamed {
        /// The first txn.
        found: Zxid,
    },
    /// A sound checksum over bytes that are no record.
    #[error("the record cannot be decoded: {0}")]
    Undecodable(DecodeError),
    /// The nodes of a snapshot do not make a tree.
    #[error("the nodes are no tree: {0}")]
    NoTree(String),
    /// The compressed stream is broken.
    #[error("the compressed stream is broken: {0}")]
    BadStream(String),
    /// Bytes after the last section of a snapshot.
    #[error("bytes follow the last section")]
    Trailing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_where_and_what_to_do() {
        for (errno, advice) in [(5, "start again once"), (13, "owner and permissions"), (30, "mount it writable")] {
            let error = StorageError::io("write", Path::new("/data/log.1"))(io::Error::from_raw_os_error(errno));
            let text = error.to_string();
            assert!(text.starts_with("cannot write /data/log.1: ") && text.contains(advice), "{text}");
        }
    }
}
