//! Ways to make a run wrong on purpose, at its seams: between the machines and the sockets, the log or the disk. They show
//! that each checker speaks up; a shipped line is never touched. Bugs planted in the shipped crates are another matter.

use gk_proto::request::HEADER_LEN;
use gk_proto::{Xid, reply};

/// One lie; told now and then, where there is occasion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lie {
    /// The log says that txns are durable before they are.
    DurableTooEarly,
    /// A failed log goes on and says that all is well.
    ErrorIgnored,
    /// A snapshot holds a byte that the tree does not.
    SnapshotWrong,
    /// A txn is left out of the log.
    AppendLost,
    /// An event is not sent, is sent twice, or comes after the reply behind it.
    EventLost,
    EventTwice,
    EventLate,
    /// Events are told without asking what their watcher may read.
    EventToAnybody,
    /// ACLs are not looked at.
    AclIgnored,
    /// A byte of an answer is another.
    AnswerWrong,
    /// An answer names an older txn; that of a sync does.
    ZxidOlder,
    SyncOlder,
    /// Two answers change places.
    AnswersSwapped,
    /// The node is not told who was heard.
    TouchesLost,
    /// Any password will do.
    AnyPassword,
    /// Hard quotas do not refuse.
    QuotaIgnored,
    /// Nothing is reaped.
    NeverReaped,
    /// A client is served although it has seen more than the server has.
    SeenForgotten,
    /// A connection stops being served.
    NeverWoken,
    /// Sockets are read long after something has arrived.
    ReadLate,
    /// A connection keeps what it should have sent.
    Hoard,
    /// The tree changes without a txn.
    TreeChanged,
}

impl Lie {
    /// All of them, with the invariants of which one must be found broken.
    pub(crate) const ALL: [(Self, &'static [&'static str]); 22] = [
        (Self::DurableTooEarly, &["I9", "I11"]),
        (Self::ErrorIgnored, &["I9", "I11"]),
        (Self::SnapshotWrong, &["I11", "I13", "I28"]),
        (Self::AppendLost, &["I9", "I11", "I28"]),
        (Self::EventLost, &["I21"]),
        (Self::EventTwice, &["I21"]),
        (Self::EventLate, &["I21"]),
        (Self::EventToAnybody, &["I21"]),
        (Self::AclIgnored, &["I22", "I23"]),
        (Self::AnswerWrong, &["I18", "I22", "I23"]),
        (Self::ZxidOlder, &["I9", "I19", "I22", "I23"]),
        (Self::SyncOlder, &["I19", "I20"]),
        (Self::AnswersSwapped, &["I18"]),
        (Self::TouchesLost, &["I16"]),
        (Self::AnyPassword, &["I16"]),
        (Self::QuotaIgnored, &["I22"]),
        (Self::NeverReaped, &["I24"]),
        (Self::SeenForgotten, &["I19"]),
        (Self::NeverWoken, &["I28"]),
        (Self::ReadLate, &["I16"]),
        (Self::Hoard, &["I29"]),
        (Self::TreeChanged, &["I11", "I12", "I13", "I22", "I23"]),
    ];
}

/// Frames of one turn, so that they can be tampered with.
pub(crate) fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    while let Some(length) = rest.first_chunk().map(|length| i32::from_be_bytes(*length)) {
        let end = 4 + usize::try_from(length).unwrap_or(0);
        let Some((frame, behind)) = rest.split_at_checked(end) else { break };
        frames.push(frame.to_vec());
        rest = behind;
    }
    frames
}

/// Where a handshake holds the last zxid that the client has seen.
const SEEN: std::ops::Range<usize> = 4 + 4..4 + 12;

/// Makes a handshake, if these bytes begin with a whole one, that of somebody who has seen nothing.
pub(crate) fn forget_what_was_seen(bytes: &mut [u8]) {
    let is_whole = bytes.len() >= 4 + 45 && bytes.starts_with(&[0, 0, 0, 45, 0, 0, 0, 0]);
    if let Some(place) = bytes.get_mut(SEEN).filter(|_| is_whole) {
        place.fill(0);
    }
}

/// Where a frame that is not a handshake holds its zxid.
const ZXID: std::ops::Range<usize> = 4 + 4..4 + 12;

impl Lie {
    /// Tampers with the frames of a turn; `is_greeted` unless the first one is a handshake. Whether there was occasion.
    pub(crate) fn tamper(self, frames: &mut Vec<Vec<u8>>, is_greeted: bool) -> bool {
        let first = usize::from(!is_greeted);
        let is_event = |frame: &Vec<u8>| frame.get(4..8) == Some(&Xid::NOTIFICATION.0.to_be_bytes());
        let event = frames.iter().skip(first).position(is_event).map(|at| at + first);
        let answer = frames.iter().skip(first).position(|frame| !is_event(frame)).map(|at| at + first);
        match (self, event, answer) {
            (Self::EventLost, Some(at), _) => drop(frames.remove(at)),
            (Self::EventTwice, Some(at), _) => frames.insert(at, frames[at].clone()),
            (Self::EventLate, Some(at), Some(answer)) if at < answer => {
                let event = frames.remove(at);
                frames.insert(answer, event);
            }
            (Self::AnswerWrong, _, Some(at)) if frames[at].len() > 4 + reply::HEADER_LEN => {
                let last = frames[at].len() - 1;
                frames[at][last] ^= 1;
            }
            (Self::ZxidOlder, _, Some(at)) => {
                let Some(place) = frames[at].get_mut(ZXID) else { return false };
                let zxid = i64::from_be_bytes(place.try_into().unwrap_or_default());
                if zxid < 20 {
                    return false;
                }
                place.copy_from_slice(&(zxid - 15).to_be_bytes());
            }
            (Self::SyncOlder, _, Some(at)) => {
                // Only a sync names this path, and its answer echoes it.
                let is_sync = |frame: &[u8]| frame.get(4 + reply::HEADER_LEN..) == Some(b"\0\0\0\x05/sync");
                if !is_sync(&frames[at]) {
                    return false;
                }
                frames[at][ZXID].copy_from_slice(&1_i64.to_be_bytes());
            }
            (Self::AnswersSwapped, _, Some(at)) => {
                let is_answer = frames.get(at + 1).is_some_and(|frame| !is_event(frame));
                let xid = |frame: &Vec<u8>| frame.get(4..4 + HEADER_LEN / 2).map(<[u8]>::to_vec);
                if !is_answer || xid(&frames[at]) == xid(&frames[at + 1]) {
                    return false;
                }
                frames.swap(at, at + 1);
            }
            _ => return false,
        }
        true
    }
}
