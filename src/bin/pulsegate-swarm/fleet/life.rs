//! The beginning and the end of a device's connections.

use std::time::Instant;

use super::{Action, Fleet};
use crate::device::{ACTION, Device, Phase, Report};
use crate::faults::Fault;
use crate::schedule::{LIVED, NEVER, back_off, first_due, next_due};
use crate::tally::Cause;

impl Device {
    /// Whether the reactor has a stream for the device.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Up)
    }
}

impl Fleet {
    /// Starts a connection of this device.
    pub(super) fn dial(&mut self, index: u32, now: Instant) {
        let device = &mut self.devices[index as usize];
        device.generation = device.generation.wrapping_add(1);
        device.phase = Phase::Connecting;
        device.since = self.clock.micros(now);
        self.tally.dials += 1;
        self.tally.connecting += 1;
        self.actions.push_back(Action::Connect(index));
    }

    /// Handles an established connection.
    pub(super) fn connected(&mut self, index: u32, now: Instant) {
        let (micros, millis) = (self.clock.micros(now), self.clock.millis(now));
        let periods = self.periods(index);
        let device = &mut self.devices[index as usize];
        let tally = &mut self.tally;
        tally.connecting -= 1;
        tally.connects += 1;
        tally.reconnects += u64::from(device.was_up);
        tally.up += 1;
        tally.up_max = tally.up_max.max(tally.up);
        tally.connect_us.saturating_record(u64::from(micros.wrapping_sub(device.since)));
        device.was_up = true;
        device.phase = Phase::Up;
        device.since = micros;
        if self.ending {
            return;
        }
        for (due, period) in device.due.iter_mut().zip(periods) {
            *due = first_due(millis, period, self.plan.load.together, &mut self.rng);
        }
        device.due[ACTION] = match device.fault {
            Some(Fault::Reset) => millis + 1_000 + self.rng.below(9_000),
            Some(Fault::Spam) => millis + SPAM_PERIOD,
            _ => NEVER,
        };
        if periods[..3] != [NEVER; 3] {
            device.report(Report::Project);
        }
        self.rearm(index);
        self.offer(index);
    }

    /// The periods of the device's reports. A faulty device reports even in an idle fleet, so that its fault shows. A
    /// silent device never reports, because any report refills its credit.
    fn periods(&self, index: u32) -> [u32; 3] {
        match self.devices[index as usize].fault {
            Some(Fault::Silent) => [NEVER; 3],
            Some(_) if self.plan.load.is_idle() => [1_000, NEVER, NEVER],
            _ => self.plan.load.periods(),
        }
    }

    /// Handles the device's due timers.
    pub(super) fn due(&mut self, index: u32, now: u32) {
        let periods = self.periods(index);
        let device = &mut self.devices[index as usize];
        for (timer, report) in [Report::Performance, Report::Status, Report::Picture].into_iter().enumerate() {
            if device.due[timer] <= now {
                device.due[timer] = next_due(device.due[timer], periods[timer], now);
                if !self.ending && !device.report(report) {
                    self.tally.skipped += 1;
                }
            }
        }
        let action = &mut device.due[ACTION];
        if *action <= now {
            *action = NEVER;
            self.run_action(index, now);
        }
        self.offer(index);
    }

    /// Runs the device's action timer: a dial, or a step of its fault.
    fn run_action(&mut self, index: u32, now: u32) {
        let device = &mut self.devices[index as usize];
        match (device.phase, device.fault) {
            (Phase::Down, _) if !self.ending => {
                device.phase = Phase::Queued;
                self.dials.push(index);
            }
            (Phase::Up, Some(Fault::Reset)) => {
                device.own_end = true;
                self.actions.push_back(Action::Close(index, true));
            }
            (Phase::Up, Some(Fault::Spam)) if !self.ending => {
                device.flood = true;
                device.due[ACTION] = now + SPAM_PERIOD;
            }
            (Phase::Up, _) => device.held = false,
            _ => {}
        }
    }

    /// Handles a failed dial.
    pub(super) fn dial_failed(&mut self, index: u32, cause: Option<Cause>, now: Instant) {
        self.tally.connecting -= 1;
        if let Some(cause) = cause.filter(|_| !self.devices[index as usize].own_end) {
            self.tally.failed_dials[&cause] += 1;
        }
        self.retry_later(index, now);
    }

    /// Handles the end of an established connection. Without a `cause`, the device has closed it.
    pub(super) fn ended(&mut self, index: u32, cause: Option<Cause>, now: Instant) {
        let device = &mut self.devices[index as usize];
        self.tally.up -= 1;
        match (cause, device.fault) {
            // The end of the run closes the connection.
            _ if self.ending && device.own_end => {}
            (Some(cause), fault) => self.tally.cut(fault, cause),
            (None, Some(fault)) => self.tally.own_resets[&fault] += 1,
            (None, None) => {}
        }
        if self.clock.micros(now).wrapping_sub(device.since) / 1000 >= LIVED {
            device.failures = 0;
        }
        self.retry_later(index, now);
    }

    /// Schedules the next dial after a back-off.
    fn retry_later(&mut self, index: u32, now: Instant) {
        let device = &mut self.devices[index as usize];
        device.clear();
        device.phase = Phase::Down;
        device.failures = device.failures.saturating_add(1);
        if !self.ending {
            let wait = back_off(device.failures, &mut self.rng);
            device.due[ACTION] = self.clock.millis(now).saturating_add(wait);
        }
        self.rearm(index);
    }
}

/// Milliseconds from one flood of heartbeats to the next.
const SPAM_PERIOD: u32 = 20;
