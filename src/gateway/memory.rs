//! The memory policy: which device is admitted, which one queues, and which one is evicted. Layer 2.
//!
//! `memory_budget` has four parts (see "Memory policy" in ARCHITECTURE.md): stubs, large objects with the send queues of
//! devices, event consumers, and a reserve for control answers. Below the high-water mark of the large part every device
//! is read. Above it, a device whose object needs more memory must be admitted, or it queues unread. An admitted device
//! has room reserved for the longest object, so that it can always finish.

mod places;
mod room;

use std::collections::{BTreeMap, VecDeque};

use self::places::Holder;

use super::settings::Limits;
use crate::endpoint::ConnectionId;
use crate::proto::{PAGE_BYTES, PartialObjects};
use crate::tick::Tick;

/// The part of the budget for stubs, the beginnings of objects.
const STUBS_PART: (usize, usize) = (3, 8);
/// The part of the budget for event consumers.
const CONSUMERS_PART: (usize, usize) = (1, 8);
/// The part of the budget that is reserved for answers on the control socket.
const CONTROL_PART: (usize, usize) = (1, 32);
/// Bound on that reserve.
const CONTROL_BYTES_MAX: usize = 256 << 10;
/// The part of the budget for the table of partial objects.
const TABLE_PART: (usize, usize) = (1, 32);
/// Bytes that an event line adds to an object, at most.
const EVENT_OVERHEAD: usize = 4 << 10;
/// The part of the hard limit for send queues.
const QUEUES_PART: (usize, usize) = (1, 2);

/// The accounting of the budget, and the partial objects.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    pub(super) tails: PartialObjects,
    parts: Parts,
    pace: Pace,
    /// Queued bytes for devices.
    queues: usize,
    /// Queued bytes for the application's streams.
    locals: usize,
    /// Bytes of answers among them that use the reserve.
    answers: usize,
    /// Bytes of names, and of commands that wait for a name or an answer.
    names: usize,
    /// Devices that have a region or are admitted.
    holders: BTreeMap<ConnectionId, Holder>,
    /// Charged bytes of the newcomers among them.
    charged_to_newcomers: usize,
    admitted: Vec<ConnectionId>,
    /// The queues of unread devices: returning devices and newcomers.
    waiting: [VecDeque<ConnectionId>; 2],
    /// Entries of `waiting` whose devices are gone.
    stale: usize,
    /// The number of admissions for which both queues had a device.
    turns: u32,
    /// The old budget, while more is held than a reload's lower budget allows.
    shrinking: Option<usize>,
    checked: Tick,
}

/// The parts of the budget in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Parts {
    budget: usize,
    consumers: usize,
    control: usize,
    /// Regions, send queues and names.
    large: usize,
    /// The longest object's need.
    object: usize,
}

/// The measure of progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Ticks between two heartbeats.
    pub(super) interval: u32,
    /// Ticks that a device may pause without losing its connection.
    pub(super) patience: u32,
    /// Bytes that an admitted device must send in an interval while others queue.
    pub(super) progress_min: usize,
}

/// The bytes that may be read of a device's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// At most this number of bytes.
    Read(usize),
    /// Nothing: the device queues.
    Queue,
}

/// A step for the queued devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Reads this device again.
    Resume(ConnectionId),
    /// Closes this device. It made the least progress for the memory it holds, and no device can be admitted beside it.
    Evict(ConnectionId),
}

fn part(bytes: usize, (of, all): (usize, usize)) -> usize {
    bytes / all * of
}

impl MemoryBudget {
    pub(super) fn new(limits: &Limits, pace: Pace) -> Self {
        let mut memory = Self {
            tails: PartialObjects::new(),
            parts: Parts::default(),
            pace,
            queues: 0,
            locals: 0,
            names: 0,
            answers: 0,
            holders: BTreeMap::new(),
            charged_to_newcomers: 0,
            admitted: Vec::new(),
            waiting: Default::default(),
            stale: 0,
            turns: 0,
            shrinking: None,
            checked: Tick::default(),
        };
        memory.configure(limits, pace);
        memory
    }

    /// Applies new limits. Held memory stays: a lowered budget delays devices, but closes no device that makes progress.
    pub(super) fn configure(&mut self, limits: &Limits, pace: Pace) {
        let before = self.shrinking.unwrap_or(self.parts.budget);
        let budget = usize::try_from(limits.memory_budget).unwrap_or(usize::MAX);
        let object_bytes_max = limits.object_bytes_max as usize;
        // An object moves to a region four times as large, so a quarter of it is resident twice for a moment.
        let object = (object_bytes_max / 4 * 5).next_multiple_of(PAGE_BYTES) + PAGE_BYTES;
        let control = part(budget, CONTROL_PART).min(CONTROL_BYTES_MAX);
        let (consumers, table) = (part(budget, CONSUMERS_PART), part(budget, TABLE_PART));
        // The longest object has room however small the budget is, and so has its event where that is possible.
        let left = (budget - control - consumers - table).saturating_sub(object);
        let event = (object_bytes_max + EVENT_OVERHEAD).saturating_sub(consumers).min(left / 2);
        let stubs = self.tails.set_stubs_max(limits.connections_max, part(budget, STUBS_PART).min(left - event));
        let consumers = consumers + event;
        self.parts = Parts { budget, consumers, control, large: budget - control - consumers - table - stubs, object };
        self.pace = pace;
        self.shrinking = self.leaves_no_object().then_some(before.max(budget));
    }

    /// Panics if the accounting contradicts itself: for tests.
    pub(super) fn check_invariants(&self, lives: impl Fn(ConnectionId) -> bool) {
        self.tails.check_invariants();
        assert!(self.holders.keys().all(|id| lives(*id)), "a device that is gone is charged");
        for id in &self.admitted {
            assert!(self.holders.get(id).is_some_and(|holder| holder.admission.is_some()), "{id} is admitted");
        }
        let admitted = self.holders.values().filter(|holder| holder.admission.is_some()).count();
        assert_eq!(self.admitted.len(), admitted, "admitted devices");
        let charged: usize = self.holders.values().map(|holder| holder.charged).sum();
        assert!(charged <= self.tails.regions(), "{charged} bytes are charged of {}", self.tails.regions());
        let newcomers = self.holders.values().filter(|holder| !holder.returning).map(|holder| holder.charged);
        assert_eq!(self.charged_to_newcomers, newcomers.sum::<usize>(), "bytes of newcomers");
        assert!(self.stale <= self.waiting.iter().map(VecDeque::len).sum(), "entries of devices that are gone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Settings;

    const INTERVAL: u32 = 20;
    const MIB: usize = 1 << 20;

    fn memory() -> MemoryBudget {
        MemoryBudget::new(
            &Settings::default().limits,
            Pace { interval: INTERVAL, patience: 100, progress_min: 8 << 10 },
        )
    }

    fn id(index: u32) -> ConnectionId {
        ConnectionId::new(index, 0)
    }

    #[test]
    fn what_is_held_and_who_waits_decide() {
        let (read, rest) = (Decision::Read(300), Decision::Read(512));
        let whole = Decision::Read((MIB / 4 * 5).next_multiple_of(PAGE_BYTES) + PAGE_BYTES - 512);
        for (held, waiting, begun, room, expected) in [
            (0, 0, 512, 0, None),
            (5 * MIB, 9, 512, 0, None),
            (8 * MIB, 0, 512, 0, Some(whole)),
            (8 * MIB, 1, 512, 0, Some(Decision::Queue)),
            (8 * MIB, 1, 0, 512, Some(rest)),
            (8 * MIB, 1, 212, 300, Some(read)),
            (16 * MIB, 0, 512, 0, Some(Decision::Queue)),
            (16 * MIB, 0, 5000, 300, Some(read)),
        ] {
            let mut memory = memory();
            memory.queue_changed(0, held);
            (1..=waiting).for_each(|other| memory.enqueue(id(other), true, Tick::new(0)));
            let decision = memory.decide(id(0), begun, room, true, Tick::new(0));
            match expected {
                Some(expected) => assert_eq!(decision, expected, "{held} bytes are held, {waiting} devices wait"),
                None => assert!(matches!(decision, Decision::Read(PAGE_BYTES..)), "{held}: {decision:?}"),
            }
        }
    }

    #[test]
    fn a_device_that_stalls_gives_its_place_and_later_its_connection() {
        let mut memory = memory();
        memory.queue_changed(0, 7 * MIB);
        let at = |tick| Tick::new(1000 + tick);
        let begun = |of| (of == id(9)).then_some(512);
        // They hold their parts since, and three intervals pass without a byte.
        let stalled: Vec<_> = (0..3).map(id).collect();
        for &id in &stalled {
            memory.decide(id, 512, 0, true, at(0));
        }
        assert_eq!(memory.admitted, stalled);
        for (&id, held) in stalled.iter().zip([1, 3, 2]) {
            memory.account(id, held * 1000, held * MIB / 4, true, at(0));
        }
        memory.queue_changed(7 * MIB, 14 * MIB);
        memory.enqueue(id(9), true, at(1));
        assert_eq!(memory.next(begun, at(INTERVAL - 1)), None);
        // Slow ones lose their places, and the first in the queue is admitted in their stead.
        assert_eq!(memory.next(begun, at(INTERVAL)), Some(Step::Resume(id(9))));
        assert_eq!(memory.admitted, [id(9)]);
        memory.release(id(9));
        memory.queue_changed(14 * MIB, 16 * MIB);
        memory.enqueue(id(9), true, at(INTERVAL));
        // Their unused admission counts as a pause of an interval.
        assert_eq!(memory.next(begun, at(100 - INTERVAL)), None);
        // The device that holds the most memory without progress is evicted.
        assert_eq!(memory.next(begun, at(101 - INTERVAL)), Some(Step::Evict(id(1))));
    }

    #[test]
    fn a_consumer_leaves_room_for_others_and_events_leave_room_for_answers() {
        let mut memory = memory();
        let consumers = memory.parts.consumers;
        assert!(memory.has_room_for_events(1, consumers / 4 - 1, 0));
        assert!(!memory.has_room_for_events(1, consumers / 4, 0));
        assert!(memory.has_room_for_events(0, consumers + 1, 0), "one event borrows of free memory");
        memory.app_queue_changed(0, consumers);
        memory.queue_changed(0, memory.parts.large);
        assert!(!memory.has_room_for_events(0, 1000, 0));
        // Ten clients do not read their answers, and one more asks.
        for _ in 0..10 {
            assert!(memory.has_room_for_answer(8 << 10, 0) && !memory.has_room_for_answer(16 << 10, 8 << 10));
            memory.answers_changed(0, 16 << 10);
            memory.app_queue_changed(0, 16 << 10);
        }
        assert!(memory.has_room_for_answer(16 << 10, 0));
    }
}
