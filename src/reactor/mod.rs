//! The turn of the loop: wait, hand over what happened, carry out what is asked for, expire. The
//! only files that name mio or touch a socket; none of them has heard of JSON. Floor 3.
//!
//! mio's law: readiness comes once per edge. So a stream is read until the kernel says that nothing
//! is left (`WouldBlock`, or a read shorter than the buffer, see epoll(7)), or it is put on a list of
//! those that have more, and while that list is not empty no poll waits. Events may be spurious.

mod datagram;
mod listener;
mod stream;
mod turns;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, warn};
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use self::datagram::Datagram;
use self::listener::{Accepted, Listener};
use self::stream::Stream;
use self::turns::Turns;
use crate::endpoint::{ConnectionId, Endpoint, ListenerId, OsError, Output, StreamEnd};

pub(crate) use datagram::interface_name;
pub(crate) use listener::{is_listening, open_tcp};
pub use stream::Io;

/// What one turn may do at most for one socket, so that a loud one cannot starve the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes read from one stream. Default 256 KiB.
    pub read_bytes_per_turn_max: usize,
    /// Streams accepted from one listener. Default 256.
    pub accepts_per_turn_max: usize,
    /// Datagrams taken from one socket. Default 64.
    pub datagrams_per_turn_max: usize,
    /// Size of the buffer that all reads share. Default 64 KiB.
    pub read_buffer_bytes: usize,
    /// Events taken with one poll. Default 1,024.
    pub events_per_turn_max: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            read_bytes_per_turn_max: 256 << 10,
            accepts_per_turn_max: 256,
            datagrams_per_turn_max: 64,
            read_buffer_bytes: 64 << 10,
            events_per_turn_max: 1024,
        }
    }
}

/// Owns every socket and drives an [`Endpoint`].
pub struct Reactor {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    sockets: Sockets,
    /// When the present turn began to work.
    began: Instant,
    turns: Turns,
}

/// All that a turn works on while mio's events are borrowed.
struct Sockets {
    registry: Registry,
    budget: Budget,
    buffer: Vec<u8>,
    /// By [`ConnectionId::index`], which is also the token.
    streams: Vec<Option<Stream>>,
    listeners: Vec<Listener>,
    datagrams: Vec<Datagram>,
    /// Streams to be read in the next turn though no edge will come: they have more than one turn
    /// allows, or writing to them has failed, and what they had sent before is still to be read.
    unfinished: VecDeque<(ConnectionId, Option<OsError>)>,
    /// Streams that are not read, see [`Reactor::set_reading`].
    paused: HashSet<ConnectionId>,
    /// When last it was logged that descriptors or memory had run out.
    exhausted_logged: Option<Instant>,
}

/// The waker's token; those of listeners and datagram sockets count up from [`LISTENERS`].
const WAKER: Token = Token(usize::MAX);
const LISTENERS: usize = usize::MAX / 2;

/// How long a listener is left alone when descriptors have run out, unless a stream ends before.
const PARKED: Duration = Duration::from_secs(1);
/// The least time between two log lines about that.
const LOG_PAUSE: Duration = Duration::from_secs(10);

impl Reactor {
    /// A reactor without sockets.
    ///
    /// # Errors
    /// If the system gives no epoll instance or no buffer can be had.
    pub fn new(budget: Budget) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Arc::new(Waker::new(&registry, WAKER)?);
        let sockets = Sockets {
            registry,
            budget,
            // Zeroed memory that no one has touched is not resident yet.
            buffer: vec![0; budget.read_buffer_bytes],
            streams: Vec::new(),
            listeners: Vec::new(),
            datagrams: Vec::new(),
            unfinished: VecDeque::new(),
            paused: HashSet::new(),
            exhausted_logged: None,
        };
        let began = clock();
        let events = Events::with_capacity(budget.events_per_turn_max);
        Ok(Self { poll, events, waker, sockets, began, turns: Turns::new(began) })
    }

    /// A function that wakes the loop from another thread.
    pub fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        let waker = Arc::clone(&self.waker);
        move || {
            if let Err(error) = waker.wake() {
                warn!("the loop could not be woken: {error}");
            }
        }
    }

    /// Takes streams from `listener`, under that id.
    ///
    /// # Errors
    /// If it cannot be made non-blocking or registered.
    pub fn listen(&mut self, id: ListenerId, listener: std::net::TcpListener) -> io::Result<()> {
        self.sockets.add_listener(Listener::tcp(id, listener)?)
    }

    /// As [`Self::listen`], for a Unix socket.
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub fn listen_local(&mut self, id: ListenerId, listener: std::os::unix::net::UnixListener) -> io::Result<()> {
        self.sockets.add_listener(Listener::unix(id, listener)?)
    }

    /// Takes datagrams from `socket`, under that id.
    ///
    /// # Errors
    /// If it cannot be made non-blocking, told to give destination addresses, or registered.
    pub fn receive(&mut self, id: ListenerId, socket: std::net::UdpSocket) -> io::Result<()> {
        let mut datagram = Datagram::new(id, socket)?;
        self.sockets.registry.register(&mut datagram.socket, listener_token(id), Interest::READABLE)?;
        self.sockets.datagrams.push(datagram);
        Ok(())
    }

    /// Closes a listener or datagram socket.
    pub fn close_listener(&mut self, id: ListenerId) {
        self.sockets.listeners.retain(|listener| listener.id != id);
        self.sockets.datagrams.retain(|datagram| datagram.id != id);
    }

    /// Takes over a stream that the endpoint knows as `id`.
    ///
    /// # Errors
    /// If it cannot be registered.
    pub fn attach(&mut self, id: ConnectionId, io: Io) -> io::Result<()> {
        self.sockets.add_stream(id, Stream::new(id, io))
    }

    /// Leaves a stream unread, so that the kernel's buffers fill and its peer is made to wait, or
    /// reads it again. Streams are read unless this says otherwise; the end of one is noticed anyway.
    pub fn set_reading(&mut self, id: ConnectionId, reading: bool) {
        if self.sockets.stream(id).is_none() {
            return;
        }
        if !reading {
            self.sockets.paused.insert(id);
        } else if self.sockets.paused.remove(&id) {
            // The edges that came meanwhile do not come again.
            self.sockets.leave_unfinished(id, None);
        }
    }

    /// How long the longest turn of the last minute took, while a timer was set.
    pub fn longest_turn(&self) -> Duration {
        self.turns.longest(self.began)
    }

    /// One turn: waits until something happens or [`Endpoint::poll_timeout`], hands everything over,
    /// and carries out what is asked for.
    ///
    /// # Errors
    /// Only if waiting itself fails, after which no turn can succeed.
    pub fn turn(&mut self, endpoint: &mut impl Endpoint) -> io::Result<()> {
        let sockets = &mut self.sockets;
        let wait = if sockets.has_unfinished() {
            Some(Duration::ZERO)
        } else {
            let due = [endpoint.poll_timeout(), sockets.next_retry()].into_iter().flatten().min();
            due.map(|due| {
                let now = clock();
                self.turns.note(self.began, now);
                due.saturating_duration_since(now)
            })
        };
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let now = clock();
        self.began = now;
        // Those that were left unfinished are served after the events: everyone gets a turn.
        let left = sockets.unfinished.len();
        for event in &self.events {
            match event.token() {
                WAKER => {
                    endpoint.handle_wake(now);
                    sockets.drain(endpoint, now);
                }
                Token(token) if token >= LISTENERS => {
                    sockets.ready_listener(ListenerId((token - LISTENERS) as u32), endpoint, now);
                }
                Token(index) => {
                    let ended = event.is_read_closed() || event.is_error();
                    sockets.ready_stream(
                        index,
                        event.is_readable() || ended,
                        event.is_writable(),
                        ended,
                        endpoint,
                        now,
                    );
                }
            }
        }
        sockets.resume_streams(left, endpoint, now);
        sockets.resume_listeners(endpoint, now);
        // What the endpoint was asked to do between two turns is carried out here, too.
        sockets.drain(endpoint, now);
        if endpoint.poll_timeout().is_some_and(|due| due <= now) {
            endpoint.handle_timeout(now);
            sockets.drain(endpoint, now);
        }
        Ok(())
    }
}

/// The one place where time is read.
#[expect(clippy::disallowed_methods, reason = "the reactor hands `now` down to everyone else")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

fn listener_token(id: ListenerId) -> Token {
    Token(LISTENERS + id.0 as usize)
}

impl Sockets {
    fn add_listener(&mut self, mut listener: Listener) -> io::Result<()> {
        listener.register(&self.registry, listener_token(listener.id))?;
        self.listeners.push(listener);
        Ok(())
    }

    fn add_stream(&mut self, id: ConnectionId, mut stream: Stream) -> io::Result<()> {
        stream.register(&self.registry, Token(id.index()))?;
        if self.streams.len() <= id.index() {
            self.streams.resize_with(id.index() + 1, || None);
        }
        self.streams[id.index()] = Some(stream);
        Ok(())
    }

    fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
            || self.listeners.iter().any(|listener| listener.unfinished)
            || self.datagrams.iter().any(|datagram| datagram.unfinished)
    }

    /// When the next parked listener is to be tried again.
    fn next_retry(&self) -> Option<Instant> {
        self.listeners.iter().filter_map(|listener| listener.parked).min()
    }

    fn stream(&mut self, id: ConnectionId) -> Option<&mut Stream> {
        let stream = self.streams.get_mut(id.index())?.as_mut()?;
        (stream.id(id.index()) == id).then_some(stream)
    }

    /// Carries out everything that the endpoint asks for.
    fn drain(&mut self, endpoint: &mut impl Endpoint, now: Instant) {
        while let Some(output) = endpoint.poll_output() {
            match output {
                Output::Send { id, bytes } => {
                    let taken = self.write(id, bytes);
                    endpoint.handle_sent(id, taken, now);
                }
                Output::SendTo { socket, to, via, bytes } => {
                    let datagram = self.datagrams.iter().find(|datagram| datagram.id == socket);
                    if let Some(Err(error)) = datagram.map(|datagram| datagram.send(to, via, bytes)) {
                        debug!("datagram to {to} not sent: {error}");
                    }
                }
                Output::Connect { id, from, to } => {
                    if let Err(error) = self.connect(id, from, to) {
                        endpoint.handle_close(id, StreamEnd::Failed(error.into()), now);
                    }
                }
                Output::Read { id } => self.leave_unfinished(id, None),
                Output::Close { id, abort } => {
                    if let Some(stream) = self.stream(id) {
                        if abort {
                            stream.abort();
                        }
                        self.close(id, StreamEnd::Closed, endpoint, now);
                    }
                }
            }
        }
    }

    /// Offers bytes to the kernel: how many it has taken. If it took too few, an edge will come; if
    /// the stream is broken, it is read to its end in the next turn and closed then.
    fn write(&mut self, id: ConnectionId, bytes: &[u8]) -> usize {
        let registry = &self.registry;
        let Some(stream) = self.streams.get_mut(id.index()).and_then(Option::as_mut) else { return 0 };
        let mut taken = 0;
        let result = loop {
            match stream.write(&bytes[taken..]) {
                Ok(n) => {
                    taken += n;
                    if taken == bytes.len() {
                        return taken;
                    }
                    // A short write to a socket means that it is full; only the kernel's word counts.
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    break stream.block(registry, Token(id.index()));
                }
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = result {
            self.unfinished.push_back((id, Some(error.into())));
        }
        taken
    }

    fn connect(
        &mut self,
        id: ConnectionId,
        from: Option<std::net::IpAddr>,
        to: std::net::SocketAddr,
    ) -> io::Result<()> {
        let mut stream = Stream::new(id, Io::Tcp(stream::dial(from, to)?));
        stream.connecting = true;
        stream.blocked = true;
        self.add_stream(id, stream)
    }

    fn ready_stream(
        &mut self,
        index: usize,
        readable: bool,
        writable: bool,
        ended: bool,
        endpoint: &mut impl Endpoint,
        now: Instant,
    ) {
        // An event of a stream that was closed in this very turn.
        let Some(stream) = self.streams.get_mut(index).and_then(Option::as_mut) else { return };
        let id = stream.id(index);
        stream.ended |= ended;
        if stream.connecting && (writable || ended) {
            match stream.take_error() {
                Ok(None) => {
                    stream.connecting = false;
                    endpoint.handle_connect(id, now);
                }
                Ok(Some(error)) | Err(error) => {
                    return self.close(id, StreamEnd::Failed(error.into()), endpoint, now);
                }
            }
        }
        if stream.blocked && writable {
            match stream.unblock(&self.registry, Token(index)) {
                Ok(()) => endpoint.handle_writable(id, now),
                Err(error) => return self.close(id, StreamEnd::Failed(error.into()), endpoint, now),
            }
            self.drain(endpoint, now);
        }
        // The end of a paused stream lies behind its data, which goes to the endpoint with it.
        if readable && (ended || !self.paused.contains(&id)) {
            self.read(id, None, endpoint, now);
        }
    }

    /// Reads a stream until nothing is left or its budget is used up. One to which writing has
    /// failed (`broke`) ends when it is read.
    fn read(&mut self, id: ConnectionId, broke: Option<OsError>, endpoint: &mut impl Endpoint, now: Instant) {
        let mut budget = self.budget.read_bytes_per_turn_max;
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(stream) = self.stream(id) {
            let wanted = if broke.is_some() { usize::MAX } else { endpoint.poll_read(id) };
            if wanted == 0 {
                break;
            }
            let room = wanted.min(buffer.len());
            if broke.is_some() && matches!(stream.io, Io::File(_)) {
                self.close(id, failed(broke, None), endpoint, now);
                break;
            }
            match stream.read(&mut buffer[..room]) {
                Ok(0) => {
                    // The stream's error is told once: a write of this very turn may have got it.
                    let written = |(other, error): &(_, Option<OsError>)| error.filter(|_| *other == id);
                    let broke = broke.or_else(|| self.unfinished.iter().find_map(written));
                    if broke.is_some() {
                        self.close(id, failed(broke, None), endpoint, now);
                    } else {
                        endpoint.handle_end(id, now);
                        self.drain(endpoint, now);
                    }
                    break;
                }
                Ok(n) => {
                    // A short read has emptied the stream; should more come now, so will an edge. Only
                    // an end that was announced before would not be announced again.
                    let emptied = n < room && !stream.ended && broke.is_none();
                    endpoint.handle_data(id, &buffer[..n], now);
                    self.drain(endpoint, now);
                    if emptied {
                        break;
                    }
                    budget = budget.saturating_sub(n);
                    if budget == 0 {
                        self.leave_unfinished(id, broke);
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if broke.is_some() {
                        self.close(id, failed(broke, None), endpoint, now);
                    }
                    break;
                }
                Err(error) => {
                    self.close(id, failed(broke, Some(error)), endpoint, now);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    fn leave_unfinished(&mut self, id: ConnectionId, broke: Option<OsError>) {
        let Some(stream) = self.stream(id) else { return };
        if !std::mem::replace(&mut stream.unfinished, true) || broke.is_some() {
            self.unfinished.push_back((id, broke));
        }
    }

    /// Gives the first `left` streams of the list of unfinished ones their turn.
    fn resume_streams(&mut self, left: usize, endpoint: &mut impl Endpoint, now: Instant) {
        for _ in 0..left {
            let Some((id, broke)) = self.unfinished.pop_front() else { break };
            if let Some(stream) = self.stream(id) {
                stream.unfinished = false;
                self.read(id, broke, endpoint, now);
            }
        }
    }

    /// A stream is gone: drops the socket, which epoll forgets by itself, and tells the endpoint.
    fn close(&mut self, id: ConnectionId, end: StreamEnd, endpoint: &mut impl Endpoint, now: Instant) {
        self.streams[id.index()] = None;
        self.paused.remove(&id);
        for listener in &mut self.listeners {
            // A descriptor is free again.
            listener.unfinished |= listener.parked.take().is_some();
        }
        endpoint.handle_close(id, end, now);
        self.drain(endpoint, now);
    }

    fn ready_listener(&mut self, id: ListenerId, endpoint: &mut impl Endpoint, now: Instant) {
        if let Some(position) = self.listeners.iter().position(|listener| listener.id == id) {
            self.accept(position, endpoint, now);
        } else if let Some(position) = self.datagrams.iter().position(|datagram| datagram.id == id) {
            self.receive(position, endpoint, now);
        }
    }

    /// Gives the listeners and datagram sockets that have more than one turn allows, and listeners
    /// whose pause is over, their turn.
    fn resume_listeners(&mut self, endpoint: &mut impl Endpoint, now: Instant) {
        for position in 0..self.listeners.len() {
            let listener = &self.listeners[position];
            if listener.unfinished || listener.parked.is_some_and(|until| until <= now) {
                self.accept(position, endpoint, now);
            }
        }
        for position in 0..self.datagrams.len() {
            if self.datagrams[position].unfinished {
                self.receive(position, endpoint, now);
            }
        }
    }

    fn accept(&mut self, position: usize, endpoint: &mut impl Endpoint, now: Instant) {
        self.listeners[position].unfinished = false;
        self.listeners[position].parked = None;
        for _ in 0..self.budget.accepts_per_turn_max {
            let listener = &mut self.listeners[position];
            match listener.accept() {
                Accepted::Stream(io, peer) => {
                    let id = endpoint.handle_accept(listener.id, peer, now);
                    if let Some((id, Err(error))) = id.map(|id| (id, self.add_stream(id, Stream::new(id, io)))) {
                        warn!("a stream could not be registered: {error}");
                        endpoint.handle_close(id, StreamEnd::Failed(error.into()), now);
                    }
                    self.drain(endpoint, now);
                }
                Accepted::None => return,
                Accepted::Lost => {}
                Accepted::Exhausted(error) => {
                    listener.parked = Some(now + PARKED);
                    if self.exhausted_logged.is_none_or(|at| now - at >= LOG_PAUSE) {
                        self.exhausted_logged = Some(now);
                        warn!("no connection can be accepted until one ends: {error}");
                    }
                    return;
                }
            }
        }
        self.listeners[position].unfinished = true;
    }

    fn receive(&mut self, position: usize, endpoint: &mut impl Endpoint, now: Instant) {
        self.datagrams[position].unfinished = false;
        let mut buffer = std::mem::take(&mut self.buffer);
        for taken in 0..self.budget.datagrams_per_turn_max {
            let datagram = &mut self.datagrams[position];
            match datagram.receive(&mut buffer) {
                Ok((from, via, n)) => {
                    let id = datagram.id;
                    endpoint.handle_datagram(id, from, via, &buffer[..n], now);
                    self.drain(endpoint, now);
                    self.datagrams[position].unfinished = taken + 1 == self.budget.datagrams_per_turn_max;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An error of an earlier datagram that came back; it is cleared by having been told.
                Err(error) => debug!("discovery socket: {error}"),
            }
        }
        self.buffer = buffer;
    }
}

/// The error that a stream broke by: that of the write that failed first, or that of the read.
fn failed(broke: Option<OsError>, read: Option<io::Error>) -> StreamEnd {
    StreamEnd::Failed(broke.or(read.map(OsError::from)).unwrap_or(OsError(0)))
}
