//! Choices of a seed.

use gk_proto::rng::Rng;

/// The stream of choices of one seed.
pub(crate) struct Chance(Rng);

impl Chance {
    /// The stream of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rng::new(seed))
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.below(u64::try_from(bound).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// True `n` times of a hundred.
    pub(crate) fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }

    /// One of a list that is not empty.
    pub(crate) fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        assert!(!list.is_empty(), "nothing to pick from");
        list[self.below(list.len())].clone()
    }

    /// One of a list by its weight.
    pub(crate) fn weighted<T: Copy>(&mut self, list: &[(usize, T)]) -> T {
        let mut left = self.below(list.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in list {
            if left < *weight {
                return *choice;
            }
            left -= weight;
        }
        panic!("INVARIANT: what is left is below the sum of the weights");
    }
}
