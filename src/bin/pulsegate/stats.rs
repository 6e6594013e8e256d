//! Counters and devices as JSON, for `pulsegate stats` and `pulsegate devices`.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use pulsegate::{CloseReason, Commands, Count, Device, Kind, Reason, Refusal, Suppressed};
use serde_json::{Map, Value, json};

/// A device as `pulsegate devices --json` shows it; ages are in seconds.
pub(crate) fn device(device: &Device, gateway: &Commands<'_>) -> Value {
    let seconds = |age: Duration| (age.as_millis() / 100) as f64 / 10.0;
    json!({
        "conn": device.id().get(),
        "ip": device.ip().to_string(),
        "port": device.port(),
        "connected_s": seconds(gateway.age(device.since())),
        "seen_s": seconds(gateway.age(device.seen())),
        "credit": device.credit(),
        "objects": device.objects(),
        "bytes": device.bytes(),
        "last_type": device.last_kind().map(|kind| format!("{kind:?}")),
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

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Every counter and figure of the gateway and of its process.
pub(crate) fn collect(gateway: &Commands<'_>, daemon: &Figures) -> Value {
    let stats = gateway.stats();
    let (objects, outboxes) = gateway.buffered();
    let (used, waiting) = gateway.memory();
    let round_trip = &stats.beat_round_trip;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": gateway.uptime().as_secs(),
        "longest_turn_us": micros(daemon.longest_turn),
        "events_missed": daemon.events_missed,
        "connections": {
            "now": gateway.connections(),
            "accepted": stats.accepted,
            "refused": by_word(&Refusal::WORDS, &stats.refused),
            "closed": by_word(&CloseReason::WORDS, &stats.closed),
        },
        "messages": counts(&Kind::ALL.map(|kind| format!("{kind:?}")), &stats.messages),
        "rejected": counts(&Reason::ALL.map(Reason::as_str), &stats.rejected),
        "bytes": numbers(&[
            ("received", stats.received_bytes),
            ("padding", stats.padding_bytes),
            ("unfinished", stats.unfinished_bytes),
            ("discarded", stats.discarded_bytes),
            ("sent", stats.sent_bytes),
            ("unsent", stats.unsent_bytes),
        ]),
        "beats": {
            "sent": stats.beats_sent,
            "answered": stats.messages[Kind::Heartbeat as usize].count,
            "missed": stats.beats_missed,
            "withheld": stats.beats_withheld,
            "round_trip_us": {
                "p50": round_trip.percentile(50).map(micros),
                "p99": round_trip.percentile(99).map(micros),
                "max": (round_trip.count() > 0).then(|| micros(round_trip.longest())),
            },
        },
        "commands": {
            "queued": stats.commands_queued,
            "sent": stats.commands_sent,
            "refused": numbers(&[
                ("outbox_full", stats.commands_refused_full),
                ("no_memory", stats.commands_refused_memory),
                ("no_such_device", stats.commands_refused_unknown),
            ]),
        },
        "discovery": {
            "asked": stats.probes,
            "answered": stats.probes_answered,
            "suppressed": by_word(&Suppressed::ALL.map(Suppressed::as_str), &stats.probes_suppressed),
        },
        "memory": numbers(&[
            ("budget_bytes", gateway.settings().limits.memory_budget),
            ("used_bytes", used as u64),
            ("objects_bytes", objects as u64),
            ("outboxes_bytes", outboxes as u64),
            ("devices_waiting", waiting as u64),
            ("pauses", stats.pauses),
        ]),
        "process": process(),
    })
}

fn by_word(words: &[&str], numbers: &[u64]) -> Value {
    object(&mut words.iter().zip(numbers).map(|(word, number)| (*word, json!(number))))
}

fn counts(words: &[impl AsRef<str>], counts: &[Count]) -> Value {
    let shown = |count: &Count| numbers(&[("count", count.count), ("bytes", count.bytes)]);
    object(&mut words.iter().zip(counts).map(|(word, count)| (word.as_ref(), shown(count))))
}

fn numbers(members: &[(&str, u64)]) -> Value {
    object(&mut members.iter().map(|(name, number)| (*name, json!(number))))
}

/// One function for all, since each costs kilobytes of code. Collecting would cost more: it sorts first.
fn object(members: &mut dyn Iterator<Item = (&str, Value)>) -> Value {
    let mut object = Map::new();
    members.for_each(|(name, value)| drop(object.insert(name.to_owned(), value)));
    object.into()
}

/// What the system says of this process; what it does not say is null.
fn process() -> Value {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    json!({
        "resident_bytes": resident.map(|kilobytes| kilobytes << 10),
        "descriptors": fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
        "descriptors_max": getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
    })
}
