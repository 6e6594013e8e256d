//! The uplink's streams: the sans-I/O interface between the reactor and the uplink.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pulsegate::unstable::endpoint::{Endpoint, Outbox, Output, PacketInfo, Peer};
use pulsegate::{ConnectionId, ListenerId, StreamEnd};

use super::uplink::{Request, Uplink};

mod dial;

/// Places of the streams in the reactor's table. Clients of the socket for counters have the places behind them.
const BROKER: usize = 0;
const GATEWAY: usize = 1;
const RESOLVER: usize = 2;
const SIGNALS: usize = 3;
const CLIENTS: usize = 4;
/// Clients of the socket for counters at one time.
const CLIENTS_MAX: usize = 8;
/// How long an address may take to accept a connection.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a look-up of a name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(60);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Bytes of one read of the gateway's events.
const READ_BYTES_MAX: usize = 64 << 10;

/// Work that needs the reactor or the system, done between two turns.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chore {
    /// Connect to the gateway's control socket.
    DialGateway,
    /// Look up the name of a host.
    Resolve(String),
    /// End the look-up.
    EndResolver,
}

/// One stream.
#[derive(Debug, Default)]
struct Port {
    id: Option<ConnectionId>,
    /// Whether the kernel takes no more bytes until the stream becomes writable.
    blocked: bool,
    /// Whether the connection is yet to come up.
    connecting: bool,
}

pub(super) struct Driver {
    pub(super) uplink: Uplink,
    broker: Port,
    gateway: Port,
    resolver: Port,
    signals: Port,
    clients: Vec<(ConnectionId, Outbox)>,
    outputs: VecDeque<Output<'static>>,
    chores: VecDeque<Chore>,
    /// Addresses of the broker that are yet to be tried, and until when the present attempt may last.
    addresses: VecDeque<SocketAddr>,
    deadline: Option<Instant>,
    port: u16,
    /// The output of the look-up so far.
    resolved: Vec<u8>,
    /// Whether the gateway's stream is not read until the queue has room.
    paused: bool,
    generation: u32,
    /// When the driver was last called between two turns: its outputs wait for a turn.
    touched: Option<Instant>,
}

impl Driver {
    pub(super) fn new(uplink: Uplink) -> Self {
        Self {
            uplink,
            broker: Port::default(),
            gateway: Port::default(),
            resolver: Port::default(),
            signals: Port::default(),
            clients: Vec::new(),
            outputs: VecDeque::new(),
            chores: VecDeque::new(),
            addresses: VecDeque::new(),
            deadline: None,
            port: 0,
            resolved: Vec::new(),
            paused: false,
            generation: 0,
            touched: None,
        }
    }

    /// The next chore, to be done before the next turn.
    pub(super) fn take_chore(&mut self) -> Option<Chore> {
        self.chores.pop_front()
    }

    fn new_id(&mut self, index: usize) -> ConnectionId {
        self.generation = self.generation.wrapping_add(1);
        ConnectionId::new(index as u32, self.generation)
    }

    /// An id for the stream that signals come by.
    pub(super) fn signals_id(&mut self) -> ConnectionId {
        let id = self.new_id(SIGNALS);
        self.signals.id = Some(id);
        id
    }

    /// An id for the stream to the gateway.
    pub(super) fn gateway_id(&mut self) -> ConnectionId {
        let id = self.new_id(GATEWAY);
        self.gateway = Port { id: Some(id), ..Port::default() };
        self.paused = false;
        id
    }

    /// The reactor has the stream to the gateway.
    pub(super) fn gateway_connected(&mut self, now: Instant) {
        self.touched = Some(now);
        self.uplink.gateway_connected(now);
        self.follow_up(now);
    }

    pub(super) fn gateway_failed(&mut self, why: &str, now: Instant) {
        self.touched = Some(now);
        self.gateway.id = None;
        self.uplink.gateway_closed(why, now);
        self.follow_up(now);
    }

    /// An id for the output of the look-up.
    pub(super) fn resolver_id(&mut self) -> ConnectionId {
        let id = self.new_id(RESOLVER);
        self.resolver = Port { id: Some(id), ..Port::default() };
        self.resolved.clear();
        id
    }

    /// The look-up runs, or could not begin.
    pub(super) fn resolver_started(&mut self, result: Result<(), String>, now: Instant) {
        self.touched = Some(now);
        match result {
            Ok(()) => self.deadline = Some(now + RESOLVE_TIMEOUT),
            Err(why) => {
                self.resolver.id = None;
                self.fail_broker(&why, now);
            }
        }
    }

    /// Does what the uplink asks for after each call.
    fn follow_up(&mut self, now: Instant) {
        while let Some(request) = self.uplink.take_request() {
            match request {
                Request::DialBroker(place) => self.dial_broker(place, now),
                Request::CloseBroker => {
                    self.addresses.clear();
                    self.end_resolver();
                    close(&mut self.outputs, &self.broker, false);
                }
                Request::DialGateway => self.chores.push_back(Chore::DialGateway),
                Request::CloseGateway => close(&mut self.outputs, &self.gateway, false),
            }
        }
        if self.paused && self.uplink.wants_events() {
            self.paused = false;
            self.outputs.extend(self.gateway.id.map(|id| Output::Read { id }));
        }
    }
}

fn close(outputs: &mut VecDeque<Output<'static>>, port: &Port, abort: bool) {
    outputs.extend(port.id.map(|id| Output::Close { id, abort }));
}

impl Endpoint for Driver {
    fn handle_accept(&mut self, _: ListenerId, _: Peer, now: Instant) -> Option<ConnectionId> {
        let places = CLIENTS..CLIENTS + CLIENTS_MAX;
        let place = places.into_iter().find(|place| self.clients.iter().all(|(id, _)| id.index() != *place))?;
        let id = self.new_id(place);
        let mut outbox = Outbox::default();
        outbox.push(format!("{}\n", self.uplink.report()).as_bytes());
        self.clients.push((id, outbox));
        self.touched = Some(now);
        Some(id)
    }

    fn handle_connect(&mut self, id: ConnectionId, now: Instant) {
        if self.broker.id == Some(id) {
            self.broker.connecting = false;
            self.deadline = None;
            self.uplink.broker_connected(now);
            self.follow_up(now);
        }
    }

    fn poll_read(&mut self, id: ConnectionId) -> usize {
        if id.index() == GATEWAY {
            self.paused = !self.uplink.wants_events();
            return if self.paused { 0 } else { READ_BYTES_MAX };
        }
        READ_BYTES_MAX
    }

    fn handle_data(&mut self, id: ConnectionId, bytes: &[u8], now: Instant) {
        match id.index() {
            BROKER => self.uplink.broker_data(bytes, now),
            GATEWAY => self.uplink.gateway_data(bytes, now),
            RESOLVER => {
                let room = READ_BYTES_MAX - self.resolved.len();
                self.resolved.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            SIGNALS => self.uplink.stop(now),
            _ => {}
        }
        self.follow_up(now);
    }

    fn handle_end(&mut self, id: ConnectionId, now: Instant) {
        match id.index() {
            BROKER => close(&mut self.outputs, &self.broker, false),
            GATEWAY => close(&mut self.outputs, &self.gateway, false),
            RESOLVER => self.name_resolved(now),
            SIGNALS => {}
            _ => self.outputs.push_back(Output::Close { id, abort: false }),
        }
    }

    fn handle_sent(&mut self, id: ConnectionId, taken: usize, now: Instant) {
        match id.index() {
            BROKER => {
                self.broker.blocked = taken < self.uplink.broker_out().len();
                self.uplink.broker_sent(taken, now);
            }
            GATEWAY => {
                self.gateway.blocked = taken < self.uplink.gateway_out().len();
                self.uplink.gateway_sent(taken);
            }
            _ => {
                if let Some((_, outbox)) = self.clients.iter_mut().find(|(client, _)| *client == id) {
                    // The report fits into the buffer of a socket. A client whose socket takes less sees its end.
                    outbox.advance(taken);
                    self.outputs.push_back(Output::Close { id, abort: false });
                }
            }
        }
        self.follow_up(now);
    }

    fn handle_writable(&mut self, id: ConnectionId, _: Instant) {
        match id.index() {
            BROKER => self.broker.blocked = false,
            GATEWAY => self.gateway.blocked = false,
            _ => {}
        }
    }

    fn handle_close(&mut self, id: ConnectionId, end: StreamEnd, now: Instant) {
        let why = match end {
            StreamEnd::Closed => "the connection was closed".into(),
            StreamEnd::Failed(error) => error.to_string(),
        };
        if self.broker.id == Some(id) {
            self.broker.id = None;
            match std::mem::take(&mut self.broker.connecting) {
                true => self.dial_next(&why, now),
                false => self.uplink.broker_closed(&why, now),
            }
        } else if self.gateway.id == Some(id) {
            self.gateway.id = None;
            self.uplink.gateway_closed(&why, now);
        } else if self.resolver.id == Some(id) {
            self.name_resolved(now);
        }
        self.clients.retain(|(client, _)| *client != id);
        self.follow_up(now);
    }

    fn handle_datagram(&mut self, _: ListenerId, _: SocketAddr, _: PacketInfo, _: &[u8], _: Instant) {}

    fn handle_timeout(&mut self, now: Instant) {
        self.touched = None;
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            if self.resolver.id.is_some() {
                self.end_resolver();
            } else {
                close(&mut self.outputs, &self.broker, true);
            }
        }
        if self.uplink.poll_timeout().is_some_and(|at| at <= now) {
            self.uplink.handle_timeout(now);
        }
        self.follow_up(now);
    }

    fn handle_wake(&mut self, _: Instant) {}

    fn poll_output(&mut self) -> Option<Output<'_>> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if let Some(id) = self.broker.id.filter(|_| !self.broker.blocked && !self.broker.connecting)
            && !self.uplink.broker_out().is_empty()
        {
            return Some(Output::Send { id, bytes: self.uplink.broker_out() });
        }
        if let Some(id) = self.gateway.id.filter(|_| !self.gateway.blocked)
            && !self.uplink.gateway_out().is_empty()
        {
            return Some(Output::Send { id, bytes: self.uplink.gateway_out() });
        }
        let (id, outbox) = self.clients.iter().find(|(_, outbox)| !outbox.is_empty())?;
        Some(Output::Send { id: *id, bytes: outbox.waiting() })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.uplink.poll_timeout(), self.deadline, self.touched].into_iter().flatten().min()
    }
}
