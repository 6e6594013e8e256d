//! The event loop: wait, deliver what happened, carry out what the endpoint asks for, expire timers. The reactor
//! knows no JSON. It knows the kernel as a trait, which `system/` implements.
//!
//! Readiness comes once per edge. So the reactor reads a stream until the kernel says that nothing is left
//! (`WouldBlock`, or a read shorter than the buffer, see epoll(7)), or it puts the stream on the ready list. While
//! that list is not empty, no poll waits. Events may be spurious.
//!
//! A turn is bounded in time, whatever bytes cost. New readiness, timers and the ready list have a share of it each. A
//! stream whose bytes are dear is read in smaller pieces, and behind the others.

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

/// The limits of one turn, so that a loud peer cannot starve the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnLimits {
    /// How long one turn works. Each of its parts, new readiness, timers and streams that have more, gets a third, and the
    /// last part also gets what the others leave. Default 12 ms.
    pub time: Duration,
    /// Bytes read in one visit of a stream. Default 256 KiB.
    pub read_bytes_per_turn_max: usize,
    /// Connections accepted from one listener. Default 256.
    pub accepts_per_turn_max: usize,
    /// Datagrams taken from one socket. Default 64.
    pub datagrams_per_turn_max: usize,
    /// Size of the buffer that all reads share. Only the part that was read into is resident. Default 256 KiB.
    pub read_buffer_bytes: usize,
    /// Events taken with one poll. Default 1,024.
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
    /// Events of the last poll that were handled, or `None` if all were.
    events_handled: Option<usize>,
    sockets: Sockets<K>,
    /// When the present turn began to work.
    began: Instant,
    turn_times: TurnTimes,
}

impl<K: Kernel> Reactor<K> {
    /// A reactor on a given kernel, without sockets.
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

    /// The kernel it runs on.
    pub fn kernel(&self) -> &K {
        &self.sockets.kernel
    }

    /// The kernel it runs on, to be changed between two turns.
    pub fn kernel_mut(&mut self) -> &mut K {
        &mut self.sockets.kernel
    }

    /// Takes streams from a listener of the kernel's own kind.
    ///
    /// # Errors
    /// If it cannot be registered.
    pub fn add_listener(&mut self, id: ListenerId, listener: K::Listener) -> io::Result<()> {
        self.sockets.add_source(id, Socket::Listener(listener))
    }

    /// Takes datagrams from a socket of the kernel's own kind.
    ///
    /// # Errors
    /// If it cannot be registered.
    pub fn add_datagrams(&mut self, id: ListenerId, socket: K::Datagrams) -> io::Result<()> {
        self.sockets.add_source(id, Socket::Datagrams(socket))
    }

    /// Closes a listener or datagram socket.
    pub fn close_listener(&mut self, id: ListenerId) {
        self.sockets.sources.retain(|source| source.id != id);
    }

    /// Takes over a stream that the endpoint knows as `id`.
    ///
    /// # Errors
    /// If it cannot be registered.
    pub fn attach(&mut self, id: ConnectionId, stream: K::Stream) -> io::Result<()> {
        self.sockets.add_stream(id, stream, false)
    }

    /// How long the longest turn of the last minute took.
    pub fn longest_turn(&self) -> Duration {
        self.turn_times.longest(self.began)
    }

    /// How many calls of accept(2) failed.
    pub fn accept_errors(&self) -> u64 {
        self.sockets.accept_errors
    }

    /// When the next turn has something to do even if nothing comes. `None` means never, a time that has
    /// passed means at once.
    pub fn due(&self, endpoint: &impl Endpoint) -> Option<Instant> {
        let at_once = self.has_more().then_some(self.began);
        [at_once, endpoint.poll_timeout(), self.sockets.next_retry()].into_iter().flatten().min()
    }

    fn has_more(&self) -> bool {
        self.events_handled.is_some() || self.sockets.has_more()
    }

    /// One turn: waits until something happens or [`Endpoint::poll_timeout`], delivers what happened, and carries
    /// out what the endpoint asks for. Work that does not fit the turn's time waits for the next turn.
    ///
    /// # Errors
    /// Only if waiting itself fails, after which no turn can succeed.
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
                // A process that continues after SIGSTOP notices only this. It sees what has come meanwhile
                // before it finds anything to be late.
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
        // Timers come behind new readiness: answers that have come count before a device is found to be silent.
        self.sockets.allow(share);
        self.expire(endpoint);
        let spent = self.sockets.kernel.now() - self.began;
        self.sockets.allow(share.max(self.sockets.limits.time.saturating_sub(spent)));
        self.sockets.retry(endpoint);
        self.sockets.visit_ready_list(endpoint);
        // Outputs of calls between two turns are carried out here, too.
        self.sockets.drain(endpoint);
        Ok(())
    }

    /// Handles the events of the last poll, as far as there is time.
    fn handle_events(&mut self, endpoint: &mut impl Endpoint) {
        let sockets = &mut self.sockets;
        let first = self.events_handled.take().unwrap_or(0);
        for (position, ready) in K::ready(&self.events).enumerate().skip(first) {
            // The first event is handled in any case, so that every turn makes progress.
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

    /// Expires timers, as far as there is time.
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

    /// Panics if the lists of what is to be done no longer agree with the sockets: for tests.
    pub fn check_invariants(&self) {
        self.sockets.check_invariants();
    }
}
