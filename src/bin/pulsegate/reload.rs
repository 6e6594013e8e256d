//! A reload: read, check, then change what has changed and nothing else.

use log::{info, warn};

use crate::config::{Config, Events};
use crate::control_socket::ControlSocket;
use crate::serve::{Daemon, Listener, addresses};

impl Daemon {
    /// Carries out the reloads that were asked for, by signal or by the control socket.
    pub(crate) fn reload_if_asked(&mut self) {
        let askers = self.server.handler_mut().control.take_reloads();
        if askers.is_empty() {
            return;
        }
        let result = self.reload();
        match &result {
            Ok(changes) if changes.is_empty() => info!("reload: nothing has changed"),
            Ok(changes) => info!("reload: changed {}", changes.join(", ")),
            Err(error) => warn!("reload: the configuration stays as it is: {error}"),
        }
        let (app, mut gateway) = self.server.parts();
        for asker in askers.into_iter().flatten() {
            app.control.reloaded(asker, &result, &mut gateway);
        }
    }

    /// Tells what has changed. On an error everything is as it was before.
    fn reload(&mut self) -> Result<Vec<&'static str>, String> {
        let new = self.sources.load().map_err(|failure| failure.sentence())?;
        let changes = self.config.changes(&new);
        let changed = |section: &str| changes.iter().any(|name| name.starts_with(section));
        // What can fail comes first, and is undone if something behind it does.
        let opened = self.open_new(&new)?;
        if changed("control.") {
            // Two sockets cannot have one name, so the old one makes way.
            self.control.take().into_iter().for_each(|socket| socket.close(&mut self.server));
            match ControlSocket::open(&mut self.server, &new) {
                Ok(socket) => self.control = socket,
                Err(error) => {
                    self.close(opened);
                    self.control = ControlSocket::open(&mut self.server, &self.config).ok().flatten();
                    return Err(error);
                }
            }
        }
        self.server.configure(new.settings.clone()).map_err(|e| e.to_string())?;
        self.listeners.extend(opened);
        let wanted: Vec<_> = addresses(&new).collect();
        let stays = |listener: &Listener| wanted.contains(&(listener.address, listener.transport));
        let (keep, gone) = self.listeners.drain(..).partition(stays);
        self.listeners = keep;
        self.close(gone);
        if changed("events.") {
            let (app, mut gateway) = self.server.parts();
            app.leave_stdout(&mut gateway);
            if new.events == Events::Stdout {
                self.follow_stdout(&new).unwrap_or_else(|error| warn!("{error}"));
            }
        }
        log::set_max_level(new.log_level);
        self.config = new;
        Ok(changes)
    }

    /// Opens the addresses that are new; if one cannot be had, none is.
    fn open_new(&mut self, new: &Config) -> Result<Vec<Listener>, String> {
        let old: Vec<_> = addresses(&self.config).collect();
        let mut opened = Vec::new();
        for (address, transport) in addresses(new).filter(|address| !old.contains(address)) {
            match self.listen(address, transport) {
                Ok(listener) => opened.push(listener),
                Err(error) => {
                    self.close(opened);
                    return Err(error);
                }
            }
        }
        Ok(opened)
    }

    fn close(&mut self, listeners: Vec<Listener>) {
        listeners.into_iter().for_each(|listener| self.server.unlisten(listener.id));
    }
}
