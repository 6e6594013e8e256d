//! The costs of a process per device, message and beat. They come from its memory and CPU time at three moments: before
//! the first dial, with all devices connected, and at the end.

use serde::Serialize;

use crate::process::Usage;
use crate::tally::Tally;

/// Keeps the usage of a process at the moments that matter.
#[derive(Debug, Clone, Default)]
pub(crate) struct CostMeter {
    before: Option<Moment>,
    /// The first moment with all devices connected. The costs of messages and beats count from here, without the costs
    /// of connecting.
    steady: Option<Moment>,
    /// The last moment with the highest number of connected devices.
    full: Option<Moment>,
    last: Option<Moment>,
    rss_max: u64,
}

#[derive(Debug, Clone, Copy)]
struct Moment {
    usage: Usage,
    up: u32,
    messages: u64,
    beats: u64,
}

/// The costs of a process.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Costs {
    pub(crate) pid: u32,
    pub(crate) rss_before_bytes: u64,
    /// At the last moment with the highest number of connected devices.
    pub(crate) rss_full_bytes: u64,
    pub(crate) rss_max_bytes: u64,
    pub(crate) pss_full_bytes: Option<u64>,
    /// The memory that the devices added, divided by their number.
    pub(crate) bytes_per_device: Option<f64>,
    /// From before the first dial to the end.
    pub(crate) cpu_seconds: f64,
    /// All CPU time since all devices were connected, divided by the messages of that time. The time includes beats, so
    /// the figure is an upper bound.
    pub(crate) cpu_us_per_message: Option<f64>,
    /// The same time divided by the beats. It is exact only without messages.
    pub(crate) cpu_us_per_beat: Option<f64>,
}

impl CostMeter {
    /// Records the usage at this moment.
    pub(crate) fn record(&mut self, usage: Usage, tally: &Tally, devices: u32) {
        let moment = Moment { usage, up: tally.up, messages: tally.messages.total(), beats: tally.beats };
        self.before.get_or_insert(moment);
        self.last = Some(moment);
        self.rss_max = self.rss_max.max(usage.rss_bytes);
        if tally.up == devices && self.steady.is_none() {
            self.steady = Some(moment);
        }
        if self.full.is_none_or(|full| tally.up >= full.up) {
            self.full = Some(moment);
        }
    }

    /// Returns the costs so far.
    pub(crate) fn costs(&self, pid: u32) -> Option<Costs> {
        let (before, full, last) = (self.before?, self.full?, self.last?);
        let steady = self.steady.unwrap_or(before);
        let added = full.usage.rss_bytes as f64 - before.usage.rss_bytes as f64;
        let up = full.up.saturating_sub(before.up);
        let micros = (last.usage.cpu_seconds - steady.usage.cpu_seconds) * 1e6;
        let per = |count: u64| (count > 0).then(|| micros / count as f64);
        Some(Costs {
            pid,
            rss_before_bytes: before.usage.rss_bytes,
            rss_full_bytes: full.usage.rss_bytes,
            rss_max_bytes: self.rss_max,
            pss_full_bytes: full.usage.pss_bytes,
            bytes_per_device: (up > 0).then(|| added / f64::from(up)),
            cpu_seconds: last.usage.cpu_seconds - before.usage.cpu_seconds,
            cpu_us_per_message: per(last.messages - steady.messages),
            cpu_us_per_beat: per(last.beats - steady.beats),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_count_between_the_right_moments() {
        let mut meter = CostMeter::default();
        let mut tally = Tally::new();
        let mut record = |up, messages, beats, rss_bytes, cpu_seconds| {
            tally.up = up;
            tally.messages.status = messages;
            tally.beats = beats;
            meter.record(Usage { rss_bytes, pss_bytes: None, cpu_seconds }, &tally, 10);
        };
        record(0, 0, 0, 1000, 5.0);
        record(5, 100, 0, 2000, 5.5);
        record(10, 200, 10, 3000, 6.0);
        record(10, 1200, 30, 4000, 6.5);
        record(0, 1200, 30, 4500, 7.0);
        let costs = meter.costs(1).unwrap();
        assert_eq!((costs.rss_before_bytes, costs.rss_full_bytes, costs.rss_max_bytes), (1000, 4000, 4500));
        assert_eq!(costs.bytes_per_device, Some(300.0));
        assert_eq!(costs.cpu_seconds, 2.0);
        assert_eq!(costs.cpu_us_per_message, Some(1000.0));
        assert_eq!(costs.cpu_us_per_beat, Some(50_000.0));
    }
}
