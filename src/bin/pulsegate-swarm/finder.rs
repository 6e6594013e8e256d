//! Finds a gateway as a device does: by a datagram to everyone, and whoever answers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use pulsegate::unstable::endpoint::{Endpoint, Output, PacketInfo, Peer};
use pulsegate::unstable::reactor::Reactor;
use pulsegate::{ConnectionId, ListenerId, StreamEnd, TurnLimits, unstable::proto::discovery};

use crate::clock;

/// Sends probes to `target` or, without one, to the broadcast address and to this machine, until
/// someone answers: who it was. None if nobody does.
///
/// # Errors
/// If there is no socket to ask by.
pub(crate) fn find(target: Option<SocketAddr>) -> io::Result<Option<SocketAddr>> {
    let usual = [Ipv4Addr::BROADCAST, Ipv4Addr::LOCALHOST].map(|ip| SocketAddr::from((ip, discovery::PORT)));
    let targets = target.map_or(usual.to_vec(), |target| vec![target]);
    let any = if targets[0].is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.set_broadcast(true)?;
    let mut reactor = Reactor::new(TurnLimits::default())?;
    reactor.receive(SOCKET, socket)?;
    let now = clock::now();
    let mut finder = Finder { targets, probes: Vec::new(), next: now, until: now + PATIENCE, found: None };
    while finder.found.is_none() && clock::now() < finder.until {
        reactor.turn(&mut finder)?;
    }
    Ok(finder.found)
}

const SOCKET: ListenerId = ListenerId(0);
/// From one probe to the next: one may be lost.
const INTERVAL: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(3);

/// The state machine behind [`find`].
struct Finder {
    targets: Vec<SocketAddr>,
    /// Those to be asked now.
    probes: Vec<SocketAddr>,
    next: Instant,
    until: Instant,
    found: Option<SocketAddr>,
}

impl Endpoint for Finder {
    fn handle_datagram(&mut self, _: ListenerId, from: SocketAddr, _: PacketInfo, _: &[u8], _: Instant) {
        // What a gateway answers can be configured: that it answers is enough.
        self.found.get_or_insert(from);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.next <= now {
            self.next = now + INTERVAL;
            self.probes.clone_from(&self.targets);
        }
    }

    fn poll_output(&mut self) -> Option<Output<'_>> {
        let to = self.probes.pop()?;
        Some(Output::SendTo { socket: SOCKET, to, via: PacketInfo::default(), bytes: b"pulsegate?" })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.next.min(self.until))
    }

    fn handle_accept(&mut self, _: ListenerId, _: Peer, _: Instant) -> Option<ConnectionId> {
        None
    }

    fn handle_connect(&mut self, _: ConnectionId, _: Instant) {}
    fn handle_data(&mut self, _: ConnectionId, _: &[u8], _: Instant) {}
    fn handle_end(&mut self, _: ConnectionId, _: Instant) {}
    fn handle_sent(&mut self, _: ConnectionId, _: usize, _: Instant) {}
    fn handle_writable(&mut self, _: ConnectionId, _: Instant) {}
    fn handle_close(&mut self, _: ConnectionId, _: StreamEnd, _: Instant) {}
    fn handle_wake(&mut self, _: Instant) {}
}
