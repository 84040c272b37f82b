//! A file of the disk in memory.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Operation, State};
use crate::disk::DiskFile;

/// An open file; it has a number, so that it outlives its names.
pub(super) struct MemFile {
    pub(super) disk: Arc<Mutex<State>>,
    pub(super) id: usize,
}

impl fmt::Debug for MemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemFile {}", self.id)
    }
}

impl MemFile {
    fn state(&self) -> MutexGuard<'_, State> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("INVARIANT: files in memory are shorter than memory")
}

impl DiskFile for MemFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state();
        state.may_fail(Operation::Read)?;
        let file = &state.files[self.id];
        let start = index(offset);
        let rest = file.content.get(start..).unwrap_or_default();
        let n = rest.len().min(into.len());
        if !file.is_readable(start, start + n) {
            state.failed += 1;
            return Err(rustix::io::Errno::IO.into());
        }
        into[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (id, start) = (self.id, index(offset));
        let mut state = self.state();
        state.step(Operation::Write, || format!("write {} bytes at {offset} of file {id}", bytes.len()))?;
        let end = start + bytes.len();
        let grows = end.saturating_sub(state.files[id].content.len());
        if grows > 0 && state.growth_refused && state.is_full_for(grows as u64) {
            state.failed += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = &mut state.files[id];
        let old = file.content.len();
        let content = Arc::make_mut(&mut file.content);
        content.resize(old.max(end), 0);
        content[start..end].copy_from_slice(bytes);
        file.touch(start.min(old), end);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let id = self.id;
        let mut state = self.state();
        state.step(Operation::Metadata, || format!("set_len {len} of file {id}"))?;
        Arc::make_mut(&mut state.files[id].content).resize(index(len), 0);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let id = self.id;
        let mut state = self.state();
        state.step(Operation::Metadata, || format!("allocate {len} bytes at {offset} of file {id}"))?;
        let end = index(offset + len);
        let grows = end.saturating_sub(state.files[id].content.len());
        if state.is_full_for(grows as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if grows > 0 {
            Arc::make_mut(&mut state.files[id].content).resize(end, 0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let id = self.id;
        let mut state = self.state();
        let had_stopped = state.has_stopped();
        let result = state.step(Operation::Sync, || format!("sync file {id}"));
        match &result {
            Ok(()) => state.files[id].sync(),
            Err(_) if had_stopped => {}
            // The pages count as clean from here on.
            Err(_) => state.files[id].dirty.clear(),
        }
        result
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state().files[self.id].content.len() as u64)
    }
}
