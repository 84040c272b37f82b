//! Exact views: the tree at one zxid, read in pieces while writes go on.

use gk_proto::acl::AclList;
use gk_proto::{SessionId, Zxid};

/// What a snapshot holds before its nodes, and the digest after them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ViewHead {
    /// The tree is shown as it was right after this txn.
    pub zxid: Zxid,
    /// Sessions and timeouts in milliseconds, by ascending id.
    pub sessions: Vec<(SessionId, i32)>,
    /// The ACL table by ascending id. Id -1, the open ACL of the built-in nodes, is not in it.
    pub acls: Vec<(i64, AclList)>,
    /// Apache's tree digest, where it is kept.
    pub digest: Option<u64>,
    /// How many node records will follow.
    pub nodes: usize,
}

/// How far a view has been read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ViewCursor {
    next: u32,
}

/// What a piece of a view means for the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ViewStatus {
    /// There is more to read.
    More,
    /// That was the last record.
    Done,
    /// Too much changed meanwhile: what was read so far is of no use, end the view and try again later.
    Abandoned,
}

/// The memory of an ended view. Freeing it may take long: drop it where nobody waits.
#[derive(Debug)]
pub struct ViewRemains(());
