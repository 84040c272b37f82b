//! A disk that nothing can be changed on: what looks into a directory gets this one, so that no mistake of its own, or of
//! the code that it shares with recovery, can write to it.
//!
//! A server may be running on the directory. So that one look sees one state, the names in a directory are listed once:
//! what appears later does not exist here. Contents are read as they are.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Disk, DiskFile};

/// Reads from another disk and refuses every change.
#[derive(Debug)]
pub(crate) struct ReadOnly {
    disk: Arc<dyn Disk>,
    listed: Mutex<BTreeMap<PathBuf, Vec<String>>>,
}

impl ReadOnly {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, listed: Mutex::default() }
    }
}

impl Disk for ReadOnly {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    /// A directory that is not there is empty: a start would make it.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(names) = listed.get(dir) {
            return Ok(names.clone());
        }
        let names = match self.disk.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        listed.insert(dir.to_owned(), names.clone());
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(ReadOnlyFile(self.disk.open(path)?)))
    }

    fn open_write(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        refused()
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        refused()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Send + Sync>> {
        refused()
    }
}

#[derive(Debug)]
struct ReadOnlyFile(Arc<dyn DiskFile>);

impl DiskFile for ReadOnlyFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        refused()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        refused()
    }

    /// Recovery syncs what it will rely on; whoever only looks relies on nothing.
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "opened for looking only"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn nothing_can_be_changed_and_what_appears_later_is_not_listed() {
        let base = tempfile::tempdir().unwrap();
        let (dir, file) = (base.path(), base.path().join("f"));
        std::fs::write(&file, b"abc").unwrap();
        let disk = ReadOnly::new(Arc::new(RealDisk));
        assert_eq!(disk.list(dir).unwrap(), ["f"]);
        let open = disk.open(&file).unwrap();
        let changes = [
            disk.create_dir(&dir.join("d")),
            disk.open_write(&file).map(|_| ()),
            disk.create(&file).map(|_| ()),
            disk.rename(&file, &dir.join("g")),
            disk.remove(&file),
            disk.sync_dir(dir),
            disk.lock(&file).map(|_| ()),
            open.write_at(b"x", 0),
            open.set_len(0),
            open.allocate(0, 10),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_eq!(change.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem, "change {number}");
        }
        std::fs::write(dir.join("later"), b"").unwrap();
        assert_eq!(disk.list(dir).unwrap(), ["f"], "as first seen");
        assert_eq!(disk.list(&dir.join("missing")).unwrap(), [""; 0], "not there is empty");
        assert_eq!(std::fs::read(&file).unwrap(), b"abc", "as it was");
    }
}
