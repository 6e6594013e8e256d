//! The report of a run. `--json` prints it as JSON, the table shows it to people, and `--html` plots it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::costs::Costs;
use crate::faults::Fault;
use crate::options::Options;
use crate::tally::{Cause, Causes, Messages, Micros, Tally};
use crate::timeline::Sample;

/// The whole report. `--json` shows these field names. The name of each number contains its unit.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) program: String,
    pub(crate) date: String,
    pub(crate) run: Run,
    pub(crate) connects: Connects,
    pub(crate) sent: Sent,
    pub(crate) beats: Beats,
    pub(crate) cuts: Cuts,
    /// Only with `--faulty`.
    pub(crate) faults: Vec<FaultReport>,
    /// Only with `--echo`.
    pub(crate) echo: Option<EchoReport>,
    /// Only if the gateway's process is readable.
    pub(crate) gateway: Option<Costs>,
    pub(crate) swarm: Option<Costs>,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) gateway: String,
    pub(crate) devices: u32,
    pub(crate) profile: String,
    pub(crate) performance_every_s: Option<f64>,
    pub(crate) status_every_s: Option<f64>,
    pub(crate) picture_every_s: Option<f64>,
    pub(crate) picture_bytes: usize,
    pub(crate) rate_per_s: f64,
    pub(crate) duration_s: f64,
    pub(crate) seed: u64,
    /// The real duration.
    pub(crate) ran_s: f64,
    /// Whether a signal ended the run.
    pub(crate) interrupted: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Connects {
    pub(crate) dials: u64,
    pub(crate) connected: u64,
    pub(crate) reconnects: u64,
    pub(crate) failed: BTreeMap<&'static str, u64>,
    pub(crate) up_max: u32,
    pub(crate) up_at_end: u32,
    pub(crate) time_us: Quantiles,
    /// The texts of the errors, each once.
    pub(crate) errors: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Sent {
    /// Objects that the gateway passes to its application.
    pub(crate) messages: u64,
    pub(crate) by_kind: Messages,
    /// All bytes, heartbeat answers included.
    pub(crate) bytes: u64,
    pub(crate) bytes_received: u64,
    /// Reports that were skipped because the previous one was still queued.
    pub(crate) skipped: u64,
    pub(crate) garbage: u64,
    pub(crate) spam_heartbeats: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Beats {
    pub(crate) received: u64,
    pub(crate) answered: u64,
    /// The difference between the heartbeat interval and the time from one beat to the next.
    pub(crate) spacing_error_us: Quantiles,
}

#[derive(Debug, Serialize)]
pub(crate) struct Cuts {
    pub(crate) healthy: u64,
    pub(crate) faulty: u64,
    /// Connections that faulty devices reset. They are not among the cuts.
    pub(crate) own_resets: u64,
    pub(crate) healthy_by_cause: BTreeMap<&'static str, u64>,
    pub(crate) faulty_by_cause: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct FaultReport {
    pub(crate) fault: &'static str,
    pub(crate) devices: usize,
    pub(crate) cuts: u64,
    pub(crate) own_resets: u64,
    pub(crate) by_cause: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct EchoReport {
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) round_trip_us: Quantiles,
}

/// Quantiles of a histogram. Without measurements, all of them but the count are null.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) mean: Option<f64>,
    pub(crate) p50: Option<u64>,
    pub(crate) p90: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) p999: Option<u64>,
    pub(crate) max: Option<u64>,
}

impl Quantiles {
    fn new(histogram: &Micros) -> Self {
        let is_measured = !histogram.is_empty();
        let at = |q| is_measured.then(|| histogram.value_at_quantile(q).min(histogram.max()));
        Self {
            count: histogram.len(),
            mean: is_measured.then(|| histogram.mean()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: is_measured.then(|| histogram.max()),
        }
    }
}

impl Run {
    pub(crate) fn new(options: &Options, gateway: String, ran_s: f64, interrupted: bool) -> Self {
        let seconds = |period: Option<std::time::Duration>| period.map(|period| period.as_secs_f64());
        Self {
            gateway,
            devices: options.devices,
            profile: options.profile.clone(),
            performance_every_s: seconds(options.load.performance),
            status_every_s: seconds(options.load.status),
            picture_every_s: seconds(options.load.picture),
            picture_bytes: options.load.picture_bytes,
            rate_per_s: options.rate,
            duration_s: options.duration.as_secs_f64(),
            seed: options.seed,
            ran_s,
            interrupted,
        }
    }
}

impl Report {
    /// Creates the report. `devices_of` returns the number of devices with a fault. `up` is the number of connections
    /// before the end of the run closed them.
    pub(crate) fn new(run: Run, tally: &Tally, up: u32, echo: bool, devices_of: impl Fn(Fault) -> usize) -> Self {
        let (healthy, faulty) = tally.cuts();
        let mut faulty_causes = Causes::default();
        for causes in tally.faulty_cuts.values() {
            Cause::ALL.iter().for_each(|cause| faulty_causes[cause] += causes[cause]);
        }
        let faults = Fault::ALL.into_iter().filter(|fault| devices_of(*fault) > 0).map(|fault| {
            let causes = &tally.faulty_cuts[&fault];
            FaultReport {
                fault: fault.as_str(),
                devices: devices_of(fault),
                cuts: causes.total(),
                own_resets: tally.own_resets[&fault],
                by_cause: by_cause(causes),
            }
        });
        Self {
            program: concat!("pulsegate-swarm ", env!("CARGO_PKG_VERSION")).into(),
            date: crate::clock::date(),
            connects: Connects {
                dials: tally.dials,
                connected: tally.connects,
                reconnects: tally.reconnects,
                failed: by_cause(&tally.failed_dials),
                up_max: tally.up_max,
                up_at_end: up,
                time_us: Quantiles::new(&tally.connect_us),
                errors: tally.errors.iter().map(ToString::to_string).collect(),
            },
            sent: Sent {
                messages: tally.messages.total(),
                by_kind: tally.messages,
                bytes: tally.bytes_sent,
                bytes_received: tally.bytes_received,
                skipped: tally.skipped,
                garbage: tally.garbage,
                spam_heartbeats: tally.spam,
            },
            beats: Beats {
                received: tally.beats,
                answered: tally.answers,
                spacing_error_us: Quantiles::new(&tally.beat_error_us),
            },
            cuts: Cuts {
                healthy,
                faulty,
                own_resets: tally.own_resets.total(),
                healthy_by_cause: by_cause(&tally.healthy_cuts),
                faulty_by_cause: by_cause(&faulty_causes),
            },
            faults: faults.collect(),
            echo: echo.then(|| EchoReport {
                asked: tally.echoes,
                answered: tally.echo_answers,
                round_trip_us: Quantiles::new(&tally.round_trip_us),
            }),
            gateway: None,
            swarm: None,
            samples: Vec::new(),
            run,
        }
    }
}

/// The causes with a count above 0, by their words.
fn by_cause(causes: &Causes) -> BTreeMap<&'static str, u64> {
    causes.iter().map(|(word, count)| (word, *count)).filter(|(_, count)| *count > 0).collect()
}
