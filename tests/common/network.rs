//! The real [`Gateway`] and the real [`Reactor`] on the simulated kernel. There are virtual devices instead of sockets, and
//! the clock jumps from one event to the next.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use pulsegate::unstable::Gateway;
use pulsegate::unstable::endpoint::PacketInfo;
use pulsegate::unstable::reactor::Reactor;
use pulsegate::{
    Command, ConnectionId, Disconnect, Errno, ListenerId, Queued, SendError, Settings, Submitted, Target, TurnLimits,
};

use super::sim_device::{Cut, SimDeviceId};
use super::sim_kernel::{Event, Fd, SimKernel};
use super::{Recorder, Seen};

/// The gateway's timer resolution. A timer is never early, and at most this late.
pub(crate) const TICK: Duration = pulsegate::unstable::tick::TICK;

/// The gateway and its network. Its devices are in [`SimKernel::links`].
pub(crate) struct Network {
    pub(crate) gateway: Gateway<Recorder>,
    pub(crate) reactor: Reactor<SimKernel>,
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    /// The callbacks of the application with their times.
    pub(crate) log: Vec<(Instant, Seen)>,
    /// The latency and the cuts of new devices.
    pub(crate) latency: Duration,
    pub(crate) cut: Cut,
    /// The working time of the longest turn.
    pub(crate) longest_turn: Duration,
}

/// The one listener for devices, the datagram socket, and the listener for local processes.
pub(crate) const LISTENER: ListenerId = ListenerId(1);
pub(crate) const DISCOVERY: ListenerId = ListenerId(2);
pub(crate) const LOCAL: ListenerId = ListenerId(3);
/// The port of the datagram socket.
pub(crate) const DISCOVERY_PORT: u16 = pulsegate::DISCOVERY_PORT;
/// The limit of queued bytes for one local process.
pub(crate) const LOCAL_OUTBOX_BYTES_MAX: usize = 10_000;

impl Deref for Network {
    type Target = SimKernel;

    fn deref(&self) -> &SimKernel {
        self.reactor.kernel()
    }
}

impl DerefMut for Network {
    fn deref_mut(&mut self) -> &mut SimKernel {
        self.reactor.kernel_mut()
    }
}

impl Network {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::seeded(settings, TurnLimits::default(), 1)
    }

    #[expect(clippy::disallowed_methods, reason = "the simulation starts at some Instant")]
    pub(crate) fn seeded(settings: Settings, budget: TurnLimits, seed: u64) -> Self {
        settings.check().expect("valid settings");
        // A day ahead, so that a test may also subtract from it.
        let start = Instant::now() + Duration::from_secs(86_400);
        let mut gateway = Gateway::new(Recorder::default(), settings, start, seed);
        gateway.add_discovery(DISCOVERY, SocketAddr::from(([0, 0, 0, 0], DISCOVERY_PORT)));
        gateway.add_unix(LOCAL, LOCAL_OUTBOX_BYTES_MAX);
        let mut reactor = Reactor::on(SimKernel::new(start, seed), budget);
        reactor.add_listener(LISTENER, Fd::Listener).expect("a listener");
        reactor.add_listener(LOCAL, Fd::Local).expect("a listener");
        reactor.add_datagrams(DISCOVERY, Fd::Datagrams).expect("a socket");
        let (latency, cut) = (Duration::from_millis(5), Cut::Whole);
        Self { gateway, reactor, now: start, start, log: Vec::new(), latency, cut, longest_turn: Duration::ZERO }
    }

    /// Connects a device. [`super::SimDevice::id`] is set if the gateway has accepted it.
    pub(crate) fn connect(&mut self, address: SocketAddr) -> SimDeviceId {
        let (latency, cut) = (self.latency, self.cut);
        let link = self.dial(address, false, latency, cut);
        self.turn_now();
        link
    }

    /// Dials for a device. The gateway accepts it in the next turn.
    pub(crate) fn dial_device(&mut self, address: SocketAddr, latency: Duration) -> SimDeviceId {
        self.dial(address, false, latency, Cut::Whole)
    }

    /// Connects a local process.
    pub(crate) fn connect_local(&mut self) -> SimDeviceId {
        let link = self.dial(SocketAddr::from(([0; 4], 0)), true, Duration::ZERO, Cut::Whole);
        self.links[link].window = 1_000;
        self.turn_now();
        link
    }

    /// Returns the id of an accepted device.
    pub(crate) fn id(&self, link: SimDeviceId) -> ConnectionId {
        self.links[link].id.expect("an accepted device")
    }

    /// Sends bytes of a device, which arrive after its latency.
    pub(crate) fn send(&mut self, link: SimDeviceId, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        self.links[link].sent += bytes.len() as u64;
        self.up(link, Event::Up(link, bytes));
    }

    /// Sends bytes of a device with a pause before each piece. Later bytes come behind them.
    pub(crate) fn send_slowly(&mut self, link: SimDeviceId, bytes: &[u8], piece_bytes: usize, pause: Duration) {
        let now = self.now;
        for piece in bytes.chunks(piece_bytes) {
            self.links[link].arrival = self.links[link].arrival.max(now) + pause;
            self.send(link, piece);
        }
    }

    /// Half-closes the stream of a device, behind the bytes that it has sent.
    pub(crate) fn half_close(&mut self, link: SimDeviceId) {
        self.up(link, Event::End(link));
    }

    /// Resets the stream of a device, behind the bytes that it has sent.
    pub(crate) fn reset(&mut self, link: SimDeviceId) {
        self.up(link, Event::Reset(link));
    }

    /// Lets a device begin or stop reading.
    pub(crate) fn set_reading(&mut self, link: SimDeviceId, reading: bool) {
        let state = &mut self.links[link];
        state.reading = reading;
        if reading {
            let unread = std::mem::take(&mut state.unread);
            self.receive_bytes(link, &unread);
        }
    }

    /// Sends a command of the application between two turns.
    pub(crate) fn command(&mut self, to: impl Into<Target>, text: &[u8]) -> Result<Queued, SendError> {
        let result = self.gateway.parts(self.now).1.try_send(to, text);
        self.turn_now();
        result
    }

    /// Sends a command with a tag, so that the application learns its delivery.
    pub(crate) fn command_tagged(&mut self, to: impl Into<Target>, text: &[u8], tag: u64) -> Result<Queued, SendError> {
        let result = self.gateway.parts(self.now).1.send_tagged(to, text, tag);
        self.turn_now();
        result
    }

    /// As [`Self::command`], by an application that wants to hear of the command's end.
    pub(crate) fn submit(&mut self, to: impl Into<Target>, command: &Command<'_>) -> Result<Submitted, SendError> {
        let result = self.gateway.parts(self.now).1.submit(to, command);
        self.turn_now();
        result
    }

    /// Removes devices between two turns.
    pub(crate) fn remove(&mut self, target: impl Into<Target>) -> usize {
        let count = self.gateway.parts(self.now).1.remove(target);
        self.turn_now();
        count
    }

    pub(crate) fn stop(&mut self) {
        self.gateway.parts(self.now).1.stop();
        self.turn_now();
    }

    /// Applies new settings between two turns.
    pub(crate) fn configure(&mut self, settings: Settings) {
        self.gateway.parts(self.now).1.configure(settings).expect("valid settings");
        self.turn_now();
    }

    /// Writes to a local process between two turns. Returns whether the bytes fitted.
    pub(crate) fn write_local(&mut self, id: ConnectionId, bytes: &[u8]) -> bool {
        self.gateway.parts(self.now).1.write(id, bytes)
    }

    /// Delivers a probe to the gateway. [`SimKernel::answers`] has the answers.
    pub(crate) fn probe(&mut self, from: SocketAddr, via: PacketInfo, bytes: &[u8]) {
        self.datagram(from, via, bytes);
        self.turn_now();
    }

    pub(crate) fn stats(&mut self) -> pulsegate::Stats {
        self.gateway.parts(self.now).1.stats().clone()
    }

    /// Returns the bytes of reassembly buffers and of send queues.
    pub(crate) fn buffered(&mut self) -> (usize, usize) {
        self.gateway.parts(self.now).1.buffered()
    }

    /// Returns the disconnect of a device and its time, if it is disconnected.
    pub(crate) fn end_of(&self, link: SimDeviceId) -> Option<(Instant, Disconnect)> {
        let id = self.id(link);
        self.log.iter().find_map(|(at, seen)| match *seen {
            Seen::Disconnect(gone, _, end) if gone == id => Some((*at, end)),
            _ => None,
        })
    }

    /// Returns the objects of a device that the application received.
    pub(crate) fn messages_of(&self, link: SimDeviceId) -> Vec<&[u8]> {
        let id = self.id(link);
        let messages = self.log.iter().filter_map(|(_, seen)| match seen {
            Seen::Message(of, bytes) if *of == id => Some(&bytes[..]),
            _ => None,
        });
        messages.collect()
    }

    /// Asserts which objects of a device the application received. A failure names the objects that differ.
    #[track_caller]
    pub(crate) fn expect_messages(&self, link: SimDeviceId, expected: &[Vec<u8>]) {
        let shown: Vec<_> = self.messages_of(link).into_iter().map(brief).collect();
        let expected: Vec<_> = expected.iter().map(|bytes| brief(bytes)).collect();
        assert_eq!(shown, expected, "the messages of device {link}");
    }

    /// Lets time pass without a turn, as for a stopped process.
    pub(crate) fn jump(&mut self, duration: Duration) {
        self.now += duration;
        let now = self.now;
        self.advance(now);
    }

    /// Lets a duration pass.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.run_until(end);
    }

    /// Lets time pass up to and including `end`.
    pub(crate) fn run_until(&mut self, end: Instant) {
        while self.step_until(end) {}
    }

    /// Lets time pass until no bytes are in flight and no timer is pending. This takes less than `limit`.
    pub(crate) fn settle(&mut self, limit: Duration) {
        let end = self.now + limit;
        while let Some(at) = self.next_event() {
            assert!(at <= end, "not settled within {limit:?}: the next event is {:?} away", at - self.now);
            self.step();
        }
    }

    /// Returns the time of the next event, which is not before the current time.
    pub(crate) fn next_event(&self) -> Option<Instant> {
        let event = SimKernel::next_event(self);
        [event, self.reactor.due(&self.gateway)].into_iter().flatten().min().map(|at| at.max(self.now))
    }

    /// Runs one turn, which waits for the next event. Returns false if there is none.
    pub(crate) fn step(&mut self) -> bool {
        self.limit = None;
        self.turn();
        !self.is_idle
    }

    /// Runs one turn, which waits at most until `end` inclusive. Returns false if there is no event until then.
    pub(crate) fn step_until(&mut self, end: Instant) -> bool {
        self.limit = Some(end);
        self.turn();
        !self.at_limit
    }

    /// Panics if the state of the gateway, the reactor and the kernel is inconsistent.
    pub(crate) fn check_invariants(&self) {
        self.gateway.check_invariants();
        self.reactor.check_invariants();
        let devices = self.links.iter().filter(|link| link.open && !link.local).count();
        assert_eq!(self.gateway.connections(), devices, "devices and open streams");
        assert_eq!(self.open(), self.links.iter().filter(|link| link.open).count(), "streams are dropped");
    }

    /// Runs one turn without waiting.
    fn turn_now(&mut self) {
        let now = self.now;
        self.advance(now);
        self.step_until(now);
    }

    fn turn(&mut self) {
        let worked = self.worked;
        self.reactor.turn(&mut self.gateway).expect("a wait that succeeds");
        self.longest_turn = self.longest_turn.max(self.worked - worked);
        self.reap();
        self.now = self.reactor.kernel().now;
        let now = self.now;
        for seen in std::mem::take(&mut self.gateway.handler_mut().seen) {
            // The kernel accepted them in this order.
            if let Seen::Connect(id, _) | Seen::Opened(id) = seen {
                let link = self.accepted.pop_front().expect("an accepted stream");
                self.links[link].id = Some(id);
            } else if let Seen::Refused(..) = seen {
                self.accepted.pop_front();
            }
            self.log.push((now, seen));
        }
        assert!(self.accepted.is_empty(), "the application has no callback for an accepted stream");
    }
}

/// Returns a short line that differs for each object.
pub(crate) fn brief(bytes: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(48)]);
    format!("{head}… {} bytes, {:x}", bytes.len(), hasher.finish())
}

/// `ECONNRESET`.
pub(crate) const RESET: Errno = Errno(104);
