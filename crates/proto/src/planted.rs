//! Bugs planted on purpose in the core crates of the server, to see whether the simulator's checkers find them (S35).
//! Compiled only under `cfg(gk_planted_bugs)`, which the hunt's own build sets; a shipped binary has none of this.
//!
//! Each re-creates a row of the catalogue of bugs that systems of this kind have had (Z-n is ZOOKEEPER-n). One is planted at a time,
//! for the thread that runs the seed.

use std::cell::Cell;

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $bug:ident = $row:literal,)+) => {
        /// One planted bug.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Bug {
            $($(#[doc = $doc])+ $bug,)+
        }

        impl Bug {
            /// All of them, in the order of their rows.
            pub const ALL: &'static [Self] = &[$(Self::$bug,)+];

            /// Its row in the catalogue.
            pub fn row(self) -> u8 {
                match self {
                    $(Self::$bug => $row,)+
                }
            }
        }
    };
}

bugs! {
    /// Z-1863: a read is answered although a write of its connection, asked before it, is not.
    ReadOvertakesWrite = 47,
    /// Z-3496: a txn longer than what a log may hold is accepted, and cannot be read at the next start.
    RecordTooLong = 55,
    /// Z-1448: limits of a quota in the log stop the next start.
    QuotaStopsStart = 57,
    /// Z-2247: a sync that failed counts as one that did not.
    FailedSyncIgnored = 61,
    /// Z-1624, Z-2052: what a failed multi would have changed is believed by later requests.
    FailedMultiBelieved = 63,
    /// Z-4219: a quota looks for a node in what is applied, not in what is accepted.
    QuotaMissesPending = 64,
    /// Z-3127: a snapshot that is being taken does not see that a multi goes on after its first op.
    SnapshotInsideMulti = 65,
    /// Z-3144: a snapshot's table of sessions is older than its zxid.
    SnapshotMissesSession = 66,
    /// Z-3145: the end of a session moves its nodes' parents on behind the back of a snapshot.
    SnapshotMissesClose = 67,
    /// Z-3125: a delete moves pzxid on behind the back of a snapshot.
    SnapshotMissesDelete = 68,
    /// Z-3249: a create moves cversion on behind the back of a snapshot.
    SnapshotMissesCreate = 69,
    /// Z-3306: a snapshot's table of ACLs is older than its nodes.
    SnapshotMissesAcl = 70,
    /// Z-1046: sequential names count what is applied, not what is accepted.
    SequenceOfApplied = 71,
    /// Z-2420, Z-2574: a purge removes the log that spans the oldest snapshot that is kept.
    PurgeTakesNeededLog = 75,
    /// Z-2249: padding a log cuts off a record that is longer than the padding.
    PaddingCutsRecord = 76,
    /// Z-1621, Z-2332: a log has its name before its header, and one without a header stops the next start.
    EmptyLogStopsStart = 77,
    /// Z-2003: the name of a new log is not synced.
    NameNotSynced = 80,
    /// Z-2355: the end of a session leaves one of its nodes.
    EphemeralLeft = 81,
    /// Z-1208, Z-1367: the end of a session forgets the nodes that were accepted and not applied yet.
    PendingEphemeralLeft = 82,
    /// Z-2886: a session that has moved is turned away as long as it sends multis only.
    MovedSessionNeedsPlainWrite = 85,
    /// Ids of sessions begin at the uptime, which a restart sets back.
    SessionIdsOfUptime = 88,
    /// A session's connection is cut off before the newcomer's password is compared.
    OwnerCutBeforePassword = 89,
    /// Z-1412, Z-1667: a watch on a node that came to be while its client was away is set, and says nothing.
    CatchUpMissesCreation = 92,
    /// Z-4475: a recursive watch is told NodeChildrenChanged.
    RecursiveToldOfChildren = 95,
    /// Z-4466, Z-4472: a watch takes the place of another of its connection on the same path.
    WatchModesClobber = 96,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug for this thread, in place of any other.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted for this thread.
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
