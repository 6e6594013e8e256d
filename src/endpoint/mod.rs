//! The sans-I/O interface between reactor and gateway. The reactor owns sockets and knows no meaning. An [`Endpoint`] owns
//! meaning and knows no sockets.
//!
//! `handle_*` calls deliver events, and `poll_*` calls return outputs. The driver is the reactor, or a test without sockets.
//! It makes **one `handle_*` call, then drains [`Endpoint::poll_output`]**.

mod outbox;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

pub use outbox::Outbox;

/// A state machine for many streams. Its only time is the `now` of the caller, which never runs backwards.
pub trait Endpoint {
    /// Handles a stream that `listener` accepted. Returns the id of the stream, or `None` to close it at once.
    fn handle_accept(&mut self, listener: ListenerId, peer: Peer, now: Instant) -> Option<ConnectionId>;

    /// Handles a stream of [`Output::Connect`] that is connected.
    fn handle_connect(&mut self, id: ConnectionId, now: Instant);

    /// Returns the maximum of bytes that the next read may take. 0 pauses the stream until [`Output::Read`]. The driver
    /// calls it before every read, except for a failed stream, which it reads to its end.
    fn poll_read(&mut self, id: ConnectionId) -> usize {
        let _ = id;
        usize::MAX
    }

    /// Handles received bytes. They may begin and end anywhere in an object.
    fn handle_data(&mut self, id: ConnectionId, bytes: &[u8], now: Instant);

    /// Handles a half-close of the peer: no more bytes will come. The stream takes bytes until [`Output::Close`] or
    /// [`Endpoint::handle_close`].
    fn handle_end(&mut self, id: ConnectionId, now: Instant);

    /// Handles the result of [`Output::Send`]: the kernel has taken the first `taken` bytes. If these are not all lent
    /// bytes, the kernel takes no more until [`Endpoint::handle_writable`].
    fn handle_sent(&mut self, id: ConnectionId, taken: usize, now: Instant);

    /// Handles a stream that takes bytes again.
    fn handle_writable(&mut self, id: ConnectionId, now: Instant);

    /// Handles the end of a stream, by [`Output::Close`] or by a failure. This is the last call with this id. Only
    /// this call frees the slot, so no index is reused earlier.
    fn handle_close(&mut self, id: ConnectionId, end: StreamEnd, now: Instant);

    /// Handles a datagram that `socket` received.
    fn handle_datagram(&mut self, socket: ListenerId, from: SocketAddr, via: PacketInfo, bytes: &[u8], now: Instant);

    /// Handles the result of [`Output::SendTo`]: whether the kernel has taken the datagram.
    fn handle_sent_to(&mut self, sent: bool) {
        let _ = sent;
    }

    /// Handles the time of [`Endpoint::poll_timeout`]. An early call does nothing.
    fn handle_timeout(&mut self, now: Instant);

    /// Handles a wake-up by another thread.
    fn handle_wake(&mut self, now: Instant);

    /// Returns the next output. The driver drains it after every `handle_*`.
    fn poll_output(&mut self) -> Option<Output<'_>>;

    /// Returns the time for [`Endpoint::handle_timeout`]. `None` means never, so that an endpoint without peers causes no
    /// wake-up.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// A request of an endpoint to its driver. Bytes are lent until the next call.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// Offer `bytes` to the kernel and report the result to [`Endpoint::handle_sent`].
    Send {
        /// The stream.
        id: ConnectionId,
        /// Never empty.
        bytes: &'a [u8],
    },
    /// Read a stream that [`Endpoint::poll_read`] paused.
    Read {
        /// The stream.
        id: ConnectionId,
    },
    /// Send one datagram and report the result to [`Endpoint::handle_sent_to`]. The driver never repeats it.
    SendTo {
        /// The socket to send from.
        socket: ListenerId,
        /// The destination.
        to: SocketAddr,
        /// The local address and interface to send from.
        via: PacketInfo,
        /// The whole datagram.
        bytes: &'a [u8],
    },
    /// Open a stream. [`Endpoint::handle_connect`] or [`Endpoint::handle_close`] follows.
    Connect {
        /// The id of the new stream.
        id: ConnectionId,
        /// The source address, if it matters.
        from: Option<IpAddr>,
        /// The destination.
        to: SocketAddr,
    },
    /// Close a stream at once. [`Endpoint::handle_close`] follows, except for a stream that is closed already. With
    /// `abort` the kernel drops its buffers, so that no resource waits for a dead peer.
    Close {
        /// The stream.
        id: ConnectionId,
        /// Whether the close is abortive (RST instead of FIN, RFC 9293 §3.10.5).
        abort: bool,
    },
}

/// Identifies a stream by its slot and its generation. An id is unique for the life of the process, so data for one
/// stream never reaches its successor in the slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    generation: u32,
    index: u32,
}

impl ConnectionId {
    /// Bits of the id that are the slot's index. They bound the number of streams.
    const INDEX_BITS: u32 = 20;
    /// The maximum of slots: 1,048,576.
    pub const SLOTS_MAX: usize = 1 << Self::INDEX_BITS;

    /// Creates the id of slot `index`, which is below [`Self::SLOTS_MAX`], in its `generation`.
    pub const fn new(index: u32, generation: u32) -> Self {
        debug_assert!((index as usize) < Self::SLOTS_MAX);
        Self { generation, index }
    }

    /// Returns the slot's index in a table of streams.
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// Returns the generation of the slot, from 0.
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// Returns the id as the number that people and programs see. It is small while the process is young.
    pub const fn get(self) -> u64 {
        (self.generation as u64) << Self::INDEX_BITS | self.index as u64
    }

    /// Returns the id of a number, unless the number is too large.
    pub fn from_u64(number: u64) -> Option<Self> {
        let generation = u32::try_from(number >> Self::INDEX_BITS).ok()?;
        Some(Self { generation, index: (number & (Self::SLOTS_MAX as u64 - 1)) as u32 })
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{self}")
    }
}

/// Identifies a listener or a datagram socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u32);

/// The peer of an accepted stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A process on this machine, on a Unix socket.
    Unix(Credentials),
}

/// The credentials of a local process, from the kernel (`SO_PEERCRED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Process id.
    pub pid: i32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// This side closed it, by [`Output::Close`].
    Closed,
    /// It failed, or could not connect.
    Failed(Errno),
}

/// An error number of the operating system. In contrast to [`io::Error`] it can be copied and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        // All errors of sockets come from the system. 0 would mark another error.
        Self(error.raw_os_error().unwrap_or(0))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

/// The destination address and the interface of a datagram (`IP_PKTINFO`). An answer with this information leaves from
/// the address that the probe was sent to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PacketInfo {
    /// The address, if the kernel reported one.
    pub local: Option<IpAddr>,
    /// The interface index, or 0 if unknown.
    pub interface: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_converts_to_a_number_and_back() {
        for (index, generation) in [(0, 0), (7, 0), (0, 1), (1_048_575, u32::MAX)] {
            let id = ConnectionId::new(index, generation);
            assert_eq!(ConnectionId::from_u64(id.get()), Some(id));
        }
        assert_eq!(ConnectionId::new(7, 0).to_string(), "7");
        assert_eq!(ConnectionId::from_u64(u64::MAX), None);
    }
}
