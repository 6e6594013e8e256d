//! `pulsegate discover`: asks for gateways as a device does.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::{Failure, print};

/// Broadcasts a probe on every interface and prints who answers, until the time is over.
pub(crate) fn run(timeout: Duration, port: u16) -> Result<(), Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Failure::Failed(format!("{what}: {error}"));
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|e| failed("no socket can be had", &e))?;
    socket.set_broadcast(true).map_err(|e| failed("broadcasts are not allowed", &e))?;
    let targets = targets().map_err(|e| failed("the interfaces cannot be listed", &e))?;
    let sent = targets.iter().filter(|&&ip| socket.send_to(PROBE, (ip, port)).is_ok()).count();
    if sent == 0 {
        return Err(Failure::Failed("no interface of this machine can send a broadcast".into()));
    }
    let start = now();
    let mut found: Vec<(SocketAddr, String, Duration)> = Vec::new();
    let mut buffer = [0; 512];
    while let Some(left) = timeout.checked_sub(now() - start).filter(|left| !left.is_zero()) {
        socket.set_read_timeout(Some(left)).map_err(|e| failed("no answer can be waited for", &e))?;
        match socket.recv_from(&mut buffer) {
            Ok((bytes, from)) => {
                if found.iter().all(|(known, ..)| *known != from) {
                    found.push((from, String::from_utf8_lossy(&buffer[..bytes]).into_owned(), now() - start));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            // A refusal of one of the probes.
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

/// What a gateway answers to is any datagram.
const PROBE: &[u8] = b"pulsegate discover";

/// The broadcast address of every interface that is up, and this machine itself.
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

/// An interface that was given no broadcast address has its own in that place; that of its network is one all the same.
fn broadcast_of(own: Ipv4Addr, mask: Ipv4Addr, said: Ipv4Addr) -> Ipv4Addr {
    if said == own { own | !mask } else { said }
}

#[expect(clippy::disallowed_methods, reason = "a call of the program waits for a person's time")]
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
