//! Time in whole ticks. A tick has 4 bytes instead of the 16 of an `Instant`. The caller reads the clock.

use std::time::{Duration, Instant};

/// The resolution of timers. A timer is never early, and less than one tick late.
pub const TICK: Duration = Duration::from_millis(100);

/// A time in ticks since the owner's epoch, with room for 13.6 years. The last value means "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u32);

impl Tick {
    /// Returns the time `ticks` after the epoch.
    pub const fn new(ticks: u32) -> Self {
        Self(ticks)
    }

    /// Returns the ticks since the epoch.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the time `ticks` later, or "never" beyond the range.
    #[must_use]
    pub const fn after(self, ticks: u32) -> Self {
        Self(self.0.saturating_add(ticks))
    }

    /// Returns the ticks since `earlier`, or 0 if `earlier` is later.
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Converts the owner's `Instant`s to ticks and back. Values out of range saturate.
#[derive(Clone, Copy, Debug)]
pub struct TickClock {
    epoch: Instant,
}

impl TickClock {
    /// Creates a clock whose tick 0 begins at `epoch`.
    pub const fn new(epoch: Instant) -> Self {
        Self { epoch }
    }

    /// Returns the tick that contains `now` (rounded down), for [`crate::wheel::TimerWheel::expire`].
    pub fn tick(&self, now: Instant) -> Tick {
        let passed = now.saturating_duration_since(self.epoch);
        // A division of 128-bit nanoseconds would take longer than the rest of a short read.
        let ticks = passed.as_secs() * 10 + u64::from(passed.subsec_millis() / 100);
        Tick(u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    /// Returns the first tick that begins no earlier than `at` (rounded up), for deadlines. `tick(now).after(…)` would be up
    /// to one tick early.
    pub fn deadline(&self, at: Instant) -> Tick {
        Tick(Self::ticks(at.saturating_duration_since(self.epoch)))
    }

    /// Returns the beginning of `tick`.
    pub fn instant(&self, tick: Tick) -> Instant {
        self.epoch + TICK * tick.0
    }

    /// Returns the milliseconds from the epoch to `now`.
    pub fn millis(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.epoch);
        passed.as_secs() * 1000 + u64::from(passed.subsec_millis())
    }

    /// Returns `duration` in ticks (rounded up), for steps from one deadline to the next.
    pub fn ticks(duration: Duration) -> u32 {
        u32::try_from(duration.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test needs an Instant")]
    fn the_clock_rounds_now_down_and_deadlines_up() {
        let epoch = Instant::now() + Duration::from_secs(1);
        let clock = TickClock::new(epoch);
        for (nanos, floor, ceiling) in [
            (0, 0, 0),
            (1, 0, 1),
            (99_999_999, 0, 1),
            (100_000_000, 1, 1),
            (100_000_001, 1, 2),
            (2_000_000_000, 20, 20),
        ] {
            let passed = Duration::from_nanos(nanos);
            assert_eq!(clock.tick(epoch + passed), Tick(floor), "{passed:?}");
            assert_eq!(clock.deadline(epoch + passed), Tick(ceiling), "{passed:?}");
            assert_eq!(TickClock::ticks(passed), ceiling, "{passed:?}");
        }
        for tick in [0, 1, 511, 1_000_000_007, u32::MAX].map(Tick) {
            assert_eq!(clock.tick(clock.instant(tick)), tick);
            assert_eq!(clock.deadline(clock.instant(tick)), tick);
        }
        assert_eq!(clock.tick(epoch - Duration::from_millis(500)), Tick(0));
        assert_eq!(TickClock::ticks(Duration::MAX), u32::MAX);
        assert_eq!(Tick(5).after(u32::MAX), Tick(u32::MAX));
        assert_eq!((Tick(5).since(Tick(2)), Tick(2).since(Tick(5))), (3, 0));
    }
}
