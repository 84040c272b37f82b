//! Events that wait for the answer to a request that was asked before them.
//!
//! Txns are applied some at a time: the events of all of them come first, their answers behind. ZooKeeper finishes a txn
//! before it begins the next, so on one connection the answer to a write leaves before the event of a later txn.

use std::collections::VecDeque;
use std::sync::Arc;

use gk_proto::Zxid;
use gk_proto::watch::{EventType, encode_event};

/// Events that may wait; more leave at once.
const LATER_MAX: usize = 1024;

/// The events that wait, in their order.
#[derive(Debug, Default)]
pub(super) struct Later(VecDeque<(Zxid, EventType, Arc<str>)>);

impl Later {
    /// Keeps an event; false if there are too many.
    pub(super) fn keep(&mut self, zxid: Zxid, kind: EventType, path: &Arc<str>) -> bool {
        let has_room = self.0.len() < LATER_MAX;
        if has_room {
            self.0.push_back((zxid, kind, path.clone()));
        }
        has_room
    }

    /// Appends those of txns up to `upto`; how many.
    pub(super) fn release(&mut self, upto: Zxid, out: &mut Vec<u8>) -> u64 {
        let mut count = 0;
        while let Some((zxid, kind, path)) = self.0.pop_front_if(|(zxid, ..)| *zxid <= upto) {
            encode_event(zxid.wire(), kind, &path, out);
            count += 1;
        }
        if self.0.is_empty() {
            // An idle connection keeps no queues.
            self.0 = VecDeque::new();
        }
        count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_leaves_in_order() {
        let mut later = Later::default();
        let path: Arc<str> = "/a".into();
        let kept =
            (1..2 * LATER_MAX as u64).take_while(|n| later.keep(Zxid(*n), EventType::NodeCreated, &path)).count();
        assert_eq!(kept, LATER_MAX, "no more than that");
        let mut out = Vec::new();
        assert_eq!(later.release(Zxid(2), &mut out), 2, "those of txns up to the second");
        let zxid = |frame: &[u8]| frame.get(8..16).map(<[u8]>::to_vec);
        let frames: Vec<_> = out.chunks(out.len() / 2).map(zxid).collect();
        assert_eq!(frames, [1_u64, 2].map(|n| Some(n.to_be_bytes().to_vec())), "in their order");
        assert!(!later.is_empty(), "others wait");
        later.release(Zxid(u64::MAX), &mut out);
        assert!(later.is_empty(), "none is left");
    }
}
