//! The process of the uplink: configuration, signals, sockets, and the loop.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::time::SystemTime;

use log::{info, warn};
use pulsegate::unstable::reactor::{Io, Kernel, Reactor};
use pulsegate::{ListenerId, TurnLimits};

use super::driver::{Chore, Driver};
use super::settings::Settings;
use super::store::{Folder, Store};
use super::uplink::Uplink;
use super::{resolve, stats};
use crate::Failure;
use crate::config::Config;
use crate::service::{control_paths, host_name, open_control, stop_signals};
use crate::systemd::Manager;

/// Runs the uplink until a signal stops it.
pub(crate) fn run(config: &Config) -> Result<(), Failure> {
    let host = host_name().unwrap_or_else(|| "localhost".into());
    let settings = Settings::new(&config.mqtt, &host).map_err(Failure::Config)?;
    if let Some(broker) = settings.brokers.iter().find(|broker| broker.tls) {
        return Err(Failure::Config(format!("mqtt.broker: {broker}: {TLS_HINT}")));
    }
    let paths = control_paths(config, None)?;
    let failed = |error: io::Error| Failure::Failed(format!("the uplink cannot start: {error}"));
    let limits = TurnLimits { events_per_turn_max: 64, ..TurnLimits::default() };
    let reactor = Reactor::new(limits).map_err(failed)?;
    let store = open_store(&settings);
    let seed = RandomState::new().hash_one(std::process::id());
    let mut uplink = Uplink::new(settings, seed, since(), reactor.kernel().now());
    let stores = store.is_some();
    store.into_iter().for_each(|store| uplink.set_store(store));
    let mut service = Service { driver: Driver::new(uplink), reactor, paths, children: Vec::new(), stores };
    service.watch_signals().map_err(failed)?;
    service.listen();
    service.run().map_err(failed)
}

/// Advice for builds without TLS.
const TLS_HINT: &str = "this build has no TLS. stunnel can encrypt the connection: write \"client = yes\", \
    \"accept = 127.0.0.1:1883\" and \"connect = HOST:8883\" to a section of stunnel.conf, and set mqtt.broker to \
    mqtt://127.0.0.1";

#[expect(clippy::disallowed_methods, reason = "people read the time of the start")]
fn since() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// Opens the store. A folder that cannot be used keeps nothing from starting: messages then wait in memory.
fn open_store(settings: &Settings) -> Option<Store> {
    let Some(path) = &settings.path else {
        info!("mqtt.store.path is empty: messages wait in memory, and a restart loses them");
        return None;
    };
    match Store::open(Box::new(Folder(path.clone())), settings.bytes_max, settings.full) {
        Ok(store) => {
            info!("store {}: {} messages wait", path.display(), store.len());
            Some(store)
        }
        Err(error) => {
            warn!("store {}: {error}: messages wait in memory, and a restart loses them", path.display());
            None
        }
    }
}

struct Service {
    driver: Driver,
    reactor: Reactor,
    /// Where the gateway's control socket may be.
    paths: Vec<PathBuf>,
    /// Look-ups that run, or have ended since the last turn.
    children: Vec<Child>,
    /// Whether a store keeps messages over a restart.
    stores: bool,
}

impl Service {
    fn run(&mut self) -> io::Result<()> {
        let manager = Manager::from_environment();
        let mut status = String::new();
        manager.ready("starting");
        while !self.driver.uplink.is_stopped() {
            self.reactor.turn(&mut self.driver)?;
            self.do_chores();
            manager.alive();
            let new = self.status();
            if new != status {
                manager.status(&new);
                status = new;
            }
        }
        manager.stopping();
        self.driver.uplink.finish();
        let unsent = self.driver.uplink.unsent();
        if unsent > 0 {
            warn!("stopped: {unsent} messages were not delivered{}", if self.stores { " and are stored" } else { "" });
        } else {
            info!("stopped");
        }
        self.children.iter_mut().for_each(end);
        Ok(())
    }

    /// One line for people.
    fn status(&self) -> String {
        let word = |is_online: bool| if is_online { "online" } else { "offline" };
        let (broker, gateway) = self.driver.uplink.links();
        format!("broker {}, gateway {}", word(broker), word(gateway))
    }

    fn do_chores(&mut self) {
        while let Some(chore) = self.driver.take_chore() {
            match chore {
                Chore::DialGateway => self.dial_gateway(),
                Chore::Resolve(host) => {
                    let result = self.resolve(&host).map_err(|error| format!("the look-up of {host} failed: {error}"));
                    self.driver.resolver_started(result, self.reactor.kernel().now());
                }
                Chore::EndResolver => self.children.iter_mut().for_each(end),
            }
        }
        self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    fn dial_gateway(&mut self) {
        let attached = open_control(&self.paths).and_then(|stream| {
            let id = self.driver.gateway_id();
            let attached = Io::unix(stream).and_then(|stream| self.reactor.attach(id, stream));
            attached.map_err(|error| error.to_string())
        });
        let now = self.reactor.kernel().now();
        match attached {
            Ok(()) => self.driver.gateway_connected(now),
            Err(error) => self.driver.gateway_failed(&error, now),
        }
    }

    fn resolve(&mut self, host: &str) -> io::Result<()> {
        let (child, output) = resolve::start(host)?;
        self.children.push(child);
        let id = self.driver.resolver_id();
        self.reactor.attach(id, Io::unix(output)?)
    }

    /// The first signal stops the uplink in order, the second one at once.
    fn watch_signals(&mut self) -> io::Result<()> {
        let id = self.driver.signals_id();
        self.reactor.attach(id, Io::unix(stop_signals()?)?)
    }

    /// Opens the socket for counters. The uplink works without it.
    fn listen(&mut self) {
        let listener = stats::listen();
        let opened = listener
            .and_then(|listener| self.reactor.listen_unix(ListenerId(1), listener).map_err(|error| error.to_string()));
        if let Err(error) = opened {
            info!("no socket for 'pulsegate mqtt --stats': {error}");
        }
    }
}

/// Ends a look-up that nobody waits for.
fn end(child: &mut Child) {
    // The child may have ended by itself.
    let _ = child.kill();
}
