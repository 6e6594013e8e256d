//! The gateway's side of the uplink: its events become messages and presence.

use std::time::{Duration, Instant};

use log::{info, warn};
use serde_json::json;

use super::broker::ONLINE;
use super::{Link, Notice, Request, Uplink};
use crate::mqtt::codec::{OFFLINE, Received};
use crate::mqtt::counters::Counter;
use crate::mqtt::lines::Line;
use crate::mqtt::queue::{Item, Message};

/// The pauses between two attempts to reach the gateway: the first, and the longest.
pub(super) const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];
/// How long the gateway may be away, as at its restart, before its devices count as away.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// The ids of the uplink's own requests. Those of commands follow.
const WATCH_ID: u64 = 1;
const LIST_ID: u64 = 2;
pub(super) const LAST_OWN_ID: u64 = 2;
/// Bytes that a line may have besides the object.
const LINE_EXTRA_BYTES: usize = 8 << 10;
/// Devices whose presence at the broker waits for the gateway's list.
const SUSPECTS_MAX: usize = 4096;

impl Uplink {
    /// The gateway's control socket is connected.
    pub(in crate::mqtt) fn gateway_connected(&mut self, now: Instant) {
        self.runs(now);
        if self.gateway != Link::Dials {
            return self.requests.push_back(Request::CloseGateway);
        }
        self.gateway = Link::Open;
        self.lines = Default::default();
        self.gateway_out = Default::default();
        self.is_listing = false;
        self.ask_gateway(&json!({ "id": WATCH_ID, "op": "watch" }));
        self.ask_list();
        self.work(now);
    }

    /// The control socket cannot be reached, or its connection ended.
    pub(in crate::mqtt) fn gateway_closed(&mut self, why: &str, now: Instant) {
        self.runs(now);
        if self.gateway == Link::Over {
            return;
        }
        // The first attempt says why, and later ones would repeat it.
        if self.gateway == Link::Open || self.gateway_pause == PAUSES[0] {
            warn!("gateway: {why}: the uplink tries again");
        }
        if self.gateway == Link::Open {
            self.gateway_pause = PAUSES[0];
            self.gateway_lost = Some(now);
        }
        self.gateway = Link::Waits(now + self.gateway_pause);
        self.gateway_pause = PAUSES[1].min(self.gateway_pause * 2);
        self.is_listed = false;
        self.fail_pending("the gateway's connection ended");
        self.work(now);
    }

    /// The gateway did not come back in time: nothing behind it can be reached.
    pub(super) fn gateway_is_gone(&mut self) {
        self.gateway_lost = None;
        self.presence.all_gone();
        self.publish_state();
    }

    /// Whether the gateway is connected, or may reconnect at once.
    pub(super) fn gateway_is_present(&self) -> bool {
        self.is_listed || self.gateway_lost.is_some()
    }

    /// Bytes for the gateway.
    pub(in crate::mqtt) fn gateway_out(&self) -> &[u8] {
        self.gateway_out.waiting()
    }

    pub(in crate::mqtt) fn gateway_sent(&mut self, taken: usize) {
        self.gateway_out.advance(taken);
    }

    pub(super) fn ask_gateway(&mut self, request: &serde_json::Value) {
        self.gateway_out.push(format!("{request}\n").as_bytes());
    }

    /// Asks for the list of devices, once at a time.
    fn ask_list(&mut self) {
        if !std::mem::replace(&mut self.is_listing, true) {
            self.presence.list_begins();
            self.ask_gateway(&json!({ "id": LIST_ID, "op": "devices" }));
        }
    }

    /// Bytes of the gateway.
    pub(in crate::mqtt) fn gateway_data(&mut self, bytes: &[u8], now: Instant) {
        self.runs(now);
        let bytes_max = self.settings.object_bytes_max + LINE_EXTRA_BYTES;
        let mut lines = std::mem::take(&mut self.lines);
        lines.feed(bytes, bytes_max, |line| match line {
            Some(line) => self.line(line, now),
            None => self.too_large(),
        });
        self.lines = lines;
        self.work(now);
    }

    fn line(&mut self, bytes: &[u8], now: Instant) {
        let Ok(line) = Line::parse(bytes) else {
            self.counters[&Counter::Unreadable] += 1;
            return;
        };
        if line.event.is_empty() {
            return self.answered(&line, bytes, now);
        }
        self.last_seq = line.seq.unwrap_or(self.last_seq);
        if let Some(topic) = self.settings.event.clone() {
            self.push(topic, bytes, false, &line);
        }
        match (&*line.event, line.conn) {
            ("message", Some(_)) => self.message(&line, bytes),
            ("connect" | "identified", Some(conn)) => self.presence.connected(conn, &line.name, &line.ip),
            ("disconnect", Some(conn)) => self.presence.disconnected(conn),
            ("missed", _) => {
                self.counters[&Counter::Missed] += line.events;
                self.queue.push(Item::Missed(line.events), self.links().0);
                // Devices may have come and gone among them.
                self.ask_list();
            }
            _ => {}
        }
        if !line.boot.is_empty() {
            self.boot = line.boot.into_owned();
        }
    }

    /// An answer of the gateway, or a row of a list.
    fn answered(&mut self, line: &Line<'_>, bytes: &[u8], now: Instant) {
        match (line.id, line.ok, &line.device) {
            (Some(LIST_ID), _, Some(row)) => {
                self.presence.connected(row.conn, row.name.as_deref().unwrap_or_default(), &row.ip)
            }
            (Some(LIST_ID), Some(_), _) => self.list_ends(),
            (Some(WATCH_ID), Some(true), _) => {
                info!("connected to the gateway");
                self.boot = line.boot.clone().into_owned();
                self.gateway_pause = PAUSES[0];
            }
            (Some(WATCH_ID) | None, Some(false), _) => {
                self.requests.push_back(Request::CloseGateway);
                self.gateway_closed(&line.detail, now);
            }
            (Some(id), ok, _) => self.answer_of(id, ok.is_some(), bytes),
            _ => self.counters[&Counter::Unreadable] += 1,
        }
    }

    fn list_ends(&mut self) {
        self.is_listing = false;
        self.presence.list_ends();
        self.gateway_lost = None;
        if !std::mem::replace(&mut self.is_listed, true) {
            self.publish_state();
        }
        for level in std::mem::take(&mut self.suspects) {
            self.correct(&level);
        }
    }

    /// A message of a device.
    fn message(&mut self, line: &Line<'_>, bytes: &[u8]) {
        let Some(object) = line.data else { return };
        if !self.settings.types.is_empty() && !self.settings.types.iter().any(|word| *word == line.kind) {
            return;
        }
        if object.get().len() > self.settings.object_bytes_max {
            return self.too_large();
        }
        let device = if line.name.is_empty() { &line.ip } else { &line.name };
        let Some(topic) = self.settings.topic.message(device, &line.kind) else { return self.too_large() };
        let retain = self.settings.retain.iter().any(|word| *word == line.kind);
        let payload = self.payload(bytes, object.get());
        self.push(topic, payload, retain, line);
    }

    fn push(&mut self, topic: crate::mqtt::topics::Topic, payload: &[u8], retain: bool, line: &Line<'_>) {
        let seq = line.seq.map(|seq| format!("{}-{seq}", self.boot)).unwrap_or_default();
        let (broker_is_up, _) = self.links();
        let message = Message {
            topic,
            payload: payload.into(),
            retain,
            time: (*line.time).into(),
            seq: seq.into(),
            waited: !broker_is_up,
            strikes: 0,
            number: None,
        };
        self.queue.push(Item::Message(message), broker_is_up);
    }

    /// An object is longer than the uplink takes.
    fn too_large(&mut self) {
        let count = &mut self.counters[&Counter::TooLarge];
        *count += 1;
        if count.is_power_of_two() {
            let max = self.settings.object_bytes_max;
            warn!("an object is longer than mqtt.object_bytes_max, {max} bytes, and is set aside ({count} so far)");
        }
        self.queue.push(Item::Missed(1), self.links().0);
    }

    /// The presence of a device as the broker keeps it.
    pub(super) fn retained_presence(&mut self, level: &str, received: &Received) {
        if received.payload != ONLINE.as_bytes() {
            return;
        }
        if self.is_listed {
            self.correct(level);
        } else if self.suspects.len() < SUSPECTS_MAX {
            self.suspects.push(level.into());
        }
    }

    /// Publishes that a device is away, if it is.
    fn correct(&mut self, level: &str) {
        if self.presence.is_stale(level)
            && let Some(topic) = self.settings.availability.device(level)
        {
            self.counters[&Counter::StalePresence] += 1;
            self.notices.push_back(Notice::retained(topic, OFFLINE.into()));
        }
    }
}
