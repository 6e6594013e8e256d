//! A listening socket. Floor 3.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockopt, listen, setsockopt, socket, sockopt,
};

use super::stream::Io;
use crate::endpoint::{Credentials, ListenerId, Peer};

/// A socket that streams come to.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) id: ListenerId,
    socket: Socket,
    /// Left alone until then, because descriptors or memory had run out: no new edge comes for a
    /// connection that already waits.
    pub(super) parked: Option<Instant>,
    /// Has more to accept than one turn allows.
    pub(super) unfinished: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What came of one try to accept.
pub(super) enum Accepted {
    Stream(Io, Peer),
    /// Nobody waits.
    None,
    /// That one was gone before it was accepted; others may wait.
    Lost,
    /// The system has no descriptor or memory for one more.
    Exhausted(io::Error),
}

impl Listener {
    pub(super) fn tcp(id: ListenerId, listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // Accepted sockets inherit it: one call saved for each of them.
        setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
        let socket = Socket::Tcp(TcpListener::from_std(listener));
        Ok(Self { id, socket, parked: None, unfinished: false })
    }

    pub(super) fn unix(id: ListenerId, listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let socket = Socket::Unix(UnixListener::from_std(listener));
        Ok(Self { id, socket, parked: None, unfinished: false })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(listener) => listener.register(registry, token, Interest::READABLE),
            Socket::Unix(listener) => listener.register(registry, token, Interest::READABLE),
        }
    }

    pub(super) fn accept(&self) -> Accepted {
        let result = match &self.socket {
            Socket::Tcp(listener) => listener.accept().map(|(stream, peer)| (Io::Tcp(stream), Peer::Internet(peer))),
            Socket::Unix(listener) => listener.accept().and_then(|(stream, _)| {
                let peer = getsockopt(&stream.as_fd(), sockopt::PeerCredentials)?;
                let credentials = Credentials { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() };
                Ok((Io::Unix(stream), Peer::Local(credentials)))
            }),
        };
        match result {
            Ok((io, peer)) => Accepted::Stream(io, peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Accepted::None,
            Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => Accepted::Exhausted(error),
                // Whatever else accept(2) tells is the fate of that one connection.
                _ => Accepted::Lost,
            },
        }
    }
}

/// Opens a listening TCP socket. An unspecified IPv6 address takes IPv4 as well, whatever the
/// system's default.
pub(crate) fn open_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd: OwnedFd = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &!address.ip().is_unspecified())?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&fd, BACKLOG)?;
    Ok(fd.into())
}

/// Whether connections can be accepted on a socket that somebody else has opened.
pub(crate) fn is_listening(listener: &std::net::TcpListener) -> io::Result<bool> {
    Ok(getsockopt(listener, sockopt::AcceptConn)?)
}

/// Connections that may wait to be accepted: after a power cut all devices come at once, so it is as
/// many as the kernel allows (`net.core.somaxconn`). A number of our own will not do: nix refuses one
/// above the C library's `SOMAXCONN`, and musl's is 128.
const BACKLOG: Backlog = Backlog::MAXALLOWABLE;
