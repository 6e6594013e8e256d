//! Sources: listeners and datagram sockets.

use std::io;
use std::time::{Duration, Instant};

use log::{debug, warn};

use super::kernel::{Kernel, is_exhausted};
use super::sockets::Sockets;
use crate::endpoint::{Endpoint, ListenerId, StreamEnd};

/// The tokens of sources count up from here, those of streams from 0.
pub(super) const SOURCES: usize = usize::MAX / 2;
/// The pause of a source when the system is out of file descriptors or memory. The end of a stream ends it early.
pub(super) const EXHAUSTED_PAUSE: Duration = Duration::from_secs(1);
/// Errors in a row that may each concern one connection or datagram. Further errors concern the source.
const ERRORS_IN_A_ROW_MAX: u32 = 16;
/// The first pause of a source that only fails. Each further error doubles it, up to 64 times.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// The least time between two log lines about errors of sources.
const LOG_PAUSE: Duration = Duration::from_secs(10);
/// Connections or datagrams that a source takes even if the turn's time is over.
const TAKEN_PER_TURN_MIN: usize = 16;

/// A listener or datagram socket.
pub(super) struct Source<K: Kernel> {
    pub(super) id: ListenerId,
    pub(super) socket: Socket<K>,
    /// The end of a pause. No new edge comes for connections in the accept queue.
    pub(super) paused_until: Option<Instant>,
    /// The source has more than it may deliver in one turn.
    pub(super) has_more: bool,
    /// The source had its share of this turn.
    was_served: bool,
    /// Errors since the last success.
    errors: u32,
}

pub(super) enum Socket<K: Kernel> {
    Listener(K::Listener),
    Datagrams(K::Datagrams),
}

impl<K: Kernel> Source<K> {
    fn is_due(&self, now: Instant) -> bool {
        self.has_more || self.paused_until.is_some_and(|until| until <= now)
    }

    /// Ends a pause for lack of file descriptors, because one is free again.
    pub(super) fn descriptor_freed(&mut self) {
        if self.errors == 0 {
            self.has_more |= self.paused_until.take().is_some();
        }
    }
}

pub(super) fn source_id(token: usize) -> ListenerId {
    ListenerId((token - SOURCES) as u32)
}

impl<K: Kernel> Sockets<K> {
    pub(super) fn add_source(&mut self, id: ListenerId, mut socket: Socket<K>) -> io::Result<()> {
        let token = SOURCES + id.0 as usize;
        match &mut socket {
            Socket::Listener(listener) => self.kernel.watch_listener(listener, token)?,
            Socket::Datagrams(datagrams) => self.kernel.watch_datagrams(datagrams, token)?,
        }
        self.sources.push(Source { id, socket, paused_until: None, has_more: false, was_served: false, errors: 0 });
        Ok(())
    }

    pub(super) fn ready_source(&mut self, id: ListenerId, endpoint: &mut impl Endpoint) {
        if let Some(position) = self.sources.iter().position(|source| source.id == id) {
            self.take_from(position, endpoint);
            self.sources[position].was_served = true;
        }
    }

    /// Serves the sources that have more than the turn before allowed, and those whose rest is over.
    pub(super) fn resume_sources(&mut self, endpoint: &mut impl Endpoint) {
        for position in 0..self.sources.len() {
            let source = &mut self.sources[position];
            if !std::mem::take(&mut source.was_served) && source.is_due(self.turn.now) {
                self.take_from(position, endpoint);
            }
        }
    }

    /// Takes what has come to a source, within the turn's limits.
    fn take_from(&mut self, position: usize, endpoint: &mut impl Endpoint) {
        let source = &mut self.sources[position];
        (source.has_more, source.paused_until) = (false, None);
        let most = match source.socket {
            Socket::Listener(_) => self.limits.accepts_per_turn_max,
            Socket::Datagrams(_) => self.limits.datagrams_per_turn_max,
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        for taken in 0..=most {
            if taken == most || taken >= TAKEN_PER_TURN_MIN && self.turn.is_over() {
                self.sources[position].has_more = true;
                break;
            }
            let result = match &mut self.sources[position].socket {
                Socket::Listener(_) => self.accept(position, endpoint),
                Socket::Datagrams(_) => self.receive(position, &mut buffer, endpoint),
            };
            self.turn.charge(&self.kernel, ACCEPT_COST_BYTES);
            match result {
                Ok(()) => self.sources[position].errors = 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.sources[position].errors = 0;
                    break;
                }
                Err(error) => {
                    if self.source_failed(position, &error) {
                        break;
                    }
                }
            }
        }
        self.buffer = buffer;
    }

    fn accept(&mut self, position: usize, endpoint: &mut impl Endpoint) -> io::Result<()> {
        let source = &mut self.sources[position];
        let Socket::Listener(listener) = &mut source.socket else { return Ok(()) };
        let (io, peer) = self.kernel.accept(listener)?;
        let now = self.turn.now;
        let id = endpoint.handle_accept(source.id, peer, now);
        if let Some((id, Err(error))) = id.map(|id| (id, self.add_stream(id, io, false))) {
            warn!("cannot register an accepted connection: {error}");
            endpoint.handle_close(id, StreamEnd::Failed(error.into()), now);
        }
        self.drain(endpoint);
        Ok(())
    }

    fn receive(&mut self, position: usize, buffer: &mut [u8], endpoint: &mut impl Endpoint) -> io::Result<()> {
        let source = &mut self.sources[position];
        let Socket::Datagrams(datagrams) = &mut source.socket else { return Ok(()) };
        let (from, via, n) = self.kernel.receive(datagrams, buffer)?;
        endpoint.handle_datagram(source.id, from, via, &buffer[..n], self.turn.now);
        self.drain(endpoint);
        Ok(())
    }

    /// Handles an error of a source. Returns whether the source pauses.
    fn source_failed(&mut self, position: usize, error: &io::Error) -> bool {
        let now = self.turn.now;
        let source = &mut self.sources[position];
        let is_listener = matches!(source.socket, Socket::Listener(_));
        self.accept_errors += u64::from(is_listener);
        if is_exhausted(error) {
            source.paused_until = Some(now + EXHAUSTED_PAUSE);
        } else {
            source.errors += 1;
            // An error of one connection or datagram. The next one may be good.
            let Some(doublings) = source.errors.checked_sub(ERRORS_IN_A_ROW_MAX) else {
                debug!("{}: {error}", if is_listener { "accept" } else { "discovery" });
                return false;
            };
            source.paused_until = Some(now + ERROR_PAUSE * (1 << doublings.min(6)));
        }
        if self.error_logged.is_none_or(|at| now - at >= LOG_PAUSE) {
            self.error_logged = Some(now);
            match is_listener {
                true => warn!("cannot accept connections: {error} ({} errors so far)", self.accept_errors),
                false => warn!("cannot receive discovery probes: {error}"),
            }
        }
        true
    }
}

/// The cost of a connection or a datagram in bytes, for the turn's clock. It takes some 10 µs.
const ACCEPT_COST_BYTES: usize = 256;
