//! The record of one node, packed: with 500,000 nodes every byte here is half a megabyte.

use gk_proto::stat::StatPersisted;
use gk_proto::{WallTime, Zxid};

use crate::acls::AclIndex;
use crate::index::PathHash;

/// Number of a node's slot. Slots are used again: never keep one across a write without knowing that its node lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct NodeId(pub(crate) u32);

impl NodeId {
    /// `/`
    pub(crate) const ROOT: Self = Self(0);
    /// `/zookeeper`
    pub(crate) const RESERVED: Self = Self(1);
    /// `/zookeeper/quota`
    pub(crate) const QUOTA: Self = Self(2);
    /// `/zookeeper/config`
    pub(crate) const CONFIG: Self = Self(3);
}

/// A node.
///
/// - `blob` is the name, then 8 bytes of stored owner if `OWNED`, then the data.
/// - `parent`'s child `place` is this node; the root is its own parent and in no child list.
/// - `hash` is that of the whole path, `prefix_crc` covers path and data (0 in a tree without digest).
#[derive(Debug)]
pub(crate) struct Node {
    czxid: Zxid,
    mzxid: Zxid,
    pub(crate) pzxid: Zxid,
    ctime: WallTime,
    mtime: WallTime,
    blob: Box<[u8]>,
    children: Option<Box<Children>>,
    version: i32,
    pub(crate) cversion: i32,
    aversion: i32,
    name_length_and_flags: u32,
    pub(crate) prefix_crc: u32,
    pub(crate) hash: PathHash,
    pub(crate) acl: AclIndex,
    pub(crate) parent: NodeId,
    pub(crate) place: u32,
}

#[derive(Debug)]
struct Children(Vec<NodeId>);

/// What a node is made of, apart from its place in the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeSeed<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) data: Option<&'a [u8]>,
    pub(crate) stat: StatPersisted,
    pub(crate) acl: AclIndex,
    /// Below `/zookeeper/`: not in the tree digest.
    pub(crate) reserved: bool,
}

impl Node {
    pub(crate) fn new(seed: &NodeSeed<'_>, parent: NodeId, hash: PathHash, prefix_crc: u32) -> Self {
        let stat = &seed.stat;
        let name_length = u32::try_from(seed.name.len()).unwrap_or(u32::MAX);
        assert!(name_length <= NAME_LENGTH, "name of {name_length} bytes: frames and files are smaller");
        let owned = if stat.ephemeral_owner == 0 { 0 } else { OWNED };
        let reserved = if seed.reserved { RESERVED } else { 0 };
        let null = if seed.data.is_none() { NULL } else { 0 };
        Self {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            pzxid: stat.pzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            blob: blob(seed.name, stat.ephemeral_owner, seed.data),
            children: None,
            version: stat.version,
            cversion: stat.cversion,
            aversion: stat.aversion,
            name_length_and_flags: name_length | owned | reserved | null,
            prefix_crc,
            hash,
            acl: seed.acl,
            parent,
            place: 0,
        }
    }

    /// Last component of the path.
    pub(crate) fn name(&self) -> &[u8] {
        self.blob.get(..self.name_length()).unwrap_or_default()
    }

    /// The same as text.
    pub(crate) fn name_text(&self) -> &str {
        std::str::from_utf8(self.name()).expect("INVARIANT: a name is cut from a path, which is text, at its slashes")
    }

    pub(crate) fn data(&self) -> Option<&[u8]> {
        if self.has(NULL) { None } else { self.blob.get(self.data_start()..) }
    }

    pub(crate) fn data_length(&self) -> usize {
        self.blob.len() - self.data_start()
    }

    /// As stored: see [`Owner`](gk_proto::stat::Owner).
    pub(crate) fn ephemeral_owner(&self) -> i64 {
        let tail = self.blob.get(self.name_length()..).and_then(|tail| tail.first_chunk());
        match tail {
            Some(bytes) if self.has(OWNED) => i64::from_be_bytes(*bytes),
            _ => 0,
        }
    }

    /// Whether it is anything but a plain persistent node.
    pub(crate) fn is_owned(&self) -> bool {
        self.has(OWNED)
    }

    /// Whether the tree digest leaves it out.
    pub(crate) fn is_reserved(&self) -> bool {
        self.has(RESERVED)
    }

    pub(crate) fn stat(&self) -> StatPersisted {
        StatPersisted {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion,
            aversion: self.aversion,
            ephemeral_owner: self.ephemeral_owner(),
            pzxid: self.pzxid,
        }
    }

    pub(crate) fn children(&self) -> &[NodeId] {
        self.children.as_ref().map_or(&[], |children| &children.0)
    }

    /// Replaces the data and nothing else.
    pub(crate) fn set_data(&mut self, data: Option<&[u8]>) {
        let start = self.data_start();
        let bytes = data.unwrap_or_default();
        match self.blob.get_mut(start..) {
            Some(old) if old.len() == bytes.len() => old.copy_from_slice(bytes),
            _ => self.blob = blob(self.name(), self.ephemeral_owner(), data),
        }
        match data {
            None => self.name_length_and_flags |= NULL,
            Some(_) => self.name_length_and_flags &= !NULL,
        }
    }

    /// What setData leaves in the stat.
    pub(crate) fn stamp_data(&mut self, version: i32, zxid: Zxid, time: WallTime) {
        self.version = version;
        self.mzxid = zxid;
        self.mtime = time;
    }

    /// Replaces the ACL; the old one is the caller's to release.
    pub(crate) fn set_acl(&mut self, acl: AclIndex, version: i32) -> AclIndex {
        self.aversion = version;
        std::mem::replace(&mut self.acl, acl)
    }

    /// Takes ACL and stat from a snapshot, but for the owner, which must be none; returns the old ACL.
    pub(crate) fn restore(&mut self, stat: &StatPersisted, acl: AclIndex) -> AclIndex {
        assert!(!self.is_owned() && stat.ephemeral_owner == 0, "a built-in node has no owner: {stat:?}");
        self.stamp_data(stat.version, stat.mzxid, stat.mtime);
        self.czxid = stat.czxid;
        self.ctime = stat.ctime;
        self.pzxid = stat.pzxid;
        self.cversion = stat.cversion;
        self.set_acl(acl, stat.aversion)
    }

    /// Appends a child and returns its place.
    pub(crate) fn push_child(&mut self, child: NodeId) -> u32 {
        let children = &mut self.children.get_or_insert_with(|| Box::new(Children(Vec::new()))).0;
        children.push(child);
        u32::try_from(children.len() - 1).expect("INVARIANT: there are at most u32::MAX nodes")
    }

    /// Removes the child at a place; whoever was last has that place now and is returned.
    pub(crate) fn remove_child(&mut self, place: u32) -> Option<NodeId> {
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let children = &mut self.children.as_mut().expect("INVARIANT: only a child is removed, so there is one").0;
        children.swap_remove(place);
        let moved = children.get(place).copied();
        if children.is_empty() {
            self.children = None;
        } else if children.len() < children.capacity() / 4 {
            children.shrink_to(children.capacity() / 2);
        }
        moved
    }

    fn has(&self, flag: u32) -> bool {
        self.name_length_and_flags & flag != 0
    }

    fn name_length(&self) -> usize {
        usize::try_from(self.name_length_and_flags & NAME_LENGTH).unwrap_or(usize::MAX)
    }

    fn data_start(&self) -> usize {
        self.name_length() + if self.has(OWNED) { size_of::<i64>() } else { 0 }
    }
}

fn blob(name: &[u8], ephemeral_owner: i64, data: Option<&[u8]>) -> Box<[u8]> {
    let owner = ephemeral_owner.to_be_bytes();
    let owner = if ephemeral_owner == 0 { &[][..] } else { &owner[..] };
    [name, owner, data.unwrap_or_default()].concat().into_boxed_slice()
}

const NAME_LENGTH: u32 = (1 << 29) - 1;
/// The data is null, not empty.
const NULL: u32 = 1 << 31;
/// The stored owner is not 0 and stands in the blob.
const OWNED: u32 = 1 << 30;
const RESERVED: u32 = 1 << 29;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(data: Option<&[u8]>, ephemeral_owner: i64) -> Node {
        let stat = StatPersisted { ephemeral_owner, ..StatPersisted::default() };
        let seed = NodeSeed { name: b"name", data, stat, acl: AclIndex::BUILT_IN, reserved: false };
        Node::new(&seed, NodeId::ROOT, PathHash::NONE, 0)
    }

    #[test]
    fn a_node_is_104_bytes() {
        assert_eq!(size_of::<Option<Node>>(), 104, "the memory budget counts on it");
    }

    #[test]
    fn name_owner_and_data_share_the_blob() {
        for owner in [0, 5, -1] {
            for data in [None, Some(&b""[..]), Some(b"data")] {
                let mut node = node(data, owner);
                for other in [Some(&b"longer data"[..]), None, Some(b""), Some(b"same"), Some(b"size")] {
                    assert_eq!((node.name(), node.ephemeral_owner()), (&b"name"[..], owner), "unchanged by data");
                    node.set_data(other);
                    assert_eq!(node.data(), other, "as set");
                    assert_eq!(node.data_length(), other.map_or(0, <[u8]>::len), "length");
                }
            }
        }
    }

    #[test]
    fn a_removed_child_gives_its_place_to_the_last() {
        let mut node = node(None, 0);
        let places: Vec<u32> = (10..13).map(|id| node.push_child(NodeId(id))).collect();
        assert_eq!(places, [0, 1, 2], "in order");
        assert_eq!(node.remove_child(0), Some(NodeId(12)), "the last moves");
        assert_eq!(node.remove_child(1), None, "the last itself");
        assert_eq!(node.remove_child(0), None, "the only one");
        assert!(node.children().is_empty(), "none left");
    }
}
