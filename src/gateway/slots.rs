//! The slab: one slot for every stream, device or local, and the ids that name them. Floor 2.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use slab::Slab;

use super::addresses::Addresses;
use super::handler::Device;
use crate::connection::ServerConnection;
use crate::endpoint::{ConnectionId, Outbox};
use crate::proto::Kind;
use crate::proto::discovery::canonical;
use crate::tick::Tick;
use crate::wheel::TimerKey;

/// Every stream of the gateway.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slab: Slab<Slot>,
    /// Of each slot, how many tenants it has had before the present one.
    generations: Vec<u32>,
    addresses: Addresses,
    devices: usize,
}

#[derive(Debug)]
pub(super) enum Slot {
    Device(DeviceSlot),
    Stream(AppStream),
    /// A slot whose generations are used up: it stays taken, so that no id ever comes twice.
    Retired,
}

/// A device. What it holds while idle is all here: there are thousands of these, and a few bytes
/// more are felt.
#[derive(Debug)]
pub(super) struct DeviceSlot {
    // The address in 22 bytes instead of 32: the flow label says nothing about who a device is.
    ip: Ipv6Addr,
    scope: u32,
    port: u16,
    pub(super) since: Tick,
    pub(super) seen: Tick,
    pub(super) timer: TimerKey,
    /// When the next beat is due.
    pub(super) beat_due: Tick,
    pub(super) connection: ServerConnection,
    pub(super) objects: Objects,
    pub(super) pending: Option<Box<SendQueue>>,
    pub(super) phase: Phase,
    /// What its last message was, heartbeat answers aside.
    pub(super) last_kind: Option<Kind>,
}

/// Whether a device is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// It is not read until there is memory for what it sends.
    Paused,
    /// Its end has begun: it is no longer heard or sent to.
    Closing,
}

/// How many objects a device has sent, and in the top bit whether one of them was large: a slot has no byte to spare.
#[derive(Debug, Default)]
pub(super) struct Objects(u64);

impl Objects {
    const LARGE: u64 = 1 << 63;

    pub(super) fn count(&self) -> u64 {
        self.0 & !Self::LARGE
    }

    pub(super) fn add(&mut self, is_large: bool) {
        self.0 = (self.0 + 1) | if is_large { Self::LARGE } else { 0 };
    }

    /// The memory policy prefers such a device to newcomers.
    pub(super) fn had_large(&self) -> bool {
        self.0 & Self::LARGE != 0
    }
}

/// A stream of the application's own: no heartbeat, no objects.
#[derive(Debug)]
pub(super) struct AppStream {
    pub(super) pending: Option<Box<SendQueue>>,
    /// The most bytes that may wait.
    pub(super) outbox_bytes_max: usize,
    /// To be closed as soon as nothing waits.
    pub(super) closing: bool,
}

impl AppStream {
    /// Whether there may be someone at its end who reads.
    pub(super) fn may_be_written_to(&self) -> bool {
        self.outbox_bytes_max > 0
    }
}

/// What a stream holds only while something waits to be sent.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    pub(super) outbox: Outbox,
    /// Bytes at the front of the outbox that may go now: all of them, unless `commands.gap` keeps messages apart.
    pub(super) open: usize,
    /// The lengths of the messages behind them, which wait for the gap.
    pub(super) messages: VecDeque<u32>,
    /// The first of these is a beat.
    pub(super) beat_waits: bool,
    /// Once the stream's end has begun: when it is closed, whatever still waits.
    pub(super) close_at: Option<Tick>,
    /// When the kernel last took something.
    pub(super) progress: Tick,
    /// The kernel took too little; it will tell when it takes more.
    pub(super) blocked: bool,
    /// The kernel was full at some time, so it takes more only when the peer takes what the kernel holds.
    pub(super) was_blocked: bool,
    /// The peer has taken something since the last beat was due.
    pub(super) taken_since_beat: bool,
    /// Bytes of the outbox's buffer that the memory budget knows of.
    pub(super) counted: usize,
    /// Bytes of answers in it that took the reserve for answers.
    pub(super) answers: usize,
    /// A flush has been asked for and not been carried out.
    pub(super) queued: bool,
    /// Commands that wait, whole or in part.
    pub(super) commands: u32,
    /// Commands whose sender wants to know what becomes of them, in order.
    pub(super) awaited: Vec<Ticket>,
}

/// A command that is waited for.
#[derive(Debug)]
pub(super) struct Ticket {
    /// Bytes that the kernel must still take until it has all of the command.
    pub(super) left: usize,
    pub(super) tag: Tag,
}

/// The receiver of a command's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// The application, by [`super::Handler::on_sent`].
    App(u64),
    /// The list of commands, by number.
    Command(u64),
}

impl DeviceSlot {
    /// A device that has just connected from the canonical `address`.
    pub(super) fn new(address: SocketAddr, credit: u8, now: Tick, beat_due: Tick, timer: TimerKey) -> Self {
        let (ip, scope) = match address {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
        };
        Self {
            ip,
            scope,
            port: address.port(),
            since: now,
            seen: now,
            timer,
            beat_due,
            connection: ServerConnection::new(credit),
            objects: Objects::default(),
            pending: None,
            phase: Phase::Open,
            last_kind: None,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        canonical(SocketAddrV6::new(self.ip, self.port, 0, self.scope).into())
    }

    /// Whether its end has begun.
    pub(super) fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// The slot as the application sees it.
    pub(super) fn device(&self, id: ConnectionId, now: Tick) -> Device {
        Device {
            id,
            address: self.address(),
            connected_for: now.since(self.since),
            idle_for: now.since(self.seen),
            credit: self.connection.credit(),
            objects: self.objects.count(),
            last_kind: self.last_kind,
            bytes: self.connection.offset(),
            name: None,
        }
    }
}

impl Slots {
    /// The index that the next [`Self::insert`] will use, if ids have room for one more.
    pub(super) fn next_index(&mut self) -> Option<u32> {
        loop {
            let index = self.slab.vacant_key();
            if index >= ConnectionId::SLOTS_MAX {
                return None;
            }
            if index == self.generations.len() {
                self.generations.push(0);
            }
            if self.generations[index] < u32::MAX {
                return Some(index as u32);
            }
            self.slab.insert(Slot::Retired);
        }
    }

    /// Takes the slot that [`Self::next_index`] has named.
    pub(super) fn insert(&mut self, slot: Slot) -> ConnectionId {
        let device = match &slot {
            Slot::Device(device) => Some(device.address().ip()),
            _ => None,
        };
        let index = self.slab.insert(slot) as u32;
        if let Some(ip) = device {
            self.devices += 1;
            let slab = &self.slab;
            self.addresses.insert(index, ip, |index| ip_of(slab, index));
        }
        ConnectionId::new(index, self.generations[index as usize])
    }

    /// Frees the slot of `id` and gives what lay in it.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Slot> {
        if !self.lives(id) {
            return None;
        }
        let slot = self.slab.remove(id.index());
        self.generations[id.index()] += 1;
        if let Slot::Device(device) = &slot {
            self.addresses.remove(id.index() as u32, device.address().ip());
            self.devices -= 1;
        }
        Some(slot)
    }

    /// Gives back the room of many devices that have gone, as far as none with a high index is left.
    pub(super) fn trim(&mut self) {
        if self.slab.capacity() > 4 * self.slab.len() + SLOTS_KEPT {
            self.slab.shrink_to_fit();
        }
    }

    /// The stream of `id`, if it is still that one.
    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Slot> {
        if self.lives(id) { self.slab.get_mut(id.index()) } else { None }
    }

    /// The device of `id`, if there is one.
    pub(super) fn device(&self, id: ConnectionId) -> Option<&DeviceSlot> {
        match self.slab.get(id.index()) {
            Some(Slot::Device(device)) if self.lives(id) => Some(device),
            _ => None,
        }
    }

    /// Whether that device waits for memory.
    pub(super) fn waits(&self, id: ConnectionId) -> bool {
        self.device(id).is_some_and(|device| device.phase == Phase::Paused)
    }

    /// As [`Self::device`].
    pub(super) fn device_mut(&mut self, id: ConnectionId) -> Option<&mut DeviceSlot> {
        match self.get_mut(id) {
            Some(Slot::Device(device)) => Some(device),
            _ => None,
        }
    }

    /// As [`Self::device`], of a local stream.
    pub(super) fn app_stream_mut(&mut self, id: ConnectionId) -> Option<&mut AppStream> {
        match self.get_mut(id) {
            Some(Slot::Stream(local)) => Some(local),
            _ => None,
        }
    }

    /// What waits to be sent on the stream of `id`.
    pub(super) fn pending_mut(&mut self, id: ConnectionId) -> Option<&mut Option<Box<SendQueue>>> {
        match self.get_mut(id)? {
            Slot::Device(device) => Some(&mut device.pending),
            Slot::Stream(local) => Some(&mut local.pending),
            Slot::Retired => None,
        }
    }

    /// The present tenant of slot `index`.
    pub(super) fn id_at(&self, index: u32) -> ConnectionId {
        ConnectionId::new(index, self.generations[index as usize])
    }

    /// The devices, with those that are being closed.
    pub(super) fn devices(&self) -> impl Iterator<Item = (ConnectionId, &DeviceSlot)> {
        self.devices_from(0)
    }

    /// As [`Self::devices`], from slot `from` on.
    pub(super) fn devices_from(&self, from: usize) -> impl Iterator<Item = (ConnectionId, &DeviceSlot)> {
        (from..self.capacity()).filter_map(|index| match self.slab.get(index) {
            Some(Slot::Device(device)) => Some((self.id_at(index as u32), device)),
            _ => None,
        })
    }

    /// As [`Self::devices`], to be changed.
    pub(super) fn devices_mut(&mut self) -> impl Iterator<Item = &mut DeviceSlot> {
        self.slab.iter_mut().filter_map(|(_, slot)| match slot {
            Slot::Device(device) => Some(device),
            _ => None,
        })
    }

    /// Everything that lies in a slot.
    pub(super) fn all(&self) -> impl Iterator<Item = (ConnectionId, &Slot)> {
        self.slab.iter().map(|(index, slot)| (self.id_at(index as u32), slot))
    }

    /// See [`crate::unstable::Gateway::check_invariants`].
    pub(super) fn check_invariants(&self) {
        let devices = self.slab.iter().filter(|(_, slot)| matches!(slot, Slot::Device(_)));
        assert_eq!(devices.clone().count(), self.devices, "devices are counted");
        self.addresses.check_invariants(devices.map(|(index, _)| index as u32), |index| ip_of(&self.slab, index));
    }

    /// The local streams.
    pub(super) fn app_streams(&self) -> impl Iterator<Item = &AppStream> {
        self.slab.iter().filter_map(|(_, slot)| match slot {
            Slot::Stream(local) => Some(local),
            _ => None,
        })
    }

    /// Like [`Self::devices`], those of one canonical address, the newest first.
    pub(super) fn devices_of(&self, ip: IpAddr) -> impl Iterator<Item = (ConnectionId, &DeviceSlot)> {
        self.addresses.candidates(ip).filter_map(move |index| match &self.slab[index as usize] {
            Slot::Device(device) if device.address().ip() == ip => Some((self.id_at(index), device)),
            _ => None,
        })
    }

    /// How many devices there are, with those that are being closed.
    pub(super) fn device_count(&self) -> usize {
        self.devices
    }

    /// How many slots there are to walk over, taken or free.
    pub(super) fn capacity(&self) -> usize {
        self.generations.len()
    }

    fn lives(&self, id: ConnectionId) -> bool {
        self.generations.get(id.index()) == Some(&id.generation()) && self.slab.contains(id.index())
    }
}

/// Slots whose room is kept, so that a few devices that come and go cost no allocation.
const SLOTS_KEPT: usize = 64;

/// The address of a slot that is known to hold a device.
fn ip_of(slab: &Slab<Slot>, index: u32) -> IpAddr {
    match &slab[index as usize] {
        Slot::Device(device) => device.address().ip(),
        _ => unreachable!("only devices have addresses"),
    }
}

/// Sizes are promises: the memory sum in ARCHITECTURE.md counts on them.
const _: () = assert!(size_of::<Slot>() <= 80 || cfg!(not(target_pointer_width = "64")));
