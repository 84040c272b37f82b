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
    /// `age` is the milliseconds since a time of the wall clock, and `never_used_ms` how long a container that never had a child may stay; 0 is for ever.
    pub fn reap_candidates(
        &self,
        age: &impl Fn(WallTime) -> i64,
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
            if is_due(node, age, never_used_ms) {
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

fn is_due(node: NodeRef<'_>, age: &impl Fn(WallTime) -> i64, never_used_ms: i64) -> bool {
    if node.child_count() > 0 {
        return false;
    }
    let stat = node.persisted();
    let idle_ms = age(stat.mtime);
    match node.owner() {
        Owner::Container if stat.cversion > 0 => true,
        Owner::Container => never_used_ms > 0 && idle_ms > never_used_ms,
        Owner::Ttl(ttl_ms) => idle_ms > ttl_ms,
        Owner::Persistent | Owner::Session(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use gk_proto::txn::CreateKind;

    use super::*;
    use crate::testing::{Bench, create, create_kind, delete, set_data};

    fn due(bench: &Bench, now: i64, never_used_ms: i64) -> Vec<String> {
        let (mut cursor, mut out) = (ReapCursor::default(), Vec::new());
        let age = |stamp: WallTime| now - stamp.0;
        while bench.tree.reap_candidates(&age, never_used_ms, &mut cursor, 1, &mut out) {}
        assert_eq!(cursor, ReapCursor::default(), "back at the start");
        out
    }

    #[test]
    fn containers_go_once_emptied() {
        let mut bench = Bench::new();
        for path in ["/used", "/unused", "/full"] {
            bench.apply(&create_kind(path, CreateKind::Container));
        }
        for path in ["/used/child", "/full/child"] {
            bench.apply(&create(path));
        }
        assert!(due(&bench, 1_000_000, 0).is_empty(), "a container that never had a child stays");
        bench.apply(&delete("/used/child"));
        assert_eq!(due(&bench, 1_000_000, 0), ["/used"], "emptied");
        assert_eq!(due(&bench, 2_000 + 500, 500), ["/used"], "unused, but not for long enough");
        assert_eq!(due(&bench, 2_000 + 501, 500), ["/used", "/unused"], "unused for too long");
    }

    #[test]
    fn ttl_nodes_go_when_old_and_empty() {
        let mut bench = Bench::new();
        for path in ["/old", "/refreshed", "/parent"] {
            bench.apply(&create_kind(path, CreateKind::Ttl(10_000)));
        }
        bench.apply(&create("/parent/child"));
        assert!(due(&bench, 11_000, 0).is_empty(), "exactly the time to live is not yet too old");
        bench.apply(&set_data("/refreshed", "", 1));
        assert_eq!(due(&bench, 14_000, 0), ["/old"], "setData refreshes, a child protects");
        bench.apply(&delete("/parent/child"));
        assert_eq!(due(&bench, 1_000_000, 0), ["/old", "/refreshed", "/parent"], "a child's comings and goings do not");
    }
}
