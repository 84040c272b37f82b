//! The few things asked of a file system, as a trait, so that crashes can be played through on a disk in memory.
//!
//! [`RealDisk`] is the only one outside tests. It makes directories with mode 0700 and files with mode 0600, and does
//! not follow a symbolic link in the last component of a file's path.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags};

/// A directory tree on a disk. Paths are absolute or relative to the process, as for the operating system.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a directory and what is missing above it; it may exist.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names in a directory, sorted; not those of its subdirectories.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens a file for reading and for syncing what others wrote.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a file, empty, for reading and writing; one of this name is cut to nothing.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name, atomically, in the place of a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Whether a file or directory of this name exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Makes the names in a directory durable: creations, renames and removals since the last call.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lock on a file that is created for it; held until the guard is dropped or the process
    /// ends. Another holder is an error of kind `WouldBlock`.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// An open file. Offsets are absolute: there is no cursor to share.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads at most as many bytes as fit; 0 at the end of the file.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all bytes, extending the file where needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts or extends (by a hole) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves blocks for `len` bytes from `offset` and extends the file to cover them. What cannot reserve (some
    /// network file systems) extends by a hole instead.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Makes contents and length durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Makes contents and all attributes durable (fsync).
    fn sync_all(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether there is no byte in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is not UTF-8 is nobody's log or snapshot.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(options().read(true).open(path)?)))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(options().read(true).write(true).open(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = options().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            // A file system without locks protects nobody, which is no reason not to start.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(Box::new(file)),
            Err(error) => Err(error.into()),
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(&self.0, into, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::io::Errno;
        loop {
            match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), offset, len) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    let end = offset.saturating_add(len);
                    return if end > self.len()? { self.set_len(end) } else { Ok(()) };
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Reads a file from one offset on, in order.
#[derive(Debug)]
pub(crate) struct FileReader {
    file: Arc<dyn DiskFile>,
    offset: u64,
}

impl FileReader {
    pub(crate) fn new(file: Arc<dyn DiskFile>, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl Read for FileReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(into, self.offset)?;
        self.offset += u64::try_from(n).expect("INVARIANT: usize is at most 64 bits");
        Ok(n)
    }
}

/// Reads until `into` is full or the file ends; returns how much was read.
pub(crate) fn read_full(file: &dyn DiskFile, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = offset + u64::try_from(done).expect("INVARIANT: usize is at most 64 bits");
        match file.read_at(rest, at)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn directories_and_files_are_private() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("a/b");
        RealDisk.create_dir(&dir).unwrap();
        RealDisk.create(&dir.join("f")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700, "directory");
        assert_eq!(mode(&dir.join("f")), 0o600, "file");
    }

    #[test]
    fn symbolic_links_are_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let (target, link) = (base.path().join("target"), base.path().join("link"));
        fs::write(&target, b"precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(RealDisk.create(&link).is_err(), "create through a link");
        assert!(RealDisk.open(&link).is_err(), "open through a link");
        assert_eq!(fs::read(&target).unwrap(), b"precious", "untouched");
    }

    #[test]
    fn second_lock_would_block() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("lock");
        let first = RealDisk.lock(&path).unwrap();
        assert_eq!(RealDisk.lock(&path).err().unwrap().kind(), io::ErrorKind::WouldBlock, "held");
        drop(first);
        assert!(RealDisk.lock(&path).is_ok(), "free again");
    }

    #[test]
    fn allocated_bytes_read_as_zeros() {
        let base = tempfile::tempdir().unwrap();
        let file = RealDisk.create(&base.path().join("f")).unwrap();
        file.write_at(b"abc", 0).unwrap();
        file.allocate(3, 100).unwrap();
        let mut bytes = [1; 200];
        assert_eq!(read_full(&*file, &mut bytes, 0).unwrap(), 103, "extended");
        assert_eq!(bytes[..3], *b"abc", "kept");
        assert!(bytes[3..103].iter().all(|&byte| byte == 0), "zeros");
    }
}
