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

impl Io {
    /// Registers for reading, or, what can only be written to, not at all: bytes are tried at once,
    /// and the writable edge is asked for when they do not go. An outgoing connection is up when it
    /// can be written to, so that edge is asked for from the beginning.
    pub(super) fn watch(&mut self, registry: &Registry, token: Token, connecting: bool) -> io::Result<()> {
        match self {
            Self::File(_) => Ok(()),
            _ if connecting => {
                self.with_source(|source| source.register(registry, token, Interest::READABLE | Interest::WRITABLE))
            }
            _ => self.with_source(|source| source.register(registry, token, Interest::READABLE)),
        }
    }

    pub(super) fn watch_writable(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::File(_) => self.with_source(|source| source.register(registry, token, Interest::WRITABLE)),
            _ => self.with_source(|source| source.reregister(registry, token, Interest::READABLE | Interest::WRITABLE)),
        }
    }

    pub(super) fn unwatch_writable(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::File(_) => self.with_source(|source| source.deregister(registry)),
            _ => self.with_source(|source| source.reregister(registry, token, Interest::READABLE)),
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            // It is only written to: who wants to read it has been told that it broke. A terminal would
            // give what somebody types.
            Self::File(_) => Err(Errno::EPIPE.into()),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    /// Has the kernel throw away what it still holds for the peer when the stream is dropped.
    pub(super) fn abort(&self) {
        if let Self::Tcp(stream) = self {
            let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            // Should it fail, the kernel waits for the peer a while longer, as it would have without.
            let _ = setsockopt(stream, sockopt::Linger, &linger);
        }
    }

    /// Whether an outgoing connection is up.
    pub(super) fn is_connected(&self) -> io::Result<bool> {
        let Self::Tcp(stream) = self else { return Ok(true) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            // The edge was that of another stream, which had the same place before.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn with_source<T>(&mut self, call: impl FnOnce(&mut dyn Source) -> T) -> T {
        match self {
            Self::Tcp(stream) => call(stream),
            Self::Unix(stream) => call(stream),
            Self::File(file) => call(&mut SourceFd(&file.as_raw_fd())),
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
