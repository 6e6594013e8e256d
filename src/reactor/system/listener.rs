//! A listening socket.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockopt, listen, setsockopt, socket, sockopt,
};

use super::stream::Io;
use crate::endpoint::{Credentials, Peer};

/// A socket that accepts streams.
#[derive(Debug)]
pub struct Listener(Socket);

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(super) fn tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // Accepted sockets inherit the option, which saves a call for each of them.
        setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
        let socket = Socket::Tcp(TcpListener::from_std(listener));
        Ok(Self(socket))
    }

    pub(super) fn unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let socket = Socket::Unix(UnixListener::from_std(listener));
        Ok(Self(socket))
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.0 {
            Socket::Tcp(listener) => listener.register(registry, token, Interest::READABLE),
            Socket::Unix(listener) => listener.register(registry, token, Interest::READABLE),
        }
    }

    pub(super) fn accept(&self) -> io::Result<(Io, Peer)> {
        match &self.0 {
            Socket::Tcp(listener) => listener.accept().map(|(stream, peer)| (Io::tcp(stream), Peer::Tcp(peer))),
            Socket::Unix(listener) => listener.accept().and_then(|(stream, _)| {
                let peer = getsockopt(&stream.as_fd(), sockopt::PeerCredentials)?;
                let credentials = Credentials { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() };
                Ok((Io::accepted(stream), Peer::Unix(credentials)))
            }),
        }
    }
}

/// Opens a listening TCP socket. An unspecified IPv6 address includes IPv4, independent of the system's default.
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

/// Whether an inherited socket listens.
pub(crate) fn is_listening(listener: &impl AsFd) -> io::Result<bool> {
    Ok(getsockopt(listener, sockopt::AcceptConn)?)
}

/// The size of the accept queue: the kernel's maximum (`net.core.somaxconn`), because all devices connect at once after a
/// power cut. nix refuses a number above the C library's `SOMAXCONN`, which is 128 in musl.
const BACKLOG: Backlog = Backlog::MAXALLOWABLE;
