//! A disk in memory with the crash semantics of a real one, for the tests of this crate and for the simulator.
//!
//! Faults that must be survived:
//! - **A killed process**: everything handed to the operating system stays readable, durable or not.
//! - **A power failure**: of what was not synced, any subset of 512-byte sectors is there, and any length between the
//!   synced and the last one; names not synced in their directory are there or not, one by one. A rename is whole in
//!   its new name before it is gone from the old one, but may be found under both.
//! - **A failed sync**: what it should have written is readable until the power fails and never written after
//!   (a later sync says yes and does nothing, as Linux does).
//! - **A full disk**: reserving fails, and with [`MemDisk::refuse_growth`] every write that makes a file longer.
//! - **An operation that fails** with any error, once.
//! - **A file system that became read-only**: it is read as before, and everything else fails.
//! - **A sector that cannot be read** until it is written anew.
//!
//! Not played here: sectors that lie, which no disk cache explains; whoever wants them pokes them in.

mod file;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile};
use file::MemFile;
use gk_proto::rng::Rng;

/// What reaches a disk whole or not at all.
pub const SECTOR: usize = 512;
/// Operations that [`MemDisk::trace`] goes back.
const TRACE_MAX: usize = 512;

/// How much of what was not synced a crash leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// The process is killed, the machine goes on.
    Kill,
    /// The power fails and nothing unsynced was written.
    LoseAll,
    /// The power fails just after everything was written.
    KeepAll,
    /// The power fails and chance decides, sector by sector and name by name.
    Random(u64),
}

/// A disk in memory. Files that it made share its state; a crash makes another disk.
#[derive(Default)]
pub struct MemDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: Vec<FileState>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    dirs: BTreeSet<PathBuf>,
    /// Changes of names that no sync of their directory has made durable, in order.
    pending: Vec<NameChange>,
    locked: BTreeSet<PathBuf>,
    /// Operations done so far, and the one after which the machine stops.
    done: u64,
    stop_after: Option<u64>,
    /// The operation that fails, and how.
    fail: Option<Failure>,
    /// How often an operation has failed so.
    failed: u64,
    /// Bytes that can be reserved in total.
    capacity: Option<u64>,
    growth_refused: bool,
    read_only: bool,
    trace: VecDeque<String>,
}

/// Which operation fails next, and how.
#[derive(Clone, Copy)]
struct Failure {
    /// So many that it could be are let through.
    after: u64,
    which: Operation,
    kind: io::ErrorKind,
}

/// Kinds of operations, for choosing which one fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Any of them.
    Any,
    /// Bytes written to a file.
    Write,
    /// A file synced.
    Sync,
    /// Names: made, changed, removed, synced; lengths: cut, reserved.
    Metadata,
    /// Bytes read, a file opened, a directory listed. No crash point, and none of [`Operation::Any`].
    Read,
}

/// Bytes are shared between disks until one of them changes its own, so that a copy of a disk is cheap.
#[derive(Clone, Default)]
struct FileState {
    content: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    dirty: BTreeSet<usize>,
    /// Sectors that cannot be read.
    bad: BTreeSet<usize>,
}

#[derive(Clone)]
enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, usize),
    /// The half of a rename that is left when the directory of the new name was synced.
    Leave(PathBuf, usize),
}

impl fmt::Debug for MemDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemDisk")
    }
}

impl MemDisk {
    /// An empty disk.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// After `count` more operations nothing works any more.
    pub fn stop_after(&self, count: u64) {
        let mut state = self.state();
        state.stop_after = Some(state.done + count);
    }

    /// The machine does not stop after all.
    pub fn never_stop(&self) {
        self.state().stop_after = None;
    }

    /// The `count`-th operation from here (0 is the next) fails.
    pub fn fail(&self, count: u64, kind: io::ErrorKind) {
        let mut state = self.state();
        state.fail = Some(Failure { after: count, which: Operation::Any, kind });
    }

    /// The `count`-th operation of this kind from here (0 is the next) fails; reads do so with EIO, whatever `kind`.
    pub fn fail_operation(&self, which: Operation, count: u64, kind: io::ErrorKind) {
        self.state().fail = Some(Failure { after: count, which, kind });
    }

    /// What was to fail and has not, does not any more; all sectors can be read.
    pub fn mend(&self) {
        let mut state = self.state();
        state.fail = None;
        state.files.iter_mut().for_each(|file| file.bad.clear());
    }

    /// Operations that failed because they were told to.
    pub fn failed(&self) -> u64 {
        self.state().failed
    }

    /// Bytes that files with a name can have in total; `None` is without end.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Whether a full disk refuses also writes that make a file longer, as one does where nothing was reserved.
    pub fn refuse_growth(&self, refused: bool) {
        self.state().growth_refused = refused;
    }

    /// Whether nothing can be changed; what was written before can be read, and synced.
    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// Makes a sector of a file unreadable until it is written anew.
    pub fn break_sector(&self, path: &Path, sector: usize) {
        let mut state = self.state();
        if let Some(&file) = state.names.get(path) {
            state.files[file].bad.insert(sector);
        }
    }

    /// Bytes of all files that have a name.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Operations done so far.
    pub fn operations(&self) -> u64 {
        self.state().done
    }

    /// Whether the machine has stopped: nothing that came after counts.
    pub fn has_stopped(&self) -> bool {
        self.state().has_stopped()
    }

    /// What the last operations were.
    pub fn trace(&self) -> Vec<String> {
        self.state().trace.iter().cloned().collect()
    }

    /// The same files as another disk.
    pub fn clone_files(&self) -> Arc<Self> {
        let state = self.state();
        Arc::new(Self(Arc::new(Mutex::new(State {
            files: state.files.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            dirs: state.dirs.clone(),
            pending: state.pending.clone(),
            ..State::default()
        }))))
    }

    /// What the machine finds after a crash.
    pub fn crash(&self, how: Crash) -> Arc<Self> {
        if how == Crash::Kill {
            return self.clone_files();
        }
        let state = self.state();
        let mut rng = match how {
            Crash::Random(seed) => Some(Rng::new(seed)),
            Crash::Kill | Crash::LoseAll | Crash::KeepAll => None,
        };
        let mut keep = || rng.as_mut().map_or(how == Crash::KeepAll, |rng| rng.below(2) == 1);
        let mut names = state.durable_names.clone();
        for change in &state.pending {
            match change {
                NameChange::Link(path, file) if keep() => drop(names.insert(path.clone(), *file)),
                NameChange::Unlink(path) if keep() => drop(names.remove(path)),
                NameChange::Rename(from, to, file) if keep() => {
                    names.insert(to.clone(), *file);
                    if keep() && names.get(from) == Some(file) {
                        names.remove(from);
                    }
                }
                NameChange::Leave(from, file) if keep() && names.get(from) == Some(file) => drop(names.remove(from)),
                NameChange::Link(..) | NameChange::Unlink(_) | NameChange::Rename(..) | NameChange::Leave(..) => {}
            }
        }
        let named: BTreeSet<usize> = names.values().copied().collect();
        let survive = |(id, file): (usize, &FileState)| {
            if named.contains(&id) { file.crash(&mut keep) } else { FileState::default() }
        };
        let files = state.files.iter().enumerate().map(survive).collect();
        let dirs = state.dirs.clone();
        let state = State { files, durable_names: names.clone(), names, dirs, ..State::default() };
        Arc::new(Self(Arc::new(Mutex::new(state))))
    }

    /// Reads a whole file, past all counters.
    pub fn peek(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|&file| state.files[file].content.to_vec())
    }

    /// Puts a durable file there, past all counters.
    pub fn poke(&self, path: &Path, content: &[u8]) {
        let mut state = self.state();
        let content = Arc::new(content.to_vec());
        let file = FileState { durable: content.clone(), content, ..FileState::default() };
        state.files.push(file);
        let id = state.files.len() - 1;
        state.names.insert(path.to_owned(), id);
        state.durable_names.insert(path.to_owned(), id);
        let dirs: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        state.dirs.extend(dirs);
    }

    /// Removes a file durably, past all counters.
    pub fn unpoke(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// All files, by path.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, id: usize) -> Arc<dyn DiskFile> {
        Arc::new(MemFile { disk: self.0.clone(), id })
    }
}

impl State {
    fn has_stopped(&self) -> bool {
        self.stop_after.is_some_and(|stop| self.done >= stop)
    }

    fn step(&mut self, of: Operation, what: impl FnOnce() -> String) -> io::Result<()> {
        if self.has_stopped() {
            return Err(io::Error::other("the machine has stopped"));
        }
        if self.trace.len() == TRACE_MAX {
            self.trace.pop_front();
        }
        self.trace.push_back(what());
        self.done += 1;
        if self.read_only && of != Operation::Sync {
            self.failed += 1;
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.may_fail(of)
    }

    fn may_fail(&mut self, of: Operation) -> io::Result<()> {
        match &mut self.fail {
            Some(failure) if failure.concerns(of) => {
                if failure.after > 0 {
                    failure.after -= 1;
                    return Ok(());
                }
                let kind = failure.kind;
                self.fail = None;
                self.failed += 1;
                // By its number, which those who read through a decompressor go by.
                Err(if of == Operation::Read { rustix::io::Errno::IO.into() } else { kind.into() })
            }
            _ => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&file| self.files[file].content.len() as u64).sum()
    }

    /// Whether so many more bytes find no room.
    fn is_full_for(&self, more: u64) -> bool {
        self.capacity.is_some_and(|capacity| self.used() + more > capacity)
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Failure {
    fn concerns(&self, of: Operation) -> bool {
        self.which == of || (self.which == Operation::Any && of != Operation::Read)
    }
}

impl FileState {
    fn crash(&self, keep: &mut impl FnMut() -> bool) -> Self {
        let mut content = self.durable.to_vec();
        if self.content.len() < content.len() && keep() {
            content.truncate(self.content.len());
        }
        for &sector in &self.dirty {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.content.len());
            if start < end && keep() {
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[start..end].copy_from_slice(&self.content[start..end]);
            }
        }
        if self.content.len() > content.len() && keep() {
            content.resize(self.content.len(), 0);
        }
        let content = Arc::new(content);
        Self { durable: content.clone(), content, dirty: BTreeSet::new(), bad: self.bad.clone() }
    }

    fn sync(&mut self) {
        let durable = Arc::make_mut(&mut self.durable);
        durable.resize(self.content.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.content.len());
            if start < end {
                durable[start..end].copy_from_slice(&self.content[start..end]);
            }
        }
    }

    fn touch(&mut self, start: usize, end: usize) {
        let sectors = start / SECTOR..end.div_ceil(SECTOR);
        self.bad.retain(|sector| !sectors.contains(sector));
        self.dirty.extend(sectors);
    }

    fn is_readable(&self, start: usize, end: usize) -> bool {
        let sectors = start / SECTOR..end.div_ceil(SECTOR);
        !self.bad.iter().any(|sector| sectors.contains(sector))
    }
}

impl Disk for MemDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(Operation::Metadata, || format!("create_dir {}", dir.display()))?;
        state.dirs.insert(dir.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.may_fail(Operation::Read)?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.may_fail(Operation::Read)?;
        let id = state.find(path)?;
        Ok(self.file(id))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.step(Operation::Metadata, || format!("create {}", path.display()))?;
        let id = match state.names.get(path) {
            Some(&id) => {
                Arc::make_mut(&mut state.files[id].content).clear();
                id
            }
            None => {
                state.files.push(FileState::default());
                let id = state.files.len() - 1;
                state.names.insert(path.to_owned(), id);
                state.pending.push(NameChange::Link(path.to_owned(), id));
                id
            }
        };
        Ok(self.file(id))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(Operation::Metadata, || format!("rename {} to {}", from.display(), to.display()))?;
        let id = state.find(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), id);
        state.pending.push(NameChange::Rename(from.to_owned(), to.to_owned(), id));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(Operation::Metadata, || format!("remove {}", path.display()))?;
        state.find(path)?;
        state.names.remove(path);
        state.pending.push(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        Ok(state.names.contains_key(path) || state.dirs.contains(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(Operation::Metadata, || format!("sync_dir {}", dir.display()))?;
        let mut left = Vec::new();
        for change in std::mem::take(&mut state.pending) {
            let here = |path: &Path| path.parent() == Some(dir);
            match change.clone() {
                NameChange::Link(path, id) if here(&path) => drop(state.durable_names.insert(path, id)),
                NameChange::Unlink(path) if here(&path) => drop(state.durable_names.remove(&path)),
                NameChange::Rename(from, to, id) if here(&to) => {
                    state.durable_names.insert(to, id);
                    if here(&from) {
                        state.durable_names.remove(&from);
                    } else {
                        left.push(NameChange::Leave(from, id));
                    }
                }
                NameChange::Leave(from, id) if here(&from) => {
                    if state.durable_names.get(&from) == Some(&id) {
                        state.durable_names.remove(&from);
                    }
                }
                NameChange::Link(..) | NameChange::Unlink(_) | NameChange::Rename(..) | NameChange::Leave(..) => {
                    left.push(change);
                }
            }
        }
        state.pending = left;
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.state();
        if state.read_only {
            state.failed += 1;
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if !state.locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock { disk: self.0.clone(), path: path.to_owned() }))
    }
}

struct Lock {
    disk: Arc<Mutex<State>>,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner).locked.remove(&self.path);
    }
}
