//! A reload reads and checks the configuration, then applies the keys that differ.

use std::net::SocketAddr;

use log::{info, warn};
use pulsegate::ConnectionId;

use crate::config::{Config, Events};
use crate::control::{ErrorWord, Refused};
use crate::control_socket::{Access, ControlSocket};
use crate::serve::{Daemon, Listener, Protocol};

impl Daemon {
    /// Runs the reloads that signals and clients have requested.
    pub(crate) fn reload_if_requested(&mut self) {
        let requests = self.server.handler_mut().control.take_reloads();
        if requests.is_empty() {
            return;
        }
        self.server.handler().manager.reloading();
        let result = self.reload();
        match &result {
            Ok(changes) if changes.is_empty() => info!("reload: no key has changed in {}", self.config.source()),
            Ok(changes) => {
                info!("reload: {}: changed {}", self.config.source(), changes.join(", "));
                self.config.warnings().iter().for_each(|warning| warn!("reload: {warning}"));
            }
            Err(refused) => {
                refused.detail.lines().for_each(|line| warn!("reload: the gateway keeps its configuration: {line}"));
            }
        }
        match &result {
            Ok(changes) if changes.iter().any(|name| name.ends_with("listen")) => self.announce(),
            _ => self.server.handler().manager.ready(&self.status()),
        }
        let (app, mut gateway) = self.server.parts();
        for reply_to in requests.into_iter().flatten() {
            app.control.reloaded(reply_to, &result, &mut gateway);
        }
    }

    /// Returns the keys that changed. After an error the gateway has its old state, unless another program has taken one
    /// of its addresses meanwhile.
    fn reload(&mut self) -> Result<Vec<&'static str>, Refused> {
        let new = self.sources.reload(&self.config);
        let new = new.map_err(|failure| Refused::new(ErrorWord::BadConfiguration, failure.sentence()))?;
        let changes = self.config.changes(&new);
        let closed = self.make_way(&new);
        if let Err(error) = self.apply(new, &changes) {
            for Listener { protocol, address, .. } in closed {
                match self.open_address(protocol, address) {
                    Ok(listener) => self.listeners.push(listener),
                    Err(error) => warn!("reload: cannot listen again on an address: {error}"),
                }
            }
            return Err(Refused::new(ErrorWord::Failed, error));
        }
        Ok(changes)
    }

    /// Closes listeners that would prevent the new addresses: `[::]` and any other address cannot share a port.
    fn make_way(&mut self, new: &Config) -> Vec<Listener> {
        self.close_listeners(|listener| {
            let (wanted, port) = (addresses(new, listener.protocol), listener.address.port());
            port != 0 && !wanted.contains(&listener.address) && wanted.iter().any(|address| address.port() == port)
        })
    }

    fn close_listeners(&mut self, which: impl Fn(&Listener) -> bool) -> Vec<Listener> {
        let (closed, kept): (Vec<_>, Vec<_>) = self.listeners.drain(..).partition(which);
        self.listeners = kept;
        closed.iter().for_each(|listener| self.server.unlisten(listener.id));
        closed
    }

    /// Applies the new configuration.
    fn apply(&mut self, new: Config, changes: &[&str]) -> Result<(), String> {
        let changed = |section: &str| changes.iter().any(|name| name.starts_with(section));
        // Steps that can fail come first. A failure undoes the steps before it.
        let old = self.config.clone();
        let opened = self.open_addresses(&new, |protocol, address| !addresses(&old, protocol).contains(&address))?;
        // Standard output may have a reader again.
        let stdout = match new.events {
            Events::Stdout if !self.server.handler().stdout.is_open() => match self.open_stdout(&new) {
                Ok(stream) => Some(stream),
                Err(error) => return Err(self.undo(opened, None, error)),
            },
            _ => None,
        };
        if let Err(error) = self.apply_control(&new, changed("control.")) {
            return Err(self.undo(opened, stdout, error));
        }
        self.server.configure(new.settings.clone()).map_err(|e| e.to_string())?;
        self.listeners.extend(opened);
        self.close_listeners(|listener| !addresses(&new, listener.protocol).contains(&listener.address));
        let app = self.server.handler_mut();
        stdout.into_iter().for_each(|stream| app.stdout.open(stream));
        app.stdout.mute(new.events == Events::None);
        app.on_closed = new.on_closed;
        self.control.iter().for_each(|socket| socket.resize(&mut self.server, &new));
        let (app, mut gateway) = self.server.parts();
        app.resize(new.consumer_bytes_max(), &mut gateway);
        for (name, protocol) in [("listen", Protocol::Tcp), ("discovery.listen", Protocol::Udp)] {
            if changes.contains(&name) && self.handed.contains(&protocol) {
                warn!("{name} has no effect: the service manager's sockets override it");
            }
        }
        log::set_max_level(new.log_level);
        self.config = new;
        Ok(())
    }

    /// Opens, changes or restores the control socket. After an error it is unchanged.
    fn apply_control(&mut self, new: &Config, changed: bool) -> Result<(), String> {
        if self.control.as_ref().is_some_and(ControlSocket::is_handed) {
            // An inherited control socket belongs to the service manager.
            return Ok(());
        }
        if !changed {
            self.restore_control_socket();
            return Ok(());
        }
        let access = Access::of(new)?;
        let kept = self.control.as_ref().filter(|socket| socket.is_where_wanted(new) && socket.has_its_name());
        if let Some(socket) = kept {
            return socket.set_access(access);
        }
        let opened = ControlSocket::open(&mut self.server, new, access)?;
        let old = std::mem::replace(&mut self.control, opened);
        old.into_iter().for_each(|socket| socket.close(&mut self.server));
        Ok(())
    }

    /// Creates the control socket again if another program has removed or replaced its name.
    pub(crate) fn restore_control_socket(&mut self) {
        if self.control.as_ref().is_none_or(ControlSocket::has_its_name) {
            return;
        }
        let config = &self.config;
        match Access::of(config).and_then(|access| ControlSocket::open(&mut self.server, config, access)) {
            Ok(Some(socket)) => {
                warn!("another program removed or replaced the control socket: the gateway has created it again");
                let old = self.control.replace(socket);
                old.into_iter().for_each(|socket| socket.close(&mut self.server));
            }
            // The log contains the reason already.
            Ok(None) => {}
            Err(error) => warn!("another program removed or replaced the control socket: {error}"),
        }
    }

    /// Closes the listeners and the stream of a failed reload, and returns its error.
    fn undo(&mut self, opened: Vec<Listener>, stdout: Option<ConnectionId>, error: String) -> String {
        opened.into_iter().for_each(|listener| self.server.unlisten(listener.id));
        let (_, mut gateway) = self.server.parts();
        stdout.into_iter().for_each(|stream| gateway.close(stream));
        error
    }
}

/// Returns the addresses of a configuration for one protocol.
fn addresses(config: &Config, protocol: Protocol) -> &[SocketAddr] {
    match protocol {
        Protocol::Tcp => &config.listen,
        Protocol::Udp => &config.discovery,
    }
}
