//! The turn of the loop: wait, hand over what happened, carry out what is asked for, expire. The
//! only files that name mio or touch a socket; none of them has heard of JSON. Floor 3.
//!
//! mio's law: readiness comes once per edge. So a stream is read until the kernel says that nothing
//! is left (`WouldBlock`, or a read shorter than the buffer, see epoll(7)), or it is put on a list of
//! those that have more, and while that list is not empty no poll waits. Events may be spurious.

mod datagram;
mod listener;
mod sockets;
mod stream;
mod turns;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::warn;
use mio::{Events, Interest, Poll, Token, Waker};

use self::datagram::Datagram;
use self::listener::Listener;
use self::sockets::{Sockets, listener_token};
use self::stream::Stream;
use self::turns::Turns;
use crate::endpoint::{ConnectionId, Endpoint, ListenerId};

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

/// The waker's token; those of listeners and datagram sockets count up from [`LISTENERS`].
const WAKER: Token = Token(usize::MAX);
const LISTENERS: usize = usize::MAX / 2;

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
