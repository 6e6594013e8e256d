//! The one table of everything that can be configured. The file, the environment, the shipped
//! `pulsegate.toml` and `--print-config` all follow it.

use std::net::SocketAddr;
use std::time::Duration;

use log::LevelFilter;
use pulsegate::{Cidr, CreditFrom, Glob, Settings};

use super::format::{Fault, Format, Input};
use super::list::{Blocks, List, ListOrOff};
use super::scalar::{Bytes, Count, Group, Mode, Rate, Raw, Socket, Time, Word};
use super::{Config, Control, Events, OnClosed};

/// One value that can be configured.
pub(super) struct Key {
    /// Its name in full, `section.name`; those outside of sections come first.
    pub(super) name: &'static str,
    /// What it is for, in whole sentences. What it must be is told by [`Self::want`] and [`Self::bound`].
    pub(super) doc: &'static str,
    /// The option of the command line that sets it.
    pub(super) option: Option<&'static str>,
    /// What a value must be.
    pub(super) want: &'static str,
    /// Whether several are one list.
    pub(super) list: bool,
    pub(super) read: fn(&mut Config, Input<'_>) -> Result<(), Vec<Fault>>,
    pub(super) show: fn(&Config) -> String,
}

/// Sections in their order in the file, and what they are about.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("discovery", "How devices find the gateway: they send any UDP datagram, and it answers."),
    ("heartbeat", "How the gateway notices that a device has died."),
    ("commands", "How the gateway sends commands."),
    ("limits", "What may grow, and how far; how long things may take."),
    (
        "access",
        "Which devices may connect. Rules are lists of addresses and blocks of them, such as \"192.0.2.7\", \
         \"192.0.2.0/24\" or \"2001:db8::/32\". An IPv4 device has an IPv4 address, also where it comes by IPv6. When a \
         reload forbids the address of a connected device, the device is closed.",
    ),
    ("events", "What the gateway tells of devices and their messages, as JSON Lines."),
    ("control", "The Unix socket by which local programs see and steer the gateway."),
    ("log", "What the gateway tells of itself, on standard error."),
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

pub(super) static KEYS: &[Key] = &[
    key!(
        "listen",
        List<Vec<SocketAddr>>,
        listen,
        Some("--listen"),
        "TCP addresses and ports on which devices are awaited. [::] means all addresses of this machine, those of IPv4 \
         as well; 0.0.0.0 those of IPv4 alone. Port 0 means any that is free."
    ),
    key!(
        "terminator",
        Raw<Vec<u8>>,
        settings.terminator,
        None,
        "Bytes that end every command and every beat. With \"\\n\" a device tells them apart by their lines: recommended for \
         all new devices. Without a terminator, no command may contain heartbeat.payload."
    ),
    key!(
        "discovery.listen",
        ListOrOff<Vec<SocketAddr>>,
        discovery,
        Some("--discovery"),
        "UDP addresses and ports on which probes are answered, or \"off\": then devices must know the gateway's address."
    ),
    key!("discovery.reply", Raw<Vec<u8>>, settings.discovery.reply, None, "The answer to a probe."),
    key!("discovery.rate", Rate<u32>, settings.discovery.rate, None, "Answers per second, to all sources together."),
    key!(
        "discovery.burst",
        Count<u32>,
        settings.discovery.burst,
        None,
        "Answers at once, to all sources together, after a pause."
    ),
    key!("discovery.source_rate", Rate<u32>, settings.discovery.source_rate, None, "Answers per second to one source."),
    key!(
        "discovery.source_burst",
        Count<u32>,
        settings.discovery.source_burst,
        None,
        "Answers at once to one source, after a pause."
    ),
    key!(
        "discovery.interfaces_allow",
        List<Vec<Glob>>,
        settings.discovery.interfaces.allow,
        None,
        "Network interfaces on which probes are answered: names, or patterns in which * stands for any characters and ? \
         for any one, such as \"eth*\". An empty list answers nobody."
    ),
    key!(
        "discovery.interfaces_deny",
        List<Vec<Glob>>,
        settings.discovery.interfaces.deny,
        None,
        "Network interfaces on which probes are not answered, whatever interfaces_allow says."
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
        "Beats that a device may leave unanswered; at the next one it is dead and its connection is closed."
    ),
    key!(
        "heartbeat.credit_from",
        Word<CreditFrom>,
        settings.heartbeat.credit_from,
        None,
        "What refills a device's credit: \"any\" object that is accepted, or only the answer to a \"heartbeat\"."
    ),
    key!("heartbeat.payload", Raw<Vec<u8>>, settings.heartbeat.payload, None, "What a beat sends to the device."),
    key!(
        "commands.gap",
        Time<Duration>,
        settings.command_gap,
        None,
        "The least time between two messages to one device, be they commands or beats, for devices that take each read \
         for one message. At most half of heartbeat.interval."
    ),
    key!(
        "limits.connections_max",
        Count<usize>,
        settings.limits.connections_max,
        None,
        "Devices connected at one time. More are turned away. A lowered limit closes no device that is connected."
    ),
    key!(
        "limits.object_bytes_max",
        Bytes<u32>,
        settings.limits.object_bytes_max,
        None,
        "Length of one JSON object. A device that sends a longer one is closed."
    ),
    key!(
        "limits.object_depth_max",
        Count<u32>,
        settings.limits.object_depth_max,
        None,
        "Nesting of braces and brackets in an object. One that is deeper is dropped."
    ),
    key!(
        "limits.object_timeout",
        Time<Duration>,
        settings.limits.object_timeout,
        None,
        "How long an object may stay unfinished before its device is closed."
    ),
    key!(
        "limits.rejected_in_a_row_max",
        Count<u8>,
        settings.limits.rejected_in_a_row_max,
        None,
        "Objects of a device refused in a row: with the last of them it is closed."
    ),
    key!(
        "limits.outbox_bytes_max",
        Bytes<usize>,
        settings.limits.outbox_bytes_max,
        None,
        "Bytes of commands that may wait for one device. A command that does not fit is refused to its sender."
    ),
    key!(
        "limits.write_timeout",
        Time<Duration>,
        settings.limits.write_timeout,
        None,
        "How long a device may take no byte while something waits for it, before it is closed."
    ),
    key!(
        "limits.close_timeout",
        Time<Duration>,
        settings.limits.close_timeout,
        None,
        "How long a stop of the gateway, or the removal of a device, waits for what is queued to go out."
    ),
    key!(
        "limits.memory_budget",
        Bytes<u64>,
        settings.limits.memory_budget,
        None,
        "Memory for unfinished objects, waiting commands and waiting events, all together. Above five eighths of it, \
         and from less on where object_bytes_max is more than an eighth of it, devices that send large objects are \
         read a few at a time. It must be at least twice object_bytes_max, and no less than outbox_bytes_max."
    ),
    key!(
        "access.allow",
        List<Vec<Cidr>>,
        settings.access.allow,
        None,
        "Addresses that may connect. An empty list allows nobody."
    ),
    key!(
        "access.deny",
        List<Vec<Cidr>>,
        settings.access.deny,
        None,
        "Addresses that may not connect, whatever allow says."
    ),
    key!(
        "access.connections_per_ip_max",
        Count<usize>,
        settings.access.connections_per_ip_max,
        None,
        "Devices connected at one time from one address. A newcomer replaces a connection from there that has left beats \
         unanswered."
    ),
    key!(
        "access.connections_per_ip_overrides",
        Blocks<Vec<(Cidr, usize)>>,
        settings.access.connections_per_ip_overrides,
        None,
        "The same for every address of a block, such as { \"192.0.2.0/24\" = 100, \"192.0.2.7\" = 1 }. Where several \
         blocks contain an address, the longest prefix counts."
    ),
    key!(
        "events.output",
        Word<Events>,
        events,
        Some("--events"),
        "Where events are written: \"-\" for standard output, or \"none\". Programs may also watch them at the control \
         socket."
    ),
    key!(
        "events.on_closed",
        Word<OnClosed>,
        on_closed,
        None,
        "The gateway's answer to the end of standard output's reader. With \"continue\" the gateway runs on, and counts later \
         events as missed. With \"stop\" it stops in order and exits with 1, for a supervisor that restarts the pipeline."
    ),
    key!(
        "events.buffer_bytes_max",
        Bytes<usize>,
        events_buffer,
        None,
        "Bytes of events that may wait for one reader, and no more than a thirty-second of limits.memory_budget, or one \
         event. Lines that do not fit are left out and counted."
    ),
    key!(
        "control.path",
        Socket<Control>,
        control,
        Some("--control"),
        "The path of the socket, or \"off\". \"default\" is /run/pulsegate/control.sock for root, and pulsegate.sock in \
         $XDG_RUNTIME_DIR for others."
    ),
    key!(
        "control.mode",
        Mode<u32>,
        control_mode,
        None,
        "Permissions of the socket, in octal: who may write to it may send commands to devices."
    ),
    key!(
        "control.group",
        Group<Option<String>>,
        control_group,
        None,
        "The group that the socket belongs to; \"\" is the group of the gateway's process."
    ),
    key!(
        "log.level",
        Word<LevelFilter>,
        log_level,
        Some("--log-level"),
        "The least weight of a line that is written: \"error\", \"warn\" for limits that were reached, \"info\" for \
         devices that come and go, \"debug\" for their faults, \"trace\" for every message, or \"off\"."
    ),
];

impl Key {
    /// The key of that name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Its place in [`KEYS`].
    pub(super) fn number(&self) -> usize {
        KEYS.iter().position(|key| key.name == self.name).unwrap_or_default()
    }

    /// The section it is in, if it is in one, and its name there.
    pub(super) fn parts(&self) -> (Option<&'static str>, &'static str) {
        self.name.split_once('.').map_or((None, self.name), |(section, name)| (Some(section), name))
    }

    /// The environment variable that sets it.
    pub(super) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// What the value must be or have, where it has bounds.
    pub(super) fn bound(&self) -> Option<String> {
        if self.name == "events.buffer_bytes_max" {
            return Some(super::check::EVENTS_BUFFER_BOUND.into());
        }
        Settings::BOUNDS.iter().find(|bound| bound.name() == self.name).map(ToString::to_string)
    }
}

/// What the names of all environment variables begin with.
pub(super) const PREFIX: &str = "PULSEGATE_";
