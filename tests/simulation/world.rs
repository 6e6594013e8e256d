//! The world around the gateway: it runs the actions and keeps a model of all devices.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::Hasher;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::action::{Action, By, OBJECT_BYTES_MAX, Profile, What};
use super::books::{Awaited, Device, Meaning};
use super::common::{Network, object, object_of, rejected_samples, v4};
use super::local::Locals;
use super::names::{Named, name};
use super::stage::{Stage, reloaded};
use pulsegate::unstable::endpoint::PacketInfo;
use pulsegate::unstable::proto::heartbeat::ANSWER;
use pulsegate::{ConnectionId, SendError, Settings, Stats, Target};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(crate) struct World {
    pub(super) network: Network,
    pub(super) stage: Stage,
    /// The current settings.
    pub(super) settings: Settings,
    /// The longest and shortest interval, and the highest and lowest credit, of all settings so far.
    pub(super) interval: (Duration, Duration),
    pub(super) credit: (u8, u8),
    /// The current budget. After a reduction it is the old budget, until memory is below the new one.
    pub(super) held_max: usize,
    /// The model of each device, by the index of its link. A local process has none.
    pub(super) devices: Vec<Device>,
    pub(super) locals: Locals,
    /// Indexed by the number in their action.
    numbers: HashMap<usize, usize>,
    pub(super) ids: HashMap<ConnectionId, usize>,
    pub(super) used: HashSet<ConnectionId>,
    /// Devices in the accept queue.
    pub(super) pending: Vec<usize>,
    /// The last time without a free file descriptor.
    pub(super) exhausted_at: Instant,
    /// The number of devices at the last check.
    pub(super) connections: usize,
    /// The stops of the process, with their durations.
    pub(super) jumps: Vec<(Instant, Duration)>,
    /// The times of changed settings.
    pub(super) reloads: Vec<Instant>,
    /// Commands by tag, until their delivery is known.
    pub(super) awaited: HashMap<u64, Awaited>,
    pub(super) named: Named,
    pub(super) stopped: bool,
    /// The time of the action that stopped the gateway.
    pub(super) stopped_at: Option<Instant>,
    objects: u64,
    pub(super) steps: usize,
    pub(super) looked_at: Instant,
    pub(super) outcome: Outcome,
    /// A hash of all events, which must agree in two runs of one seed.
    pub(super) digest: DefaultHasher,
}

/// The result of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Equal in two runs with the same events.
    pub(crate) digest: u64,
    pub(crate) stats: Stats,
    /// The sum of the times that devices were connected.
    pub(crate) device_time: Duration,
}

impl World {
    /// Runs all actions, and then ends the run. The same seed and actions have the same result.
    pub(crate) fn run(seed: u64, stage: &Stage, actions: &[Action]) -> Outcome {
        let settings = stage.settings.clone();
        let mut network = Network::seeded(settings.clone(), stage.budget, seed);
        network.faults = stage.faults;
        let (interval, credit) = (settings.heartbeat.interval, settings.heartbeat.credit);
        let mut world = Self {
            exhausted_at: network.now,
            looked_at: network.now,
            network,
            stage: stage.clone(),
            interval: (interval, interval),
            credit: (credit, credit),
            held_max: settings.limits.memory_budget as usize,
            settings,
            devices: Vec::new(),
            locals: Locals::default(),
            numbers: HashMap::new(),
            ids: HashMap::new(),
            used: HashSet::new(),
            pending: Vec::new(),
            connections: 0,
            jumps: Vec::new(),
            reloads: Vec::new(),
            awaited: HashMap::new(),
            named: Named::default(),
            stopped: false,
            stopped_at: None,
            objects: 0,
            steps: 0,
            outcome: Outcome::default(),
            digest: DefaultHasher::new(),
        };
        for action in actions {
            world.act(action);
            world.look();
        }
        world.end();
        world.outcome.digest = world.digest.finish();
        world.outcome.stats = world.network.stats();
        world.outcome
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
            Action::Submit(submit) => {
                if let Some(&link) = self.numbers.get(&submit.number) {
                    self.submit(link, submit);
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
                    self.network.probe(v4(*host, 40_000), PacketInfo::default(), b"?");
                }
            }
            Action::Reload(reload) => self.reload(reloaded(&self.stage, reload)),
            Action::Descriptors(room) => {
                let max = room.map_or(usize::MAX, |room| self.network.open() + room);
                self.network.descriptors_max = max;
            }
            Action::ConnectLocal => {
                let link = self.network.connect_local();
                self.devices.push(Device::new(false, self.network.now));
                self.locals.add(link);
            }
            Action::ReadLocal(number, reading) => {
                if let Some(link) = self.locals.link(*number) {
                    self.network.set_reading(link, *reading);
                }
            }
            Action::ResetLocal(number) => {
                if let Some(link) = self.locals.link(*number).filter(|&link| self.network.links[link].open) {
                    self.devices[link].reset = true;
                    self.network.reset(link);
                }
            }
            Action::Stop => {
                self.stopped = true;
                self.stopped_at.get_or_insert(self.network.now);
                self.network.stop();
            }
        }
    }

    pub(super) fn wait(&mut self, duration: Duration) {
        let end = self.network.now + duration;
        while self.network.step_until(end) {
            self.look();
        }
        self.look();
    }

    /// Returns the link of a device that the gateway has not closed.
    fn open(&self, number: usize) -> Option<usize> {
        self.numbers.get(&number).copied().filter(|&link| self.network.links[link].open)
    }

    fn connect(&mut self, nature: &Profile) {
        // A few devices behind each address.
        let address = SocketAddr::from(([10, 0, 0, (nature.number % 70) as u8], 1000 + nature.number as u16));
        let link = self.network.connect(address);
        let state = &mut self.network.links[link];
        state.latency = Duration::from_millis(nature.latency_ms);
        (state.cut, state.window, state.short_writes) = (nature.cut, nature.window, nature.short_writes);
        state.answers = nature.answers;
        self.numbers.insert(nature.number, link);
        self.pending.push(link);
        self.devices.push(Device::new(nature.answers, self.network.now));
    }

    fn reload(&mut self, settings: Settings) {
        let (interval, credit) = (settings.heartbeat.interval, settings.heartbeat.credit);
        self.interval = (self.interval.0.max(interval), self.interval.1.min(interval));
        self.credit = (self.credit.0.max(credit), self.credit.1.min(credit));
        self.held_max = self.held_max.max(settings.limits.memory_budget as usize);
        for (state, device) in self.network.links.iter().zip(&mut self.devices) {
            if state.open && !settings.access.allows(state.address.ip()) {
                device.denied.get_or_insert(self.network.now);
            }
        }
        self.reloads.push(self.network.now);
        self.settings = settings.clone();
        self.network.configure(settings);
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
                // As slow as possible within `object_timeout`.
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
            What::Named(number) => {
                self.objects += 1;
                let text = format!(r#"{{"Type":"Status","Number":{},"Id":"n{number}"}}"#, self.objects);
                self.devices[link].claimed.get_or_insert_with(|| name(number));
                self.tell(link, text.as_bytes(), Meaning::Object(text.clone().into_bytes()));
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

    /// Sends bytes after which the gateway reads no object.
    fn tell_last(&mut self, link: usize, bytes: &[u8], what: Meaning) {
        let start = self.network.links[link].sent;
        self.note(link, start, u64::MAX, what);
        self.network.send(link, bytes);
        (self.devices[link].mute, self.devices[link].good) = (true, None);
        self.network.links[link].answers = false;
    }

    pub(super) fn target(&self, link: usize, by: By) -> Target {
        let state = &self.network.links[link];
        match (by, state.id) {
            (By::Id, Some(id)) => id.into(),
            (By::Ip, _) => state.address.ip().into(),
            _ => state.address.into(),
        }
    }

    /// Returns the devices of a target, the newest last.
    fn meant(&self, link: usize, by: By, is_there: impl Fn(&Self, usize) -> bool) -> Vec<usize> {
        let ip = self.network.links[link].address.ip();
        let meant = |other: &usize| match by {
            By::Ip => self.network.links[*other].address.ip() == ip,
            _ => *other == link,
        };
        (0..self.devices.len()).filter(|other| meant(other) && is_there(self, *other)).collect()
    }

    /// Whether the gateway still reads a device. During a stop the model cannot know.
    pub(super) fn is_heard(&self, link: usize) -> bool {
        self.may_be_removed(link) && !self.network.links[link].end_delivered
    }

    /// Whether a device is connected, also after a half-close.
    fn may_be_removed(&self, link: usize) -> bool {
        let device = &self.devices[link];
        // A device that new rules forbid is closing from their application on.
        self.network.links[link].open && device.denied.is_none() && !device.removed
    }

    fn command(&mut self, link: usize, by: By, bytes: usize) {
        let meant = self.meant(link, by, Self::is_heard);
        // Unlike any beat, and unlike the command before.
        let text = self.command_text(bytes);
        let max = self.settings.limits.outbox_bytes_max;
        let tag = self.objects;
        match self.network.command_tagged(self.target(link, by), &text, tag) {
            Ok(queued) => {
                let to = self.ids[&queued.id];
                assert!(self.stopped || (Some(&to), queued.of) == (meant.last(), meant.len()), "not the newest: {to}");
                self.devices[to].queued.extend_from_slice(&text);
                self.awaited.insert(tag, Awaited { link: to, end: self.devices[to].queued.len() });
            }
            Err(SendError::NoSuchDevice) => assert!(self.stopped || meant.is_empty(), "device {link} is there"),
            Err(SendError::Full { waiting, max: reported }) => {
                assert!(reported == max && waiting <= max && waiting + bytes > max, "{waiting} and {bytes} bytes fit");
            }
            Err(SendError::Memory) if self.stage.tight => {}
            Err(error) => panic!("device {link}: {error}"),
        }
    }

    pub(super) fn command_text(&mut self, bytes: usize) -> Vec<u8> {
        self.objects += 1;
        (0..bytes).map(|n| b'A' + ((self.objects as usize + n) % 26) as u8).collect()
    }

    fn remove(&mut self, link: usize, by: By) {
        let meant = self.meant(link, by, Self::may_be_removed);
        let count = self.network.remove(self.target(link, by));
        assert!(self.stopped || count == meant.len(), "{count} instead of {} were removed", meant.len());
        for link in meant {
            self.devices[link].removed = true;
        }
    }
}
