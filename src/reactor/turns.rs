//! How long turns of the loop take: while one lasts, no other device is heard. Floor 3.

use std::time::{Duration, Instant};

/// The longest turn in each of the last few stretches of time.
#[derive(Debug)]
pub(super) struct Turns {
    start: Instant,
    /// For each stretch, its number and the longest turn in it.
    longest: [(u64, Duration); STRETCHES],
}

const STRETCHES: usize = 6;
/// Together they are the last minute, or up to one stretch less.
const STRETCH: Duration = Duration::from_secs(10);

impl Turns {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, longest: [(0, Duration::ZERO); STRETCHES] }
    }

    /// A turn lasted from `begin` to `end`.
    pub(super) fn note(&mut self, begin: Instant, end: Instant) {
        let number = self.stretch(end);
        let stretch = &mut self.longest[number as usize % STRETCHES];
        if stretch.0 != number {
            *stretch = (number, Duration::ZERO);
        }
        stretch.1 = stretch.1.max(end - begin);
    }

    /// The longest turn in the minute before `now`.
    pub(super) fn longest(&self, now: Instant) -> Duration {
        let oldest = (self.stretch(now) + 1).saturating_sub(STRETCHES as u64);
        self.longest.iter().filter(|(number, _)| *number >= oldest).map(|(_, turn)| *turn).max().unwrap_or_default()
    }

    fn stretch(&self, at: Instant) -> u64 {
        (at - self.start).as_secs() / STRETCH.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do to begin with")]
    fn the_longest_of_the_last_minute() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let millis = Duration::from_millis;
        let mut turns = Turns::new(start);
        turns.note(at(1), at(1) + millis(70));
        turns.note(at(35), at(35) + millis(20));
        turns.note(at(36), at(36) + millis(10));
        assert_eq!(turns.longest(at(37)), millis(70));
        assert_eq!(turns.longest(at(65)), millis(20));
        assert_eq!(turns.longest(at(200)), Duration::ZERO);
        turns.note(at(200), at(200) + millis(1));
        assert_eq!(turns.longest(at(201)), millis(1));
    }
}
