//! The daemon's configuration: command line before environment before file before defaults.
//!
//! [`keys`] has the one table that everything here follows; [`format`], [`scalar`] and [`list`] read and show
//! values, [`file`] finds them in TOML, and this file puts them together.

mod error;
mod file;
mod format;
mod keys;
mod list;
#[cfg(test)]
mod manual;
mod scalar;
mod suggest;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use log::LevelFilter;
use pulsegate::Settings;

use self::error::{Origin, clean};
use self::format::{Fault, Input, Sentence, What};
use self::keys::{KEYS, Key, PREFIX, SECTIONS};
use self::suggest::{brief, nearest, question};

pub(crate) use self::error::ConfigError;
#[cfg(test)]
pub(crate) use self::manual::{environment, page};

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
    /// Bytes of events that may wait for one reader.
    pub(crate) events_buffer: usize,
    /// Where the control socket is.
    pub(crate) control: Control,
    /// Its permission bits.
    pub(crate) control_mode: u32,
    /// The name of its group, unless it is that of the process.
    pub(crate) control_group: Option<String>,
    /// The least weight of a line of the log.
    pub(crate) log_level: LevelFilter,
    /// The file that was read, if one was.
    pub(crate) file: Option<PathBuf>,
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

/// The file that is read where it exists and no other is named.
const FILE: &str = "/etc/pulsegate/pulsegate.toml";
/// Names the file, where the command line does not.
const FILE_VARIABLE: &str = "PULSEGATE_CONFIG";

/// Room for what an event has besides the object.
const EVENT_EXTRA_BYTES: usize = 4 << 10;
const EVENTS_BUFFER: std::ops::RangeInclusive<usize> = 4 << 10..=1 << 30;
const EVENTS_BUFFER_BOUND: &str = "be from 4KiB to 1GiB";

impl Default for Config {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            listen: vec![(Ipv6Addr::UNSPECIFIED, 5556).into()],
            discovery: vec![(Ipv4Addr::UNSPECIFIED, 5555).into()],
            events: Events::Stdout,
            events_buffer: 1 << 20,
            control: Control::Default,
            control_mode: 0o660,
            control_group: None,
            log_level: LevelFilter::Info,
            file: None,
            origins: vec![Origin::Default; KEYS.len()],
        }
    }
}

impl Config {
    /// Puts the configuration together. `file` is what the command line names; without it, the
    /// environment may name one, or [`FILE`] is read where it exists. `environment` is that of the
    /// process; only what begins with `PULSEGATE_` is looked at. `overrides` are the names of keys and
    /// their values on the command line; those of a list add up.
    pub(crate) fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        overrides: &[(&'static str, String)],
    ) -> Result<Self, ConfigError> {
        Self::load_or(Path::new(FILE), file, environment, overrides)
    }

    /// As [`Self::load`], with that default file.
    fn load_or(
        default_file: &Path,
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        overrides: &[(&'static str, String)],
    ) -> Result<Self, ConfigError> {
        let ours = |(variable, value): (OsString, OsString)| {
            let variable = variable.into_string().ok().filter(|variable| variable.starts_with(PREFIX))?;
            Some((variable, value))
        };
        let mut variables: Vec<(String, OsString)> = environment.into_iter().filter_map(ours).collect();
        let named = variables.iter().position(|(variable, _)| variable == FILE_VARIABLE);
        let named = named.map(|at| PathBuf::from(variables.remove(at).1));
        let (path, origin) = match (file, &named) {
            (Some(file), _) => (file, Some(Origin::Default)),
            (None, Some(file)) => (file.as_path(), Some(Origin::Environment(FILE_VARIABLE.into()))),
            (None, None) => (default_file, None),
        };

        let mut config = Self::default();
        if let Some(bytes) = file::read(path, origin)? {
            config.read_file(path, &bytes)?;
            config.file = Some(path.into());
        }
        for (variable, value) in variables {
            config.read_variable(variable, value)?;
        }
        config.read_overrides(overrides)?;
        config.check()?;
        Ok(config)
    }

    fn read_variable(&mut self, variable: String, value: OsString) -> Result<(), ConfigError> {
        let Some(key) = KEYS.iter().find(|key| key.variable() == variable) else {
            let near = nearest(&variable, KEYS.iter().map(Key::variable));
            let text = format!("nothing is configured by this variable{}", question(near));
            return Err(ConfigError { origin: Origin::Environment(brief(&variable)), text });
        };
        let origin = Origin::Environment(variable);
        match value.to_str() {
            Some(text) => self.read_text(key, text, origin),
            None => Err(ConfigError { origin, text: "the value must be UTF-8".into() }),
        }
    }

    fn read_overrides(&mut self, overrides: &[(&'static str, String)]) -> Result<(), ConfigError> {
        for (number, (name, text)) in overrides.iter().enumerate() {
            let Some(key) = Key::find(name) else {
                let text = format!("there is no key {name}");
                return Err(ConfigError { origin: Origin::CommandLine("command line"), text });
            };
            let origin = Origin::CommandLine(key.option.unwrap_or(key.name));
            let earlier = overrides[..number].iter().filter(|(other, _)| key.list && other == name);
            let texts: Vec<_> = earlier.map(|(_, text)| text.as_str()).chain([text.as_str()]).collect();
            self.read_text(key, &texts.join(","), origin)?;
        }
        Ok(())
    }

    fn read_text(&mut self, key: &Key, text: &str, origin: Origin) -> Result<(), ConfigError> {
        match (key.read)(self, Input::Text(text)) {
            Ok(()) => self.origins[key.number()] = origin,
            Err(Fault { what, .. }) => return Err(ConfigError { origin, text: sentence(key, what) }),
        }
        Ok(())
    }

    /// What only shows when everything is put together.
    fn check(&self) -> Result<(), ConfigError> {
        if let Err(error) = self.settings.check() {
            // Of two values that do not go together, one may be a default, which stands nowhere.
            let origin = [Some(error.name()), error.than()].into_iter().flatten().map(|name| self.origin(name));
            let origin = origin.max_by_key(|origin| **origin != Origin::Default).cloned().unwrap_or(Origin::Default);
            return Err(ConfigError { origin, text: error.to_string() });
        }
        let fail = |name, text: String| Err(ConfigError { origin: self.origin(name).clone(), text });
        if !EVENTS_BUFFER.contains(&self.events_buffer) {
            let name = "events.buffer_bytes_max";
            return fail(name, format!("{name} must {EVENTS_BUFFER_BOUND}"));
        }
        if self.listen.is_empty() {
            return fail("listen", "listen must have at least one address".into());
        }
        for (name, addresses) in [("listen", &self.listen), ("discovery.listen", &self.discovery)] {
            if addresses.len() > ADDRESSES_MAX {
                return fail(name, format!("{name} must have at most {ADDRESSES_MAX} entries"));
            }
            // Port 0 is another one each time.
            let is_twice =
                |&(n, address): &(usize, &SocketAddr)| address.port() != 0 && addresses[..n].contains(address);
            if let Some((_, address)) = addresses.iter().enumerate().find(is_twice) {
                return fail(name, format!("{name} must name each address once, but {address} stands there twice"));
            }
            // Whether [::] takes IPv4 as well is, for UDP, the system's to say.
            let covers = |all: &SocketAddr, one: &SocketAddr| {
                let same_port = all != one && all.port() == one.port() && all.port() != 0;
                let both = all.is_ipv4() == one.is_ipv4() || all.is_ipv6() && name == "listen";
                same_port && both && all.ip().is_unspecified()
            };
            let covering = addresses.iter().find_map(|all| Some((all, addresses.iter().find(|one| covers(all, one))?)));
            if let Some((all, one)) = covering {
                return fail(
                    name,
                    format!("{name} has {all}, which means all addresses, so {one} cannot be there too"),
                );
            }
        }
        Ok(())
    }

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

    /// Every value and where it comes from, as TOML that means the same.
    pub(crate) fn print(&self) -> String {
        let shown: Vec<_> = KEYS.iter().map(|key| format!("{} = {}", key.parts().1, (key.show)(self))).collect();
        let width = shown.iter().map(|line| line.chars().count()).filter(|&width| width <= 48).max().unwrap_or(0);
        let file = self.file.as_deref().map_or("no file was read".into(), |path| format!("{} was read", clean(path)));
        let mut text = format!("# pulsegate {}: {file}.\n", env!("CARGO_PKG_VERSION"));
        let mut section = None;
        for (key, line) in KEYS.iter().zip(shown) {
            if key.parts().0 != section {
                section = key.parts().0;
                let _ = writeln!(text, "\n[{}]", section.unwrap_or_default());
            }
            let _ = writeln!(text, "{line:width$}  # from: {}", self.origin(key.name));
        }
        text
    }

    /// The text of the `pulsegate.toml` that is shipped: every key, what it does, and its default.
    pub(crate) fn defaults_file() -> String {
        let defaults = Self::default();
        let mut text = String::new();
        for paragraph in PREFACE {
            comment(&mut text, paragraph);
            text.push_str(if paragraph.is_empty() { "#\n" } else { "" });
        }
        let mut section = None;
        for key in KEYS {
            text.push('\n');
            let (key_section, name) = key.parts();
            if key_section != section {
                section = key_section;
                let (section, about) = SECTIONS.iter().find(|(known, _)| Some(*known) == section).unwrap_or(&("", ""));
                comment(&mut text, about);
                let _ = writeln!(text, "[{section}]\n");
            }
            let bound = key.bound().map(|bound| format!(" It must {bound}."));
            comment(&mut text, &format!("{}{}", key.doc, bound.unwrap_or_default()));
            let _ = writeln!(text, "{name} = {}", (key.show)(&defaults));
        }
        text
    }
}

/// Addresses that one key may list.
const ADDRESSES_MAX: usize = 64;

const PREFACE: &[&str] = &[
    "The configuration of pulsegate. Every value in this file is the default: what is left out means the same.",
    "",
    "A value may also be given by the environment: interval in [heartbeat] by PULSEGATE_HEARTBEAT_INTERVAL, with lists \
     separated by commas. The environment comes before this file, and options of the command line before both. Which \
     value holds, and where it comes from, is told by: pulsegate --print-config",
    "",
    "Durations are written with their unit, such as \"500ms\", \"2s\" or \"1m 30s\". So are bytes: \"256KiB\" is 262144 of \
     them, \"1MiB\" 1048576. Texts are sent as they are; \"\\n\" is a line end, \"\\u0000\" a NUL.",
];

/// Writes `text` as a comment of short lines.
fn comment(text: &mut String, words: &str) {
    let mut width = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length <= 98 {
            text.push(' ');
            width += 1 + length;
        } else {
            text.push_str(if width == 0 { "# " } else { "\n# " });
            width = 2 + length;
        }
        text.push_str(word);
    }
    if width > 0 {
        text.push('\n');
    }
}

/// What is wrong with the value of `key`.
fn sentence(key: &Key, what: What) -> String {
    Sentence { name: key.name, want: key.want, bound: key.bound(), what }.to_string()
}

#[cfg(test)]
mod tests;
