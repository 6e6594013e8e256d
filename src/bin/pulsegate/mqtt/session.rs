//! One connection to a broker, without a socket: bytes and the time go in, bytes and events come out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pulsegate::unstable::endpoint::Outbox;

use super::codec::{Connack, Decoder, Encoder, Greeting, Incoming, Outgoing, Received, Version};
use super::end::End;

/// How long a broker may take for its answer to CONNECT. Some never answer a version that they do not know.
pub(super) const CONNACK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a broker may take for an acknowledgement, and for any sign of life after PINGREQ.
pub(super) const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that may be queued for the kernel before the session takes no more messages.
const OUT_BYTES_MAX: usize = 64 << 10;
/// The packet identifier of SUBSCRIBE. Messages have the numbers below it.
const SUBSCRIBE_ID: u16 = u16::MAX;

/// A notification for the session's owner. `T` is the owner's own record of a message.
#[derive(Debug, PartialEq)]
pub(super) enum SessionEvent<T> {
    /// The broker has accepted the connection.
    Up,
    /// The broker has answered a message. Codes from 0x80 are refusals.
    Acked(T, u8),
    /// A message has come.
    Received(Received),
    /// The broker refuses these of the filters, counted from 0.
    NotSubscribed(Vec<usize>),
    /// The connection is of no more use.
    Ended(End),
}

/// Why the session does not send a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsendable {
    /// The packet is longer than the broker accepts.
    TooLarge,
    /// The message cannot be written as MQTT.
    Invalid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    AwaitsConnack,
    Up,
    Ended,
}

/// A message without acknowledgement.
struct Flight<T> {
    /// `None` behind the acknowledgement, while an older message has none.
    token: Option<T>,
    sent: Instant,
}

pub(super) struct Session<T> {
    phase: Phase,
    encoder: Encoder,
    decoder: Decoder,
    out: Outbox,
    scratch: Vec<u8>,
    events: VecDeque<SessionEvent<T>>,
    /// Messages in the order of sending. Their identifiers follow each other.
    flights: VecDeque<Flight<T>>,
    /// Messages so far whose flights have ended. It gives the first flight its identifier.
    landed: u64,
    limits: Connack,
    window: usize,
    keep_alive: Duration,
    began: Instant,
    /// When the kernel last took bytes, and when something was last sent.
    last_taken: Instant,
    last_sent: Instant,
    /// When PINGREQ was sent, while nothing has come since.
    pinged: Option<Instant>,
}

impl<T> Session<T> {
    /// Begins with CONNECT. At most `window` messages are without acknowledgement at one time.
    pub(super) fn new(greeting: &Greeting, window: u16, now: Instant) -> Self {
        let mut session = Self {
            phase: Phase::AwaitsConnack,
            encoder: Encoder(greeting.version),
            decoder: Decoder::new(greeting.version),
            out: Outbox::default(),
            scratch: Vec::new(),
            events: VecDeque::new(),
            flights: VecDeque::new(),
            landed: 0,
            limits: Connack::default(),
            window: window.into(),
            keep_alive: Duration::from_secs(greeting.keep_alive.into()),
            began: now,
            last_taken: now,
            last_sent: now,
            pinged: None,
        };
        if Encoder::connect(greeting, &mut session.scratch).is_err() {
            session.end(End::Malformed);
        }
        session.flush(now);
        session
    }

    pub(super) fn poll_event(&mut self) -> Option<SessionEvent<T>> {
        self.events.pop_front()
    }

    /// The event that [`Self::poll_event`] gives next.
    pub(super) fn peek_event(&self) -> Option<&SessionEvent<T>> {
        self.events.front()
    }

    /// Bytes for the broker.
    pub(super) fn waiting(&self) -> &[u8] {
        self.out.waiting()
    }

    /// The kernel has taken bytes.
    pub(super) fn advance(&mut self, taken: usize, now: Instant) {
        self.out.advance(taken);
        if taken > 0 {
            self.last_taken = now;
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// When CONNECT was sent.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Whether one more message may be sent, with at most `window` without acknowledgement.
    pub(super) fn has_room(&self, window: usize) -> bool {
        self.is_up() && self.flights.len() < self.window.min(window) && self.out.len() < OUT_BYTES_MAX
    }

    /// Whether messages are without acknowledgement.
    pub(super) fn has_flights(&self) -> bool {
        !self.flights.is_empty()
    }

    /// The messages without acknowledgement, in the order of sending.
    pub(super) fn into_flights(self) -> impl Iterator<Item = T> {
        self.flights.into_iter().filter_map(|flight| flight.token)
    }

    /// Sends a message, after [`Self::has_room`] returned true. An error gives the record back.
    pub(super) fn publish(&mut self, message: &Outgoing<'_>, token: T, now: Instant) -> Result<(), (T, Unsendable)> {
        let message = Outgoing { retain: message.retain && self.limits.retain_available, ..*message };
        let id = (self.limits.qos_max > 0).then(|| self.identifier(self.flights.len()));
        if self.encoder.publish(id, &message, &mut self.scratch).is_err() {
            self.scratch.clear();
            return Err((token, Unsendable::Invalid));
        }
        if self.scratch.len() > self.limits.packet_bytes_max as usize {
            self.scratch.clear();
            return Err((token, Unsendable::TooLarge));
        }
        match id {
            Some(_) => self.flights.push_back(Flight { token: Some(token), sent: now }),
            // The broker takes no message that it would acknowledge.
            None => self.events.push_back(SessionEvent::Acked(token, 0)),
        }
        self.flush(now);
        Ok(())
    }

    pub(super) fn subscribe(&mut self, filters: &[String], now: Instant) {
        if self.encoder.subscribe(SUBSCRIBE_ID, filters, &mut self.scratch).is_err() {
            self.scratch.clear();
            self.events.push_back(SessionEvent::NotSubscribed((0..filters.len()).collect()));
        }
        self.flush(now);
    }

    /// Says goodbye, so that the broker discards the will.
    pub(super) fn disconnect(&mut self, now: Instant) {
        if self.is_up() && self.encoder.disconnect(&mut self.scratch).is_ok() {
            self.flush(now);
        }
        self.phase = Phase::Ended;
    }

    /// Bytes of the broker.
    pub(super) fn handle_data(&mut self, mut bytes: &[u8], now: Instant) {
        self.pinged = None;
        while self.phase != Phase::Ended {
            match self.decoder.next(&mut bytes) {
                Ok(Some(packet)) => self.packet(packet, now),
                Ok(None) => return,
                Err(_) => self.end(End::Malformed),
            }
        }
    }

    fn packet(&mut self, packet: Incoming, now: Instant) {
        match (self.phase, packet) {
            (Phase::AwaitsConnack, Incoming::Connack(connack)) => self.connack(connack),
            (Phase::AwaitsConnack, Incoming::Disconnect(code)) => self.end(End::Refused(code)),
            (Phase::AwaitsConnack, _) | (_, Incoming::Connack(_)) => self.end(End::Malformed),
            (_, Incoming::Puback { id, code }) => self.puback(id, code),
            (_, Incoming::Suback(codes)) => {
                let refused = codes.iter().enumerate().filter(|(_, code)| **code >= 0x80).map(|(at, _)| at);
                let refused: Vec<_> = refused.collect();
                if !refused.is_empty() {
                    self.events.push_back(SessionEvent::NotSubscribed(refused));
                }
            }
            (_, Incoming::Publish(received)) => {
                if let Some(id) = received.id
                    && self.encoder.puback(id, &mut self.scratch).is_ok()
                {
                    self.flush(now);
                }
                self.events.push_back(SessionEvent::Received(received));
            }
            (_, Incoming::Disconnect(code)) => self.end(End::Disconnected(code)),
            (_, Incoming::Pingresp | Incoming::Other) => {}
        }
    }

    fn connack(&mut self, connack: Connack) {
        // 1 is the old form's "unacceptable protocol version", 0x84 that of version 5.
        if connack.is_old && connack.code == 1 || connack.code == 0x84 {
            return self.end(End::Version);
        }
        if connack.code != 0 {
            return self.end(End::Refused(connack.code));
        }
        if connack.is_old && self.encoder.0 == Version::V5 {
            return self.end(End::Version);
        }
        self.window = self.window.min(connack.receive_maximum.into());
        if let Some(seconds) = connack.keep_alive.filter(|seconds| *seconds > 0) {
            self.keep_alive = Duration::from_secs(seconds.into());
        }
        self.limits = connack;
        self.phase = Phase::Up;
        self.events.push_back(SessionEvent::Up);
    }

    /// The identifier of the flight at that place.
    fn identifier(&self, place: usize) -> u16 {
        let identifiers = u64::from(SUBSCRIBE_ID) - 1;
        ((self.landed + place as u64) % identifiers) as u16 + 1
    }

    fn puback(&mut self, id: u16, code: u8) {
        let identifiers = usize::from(SUBSCRIBE_ID) - 1;
        let place = (usize::from(id) + identifiers - usize::from(self.identifier(0))) % identifiers;
        // An acknowledgement of a message that was not sent, or was acknowledged, changes nothing.
        let Some(token) = self.flights.get_mut(place).and_then(|flight| flight.token.take()) else { return };
        self.events.push_back(SessionEvent::Acked(token, code));
        while self.flights.front().is_some_and(|flight| flight.token.is_none()) {
            self.flights.pop_front();
            self.landed += 1;
        }
    }

    fn end(&mut self, end: End) {
        if self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            self.events.push_back(SessionEvent::Ended(end));
        }
    }

    /// Queues what was encoded.
    fn flush(&mut self, now: Instant) {
        if self.out.is_empty() {
            self.last_taken = now;
        }
        self.out.push(&self.scratch);
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_KEPT);
        self.last_sent = now;
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Ended => None,
            Phase::AwaitsConnack => Some(self.began + CONNACK_TIMEOUT),
            Phase::Up => [self.answer_deadline(), self.ping_at()].into_iter().flatten().min(),
        }
    }

    /// When the oldest message, or PINGREQ, is without answer for too long. On a slow link it counts from the last
    /// byte that the kernel took.
    fn answer_deadline(&self) -> Option<Instant> {
        let front = self.flights.front().map(|flight| flight.sent);
        let taken = |since: Instant| if self.out.is_empty() { since } else { since.max(self.last_taken) };
        let stuck = (!self.out.is_empty()).then_some(self.last_taken);
        let since = [front, self.pinged, stuck].into_iter().flatten().min()?;
        Some(taken(since) + ACK_TIMEOUT)
    }

    fn ping_at(&self) -> Option<Instant> {
        self.pinged.is_none().then(|| self.last_sent + self.keep_alive)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Ended => {}
            Phase::AwaitsConnack => {
                if now >= self.began + CONNACK_TIMEOUT {
                    self.end(End::NoConnack);
                }
            }
            Phase::Up => {
                if self.answer_deadline().is_some_and(|at| at <= now) {
                    self.end(End::NoAnswer);
                } else if self.ping_at().is_some_and(|at| at <= now) && self.encoder.pingreq(&mut self.scratch).is_ok()
                {
                    self.pinged = Some(now);
                    self.flush(now);
                }
            }
        }
    }
}

/// Bytes of the buffer for one packet that are kept: pictures come and go.
const SCRATCH_KEPT: usize = 8 << 10;
