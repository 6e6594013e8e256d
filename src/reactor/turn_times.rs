//! The time of a turn: its limit, and the durations of the longest turns.

use std::time::{Duration, Instant};

use super::kernel::Kernel;

/// The remaining time of the current turn.
#[derive(Debug)]
pub(super) struct TurnClock {
    /// The `now` of every call of the endpoint in this turn.
    pub(super) now: Instant,
    /// The end of the current part of the turn.
    until: Instant,
    /// The last reading of the clock.
    read_at: Instant,
    /// Bytes since the last reading.
    unmeasured_bytes: usize,
    /// Calls since the last reading.
    unmeasured_calls: u32,
}

/// Bytes between two readings of the clock. They take 10 µs or more, and a reading takes 25 ns.
const MEASURED_BYTES: usize = 1 << 10;
/// Calls with fewer bytes between two readings of the clock.
const MEASURED_CALLS: u32 = 16;

impl TurnClock {
    pub(super) fn new(now: Instant) -> Self {
        Self { now, until: now, read_at: now, unmeasured_bytes: 0, unmeasured_calls: 0 }
    }

    /// Begins a turn.
    pub(super) fn begin(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Begins the next part of the turn. It takes at most `share`, independent of the parts before it.
    pub(super) fn allow(&mut self, kernel: &impl Kernel, share: Duration) {
        self.read(kernel);
        self.until = self.read_at + share;
    }

    /// Whether the current part of the turn is over.
    pub(super) fn is_over(&self) -> bool {
        self.read_at >= self.until
    }

    /// Reads the clock and returns the time since the last reading.
    pub(super) fn read(&mut self, kernel: &impl Kernel) -> Duration {
        let before = std::mem::replace(&mut self.read_at, kernel.now());
        (self.unmeasured_bytes, self.unmeasured_calls) = (0, 0);
        self.read_at.saturating_duration_since(before)
    }

    /// Counts a call that handled `bytes`. Reads the clock if much may have passed, and then returns the time since the
    /// last reading.
    pub(super) fn charge(&mut self, kernel: &impl Kernel, bytes: usize) -> Option<Duration> {
        self.unmeasured_bytes += bytes;
        self.unmeasured_calls += 1;
        let long = self.unmeasured_bytes >= MEASURED_BYTES || self.unmeasured_calls >= MEASURED_CALLS;
        long.then(|| self.read(kernel))
    }
}

/// The longest turn in each of the last windows of time.
#[derive(Debug)]
pub(super) struct TurnTimes {
    start: Instant,
    /// For each window, its number and the longest turn in it.
    longest: [(u64, Duration); WINDOWS],
}

const WINDOWS: usize = 6;
/// Together the windows cover the last minute, or up to one window less.
const WINDOW: Duration = Duration::from_secs(10);

impl TurnTimes {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, longest: [(0, Duration::ZERO); WINDOWS] }
    }

    /// Records a turn that lasted from `begin` to `end`.
    pub(super) fn record(&mut self, begin: Instant, end: Instant) {
        let number = self.window(end);
        let window = &mut self.longest[number as usize % WINDOWS];
        if window.0 != number {
            *window = (number, Duration::ZERO);
        }
        window.1 = window.1.max(end - begin);
    }

    /// The longest turn in the minute before `now`.
    pub(super) fn longest(&self, now: Instant) -> Duration {
        let oldest = (self.window(now) + 1).saturating_sub(WINDOWS as u64);
        self.longest.iter().filter(|(number, _)| *number >= oldest).map(|(_, turn)| *turn).max().unwrap_or_default()
    }

    fn window(&self, at: Instant) -> u64 {
        (at - self.start).as_secs() / WINDOW.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test starts at any instant")]
    fn the_longest_turn_of_the_last_minute_is_kept() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let millis = Duration::from_millis;
        let mut turns = TurnTimes::new(start);
        turns.record(at(1), at(1) + millis(70));
        turns.record(at(35), at(35) + millis(20));
        turns.record(at(36), at(36) + millis(10));
        assert_eq!(turns.longest(at(37)), millis(70));
        assert_eq!(turns.longest(at(65)), millis(20));
        assert_eq!(turns.longest(at(200)), Duration::ZERO);
        turns.record(at(200), at(200) + millis(1));
        assert_eq!(turns.longest(at(201)), millis(1));
    }
}
