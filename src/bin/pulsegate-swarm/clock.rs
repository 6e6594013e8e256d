//! The time of a run: milliseconds for schedules, microseconds for measures, both in 32 bits, since
//! each device holds several.

use std::time::{Duration, Instant, SystemTime};

use pulsegate::unstable::tick::Tick;

/// Turns `Instant`s into the run's own time. The wheel's ticks are milliseconds here: with the
/// gateway's tenths of a second, thousands of devices would send in ten bursts a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    pub(crate) const fn new(epoch: Instant) -> Self {
        Self { epoch }
    }

    /// Milliseconds since the run began: 49 days fit.
    pub(crate) fn millis(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch).as_millis() as u32
    }

    /// Microseconds since the run began, wrapping after 71 minutes: for differences.
    pub(crate) fn micros(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch).as_micros() as u32
    }

    pub(crate) fn passed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }

    /// When a tick begins.
    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.epoch + Duration::from_millis(u64::from(tick.get()))
    }
}

/// The one place where the program itself reads the clock: the fleet is given its time.
#[expect(clippy::disallowed_methods, reason = "a run needs a beginning, and its loop an end")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The date and time of a report.
#[expect(clippy::disallowed_methods, reason = "a report is stamped")]
pub(crate) fn date() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
