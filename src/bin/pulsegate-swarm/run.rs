//! One run: finds the gateway, runs the event loop, ends in order and reports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pulsegate::TurnLimits;
use pulsegate::unstable::reactor::Reactor;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::clock::{self, Clock};
use crate::costs::CostMeter;
use crate::finder;
use crate::fleet::Fleet;
use crate::options::Options;
use crate::process::Process;
use crate::report::{Report, Run};
use crate::status::Status;
use crate::tally::Tally;
use crate::timeline::Timeline;

/// Runs the whole simulation. The error is a sentence for people.
pub(crate) fn run(options: &Options) -> Result<Report, String> {
    let stop = catch_signals().map_err(|error| format!("cannot catch signals: {error}"))?;
    raise_descriptors(options.devices)?;
    let gateway = gateway_of(options)?;
    let process = match options.pid {
        Some(pid) => {
            let process = Process::new(pid);
            if process.usage().is_none() {
                return Err(format!("cannot read the memory and CPU time of process {pid}"));
            }
            Some(process)
        }
        None => Process::listening_at(gateway),
    };
    let budget = TurnLimits { events_per_turn_max: 4096, ..TurnLimits::default() };
    let reactor = Reactor::new(budget).map_err(|error| format!("cannot create the event loop: {error}"))?;
    let epoch = clock::now();
    let clock = Clock::new(epoch);
    let mut swarm = CostMeter::default();
    if let Some(usage) = Process::own().usage() {
        // The figure without devices.
        swarm.record(usage, &Tally::new(), options.devices);
    }
    let mut simulation = Simulation {
        options,
        reactor,
        clock,
        fleet: Fleet::new(options, gateway, clock, epoch),
        timeline: Timeline::new(options.duration, process.clone()),
        next_sample: epoch,
        status: Status::new(options.quiet, options.duration, epoch),
        gateway: CostMeter::default(),
        swarm,
    };
    simulation.sample(epoch);
    simulation.timeline.samples.clear();
    let until = epoch + options.duration;
    simulation.turn_until(until, |_| stop.load(Ordering::Relaxed))?;
    let interrupted = stop.load(Ordering::Relaxed);
    let ended = clock::now();
    simulation.sample(ended);
    let up = simulation.fleet.tally().up;
    simulation.end(ended)?;

    let fleet = &simulation.fleet;
    let run = Run::new(options, gateway.to_string(), clock.passed(ended).as_secs_f64(), interrupted);
    let mut report = Report::new(run, fleet.tally(), up, options.echo, |fault| fleet.count(fault));
    report.gateway = process.and_then(|process| simulation.gateway.costs(process.pid));
    report.swarm = simulation.swarm.costs(std::process::id());
    if let Some(swarm) = report.swarm.as_mut().filter(|_| options.devices < 1000) {
        // With few devices, most of the memory is the corpus.
        swarm.bytes_per_device = None;
    }
    report.samples = simulation.timeline.samples;
    Ok(report)
}

/// The state of a run.
struct Simulation<'a> {
    options: &'a Options,
    reactor: Reactor,
    clock: Clock,
    fleet: Fleet,
    timeline: Timeline,
    next_sample: Instant,
    status: Status,
    gateway: CostMeter,
    swarm: CostMeter,
}

impl Simulation<'_> {
    /// Runs the event loop until `until`, or until `done` returns true.
    fn turn_until(&mut self, until: Instant, mut done: impl FnMut(&Fleet) -> bool) -> Result<(), String> {
        loop {
            let now = clock::now();
            if now >= until || done(&self.fleet) {
                return Ok(());
            }
            if now >= self.next_sample && !self.fleet.is_ending() {
                self.sample(now);
            }
            if let Some(sample) = self.timeline.samples.last() {
                self.status.show(self.clock.passed(now), sample, self.fleet.tally(), now);
            }
            // A signal just before the wait does not end the wait, so the wait is short.
            let wake = [until, self.next_sample, now + SIGNAL_LATENCY_MAX];
            let wake = wake.into_iter().chain(self.status.next()).min().unwrap_or(until);
            self.fleet.wake_at(wake.max(now + Duration::from_millis(1)));
            self.reactor.turn(&mut self.fleet).map_err(|error| format!("the event loop failed: {error}"))?;
        }
    }

    fn sample(&mut self, now: Instant) {
        let devices = self.options.devices;
        if let Some(usage) = self.timeline.sample(&mut self.fleet, &self.clock, now) {
            self.gateway.record(usage, self.fleet.tally(), devices);
        }
        if let Some(usage) = Process::own().usage() {
            self.swarm.record(usage, self.fleet.tally(), devices);
        }
        self.next_sample = now + self.timeline.interval;
    }

    /// Ends the run. The devices finish their objects, and the gateway gets time to read them, so that it has read
    /// every object that counts as sent. Then the connections close.
    fn end(&mut self, now: Instant) -> Result<(), String> {
        self.status.print("ending");
        self.fleet.end();
        self.turn_until(now + FINISH_TIMEOUT, |fleet| !fleet.is_sending())?;
        self.turn_until(clock::now() + READ_TIME, |_| false)?;
        while self.fleet.close_some(CLOSE_BATCH) {
            self.turn_until(clock::now() + CLOSE_PAUSE, |_| false)?;
        }
        self.status.clear();
        Ok(())
    }
}

/// The longest time from a signal to the reaction.
const SIGNAL_LATENCY_MAX: Duration = Duration::from_millis(200);
/// Time for the devices to finish their objects.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the gateway to read the bytes that the kernel has taken.
const READ_TIME: Duration = Duration::from_millis(500);
/// Connections that close at once. A pause follows each batch.
const CLOSE_BATCH: usize = 1000;
const CLOSE_PAUSE: Duration = Duration::from_millis(5);

/// Returns a flag that the first SIGINT or SIGTERM sets. A second signal ends the process at once.
fn catch_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // This order matters: at the first signal the conditional shutdown must see an unset flag.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Raises the limit of file descriptors to the hard limit, and fails if that is too low.
fn raise_descriptors(devices: u32) -> Result<(), String> {
    let failed = |error| format!("cannot read or raise the limit of open files: {error}");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(failed)?;
    }
    let needed = u64::from(devices) + OWN_DESCRIPTORS;
    if hard < needed {
        return Err(format!("{devices} devices need {needed} open files, but the limit (ulimit -Hn) is {hard}"));
    }
    Ok(())
}

/// File descriptors of the process itself: standard streams, epoll, files of /proc.
const OWN_DESCRIPTORS: u64 = 32;

fn gateway_of(options: &Options) -> Result<SocketAddr, String> {
    if let Some(gateway) = options.gateway {
        return Ok(gateway);
    }
    let found = finder::find(options.discovery).map_err(|error| format!("cannot send a probe: {error}"))?;
    let found = found.ok_or("no gateway answers the probes: name its address with --gateway")?;
    Ok(SocketAddr::new(found.ip().to_canonical(), options.port))
}
