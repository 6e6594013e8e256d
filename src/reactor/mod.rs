//! The event loop: waits, delivers events to the endpoint, performs its outputs, expires timers. The reactor knows no
//! JSON. It knows the kernel as a trait, which `system/` implements.
//!
//! Readiness comes once per edge. So the reactor reads a stream until the kernel says that nothing is left
//! (`WouldBlock`, or a read shorter than the buffer, see epoll(7)), or it puts the stream on the ready list. While
//! that list is not empty, no poll waits. Events may be spurious.
//!
//! A turn is bounded in time, even if some bytes cost much. New readiness, timers and the ready list have a share of it
//! each. The reactor reads a stream with expensive bytes in smaller pieces, and after the others.

mod kernel;
mod read;
mod sockets;
mod sources;
mod stream;
mod system;
mod turn_times;

use std::io;
use std::time::{Duration, Instant};

use self::sockets::Sockets;
use self::sources::{SOURCES, Socket, source_id};
use self::turn_times::TurnTimes;
use crate::endpoint::{ConnectionId, Endpoint, ListenerId};

pub use kernel::{Kernel, Ready, WOKEN};
pub use system::{Datagrams, Events, Io, Listener, System};
pub(crate) use system::{clock, interface_name, is_listening, open_tcp};

/// The limits of one turn, so that a busy peer cannot starve the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnLimits {
    /// The working time of one turn. Its three parts are new readiness, timers and the ready list. Each part gets a third
    /// of the time, and the last part also gets unused time. Default 12 ms.
    pub time: Duration,
    /// Bytes read in one visit of a stream. Default 256 KiB.
    pub read_bytes_per_turn_max: usize,
    /// Connections accepted from one listener. Default 256.
    pub accepts_per_turn_max: usize,
    /// Datagrams taken from one socket. Default 64.
    pub datagrams_per_turn_max: usize,
    /// Size of the buffer that all reads share. Its unused part is not resident. Default 256 KiB.
    pub read_buffer_bytes: usize,
    /// Events of one poll. Default 1,024.
    pub events_per_turn_max: usize,
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_millis(12),
            read_bytes_per_turn_max: 256 << 10,
            accepts_per_turn_max: 256,
            datagrams_per_turn_max: 64,
            read_buffer_bytes: 256 << 10,
            events_per_turn_max: 1024,
        }
    }
}

/// Calls of [`Endpoint::handle_timeout`] in one turn.
const TIMEOUTS_PER_TURN_MAX: usize = 64;

/// Owns every socket and drives an [`Endpoint`].
pub struct Reactor<K: Kernel = System> {
    events: K::Events,
    /// The number of handled events of the last poll, or `None` if all are handled.
    events_handled: Option<usize>,
    sockets: Sockets<K>,
    /// The time at which the current turn began to work.
    began: Instant,
    turn_times: TurnTimes,
}

impl<K: Kernel> Reactor<K> {
    /// Creates a reactor without sockets on a kernel.
    pub fn on(kernel: K, limits: TurnLimits) -> Self {
        let began = kernel.now();
        Self {
            events: K::events(limits.events_per_turn_max),
            events_handled: None,
            sockets: Sockets::new(kernel, limits),
            began,
            turn_times: TurnTimes::new(began),
        }
    }

    /// Returns the kernel.
    pub fn kernel(&self) -> &K {
        &self.sockets.kernel
    }

    /// Returns the kernel, for changes between two turns.
    pub fn kernel_mut(&mut self) -> &mut K {
        &mut self.sockets.kernel
    }

    /// Adds a listener of the kernel's own type.
    ///
    /// # Errors
    /// If the kernel cannot watch it.
    pub fn add_listener(&mut self, id: ListenerId, listener: K::Listener) -> io::Result<()> {
        self.sockets.add_source(id, Socket::Listener(listener))
    }

    /// Adds a datagram socket of the kernel's own type.
    ///
    /// # Errors
    /// If the kernel cannot watch it.
    pub fn add_datagrams(&mut self, id: ListenerId, socket: K::Datagrams) -> io::Result<()> {
        self.sockets.add_source(id, Socket::Datagrams(socket))
    }

    /// Closes a listener or datagram socket.
    pub fn close_listener(&mut self, id: ListenerId) {
        self.sockets.sources.retain(|source| source.id != id);
    }

    /// Adds a stream that the endpoint knows as `id`.
    ///
    /// # Errors
    /// If the kernel cannot watch it.
    pub fn attach(&mut self, id: ConnectionId, stream: K::Stream) -> io::Result<()> {
        self.sockets.add_stream(id, stream, false)
    }

    /// Returns the duration of the longest turn of the last minute.
    pub fn longest_turn(&self) -> Duration {
        self.turn_times.longest(self.began)
    }

    /// Returns the number of failed calls of accept(2).
    pub fn accept_errors(&self) -> u64 {
        self.sockets.accept_errors
    }

    /// Returns the time of the next turn if no event comes. `None` means never, and a past time means at once.
    pub fn due(&self, endpoint: &impl Endpoint) -> Option<Instant> {
        let at_once = self.has_more().then_some(self.began);
        [at_once, endpoint.poll_timeout(), self.sockets.next_retry()].into_iter().flatten().min()
    }

    fn has_more(&self) -> bool {
        self.events_handled.is_some() || self.sockets.has_more()
    }

    /// Runs one turn: waits for events or [`Endpoint::poll_timeout`], delivers the events, and performs the endpoint's
    /// outputs. Work beyond the turn's time limit waits for the next turn.
    ///
    /// # Errors
    /// If the wait itself fails, after which no turn can succeed.
    pub fn turn(&mut self, endpoint: &mut impl Endpoint) -> io::Result<()> {
        let now = self.sockets.kernel.now();
        self.turn_times.record(self.began, now);
        if self.events_handled.is_none() {
            let wait = match self.has_more() {
                true => Some(Duration::ZERO),
                false => self.due(endpoint).map(|due| due.saturating_duration_since(now)),
            };
            match self.sockets.kernel.wait(&mut self.events, wait) {
                Ok(()) => self.events_handled = Some(0),
                // After SIGSTOP a process notices only this error. The next turn delivers the events that came meanwhile
                // before it expires timers.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.began = self.sockets.kernel.now();
        self.sockets.turn.begin(self.began);
        let share = self.sockets.limits.time / 3;
        self.sockets.allow(share);
        self.handle_events(endpoint);
        self.sockets.resume_sources(endpoint);
        // Timers come after new readiness, so that an answer in the socket buffer counts before the liveness timeout.
        self.sockets.allow(share);
        self.expire(endpoint);
        let spent = self.sockets.kernel.now() - self.began;
        self.sockets.allow(share.max(self.sockets.limits.time.saturating_sub(spent)));
        self.sockets.retry(endpoint);
        self.sockets.visit_ready_list(endpoint);
        // Performs the outputs of calls between two turns, too.
        self.sockets.drain(endpoint);
        Ok(())
    }

    /// Handles the events of the last poll within the time of this part.
    fn handle_events(&mut self, endpoint: &mut impl Endpoint) {
        let sockets = &mut self.sockets;
        let first = self.events_handled.take().unwrap_or(0);
        for (position, ready) in K::ready(&self.events).enumerate().skip(first) {
            // The first event needs no time left, so that every turn makes progress.
            if position > first && sockets.turn.is_over() {
                self.events_handled = Some(position);
                return;
            }
            match ready.token {
                WOKEN => {
                    endpoint.handle_wake(sockets.turn.now);
                    sockets.drain(endpoint);
                }
                SOURCES.. => sockets.ready_source(source_id(ready.token), endpoint),
                _ => sockets.ready_stream(ready, endpoint),
            }
        }
    }

    /// Expires timers within the time of this part.
    fn expire(&mut self, endpoint: &mut impl Endpoint) {
        let now = self.began;
        for _ in 0..TIMEOUTS_PER_TURN_MAX {
            if endpoint.poll_timeout().is_none_or(|due| due > now) {
                break;
            }
            endpoint.handle_timeout(now);
            self.sockets.drain(endpoint);
            if self.sockets.turn.is_over() {
                break;
            }
        }
    }

    /// Panics if the lists of pending work disagree with the sockets. For tests.
    pub fn check_invariants(&self) {
        self.sockets.check_invariants();
    }
}
