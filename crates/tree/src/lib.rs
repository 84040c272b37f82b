//! The data tree: znodes, ACLs, quotas, sessions as applied state, what a txn does to them, and who watches them.
//!
//! Knows nothing of connections, requests, rights, agreement or files. Reads no clock, takes no lock: whoever shares a
//! [`Tree`] guards it, and hands each [`Change`] of [`Tree::apply`] to [`Watches`] under the same guard.
//!
//! A tree is a function of the txns applied to it. What goes beyond that is told apart in [`TreeOptions`].
//!
//! Read in this order:
//! - `slab`, `node`, `index`, `acls`: where nodes are, what one holds, how a path finds it, shared ACL lists
//! - `tree`, `node_ref`: the whole, what readers ask, and the few steps that all changes are made of
//! - `checksum`: Apache's digest of a tree
//! - `change`, `apply`: what each txn does and what it tells the world
//! - `owners`, `dead`, `reap`: ephemeral nodes and the end of their session; containers and TTL nodes
//! - `quota`: limits and usage of subtrees
//! - `view`, `builder`: a tree out to a snapshot while writes go on, and in again
//! - `watches`: watch tables, kept apart from the tree so that they can have a lock of their own
//! - `invariants`: what must hold, checked from outside

mod slab;
/// Does a change to the tree; if the bug is planted, behind the back of the view that is being read.
#[cfg(gk_planted_bugs)]
macro_rules! seen_by_view {
    (unless $bug:ident, $tree:ident, $change:expr) => {{
        let view = if gk_proto::planted!($bug) { $tree.view.take() } else { None };
        let result = $change;
        if gk_proto::planted!($bug) {
            $tree.view = view;
        }
        result
    }};
}
#[cfg(not(gk_planted_bugs))]
macro_rules! seen_by_view {
    (unless $bug:ident, $tree:ident, $change:expr) => {
        $change
    };
}

mod node;
mod index;
mod acls;
mod tree;
mod node_ref;
mod checksum;
mod change;
mod apply;
mod owners;
mod dead;
mod reap;
mod quota;
mod view;
mod builder;
mod watches;
mod invariants;
#[cfg(test)]
mod testing;

pub use builder::{BuildError, TreeBuilder};
pub use change::{Change, ChangeSink, Outcome};
pub use checksum::{checksum, prefix_crc};
pub use dead::DeadOwner;
pub use node_ref::NodeRef;
pub use quota::{Quota, QuotaLimits, QuotaUsage};
pub use reap::ReapCursor;
pub use tree::{Tree, TreeOptions};
pub use view::{ViewCursor, ViewHead, ViewRemains, ViewStatus};
pub use watches::{WatchKind, WatchSummary, Watches};
