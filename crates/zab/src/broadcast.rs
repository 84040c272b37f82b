//! Proposing, persisting and committing txns in zxid order (ZAB's broadcast phase; ZooKeeper `Leader.propose`,
//! `SyncRequestProcessor`, `Leader.tryToCommit`).

use std::collections::VecDeque;

use bytes::Bytes;
use gk_proto::Zxid;

/// What happens to the machine.
#[derive(Debug)]
pub enum Input {
    /// A txn to agree on; its zxid must be [`Zab::next_zxid`].
    Propose {
        /// Place in the history.
        zxid: Zxid,
        /// The txn as it is logged.
        payload: Bytes,
    },
    /// The log has everything up to and including this zxid on stable storage. Reports may cross: one that says less
    /// than an earlier one changes nothing.
    Durable {
        /// Last durable txn.
        upto: Zxid,
    },
}

/// What the machine wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Append to the log, and answer with [`Input::Durable`] once it is on stable storage.
    Append {
        /// Place in the history.
        zxid: Zxid,
        /// The txn as it is logged.
        payload: Bytes,
    },
    /// Everything up to and including this zxid is decided for ever.
    Commit {
        /// Last committed txn.
        upto: Zxid,
    },
}

/// The one voter of an ensemble of one.
///
/// - `committed <= durable <= proposed`, always (`check_invariants`).
/// - `committed` grows only by `Input::Durable` (`nothing_is_committed_before_it_is_durable`).
#[derive(Debug)]
pub struct Zab {
    proposed: Zxid,
    durable: Zxid,
    committed: Zxid,
    effects: VecDeque<Effect>,
}

impl Zab {
    /// Starts after a recovered history that ends at `last` and is durable.
    pub fn standalone(last: Zxid) -> Self {
        Self { proposed: last, durable: last, committed: last, effects: VecDeque::new() }
    }

    /// The zxid that the next proposal takes. An ensemble of one runs on into the next epoch when the counter is used
    /// up, as ZooKeeper's standalone server does: there is nobody whose history could conflict.
    pub fn next_zxid(&self) -> Zxid {
        Zxid(self.proposed.0.checked_add(1).expect("INVARIANT: 2^64 txns are never proposed"))
    }

    /// The last txn proposed.
    pub fn proposed(&self) -> Zxid {
        self.proposed
    }

    /// The last txn committed.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// Takes one input; the effects of the one before must have been drained.
    pub fn handle(&mut self, input: Input) {
        assert!(self.effects.is_empty(), "input while {} effects wait", self.effects.len());
        match input {
            Input::Propose { zxid, payload } => {
                assert_eq!(zxid, self.next_zxid(), "a proposal follows the one before");
                self.proposed = zxid;
                self.effects.push_back(Effect::Append { zxid, payload });
            }
            Input::Durable { upto } => {
                assert!(upto <= self.proposed, "durable {upto:?} was never proposed ({:?})", self.proposed);
                self.durable = self.durable.max(upto);
                if self.committed < upto {
                    self.committed = upto;
                    self.effects.push_back(Effect::Commit { upto });
                }
            }
        }
        self.check_invariants();
    }

    /// The next thing to do, if any.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Panics if the machine contradicts itself.
    pub fn check_invariants(&self) {
        assert!(
            self.committed <= self.durable && self.durable <= self.proposed,
            "committed {:?}, durable {:?}, proposed {:?}",
            self.committed,
            self.durable,
            self.proposed
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn propose(zab: &mut Zab) -> Zxid {
        let zxid = zab.next_zxid();
        zab.handle(Input::Propose { zxid, payload: Bytes::from_static(b"txn") });
        assert!(matches!(zab.poll_effect(), Some(Effect::Append { zxid: z, .. }) if z == zxid), "goes to the log");
        assert_eq!(zab.poll_effect(), None, "and nowhere else");
        zxid
    }

    #[test]
    fn nothing_is_committed_before_it_is_durable() {
        let mut zab = Zab::standalone(Zxid(7));
        let (first, second) = (propose(&mut zab), propose(&mut zab));
        assert_eq!(zab.committed(), Zxid(7), "proposed is not committed");
        zab.handle(Input::Durable { upto: first });
        assert_eq!(zab.poll_effect(), Some(Effect::Commit { upto: first }), "the durable one only");
        zab.handle(Input::Durable { upto: second });
        assert_eq!(zab.poll_effect(), Some(Effect::Commit { upto: second }), "then the other");
    }

    #[test]
    fn one_durable_report_commits_all_before_it_once() {
        let mut zab = Zab::standalone(Zxid::ZERO);
        propose(&mut zab);
        let second = propose(&mut zab);
        zab.handle(Input::Durable { upto: second });
        assert_eq!(zab.poll_effect(), Some(Effect::Commit { upto: second }), "group commit");
        zab.handle(Input::Durable { upto: second });
        assert_eq!(zab.poll_effect(), None, "nothing new");
    }

    /// The node's thread may commit a lone write itself and know of it before it reads what the log's thread reported
    /// just before: the server stopped on an assertion here.
    #[test]
    fn a_late_report_of_an_earlier_sync_changes_nothing() {
        let mut zab = Zab::standalone(Zxid::ZERO);
        let (first, second) = (propose(&mut zab), propose(&mut zab));
        zab.handle(Input::Durable { upto: second });
        while zab.poll_effect().is_some() {}
        zab.handle(Input::Durable { upto: first });
        assert_eq!(zab.poll_effect(), None, "already committed");
        zab.check_invariants();
    }

    /// Z-1277: the counter must not stop the server; a lone voter runs on.
    #[test]
    fn a_lone_voter_runs_over_the_end_of_the_counter() {
        let mut zab = Zab::standalone(Zxid(0xffff_ffff));
        assert_eq!(propose(&mut zab), Zxid(0x1_0000_0000), "as ZooKeeper's standalone server counts");
    }
}
