//! The run over time: rates and states, sampled at equal intervals.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::process::{Process, Usage};

/// The figures of one interval.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Sample {
    /// The end of the interval, in seconds of the run.
    pub(crate) at: f64,
    pub(crate) up: u32,
    pub(crate) connecting: u32,
    pub(crate) messages_per_s: f64,
    pub(crate) bytes_per_s: f64,
    pub(crate) beats_per_s: f64,
    /// Connections cut in the interval.
    pub(crate) cuts: u64,
    pub(crate) round_trip_p50_us: Option<u64>,
    pub(crate) round_trip_p99_us: Option<u64>,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) pss_bytes: Option<u64>,
    /// Of one CPU.
    pub(crate) cpu_percent: Option<f64>,
}

/// The samples, and the counters at the last sample.
pub(crate) struct Timeline {
    pub(crate) samples: Vec<Sample>,
    pub(crate) interval: Duration,
    gateway: Option<Process>,
    last: Counts,
}

/// Counters at the last sample.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    at: f64,
    messages: u64,
    bytes: u64,
    beats: u64,
    cuts: u64,
    cpu_seconds: Option<f64>,
}

impl Timeline {
    /// Creates a timeline of about 240 samples for any duration.
    pub(crate) fn new(duration: Duration, gateway: Option<Process>) -> Self {
        let interval = (duration / 240).clamp(Duration::from_millis(250), Duration::from_secs(60));
        Self { samples: Vec::new(), interval, gateway, last: Counts::default() }
    }

    /// Takes a sample, and returns the memory and CPU time of the gateway's process.
    pub(crate) fn sample(&mut self, fleet: &mut Fleet, clock: &Clock, now: Instant) -> Option<Usage> {
        let usage = self.gateway.as_ref().and_then(Process::usage);
        let tally = fleet.tally();
        let counts = Counts {
            at: clock.passed(now).as_secs_f64(),
            messages: tally.messages.total(),
            bytes: tally.bytes_sent,
            beats: tally.beats,
            cuts: tally.cuts().0 + tally.cuts().1,
            cpu_seconds: usage.map(|usage| usage.cpu_seconds),
        };
        let last = std::mem::replace(&mut self.last, counts);
        let passed = (counts.at - last.at).max(1e-3);
        let per_second = |now: u64, before: u64| (now - before) as f64 / passed;
        let quantile = |q| (!tally.recent_us.is_empty()).then(|| tally.recent_us.value_at_quantile(q));
        let cpu = counts.cpu_seconds.zip(last.cpu_seconds);
        self.samples.push(Sample {
            at: counts.at,
            up: tally.up,
            connecting: tally.connecting,
            messages_per_s: per_second(counts.messages, last.messages),
            bytes_per_s: per_second(counts.bytes, last.bytes),
            beats_per_s: per_second(counts.beats, last.beats),
            cuts: counts.cuts - last.cuts,
            round_trip_p50_us: quantile(0.5),
            round_trip_p99_us: quantile(0.99),
            rss_bytes: usage.map(|usage| usage.rss_bytes),
            pss_bytes: usage.and_then(|usage| usage.pss_bytes),
            cpu_percent: cpu.map(|(now, before)| (now - before).max(0.0) / passed * 100.0),
        });
        fleet.forget_recent();
        if self.samples.len() > 1 && passed < self.interval.as_secs_f64() / 2.0 {
            // The last interval of a run is too short for meaningful rates.
            self.samples.pop();
        }
        usage
    }
}
