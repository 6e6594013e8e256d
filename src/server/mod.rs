//! A gateway and the reactor that drives it, bound to addresses. Floor 4.

mod builder;

use std::fmt;
use std::fs::File;
use std::io;
use std::net::{AddrParseError, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

pub use self::builder::{Builder, TCP_PORT};
use crate::endpoint::{ConnectionId, ListenerId};
use crate::gateway::{Context, Gateway, Handler, Remote, Settings, SettingsError};
use crate::reactor::{Io, Reactor, clock, is_listening, open_tcp};

/// A gateway with its sockets open. It works while [`Self::run`] or [`Self::turn`] does.
pub struct Server<H> {
    gateway: Gateway<H>,
    reactor: Reactor,
    listeners: Vec<(ListenerId, SocketAddr)>,
    discovery: Vec<(ListenerId, SocketAddr)>,
    local: Vec<ListenerId>,
    next_listener: u32,
    started: bool,
}

/// Whether IPv6 is compiled out or switched off.
fn is_no_family(error: &io::Error) -> bool {
    use nix::libc::{EADDRNOTAVAIL, EAFNOSUPPORT};
    matches!(error.raw_os_error(), Some(EAFNOSUPPORT | EADDRNOTAVAIL))
}

impl Server<()> {
    /// A server to be described.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl<H: Handler> Server<H> {
    /// Turns the loop until a stop has been asked for and is over.
    ///
    /// # Errors
    /// If the loop itself fails; no peer can bring that about.
    pub fn run(&mut self) -> Result<(), Error> {
        while self.turn()? {}
        Ok(())
    }

    /// One turn of the loop: waits until something happens and deals with it. False when a stop is
    /// over. An application that has more to do on this thread does it between two turns.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn turn(&mut self) -> Result<bool, Error> {
        if !std::mem::replace(&mut self.started, true) {
            self.gateway.start(clock());
        }
        self.reactor.turn(&mut self.gateway).map_err(Error::Loop)?;
        if self.gateway.is_stopping() {
            self.close_listeners();
        }
        let goes_on = !self.gateway.is_stopped();
        if !goes_on {
            self.gateway.end_requests();
        }
        Ok(goes_on)
    }

    /// The TCP addresses that are listened on, with the ports that the system has chosen.
    pub fn listen_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|&(_, address)| address)
    }

    /// The UDP addresses that probes are answered on.
    pub fn discovery_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.discovery.iter().map(|&(_, address)| address)
    }

    /// Whether a stop has been asked for.
    pub fn is_stopping(&self) -> bool {
        self.gateway.is_stopping()
    }

    /// How long the longest turn of the loop in the last minute took: while it lasted, no device was
    /// heard.
    pub fn longest_turn(&self) -> Duration {
        self.reactor.longest_turn()
    }

    /// How many calls of accept(2) failed.
    pub fn accept_errors(&self) -> u64 {
        self.reactor.accept_errors()
    }

    /// A handle for other threads.
    pub fn remote(&self) -> Remote {
        self.gateway.remote(self.reactor.waker())
    }

    /// The application.
    pub fn handler(&self) -> &H {
        self.gateway.handler()
    }

    /// The application, to be changed between two turns.
    pub fn handler_mut(&mut self) -> &mut H {
        self.gateway.handler_mut()
    }

    /// The application and what a callback could ask for, between two turns. What is asked for is
    /// carried out in the next one.
    pub fn parts(&mut self) -> (&mut H, Context<'_>) {
        self.gateway.parts(clock())
    }

    /// Takes over new settings; see [`Gateway::configure`] for what becomes of connected devices.
    ///
    /// # Errors
    /// If a setting is out of its bounds; then nothing is changed.
    pub fn configure(&mut self, settings: Settings) -> Result<(), Error> {
        self.parts().1.configure(settings).map_err(Error::Settings)
    }

    /// Listens on one more TCP address. `[::]` means IPv6 and IPv4 alike, and where IPv6 is off, IPv4.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn listen(&mut self, address: SocketAddr) -> Result<ListenerId, Error> {
        match self.listen_on(address) {
            Err(Error::Bind { error, .. }) if address.ip() == Ipv6Addr::UNSPECIFIED && is_no_family(&error) => {
                self.listen_on((Ipv4Addr::UNSPECIFIED, address.port()).into())
            }
            other => other,
        }
    }

    fn listen_on(&mut self, address: SocketAddr) -> Result<ListenerId, Error> {
        let id = self.new_listener();
        let mut bind = || -> io::Result<_> {
            let listener = open_tcp(address)?;
            let local = listener.local_addr()?;
            self.reactor.listen(id, listener)?;
            Ok(local)
        };
        let local = bind().map_err(|error| Error::Bind { address: format!("TCP {address}"), error })?;
        self.listeners.push((id, local));
        Ok(id)
    }

    /// Answers probes on one more UDP address.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn listen_udp(&mut self, address: SocketAddr) -> Result<ListenerId, Error> {
        let id = self.new_listener();
        let mut bind = || -> io::Result<_> {
            let socket = UdpSocket::bind(address)?;
            let local = socket.local_addr()?;
            self.reactor.receive(id, socket)?;
            Ok(local)
        };
        let local = bind().map_err(|error| Error::Bind { address: format!("UDP {address}"), error })?;
        self.gateway.add_discovery(id, local);
        self.discovery.push((id, local));
        Ok(id)
    }

    /// Listens on a TCP socket that is open already, such as one that a service manager holds.
    ///
    /// # Errors
    /// If it does not listen, or cannot be registered.
    pub fn adopt_tcp(&mut self, listener: TcpListener) -> Result<ListenerId, Error> {
        let id = self.new_listener();
        let local = listener.local_addr().map_err(Error::Loop)?;
        let fail = |error| Error::Bind { address: format!("TCP {local}, which was handed in"), error };
        if !is_listening(&listener).map_err(fail)? {
            return Err(fail(io::Error::other("the socket does not listen")));
        }
        self.reactor.listen(id, listener).map_err(fail)?;
        self.listeners.push((id, local));
        Ok(id)
    }

    /// Answers probes on a UDP socket that is open already.
    ///
    /// # Errors
    /// If it is bound to no address, or cannot be registered.
    pub fn adopt_udp(&mut self, socket: UdpSocket) -> Result<ListenerId, Error> {
        let id = self.new_listener();
        let local = socket.local_addr().map_err(Error::Loop)?;
        let fail = |error| Error::Bind { address: format!("UDP {local}, which was handed in"), error };
        if local.port() == 0 {
            return Err(fail(io::Error::other("the socket is bound to no port")));
        }
        // So that an answer can never go to a broadcast address (protocol.md §2.4): the kernel knows them all.
        socket.set_broadcast(false).map_err(fail)?;
        self.reactor.receive(id, socket).map_err(fail)?;
        self.gateway.add_discovery(id, local);
        self.discovery.push((id, local));
        Ok(id)
    }

    /// Stops listening on a TCP or UDP address; the devices that came by it stay.
    pub fn unlisten(&mut self, id: ListenerId) {
        self.reactor.close_listener(id);
        self.gateway.remove_listener(id);
        self.listeners.retain(|(listener, _)| *listener != id);
        self.discovery.retain(|(socket, _)| *socket != id);
        self.local.retain(|listener| *listener != id);
    }

    /// Takes local processes from a Unix socket, for each of which at most `outbox_bytes_max` bytes may
    /// wait; they come to [`Handler::on_stream`].
    ///
    /// # Errors
    /// If it does not listen, or cannot be registered.
    pub fn listen_unix(&mut self, listener: UnixListener, outbox_bytes_max: usize) -> Result<ListenerId, Error> {
        let id = self.new_listener();
        let fail = |error| Error::Bind { address: "a Unix socket".into(), error };
        if !is_listening(&listener).map_err(fail)? {
            return Err(fail(io::Error::other("the socket does not listen")));
        }
        self.reactor.listen_unix(id, listener).map_err(fail)?;
        self.gateway.add_unix(id, outbox_bytes_max);
        self.local.push(id);
        Ok(id)
    }

    /// Changes how many bytes may wait for each local process that comes to a listener from now on; for those that
    /// are connected, [`Context::set_outbox_max`] does.
    pub fn set_outbox_max(&mut self, listener: ListenerId, outbox_bytes_max: usize) {
        self.gateway.set_outbox_max(listener, outbox_bytes_max);
    }

    /// Gives the event loop a stream of the application. [`Handler::on_stream`] receives its events. Its send queue
    /// holds at most `outbox_bytes_max` bytes.
    ///
    /// # Errors
    /// If the stream cannot be registered.
    pub fn attach(&mut self, stream: UnixStream, outbox_bytes_max: usize) -> Result<ConnectionId, Error> {
        let io = Io::unix(stream).map_err(Error::Loop)?;
        self.attach_io(io, outbox_bytes_max)
    }

    /// As [`Self::attach`], for a terminal, a pipe or a file that the application only writes to. The caller puts it
    /// into non-blocking mode: otherwise a slow reader blocks the event loop.
    ///
    /// # Errors
    /// If the file cannot be registered.
    pub fn attach_output(&mut self, file: File, outbox_bytes_max: usize) -> Result<ConnectionId, Error> {
        self.attach_io(Io::output(file), outbox_bytes_max)
    }

    fn attach_io(&mut self, io: Io, outbox_bytes_max: usize) -> Result<ConnectionId, Error> {
        let full = || Error::Loop(io::ErrorKind::OutOfMemory.into());
        let id = self.gateway.attach(outbox_bytes_max).ok_or_else(full)?;
        self.reactor.attach(id, io).map_err(Error::Loop)?;
        Ok(id)
    }

    /// Nobody is accepted any more, and no probe is answered.
    fn close_listeners(&mut self) {
        let network = self.listeners.drain(..).chain(self.discovery.drain(..)).map(|(id, _)| id);
        for id in network.chain(self.local.drain(..)) {
            self.reactor.close_listener(id);
        }
    }

    fn new_listener(&mut self) -> ListenerId {
        self.next_listener += 1;
        ListenerId(self.next_listener)
    }
}

/// Why a server did not start, or ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of its bounds.
    Settings(SettingsError),
    /// An address could not be had.
    Bind {
        /// The protocol and the address.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The loop failed.
    Loop(io::Error),
    /// A text is no address.
    Address(AddrParseError),
}

/// So that addresses can be written as texts where a server is built.
impl From<AddrParseError> for Error {
    fn from(error: AddrParseError) -> Self {
        Self::Address(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(f),
            Self::Bind { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Loop(error) => write!(f, "the event loop failed: {error}"),
            Self::Address(error) => write!(f, "no address to listen on: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Settings(error) => Some(error),
            Self::Bind { error, .. } | Self::Loop(error) => Some(error),
            Self::Address(error) => Some(error),
        }
    }
}
