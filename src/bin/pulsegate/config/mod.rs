//! The daemon's configuration: command line before environment before file before defaults.
//!
//! [`keys`] has the one table that everything here follows. [`format`], [`scalar`] and [`list`] read and show
//! values, [`file`] finds them in TOML, [`environment`] in variables. [`load`] puts them together, [`check`]
//! compares them with each other and with this machine, and [`print`] writes them.

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
mod print;
mod scalar;
mod suggest;

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
pub(crate) use self::print::print_report;
pub(crate) use self::suggest::{nearest, question};

/// All that an operator can say, and where it was said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// What the library is to keep to; it has passed [`Settings::check`].
    pub(crate) settings: Settings,
    /// Where devices are awaited. At least one. `[::]` falls back to IPv4 where IPv6 is off.
    pub(crate) listen: Vec<SocketAddr>,
    /// Where probes are answered. None: discovery is off.
    pub(crate) discovery: Vec<SocketAddr>,
    /// Where events are written.
    pub(crate) events: Events,
    /// What the gateway does when standard output ends.
    pub(crate) on_closed: OnClosed,
    /// Bytes of events that may wait for one consumer.
    pub(crate) events_buffer: usize,
    /// Where the control socket is.
    pub(crate) control: Control,
    /// Its permission bits.
    pub(crate) control_mode: u32,
    /// The name of its group, unless it is that of the process.
    pub(crate) control_group: Option<String>,
    /// The least weight of a line of the log.
    pub(crate) log_level: LevelFilter,
    /// The file that the program has read.
    pub(crate) file: Option<PathBuf>,
    /// Whether that file holds nothing but whitespace.
    file_is_empty: bool,
    /// What the program ignored while it read the configuration.
    ignored: Vec<Finding>,
    /// Where the values come from, in the order of [`KEYS`].
    origins: Vec<Origin>,
}

/// Where events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Events {
    /// To standard output.
    Stdout,
    /// Nowhere.
    None,
}

/// What the gateway does when standard output ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum OnClosed {
    /// It runs on, and counts the events.
    #[default]
    Continue,
    /// It stops.
    Stop,
}

/// Where the control socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    /// Where it belongs for whoever runs the gateway.
    Default,
    /// There is none.
    Off,
    /// There.
    Path(PathBuf),
}

/// Room for what an event has besides the object.
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
            log_level: LevelFilter::Info,
            file: None,
            file_is_empty: false,
            ignored: Vec::new(),
            origins: vec![Origin::Default; KEYS.len()],
        }
    }
}

impl Config {
    /// Bytes of events that may wait for one reader, such that the longest object fits with what an
    /// event says besides.
    pub(crate) fn consumer_bytes_max(&self) -> usize {
        self.events_buffer.max(self.settings.limits.object_bytes_max as usize + EVENT_EXTRA_BYTES)
    }

    /// The key that an option of the command line, named without its dashes, sets.
    pub(crate) fn key_of_option(option: &str) -> Option<&'static str> {
        let sets = |key: &&Key| key.option.and_then(|name| name.strip_prefix("--")) == Some(option);
        KEYS.iter().find(sets).map(|key| key.name)
    }

    /// The names of the keys whose values differ.
    pub(crate) fn changes(&self, other: &Self) -> Vec<&'static str> {
        KEYS.iter().filter(|key| (key.show)(self) != (key.show)(other)).map(|key| key.name).collect()
    }

    fn origin(&self, name: &str) -> &Origin {
        Key::find(name).map_or(&Origin::Default, |key| &self.origins[key.number()])
    }
}

#[cfg(test)]
mod tests;
