//! All simulated devices, as one `Endpoint` on the library's reactor. Like the gateway, a fleet owns no socket and reads no
//! clock.

mod dials;
mod life;
mod send;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pulsegate::unstable::connection::Heard;
use pulsegate::unstable::endpoint::{Endpoint, Output, PacketInfo, Peer};
use pulsegate::unstable::tick::Tick;
use pulsegate::unstable::wheel::TimerWheel;
use pulsegate::{ConnectionId, ListenerId, StreamEnd};

use self::dials::Dials;
use crate::clock::Clock;
use crate::content::Corpus;
use crate::device::{ACTION, Device, Phase};
use crate::faults::{self, Fault};
use crate::options::Options;
use crate::rng::Rng;
use crate::schedule::{Load, NEVER};
use crate::tally::{Cause, Tally};
use crate::units::Sources;

/// Thousands of simulated devices.
pub(crate) struct Fleet {
    plan: Plan,
    corpus: Corpus,
    clock: Clock,
    rng: Rng,
    /// Indexed by [`ConnectionId::index`].
    devices: Vec<Device>,
    /// At most one timer per device. A tick is 1 ms.
    wheel: TimerWheel<u32>,
    dials: Dials,
    actions: VecDeque<Action>,
    /// Devices with bytes to send.
    ready: VecDeque<u32>,
    /// Buffer for jobs that the corpus does not contain.
    scratch: Vec<u8>,
    /// The number of lent bytes, and the length of the whole job.
    lent: usize,
    job_len: usize,
    /// The end of the run has begun: devices neither report nor dial.
    ending: bool,
    /// See [`Self::wake_at`].
    wake_at: Instant,
    tally: Tally,
}

/// The constants of a run.
struct Plan {
    gateway: SocketAddr,
    sources: Option<Sources>,
    load: Load,
    echo: bool,
    /// The gateway's heartbeat interval in microseconds.
    beat_interval_us: u32,
}

/// A pending request to the reactor, besides sending. The flag of `Close` asks for a reset.
enum Action {
    Connect(u32),
    Close(u32, bool),
}

impl Fleet {
    /// Creates the devices of `options`. The first ones dial in the first turn of the event loop.
    pub(crate) fn new(options: &Options, gateway: SocketAddr, clock: Clock, now: Instant) -> Self {
        let plan = Plan {
            gateway,
            sources: options.sources,
            load: options.load,
            echo: options.echo,
            beat_interval_us: options.beat_interval.as_micros() as u32,
        };
        let mut fleet = Self {
            plan,
            corpus: Corpus::new(options.seed, options.load.picture_bytes),
            clock,
            rng: Rng::new(options.seed),
            devices: Vec::with_capacity(options.devices as usize),
            wheel: TimerWheel::new(),
            dials: Dials::new(options.rate, now),
            actions: VecDeque::new(),
            ready: VecDeque::new(),
            scratch: Vec::new(),
            lent: 0,
            job_len: 0,
            ending: false,
            wake_at: now,
            tally: Tally::new(),
        };
        let start = clock.millis(now);
        for index in 0..options.devices {
            let mut device = Device::new(faults::of_device(index, options.faulty, &options.faults));
            let wait = (f64::from(index) + fleet.rng.unit()) / options.rate * 1000.0;
            device.due[ACTION] = start.saturating_add(wait as u32);
            fleet.devices.push(device);
            fleet.rearm(index);
        }
        fleet
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Begins a new interval for the recent round trips.
    pub(crate) fn forget_recent(&mut self) {
        self.tally.recent_us.reset();
    }

    /// Counts the devices with this fault.
    pub(crate) fn count(&self, fault: Fault) -> usize {
        self.devices.iter().filter(|device| device.fault == Some(fault)).count()
    }

    /// Ends the next wait of the event loop at `at` at the latest.
    pub(crate) fn wake_at(&mut self, at: Instant) {
        self.wake_at = at;
    }

    /// Begins the end of the run: devices finish their current object, and answer beats.
    pub(crate) fn end(&mut self) {
        self.ending = true;
        self.dials.clear();
        for device in &mut self.devices {
            device.drop_reports();
        }
    }

    /// Whether [`Self::end`] has been called.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending
    }

    /// Whether a device still sends, apart from slow ones.
    pub(crate) fn is_sending(&self) -> bool {
        self.devices
            .iter()
            .any(|device| device.phase == Phase::Up && device.fault != Some(Fault::Slow) && device.has_more())
    }

    /// Closes up to `batch` connections. Returns false when none is left.
    pub(crate) fn close_some(&mut self, batch: usize) -> bool {
        let open = self.devices.iter().enumerate().filter(|(_, device)| device.is_open());
        let some: Vec<u32> = open.take(batch).map(|(index, _)| index as u32).collect();
        for &index in &some {
            self.devices[index as usize].own_end = true;
            self.actions.push_back(Action::Close(index, false));
        }
        !some.is_empty()
    }

    fn id(&self, index: u32) -> ConnectionId {
        ConnectionId::new(index, self.devices[index as usize].generation)
    }

    /// Sets the device's timer to the earliest of its due times.
    fn rearm(&mut self, index: u32) {
        let device = &mut self.devices[index as usize];
        match (device.next_due(), device.timer) {
            (NEVER, Some(key)) => {
                self.wheel.cancel(key);
                device.timer = None;
            }
            (NEVER, None) => {}
            (due, Some(key)) => self.wheel.reschedule(key, Tick::new(due)),
            (due, None) => device.timer = Some(self.wheel.insert(Tick::new(due), index)),
        }
    }

    /// Handles the end of a connection. Without a `cause`, the device has closed it.
    fn connection_ended(&mut self, id: ConnectionId, cause: Option<Cause>, now: Instant) {
        let index = id.index() as u32;
        let device = &self.devices[id.index()];
        if device.generation != id.generation() {
            return;
        }
        // After the gateway's end of stream, the device closes. The gateway is the cause.
        let cause = if device.ended { Some(Cause::Closed) } else { cause };
        match device.phase {
            Phase::Connecting => self.dial_failed(index, cause, now),
            Phase::Up => self.ended(index, cause, now),
            Phase::Down | Phase::Queued => debug_assert!(false, "{id} has no connection"),
        }
    }
}

impl Endpoint for Fleet {
    fn handle_accept(&mut self, _: ListenerId, _: Peer, _: Instant) -> Option<ConnectionId> {
        None
    }

    fn handle_connect(&mut self, id: ConnectionId, now: Instant) {
        self.connected(id.index() as u32, now);
    }

    fn poll_read(&mut self, id: ConnectionId) -> usize {
        if self.devices[id.index()].fault == Some(Fault::NeverRead) { 0 } else { usize::MAX }
    }

    fn handle_data(&mut self, id: ConnectionId, bytes: &[u8], now: Instant) {
        let now = self.clock.micros(now);
        let device = &mut self.devices[id.index()];
        self.tally.bytes_received += bytes.len() as u64;
        if device.own_end || device.fault == Some(Fault::NeverRead) {
            // The device closes already, or never reads: the reactor delivers unread bytes when the stream fails.
            return;
        }
        let mut rest = bytes;
        loop {
            let (used, heard) = device.client.handle_data(rest);
            rest = &rest[used..];
            match heard {
                Some(Heard::Beat) => {
                    self.tally.beats += 1;
                    if let Some(last) = device.beat.replace(now) {
                        let error = now.wrapping_sub(last).abs_diff(self.plan.beat_interval_us);
                        self.tally.beat_error_us.saturating_record(u64::from(error));
                    }
                    if device.fault != Some(Fault::Silent) {
                        device.answers = device.answers.saturating_add(1);
                    }
                }
                Some(Heard::Text(text)) => {
                    if device.echo.receive(text) {
                        self.tally.round_trip(now.wrapping_sub(device.echo.at));
                    }
                }
                None => break,
            }
        }
        self.offer(id.index() as u32);
    }

    fn handle_end(&mut self, id: ConnectionId, _: Instant) {
        let device = &mut self.devices[id.index()];
        if !device.ended {
            device.ended = true;
            self.actions.push_back(Action::Close(id.index() as u32, false));
        }
    }

    fn handle_sent(&mut self, id: ConnectionId, taken: usize, now: Instant) {
        self.sent(id.index() as u32, taken, now);
    }

    fn handle_writable(&mut self, id: ConnectionId, _: Instant) {
        self.devices[id.index()].blocked = false;
        self.offer(id.index() as u32);
    }

    fn handle_close(&mut self, id: ConnectionId, end: StreamEnd, now: Instant) {
        match end {
            StreamEnd::Closed => self.connection_ended(id, None, now),
            StreamEnd::Failed(error) => {
                self.tally.error(error);
                self.connection_ended(id, Some(Cause::of_error(error)), now);
            }
        }
    }

    fn handle_datagram(&mut self, _: ListenerId, _: SocketAddr, _: PacketInfo, _: &[u8], _: Instant) {}

    fn handle_timeout(&mut self, now: Instant) {
        let millis = self.clock.millis(now);
        // A device may be due again at once. The bound gives each device one call.
        for _ in 0..self.wheel.len() {
            let Some((_, index)) = self.wheel.expire(Tick::new(millis)) else { break };
            self.devices[index as usize].timer = None;
            self.due(index, millis);
            self.rearm(index);
        }
        while let Some(index) = self.dials.next(now, self.tally.connecting) {
            self.dial(index, now);
        }
    }

    fn handle_wake(&mut self, _: Instant) {}

    fn poll_output(&mut self) -> Option<Output<'_>> {
        while let Some(action) = self.actions.pop_front() {
            match action {
                Action::Connect(index) => {
                    let from = self.plan.sources.map(|sources| sources.address(index));
                    return Some(Output::Connect { id: self.id(index), from, to: self.plan.gateway });
                }
                Action::Close(index, abort) if self.devices[index as usize].is_open() => {
                    return Some(Output::Close { id: self.id(index), abort });
                }
                Action::Close(..) => {}
            }
        }
        let index = loop {
            let index = self.ready.pop_front()?;
            let device = &mut self.devices[index as usize];
            device.queued = false;
            if device.is_ready() {
                break index;
            }
        };
        self.lend(index)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let due = self.wheel.next_deadline().map(|tick| self.clock.instant(tick));
        let wake = Some(self.wake_at);
        [due, wake, self.dials.next_at(self.tally.connecting)].into_iter().flatten().min()
    }
}

/// The shortest wait for the next dial, so that a high rate dials in small batches.
const DIAL_PAUSE: Duration = Duration::from_millis(1);
