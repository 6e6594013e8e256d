//! Who may dial when: at most so many a second, and at most so many at one time, so that the load
//! tool overflows no listener's backlog. First dials and new ones after a cut wait in one line.

use std::collections::VecDeque;
use std::time::Instant;

use super::DIAL_PAUSE;

/// A line of devices, let through at a rate.
pub(super) struct Dials {
    line: VecDeque<u32>,
    rate: f64,
    /// Dials that may be made now, and when that was reckoned.
    allowance: f64,
    at: Instant,
}

/// Dials that may be unanswered at one time.
const CONNECTING_MAX: u32 = 512;

impl Dials {
    pub(super) fn new(rate: f64, now: Instant) -> Self {
        Self { line: VecDeque::new(), rate, allowance: 1.0, at: now }
    }

    pub(super) fn push(&mut self, index: u32) {
        self.line.push_back(index);
    }

    pub(super) fn clear(&mut self) {
        self.line.clear();
    }

    /// The next device that may dial at `now`, while `connecting` others are at it.
    pub(super) fn next(&mut self, now: Instant, connecting: u32) -> Option<u32> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        // After a quiet time, no more than what 10 ms allow goes at once.
        self.allowance = (self.allowance + passed * self.rate).min(1.0 + self.rate / 100.0);
        if self.allowance < 1.0 || connecting >= CONNECTING_MAX {
            return None;
        }
        let index = self.line.pop_front()?;
        self.allowance -= 1.0;
        Some(index)
    }

    /// When to ask again.
    pub(super) fn next_at(&self, connecting: u32) -> Option<Instant> {
        if self.line.is_empty() {
            return None;
        }
        if connecting >= CONNECTING_MAX {
            return Some(self.at + DIAL_PAUSE);
        }
        let wait = ((1.0 - self.allowance) / self.rate).max(0.0);
        // A rate of a dial a year is no reason to overflow.
        Some(self.at + std::time::Duration::from_secs_f64(wait.min(3600.0)).max(DIAL_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How many of 1,000 are let through in `millis`, asked every millisecond.
    fn check(rate: f64, millis: u64, connecting: u32, expected: std::ops::RangeInclusive<u32>) {
        let mut now = crate::clock::now();
        let mut dials = Dials::new(rate, now);
        (0..1000).for_each(|index| dials.push(index));
        let mut let_through = 0;
        for _ in 0..millis {
            now += Duration::from_millis(1);
            while dials.next(now, connecting).is_some() {
                let_through += 1;
            }
        }
        assert!(expected.contains(&let_through), "{rate} a second for {millis} ms: {let_through}");
    }

    #[test]
    fn dials_keep_to_the_rate() {
        check(100.0, 1000, 0, 99..=102);
        check(1.0, 1000, 0, 1..=2);
        check(100_000.0, 5, 0, 490..=502);
        check(100.0, 1000, 512, 0..=0);
    }
}
