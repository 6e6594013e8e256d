//! Admission of devices with large objects: places, queues, demotion and eviction. Layer 2.

use std::collections::VecDeque;

use super::{Decision, MemoryBudget, Step, part};
use crate::endpoint::ConnectionId;
use crate::proto::PAGE_BYTES;
use crate::tick::Tick;

/// The part of the hard limit for newcomers. A newcomer has not completed a large object yet.
const NEWCOMERS_PART: (usize, usize) = (1, 2);
/// The part of the interval after which an admitted device that sends nothing gives its place to others.
const IDLE_PART: u32 = 8;
/// Every fourth admission goes to a newcomer while returning devices queue as well.
const NEWCOMERS_TURN: u32 = 4;

/// A device that has a region or is admitted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder {
    /// Resident bytes of its region.
    pub(super) charged: usize,
    pub(super) returning: bool,
    /// Received bytes of the object at its last progress.
    mark: usize,
    /// The time of the last progress. Time in the queue does not count.
    moved: Tick,
    /// The time of the last read.
    read: Tick,
    queued: Option<Tick>,
    pub(super) admission: Option<Admission>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Admission {
    since: Tick,
    /// Whether the device has made progress since.
    progressed: bool,
}

impl Holder {
    fn new(returning: bool, begun: usize, now: Tick) -> Self {
        Self { charged: 0, returning, mark: begun, moved: now, read: now, queued: None, admission: None }
    }
}

impl MemoryBudget {
    /// Returns how much of a device's stream may be read. `begun` bytes of its object have come, and `room` more bytes
    /// need no more memory.
    pub(in crate::gateway) fn decide(
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
    pub(super) fn reserved(&self) -> usize {
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

    /// Bytes that newcomers hold, and bytes that admitted newcomers may still take.
    fn newcomers(&self) -> usize {
        let admitted = self.admitted.iter().filter(|id| self.is_newcomer(**id));
        self.charged_to_newcomers + admitted.map(|id| self.reserved_by(*id)).sum::<usize>()
    }

    /// Whether the device can be admitted: its object has room beside held and reserved memory. Room for one more object
    /// stays free for the only admitted device of its kind, so that one device can always finish.
    fn has_place(&self, id: ConnectionId, returning: bool) -> bool {
        let (object, hard) = (self.parts.object, self.hard_limit());
        let need = self.reserved_by(id);
        let total = self.large() + self.reserved() + need;
        if returning {
            return total + object <= hard || self.admitted.is_empty() && total <= hard;
        }
        let (newcomers, newcomers_max) = (self.newcomers(), part(hard, NEWCOMERS_PART));
        let alone = !self.admitted.iter().any(|id| self.is_newcomer(*id));
        total + object <= hard && (newcomers + need <= newcomers_max || alone && newcomers <= newcomers_max)
    }

    fn admit(&mut self, id: ConnectionId, begun: usize, returning: bool, now: Tick) {
        let holder = self.holders.entry(id).or_insert(Holder::new(returning, begun, now));
        holder.admission = Some(Admission { since: now, progressed: false });
        holder.read = now;
        self.admitted.push(id);
    }

    /// Accounts for a read: the partial object has `begun` bytes, and its region `charged`.
    pub(in crate::gateway) fn account(
        &mut self,
        id: ConnectionId,
        begun: usize,
        charged: usize,
        returning: bool,
        now: Tick,
    ) {
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

    /// Ends the admission of a device that has completed an object or is gone.
    pub(in crate::gateway) fn release(&mut self, id: ConnectionId) {
        let Some(holder) = self.holders.remove(&id) else { return };
        self.admitted.retain(|admitted| *admitted != id);
        if !holder.returning {
            self.charged_to_newcomers -= holder.charged;
        }
    }

    /// Puts a device into its queue.
    pub(in crate::gateway) fn enqueue(&mut self, id: ConnectionId, returning: bool, now: Tick) {
        let returning = self.is_returning(id, returning);
        if let Some(holder) = self.holders.get_mut(&id) {
            holder.queued = Some(now);
        }
        self.waiting[usize::from(!returning)].push_back(id);
    }

    /// Notes that a queued device is gone. The queues drop such entries once they are the larger half.
    pub(in crate::gateway) fn left(&mut self, waits: impl Fn(ConnectionId) -> bool) {
        self.stale += 1;
        if self.stale > self.waiting() {
            self.waiting.iter_mut().for_each(|waiting| waiting.retain(|id| waits(*id)));
            self.stale = 0;
        }
    }

    /// The number of queued devices.
    pub(in crate::gateway) fn waiting(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum::<usize>() - self.stale
    }

    /// The time of the next check of the admitted devices. Without a queued device there is none.
    pub(in crate::gateway) fn next_check(&self) -> Option<Tick> {
        (self.waiting() > 0).then(|| self.checked.after(1))
    }

    /// Returns the next step for the queued devices. `begun` returns the received bytes of a device's object, or `None` if
    /// the device left the queue.
    pub(in crate::gateway) fn next(
        &mut self,
        begun: impl Fn(ConnectionId) -> Option<usize>,
        now: Tick,
    ) -> Option<Step> {
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

    /// Takes the places of slow devices, or of an idle device whose place another device can use. Their partial objects
    /// stay, and stay charged. Returns whether a device lost its place.
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

    /// The device that can finish with the least memory, if no device is admitted and partial objects fill the room.
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

    /// The device with the least progress for the memory it holds, among the devices that have paused longer than they may.
    fn victim(&self, now: Tick) -> Option<ConnectionId> {
        let stalled = |holder: &Holder| holder.queued.unwrap_or(now).since(holder.moved);
        // If all of them queue and none can finish, one must go although it has not paused too long.
        let stuck = self.admitted.is_empty() && self.holders.values().all(|holder| holder.queued.is_some());
        let idle = self.holders.iter().filter(|(_, holder)| {
            holder.admission.is_none() && holder.charged > 0 && (stuck || stalled(holder) > self.pace.patience)
        });
        let key = |holder: &Holder| (!holder.returning, u64::from(stalled(holder)) * holder.charged as u64);
        idle.max_by_key(|(_, holder)| key(holder)).map(|(id, _)| *id)
    }
}
