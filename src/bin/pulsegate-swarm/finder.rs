//! Finds a gateway as a device does: sends a broadcast and takes the first answer.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use pulsegate::unstable::endpoint::{Endpoint, Output, PacketInfo, Peer};
use pulsegate::unstable::reactor::Reactor;
use pulsegate::{ConnectionId, ListenerId, StreamEnd, TurnLimits, unstable::proto::discovery};

use crate::clock;

/// Sends probes to `target` or, without one, to the broadcast address and to this machine. Returns the sender of the
/// first answer, or `None` if none comes in time.
pub(crate) fn find(target: Option<SocketAddr>) -> io::Result<Option<SocketAddr>> {
    let usual = [Ipv4Addr::BROADCAST, Ipv4Addr::LOCALHOST].map(|ip| SocketAddr::from((ip, discovery::PORT)));
    let targets = target.map_or(usual.to_vec(), |target| vec![target]);
    let any = if targets[0].is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.set_broadcast(true)?;
    let mut reactor = Reactor::new(TurnLimits::default())?;
    reactor.receive(SOCKET, socket)?;
    let now = clock::now();
    let mut finder = Finder { targets, probes: Vec::new(), next: now, until: now + TIMEOUT, found: None };
    while finder.found.is_none() && clock::now() < finder.until {
        reactor.turn(&mut finder)?;
    }
    Ok(finder.found)
}

const SOCKET: ListenerId = ListenerId(0);
/// The time from one probe to the next. The network may lose a probe.
const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(3);

/// The state machine behind [`find`].
struct Finder {
    targets: Vec<SocketAddr>,
    /// Targets of the current probe that are still without it.
    probes: Vec<SocketAddr>,
    next: Instant,
    until: Instant,
    found: Option<SocketAddr>,
}

impl Endpoint for Finder {
    fn handle_datagram(&mut self, _: ListenerId, from: SocketAddr, _: PacketInfo, _: &[u8], _: Instant) {
        // The text of an answer is configurable, so any datagram is an answer.
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
