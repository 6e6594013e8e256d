//! The operating system as one trait. So the reactor runs on the real kernel and on the simulated kernel of the tests. In
//! the simulated kernel time is a number, any call can fail, and readiness may be delayed, duplicate or spurious.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::endpoint::{PacketInfo, Peer};

/// An operating system: non-blocking sockets, readiness events, and a clock.
///
/// Readiness comes once per edge: when bytes arrive, and once at the call that begins to watch, if the socket is ready
/// then. An event may be delayed, duplicate or spurious, but it is never lost after
/// [`WouldBlock`](io::ErrorKind::WouldBlock) or a short read. After other errors no event is guaranteed.
///
/// Every call returns the errors of the operating system.
pub trait Kernel {
    /// A stream. Drop closes it.
    type Stream;
    /// A socket that accepts streams. Drop closes it.
    type Listener;
    /// A socket for datagrams. Drop closes it.
    type Datagrams;
    /// A buffer for the events of one [`Self::wait`].
    type Events;

    /// Creates a buffer for `capacity` events.
    fn events(capacity: usize) -> Self::Events;

    /// Waits for readiness, at most for `timeout`. With `None` it waits for ever. It may return early.
    ///
    /// # Errors
    /// `Interrupted`, or an error after which no wait can succeed.
    fn wait(&mut self, events: &mut Self::Events, timeout: Option<Duration>) -> io::Result<()>;

    /// Returns the events of the last [`Self::wait`].
    fn ready(events: &Self::Events) -> impl Iterator<Item = Ready>;

    /// Reads the clock, which never runs backwards.
    fn now(&self) -> Instant;

    /// Watches a listener for streams to accept.
    fn watch_listener(&mut self, listener: &mut Self::Listener, token: usize) -> io::Result<()>;

    /// Accepts one stream.
    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, Peer)>;

    /// Watches a socket for datagrams.
    fn watch_datagrams(&mut self, socket: &mut Self::Datagrams, token: usize) -> io::Result<()>;

    /// Receives one datagram, truncated to the length of `buffer`.
    fn receive(
        &mut self,
        socket: &mut Self::Datagrams,
        buffer: &mut [u8],
    ) -> io::Result<(SocketAddr, PacketInfo, usize)>;

    /// Sends one datagram from the address in `via`.
    fn send(&mut self, socket: &mut Self::Datagrams, to: SocketAddr, via: PacketInfo, bytes: &[u8]) -> io::Result<()>;

    /// Starts an outgoing stream, from the source address `from` if there is one.
    fn connect(&mut self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<Self::Stream>;

    /// Whether an outgoing stream is connected.
    ///
    /// # Errors
    /// The error of a failed connection.
    fn is_connected(&mut self, stream: &Self::Stream) -> io::Result<bool>;

    /// Watches a stream for bytes to read. Watches a `connecting` stream for its connection, too.
    fn watch(&mut self, stream: &mut Self::Stream, token: usize, connecting: bool) -> io::Result<()>;

    /// Begins to watch a stream for the EPOLLOUT edge.
    fn watch_writable(&mut self, stream: &mut Self::Stream, token: usize) -> io::Result<()>;

    /// Stops watching a stream for the EPOLLOUT edge.
    fn unwatch_writable(&mut self, stream: &mut Self::Stream, token: usize) -> io::Result<()>;

    /// Reads bytes. 0 is the end of the stream.
    fn read(&mut self, stream: &mut Self::Stream, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes bytes, and returns how many the kernel took.
    fn write(&mut self, stream: &mut Self::Stream, bytes: &[u8]) -> io::Result<usize>;

    /// Makes the close of the stream abortive (RST).
    fn abort(&mut self, stream: &Self::Stream);
}

/// A readiness event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The token of the watched socket, or [`WOKEN`].
    pub token: usize,
    /// The socket has bytes, a stream or a datagram.
    pub readable: bool,
    /// The socket takes bytes.
    pub writable: bool,
    /// The peer has half-closed the stream, or the stream failed. This event comes once, and the stream is readable.
    pub ended: bool,
    /// The stream failed.
    pub broken: bool,
}

/// The token of a wake-up by another thread.
pub const WOKEN: usize = usize::MAX;

/// Whether the error means that the system is out of file descriptors or memory.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
}

/// Whether the error means that a file cannot grow: the disk, the quota or the size limit is reached. No edge follows when
/// there is room again.
pub(super) fn is_full(error: &io::Error) -> bool {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    matches!(errno, Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG)
}
