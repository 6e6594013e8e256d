//! The operating system as a [`Kernel`]. Only these files name mio or open a socket.

mod datagram;
mod listener;
mod stream;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::warn;
use mio::{Poll, Token, Waker};

pub use self::datagram::Datagrams;
pub use self::listener::Listener;
pub use self::stream::Io;
use super::kernel::{Kernel, Ready, WOKEN};
use super::{Reactor, TurnLimits};
use crate::endpoint::{ListenerId, PacketInfo, Peer};

pub(crate) use self::datagram::interface_name;
pub(crate) use self::listener::{is_listening, open_tcp};

/// The events of one wait.
#[derive(Debug)]
pub struct Events(mio::Events);

/// The operating system: epoll and sockets, by mio.
#[derive(Debug)]
pub struct System {
    poll: Poll,
    waker: Arc<Waker>,
}

impl System {
    fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(WOKEN))?);
        Ok(Self { poll, waker })
    }

    fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        let waker = Arc::clone(&self.waker);
        move || {
            if let Err(error) = waker.wake() {
                warn!("cannot wake the event loop: {error}");
            }
        }
    }
}

impl Reactor {
    /// Creates a reactor without sockets.
    ///
    /// # Errors
    /// If epoll_create1(2) or eventfd(2) fails.
    pub fn new(limits: TurnLimits) -> io::Result<Self> {
        Ok(Self::on(System::new()?, limits))
    }

    /// Returns a function that wakes the event loop from another thread.
    pub fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        self.kernel().waker()
    }

    /// Adds a TCP listener.
    ///
    /// # Errors
    /// If it cannot be made non-blocking or watched.
    pub fn listen(&mut self, id: ListenerId, listener: TcpListener) -> io::Result<()> {
        self.add_listener(id, Listener::tcp(listener)?)
    }

    /// Adds a Unix listener.
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub fn listen_unix(&mut self, id: ListenerId, listener: UnixListener) -> io::Result<()> {
        self.add_listener(id, Listener::unix(listener)?)
    }

    /// Adds a UDP socket.
    ///
    /// # Errors
    /// If it cannot be made non-blocking, report destination addresses, or be watched.
    pub fn receive(&mut self, id: ListenerId, socket: UdpSocket) -> io::Result<()> {
        self.add_datagrams(id, Datagrams::new(socket)?)
    }
}

impl Kernel for System {
    type Stream = Io;
    type Listener = Listener;
    type Datagrams = Datagrams;
    type Events = Events;

    fn events(capacity: usize) -> Events {
        Events(mio::Events::with_capacity(capacity))
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        self.poll.poll(&mut events.0, timeout)
    }

    fn ready(events: &Events) -> impl Iterator<Item = Ready> {
        events.0.iter().map(|event| {
            let broken = event.is_error() || event.is_read_closed() && event.is_write_closed();
            let ended = event.is_read_closed() || broken;
            let (readable, writable) = (event.is_readable() || ended, event.is_writable());
            Ready { token: event.token().0, readable, writable, ended, broken }
        })
    }

    fn now(&self) -> Instant {
        clock()
    }

    fn watch_listener(&mut self, listener: &mut Listener, token: usize) -> io::Result<()> {
        listener.register(self.poll.registry(), Token(token))
    }

    fn accept(&mut self, listener: &mut Listener) -> io::Result<(Io, Peer)> {
        listener.accept()
    }

    fn watch_datagrams(&mut self, socket: &mut Datagrams, token: usize) -> io::Result<()> {
        socket.register(self.poll.registry(), Token(token))
    }

    fn receive(&mut self, socket: &mut Datagrams, buffer: &mut [u8]) -> io::Result<(SocketAddr, PacketInfo, usize)> {
        socket.receive(buffer)
    }

    fn send(&mut self, socket: &mut Datagrams, to: SocketAddr, via: PacketInfo, bytes: &[u8]) -> io::Result<()> {
        socket.send(to, via, bytes)
    }

    fn connect(&mut self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<Io> {
        stream::dial(from, to)
    }

    fn is_connected(&mut self, stream: &Io) -> io::Result<bool> {
        stream.is_connected()
    }

    fn watch(&mut self, stream: &mut Io, token: usize, connecting: bool) -> io::Result<()> {
        stream.watch(self.poll.registry(), Token(token), connecting)
    }

    fn watch_writable(&mut self, stream: &mut Io, token: usize) -> io::Result<()> {
        stream.watch_writable(self.poll.registry(), Token(token))
    }

    fn unwatch_writable(&mut self, stream: &mut Io, token: usize) -> io::Result<()> {
        stream.unwatch_writable(self.poll.registry(), Token(token))
    }

    fn read(&mut self, stream: &mut Io, buffer: &mut [u8]) -> io::Result<usize> {
        stream.read(buffer)
    }

    fn write(&mut self, stream: &mut Io, bytes: &[u8]) -> io::Result<usize> {
        stream.write(bytes)
    }

    fn abort(&mut self, stream: &Io) {
        stream.abort();
    }
}

/// The only place where the library reads the clock.
#[expect(clippy::disallowed_methods, reason = "the reactor passes `now` to every other part")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}
