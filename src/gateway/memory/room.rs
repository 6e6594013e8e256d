//! The room in the parts of the budget: for commands, events and answers. Layer 2.

use std::collections::VecDeque;

use super::{MemoryBudget, QUEUES_PART, part};

/// The part of the large part that event consumers cannot borrow from the devices.
const DEVICES_PART: (usize, usize) = (1, 2);
/// One event consumer may queue a quarter of the memory that the other consumers leave.
const CONSUMER_SHARE: usize = 4;
/// Bytes of answers that one control client may have in the reserve.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// One control client may use a quarter of the reserve that the others leave.
const ANSWER_SHARE: usize = 4;
/// A command of at most this length is sent although send queues are full, if its device has no queue. Most often the
/// kernel takes it at once.
const SHORT_COMMAND: usize = 256;
/// The high-water mark as a part of the hard limit.
const HIGH_WATER: (usize, usize) = (3, 8);

impl MemoryBudget {
    /// Bytes of stubs beside which small messages always pass.
    pub(in crate::gateway) fn stub_bytes(&self) -> usize {
        self.tails.stub_bytes()
    }

    /// Resident bytes of everything that the budget counts.
    pub(in crate::gateway) fn held(&self) -> usize {
        self.tails.held() + self.queues + self.names + self.locals
    }

    /// Bytes of partial objects, and queued bytes.
    pub(in crate::gateway) fn parts(&self) -> (usize, usize) {
        (self.tails.held(), self.queues + self.locals)
    }

    /// Queued bytes of the application's streams.
    pub(in crate::gateway) fn held_by_app(&self) -> usize {
        self.locals
    }

    /// Sets the bytes that names and commands hold.
    pub(in crate::gateway) fn set_names(&mut self, bytes: usize) {
        self.names = bytes;
    }

    /// Bytes of answers in the reserve.
    pub(in crate::gateway) fn answers(&self) -> usize {
        self.answers
    }

    /// Bytes of the large part in use.
    pub(super) fn large(&self) -> usize {
        self.tails.regions() + self.queues
    }

    /// The hard limit of the large part: without names, and without memory that event consumers have borrowed.
    pub(super) fn hard_limit(&self) -> usize {
        let borrowed = (self.locals - self.answers).saturating_sub(self.parts.consumers);
        self.parts.large.saturating_sub(borrowed + self.names)
    }

    /// Whether the longest object finds no room beside what the large part holds.
    pub(super) fn leaves_no_object(&self) -> bool {
        self.large() > self.hard_limit().saturating_sub(self.parts.object)
    }

    /// Whether `bytes` bytes more fit into the budget. After a reload that lowered it, the old budget holds until memory
    /// is free again: large objects that had begun may finish in it, and nothing else may grow into it.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.shrinking.is_none_or(|budget| self.held() + self.reserved() + self.parts.control + bytes <= budget)
    }

    pub(super) fn high_water(&self) -> usize {
        let hard = self.hard_limit();
        part(hard, HIGH_WATER).min(hard.saturating_sub(2 * self.parts.object))
    }

    /// A device's send queue has grown or shrunk from `before` to `after` bytes.
    pub(in crate::gateway) fn queue_changed(&mut self, before: usize, after: usize) {
        debug_assert!(self.queues >= before);
        self.queues = self.queues - before + after;
    }

    /// As [`Self::queue_changed`], for a stream of the application.
    pub(in crate::gateway) fn app_queue_changed(&mut self, before: usize, after: usize) {
        debug_assert!(self.locals >= before);
        self.locals = self.locals - before + after;
    }

    /// Whether a command of `bytes` bytes may join `waiting` bytes in a device's send queue.
    pub(in crate::gateway) fn has_room_for_command(&self, waiting: usize, bytes: usize) -> bool {
        // A queue that grows may double, while the first command gets what it needs.
        let needed = if waiting == 0 { bytes } else { 2 * bytes };
        let (hard, after) = (self.hard_limit(), self.queues + needed);
        let fits = after <= part(hard, QUEUES_PART) && self.large() + self.reserved() + needed <= hard;
        fits || waiting == 0 && bytes <= SHORT_COMMAND && self.large() + self.reserved() + bytes <= hard
    }

    /// Whether send queues, names and waiting commands have used their part of the hard limit, or the hard limit is reached.
    pub(in crate::gateway) fn is_full(&self) -> bool {
        let most = part(self.parts.large, QUEUES_PART).min(self.parts.large.saturating_sub(self.parts.object));
        self.queues + self.names >= most || self.large() + self.reserved() >= self.hard_limit()
    }

    /// Whether `bytes` bytes of events may join the `waiting` bytes of a consumer with a buffer of `own` bytes. A consumer
    /// may queue a quarter of what the others leave, so a slow one cannot starve a fast one. One event always has room
    /// that leaves the devices enough for an object.
    pub(in crate::gateway) fn has_room_for_events(&self, waiting: usize, bytes: usize, own: usize) -> bool {
        let others = (self.locals - own).saturating_sub(self.answers);
        let share = self.parts.consumers.saturating_sub(others) / CONSUMER_SHARE;
        let own_part = self.parts.object.max(part(self.parts.large, DEVICES_PART));
        let devices = own_part.max(self.large() + self.reserved());
        let borrowed = self.parts.large.saturating_sub(devices + self.names);
        let alone = waiting == 0 && others + bytes.max(own) <= self.parts.consumers + borrowed;
        (waiting + bytes <= share || alone) && self.fits(2 * bytes)
    }

    /// Whether an answer of `bytes` bytes may use the reserve. `own` bytes of answers to the same control client already do.
    /// A client that does not read its answers cannot take the reserve from others.
    pub(in crate::gateway) fn has_room_for_answer(&self, bytes: usize, own: usize) -> bool {
        let left = self.parts.control.saturating_sub(self.answers);
        own + bytes <= ANSWER_BYTES_MAX.min((left + own) / ANSWER_SHARE) || own == 0 && bytes <= left
    }

    /// A control client's answers in the reserve have grown or shrunk from `before` to `after` bytes.
    pub(in crate::gateway) fn answers_changed(&mut self, before: usize, after: usize) {
        debug_assert!(self.answers >= before);
        self.answers = self.answers - before + after;
    }

    /// Gives memory back that was kept for the next burst. The gateway calls it about once a second.
    pub(in crate::gateway) fn trim(&mut self) {
        self.tails.trim();
        self.waiting.iter_mut().filter(|waiting| waiting.is_empty()).for_each(VecDeque::shrink_to_fit);
    }
}
