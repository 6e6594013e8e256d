//! Limits dials in rate and in number, so that the simulator does not overflow the gateway's accept queue. First dials
//! and dials after a cut share one queue.

use std::collections::VecDeque;
use std::time::Instant;

use super::DIAL_PAUSE;

/// A queue of devices that wait to dial, drained at a rate.
pub(super) struct Dials {
    queue: VecDeque<u32>,
    rate: f64,
    /// Tokens of the token bucket: dials that may be made at once.
    allowance: f64,
    /// The time of the last refill.
    at: Instant,
}

/// The maximum of connections that are being established.
const CONNECTING_MAX: u32 = 512;

impl Dials {
    pub(super) fn new(rate: f64, now: Instant) -> Self {
        Self { queue: VecDeque::new(), rate, allowance: 1.0, at: now }
    }

    pub(super) fn push(&mut self, index: u32) {
        self.queue.push_back(index);
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }

    /// Returns the next device that may dial at `now`, while `connecting` others do.
    pub(super) fn next(&mut self, now: Instant, connecting: u32) -> Option<u32> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        // The burst after a pause is what 10 ms allow.
        self.allowance = (self.allowance + passed * self.rate).min(1.0 + self.rate / 100.0);
        if self.allowance < 1.0 || connecting >= CONNECTING_MAX {
            return None;
        }
        let index = self.queue.pop_front()?;
        self.allowance -= 1.0;
        Some(index)
    }

    /// Returns the time for the next call of [`Self::next`].
    pub(super) fn next_at(&self, connecting: u32) -> Option<Instant> {
        if self.queue.is_empty() {
            return None;
        }
        if connecting >= CONNECTING_MAX {
            return Some(self.at + DIAL_PAUSE);
        }
        let wait = ((1.0 - self.allowance) / self.rate).max(0.0);
        // The bound keeps a tiny rate from overflowing the time.
        Some(self.at + std::time::Duration::from_secs_f64(wait.min(3600.0)).max(DIAL_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Counts how many of 1,000 devices dial in `millis`, with a call every millisecond.
    fn check(rate: f64, millis: u64, connecting: u32, expected: std::ops::RangeInclusive<u32>) {
        let mut now = crate::clock::now();
        let mut dials = Dials::new(rate, now);
        (0..1000).for_each(|index| dials.push(index));
        let mut dialled = 0;
        for _ in 0..millis {
            now += Duration::from_millis(1);
            while dials.next(now, connecting).is_some() {
                dialled += 1;
            }
        }
        assert!(expected.contains(&dialled), "{rate} a second for {millis} ms: {dialled}");
    }

    #[test]
    fn dials_keep_to_the_rate() {
        check(100.0, 1000, 0, 99..=102);
        check(1.0, 1000, 0, 1..=2);
        check(100_000.0, 5, 0, 490..=502);
        check(100.0, 1000, 512, 0..=0);
    }
}
