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
use std::time::{Instant, SystemTime};

use log::info;
use pulsegate::ListenerId;
use pulsegate::unstable::reactor::{Io, Reactor, TurnLimits};

use self::gateway::Purpose;
use self::router::Hosts;
use self::server::Web;
use self::sign_in::SignIn;
use crate::Failure;
use crate::config::{Config, WebSettings};
use crate::service::{control_paths, host_name, open_control, stop_signals};
use crate::systemd::Manager;

/// Runs until a signal ends it.
///
/// # Errors
/// A sentence for people.
pub(crate) fn run(config: &Config, control: Option<&str>) -> Result<(), Failure> {
    let WebSettings { listen, commands, token_file, hosts } = &config.web;
    let sign_in = match (commands, token_file) {
        (false, _) => None,
        (true, Some(path)) => Some(SignIn::read(path).map_err(Failure::Failed)?),
        (true, None) => {
            return Err(Failure::Config(
                "web.commands needs web.token_file: name a file with a secret of 16 bytes or more".into(),
            ));
        }
    };
    let paths = control_paths(config, control)?;
    let mut reactor = Reactor::new(TurnLimits::default()).map_err(failed("no event loop"))?;
    let bound = open(&mut reactor, listen).map_err(Failure::Failed)?;
    let hosts = Hosts {
        bound: bound.iter().map(SocketAddr::ip).collect(),
        names: hosts.iter().map(|host| host.0.clone()).collect(),
    };
    let mut web = Web::new(hosts, sign_in, host_name().unwrap_or_default(), wall_clock, now());
    let signals = stop_signals().and_then(Io::unix).and_then(|stream| reactor.attach(web.signals(), stream));
    signals.map_err(failed("signals cannot be watched"))?;
    let manager = Manager::from_environment();
    let list = bound.iter().map(|address| format!("http://{address}/")).collect::<Vec<_>>().join(", ");
    info!("listening on {list}");
    manager.ready(&format!("listening on {list}"));
    let mut alive_at = now();
    while !web.is_stopping() {
        link(&mut reactor, &mut web, &paths);
        reactor.turn(&mut web).map_err(failed("the event loop failed"))?;
        if let Some(interval) = manager.watchdog.filter(|_| alive_at <= now()) {
            manager.alive();
            alive_at = now() + interval;
            web.set_alarm(alive_at);
        }
    }
    manager.stopping();
    info!("stopped");
    Ok(())
}

/// A sentence for an error of the system.
fn failed(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::Failed(format!("{what}: {error}"))
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
        match open_control(paths) {
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

#[expect(clippy::disallowed_methods, reason = "the process hands the time of day to its endpoint")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[expect(clippy::disallowed_methods, reason = "the process hands the time to its endpoint")]
fn now() -> Instant {
    Instant::now()
}
