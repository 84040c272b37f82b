//! How much a connection does under one guard of the tree, before whoever writes gets a turn.

use core::cell::Cell;

/// Frames answered under one guard. One whose answer takes looking at many things counts as another one for each
/// [`STEPS_A_FRAME`] of them.
const FRAMES_A_GUARD: usize = 128;
const STEPS_A_FRAME: usize = 128;
/// Bytes written under one guard, before the frame that exceeds them.
const BYTES_A_GUARD: usize = 128 << 10;

/// What is left under this guard.
pub(super) struct Budget {
    frames: usize,
    out_len_max: usize,
}

impl Budget {
    /// All of it. `steps` counts what answers have to look at one by one.
    pub(super) fn new(steps: &Cell<usize>, out: &[u8]) -> Self {
        steps.set(0);
        Self { frames: FRAMES_A_GUARD, out_len_max: out.len() + BYTES_A_GUARD }
    }

    /// Takes one frame, and what the one before it cost besides; false if there is none left.
    pub(super) fn take(&mut self, steps: &Cell<usize>, out: &[u8]) -> bool {
        self.frames = self.frames.saturating_sub(steps.take() / STEPS_A_FRAME);
        let is_left = self.frames > 0 && out.len() < self.out_len_max;
        self.frames = self.frames.saturating_sub(1);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_bytes_and_steps_use_it_up() {
        let steps = Cell::new(9);
        let mut budget = Budget::new(&steps, &[]);
        let taken = (0..1000).take_while(|_| budget.take(&steps, &[])).count();
        assert_eq!(taken, FRAMES_A_GUARD, "frames that cost nothing besides");

        let mut budget = Budget::new(&steps, &[]);
        assert!(budget.take(&steps, &[]), "the first");
        steps.set(STEPS_A_FRAME * (FRAMES_A_GUARD - 2));
        assert!(budget.take(&steps, &[]), "one is left");
        assert!(!budget.take(&steps, &[]), "none is left");

        let mut budget = Budget::new(&steps, b"before");
        assert!(budget.take(&steps, &vec![0; BYTES_A_GUARD + 5]), "one byte is left");
        assert!(!budget.take(&steps, &vec![0; BYTES_A_GUARD + 6]), "none is left");
    }
}
