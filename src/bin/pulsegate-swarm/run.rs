//! One run: finds the gateway, turns the loop, ends it in good order, and reports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pulsegate::TurnLimits;
use pulsegate::unstable::reactor::Reactor;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::clock::{self, Clock};
use crate::finder;
use crate::fleet::Fleet;
use crate::options::Options;
use crate::process::Process;
use crate::report::{Report, Run};
use crate::status::Status;
use crate::tally::Tally;
use crate::timeline::Timeline;
use crate::watch::Watch;

/// Runs the whole simulation.
///
/// # Errors
/// Why it could not be done, in a sentence.
pub(crate) fn run(options: &Options) -> Result<Report, String> {
    let stop = catch_signals().map_err(|error| format!("signals cannot be caught: {error}"))?;
    raise_descriptors(options.devices)?;
    let gateway = gateway_of(options)?;
    let process = match options.pid {
        Some(pid) => {
            let process = Process::new(pid);
            if process.usage().is_none() {
                return Err(format!("there is no process {pid} that can be watched"));
            }
            Some(process)
        }
        None => Process::listening_at(gateway),
    };
    let budget = TurnLimits { events_per_turn_max: 4096, ..TurnLimits::default() };
    let reactor = Reactor::new(budget).map_err(|error| format!("the event loop cannot be set up: {error}"))?;
    let epoch = clock::now();
    let clock = Clock::new(epoch);
    let mut swarm = Watch::default();
    if let Some(usage) = Process::own().usage() {
        // Before the devices take their memory.
        swarm.see(usage, &Tally::new(), options.devices);
    }
    let mut play = Play {
        options,
        reactor,
        clock,
        fleet: Fleet::new(options, gateway, clock, epoch),
        timeline: Timeline::new(options.duration, process.clone()),
        next_sample: epoch,
        status: Status::new(options.quiet, options.duration, epoch),
        gateway: Watch::default(),
        swarm,
    };
    play.sample(epoch);
    play.timeline.samples.clear();
    let until = epoch + options.duration;
    play.turn_until(until, |_| stop.load(Ordering::Relaxed))?;
    let interrupted = stop.load(Ordering::Relaxed);
    let ended = clock::now();
    play.sample(ended);
    let up = play.fleet.tally().up;
    play.end(ended)?;

    let fleet = &play.fleet;
    let run = Run::new(options, gateway.to_string(), clock.passed(ended).as_secs_f64(), interrupted);
    let mut report = Report::new(run, fleet.tally(), up, options.echo, |fault| fleet.count(fault));
    report.gateway = process.and_then(|process| play.gateway.costs(process.pid));
    report.swarm = play.swarm.costs(std::process::id());
    if let Some(swarm) = report.swarm.as_mut().filter(|_| options.devices < 1000) {
        // The corpus would be most of it.
        swarm.bytes_per_device = None;
    }
    report.samples = play.timeline.samples;
    Ok(report)
}

/// A run that is going on.
struct Play<'a> {
    options: &'a Options,
    reactor: Reactor,
    clock: Clock,
    fleet: Fleet,
    timeline: Timeline,
    next_sample: Instant,
    status: Status,
    gateway: Watch,
    swarm: Watch,
}

impl Play<'_> {
    /// Turns the loop until then, or until `done`.
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
            // A signal that comes just before the wait is seen no later than this.
            let wake = [until, self.next_sample, now + SIGNAL_PATIENCE];
            let wake = wake.into_iter().chain(self.status.next()).min().unwrap_or(until);
            self.fleet.wake_at(wake.max(now + Duration::from_millis(1)));
            self.reactor.turn(&mut self.fleet).map_err(|error| format!("the event loop failed: {error}"))?;
        }
    }

    fn sample(&mut self, now: Instant) {
        let devices = self.options.devices;
        if let Some(usage) = self.timeline.sample(&mut self.fleet, &self.clock, now) {
            self.gateway.see(usage, self.fleet.tally(), devices);
        }
        if let Some(usage) = Process::own().usage() {
            self.swarm.see(usage, self.fleet.tally(), devices);
        }
        self.next_sample = now + self.timeline.interval;
    }

    /// Ends the run such that what was counted as sent has been read: everything begun is finished,
    /// then the gateway is given time to read it, and only then come the closes.
    fn end(&mut self, now: Instant) -> Result<(), String> {
        self.status.say("ending");
        self.fleet.end();
        self.turn_until(now + FINISH_PATIENCE, |fleet| !fleet.is_sending())?;
        self.turn_until(clock::now() + SETTLE, |_| false)?;
        while self.fleet.close_some(CLOSE_BATCH) {
            self.turn_until(clock::now() + CLOSE_PAUSE, |_| false)?;
        }
        self.status.clear();
        Ok(())
    }
}

/// The longest wait for a signal to be noticed.
const SIGNAL_PATIENCE: Duration = Duration::from_millis(200);
/// How long devices may take to finish what they are sending.
const FINISH_PATIENCE: Duration = Duration::from_secs(5);
/// How long a gateway may take to read what is on its way.
const SETTLE: Duration = Duration::from_millis(500);
/// So many connections are closed at once, and then a pause is made.
const CLOSE_BATCH: usize = 1000;
const CLOSE_PAUSE: Duration = Duration::from_millis(5);

/// Set by the first SIGINT or SIGTERM; a second one ends the process at once.
fn catch_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag still down.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Takes as many descriptors as the system allows, and says if that is too few.
fn raise_descriptors(devices: u32) -> Result<(), String> {
    let told = |error| format!("the limit of open files cannot be read or raised: {error}");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(told)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(told)?;
    }
    let needed = u64::from(devices) + OWN_DESCRIPTORS;
    if hard < needed {
        return Err(format!("{devices} devices need {needed} open files, but the limit (ulimit -Hn) is {hard}"));
    }
    Ok(())
}

/// Descriptors besides the devices': streams, epoll, and what reading /proc takes.
const OWN_DESCRIPTORS: u64 = 32;

fn gateway_of(options: &Options) -> Result<SocketAddr, String> {
    if let Some(gateway) = options.gateway {
        return Ok(gateway);
    }
    let found = finder::find(options.discovery).map_err(|error| format!("no probe can be sent: {error}"))?;
    let found = found.ok_or("no gateway answers to discovery; give its address with --gateway")?;
    Ok(SocketAddr::new(found.ip().to_canonical(), options.port))
}
