//! One budget for every buffer that grows with what peers do: unfinished objects, and what waits to be
//! sent. Floor 2.
//!
//! An eighth of it is kept for local streams, so that no device can take the words out of the gateway's
//! mouth; the rest is the devices' share. Below the *tight* mark every device is read. Above it one whose
//! object has to be kept must wait, but for a few that are *served*: those finish, their memory is free
//! again, and the next are served. So any number of devices may send pictures at the same time, and all
//! complete, slowly if need be; one that has a place and sends nothing loses it. Small messages pass all
//! the while: a little of every device may be kept. Room for both is what is left of the share. Devices
//! that have been heard before and those that have not take turns, so that a crowd of strangers does not
//! stand before those who are known.

use std::collections::VecDeque;

use crate::endpoint::ConnectionId;
use crate::proto::PartialObjects;

#[derive(Debug)]
pub(super) struct MemoryBudget {
    /// The unfinished objects.
    pub(super) tails: PartialObjects,
    /// Bytes that wait for devices to take them.
    outboxes: usize,
    /// Bytes that wait for local streams.
    locals: usize,
    /// Bytes of names, and of commands that are out.
    names: usize,
    budget: usize,
    /// What all devices may hold together; the rest is for local streams alone.
    share: usize,
    /// Room for one object, whoever else holds what.
    object: usize,
    /// How many may be served at one time.
    places: usize,
    served: Vec<ConnectionId>,
    /// Devices that have been heard before, and those that have not.
    waiting: [VecDeque<ConnectionId>; 2],
    /// How many of them do not wait any more.
    gone: usize,
    /// Which of them is next.
    turn: bool,
}

/// What may be held of an object beside its bytes: the rest of a page, and what is known of it.
const OVERHEAD_MAX: usize = 8 << 10;

impl MemoryBudget {
    pub(super) fn new(budget: u64, object_bytes_max: u32) -> Self {
        let mut memory = Self {
            tails: PartialObjects::new(),
            outboxes: 0,
            locals: 0,
            names: 0,
            budget: 0,
            share: 0,
            object: 0,
            places: 0,
            served: Vec::new(),
            waiting: Default::default(),
            gone: 0,
            turn: false,
        };
        memory.configure(budget, object_bytes_max);
        memory
    }

    pub(super) fn configure(&mut self, budget: u64, object_bytes_max: u32) {
        self.budget = usize::try_from(budget).unwrap_or(usize::MAX);
        let object_bytes_max = object_bytes_max as usize;
        // One object must have room, with what is held beside it, however small the budget is.
        self.object = object_bytes_max + OVERHEAD_MAX;
        self.share = (self.budget - self.budget / 8).max(self.object);
        let room = (self.share - self.tight_mark()) / 2;
        self.places = (room / object_bytes_max.max(1)).max(1);
    }

    /// Above it there is room for one object at least, in memory that may be twice as much.
    fn tight_mark(&self) -> usize {
        (self.budget / 8 * 5).min(self.share.saturating_sub(2 * self.object))
    }

    fn full_mark(&self) -> usize {
        self.budget / 4 * 3
    }

    /// Bytes of an object that may be kept of every device, however tight memory is.
    pub(super) fn allowance(&self) -> usize {
        (self.budget / 8192).clamp(256, 4096)
    }

    /// Whether that device, of whose object `begun` bytes have come, has what others wait for.
    pub(super) fn blocks_others(&self, id: ConnectionId, begun: usize) -> bool {
        self.waiting() > 0 && (begun > self.allowance() || self.served.contains(&id))
    }

    /// Bytes held, for whatever.
    pub(super) fn held(&self) -> usize {
        self.held_by_devices() + self.locals
    }

    /// Bytes of unfinished objects, and bytes of what waits to be sent.
    pub(super) fn parts(&self) -> (usize, usize) {
        (self.tails.held(), self.outboxes + self.locals)
    }

    /// Bytes of what waits for local streams.
    pub(super) fn held_by_app(&self) -> usize {
        self.locals
    }

    fn held_by_devices(&self) -> usize {
        self.tails.held() + self.outboxes + self.names
    }

    /// Sets the bytes that names and commands hold.
    pub(super) fn set_names(&mut self, bytes: usize) {
        self.names = bytes;
    }

    /// A device's outbox of `before` bytes has now `after`.
    pub(super) fn outbox_changed(&mut self, before: usize, after: usize) {
        debug_assert!(self.outboxes >= before);
        self.outboxes = self.outboxes - before + after;
    }

    /// As [`Self::outbox_changed`], of a local stream.
    pub(super) fn app_queue_changed(&mut self, before: usize, after: usize) {
        debug_assert!(self.locals >= before);
        self.locals = self.locals - before + after;
    }

    /// Gives back what was kept for more of the same that did not come. To be called about once a second.
    pub(super) fn trim(&mut self) {
        self.tails.trim();
        self.waiting.iter_mut().filter(|waiting| waiting.is_empty()).for_each(VecDeque::shrink_to_fit);
    }

    /// Whether `bytes` bytes more may wait for a local stream that `waiting` bytes wait for, in a buffer of `own`
    /// bytes. A quarter of what the others leave is for it: with what was taken of it already its buffer may be four
    /// times as large as what is in it, but seldom is, and so whoever takes what is written finds room, even while
    /// others do not. One event may always wait for each, in a buffer that was allocated for it or is a spare one.
    pub(super) fn has_room_for_app(&self, waiting: usize, bytes: usize, own: usize) -> bool {
        let left = self.budget.saturating_sub(self.share + self.locals - own);
        let alone = waiting == 0 && self.held() + bytes.max(2 * self.allowance()) <= self.budget;
        waiting + bytes <= left / 4 || alone
    }

    pub(super) fn is_tight(&self) -> bool {
        self.held_by_devices() >= self.tight_mark()
    }

    pub(super) fn is_full(&self) -> bool {
        self.held_by_devices() >= self.full_mark()
    }

    /// How many bytes the devices must give back, if they hold more than their share: some more than
    /// they hold too many, so that the largest need not be looked for with every byte that comes.
    pub(super) fn excess(&self) -> Option<usize> {
        let share = self.share.min(self.budget.saturating_sub(self.locals)).max(self.object);
        let excess = self.held_by_devices().checked_sub(share + 1)?;
        Some(excess + 1 + self.share / 64)
    }

    /// Whether that device is served, or can be from now on.
    pub(super) fn serve(&mut self, id: ConnectionId) -> bool {
        if self.served.contains(&id) {
            return true;
        }
        // Those who wait come first.
        let free = self.served.len() < self.places && self.waiting() == 0;
        if free {
            self.served.push(id);
        }
        free
    }

    /// That device holds no object any more, or is gone.
    pub(super) fn done(&mut self, id: ConnectionId) {
        self.served.retain(|served| *served != id);
    }

    /// That device waits for its turn.
    pub(super) fn wait(&mut self, id: ConnectionId, known: bool) {
        self.waiting[usize::from(!known)].push_back(id);
    }

    /// A device has gone that waited. The lists are rid of those who do not wait, now and then.
    pub(super) fn gone(&mut self, waits: impl Fn(ConnectionId) -> bool) {
        self.gone += 1;
        if self.gone > self.waiting() {
            self.waiting.iter_mut().for_each(|waiting| waiting.retain(|id| waits(*id)));
            self.gone = 0;
        }
    }

    /// How many devices wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum::<usize>() - self.gone
    }

    /// The next device of those that wait whose turn it is, if there is room for it. Where memory is tight, it is
    /// served from now on.
    pub(super) fn next(&mut self, waits: impl Fn(ConnectionId) -> bool) -> Option<ConnectionId> {
        let tight = self.is_tight();
        if tight && self.served.len() >= self.places {
            return None;
        }
        loop {
            self.turn = !self.turn;
            let [known, strange] = &mut self.waiting;
            let (first, second) = if self.turn { (known, strange) } else { (strange, known) };
            let id = first.pop_front().or_else(|| second.pop_front())?;
            if !waits(id) {
                self.gone -= 1;
                continue;
            }
            if tight {
                self.served.push(id);
            }
            return Some(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_wait_are_served_in_order_as_others_finish() {
        let id = |index| ConnectionId::new(index, 0);
        let waits = |waiter| waiter != id(5);
        let mut memory = MemoryBudget::new(1_600_000, 100_000);
        memory.outbox_changed(0, 1_000_000);
        assert!(memory.is_tight() && !memory.is_full());
        assert!(memory.serve(id(0)) && memory.serve(id(1)) && !memory.serve(id(2)));
        for index in [2, 5, 3, 6] {
            memory.wait(id(index), false);
        }
        memory.gone(waits);
        assert_eq!(memory.waiting(), 3);
        memory.wait(id(7), true);
        assert_eq!(memory.next(waits), None);
        memory.done(id(0));
        assert!(!memory.serve(id(4)), "others wait already");
        // One who is known need not wait for all the strangers.
        assert_eq!(memory.next(waits), Some(id(7)));
        assert_eq!(memory.next(waits), None);
        memory.outbox_changed(1_000_000, 900_000);
        assert_eq!((memory.next(waits), memory.next(waits)), (Some(id(2)), Some(id(3))));
        memory.outbox_changed(900_000, 1_200_000);
        assert!(memory.is_full() && memory.excess().is_none());
        memory.outbox_changed(1_200_000, 1_400_001);
        assert_eq!(memory.excess(), Some(1 + 1_400_000 / 64));
    }

    #[test]
    fn a_quarter_of_what_is_left_is_for_each_reader() {
        let mut memory = MemoryBudget::new(1_600_000, 100_000);
        let fits = |memory: &MemoryBudget, bytes: usize| memory.has_room_for_app(1, bytes - 1, 0);
        assert!(fits(&memory, 50_000) && !fits(&memory, 50_001));
        memory.app_queue_changed(0, 100_000);
        assert!(fits(&memory, 25_000) && !fits(&memory, 25_001));
        assert!(memory.has_room_for_app(0, 1_500_000, 0), "one event may be larger");
        assert!(memory.has_room_for_app(40_000, 10_000, 100_000), "what it has itself does not count");
        memory.app_queue_changed(0, 700_000);
        memory.outbox_changed(0, 800_000);
        assert!(memory.excess().is_none());
        memory.outbox_changed(800_000, 800_001);
        assert!(memory.excess().is_some(), "what local streams have taken, devices cannot");
    }
}
