//! What the gateway's process and this one used, and when: before the first dial, when all devices
//! were up, at the end. From these come the costs per device, message and beat.

use serde::Serialize;

use crate::process::Usage;
use crate::tally::Tally;

/// The moments at which usage is kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch {
    before: Option<Moment>,
    /// When first all devices were up: from here on the costs of messages and beats are reckoned,
    /// without those of connecting.
    steady: Option<Moment>,
    /// The last with as many devices up as ever were.
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

/// Costs of a process.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Costs {
    pub(crate) pid: u32,
    pub(crate) rss_before_bytes: u64,
    /// With as many devices up as ever were.
    pub(crate) rss_full_bytes: u64,
    pub(crate) rss_max_bytes: u64,
    pub(crate) pss_full_bytes: Option<u64>,
    /// What the devices added, divided by their number.
    pub(crate) bytes_per_device: Option<f64>,
    /// From before the first dial to the end.
    pub(crate) cpu_seconds: f64,
    /// All CPU time since every device was up, divided by the messages of that time: beats are in
    /// it, so it is a bound.
    pub(crate) cpu_us_per_message: Option<f64>,
    /// Likewise by the beats: exact only where there were no messages.
    pub(crate) cpu_us_per_beat: Option<f64>,
}

impl Watch {
    /// Keeps what is worth keeping of this moment.
    pub(crate) fn see(&mut self, usage: Usage, tally: &Tally, devices: u32) {
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

    /// What it came to.
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
    fn costs_are_reckoned_between_the_right_moments() {
        let mut watch = Watch::default();
        let mut tally = Tally::new();
        let mut see = |up, messages, beats, rss_bytes, cpu_seconds| {
            tally.up = up;
            tally.messages.status = messages;
            tally.beats = beats;
            watch.see(Usage { rss_bytes, pss_bytes: None, cpu_seconds }, &tally, 10);
        };
        see(0, 0, 0, 1000, 5.0);
        see(5, 100, 0, 2000, 5.5);
        see(10, 200, 10, 3000, 6.0);
        see(10, 1200, 30, 4000, 6.5);
        see(0, 1200, 30, 4500, 7.0);
        let costs = watch.costs(1).unwrap();
        assert_eq!((costs.rss_before_bytes, costs.rss_full_bytes, costs.rss_max_bytes), (1000, 4000, 4500));
        assert_eq!(costs.bytes_per_device, Some(300.0));
        assert_eq!(costs.cpu_seconds, 2.0);
        assert_eq!(costs.cpu_us_per_message, Some(1000.0));
        assert_eq!(costs.cpu_us_per_beat, Some(50_000.0));
    }
}
