//! Bugs planted on purpose, to see whether the network tests find them (S35). Compiled only under `cfg(gk_planted_bugs)`,
//! which the tests' own build sets; a shipped binary has none of this.

/// One planted bug; each turns one line of the session wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// The zxid of a notification counts as seen: the other events of its txn are lost at a cut (Z-4655).
    ZxidSeenByNotification,
    /// The zxid of a setWatches reply counts as seen: what a later piece would have caught up with is lost at a cut.
    ZxidSeenBySetWatches,
    /// A write without an answer is sent again.
    WriteSentAgain,
    /// A write that the transport took counts as one it did not take.
    SentCountsAsUnsent,
    /// Requests in flight stay in flight across connections.
    InFlightKept,
    /// Replies are not compared with the xid of the request that waits.
    XidNotCompared,
    /// Watches on missing nodes are registered again as watches on data.
    ExistAsData,
    /// The last piece of the watches to register again is left out.
    LastPieceForgotten,
    /// Requests that wait are sent before the watches are registered again.
    WatchesAfterRequests,
    /// A refused session is tried again.
    ExpiryIgnored,
    /// A watch is removed at the server although others wait for it, or a read under way shares it.
    SharedWatchRemoved,
    /// Streams are not told that events may have been missed.
    MissedNotTold,
    /// Reads that are sent again line up behind requests that were made after them.
    ResentLast,
    /// Bytes of an earlier connection count.
    OldConnectionHeard,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::ZxidSeenByNotification,
        Self::ZxidSeenBySetWatches,
        Self::WriteSentAgain,
        Self::SentCountsAsUnsent,
        Self::InFlightKept,
        Self::XidNotCompared,
        Self::ExistAsData,
        Self::LastPieceForgotten,
        Self::WatchesAfterRequests,
        Self::ExpiryIgnored,
        Self::SharedWatchRemoved,
        Self::MissedNotTold,
        Self::ResentLast,
        Self::OldConnectionHeard,
    ];
}
