//! Deviations made on purpose, in what our server is heard to say: each must be found, or this test cannot fail.

use gk_proto::op::OpCode;

use crate::view::error_of;
use crate::wire::Heard;

/// What is changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lie {
    /// The answer to a setData names the next zxid.
    ZxidAhead,
    /// An event does not arrive.
    EventLost,
    /// A delete of a missing node is answered as one of a node that has children.
    WrongError,
    /// pzxid of an existing node is another.
    StatChanged,
    /// Two events change places.
    EventsSwapped,
}

impl Lie {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::ZxidAhead, Self::EventLost, Self::WrongError, Self::StatChanged, Self::EventsSwapped];
}

/// Tells one lie now and then.
pub(crate) struct Liar {
    lie: Lie,
    occasions: u32,
}

/// The first occasion is let pass, and so are most.
const OCCASIONS_A_LIE: u32 = 7;

/// Where the zxid stands in an answer without its length.
const ZXID: std::ops::Range<usize> = 4..12;

/// Where the error does.
const ERROR: std::ops::Range<usize> = 12..16;

impl Liar {
    /// Tells `lie`.
    pub(crate) fn new(lie: Lie) -> Self {
        Self { lie, occasions: 0 }
    }

    /// Changes what was heard on a connection, if there is occasion.
    pub(crate) fn tamper(&mut self, heard: &mut Vec<Heard>) {
        let Some(at) = self.occasion(heard) else { return };
        self.occasions += 1;
        if !self.occasions.is_multiple_of(OCCASIONS_A_LIE) {
            return;
        }
        match (self.lie, &mut heard[at]) {
            (Lie::EventLost, _) => drop(heard.remove(at)),
            (Lie::EventsSwapped, _) => heard.swap(at, at + 1),
            (Lie::ZxidAhead, Heard::Reply(_, frame)) => {
                let zxid = frame[ZXID].iter().fold(0, |zxid, byte| zxid << 8 | i64::from(*byte)) + 1;
                frame[ZXID].copy_from_slice(&zxid.to_be_bytes());
            }
            (Lie::WrongError, Heard::Reply(_, frame)) => frame[ERROR].copy_from_slice(&(-111_i32).to_be_bytes()),
            (Lie::StatChanged, Heard::Reply(_, frame)) => frame.last_mut().into_iter().for_each(|byte| *byte ^= 1),
            (Lie::ZxidAhead | Lie::WrongError | Lie::StatChanged, _) => {}
        }
    }

    /// Where something stands that can be changed.
    fn occasion(&self, heard: &[Heard]) -> Option<usize> {
        let reply = |op: OpCode, err: i32| {
            heard.iter().position(|heard| {
                matches!(heard, Heard::Reply(code, frame) if *code == op.code() && error_of(frame) == Some(err))
            })
        };
        let is_event = |heard: &Heard| matches!(heard, Heard::Event(_));
        match self.lie {
            Lie::ZxidAhead => reply(OpCode::SetData, 0),
            Lie::WrongError => reply(OpCode::Delete, -101),
            Lie::StatChanged => reply(OpCode::Exists, 0),
            Lie::EventLost => heard.iter().position(is_event),
            Lie::EventsSwapped => {
                heard.windows(2).position(|pair| pair.iter().all(is_event) && pair.first() != pair.last())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(op: OpCode, err: i32) -> Heard {
        let mut frame = vec![0; 12];
        frame.extend(err.to_be_bytes());
        frame.extend([0; 68]);
        Heard::Reply(op.code(), frame)
    }

    #[test]
    fn each_lie_changes_what_was_heard_when_there_is_occasion_and_only_then() {
        let telling = [
            reply(OpCode::SetData, 0),
            reply(OpCode::Delete, -101),
            reply(OpCode::Exists, 0),
            Heard::Event(vec![1]),
            Heard::Event(vec![2]),
        ];
        let harmless = [reply(OpCode::SetData, -101), reply(OpCode::Delete, 0), reply(OpCode::Exists, -101)];
        for lie in Lie::ALL {
            let mut liar = Liar::new(lie);
            let mut changed = 0;
            for _ in 0..OCCASIONS_A_LIE {
                let mut heard = telling.to_vec();
                liar.tamper(&mut heard);
                changed += u32::from(heard != telling);
                let mut heard = harmless.to_vec();
                liar.tamper(&mut heard);
                assert_eq!(heard, harmless, "{lie:?}: no occasion");
            }
            assert_eq!(changed, 1, "{lie:?}: one in {OCCASIONS_A_LIE} occasions");
        }
    }
}
