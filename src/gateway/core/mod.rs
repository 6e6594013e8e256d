//! Everything of the gateway but the application: slots, timers, and what is to be done next. It
//! calls no callback, so that a callback may use all of it. Floor 2.

mod admission;
mod data;
mod invariants;
mod life;
mod output;
mod pacing;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use self::output::{Action, Lent};
use self::pacing::Pacing;
use super::commands::Commands;
use super::connection_log::ConnectionLog;
use super::handler::{CloseReason, Delivery, Device, Disconnect, Refusal};
use super::identity::Registry;
use super::interfaces::{InterfaceName, Verdicts};
use super::latency::BeatTimes;
use super::memory::{MemoryBudget, Pace};
use super::settings::{Settings, timeout};
use super::slots::{AppStream, DeviceSlot, Phase, SendQueue, Slot, Slots, Tag};
use super::stats::Stats;
use super::timers::AppTimers;
use super::{Name, Target};
use crate::connection::Rules;
use crate::endpoint::{ConnectionId, ListenerId, PacketInfo};
use crate::proto::RateLimit;
use crate::tick::{Tick, TickClock};
use crate::wheel::TimerWheel;

pub(in crate::gateway) use self::life::CloseMode;

pub(in crate::gateway) struct Core {
    pub(in crate::gateway) clock: TickClock,
    /// The time of the present `handle_*` call.
    pub(in crate::gateway) now: Tick,
    /// The exact time of the present `handle_*` call. Timers of the application count from it.
    pub(in crate::gateway) instant: Instant,
    beat_times: BeatTimes,
    pub(in crate::gateway) settings: Settings,
    pub(in crate::gateway) rules: Rules,
    pub(in crate::gateway) slots: Slots,
    pub(in crate::gateway) wheel: TimerWheel<u32>,
    pub(in crate::gateway) stats: Stats,
    pub(in crate::gateway) log: ConnectionLog,
    pub(in crate::gateway) memory: MemoryBudget,
    /// The names of devices.
    pub(in crate::gateway) registry: Registry,
    /// Commands whose end their senders hear.
    pub(in crate::gateway) commands: Commands,
    /// The timers of the application.
    pub(in crate::gateway) timers: AppTimers,
    /// Once a stop has been asked for: when it must be over.
    pub(in crate::gateway) stop_deadline: Option<Tick>,
    /// How the devices that are being closed ended.
    ending: BTreeMap<u32, Disconnect>,
    spare_pending: Option<Box<SendQueue>>,
    /// Deliveries and losses of tagged commands that nobody has heard of yet.
    pub(in crate::gateway) reports: VecDeque<(Tag, Delivery)>,
    actions: VecDeque<Action>,
    lent: Option<Lent>,
    /// The answer to the datagram that is being handled.
    answer: Option<(ListenerId, SocketAddr, PacketInfo)>,
    pub(in crate::gateway) rate: RateLimit,
    /// How the name of an interface is found, if it can be.
    pub(in crate::gateway) interface_name: Option<InterfaceName>,
    pub(in crate::gateway) interfaces: Verdicts,
    timing: Timing,
    pacing: Pacing,
    /// The payload of a beat with its terminator.
    beat: Vec<u8>,
    /// Local streams that may be written to.
    pub(in crate::gateway) readers: usize,
    /// When memory that is kept for the next object was last looked at.
    trimmed: Tick,
    /// Connections so far: deals out the phases of the beats.
    sequence: u32,
}

/// The settings' timings in ticks.
struct Timing {
    interval: u32,
    write_timeout: u32,
    close_timeout: u32,
    /// No timer sleeps longer than the interval, or a quarter of a timeout: a deadline that comes into being
    /// while a timer sleeps is seen in time, and when the process was held up it is known for how long.
    check: u32,
}

impl Core {
    pub(in crate::gateway) fn new(settings: Settings, now: Instant, seed: u64) -> Self {
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
            log: ConnectionLog::new(),
            memory: MemoryBudget::new(&settings.limits, pace(&settings)),
            registry: Registry::default(),
            commands: Commands::default(),
            timers: AppTimers::default(),
            stop_deadline: None,
            ending: BTreeMap::new(),
            spare_pending: None,
            reports: VecDeque::new(),
            actions: VecDeque::new(),
            lent: None,
            answer: None,
            rate,
            interface_name: None,
            interfaces: Verdicts::default(),
            timing: Timing::new(&settings),
            pacing: Pacing::new(settings.command_gap),
            beat: [&settings.heartbeat.payload[..], &settings.terminator].concat(),
            readers: 0,
            trimmed: Tick::default(),
            sequence: 0,
            settings,
        }
    }

    /// Takes the time of the `handle_*` call that begins.
    pub(in crate::gateway) fn set_time(&mut self, now: Instant) {
        self.now = self.clock.tick(now);
        self.instant = now;
    }

    /// Why a connection from the canonical address `ip` is turned away, if it is.
    pub(in crate::gateway) fn refusal(&self, ip: IpAddr) -> Option<Refusal> {
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

    /// Makes room for a newcomer from an address from which as many devices are connected as may be: closes the connection
    /// from there that has left the most beats unanswered. False where none has left any.
    /// It is not `newcomer`, where that has its slot already.
    pub(in crate::gateway) fn replace(&mut self, ip: IpAddr, newcomer: Option<ConnectionId>) -> bool {
        let others = self.slots.devices_of(ip).filter(|(id, _)| Some(*id) != newcomer);
        let silent = others.filter(|(_, slot)| slot.phase == Phase::Open);
        let silent = silent.map(|(id, slot)| (self.left_unanswered(slot), self.now.since(slot.seen), id));
        let Some((beats, _, id)) = silent.max_by_key(|&(beats, silence, _)| (beats, silence)) else { return false };
        beats > 0 && self.begin_close(id, CloseReason::Replaced, CloseMode::Reset)
    }

    /// Beats that a device has left unanswered since its last sign of life. The latest counts when a quarter of the interval
    /// is over: a healthy device is not replaced while its answer is on the way.
    fn left_unanswered(&self, slot: &DeviceSlot) -> u8 {
        let interval = self.timing.interval;
        let is_recent = slot.beat_due.since(self.now) > interval - interval / 4;
        let spent = self.settings.heartbeat.credit.saturating_sub(slot.connection.credit());
        spent.saturating_sub(u8::from(is_recent))
    }

    /// Gives a new device its slot, full credit, and its place in the interval; `None` where no id
    /// is left.
    pub(in crate::gateway) fn join(&mut self, address: SocketAddr) -> Option<ConnectionId> {
        let index = self.slots.next_index()?;
        let beat_due = self.now.after(self.first_beat_offset());
        let timer = self.wheel.insert(self.now.after(self.timing.check).min(beat_due), index);
        let credit = self.settings.heartbeat.credit;
        let slot = DeviceSlot::new(address, credit, self.now, beat_due, timer);
        self.stats.accepted += 1;
        Some(self.slots.insert(Slot::Device(slot)))
    }

    /// Ticks until a new device's first beat, from 1 to a whole interval. Steps of the golden ratio
    /// spread any number of devices that come one after the other evenly.
    fn first_beat_offset(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(0x9e37_79b9);
        ((u64::from(self.sequence) * u64::from(self.timing.interval)) >> 32) as u32 + 1
    }

    /// Gives a local stream its slot.
    pub(in crate::gateway) fn attach(&mut self, outbox_bytes_max: usize) -> Option<ConnectionId> {
        self.slots.next_index()?;
        let slot = AppStream { pending: None, outbox_bytes_max, closing: false };
        self.readers += usize::from(slot.may_be_written_to());
        Some(self.slots.insert(Slot::Stream(slot)))
    }

    /// The device of that id as the application sees it.
    pub(in crate::gateway) fn device(&self, id: ConnectionId) -> Option<Device> {
        let slot = self.slots.device(id).filter(|slot| !slot.is_closing())?;
        Some(Device { name: self.registry.name_of(id.index() as u32), ..slot.device(id, self.now) })
    }

    /// Ticks after which a device that sends nothing is dead, at the earliest.
    pub(in crate::gateway) fn liveness_timeout(&self) -> u32 {
        self.timing.interval * u32::from(self.settings.heartbeat.credit)
    }

    /// The connections that `target` means, the newest first; those that end are among them.
    pub(in crate::gateway) fn find(&self, target: Target) -> impl Iterator<Item = (ConnectionId, &DeviceSlot)> {
        let (id, ip) = match target {
            Target::Id(id) => (self.slots.device(id).map(|slot| (id, slot)), None),
            Target::Name(name) => (self.named(&name), None),
            Target::Address(address) => (None, Some(address.ip())),
            Target::Ip(ip) => (None, Some(ip)),
        };
        let by_ip = ip.into_iter().flat_map(|ip| self.slots.devices_of(ip));
        id.into_iter().chain(by_ip.filter(move |(id, slot)| target.means(Some(*id), slot.address())))
    }

    fn named(&self, name: &Name) -> Option<(ConnectionId, &DeviceSlot)> {
        let id = self.slots.id_at(self.registry.slot_of(name)?);
        self.slots.device(id).map(|slot| (id, slot))
    }

    /// Takes over new settings; they hold from now on, also for devices that are connected. Those
    /// whose address may no longer connect are closed.
    pub(in crate::gateway) fn configure(&mut self, settings: Settings) {
        let discovery = &settings.discovery;
        if *discovery != self.settings.discovery {
            self.rate.configure(discovery.rate, discovery.burst, discovery.source_rate, discovery.source_burst);
        }
        let rules = settings.rules();
        self.memory.configure(&settings.limits, pace(&settings));
        self.keep_object_deadlines(rules.object_timeout);
        self.rules = rules;
        let timing = std::mem::replace(&mut self.timing, Timing::new(&settings));
        if (timing.interval, timing.check) != (self.timing.interval, self.timing.check) {
            self.reschedule_beats(timing.interval);
        }
        self.beat = [&settings.heartbeat.payload[..], &settings.terminator].concat();
        self.set_gap(settings.command_gap);
        self.interfaces.clear();
        self.registry.limit_remembered(settings.identity.remembered_max);
        let old = std::mem::replace(&mut self.settings, settings);
        let credit = self.settings.heartbeat.credit;
        self.slots.devices_mut().for_each(|slot| slot.connection.limit_credit(credit));
        self.charge_names();
        let access = &self.settings.access;
        if (&old.access.allow, &old.access.deny) != (&access.allow, &access.deny) {
            let denied = self.slots.devices().filter(|(_, slot)| !access.allows(slot.address().ip()));
            let denied: Vec<_> = denied.map(|(id, _)| id).collect();
            for id in denied {
                self.begin_close(id, CloseReason::Refused(Refusal::AddressDenied), CloseMode::Immediate);
            }
        }
    }

    /// A lowered timeout holds for objects that begin afterwards: the others keep their deadlines.
    fn keep_object_deadlines(&mut self, timeout: u32) {
        let lowered_by = self.rules.object_timeout.saturating_sub(timeout);
        if lowered_by > 0 {
            self.slots.devices_mut().for_each(|slot| slot.connection.extend_object_deadline(lowered_by));
        }
    }

    /// The interval, which was `old`, or a timeout has changed: the next beat comes a new interval after the last, as each
    /// takes a credit; where that is over already, within an interval, spread as those of new devices are. (So an interval
    /// that is made shorter and then longer again may put off a beat by as much.)
    fn reschedule_beats(&mut self, old: u32) {
        let (now, interval) = (self.now, self.timing.interval);
        if interval != old {
            // They are found by when the next beat is due.
            self.beat_times = BeatTimes::new();
            self.slots.devices_mut().for_each(|slot| slot.connection.forget_beats());
        }
        for index in 0..self.slots.capacity() as u32 {
            let phase = self.first_beat_offset();
            let slot = self.slots.device_mut(self.slots.id_at(index)).filter(|slot| !slot.is_closing());
            let Some(slot) = slot else { continue };
            slot.beat_due = if interval < old {
                let left = slot.beat_due.since(now).saturating_sub(old - interval);
                slot.beat_due.min(now.after(left.max(phase)))
            } else {
                slot.beat_due.after(interval - old)
            };
            // The timer finds by itself which deadline is the next.
            self.wheel.reschedule(slot.timer, now.after(1));
        }
    }

    /// Begins a stop: what is queued has the close timeout to go out.
    pub(in crate::gateway) fn stop(&mut self) {
        if self.stop_deadline.is_none() {
            self.stop_deadline = Some(self.now.after(self.timing.close_timeout));
            self.lose_waiting();
        }
    }
}

/// What the memory policy takes for progress.
fn pace(settings: &Settings) -> Pace {
    let interval = TickClock::ticks(settings.heartbeat.interval);
    let patience = interval.saturating_mul(settings.heartbeat.credit.into());
    Pace { interval, patience, progress_min: settings.limits.progress_min }
}

impl Timing {
    fn new(settings: &Settings) -> Self {
        let limits = &settings.limits;
        let interval = TickClock::ticks(settings.heartbeat.interval);
        let write_timeout = timeout(limits.write_timeout);
        let check = interval.min(write_timeout.min(timeout(limits.object_timeout)) / 4).max(1);
        Self { interval, write_timeout, close_timeout: timeout(limits.close_timeout), check }
    }
}
