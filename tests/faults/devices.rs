//! Parts of faulty devices.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::linger;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt};

use crate::clock;

/// Connects from an address of 127.0.0.0/8, which identifies the device.
pub(crate) fn connect_from(ip: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let address = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => SockaddrIn::from(v4),
        SocketAddr::V6(_) => panic!("the gateway listens on IPv4"),
    };
    let fd: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // The kernel chooses the port for this destination, because thousands of connections need many ports.
    setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
    bind(fd.as_raw_fd(), &address(SocketAddr::new(ip.parse().expect("an address"), 0)))?;
    while let Err(error) = connect(fd.as_raw_fd(), &address(to)) {
        if error != Errno::EINTR {
            return Err(error.into());
        }
    }
    Ok(fd.into())
}

/// Returns the address of faulty device `n`. One address does not have enough ports for thousands of connections.
pub(crate) fn source(n: usize) -> String {
    format!("127.8.{}.{}", n / 250 % 250, n % 250 + 1)
}

/// Connects faulty device `n`.
pub(crate) fn device(n: usize, gateway: SocketAddr) -> TcpStream {
    let stream = connect_from(&source(n), gateway).unwrap_or_else(|e| panic!("device {n} cannot connect: {e}"));
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) fn devices(number: usize, gateway: SocketAddr) -> Vec<TcpStream> {
    (0..number).map(|n| device(n, gateway)).collect()
}

/// Resets the connection (RST).
pub(crate) fn reset(stream: TcpStream) {
    setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 }).expect("a linger");
    drop(stream);
}

/// Writes `piece` again and again, until the gateway ends the connection or the time is over. Returns the bytes that were taken.
pub(crate) fn flood(stream: &mut TcpStream, piece: &[u8], patience: Duration) -> u64 {
    let deadline = clock() + patience;
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let (mut taken, mut at) = (0, 0);
    while clock() < deadline {
        match stream.write(&piece[at..]) {
            Ok(bytes) => {
                taken += bytes as u64;
                at = (at + bytes) % piece.len();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    taken
}

/// Whether the gateway closes the connection within a time, by FIN or RST. Skips beats.
pub(crate) fn is_closed(stream: &mut TcpStream, patience: Duration) -> bool {
    let deadline = clock() + patience;
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut buffer = [0; 4096];
    while clock() < deadline {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
    false
}

/// Answers every beat until the time is over or the connection ends. Returns the number of beats.
pub(crate) fn answer_beats(stream: &mut TcpStream, patience: Duration) -> u64 {
    let deadline = clock() + patience;
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let (mut buffer, mut beats) = ([0; 4096], 0);
    while clock() < deadline {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => {
                beats += bytes as u64 / 9;
                if stream.write_all(br#"{"Type":"Heartbeat"}"#).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    beats
}

/// A socket to send datagrams from.
pub(crate) fn datagrams(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).expect("a datagram socket");
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket
}

/// Returns an object of `bytes` bytes.
pub(crate) fn object_of(bytes: usize) -> Vec<u8> {
    let frame = r#"{"Type":"Project","Fill":""}"#;
    format!(r#"{{"Type":"Project","Fill":"{}"}}"#, "x".repeat(bytes - frame.len())).into_bytes()
}
