//! A seeded source of chance, and the rounds of a random test.

/// xorshift: enough chance for a test, with a seed to repeat it.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// Returns the ranges of random pieces, some of them empty.
    pub(crate) fn cuts(&mut self, length: usize) -> Vec<std::ops::Range<usize>> {
        let mut cuts: Vec<_> = (0..self.below(6)).map(|_| self.below(length + 1)).collect();
        cuts.extend([0, length]);
        cuts.sort_unstable();
        cuts.windows(2).map(|cut| cut[0]..cut[1]).collect()
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}

/// Runs a few rounds, as many as fit `PULSEGATE_C_SECONDS`, or the one of `PULSEGATE_C_SEED`. The last printed
/// seed is that of a round that fails.
#[expect(clippy::disallowed_methods, reason = "a person bounds a search by time")]
pub(crate) fn rounds(few: u64, mut round: impl FnMut(&mut Chance)) {
    let begun = std::time::Instant::now();
    let (seed, seconds) = (number("PULSEGATE_C_SEED"), number("PULSEGATE_C_SECONDS"));
    let first = seed.unwrap_or_else(|| u64::from(std::process::id()) << 24);
    for seed in first..first + if seed.is_some() { 1 } else { seconds.map_or(few, |_| u64::MAX >> 1) } {
        if seconds.is_some_and(|seconds| begun.elapsed().as_secs() >= seconds) {
            return;
        }
        println!("PULSEGATE_C_SEED={seed}");
        // Neighbours differ in all bits, and no state is 0.
        round(&mut Chance((seed ^ 0x51ED).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1));
    }
}
