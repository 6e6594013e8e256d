//! The endpoint of `pulsegate web`: HTTP clients on one side, the gateway on the other.

mod answers;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use log::{info, warn};
use pulsegate::unstable::endpoint::{Endpoint, Output, PacketInfo, Peer};
use pulsegate::{ConnectionId, ListenerId, StreamEnd};
use slab::Slab;

use super::client::{Client, Reply, State};
use super::gateway::{Gateway, Purpose};
use super::link::Link;
use super::response::{Response, Status};
use super::router::Hosts;
use super::sign_in::SignIn;

/// Connections at one time.
const CLIENTS_MAX: usize = 64;
/// Connections at one time from one address.
const CLIENTS_PER_ADDRESS_MAX: usize = 16;
/// Slots of the two connections to the gateway and of the signals.
const OWN_SLOTS: usize = 3;
/// The time from one comment in a stream of events to the next. It finds out whether a silent client is still there.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);

/// All that `pulsegate web` is, without its sockets.
#[derive(Debug)]
pub(super) struct Web {
    pub(super) gateway: Gateway,
    hosts: Hosts,
    /// `None` is a page that only reads.
    sign_in: Option<SignIn>,
    clients: Slab<Client>,
    actions: VecDeque<Action>,
    /// Numbers the owners of slots, so that no id comes twice.
    generation: u32,
    /// The stream that signals come by.
    signals: Option<ConnectionId>,
    is_stopping: bool,
    comment_at: Instant,
    /// A time in the past: actions that are queued between two turns are due at once.
    started_at: Instant,
    /// When the process wants the loop to turn, for the service manager.
    alarm: Option<Instant>,
    /// The name of this machine.
    name: String,
    /// The time of day, injected like the clock.
    wall_clock: fn() -> SystemTime,
}

/// A request to the reactor.
#[derive(Debug)]
enum Action {
    Send(ConnectionId),
    Read(ConnectionId),
    Close(ConnectionId),
}

impl Web {
    pub(super) fn new(
        hosts: Hosts,
        sign_in: Option<SignIn>,
        name: String,
        wall_clock: fn() -> SystemTime,
        now: Instant,
    ) -> Self {
        Self {
            gateway: Gateway::new(now),
            hosts,
            sign_in,
            clients: Slab::new(),
            actions: VecDeque::new(),
            generation: 0,
            signals: None,
            is_stopping: false,
            comment_at: now + COMMENT_INTERVAL,
            started_at: now,
            alarm: None,
            name,
            wall_clock,
        }
    }

    /// Makes the loop turn at `at`, at the latest.
    pub(super) fn set_alarm(&mut self, at: Instant) {
        self.alarm = Some(at);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    fn next_id(&mut self, slot: usize) -> ConnectionId {
        self.generation = self.generation.wrapping_add(1);
        ConnectionId::new(slot as u32, self.generation)
    }

    /// The id for a stream by which signals come.
    pub(super) fn signals(&mut self) -> ConnectionId {
        let id = self.next_id(2);
        self.signals = Some(id);
        id
    }

    /// The id for a new connection to the gateway.
    pub(super) fn linked(&mut self, purpose: Purpose) -> ConnectionId {
        let id = self.next_id(purpose as usize);
        if purpose == Purpose::Ask {
            info!("connected to the gateway");
        }
        self.gateway.connected(purpose, id);
        self.actions.push_back(Action::Send(id));
        id
    }

    /// A connection to the gateway did not come up.
    pub(super) fn unlinked(&mut self, purpose: Purpose, error: String, now: Instant) {
        let is_first = !matches!(self.gateway.link(purpose), Link::Down { error: before, .. } if *before == error);
        if is_first && purpose == Purpose::Ask {
            warn!("{error}: waiting for a gateway");
        }
        self.gateway.failed(purpose, error, now);
        if purpose == Purpose::Ask {
            self.gateway_is_away(now);
        }
    }

    fn purpose_of(id: ConnectionId) -> Option<Purpose> {
        match id.index() {
            0 => Some(Purpose::Ask),
            1 => Some(Purpose::Watch),
            _ => None,
        }
    }

    fn client(&mut self, id: ConnectionId) -> Option<&mut Client> {
        let slot = id.index().checked_sub(OWN_SLOTS)?;
        self.clients.get_mut(slot).filter(|client| client.id == id)
    }

    /// The numbers of the slots in use. Clients may go while the numbers are walked through.
    fn slots(&self) -> Vec<usize> {
        self.clients.iter().map(|(slot, _)| slot).collect()
    }

    /// Offers what is queued for a client to the kernel, unless it was offered already.
    fn offer(&mut self, slot: usize) {
        let Some(client) = self.clients.get(slot) else { return };
        if !client.is_blocked && client.lent == 0 && !client.queue.is_empty() {
            self.actions.push_back(Action::Send(client.id));
        }
    }

    /// Takes requests of a client for as long as they are complete and answered at once.
    fn advance(&mut self, slot: usize, now: Instant) {
        while let Some(client) = self.clients.get_mut(slot) {
            match client.next_request() {
                Ok(None) => break,
                Ok(Some((request, body))) => self.request(slot, &request, &body, now),
                Err(status) => {
                    let response =
                        Response::error(status, "bad_request", "this is no request that can be answered here");
                    client.answer(&response, Reply::LAST, now);
                }
            }
        }
        self.offer(slot);
    }

    /// Gives followers the events that they have not had, and an occasional comment to the silent ones.
    fn feed(&mut self, comment: bool) {
        /// Bytes that may be queued for one page. The events themselves are kept once for all.
        const QUEUE_BYTES: usize = 64 << 10;
        for slot in self.slots() {
            let Some(client) = self.clients.get_mut(slot) else { continue };
            let State::Streaming { position, filter } = &mut client.state else { continue };
            if client.queue.is_empty() {
                let mut out = Vec::new();
                *position = self.gateway.ring.write(*position, filter, QUEUE_BYTES, &mut out);
                if out.is_empty() && comment {
                    out.extend_from_slice(b":\n\n");
                }
                client.queue.push(&out);
                self.offer(slot);
            }
        }
    }

    fn count_followers(&mut self, now: Instant) {
        let is_followed = self.clients.iter().any(|(_, client)| matches!(client.state, State::Streaming { .. }));
        self.gateway.set_followed(is_followed, now);
    }

    /// Ends requests and connections whose time is over.
    fn expire(&mut self, now: Instant) {
        for slot in self.slots() {
            let Some(client) = self.clients.get_mut(slot) else { continue };
            let is_late = match &client.state {
                State::Waiting { since, awaited, .. } => *since + answers::timeout(awaited) <= now,
                // A follower whose queue is empty waits for events, for as long as it likes.
                State::Streaming { .. } if client.queue.is_empty() => false,
                _ => client.deadline <= now,
            };
            if !is_late {
                continue;
            }
            match client.state {
                State::Waiting { .. } => self.late_answer(slot, now),
                State::Head | State::Body(_) if client.has_begun() => {
                    let response = Response::error(Status::RequestTimeout, "timeout", "the request took too long");
                    client.answer(&response, Reply::LAST, now);
                    self.offer(slot);
                }
                _ => self.actions.push_back(Action::Close(client.id)),
            }
        }
    }

    /// Takes bytes of a connection to the gateway.
    fn received(&mut self, purpose: Purpose, bytes: &[u8], now: Instant) {
        let mut lines = Vec::new();
        let Some(up) = self.gateway.link(purpose).up() else { return };
        let id = up.id;
        if let Err(error) = up.receive(bytes, |line| lines.push(line.to_owned())) {
            warn!("{error}: connecting again");
            self.actions.push_back(Action::Close(id));
            return;
        }
        for line in lines {
            match purpose {
                Purpose::Ask => self.answered(&line, now),
                Purpose::Watch => drop(self.gateway.event(&line)),
            }
        }
        match purpose {
            Purpose::Ask => self.offer_link(),
            Purpose::Watch => self.feed(false),
        }
    }

    /// Offers the questions that wait to the kernel.
    fn offer_link(&mut self) {
        if let Some(up) = self.gateway.ask.up().filter(|up| !up.queue.is_empty()) {
            self.actions.push_back(Action::Send(up.id));
        }
    }
}

impl Endpoint for Web {
    fn handle_accept(&mut self, _: ListenerId, peer: Peer, now: Instant) -> Option<ConnectionId> {
        let Peer::Tcp(address) = peer else { return None };
        let from = address.ip();
        let of_address = self.clients.iter().filter(|(_, client)| client.from == from).count();
        if self.clients.len() >= CLIENTS_MAX || of_address >= CLIENTS_PER_ADDRESS_MAX {
            return None;
        }
        let id = self.next_id(self.clients.vacant_key() + OWN_SLOTS);
        self.clients.insert(Client::new(id, from, now));
        Some(id)
    }

    fn handle_connect(&mut self, _: ConnectionId, _: Instant) {}

    fn poll_read(&mut self, id: ConnectionId) -> usize {
        self.client(id).map_or(usize::MAX, |client| client.room())
    }

    fn handle_data(&mut self, id: ConnectionId, bytes: &[u8], now: Instant) {
        if Some(id) == self.signals {
            self.is_stopping = true;
        } else if let Some(purpose) = Self::purpose_of(id) {
            self.received(purpose, bytes, now);
        } else if let Some(client) = self.client(id) {
            client.receive(bytes, now);
            self.advance(id.index() - OWN_SLOTS, now);
        }
    }

    fn handle_end(&mut self, id: ConnectionId, _: Instant) {
        let is_over = Self::purpose_of(id).is_some() || self.client(id).is_some_and(Client::end);
        if is_over {
            self.actions.push_back(Action::Close(id));
        }
    }

    fn handle_sent(&mut self, id: ConnectionId, taken: usize, now: Instant) {
        if let Some(purpose) = Self::purpose_of(id) {
            self.gateway.link(purpose).up().into_iter().for_each(|up| up.queue.advance(taken));
            return;
        }
        let Some(client) = self.client(id) else { return };
        if !client.sent(taken, now) {
            return;
        }
        let slot = id.index() - OWN_SLOTS;
        match client.state {
            State::Writing => {
                client.rest(now);
                self.advance(slot, now);
                self.actions.push_back(Action::Read(id));
            }
            State::Closing => self.actions.push_back(Action::Close(id)),
            State::Streaming { .. } => self.feed(false),
            State::Head | State::Body(_) | State::Waiting { .. } => {}
        }
    }

    fn handle_writable(&mut self, id: ConnectionId, _: Instant) {
        if let Some(client) = self.client(id) {
            client.is_blocked = false;
            self.offer(id.index() - OWN_SLOTS);
        } else {
            self.actions.push_back(Action::Send(id));
        }
    }

    fn handle_close(&mut self, id: ConnectionId, _: StreamEnd, now: Instant) {
        match Self::purpose_of(id) {
            Some(purpose) => self.unlinked(purpose, "the gateway has closed the connection".into(), now),
            None if self.client(id).is_some() => {
                self.clients.remove(id.index() - OWN_SLOTS);
                self.count_followers(now);
            }
            None => {}
        }
    }

    fn handle_datagram(&mut self, _: ListenerId, _: SocketAddr, _: PacketInfo, _: &[u8], _: Instant) {}

    fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
        self.gateway.sample(now);
        self.offer_link();
        if self.comment_at <= now {
            self.comment_at = now + COMMENT_INTERVAL;
            self.feed(true);
        }
        if let Some(id) = self.gateway.watch.up().map(|up| up.id).filter(|_| !self.gateway.wants_events(now)) {
            self.actions.push_back(Action::Close(id));
        }
    }

    fn handle_wake(&mut self, _: Instant) {}

    fn poll_output(&mut self) -> Option<Output<'_>> {
        while let Some(action) = self.actions.pop_front() {
            match action {
                Action::Close(id) => return Some(Output::Close { id, abort: false }),
                Action::Read(id) => return Some(Output::Read { id }),
                Action::Send(id) if self.has_queue(id) => return self.lend(id),
                Action::Send(_) => {}
            }
        }
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = self.clients.iter().map(|(_, client)| match &client.state {
            State::Waiting { since, awaited, .. } => *since + answers::timeout(awaited),
            _ => client.deadline,
        });
        let at_once = (!self.actions.is_empty()).then_some(self.started_at);
        deadlines
            .chain([self.comment_at])
            .chain(self.alarm)
            .chain(at_once)
            .chain(self.gateway.due(self.comment_at))
            .min()
    }
}

impl Web {
    /// Whether something waits for that stream that the kernel was not offered.
    fn has_queue(&mut self, id: ConnectionId) -> bool {
        match Self::purpose_of(id) {
            Some(purpose) => self.gateway.link(purpose).up().is_some_and(|up| up.id == id && !up.queue.is_empty()),
            None => self.client(id).is_some_and(|client| client.lent == 0 && !client.queue.is_empty()),
        }
    }

    fn lend(&mut self, id: ConnectionId) -> Option<Output<'_>> {
        let bytes = match Self::purpose_of(id) {
            Some(purpose) => self.gateway.link(purpose).up()?.queue.waiting(),
            None => {
                let client = self.client(id)?;
                client.lent = client.queue.len();
                client.queue.waiting()
            }
        };
        Some(Output::Send { id, bytes })
    }
}
