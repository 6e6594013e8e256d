//! A simulated kernel: sockets whose other ends are virtual devices, readiness that comes once per edge as epoll's does,
//! and a clock that jumps from one event to the next. With [`Faults`] any call may fail in the ways in which the real one
//! may, and readiness comes late, twice, or without cause; but it keeps the law that [`Kernel`] states.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use pulsegate::Credentials;
use pulsegate::endpoint::{Peer, Via};
use pulsegate::proto::heartbeat::ANSWER;
use pulsegate::reactor::{Kernel, Ready};

use super::link::{Cut, Link, LinkId};
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
pub(crate) struct Wires {
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) links: Vec<Link>,
    pub(crate) faults: Faults,
    /// Streams that may be open at one time; with more, accepting fails with `EMFILE`.
    pub(crate) descriptors_max: usize,
    /// Who was heard since a test last looked.
    pub(crate) spoke: Vec<LinkId>,
    /// Datagrams that the gateway sent.
    pub(crate) answers: Vec<(SocketAddr, Via, Vec<u8>)>,
    /// Links in the order in which the gateway was given them, until [`super::Network`] knows their ids.
    pub(super) accepted: VecDeque<LinkId>,
    /// How far the next wait may let time go.
    pub(super) limit: Option<Instant>,
    /// The last wait ended at the limit, with nothing to be told.
    pub(super) at_limit: bool,
    /// The last wait would have lasted for ever.
    pub(super) is_idle: bool,
    pub(super) datagrams: VecDeque<(SocketAddr, Via, Vec<u8>)>,
    /// Those who wait to be accepted: devices, and local processes.
    backlogs: [VecDeque<LinkId>; 2],
    /// The tokens of what is no stream, and whether it is in the list of what is ready.
    watched: HashMap<Fd, (usize, bool)>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    events: HashMap<u64, Event>,
    queued: u64,
    ready: VecDeque<Fd>,
    /// Events that tell of nothing.
    spurious: Vec<Ready>,
    open: usize,
    dropped: Rc<RefCell<Vec<LinkId>>>,
    /// Waits since anything was done or time has passed.
    waits_in_a_row: usize,
}

/// What a descriptor refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fd {
    Stream(LinkId),
    Listener,
    Local,
    Datagrams,
}

#[derive(Debug)]
pub(super) enum Event {
    Up(LinkId, Vec<u8>),
    End(LinkId),
    Reset(LinkId),
    Down(LinkId, Vec<u8>),
    /// A descriptor is announced.
    Edge(Fd),
    /// A stream takes bytes again.
    Writable(LinkId),
    /// It is announced once more, whatever there is to be told.
    Again(Ready, Fd),
}

/// A stream's descriptor.
#[derive(Debug)]
pub(crate) struct Io {
    link: LinkId,
    dropped: Rc<RefCell<Vec<LinkId>>>,
}

impl Drop for Io {
    fn drop(&mut self) {
        self.dropped.borrow_mut().push(self.link);
    }
}

/// More waits without time passing or anything done than any number of timers explains: the loop would spin.
const WAITS_IN_A_ROW_MAX: usize = 500;
const LATE: Duration = Duration::from_millis(50);
const ECONNRESET: i32 = 104;

impl Wires {
    pub(super) fn new(now: Instant, seed: u64) -> Self {
        Self {
            now,
            rng: Rng::new(seed),
            links: Vec::new(),
            faults: Faults::default(),
            descriptors_max: usize::MAX,
            spoke: Vec::new(),
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
        }
    }

    /// Somebody connects.
    pub(super) fn dial(&mut self, address: SocketAddr, local: bool, latency: Duration, cut: Cut) -> LinkId {
        self.links.push(Link::new(address, local, latency, cut, self.now));
        let link = self.links.len() - 1;
        self.backlogs[usize::from(local)].push_back(link);
        self.edge(if local { Fd::Local } else { Fd::Listener });
        link
    }

    pub(super) fn datagram(&mut self, from: SocketAddr, via: Via, bytes: &[u8]) {
        self.datagrams.push_back((from, via, bytes.to_vec()));
        self.edge(Fd::Datagrams);
    }

    /// A link's event reaches the gateway's socket behind all that it has sent.
    pub(super) fn up(&mut self, link: LinkId, event: Event) {
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

    /// How many wait to be accepted.
    pub(crate) fn waiting_to_be_accepted(&self) -> usize {
        self.backlogs.iter().map(VecDeque::len).sum()
    }

    /// How long there has been something to read that the gateway did not read.
    pub(crate) fn unread_for(&self, link: LinkId) -> Duration {
        self.links[link].socket.unread_since.map_or(Duration::ZERO, |since| self.now - since)
    }

    /// How long there has been room for what waits to be sent and was not offered.
    pub(crate) fn unsent_for(&self, link: LinkId) -> Duration {
        let state = &self.links[link];
        let stuck = state.waiting && !self.is_full(link);
        if stuck { self.now.saturating_duration_since(state.socket.room_since) } else { Duration::ZERO }
    }

    /// Whether the path takes no byte.
    pub(crate) fn is_full(&self, link: LinkId) -> bool {
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
    fn fails(&mut self, often: usize) -> bool {
        often > 0 && self.rng.below(10_000) < often
    }

    /// The failures that any call may have.
    fn fail(&mut self, fd: Fd) -> io::Result<()> {
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
    fn writable_edge(&mut self, link: LinkId) {
        if let Some((_, true)) = self.links[link].socket.watched {
            self.edge(Fd::Stream(link));
        }
    }

    fn list(&mut self, fd: Fd) {
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
    fn next_ready(&mut self) -> Option<Option<(Fd, Ready)>> {
        let fd = self.ready.pop_front()?;
        match fd {
            Fd::Stream(link) => self.links[link].socket.listed = false,
            _ => drop(self.watched.entry(fd).and_modify(|(_, listed)| *listed = false)),
        }
        Some(self.tell(fd).map(|ready| (fd, ready)))
    }

    /// What there is to be told of a descriptor, as epoll finds out when it is asked.
    fn tell(&self, fd: Fd) -> Option<Ready> {
        let (token, readable, writable, ended, broken) = match fd {
            Fd::Stream(link) => {
                let Link { socket, window, .. } = &self.links[link];
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
    fn carry(&mut self) {
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
    fn is_reached(&self, link: LinkId) -> bool {
        let state = &self.links[link];
        !state.vanished && state.ended.is_none() && !state.socket.reset
    }

    fn break_stream(&mut self, link: LinkId) {
        let socket = &mut self.links[link].socket;
        (socket.reset, socket.error) = (true, Some(ECONNRESET));
        socket.unread_since.get_or_insert(self.now);
        self.edge(Fd::Stream(link));
    }

    /// A device reads.
    pub(super) fn hear(&mut self, link: LinkId, bytes: &[u8]) {
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

    fn watch(&mut self, fd: Fd, token: usize) -> io::Result<()> {
        self.watched.insert(fd, (token, false));
        self.edge(fd);
        Ok(())
    }
}

impl Kernel for Wires {
    type Stream = Io;
    type Listener = Fd;
    type Datagrams = Fd;
    type Events = (Vec<Ready>, usize);

    fn events(capacity: usize) -> Self::Events {
        (Vec::new(), capacity)
    }

    fn wait(&mut self, (events, capacity): &mut Self::Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        self.reap();
        (self.at_limit, self.is_idle) = (false, false);
        self.waits_in_a_row += 1;
        assert!(self.waits_in_a_row < WAITS_IN_A_ROW_MAX, "time stands still and nothing is done: the loop spins");
        if self.fails(self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let until = timeout.map(|timeout| self.now + timeout);
        let limit = self.limit.map(|limit| limit.max(self.now));
        loop {
            self.carry();
            while events.len() < *capacity
                && let Some(next) = self.next_ready()
            {
                let Some((fd, ready)) = next else { continue };
                if self.fails(self.faults.again) {
                    let later = LATE.mul_f64(self.rng.below(1000) as f64 / 1000.0);
                    self.schedule(self.now + later, Event::Again(ready, fd));
                }
                events.push(ready);
            }
            events.append(&mut self.spurious);
            if !events.is_empty() {
                return Ok(());
            }
            let next = self.queue.peek().map(|Reverse((at, _))| *at);
            let Some(at) = [next, until, limit].into_iter().flatten().min() else {
                self.is_idle = true;
                return Ok(());
            };
            if at > self.now {
                (self.now, self.waits_in_a_row) = (at, 0);
            }
            if next.is_some_and(|next| next <= at) {
                continue;
            }
            self.at_limit = until.is_none_or(|until| until > at);
            return Ok(());
        }
    }

    fn ready(events: &Self::Events) -> impl Iterator<Item = Ready> {
        events.0.iter().copied()
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn watch_listener(&mut self, listener: &mut Fd, token: usize) -> io::Result<()> {
        self.watch(*listener, token)
    }

    fn accept(&mut self, listener: &mut Fd) -> io::Result<(Io, Peer)> {
        self.reap();
        self.fail(*listener)?;
        let local = *listener == Fd::Local;
        let Some(&link) = self.backlogs[usize::from(local)].front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        if self.open >= self.descriptors_max {
            return Err(io::Error::from_raw_os_error(24));
        }
        self.backlogs[usize::from(local)].pop_front();
        self.waits_in_a_row = 0;
        if self.fails(self.faults.reset) {
            (self.links[link].broken, self.links[link].ended) = (true, Some(true));
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.open += 1;
        self.links[link].open = true;
        self.accepted.push_back(link);
        let peer = match local {
            true => Peer::Local(Credentials { pid: 1, uid: 0, gid: 0 }),
            false => Peer::Internet(self.links[link].address),
        };
        Ok((Io { link, dropped: Rc::clone(&self.dropped) }, peer))
    }

    fn watch_datagrams(&mut self, socket: &mut Fd, token: usize) -> io::Result<()> {
        self.watch(*socket, token)
    }

    fn receive(&mut self, socket: &mut Fd, buffer: &mut [u8]) -> io::Result<(SocketAddr, Via, usize)> {
        self.fail(*socket)?;
        if self.fails(self.faults.reset) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (from, via, bytes) = self.datagrams.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        self.waits_in_a_row = 0;
        let n = bytes.len().min(buffer.len());
        buffer[..n].copy_from_slice(&bytes[..n]);
        Ok((from, via, n))
    }

    fn send(&mut self, socket: &mut Fd, to: SocketAddr, via: Via, bytes: &[u8]) -> io::Result<()> {
        self.fail(*socket)?;
        self.answers.push((to, via, bytes.to_vec()));
        Ok(())
    }

    fn connect(&mut self, _: Option<IpAddr>, _: SocketAddr) -> io::Result<Io> {
        panic!("a gateway opens no streams");
    }

    fn is_connected(&mut self, _: &Io) -> io::Result<bool> {
        panic!("a gateway opens no streams");
    }

    fn watch(&mut self, stream: &mut Io, token: usize, _: bool) -> io::Result<()> {
        if self.fails(self.faults.exhausted) {
            self.links[stream.link].broken = true;
            return Err(io::Error::from_raw_os_error(28));
        }
        let before = self.links[stream.link].socket.watched.replace((token, false));
        assert_eq!(before, None, "a stream is watched twice");
        self.edge(Fd::Stream(stream.link));
        Ok(())
    }

    fn watch_writable(&mut self, stream: &mut Io, token: usize) -> io::Result<()> {
        let watched = &mut self.links[stream.link].socket.watched;
        assert_eq!(*watched, Some((token, false)), "watched for being writable");
        *watched = Some((token, true));
        // As epoll does: what is the case already is announced.
        self.edge(Fd::Stream(stream.link));
        Ok(())
    }

    fn unwatch_writable(&mut self, stream: &mut Io, token: usize) -> io::Result<()> {
        let watched = &mut self.links[stream.link].socket.watched;
        assert_eq!(*watched, Some((token, true)), "no longer watched for being writable");
        *watched = Some((token, false));
        self.edge(Fd::Stream(stream.link));
        Ok(())
    }

    fn read(&mut self, stream: &mut Io, buffer: &mut [u8]) -> io::Result<usize> {
        let link = stream.link;
        self.fail(Fd::Stream(link))?;
        if self.fails(self.faults.reset) && !self.links[link].socket.reset {
            self.links[link].broken = true;
            self.break_stream(link);
        }
        let state = &mut self.links[link];
        let socket = &mut state.socket;
        if socket.received.is_empty() {
            if let Some(error) = socket.error.take() {
                return Err(io::Error::from_raw_os_error(error));
            }
            if socket.ended || socket.reset {
                socket.unread_since = None;
                state.end_told |= !socket.reset;
                return Ok(0);
            }
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.waits_in_a_row = 0;
        let there = socket.received.len();
        let most = match state.cut {
            Cut::Whole => there,
            Cut::Every(n) => n,
            // Short ones as well, of a stream of any length.
            Cut::Anywhere if self.rng.chance(30) => 1 + self.rng.below(8),
            Cut::Anywhere => 1 + self.rng.below(there),
        };
        let n = most.min(there).min(buffer.len());
        let (front, back) = socket.received.as_slices();
        let first = n.min(front.len());
        buffer[..first].copy_from_slice(&front[..first]);
        buffer[first..n].copy_from_slice(&back[..n - first]);
        socket.received.drain(..n);
        socket.unread_since = socket.is_readable().then_some(self.now);
        state.delivered += n as u64;
        state.delivered_at = self.now;
        self.spoke.push(link);
        if n < buffer.len() && n < there {
            // Who reads less than was asked for takes the stream to be empty: the rest comes only now. Not late, or a
            // picture in small pieces would take minutes.
            self.list(Fd::Stream(link));
        }
        Ok(n)
    }

    fn write(&mut self, stream: &mut Io, bytes: &[u8]) -> io::Result<usize> {
        assert!(!bytes.is_empty(), "nothing was offered to be sent");
        let link = stream.link;
        let failed = self.fail(Fd::Stream(link));
        if failed.is_ok() && self.fails(self.faults.reset) && !self.links[link].socket.reset {
            self.links[link].broken = true;
            self.break_stream(link);
        }
        let now = self.now;
        let state = &mut self.links[link];
        if !std::mem::replace(&mut state.waiting, true) {
            state.waiting_since = now;
        }
        (state.waited_at, state.socket.room_since) = (now, now);
        failed?;
        if state.socket.reset {
            return Err(state
                .socket
                .error
                .take()
                .map_or(io::ErrorKind::BrokenPipe.into(), io::Error::from_raw_os_error));
        }
        if !state.socket.is_writable(state.window, now) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.waits_in_a_row = 0;
        let mut taken = bytes.len().min(state.window - state.socket.used);
        if state.short_writes && self.rng.chance(40) {
            taken = 1 + self.rng.below(taken);
            let until = now + Duration::from_millis(3);
            state.socket.full_until = Some(until);
            self.schedule(until, Event::Writable(link));
        }
        let state = &mut self.links[link];
        state.take(&bytes[..taken]);
        state.taken_at = now;
        state.waiting = taken < bytes.len();
        let arrival = now + state.latency;
        self.schedule(arrival, Event::Down(link, bytes[..taken].to_vec()));
        Ok(taken)
    }

    fn abort(&mut self, stream: &Io) {
        self.links[stream.link].socket.aborted = true;
    }
}
