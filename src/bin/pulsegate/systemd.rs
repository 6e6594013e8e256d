//! The service manager: notifications of sd_notify(3), and sockets of sd_listen_fds(3). Without a service manager, this
//! module does nothing.
//!
//! The event loop sends the notifications itself, so a send has to time out when the manager does not read. The usual
//! crates block.

use std::env;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::time::Duration;

use listenfd::ListenFd;
use log::{debug, warn};
use nix::time::{ClockId, clock_gettime};

/// The service manager, if one asks for notifications.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    socket: Option<UnixDatagram>,
    /// The interval of watchdog notifications, which is half of the manager's timeout.
    pub(crate) watchdog: Option<Duration>,
}

/// The longest wait for a manager that does not read.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);

impl Manager {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub(crate) fn from_environment() -> Self {
        let Some(name) = env::var("NOTIFY_SOCKET").ok().filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        match open(&name) {
            Ok(socket) => {
                Self { socket: Some(socket), watchdog: watchdog(|name| env::var(name).ok(), std::process::id()) }
            }
            Err(error) => {
                warn!("cannot notify the service manager on NOTIFY_SOCKET {name}: {error}");
                Self::default()
            }
        }
    }

    /// Whether a service manager has started this process and wants its notifications.
    pub(crate) fn is_present(&self) -> bool {
        self.socket.is_some()
    }

    /// Notifies that the gateway serves, at its start and after a reload.
    pub(crate) fn ready(&self, status: &str) {
        self.notify(&format!("READY=1\nSTATUS={status}"));
    }

    /// Notifies that the gateway reads its configuration again. The manager identifies a reload by its time.
    pub(crate) fn reloading(&self) {
        if self.socket.is_some() {
            match clock_gettime(ClockId::CLOCK_MONOTONIC) {
                Ok(now) => {
                    let micros = Duration::from(now).as_micros();
                    self.notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
                }
                Err(error) => warn!("cannot notify the service manager of the reload: {error}"),
            }
        }
    }

    /// Changes the status line that the manager shows.
    pub(crate) fn status(&self, status: &str) {
        self.notify(&format!("STATUS={status}"));
    }

    pub(crate) fn stopping(&self) {
        self.notify("STOPPING=1\nSTATUS=stopping");
    }

    /// Notifies the watchdog that the event loop runs.
    pub(crate) fn alive(&self) {
        self.notify("WATCHDOG=1");
    }

    fn notify(&self, message: &str) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(message.as_bytes())) {
            // The manager may have ended, and then nothing waits for the message.
            debug!("cannot send {message:?} to the service manager: {error}");
        }
    }
}

fn open(name: &str) -> std::io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    Ok(socket)
}

/// Returns half of the watchdog timeout, if the manager watches this process.
fn watchdog(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Option<Duration> {
    let number = |name: &str| variable(name)?.parse::<u64>().ok();
    let for_us = variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(pid.into());
    let micros = number("WATCHDOG_USEC").filter(|&micros| for_us && micros > 0)?;
    Some(Duration::from_micros(micros / 2))
}

/// Inherited sockets (sd_listen_fds(3)). The kind of a socket decides its purpose.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// For devices.
    pub(crate) tcp: Vec<TcpListener>,
    /// For discovery.
    pub(crate) udp: Vec<UdpSocket>,
    /// The control socket.
    pub(crate) control: Option<UnixListener>,
}

impl Sockets {
    /// Takes the sockets of `LISTEN_FDS` and `LISTEN_PID`. Call it once, before the process opens a file. The error is a
    /// sentence for people.
    pub(crate) fn from_environment() -> Result<Self, String> {
        let mut inherited = ListenFd::from_env();
        let mut sockets = Self::default();
        for number in 0..inherited.len() {
            // A call for the wrong kind fails and leaves the socket in place.
            if let Ok(Some(listener)) = inherited.take_tcp_listener(number) {
                sockets.tcp.push(listener);
            } else if let Ok(Some(socket)) = inherited.take_udp_socket(number) {
                sockets.udp.push(socket);
            } else if let Ok(Some(listener)) = inherited.take_unix_listener(number) {
                if sockets.control.replace(listener).is_some() {
                    return Err("LISTEN_FDS has two Unix sockets: expected one, for the control socket".into());
                }
            } else {
                return Err(format!(
                    "invalid descriptor {} of LISTEN_FDS: expected a TCP, UDP or Unix stream socket",
                    FIRST + number
                ));
            }
        }
        Ok(sockets)
    }
}

/// The descriptor of the first socket, `SD_LISTEN_FDS_START`.
const FIRST: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(usec: Option<&str>, pid: Option<&str>, expected: Option<Duration>) {
        let variable = |name: &str| if name == "WATCHDOG_USEC" { usec } else { pid };
        assert_eq!(watchdog(|name| variable(name).map(str::to_owned), 7), expected, "{usec:?} {pid:?}");
    }

    #[test]
    fn the_watchdog_gets_two_notifications_in_its_timeout() {
        check(Some("10000000"), None, Some(Duration::from_secs(5)));
        check(Some("10000000"), Some("7"), Some(Duration::from_secs(5)));
        for (usec, pid) in [(Some("10000000"), Some("8")), (Some("0"), None), (Some("x"), None), (None, None)] {
            check(usec, pid, None);
        }
    }
}
