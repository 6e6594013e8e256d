//! Chance that can be replayed.

use std::hash::{BuildHasher, RandomState};

/// Marsaglia's xorshift: no dependency, and the same numbers everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    /// Creates a generator from any seed, including 0.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d | 1);
        for _ in 0..8 {
            rng.next();
        }
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number from 0 to `bound` - 1. `bound` is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // The low bits are the weak ones.
        ((self.next() >> 16) % bound as u64) as usize
    }

    /// Returns true in `percent` of 100 calls.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// The seed to replay, from `PULSEGATE_TEST_SEED`.
pub(crate) fn fixed_seed() -> Option<u64> {
    super::number("SEED")
}

/// The first seed of a run that explores: a new one each time, short enough to be read out loud.
pub(crate) fn base_seed() -> u64 {
    fixed_seed().unwrap_or_else(|| RandomState::new().hash_one(0) % 1_000_000_000)
}
