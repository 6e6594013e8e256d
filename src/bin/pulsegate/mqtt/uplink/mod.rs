//! The uplink without sockets: the gateway's lines and the broker's bytes go in with the time, and bytes for both and
//! requests for connections come out.

mod broker;
mod commands;
mod gateway;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use pulsegate::Counters;
use pulsegate::unstable::endpoint::Outbox;
use serde_json::{Value, json};

use self::commands::Pending;
use super::backoff::Backoff;
use super::counters::{Counter, report};
use super::presence::Presence;
use super::queue::{Item, Queue};
use super::session::Session;
use super::settings::Settings;
use super::store::Store;
use super::topics::Topic;
use crate::service::Lines;

/// The record of a message without acknowledgement.
#[derive(Debug, PartialEq)]
enum Token {
    /// An entry of the queue.
    Item(Item),
    /// An answer to a command.
    Answer(Notice),
    /// State that each connection publishes anew.
    State,
}

/// A message of the uplink itself.
#[derive(Debug, Clone, PartialEq)]
struct Notice {
    topic: Topic,
    payload: Vec<u8>,
    retain: bool,
    correlation: Option<Vec<u8>>,
    /// Whether it is an answer, which a later connection repeats.
    is_answer: bool,
}

/// A request to the driver.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Connect to the broker at that place of the configuration.
    DialBroker(usize),
    /// Close the connection to the broker.
    CloseBroker,
    /// Connect to the gateway's control socket.
    DialGateway,
    /// Close the connection to the gateway.
    CloseGateway,
}

/// How the connection to a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// The next attempt is at that time.
    Waits(Instant),
    /// The driver connects.
    Dials,
    Open,
    /// The uplink stops, and connects no more.
    Over,
}

pub(super) struct Uplink {
    settings: Settings,
    queue: Queue,
    presence: Presence,
    counters: Counters<Counter>,
    requests: VecDeque<Request>,

    broker: Link,
    session: Option<Session<Token>>,
    backoff: Backoff,
    /// The place of the broker that is next in turn.
    next_broker: usize,
    /// Messages that are sent one at a time, since one of them may have ended connections.
    careful: usize,
    /// Whether a message was on its way at the end of the last connection, which was short.
    had_strike: bool,
    /// Messages of the uplink itself, which go before those of the devices.
    notices: VecDeque<Notice>,
    /// Bytes of the answers among them.
    answer_bytes: usize,

    gateway: Link,
    gateway_out: Outbox,
    lines: Lines,
    /// How long the next pause before an attempt to reach the gateway takes.
    gateway_pause: Duration,
    /// Since when the gateway is away. It is not forgotten before presence says so.
    gateway_lost: Option<Instant>,
    /// Whether the gateway has listed its devices since it was reached.
    is_listed: bool,
    /// Whether such a list is on its way.
    is_listing: bool,
    /// Levels of devices for which the broker keeps `online`, until the list tells whether that is true.
    suspects: Vec<String>,
    /// The gateway's run, and the last event that the uplink has read.
    boot: String,
    last_seq: u64,

    pending: HashMap<u64, Pending>,
    last_id: u64,
    /// The time since which no broker is connected.
    away_since: Option<Instant>,
    /// When the store is synced.
    sync_at: Option<Instant>,
    /// When the uplink last ran.
    last_run: Instant,
    /// After a gap in its runs: until when commands may have waited for the process.
    late_until: Option<Instant>,
    /// When the stop began.
    stopping: Option<Instant>,
    /// The time of day at the start, RFC 3339.
    since: String,
}

/// How long a stop waits for acknowledgements.
const STOP_TIMEOUT: Duration = Duration::from_millis(800);
/// How long the kernel may then take for the last bytes.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(100);
/// The uplink runs at least this often.
const RUN_INTERVAL: Duration = Duration::from_secs(5);
/// A gap between two runs above which the process was stopped.
const GAP: Duration = Duration::from_secs(10);
/// How long commands count as late after such a gap.
const LATE: Duration = Duration::from_secs(1);

impl Uplink {
    pub(super) fn new(settings: Settings, seed: u64, since: String, now: Instant) -> Self {
        Self {
            queue: Queue::new(settings.memory, settings.full),
            settings,
            presence: Presence::default(),
            counters: Counters::default(),
            requests: VecDeque::new(),
            broker: Link::Waits(now),
            session: None,
            backoff: Backoff::new(seed),
            next_broker: 0,
            careful: 0,
            had_strike: false,
            notices: VecDeque::new(),
            answer_bytes: 0,
            gateway: Link::Waits(now),
            gateway_out: Outbox::default(),
            lines: Lines::default(),
            gateway_pause: gateway::PAUSES[0],
            gateway_lost: None,
            is_listed: false,
            is_listing: false,
            suspects: Vec::new(),
            boot: String::new(),
            last_seq: 0,
            pending: HashMap::new(),
            last_id: gateway::LAST_OWN_ID,
            away_since: Some(now),
            sync_at: None,
            last_run: now,
            late_until: None,
            stopping: None,
            since,
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The next request to the driver. Each call of the uplink is followed by this until there is none.
    pub(super) fn take_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// Each call from outside begins here, so that a gap shows.
    fn runs(&mut self, now: Instant) {
        if now.saturating_duration_since(self.last_run) > GAP {
            self.late_until = Some(now + LATE);
        }
        self.last_run = now;
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let waits = |link: Link| if let Link::Waits(until) = link { Some(until) } else { None };
        let session = self.session.as_ref().and_then(Session::poll_timeout);
        let lost = self.gateway_lost.map(|since| since + gateway::GRACE);
        let stop = self.stopping.filter(|_| self.session.is_some()).map(|since| match self.broker {
            Link::Over => since + STOP_TIMEOUT + GOODBYE_TIMEOUT,
            _ => since + STOP_TIMEOUT,
        });
        let run = Some(self.last_run + RUN_INTERVAL);
        let times = [waits(self.broker), waits(self.gateway), session, lost, stop, run, self.spill_at(), self.sync_at];
        times.into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.runs(now);
        if let Link::Waits(until) = self.broker
            && until <= now
        {
            self.broker = Link::Dials;
            self.requests.push_back(Request::DialBroker(self.next_broker));
        }
        if let Link::Waits(until) = self.gateway
            && until <= now
        {
            self.gateway = Link::Dials;
            self.requests.push_back(Request::DialGateway);
        }
        if self.gateway_lost.is_some_and(|since| since + gateway::GRACE <= now) {
            self.gateway_is_gone();
        }
        if let Some(session) = &mut self.session {
            session.handle_timeout(now);
        }
        if self.spill_at().is_some_and(|at| at <= now) {
            self.queue.spill();
        }
        if self.sync_at.is_some_and(|at| at <= now) {
            self.sync_at = None;
            self.queue.sync();
        }
        self.work(now);
    }

    /// Gives the queue a store.
    pub(super) fn set_store(&mut self, store: Store) {
        self.queue.set_store(store);
    }

    /// When messages in memory go to the store.
    fn spill_at(&self) -> Option<Instant> {
        let waits = self.settings.path.is_some() && self.queue.has_memory();
        self.away_since.filter(|_| waits).map(|since| since + self.settings.spill_after)
    }

    /// Stores everything that no broker has acknowledged. The last call.
    pub(super) fn finish(&mut self) {
        if let Some(session) = self.session.take() {
            self.take_back(session);
        }
        self.queue.spill();
        self.queue.sync();
    }

    /// Begins the stop: takes nothing new, and says goodbye when everything is acknowledged or time is over.
    pub(super) fn stop(&mut self, now: Instant) {
        if self.stopping.is_none() {
            self.stopping = Some(now);
            self.gateway = Link::Over;
            self.gateway_lost = None;
            self.requests.push_back(Request::CloseGateway);
            self.fail_pending("the uplink stops");
            self.publish_state();
            if self.session.is_none() {
                self.broker = Link::Over;
                self.requests.push_back(Request::CloseBroker);
            }
        }
        self.work(now);
    }

    /// Whether the stop is over.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopping.is_some()
            && self.broker == Link::Over
            && self.session.as_ref().is_none_or(|s| s.waiting().is_empty())
    }

    /// Whether a broker and the gateway are connected.
    pub(super) fn links(&self) -> (bool, bool) {
        (self.session.as_ref().is_some_and(Session::is_up), self.gateway == Link::Open)
    }

    /// Messages that no broker has acknowledged.
    pub(super) fn unsent(&self) -> usize {
        self.queue.len()
    }

    /// The state and the counters as JSON.
    pub(super) fn report(&self) -> Value {
        let (broker, gateway) = self.links();
        let mut counters = self.counters.clone();
        counters[&Counter::Dropped] = self.queue.dropped();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "since": self.since,
            "broker": if broker { "online" } else { "offline" },
            "gateway": if gateway { "online" } else { "offline" },
            "devices": self.presence.online(),
            "queued": self.queue.len(),
            "queued_bytes": self.queue.bytes(),
            "stored_bytes": self.queue.stored_bytes(),
            "counters": report(&counters),
        })
    }
}
