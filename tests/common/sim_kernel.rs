//! The state of the simulated kernel: sockets, the virtual devices at their other ends, bytes in flight, the ready list and
//! the time. Its calls are in `kernel_calls`.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pulsegate::unstable::endpoint::PacketInfo;
use pulsegate::unstable::proto::heartbeat::ANSWER;
use pulsegate::unstable::reactor::Ready;

use super::rng::Rng;
use super::sim_device::{Cut, SimDevice, SimDeviceId};

/// Injected faults, each with its frequency in 10,000 calls.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// `EINTR`.
    pub(crate) interrupted: usize,
    /// `EAGAIN`, with an edge up to 5 ms later.
    pub(crate) would_block: usize,
    /// `ENOBUFS`, `ENOMEM` or, in accept, `ENFILE`. No edge follows.
    pub(crate) exhausted: usize,
    /// `ECONNRESET`, after which the stream has failed, or in accept `ECONNABORTED`.
    pub(crate) reset: usize,
    /// Readiness is delayed by up to 50 ms.
    pub(crate) late: usize,
    /// Readiness is duplicated after up to 50 ms, and may be spurious then.
    pub(crate) again: usize,
}

/// The simulated kernel and the virtual devices.
pub(crate) struct SimKernel {
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) links: Vec<SimDevice>,
    pub(crate) faults: Faults,
    /// The next failure of a call, with its errno. Each entry fails one call.
    pub(crate) failures: Vec<(Call, i32)>,
    /// The limit of open streams. Beyond it accept fails with `EMFILE`.
    pub(crate) descriptors_max: usize,
    /// Devices whose bytes the gateway has read since a test last looked.
    pub(crate) senders: Vec<SimDeviceId>,
    /// Datagrams that the gateway sent.
    pub(crate) answers: Vec<(SocketAddr, PacketInfo, Vec<u8>)>,
    /// Accepted devices in order, until [`super::Network`] knows their ids.
    pub(super) accepted: VecDeque<SimDeviceId>,
    /// The end of the next wait at the latest.
    pub(super) limit: Option<Instant>,
    /// The last wait ended at the limit without an event.
    pub(super) at_limit: bool,
    /// The last wait would have lasted for ever.
    pub(super) is_idle: bool,
    pub(super) datagrams: VecDeque<(SocketAddr, PacketInfo, Vec<u8>)>,
    /// The accept queues for devices and for local processes.
    pub(super) backlogs: [VecDeque<SimDeviceId>; 2],
    /// The token of each source, and whether it is in the ready list.
    pub(super) watched: HashMap<Fd, (usize, bool)>,
    pub(super) queue: BinaryHeap<Reverse<(Instant, u64)>>,
    events: HashMap<u64, Event>,
    queued: u64,
    ready: VecDeque<Fd>,
    /// Spurious readiness events.
    pub(super) spurious: Vec<Ready>,
    pub(super) open: usize,
    pub(super) dropped: Rc<RefCell<Vec<SimDeviceId>>>,
    /// Waits since the last progress or the last change of the time.
    pub(super) waits_in_a_row: usize,
    /// The time that each call of the gateway takes.
    pub(crate) call_cost: Duration,
    /// The time of all calls so far.
    pub(crate) worked: Duration,
}

/// A file descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fd {
    Stream(SimDeviceId),
    Listener,
    Local,
    Datagrams,
}

/// A call of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Accept,
    Receive,
    Send,
    Read,
    Write,
}

#[derive(Debug)]
pub(super) enum Event {
    Up(SimDeviceId, Vec<u8>),
    End(SimDeviceId),
    Reset(SimDeviceId),
    Down(SimDeviceId, Vec<u8>),
    /// Readiness of a descriptor.
    Edge(Fd),
    /// A stream takes bytes again.
    Writable(SimDeviceId),
    /// Duplicate readiness.
    Again(Ready, Fd),
}

/// A stream's file descriptor.
#[derive(Debug)]
pub(crate) struct Io {
    pub(super) link: SimDeviceId,
    pub(super) dropped: Rc<RefCell<Vec<SimDeviceId>>>,
}

impl Drop for Io {
    fn drop(&mut self) {
        self.dropped.borrow_mut().push(self.link);
    }
}

/// Waits without progress. With more of them the event loop spins.
pub(super) const WAITS_IN_A_ROW_MAX: usize = 500;
pub(super) const LATE: Duration = Duration::from_millis(50);
const ECONNRESET: i32 = 104;

impl SimKernel {
    pub(super) fn new(now: Instant, seed: u64) -> Self {
        Self {
            now,
            rng: Rng::new(seed),
            links: Vec::new(),
            faults: Faults::default(),
            failures: Vec::new(),
            descriptors_max: usize::MAX,
            senders: Vec::new(),
            answers: Vec::new(),
            accepted: VecDeque::new(),
            limit: None,
            at_limit: false,
            is_idle: false,
            datagrams: VecDeque::new(),
            backlogs: Default::default(),
            watched: HashMap::new(),
            queue: BinaryHeap::new(),
            events: HashMap::new(),
            queued: 0,
            ready: VecDeque::new(),
            spurious: Vec::new(),
            open: 0,
            dropped: Rc::default(),
            waits_in_a_row: 0,
            call_cost: Duration::ZERO,
            worked: Duration::ZERO,
        }
    }

    /// Adds a device to an accept queue.
    pub(super) fn dial(&mut self, address: SocketAddr, local: bool, latency: Duration, cut: Cut) -> SimDeviceId {
        self.links.push(SimDevice::new(address, local, latency, cut, self.now));
        let link = self.links.len() - 1;
        self.backlogs[usize::from(local)].push_back(link);
        self.edge(if local { Fd::Local } else { Fd::Listener });
        link
    }

    pub(crate) fn datagram(&mut self, from: SocketAddr, via: PacketInfo, bytes: &[u8]) {
        self.datagrams.push_back((from, via, bytes.to_vec()));
        self.edge(Fd::Datagrams);
    }

    /// Schedules an event of a device behind everything that it has sent.
    pub(super) fn up(&mut self, link: SimDeviceId, event: Event) {
        let state = &mut self.links[link];
        state.arrival = state.arrival.max(self.now + state.latency);
        let at = state.arrival;
        self.schedule(at, event);
    }

    pub(super) fn schedule(&mut self, at: Instant, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse((at, self.queued)));
        self.events.insert(self.queued, event);
    }

    /// Returns the time of the next event.
    pub(super) fn next_event(&self) -> Option<Instant> {
        let at_once = (!self.ready.is_empty() || !self.spurious.is_empty()).then_some(self.now);
        at_once.or(self.queue.peek().map(|Reverse((at, _))| *at))
    }

    pub(super) fn advance(&mut self, to: Instant) {
        (self.now, self.waits_in_a_row) = (to, 0);
    }

    /// Lets the gateway work for a time.
    pub(super) fn work(&mut self, cost: Duration) {
        self.now += cost;
        self.worked += cost;
    }

    /// Returns the length of the accept queues.
    pub(crate) fn waiting_to_be_accepted(&self) -> usize {
        self.backlogs.iter().map(VecDeque::len).sum()
    }

    /// Returns how long the gateway has left bytes unread.
    pub(crate) fn unread_for(&self, link: SimDeviceId) -> Duration {
        self.links[link].socket.unread_since.map_or(Duration::ZERO, |since| self.now - since)
    }

    /// Returns how long the gateway has not sent queued bytes although there was room.
    pub(crate) fn unsent_for(&self, link: SimDeviceId) -> Duration {
        let state = &self.links[link];
        let stuck = state.waiting && !self.is_full(link);
        if stuck { self.now.saturating_duration_since(state.socket.room_since) } else { Duration::ZERO }
    }

    /// Whether the path to a device takes no byte.
    pub(crate) fn is_full(&self, link: SimDeviceId) -> bool {
        !self.links[link].socket.is_writable(self.links[link].window, self.now)
    }

    /// Returns the number of unread datagrams.
    pub(crate) fn unread_datagrams(&self) -> usize {
        self.datagrams.len()
    }

    /// Returns the number of open streams.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Closes the streams that the gateway has dropped.
    pub(super) fn reap(&mut self) {
        for link in self.dropped.take() {
            self.open -= 1;
            let state = &mut self.links[link];
            state.open = false;
            state.ended = Some(state.socket.aborted);
            state.waiting = false;
            state.socket.watched = None;
            state.socket.received = VecDeque::new();
        }
    }

    /// Returns true in `frequency` of 10,000 calls.
    pub(super) fn fails(&mut self, frequency: usize) -> bool {
        frequency > 0 && self.rng.below(10_000) < frequency
    }

    /// Injects the failures that any call may have.
    pub(super) fn fail(&mut self, call: Call, fd: Fd) -> io::Result<()> {
        self.work(self.call_cost);
        if let Some(position) = self.failures.iter().position(|(failing, _)| *failing == call) {
            return Err(io::Error::from_raw_os_error(self.failures.remove(position).1));
        }
        let faults = self.faults;
        if self.fails(faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.fails(faults.exhausted) {
            const EACH: [i32; 3] = [105, 12, 23];
            let among = if matches!(fd, Fd::Listener | Fd::Local) { 3 } else { 2 };
            return Err(io::Error::from_raw_os_error(EACH[self.rng.below(among)]));
        }
        if self.fails(faults.would_block) {
            let pause = Duration::from_millis(1 + self.rng.below(5) as u64);
            self.schedule(self.now + pause, Event::Edge(fd));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    }

    /// Makes a descriptor ready, perhaps delayed.
    pub(super) fn edge(&mut self, fd: Fd) {
        if self.fails(self.faults.late) {
            let late = LATE.mul_f64(self.rng.below(1000) as f64 / 1000.0);
            self.schedule(self.now + late, Event::Edge(fd));
        } else {
            self.list(fd);
        }
    }

    /// Makes a stream writable, if the gateway watches it for that.
    fn writable_edge(&mut self, link: SimDeviceId) {
        if let Some((_, true)) = self.links[link].socket.watched {
            self.edge(Fd::Stream(link));
        }
    }

    pub(super) fn list(&mut self, fd: Fd) {
        if self.readiness(fd).is_none() {
            return;
        }
        let listed = match fd {
            Fd::Stream(link) => Some(&mut self.links[link].socket.listed),
            _ => self.watched.get_mut(&fd).map(|(_, listed)| listed),
        };
        if listed.is_some_and(|listed| !std::mem::replace(listed, true)) {
            self.ready.push_back(fd);
        }
    }

    /// Removes the next descriptor from the ready list, with its current readiness.
    pub(super) fn next_ready(&mut self) -> Option<Option<(Fd, Ready)>> {
        let fd = self.ready.pop_front()?;
        match fd {
            Fd::Stream(link) => self.links[link].socket.listed = false,
            _ => drop(self.watched.entry(fd).and_modify(|(_, listed)| *listed = false)),
        }
        Some(self.readiness(fd).map(|ready| (fd, ready)))
    }

    /// Returns the current readiness of a descriptor, as epoll_wait(2) does.
    pub(super) fn readiness(&self, fd: Fd) -> Option<Ready> {
        let (token, readable, writable, ended, broken) = match fd {
            Fd::Stream(link) => {
                let SimDevice { socket, window, .. } = &self.links[link];
                let (token, both) = socket.watched?;
                let writable = both && socket.is_writable(*window, self.now);
                (token, socket.is_readable(), writable, socket.ended || socket.reset, socket.reset)
            }
            _ => {
                let (token, _) = *self.watched.get(&fd)?;
                let readable = match fd {
                    Fd::Listener => !self.backlogs[0].is_empty(),
                    Fd::Local => !self.backlogs[1].is_empty(),
                    _ => !self.datagrams.is_empty(),
                };
                (token, readable, false, false, false)
            }
        };
        (readable || writable).then_some(Ready { token, readable, writable, ended, broken })
    }

    /// Delivers all due events.
    pub(super) fn deliver_due(&mut self) {
        while let Some(&Reverse((at, number))) = self.queue.peek()
            && at <= self.now
        {
            self.queue.pop();
            let event = self.events.remove(&number).expect("an event for every entry");
            match event {
                Event::Up(link, bytes) if self.is_reached(link) => {
                    self.links[link].socket.received.extend(bytes);
                    self.links[link].socket.unread_since.get_or_insert(self.now);
                    self.edge(Fd::Stream(link));
                }
                Event::End(link) if self.is_reached(link) => {
                    self.links[link].socket.ended = true;
                    self.links[link].socket.unread_since.get_or_insert(self.now);
                    self.edge(Fd::Stream(link));
                }
                Event::Reset(link) if self.is_reached(link) => self.break_stream(link),
                Event::Up(..) | Event::End(_) | Event::Reset(_) => {}
                Event::Down(link, bytes) => {
                    let state = &mut self.links[link];
                    match state.reading {
                        _ if state.vanished || state.ended == Some(true) => {}
                        true => self.receive_bytes(link, &bytes),
                        false => state.unread.extend_from_slice(&bytes),
                    }
                }
                Event::Edge(fd) => self.list(fd),
                Event::Writable(link) => self.writable_edge(link),
                Event::Again(ready, fd) => {
                    let watched = match fd {
                        Fd::Stream(link) => self.links[link].socket.watched.is_some(),
                        _ => true,
                    };
                    if watched {
                        self.spurious.push(ready);
                    }
                }
            }
        }
    }

    /// Whether bytes of a device reach the gateway.
    fn is_reached(&self, link: SimDeviceId) -> bool {
        let state = &self.links[link];
        !state.vanished && state.ended.is_none() && !state.socket.reset
    }

    pub(super) fn break_stream(&mut self, link: SimDeviceId) {
        let socket = &mut self.links[link].socket;
        (socket.reset, socket.error) = (true, Some(ECONNRESET));
        // From here on a write returns the error.
        socket.room_since = self.now;
        socket.unread_since.get_or_insert(self.now);
        self.edge(Fd::Stream(link));
    }

    /// Delivers bytes to a device, which answers beats.
    pub(super) fn receive_bytes(&mut self, link: SimDeviceId, bytes: &[u8]) {
        let now = self.now;
        let state = &mut self.links[link];
        if !state.socket.is_writable(state.window, now) {
            state.socket.room_since = now;
        }
        let answers = state.receive_bytes(bytes, now);
        self.writable_edge(link);
        for _ in 0..answers {
            let state = &mut self.links[link];
            state.answered.push(state.sent);
            state.sent += ANSWER.len() as u64;
            self.up(link, Event::Up(link, ANSWER.to_vec()));
        }
    }

    pub(super) fn watch_arrivals(&mut self, fd: Fd, token: usize) -> io::Result<()> {
        self.watched.insert(fd, (token, false));
        self.edge(fd);
        Ok(())
    }
}
