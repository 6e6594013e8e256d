//! One budget for every buffer that grows with what peers do: unfinished objects, and what waits to be
//! sent. Floor 2.
//!
//! Below the *tight* mark everyone is read. Above it a device whose object has to be kept must wait, but
//! for a few that are *served*, in the order in which they came: those finish, their memory is free
//! again, and the next are served. So any number of devices may send pictures at the same time, and all
//! complete, slowly if need be; one that is served and sends nothing loses its place. Small messages pass
//! all the while: a little of every device may be kept. Room for both is what is left of the budget.

use std::collections::VecDeque;

use crate::endpoint::ConnectionId;

#[derive(Debug)]
pub(super) struct Memory {
    held: usize,
    budget: usize,
    /// How many may be served at one time.
    places: usize,
    served: Vec<ConnectionId>,
    waiting: VecDeque<ConnectionId>,
}

impl Memory {
    pub(super) fn new(budget: u64, object_bytes_max: u32) -> Self {
        let mut memory = Self { held: 0, budget: 0, places: 0, served: Vec::new(), waiting: VecDeque::new() };
        memory.configure(budget, object_bytes_max);
        memory
    }

    pub(super) fn configure(&mut self, budget: u64, object_bytes_max: u32) {
        self.budget = usize::try_from(budget).unwrap_or(usize::MAX);
        let room = (self.budget - self.tight_mark()) / 2;
        self.places = (room / (object_bytes_max as usize).max(1)).max(1);
    }

    fn tight_mark(&self) -> usize {
        self.budget / 4 * 3
    }

    fn full_mark(&self) -> usize {
        self.budget / 8 * 7
    }

    /// Bytes of an object that may be kept of every device, however tight memory is.
    pub(super) fn allowance(&self) -> usize {
        (self.budget / 8192).clamp(256, 4096)
    }

    /// Whether that device has a place that others wait for.
    pub(super) fn is_in_the_way(&self, id: ConnectionId) -> bool {
        !self.waiting.is_empty() && self.served.contains(&id)
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// A buffer of `before` bytes has now `after`.
    pub(super) fn changed(&mut self, before: usize, after: usize) {
        debug_assert!(self.held >= before);
        self.held = self.held - before + after;
    }

    pub(super) fn is_tight(&self) -> bool {
        self.held >= self.tight_mark()
    }

    pub(super) fn is_full(&self) -> bool {
        self.held >= self.full_mark()
    }

    pub(super) fn is_over(&self) -> bool {
        self.held > self.budget
    }

    /// Whether that device is served, or can be from now on.
    pub(super) fn serve(&mut self, id: ConnectionId) -> bool {
        if self.served.contains(&id) {
            return true;
        }
        // Those who wait come first.
        let free = self.served.len() < self.places && self.waiting.is_empty();
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
    pub(super) fn wait(&mut self, id: ConnectionId) {
        self.waiting.push_back(id);
    }

    /// How many devices wait for their turn, with those that have gone meanwhile.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next device whose turn it is. Where memory is tight, it is served from now on.
    pub(super) fn next(&mut self) -> Option<ConnectionId> {
        if self.is_tight() && self.served.len() >= self.places {
            return None;
        }
        let id = self.waiting.pop_front()?;
        if self.is_tight() {
            self.served.push(id);
        }
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_wait_are_served_in_order_as_others_finish() {
        let id = |index| ConnectionId::new(index, 0);
        let mut memory = Memory::new(1600, 100);
        memory.changed(0, 1200);
        assert!(memory.is_tight() && !memory.is_full());
        assert!(memory.serve(id(0)) && memory.serve(id(1)) && !memory.serve(id(2)));
        memory.wait(id(2));
        memory.wait(id(3));
        assert_eq!(memory.next(), None);
        memory.done(id(0));
        assert!(!memory.serve(id(4)), "others wait already");
        assert_eq!(memory.next(), Some(id(2)));
        assert_eq!(memory.next(), None);
        memory.changed(1200, 1100);
        assert_eq!((memory.next(), memory.next()), (Some(id(3)), None));
        memory.changed(1100, 1601);
        assert!(memory.is_full() && memory.is_over());
    }
}
