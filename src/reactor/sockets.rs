//! Every socket, and what is done with a stream when something happens on it. Floor 3.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use log::debug;

use super::Budget;
use super::kernel::{Kernel, Ready, is_exhausted, is_full};
use super::stream::{Arrivals, End, Stream, live};
use crate::endpoint::{ConnectionId, Endpoint, OsError, Output, StreamEnd};

/// All that a turn works on while the kernel's events are borrowed.
pub(super) struct Sockets<K: Kernel> {
    pub(super) kernel: K,
    pub(super) budget: Budget,
    pub(super) buffer: Vec<u8>,
    /// By [`ConnectionId::index`], which is also the token.
    streams: Vec<Option<Stream<K::Stream>>>,
    pub(super) listeners: Vec<Arrivals<K::Listener>>,
    pub(super) datagrams: Vec<Arrivals<K::Datagrams>>,
    /// Streams to be read in the next turn though no edge will come: they have more than one turn
    /// allows, or writing to them has failed, and what they had sent before is still to be read.
    pub(super) unfinished: VecDeque<(ConnectionId, Option<OsError>)>,
    /// Calls for which the kernel had no memory or the disk no room, and when the reactor repeats them.
    starved: Vec<(ConnectionId, Repeat)>,
    starved_until: Option<Instant>,
    /// When last it was logged that descriptors or memory had run out.
    pub(super) exhausted_logged: Option<Instant>,
}

/// The call that failed for want of memory or room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Read,
    Write,
}

/// The pause before the reactor repeats a call for which the kernel had no memory or the disk no room.
const STARVED: Duration = Duration::from_millis(100);

impl<K: Kernel> Sockets<K> {
    pub(super) fn new(kernel: K, budget: Budget) -> Self {
        Self {
            kernel,
            budget,
            // Zeroed memory that no one has touched is not resident yet.
            buffer: vec![0; budget.read_buffer_bytes],
            streams: Vec::new(),
            listeners: Vec::new(),
            datagrams: Vec::new(),
            unfinished: VecDeque::new(),
            starved: Vec::new(),
            starved_until: None,
            exhausted_logged: None,
        }
    }

    pub(super) fn add_stream(&mut self, id: ConnectionId, io: K::Stream, connecting: bool) -> io::Result<()> {
        let mut stream = Stream::new(id, io);
        // A stream is up when it can be written to: the same edge tells both.
        (stream.connecting, stream.blocked) = (connecting, connecting);
        self.kernel.watch(&mut stream.io, id.index(), connecting)?;
        if self.streams.len() <= id.index() {
            self.streams.resize_with(id.index() + 1, || None);
        }
        self.streams[id.index()] = Some(stream);
        Ok(())
    }

    pub(super) fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
            || self.listeners.iter().any(|listener| listener.unfinished)
            || self.datagrams.iter().any(|datagrams| datagrams.unfinished)
    }

    /// When what was left alone for want of descriptors or memory is to be tried again.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        let listeners = self.listeners.iter().filter_map(|listener| listener.parked);
        let datagrams = self.datagrams.iter().filter_map(|datagrams| datagrams.parked);
        listeners.chain(datagrams).chain(self.starved_until).min()
    }

    /// Carries out everything that the endpoint asks for.
    pub(super) fn drain(&mut self, endpoint: &mut impl Endpoint, now: Instant) {
        while let Some(output) = endpoint.poll_output() {
            match output {
                Output::Send { id, bytes } => {
                    let taken = self.write(id, bytes, now);
                    endpoint.handle_sent(id, taken, now);
                }
                Output::SendTo { socket, to, via, bytes } => {
                    let datagrams = self.datagrams.iter_mut().find(|datagrams| datagrams.id == socket);
                    let sent = datagrams.map(|datagrams| self.kernel.send(&mut datagrams.socket, to, via, bytes));
                    if let Some(Err(error)) = &sent {
                        debug!("datagram to {to} not sent: {error}");
                    }
                    endpoint.handle_sent_to(matches!(sent, Some(Ok(()))));
                }
                Output::Connect { id, from, to } => {
                    if let Err(error) = self.connect(id, from, to) {
                        endpoint.handle_close(id, StreamEnd::Failed(error.into()), now);
                    }
                }
                Output::Read { id } => self.leave_unfinished(id, None),
                Output::Close { id, abort } => {
                    if let Some(stream) = live(&mut self.streams, id) {
                        if abort {
                            self.kernel.abort(&stream.io);
                        }
                        self.close(id, StreamEnd::Closed, endpoint, now);
                    }
                }
            }
        }
    }

    /// Offers bytes to the kernel: how many it has taken. If it took too few, an edge will come; if
    /// the stream is broken, it is read to its end in the next turn and closed then.
    fn write(&mut self, id: ConnectionId, bytes: &[u8], now: Instant) -> usize {
        let Some(stream) = live(&mut self.streams, id) else { return 0 };
        let mut taken = 0;
        let result = loop {
            match self.kernel.write(&mut stream.io, &bytes[taken..]) {
                Ok(n) => {
                    taken += n;
                    if taken == bytes.len() {
                        return taken;
                    }
                    // A short write to a socket means that it is full; only the kernel's word counts.
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if std::mem::replace(&mut stream.blocked, true) {
                        break Ok(());
                    }
                    break self.kernel.watch_writable(&mut stream.io, id.index());
                }
                Err(error) if is_exhausted(&error) || is_full(&error) => {
                    self.starve(id, Repeat::Write, now);
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = result {
            self.unfinished.push_back((id, Some(error.into())));
        }
        taken
    }

    fn connect(&mut self, id: ConnectionId, from: Option<IpAddr>, to: SocketAddr) -> io::Result<()> {
        let io = self.kernel.connect(from, to)?;
        self.add_stream(id, io, true)
    }

    pub(super) fn ready_stream(&mut self, ready: Ready, endpoint: &mut impl Endpoint, now: Instant) {
        let index = ready.token;
        // An event of a stream that was closed in this very turn.
        let Some(stream) = self.streams.get_mut(index).and_then(Option::as_mut) else { return };
        let id = stream.id(index);
        let announced = match ready {
            Ready { broken: true, .. } => End::Broken,
            Ready { ended: true, .. } => End::Announced,
            _ => End::Open,
        };
        stream.end = stream.end.max(announced);
        if stream.connecting && (ready.writable || ready.ended) {
            match self.kernel.is_connected(&stream.io) {
                Ok(true) => {
                    stream.connecting = false;
                    endpoint.handle_connect(id, now);
                }
                Ok(false) => return,
                Err(error) => return self.close(id, StreamEnd::Failed(error.into()), endpoint, now),
            }
        }
        if stream.blocked && ready.writable {
            stream.blocked = false;
            match self.kernel.unwatch_writable(&mut stream.io, index) {
                Ok(()) => endpoint.handle_writable(id, now),
                Err(error) => return self.close(id, StreamEnd::Failed(error.into()), endpoint, now),
            }
            self.drain(endpoint, now);
        }
        if ready.readable {
            self.read(id, None, endpoint, now);
        }
    }

    /// Reads a stream until nothing is left or its budget is used up. One to which writing has
    /// failed (`broke`) ends when it is read.
    fn read(&mut self, id: ConnectionId, broke: Option<OsError>, endpoint: &mut impl Endpoint, now: Instant) {
        let mut budget = self.budget.read_bytes_per_turn_max;
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(stream) = live(&mut self.streams, id) {
            let asked = broke.is_none() && stream.end < End::Broken;
            let wanted = if asked { endpoint.poll_read(id) } else { usize::MAX };
            if wanted == 0 {
                break;
            }
            let room = wanted.min(buffer.len());
            match self.kernel.read(&mut stream.io, &mut buffer[..room]) {
                Ok(0) => {
                    // The stream's error is told once: a write of this very turn may have got it.
                    let written = |(other, error): &(_, Option<OsError>)| error.filter(|_| *other == id);
                    let broke = broke.or_else(|| self.unfinished.iter().find_map(written));
                    if broke.is_some() {
                        self.close(id, failed(broke, None), endpoint, now);
                    } else if std::mem::replace(&mut stream.end, End::Told) != End::Told {
                        endpoint.handle_end(id, now);
                        self.drain(endpoint, now);
                    }
                    break;
                }
                Ok(n) => {
                    // A short read has emptied the stream; should more come now, so will an edge. Only
                    // an end that was announced before would not be announced again.
                    let emptied = n < room && stream.end == End::Open && broke.is_none();
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
                    } else if stream.end != End::Told {
                        // What was announced was that of another stream, which had the same place before.
                        stream.end = End::Open;
                    }
                    break;
                }
                Err(error) if is_exhausted(&error) && broke.is_none() => {
                    self.starve(id, Repeat::Read, now);
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
        let Some(stream) = live(&mut self.streams, id) else { return };
        if broke.is_some() || !std::mem::replace(&mut stream.unfinished, true) {
            self.unfinished.push_back((id, broke));
        }
    }

    /// Repeats a call after a pause: no edge announces that the kernel has memory or the disk has room.
    fn starve(&mut self, id: ConnectionId, call: Repeat, now: Instant) {
        self.starved.push((id, call));
        self.starved_until.get_or_insert(now + STARVED);
    }

    /// Gives the first `left` streams of the list of unfinished ones their turn, and those that were
    /// left alone for long enough.
    pub(super) fn resume_streams(&mut self, left: usize, endpoint: &mut impl Endpoint, now: Instant) {
        for _ in 0..left {
            let Some((id, broke)) = self.unfinished.pop_front() else { break };
            if let Some(stream) = live(&mut self.streams, id) {
                stream.unfinished &= broke.is_some();
                self.read(id, broke, endpoint, now);
            }
        }
        if self.starved_until.is_some_and(|until| until <= now) {
            self.starved_until = None;
            for (id, call) in std::mem::take(&mut self.starved) {
                match call {
                    Repeat::Read => self.read(id, None, endpoint, now),
                    Repeat::Write if live(&mut self.streams, id).is_some() => {
                        endpoint.handle_writable(id, now);
                        self.drain(endpoint, now);
                    }
                    Repeat::Write => {}
                }
            }
        }
    }

    /// A stream is gone: drops the socket, which epoll forgets by itself, and tells the endpoint.
    fn close(&mut self, id: ConnectionId, end: StreamEnd, endpoint: &mut impl Endpoint, now: Instant) {
        self.streams[id.index()] = None;
        for listener in &mut self.listeners {
            // A descriptor is free again.
            listener.unfinished |= listener.parked.take().is_some();
        }
        endpoint.handle_close(id, end, now);
        self.drain(endpoint, now);
    }

    /// See [`super::Reactor::check_invariants`].
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.buffer.len(), self.budget.read_buffer_bytes, "the read buffer was not given back");
        assert_eq!(self.starved.is_empty(), self.starved_until.is_none(), "starved streams have a time");
        for (index, stream) in self.streams.iter().enumerate() {
            let Some(stream) = stream else { continue };
            let listed = |(id, broke): &&(_, Option<OsError>)| *id == stream.id(index) && broke.is_none();
            let listed = self.unfinished.iter().filter(listed).count();
            assert_eq!(listed, usize::from(stream.unfinished), "{:?} in the list of unfinished", stream.id(index));
        }
    }
}

/// The error that a stream broke by: that of the write that failed first, or that of the read.
fn failed(broke: Option<OsError>, read: Option<io::Error>) -> StreamEnd {
    StreamEnd::Failed(broke.or(read.map(OsError::from)).unwrap_or(OsError(0)))
}
