//! Counters and devices as JSON, for `pulsegate stats` and `pulsegate devices`.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use pulsegate::{ClosedList, Commands, Count, Counters, Device, Histogram, Kind};
use serde_json::{Map, Value, json};

/// A device as `pulsegate devices --json` shows it; ages are in seconds.
pub(crate) fn device(device: &Device) -> Value {
    let seconds = |age: Duration| (age.as_millis() / 100) as f64 / 10.0;
    json!({
        "conn": device.id().get(),
        "ip": device.ip().to_string(),
        "port": device.port(),
        "connected_s": seconds(device.connected_for()),
        "seen_s": seconds(device.idle_for()),
        "credit": device.credit(),
        "objects": device.objects(),
        "bytes": device.bytes(),
        "last_type": device.last_kind().map(|kind| kind.as_str()),
    })
}

/// What the daemon knows besides what the library counts.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// The longest turn of the loop in the last minute.
    pub(crate) longest_turn: Duration,
    /// Lines that those who follow events were too slow for.
    pub(crate) events_missed: u64,
}

/// One figure of `stats`. The JSON and pulsegate-control(7) are made from the table of these.
pub(crate) struct Figure {
    /// The names of the members on the way to it.
    pub(crate) path: &'static str,
    /// What it tells, as it stands in the manual.
    #[cfg(test)]
    pub(crate) about: &'static str,
    value: fn(&Source<'_>) -> Value,
}

/// What the figures are taken from.
struct Source<'a> {
    gateway: &'a Commands<'a>,
    daemon: &'a Figures,
}

macro_rules! figures {
    ($($path:literal: $about:literal, $value:expr;)*) => {
        /// Every figure, in the order of the manual.
        pub(crate) const FIGURES: &[Figure] = &[$(Figure {
            path: $path,
            #[cfg(test)]
            about: $about,
            value: $value,
        }),*];
    };
}

figures! {
    "version": "The version of the gateway.", |_| json!(env!("CARGO_PKG_VERSION"));
    "uptime_s": "How long the gateway has been running.", |from| json!(from.gateway.uptime().as_secs());
    "longest_turn_us": "How long the event loop served no device, at worst, in the last minute. \
        More than some hundred milliseconds: the machine is too busy.", |from| micros(from.daemon.longest_turn);
    "events_missed": "Dropped events: their consumers were too slow.", |from| json!(from.daemon.events_missed);

    "connections.now": "Devices that are connected.", |from| json!(from.gateway.connections());
    "connections.accepted": "Connections that counted as devices.", |from| json!(from.gateway.stats().accepted);
    "connections.refused": "Refused connections, by reason.", |from| by_word(&from.gateway.stats().refused);
    "connections.closed": "Ended connections, by reason.", |from| by_word(&from.gateway.stats().closed);

    "messages": "The count and the bytes of accepted objects, by kind. Other is any other Type.",
        |from| counts(&from.gateway.stats().messages);
    "rejected": "The count and the bytes of rejected objects, by reason.",
        |from| counts(&from.gateway.stats().rejected);

    "bytes.received": "Bytes from devices: the sum of messages, rejected objects and the next three.",
        |from| json!(from.gateway.stats().received_bytes);
    "bytes.padding": "Bytes between objects.", |from| json!(from.gateway.stats().padding_bytes);
    "bytes.unfinished": "Bytes of objects that never became complete.",
        |from| json!(from.gateway.stats().unfinished_bytes);
    "bytes.discarded": "Bytes behind a framing error, or of a connection that was closing.",
        |from| json!(from.gateway.stats().discarded_bytes);
    "bytes.sent": "Bytes of commands and beats that the kernel took.", |from| json!(from.gateway.stats().sent_bytes);
    "bytes.unsent": "Bytes of commands and beats that a device's end left unsent.",
        |from| json!(from.gateway.stats().unsent_bytes);

    "beats.sent": "Beats that the gateway sent.", |from| json!(from.gateway.stats().beats_sent);
    "beats.answered": "Heartbeat answers, also those that no beat asked for.",
        |from| json!(from.gateway.stats().messages[&Kind::Heartbeat].count);
    "beats.missed": "Beats that were due while an earlier beat was unanswered.",
        |from| json!(from.gateway.stats().beats_missed);
    "beats.withheld": "Beats that the gateway did not send, because queued bytes still waited.",
        |from| json!(from.gateway.stats().beats_withheld);
    "beats.round_trip_us.p50": "The time from a beat to the answer that belongs to it: half of the answers were quicker.",
        |from| percentile(from, 50);
    "beats.round_trip_us.p99": "The same for 99 of 100 answers.", |from| percentile(from, 99);
    "beats.round_trip_us.max": "The longest.", |from| {
        let round_trip = round_trip(from);
        if round_trip.count() > 0 { micros(round_trip.longest()) } else { Value::Null }
    };

    "commands.queued": "Commands that the gateway queued for a device.",
        |from| json!(from.gateway.stats().commands_queued);
    "commands.sent": "Commands that the kernel took.", |from| json!(from.gateway.stats().commands_sent);
    "commands.refused": "Refused commands, by error word.", |from| by_word(&from.gateway.stats().commands_refused);

    "discovery.asked": "Probes that came.", |from| json!(from.gateway.stats().probes);
    "discovery.answered": "Probes that the gateway answered.", |from| json!(from.gateway.stats().probes_answered);
    "discovery.suppressed": "Probes that the gateway did not answer, by reason.",
        |from| by_word(&from.gateway.stats().probes_suppressed);

    "memory.budget_bytes": "The value of limits.memory_budget.",
        |from| json!(from.gateway.settings().limits.memory_budget);
    "memory.used_bytes": "Bytes of the budget that are in use.", |from| json!(from.gateway.memory().0);
    "memory.objects_bytes": "Bytes of these that partial objects hold.", |from| json!(from.gateway.buffered().0);
    "memory.outboxes_bytes": "Bytes of these that send queues hold.", |from| json!(from.gateway.buffered().1);
    "memory.devices_waiting": "Devices that are paused until memory is free.", |from| json!(from.gateway.memory().1);
    "memory.pauses": "How often the gateway paused a device.", |from| json!(from.gateway.stats().pauses);

    "process.resident_bytes": "Resident memory of the process.", |_| json!(resident_bytes());
    "process.descriptors": "Open file descriptors.",
        |_| json!(fs::read_dir("/proc/self/fd").ok().map(Iterator::count));
    "process.descriptors_max": "The limit on file descriptors.",
        |_| json!(getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft));
}

/// Every figure of the gateway and of its process.
pub(crate) fn collect(gateway: &Commands<'_>, daemon: &Figures) -> Value {
    let source = Source { gateway, daemon };
    let mut stats = Value::Object(Map::new());
    for figure in FIGURES {
        let place = figure.path.split('.').fold(&mut stats, |place, name| &mut place[name]);
        *place = (figure.value)(&source);
    }
    stats
}

fn micros(duration: Duration) -> Value {
    json!(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

fn round_trip<'a>(from: &Source<'a>) -> &'a Histogram {
    &from.gateway.stats().beat_round_trip
}

fn percentile(from: &Source<'_>, percent: u32) -> Value {
    round_trip(from).percentile(percent).map_or(Value::Null, micros)
}

fn by_word<L: ClosedList>(counters: &Counters<L>) -> Value {
    object(&mut counters.iter().map(|(word, count)| (word, json!(count))))
}

fn counts<L: ClosedList>(counters: &Counters<L, Count>) -> Value {
    object(&mut counters.iter().map(|(word, count)| (word, json!({ "count": count.count, "bytes": count.bytes }))))
}

/// One function for all, since each costs kilobytes of code. Collecting would cost more: it sorts first.
fn object(members: &mut dyn Iterator<Item = (&'static str, Value)>) -> Value {
    let mut object = Map::new();
    members.for_each(|(name, value)| drop(object.insert(name.to_owned(), value)));
    object.into()
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    resident.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}
