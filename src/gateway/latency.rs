//! How long devices take to answer a beat. Floor 2.

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
    /// Durations noted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all durations.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// For each bucket the upper bound, and the number of durations between the bound of the bucket before and that
    /// one. The last bucket also has all longer ones.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.counts.iter().enumerate().map(|(bucket, count)| (Duration::from_micros(1 << bucket), *count))
    }

    /// The longest of them.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// A duration that `percent` of them do not exceed, to within a factor of two; `None` if there are none.
    pub fn percentile(&self, percent: u32) -> Option<Duration> {
        let rank = (self.count() * u64::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_micros(1 << bucket).min(self.longest))
    }

    pub(super) fn note(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()).min(31);
        self.counts[bucket as usize] += 1;
        self.sum = self.sum.saturating_add(duration);
        self.longest = self.longest.max(duration);
    }
}

/// When the beats of the last ticks were sent. All beats that are due in one tick go out together, so
/// one time a tick will do for any number of devices, and costs a device nothing.
#[derive(Debug)]
pub(super) struct BeatTimes([Option<(Tick, Instant)>; Self::TICKS]);

impl BeatTimes {
    /// Beats older than so many ticks may be forgotten: 12.8 s.
    const TICKS: usize = 128;

    pub(super) fn new() -> Self {
        Self([None; Self::TICKS])
    }

    /// The beats that were due at that tick go out now.
    pub(super) fn note(&mut self, due: Tick, now: Instant) {
        let slot = &mut self.0[due.get() as usize % Self::TICKS];
        if slot.is_none_or(|(tick, _)| tick != due) {
            *slot = Some((due, now));
        }
    }

    /// When the beat that was due at that tick went out, if that is still known.
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
            histogram.note(Duration::from_micros(micros));
        }
        let p50 = histogram.percentile(50).unwrap().as_micros();
        assert!((500..=1000).contains(&p50), "{p50}");
        assert_eq!(histogram.percentile(100), Some(Duration::from_millis(1)));
        histogram.note(Duration::from_secs(1_000_000));
        assert_eq!(histogram.sum(), Duration::from_micros(500_500) + Duration::from_secs(1_000_000));
        assert_eq!(histogram.buckets().nth(9), Some((Duration::from_micros(512), 256)));
        assert_eq!((histogram.count(), histogram.longest().as_secs()), (1001, 1_000_000));
    }
}
