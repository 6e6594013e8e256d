//! The sockets. This part performs the endpoint's outputs and delivers events to the endpoint.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use log::debug;

use super::TurnLimits;
use super::kernel::{Kernel, Ready, is_exhausted, is_full};
use super::sources::{Socket, Source};
use super::stream::{End, Flag, Stream, stream_mut};
use super::turn_times::TurnClock;
use crate::endpoint::{ConnectionId, Endpoint, ListenerId, Output, PacketInfo, StreamEnd};

/// The reactor without the kernel's events, so that it can work while they are borrowed.
pub(super) struct Sockets<K: Kernel> {
    pub(super) kernel: K,
    pub(super) limits: TurnLimits,
    pub(super) turn: TurnClock,
    pub(super) buffer: Vec<u8>,
    /// Indexed by [`ConnectionId::index`], which is also the token.
    pub(super) streams: Vec<Option<Stream<K::Stream>>>,
    pub(super) sources: Vec<Source<K>>,
    /// Streams to read although no edge will come: they have more bytes than one visit takes, or a write failed.
    pub(super) ready_list: VecDeque<ConnectionId>,
    /// Calls to repeat, because the kernel had no memory or the disk had no room.
    pub(super) retry: Vec<(ConnectionId, Repeat)>,
    pub(super) retry_at: Option<Instant>,
    /// Failed calls of accept(2).
    pub(super) accept_errors: u64,
    /// The time of the last log line about errors of sources.
    pub(super) error_logged: Option<Instant>,
}

/// A call to repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    Read,
    Write,
}

/// The pause before the reactor repeats a call for which the kernel had no memory or the disk no room.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Outputs that one call performs even if the turn's time is over.
const OUTPUTS_MIN: usize = 64;

impl<K: Kernel> Sockets<K> {
    pub(super) fn new(kernel: K, limits: TurnLimits) -> Self {
        Self {
            turn: TurnClock::new(kernel.now()),
            kernel,
            limits,
            // Zeroed pages become resident with the first read into them.
            buffer: vec![0; limits.read_buffer_bytes],
            streams: Vec::new(),
            sources: Vec::new(),
            ready_list: VecDeque::new(),
            retry: Vec::new(),
            retry_at: None,
            accept_errors: 0,
            error_logged: None,
        }
    }

    pub(super) fn add_stream(&mut self, id: ConnectionId, io: K::Stream, connecting: bool) -> io::Result<()> {
        let mut stream = Stream::new(id, io);
        // A connecting stream becomes writable when it is connected, so it starts as blocked.
        stream.set(Flag::Connecting, connecting);
        stream.set(Flag::Blocked, connecting);
        self.kernel.watch(&mut stream.io, id.index(), connecting)?;
        if self.streams.len() <= id.index() {
            self.streams.resize_with(id.index() + 1, || None);
        }
        self.streams[id.index()] = Some(stream);
        Ok(())
    }

    /// Begins the next part of the turn, which may take `share`.
    pub(super) fn allow(&mut self, share: Duration) {
        self.turn.allow(&self.kernel, share);
    }

    /// Whether there is work without an edge.
    pub(super) fn has_more(&self) -> bool {
        !self.ready_list.is_empty() || self.sources.iter().any(|source| source.has_more)
    }

    /// Returns the end of the first pause: of a source after errors, or before a repeated call.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.sources.iter().filter_map(|source| source.paused_until).chain(self.retry_at).min()
    }

    /// Performs the endpoint's outputs. When the turn's time is over, the rest waits for the next turn.
    pub(super) fn drain(&mut self, endpoint: &mut impl Endpoint) {
        let mut done = 0;
        while done < OUTPUTS_MIN || !self.turn.is_over() {
            let Some(output) = endpoint.poll_output() else { return };
            let now = self.turn.now;
            let mut bytes = 0;
            match output {
                Output::Send { id, bytes: lent } => {
                    let taken = self.write(id, lent);
                    bytes = taken;
                    endpoint.handle_sent(id, taken, now);
                }
                Output::SendTo { socket, to, via, bytes } => {
                    let sent = self.send_to(socket, to, via, bytes);
                    endpoint.handle_sent_to(sent);
                }
                Output::Connect { id, from, to } => {
                    if let Err(error) = self.connect(id, from, to) {
                        endpoint.handle_close(id, StreamEnd::Failed(error.into()), now);
                    }
                }
                Output::Read { id } => self.list(id),
                Output::Close { id, abort } => {
                    if let Some(stream) = stream_mut(&mut self.streams, id) {
                        if abort {
                            self.kernel.abort(&stream.io);
                        }
                        self.close(id, StreamEnd::Closed, endpoint);
                    }
                }
            }
            done += 1;
            self.turn.charge(&self.kernel, bytes);
        }
    }

    /// Offers bytes to the kernel and returns how many it took. After a short count an edge follows. If the stream failed,
    /// the reactor reads it to its end and then closes it.
    fn write(&mut self, id: ConnectionId, bytes: &[u8]) -> usize {
        let Some(stream) = stream_mut(&mut self.streams, id) else { return 0 };
        let mut taken = 0;
        let result = loop {
            match self.kernel.write(&mut stream.io, &bytes[taken..]) {
                Ok(n) => {
                    taken += n;
                    if taken == bytes.len() {
                        return taken;
                    }
                    // Only WouldBlock guarantees an edge, so the loop writes again.
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if stream.set(Flag::Blocked, true) {
                        break Ok(());
                    }
                    break self.kernel.watch_writable(&mut stream.io, id.index());
                }
                Err(error) if is_exhausted(&error) || is_full(&error) => {
                    self.retry_later(id, Repeat::Write);
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = result {
            if let Some(stream) = stream_mut(&mut self.streams, id) {
                stream.fail_write(error.into());
            }
            self.list(id);
        }
        taken
    }

    fn send_to(&mut self, socket: ListenerId, to: SocketAddr, via: PacketInfo, bytes: &[u8]) -> bool {
        let source = self.sources.iter_mut().find(|source| source.id == socket);
        let Some(Source { socket: Socket::Datagrams(datagrams), .. }) = source else { return false };
        let sent = self.kernel.send(datagrams, to, via, bytes);
        if let Err(error) = &sent {
            debug!("datagram to {to} not sent: {error}");
        }
        sent.is_ok()
    }

    fn connect(&mut self, id: ConnectionId, from: Option<IpAddr>, to: SocketAddr) -> io::Result<()> {
        let io = self.kernel.connect(from, to)?;
        self.add_stream(id, io, true)
    }

    pub(super) fn ready_stream(&mut self, ready: Ready, endpoint: &mut impl Endpoint) {
        let index = ready.token;
        // Stale event: this turn closed the stream.
        let Some(stream) = self.streams.get_mut(index).and_then(Option::as_mut) else { return };
        let id = stream.id(index);
        let announced = match ready {
            Ready { broken: true, .. } => End::Broken,
            Ready { ended: true, .. } => End::Announced,
            _ => End::Open,
        };
        stream.set_end(stream.end().max(announced));
        if let Err(error) = self.became_writable(id, ready, endpoint) {
            self.close(id, StreamEnd::Failed(error.into()), endpoint);
        } else if ready.readable
            && let Some(stream) = stream_mut(&mut self.streams, id)
            && !stream.is(Flag::Connecting)
        {
            // A stream in the ready list or with expensive bytes comes after the others.
            match stream.is(Flag::HasMore) || stream.is(Flag::Costly) {
                true => self.list(id),
                false => self.read_new(id, endpoint),
            }
        }
        self.drain(endpoint);
    }

    /// Notifies the endpoint that an outgoing stream is connected, or that a stream takes bytes again.
    fn became_writable(&mut self, id: ConnectionId, ready: Ready, endpoint: &mut impl Endpoint) -> io::Result<()> {
        let Some(stream) = stream_mut(&mut self.streams, id) else { return Ok(()) };
        if stream.is(Flag::Connecting) && (ready.writable || ready.ended) {
            if !self.kernel.is_connected(&stream.io)? {
                return Ok(());
            }
            stream.set(Flag::Connecting, false);
            endpoint.handle_connect(id, self.turn.now);
        }
        if stream.is(Flag::Blocked) && !stream.is(Flag::Connecting) && ready.writable {
            stream.set(Flag::Blocked, false);
            self.kernel.unwatch_writable(&mut stream.io, id.index())?;
            endpoint.handle_writable(id, self.turn.now);
            self.drain(endpoint);
        }
        Ok(())
    }

    /// Puts a stream on the ready list.
    pub(super) fn list(&mut self, id: ConnectionId) {
        let Some(stream) = stream_mut(&mut self.streams, id) else { return };
        if !stream.set(Flag::HasMore, true) {
            self.ready_list.push_back(id);
        }
    }

    /// Repeats a call after a pause, because no edge follows when there is memory or room again.
    pub(super) fn retry_later(&mut self, id: ConnectionId, call: Repeat) {
        self.retry.push((id, call));
        self.retry_at.get_or_insert(self.turn.now + RETRY_PAUSE);
    }

    /// Repeats the calls whose pause is over.
    pub(super) fn retry(&mut self, endpoint: &mut impl Endpoint) {
        let now = self.turn.now;
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            for (id, call) in std::mem::take(&mut self.retry) {
                match call {
                    Repeat::Read => self.list(id),
                    Repeat::Write if stream_mut(&mut self.streams, id).is_some() => {
                        endpoint.handle_writable(id, now);
                        self.drain(endpoint);
                    }
                    Repeat::Write => {}
                }
            }
        }
    }

    /// Closes the socket, which also removes it from epoll, and notifies the endpoint. The caller drains the endpoint's
    /// outputs, so that closes never nest.
    pub(super) fn close(&mut self, id: ConnectionId, end: StreamEnd, endpoint: &mut impl Endpoint) {
        self.streams[id.index()] = None;
        self.sources.iter_mut().for_each(Source::descriptor_freed);
        endpoint.handle_close(id, end, self.turn.now);
    }

    /// See [`super::Reactor::check_invariants`].
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.buffer.len(), self.limits.read_buffer_bytes, "the read buffer is missing");
        assert_eq!(self.retry.is_empty(), self.retry_at.is_none(), "calls to repeat have a time");
        for (index, stream) in self.streams.iter().enumerate() {
            let Some(stream) = stream else { continue };
            let id = stream.id(index);
            let listed = self.ready_list.iter().filter(|&&listed| listed == id).count();
            assert_eq!(listed, usize::from(stream.is(Flag::HasMore)), "{id:?} in the ready list");
            assert!(stream.write_error().is_none() || listed == 1, "{id:?} failed and is not in the ready list");
        }
    }
}
