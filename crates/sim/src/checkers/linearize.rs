//! I22: whether what clients saw of one register can be put into an order that respects real time.
//!
//! Wing and Gong's search with Lowe's memory of the configurations that led nowhere. The register holds a value and a
//! version; a write may ask for a version. A write whose outcome nobody knows may have happened at any time after it
//! was asked for, or never.

use std::collections::BTreeSet;

/// Value and version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct State {
    pub(crate) value: u64,
    pub(crate) version: i32,
}

/// What was asked and what was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    /// A read, and what it found.
    Read(State),
    /// A write that succeeded, and the version that it made.
    Wrote { value: u64, expected: Option<i32>, version: i32 },
    /// A write that was refused for its version.
    Refused { expected: i32 },
    /// A write without an answer.
    Unknown { value: u64, expected: Option<i32> },
}

/// One call of one client; times are places in the order of all events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    pub(crate) invoked: u64,
    pub(crate) returned: u64,
    pub(crate) call: Call,
}

/// What came of the search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Linearizable,
    /// There is no such order.
    Impossible,
    /// It took too many steps to say.
    GaveUp,
}

/// Steps after which the search is given up; a history of a run takes a few hundred.
const STEPS_MAX: usize = 300_000;

/// Looks for an order of the calls on one register.
pub(crate) fn search(mut operations: Vec<Operation>, initial: State) -> Found {
    operations.sort_by_key(|operation| (operation.invoked, operation.returned));
    let mut search = Search { operations: &operations, seen: BTreeSet::new(), steps: 0 };
    let mut done = vec![0; operations.len().div_ceil(64)];
    match search.from(&mut done, initial) {
        Some(true) => Found::Linearizable,
        Some(false) => Found::Impossible,
        None => Found::GaveUp,
    }
}

struct Search<'a> {
    operations: &'a [Operation],
    seen: BTreeSet<(Vec<u64>, State)>,
    steps: usize,
}

impl Search<'_> {
    /// Whether the rest can be put in order; `None` if it took too long.
    fn from(&mut self, done: &mut Vec<u64>, state: State) -> Option<bool> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return None;
        }
        let is_done = |done: &[u64], at: usize| done.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1);
        let left: Vec<usize> = (0..self.operations.len()).filter(|at| !is_done(done, *at)).collect();
        let returned = |at: &usize| self.operations.get(*at).map_or(u64::MAX, |operation| operation.returned);
        let first_end = left.iter().map(returned).min().unwrap_or(u64::MAX);
        if first_end == u64::MAX {
            // All that is left has no answer and need not have happened.
            return Some(true);
        }
        if !self.seen.insert((done.clone(), state)) {
            return Some(false);
        }
        let mut candidates: Vec<(usize, State)> = Vec::new();
        for at in left {
            let Some(operation) = self.operations.get(at).filter(|operation| operation.invoked < first_end) else {
                break;
            };
            candidates.extend(step(state, operation.call).map(|after| (at, after)));
        }
        // Those without an answer last: most of them are not needed.
        candidates.sort_by_key(|(at, _)| (returned(at) == u64::MAX, *at));
        for (at, after) in candidates {
            done[at / 64] |= 1 << (at % 64);
            let found = self.from(done, after);
            done[at / 64] &= !(1 << (at % 64));
            if found != Some(false) {
                return found;
            }
        }
        Some(false)
    }
}

/// The state after a call, if it can come now.
fn step(state: State, call: Call) -> Option<State> {
    let fits = |expected: Option<i32>| expected.is_none_or(|expected| expected == state.version);
    let next = state.version.wrapping_add(1);
    match call {
        Call::Read(seen) => (seen == state).then_some(state),
        Call::Wrote { value, expected, version } => {
            (fits(expected) && version == next).then_some(State { value, version })
        }
        Call::Refused { expected } => (expected != state.version).then_some(state),
        Call::Unknown { value, expected } => fits(expected).then_some(State { value, version: next }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: State = State { value: 0, version: 0 };

    fn operation(client: usize, invoked: u64, returned: u64, call: Call) -> Operation {
        Operation { client, invoked, returned, call }
    }

    fn wrote(value: u64, version: i32) -> Call {
        Call::Wrote { value, expected: None, version }
    }

    fn read(value: u64, version: i32) -> Call {
        Call::Read(State { value, version })
    }

    #[test]
    fn calls_at_the_same_time_may_come_in_any_order() {
        let history =
            [operation(0, 0, 9, wrote(1, 2)), operation(1, 0, 9, wrote(2, 1)), operation(2, 1, 8, read(2, 1))];
        assert_eq!(search(history.to_vec(), START), Found::Linearizable);
    }

    #[test]
    fn a_stale_read_is_found() {
        let history = [operation(0, 0, 1, wrote(1, 1)), operation(1, 2, 3, read(0, 0))];
        assert_eq!(search(history.to_vec(), START), Found::Impossible);
    }

    #[test]
    fn a_lost_update_is_found() {
        let cas = |value, version| Call::Wrote { value, expected: Some(0), version };
        let history = [operation(0, 0, 9, cas(1, 1)), operation(1, 0, 9, cas(2, 1))];
        assert_eq!(search(history.to_vec(), START), Found::Impossible, "both from version 0");
    }

    #[test]
    fn a_refusal_without_a_reason_is_found() {
        let history = [operation(0, 0, 1, Call::Refused { expected: 0 })];
        assert_eq!(search(history.to_vec(), START), Found::Impossible);
    }

    #[test]
    fn what_has_no_answer_may_happen_late_or_never() {
        let unknown = Call::Unknown { value: 7, expected: None };
        let never = [operation(0, 0, u64::MAX, unknown), operation(1, 5, 6, read(0, 0))];
        assert_eq!(search(never.to_vec(), START), Found::Linearizable, "never");
        let late = [never[0], never[1], operation(1, 7, 8, read(7, 1))];
        assert_eq!(search(late.to_vec(), START), Found::Linearizable, "late");
        let back = [late[0], late[1], late[2], operation(1, 9, 10, read(0, 0))];
        assert_eq!(search(back.to_vec(), START), Found::Impossible, "undone");
    }
}
