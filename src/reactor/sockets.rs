//! Every socket, and what is done with each when something happens on it. Floor 3.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use log::{debug, warn};
use mio::{Registry, Token};

use super::datagram::Datagram;
use super::listener::{Accepted, Listener};
use super::stream::{self, Io, Stream};
use super::{Budget, LISTENERS};
use crate::endpoint::{ConnectionId, Endpoint, ListenerId, OsError, Output, StreamEnd};

/// All that a turn works on while mio's events are borrowed.
pub(super) struct Sockets {
    pub(super) registry: Registry,
    pub(super) budget: Budget,
    pub(super) buffer: Vec<u8>,
    /// By [`ConnectionId::index`], which is also the token.
    pub(super) streams: Vec<Option<Stream>>,
    pub(super) listeners: Vec<Listener>,
    pub(super) datagrams: Vec<Datagram>,
    /// Streams to be read in the next turn though no edge will come: they have more than one turn
    /// allows, or writing to them has failed, and what they had sent before is still to be read.
    pub(super) unfinished: VecDeque<(ConnectionId, Option<OsError>)>,
    /// Streams that are not read, see [`super::Reactor::set_reading`].
    pub(super) paused: HashSet<ConnectionId>,
    /// When last it was logged that descriptors or memory had run out.
    pub(super) exhausted_logged: Option<Instant>,
}

/// How long a listener is left alone when descriptors have run out, unless a stream ends before.
const PARKED: Duration = Duration::from_secs(1);
/// The least time between two log lines about that.
const LOG_PAUSE: Duration = Duration::from_secs(10);

pub(super) fn listener_token(id: ListenerId) -> Token {
    Token(LISTENERS + id.0 as usize)
}

impl Sockets {
    pub(super) fn add_listener(&mut self, mut listener: Listener) -> io::Result<()> {
        listener.register(&self.registry, listener_token(listener.id))?;
        self.listeners.push(listener);
        Ok(())
    }

    pub(super) fn add_stream(&mut self, id: ConnectionId, mut stream: Stream) -> io::Result<()> {
        stream.register(&self.registry, Token(id.index()))?;
        if self.streams.len() <= id.index() {
            self.streams.resize_with(id.index() + 1, || None);
        }
        self.streams[id.index()] = Some(stream);
        Ok(())
    }

    pub(super) fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
            || self.listeners.iter().any(|listener| listener.unfinished)
            || self.datagrams.iter().any(|datagram| datagram.unfinished)
    }

    /// When the next parked listener is to be tried again.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.listeners.iter().filter_map(|listener| listener.parked).min()
    }

    pub(super) fn stream(&mut self, id: ConnectionId) -> Option<&mut Stream> {
        let stream = self.streams.get_mut(id.index())?.as_mut()?;
        (stream.id(id.index()) == id).then_some(stream)
    }

    /// Carries out everything that the endpoint asks for.
    pub(super) fn drain(&mut self, endpoint: &mut impl Endpoint, now: Instant) {
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

    pub(super) fn ready_stream(
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

    pub(super) fn leave_unfinished(&mut self, id: ConnectionId, broke: Option<OsError>) {
        let Some(stream) = self.stream(id) else { return };
        if !std::mem::replace(&mut stream.unfinished, true) || broke.is_some() {
            self.unfinished.push_back((id, broke));
        }
    }

    /// Gives the first `left` streams of the list of unfinished ones their turn.
    pub(super) fn resume_streams(&mut self, left: usize, endpoint: &mut impl Endpoint, now: Instant) {
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

    pub(super) fn ready_listener(&mut self, id: ListenerId, endpoint: &mut impl Endpoint, now: Instant) {
        if let Some(position) = self.listeners.iter().position(|listener| listener.id == id) {
            self.accept(position, endpoint, now);
        } else if let Some(position) = self.datagrams.iter().position(|datagram| datagram.id == id) {
            self.receive(position, endpoint, now);
        }
    }

    /// Gives the listeners and datagram sockets that have more than one turn allows, and listeners
    /// whose pause is over, their turn.
    pub(super) fn resume_listeners(&mut self, endpoint: &mut impl Endpoint, now: Instant) {
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
