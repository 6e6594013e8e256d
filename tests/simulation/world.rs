//! The books: what every device has said and was sent, kept apart from the gateway, and compared with what it did.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::action::{Action, By, Nature, OBJECT_BYTES_MAX, What};
use super::common::{Network, Seen, TICK, brief, object, object_of, rejected_samples, v4};
use pulsegate::endpoint::Via;
use pulsegate::proto::heartbeat::ANSWER;
use pulsegate::{
    CloseReason, ConnectionId, Delivery, Disconnect, FramingFault, MessageError, Reason, SendError, Settings, Stats,
    Target,
};

const SECOND: Duration = Duration::from_secs(1);
/// Steps between two looks at everything; the rest is looked at as it happens.
const STEPS_PER_AUDIT: u64 = 64;

pub(crate) struct World {
    network: Network,
    devices: Vec<Device>,
    /// By the number in their action.
    numbers: HashMap<usize, usize>,
    ids: HashMap<ConnectionId, usize>,
    used: HashSet<ConnectionId>,
    /// When the process was stopped, and for how long.
    jumps: Vec<(Instant, Duration)>,
    /// Commands by their tags until it is told what has become of them.
    awaited: HashMap<u64, Awaited>,
    stopped: bool,
    /// When the application stopped the gateway, if that was one of the actions.
    stopped_at: Option<Instant>,
    objects: u64,
    steps: u64,
    /// Over all events: two runs of one seed are alike if these are.
    digest: DefaultHasher,
}

/// What is known of a device besides its link, which has the same number.
struct Device {
    /// What it has said and the gateway has not shown yet, in order.
    said: VecDeque<Said>,
    refused_in_a_row: usize,
    /// When an object of it was last accepted, or it connected.
    heard: Instant,
    /// Since when it has answered and read all that it should.
    good: Option<Instant>,
    /// Must not speak any more: what it said last has no end, or is a fault, or it has closed.
    mute: bool,
    half_closed: bool,
    reset: bool,
    removed: bool,
    ended: bool,
    /// The commands that were queued for it.
    queued: Vec<u8>,
    /// How many bytes of them it is known to have received.
    compared: usize,
}

/// A command that the application wants to hear of.
struct Awaited {
    link: usize,
    /// Where it ends among the commands of its device.
    end: usize,
}

/// A part of a device's stream.
struct Said {
    start: u64,
    end: u64,
    what: Meaning,
}

enum Meaning {
    Object(Vec<u8>),
    Heartbeat,
    Rejected(Reason),
    Padding,
    Garbage,
    Huge,
    Begun,
}

impl World {
    /// Lets everything happen, and then come to an end. The same seed and actions give the same number, and the same
    /// counters.
    pub(crate) fn run(seed: u64, actions: &[Action]) -> (u64, Stats) {
        let mut settings = Settings::default();
        settings.limits.object_bytes_max = OBJECT_BYTES_MAX as u32;
        settings.limits.outbox_bytes_max = if seed.is_multiple_of(2) { 3_000 } else { 256 << 10 };
        settings.limits.connections_max = if seed.is_multiple_of(5) { 100 } else { 16_384 };
        let mut world = Self {
            network: Network::seeded(settings, pulsegate::Budget::default(), seed),
            devices: Vec::new(),
            numbers: HashMap::new(),
            ids: HashMap::new(),
            used: HashSet::new(),
            jumps: Vec::new(),
            awaited: HashMap::new(),
            stopped: false,
            stopped_at: None,
            objects: 0,
            steps: 0,
            digest: DefaultHasher::new(),
        };
        for action in actions {
            world.act(action);
            world.look();
        }
        world.end();
        (world.digest.finish(), world.network.stats())
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Wait(ms) => self.wait(Duration::from_millis(*ms)),
            Action::Jump(ms) => {
                let duration = Duration::from_millis(*ms);
                self.network.jump(duration);
                self.jumps.push((self.network.now, duration));
            }
            Action::Connect(nature) => self.connect(nature),
            Action::Say(number, what) => {
                if let Some(link) = self.open(*number).filter(|&link| !self.devices[link].mute) {
                    self.say(link, what);
                }
            }
            Action::HalfClose(number) => {
                if let Some(link) = self.open(*number).filter(|&link| !self.devices[link].half_closed) {
                    let device = &mut self.devices[link];
                    (device.half_closed, device.mute) = (true, true);
                    self.network.links[link].answers = false;
                    self.network.half_close(link);
                }
            }
            Action::Reset(number) => {
                if let Some(link) = self.open(*number) {
                    (self.devices[link].reset, self.devices[link].mute) = (true, true);
                    self.network.links[link].answers = false;
                    self.network.reset(link);
                }
            }
            Action::Vanish(number) => {
                if let Some(link) = self.open(*number) {
                    self.network.links[link].vanished = true;
                    (self.devices[link].good, self.devices[link].mute) = (None, true);
                }
            }
            Action::Answer(number, answers) => {
                if let Some(link) = self.open(*number).filter(|&link| !self.devices[link].mute) {
                    self.network.links[link].answers = *answers;
                    self.judge(link);
                }
            }
            Action::Read(number, reading) => {
                if let Some(link) = self.open(*number).filter(|&link| !self.network.links[link].vanished) {
                    self.network.set_reading(link, *reading);
                    self.judge(link);
                }
            }
            Action::Command(number, by, bytes) => {
                if let Some(&link) = self.numbers.get(number) {
                    self.command(link, *by, *bytes);
                }
            }
            Action::Remove(number, by) => {
                if let Some(&link) = self.numbers.get(number) {
                    self.remove(link, *by);
                }
            }
            Action::Probe(host, count) => {
                for _ in 0..*count {
                    self.network.probe(v4(*host, 40_000), Via::default(), b"?");
                }
                self.network.answers.clear();
            }
            Action::Stop => {
                self.stopped = true;
                self.stopped_at.get_or_insert(self.network.now);
                self.network.stop();
            }
        }
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.network.now + duration;
        while self.network.next_event().is_some_and(|at| at <= end) {
            self.network.step();
            self.look();
        }
        self.network.run_until(end);
    }

    /// The link of a device that the gateway has not ended.
    fn open(&self, number: usize) -> Option<usize> {
        self.numbers.get(&number).copied().filter(|&link| self.network.links[link].open)
    }

    fn connect(&mut self, nature: &Nature) {
        // A few devices behind each address.
        let address = SocketAddr::from(([10, 0, 0, (nature.number % 70) as u8], 1000 + nature.number as u16));
        let full = self.network.gateway.connections()
            >= self.network.gateway.parts(self.network.now).1.settings().limits.connections_max;
        let link = self.network.connect(address);
        let state = &mut self.network.links[link];
        assert_eq!(state.id.is_none(), full || self.stopped, "{address} was let in, or was not");
        state.latency = Duration::from_millis(nature.latency_ms);
        (state.cut, state.window, state.short_writes) = (nature.cut, nature.window, nature.short_writes);
        state.answers = nature.answers;
        self.numbers.insert(nature.number, link);
        if let Some(id) = state.id {
            assert!(self.used.insert(id), "the id {id} is used again");
            self.ids.insert(id, link);
        }
        self.devices.push(Device {
            said: VecDeque::new(),
            refused_in_a_row: 0,
            heard: self.network.now,
            good: nature.answers.then_some(self.network.now),
            mute: false,
            half_closed: false,
            reset: false,
            removed: false,
            ended: self.network.links[link].id.is_none(),
            queued: Vec::new(),
            compared: 0,
        });
    }

    fn judge(&mut self, link: usize) {
        let state = &self.network.links[link];
        let good = state.answers && state.reading && !state.vanished;
        let device = &mut self.devices[link];
        device.good = if good { device.good.or(Some(self.network.now)) } else { None };
    }

    fn say(&mut self, link: usize, what: &What) {
        match *what {
            What::Objects(count) => {
                let all: Vec<_> = (0..count as u64).map(|n| object(self.objects + n)).collect();
                self.objects += count as u64;
                let mut start = self.network.links[link].sent;
                for bytes in &all {
                    let end = start + bytes.len() as u64;
                    self.note(link, start, end, Meaning::Object(bytes.clone()));
                    start = end;
                }
                self.network.send(link, all.concat());
            }
            What::Picture(bytes, piece, pause_ms) => {
                self.objects += 1;
                let picture = object_of(bytes, self.objects);
                let start = self.network.links[link].sent;
                self.note(link, start, start + bytes as u64, Meaning::Object(picture.clone()));
                // As slow as may be, but not so slow that its time is up.
                let pieces = bytes.div_ceil(piece) as u64;
                let pause = Duration::from_millis(pause_ms.min(20_000 / pieces));
                self.network.send_slowly(link, &picture, piece, pause);
            }
            What::Steady(count) => {
                for _ in 0..count {
                    self.objects += 1;
                    let report = object(self.objects);
                    let start = self.network.links[link].sent;
                    self.note(link, start, start + report.len() as u64, Meaning::Object(report.clone()));
                    self.network.send_slowly(link, &report, report.len(), SECOND);
                }
            }
            What::Heartbeats(count) => {
                for _ in 0..count {
                    self.tell(link, ANSWER, Meaning::Heartbeat);
                }
            }
            What::Rejected(kind, count) => {
                let (reason, bytes) = &rejected_samples()[kind];
                for _ in 0..count {
                    self.tell(link, bytes, Meaning::Rejected(*reason));
                }
            }
            What::Padding(bytes) => {
                let padding: Vec<u8> = b" \t\r\n\0".iter().copied().cycle().take(bytes).collect();
                self.tell(link, &padding, Meaning::Padding);
            }
            What::Garbage => self.tell_last(link, &[b"]", &object(0)[..]].concat(), Meaning::Garbage),
            What::Huge => self.tell_last(link, &object_of(OBJECT_BYTES_MAX + 1, 0), Meaning::Huge),
            What::Begin(bytes) => {
                let begun = object_of(4000, 0);
                self.tell_last(link, &begun[..bytes], Meaning::Begun);
            }
            What::Trickle => self.trickle(link),
        }
    }

    fn trickle(&mut self, link: usize) {
        let start = self.network.links[link].sent;
        self.note(link, start, u64::MAX, Meaning::Begun);
        self.network.send_slowly(link, &object_of(100, 0)[..45], 1, SECOND);
        (self.devices[link].mute, self.devices[link].good) = (true, None);
        self.network.links[link].answers = false;
    }

    fn tell(&mut self, link: usize, bytes: &[u8], what: Meaning) {
        let start = self.network.links[link].sent;
        self.note(link, start, start + bytes.len() as u64, what);
        self.network.send(link, bytes);
    }

    /// What cannot be followed by anything that has a meaning.
    fn tell_last(&mut self, link: usize, bytes: &[u8], what: Meaning) {
        let start = self.network.links[link].sent;
        self.note(link, start, u64::MAX, what);
        self.network.send(link, bytes);
        (self.devices[link].mute, self.devices[link].good) = (true, None);
        self.network.links[link].answers = false;
    }

    fn note(&mut self, link: usize, start: u64, end: u64, what: Meaning) {
        self.note_answers(link);
        self.devices[link].said.push_back(Said { start, end, what });
    }

    /// Answers to beats are said by the link itself.
    fn note_answers(&mut self, link: usize) {
        for start in std::mem::take(&mut self.network.links[link].answered) {
            let end = start + ANSWER.len() as u64;
            self.devices[link].said.push_back(Said { start, end, what: Meaning::Heartbeat });
        }
    }

    fn target(&self, link: usize, by: By) -> Target {
        let state = &self.network.links[link];
        match (by, state.id) {
            (By::Id, Some(id)) => id.into(),
            (By::Ip, _) => state.address.ip().into(),
            _ => state.address.into(),
        }
    }

    /// The devices that a target means, the newest last.
    fn meant(&self, link: usize, by: By) -> Vec<usize> {
        let ip = self.network.links[link].address.ip();
        let meant = |other: &usize| match by {
            By::Ip => self.network.links[*other].address.ip() == ip,
            _ => *other == link,
        };
        (0..self.devices.len()).filter(|other| meant(other) && self.is_heard(*other)).collect()
    }

    /// Whether the gateway still listens to a device; while it stops, nobody can tell from outside.
    fn is_heard(&self, link: usize) -> bool {
        let (state, device) = (&self.network.links[link], &self.devices[link]);
        state.open && !state.end_told && !device.removed
    }

    fn command(&mut self, link: usize, by: By, bytes: usize) {
        let meant = self.meant(link, by);
        // Unlike any beat, and unlike the command before.
        let text: Vec<u8> = (0..bytes).map(|n| b'A' + ((self.objects as usize + n) % 26) as u8).collect();
        self.objects += 1;
        let max = self.network.gateway.parts(self.network.now).1.settings().limits.outbox_bytes_max;
        let tag = self.objects;
        match self.network.command_tagged(self.target(link, by), &text, tag) {
            Ok(queued) => {
                let to = self.ids[&queued.id];
                assert!(self.stopped || (Some(&to), queued.of) == (meant.last(), meant.len()), "not the newest: {to}");
                self.devices[to].queued.extend_from_slice(&text);
                self.awaited.insert(tag, Awaited { link: to, end: self.devices[to].queued.len() });
            }
            Err(SendError::NoSuchDevice) => assert!(self.stopped || meant.is_empty(), "device {link} is there"),
            Err(SendError::Full { waiting, max: told }) => {
                assert!(told == max && waiting <= max && waiting + bytes > max, "{waiting} and {bytes} bytes fit");
            }
            Err(error) => panic!("device {link}: {error}"),
        }
    }

    fn remove(&mut self, link: usize, by: By) {
        let meant = self.meant(link, by);
        let count = self.network.remove(self.target(link, by));
        assert!(self.stopped || count == meant.len(), "{count} instead of {} were removed", meant.len());
        for link in meant {
            self.devices[link].removed = true;
        }
    }

    /// Compares what the application was told with the books, and from time to time everything.
    fn look(&mut self) {
        self.steps += 1;
        for (_, seen) in std::mem::take(&mut self.network.log) {
            match &seen {
                Seen::Message(id, bytes) => (id, bytes).hash(&mut self.digest),
                other => format!("{other:?}").hash(&mut self.digest),
            }
            if let Seen::Sent(tag, delivery) = seen {
                self.delivered(tag, delivery);
                continue;
            }
            let Some(link) = seen.id().map(|id| self.ids.get(&id).copied()) else { continue };
            match (link, seen) {
                // It is entered when the call has returned.
                (None, Seen::Connect(id, _)) => assert!(!self.used.contains(&id), "{id} connects twice"),
                (Some(link), Seen::Message(_, bytes)) => self.shown(link, &bytes),
                (Some(link), Seen::Rejected(_, error)) => self.rejected(link, &error),
                (Some(link), Seen::Disconnect(_, _, end)) => self.ended(link, &end),
                (_, Seen::Connect(id, address)) => {
                    assert_eq!(self.network.links[self.ids[&id]].address, address);
                }
                (None, seen) => panic!("of nobody: {seen:?}"),
                (_, Seen::Refused(..) | Seen::Sent(..)) => {}
                (Some(_), Seen::Opened(_) | Seen::Told(..) | Seen::Gone(_)) => {}
            }
        }
        // Answers to beats are not shown, but when they came matters.
        for link in std::mem::take(&mut self.network.spoke) {
            self.next_said(link);
        }
        self.network.check_invariants();
        if self.steps.is_multiple_of(STEPS_PER_AUDIT) {
            self.audit();
        }
    }

    /// The next thing that a device said that the application is to hear of, if it has come whole.
    fn next_said(&mut self, link: usize) -> Option<&Said> {
        self.note_answers(link);
        let delivered = self.network.links[link].delivered;
        let (device, at) = (&mut self.devices[link], self.network.links[link].delivered_at);
        while let Some(said) = device.said.front().filter(|said| said.end <= delivered) {
            match said.what {
                Meaning::Heartbeat => (device.heard, device.refused_in_a_row) = (at, 0),
                Meaning::Padding => {}
                _ => break,
            }
            device.said.pop_front();
        }
        device.said.front().filter(|said| said.end <= delivered)
    }

    fn shown(&mut self, link: usize, bytes: &[u8]) {
        let now = self.network.now;
        match self.next_said(link).map(|said| &said.what) {
            Some(Meaning::Object(expected)) if expected == bytes => {}
            Some(Meaning::Object(other)) => panic!("device {link}: {} instead of {}", brief(bytes), brief(other)),
            _ => panic!("device {link} has not said {}", brief(bytes)),
        }
        let device = &mut self.devices[link];
        device.said.pop_front();
        (device.heard, device.refused_in_a_row) = (now, 0);
    }

    fn rejected(&mut self, link: usize, error: &MessageError) {
        match self.next_said(link) {
            Some(Said { start, end, what: Meaning::Rejected(reason) })
                if *reason == error.reason && (*start..*end).contains(&error.offset) => {}
            _ => panic!("device {link} has not said what is refused: {error}"),
        }
        self.devices[link].said.pop_front();
        self.devices[link].refused_in_a_row += 1;
    }

    fn ended(&mut self, link: usize, end: &Disconnect) {
        assert!(!std::mem::replace(&mut self.devices[link].ended, true), "device {link} ends twice");
        let missing = self.next_said(link).is_some();
        let partial = self.partial(link);
        let (state, device, now) = (&self.network.links[link], &self.devices[link], self.network.now);
        let at_fault = device.said.front().map(|said| (said.start, &said.what));
        let fair = match end.reason {
            CloseReason::Closed => device.half_closed && state.end_told,
            CloseReason::Reset(_) => device.reset,
            CloseReason::Silent => {
                // A beat that is withheld because commands wait cannot be answered.
                let beaten = !state.waiting && self.time_since(state.waited_at) > SECOND * 14;
                let good = beaten && device.good.is_some_and(|since| self.time_since(since) > SECOND * 14);
                // What is heard in a late turn is followed at once by the beat that was due before it; one
                // that is late by less than an interval takes its credit.
                let in_late_turn = self.jumps.iter().any(|(at, _)| *at == device.heard);
                let least = SECOND * if in_late_turn { 8 } else { 10 };
                now - device.heard >= least && !good
            }
            CloseReason::Framing(FramingFault::Timeout, offset) => {
                let begun = now - device.heard >= SECOND * 30;
                begun && at_fault.is_some_and(|(start, what)| start == offset && matches!(what, Meaning::Begun))
            }
            CloseReason::Framing(_, offset) => at_fault
                .is_some_and(|(start, what)| start == offset && matches!(what, Meaning::Garbage | Meaning::Huge)),
            CloseReason::Faulty => device.refused_in_a_row == 16,
            CloseReason::Stalled => now - state.taken_at >= SECOND * 30,
            CloseReason::Removed => device.removed,
            CloseReason::Shutdown => self.stopped,
            _ => false,
        };
        assert!(fair, "device {link} ended unfairly: {end:?}, heard {:?} ago", now - device.heard);
        let heard_to_the_end = !(device.removed || self.stopped || matches!(end.reason, CloseReason::Faulty));
        if heard_to_the_end {
            assert!(!missing, "device {link} ended ({}) with an object that came whole and was not shown", end.reason);
            if !matches!(end.reason, CloseReason::Framing(..)) {
                assert_eq!(end.unfinished, partial, "device {link}: {}", end.reason);
            }
        }
        // All that was queued has been taken or is told to be unsent; besides there were only beats.
        let beats = (state.taken + end.unsent as u64).checked_sub(device.queued.len() as u64);
        assert!(beats.is_some_and(|bytes| bytes % 9 == 0), "device {link}: commands are lost: {end:?}");
    }

    /// What has become of a command: told once, before the end of its device, and true.
    fn delivered(&mut self, tag: u64, delivery: Delivery) {
        let awaited = self.awaited.remove(&tag).unwrap_or_else(|| panic!("{delivery:?} of a command nobody awaits"));
        let (state, device) = (&self.network.links[awaited.link], &self.devices[awaited.link]);
        assert!(!device.ended, "device {} has ended before its command is told {delivery:?}", awaited.link);
        // At most this much of what was taken is of commands, the rest is beats.
        let sent = awaited.end as u64 <= state.taken;
        assert!(sent || delivery != Delivery::Sent, "device {}: a command is sent that was not taken", awaited.link);
        assert!(!state.open || delivery == Delivery::Sent, "device {}: {delivery:?}, and is there", awaited.link);
    }

    /// The object that has come in part: where it began and how much has come.
    fn partial(&self, link: usize) -> Option<(u64, usize)> {
        let delivered = self.network.links[link].delivered;
        let said = self.devices[link].said.front().filter(|said| said.start < delivered)?;
        let object = !matches!(said.what, Meaning::Padding);
        object.then(|| (said.start, (delivered - said.start) as usize))
    }

    /// How long ago that was, without what the gateway could not know of.
    fn time_since(&self, then: Instant) -> Duration {
        let jumps = self.jumps.iter().filter(|(at, _)| *at > then);
        let excused: Duration = jumps.map(|(_, duration)| *duration + SECOND * 2).sum();
        (self.network.now - then).saturating_sub(excused)
    }

    /// Everything that can be seen from outside, all devices at once.
    fn audit(&mut self) {
        let mut unfinished = 0;
        for link in 0..self.devices.len() {
            let text = &self.network.links[link].text;
            let device = &mut self.devices[link];
            let agrees = device.queued.get(device.compared..text.len()) == Some(&text[device.compared..]);
            assert!(agrees, "device {link} got other commands than were queued for it");
            device.compared = text.len();
            if device.ended || !self.is_heard(link) {
                continue;
            }
            assert!(self.stopped || self.next_said(link).is_none(), "device {link}: an object was not shown");
            unfinished += self.partial(link).map_or(0, |(_, bytes)| bytes as u64);
            if self.stopped {
                // It may be seen off already, and has until the stop is over.
                continue;
            }
            let begun = self.devices[link].said.front().is_some_and(|said| matches!(said.what, Meaning::Begun));
            let age = self.time_since(self.devices[link].heard);
            assert!(!begun || age <= SECOND * 45, "device {link} is {age:?} in an object and lives");
            let state = &self.network.links[link];
            let silence = self.time_since(state.delivered_at.max(self.devices[link].heard));
            assert!(silence <= SECOND * 12 + TICK * 2, "device {link} has been silent for {silence:?} and lives");
            let stall = self.time_since(state.taken_at.max(state.waited_at));
            assert!(!state.waiting || stall <= SECOND * 30 + TICK * 2, "device {link} takes nothing for {stall:?}");
        }
        if let Some(at) = self.stopped_at {
            let left = self.network.gateway.connections();
            assert!(left == 0 || self.time_since(at) <= SECOND + TICK * 2, "{left} devices outlive the stop");
        }
        let open = self.network.links.iter().filter(|link| link.open).count();
        assert_eq!(self.network.gateway.connections(), open);
        let stats = self.network.stats();
        let delivered: u64 = self.network.links.iter().map(|link| link.delivered).sum();
        assert_eq!(stats.received_bytes, delivered);
        let taken: u64 = self.network.links.iter().map(|link| link.taken).sum();
        assert_eq!(stats.sent_bytes, taken);
        if !self.stopped {
            assert_eq!(stats.received_bytes, booked(&stats) + unfinished, "bytes are lost or booked twice: {stats:?}");
        }
    }

    /// Stops the gateway, if it is not, and sees that nothing is left.
    fn end(&mut self) {
        self.wait(SECOND);
        self.audit();
        self.stopped = true;
        self.network.stop();
        let limit = self.network.now + SECOND * 2;
        while !self.network.gateway.is_stopped() {
            assert!(self.network.now <= limit, "the stop is not over");
            assert!(self.network.step(), "the stop is not over, and nothing will happen");
            self.look();
        }
        self.look();
        self.wait(SECOND);
        self.audit();
        assert!(self.devices.iter().all(|device| device.ended), "some have connected and never ended");
        assert!(self.awaited.is_empty(), "of some commands nobody was told what became");
        let stats = self.network.stats();
        assert_eq!(stats.received_bytes, booked(&stats), "bytes are lost or booked twice: {stats:?}");
        assert_eq!(stats.accepted, self.used.len() as u64);
        assert_eq!(stats.accepted, stats.closed.iter().sum::<u64>());
        assert_eq!(stats.probes, stats.probes_answered + stats.probes_suppressed.iter().sum::<u64>());
        assert_eq!(self.network.buffered(), (0, 0), "nobody is there, and buffers are held");
        assert_eq!(self.network.gateway.connections(), 0);
    }
}

/// The bytes that have been given a name.
fn booked(stats: &Stats) -> u64 {
    let objects: u64 = stats.messages.iter().chain(&stats.rejected).map(|count| count.bytes).sum();
    objects + stats.padding_bytes + stats.unfinished_bytes + stats.discarded_bytes
}
