//! The time of a run: milliseconds for schedules, microseconds for measurements. Both have 32 bits, because each device
//! holds several.

use std::time::{Duration, Instant, SystemTime};

use pulsegate::unstable::tick::Tick;

/// Converts an `Instant` to the time of the run. A tick of the wheel is 1 ms here. With the gateway's ticks of 100 ms,
/// thousands of devices would send in ten bursts a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    pub(crate) const fn new(epoch: Instant) -> Self {
        Self { epoch }
    }

    /// Milliseconds since the run began. They wrap after 49 days.
    pub(crate) fn millis(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch).as_millis() as u32
    }

    /// Microseconds since the run began, for differences. They wrap after 71 minutes.
    pub(crate) fn micros(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch).as_micros() as u32
    }

    pub(crate) fn passed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }

    /// Returns the beginning of a tick.
    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.epoch + Duration::from_millis(u64::from(tick.get()))
    }
}

/// The only place where the program reads the clock. The reactor passes the time to the fleet.
#[expect(clippy::disallowed_methods, reason = "the run has a beginning and an end")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The date and time of a report.
#[expect(clippy::disallowed_methods, reason = "a report has a date")]
pub(crate) fn date() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
