//! The turn of the loop: wait, hand over what happened, carry out what is asked for, expire. It has
//! not heard of JSON; the kernel it knows as a trait, which `system/` implements. Floor 3.
//!
//! Readiness comes once per edge. So a stream is read until the kernel says that nothing
//! is left (`WouldBlock`, or a read shorter than the buffer, see epoll(7)), or it is put on a list of
//! those that have more, and while that list is not empty no poll waits. Events may be spurious.

mod arrivals;
mod kernel;
mod sockets;
mod stream;
mod system;
mod turns;

use std::io;
use std::time::{Duration, Instant};

use self::arrivals::{LISTENERS, listener_id};
use self::sockets::Sockets;
use self::turns::Turns;
use crate::endpoint::{ConnectionId, Endpoint, ListenerId};

pub use kernel::{Kernel, Ready, WOKEN};
pub use system::{Datagrams, Io, Listener, System};
pub(crate) use system::{clock, interface_name, is_listening, open_tcp};

/// What one turn may do at most for one socket, so that a loud one cannot starve the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes read from one stream. Default 256 KiB.
    pub read_bytes_per_turn_max: usize,
    /// Streams accepted from one listener. Default 256.
    pub accepts_per_turn_max: usize,
    /// Datagrams taken from one socket. Default 64.
    pub datagrams_per_turn_max: usize,
    /// Size of the buffer that all reads share; of it, only what was read into is resident. Default 256 KiB.
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
            read_buffer_bytes: 256 << 10,
            events_per_turn_max: 1024,
        }
    }
}

/// Owns every socket and drives an [`Endpoint`].
pub struct Reactor<K: Kernel = System> {
    events: K::Events,
    sockets: Sockets<K>,
    /// When the present turn began to work.
    began: Instant,
    turns: Turns,
}

impl<K: Kernel> Reactor<K> {
    /// A reactor on a given kernel, without sockets.
    pub fn on(kernel: K, budget: Budget) -> Self {
        let began = kernel.now();
        let events = K::events(budget.events_per_turn_max);
        Self { events, sockets: Sockets::new(kernel, budget), began, turns: Turns::new(began) }
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
        self.sockets.add_listener(id, listener)
    }

    /// Takes datagrams from a socket of the kernel's own kind.
    ///
    /// # Errors
    /// If it cannot be registered.
    pub fn add_datagrams(&mut self, id: ListenerId, socket: K::Datagrams) -> io::Result<()> {
        self.sockets.add_datagrams(id, socket)
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
    pub fn attach(&mut self, id: ConnectionId, stream: K::Stream) -> io::Result<()> {
        self.sockets.add_stream(id, stream, false)
    }

    /// How long the longest turn of the last minute took.
    pub fn longest_turn(&self) -> Duration {
        self.turns.longest(self.began)
    }

    /// When the next turn has something to do even if nothing comes: `None` is never. A time that has
    /// passed means at once.
    pub fn due(&self, endpoint: &impl Endpoint) -> Option<Instant> {
        let at_once = self.sockets.has_unfinished().then_some(self.began);
        [at_once, endpoint.poll_timeout(), self.sockets.next_retry()].into_iter().flatten().min()
    }

    /// One turn: waits until something happens or [`Endpoint::poll_timeout`], hands everything over,
    /// and carries out what is asked for.
    ///
    /// # Errors
    /// Only if waiting itself fails, after which no turn can succeed.
    pub fn turn(&mut self, endpoint: &mut impl Endpoint) -> io::Result<()> {
        let due = self.due(endpoint);
        let sockets = &mut self.sockets;
        let now = sockets.kernel.now();
        self.turns.note(self.began, now);
        let wait = match sockets.has_unfinished() {
            true => Some(Duration::ZERO),
            false => due.map(|due| due.saturating_duration_since(now)),
        };
        match sockets.kernel.wait(&mut self.events, wait) {
            Ok(()) => {}
            // A process that was stopped and goes on is told no more than this: nothing is found to be too
            // late before what has come meanwhile was seen.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        let now = sockets.kernel.now();
        self.began = now;
        // Those that were left unfinished are served after the events: everyone gets a turn.
        let left = sockets.unfinished.len();
        for ready in K::ready(&self.events) {
            match ready.token {
                WOKEN => {
                    endpoint.handle_wake(now);
                    sockets.drain(endpoint, now);
                }
                LISTENERS.. => sockets.ready_listener(listener_id(ready.token), endpoint, now),
                _ => sockets.ready_stream(ready, endpoint, now),
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

    /// Panics if the lists of what is to be done no longer agree with the sockets: for tests.
    pub fn check_invariants(&self) {
        self.sockets.check_invariants();
    }
}
