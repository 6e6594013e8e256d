//! Everything of the gateway but the application: slots, timers, and what is to be done next. It
//! calls no callback, so that a callback may use all of it. Floor 2.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::handler::{CloseReason, Delivery, Device, Disconnect, Refusal};
use super::interfaces::{InterfaceName, Verdicts};
use super::latency::BeatTimes;
use super::memory::Memory;
use super::settings::{Settings, timeout};
use super::slots::{DeviceSlot, LocalSlot, Pending, Slot, Slots, Ticket};
use super::stats::Stats;
use super::{Queued, SendError, Target};
use crate::connection::{Fault, FramingFault, Rules};
use crate::endpoint::{ConnectionId, ListenerId, Output, Via};
use crate::proto::{Beat, RateLimit};
use crate::tick::{Tick, TickClock};
use crate::wheel::TimerWheel;

pub(super) struct Core {
    pub(super) clock: TickClock,
    /// The time of the present `handle_*` call.
    pub(super) now: Tick,
    /// The time of the last [`crate::endpoint::Endpoint::handle_timeout`]: when its beats go out.
    pub(super) instant: Instant,
    beat_times: BeatTimes,
    pub(super) settings: Settings,
    pub(super) rules: Rules,
    pub(super) slots: Slots,
    pub(super) wheel: TimerWheel<u32>,
    pub(super) stats: Stats,
    pub(super) memory: Memory,
    /// The device whose bytes are being read: while its connection is lent out, its slot cannot
    /// say how it stands.
    pub(super) current: Option<Device>,
    /// When the application wants to be called.
    pub(super) wake_at: Option<Instant>,
    /// Once a stop has been asked for: when it must be over.
    pub(super) stop_deadline: Option<Tick>,
    /// How the devices that are being closed ended.
    ending: BTreeMap<u32, Disconnect>,
    /// A buffer lent to connections that must gather a cut object.
    pub(super) spare: Vec<u8>,
    spare_pending: Option<Box<Pending>>,
    /// What became of commands that are waited for, and has not been told yet.
    pub(super) reports: VecDeque<(u64, Delivery)>,
    ops: VecDeque<Op>,
    in_flight: Option<InFlight>,
    /// The answer to the datagram that is being handled.
    answer: Option<(ListenerId, SocketAddr, Via)>,
    pub(super) rate: RateLimit,
    /// How the name of an interface is found, if it can be.
    pub(super) interface_name: Option<InterfaceName>,
    pub(super) interfaces: Verdicts,
    timing: Timing,
    /// The payload of a beat with its terminator.
    beat: Vec<u8>,
    /// Connections so far: deals out the phases of the beats.
    sequence: u32,
}

/// The settings' timings in ticks.
struct Timing {
    interval: u32,
    write_timeout: u32,
    close_timeout: u32,
    /// No timer sleeps longer than the shortest of the timeouts, so that a deadline that comes into
    /// being while a timer sleeps is seen in time.
    check: u32,
}

/// What is to be done, in order.
enum Op {
    Flush(ConnectionId),
    Beat(ConnectionId),
    Close(ConnectionId, bool),
    Read(ConnectionId),
}

/// What was lent with the last [`Output::Send`].
enum InFlight {
    Outbox,
    Beat,
}

/// Whether what waits for a stream is sent before it is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Sent, as far as it can be in the close timeout.
    Flush,
    /// Thrown away.
    Drop,
    /// Thrown away, with what the kernel holds.
    Abort,
}

impl Core {
    pub(super) fn new(settings: Settings, now: Instant, seed: u64) -> Self {
        let discovery = &settings.discovery;
        let rate =
            RateLimit::new(discovery.rate, discovery.burst, discovery.source_rate, discovery.source_burst, 0, seed);
        Self {
            clock: TickClock::new(now),
            now: Tick::default(),
            instant: now,
            beat_times: BeatTimes::new(),
            rules: settings.rules(),
            slots: Slots::default(),
            wheel: TimerWheel::new(),
            stats: Stats::default(),
            memory: Memory::new(settings.limits.memory_budget, settings.limits.object_bytes_max),
            current: None,
            wake_at: None,
            stop_deadline: None,
            ending: BTreeMap::new(),
            spare: Vec::new(),
            spare_pending: None,
            reports: VecDeque::new(),
            ops: VecDeque::new(),
            in_flight: None,
            answer: None,
            rate,
            interface_name: None,
            interfaces: Verdicts::default(),
            timing: Timing::new(&settings),
            beat: [&settings.heartbeat.payload[..], &settings.terminator].concat(),
            sequence: 0,
            settings,
        }
    }

    /// Why a connection from the canonical address `ip` is turned away, if it is.
    pub(super) fn refusal(&self, ip: IpAddr) -> Option<Refusal> {
        let (devices, access) = (self.slots.device_count(), &self.settings.access);
        let per_ip_max = access.connections_max_of(ip);
        if self.stop_deadline.is_some() {
            Some(Refusal::Shutdown)
        } else if !access.allows(ip) {
            Some(Refusal::AddressDenied)
        } else if devices >= self.settings.limits.connections_max {
            Some(Refusal::ConnectionsMax)
        // Counted no further than the limit, and not at all where it cannot have been reached.
        } else if devices >= per_ip_max && self.slots.devices_of(ip).take(per_ip_max).count() == per_ip_max {
            Some(Refusal::ConnectionsPerIpMax)
        } else {
            None
        }
    }

    /// Gives a new device its slot, full credit, and its place in the interval; `None` where no id
    /// is left.
    pub(super) fn join(&mut self, address: SocketAddr) -> Option<ConnectionId> {
        let index = self.slots.next_index()?;
        let beat_due = self.now.after(self.phase());
        let timer = self.wheel.insert(self.now.after(self.timing.check).min(beat_due), index);
        let credit = self.settings.heartbeat.credit;
        let slot = DeviceSlot::new(address, credit, self.now, beat_due, timer);
        self.stats.accepted += 1;
        Some(self.slots.insert(Slot::Device(slot)))
    }

    /// Ticks until a new device's first beat, from 1 to a whole interval. Steps of the golden ratio
    /// spread any number of devices that come one after the other evenly.
    fn phase(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(0x9e37_79b9);
        ((u64::from(self.sequence) * u64::from(self.timing.interval)) >> 32) as u32 + 1
    }

    /// Gives a local stream its slot.
    pub(super) fn attach(&mut self, outbox_bytes_max: usize) -> Option<ConnectionId> {
        self.slots.next_index()?;
        let slot = LocalSlot { pending: None, outbox_bytes_max, closing: false };
        Some(self.slots.insert(Slot::Local(slot)))
    }

    /// The device of that id as the application sees it.
    pub(super) fn device(&self, id: ConnectionId) -> Option<Device> {
        match self.current {
            Some(device) if device.id() == id => Some(device),
            _ => self.slots.device(id).filter(|slot| !slot.closing).map(|slot| slot.device(id)),
        }
    }

    /// The connections that `target` means, the newest first.
    pub(super) fn find(&self, target: Target) -> impl Iterator<Item = ConnectionId> {
        let (id, ip, port) = match target {
            Target::Id(id) => (self.slots.device(id).filter(|slot| !slot.closing).map(|_| id), None, None),
            Target::Address(address) => (None, Some(address.ip()), Some(address)),
            Target::Ip(ip) => (None, Some(ip), None),
        };
        let by_ip = ip.into_iter().flat_map(|ip| self.slots.devices_of(ip));
        let by_ip = by_ip.filter(move |(_, slot)| port.is_none_or(|address| slot.address() == address));
        id.into_iter().chain(by_ip.map(|(id, _)| id))
    }

    /// Queues a command, whole or not at all. With a tag, what becomes of it is reported.
    pub(super) fn send(&mut self, target: Target, text: &[u8], tag: Option<u64>) -> Result<Queued, SendError> {
        if text.is_empty() {
            return Err(SendError::Empty);
        }
        let mut found = self.find(target);
        let (id, of) = (found.next(), found.count() + 1);
        let Some(id) = id else {
            self.stats.commands_refused_unknown += 1;
            return Err(SendError::NoSuchDevice);
        };
        let max = self.settings.limits.outbox_bytes_max;
        let terminator = &self.settings.terminator;
        let Some(slot) = self.slots.device_mut(id) else { return Err(SendError::NoSuchDevice) };
        let waiting = slot.pending.as_ref().map_or(0, |pending| pending.outbox.len());
        // A short command to a device that takes what it is sent does not have to be kept.
        if self.memory.is_full() && (waiting > 0 || text.len() > self.memory.allowance()) {
            self.stats.commands_refused_memory += 1;
            return Err(SendError::Memory);
        }
        if waiting + text.len() + terminator.len() > max {
            self.stats.commands_refused_full += 1;
            return Err(SendError::Full { waiting, max });
        }
        let pending = open(&mut slot.pending, &mut self.spare_pending, self.now);
        pending.outbox.push(text);
        pending.outbox.push(terminator);
        count(&mut self.memory, pending);
        if let Some(tag) = tag {
            pending.tickets.push(Ticket { left: pending.outbox.len(), tag });
        }
        flush(&mut self.ops, id, pending);
        self.stats.commands_queued += 1;
        Ok(Queued { id, of })
    }

    /// Queues bytes for a local stream, whole or not at all: whether they fitted.
    pub(super) fn write(&mut self, id: ConnectionId, bytes: &[u8]) -> bool {
        let Some(slot) = self.slots.local_mut(id).filter(|slot| !slot.closing) else { return false };
        let waiting = slot.pending.as_ref().map_or(0, |pending| pending.outbox.len());
        // Whoever takes what is written is told more of it: the answer to an operator above all.
        if waiting + bytes.len() > slot.outbox_bytes_max || waiting > 0 && self.memory.is_full() {
            return false;
        }
        if !bytes.is_empty() {
            let pending = open(&mut slot.pending, &mut self.spare_pending, self.now);
            pending.outbox.push(bytes);
            count(&mut self.memory, pending);
            flush(&mut self.ops, id, pending);
        }
        true
    }

    /// Closes a local stream, when what waits for it has been taken.
    pub(super) fn close_local(&mut self, id: ConnectionId) {
        let Some(slot) = self.slots.local_mut(id).filter(|slot| !slot.closing) else { return };
        slot.closing = true;
        if slot.pending.is_none() {
            self.ops.push_back(Op::Close(id, false));
        }
    }

    /// Begins a device's end. Its buffers are free from here on but for what is to be flushed; the
    /// slot itself is freed when the stream is.
    pub(super) fn begin_close(&mut self, id: ConnectionId, reason: CloseReason, ending: Ending) {
        let Some(slot) = self.slots.device_mut(id).filter(|slot| !slot.closing) else { return };
        slot.closing = true;
        let unfinished = slot.connection.unfinished();
        self.memory.changed(slot.connection.buffered(), 0);
        self.memory.done(id);
        slot.connection.release();
        let mut unsent = 0;
        if let (Ending::Flush, Some(pending)) = (ending, &slot.pending) {
            let deadline = match reason {
                CloseReason::Closed => pending.progress.after(self.timing.write_timeout),
                _ => self.now.after(self.timing.close_timeout),
            };
            self.wheel.reschedule(slot.timer, deadline);
        } else {
            unsent = lose(&mut slot.pending, reason, &mut self.reports, &mut self.memory);
            self.ops.push_back(Op::Close(id, ending == Ending::Abort));
        }
        self.stats.unfinished_bytes += unfinished.map_or(0, |(_, bytes)| bytes as u64);
        self.ending.insert(id.index() as u32, Disconnect { reason, unfinished, unsent });
    }

    /// Lets what waits for a device on its way out be sent until `deadline` at the latest.
    pub(super) fn close_by(&mut self, id: ConnectionId, deadline: Tick) {
        let Some(slot) = self.slots.device(id) else { return };
        if slot.closing && slot.pending.is_some() {
            self.wheel.reschedule(slot.timer, deadline);
        }
    }

    /// A device's stream is gone: frees its slot and tells who it was and how it ended.
    pub(super) fn end(&mut self, id: ConnectionId, mut slot: DeviceSlot, broke: CloseReason) -> (Device, Disconnect) {
        self.wheel.cancel(slot.timer);
        self.memory.changed(slot.connection.buffered(), 0);
        self.memory.done(id);
        let unfinished = slot.connection.unfinished();
        let mut end = self.ending.remove(&(id.index() as u32)).unwrap_or_else(|| {
            self.stats.unfinished_bytes += unfinished.map_or(0, |(_, bytes)| bytes as u64);
            Disconnect { reason: broke, unfinished, unsent: 0 }
        });
        end.unsent += lose(&mut slot.pending, end.reason, &mut self.reports, &mut self.memory);
        self.stats.unsent_bytes += end.unsent as u64;
        self.stats.closed[end.reason.number()] += 1;
        (slot.device(id), end)
    }

    /// A device's timer has fired: looks after every deadline it may stand for.
    pub(super) fn handle_timer(&mut self, index: u32) {
        let id = self.slots.id_at(index);
        let (now, interval) = (self.now, self.timing.interval);
        let Some(slot) = self.slots.device_mut(id) else { return };
        let stalled = slot.pending.as_ref().map(|pending| pending.progress.after(self.timing.write_timeout));
        if slot.closing {
            // A device that ended its own sending may take its time, as long as it takes something
            // and the gateway stays.
            let closed = self.ending.get(&index).is_some_and(|end| end.reason == CloseReason::Closed);
            let patient = closed && self.stop_deadline.is_none();
            let next = stalled.filter(|deadline| patient && *deadline > now);
            slot.timer = self.wheel.insert(next.unwrap_or(now.after(interval)), index);
            if next.is_none() {
                self.ops.push_back(Op::Close(id, true));
            }
            return;
        }
        let late = now.since(slot.beat_due);
        let held_up = late > interval;
        if held_up {
            slot.connection.excuse(late);
        } else if slot.paused && slot.beat_due <= now {
            // What is not read cannot be finished, nor a beat answered.
            slot.connection.excuse(interval);
        }
        let object = slot.connection.object_deadline(&self.rules);
        let mut end = None;
        if object.is_some_and(|deadline| deadline <= now) && !slot.paused {
            let offset = slot.connection.unfinished().map_or(0, |(offset, _)| offset);
            end = Some((CloseReason::Framing(FramingFault::Timeout, offset), Ending::Drop));
        } else if stalled.is_some_and(|deadline| deadline <= now) {
            end = Some((CloseReason::Stalled, Ending::Abort));
        } else if slot.beat_due <= now {
            // From the moment it was due, without drift; beats whose time has passed are not made up for.
            slot.beat_due = slot.beat_due.after((late / interval + 1) * interval);
            self.beat_times.note(slot.beat_due, self.instant);
            self.stats.beats_missed += u64::from(slot.connection.credit() < self.settings.heartbeat.credit);
            let in_the_way = !slot.connection.has_progressed() && !held_up && self.memory.is_in_the_way(id);
            match slot.connection.handle_beat(held_up || slot.paused) {
                _ if in_the_way => end = Some((CloseReason::Memory, Ending::Abort)),
                Beat::Dead => end = Some((CloseReason::Silent, Ending::Abort)),
                Beat::Send if slot.pending.is_some() => self.stats.beats_withheld += 1,
                Beat::Send => self.ops.push_back(Op::Beat(id)),
            }
        }
        let next = [Some(slot.beat_due), object, stalled].into_iter().flatten().min();
        let next = next.unwrap_or(slot.beat_due).min(now.after(self.timing.check));
        slot.timer = self.wheel.insert(next.max(now.after(1)), index);
        if let Some((reason, ending)) = end {
            self.begin_close(id, reason, ending);
        }
    }

    /// When the last beat to that device went out.
    pub(super) fn beat_sent(&self, id: ConnectionId) -> Option<Instant> {
        self.slots.device(id).and_then(|slot| self.beat_times.sent(slot.beat_due))
    }

    /// A connection's bytes have shown a fault.
    pub(super) fn handle_fault(&mut self, id: ConnectionId, fault: Fault) {
        let reason = match fault {
            Fault::Framing(fault, offset) => CloseReason::Framing(fault, offset),
            Fault::Faulty => CloseReason::Faulty,
        };
        self.begin_close(id, reason, Ending::Drop);
    }

    /// The kernel takes bytes of `id` again.
    pub(super) fn handle_writable(&mut self, id: ConnectionId) {
        let Some(Some(pending)) = self.slots.pending_mut(id) else { return };
        pending.blocked = false;
        flush(&mut self.ops, id, pending);
    }

    /// The kernel has taken the first `taken` of the bytes lent last. True when with them everything
    /// has gone of what had to wait.
    pub(super) fn handle_sent(&mut self, id: ConnectionId, taken: usize) -> bool {
        self.stats.sent_bytes += taken as u64;
        let in_flight = self.in_flight.take();
        let now = self.now;
        let Some(slot) = self.slots.pending_mut(id) else { return false };
        if let Some(InFlight::Beat) = in_flight {
            self.stats.beats_sent += 1;
            if taken < self.beat.len() {
                let pending = open(slot, &mut self.spare_pending, now);
                pending.outbox.push(&self.beat[taken..]);
                pending.blocked = true;
                count(&mut self.memory, pending);
            }
            return false;
        }
        let Some(pending) = slot else { return false };
        pending.outbox.advance(taken);
        for ticket in &mut pending.tickets {
            ticket.left = ticket.left.saturating_sub(taken);
        }
        let sent = pending.tickets.iter().take_while(|ticket| ticket.left == 0).count();
        self.reports.extend(pending.tickets.drain(..sent).map(|ticket| (ticket.tag, Delivery::Sent)));
        if taken > 0 {
            pending.progress = now;
        }
        if !pending.outbox.is_empty() {
            pending.blocked = true;
            return false;
        }
        let mut done = slot.take();
        if let Some(pending) = &mut done {
            self.memory.changed(std::mem::take(&mut pending.counted), 0);
        }
        self.spare_pending = done.filter(|pending| pending.outbox.capacity() <= SPARE_BYTES_MAX);
        let closing = match self.slots.get_mut(id) {
            Some(Slot::Device(device)) => device.closing,
            Some(Slot::Local(local)) => local.closing,
            _ => false,
        };
        if closing {
            self.ops.push_back(Op::Close(id, false));
        }
        true
    }

    /// How much of a stream is wanted now. A device that must wait for memory is remembered.
    pub(super) fn poll_read(&mut self, id: ConnectionId) -> usize {
        if !self.memory.is_tight() {
            return usize::MAX;
        }
        let Some(slot) = self.slots.device_mut(id).filter(|slot| !slot.closing) else { return usize::MAX };
        let begun = slot.connection.unfinished().map_or(0, |(_, bytes)| bytes);
        let allowance = self.memory.allowance();
        if begun < allowance {
            return allowance - begun;
        }
        if self.memory.serve(id) {
            return usize::MAX;
        }
        if !std::mem::replace(&mut slot.paused, true) {
            self.stats.pauses += 1;
            self.memory.wait(id);
        }
        0
    }

    /// A device's connection has gone from holding `before` bytes to `after`: keeps the budget.
    pub(super) fn balance(&mut self, id: ConnectionId, before: usize, after: usize) {
        self.memory.changed(before, after);
        if after == 0 {
            self.memory.done(id);
        }
        while self.memory.is_over() {
            let held = |slot: &DeviceSlot| slot.connection.buffered() + slot.pending.as_ref().map_or(0, |p| p.counted);
            let largest = self.slots.devices().max_by_key(|(_, slot)| held(slot));
            let Some((largest, _)) = largest.filter(|(_, slot)| held(slot) > 0) else { break };
            self.begin_close(largest, CloseReason::Memory, Ending::Abort);
        }
    }

    /// Lets those who wait for memory be read again, as far as there is some.
    pub(super) fn resume(&mut self) {
        for _ in 0..self.memory.waiting().min(RESUMED_AT_ONCE) {
            let Some(id) = self.memory.next() else { break };
            match self.slots.device_mut(id).filter(|slot| !slot.closing) {
                Some(slot) => {
                    slot.paused = false;
                    slot.connection.expect_progress();
                    self.ops.push_back(Op::Read(id));
                }
                None => self.memory.done(id),
            }
        }
    }

    pub(super) fn answer(&mut self, socket: ListenerId, to: SocketAddr, via: Via) {
        self.answer = Some((socket, to, via));
    }

    /// Whether [`Self::poll_output`] has something to give.
    pub(super) fn has_output(&self) -> bool {
        self.answer.is_some() || !self.ops.is_empty()
    }

    pub(super) fn poll_output(&mut self) -> Option<Output<'_>> {
        if let Some((socket, to, via)) = self.answer.take() {
            return Some(Output::SendTo { socket, to, via, bytes: &self.settings.discovery.reply });
        }
        let id = loop {
            let Some(op) = self.ops.pop_front() else {
                self.ops.shrink_to(OPS_KEPT);
                return None;
            };
            match op {
                Op::Close(id, abort) => return Some(Output::Close { id, abort }),
                Op::Read(id) => return Some(Output::Read { id }),
                Op::Beat(id) => {
                    if let Some(None) = self.slots.pending_mut(id) {
                        self.in_flight = Some(InFlight::Beat);
                        return Some(Output::Send { id, bytes: &self.beat });
                    }
                    self.stats.beats_withheld += 1;
                }
                Op::Flush(id) => {
                    if let Some(Some(pending)) = self.slots.pending_mut(id) {
                        pending.queued = false;
                        if !pending.blocked {
                            break id;
                        }
                    }
                }
            }
        };
        self.in_flight = Some(InFlight::Outbox);
        let pending = self.slots.pending_mut(id)?.as_ref()?;
        Some(Output::Send { id, bytes: pending.outbox.waiting() })
    }

    /// Takes over new settings; they hold from now on, also for devices that are connected. Those
    /// whose address may no longer connect are closed.
    pub(super) fn configure(&mut self, settings: Settings) {
        let discovery = &settings.discovery;
        if *discovery != self.settings.discovery {
            self.rate.configure(discovery.rate, discovery.burst, discovery.source_rate, discovery.source_burst);
        }
        self.rules = settings.rules();
        self.memory.configure(settings.limits.memory_budget, settings.limits.object_bytes_max);
        self.timing = Timing::new(&settings);
        self.beat = [&settings.heartbeat.payload[..], &settings.terminator].concat();
        self.interfaces.clear();
        let old = std::mem::replace(&mut self.settings, settings);
        let credit = self.settings.heartbeat.credit;
        self.slots.devices_mut().for_each(|slot| slot.connection.set_credit(credit));
        let access = &self.settings.access;
        if (&old.access.allow, &old.access.deny) != (&access.allow, &access.deny) {
            let denied = self.slots.devices().filter(|(_, slot)| !access.allows(slot.address().ip()));
            let denied: Vec<_> = denied.map(|(id, _)| id).collect();
            for id in denied {
                self.begin_close(id, CloseReason::Refused, Ending::Drop);
            }
        }
    }

    /// Begins a stop: what is queued has the close timeout to go out.
    pub(super) fn stop(&mut self) {
        if self.stop_deadline.is_none() {
            self.stop_deadline = Some(self.now.after(self.timing.close_timeout));
        }
    }

    /// Bytes of buffers held, by what they are for: unfinished objects, and what waits to be sent.
    pub(super) fn buffered(&self) -> (usize, usize) {
        let held = |pending: &Option<Box<Pending>>| pending.as_ref().map_or(0, |p| p.outbox.capacity());
        let devices = self.slots.devices().fold((0, 0), |(objects, out), (_, slot)| {
            (objects + slot.connection.buffered(), out + held(&slot.pending))
        });
        let locals: usize = self.slots.locals().map(|slot| held(&slot.pending)).sum();
        (devices.0, devices.1 + locals)
    }
}

/// Devices that are read again at once, before it is looked at what that costs.
const RESUMED_AT_ONCE: usize = 64;
/// The largest buffer that is kept for the next use.
const SPARE_BYTES_MAX: usize = 16 << 10;
/// Operations whose room is kept between calls.
const OPS_KEPT: usize = 1024;

impl Timing {
    fn new(settings: &Settings) -> Self {
        let limits = &settings.limits;
        let interval = TickClock::ticks(settings.heartbeat.interval);
        let write_timeout = timeout(limits.write_timeout);
        let check = interval.min(write_timeout).min(timeout(limits.object_timeout));
        Self { interval, write_timeout, close_timeout: timeout(limits.close_timeout), check }
    }
}

/// The stream's [`Pending`], taken from the spare one where there is none yet.
fn open<'a>(slot: &'a mut Option<Box<Pending>>, spare: &mut Option<Box<Pending>>, now: Tick) -> &'a mut Pending {
    slot.get_or_insert_with(|| {
        let mut pending = spare.take().unwrap_or_default();
        pending.progress = now;
        pending
    })
}

/// Has the memory budget know what an outbox holds.
fn count(memory: &mut Memory, pending: &mut Pending) {
    let held = pending.outbox.capacity();
    memory.changed(std::mem::replace(&mut pending.counted, held), held);
}

/// Throws away what waits, reports the commands that are lost with it, and tells how many bytes that was.
fn lose(
    slot: &mut Option<Box<Pending>>,
    reason: CloseReason,
    reports: &mut VecDeque<(u64, Delivery)>,
    memory: &mut Memory,
) -> usize {
    let Some(pending) = slot.take() else { return 0 };
    memory.changed(pending.counted, 0);
    reports.extend(pending.tickets.iter().map(|ticket| (ticket.tag, Delivery::Lost(reason))));
    pending.outbox.len()
}

/// Asks for what waits to be offered to the kernel, unless that is asked for or of no use.
fn flush(ops: &mut VecDeque<Op>, id: ConnectionId, pending: &mut Pending) {
    if !pending.blocked && !std::mem::replace(&mut pending.queued, true) {
        ops.push_back(Op::Flush(id));
    }
}
