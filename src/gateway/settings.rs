//! Every bound and timing of the gateway, with unit and default. Floor 2.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::access::Access;
use super::interfaces::InterfaceRule;
use crate::byte_size::ByteSize;
use crate::closed_list;
use crate::connection::{CreditFrom, Rules};
use crate::endpoint::ConnectionId;
use crate::proto::{discovery, heartbeat};
use crate::tick::{TICK, TickClock};

/// How a gateway behaves towards its devices. Durations are whole multiples of [`TICK`] (100 ms).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What may grow, and how far.
    pub limits: Limits,
    /// How devices are kept alive.
    pub heartbeat: Heartbeat,
    /// How devices find the gateway.
    pub discovery: Discovery,
    /// Which devices may connect.
    pub access: Access,
    /// How devices get names.
    pub identity: Identity,
    /// Put behind every command and beat, for devices that want to tell them apart. Default: nothing.
    pub terminator: Vec<u8>,
    /// The least time between two messages to one device, be they beats or commands, for devices that take each read for
    /// one message. At most half of [`Heartbeat::interval`]. Default: none.
    pub command_gap: Duration,
}

/// Whatever can grow has its bound here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Devices connected at one time. Default 18,000.
    pub connections_max: usize,
    /// Length of one object in bytes. Default 1 MiB.
    pub object_bytes_max: u32,
    /// Nesting of braces and brackets in an object, at most 127. Default 126: an event line has one level more, and many
    /// JSON parsers refuse a depth of 128.
    pub object_depth_max: u32,
    /// How long an object may stay unfinished. Default 30 s.
    pub object_timeout: Duration,
    /// Objects refused in a row; the last of them ends the connection. Default 16.
    pub rejected_in_a_row_max: u8,
    /// Bytes of commands that may wait for one device. Default 256 KiB.
    pub outbox_bytes_max: usize,
    /// How long a device may take no byte while something waits for it. Default 30 s.
    pub write_timeout: Duration,
    /// How long a stop, or the removal of a device, waits for what is queued. Default 1 s.
    pub close_timeout: Duration,
    /// Bytes of memory for partial objects and for bytes that wait to be sent, of all streams together. Where large
    /// objects have taken most of their part, devices are admitted a few at a time. At least twice
    /// [`Self::object_bytes_max`]. Default 32 MiB.
    pub memory_budget: u64,
    /// Bytes that a device with a large object must send in each heartbeat interval while others queue for memory, or it
    /// queues behind them. Default 8 KiB.
    pub progress_min: usize,
}

/// The heartbeat (protocol.md §1 and §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// From one beat to the next. Default 2 s.
    pub interval: Duration,
    /// Beats that may stay unanswered; at the next one the device is dead. Default 5.
    pub credit: u8,
    /// What refills the credit. Default: any accepted object.
    pub credit_from: CreditFrom,
    /// The bytes of a beat. Default `heartbeat`.
    pub payload: Vec<u8>,
}

/// The names of devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The top-level member of an object whose string or integer is the device's name. Default: none, which means no names.
    pub member: String,
    /// Which connection keeps a name that a second one claims. Default: the newest.
    pub takeover: Takeover,
    /// Takeovers of one name within a minute. More mean that two devices have the name, and for a minute newcomers are
    /// closed as [`Conflict`](crate::CloseReason::Conflict). Default 10.
    pub takeovers_per_minute_max: u32,
    /// The names of ended connections that are remembered. Default 1,000.
    pub remembered_max: usize,
    /// Bytes of commands that may wait for one name that is not connected. Default 16 KiB.
    pub queued_bytes_max: usize,
}

closed_list! {
    /// Which connection keeps a name that a second one claims.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub enum Takeover {
        /// The newest: a device that has restarted comes back before its old connection is known to be dead.
        #[default]
        Newest => "newest",
        /// The oldest.
        Oldest => "oldest",
    }
}

/// Discovery by UDP (protocol.md §2.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// The answer to a probe. Default `udp responsed`.
    pub reply: Vec<u8>,
    /// Answers per second, to all together. Default 1,000.
    pub rate: u32,
    /// Answers at once, to all together. Default 1,000.
    pub burst: u32,
    /// Answers per second to one source. Default 50.
    pub source_rate: u32,
    /// Answers at once to one source. Default 50.
    pub source_burst: u32,
    /// The interfaces on which probes are answered. Default: all.
    pub interfaces: InterfaceRule,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits {
                connections_max: 18_000,
                object_bytes_max: 1 << 20,
                object_depth_max: 126,
                object_timeout: Duration::from_secs(30),
                rejected_in_a_row_max: 16,
                outbox_bytes_max: 256 << 10,
                write_timeout: Duration::from_secs(30),
                close_timeout: Duration::from_secs(1),
                memory_budget: 32 << 20,
                progress_min: 8 << 10,
            },
            heartbeat: Heartbeat {
                interval: heartbeat::INTERVAL,
                credit: heartbeat::CREDIT,
                credit_from: CreditFrom::Any,
                payload: heartbeat::BEAT.to_vec(),
            },
            discovery: Discovery {
                reply: discovery::REPLY.to_vec(),
                rate: 1_000,
                burst: 1_000,
                source_rate: 50,
                source_burst: 50,
                interfaces: InterfaceRule::default(),
            },
            access: Access::default(),
            identity: Identity {
                member: String::new(),
                takeover: Takeover::Newest,
                takeovers_per_minute_max: 10,
                remembered_max: 1_000,
                queued_bytes_max: 16 << 10,
            },
            terminator: Vec::new(),
            command_gap: Duration::ZERO,
        }
    }
}

impl Settings {
    /// The bounds of every value that has any.
    pub const BOUNDS: &'static [Bound] = BOUNDS;

    /// Whether every value is one that can be kept to.
    ///
    /// # Errors
    /// The first of [`Self::errors`].
    pub fn check(&self) -> Result<(), SettingsError> {
        self.errors().into_iter().next().map_or(Ok(()), Err)
    }

    /// Every value that is out of its bounds or contradicts another value.
    pub fn errors(&self) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut add = |name, than, must| errors.push(SettingsError { name, than, must });
        for bound in BOUNDS.iter().filter(|bound| !bound.holds(self)) {
            add(bound.name, None, bound.to_string());
        }
        let (limits, overrides) = (&self.limits, &self.access.connections_per_ip_overrides);
        let mut blocks = BTreeSet::new();
        if !overrides.iter().all(|&(block, _)| blocks.insert(block)) {
            add(OVERRIDES, None, "name each block once".into());
        }
        if overrides.iter().any(|&(_, max)| max == 0 || max > ConnectionId::SLOTS_MAX) {
            add(OVERRIDES, None, format!("be from 1 to {} for every block", ConnectionId::SLOTS_MAX));
        }
        // A beat must be able to go before the next is due, with a command between them.
        if self.command_gap > self.heartbeat.interval / 2 {
            add("commands.gap", Some("heartbeat.interval"), "be at most half of heartbeat.interval".into());
        }
        // While an event waits for a reader, the next object comes.
        for (than, times, bytes) in [
            ("limits.object_bytes_max", "twice ", 2 * u64::from(limits.object_bytes_max)),
            ("limits.outbox_bytes_max", "", limits.outbox_bytes_max as u64),
        ] {
            if limits.memory_budget < bytes {
                add("limits.memory_budget", Some(than), format!("be at least {times}{than}"));
            }
        }
        errors
    }

    /// The part of the settings that a connection goes by.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            object_bytes_max: self.limits.object_bytes_max,
            object_depth_max: self.limits.object_depth_max,
            object_timeout: timeout(self.limits.object_timeout),
            rejected_in_a_row_max: self.limits.rejected_in_a_row_max,
            credit: self.heartbeat.credit,
            credit_from: self.heartbeat.credit_from,
            identity_member: self.identity.member.clone(),
        }
    }
}

/// A timeout in ticks. It is counted from the beginning of the tick in which it is set, so one tick
/// more makes it never early, and at most one tick late.
pub(super) fn timeout(duration: Duration) -> u32 {
    TickClock::ticks(duration) + 1
}

/// The bounds of one value of [`Settings`]. Its text is what the value must be or have.
#[derive(Debug)]
pub struct Bound {
    name: &'static str,
    unit: Unit,
    min: u64,
    max: u64,
    /// The value in the unit; `None` where it is no whole number of them.
    value: fn(&Settings) -> Option<u64>,
}

/// What a bound counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Things that the name says.
    Number,
    /// Things each second.
    PerSecond,
    /// Bytes of room.
    Size,
    /// Bytes of a text.
    Length,
    /// Entries of a list.
    Entries,
    /// Ticks of time.
    Ticks,
}

impl Bound {
    /// Where in [`Settings`] the value stands, such as `limits.connections_max`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    fn holds(&self, settings: &Settings) -> bool {
        (self.value)(settings).is_some_and(|value| (self.min..=self.max).contains(&value))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, max, .. } = self;
        match self.unit {
            Unit::Number => write!(f, "be from {min} to {max}"),
            Unit::PerSecond => write!(f, "be from {min}/s to {max}/s"),
            Unit::Size => write!(f, "be from {:#} to {:#}", ByteSize(*min), ByteSize(*max)),
            Unit::Length if *min == 0 => write!(f, "have at most {max} bytes"),
            Unit::Length => write!(f, "have from {min} to {max} bytes"),
            Unit::Entries => write!(f, "have at most {max} entries"),
            Unit::Ticks if *min == 0 => f.write_str("be a multiple of 100ms, from 0s to 1day"),
            Unit::Ticks => f.write_str("be a multiple of 100ms, from 100ms to 1day"),
        }
    }
}

const BOUNDS: &[Bound] = {
    use Unit::*;
    const SLOTS: u64 = ConnectionId::SLOTS_MAX as u64;
    // Beyond a day a timing is a mistake.
    const DAY: u64 = 24 * 60 * 60 * 10;
    const fn bound(name: &'static str, unit: Unit, min: u64, max: u64, value: fn(&Settings) -> Option<u64>) -> Bound {
        Bound { name, unit, min, max, value }
    }
    &[
        bound("terminator", Length, 0, 16, |s| Some(s.terminator.len() as u64)),
        bound("commands.gap", Ticks, 0, DAY, |s| whole_ticks(s.command_gap)),
        bound("discovery.reply", Length, 1, 512, |s| Some(s.discovery.reply.len() as u64)),
        bound("discovery.rate", PerSecond, 1, 1_000_000, |s| Some(s.discovery.rate.into())),
        bound("discovery.burst", Number, 1, 1_000_000, |s| Some(s.discovery.burst.into())),
        bound("discovery.source_rate", PerSecond, 1, 1_000_000, |s| Some(s.discovery.source_rate.into())),
        bound("discovery.source_burst", Number, 1, 1_000_000, |s| Some(s.discovery.source_burst.into())),
        bound("discovery.interfaces_allow", Entries, 0, 64, |s| Some(s.discovery.interfaces.allow.len() as u64)),
        bound("discovery.interfaces_deny", Entries, 0, 64, |s| Some(s.discovery.interfaces.deny.len() as u64)),
        bound("heartbeat.interval", Ticks, 1, DAY, |s| whole_ticks(s.heartbeat.interval)),
        bound("heartbeat.credit", Number, 1, 255, |s| Some(s.heartbeat.credit.into())),
        bound("heartbeat.payload", Length, 1, 1 << 10, |s| Some(s.heartbeat.payload.len() as u64)),
        bound("limits.connections_max", Number, 1, SLOTS, |s| Some(s.limits.connections_max as u64)),
        bound("limits.object_bytes_max", Size, 2, 1 << 30, |s| Some(s.limits.object_bytes_max.into())),
        bound("limits.object_depth_max", Number, 1, 127, |s| Some(s.limits.object_depth_max.into())),
        bound("limits.object_timeout", Ticks, 1, DAY, |s| whole_ticks(s.limits.object_timeout)),
        bound("limits.rejected_in_a_row_max", Number, 1, 255, |s| Some(s.limits.rejected_in_a_row_max.into())),
        bound("limits.outbox_bytes_max", Size, 1, 1 << 30, |s| Some(s.limits.outbox_bytes_max as u64)),
        bound("limits.write_timeout", Ticks, 1, DAY, |s| whole_ticks(s.limits.write_timeout)),
        bound("limits.close_timeout", Ticks, 1, DAY, |s| whole_ticks(s.limits.close_timeout)),
        bound("limits.memory_budget", Size, 64 << 10, 1 << 40, |s| Some(s.limits.memory_budget)),
        bound("limits.progress_min", Size, 1, 1 << 30, |s| Some(s.limits.progress_min as u64)),
        bound("access.allow", Entries, 0, 1024, |s| Some(s.access.allow.len() as u64)),
        bound("access.deny", Entries, 0, 1024, |s| Some(s.access.deny.len() as u64)),
        bound("access.connections_per_ip_max", Number, 1, SLOTS, |s| Some(s.access.connections_per_ip_max as u64)),
        bound("identity.member", Length, 0, 128, |s| Some(s.identity.member.len() as u64)),
        bound("identity.takeovers_per_minute_max", Number, 1, 10_000, |s| {
            Some(s.identity.takeovers_per_minute_max.into())
        }),
        bound("identity.remembered_max", Number, 0, 10_000, |s| Some(s.identity.remembered_max as u64)),
        bound("identity.queued_bytes_max", Size, 0, 1 << 20, |s| Some(s.identity.queued_bytes_max as u64)),
        bound(OVERRIDES, Entries, 0, 1024, |s| Some(s.access.connections_per_ip_overrides.len() as u64)),
    ]
};

const OVERRIDES: &str = "access.connections_per_ip_overrides";

/// A duration in ticks, if it is a whole number of them.
fn whole_ticks(duration: Duration) -> Option<u64> {
    let whole = duration.as_nanos().is_multiple_of(TICK.as_nanos());
    // What does not fit into 64 bits is out of bounds anyhow.
    whole.then(|| u64::try_from(duration.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX))
}

/// A value that the gateway could not keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    name: &'static str,
    than: Option<&'static str>,
    must: String,
}

impl SettingsError {
    /// Where in [`Settings`] the value stands that is wrong, such as `limits.connections_max`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The other value, where it is wrong only beside that one.
    pub fn than(&self) -> Option<&'static str> {
        self.than
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must {}", self.name, self.must)
    }
}

impl std::error::Error for SettingsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_and_impossible_values_are_named() {
        fn check(change: fn(&mut Settings), expected: &str) {
            let mut settings = Settings::default();
            change(&mut settings);
            let got = settings.check().map_or_else(|error| error.to_string(), |()| String::new());
            assert_eq!(got, expected);
        }
        check(|_| (), "");
        check(|s| s.limits.object_depth_max = 127, "");
        check(|s| s.limits.object_depth_max = 128, "limits.object_depth_max must be from 1 to 127");
        check(|s| s.limits.connections_max = 0, "limits.connections_max must be from 1 to 1048576");
        check(|s| s.limits.object_bytes_max = 1, "limits.object_bytes_max must be from 2B to 1GiB");
        check(|s| s.heartbeat.credit = 0, "heartbeat.credit must be from 1 to 255");
        check(|s| s.heartbeat.payload.clear(), "heartbeat.payload must have from 1 to 1024 bytes");
        check(|s| s.command_gap = Duration::from_secs(1), "");
        check(
            |s| s.command_gap = Duration::from_millis(1_100),
            "commands.gap must be at most half of heartbeat.interval",
        );
        check(|s| s.terminator = vec![0; 17], "terminator must have at most 16 bytes");
        check(|s| s.discovery.source_rate = 0, "discovery.source_rate must be from 1/s to 1000000/s");
        check(|s| s.access.deny = vec!["::1".parse().unwrap(); 1025], "access.deny must have at most 1024 entries");
        for (interval, fits) in [
            (Duration::from_millis(100), true),
            (Duration::from_secs(86_400), true),
            (Duration::ZERO, false),
            (Duration::from_millis(150), false),
            (Duration::from_millis(86_400_100), false),
            (Duration::MAX, false),
        ] {
            let mut settings = Settings::default();
            settings.heartbeat.interval = interval;
            let got = settings.check().map_err(|error| error.to_string());
            let error = "heartbeat.interval must be a multiple of 100ms, from 100ms to 1day";
            assert_eq!(got, if fits { Ok(()) } else { Err(error.into()) }, "{interval:?}");
        }
        check(
            |s| s.access.connections_per_ip_overrides = vec![("::1".parse().unwrap(), 0)],
            "access.connections_per_ip_overrides must be from 1 to 1048576 for every block",
        );
        check(
            |s| s.access.connections_per_ip_overrides = ["::1", "::1/128"].map(|b| (b.parse().unwrap(), 1)).to_vec(),
            "access.connections_per_ip_overrides must name each block once",
        );
        check(
            |s| s.limits.object_bytes_max = (16 << 20) + 1,
            "limits.memory_budget must be at least twice limits.object_bytes_max",
        );
        check(
            |s| s.limits.outbox_bytes_max = 33 << 20,
            "limits.memory_budget must be at least limits.outbox_bytes_max",
        );
    }
}
