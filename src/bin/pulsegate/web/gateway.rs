//! The gateway as the page knows it: the last statistics, the last list of devices, and the events.
//!
//! Two connections lead to the gateway, so that no picture among the events delays a question. Questions of several
//! browsers are asked once.

use std::time::{Duration, Instant};

use pulsegate::ConnectionId;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::history::{History, STEP};
use super::link::Link;
use super::ring::Ring;
use super::table::Table;

/// How old figures may be that answer a question.
const STATS_AGE_MAX: Duration = Duration::from_secs(1);
/// How old a list of devices may be that answers a question.
const TABLE_AGE_MAX: Duration = Duration::from_secs(2);
/// How long the events go on without a page that follows them, so that a page that reconnects misses none.
const LINGER: Duration = Duration::from_secs(60);
/// Bytes of events that are kept for pages.
const RING_BYTES_MAX: usize = 1 << 20;

/// The ids of requests. Commands have those from [`FIRST_COMMAND`] on.
const STATS: u64 = 1;
const DEVICES: u64 = 2;
const CONFIG: u64 = 3;
const FIRST_COMMAND: u64 = 16;

/// The two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Questions and commands.
    Ask,
    /// Events.
    Watch,
}

/// The subject of an answer of the gateway.
#[derive(Debug, PartialEq)]
pub(super) enum Answered {
    Stats,
    Devices,
    /// A command, with the whole answer.
    Command(u64, String),
}

/// The state of the gateway, as of its last answers.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) ask: Link,
    pub(super) watch: Link,
    /// The last figures, and when they came.
    stats: Option<(Instant, String)>,
    table: Option<(Instant, Table)>,
    /// The list that is coming.
    next_table: Table,
    asked_stats: bool,
    asked_devices: bool,
    /// Whether the next figures are a sample.
    sampling: bool,
    pub(super) history: History,
    pub(super) ring: Ring,
    sample_at: Instant,
    /// Until when events are wanted. `None` while a page follows them.
    pub(super) watch_until: Option<Instant>,
    next_command: u64,
    /// The addresses for devices, as the configuration of the gateway has them.
    addresses: Value,
}

/// An answer's head. The other members are parsed where they are used.
#[derive(Deserialize)]
struct Head<'a> {
    id: Option<u64>,
    ok: Option<bool>,
    #[serde(borrow)]
    device: Option<&'a RawValue>,
    #[serde(borrow)]
    gone: Option<&'a RawValue>,
    #[serde(borrow)]
    stats: Option<&'a RawValue>,
}

impl Gateway {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            ask: Link::new(now),
            watch: Link::new(now),
            stats: None,
            table: None,
            next_table: Table::default(),
            asked_stats: false,
            asked_devices: false,
            sampling: false,
            history: History::default(),
            ring: Ring::new(RING_BYTES_MAX),
            sample_at: now + STEP,
            watch_until: Some(now),
            next_command: FIRST_COMMAND,
            addresses: Value::Null,
        }
    }

    pub(super) fn link(&mut self, purpose: Purpose) -> &mut Link {
        match purpose {
            Purpose::Ask => &mut self.ask,
            Purpose::Watch => &mut self.watch,
        }
    }

    /// The connection to open, if one is due.
    pub(super) fn wanted_link(&self, now: Instant) -> Option<Purpose> {
        let due = |link: &Link| link.retry_at().is_some_and(|at| at <= now);
        if due(&self.ask) {
            return Some(Purpose::Ask);
        }
        (self.wants_events(now) && due(&self.watch)).then_some(Purpose::Watch)
    }

    pub(super) fn wants_events(&self, now: Instant) -> bool {
        self.watch_until.is_none_or(|until| until > now)
    }

    /// Begins to speak on a new connection.
    pub(super) fn connected(&mut self, purpose: Purpose, id: ConnectionId) {
        self.link(purpose).connected(id);
        match purpose {
            Purpose::Ask => {
                (self.asked_stats, self.asked_devices) = (false, false);
                // The first figures are the first sample, so that the plots begin at once.
                self.sampling |= self.history.is_empty();
                self.ask_for(json!({ "op": "config", "id": CONFIG }));
                self.ask_stats();
            }
            Purpose::Watch => {
                let after = self.ring.last().map(|(boot, seq)| json!({ "boot": boot, "seq": seq }));
                let request = match after {
                    Some(after) => json!({ "op": "watch", "after": after }),
                    None => json!({ "op": "watch" }),
                };
                self.watch.up().into_iter().for_each(|up| up.send(&request));
            }
        }
    }

    /// A connection broke or did not come up.
    pub(super) fn failed(&mut self, purpose: Purpose, error: String, now: Instant) {
        self.link(purpose).failed(error, now);
        if purpose == Purpose::Ask {
            self.next_table = Table::default();
        }
    }

    fn ask_for(&mut self, request: Value) {
        self.ask.up().into_iter().for_each(|up| up.send(&request));
    }

    fn ask_stats(&mut self) {
        if self.ask.is_up() && !std::mem::replace(&mut self.asked_stats, true) {
            self.ask_for(json!({ "op": "stats", "id": STATS }));
        }
    }

    /// The figures, if they are fresh. If not, the gateway is asked.
    pub(super) fn fresh_stats(&mut self, now: Instant) -> Option<&str> {
        if self.stats.as_ref().is_none_or(|(at, _)| *at + STATS_AGE_MAX < now) {
            self.ask_stats();
            return None;
        }
        self.last_stats()
    }

    /// The figures, however old.
    pub(super) fn last_stats(&self) -> Option<&str> {
        self.stats.as_ref().map(|(_, stats)| stats.as_str())
    }

    /// The list of devices, if it is fresh. If not, the gateway is asked.
    pub(super) fn fresh_table(&mut self, now: Instant) -> Option<&Table> {
        if self.table.as_ref().is_none_or(|(at, _)| *at + TABLE_AGE_MAX < now) {
            if self.ask.is_up() && !std::mem::replace(&mut self.asked_devices, true) {
                self.next_table = Table::default();
                self.ask_for(json!({ "op": "devices", "id": DEVICES }));
            }
            return None;
        }
        self.last_table()
    }

    pub(super) fn last_table(&self) -> Option<&Table> {
        self.table.as_ref().map(|(_, table)| table)
    }

    /// Asks for something that changes the gateway, and gives the number of the request.
    pub(super) fn command(&mut self, mut request: Value) -> u64 {
        let number = self.next_command;
        self.next_command += 1;
        request["id"] = json!(number);
        self.ask_for(request);
        number
    }

    /// Takes one line of the connection for questions.
    pub(super) fn answer(&mut self, line: &str, now: Instant) -> Option<Answered> {
        let head: Head<'_> = serde_json::from_str(line).ok()?;
        match head.id? {
            DEVICES => match (head.device, head.gone, head.ok) {
                (Some(device), ..) => self.next_table.push(device.get()),
                (_, Some(gone), None) => self.next_table.push_gone(serde_json::from_str(gone.get()).ok()?),
                (_, _, Some(_)) => {
                    self.asked_devices = false;
                    self.next_table.finish();
                    self.table = Some((now, std::mem::take(&mut self.next_table)));
                    return Some(Answered::Devices);
                }
                _ => {}
            },
            STATS => {
                self.asked_stats = false;
                let stats = head.stats?.get();
                if std::mem::take(&mut self.sampling) {
                    self.history.record(serde_json::from_str(stats).ok());
                }
                self.stats = Some((now, stats.to_owned()));
                return Some(Answered::Stats);
            }
            CONFIG => self.addresses = addresses(line),
            command => return Some(Answered::Command(command, line.to_owned())),
        }
        None
    }

    /// Takes one line of the connection for events. Whether it is an event.
    pub(super) fn event(&mut self, line: &str) -> bool {
        #[derive(Deserialize)]
        struct Start<'a> {
            #[serde(borrow)]
            boot: Option<std::borrow::Cow<'a, str>>,
            ok: Option<bool>,
        }
        match serde_json::from_str::<Start<'_>>(line) {
            Ok(start) if start.ok.is_some() => {
                start.boot.into_iter().for_each(|boot| self.ring.set_boot(&boot));
                false
            }
            Ok(_) => {
                self.ring.push(line);
                true
            }
            Err(_) => false,
        }
    }

    /// Takes a sample for the plots when it is due: the gateway's answer is the sample.
    pub(super) fn sample(&mut self, now: Instant) {
        if now < self.sample_at {
            return;
        }
        // After a pause of the machine there are no samples of the time that is gone.
        self.sample_at = (self.sample_at + STEP).max(now);
        if self.sampling || !self.ask.is_up() {
            self.history.record(None);
        }
        self.sampling = self.ask.is_up();
        self.ask_stats();
    }

    /// When [`Self::sample`] or [`Self::wanted_link`] has something to do.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let retries = [self.ask.retry_at(), self.watch.retry_at().filter(|_| self.wants_events(now))];
        let ends = self.watch_until.filter(|_| self.watch.is_up());
        retries.into_iter().chain([Some(self.sample_at), ends]).flatten().min()
    }

    /// Notes whether any page follows events.
    pub(super) fn set_followed(&mut self, is_followed: bool, now: Instant) {
        if is_followed {
            self.watch_until = None;
        } else if self.watch_until.is_none() {
            self.watch_until = Some(now + LINGER);
        }
    }

    /// The state of the connection and the addresses, as JSON for the page.
    pub(super) fn status(&self) -> Value {
        let error = match &self.ask {
            Link::Up(_) => None,
            Link::Down { error, .. } => Some(error),
        };
        let mut status = json!({ "connected": error.is_none(), "error": error, "tcp": [], "udp": [] });
        if let Some(addresses) = self.addresses.as_object() {
            addresses.iter().for_each(|(name, value)| status[name] = value.clone());
        }
        status
    }
}

/// The addresses for devices in an answer to `config`. The read-only socket does not tell them.
fn addresses(line: &str) -> Value {
    let answer: Value = serde_json::from_str(line).unwrap_or_default();
    let values = answer.pointer("/config/values").and_then(Value::as_array);
    let value = |name: &str| values?.iter().find(|entry| entry["name"] == name).map(|entry| entry["value"].clone());
    match (value("listen"), value("discovery.listen")) {
        (Some(tcp), Some(udp)) => json!({ "tcp": tcp, "udp": if udp.is_array() { udp } else { json!([]) } }),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test begins somewhere")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn questions_of_several_browsers_are_asked_once() {
        let now = start();
        let mut gateway = Gateway::new(now);
        gateway.connected(Purpose::Ask, ConnectionId::new(0, 0));
        let asked = |gateway: &mut Gateway, op: &str| {
            let waiting = String::from_utf8_lossy(gateway.ask.up().unwrap().queue.waiting()).into_owned();
            waiting.matches(op).count()
        };
        assert!(gateway.fresh_stats(now).is_none() && gateway.fresh_stats(now).is_none());
        assert!(gateway.fresh_table(now).is_none() && gateway.fresh_table(now).is_none());
        assert_eq!((asked(&mut gateway, "\"stats\""), asked(&mut gateway, "\"devices\"")), (1, 1));
        assert_eq!(gateway.answer(r#"{"id":1,"ok":true,"stats":{"version":"1"}}"#, now), Some(Answered::Stats));
        assert_eq!(gateway.fresh_stats(now), Some(r#"{"version":"1"}"#));
        assert_eq!(gateway.fresh_stats(now + STATS_AGE_MAX * 2), None);
        let device = r#"{"id":2,"device":{"conn":7,"ip":"::1","port":1,"connected_s":1.0,"seen_s":0.1,"credit":5,"objects":0,"bytes":0,"last_type":null}}"#;
        assert_eq!(gateway.answer(device, now), None);
        assert!(gateway.fresh_table(now).is_none(), "a list that is still coming answers nobody");
        assert_eq!(gateway.answer(r#"{"id":2,"ok":true,"devices":1}"#, now), Some(Answered::Devices));
        assert!(gateway.fresh_table(now).unwrap().device(7).is_some());
    }

    #[test]
    fn the_addresses_for_devices_come_from_the_gateway() {
        let mut gateway = Gateway::new(start());
        let line = json!({ "id": 3, "ok": true, "config": { "values": [
            { "name": "listen", "value": ["0.0.0.0:5556"] }, { "name": "discovery.listen", "value": "off" },
        ] } });
        gateway.answer(&line.to_string(), start());
        assert_eq!((&gateway.status()["tcp"][0], &gateway.status()["udp"]), (&json!("0.0.0.0:5556"), &json!([])));
        gateway.answer(r#"{"id":3,"ok":false,"error":"read_only"}"#, start());
        assert_eq!(gateway.status()["tcp"], json!([]));
    }
}
