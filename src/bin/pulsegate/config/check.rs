//! Checks that need the whole configuration: values that contradict each other, and values that are suspicious on this
//! machine.

use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;

use nix::libc::EADDRNOTAVAIL;
use nix::net::if_::if_nameindex;
use nix::unistd::Group;

use super::error::{Finding, Origin, clean};
use super::keys::Key;
use super::load::Loader;
use super::suggest::{brief, short};
use super::{Config, Control, Events};

const EVENTS_BUFFER: RangeInclusive<usize> = 4 << 10..=1 << 30;
pub(super) const EVENTS_BUFFER_BOUND: &str = "be from 4KiB to 1GiB";
/// The maximum of addresses in one key.
const ADDRESSES_MAX: usize = 64;

impl Loader {
    /// Adds the errors of values that are out of bounds or contradict each other. An unreadable value has its error
    /// already, and its default is in its place.
    pub(super) fn check(&mut self) {
        for error in self.config.settings.errors() {
            let names = [Some(error.name()), error.than()].into_iter().flatten();
            if names.clone().any(|name| self.faulty.contains(&name)) {
                continue;
            }
            // One of two contradictory values may be a default, which has no place in a file.
            let origin = names.map(|name| self.config.origin(name)).max_by_key(|origin| **origin != Origin::Default);
            let origin = origin.cloned().unwrap_or(Origin::Default);
            let text = error.to_string();
            let must = text.strip_prefix(error.name()).unwrap_or_default();
            let value = self.config.shown(error.name());
            self.errors.add(origin, format!("{}: invalid value {value}:{must}", error.name()));
            self.faulty.push(error.name());
        }
        if !EVENTS_BUFFER.contains(&self.config.events_buffer) {
            self.must("events.buffer_bytes_max", EVENTS_BUFFER_BOUND);
        }
        if self.config.listen.is_empty() {
            self.must("listen", "have at least one address");
        }
        #[cfg(feature = "mqtt")]
        super::mqtt::check(self);
        self.check_addresses("listen", &self.config.listen.clone());
        self.check_addresses("discovery.listen", &self.config.discovery.clone());
        #[cfg(feature = "web")]
        super::web::check(self);
    }

    pub(super) fn must(&mut self, name: &'static str, must: &str) {
        let text = format!("{name}: invalid value {}: must {must}", self.config.shown(name));
        self.errors.add(self.config.origin(name).clone(), text);
    }

    pub(super) fn check_addresses(&mut self, name: &'static str, addresses: &[SocketAddr]) {
        if addresses.len() > ADDRESSES_MAX {
            return self.must(name, &format!("have at most {ADDRESSES_MAX} entries"));
        }
        let origin = self.config.origin(name).clone();
        // Each entry with port 0 gets a different port.
        let is_twice = |&(n, address): &(usize, &SocketAddr)| address.port() != 0 && addresses[..n].contains(address);
        if let Some((_, address)) = addresses.iter().enumerate().find(is_twice) {
            self.errors.add(origin.clone(), format!("{name}: invalid entry '{address}': the list contains it twice"));
        }
        // For UDP the system decides whether [::] includes IPv4.
        let covers = |all: &SocketAddr, one: &SocketAddr| {
            let same_port = all != one && all.port() == one.port() && all.port() != 0;
            let both = all.is_ipv4() == one.is_ipv4() || all.is_ipv6() && name == "listen";
            same_port && both && all.ip().is_unspecified()
        };
        let covering = addresses.iter().find_map(|all| Some((all, addresses.iter().find(|one| covers(all, one))?)));
        if let Some((all, one)) = covering {
            self.errors.add(origin, format!("{name}: invalid entry '{one}': {all} includes it"));
        }
    }
}

impl Config {
    /// Returns a value as messages show it.
    fn shown(&self, name: &str) -> String {
        Key::find(name).map(|key| short(&(key.show)(self))).unwrap_or_default()
    }

    /// Returns warnings about a valid configuration: ignored variables, and values without effect on this machine.
    pub(crate) fn warnings(&self) -> Vec<Finding> {
        let mut warnings = self.ignored.clone();
        let mut warn = |origin: &Origin, text| warnings.push(Finding { origin: origin.clone(), text });
        if let Some(file) = self.file.as_ref().filter(|_| self.file_is_empty) {
            warn(&Origin::Default, format!("{}: the file is empty: every value has its default", clean(file)));
        }
        let (access, interfaces) = (&self.settings.access, &self.settings.discovery.interfaces);
        if access.allow.is_empty() {
            warn(self.origin("access.allow"), "access.allow is empty: no device may connect".into());
        }
        if !self.discovery.is_empty() && interfaces.allow.is_empty() {
            let text = "discovery.interfaces_allow is empty: the gateway answers no probe";
            warn(self.origin("discovery.interfaces_allow"), text.into());
        }
        if self.events == Events::None && self.control == Control::Off {
            let text = "events.output is \"none\" and control.path is \"off\": no program receives events";
            warn(self.origin("control.path"), text.into());
        }
        // Without a list of interfaces there is nothing to compare with.
        let present: Option<Vec<String>> = if_nameindex()
            .map(|list| list.iter().map(|interface| interface.name().to_string_lossy().into_owned()).collect())
            .ok();
        for (name, globs) in
            [("discovery.interfaces_allow", &interfaces.allow), ("discovery.interfaces_deny", &interfaces.deny)]
        {
            let is_absent =
                |present: &Vec<String>, glob: &pulsegate::Glob| !present.iter().any(|name| glob.matches(name));
            for glob in globs.iter().filter(|glob| present.as_ref().is_some_and(|present| is_absent(present, glob))) {
                warn(self.origin(name), format!("{name}: this machine has no interface '{glob}'"));
            }
        }
        if let Some(group) = &self.control_group
            && let Ok(None) = Group::from_name(group)
        {
            warn(self.origin("control.group"), format!("control.group: this machine has no group '{}'", brief(group)));
        }
        warnings
    }

    /// Returns the configured addresses that this machine lacks, so that the gateway cannot listen on them.
    pub(crate) fn absent_addresses(&self) -> impl Iterator<Item = Finding> {
        let all = [("listen", &self.listen), ("discovery.listen", &self.discovery)];
        let all = all.into_iter().flat_map(|(name, addresses)| addresses.iter().map(move |address| (name, address)));
        let is_absent = |address: &SocketAddr| {
            let bound = UdpSocket::bind((address.ip(), 0));
            bound.is_err_and(|error| error.raw_os_error() == Some(EADDRNOTAVAIL)) && !address.ip().is_unspecified()
        };
        all.filter(move |(_, address)| is_absent(address)).map(|(name, address)| Finding {
            origin: self.origin(name).clone(),
            text: format!("{name}: this machine has no address {}", address.ip()),
        })
    }
}
