//! All devices at once: who they are, what they said, when they are due a beat, and what the
//! application wants of them. It owns no socket and no clock. Floor 2.
//!
//! [`Gateway`] is the [`Endpoint`](crate::endpoint::Endpoint) that the daemon runs; [`Handler`] is the application's side of
//! it. Between them stands the `Core`, which a callback may use through [`Context`].

mod access;
mod addresses;
mod commands;
mod connection_log;
mod context;
mod core;
mod device_map;
mod endpoint;
mod handler;
mod identity;
mod interfaces;
mod latency;
mod memory;
mod remote;
mod settings;
mod slots;
mod stats;
mod timers;

use std::net::SocketAddr;
use std::time::Instant;

use log::{debug, trace};

use self::commands::Ended;
use self::core::{CloseMode, Core};
use self::identity::Claim;
use self::slots::Tag;
use crate::connection::Event;
use crate::endpoint::{ConnectionId, ListenerId};
use crate::proto::{Message, Reassembled};

pub use access::{Access, Cidr, CidrError};
pub use commands::{Command, CommandEnd, CommandReport, Match, MatchError, Submitted};
pub use context::{Broadcast, Context, Queued, SendError, Target, TargetError};
pub use device_map::DeviceMap;
pub use handler::{CloseReason, Delivery, Device, Disconnect, Handler, Refusal, StreamEvent};
pub use identity::{Identification, Missing, Name, NameError};
pub use interfaces::{Glob, GlobError, InterfaceName, InterfaceRule};
pub use latency::Histogram;
pub use remote::{Receipt, Remote, RemoteError};
pub use settings::{Bound, Discovery, Heartbeat, Identity, Limits, Settings, SettingsError, Takeover};
pub use stats::{Count, Stats};

/// The gateway's end of all streams, and the application on it.
pub struct Gateway<H> {
    handler: H,
    /// In a place of its own: it is large, and whoever makes a gateway moves it about.
    core: Box<Core>,
    requests: remote::Requests,
    /// The UDP sockets and the ports they are bound to.
    discovery_ports: Vec<(ListenerId, u16)>,
    /// The listeners of local processes, and how much may wait for each of those.
    unix_queue_bounds: Vec<(ListenerId, usize)>,
    /// While stopping: the slot up to which devices have been told.
    stop_cursor: u32,
}

impl<H: Handler> Gateway<H> {
    /// A gateway that nobody has found yet. `seed` keys the table of the discovery's rate limit;
    /// `settings` have passed [`Settings::check`].
    pub fn new(handler: H, settings: Settings, now: Instant, seed: u64) -> Self {
        Self {
            handler,
            core: Box::new(Core::new(settings, now, seed)),
            requests: remote::Requests::new(),
            discovery_ports: Vec::new(),
            unix_queue_bounds: Vec::new(),
            stop_cursor: 0,
        }
    }

    /// The application.
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// The application, to be changed between two `handle_*` calls.
    pub fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The application, and what a callback of it could ask for.
    pub fn parts(&mut self, now: Instant) -> (&mut H, Context<'_>) {
        self.core.set_time(now);
        (&mut self.handler, Context::new(&mut self.core))
    }

    /// Calls [`Handler::on_start`]: the driver does so once, before its first turn.
    pub fn start(&mut self, now: Instant) {
        self.core.set_time(now);
        self.tell(|handler, gateway| handler.on_start(gateway));
    }

    /// A handle for other threads. `wake` makes the driver call [`handle_wake`](crate::endpoint::Endpoint::handle_wake).
    pub fn remote(&self, wake: impl Fn() + Send + Sync + 'static) -> Remote {
        self.requests.remote(Box::new(wake))
    }

    /// Tells of a datagram socket, so that the gateway knows its own address when a probe claims to
    /// come from there.
    pub fn add_discovery(&mut self, socket: ListenerId, local: SocketAddr) {
        self.discovery_ports.push((socket, local.port()));
    }

    /// Tells of a listener that local processes come to, and how many bytes may wait for each.
    pub fn add_unix(&mut self, listener: ListenerId, outbox_bytes_max: usize) {
        self.unix_queue_bounds.push((listener, outbox_bytes_max));
    }

    /// Changes how many bytes may wait for each local process that comes to a listener from now on.
    pub fn set_outbox_max(&mut self, listener: ListenerId, outbox_bytes_max: usize) {
        let bounds = self.unix_queue_bounds.iter_mut().filter(|(id, _)| *id == listener);
        bounds.for_each(|(_, bytes)| *bytes = outbox_bytes_max);
    }

    /// Forgets a listener or datagram socket.
    pub fn remove_listener(&mut self, listener: ListenerId) {
        self.discovery_ports.retain(|(id, _)| *id != listener);
        self.unix_queue_bounds.retain(|(id, _)| *id != listener);
    }

    fn unix_queue_bytes(&self, listener: ListenerId) -> usize {
        self.unix_queue_bounds.iter().find(|(id, _)| *id == listener).map_or(0, |&(_, bytes)| bytes)
    }

    /// Makes room for a local stream for which at most `outbox_bytes_max` may wait; `None` where no
    /// id is left.
    pub fn attach(&mut self, outbox_bytes_max: usize) -> Option<ConnectionId> {
        self.core.attach(outbox_bytes_max)
    }

    /// Tells how the names of interfaces are found, for the rules of [`Discovery::interfaces`]. Without
    /// it, interfaces have no names.
    pub fn name_interfaces(&mut self, name: InterfaceName) {
        self.core.interface_name = Some(name);
    }

    /// Takes over new settings, which have passed [`Settings::check`]. It closes those devices, and no
    /// other, whose address may no longer connect; a lowered limit closes none.
    pub fn configure(&mut self, settings: Settings) {
        self.core.configure(settings);
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }

    /// Whether a stop has been asked for, see [`Context::stop`].
    pub fn is_stopping(&self) -> bool {
        self.core.stop_deadline.is_some()
    }

    /// Whether a stop is over: every device is gone, and what was written to local streams has been
    /// taken, or its time has run out.
    pub fn is_stopped(&self) -> bool {
        let Some(deadline) = self.core.stop_deadline else { return false };
        let quiet = self.core.slots.app_streams().all(|slot| slot.pending.is_none());
        self.core.slots.device_count() == 0 && (quiet || self.core.now >= deadline)
    }

    /// No other thread is heard any more.
    pub(crate) fn end_requests(&mut self) {
        self.requests.close();
    }

    /// Panics if the books contradict each other: memory that is counted and held, timers, addresses,
    /// what is to be done, and where every byte that came has gone. It walks over everything, between
    /// two `handle_*` calls whose outputs were drained: for tests.
    pub fn check_invariants(&self) {
        self.core.check_invariants();
    }

    /// How many devices are connected.
    pub fn connections(&self) -> usize {
        self.core.slots.device_count()
    }

    /// Cuts a device's bytes into objects, and shows each to the application. Events borrow from the read buffer and the
    /// reassembly buffer alone, so a callback may change any slot.
    fn handle_device_data(&mut self, id: ConnectionId, bytes: &[u8], now: Instant) {
        self.core.stats.received_bytes += bytes.len() as u64;
        if self.core.slots.device(id).is_some_and(|slot| slot.connection.offset() == 0)
            && let Some(device) = self.core.device(id)
        {
            self.core.log.connected(&device, self.core.now);
        }
        let (mut rest, mut whole) = (bytes, Reassembled::default());
        while let Some(event) = self.core.next_event(id, &mut rest, &mut whole) {
            match event {
                Event::Heartbeat(message) => {
                    if let Some(time) = self.core.beat_answered(id, now) {
                        self.core.stats.beat_round_trip.record(time);
                    }
                    let claim = self.identify(id, &message);
                    self.close_claimant(id, claim);
                }
                Event::Message(message) => {
                    trace!("device {id}: {:?} of {} bytes", message.type_name(), message.bytes().len());
                    let claim = self.identify(id, &message);
                    let answered = self.core.answered(id, &message);
                    self.show(id, |handler, device, gateway| handler.on_message(device, &message, gateway));
                    answered.into_iter().for_each(|ended| self.report_end(ended, Some(&message)));
                    self.close_claimant(id, claim);
                }
                Event::Rejected(error, _) => {
                    debug!("device {id}: object rejected: {error}");
                    self.show(id, |handler, device, gateway| handler.on_rejected(device, &error, gateway));
                }
            }
        }
        self.core.memory.tails.recycle(&mut whole);
        self.core.account(id);
        self.core.resume();
    }

    /// Calls the application about a device, as it stands.
    fn show(&mut self, id: ConnectionId, call: impl FnOnce(&mut H, &Device, &mut Context<'_>)) {
        if let Some(device) = self.core.device(id) {
            self.tell(|handler, gateway| call(handler, &device, gateway));
        }
    }

    /// Calls the application. No slot is lent while it runs.
    fn tell(&mut self, call: impl FnOnce(&mut H, &mut Context<'_>)) {
        call(&mut self.handler, &mut Context::new(&mut self.core));
    }

    /// Gives a connection its name, if an accepted object has it, and reports that.
    fn identify(&mut self, id: ConnectionId, message: &Message<'_>) -> Claim {
        if self.core.rules.identity_member.is_empty() {
            return Claim::Nothing;
        }
        let claim = self.core.claim(id, message);
        if claim == Claim::Identified {
            self.show(id, |handler, device, gateway| handler.on_identified(device, gateway));
            self.report();
        }
        claim
    }

    /// Closes a connection that may not have the name it claims.
    fn close_claimant(&mut self, id: ConnectionId, claim: Claim) {
        if let Claim::Close(reason) = claim {
            self.core.begin_close(id, reason, CloseMode::Immediate);
        }
    }

    /// Reports what became of commands.
    fn report(&mut self) {
        while let Some((tag, delivery)) = self.core.reports.pop_front() {
            match tag {
                Tag::App(tag) => self.tell(|handler, gateway| handler.on_sent(tag, delivery, gateway)),
                Tag::Command(command) => self.core.command_delivered(command, delivery),
            }
        }
        self.core.reports.shrink_to(REPORTS_KEPT);
        while let Some(ended) = self.core.commands.next_ended() {
            self.report_end(ended, None);
        }
        self.core.charge_names();
    }

    fn report_end(&mut self, ended: Ended, answer: Option<&Message<'_>>) {
        self.core.stats.commands_ended[&ended.end] += 1;
        let Ended { command, device, name, end } = ended;
        let report = CommandReport { command, device, name, end, answer };
        self.tell(|handler, gateway| handler.on_command(&report, gateway));
    }

    /// While stopping: closes the next devices, as long as the application's own streams take what
    /// it has to say about them.
    fn stop_some(&mut self, deadline: crate::tick::Tick) {
        let over = self.core.now >= deadline;
        if !over && self.app_streams_are_full() {
            return;
        }
        let ending = if over { CloseMode::Immediate } else { CloseMode::Graceful };
        let end = (self.core.slots.capacity() as u32).min(self.stop_cursor + STOPPED_PER_TURN);
        for index in self.stop_cursor..end {
            let id = self.core.slots.id_at(index);
            self.core.begin_close(id, CloseReason::Shutdown, ending);
        }
        self.stop_cursor = end;
    }

    /// Whether a local stream has so much to take that no more should be said for now.
    fn app_streams_are_full(&self) -> bool {
        let full =
            |slot: &slots::AppStream| slot.pending.as_ref().is_some_and(|p| p.outbox.len() > slot.outbox_bytes_max / 2);
        self.core.slots.app_streams().any(full)
    }
}

/// Reports whose room is kept between calls.
const REPORTS_KEPT: usize = 64;
/// Devices closed per call while stopping: what is said about them must fit the buffers it goes to.
const STOPPED_PER_TURN: u32 = 128;
