//! `pulsegate web`: the page and the metrics, a process of its own beside the gateway.
//!
//! [`server`] is the endpoint on the library's reactor. On one side of it are HTTP clients: [`request`] reads,
//! [`router`] finds what is asked for, [`client`] is one connection, [`response`] writes. On the other side is
//! [`gateway`], over [`link`]. The data of the page is kept in [`table`], [`ring`] and [`history`], and judged in
//! [`health`]. [`page`] has the files.

mod client;
mod gateway;
mod health;
mod history;
mod link;
mod page;
mod request;
mod response;
mod ring;
mod router;
mod server;
mod sign_in;
mod table;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use log::{info, warn};
use pulsegate::ListenerId;
use pulsegate::unstable::reactor::{Io, Reactor, TurnLimits};
use signal_hook::consts::signal::{SIGINT, SIGTERM};

use self::gateway::Purpose;
use self::router::Hosts;
use self::server::Web;
use self::sign_in::SignIn;
use crate::config::{Config, Control, WebSettings};
use crate::control_socket::{SYSTEM_PATH, connect, default_path};
use crate::systemd::Manager;

/// How long a connection to the control socket may take. A gateway that accepts nobody must not stop the page.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(10);

/// Runs until a signal ends it.
///
/// # Errors
/// A sentence for people.
pub(crate) fn run(config: &Config, control: Option<&str>) -> Result<(), String> {
    let WebSettings { listen, commands, token_file, hosts } = &config.web;
    let sign_in = match (commands, token_file) {
        (false, _) => None,
        (true, Some(path)) => Some(SignIn::read(path)?),
        (true, None) => {
            return Err("web.commands needs web.token_file: name a file with a secret of 16 bytes or more".into());
        }
    };
    let paths = control_paths(config, control);
    let mut reactor = Reactor::new(TurnLimits::default()).map_err(|error| format!("no event loop: {error}"))?;
    let bound = open(&mut reactor, listen)?;
    let hosts = Hosts {
        bound: bound.iter().map(SocketAddr::ip).collect(),
        names: hosts.iter().map(|host| host.0.clone()).collect(),
    };
    let mut web = Web::new(hosts, sign_in, host_name(), wall_clock, now());
    watch_signals(&mut reactor, &mut web).map_err(|error| format!("signals cannot be watched: {error}"))?;
    let manager = Manager::from_environment();
    let list = bound.iter().map(|address| format!("http://{address}/")).collect::<Vec<_>>().join(", ");
    info!("listening on {list}");
    manager.ready(&format!("listening on {list}"));
    let mut alive_at = now();
    while !web.is_stopping() {
        link(&mut reactor, &mut web, &paths);
        reactor.turn(&mut web).map_err(|error| format!("the event loop failed: {error}"))?;
        if let Some(interval) = manager.watchdog.filter(|_| alive_at <= now()) {
            manager.alive();
            alive_at = now() + interval;
        }
    }
    manager.stopping();
    info!("stopped");
    Ok(())
}

/// The paths of control sockets, in the order in which they are tried. A page that only reads takes the read-only one.
fn control_paths(config: &Config, named: Option<&str>) -> Vec<PathBuf> {
    if let Some(path) = named {
        return vec![path.into()];
    }
    match &config.control {
        Control::Path(path) => vec![path.clone()],
        Control::Default | Control::Off => default_path().into_iter().chain([SYSTEM_PATH.into()]).collect(),
    }
}

fn open(reactor: &mut Reactor, addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, String> {
    let mut bound = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        let opened = TcpListener::bind(address).and_then(|listener| {
            let bound = listener.local_addr()?;
            reactor.listen(ListenerId(number as u32), listener)?;
            Ok(bound)
        });
        bound.push(opened.map_err(|error| format!("web.listen {address} cannot be opened: {error}"))?);
    }
    Ok(bound)
}

/// Opens the connection to the gateway that is due.
fn link(reactor: &mut Reactor, web: &mut Web, paths: &[PathBuf]) {
    while let Some(purpose) = web.gateway.wanted_link(now()) {
        match open_link(paths) {
            Ok(stream) => attach(reactor, web, purpose, stream),
            Err(error) => web.unlinked(purpose, error, now()),
        }
    }
}

fn attach(reactor: &mut Reactor, web: &mut Web, purpose: Purpose, stream: UnixStream) {
    let id = web.linked(purpose);
    let attached = Io::unix(stream).and_then(|stream| reactor.attach(id, stream));
    match attached {
        Ok(()) => {}
        Err(error) => web.unlinked(purpose, format!("the control socket cannot be used: {error}"), now()),
    }
}

fn open_link(paths: &[PathBuf]) -> Result<UnixStream, String> {
    let mut failures = Vec::new();
    for path in paths {
        match connect(path, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failures.push(format!("{}: {error}", path.display())),
        }
    }
    Err(format!("no gateway answers on the control socket {}", failures.join(", nor on ")))
}

fn watch_signals(reactor: &mut Reactor, web: &mut Web) -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, theirs.try_clone()?)?;
    }
    reactor.attach(web.signals(), Io::unix(ours)?)
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| {
        warn!("this machine's name is no text");
        String::new()
    })
}

#[expect(clippy::disallowed_methods, reason = "the process hands the time of day to its endpoint")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[expect(clippy::disallowed_methods, reason = "the process hands the time to its endpoint")]
fn now() -> Instant {
    Instant::now()
}
