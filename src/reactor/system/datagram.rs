//! A UDP socket that reports the destination address of each datagram.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo, timespec};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockaddrLike, SockaddrStorage, recvmsg, sendmsg,
    setsockopt, sockopt,
};

use crate::endpoint::PacketInfo;

/// A datagram socket with `IP_PKTINFO` (ip(7)) or `IPV6_RECVPKTINFO` (RFC 3542 §6.1).
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    /// Room for the control messages of one datagram.
    control: Vec<u8>,
}

impl Datagrams {
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        if socket.local_addr()?.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            // For an IPv4 broadcast, only this option reports the interface's own address.
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        // An inherited socket may also report timestamps (SO_TIMESTAMPNS).
        let control = nix::cmsg_space!(in6_pktinfo, in_pktinfo, timespec);
        Ok(Self { socket: UdpSocket::from_std(socket), control })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    /// Receives one datagram, truncated to the length of `buffer`.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(SocketAddr, PacketInfo, usize)> {
        let mut parts = [IoSliceMut::new(buffer)];
        let received = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut self.control),
            MsgFlags::empty(),
        )?;
        // An IPv6 socket gets both control messages for an IPv4 datagram. The IPv4 one has the usable address.
        let is_v4 = |via: &PacketInfo| via.local.is_some_and(|local| local.is_ipv4());
        // The datagram is valid even if its control messages do not fit.
        let via = received.cmsgs().into_iter().flatten().filter_map(via).max_by_key(is_v4).unwrap_or_default();
        let from = received.address.as_ref().and_then(address).ok_or(io::ErrorKind::InvalidData)?;
        Ok((from, via, received.bytes))
    }

    /// Sends one datagram from the address in `via`.
    pub(super) fn send(&self, to: SocketAddr, via: PacketInfo, bytes: &[u8]) -> io::Result<()> {
        let (v4, v6);
        let control = match (via.local, to) {
            (Some(IpAddr::V4(local)), to) if to.ip().to_canonical().is_ipv4() => {
                v4 = in_pktinfo {
                    ipi_ifindex: via.interface as _,
                    ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(local.octets()) },
                    ipi_addr: in_addr { s_addr: 0 },
                };
                &[ControlMessage::Ipv4PacketInfo(&v4)][..]
            }
            (Some(IpAddr::V6(local)), SocketAddr::V6(_)) => {
                v6 = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: local.octets() }, ipi6_ifindex: via.interface };
                &[ControlMessage::Ipv6PacketInfo(&v6)][..]
            }
            _ => &[],
        };
        let to = SockaddrStorage::from(to);
        sendmsg(self.socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::empty(), Some(&to))?;
        Ok(())
    }
}

/// Returns the source address of an answer. For a broadcast, `ipi_spec_dst` is the interface's own address.
fn via(message: ControlMessageOwned) -> Option<PacketInfo> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(PacketInfo {
            local: Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into()),
            interface: info.ipi_ifindex as u32,
        }),
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let local = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            let local = (!local.is_multicast()).then_some(local.into());
            Some(PacketInfo { local, interface: info.ipi6_ifindex })
        }
        _ => None,
    }
}

/// Returns the name of the network interface `index`.
pub(crate) fn interface_name(index: u32) -> Option<String> {
    // No rule can match a name that is not UTF-8.
    nix::net::if_::if_indextoname(index).ok()?.into_string().ok()
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    match storage.family()? {
        AddressFamily::Inet => Some(SocketAddrV4::from(*storage.as_sockaddr_in()?).into()),
        AddressFamily::Inet6 => Some(SocketAddrV6::from(*storage.as_sockaddr_in6()?).into()),
        _ => None,
    }
}
