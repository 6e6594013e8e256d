//! The file descriptor of one stream.

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

/// A stream of the operating system: a TCP or Unix socket, or a file that the application only writes to.
#[derive(Debug)]
pub struct Io(Descriptor);

#[derive(Debug)]
enum Descriptor {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// A terminal, pipe or file to write to, in non-blocking mode.
    File(File),
}

impl Io {
    /// A local stream, which this call puts into non-blocking mode.
    ///
    /// # Errors
    /// If the descriptor refuses the mode.
    pub fn unix(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(Descriptor::Unix(UnixStream::from_std(stream))))
    }

    /// A terminal, pipe or file to write to. The caller puts it into non-blocking mode.
    pub fn output(file: File) -> Self {
        Self(Descriptor::File(file))
    }

    pub(super) fn tcp(stream: TcpStream) -> Self {
        Self(Descriptor::Tcp(stream))
    }

    pub(super) fn accepted(stream: UnixStream) -> Self {
        Self(Descriptor::Unix(stream))
    }

    /// Registers for reading. A file is not registered: the reactor writes at once, and waits for the EPOLLOUT
    /// edge when the file takes too few bytes. An outgoing connection is up when it becomes writable.
    pub(super) fn watch(&mut self, registry: &Registry, token: Token, connecting: bool) -> io::Result<()> {
        match self.0 {
            Descriptor::File(_) => Ok(()),
            _ if connecting => {
                self.with_source(|source| source.register(registry, token, Interest::READABLE | Interest::WRITABLE))
            }
            _ => self.with_source(|source| source.register(registry, token, Interest::READABLE)),
        }
    }

    pub(super) fn watch_writable(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self.0 {
            Descriptor::File(_) => self.with_source(|source| source.register(registry, token, Interest::WRITABLE)),
            _ => self.with_source(|source| source.reregister(registry, token, Interest::READABLE | Interest::WRITABLE)),
        }
    }

    pub(super) fn unwatch_writable(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self.0 {
            Descriptor::File(_) => self.with_source(|source| source.deregister(registry)),
            _ => self.with_source(|source| source.reregister(registry, token, Interest::READABLE)),
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Descriptor::Tcp(stream) => stream.read(buffer),
            Descriptor::Unix(stream) => stream.read(buffer),
            // The reactor reads a file only after a failed write. A read of a terminal would consume a person's input.
            Descriptor::File(_) => Err(Errno::EPIPE.into()),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Descriptor::Tcp(stream) => stream.write(bytes),
            Descriptor::Unix(stream) => stream.write(bytes),
            Descriptor::File(file) => file.write(bytes),
        }
    }

    /// Makes the close abortive: the kernel drops the bytes that it holds for the peer.
    pub(super) fn abort(&self) {
        if let Descriptor::Tcp(stream) = &self.0 {
            let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            // After a failure the kernel holds the bytes for its own timeout.
            let _ = setsockopt(stream, sockopt::Linger, &linger);
        }
    }

    /// Whether an outgoing connection is up.
    pub(super) fn is_connected(&self) -> io::Result<bool> {
        let Descriptor::Tcp(stream) = &self.0 else { return Ok(true) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            // Stale event: it belonged to the previous owner of this token.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn with_source<T>(&mut self, call: impl FnOnce(&mut dyn Source) -> T) -> T {
        match &mut self.0 {
            Descriptor::Tcp(stream) => call(stream),
            Descriptor::Unix(stream) => call(stream),
            Descriptor::File(file) => call(&mut SourceFd(&file.as_raw_fd())),
        }
    }
}

impl AsFd for Io {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Descriptor::Tcp(stream) => stream.as_fd(),
            Descriptor::Unix(stream) => stream.as_fd(),
            Descriptor::File(file) => file.as_fd(),
        }
    }
}

/// Begins an outgoing connection, from the source address `from` if there is one.
pub(super) fn dial(from: Option<IpAddr>, to: SocketAddr) -> io::Result<Io> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd: OwnedFd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    if let Some(from) = from {
        // The kernel chooses the source port with the destination in view. Otherwise thousands of connections from
        // one address would use up its ports.
        setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
        nix::sys::socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    }
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(Io::tcp(TcpStream::from_std(fd.into()))),
        Err(error) => Err(error.into()),
    }
}
