//! What recovery changes on disk, once it knows that nothing is lost by it.
//!
//! Each step can be cut off anywhere: the next recovery finds the old state or the new one, or both, in which case it
//! lists the rest of the step again (`docs/durability.md`, rows R1 to R5).

use std::path::{Path, PathBuf};

use gk_proto::Zxid;

use crate::disk::{Disk, read_full};
use crate::error::StorageError;
use crate::log::{HEADER_BYTES, HEADER_END};
use crate::marks::{Mark, MarksWriter};
use crate::name;

/// One change that a start makes to files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Repair {
    /// Removes a log without any record, or marks of a log that is gone.
    Remove {
        /// The file.
        path: PathBuf,
    },
    /// Copies records into a new log, durably: they were read back, but perhaps from memory only.
    Copy {
        /// The log that has them.
        path: PathBuf,
        /// Its first byte that is copied.
        from: u64,
        /// The byte after the last.
        to: u64,
        /// First txn of the new log, which has its name from it.
        first: Zxid,
        /// Last txn.
        last: Zxid,
    },
    /// Cuts off what is torn, or what the next log has too.
    Cut {
        /// The log.
        path: PathBuf,
        /// Its length after that.
        at: u64,
    },
    /// Moves a file that is given up to where no rule finds it.
    SetAside {
        /// The file.
        path: PathBuf,
    },
    /// Keeps a copy of a file that is given up in part.
    KeepCopy {
        /// The file.
        path: PathBuf,
    },
}

/// Does all of it, in order.
pub(crate) fn run(disk: &dyn Disk, repairs: &[Repair], force_sync: bool) -> Result<(), StorageError> {
    for repair in repairs {
        match repair {
            Repair::Remove { path } => remove(disk, path)?,
            Repair::Copy { path, from, to, first, last } => copy(disk, path, *from..*to, *first..=*last, force_sync)?,
            Repair::Cut { path, at } => cut(disk, path, *at)?,
            Repair::SetAside { path } => set_aside(disk, path)?,
            Repair::KeepCopy { path } => keep_copy(disk, path)?,
        }
    }
    Ok(())
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    disk.remove(path).map_err(StorageError::io("remove", path))?;
    sync_dir_of(disk, path)
}

/// Rows R1 and R2. The new log is complete and durable under a temporary name, its marks are there but empty, it gets
/// its name, and then its mark.
fn copy(
    disk: &dyn Disk,
    path: &Path,
    bytes: std::ops::Range<u64>,
    txns: std::ops::RangeInclusive<Zxid>,
    force_sync: bool,
) -> Result<(), StorageError> {
    let dir = dir_of(path);
    let own_dir = dir.join(name::OWN_DIR);
    let temporary = own_dir.join(COPY);
    let file = disk.create(&temporary).map_err(StorageError::io("create", &temporary))?;
    let (mut crc, mut end) = (crc32fast::Hasher::new(), 0);
    let mut append = |part: &[u8]| {
        crc.update(part);
        let at = end;
        end += part.len() as u64;
        file.write_at(part, at).map_err(StorageError::io("write", &temporary))
    };
    if bytes.start == HEADER_END {
        // The same header, whatever its version and database id: the copy begins like the original, byte by byte.
        append(&read_part(disk, path, 0..HEADER_END)?)?;
    } else {
        append(HEADER_BYTES)?;
    }
    let mut at = bytes.start;
    while at < bytes.end {
        let next = (at + PART).min(bytes.end);
        append(&read_part(disk, path, at..next)?)?;
        at = next;
    }
    file.sync_all().map_err(StorageError::io("sync", &temporary))?;
    let mut marks = MarksWriter::create(disk, &own_dir, *txns.start(), force_sync)?;
    let target = dir.join(name::log_name(*txns.start()));
    disk.rename(&temporary, &target).map_err(StorageError::io("rename", &target))?;
    disk.sync_dir(dir).map_err(StorageError::io("sync", dir))?;
    // Not before the name is durable: a mark would be a witness of txns that no file holds.
    marks.push(Mark { end, zxid: *txns.end(), crc: crc.finalize() })?;
    marks.sync()
}

/// Row R3.
fn cut(disk: &dyn Disk, path: &Path, at: u64) -> Result<(), StorageError> {
    let file = disk.open_write(path).map_err(StorageError::io("open", path))?;
    file.set_len(at).map_err(StorageError::io("cut", path))?;
    file.sync_all().map_err(StorageError::io("sync", path))
}

/// Row R4.
fn set_aside(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    let target = aside_name(disk, path)?;
    disk.rename(path, &target).map_err(StorageError::io("rename", path))?;
    sync_dir_of(disk, &target)?;
    sync_dir_of(disk, path)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some(zxid) = name::log_zxid(name) {
        let marks = dir_of(path).join(name::OWN_DIR).join(name::marks_name(zxid));
        if disk.exists(&marks).map_err(StorageError::io("look for", &marks))? {
            remove(disk, &marks)?;
        }
    }
    Ok(())
}

/// Row R5.
fn keep_copy(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    let target = aside_name(disk, path)?;
    let source = disk.open(path).map_err(StorageError::io("open", path))?;
    let len = source.len().map_err(StorageError::io("look at", path))?;
    let file = disk.create(&target).map_err(StorageError::io("create", &target))?;
    let mut at = 0;
    while at < len {
        let next = (at + PART).min(len);
        let part = read_part(disk, path, at..next)?;
        file.write_at(&part, at).map_err(StorageError::io("write", &target))?;
        at = next;
    }
    file.sync_all().map_err(StorageError::io("sync", &target))?;
    sync_dir_of(disk, &target)
}

/// A free name for a file in the directory of what was set aside.
fn aside_name(disk: &dyn Disk, path: &Path) -> Result<PathBuf, StorageError> {
    let own_dir = dir_of(path);
    let own_dir = if own_dir.ends_with(name::OWN_DIR) { own_dir.to_owned() } else { own_dir.join(name::OWN_DIR) };
    let dir = own_dir.join(ASIDE);
    disk.create_dir(&dir).map_err(StorageError::io("create", &dir))?;
    disk.sync_dir(&own_dir).map_err(StorageError::io("sync", &own_dir))?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    for number in 1u32.. {
        let target = dir.join(format!("{name}.{number}"));
        if !disk.exists(&target).map_err(StorageError::io("look for", &target))? {
            return Ok(target);
        }
    }
    Ok(dir.join(name))
}

fn read_part(disk: &dyn Disk, path: &Path, range: std::ops::Range<u64>) -> Result<Vec<u8>, StorageError> {
    let file = disk.open(path).map_err(StorageError::io("open", path))?;
    let len = usize::try_from(range.end - range.start).expect("INVARIANT: parts are at most a megabyte");
    let mut bytes = vec![0; len];
    let n = read_full(&*file, &mut bytes, range.start).map_err(StorageError::io("read", path))?;
    if n < len {
        let source = std::io::ErrorKind::UnexpectedEof.into();
        return Err(StorageError::Io { action: "read", path: path.to_owned(), source });
    }
    Ok(bytes)
}

fn sync_dir_of(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    let dir = dir_of(path);
    disk.sync_dir(dir).map_err(StorageError::io("sync", dir))
}

fn dir_of(path: &Path) -> &Path {
    path.parent().expect("INVARIANT: every file here was found in a directory")
}

/// Name of a log being copied.
pub(crate) const COPY: &str = "copy.log";
/// Directory of what an operator gave up.
const ASIDE: &str = "set-aside";
const PART: u64 = 1 << 20;
