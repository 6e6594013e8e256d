//! What the program has to do with a service manager: it tells it how it is, and takes over the sockets
//! that it hands in. Without one, all of this is nothing.
//!
//! The messages are those of sd_notify(3). They are written here, and not by a crate, because the loop
//! itself sends them: it must not wait for a manager that does not read.

use std::env;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::time::Duration;

use listenfd::ListenFd;
use log::{debug, warn};
use nix::time::{ClockId, clock_gettime};

/// The service manager, if there is one that wants to be told.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that the loop turns: twice in the time after which it restarts us.
    pub(crate) watchdog: Option<Duration>,
}

/// How long one message may wait where the manager does not read.
const PATIENCE: Duration = Duration::from_millis(100);

impl Manager {
    /// As the environment tells: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub(crate) fn from_environment() -> Self {
        let Some(name) = env::var("NOTIFY_SOCKET").ok().filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        match open(&name) {
            Ok(socket) => {
                Self { socket: Some(socket), watchdog: watchdog(|name| env::var(name).ok(), std::process::id()) }
            }
            Err(error) => {
                warn!("the service manager cannot be told anything on NOTIFY_SOCKET {name}: {error}");
                Self::default()
            }
        }
    }

    /// Whether a service manager has started this process and wants its notifications.
    pub(crate) fn is_present(&self) -> bool {
        self.socket.is_some()
    }

    /// All is open and the loop begins to turn, or goes on after a reload.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is being read again. The time lets the manager tell this reload from others.
    pub(crate) fn reloading(&self) {
        if self.socket.is_some() {
            match clock_gettime(ClockId::CLOCK_MONOTONIC) {
                Ok(now) => {
                    let micros = Duration::from(now).as_micros();
                    self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
                }
                Err(error) => warn!("the service manager is not told of the reload: {error}"),
            }
        }
    }

    /// The line that the manager shows has changed.
    pub(crate) fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// The loop turns.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, message: &str) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(message.as_bytes())) {
            // Whoever started us may have left: then nobody waits for it.
            debug!("the service manager was not told {message:?}: {error}");
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
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Half of the time that the manager allows between two signs of life, if it wants any from this process.
fn watchdog(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Option<Duration> {
    let number = |name: &str| variable(name)?.parse::<u64>().ok();
    let for_us = variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(pid.into());
    let micros = number("WATCHDOG_USEC").filter(|&micros| for_us && micros > 0)?;
    Some(Duration::from_micros(micros / 2))
}

/// Sockets that were open before we were started (sd_listen_fds(3)). What each is for is told by its kind.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Where devices are awaited.
    pub(crate) tcp: Vec<TcpListener>,
    /// Where probes are answered.
    pub(crate) udp: Vec<UdpSocket>,
    /// The control socket.
    pub(crate) control: Option<UnixListener>,
}

impl Sockets {
    /// Takes over what `LISTEN_FDS` and `LISTEN_PID` tell of. It must be called before the process opens
    /// anything of its own, and once. The error is a sentence for people.
    pub(crate) fn from_environment() -> Result<Self, String> {
        let mut handed = ListenFd::from_env();
        let mut sockets = Self::default();
        for number in 0..handed.len() {
            // One of the wrong kind is an error and stays where it is.
            if let Ok(Some(listener)) = handed.take_tcp_listener(number) {
                sockets.tcp.push(listener);
            } else if let Ok(Some(socket)) = handed.take_udp_socket(number) {
                sockets.udp.push(socket);
            } else if let Ok(Some(listener)) = handed.take_unix_listener(number) {
                if sockets.control.replace(listener).is_some() {
                    return Err("two Unix sockets were handed in: there is one control socket".into());
                }
            } else {
                return Err(format!(
                    "LISTEN_FDS hands in descriptor {}, which is no TCP, UDP or Unix stream socket",
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
    fn the_manager_hears_twice_in_its_timeout() {
        check(Some("10000000"), None, Some(Duration::from_secs(5)));
        check(Some("10000000"), Some("7"), Some(Duration::from_secs(5)));
        for (usec, pid) in [(Some("10000000"), Some("8")), (Some("0"), None), (Some("x"), None), (None, None)] {
            check(usec, pid, None);
        }
    }
}
