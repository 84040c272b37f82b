//! The data tree: znodes, ACLs, quotas, sessions as applied state, watches, and what a txn does to them.
#![expect(clippy::todo, reason = "signatures first, bodies in the next commit")]

mod tree;
mod node_ref;
mod quota;
mod checksum;
mod change;
mod dead;
mod view;
mod builder;
mod watches;

pub use builder::{BuildError, TreeBuilder};
pub use change::{Change, ChangeSink, Outcome};
pub use checksum::{checksum, prefix_crc};
pub use dead::DeadOwner;
pub use node_ref::NodeRef;
pub use quota::{Quota, QuotaLimits, QuotaUsage};
pub use tree::{ReapCursor, Tree, TreeOptions};
pub use view::{ViewCursor, ViewHead, ViewRemains, ViewStatus};
pub use watches::{WatchKind, WatchSummary, Watches};
