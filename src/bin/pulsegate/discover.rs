//! `pulsegate discover`: searches gateways as a device does.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::{Failure, print};

/// Broadcasts a probe on every interface, and prints each gateway that answers before the timeout.
pub(crate) fn run(timeout: Duration, port: u16) -> Result<(), Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Failure::Failed(format!("{what}: {error}"));
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|e| failed("cannot open a UDP socket", &e))?;
    socket.set_broadcast(true).map_err(|e| failed("cannot send broadcasts", &e))?;
    let targets = targets().map_err(|e| failed("cannot list the interfaces", &e))?;
    let sent = targets.iter().filter(|&&ip| socket.send_to(PROBE, (ip, port)).is_ok()).count();
    if sent == 0 {
        return Err(Failure::Failed("no interface of this machine can send a broadcast".into()));
    }
    let start = now();
    let mut found: Vec<(SocketAddr, String, Duration)> = Vec::new();
    let mut buffer = [0; 512];
    while let Some(left) = timeout.checked_sub(now() - start).filter(|left| !left.is_zero()) {
        socket.set_read_timeout(Some(left)).map_err(|e| failed("cannot wait for answers", &e))?;
        match socket.recv_from(&mut buffer) {
            Ok((bytes, from)) => {
                if found.iter().all(|(known, ..)| *known != from) {
                    found.push((from, String::from_utf8_lossy(&buffer[..bytes]).into_owned(), now() - start));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            // An ICMP error for one of the probes.
            Err(_) => {}
        }
    }
    if found.is_empty() {
        return Err(Failure::Failed(format!("no gateway answered on UDP port {port}")));
    }
    found.sort_unstable_by_key(|(from, ..)| *from);
    for (from, reply, after) in found {
        let tenths = after.as_micros() / 100;
        print(&format!("{:<15}  {reply:?}  after {}.{} ms\n", from.ip(), tenths / 10, tenths % 10))?;
    }
    Ok(())
}

/// A gateway answers any datagram.
const PROBE: &[u8] = b"pulsegate discover";

/// Returns the broadcast address of every interface that is up, and the loopback address.
fn targets() -> nix::Result<Vec<Ipv4Addr>> {
    let up = getifaddrs()?.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
    let broadcast =
        up.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_BROADCAST)).filter_map(|interface| {
            let [own, mask] =
                [interface.address?, interface.netmask?].map(|address| Some(address.as_sockaddr_in()?.ip()));
            Some(broadcast_of(own?, mask?, interface.broadcast?.as_sockaddr_in()?.ip()))
        });
    let mut targets: Vec<Ipv4Addr> = broadcast.chain([Ipv4Addr::LOCALHOST]).collect();
    targets.sort_unstable();
    targets.dedup();
    Ok(targets)
}

/// Returns the broadcast address. The kernel reports an interface's own address for an interface without one, and then the
/// broadcast address of its network works.
fn broadcast_of(own: Ipv4Addr, mask: Ipv4Addr, reported: Ipv4Addr) -> Ipv4Addr {
    if reported == own { own | !mask } else { reported }
}

#[expect(clippy::disallowed_methods, reason = "a command waits in real time")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_without_a_broadcast_address_has_that_of_its_network() {
        let ip = |last| Ipv4Addr::new(198, 51, 100, last);
        let mask = Ipv4Addr::new(255, 255, 255, 0);
        assert_eq!(broadcast_of(ip(1), mask, ip(1)), ip(255));
        assert_eq!(broadcast_of(ip(1), mask, ip(127)), ip(127));
    }
}
