//! `pulsegate serve`: the gateway as a daemon.

use std::fs;
use std::io::{self, IsTerminal};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use log::{info, warn};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pulsegate::{ConnectionId, ListenerId, Server};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

use crate::Sources;
use crate::app::App;
use crate::config::{Config, Events};
use crate::control_socket::{Access, ControlSocket};
use crate::stdio::Output;
use crate::systemd::{Manager, Sockets};

/// A running gateway with its configuration.
pub(crate) struct Daemon {
    pub(crate) server: Server<App>,
    pub(crate) config: Config,
    pub(crate) sources: Sources,
    pub(crate) control: Option<ControlSocket>,
    /// The listeners on the addresses of the configuration.
    pub(crate) listeners: Vec<Listener>,
    /// The protocols with inherited sockets, which override the addresses of the configuration.
    pub(crate) handed: Vec<Protocol>,
}

/// The protocol of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// For devices.
    Tcp,
    /// For discovery.
    Udp,
}

/// A listener on an address of the configuration.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
    pub(crate) id: ListenerId,
}

/// Runs the gateway until a stop. The error is a sentence for people.
pub(crate) fn run(config: Config, sources: Sources, handed: Sockets) -> Result<(), String> {
    raise_descriptor_limit(config.settings.limits.connections_max);
    let mut daemon = Daemon::open(config, sources, handed)?;
    daemon.announce();
    let mut stopping = false;
    loop {
        let goes_on = daemon.server.turn().map_err(|e| e.to_string())?;
        daemon.server.handler_mut().figures.longest_turn = daemon.server.longest_turn();
        daemon.server.handler_mut().figures.accept_errors = daemon.server.accept_errors();
        daemon.reload_if_requested();
        daemon.report_config_if_requested();
        daemon.do_chores();
        // Without devices a stop begins and ends in one turn.
        if daemon.server.is_stopping() && !std::mem::replace(&mut stopping, true) {
            daemon.server.handler().manager.stopping();
        }
        if !goes_on {
            break;
        }
    }
    info!("stopped");
    daemon.server.handler().failure.map_or(Ok(()), |failure| Err(failure.into()))
}

impl Daemon {
    fn open(config: Config, sources: Sources, sockets: Sockets) -> Result<Self, String> {
        let mut server = Server::builder()
            .settings(config.settings.clone())
            .build_unbound(App::default())
            .map_err(|e| e.to_string())?;
        let manager = Manager::from_environment();
        let hangup = Hangup::of_this_process(&manager);
        server.handler_mut().manager = manager;
        watch_signals(&mut server, hangup).map_err(|e| format!("cannot handle signals: {e}"))?;
        let mut daemon =
            Self { server, config: config.clone(), sources, control: None, listeners: Vec::new(), handed: Vec::new() };
        let Sockets { tcp, udp, control } = sockets;
        daemon.adopt(tcp, udp).map_err(|e| e.to_string())?;
        daemon.listeners = daemon.open_addresses(&config, |_, _| true)?;
        if config.events == Events::Stdout {
            let stdout = daemon.open_stdout(&config)?;
            daemon.server.handler_mut().stdout.open(stdout);
        }
        daemon.server.handler_mut().on_closed = config.on_closed;
        daemon.control = match control {
            Some(listener) => Some(ControlSocket::adopt(&mut daemon.server, listener, &config)?),
            None => ControlSocket::open(&mut daemon.server, &config, Access::of(&config)?)?,
        };
        Ok(daemon)
    }

    /// Adds inherited sockets. They stay open until the process ends.
    fn adopt(&mut self, tcp: Vec<TcpListener>, udp: Vec<UdpSocket>) -> Result<(), pulsegate::Error> {
        for listener in tcp {
            self.server.adopt_tcp(listener)?;
            self.handed.push(Protocol::Tcp);
        }
        for socket in udp {
            self.server.adopt_udp(socket)?;
            self.handed.push(Protocol::Udp);
        }
        Ok(())
    }

    /// Opens the wanted addresses of `config`, except where inherited sockets override them. If one fails, it closes all.
    pub(crate) fn open_addresses(
        &mut self,
        config: &Config,
        wanted: impl Fn(Protocol, SocketAddr) -> bool,
    ) -> Result<Vec<Listener>, String> {
        let tcp = config.listen.iter().map(|&address| (Protocol::Tcp, address));
        let udp = config.discovery.iter().map(|&address| (Protocol::Udp, address));
        let mut opened = Vec::new();
        for (protocol, address) in tcp.chain(udp) {
            if self.handed.contains(&protocol) || !wanted(protocol, address) {
                continue;
            }
            match self.open_address(protocol, address) {
                Ok(listener) => opened.push(listener),
                Err(error) => {
                    opened.into_iter().for_each(|listener: Listener| self.server.unlisten(listener.id));
                    return Err(error.to_string());
                }
            }
        }
        Ok(opened)
    }

    /// Opens one address.
    pub(crate) fn open_address(
        &mut self,
        protocol: Protocol,
        address: SocketAddr,
    ) -> Result<Listener, pulsegate::Error> {
        let id = match protocol {
            Protocol::Tcp => self.server.listen(address),
            Protocol::Udp => self.server.listen_udp(address),
        };
        id.map(|id| Listener { protocol, address, id })
    }

    /// Opens standard output for events.
    pub(crate) fn open_stdout(&mut self, config: &Config) -> Result<ConnectionId, String> {
        let unusable = |error: &dyn std::fmt::Display| format!("cannot write events to standard output: {error}");
        let bytes_max = config.consumer_bytes_max();
        match Output::open(io::stdout(), 1).map_err(|e| unusable(&e))? {
            Output::Socket(fd) => self.server.attach(UnixStream::from(fd), bytes_max),
            Output::File(file) => self.server.attach_output(file, bytes_max),
        }
        .map_err(|e| unusable(&e))
    }

    /// Publishes the `listening` events: one for each TCP address, paired with the UDP addresses.
    pub(crate) fn announce(&mut self) {
        let tcp: Vec<SocketAddr> = self.server.listen_addresses().collect();
        let udp: Vec<SocketAddr> = self.server.discovery_addresses().collect();
        let (app, mut gateway) = self.server.parts();
        for line in 0..tcp.len().max(udp.len()) {
            let (tcp, udp) = (tcp.get(line).copied(), udp.get(line).copied());
            app.listening(tcp, udp, &mut gateway);
        }
        let status = self.status();
        info!("{status}");
        self.server.handler().manager.ready(&status);
    }

    /// Answers the clients that have requested the configuration.
    fn report_config_if_requested(&mut self) {
        let requests = self.server.handler_mut().control.take_config_requests();
        if requests.is_empty() {
            return;
        }
        let text = |addresses: &mut dyn Iterator<Item = SocketAddr>| addresses.map(|a| a.to_string()).collect();
        let mut inherited: Vec<(&str, Vec<String>)> = Vec::new();
        if self.handed.contains(&Protocol::Tcp) {
            inherited.push(("listen", text(&mut self.server.listen_addresses())));
        }
        if self.handed.contains(&Protocol::Udp) {
            inherited.push(("discovery.listen", text(&mut self.server.discovery_addresses())));
        }
        let report = self.config.report(&inherited);
        let (app, mut gateway) = self.server.parts();
        requests.into_iter().for_each(|reply_to| app.control.configured(reply_to, &report, &mut gateway));
    }

    /// Returns a line for people: the addresses, and a closed standard output.
    pub(crate) fn status(&self) -> String {
        let list = |addresses: &mut dyn Iterator<Item = SocketAddr>| {
            addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
        };
        let tcp = list(&mut self.server.listen_addresses());
        let mut status = match list(&mut self.server.discovery_addresses()).as_str() {
            "" => format!("listening on TCP {tcp}, discovery off"),
            udp => format!("listening on TCP {tcp}, UDP {udp}"),
        };
        let stdout = &self.server.handler().stdout;
        if stdout.is_closed() {
            status += &format!(", {}", stdout.status());
        }
        status
    }

    /// Runs the chores that callbacks have requested.
    fn do_chores(&mut self) {
        let chores = std::mem::take(&mut self.server.handler_mut().chores);
        if chores.status && !self.server.is_stopping() {
            self.server.handler().manager.status(&self.status());
        }
        if chores.control_socket && !self.server.is_stopping() {
            self.restore_control_socket();
        }
    }
}

/// Connects signals to the event loop by two streams, one for stops and one for reloads. The second signal for a stop ends
/// the process at once.
fn watch_signals(server: &mut Server<App>, hangup: Hangup) -> io::Result<()> {
    let (stops, reloads): (&[i32], &[i32]) = match hangup {
        Hangup::Stops => (&[SIGTERM, SIGINT, SIGHUP], &[]),
        Hangup::Reloads => (&[SIGTERM, SIGINT], &[SIGHUP]),
    };
    let stopping = Arc::new(AtomicBool::new(false));
    for &signal in stops {
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_SECOND_SIGNAL, Arc::clone(&stopping))?;
        signal_hook::flag::register(signal, Arc::clone(&stopping))?;
    }
    // At a limit on file size, the write fails instead of ending the process.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    let stop = signal_stream(server, stops)?;
    let reload = signal_stream(server, reloads)?;
    server.handler_mut().watch_signals(stop, reload);
    Ok(())
}

/// The effect of SIGHUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hangup {
    Stops,
    Reloads,
}

impl Hangup {
    /// A gateway in a terminal ends with its terminal, because it would keep the ports unseen. A gateway of a service
    /// manager, or without a terminal on its three standard streams, reloads. nohup(1) ignores SIGHUP, so that the gateway
    /// outlives its terminal.
    fn of_this_process(manager: &Manager) -> Self {
        let has_terminal = io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal();
        match has_terminal && !manager.is_present() && !is_hangup_ignored() {
            true => Self::Stops,
            false => Self::Reloads,
        }
    }
}

/// Whether the parent of this process ignored SIGHUP. Only /proc shows that without a change.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 of the mask is signal 1 (proc_pid_status(5)).
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}

/// The exit code after a second signal.
const EXIT_SECOND_SIGNAL: i32 = 1;

fn signal_stream(server: &mut Server<App>, signals: &[i32]) -> io::Result<ConnectionId> {
    let (ours, theirs) = UnixStream::pair()?;
    for &signal in signals {
        signal_hook::low_level::pipe::register(signal, theirs.try_clone()?)?;
    }
    server.attach(ours, 0).map_err(io::Error::other)
}

/// Raises the limit of file descriptors to the hard limit, because each device takes one.
fn raise_descriptor_limit(connections_max: usize) {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(hard)
    });
    match limit {
        Ok(limit) if limit < connections_max as u64 + OWN_DESCRIPTORS => {
            let possible = limit.saturating_sub(OWN_DESCRIPTORS);
            warn!(
                "the limit of file descriptors is {limit}: about {possible} of {connections_max} devices can connect"
            );
        }
        Ok(_) => {}
        Err(error) => warn!("cannot raise the limit of file descriptors: {error}"),
    }
}

/// File descriptors for other purposes than devices: listeners, control clients, standard streams, epoll.
const OWN_DESCRIPTORS: u64 = 100;
