//! What a simulated kernel knows: sockets whose other ends are virtual devices, what is on its way, what is ready, and the
//! time. Its calls are in `kernel`.

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

use super::link::{Cut, SimDevice, SimDeviceId};
use super::rng::Rng;

/// How often calls fail though nothing is wrong: so many times of ten thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// `EINTR`.
    pub(crate) interrupted: usize,
    /// `EAGAIN`, and an edge a little later.
    pub(crate) would_block: usize,
    /// `ENOBUFS` and `ENOMEM`, `ENFILE` where a descriptor is wanted: no edge follows.
    pub(crate) exhausted: usize,
    /// `ECONNRESET`, and the stream is broken; `ECONNABORTED` where it is accepted.
    pub(crate) reset: usize,
    /// An edge is announced up to 50 ms late.
    pub(crate) late: usize,
    /// It is announced once more after up to 50 ms, whatever there is to be told then.
    pub(crate) again: usize,
}

/// The kernel, the wires, and the devices at their other ends.
pub(crate) struct SimKernel {
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) links: Vec<SimDevice>,
    pub(crate) faults: Faults,
    /// Calls that fail next, each once, and with what.
    pub(crate) failures: Vec<(Call, i32)>,
    /// Streams that may be open at one time; with more, accepting fails with `EMFILE`.
    pub(crate) descriptors_max: usize,
    /// Who was heard since a test last looked.
    pub(crate) senders: Vec<SimDeviceId>,
    /// Datagrams that the gateway sent.
    pub(crate) answers: Vec<(SocketAddr, PacketInfo, Vec<u8>)>,
    /// Links in the order in which the gateway was given them, until [`super::Network`] knows their ids.
    pub(super) accepted: VecDeque<SimDeviceId>,
    /// How far the next wait may let time go.
    pub(super) limit: Option<Instant>,
    /// The last wait ended at the limit, with nothing to be told.
    pub(super) at_limit: bool,
    /// The last wait would have lasted for ever.
    pub(super) is_idle: bool,
    pub(super) datagrams: VecDeque<(SocketAddr, PacketInfo, Vec<u8>)>,
    /// Those who wait to be accepted: devices, and local processes.
    pub(super) backlogs: [VecDeque<SimDeviceId>; 2],
    /// The tokens of what is no stream, and whether it is in the list of what is ready.
    pub(super) watched: HashMap<Fd, (usize, bool)>,
    pub(super) queue: BinaryHeap<Reverse<(Instant, u64)>>,
    events: HashMap<u64, Event>,
    queued: u64,
    ready: VecDeque<Fd>,
    /// Events that tell of nothing.
    pub(super) spurious: Vec<Ready>,
    pub(super) open: usize,
    pub(super) dropped: Rc<RefCell<Vec<SimDeviceId>>>,
    /// Waits since anything was done or time has passed.
    pub(super) waits_in_a_row: usize,
    /// The time that each call of the gateway takes.
    pub(crate) call_cost: Duration,
    /// The time that all of its work took so far.
    pub(crate) worked: Duration,
}

/// What a descriptor refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fd {
    Stream(SimDeviceId),
    Listener,
    Local,
    Datagrams,
}

/// What the gateway may ask of the kernel.
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
    /// A descriptor is announced.
    Edge(Fd),
    /// A stream takes bytes again.
    Writable(SimDeviceId),
    /// It is announced once more, whatever there is to be told.
    Again(Ready, Fd),
}

/// A stream's descriptor.
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

/// More waits without time passing or anything done than any number of timers explains: the loop would spin.
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

    /// Somebody connects.
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

    /// A link's event reaches the gateway's socket behind all that it has sent.
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

    /// When something will happen next by itself.
    pub(super) fn next_event(&self) -> Option<Instant> {
        let at_once = (!self.ready.is_empty() || !self.spurious.is_empty()).then_some(self.now);
        at_once.or(self.queue.peek().map(|Reverse((at, _))| *at))
    }

    pub(super) fn advance(&mut self, to: Instant) {
        (self.now, self.waits_in_a_row) = (to, 0);
    }

    /// The gateway works for that time.
    pub(super) fn work(&mut self, cost: Duration) {
        self.now += cost;
        self.worked += cost;
    }

    /// How many wait to be accepted.
    pub(crate) fn waiting_to_be_accepted(&self) -> usize {
        self.backlogs.iter().map(VecDeque::len).sum()
    }

    /// How long there has been something to read that the gateway did not read.
    pub(crate) fn unread_for(&self, link: SimDeviceId) -> Duration {
        self.links[link].socket.unread_since.map_or(Duration::ZERO, |since| self.now - since)
    }

    /// How long there has been room for what waits to be sent and was not offered.
    pub(crate) fn unsent_for(&self, link: SimDeviceId) -> Duration {
        let state = &self.links[link];
        let stuck = state.waiting && !self.is_full(link);
        if stuck { self.now.saturating_duration_since(state.socket.room_since) } else { Duration::ZERO }
    }

    /// Whether the path takes no byte.
    pub(crate) fn is_full(&self, link: SimDeviceId) -> bool {
        !self.links[link].socket.is_writable(self.links[link].window, self.now)
    }

    /// How many datagrams wait to be read.
    pub(crate) fn unread_datagrams(&self) -> usize {
        self.datagrams.len()
    }

    /// How many streams the gateway has open.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// What the gateway has dropped is closed.
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

    /// True so many times of ten thousand.
    pub(super) fn fails(&mut self, often: usize) -> bool {
        often > 0 && self.rng.below(10_000) < often
    }

    /// The failures that any call may have.
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

    /// Something has changed: it is to be announced.
    pub(super) fn edge(&mut self, fd: Fd) {
        if self.fails(self.faults.late) {
            let late = LATE.mul_f64(self.rng.below(1000) as f64 / 1000.0);
            self.schedule(self.now + late, Event::Edge(fd));
        } else {
            self.list(fd);
        }
    }

    /// There is room again, which is announced to who watches for it, and to nobody else.
    fn writable_edge(&mut self, link: SimDeviceId) {
        if let Some((_, true)) = self.links[link].socket.watched {
            self.edge(Fd::Stream(link));
        }
    }

    pub(super) fn list(&mut self, fd: Fd) {
        if self.tell(fd).is_none() {
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

    /// Takes the next descriptor from the list, with what there is to be told of it now.
    pub(super) fn next_ready(&mut self) -> Option<Option<(Fd, Ready)>> {
        let fd = self.ready.pop_front()?;
        match fd {
            Fd::Stream(link) => self.links[link].socket.listed = false,
            _ => drop(self.watched.entry(fd).and_modify(|(_, listed)| *listed = false)),
        }
        Some(self.tell(fd).map(|ready| (fd, ready)))
    }

    /// What there is to be told of a descriptor, as epoll finds out when it is asked.
    pub(super) fn tell(&self, fd: Fd) -> Option<Ready> {
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

    /// Lets everything happen that is due.
    pub(super) fn carry(&mut self) {
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
                        true => self.hear(link, &bytes),
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

    /// Whether what a device sends arrives anywhere.
    fn is_reached(&self, link: SimDeviceId) -> bool {
        let state = &self.links[link];
        !state.vanished && state.ended.is_none() && !state.socket.reset
    }

    pub(super) fn break_stream(&mut self, link: SimDeviceId) {
        let socket = &mut self.links[link].socket;
        (socket.reset, socket.error) = (true, Some(ECONNRESET));
        // From now on a write would tell.
        socket.room_since = self.now;
        socket.unread_since.get_or_insert(self.now);
        self.edge(Fd::Stream(link));
    }

    /// A device reads.
    pub(super) fn hear(&mut self, link: SimDeviceId, bytes: &[u8]) {
        let now = self.now;
        let state = &mut self.links[link];
        if !state.socket.is_writable(state.window, now) {
            state.socket.room_since = now;
        }
        let answers = state.hear(bytes, now);
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
