//! Pauses between two attempts to connect.

use std::time::Duration;

/// Decorrelated jitter: each pause is random between [`PAUSE_MIN`] and three times the last one. So gateways that lost
/// their broker at one moment do not come back at one moment.
#[derive(Debug)]
pub(super) struct Backoff {
    last: Duration,
    random: Random,
}

/// The shortest pause.
pub(super) const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(60);

impl Backoff {
    /// Begins with the shortest pauses. The seed differs from process to process.
    pub(super) const fn new(seed: u64) -> Self {
        Self { last: PAUSE_MIN, random: Random::new(seed) }
    }

    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        let span = (self.last * 3).saturating_sub(PAUSE_MIN).as_millis() as u64;
        self.last = (PAUSE_MIN + Duration::from_millis(self.random.below(span + 1))).min(PAUSE_MAX);
        self.last
    }

    /// A connection has proved good: later pauses are short again.
    pub(super) fn reset(&mut self) {
        self.last = PAUSE_MIN;
    }
}

/// SplitMix64: numbers that differ enough for pauses and tests.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_within_their_bounds_and_differ() {
        let mut firsts = Vec::new();
        for seed in 0..100 {
            let mut backoff = Backoff::new(seed);
            let pauses: Vec<_> = (0..200).map(|_| backoff.next()).collect();
            assert!(pauses.iter().all(|pause| (PAUSE_MIN..=PAUSE_MAX).contains(pause)), "seed {seed}: {pauses:?}");
            assert!(pauses[0] <= PAUSE_MIN * 3, "seed {seed}: {pauses:?}");
            assert!(pauses.contains(&PAUSE_MAX), "seed {seed}: {pauses:?}");
            firsts.push(pauses[5]);
            backoff.reset();
            assert!(backoff.next() <= PAUSE_MIN * 3, "seed {seed}");
        }
        firsts.sort_unstable();
        firsts.dedup();
        assert!(firsts.len() > 90, "gateways come back together: {} pauses of 100 differ", firsts.len());
    }
}
