//! The checks of the promises for all devices: P1 (memory), P2 (healthy devices are unaffected), P3 (liveness timeouts),
//! P4 (every byte is delivered or counted) and P5 (the delivery of commands).

use std::time::Duration;

use super::books::Meaning;
use super::common::TICK;
use super::world::{SECOND, World};
use pulsegate::Stats;

/// Steps between two full checks.
const STEPS_PER_AUDIT: usize = 64;
/// How long what can be read or written may be left alone: for want of the kernel's memory it is tried again every 100 ms.
const NEGLECT: Duration = Duration::from_secs(2);

impl World {
    /// Runs the cheap checks after every step. The others run after every step of a close run, else from time to time.
    pub(super) fn audit(&mut self) {
        let (held, _) = self.network.gateway.parts(self.network.now).1.memory();
        let budget = self.settings.limits.memory_budget as usize;
        let parts = self.network.buffered();
        assert!(held <= self.held_max, "{held} bytes are held, {} may be: {parts:?}", self.held_max);
        // After a reload the large objects that had begun finish in the old budget.
        if held <= budget / 2 {
            self.held_max = budget;
        }
        if self.network.open() >= self.network.descriptors_max {
            self.exhausted_at = self.network.now;
        }
        // A walk over thousands of devices after every step would take too long.
        if self.steps.is_multiple_of(1 + self.connections / 16) {
            self.network.check_invariants();
        }
        if self.stage.closely || self.steps.is_multiple_of(STEPS_PER_AUDIT + self.connections) {
            self.audit_all();
        }
    }

    pub(super) fn audit_all(&mut self) {
        self.network.check_invariants();
        self.audit_pending();
        self.audit_names();
        self.locals.audit(&self.network, self.neglect());
        let mut unfinished = 0;
        for link in 0..self.devices.len() {
            if self.network.links[link].local {
                continue;
            }
            let text = &self.network.links[link].text;
            let device = &mut self.devices[link];
            let agrees = device.queued.get(device.compared..text.len()) == Some(&text[device.compared..]);
            assert!(agrees, "device {link} got other commands than were queued for it");
            device.compared = text.len();
            if device.ended {
                continue;
            }
            let denied = device.denied;
            assert!(denied.is_none_or(|at| self.time_since(at) <= NEGLECT), "device {link} may no longer be connected");
            if !self.is_heard(link) {
                continue;
            }
            assert!(self.stopped || self.next_part(link).is_none(), "device {link}: an object was not shown");
            unfinished += self.partial(link).map_or(0, |(_, bytes)| bytes as u64);
            // During a stop the device may be closing, until the stop is over.
            if !self.stopped {
                self.audit_device(link);
            }
        }
        if let Some(at) = self.stopped_at {
            let left = self.network.gateway.connections();
            assert!(left == 0 || self.time_since(at) <= SECOND + TICK * 2, "{left} devices outlive the stop");
        }
        let stats = self.network.stats();
        let devices = self.network.links.iter().filter(|link| !link.local);
        let sums = devices.fold((0, 0), |(delivered, taken), link| (delivered + link.delivered, taken + link.taken));
        assert_eq!((stats.received_bytes, stats.sent_bytes), sums);
        if !self.stopped {
            assert_eq!(
                stats.received_bytes,
                counted(&stats) + unfinished,
                "bytes are lost or counted twice: {stats:?}"
            );
        }
    }

    fn audit_device(&mut self, link: usize) {
        let (state, device) = (&self.network.links[link], &self.devices[link]);
        let neglect = self.neglect();
        let unsent = self.network.unsent_for(link);
        assert!(unsent <= neglect, "device {link} could have taken bytes for {unsent:?}");
        let stall = self.time_since(state.taken_at.max(state.waiting_since));
        assert!(!state.waiting || stall <= SECOND * 30 + NEGLECT, "device {link} takes nothing for {stall:?}");
        if self.stage.tight {
            // The device may be paused until others are complete.
            return;
        }
        let unread = self.network.unread_for(link);
        assert!(unread <= neglect, "device {link} could have been read for {unread:?}");
        let begun = device.sent.front().is_some_and(|part| matches!(part.what, Meaning::Begun));
        // Bytes that the device takes are a sign of life.
        let age = self.time_since(device.heard.max(state.unblocked_at));
        let most = self.patience().0;
        assert!(
            !begun || age <= most + self.interval.0 + SECOND * 32,
            "device {link} is {age:?} in an object and lives"
        );
        let spoken = state.delivered_at.max(device.heard);
        let heard = spoken.max(state.unblocked_at);
        let silence = self.time_since(heard);
        // The first beat after the kernel took bytes costs no credit, even if an object came between the two.
        let is_free = state.unblocked_at > device.came && state.unblocked_at + self.interval.0 > spoken;
        let most = if is_free { most + self.interval.0 } else { most };
        // A shorter interval and then a longer one may delay a beat by their difference.
        let reloads = self.reloads.iter().filter(|at| **at > heard).count() as u32;
        assert!(
            silence <= most + TICK * 2 + self.interval.0 * (reloads / 2),
            "device {link} has been silent for {silence:?} and lives"
        );
    }

    /// The accept queue drains after a lack of file descriptors.
    fn audit_pending(&mut self) {
        let links = &self.network.links;
        // Some streams have failed before they were accepted.
        let devices = &mut self.devices;
        self.pending.retain(|&link| {
            let lost = links[link].broken && links[link].id.is_none();
            devices[link].ended |= lost;
            !lost
        });
        for &link in &self.pending {
            let wait = self.time_since(self.devices[link].came.max(self.exhausted_at));
            assert!(wait <= SECOND * 10, "device {link} has waited for {wait:?} to be accepted");
        }
    }

    /// Returns the longest time that a ready socket may be left alone. A stopped process does nothing.
    fn neglect(&self) -> Duration {
        NEGLECT + self.time_of_jumps_within(NEGLECT * 2)
    }

    fn time_of_jumps_within(&self, last: Duration) -> Duration {
        let recent = self.jumps.iter().filter(|(at, _)| self.network.now - *at <= last);
        recent.map(|(_, duration)| *duration).sum()
    }

    /// Stops the gateway, and asserts that no stream and no memory is left.
    pub(super) fn end(&mut self) {
        self.network.descriptors_max = usize::MAX;
        self.wait(SECOND);
        self.audit_all();
        self.stopped = true;
        self.network.stop();
        let limit = self.network.now + SECOND * 2;
        while !self.network.gateway.is_stopped() {
            assert!(self.network.now <= limit, "the stop is not over");
            assert!(self.network.step(), "the stop is not over, and nothing will happen");
            self.look();
        }
        self.look();
        self.wait(SECOND * 5);
        self.audit_all();
        assert!(self.pending.is_empty(), "{:?} were neither let in nor refused", self.pending);
        let ended = |(link, device): (usize, &super::books::Device)| device.ended || self.network.links[link].local;
        assert!(self.devices.iter().enumerate().all(ended), "some have connected and never ended");
        assert!(self.awaited.is_empty(), "some commands have no delivery");
        assert!(self.named.out.is_empty(), "some commands have no end: {:?}", self.named.out.keys());
        assert_eq!(self.network.unread_datagrams(), 0, "probes are not read");
        let stats = self.network.stats();
        assert_eq!(stats.received_bytes, counted(&stats), "bytes are lost or counted twice: {stats:?}");
        assert_eq!(stats.accepted, self.used.len() as u64);
        assert_eq!(stats.accepted, stats.closed.total());
        assert_eq!(stats.probes, stats.probes_answered + stats.probes_suppressed.total());
        assert_eq!(self.network.answers.len() as u64, stats.probes_answered, "answers, and those that are counted");
        assert_eq!(self.network.buffered().0, 0, "nobody is there, and buffers are held");
        let waits = self.network.links.iter().any(|link| link.local && link.waiting);
        assert!(waits || self.network.buffered().1 == 0, "nothing waits, and buffers are held");
        assert_eq!(self.network.gateway.connections(), 0);
    }
}

/// Returns the sum of all counted bytes.
fn counted(stats: &Stats) -> u64 {
    let objects: u64 = stats.messages.values().iter().chain(stats.rejected.values()).map(|count| count.bytes).sum();
    objects + stats.padding_bytes + stats.unfinished_bytes + stats.discarded_bytes
}
