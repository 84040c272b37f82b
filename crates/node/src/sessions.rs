//! The sessions of this server and when they expire (ZooKeeper `SessionTrackerImpl`, `ExpiryQueue`).
//!
//! Deadlines are rounded up to the tick and kept in buckets. A touch only notes the new deadline; a bucket that falls
//! due moves the sessions that were touched since to their new bucket, so a touch costs the same for any number of
//! sessions.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use gk_proto::{ConnId, Instant, Millis, SessionId, WallTime, Zxid, planted};
use hashbrown::HashMap;

/// What the server knows of a session beyond the applied table of the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// Negotiated timeout; a resume may change it.
    pub timeout_ms: i32,
    /// The connection that may use it, if it is connected.
    pub owner: Option<ConnId>,
    /// A closeSession is on its way: nothing new is accepted.
    pub closing: bool,
    /// Known to this server only: no txn made it and none will end it.
    pub local: bool,
    /// It has changed its connection, and has sent no plain write since.
    #[cfg(gk_planted_bugs)]
    pub moved: bool,
    deadline: Instant,
    bucket: Instant,
}

/// All sessions, by id and by deadline.
///
/// - A session that is not closing stands in exactly one bucket, at or before its deadline (`check_invariants`).
#[derive(Debug)]
pub struct Sessions {
    by_id: HashMap<SessionId, Session, FixedState>,
    buckets: BTreeMap<Instant, Vec<SessionId>>,
    tick: Millis,
    next_id: u64,
}

impl Sessions {
    /// Without sessions. Ids carry the server's id in the top byte. On a new tree they begin at the wall time in
    /// milliseconds.
    ///
    /// A machine whose clock is set back may start twice at the same time. An id given then to a second client would have
    /// the password of the first, for it follows from the id. So the last txn has a part in where ids begin: no two starts
    /// between which a session was made have both in common.
    pub fn new(tick: Millis, server_id: u8, wall: WallTime, last: Zxid) -> Self {
        let from = (wall.0.cast_unsigned() << 16).wrapping_add(last.0.wrapping_mul(SPREAD));
        let from = if planted!(SessionIdsOfUptime) { 0 } else { from };
        let next_id = u64::from(server_id) << ID_BITS | from & ID_MASK;
        Self { by_id: HashMap::default(), buckets: BTreeMap::new(), tick, next_id }
    }

    /// A fresh id. Ids of sessions that were recovered are skipped, whatever the clock said when they were made.
    pub fn fresh_id(&mut self) -> SessionId {
        loop {
            let id = SessionId(self.next_id);
            self.next_id = id.0 & !ID_MASK | id.0.wrapping_add(1) & ID_MASK;
            if id.0 != 0 && id.0 != 1 << 63 && !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }

    /// Adds a session with a full timeout ahead of it.
    pub fn insert(&mut self, id: SessionId, timeout_ms: i32, owner: Option<ConnId>, local: bool, now: Instant) {
        let deadline = self.deadline(now, timeout_ms);
        let session = Session {
            timeout_ms,
            owner,
            closing: false,
            local,
            #[cfg(gk_planted_bugs)]
            moved: false,
            deadline,
            bucket: deadline,
        };
        let before = self.by_id.insert(id, session);
        assert!(before.is_none(), "session {id} exists");
        self.buckets.entry(deadline).or_default().push(id);
    }

    /// The session, if it is known.
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    /// The session, to change owner, timeout or flags.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.by_id.get_mut(&id)
    }

    /// Notes that the client was heard at `heard`.
    pub fn touch(&mut self, id: SessionId, heard: Instant) {
        let (tick, Some(session)) = (self.tick, self.by_id.get_mut(&id)) else { return };
        session.deadline = session.deadline.max(rounded_deadline(heard, session.timeout_ms, tick));
    }

    /// Hands a session to the connection that resumes it, with its timeout counted anew; the connection that had it.
    pub fn resume(&mut self, id: SessionId, conn: ConnId, timeout_ms: i32, now: Instant) -> Option<ConnId> {
        let deadline = self.deadline(now, timeout_ms);
        let session = self.by_id.get_mut(&id)?;
        session.timeout_ms = timeout_ms;
        #[cfg(gk_planted_bugs)]
        {
            session.moved = true;
        }
        session.deadline = deadline;
        if deadline < session.bucket {
            // The entry in the later bucket is passed over when its time comes.
            session.bucket = deadline;
            self.buckets.entry(deadline).or_default().push(id);
        }
        session.owner.replace(conn)
    }

    /// Gives a session that [`Self::expire`] returned until `deadline` after all.
    pub fn grant(&mut self, id: SessionId, deadline: Instant) {
        let Some(session) = self.by_id.get_mut(&id) else { return };
        session.deadline = deadline;
        session.bucket = deadline;
        self.buckets.entry(deadline).or_default().push(id);
    }

    /// Forgets a session.
    pub fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.by_id.remove(&id)
    }

    /// Sessions whose deadline has passed, in the order of their deadlines; they leave the buckets.
    pub fn expire(&mut self, now: Instant) -> Vec<SessionId> {
        let mut expired = Vec::new();
        while let Some(entry) = self.buckets.first_entry()
            && *entry.key() <= now
        {
            let (bucket, ids) = entry.remove_entry();
            for id in ids {
                let Some(session) = self.by_id.get_mut(&id) else { continue };
                if session.bucket != bucket || session.closing {
                    continue;
                }
                if session.deadline <= now {
                    expired.push(id);
                } else {
                    session.bucket = session.deadline;
                    self.buckets.entry(session.deadline).or_default().push(id);
                }
            }
        }
        expired
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Bucket times and their sessions, for the `dump` word; a session that was touched since stands in an early one.
    pub fn buckets(&self) -> impl Iterator<Item = (Instant, Vec<SessionId>)> {
        self.buckets.iter().filter_map(|(at, ids)| {
            let files = |id: &SessionId| self.by_id.get(id).is_some_and(|session| session.bucket == *at);
            let ids: Vec<_> = ids.iter().copied().filter(files).collect();
            (!ids.is_empty()).then_some((*at, ids))
        })
    }

    /// Panics if a session could be missed at its deadline.
    pub fn check_invariants(&self) {
        let mut sorted: Vec<_> = self.by_id.keys().copied().collect();
        sorted.sort_unstable();
        for id in sorted {
            let Some(session) = self.by_id.get(&id) else { continue };
            let filed = self.buckets.get(&session.bucket).is_some_and(|ids| ids.contains(&id));
            assert!(session.closing || filed, "{id} is in no bucket");
            assert!(session.bucket <= session.deadline, "{id} would expire late");
        }
    }

    fn deadline(&self, now: Instant, timeout_ms: i32) -> Instant {
        rounded_deadline(now, timeout_ms, self.tick)
    }
}

/// The first tick boundary after `now` plus the timeout.
fn rounded_deadline(now: Instant, timeout_ms: i32, tick: Millis) -> Instant {
    let tick = tick.0.max(1);
    let due = now.millis() + u64::try_from(timeout_ms).unwrap_or(0);
    Instant::default() + Millis((due / tick + 1) * tick)
}

/// Bits of a session's id below those of its server.
const ID_BITS: u32 = 56;
const ID_MASK: u64 = (1 << ID_BITS) - 1;
/// Odd, so that no two txns begin at the same place, and without a pattern, so that neighbours lie far apart: the fraction of
/// the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Millis = Millis(2000);

    fn at(ms: u64) -> Instant {
        Instant::default() + Millis(ms)
    }

    #[test]
    fn a_session_expires_between_timeout_and_one_tick_later() {
        let mut sessions = Sessions::new(TICK, 1, WallTime(1), Zxid::ZERO);
        let id = sessions.fresh_id();
        sessions.insert(id, 4000, None, false, at(100));
        assert!(sessions.expire(at(5999)).is_empty(), "before the tick after the timeout");
        sessions.check_invariants();
        assert_eq!(sessions.expire(at(6000)), [id], "at the tick");
        assert!(sessions.expire(at(9000)).is_empty(), "once");
    }

    #[test]
    fn a_touch_moves_the_deadline_without_moving_the_bucket() {
        let mut sessions = Sessions::new(TICK, 1, WallTime(1), Zxid::ZERO);
        let id = sessions.fresh_id();
        sessions.insert(id, 4000, None, false, at(100));
        sessions.touch(id, at(3000));
        sessions.check_invariants();
        assert!(sessions.expire(at(6000)).is_empty(), "heard since");
        sessions.check_invariants();
        assert_eq!(sessions.expire(at(8000)), [id], "full timeout after the touch");
    }

    /// A resume with a shorter timeout kept the deadline of the longer one.
    #[test]
    fn a_resume_with_a_shorter_timeout_expires_by_it() {
        let mut sessions = Sessions::new(TICK, 1, WallTime(1), Zxid::ZERO);
        let id = sessions.fresh_id();
        sessions.insert(id, 40_000, Some(ConnId(1)), false, at(100));
        assert_eq!(sessions.resume(id, ConnId(2), 4000, at(200)), Some(ConnId(1)), "who had it");
        sessions.check_invariants();
        assert!(sessions.expire(at(5999)).is_empty(), "before the tick after the shorter timeout");
        assert_eq!(sessions.expire(at(6000)), [id], "at the tick");
        assert!(sessions.expire(at(90_000)).is_empty(), "once");
    }

    #[test]
    fn a_resume_with_a_longer_timeout_expires_by_it() {
        let mut sessions = Sessions::new(TICK, 1, WallTime(1), Zxid::ZERO);
        let id = sessions.fresh_id();
        sessions.insert(id, 4000, None, false, at(100));
        assert_eq!(sessions.resume(id, ConnId(2), 40_000, at(200)), None, "nobody had it");
        sessions.check_invariants();
        assert!(sessions.expire(at(41_999)).is_empty(), "before the tick after the longer timeout");
        sessions.check_invariants();
        assert_eq!(sessions.expire(at(42_000)), [id], "at the tick");
    }

    /// Z-1622: ids made after 2022 must keep the server's byte.
    #[test]
    fn ids_have_the_servers_byte_in_any_year() {
        for wall in [0, 1_795_162_481_006, 4_102_444_800_000] {
            let mut sessions = Sessions::new(TICK, 1, WallTime(wall), Zxid::ZERO);
            assert_eq!(sessions.fresh_id().0 >> 56, 1, "at {wall}");
        }
    }

    /// `dump` went on listing sessions that had been closed, until their deadlines.
    #[test]
    fn buckets_list_no_session_that_is_gone_or_has_moved_on() {
        let mut sessions = Sessions::new(TICK, 1, WallTime(1), Zxid::ZERO);
        let [gone, moved] = [0, 0].map(|_| {
            let id = sessions.fresh_id();
            sessions.insert(id, 40_000, None, false, at(100));
            id
        });
        sessions.remove(gone);
        sessions.resume(moved, ConnId(1), 4000, at(100));
        assert_eq!(sessions.buckets().collect::<Vec<_>>(), [(at(6000), vec![moved])], "one session, once");
    }

    /// A server whose clock was set back to its last start gave the ids of sessions that had ended meanwhile once more.
    #[test]
    fn ids_begin_elsewhere_after_a_start_at_the_same_time() {
        let mut given = std::collections::BTreeSet::new();
        // Each of these starts comes after 100 sessions, and the txns that made them.
        for last in (0..200).map(|start| Zxid(start * 100)) {
            let mut sessions = Sessions::new(TICK, 1, WallTime(1_795_162_481_006), last);
            assert!((0..100).all(|_| given.insert(sessions.fresh_id())), "an id twice after {last:?}");
        }
    }

    /// Row 88 of the hazards: a clock that was set back must not hand out an id twice.
    #[test]
    fn ids_of_known_sessions_are_skipped() {
        let mut sessions = Sessions::new(TICK, 1, WallTime(5), Zxid::ZERO);
        let first = sessions.fresh_id();
        let mut again = Sessions::new(TICK, 1, WallTime(5), Zxid::ZERO);
        again.insert(first, 4000, None, false, at(0));
        assert_ne!(again.fresh_id(), first, "skipped");
    }
}
