//! What must hold of a whole tree, checked from outside the code that keeps it so.

use std::collections::{BTreeMap, BTreeSet};

use gk_proto::path::{LIMITS, QUOTA_ROOT};
use gk_proto::stat::Owner;
use gk_proto::{digest, path};

use crate::acls::AclIndex;
use crate::checksum::{checksum, prefix_crc};
use crate::node::{Node, NodeId};
use crate::tree::{Tree, bytes, path_length};

impl Tree {
    /// Asserts every invariant, in time proportional to the tree: for tests and the simulator.
    pub fn check_invariants(&self) {
        let mut totals = Totals::default();
        for (id, node) in self.slab.iter() {
            self.check_node(NodeId(id), node, &mut totals);
        }
        let reached = self.subtree(NodeId::ROOT).count();
        assert_eq!(reached, self.slab.len(), "nodes below the root, and in the slab");
        assert_eq!(self.index.len() + 1, self.slab.len(), "every node but the root is in the index");
        assert_eq!(self.digest, totals.digest, "sum of the checksums");
        assert_eq!(self.path_and_data_bytes, totals.bytes, "sum of the lengths");
        assert_eq!(self.acls.users(), totals.acl_users, "users of the ACLs");
        assert_eq!(self.owners.reapable(), &totals.reapable, "container and TTL nodes");
        assert_eq!(self.quota_paths(), &totals.quota_paths, "paths with limits");
        let ephemerals = self.owners.ephemeral_count() + self.owners.dead_count();
        assert_eq!(ephemerals, totals.ephemerals, "ephemeral nodes");
        self.owners.check_invariants();
    }

    fn check_node(&self, id: NodeId, node: &Node, totals: &mut Totals) {
        let path = self.path_of(id);
        assert_eq!(self.any_id(&path), Some(id), "{path} leads to its node");
        if id != NodeId::ROOT {
            let place = usize::try_from(node.place).unwrap_or(usize::MAX);
            let at_place = self.node(node.parent).children().get(place);
            assert_eq!(at_place, Some(&id), "{path} is at its place among its parent's children");
        }
        let counts = digest::counts(&path);
        assert_eq!(node.is_reserved(), !counts, "{path} knows whether it counts");
        let crc = if self.options().digest { prefix_crc(&path, node.data()) } else { 0 };
        assert_eq!(node.prefix_crc, crc, "checksum of path and data of {path}");
        if self.options().digest && counts {
            totals.digest = totals.digest.wrapping_add(checksum(crc, &node.stat()));
        }
        totals.bytes += bytes(path_length(&path) + node.data_length());
        if node.acl != AclIndex::BUILT_IN {
            *totals.acl_users.entry(node.acl).or_default() += 1;
        }
        match self.owner_of(node) {
            Owner::Persistent => {}
            Owner::Container | Owner::Ttl(_) => {
                totals.reapable.insert(id);
            }
            Owner::Session(session) => {
                totals.ephemerals += 1;
                let dead = self.owners.dead().iter().find(|dead| dead.session == session).map(|dead| &dead.owned);
                let owned = self.owners.of(session).or(dead);
                assert!(owned.is_some_and(|owned| owned.nodes.contains(&id)), "{path} is known to its owner {session}");
            }
        }
        if node.name() == LIMITS.as_bytes()
            && let Some(on) = path::parent(&path).and_then(|parent| parent.strip_prefix(QUOTA_ROOT))
            && on.starts_with('/')
        {
            totals.quota_paths.insert(on.to_owned());
        }
    }
}

#[derive(Default)]
struct Totals {
    digest: u64,
    bytes: u64,
    ephemerals: usize,
    acl_users: BTreeMap<AclIndex, u64>,
    reapable: BTreeSet<NodeId>,
    quota_paths: BTreeSet<String>,
}
