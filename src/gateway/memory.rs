//! The memory policy: which device is admitted, which one queues, and which one is evicted. Layer 2.
//!
//! `memory_budget` has four parts (see "MemoryBudget policy" in ARCHITECTURE.md): stubs, large objects with the send queues of
//! devices, event consumers, and a reserve for control answers. Below the high-water mark of the large part every device
//! is read. Above it, a device whose object needs more memory must be admitted, or it queues unread. An admitted device
//! has room reserved for the longest object, so that it can always finish.

use std::collections::{BTreeMap, VecDeque};

use super::settings::Limits;
use crate::endpoint::ConnectionId;
use crate::proto::{PAGE_BYTES, PartialObjects};
use crate::tick::Tick;

/// Stubs, the beginnings of objects, may take this part of the budget.
const STUBS_PART: (usize, usize) = (3, 8);
/// Event consumers may take this part of it.
const CONSUMERS_PART: (usize, usize) = (1, 8);
/// Answers on the control socket have this part of it, and at most so many bytes.
const CONTROL_PART: (usize, usize) = (1, 32);
const CONTROL_BYTES_MAX: usize = 256 << 10;
/// The high-water mark, as a part of the hard limit of the large part.
const HIGH_WATER: (usize, usize) = (3, 8);
/// The table of partial objects may take this part of the budget.
const TABLE_PART: (usize, usize) = (1, 32);
/// What an event line adds to an object, at most.
const EVENT_OVERHEAD: usize = 4 << 10;
/// Event consumers may borrow of the large part, but this part of it stays with the devices.
const DEVICES_PART: (usize, usize) = (1, 2);
/// Newcomers, devices that have not completed a large object yet, may take this part of the hard limit.
const NEWCOMERS_PART: (usize, usize) = (1, 2);
/// Send queues may take this part of the hard limit.
const QUEUES_PART: (usize, usize) = (1, 2);
/// An admitted device gives its place to others once it sends nothing for this part of the interval.
const IDLE_PART: u32 = 8;
/// One admission in so many goes to a newcomer while returning devices queue as well.
const NEWCOMERS_TURN: u32 = 4;
/// An event consumer may queue this part of what the others leave of their part.
const CONSUMER_SHARE: usize = 4;
/// Bytes of answers that one control client may leave in the reserve, and its part of what the others leave.
const ANSWER_BYTES_MAX: usize = 16 << 10;
const ANSWER_SHARE: usize = 4;
/// Text of a command that is queued while send queues are full, for a device without a queue: it is seldom kept.
const SHORT_COMMAND: usize = 256;

/// What the policy knows, and the partial objects themselves.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    pub(super) tails: PartialObjects,
    parts: Parts,
    pace: Pace,
    /// Bytes that wait for devices to take them.
    queues: usize,
    /// Bytes that wait for local streams.
    locals: usize,
    /// Bytes of names, and of commands that are out.
    names: usize,
    /// Bytes of answers among them that took the reserve.
    answers: usize,
    /// Devices with a region, and admitted ones.
    holders: BTreeMap<ConnectionId, Holder>,
    /// Bytes that holders are charged with who are newcomers.
    charged_to_newcomers: usize,
    admitted: Vec<ConnectionId>,
    /// Devices with unread data that are not read: returning ones and newcomers.
    waiting: [VecDeque<ConnectionId>; 2],
    /// Entries of `waiting` whose devices do not wait any more.
    stale: usize,
    /// How often newcomers and returning devices queued for the same place.
    turns: u32,
    /// After a reload that left less room than is held: the budget that held before.
    shrinking: Option<usize>,
    checked: Tick,
}

/// The parts of the budget in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Parts {
    budget: usize,
    consumers: usize,
    control: usize,
    /// What regions and send queues may hold.
    large: usize,
    /// The most that one object needs.
    object: usize,
}

/// What counts as progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Ticks between two heartbeats.
    pub(super) interval: u32,
    /// Ticks that a device may pause without losing its connection.
    pub(super) patience: u32,
    /// Bytes that an admitted device must send in an interval while others queue.
    pub(super) progress_min: usize,
}

/// A device with a region, or an admitted one.
#[derive(Debug, Clone, Copy)]
struct Holder {
    /// Resident bytes of its region.
    charged: usize,
    returning: bool,
    /// Bytes of its object when it last made progress, and when that was. Time in the queue does not count.
    mark: usize,
    moved: Tick,
    /// When it was last read.
    read: Tick,
    queued: Option<Tick>,
    admission: Option<Admission>,
}

#[derive(Debug, Clone, Copy)]
struct Admission {
    since: Tick,
    /// Whether the device has made progress since.
    progressed: bool,
}

/// How much of a device's stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// So many bytes at most.
    Read(usize),
    /// Nothing: the device queues.
    Queue,
}

/// What is to be done about the devices that queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// This device is read again.
    Resume(ConnectionId),
    /// This device is closed: it made the least progress for what it holds, and others cannot be admitted beside it.
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

    /// Applies new limits. What is held stays: a lowered budget delays devices and closes none that makes progress.
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

    /// Bytes of stubs beside which small messages always pass.
    pub(super) fn stub_bytes(&self) -> usize {
        self.tails.stub_bytes()
    }

    /// Resident bytes of everything that the budget counts.
    pub(super) fn held(&self) -> usize {
        self.tails.held() + self.queues + self.names + self.locals
    }

    /// Bytes of partial objects, and bytes that wait to be sent.
    pub(super) fn parts(&self) -> (usize, usize) {
        (self.tails.held(), self.queues + self.locals)
    }

    /// Bytes that wait for local streams.
    pub(super) fn held_by_app(&self) -> usize {
        self.locals
    }

    /// Sets the bytes that names and commands hold.
    pub(super) fn set_names(&mut self, bytes: usize) {
        self.names = bytes;
    }

    /// Bytes of answers in the reserve.
    pub(super) fn answers(&self) -> usize {
        self.answers
    }

    /// Bytes of the large part in use.
    fn large(&self) -> usize {
        self.tails.regions() + self.queues
    }

    /// What the large part may hold, without names and without the memory that local streams have borrowed.
    fn hard_limit(&self) -> usize {
        let borrowed = (self.locals - self.answers).saturating_sub(self.parts.consumers);
        self.parts.large.saturating_sub(borrowed + self.names)
    }

    /// Whether the longest object finds no room beside what the large part holds.
    fn leaves_no_object(&self) -> bool {
        self.large() > self.hard_limit().saturating_sub(self.parts.object)
    }

    /// Whether `bytes` bytes more fit into the budget. After a reload that lowered it, the old budget holds until memory
    /// is free again: large objects that had begun may finish in it, and nothing else may grow into it.
    fn fits(&self, bytes: usize) -> bool {
        self.shrinking.is_none_or(|budget| self.held() + self.reserved() + self.parts.control + bytes <= budget)
    }

    fn high_water(&self) -> usize {
        let hard = self.hard_limit();
        part(hard, HIGH_WATER).min(hard.saturating_sub(2 * self.parts.object))
    }

    /// A device's send queue of `before` bytes has become one of `after`.
    pub(super) fn queue_changed(&mut self, before: usize, after: usize) {
        debug_assert!(self.queues >= before);
        self.queues = self.queues - before + after;
    }

    /// As [`Self::queue_changed`], of a local stream.
    pub(super) fn app_queue_changed(&mut self, before: usize, after: usize) {
        debug_assert!(self.locals >= before);
        self.locals = self.locals - before + after;
    }

    /// Whether a command of `bytes` bytes may join `waiting` bytes in a device's send queue.
    pub(super) fn has_room_for_command(&self, waiting: usize, bytes: usize) -> bool {
        // A queue that grows may double, while the first command gets what it needs.
        let needed = if waiting == 0 { bytes } else { 2 * bytes };
        let (hard, after) = (self.hard_limit(), self.queues + needed);
        let fits = after <= part(hard, QUEUES_PART) && self.large() + self.reserved() + needed <= hard;
        fits || waiting == 0 && bytes <= SHORT_COMMAND && self.large() + self.reserved() + bytes <= hard
    }

    /// Whether send queues, names and waiting commands have used their part of the hard limit, or the hard limit is reached.
    pub(super) fn is_full(&self) -> bool {
        let most = part(self.parts.large, QUEUES_PART).min(self.parts.large.saturating_sub(self.parts.object));
        self.queues + self.names >= most || self.large() + self.reserved() >= self.hard_limit()
    }

    /// Whether `bytes` bytes of events may join the `waiting` bytes of a consumer with a buffer of `own` bytes. A consumer
    /// may queue a quarter of what the others leave, so a slow one cannot starve a fast one. One event always has room
    /// that leaves the devices enough for an object.
    pub(super) fn has_room_for_events(&self, waiting: usize, bytes: usize, own: usize) -> bool {
        let others = (self.locals - own).saturating_sub(self.answers);
        let share = self.parts.consumers.saturating_sub(others) / CONSUMER_SHARE;
        let own_part = self.parts.object.max(part(self.parts.large, DEVICES_PART));
        let devices = own_part.max(self.large() + self.reserved());
        let borrowed = self.parts.large.saturating_sub(devices);
        let alone = waiting == 0 && others + bytes.max(own) <= self.parts.consumers + borrowed;
        (waiting + bytes <= share || alone) && self.fits(2 * bytes)
    }

    /// Whether an answer of `bytes` bytes may take the reserve for answers, where a control client has `own` bytes of answers
    /// to read that did. A client that does not read its answers cannot take the reserve from others.
    pub(super) fn has_room_for_answer(&self, bytes: usize, own: usize) -> bool {
        let left = self.parts.control.saturating_sub(self.answers);
        own + bytes <= ANSWER_BYTES_MAX.min((left + own) / ANSWER_SHARE) || own == 0 && bytes <= left
    }

    /// A control client's answers in the reserve, which had `before` bytes, have `after`.
    pub(super) fn answers_changed(&mut self, before: usize, after: usize) {
        debug_assert!(self.answers >= before);
        self.answers = self.answers - before + after;
    }

    /// Gives back what was kept for more of the same that did not come. To be called about once a second.
    pub(super) fn trim(&mut self) {
        self.tails.trim();
        self.waiting.iter_mut().filter(|waiting| waiting.is_empty()).for_each(VecDeque::shrink_to_fit);
    }

    /// How much to read of a device of whose object `begun` bytes have come, which takes `room` bytes more without more
    /// memory.
    pub(super) fn decide(
        &mut self,
        id: ConnectionId,
        begun: usize,
        room: usize,
        returning: bool,
        now: Tick,
    ) -> Decision {
        let left = self.high_water().saturating_sub(self.large() + self.reserved());
        if left > 0 {
            return Decision::Read(left.max(PAGE_BYTES));
        }
        if self.is_admitted(id) {
            return Decision::Read(self.parts.object.saturating_sub(begun).max(PAGE_BYTES));
        }
        let room = if begun > 0 || self.fits(self.tails.stub_growth()) { room } else { 0 };
        // A stub has room: the message may be a small one.
        if begun < self.stub_bytes() && room > 0 {
            return Decision::Read(room);
        }
        if self.waiting() == 0 && self.has_place(id, self.is_returning(id, returning)) {
            self.admit(id, begun, returning, now);
            return Decision::Read(self.parts.object.saturating_sub(begun).max(PAGE_BYTES));
        }
        if room > 0 { Decision::Read(room) } else { Decision::Queue }
    }

    fn is_admitted(&self, id: ConnectionId) -> bool {
        self.admitted.contains(&id)
    }

    /// Bytes that admitted devices may still take.
    fn reserved(&self) -> usize {
        self.admitted.iter().map(|id| self.reserved_by(*id)).sum()
    }

    fn reserved_by(&self, id: ConnectionId) -> usize {
        self.parts.object.saturating_sub(self.charged_to(id))
    }

    fn charged_to(&self, id: ConnectionId) -> usize {
        self.holders.get(&id).map_or(0, |holder| holder.charged)
    }

    /// Whether a device comes before newcomers: it has completed a large object, and has used its last admission.
    fn is_returning(&self, id: ConnectionId, completed: bool) -> bool {
        self.holders.get(&id).map_or(completed, |holder| holder.returning)
    }

    fn is_newcomer(&self, id: ConnectionId) -> bool {
        self.holders.get(&id).is_some_and(|holder| !holder.returning)
    }

    /// Bytes that newcomers hold, and those that admitted ones may still take.
    fn newcomers(&self) -> usize {
        let admitted = self.admitted.iter().filter(|id| self.is_newcomer(**id));
        self.charged_to_newcomers + admitted.map(|id| self.reserved_by(*id)).sum::<usize>()
    }

    /// Whether that device can be admitted: beside all that is held and reserved, its object has room. Room for one more
    /// object stays for a device that is the only admitted one of its kind, so that one can always finish.
    fn has_place(&self, id: ConnectionId, returning: bool) -> bool {
        let (object, hard) = (self.parts.object, self.hard_limit());
        let need = self.reserved_by(id);
        let total = self.large() + self.reserved() + need;
        if returning {
            return total + object <= hard || self.admitted.is_empty() && total <= hard;
        }
        let (newcomers, newcomers_max) = (self.newcomers(), part(hard, NEWCOMERS_PART));
        let alone = !self.admitted.iter().any(|id| self.is_newcomer(*id));
        newcomers + need <= newcomers_max && total + object <= hard
            || alone && newcomers <= newcomers_max && total + object <= hard
    }

    fn admit(&mut self, id: ConnectionId, begun: usize, returning: bool, now: Tick) {
        let holder = self.holders.entry(id).or_insert(Holder::new(returning, begun, now));
        holder.admission = Some(Admission { since: now, progressed: false });
        holder.read = now;
        self.admitted.push(id);
    }

    /// A device was read: its partial object has `begun` bytes, and its region `charged`.
    pub(super) fn account(&mut self, id: ConnectionId, begun: usize, charged: usize, returning: bool, now: Tick) {
        if charged == 0 && !self.is_admitted(id) {
            self.release(id);
        } else {
            let holder = self.holders.entry(id).or_insert(Holder::new(returning, begun, now));
            if !holder.returning {
                self.charged_to_newcomers = self.charged_to_newcomers - holder.charged + charged;
            }
            (holder.charged, holder.read) = (charged, now);
            holder.mark = holder.mark.min(begun);
            if begun - holder.mark >= self.pace.progress_min {
                (holder.mark, holder.moved) = (begun, now);
                if let Some(admission) = &mut holder.admission {
                    admission.progressed = true;
                }
            }
        }
        self.shrinking = self.shrinking.filter(|_| self.leaves_no_object());
        self.tails.set_scarce(self.large() >= self.high_water());
    }

    /// A device has completed an object, or is gone: it is not admitted any more.
    pub(super) fn release(&mut self, id: ConnectionId) {
        let Some(holder) = self.holders.remove(&id) else { return };
        self.admitted.retain(|admitted| *admitted != id);
        if !holder.returning {
            self.charged_to_newcomers -= holder.charged;
        }
    }

    /// That device queues.
    pub(super) fn enqueue(&mut self, id: ConnectionId, returning: bool, now: Tick) {
        let returning = self.is_returning(id, returning);
        if let Some(holder) = self.holders.get_mut(&id) {
            holder.queued = Some(now);
        }
        self.waiting[usize::from(!returning)].push_back(id);
    }

    /// A device that queued is gone. Queues drop such entries now and then.
    pub(super) fn left(&mut self, waits: impl Fn(ConnectionId) -> bool) {
        self.stale += 1;
        if self.stale > self.waiting() {
            self.waiting.iter_mut().for_each(|waiting| waiting.retain(|id| waits(*id)));
            self.stale = 0;
        }
    }

    /// How many devices queue.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum::<usize>() - self.stale
    }

    /// When the admitted ones are looked at again: never while no device queues.
    pub(super) fn next_check(&self) -> Option<Tick> {
        (self.waiting() > 0).then(|| self.checked.after(1))
    }

    /// The next thing to do for the devices that queue. `begun` tells how much has come of a device's object, `None` if it
    /// does not queue any more.
    pub(super) fn next(&mut self, begun: impl Fn(ConnectionId) -> Option<usize>, now: Tick) -> Option<Step> {
        while self.waiting() > 0 {
            // Entries of devices that are gone make no decision.
            for waiting in &mut self.waiting {
                while waiting.front().is_some_and(|id| begun(*id).is_none()) {
                    waiting.pop_front();
                    self.stale -= 1;
                }
            }
            if let Some(id) = self.next_admissible() {
                return Some(Step::Resume(self.resume(id, &begun, now)));
            }
            if self.checked == now {
                return None;
            }
            self.checked = now;
            if self.demote(now) {
                continue;
            }
            if let Some(id) = self.finisher(&begun) {
                return Some(Step::Resume(self.resume(id, &begun, now)));
            }
            return self.victim(now).map(Step::Evict);
        }
        None
    }

    /// Takes a device from its queue, and admits it unless memory is below the high-water mark.
    fn resume(&mut self, id: ConnectionId, begun: &impl Fn(ConnectionId) -> Option<usize>, now: Tick) -> ConnectionId {
        if let Some(holder) = self.holders.get_mut(&id)
            && let Some(since) = holder.queued.take()
        {
            holder.moved = holder.moved.after(now.since(since));
        }
        let returning = self.waiting[0].front() == Some(&id) || self.waiting[0].contains(&id);
        let queue = &mut self.waiting[usize::from(!returning)];
        if queue.front() == Some(&id) {
            queue.pop_front();
        } else {
            queue.retain(|waiting| *waiting != id);
        }
        if self.large() + self.reserved() >= self.high_water() {
            self.admit(id, begun(id).unwrap_or(0), returning, now);
        }
        id
    }

    /// Of each queue, the first device if it can be admitted.
    fn admissible(&self) -> Option<[Option<ConnectionId>; 2]> {
        let below = self.large() + self.reserved() < self.high_water();
        let first = [0, 1].map(|queue| {
            let first = self.waiting[queue].front().copied();
            first.filter(|id| below || self.has_place(*id, queue == 0))
        });
        first.iter().any(Option::is_some).then_some(first)
    }

    /// The next device to be admitted. Returning devices come first, except at the newcomers' turns.
    fn next_admissible(&mut self) -> Option<ConnectionId> {
        let [returning, newcomer] = self.admissible()?;
        if let (Some(_), Some(_)) = (returning, newcomer) {
            self.turns = self.turns.wrapping_add(1);
            if self.turns.is_multiple_of(NEWCOMERS_TURN) {
                return newcomer;
            }
        }
        returning.or(newcomer)
    }

    /// Takes places from admitted devices: from slow ones, and from an idle one where another can be admitted instead. Their
    /// partial objects stay, and stay charged. True if one lost its place.
    fn demote(&mut self, now: Tick) -> bool {
        let admitted = self.admitted.clone();
        let slow = |(holder, admission): &(Holder, Admission)| {
            now.since(holder.moved.max(admission.since)) >= self.pace.interval
        };
        let slow: Vec<_> =
            admitted.iter().filter(|id| self.admission(**id).as_ref().is_some_and(slow)).copied().collect();
        slow.iter().for_each(|id| self.dismiss(*id));
        if !slow.is_empty() {
            return true;
        }
        let idle_max = (self.pace.interval / IDLE_PART).max(1);
        let idle = |id: &ConnectionId| self.holders.get(id).is_some_and(|holder| now.since(holder.read) > idle_max);
        for id in admitted.into_iter().filter(idle).collect::<Vec<_>>() {
            let admission = self.holders.get_mut(&id).and_then(|holder| holder.admission.take());
            self.admitted.retain(|admitted| *admitted != id);
            if self.admissible().is_some() {
                self.holders.entry(id).and_modify(|holder| holder.admission = admission);
                self.dismiss(id);
                return true;
            }
            self.holders.entry(id).and_modify(|holder| holder.admission = admission);
            self.admitted.push(id);
        }
        false
    }

    fn admission(&self, id: ConnectionId) -> Option<(Holder, Admission)> {
        self.holders.get(&id).and_then(|holder| Some((*holder, holder.admission?)))
    }

    /// Takes an admitted device's place. One that has not used it counts as a newcomer that has paused for an interval.
    fn dismiss(&mut self, id: ConnectionId) {
        self.admitted.retain(|admitted| *admitted != id);
        let Some(holder) = self.holders.get_mut(&id) else { return };
        if holder.admission.take().is_some_and(|admission| !admission.progressed) {
            holder.moved = Tick::new(holder.moved.get().saturating_sub(self.pace.interval));
            if std::mem::take(&mut holder.returning) {
                self.charged_to_newcomers += holder.charged;
            }
        }
        if holder.charged == 0 {
            self.release(id);
        }
    }

    /// The device that can finish with the least memory, where nobody is admitted and partial objects fill the room.
    fn finisher(&self, begun: &impl Fn(ConnectionId) -> Option<usize>) -> Option<ConnectionId> {
        if !self.admitted.is_empty() {
            return None;
        }
        let waiting = self.waiting.iter().flatten().filter(|id| begun(**id).is_some());
        let id = *waiting.max_by_key(|id| self.charged_to(**id))?;
        let for_returning = if self.is_newcomer(id) && !self.waiting[0].is_empty() { self.parts.object } else { 0 };
        let need = self.reserved_by(id);
        let finishes = self.shrinking.is_some() && self.charged_to(id) > 0 && self.fits(need);
        (finishes || self.large() + need + for_returning <= self.hard_limit()).then_some(id)
    }

    /// The device that made the least progress for what it holds, of those that could have made some for longer than a
    /// device may pause.
    fn victim(&self, now: Tick) -> Option<ConnectionId> {
        let stalled = |holder: &Holder| holder.queued.unwrap_or(now).since(holder.moved);
        // Where all of them queue and none can finish, one has to go all the same.
        let stuck = self.admitted.is_empty() && self.holders.values().all(|holder| holder.queued.is_some());
        let idle = self.holders.iter().filter(|(_, holder)| {
            holder.admission.is_none() && holder.charged > 0 && (stuck || stalled(holder) > self.pace.patience)
        });
        let key = |holder: &Holder| (!holder.returning, u64::from(stalled(holder)) * holder.charged as u64);
        idle.max_by_key(|(_, holder)| key(holder)).map(|(id, _)| *id)
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

impl Holder {
    fn new(returning: bool, begun: usize, now: Tick) -> Self {
        Self { charged: 0, returning, mark: begun, moved: now, read: now, queued: None, admission: None }
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
        // The one that holds the most for no progress goes.
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
