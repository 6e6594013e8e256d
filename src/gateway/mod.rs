//! All devices at once: who they are, what they said, when they are due a beat, and what the
//! application wants of them. It owns no socket and no clock. Floor 2.
//!
//! [`Gateway`] is the [`Endpoint`] that the daemon runs; [`Handler`] is the application's side of
//! it. Between them stands the `Core`, which a callback may use through [`Commands`].

mod access;
mod addresses;
mod commands;
mod core;
mod handler;
mod interfaces;
mod latency;
mod memory;
mod remote;
mod settings;
mod slots;
mod stats;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::{debug, info, trace};

use self::core::{Core, Ending};
use self::slots::Slot;
use crate::connection::{Event, ServerConnection};
use crate::endpoint::{ConnectionId, Endpoint, ListenerId, Output, Peer, StreamEnd, Via};
use crate::proto::discovery::{answerable, canonical};
use crate::proto::{Kind, Suppressed};

pub use access::{Access, Cidr, CidrError};
pub use commands::{Commands, Queued, SendError, Target, TargetError};
pub use handler::{CloseReason, Delivery, Device, Disconnect, Handler, Local, Refusal};
pub use interfaces::{Glob, GlobError, InterfaceName, InterfaceRule};
pub use latency::Histogram;
pub use remote::{Receipt, Remote, RemoteError};
pub use settings::{Bound, Discovery, Heartbeat, Limits, Settings, SettingsError};
pub use stats::{Count, Stats};

/// The gateway's end of all streams, and the application on it.
pub struct Gateway<H> {
    handler: H,
    core: Core,
    requests: remote::Requests,
    /// The UDP sockets and the ports they are bound to.
    discovery_ports: Vec<(ListenerId, u16)>,
    /// The listeners of local processes, and how much may wait for each of those.
    local_outboxes: Vec<(ListenerId, usize)>,
    /// While stopping: the slot up to which devices have been told.
    stop_cursor: u32,
}

impl<H: Handler> Gateway<H> {
    /// A gateway that nobody has found yet. `seed` keys the table of the discovery's rate limit;
    /// `settings` have passed [`Settings::check`].
    pub fn new(handler: H, settings: Settings, now: Instant, seed: u64) -> Self {
        Self {
            handler,
            core: Core::new(settings, now, seed),
            requests: remote::Requests::new(),
            discovery_ports: Vec::new(),
            local_outboxes: Vec::new(),
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
    pub fn parts(&mut self, now: Instant) -> (&mut H, Commands<'_>) {
        self.core.now = self.core.clock.tick(now);
        (&mut self.handler, Commands::new(&mut self.core))
    }

    /// A handle for other threads. `wake` makes the driver call [`Endpoint::handle_wake`].
    pub fn remote(&self, wake: impl Fn() + Send + Sync + 'static) -> Remote {
        self.requests.remote(Box::new(wake))
    }

    /// Tells of a datagram socket, so that the gateway knows its own address when a probe claims to
    /// come from there.
    pub fn add_discovery(&mut self, socket: ListenerId, local: SocketAddr) {
        self.discovery_ports.push((socket, local.port()));
    }

    /// Tells of a listener that local processes come to, and how many bytes may wait for each.
    pub fn add_local(&mut self, listener: ListenerId, outbox_bytes_max: usize) {
        self.local_outboxes.push((listener, outbox_bytes_max));
    }

    /// Forgets a listener or datagram socket.
    pub fn remove_listener(&mut self, listener: ListenerId) {
        self.discovery_ports.retain(|(id, _)| *id != listener);
        self.local_outboxes.retain(|(id, _)| *id != listener);
    }

    fn local_outbox_bytes(&self, listener: ListenerId) -> usize {
        self.local_outboxes.iter().find(|(id, _)| *id == listener).map_or(0, |&(_, bytes)| bytes)
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

    /// Whether a stop has been asked for, see [`Commands::stop`].
    pub fn is_stopping(&self) -> bool {
        self.core.stop_deadline.is_some()
    }

    /// Whether a stop is over: every device is gone, and what was written to local streams has been
    /// taken, or its time has run out.
    pub fn is_stopped(&self) -> bool {
        let Some(deadline) = self.core.stop_deadline else { return false };
        let quiet = self.core.slots.locals().all(|slot| slot.pending.is_none());
        self.core.slots.device_count() == 0 && (quiet || self.core.now >= deadline)
    }

    /// How many devices are connected.
    pub fn connections(&self) -> usize {
        self.core.slots.device_count()
    }

    /// Calls the application. No slot is lent while it runs.
    fn tell(&mut self, call: impl FnOnce(&mut H, &mut Commands<'_>)) {
        call(&mut self.handler, &mut Commands::new(&mut self.core));
    }

    /// Tells what became of commands that are waited for.
    fn report(&mut self) {
        while let Some((tag, delivery)) = self.core.reports.pop_front() {
            self.tell(|handler, gateway| handler.on_sent(tag, delivery, gateway));
        }
    }

    /// While stopping: closes the next devices, as long as the application's own streams take what
    /// it has to say about them.
    fn stop_some(&mut self, deadline: crate::tick::Tick) {
        let over = self.core.now >= deadline;
        if !over && self.locals_are_full() {
            return;
        }
        let ending = if over { Ending::Drop } else { Ending::Flush };
        let end = (self.core.slots.capacity() as u32).min(self.stop_cursor + STOPPED_PER_TURN);
        for index in self.stop_cursor..end {
            let id = self.core.slots.id_at(index);
            self.core.begin_close(id, CloseReason::Shutdown, ending);
            self.core.close_by(id, deadline);
        }
        self.stop_cursor = end;
    }

    /// Whether a local stream has so much to take that no more should be said for now.
    fn locals_are_full(&self) -> bool {
        let full =
            |slot: &slots::LocalSlot| slot.pending.as_ref().is_some_and(|p| p.outbox.len() > slot.outbox_bytes_max / 2);
        self.core.slots.locals().any(full)
    }
}

/// Timers handled per call: after a long sleep all of them are due, and the streams want their turn.
const TIMERS_PER_TURN: usize = 1024;
/// Devices closed per call while stopping: what is said about them must fit the buffers it goes to.
const STOPPED_PER_TURN: u32 = 512;

impl<H: Handler> Endpoint for Gateway<H> {
    fn handle_accept(&mut self, listener: ListenerId, peer: Peer, now: Instant) -> Option<ConnectionId> {
        self.core.now = self.core.clock.tick(now);
        let address = match peer {
            Peer::Internet(address) => canonical(address),
            Peer::Local(credentials) => {
                let id = self.core.attach(self.local_outbox_bytes(listener))?;
                self.tell(|handler, gateway| handler.on_local(id, Local::Opened(listener, credentials), gateway));
                return Some(id);
            }
        };
        let refusal = self.core.refusal(address.ip());
        let joined = if refusal.is_none() { self.core.join(address) } else { None };
        let Some(id) = joined else {
            let refusal = refusal.unwrap_or(Refusal::ConnectionsMax);
            self.core.stats.refused[refusal as usize] += 1;
            debug!("{address} refused: {}", refusal.word());
            self.tell(|handler, gateway| handler.on_refused(address, refusal, gateway));
            return None;
        };
        info!("device {id} connected from {address}");
        if let Some(device) = self.core.device(id) {
            self.tell(|handler, gateway| handler.on_connect(&device, gateway));
        }
        Some(id)
    }

    /// A gateway opens no streams.
    fn handle_connect(&mut self, _: ConnectionId, _: Instant) {}

    fn handle_data(&mut self, id: ConnectionId, bytes: &[u8], now: Instant) {
        self.core.now = self.core.clock.tick(now);
        let core = &mut self.core;
        let slot = match core.slots.get_mut(id) {
            Some(Slot::Device(slot)) => slot,
            Some(Slot::Local(_)) => {
                return self.tell(|handler, gateway| handler.on_local(id, Local::Data(bytes), gateway));
            }
            _ => return,
        };
        core.stats.received_bytes += bytes.len() as u64;
        if slot.closing {
            core.stats.discarded_bytes += bytes.len() as u64;
            return;
        }
        // The connection is taken out of its slot while what it lends is shown to the application,
        // which may do anything to any slot meanwhile.
        let device = slot.device(id);
        let mut connection = std::mem::replace(&mut slot.connection, ServerConnection::new(0));
        core.current = Some(device);
        let buffered_before = connection.buffered();
        let held_before = connection.unfinished().map_or(0, |(_, bytes)| bytes);
        let (mut rest, mut objects, mut object_bytes) = (bytes, 0, 0);
        let mut spare = std::mem::take(&mut core.spare);
        let fault = loop {
            let core = &mut self.core;
            match connection.handle_data(rest, &core.rules, &mut spare, core.now) {
                Ok((used, Some(event))) => {
                    rest = &rest[used..];
                    match event {
                        Event::Heartbeat(message, first) => {
                            if let Some(sent) = core.beat_sent(id).filter(|_| first) {
                                core.stats.beat_round_trip.note(now - sent);
                            }
                            objects += 1;
                            object_bytes += message.bytes().len();
                            core.stats.messages[Kind::Heartbeat as usize].add(message.bytes().len());
                        }
                        Event::Message(message) => {
                            objects += 1;
                            object_bytes += message.bytes().len();
                            core.stats.messages[message.kind() as usize].add(message.bytes().len());
                            trace!("device {id}: {} of {} bytes", message.type_name(), message.bytes().len());
                            self.handler.on_message(&device, &message, &mut Commands::new(core));
                        }
                        Event::Rejected(error, bytes) => {
                            object_bytes += bytes;
                            core.stats.rejected[error.reason as usize].add(bytes);
                            debug!("device {id}: object dropped: {error}");
                            self.handler.on_rejected(&device, &error, &mut Commands::new(core));
                        }
                    }
                    if self.core.slots.device_mut(id).is_none_or(|slot| slot.closing) {
                        break None;
                    }
                }
                Ok((_, None)) => {
                    rest = &[];
                    break None;
                }
                Err(fault) => break Some(fault),
            }
        };
        let core = &mut self.core;
        core.spare = spare;
        core.current = None;
        let held = connection.unfinished().map_or(0, |(_, bytes)| bytes);
        let padding = (held_before + bytes.len()) - (held + object_bytes + rest.len());
        core.stats.padding_bytes += padding as u64;
        core.stats.discarded_bytes += rest.len() as u64;
        let now = core.now;
        let Some(slot) = core.slots.device_mut(id) else { return };
        if slot.closing {
            connection.release();
        }
        let buffered = connection.buffered();
        slot.connection = connection;
        // The settings may have changed while it was out.
        slot.connection.set_credit(core.settings.heartbeat.credit);
        slot.objects += objects;
        if objects > 0 {
            slot.seen = now;
        }
        if buffered_before > 0 || buffered > 0 {
            core.balance(id, buffered_before, buffered);
        }
        if let Some(fault) = fault {
            core.handle_fault(id, fault);
        }
        core.resume();
    }

    fn poll_read(&mut self, id: ConnectionId) -> usize {
        self.core.poll_read(id)
    }

    fn handle_end(&mut self, id: ConnectionId, now: Instant) {
        self.core.now = self.core.clock.tick(now);
        match self.core.slots.get_mut(id) {
            Some(Slot::Device(_)) => self.core.begin_close(id, CloseReason::Closed, Ending::Flush),
            Some(Slot::Local(_)) => self.tell(|handler, gateway| handler.on_local(id, Local::End, gateway)),
            _ => {}
        }
    }

    fn handle_sent(&mut self, id: ConnectionId, taken: usize, now: Instant) {
        self.core.now = self.core.clock.tick(now);
        let drained = self.core.handle_sent(id, taken);
        self.report();
        if drained && self.core.slots.local_mut(id).is_some() {
            self.tell(|handler, gateway| handler.on_local(id, Local::Drained, gateway));
        }
    }

    fn handle_writable(&mut self, id: ConnectionId, now: Instant) {
        self.core.now = self.core.clock.tick(now);
        self.core.handle_writable(id);
    }

    fn handle_close(&mut self, id: ConnectionId, end: StreamEnd, now: Instant) {
        self.core.now = self.core.clock.tick(now);
        let broke = match end {
            StreamEnd::Failed(error) => CloseReason::Reset(error),
            StreamEnd::Closed => CloseReason::Closed,
        };
        match self.core.slots.remove(id) {
            Some(Slot::Device(slot)) => {
                let (device, end) = self.core.end(id, slot, broke);
                self.core.resume();
                info!("device {id} from {} gone: {}", device.address(), end.reason);
                self.report();
                self.tell(|handler, gateway| handler.on_disconnect(&device, &end, gateway));
            }
            Some(Slot::Local(slot)) => {
                self.core.memory.changed(slot.pending.map_or(0, |pending| pending.counted), 0);
                self.tell(|handler, gateway| handler.on_local(id, Local::Closed(end), gateway));
            }
            _ => {}
        }
    }

    fn handle_datagram(&mut self, socket: ListenerId, from: SocketAddr, via: Via, bytes: &[u8], now: Instant) {
        let core = &mut self.core;
        core.now = core.clock.tick(now);
        core.stats.probes += 1;
        let port = self.discovery_ports.iter().find(|(id, _)| *id == socket).map_or(0, |&(_, port)| port);
        let source = canonical(from);
        let now_ms = core.clock.millis(now);
        let discovery = &core.settings.discovery;
        let verdict = answerable(source, via.local, port, bytes, &discovery.reply)
            .and_then(|()| {
                let answered = core.interfaces.ask(&discovery.interfaces, via.interface, core.interface_name, core.now);
                if answered { Ok(()) } else { Err(Suppressed::Interface) }
            })
            .and_then(|()| core.rate.take(source.ip(), now_ms));
        match verdict {
            Ok(()) => {
                core.stats.probes_answered += 1;
                core.answer(socket, from, via);
            }
            Err(why) => core.stats.probes_suppressed[why as usize] += 1,
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.core.now = self.core.clock.tick(now);
        self.core.instant = now;
        if self.core.wake_at.is_some_and(|at| at <= now) {
            self.core.wake_at = None;
            self.tell(|handler, gateway| handler.on_timer(now, gateway));
        }
        if let Some(deadline) = self.core.stop_deadline {
            self.stop_some(deadline);
        }
        for _ in 0..TIMERS_PER_TURN {
            let Some(index) = self.core.wheel.expire(self.core.now) else { break };
            self.core.handle_timer(index);
        }
        self.core.resume();
    }

    fn handle_wake(&mut self, now: Instant) {
        self.core.now = self.core.clock.tick(now);
        while let Some(request) = self.requests.next() {
            request.carry_out(&mut Commands::new(&mut self.core));
        }
    }

    fn poll_output(&mut self) -> Option<Output<'_>> {
        self.core.poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let core = &self.core;
        // What was asked for between two calls is not to wait for the next event.
        let at_once = core.has_output().then_some(core.now);
        let timer = core.wheel.next_deadline();
        let stop = core.stop_deadline.and_then(|deadline| {
            // The next devices are told in the next turn, or a tick later if the application's own
            // streams have enough to take; the last word is at the deadline.
            let more = (self.stop_cursor as usize) < core.slots.capacity();
            match more {
                true if self.locals_are_full() => Some(core.now.after(1).min(deadline)),
                true => Some(core.now),
                false => (core.now < deadline).then_some(deadline),
            }
        });
        let tick = [at_once, timer, stop].into_iter().flatten().min().map(|tick| core.clock.instant(tick));
        [tick, core.wake_at].into_iter().flatten().min()
    }
}

/// The time that ticks are told from, for those who show ticks to people.
impl<H> Gateway<H> {
    /// How long ago that tick was at `now`.
    pub fn age(&self, tick: crate::tick::Tick, now: Instant) -> Duration {
        now.saturating_duration_since(self.core.clock.instant(tick))
    }
}
