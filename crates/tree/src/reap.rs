//! Which container and TTL nodes are to be deleted (`ContainerManager.getCandidates`).
//!
//! Not done here: deleting them, which takes a txn and a second look.

use std::ops::Bound;

use gk_proto::WallTime;
use gk_proto::stat::Owner;

use crate::node::NodeId;
use crate::node_ref::NodeRef;
use crate::tree::Tree;

/// Where a scan for nodes to reap goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReapCursor {
    last: Option<NodeId>,
}

impl Tree {
    /// Looks at up to `budget` container and TTL nodes and appends the paths of those to delete. True while there are
    /// more to look at; the cursor is back at the start when it returns false.
    ///
    /// `never_used_ms` is how long a container that never had a child may stay; 0 is for ever.
    pub fn reap_candidates(
        &self,
        now: WallTime,
        never_used_ms: i64,
        cursor: &mut ReapCursor,
        budget: usize,
        out: &mut Vec<String>,
    ) -> bool {
        let start = cursor.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.owners.reapable().range((start, Bound::Unbounded));
        for &id in rest.by_ref().take(budget) {
            cursor.last = Some(id);
            let node = NodeRef::new(self, id);
            if is_due(node, now, never_used_ms) {
                out.push(node.path());
            }
        }
        let more = rest.next().is_some();
        if !more {
            cursor.last = None;
        }
        more
    }
}

fn is_due(node: NodeRef<'_>, now: WallTime, never_used_ms: i64) -> bool {
    if node.child_count() > 0 {
        return false;
    }
    let stat = node.persisted();
    let idle_ms = now.0.saturating_sub(stat.mtime.0);
    match node.owner() {
        Owner::Container if stat.cversion > 0 => true,
        Owner::Container => never_used_ms > 0 && idle_ms > never_used_ms,
        Owner::Ttl(ttl_ms) => idle_ms > ttl_ms,
        Owner::Persistent | Owner::Session(_) => false,
    }
}
