//! What applying a txn tells the world: the result for the client that asked, and every change for those who watch.

use gk_proto::acl::AclList;
use gk_proto::stat::Stat;
use gk_proto::watch::EventType;
use gk_proto::{ErrorCode, Zxid};

use crate::dead::DeadOwner;

/// One node created, deleted, or with its data changed.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// NodeCreated, NodeDeleted or NodeDataChanged.
    pub kind: EventType,
    /// The node.
    pub path: &'a str,
    /// ACL of the node: the new one of a created node, the last one of a deleted node.
    pub acl: &'a AclList,
    /// ACL of its parent, for the parent's NodeChildrenChanged. The root's own for the root.
    pub parent_acl: &'a AclList,
    /// The txn that did it.
    pub zxid: Zxid,
}

/// Receives the changes of [`Tree::apply`](crate::Tree::apply) in the order in which they happen.
pub trait ChangeSink {
    /// One node changed.
    fn changed(&mut self, change: Change<'_>);

    /// A session with very many ephemeral nodes ended: all of them are gone from every read at once, although none has
    /// been removed yet ([`Tree::sweep`](crate::Tree::sweep)), and no [`Change`] is made for them.
    ///
    /// Sinks with watch tables hand this to [`Watches::fire_dead`](crate::Watches::fire_dead) before any reader can
    /// run. The default makes the single changes, however many they are.
    fn owner_died(&mut self, dead: &DeadOwner<'_>) {
        dead.for_each_node(|change| self.changed(change));
    }
}

/// For those who do not watch: replay and tests.
impl ChangeSink for () {
    fn changed(&mut self, _: Change<'_>) {}

    fn owner_died(&mut self, _: &DeadOwner<'_>) {}
}

/// What a txn did, for the reply to whoever asked for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done, and the reply carries no stat: delete, check, sessions.
    None,
    /// A node was created; its stat right after.
    Created(Stat),
    /// setData, setACL, reconfig; the node's stat right after.
    Changed(Stat),
    /// One result an op. If one is [`Outcome::Failed`] with an error txn's code, nothing was done: those before the
    /// failing one have [`ErrorCode::Ok`], those after it [`ErrorCode::RuntimeInconsistency`].
    Multi(Vec<Self>),
    /// An error txn, or a txn that did not fit (which happens only while replaying over a fuzzy snapshot). A code that
    /// [`ErrorCode`] does not know becomes [`ErrorCode::SystemError`].
    Failed(ErrorCode),
}
