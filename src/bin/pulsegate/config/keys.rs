//! The one table of configuration keys. The file, the environment, the options, the shipped `pulsegate.toml`, the
//! manual and `--print-config` follow it.

use std::net::SocketAddr;
use std::time::Duration;

use log::LevelFilter;
use pulsegate::{Cidr, CreditFrom, Glob, Settings, Takeover};

use super::format::{Fault, Format, Input};
use super::list::{Blocks, List, ListOrOff};
use super::scalar::{Bytes, Count, Group, Mode, Rate, Raw, Socket, Time, Word};
use super::{Config, Control, Events, OnClosed};

/// One configuration key.
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// The full name, `section.name`. Keys without a section come first, as TOML requires.
    pub(super) name: &'static str,
    /// The purpose, in whole sentences. [`Self::want`] and [`Self::bound`] add the accepted values.
    pub(super) doc: &'static str,
    /// The command-line option that sets the value.
    pub(super) option: Option<&'static str>,
    /// The accepted form of the value, such as `a whole number`.
    pub(super) want: &'static str,
    /// Whether the value is a list, so that a repeated option adds to it.
    pub(super) list: bool,
    pub(super) read: fn(&mut Config, Input<'_>) -> Result<(), Vec<Fault>>,
    pub(super) show: fn(&Config) -> String,
}

/// The sections of the gateway in their order in the file, each with its description.
const CORE_SECTIONS: &[(&str, &str)] = &[
    ("discovery", "How devices find the gateway: a device sends any UDP datagram, and the gateway answers it."),
    ("heartbeat", "How the gateway notices a dead device."),
    ("commands", "How the gateway sends commands."),
    ("limits", "Limits on numbers, sizes and times."),
    (
        "access",
        "Which devices may connect. Each rule is an address or a block of addresses, such as \"192.0.2.7\", \
         \"192.0.2.0/24\" or \"2001:db8::/32\". An IPv4 device has an IPv4 address, even if it connects to an IPv6 \
         socket. When a reload forbids the address of a connected device, the gateway closes the device.",
    ),
    ("identity", "Names of devices. A name stays when the address changes, and belongs to one connection at a time."),
    ("events", "Events of devices and their messages, as JSON Lines."),
    ("control", "The Unix socket on which local programs query and control the gateway."),
    ("log", "The log, on standard error."),
];

/// Returns all sections in their order in the file, each with its description.
pub(super) fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    SECTIONS.iter().copied().flatten().copied()
}

/// The sections of the gateway, and of the services that this build has.
const SECTIONS: &[&[(&str, &str)]] = &[
    CORE_SECTIONS,
    #[cfg(feature = "mqtt")]
    super::mqtt::SECTIONS,
    #[cfg(feature = "web")]
    super::web::SECTIONS,
];

/// Sections of services that this build lacks. Their keys are for other programs.
pub(super) const FOREIGN_SECTIONS: &[&str] = &[
    #[cfg(not(feature = "mqtt"))]
    "mqtt",
    #[cfg(not(feature = "web"))]
    "web",
];

macro_rules! key {
    ($name:literal, $format:ident<$value:ty>, $($field:ident).+, $option:expr, $doc:expr) => {
        Key {
            name: $name,
            doc: $doc,
            option: $option,
            want: <$format as Format<$value>>::WANT,
            list: <$format as Format<$value>>::LIST,
            read: |config, input| {
                config.$($field).+ = <$format as Format<$value>>::read(input)?;
                Ok(())
            },
            show: |config| <$format as Format<$value>>::show(&config.$($field).+),
        }
    };
}

#[cfg(any(feature = "mqtt", feature = "web"))]
pub(super) use key;

/// The keys of the gateway, and of the services that this build has.
const PARTS: &[&[Key]] = &[
    CORE_KEYS,
    #[cfg(feature = "mqtt")]
    &super::mqtt::KEYS,
    #[cfg(feature = "web")]
    &super::web::KEYS,
];

const COUNT: usize = {
    let (mut count, mut part) = (0, 0);
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
};

/// All keys, in the order of the sections.
pub(super) static KEYS: &[Key] = &{
    let mut all = [CORE_KEYS[0]; COUNT];
    let (mut place, mut part) = (0, 0);
    while part < PARTS.len() {
        let mut key = 0;
        while key < PARTS[part].len() {
            all[place] = PARTS[part][key];
            place += 1;
            key += 1;
        }
        part += 1;
    }
    all
};

/// The keys of the gateway.
const CORE_KEYS: &[Key] = &[
    key!(
        "listen",
        List<Vec<SocketAddr>>,
        listen,
        Some("--listen"),
        "TCP addresses and ports on which the gateway listens for devices. [::] means all addresses of this machine, \
         IPv4 addresses included. 0.0.0.0 means all IPv4 addresses. Port 0 means any free port."
    ),
    key!(
        "terminator",
        Raw<Vec<u8>>,
        settings.terminator,
        None,
        "Bytes that end every command and every beat. With \"\\n\" a device separates them by their line ends, which \
         is recommended for all new devices. Without a terminator, no command may contain heartbeat.payload."
    ),
    key!(
        "discovery.listen",
        ListOrOff<Vec<SocketAddr>>,
        discovery,
        Some("--discovery"),
        "UDP addresses and ports on which the gateway answers probes, or \"off\". With \"off\" each device must know \
         the gateway's address."
    ),
    key!("discovery.reply", Raw<Vec<u8>>, settings.discovery.reply, None, "The answer to a probe."),
    key!("discovery.rate", Rate<u32>, settings.discovery.rate, None, "Answers per second to all sources together."),
    key!(
        "discovery.burst",
        Count<u32>,
        settings.discovery.burst,
        None,
        "Answers in one burst to all sources together, before discovery.rate limits them."
    ),
    key!("discovery.source_rate", Rate<u32>, settings.discovery.source_rate, None, "Answers per second to one source."),
    key!(
        "discovery.source_burst",
        Count<u32>,
        settings.discovery.source_burst,
        None,
        "Answers in one burst to one source, before discovery.source_rate limits them."
    ),
    key!(
        "discovery.interfaces_allow",
        List<Vec<Glob>>,
        settings.discovery.interfaces.allow,
        None,
        "Network interfaces on which the gateway answers probes. Each entry is a name or a pattern, such as \
         \"eth*\". In a pattern, * matches any characters and ? matches one. With an empty list the gateway answers \
         no probe."
    ),
    key!(
        "discovery.interfaces_deny",
        List<Vec<Glob>>,
        settings.discovery.interfaces.deny,
        None,
        "Network interfaces on which the gateway answers no probe, even if interfaces_allow contains them."
    ),
    key!(
        "heartbeat.interval",
        Time<Duration>,
        settings.heartbeat.interval,
        None,
        "The time from one beat to the next."
    ),
    key!(
        "heartbeat.credit",
        Count<u8>,
        settings.heartbeat.credit,
        None,
        "The number of beats that a device may leave unanswered. When the next beat is due, the gateway closes the \
         connection as silent."
    ),
    key!(
        "heartbeat.credit_from",
        Word<CreditFrom>,
        settings.heartbeat.credit_from,
        None,
        "The objects that refill a device's credit: \"any\" accepted object, or only an answer to a \"heartbeat\"."
    ),
    key!(
        "heartbeat.payload",
        Raw<Vec<u8>>,
        settings.heartbeat.payload,
        None,
        "The bytes of a beat, without the terminator."
    ),
    key!(
        "commands.gap",
        Time<Duration>,
        settings.command_gap,
        None,
        "The shortest time between two messages to one device, for devices that take each read for one message. \
         Commands and beats are messages. It must be at most half of heartbeat.interval."
    ),
    key!(
        "limits.connections_max",
        Count<usize>,
        settings.limits.connections_max,
        None,
        "The number of connected devices. The gateway refuses further connections. A lowered limit closes no \
         connected device."
    ),
    key!(
        "limits.object_bytes_max",
        Bytes<u32>,
        settings.limits.object_bytes_max,
        None,
        "The length of one JSON object. The gateway closes a device that sends a longer object."
    ),
    key!(
        "limits.object_depth_max",
        Count<u32>,
        settings.limits.object_depth_max,
        None,
        "The nesting depth of braces and brackets in an object. The gateway rejects a deeper object."
    ),
    key!(
        "limits.object_timeout",
        Time<Duration>,
        settings.limits.object_timeout,
        None,
        "The time that a device has to send one object to its end. After that the gateway closes the device."
    ),
    key!(
        "limits.rejected_in_a_row_max",
        Count<u8>,
        settings.limits.rejected_in_a_row_max,
        None,
        "The number of rejected objects in a row with which the gateway closes a device."
    ),
    key!(
        "limits.outbox_bytes_max",
        Bytes<usize>,
        settings.limits.outbox_bytes_max,
        None,
        "Queued bytes of commands for one device. The gateway refuses a command that does not fit."
    ),
    key!(
        "limits.write_timeout",
        Time<Duration>,
        settings.limits.write_timeout,
        None,
        "The time for which a device may take none of its queued bytes. After that the gateway closes the device."
    ),
    key!(
        "limits.close_timeout",
        Time<Duration>,
        settings.limits.close_timeout,
        None,
        "The time for which a closing connection may still take its queued bytes."
    ),
    key!(
        "limits.memory_budget",
        Bytes<u64>,
        settings.limits.memory_budget,
        None,
        "Memory for partial objects, queued commands and queued events together. Where large objects have taken most of \
         their part, the gateway reads only a few devices with large objects at a time. The budget must be at least \
         twice object_bytes_max, and at least outbox_bytes_max."
    ),
    key!(
        "limits.progress_min",
        Bytes<usize>,
        settings.limits.progress_min,
        None,
        "Bytes that a device with a large object must send in each heartbeat interval while others wait for memory. A \
         slower one waits behind them, and the gateway keeps its partial object."
    ),
    key!(
        "access.allow",
        List<Vec<Cidr>>,
        settings.access.allow,
        None,
        "Addresses that may connect. With an empty list no device may connect."
    ),
    key!(
        "access.deny",
        List<Vec<Cidr>>,
        settings.access.deny,
        None,
        "Addresses that may not connect, even if allow contains them."
    ),
    key!(
        "access.connections_per_ip_max",
        Count<usize>,
        settings.access.connections_per_ip_max,
        None,
        "The number of connected devices with one address. A new connection replaces a connection from its address \
         that has left beats unanswered."
    ),
    key!(
        "access.connections_per_ip_overrides",
        Blocks<Vec<(Cidr, usize)>>,
        settings.access.connections_per_ip_overrides,
        None,
        "Another connections_per_ip_max for each address of a block, such as { \"192.0.2.0/24\" = 100, \"192.0.2.7\" \
         = 1 }. If several blocks contain an address, the longest prefix applies."
    ),
    key!(
        "identity.member",
        Raw<String>,
        settings.identity.member,
        None,
        "The top-level member whose string or integer is the device's name, such as \"Id\". The first object of a connection \
         that has it decides. A name has 1 to 128 bytes of UTF-8 without control, format or line characters. Without a \
         member no device has a name."
    ),
    key!(
        "identity.takeover",
        Word<Takeover>,
        settings.identity.takeover,
        None,
        "Which connection keeps a name that a second one claims. \"newest\" closes the older one as replaced: a device that \
         has restarted is back at once. \"oldest\" closes the newcomer as conflict."
    ),
    key!(
        "identity.takeovers_per_minute_max",
        Count<u32>,
        settings.identity.takeovers_per_minute_max,
        None,
        "Takeovers of one name within a minute. More mean that two devices have the name. Then the gateway closes newcomers \
         as conflict for a minute, and logs both addresses."
    ),
    key!(
        "identity.remembered_max",
        Count<usize>,
        settings.identity.remembered_max,
        None,
        "Names of missing devices, which \"pulsegate devices --all\" lists. Their memory is part of \
         limits.memory_budget."
    ),
    key!(
        "identity.queued_bytes_max",
        Bytes<usize>,
        settings.identity.queued_bytes_max,
        None,
        "Bytes of commands that may wait for one name that is not connected. Their memory is part of limits.memory_budget. \
         A restart of the gateway loses them."
    ),
    key!(
        "events.output",
        Word<Events>,
        events,
        Some("--events"),
        "The destination of events: \"-\" for standard output, or \"none\". Programs may also watch events on the \
         control socket."
    ),
    key!(
        "events.on_closed",
        Word<OnClosed>,
        on_closed,
        None,
        "The gateway's reaction when the reader of standard output ends. With \"continue\" the gateway runs on and \
         counts later events as missed. With \"stop\" it stops in order and exits with status 1, for a supervisor \
         that restarts the pipeline."
    ),
    key!(
        "events.buffer_bytes_max",
        Bytes<usize>,
        events_buffer,
        None,
        "Queued bytes of events for one consumer. All consumers share 12.5 % of limits.memory_budget. Each may use 25 % of \
         the memory that the others leave, and always one event. The gateway drops and counts events that do not fit."
    ),
    key!(
        "control.path",
        Socket<Control>,
        control,
        Some("--control"),
        "The path of the socket, or \"off\". \"default\" means /run/pulsegate/control.sock for root, and \
         pulsegate.sock in $XDG_RUNTIME_DIR for other users."
    ),
    key!(
        "control.mode",
        Mode<u32>,
        control_mode,
        None,
        "Permissions of the socket in octal. A program that may write to the socket may send commands to devices."
    ),
    key!(
        "control.group",
        Group<Option<String>>,
        control_group,
        None,
        "The group that owns the socket. With \"\" the group of the gateway's process owns it."
    ),
    key!(
        "log.level",
        Word<LevelFilter>,
        log_level,
        Some("--log-level"),
        "The least severe level that the log contains. \"error\" has failures, and \"warn\" adds reached limits. \
         \"info\" adds devices that connect and disconnect. \"debug\" adds faults of single devices, and \"trace\" \
         adds every message. \"off\" writes no log."
    ),
];

impl Key {
    /// Returns the key with this name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Returns the key's index in [`KEYS`].
    pub(super) fn number(&self) -> usize {
        KEYS.iter().position(|key| key.name == self.name).unwrap_or_default()
    }

    /// Returns the section, if any, and the name in it.
    pub(super) fn parts(&self) -> (Option<&'static str>, &'static str) {
        self.name.rsplit_once('.').map_or((None, self.name), |(section, name)| (Some(section), name))
    }

    /// Returns the environment variable that sets the value.
    pub(super) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// Returns the bounds of the value, such as `be from 1 to 255`.
    pub(super) fn bound(&self) -> Option<String> {
        if self.name == "events.buffer_bytes_max" {
            return Some(super::check::EVENTS_BUFFER_BOUND.into());
        }
        #[cfg(feature = "mqtt")]
        if let Some(bound) = super::mqtt::bound(self.name) {
            return Some(bound.into());
        }
        Settings::BOUNDS.iter().find(|bound| bound.name() == self.name).map(ToString::to_string)
    }
}

/// The prefix of every environment variable that sets a key.
pub(super) const PREFIX: &str = "PULSEGATE_";
