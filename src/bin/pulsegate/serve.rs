//! `pulsegate serve`: the gateway as a daemon.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use log::{info, warn};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pulsegate::{ConnectionId, Io, ListenerId, Server};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::Sources;
use crate::app::App;
use crate::config::{Config, Events};
use crate::control_socket::ControlSocket;
use crate::events::{Filter, Follower};
use crate::stdio::Output;

/// A gateway that runs, and what it was made from.
pub(crate) struct Daemon {
    pub(crate) server: Server<App>,
    pub(crate) config: Config,
    pub(crate) sources: Sources,
    pub(crate) control: Option<ControlSocket>,
    /// The addresses of the configuration, and what listens there.
    pub(crate) listeners: Vec<Listener>,
}

/// An address of the configuration that is listened on.
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) id: ListenerId,
}

/// What comes to an address: devices, or probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// Every address that a configuration wants to be listened on.
pub(crate) fn addresses(config: &Config) -> impl Iterator<Item = (SocketAddr, Transport)> {
    let tcp = config.listen.iter().map(|&address| (address, Transport::Tcp));
    tcp.chain(config.discovery.iter().map(|&address| (address, Transport::Udp)))
}

/// Runs the gateway until it is told to stop. The error is a sentence for people.
pub(crate) fn run(config: Config, sources: Sources) -> Result<(), String> {
    raise_descriptor_limit(config.settings.limits.connections_max);
    let mut daemon = Daemon::open(config, sources)?;
    daemon.announce();
    while daemon.server.turn().map_err(|e| e.to_string())? {
        daemon.server.handler_mut().figures.longest_turn = daemon.server.longest_turn();
        daemon.reload_if_asked();
    }
    info!("stopped");
    Ok(())
}

impl Daemon {
    fn open(config: Config, sources: Sources) -> Result<Self, String> {
        let mut server = Server::builder()
            .settings(config.settings.clone())
            .build_unbound(App::default())
            .map_err(|e| e.to_string())?;
        watch_signals(&mut server).map_err(|e| format!("signals cannot be watched: {e}"))?;
        let mut daemon = Self { server, config: config.clone(), sources, control: None, listeners: Vec::new() };
        for (address, transport) in addresses(&config) {
            let listener = daemon.listen(address, transport)?;
            daemon.listeners.push(listener);
        }
        if config.events == Events::Stdout {
            daemon.follow_stdout(&config)?;
        }
        daemon.control = ControlSocket::open(&mut daemon.server, &config)?;
        Ok(daemon)
    }

    pub(crate) fn listen(&mut self, address: SocketAddr, transport: Transport) -> Result<Listener, String> {
        let id = match transport {
            Transport::Tcp => self.server.listen(address),
            Transport::Udp => self.server.listen_udp(address),
        };
        Ok(Listener { address, transport, id: id.map_err(|e| e.to_string())? })
    }

    /// Has events written to standard output, whatever it is.
    pub(crate) fn follow_stdout(&mut self, config: &Config) -> Result<(), String> {
        let unusable = |error: &dyn std::fmt::Display| format!("standard output cannot be used: {error}");
        let io = match Output::open(io::stdout(), 1).map_err(|e| unusable(&e))? {
            Output::Socket(fd) => Io::from(UnixStream::from(fd)),
            Output::File(file) => Io::File(file),
        };
        let stream = self.server.attach(io, config.consumer_bytes_max()).map_err(|e| unusable(&e))?;
        self.server.handler_mut().follow_stdout(Follower::new(stream, Filter::default()));
        Ok(())
    }

    /// The `listening` events: one for each TCP address, with the UDP addresses beside them.
    fn announce(&mut self) {
        let tcp: Vec<SocketAddr> = self.server.listen_addresses().collect();
        let udp: Vec<SocketAddr> = self.server.discovery_addresses().collect();
        let (app, mut gateway) = self.server.parts();
        for line in 0..tcp.len().max(udp.len()) {
            let (tcp, udp) = (tcp.get(line).copied(), udp.get(line).copied());
            app.listening(tcp, udp, &mut gateway);
        }
        let list = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match list(&udp).as_str() {
            "" => info!("listening on TCP {}, discovery off", list(&tcp)),
            udp => info!("listening on TCP {}, UDP {udp}", list(&tcp)),
        }
    }
}

/// Two streams carry signals into the loop: one asks for a stop, the other for a reload. The second
/// signal of the first kind ends the process there and then, whatever the loop is doing.
fn watch_signals(server: &mut Server<App>) -> io::Result<()> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_SECOND_SIGNAL, Arc::clone(&stopping))?;
        signal_hook::flag::register(signal, Arc::clone(&stopping))?;
    }
    let stop = signal_stream(server, &[SIGTERM, SIGINT])?;
    let reload = signal_stream(server, &[SIGHUP])?;
    server.handler_mut().watch_signals(stop, reload);
    Ok(())
}

/// What a stop that was not waited for exits with.
const EXIT_SECOND_SIGNAL: i32 = 1;

fn signal_stream(server: &mut Server<App>, signals: &[i32]) -> io::Result<ConnectionId> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    for &signal in signals {
        signal_hook::low_level::pipe::register(signal, theirs.try_clone()?)?;
    }
    server.attach(Io::from(ours), 0).map_err(io::Error::other)
}

/// Every device takes a descriptor: asks for as many as the system allows.
fn raise_descriptor_limit(connections_max: usize) {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(hard)
    });
    match limit {
        Ok(limit) if limit < connections_max as u64 + OWN_DESCRIPTORS => {
            let possible = limit.saturating_sub(OWN_DESCRIPTORS);
            warn!("{limit} descriptors are allowed: about {possible} of {connections_max} devices can connect");
        }
        Ok(_) => {}
        Err(error) => warn!("the limit on descriptors cannot be raised: {error}"),
    }
}

/// Descriptors that are not devices: listeners, control clients, standard streams, the poll.
const OWN_DESCRIPTORS: u64 = 100;
