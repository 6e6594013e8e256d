//! One stream's descriptor, whatever its kind. Floor 3.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt};

use crate::endpoint::ConnectionId;

/// What bytes can be read from or written to. Unix streams, pipes and files are for the
/// application's own use.
#[derive(Debug)]
pub enum Io {
    /// A device.
    Tcp(TcpStream),
    /// A local process, or the pipe that signals come by.
    Unix(UnixStream),
    /// A terminal, pipe or file to write to, in non-blocking mode.
    File(File),
}

/// 16 bytes a device.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) io: Io,
    /// With the index in the table, the stream's id.
    generation: u32,
    /// An outgoing connection that is not up yet.
    pub(super) connecting: bool,
    /// The kernel has taken too little and is to tell when it takes more.
    pub(super) blocked: bool,
    /// The kernel has announced the peer's end or an error: read on until it comes.
    pub(super) ended: bool,
    /// Waits in the list of streams that have more to read.
    pub(super) unfinished: bool,
}

impl Stream {
    pub(super) fn new(id: ConnectionId, io: Io) -> Self {
        let generation = id.generation();
        Self { io, generation, connecting: false, blocked: false, ended: false, unfinished: false }
    }

    /// The id of this stream, which lies at `index`.
    pub(super) fn id(&self, index: usize) -> ConnectionId {
        ConnectionId::new(index as u32, self.generation)
    }

    /// Registers for reading, or, what can only be written to, not at all: bytes are tried at once,
    /// and the writable edge is asked for when they do not go. An outgoing connection is up when it
    /// can be written to, so that edge is asked for from the beginning.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self.io {
            Io::File(_) => Ok(()),
            _ if self.connecting => {
                self.with_source(|source| source.register(registry, token, Interest::READABLE | Interest::WRITABLE))
            }
            _ => self.with_source(|source| source.register(registry, token, Interest::READABLE)),
        }
    }

    /// Asks for the edge at which the kernel takes bytes again.
    pub(super) fn block(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        if std::mem::replace(&mut self.blocked, true) {
            return Ok(());
        }
        match self.io {
            Io::File(_) => self.with_source(|source| source.register(registry, token, Interest::WRITABLE)),
            _ => self.with_source(|source| source.reregister(registry, token, Interest::READABLE | Interest::WRITABLE)),
        }
    }

    /// The edge has come.
    pub(super) fn unblock(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.blocked = false;
        match self.io {
            Io::File(_) => self.with_source(|source| source.deregister(registry)),
            _ => self.with_source(|source| source.reregister(registry, token, Interest::READABLE)),
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.io {
            Io::Tcp(stream) => stream.read(buffer),
            Io::Unix(stream) => stream.read(buffer),
            Io::File(file) => file.read(buffer),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.io {
            Io::Tcp(stream) => stream.write(bytes),
            Io::Unix(stream) => stream.write(bytes),
            Io::File(file) => file.write(bytes),
        }
    }

    /// Has the kernel throw away what it still holds for the peer when the stream is dropped.
    pub(super) fn abort(&self) {
        if let Io::Tcp(stream) = &self.io {
            let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            // Should it fail, the kernel waits for the peer a while longer, as it would have without.
            let _ = setsockopt(stream, sockopt::Linger, &linger);
        }
    }

    /// How an outgoing connection has come out.
    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match &self.io {
            Io::Tcp(stream) => stream.take_error(),
            _ => Ok(None),
        }
    }

    fn with_source<T>(&mut self, call: impl FnOnce(&mut dyn Source) -> T) -> T {
        match &mut self.io {
            Io::Tcp(stream) => call(stream),
            Io::Unix(stream) => call(stream),
            Io::File(file) => call(&mut SourceFd(&file.as_raw_fd())),
        }
    }
}

/// A stream that has been put in non-blocking mode.
impl From<std::os::unix::net::UnixStream> for Io {
    fn from(stream: std::os::unix::net::UnixStream) -> Self {
        Self::Unix(UnixStream::from_std(stream))
    }
}

impl AsFd for Io {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::File(file) => file.as_fd(),
        }
    }
}

/// Begins an outgoing connection, from a given source address where it matters.
pub(super) fn dial(from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd: OwnedFd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    if let Some(from) = from {
        // A source port is chosen with the destination in view: else thousands of connections
        // from one address would use up its ports.
        setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
        nix::sys::socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    }
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from_std(fd.into())),
        Err(error) => Err(error.into()),
    }
}

// In debug builds mio's sockets remember where they are registered.
const _: () = assert!(size_of::<Option<Stream>>() == 16 || cfg!(debug_assertions));
