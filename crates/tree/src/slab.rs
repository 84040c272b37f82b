//! A slab of fixed-size chunks: entries are addressed by `u32`, never move, and growing copies nothing.

/// Entries by number; the number of a removed entry is used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    live: usize,
}

impl<T> Slab<T> {
    /// Nothing in it, nothing allocated.
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), live: 0 }
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// One more than the largest number ever given out.
    pub(crate) fn end(&self) -> u32 {
        let Some(last) = self.chunks.last() else { return 0 };
        let end = (self.chunks.len() - 1) * CHUNK + last.len();
        u32::try_from(end).expect("INVARIANT: insert gives out no number above u32::MAX - 1")
    }

    /// Adds an entry and returns its number. Stops the process at 2^32 - 1 entries, far beyond any memory.
    pub(crate) fn insert(&mut self, entry: T) -> u32 {
        self.live += 1;
        if let Some(id) = self.free.pop() {
            *self.slot(id) = Some(entry);
            return id;
        }
        let id = self.end();
        assert!(id < u32::MAX, "slab is full: {id} entries");
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunk = self.chunks.last_mut().expect("INVARIANT: a chunk was pushed if there was none");
        chunk.push(Some(entry));
        id
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, id: u32) -> T {
        let entry = self.slot(id).take().expect("INVARIANT: only numbers of live entries are handed to remove");
        self.free.push(id);
        self.live -= 1;
        entry
    }

    /// The entry of a number, if it is in use.
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        let (chunk, place) = split(id);
        self.chunks.get(chunk)?.get(place)?.as_ref()
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let (chunk, place) = split(id);
        self.chunks.get_mut(chunk)?.get_mut(place)?.as_mut()
    }

    /// Entries by ascending number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..self.end()).filter_map(|id| Some((id, self.get(id)?)))
    }

    fn slot(&mut self, id: u32) -> &mut Option<T> {
        let (chunk, place) = split(id);
        let slot = self.chunks.get_mut(chunk).and_then(|chunk| chunk.get_mut(place));
        slot.expect("INVARIANT: numbers come from insert, and chunks are never taken away")
    }
}

fn split(id: u32) -> (usize, usize) {
    // A u32 fits a usize on every platform that has room for a tree.
    let id = usize::try_from(id).unwrap_or(usize::MAX);
    (id / CHUNK, id % CHUNK)
}

/// Entries a chunk: about 100 KB of nodes, which the allocator hands out without touching them.
const CHUNK: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_used_again() {
        let mut slab = Slab::new();
        let ids: Vec<u32> = (0..3000).map(|n| slab.insert(n)).collect();
        assert_eq!(ids, (0..3000).collect::<Vec<_>>(), "dense over several chunks");
        assert_eq!(slab.remove(1500), 1500, "what was put there");
        assert_eq!(slab.get(1500), None, "gone");
        assert_eq!((slab.insert(7), slab.get(1500)), (1500, Some(&7)), "its number comes back");
        assert_eq!((slab.len(), slab.end(), slab.get(3000)), (3000, 3000, None), "no number beyond the end");
    }
}
