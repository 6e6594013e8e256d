//! The broker's side of the uplink: connecting, sending, acknowledgements.

use std::time::{Duration, Instant};

use log::{info, warn};
use serde_json::json;

use super::{GOODBYE_TIMEOUT, Link, Notice, Request, STOP_TIMEOUT, Token, Uplink};
use crate::config::MqttPayload;
use crate::mqtt::codec::{OFFLINE, Outgoing};
use crate::mqtt::counters::Counter;
use crate::mqtt::end::End;
use crate::mqtt::queue::{Item, Message};
use crate::mqtt::session::{Session, SessionEvent, Unsendable};

/// The payload of presence when a device or the uplink is there.
pub(super) const ONLINE: &str = "online";
/// A connection that lasted this long is good: the next pause is short.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// Connections that end with a message as the oldest without acknowledgement before the uplink sets it aside.
const STRIKES_MAX: u8 = 3;
/// Bytes of answers that may wait for the broker.
const ANSWER_BYTES_MAX: usize = 256 << 10;

impl Uplink {
    /// The connection to the broker is up.
    pub(in crate::mqtt) fn broker_connected(&mut self, now: Instant) {
        self.runs(now);
        if self.broker != Link::Dials {
            return self.requests.push_back(Request::CloseBroker);
        }
        self.broker = Link::Open;
        self.session = Some(Session::new(&self.settings.greeting, self.settings.window, now));
        self.work(now);
    }

    /// The broker could not be reached, for that reason.
    pub(in crate::mqtt) fn broker_failed(&mut self, why: &str, now: Instant) {
        self.runs(now);
        if self.broker == Link::Dials {
            self.retry_broker(why, now);
        }
    }

    /// The connection to the broker has ended.
    pub(in crate::mqtt) fn broker_closed(&mut self, why: &str, now: Instant) {
        self.runs(now);
        self.lose_broker(why, now);
    }

    /// Bytes of the broker.
    pub(in crate::mqtt) fn broker_data(&mut self, bytes: &[u8], now: Instant) {
        self.runs(now);
        if let Some(session) = &mut self.session {
            session.handle_data(bytes, now);
        }
        self.work(now);
    }

    /// Bytes for the broker.
    pub(in crate::mqtt) fn broker_out(&self) -> &[u8] {
        self.session.as_ref().map_or(&[], Session::waiting)
    }

    /// The kernel has taken bytes.
    pub(in crate::mqtt) fn broker_sent(&mut self, taken: usize, now: Instant) {
        if let Some(session) = &mut self.session {
            session.advance(taken, now);
        }
        self.work(now);
    }

    /// Ends a session, takes back what it has not delivered, and plans the next attempt.
    fn lose_broker(&mut self, why: &str, now: Instant) {
        let Some(session) = self.session.take() else { return };
        let was_good = session.is_up() && now.saturating_duration_since(session.began()) >= GOOD_AFTER;
        if was_good {
            self.backoff.reset();
            self.had_strike = false;
        }
        self.take_back(session);
        self.presence.stop_publishing();
        self.notices.retain(|notice| notice.is_answer);
        if self.stopping.is_some() {
            self.broker = Link::Over;
            return;
        }
        self.retry_broker(why, now);
    }

    fn retry_broker(&mut self, why: &str, now: Instant) {
        self.counters[&Counter::Disconnections] += 1;
        let broker = &self.settings.brokers[self.next_broker];
        let pause = self.backoff.next();
        warn!("broker {broker}: {why}: next attempt in {} s", pause.as_secs());
        self.next_broker = (self.next_broker + 1) % self.settings.brokers.len();
        self.broker = if self.stopping.is_some() { Link::Over } else { Link::Waits(now + pause) };
    }

    /// Puts the messages without acknowledgement back, the oldest with a strike.
    pub(super) fn take_back(&mut self, session: Session<Token>) {
        let (mut items, mut answers) = (Vec::new(), Vec::new());
        for token in session.into_flights() {
            match token {
                Token::Item(item) => items.push(item),
                Token::Answer(notice) => answers.push(notice),
                Token::State => {}
            }
        }
        let flights = items.len();
        for item in &mut items {
            if let Item::Message(message) = item {
                message.waited = true;
                self.counters[&Counter::Repeated] += 1;
            }
        }
        let mut deadly = None;
        if let Some(Item::Message(oldest)) = items.first_mut().filter(|_| self.stopping.is_none()) {
            oldest.strikes += 1;
            // Alone on its way, a message proves or clears itself. If one connection after the other ends, the message
            // that ends them may be any of those on their way.
            self.careful = if std::mem::replace(&mut self.had_strike, true) { flights } else { 1 };
            if oldest.strikes == STRIKES_MAX {
                deadly = Some(items.remove(0));
            }
        }
        self.queue.put_back(items);
        if let Some(item) = deadly {
            self.set_aside(item, "three connections ended with it");
        }
        answers.into_iter().rev().for_each(|answer| self.notices.push_front(answer));
    }

    /// Gives a message up that no broker takes.
    fn set_aside(&mut self, item: Item, why: &str) {
        let count = &mut self.counters[&Counter::SetAside];
        *count += 1;
        // The log has room for the first ones, and for the size of a long row.
        if count.is_power_of_two()
            && let Item::Message(Message { topic, payload, .. }) = &item
        {
            let (topic, bytes) = (topic.as_str(), payload.len());
            warn!("a message of {bytes} bytes to {topic} is set aside: {why} ({count} so far)");
        }
        self.queue.set_aside(item);
    }

    /// Handles the session's events, and sends what there is room for.
    pub(super) fn work(&mut self, now: Instant) {
        while let Some(event) = self.session.as_mut().and_then(Session::poll_event) {
            match event {
                SessionEvent::Up => self.broker_is_up(now),
                SessionEvent::Acked(token, code) => self.acked(token, code),
                SessionEvent::Received(received) => self.received(received, now),
                SessionEvent::NotSubscribed(places) => {
                    let filters = self.filters();
                    let names = places.iter().filter_map(|place| filters.get(*place).map(String::as_str));
                    warn!("the broker refuses the subscription to {}", names.collect::<Vec<_>>().join(", "));
                }
                SessionEvent::Ended(end) => self.end_session(end, now),
            }
        }
        self.pump(now);
        self.finish_stop(now);
        self.away_since = if self.links().0 { None } else { self.away_since.or(Some(now)) };
        if self.queue.is_unsynced() {
            self.sync_at.get_or_insert(now + self.settings.sync);
        }
    }

    fn end_session(&mut self, end: End, now: Instant) {
        self.requests.push_back(Request::CloseBroker);
        self.lose_broker(&end.to_string(), now);
    }

    fn broker_is_up(&mut self, now: Instant) {
        self.counters[&Counter::Connections] += 1;
        info!("connected to broker {}", self.settings.brokers[self.next_broker]);
        if self.settings.is_old_version() && self.counters[&Counter::Connections] == 1 {
            warn!("MQTT 3.1.1: the broker acknowledges messages that it refuses, and those are lost without notice");
        }
        let filters = self.filters();
        if let Some(session) = &mut self.session {
            session.subscribe(&filters, now);
        }
        self.publish_state();
        let info = self.report().to_string().into_bytes();
        let notice = Notice::retained(self.settings.info.clone(), info);
        self.notices.push_back(notice);
        self.presence.publish_all();
    }

    /// The topic filters of the subscription.
    fn filters(&self) -> Vec<String> {
        [&self.settings.command, &self.settings.request, &self.settings.availability].map(|t| t.filter()).into()
    }

    /// Publishes whether gateway and uplink are there.
    pub(super) fn publish_state(&mut self) {
        if self.session.as_ref().is_some_and(Session::is_up) {
            let is_online = self.stopping.is_none() && self.gateway_is_present();
            let payload = if is_online { ONLINE } else { OFFLINE };
            self.notices.push_back(Notice::retained(self.settings.state.clone(), payload.into()));
        }
    }

    /// Queues an answer to a command.
    pub(super) fn answer(&mut self, notice: Notice) {
        if self.answer_bytes + notice.bytes() > ANSWER_BYTES_MAX {
            self.counters[&Counter::LostAnswers] += 1;
            return;
        }
        self.answer_bytes += notice.bytes();
        self.notices.push_back(notice);
    }

    fn acked(&mut self, token: Token, code: u8) {
        match token {
            Token::Item(item) => {
                self.careful = self.careful.saturating_sub(1);
                if code >= 0x80 {
                    return self.set_aside(item, &format!("the broker refuses it with code 0x{code:02x}"));
                }
                self.queue.done(&item);
                if let Item::Message(message) = item {
                    self.counters[&Counter::Delivered] += 1;
                    self.counters[&Counter::DeliveredBytes] += message.payload.len() as u64;
                }
            }
            Token::Answer(notice) => self.answer_bytes -= notice.bytes(),
            Token::State => {}
        }
    }

    /// Sends messages while there is room: state and answers first, then presence, then the queue.
    fn pump(&mut self, now: Instant) {
        loop {
            let window = if self.careful > 0 { 1 } else { usize::MAX };
            let Some(session) = self.session.as_mut().filter(|session| session.has_room(window)) else { return };
            if let Some(notice) = self.notices.pop_front() {
                let outgoing = notice.outgoing();
                let token = if notice.is_answer { Token::Answer(notice.clone()) } else { Token::State };
                if let Err((Token::Answer(notice), _)) = session.publish(&outgoing, token, now) {
                    self.answer_bytes -= notice.bytes();
                    self.counters[&Counter::LostAnswers] += 1;
                }
            } else if let Some((device, is_online)) = self.presence.take_changed() {
                let Some(topic) = self.settings.availability.device(&device) else { continue };
                let payload = if is_online { ONLINE } else { OFFLINE };
                let notice = Notice::retained(topic, payload.into());
                // A presence that the broker cannot take is no loss for the others.
                let _ = session.publish(&notice.outgoing(), Token::State, now);
            } else if let Some(item) = self.queue.take() {
                self.send_item(item, now);
            } else {
                return;
            }
            // At Maximum QoS 0 the session acknowledges by itself.
            while let Some(SessionEvent::Acked(..)) = self.session.as_ref().and_then(Session::peek_event) {
                if let Some(SessionEvent::Acked(token, code)) = self.session.as_mut().and_then(Session::poll_event) {
                    self.acked(token, code);
                }
            }
        }
    }

    fn send_item(&mut self, item: Item, now: Instant) {
        let Some(session) = &mut self.session else { return self.queue.put_back(vec![item]) };
        let sent = match &item {
            Item::Message(message) => {
                let mut properties = vec![("time", &*message.time)];
                if !message.seq.is_empty() {
                    properties.push(("seq", &*message.seq));
                }
                if message.waited {
                    properties.push(("stored", "1"));
                }
                let outgoing = Outgoing {
                    topic: &message.topic,
                    payload: &message.payload,
                    retain: message.retain,
                    properties: &properties,
                    correlation: None,
                };
                session.publish(&outgoing, Token::Item(item.clone()), now)
            }
            Item::Missed(messages) => {
                let payload = json!({ "event": "missed", "messages": messages }).to_string().into_bytes();
                let notice = Notice { retain: false, ..Notice::retained(self.settings.missed.clone(), payload) };
                session.publish(&notice.outgoing(), Token::Item(item), now)
            }
        };
        match sent {
            Ok(()) => {}
            Err((Token::Item(item), Unsendable::TooLarge)) => {
                self.set_aside(item, "the broker takes no packet as long")
            }
            Err((Token::Item(item), Unsendable::Invalid)) => self.set_aside(item, "it is no valid message"),
            Err(_) => {}
        }
    }

    /// Whether the queue has room for more of the gateway's events while the broker takes messages.
    pub(in crate::mqtt) fn wants_events(&self) -> bool {
        let is_up = self.session.as_ref().is_some_and(Session::is_up);
        !is_up || self.queue.bytes() < self.queue.bytes_max() / 2
    }

    /// Says goodbye at the end of a stop.
    fn finish_stop(&mut self, now: Instant) {
        let Some(since) = self.stopping else { return };
        let is_over = since + STOP_TIMEOUT <= now;
        let Some(session) = &mut self.session else {
            self.broker = Link::Over;
            return;
        };
        let is_done = session.is_up() && !session.has_flights() && self.notices.is_empty() && self.queue.len() == 0;
        if self.broker == Link::Open && (is_done || is_over) {
            session.disconnect(now);
            self.broker = Link::Over;
        } else if since + STOP_TIMEOUT + GOODBYE_TIMEOUT <= now {
            self.session = None;
        }
    }
}

impl Notice {
    pub(super) fn retained(topic: crate::mqtt::topics::Topic, payload: Vec<u8>) -> Self {
        Self { topic, payload, retain: true, correlation: None, is_answer: false }
    }

    fn bytes(&self) -> usize {
        self.topic.as_str().len() + self.payload.len() + self.correlation.as_ref().map_or(0, Vec::len) + 128
    }

    fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            topic: &self.topic,
            payload: &self.payload,
            retain: self.retain,
            properties: &[],
            correlation: self.correlation.as_deref(),
        }
    }
}

impl Uplink {
    /// The payload of a device's message: its object, or the line of the event.
    pub(super) fn payload<'a>(&self, line: &'a [u8], object: &'a str) -> &'a [u8] {
        match self.settings.payload {
            MqttPayload::Object => object.as_bytes(),
            MqttPayload::Event => line,
        }
    }
}
