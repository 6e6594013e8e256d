//! The round trips of beats.

use std::time::{Duration, Instant};

use crate::tick::Tick;

/// A histogram of durations in powers of two of a microsecond, from below 1 µs to above 35 minutes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; 32],
    sum: Duration,
    longest: Duration,
}

impl Histogram {
    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of all durations.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Returns the upper bound and the number of durations of each bucket. A bucket begins at the bound of the one before it.
    /// The last bucket also counts longer durations.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.counts.iter().enumerate().map(|(bucket, count)| (Duration::from_micros(1 << bucket), *count))
    }

    /// Returns the longest duration.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Returns the duration that `percent` of all durations do not exceed, within a factor of two. Returns `None` without
    /// durations.
    pub fn percentile(&self, percent: u32) -> Option<Duration> {
        let rank = (self.count() * u64::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_micros(1 << bucket).min(self.longest))
    }

    pub(super) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()).min(31);
        self.counts[bucket as usize] += 1;
        self.sum = self.sum.saturating_add(duration);
        self.longest = self.longest.max(duration);
    }
}

/// The times of the beats of the last ticks. The gateway sends all beats of one tick together, so one time a tick is enough
/// for any number of devices.
#[derive(Debug)]
pub(super) struct BeatTimes([Option<(Tick, Instant)>; Self::TICKS]);

impl BeatTimes {
    /// The number of kept ticks, which is 12.8 s.
    const TICKS: usize = 128;

    pub(super) fn new() -> Self {
        Self([None; Self::TICKS])
    }

    /// Records that the beats of a tick are sent at `now`.
    pub(super) fn record(&mut self, due: Tick, now: Instant) {
        let slot = &mut self.0[due.get() as usize % Self::TICKS];
        if slot.is_none_or(|(tick, _)| tick != due) {
            *slot = Some((due, now));
        }
    }

    /// Returns the time of the beats of a tick, if it is kept.
    pub(super) fn sent(&self, due: Tick) -> Option<Instant> {
        self.0[due.get() as usize % Self::TICKS].filter(|&(tick, _)| tick == due).map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_within_a_factor_of_two() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50), None);
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        let p50 = histogram.percentile(50).unwrap().as_micros();
        assert!((500..=1000).contains(&p50), "{p50}");
        assert_eq!(histogram.percentile(100), Some(Duration::from_millis(1)));
        histogram.record(Duration::from_secs(1_000_000));
        assert_eq!(histogram.sum(), Duration::from_micros(500_500) + Duration::from_secs(1_000_000));
        assert_eq!(histogram.buckets().nth(9), Some((Duration::from_micros(512), 256)));
        assert_eq!((histogram.count(), histogram.longest().as_secs()), (1001, 1_000_000));
    }
}
