//! The daemon's configuration. The command line overrides the environment, which overrides the file, which overrides the
//! defaults.
//!
//! [`keys`] has the one table of keys. [`format`], [`scalar`] and [`list`] parse and format values. [`file`] finds the
//! values in TOML, and [`environment`] in variables. [`load`] combines them, [`check`] compares them with each other and
//! with this machine, and [`print`] prints them.

mod check;
mod environment;
mod error;
mod file;
mod format;
mod keys;
mod list;
mod load;
#[cfg(test)]
mod manual;
#[cfg(feature = "mqtt")]
mod mqtt;
mod print;
mod scalar;
mod suggest;
#[cfg(feature = "web")]
mod web;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use log::LevelFilter;
use pulsegate::{DISCOVERY_PORT, Settings, TCP_PORT};

use self::error::Origin;
use self::keys::{KEYS, Key};

pub(crate) use self::error::Finding;
pub(crate) use self::format::single_quoted;
#[cfg(test)]
pub(crate) use self::manual::{environment, page};
#[cfg(feature = "mqtt")]
pub(crate) use self::mqtt::{Mqtt, Payload as MqttPayload};
pub(crate) use self::print::print_report;
pub(crate) use self::suggest::{nearest, question};
#[cfg(feature = "web")]
pub(crate) use self::web::WebSettings;

/// The values of all keys and their origins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// The library's settings. They have passed [`Settings::check`].
    pub(crate) settings: Settings,
    /// The TCP addresses, at least one. Without IPv6, `[::]` falls back to IPv4.
    pub(crate) listen: Vec<SocketAddr>,
    /// The UDP addresses for discovery. Without any, discovery is off.
    pub(crate) discovery: Vec<SocketAddr>,
    /// The destination of events.
    pub(crate) events: Events,
    /// The gateway's reaction when standard output ends.
    pub(crate) on_closed: OnClosed,
    /// Queued bytes of events for one consumer.
    pub(crate) events_buffer: usize,
    /// The path of the control socket.
    pub(crate) control: Control,
    /// The permission bits of the control socket.
    pub(crate) control_mode: u32,
    /// The group of the control socket. With `None` it is the group of the process.
    pub(crate) control_group: Option<String>,
    /// The settings of `pulsegate web`.
    #[cfg(feature = "web")]
    pub(crate) web: WebSettings,
    /// The least severe level that the log contains.
    pub(crate) log_level: LevelFilter,
    /// The uplink, `pulsegate mqtt`.
    #[cfg(feature = "mqtt")]
    pub(crate) mqtt: Mqtt,
    /// The file that the program has read.
    pub(crate) file: Option<PathBuf>,
    /// Whether the file contains only whitespace.
    file_is_empty: bool,
    /// Variables that the program has ignored.
    ignored: Vec<Finding>,
    /// The origins of the values, in the order of [`KEYS`].
    origins: Vec<Origin>,
}

/// The destination of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Events {
    /// Standard output.
    Stdout,
    /// No destination.
    None,
}

/// The gateway's reaction when standard output ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum OnClosed {
    /// The gateway runs on and counts events as missed.
    #[default]
    Continue,
    /// The gateway stops.
    Stop,
}

/// The path of the control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    /// The default path of the user.
    Default,
    /// No control socket.
    Off,
    /// This path.
    Path(PathBuf),
}

/// Room for the members of an event beside the object.
const EVENT_EXTRA_BYTES: usize = 4 << 10;

impl Default for Config {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            listen: vec![(Ipv6Addr::UNSPECIFIED, TCP_PORT).into()],
            discovery: vec![(Ipv4Addr::UNSPECIFIED, DISCOVERY_PORT).into()],
            events: Events::Stdout,
            on_closed: OnClosed::Continue,
            events_buffer: 1 << 20,
            control: Control::Default,
            control_mode: 0o660,
            control_group: None,
            #[cfg(feature = "web")]
            web: WebSettings::default(),
            log_level: LevelFilter::Info,
            #[cfg(feature = "mqtt")]
            mqtt: Mqtt::default(),
            file: None,
            file_is_empty: false,
            ignored: Vec::new(),
            origins: vec![Origin::Default; KEYS.len()],
        }
    }
}

impl Config {
    /// Returns the queue limit of one consumer. The event of the longest object fits.
    pub(crate) fn consumer_bytes_max(&self) -> usize {
        self.events_buffer.max(self.settings.limits.object_bytes_max as usize + EVENT_EXTRA_BYTES)
    }

    /// Returns the key that an option sets. `option` is its name without dashes.
    pub(crate) fn key_of_option(option: &str) -> Option<&'static str> {
        let sets = |key: &&Key| key.option.and_then(|name| name.strip_prefix("--")) == Some(option);
        KEYS.iter().find(sets).map(|key| key.name)
    }

    /// Returns the names of the keys whose values differ.
    pub(crate) fn changes(&self, other: &Self) -> Vec<&'static str> {
        KEYS.iter().filter(|key| (key.show)(self) != (key.show)(other)).map(|key| key.name).collect()
    }

    fn origin(&self, name: &str) -> &Origin {
        Key::find(name).map_or(&Origin::Default, |key| &self.origins[key.number()])
    }
}

#[cfg(test)]
mod tests;
