//! What the reactor needs of an operating system, as one trait. So the same reactor runs on the real
//! kernel and on a simulated one, in which time is a number, any call can fail, and readiness comes
//! late, twice, or without cause. Floor 3.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::endpoint::{PacketInfo, Peer};

/// An operating system: sockets that never block, a way to wait for many of them, and a clock.
///
/// Readiness is announced once per edge: when something comes, and once at the time of watching if
/// something is there already. It may be announced late, more than once, or wrongly, but never not
/// at all: who was told [`WouldBlock`](io::ErrorKind::WouldBlock), or read less than was asked for,
/// is told when there is more. After no other error is there such a promise.
pub trait Kernel {
    /// One stream. Dropping it closes it.
    type Stream;
    /// A socket that streams come to. Dropping it closes it.
    type Listener;
    /// A socket that datagrams come to. Dropping it closes it.
    type Datagrams;
    /// Room for what one [`Self::wait`] brings.
    type Events;

    /// Room for so many events.
    fn events(capacity: usize) -> Self::Events;

    /// Waits until something is ready, or for so long; `None` is for ever. It may end early.
    ///
    /// # Errors
    /// `Interrupted`, or that it cannot be waited at all.
    fn wait(&mut self, events: &mut Self::Events, timeout: Option<Duration>) -> io::Result<()>;

    /// What the last [`Self::wait`] has brought.
    fn ready(events: &Self::Events) -> impl Iterator<Item = Ready>;

    /// The time. It never runs backwards.
    fn now(&self) -> Instant;

    /// Watches for streams to accept.
    ///
    /// # Errors
    /// The system's.
    fn watch_listener(&mut self, listener: &mut Self::Listener, token: usize) -> io::Result<()>;

    /// Takes one stream.
    ///
    /// # Errors
    /// The system's.
    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, Peer)>;

    /// Watches for datagrams.
    ///
    /// # Errors
    /// The system's.
    fn watch_datagrams(&mut self, socket: &mut Self::Datagrams, token: usize) -> io::Result<()>;

    /// Takes one datagram into `buffer`; what does not fit is cut off.
    ///
    /// # Errors
    /// The system's.
    fn receive(
        &mut self,
        socket: &mut Self::Datagrams,
        buffer: &mut [u8],
    ) -> io::Result<(SocketAddr, PacketInfo, usize)>;

    /// Sends one datagram from the address that `via` names.
    ///
    /// # Errors
    /// The system's.
    fn send(&mut self, socket: &mut Self::Datagrams, to: SocketAddr, via: PacketInfo, bytes: &[u8]) -> io::Result<()>;

    /// Begins an outgoing stream, from a given source address where it matters.
    ///
    /// # Errors
    /// The system's.
    fn connect(&mut self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<Self::Stream>;

    /// Whether an outgoing stream is up by now.
    ///
    /// # Errors
    /// Why it never will be.
    fn is_connected(&mut self, stream: &Self::Stream) -> io::Result<bool>;

    /// Watches a stream for what can be read, and one that is `connecting` for being up as well.
    ///
    /// # Errors
    /// The system's.
    fn watch(&mut self, stream: &mut Self::Stream, token: usize, connecting: bool) -> io::Result<()>;

    /// Watches a stream for being writable, too.
    ///
    /// # Errors
    /// The system's.
    fn watch_writable(&mut self, stream: &mut Self::Stream, token: usize) -> io::Result<()>;

    /// Ceases to watch a stream for being writable.
    ///
    /// # Errors
    /// The system's.
    fn unwatch_writable(&mut self, stream: &mut Self::Stream, token: usize) -> io::Result<()>;

    /// Reads; 0 is the end.
    ///
    /// # Errors
    /// The system's.
    fn read(&mut self, stream: &mut Self::Stream, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes: how many bytes were taken.
    ///
    /// # Errors
    /// The system's.
    fn write(&mut self, stream: &mut Self::Stream, bytes: &[u8]) -> io::Result<usize>;

    /// Has what is still held for the peer thrown away when the stream is dropped.
    fn abort(&mut self, stream: &Self::Stream);
}

/// Something is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// What: the number under which it is watched, or [`WOKEN`].
    pub token: usize,
    /// It can be read, or a stream or datagram taken.
    pub readable: bool,
    /// It can be written to.
    pub writable: bool,
    /// A stream's peer sends no more, or the stream broke: this is announced once, and reading tells
    /// more. It can be read, too.
    pub ended: bool,
    /// A stream broke.
    pub broken: bool,
}

/// The token by which another thread wakes the loop.
pub const WOKEN: usize = usize::MAX;

/// Whether the system has run out of descriptors or memory for now.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
}

/// Whether a file cannot grow for now: the disk, the quota or the limit on its size is reached. No edge announces room.
pub(super) fn is_full(error: &io::Error) -> bool {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    matches!(errno, Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG)
}
