//! From a path to the number of what has it: one hash table of numbers, whose keys live with the entries.
//!
//! The table is split into many shards by the hash's upper bits, so that growing stops a writer for one shard only.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use hashbrown::HashTable;

/// Keyed hash of a whole path. Entries store it, so that growing a shard reads no path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PathHash(u32);

impl PathHash {
    /// For an entry that is in no index.
    pub(crate) const NONE: Self = Self(0);

    /// As many bits as the table wants, in its upper and its lower end, from the bits that the shard leaves.
    fn spread(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// The table. Entries are compared by the caller.
pub(crate) struct PathIndex {
    key: u64,
    seed: SharedSeed,
    shards: Box<[HashTable<u32>]>,
    shift: u32,
}

impl PathIndex {
    /// An empty table of `2^shard_bits` shards; each costs 32 bytes while empty.
    pub(crate) fn new(key: u64, shard_bits: u32) -> Self {
        assert!((1..32).contains(&shard_bits), "shard_bits {shard_bits} must leave bits for the shards themselves");
        Self {
            key,
            seed: SharedSeed::from_u64(key),
            shards: (0..1_u64 << shard_bits).map(|_| HashTable::new()).collect(),
            shift: 32 - shard_bits,
        }
    }

    /// The hash of a path.
    pub(crate) fn hash(&self, path: &str) -> PathHash {
        let mut hasher = FoldHasher::with_seed(self.key, &self.seed);
        hasher.write(path.as_bytes());
        PathHash(u32::try_from(hasher.finish() >> 32).expect("INVARIANT: 32 bits are left of 64 after a shift by 32"))
    }

    /// The number under this hash for which `is_it` holds.
    pub(crate) fn find(&self, hash: PathHash, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.shard(hash).find(hash.spread(), |&id| is_it(id)).copied()
    }

    /// Adds a number that is not there; `hash_of` gives the hash of any other one in the table.
    pub(crate) fn insert(&mut self, hash: PathHash, id: u32, hash_of: impl Fn(u32) -> PathHash) {
        self.shard_mut(hash).insert_unique(hash.spread(), id, |&id| hash_of(id).spread());
    }

    /// Removes a number; whether it was there.
    pub(crate) fn remove(&mut self, hash: PathHash, id: u32) -> bool {
        match self.shard_mut(hash).find_entry(hash.spread(), |&other| other == id) {
            Ok(entry) => {
                entry.remove();
                true
            }
            Err(_) => false,
        }
    }

    /// How many numbers are in it.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }

    fn shard(&self, hash: PathHash) -> &HashTable<u32> {
        self.shards.get(self.place(hash)).expect("INVARIANT: there is a shard for every value of the upper bits")
    }

    fn shard_mut(&mut self, hash: PathHash) -> &mut HashTable<u32> {
        let place = self.place(hash);
        self.shards.get_mut(place).expect("INVARIANT: there is a shard for every value of the upper bits")
    }

    fn place(&self, hash: PathHash) -> usize {
        usize::try_from(hash.0 >> self.shift).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_inserted_under_colliding_hashes_too() {
        let mut index = PathIndex::new(7, 4);
        let hashes: Vec<PathHash> = (0..5000).map(|n| index.hash(&format!("/p/{}", n / 2))).collect();
        let hash_of = |id: u32| hashes[id as usize];
        for id in 0..5000 {
            index.insert(hash_of(id), id, hash_of);
        }
        for id in 0..5000 {
            assert_eq!(index.find(hash_of(id), |other| other == id), Some(id), "both of a pair");
        }
        assert!(index.remove(hash_of(4), 4), "there once");
        assert!(!index.remove(hash_of(4), 4), "not twice");
        assert_eq!(index.find(hash_of(5), |_| true), Some(5), "its pair stays");
        assert_eq!(index.len(), 4999, "one less");
    }

    #[test]
    fn the_key_decides_the_hash() {
        let (a, b) = (PathIndex::new(1, 4), PathIndex::new(2, 4));
        let differ = (0..100).filter(|n| a.hash(&format!("/{n}")) != b.hash(&format!("/{n}"))).count();
        assert_eq!(differ, 100, "or clients could choose paths that collide");
    }
}
