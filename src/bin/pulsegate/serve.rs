//! `pulsegate serve`: the gateway as a daemon.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use log::{info, warn};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pulsegate::{Builder, ConnectionId, Io, Server};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::app::App;
use crate::config::{Config, Events};
use crate::control_socket::ControlSocket;
use crate::events::{Filter, Follower};
use crate::stdio::Output;

/// Runs the gateway until it is told to stop. The error is a sentence for people.
pub(crate) fn run(config: &Config) -> Result<(), String> {
    raise_descriptor_limit(config.settings.limits.connections_max);
    let mut server = open(config).map_err(|e| e.to_string())?;
    watch_signals(&mut server).map_err(|e| format!("signals cannot be watched: {e}"))?;
    if config.events == Events::Stdout {
        follow_stdout(&mut server, config).map_err(|e| format!("standard output cannot be used: {e}"))?;
    }
    let control = ControlSocket::open(&mut server, config)?;
    announce(&mut server);
    while server.turn().map_err(|e| e.to_string())? {
        server.handler_mut().figures.longest_turn = server.longest_turn();
    }
    drop(control);
    info!("stopped");
    Ok(())
}

fn open(config: &Config) -> Result<Server<App>, pulsegate::Error> {
    let builder = Server::builder().settings(config.settings.clone());
    let builder = config.listen.iter().fold(builder, |builder, &address| builder.listen(address));
    let builder: Builder = config.discovery.iter().fold(builder, |builder, &address| builder.discovery(address));
    builder.build(App::default())
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

/// Has events written to standard output, whatever it is.
fn follow_stdout(server: &mut Server<App>, config: &Config) -> io::Result<()> {
    let io = match Output::open(io::stdout(), 1)? {
        Output::Socket(fd) => Io::from(UnixStream::from(fd)),
        Output::File(file) => Io::File(file),
    };
    // An object as long as may be must fit, with what stands around it.
    let room = config.events_buffer.max(config.settings.limits.object_bytes_max as usize + EVENT_EXTRA_BYTES);
    let stream = server.attach(io, room).map_err(io::Error::other)?;
    server.handler_mut().follow_stdout(Follower::new(stream, Filter::default()));
    Ok(())
}

/// Room for what an event has besides the object.
const EVENT_EXTRA_BYTES: usize = 4 << 10;

/// The `listening` events: one for each TCP address, with the UDP addresses beside them.
fn announce(server: &mut Server<App>) {
    let tcp: Vec<SocketAddr> = server.listen_addresses().collect();
    let udp: Vec<SocketAddr> = server.discovery_addresses().collect();
    let (app, mut gateway) = server.parts();
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

/// Every device takes a descriptor: asks for as many as the system allows.
fn raise_descriptor_limit(connections_max: usize) {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(hard)
    });
    match limit {
        Ok(limit) if limit < connections_max as u64 + OWN_DESCRIPTORS => {
            warn!("only {limit} descriptors are allowed: fewer than {connections_max} devices can connect");
        }
        Ok(_) => {}
        Err(error) => warn!("the limit on descriptors cannot be raised: {error}"),
    }
}

/// Descriptors that are not devices: listeners, control clients, standard streams, the poll.
const OWN_DESCRIPTORS: u64 = 100;
