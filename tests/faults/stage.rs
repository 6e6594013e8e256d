//! Runs one fault: a gateway, five healthy devices, the fault, and its costs.

use std::fmt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::clock;
use crate::gateway::{Control, Figures, Gateway, Sampler, Start, pause};
use crate::healthy::{Fared, Healthy};

/// A fault.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// Whether it takes long, or needs much of the machine.
    pub(crate) heavy: bool,
    /// Returns the start of the gateway, or the reason why this machine cannot run the fault.
    pub(crate) prepare: fn(&mut Start) -> Result<(), String>,
    pub(crate) act: fn(&mut Stage),
}

impl Fault {
    pub(crate) fn quick(name: &'static str, act: fn(&mut Stage)) -> Self {
        Self { name, heavy: false, prepare: |_| Ok(()), act }
    }

    pub(crate) fn heavy(name: &'static str, act: fn(&mut Stage)) -> Self {
        Self { heavy: true, ..Self::quick(name, act) }
    }

    /// Runs with a special start of the gateway.
    pub(crate) fn with(self, prepare: fn(&mut Start) -> Result<(), String>) -> Self {
        Self { prepare, ..self }
    }
}

/// The environment of a fault.
pub(crate) struct Stage {
    pub(crate) gateway: Gateway,
    pub(crate) control: Control,
    pub(crate) healthy: Healthy,
    /// The limits of its costs, which a fault may raise.
    pub(crate) may: Bounds,
    /// Whether the fault itself ends the gateway.
    pub(crate) has_ended: bool,
}

/// The limits of a fault's costs.
pub(crate) struct Bounds {
    /// The growth of RSS during the fault, and after it.
    pub(crate) growth_kib: u64,
    pub(crate) stay_kib: u64,
    pub(crate) log_lines: u64,
    /// The longest latency of a healthy device's message.
    pub(crate) delay: Duration,
    /// The time until the number of file descriptors is the same as at the start.
    pub(crate) settle: Duration,
}

/// The machine may be busy, so this limit only finds a gateway that forgets a device. `tests/turns.rs` bounds turns.
const DELAY: Duration = Duration::from_secs(30);
/// From this age on a device has had a beat, at an interval of 2 s.
const BEATEN: Duration = Duration::from_secs(10);

impl Default for Bounds {
    fn default() -> Self {
        Self { growth_kib: 8 << 10, stay_kib: 6 << 10, log_lines: 1_000, delay: DELAY, settle: Duration::from_secs(15) }
    }
}

/// The result of a fault.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
    took: Duration,
    before: Figures,
    peak: Figures,
    during: Figures,
    after: Figures,
    fared: Option<Fared>,
}

pub(crate) enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

pub(crate) fn run(fault: &Fault) -> Row {
    let begun = clock();
    let mut start = Start::default();
    if let Err(why) = (fault.prepare)(&mut start) {
        return Row::skipped(fault.name, why);
    }
    let gateway = Gateway::start(&fault.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"), &start);
    let healthy = Healthy::join(gateway.tcp, &gateway.control_path());
    let control = gateway.control();
    let mut stage = Stage { gateway, control, healthy, may: Bounds::default(), has_ended: false };
    pause(Duration::from_millis(300));
    let before = stage.gateway.figures();
    let sampler = Sampler::start(stage.gateway.pid());
    (fault.act)(&mut stage);
    let mut during = stage.gateway.figures();
    during.cpu = during.cpu.max(before.cpu);
    let peak = sampler.peak();
    let Stage { mut gateway, healthy, may, has_ended, control } = stage;
    if !has_ended {
        gateway.until_in(may.settle, "descriptors are what they were", |gateway| {
            gateway.figures().descriptors <= before.descriptors
        });
        pause(Duration::from_millis(300));
    }
    let mut after = gateway.figures();
    if has_ended {
        // The gateway has ended, so nothing can be measured.
        after = Figures { log: after.log, cpu: before.cpu, ..Figures::default() };
    }
    drop(sampler);
    drop(control);
    let age = healthy.age();
    let fared = healthy.end(has_ended);
    let mut faults = fared.faults.clone();
    let mut demand = |holds: bool, what: String| {
        if !holds {
            faults.push(what);
        }
    };
    let grown = |now: Figures| now.rss_kib.saturating_sub(before.rss_kib);
    demand(grown(peak) <= may.growth_kib, format!("RSS grew by {} KiB of {}", grown(peak), may.growth_kib));
    if !has_ended {
        demand(grown(after) <= may.stay_kib, format!("{} KiB of RSS stayed, of {}", grown(after), may.stay_kib));
    }
    let lines = after.log - before.log;
    demand(lines <= may.log_lines, format!("{lines} log lines of {}", may.log_lines));
    demand(fared.longest <= may.delay, format!("a message took {:?} of {:?}", fared.longest, may.delay));
    // Twice the number that `Healthy::join` waits for.
    demand(fared.messages >= 50 || has_ended, format!("only {} messages in {age:?}", fared.messages));
    demand(fared.commands > 0 && (fared.beats > 0 || age < BEATEN), "no commands or beats".into());
    if !has_ended {
        gateway.signal(Signal::SIGTERM);
        let code = gateway.wait();
        demand(code == Some(0), format!("the gateway ended with {code:?}: {:?}", gateway.log_tail()));
    }
    let outcome = if faults.is_empty() { Outcome::Passed } else { Outcome::Failed(faults.join("; ")) };
    Row { name: fault.name, outcome, took: clock() - begun, before, peak, during, after, fared: Some(fared) }
}

impl Row {
    fn empty(name: &'static str, outcome: Outcome) -> Self {
        let none = Figures::default();
        Self { name, outcome, took: Duration::ZERO, before: none, peak: none, during: none, after: none, fared: None }
    }

    pub(crate) fn skipped(name: &'static str, why: String) -> Self {
        Self::empty(name, Outcome::Skipped(why))
    }

    pub(crate) fn failed(name: &'static str, why: String) -> Self {
        Self::empty(name, Outcome::Failed(why))
    }

    fn cells(&self) -> [String; 12] {
        let outcome = match &self.outcome {
            Outcome::Passed => "ok",
            Outcome::Skipped(_) => "SKIPPED",
            Outcome::Failed(_) => "FAILED",
        };
        let Self { before, peak, during, after, .. } = self;
        let Some(fared) = &self.fared else {
            return [self.name, outcome, "", "", "", "", "", "", "", "", "", ""].map(str::to_owned);
        };
        [
            self.name.to_owned(),
            outcome.to_owned(),
            format!("{:.1}", self.took.as_secs_f64()),
            before.rss_kib.to_string(),
            peak.rss_kib.to_string(),
            after.rss_kib.to_string(),
            format!("{}/{}/{}", before.descriptors, peak.descriptors, after.descriptors),
            format!("{:.2}", before.cpu),
            format!("{:.2}", during.cpu - before.cpu),
            format!("{:.2}", (after.cpu - during.cpu).max(0.0)),
            format!("{}/{}/{}", before.log, during.log - before.log, after.log - during.log),
            format!("{} {:.0}", fared.messages, fared.longest.as_secs_f64() * 1e3),
        ]
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [name, outcome, took, ..] = self.cells();
        write!(f, "fault {name} ... {outcome} {took}")?;
        if let Outcome::Failed(why) | Outcome::Skipped(why) = &self.outcome {
            write!(f, ": {why}")?;
        }
        Ok(())
    }
}

const HEAD: [&str; 12] = [
    "fault",
    "",
    "s",
    "RSS KiB",
    "peak",
    "after",
    "descriptors",
    "CPU s",
    "during",
    "after",
    "log lines",
    "healthy: messages, longest ms",
];

/// Prints the costs of each fault. Three numbers are before, during and after it.
pub(crate) fn table(rows: &[Row]) -> String {
    let cells: Vec<_> = [HEAD.map(str::to_owned)].into_iter().chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| cells.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 12] = std::array::from_fn(width);
    let mut text = String::new();
    for row in cells {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let cell = if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            text.push_str(&cell);
            text.push_str("  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
