//! The ACL table: nodes hold an index, equal lists are held once and counted.

use std::collections::BTreeMap;

use gk_proto::acl::{self, Acl, AclList, Id};

/// Place of a list in the table, and its id in snapshots (storage-format: positive, arbitrary).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct AclIndex(u32);

impl AclIndex {
    /// The open ACL of the built-in nodes, which no snapshot lists (`ReferenceCountedACLCache.OPEN_UNSAFE_ACL_ID`).
    pub(crate) const BUILT_IN: Self = Self(0);

    /// As snapshots have it.
    pub(crate) fn snapshot_id(self) -> i64 {
        if self == Self::BUILT_IN { BUILT_IN_ID } else { i64::from(self.0) }
    }

    fn place(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The snapshot id of [`AclIndex::BUILT_IN`].
pub(crate) const BUILT_IN_ID: i64 = -1;

/// A list that matches nobody, for a node whose own is lost: only super gets at it.
pub(crate) fn nobody() -> AclList {
    vec![Acl { perms: 0, id: Id::new("world", "anyone") }].into()
}

/// All lists in use.
///
/// - `by_list` and `entries` agree; [`AclIndex::BUILT_IN`] is in `entries` only and is not counted.
/// - `users` of an entry is the number of nodes with its index; without users it goes.
pub(crate) struct AclTable {
    entries: Vec<Option<Entry>>,
    by_list: BTreeMap<AclList, AclIndex>,
    free: Vec<AclIndex>,
}

struct Entry {
    list: AclList,
    users: u64,
}

impl AclTable {
    pub(crate) fn new() -> Self {
        let built_in = Entry { list: acl::open(), users: 0 };
        Self { entries: vec![Some(built_in)], by_list: BTreeMap::new(), free: Vec::new() }
    }

    /// The index of a list, with one more user.
    pub(crate) fn acquire(&mut self, list: &AclList) -> AclIndex {
        if let Some(&index) = self.by_list.get(list) {
            self.retain(index);
            return index;
        }
        let entry = Some(Entry { list: list.clone(), users: 1 });
        let index = match self.free.pop() {
            Some(index) => {
                *self.slot(index) = entry;
                index
            }
            None => {
                self.entries.push(entry);
                let place = u32::try_from(self.entries.len() - 1);
                AclIndex(place.expect("INVARIANT: every entry has a user, and there are at most u32::MAX nodes"))
            }
        };
        self.by_list.insert(list.clone(), index);
        index
    }

    /// One more user of an index that has some.
    pub(crate) fn retain(&mut self, index: AclIndex) {
        if index != AclIndex::BUILT_IN {
            self.entry_mut(index).users += 1;
        }
    }

    /// One user less; the last one takes the list with it.
    pub(crate) fn release(&mut self, index: AclIndex) {
        if index == AclIndex::BUILT_IN {
            return;
        }
        let entry = self.entry_mut(index);
        entry.users -= 1;
        if entry.users == 0 {
            let gone = self.slot(index).take().expect("INVARIANT: the entry was there a line ago");
            self.by_list.remove(&gone.list);
            self.free.push(index);
        }
    }

    pub(crate) fn list(&self, index: AclIndex) -> &AclList {
        let entry = self.entries.get(index.place()).and_then(Option::as_ref);
        &entry.expect("INVARIANT: a node's index has a user, that node, so its entry is there").list
    }

    /// What a snapshot lists, by ascending id.
    pub(crate) fn table(&self) -> Vec<(i64, AclList)> {
        let indexed = (0..).map(AclIndex).zip(&self.entries).skip(1);
        indexed.filter_map(|(index, entry)| Some((index.snapshot_id(), entry.as_ref()?.list.clone()))).collect()
    }

    /// Users by index, for checking them against the nodes.
    pub(crate) fn users(&self) -> BTreeMap<AclIndex, u64> {
        assert_eq!(
            self.by_list.len() + self.free.len() + 1,
            self.entries.len(),
            "each place is built in, used or free"
        );
        self.by_list
            .values()
            .map(|&index| (index, self.entries[index.place()].as_ref().map_or(0, |e| e.users)))
            .collect()
    }

    fn entry_mut(&mut self, index: AclIndex) -> &mut Entry {
        self.slot(index).as_mut().expect("INVARIANT: an index that is counted up or down has a user")
    }

    fn slot(&mut self, index: AclIndex) -> &mut Option<Entry> {
        self.entries.get_mut(index.place()).expect("INVARIANT: indexes come from acquire, and entries never shrink")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_share_an_index_until_the_last_user_goes() {
        let mut table = AclTable::new();
        let first = table.acquire(&acl::open());
        assert_eq!(table.acquire(&acl::open()), first, "equal");
        assert_ne!(first, AclIndex::BUILT_IN, "what clients set is listed, even where it equals the built-in one");
        let second = table.acquire(&acl::read_only());
        assert_eq!(table.table(), [(1, acl::open()), (2, acl::read_only())], "ids from 1");
        table.release(first);
        table.release(second);
        assert_eq!(table.table(), [(1, acl::open())], "one user left");
        assert_eq!(table.acquire(&nobody()).snapshot_id(), 2, "its id is free again");
        assert_eq!(AclIndex::BUILT_IN.snapshot_id(), -1, "the built-in one");
        assert_eq!(table.list(AclIndex::BUILT_IN), &acl::open(), "is open");
    }
}
