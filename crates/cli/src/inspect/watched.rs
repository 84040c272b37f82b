//! The disk that is read, and the line that shows how far reading is.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gk_storage::{Disk, DiskFile, RealDisk};

use super::text;

/// The file system, read only; long reads show on stderr, if that is a terminal and stdout is not in use for the answer.
#[derive(Debug)]
pub(crate) struct Watched {
    progress: Arc<Progress>,
}

#[derive(Debug)]
struct Progress {
    is_shown: bool,
    read: AtomicU64,
}

impl Watched {
    /// `prints_meanwhile`: whether lines of the answer are printed while reading goes on.
    pub(crate) fn new(prints_meanwhile: bool) -> Arc<Self> {
        let is_shown = io::stderr().is_terminal() && !(prints_meanwhile && io::stdout().is_terminal());
        Arc::new(Self { progress: Arc::new(Progress { is_shown, read: AtomicU64::new(0) }) })
    }

    /// Clears the line.
    pub(crate) fn done(&self) {
        let progress = &self.progress;
        if progress.is_shown && progress.read.load(Ordering::Relaxed) >= EVERY {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

impl Progress {
    fn advance(&self, name: &str, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = self.read.fetch_add(bytes, Ordering::Relaxed);
        if self.is_shown && before / EVERY != (before + bytes) / EVERY {
            // Nobody may be reading any more; the work goes on.
            let _ = write!(io::stderr(), "\r\x1b[K{} read, now {name}", text::size(before + bytes));
        }
    }
}

impl Disk for Watched {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = text::escaped(name).into_owned();
        Ok(Arc::new(WatchedFile { file: RealDisk.open(path)?, name, progress: self.progress.clone() }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealDisk.exists(path)
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        refused()
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

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Send + Sync>> {
        refused()
    }
}

#[derive(Debug)]
struct WatchedFile {
    file: Arc<dyn DiskFile>,
    name: String,
    progress: Arc<Progress>,
}

impl DiskFile for WatchedFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let n = self.file.read_at(into, offset)?;
        self.progress.advance(&self.name, n);
        Ok(n)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
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

    fn sync_data(&self) -> io::Result<()> {
        refused()
    }

    fn sync_all(&self) -> io::Result<()> {
        refused()
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "opened for looking only"))
}

/// Between two changes of the line.
const EVERY: u64 = 32 << 20;
