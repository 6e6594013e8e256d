//! The model of what every device has sent and received. It is independent of the gateway, and the callbacks must agree
//! with it.

use std::collections::VecDeque;
use std::hash::Hash;
use std::time::Instant;

use super::common::{Seen, brief};
use super::names::refused_commands;
use super::world::World;
use pulsegate::unstable::proto::heartbeat::ANSWER;
use pulsegate::{Delivery, MessageError, Name, Reason};

/// The model of a device, beside its link with the same index.
pub(super) struct Device {
    /// Sent parts of the stream that the gateway has not delivered, in order.
    pub(super) sent: VecDeque<Part>,
    pub(super) refused_in_a_row: usize,
    /// The time of its last accepted object, or of its connect.
    pub(super) heard: Instant,
    /// The time of its dial.
    pub(super) came: Instant,
    /// The time since which it has behaved well.
    pub(super) good: Option<Instant>,
    /// Sends no more: its last object has no end or is a fault, or it has closed.
    pub(super) mute: bool,
    pub(super) half_closed: bool,
    pub(super) reset: bool,
    pub(super) removed: bool,
    /// The first name that it claimed.
    pub(super) claimed: Option<Name>,
    /// Another connection has taken its name.
    pub(super) replaced: bool,
    /// The time of rules that forbid it. Later rules may allow it again.
    pub(super) denied: Option<Instant>,
    pub(super) ended: bool,
    /// The commands that were queued for it.
    pub(super) queued: Vec<u8>,
    /// The bytes of them that it has received.
    pub(super) compared: usize,
}

/// A tagged command.
pub(super) struct Awaited {
    pub(super) link: usize,
    /// Its end in the bytes of all commands to the device.
    pub(super) end: usize,
}

/// A part of a device's stream.
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) what: Meaning,
}

pub(super) enum Meaning {
    Object(Vec<u8>),
    Heartbeat,
    Rejected(Reason),
    Padding,
    Garbage,
    Huge,
    Begun,
}

impl Device {
    pub(super) fn new(good: bool, now: Instant) -> Self {
        Self {
            sent: VecDeque::new(),
            refused_in_a_row: 0,
            heard: now,
            came: now,
            good: good.then_some(now),
            mute: false,
            half_closed: false,
            reset: false,
            removed: false,
            claimed: None,
            replaced: false,
            denied: None,
            ended: false,
            queued: Vec::new(),
            compared: 0,
        }
    }
}

impl World {
    /// Compares the callbacks with the model, and from time to time the whole state.
    pub(super) fn look(&mut self) {
        self.steps += 1;
        let now = self.network.now;
        self.outcome.device_time += (now - self.looked_at) * self.connections as u32;
        self.looked_at = now;
        let mut lines = Vec::new();
        let log = std::mem::take(&mut self.network.log);
        let refused = refused_commands(&log);
        for (_, seen) in log {
            match &seen {
                Seen::Message(id, bytes) => (id, bytes).hash(&mut self.digest),
                other => format!("{other:?}").hash(&mut self.digest),
            }
            match seen {
                Seen::Sent(tag, delivery) => self.delivered(tag, delivery),
                Seen::Refused(address, refusal) => self.refused(address, refusal),
                Seen::Connect(id, address) => self.let_in(id, address),
                Seen::Message(id, bytes) => {
                    self.shown(self.ids[&id], &bytes);
                    self.named.last_shown = Some((self.ids[&id], bytes.clone()));
                    lines.push(format!("{id} said {} bytes\n", bytes.len()));
                }
                Seen::Rejected(id, error) => self.rejected(self.ids[&id], &error),
                Seen::Disconnect(id, _, end) => {
                    self.named.gone(id);
                    self.ended(self.ids[&id], &end);
                }
                Seen::Identified(id, name) => self.identified(id, name, &refused),
                Seen::Command(command, end, answer) => self.command_ended(command, end, answer.as_deref()),
                Seen::Opened(_) | Seen::Received(..) | Seen::End(_) | Seen::Gone(_) => {}
            }
        }
        self.connections = self.network.gateway.connections();
        self.locals.write(&mut self.network, &lines, self.stage.tight);
        // Heartbeat answers cause no callback, but their times matter.
        for link in std::mem::take(&mut self.network.senders) {
            self.next_part(link);
        }
        self.audit();
    }

    pub(super) fn note(&mut self, link: usize, start: u64, end: u64, what: Meaning) {
        self.note_answers(link);
        self.devices[link].sent.push_back(Part { start, end, what });
    }

    /// The link itself sends heartbeat answers.
    pub(super) fn note_answers(&mut self, link: usize) {
        for start in std::mem::take(&mut self.network.links[link].answered) {
            let end = start + ANSWER.len() as u64;
            self.devices[link].sent.push_back(Part { start, end, what: Meaning::Heartbeat });
        }
    }

    /// Returns the next part of the stream that causes a callback, if it is complete.
    pub(super) fn next_part(&mut self, link: usize) -> Option<&Part> {
        self.note_answers(link);
        let delivered = self.network.links[link].delivered;
        let (device, at) = (&mut self.devices[link], self.network.links[link].delivered_at);
        while let Some(part) = device.sent.front().filter(|part| part.end <= delivered) {
            match part.what {
                Meaning::Heartbeat => (device.heard, device.refused_in_a_row) = (at, 0),
                Meaning::Padding => {}
                _ => break,
            }
            device.sent.pop_front();
        }
        device.sent.front().filter(|part| part.end <= delivered)
    }

    fn shown(&mut self, link: usize, bytes: &[u8]) {
        let now = self.network.now;
        match self.next_part(link).map(|part| &part.what) {
            Some(Meaning::Object(expected)) if expected == bytes => {}
            Some(Meaning::Object(other)) => panic!("device {link}: {} instead of {}", brief(bytes), brief(other)),
            _ => panic!("device {link} has not sent {}", brief(bytes)),
        }
        let device = &mut self.devices[link];
        device.sent.pop_front();
        (device.heard, device.refused_in_a_row) = (now, 0);
    }

    fn rejected(&mut self, link: usize, error: &MessageError) {
        match self.next_part(link) {
            Some(Part { start, end, what: Meaning::Rejected(reason) })
                if *reason == error.reason && (*start..*end).contains(&error.offset) => {}
            _ => panic!("device {link} has not sent a rejected object: {error}"),
        }
        self.devices[link].sent.pop_front();
        self.devices[link].refused_in_a_row += 1;
    }

    /// Checks the delivery of a command: it is reported once, before the end of its device, and correctly.
    fn delivered(&mut self, tag: u64, delivery: Delivery) {
        let awaited = self.awaited.remove(&tag).unwrap_or_else(|| panic!("{delivery:?} of a command nobody awaits"));
        let (state, device) = (&self.network.links[awaited.link], &self.devices[awaited.link]);
        assert!(!device.ended, "device {} has ended before the delivery {delivery:?} of its command", awaited.link);
        let sent = awaited.end as u64 <= state.text_taken;
        assert_eq!(delivery == Delivery::Sent, sent, "device {}: wrong delivery {delivery:?}", awaited.link);
    }

    /// Returns the position and the received bytes of the partial object.
    pub(super) fn partial(&self, link: usize) -> Option<(u64, usize)> {
        let delivered = self.network.links[link].delivered;
        let part = self.devices[link].sent.front().filter(|part| part.start < delivered)?;
        let object = !matches!(part.what, Meaning::Padding);
        object.then(|| (part.start, (delivered - part.start) as usize))
    }
}
