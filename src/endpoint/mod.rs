//! The seam of the house: on one side the reactor, which owns sockets and knows no meaning; on the
//! other an [`Endpoint`], which owns meaning and knows no sockets. Floor 0.
//!
//! `handle_*` takes what happened, `poll_*` gives what must be done. The driver, be it the reactor
//! or a test without a socket, makes **one `handle_*` call, then drains [`Endpoint::poll_output`]**.

mod outbox;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

pub use outbox::Outbox;

/// A state machine that speaks for many streams at once. All its time is the `now` it is given,
/// which never runs backwards.
pub trait Endpoint {
    /// A stream has arrived at `listener`. The answer is the id under which the driver keeps it,
    /// or `None` to have it closed at once.
    fn handle_accept(&mut self, listener: ListenerId, peer: Peer, now: Instant) -> Option<ConnectionId>;

    /// The stream that [`Output::Connect`] asked for is up.
    fn handle_connect(&mut self, id: ConnectionId, now: Instant);

    /// A stream has something to read: how many bytes of it are wanted at most. With 0 it is left unread,
    /// and its peer made to wait, until [`Output::Read`]. Asked before every read, but not of a stream
    /// that is broken, which is read to its end.
    fn poll_read(&mut self, id: ConnectionId) -> usize {
        let _ = id;
        usize::MAX
    }

    /// Bytes have come. They may be any part of anything.
    fn handle_data(&mut self, id: ConnectionId, bytes: &[u8], now: Instant);

    /// The peer has ended its sending half: no more data will come. The stream stays open for
    /// sending until [`Output::Close`] or [`Endpoint::handle_close`].
    fn handle_end(&mut self, id: ConnectionId, now: Instant);

    /// The answer to [`Output::Send`]: the kernel has taken the first `taken` bytes. Fewer than
    /// were lent means that it takes no more until [`Endpoint::handle_writable`].
    fn handle_sent(&mut self, id: ConnectionId, taken: usize, now: Instant);

    /// The kernel takes bytes again on a stream that had taken too few.
    fn handle_writable(&mut self, id: ConnectionId, now: Instant);

    /// The stream is gone, by [`Output::Close`] or because it broke. The last call with this id,
    /// and the only place where its slot is freed: no index is used again before.
    fn handle_close(&mut self, id: ConnectionId, end: StreamEnd, now: Instant);

    /// A datagram has come to `socket`.
    fn handle_datagram(&mut self, socket: ListenerId, from: SocketAddr, via: PacketInfo, bytes: &[u8], now: Instant);

    /// The answer to [`Output::SendTo`]: whether the kernel has taken the datagram.
    fn handle_sent_to(&mut self, sent: bool) {
        let _ = sent;
    }

    /// [`Endpoint::poll_timeout`] has been reached. Early calls do nothing.
    fn handle_timeout(&mut self, now: Instant);

    /// Another thread has woken the driver.
    fn handle_wake(&mut self, now: Instant);

    /// The next thing to carry out. Drained after every `handle_*`.
    fn poll_output(&mut self) -> Option<Output<'_>>;

    /// When [`Endpoint::handle_timeout`] wants to be called: `None` is never, so that an endpoint
    /// without peers costs no wake-up.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// What an endpoint wants done. Bytes are lent until the next call.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// Offer `bytes` to the kernel and answer with [`Endpoint::handle_sent`].
    Send {
        /// The stream.
        id: ConnectionId,
        /// Never empty.
        bytes: &'a [u8],
    },
    /// Read a stream again that [`Endpoint::poll_read`] did not want to be read.
    Read {
        /// The stream.
        id: ConnectionId,
    },
    /// Send one datagram and answer with [`Endpoint::handle_sent_to`]. If it cannot be sent now it is lost, as
    /// datagrams may be.
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
    /// Open a stream; the answer is [`Endpoint::handle_connect`] or [`Endpoint::handle_close`].
    Connect {
        /// The id under which the driver is to keep it.
        id: ConnectionId,
        /// The source address, where it matters.
        from: Option<IpAddr>,
        /// The destination.
        to: SocketAddr,
    },
    /// End a stream now; the answer is [`Endpoint::handle_close`]. With `abort`, what the kernel
    /// still holds for the peer is thrown away, so that no resource waits for a peer that is gone.
    /// It may be asked for twice, or for a stream that is gone already: then there is no answer.
    Close {
        /// The stream.
        id: ConnectionId,
        /// Whether to throw away what the kernel holds (RST instead of FIN, RFC 9293 §3.10.5).
        abort: bool,
    },
}

/// Names one stream: the slot it lies in, and which of the slot's tenants it is. An id is unique
/// for the life of the process: what was meant for one stream never reaches its successor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    generation: u32,
    index: u32,
}

impl ConnectionId {
    /// Bits of an id's number that name the slot, and so the bound on streams at one time.
    const INDEX_BITS: u32 = 20;
    /// The most slots that ids can tell apart: 1,048,576.
    pub const SLOTS_MAX: usize = 1 << Self::INDEX_BITS;

    /// The `generation`th tenant of slot `index`, which is below [`Self::SLOTS_MAX`].
    pub const fn new(index: u32, generation: u32) -> Self {
        debug_assert!((index as usize) < Self::SLOTS_MAX);
        Self { generation, index }
    }

    /// The slot: what a table of streams is indexed by.
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// Which tenant of its slot this is, from 0.
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// The id as one number, small while the process is young: what people and programs see.
    pub const fn get(self) -> u64 {
        (self.generation as u64) << Self::INDEX_BITS | self.index as u64
    }

    /// The id of that number, if a number this large can be one.
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

/// Names a listening or datagram socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u32);

/// Who is at the other end of an accepted stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A process on this machine, by a Unix socket.
    Unix(Credentials),
}

/// A local peer's identity as the kernel vouches for it (`SO_PEERCRED`).
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
    /// This side closed it, as [`Output::Close`] asked.
    Closed,
    /// It broke, or never came up.
    Failed(Errno),
}

/// An error number of the operating system: an [`io::Error`] that can be copied and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        // Our sockets' errors all come from the system; 0 would say so were it otherwise.
        Self(error.raw_os_error().unwrap_or(0))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

/// The local address a datagram came to, and the interface it came by (`IP_PKTINFO`): an answer
/// that goes back the same way leaves from the address that was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PacketInfo {
    /// The address, where the kernel told it.
    pub local: Option<IpAddr>,
    /// The interface index, 0 where unknown.
    pub interface: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_the_way_through_a_number() {
        for (index, generation) in [(0, 0), (7, 0), (0, 1), (1_048_575, u32::MAX)] {
            let id = ConnectionId::new(index, generation);
            assert_eq!(ConnectionId::from_u64(id.get()), Some(id));
        }
        assert_eq!(ConnectionId::new(7, 0).to_string(), "7");
        assert_eq!(ConnectionId::from_u64(u64::MAX), None);
    }
}
