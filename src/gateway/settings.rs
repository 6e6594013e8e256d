//! Every bound and timing of the gateway, with unit and default. Floor 2.

use std::fmt;
use std::time::Duration;

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
    /// Put behind every command and beat, for devices that want to tell them apart. Default: nothing.
    pub terminator: Vec<u8>,
}

/// Whatever can grow has its bound here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Devices connected at one time. Default 20,000.
    pub connections_max: usize,
    /// Length of one object in bytes. Default 1 MiB.
    pub object_bytes_max: u32,
    /// Nesting of braces and brackets in an object, at most 127. Default 127.
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
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits {
                connections_max: 20_000,
                object_bytes_max: 1 << 20,
                object_depth_max: 127,
                object_timeout: Duration::from_secs(30),
                rejected_in_a_row_max: 16,
                outbox_bytes_max: 256 << 10,
                write_timeout: Duration::from_secs(30),
                close_timeout: Duration::from_secs(1),
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
            },
            terminator: Vec::new(),
        }
    }
}

impl Settings {
    /// Whether every value is one that can be kept to.
    ///
    /// # Errors
    /// The first value that cannot, and what it may be.
    pub fn check(&self) -> Result<(), SettingsError> {
        let (l, h, d) = (&self.limits, &self.heartbeat, &self.discovery);
        in_range("connections_max", l.connections_max, 1, ConnectionId::SLOTS_MAX)?;
        in_range("object_bytes_max", l.object_bytes_max as usize, 2, 1 << 30)?;
        in_range("object_depth_max", l.object_depth_max as usize, 1, 127)?;
        in_range("rejected_in_a_row_max", l.rejected_in_a_row_max as usize, 1, 255)?;
        in_range("outbox_bytes_max", l.outbox_bytes_max, 1, 1 << 30)?;
        in_range("credit", h.credit as usize, 1, 255)?;
        in_range("payload", h.payload.len(), 1, 1 << 10)?;
        in_range("terminator", self.terminator.len(), 0, 16)?;
        in_range("reply", d.reply.len(), 1, 512)?;
        in_range("rate", d.rate as usize, 1, 1_000_000)?;
        in_range("burst", d.burst as usize, 1, 1_000_000)?;
        in_range("source_rate", d.source_rate as usize, 1, 1_000_000)?;
        in_range("source_burst", d.source_burst as usize, 1, 1_000_000)?;
        for (name, value) in [
            ("object_timeout", l.object_timeout),
            ("write_timeout", l.write_timeout),
            ("close_timeout", l.close_timeout),
            ("interval", h.interval),
        ] {
            if value < TICK || value > DAY || value.as_nanos() % TICK.as_nanos() != 0 {
                return Err(SettingsError { name, must: Must::BeTicks });
            }
        }
        Ok(())
    }

    /// The part of the settings that a connection goes by.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            object_bytes_max: self.limits.object_bytes_max,
            object_depth_max: self.limits.object_depth_max,
            object_timeout: timeout(self.limits.object_timeout),
            rejected_in_a_row_max: self.limits.rejected_in_a_row_max,
            credit_from: self.heartbeat.credit_from,
        }
    }
}

/// A timeout in ticks. It is counted from the beginning of the tick in which it is set, so one tick
/// more makes it never early, and at most one tick late.
pub(super) fn timeout(duration: Duration) -> u32 {
    TickClock::ticks(duration) + 1
}

/// The longest timing: beyond a day it is a mistake.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn in_range(name: &'static str, value: usize, min: usize, max: usize) -> Result<(), SettingsError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(SettingsError { name, must: Must::BeWithin(min, max) })
}

/// A value that the gateway could not keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    name: &'static str,
    must: Must,
}

impl SettingsError {
    /// The field of [`Settings`] that is wrong.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Must {
    BeWithin(usize, usize),
    BeTicks,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        match self.must {
            Must::BeWithin(min, max) => write!(f, "{name} must be from {min} to {max}"),
            Must::BeTicks => write!(f, "{name} must be a multiple of 100ms, from 100ms to 1day"),
        }
    }
}

impl std::error::Error for SettingsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_and_impossible_values_are_named() {
        let check = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check().map_err(|e| e.to_string())
        };
        assert_eq!(check(|_| ()), Ok(()));
        let depth = check(|s| s.limits.object_depth_max = 128);
        assert_eq!(depth, Err("object_depth_max must be from 1 to 127".into()));
        let interval = check(|s| s.heartbeat.interval = Duration::from_millis(150));
        assert_eq!(interval, Err("interval must be a multiple of 100ms, from 100ms to 1day".into()));
        assert!(check(|s| s.heartbeat.credit = 0).is_err());
    }
}
