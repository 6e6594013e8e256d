//! Statistics and devices as JSON, for `pulsegate stats` and `pulsegate devices`.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use pulsegate::{ClosedList, Context, Count, Counters, Device, Histogram, Kind, Missing, Name};
use serde_json::{Map, Value, json};

use crate::events::Boot;

/// Returns a device as JSON. Ages are in seconds, rounded down to 0.1 s.
pub(crate) fn device(device: &Device) -> Value {
    json!({
        "conn": device.id().get(),
        "name": device.name().map(Name::as_str),
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

/// A named device that is not connected, as `pulsegate devices --all --json` shows it.
pub(crate) fn missing(gone: &Missing<'_>) -> Value {
    json!({ "name": gone.name, "gone_s": seconds(gone.gone_for), "reason": gone.reason })
}

fn seconds(age: Duration) -> f64 {
    (age.as_millis() / 100) as f64 / 10.0
}

/// Statistics of the daemon, beside those of the library.
#[derive(Debug, Default)]
pub(crate) struct DaemonStats {
    /// The longest turn of the event loop in the last minute.
    pub(crate) longest_turn: Duration,
    /// Failed calls of accept(2).
    pub(crate) accept_errors: u64,
    /// The random word of this run.
    pub(crate) boot: Boot,
    /// The number of the last event.
    pub(crate) events: u64,
    /// Events that the gateway dropped for any consumer.
    pub(crate) events_missed: u64,
    /// The state of standard output, and the number of events that it missed because it was closed.
    pub(crate) stdout: (&'static str, u64),
}

/// One statistic. The JSON, the metrics and pulsegate-control(7) come from the table of these.
pub(crate) struct Figure {
    /// The names of the nested members, separated by dots.
    pub(crate) path: &'static str,
    /// The sentences for the manual and the metric.
    pub(crate) about: &'static str,
    pub(crate) metric: Metric,
    value: fn(&Source<'_>) -> Value,
}

/// The Prometheus metric of a statistic. Names lack the prefix `pulsegate_`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Metric {
    /// A number that never decreases.
    Counter(&'static str),
    /// A number that increases and decreases.
    Gauge(&'static str),
    /// A counter for each word, with the label for the word.
    CounterBy(&'static str, &'static str),
    /// A counter of objects and a counter of bytes for each word.
    CountAndBytesBy([&'static str; 2], &'static str),
    /// A text, with the label for it.
    Info(&'static str, &'static str),
    /// Pairs of bound and count, beside a `sum`.
    Histogram(&'static str),
    /// A part of another statistic.
    Part,
}

/// The sources of the statistics.
struct Source<'a> {
    gateway: &'a Context<'a>,
    daemon: &'a DaemonStats,
}

macro_rules! figures {
    ($($path:literal: $about:literal, $metric:expr, $value:expr;)*) => {
        /// Every figure, in the order of the manual.
        pub(crate) const FIGURES: &[Figure] = &[$(Figure {
            path: $path,
            about: $about,
            metric: $metric,
            value: $value,
        }),*];
    };
}

figures! {
    "version": "The version of the gateway.",
        Metric::Info("build_info", "version"), |_| json!(env!("CARGO_PKG_VERSION"));
    "uptime_s": "Seconds since the gateway started.",
        Metric::Gauge("uptime_seconds"), |from| json!(from.gateway.uptime().as_secs());
    "longest_turn_us": "The longest turn of the event loop in the last minute. \
        Above some hundred milliseconds the machine is too busy.",
        Metric::Gauge("longest_turn_seconds"), |from| micros(from.daemon.longest_turn);
    "boot": "A random word for this run of the gateway. Event numbers of two runs do not compare.",
        Metric::Info("boot_info", "boot"), |from| json!(from.daemon.boot.to_string());
    "events": "The number of the last event.",
        Metric::Counter("events_total"), |from| json!(from.daemon.events);
    "events_missed": "Events that the gateway dropped because their consumer was too slow or closed.",
        Metric::Counter("events_missed_total"), |from| json!(from.daemon.events_missed);
    "stdout.state": "The state of standard output: open, closed (its reader has ended), or none (no events go there).",
        Metric::Info("stdout_info", "state"), |from| json!(from.daemon.stdout.0);
    "stdout.missed": "Events that standard output missed because it was closed.",
        Metric::Counter("stdout_missed_total"), |from| json!(from.daemon.stdout.1);

    "connections.now": "Devices that are connected.",
        Metric::Gauge("connections"), |from| json!(from.gateway.connections());
    "connections.accepted": "Connections that counted as devices.",
        Metric::Counter("connections_accepted_total"), |from| json!(from.gateway.stats().accepted);
    "connections.refused": "Refused connections, by reason.",
        Metric::CounterBy("connections_refused_total", "reason"), |from| by_word(&from.gateway.stats().refused);
    "connections.accept_errors": "Failed calls of accept(2), for instance when the process is out of file descriptors.",
        Metric::Counter("connections_accept_errors_total"), |from| json!(from.daemon.accept_errors);
    "connections.closed": "Ended connections, by reason.",
        Metric::CounterBy("connections_closed_total", "reason"), |from| by_word(&from.gateway.stats().closed);

    "messages": "The number and the bytes of accepted objects, by kind. Other is any other Type.",
        Metric::CountAndBytesBy(["messages_total", "message_bytes_total"], "kind"), |from| counts(&from.gateway.stats().messages);
    "rejected": "The number and the bytes of rejected objects, by reason.",
        Metric::CountAndBytesBy(["rejected_objects_total", "rejected_bytes_total"], "reason"), |from| counts(&from.gateway.stats().rejected);

    "bytes.received": "Bytes from devices. Accepted objects, rejected objects and the next three add up to them.",
        Metric::Counter("received_bytes_total"), |from| json!(from.gateway.stats().received_bytes);
    "bytes.padding": "Bytes between objects.",
        Metric::Counter("padding_bytes_total"), |from| json!(from.gateway.stats().padding_bytes);
    "bytes.unfinished": "Bytes of objects that never became complete.",
        Metric::Counter("unfinished_bytes_total"), |from| json!(from.gateway.stats().unfinished_bytes);
    "bytes.discarded": "Bytes behind a framing error, or of a connection that was closing.",
        Metric::Counter("discarded_bytes_total"), |from| json!(from.gateway.stats().discarded_bytes);
    "bytes.sent": "Bytes of commands and beats that the kernel took.",
        Metric::Counter("sent_bytes_total"), |from| json!(from.gateway.stats().sent_bytes);
    "bytes.unsent": "Bytes of commands and beats that were still queued when their connection ended.",
        Metric::Counter("unsent_bytes_total"), |from| json!(from.gateway.stats().unsent_bytes);

    "beats.sent": "Beats that the gateway sent.",
        Metric::Counter("beats_sent_total"), |from| json!(from.gateway.stats().beats_sent);
    "beats.answered": "Heartbeat answers, including answers without a beat.",
        Metric::Counter("beats_answered_total"), |from| json!(from.gateway.stats().messages[&Kind::Heartbeat].count);
    "beats.missed": "Beats that were due while an earlier beat was unanswered.",
        Metric::Counter("beats_missed_total"), |from| json!(from.gateway.stats().beats_missed);
    "beats.withheld": "Beats that the gateway did not send, because the device had queued bytes.",
        Metric::Counter("beats_withheld_total"), |from| json!(from.gateway.stats().beats_withheld);
    "beats.round_trip_us.p50": "The median round trip, which is the time from a beat to its answer.",
        Metric::Part, |from| percentile(from, 50);
    "beats.round_trip_us.p99": "The round trip that 99 of 100 answers do not exceed.",
        Metric::Part, |from| percentile(from, 99);
    "beats.round_trip_us.max": "The longest round trip.",
        Metric::Part, |from| {
        let round_trip = round_trip(from);
        if round_trip.count() > 0 { micros(round_trip.longest()) } else { Value::Null }
    };

    "beats.round_trip_us.sum": "The sum of all round trips.", Metric::Part, |from| micros(round_trip(from).sum());
    "beats.round_trip_us.buckets": "A histogram: pairs of a bound and the number of round trips below it. \
        The last pair counts all round trips.",
        Metric::Histogram("beat_round_trip_seconds"), buckets;

    "commands.queued": "Commands that the gateway queued for a device.",
        Metric::Counter("commands_queued_total"), |from| json!(from.gateway.stats().commands_queued);
    "commands.sent": "Commands that the kernel took.",
        Metric::Counter("commands_sent_total"), |from| json!(from.gateway.stats().commands_sent);
    "commands.refused": "Refused commands, by error word.",
        Metric::CounterBy("commands_refused_total", "reason"), |from| by_word(&from.gateway.stats().commands_refused);

    "commands.ended": "Ends of commands that waited for a name or an answer, by state.",
        Metric::CounterBy("commands_ended_total", "state"), |from| by_word(&from.gateway.stats().commands_ended);
    "commands.waiting": "Commands that wait for a name that is not connected.",
        Metric::Gauge("commands_waiting"), |from| json!(from.gateway.commands_out().0);
    "commands.awaiting": "Commands that the kernel took and that await an answer.",
        Metric::Gauge("commands_awaiting"), |from| json!(from.gateway.commands_out().1);

    "names": "Names of connections, by event: a connection got a name (identified), also by takeover. It was closed \
        (conflict). An object had no valid name (invalid), or another name than its connection (changed). There was no \
        memory for a name (no_memory).",
        Metric::CounterBy("names_total", "event"), |from| by_word(&from.gateway.stats().names);

    "discovery.asked": "Probes that the gateway received.",
        Metric::Counter("probes_total"), |from| json!(from.gateway.stats().probes);
    "discovery.answered": "Probes that the gateway answered.",
        Metric::Counter("probes_answered_total"), |from| json!(from.gateway.stats().probes_answered);
    "discovery.suppressed": "Probes that the gateway did not answer, by reason.",
        Metric::CounterBy("probes_suppressed_total", "reason"), |from| by_word(&from.gateway.stats().probes_suppressed);

    "memory.budget_bytes": "The value of limits.memory_budget.",
        Metric::Gauge("memory_budget_bytes"), |from| json!(from.gateway.settings().limits.memory_budget);
    "memory.used_bytes": "Bytes of the budget that are in use.",
        Metric::Gauge("memory_used_bytes"), |from| json!(from.gateway.memory().0);
    "memory.objects_bytes": "The part of memory.used_bytes that partial objects hold.",
        Metric::Gauge("memory_objects_bytes"), |from| json!(from.gateway.buffered().0);
    "memory.outboxes_bytes": "The part of memory.used_bytes that send queues hold.",
        Metric::Gauge("memory_outboxes_bytes"), |from| json!(from.gateway.buffered().1);
    "memory.devices_waiting": "Devices that are paused until memory is free.",
        Metric::Gauge("memory_devices_waiting"), |from| json!(from.gateway.memory().1);
    "memory.pauses": "The number of times that the gateway paused a device.",
        Metric::Counter("memory_pauses_total"), |from| json!(from.gateway.stats().pauses);

    "process.resident_bytes": "Resident memory of the process.",
        Metric::Gauge("process_resident_memory_bytes"), |_| json!(resident_bytes());
    "process.descriptors": "Open file descriptors.",
        Metric::Gauge("process_open_fds"), |_| json!(descriptors());
    "process.descriptors_max": "The limit on file descriptors.",
        Metric::Gauge("process_max_fds"), |_| json!(getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft));
}

/// Counts the open file descriptors. Since Linux 6.2 the size of the directory is their number, and a listing of thousands
/// would take milliseconds.
fn descriptors() -> Option<usize> {
    const OPEN: &str = "/proc/self/fd";
    match fs::metadata(OPEN).ok()?.len() {
        0 => fs::read_dir(OPEN).ok().map(Iterator::count),
        number => Some(number as usize),
    }
}

/// Returns every statistic of the gateway and of its process.
pub(crate) fn collect(gateway: &Context<'_>, daemon: &DaemonStats) -> Value {
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

/// Returns pairs of a bound and the number of round trips up to it, from 128 us to 134 s. A usual credit allows no longer
/// round trip. The last pair counts all round trips.
fn buckets(from: &Source<'_>) -> Value {
    let mut below = 0;
    let pairs = round_trip(from).buckets().map(|(bound, count)| {
        below += count;
        json!([micros(bound), below])
    });
    let mut pairs: Vec<Value> = pairs.skip(BUCKETS.start).collect();
    pairs.truncate(BUCKETS.len());
    pairs.push(json!([null, below]));
    pairs.into()
}

/// The range of the library's buckets that the JSON contains.
const BUCKETS: std::ops::Range<usize> = 7..28;

fn by_word<L: ClosedList>(counters: &Counters<L>) -> Value {
    object(&mut counters.iter().map(|(word, count)| (word, json!(count))))
}

fn counts<L: ClosedList>(counters: &Counters<L, Count>) -> Value {
    object(&mut counters.iter().map(|(word, count)| (word, json!({ "count": count.count, "bytes": count.bytes }))))
}

/// Not generic, because each instance would add kilobytes of code. `collect` would add more, because it sorts.
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
