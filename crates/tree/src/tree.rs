//! The tree: its parts, what readers ask of it, and the few steps that all changes are made of.

use std::collections::BTreeMap;

use gk_proto::path::{CONFIG, QUOTA_ROOT, RESERVED};
use gk_proto::stat::{Owner, OwnerRules, StatPersisted};
use gk_proto::{SessionId, Zxid, acl, digest, path};

use crate::acls::{AclIndex, AclTable};
use crate::checksum::{checksum, prefix_crc};
use crate::dead::INLINE_DELETES_MAX;
use crate::index::{PathHash, PathIndex};
use crate::node::{Node, NodeId, NodeSeed};
use crate::node_ref::NodeRef;
use crate::owners::Owners;
use crate::quota::Quotas;
use crate::slab::Slab;
use crate::view::View;

/// What may differ between trees of the same history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeOptions {
    /// How stored owners are read.
    pub owner_rules: OwnerRules,
    /// Key of the path hash: keeps clients from choosing paths that collide. Nothing that leaves the tree depends on
    /// it.
    pub hash_key: u64,
    /// Whether Apache's tree digest is kept.
    pub digest: bool,
}

/// The znodes, the sessions, and the zxid of the last txn applied to them.
///
/// - every node but the root is in `index` under the hash of its path, and in its parent's child list at its place;
/// - `digest` is the sum of the checksums of all nodes that count, 0 in a tree without digest;
/// - `path_and_data_bytes` is the sum over all nodes, the root's path being empty;
/// - `acls` and `owners` know exactly the nodes in `slab`, `quotas` the limits nodes among them.
///
/// [`Tree::check_invariants`] asserts them.
pub struct Tree {
    options: TreeOptions,
    pub(crate) slab: Slab<Node>,
    pub(crate) index: PathIndex,
    pub(crate) acls: AclTable,
    pub(crate) owners: Owners,
    pub(crate) quotas: Quotas,
    pub(crate) sessions: BTreeMap<SessionId, i32>,
    pub(crate) last_zxid: Zxid,
    pub(crate) digest: u64,
    pub(crate) path_and_data_bytes: u64,
    pub(crate) view: Option<Box<View>>,
    pub(crate) inline_deletes_max: usize,
}

impl Tree {
    /// An empty tree: the root, `/zookeeper`, `/zookeeper/quota` and `/zookeeper/config`.
    pub fn new(options: TreeOptions) -> Self {
        let mut tree = Self {
            options,
            slab: Slab::new(),
            index: PathIndex::new(options.hash_key, SHARD_BITS),
            acls: AclTable::new(),
            owners: Owners::default(),
            quotas: Quotas::default(),
            sessions: BTreeMap::new(),
            last_zxid: Zxid::ZERO,
            digest: 0,
            path_and_data_bytes: 0,
            view: None,
            inline_deletes_max: INLINE_DELETES_MAX,
        };
        let stat = StatPersisted::default();
        let acl = AclIndex::BUILT_IN;
        let mut add = |parent, path, acl, stat| tree.insert(parent, path, Some(b""), acl, stat);
        let made = [
            add(NodeId::ROOT, "/", acl, stat),
            add(NodeId::ROOT, RESERVED, acl, stat),
            add(NodeId::RESERVED, QUOTA_ROOT, acl, stat),
            add(NodeId::RESERVED, CONFIG, acl, StatPersisted { aversion: -1, ..stat }),
        ];
        assert_eq!(made, [NodeId::ROOT, NodeId::RESERVED, NodeId::QUOTA, NodeId::CONFIG], "built-in nodes come first");
        let read_only = tree.acls.acquire(&acl::read_only());
        tree.node_mut(NodeId::CONFIG).acl = read_only;
        tree
    }

    /// As it was made.
    pub fn options(&self) -> TreeOptions {
        self.options
    }

    /// The last txn applied.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Apache's tree digest. `None` while nodes of a dead owner are still being removed, and in a tree without digest.
    pub fn digest(&self) -> Option<u64> {
        (self.options.digest && !self.is_sweeping()).then_some(self.digest)
    }

    /// Nodes as ZooKeeper counts them: the root twice, as it has two names in its table. 5 in an empty tree.
    pub fn node_count(&self) -> usize {
        self.slab.len() - self.owners.dead_count() + 1
    }

    /// Ephemeral nodes.
    pub fn ephemeral_count(&self) -> usize {
        self.owners.ephemeral_count()
    }

    /// Bytes of paths and data as ZooKeeper counts them, the root under both of its names. 44 in an empty tree.
    pub fn approximate_data_size(&self) -> u64 {
        let root_again = 1 + bytes(self.node(NodeId::ROOT).data_length());
        self.path_and_data_bytes + root_again
    }

    /// The timeout of a session in milliseconds, if it exists.
    pub fn session_timeout(&self, session: SessionId) -> Option<i32> {
        self.sessions.get(&session).copied()
    }

    /// Sessions and their timeouts in milliseconds, by ascending id.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, i32)> + '_ {
        self.sessions.iter().map(|(&session, &timeout_ms)| (session, timeout_ms))
    }

    /// Number of sessions.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The node of a path; both `""` and `/` are the root. A node whose owner is dead is not found.
    pub fn find(&self, path: &str) -> Option<NodeRef<'_>> {
        self.live_id(path).map(|id| NodeRef::new(self, id))
    }

    /// Paths of a session's ephemeral nodes. The order depends on the history only.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = String> + '_ {
        self.owners.of(session).into_iter().flat_map(|owned| &owned.nodes).map(|&id| self.path_of(id))
    }

    /// Number of a session's ephemeral nodes.
    pub fn ephemeral_count_of(&self, session: SessionId) -> usize {
        self.owners.of(session).map_or(0, |owned| owned.nodes.len())
    }

    /// Sessions that own ephemeral nodes, by ascending id.
    pub fn sessions_with_ephemerals(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.owners.sessions()
    }
}

/// Finding nodes.
impl Tree {
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        self.slab.get(id.0).expect("INVARIANT: ids are taken from the tables, which hold live nodes only")
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.slab.get_mut(id.0).expect("INVARIANT: ids are taken from the tables, which hold live nodes only")
    }

    /// The node of a path unless its owner is dead.
    pub(crate) fn live_id(&self, path: &str) -> Option<NodeId> {
        let id = self.any_id(path)?;
        (!self.is_sweeping() || !self.is_gone(self.node(id))).then_some(id)
    }

    /// The node of a path, dead owner or not.
    pub(crate) fn any_id(&self, path: &str) -> Option<NodeId> {
        if matches!(path, "" | "/") {
            return Some(NodeId::ROOT);
        }
        let hash = self.index.hash(path);
        self.index.find(hash, |id| self.has_path(NodeId(id), hash, path)).map(NodeId)
    }

    fn has_path(&self, id: NodeId, hash: PathHash, path: &str) -> bool {
        let mut node = self.node(id);
        if node.hash != hash {
            return false;
        }
        let mut at = id;
        let mut rest = path.as_bytes();
        while at != NodeId::ROOT {
            let Some(head) = rest.strip_suffix(node.name()).and_then(|head| head.strip_suffix(b"/")) else {
                return false;
            };
            rest = head;
            at = node.parent;
            node = self.node(at);
        }
        rest.is_empty()
    }

    pub(crate) fn owner_of(&self, node: &Node) -> Owner {
        Owner::from_stored(node.ephemeral_owner(), self.options.owner_rules)
    }

    /// Whether its owner is dead, so that readers must not see it.
    pub(crate) fn is_gone(&self, node: &Node) -> bool {
        match self.owner_of(node) {
            Owner::Session(session) => self.owners.is_dead(session),
            Owner::Persistent | Owner::Container | Owner::Ttl(_) => false,
        }
    }

    /// The path of a node, `/` for the root.
    pub(crate) fn path_of(&self, id: NodeId) -> String {
        let mut out = Vec::new();
        self.put_path(id, &mut out);
        if out.is_empty() {
            out.push(b'/');
        }
        String::from_utf8(out).expect("INVARIANT: names are cut from paths, which are text, at their slashes")
    }

    /// Appends the path of a node; nothing for the root.
    pub(crate) fn put_path(&self, id: NodeId, out: &mut Vec<u8>) {
        let names = move |id| {
            let chain = std::iter::successors(Some(id), move |&at| Some(self.node(at).parent));
            chain.take_while(|&at| at != NodeId::ROOT).map(move |at| self.node(at).name())
        };
        let length: usize = names(id).map(|name| name.len() + 1).sum();
        let start = out.len();
        out.resize(start + length, b'/');
        let mut end = out.len();
        for name in names(id) {
            out[end - name.len()..end].copy_from_slice(name);
            end -= name.len() + 1;
        }
    }

    /// A node and all below it, each before its children, nodes of dead owners among them.
    pub(crate) fn subtree(&self, top: NodeId) -> impl Iterator<Item = NodeId> {
        let mut left = vec![top];
        std::iter::from_fn(move || {
            let id = left.pop()?;
            left.extend(self.node(id).children());
            Some(id)
        })
    }
}

/// The steps that changes are made of. Each keeps the tables, the digest and a running view right.
impl Tree {
    /// Adds a node below `parent`, where none of that name is. Its stat and the parent's are the caller's business.
    pub(crate) fn insert(
        &mut self,
        parent: NodeId,
        path: &str,
        data: Option<&[u8]>,
        acl: AclIndex,
        stat: StatPersisted,
    ) -> NodeId {
        let name = path::split(path).map_or("", |(_, name)| name);
        let seed = NodeSeed { name: name.as_bytes(), data, stat, acl, reserved: !digest::counts(path) };
        let hash = self.index.hash(path);
        let crc = if self.options.digest { prefix_crc(path, data) } else { 0 };
        let node = Node::new(&seed, parent, hash, crc);
        let owner = self.owner_of(&node);
        let id = NodeId(self.slab.insert(node));
        if let Some(view) = &mut self.view {
            view.skip_new(id);
        }
        if id != NodeId::ROOT {
            let place = self.node_mut(parent).push_child(id);
            self.node_mut(id).place = place;
            let slab = &self.slab;
            self.index.insert(hash, id.0, |id| slab.get(id).map_or(PathHash::NONE, |node| node.hash));
        }
        self.owners.add(owner, id, parent);
        self.path_and_data_bytes += bytes(path_length(path) + data.map_or(0, <[u8]>::len));
        self.digest_add(id);
        id
    }

    /// Removes a node that has no children. The parent's stat is the caller's business.
    pub(crate) fn remove(&mut self, id: NodeId, path: &str) {
        self.preserve(id);
        self.digest_subtract(id);
        let node = self.slab.remove(id.0);
        assert!(node.children().is_empty(), "removing {path}, which has {} children", node.children().len());
        let moved = self.node_mut(node.parent).remove_child(node.place);
        if let Some(moved) = moved {
            self.node_mut(moved).place = node.place;
        }
        let was_there = self.index.remove(node.hash, id.0);
        assert!(was_there, "{path} was in no index");
        self.owners.remove(self.owner_of(&node), id, node.parent);
        self.acls.release(node.acl);
        self.path_and_data_bytes -= bytes(path_length(path) + node.data_length());
        self.quota_deleted(path, node.data_length());
    }

    /// Replaces the data of a node, and in its stat what `stamp` does.
    pub(crate) fn put_data(&mut self, id: NodeId, path: &str, data: Option<&[u8]>, stamp: impl FnOnce(&mut Node)) {
        let crc = if self.options.digest { prefix_crc(path, data) } else { 0 };
        let before = bytes(self.node(id).data_length());
        self.edit(id, |node| {
            node.set_data(data);
            node.prefix_crc = crc;
            stamp(node);
        });
        self.path_and_data_bytes = self.path_and_data_bytes - before + bytes(data.map_or(0, <[u8]>::len));
    }

    /// Changes what a node's record says.
    pub(crate) fn edit<T>(&mut self, id: NodeId, change: impl FnOnce(&mut Node) -> T) -> T {
        self.preserve(id);
        self.digest_subtract(id);
        let result = change(self.node_mut(id));
        self.digest_add(id);
        result
    }

    fn digest_add(&mut self, id: NodeId) {
        self.digest = self.digest.wrapping_add(self.checksum_of(id));
    }

    fn digest_subtract(&mut self, id: NodeId) {
        self.digest = self.digest.wrapping_sub(self.checksum_of(id));
    }

    /// What a node adds to the tree digest.
    pub(crate) fn checksum_of(&self, id: NodeId) -> u64 {
        let node = self.node(id);
        if !self.options.digest || node.is_reserved() { 0 } else { checksum(node.prefix_crc, &node.stat()) }
    }
}

/// Whether a path is its parent's, a slash and a name: what the table can hold. All valid paths are, `//a` is not.
pub(crate) fn is_joined(path: &str) -> bool {
    path::split(path)
        .is_some_and(|(parent, name)| !name.is_empty() && path_length(parent) + 1 + name.len() == path.len())
}

/// Bytes of a path where the root's is empty.
pub(crate) fn path_length(path: &str) -> usize {
    if path == "/" { 0 } else { path.len() }
}

/// A length as a sum's term.
pub(crate) fn bytes(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// 4096 shards: 128 KB while empty, and growing one of them in a tree of 10 million nodes moves 2,500 numbers.
/// A fuzzer, which makes a tree for every input, has few.
const SHARD_BITS: u32 = if cfg!(fuzzing) { 4 } else { 12 };
