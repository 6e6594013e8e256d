//! What must be true of the books between two calls, whatever peers do and the kernel answers. It walks
//! over everything, so it is for tests. Floor 2.

use super::Core;
use super::output::Action;
use crate::endpoint::ConnectionId;
use crate::gateway::slots::{Phase, SendQueue, Slot};

impl Core {
    /// See [`crate::gateway::Gateway::check_invariants`].
    pub(in crate::gateway) fn check_invariants(&self) {
        assert!(self.lent.is_none(), "bytes were lent, and nobody has told what became of them");
        // Told as soon as the streams are closed whose end began between two turns.
        assert!(self.reports.is_empty() || self.has_output(), "what became of commands was not told");
        self.slots.check_invariants();
        self.commands.check_invariants();
        self.registry.check_invariants(|slot| self.slots.device(self.slots.id_at(slot)).is_some());
        let names = self.registry.held() + self.commands.held();
        let (mut held, mut answers, mut unfinished, mut closing, mut paused, mut readers) = (names, 0, 0, 0, 0, 0);
        for (id, slot) in self.slots.all() {
            let pending = match slot {
                Slot::Device(device) => {
                    let timer = self.wheel.pending(device.timer);
                    assert_eq!(timer.map(|(_, index)| index), Some(id.index() as u32), "device {id} has no timer");
                    unfinished += match device.phase {
                        Phase::Closing => 0,
                        _ => device.connection.unfinished().map_or(0, |(_, bytes)| bytes as u64),
                    };
                    paused += usize::from(device.phase == Phase::Paused);
                    if device.is_closing() {
                        closing += 1;
                        assert_eq!(
                            device.connection.region(&self.memory.tails),
                            0,
                            "device {id} holds what it will never use"
                        );
                        assert!(self.ending.contains_key(&(id.index() as u32)), "device {id} ends for no reason");
                        self.check_closing(id, device.pending.is_some());
                    }
                    &device.pending
                }
                Slot::Stream(local) => {
                    readers += usize::from(local.may_be_written_to());
                    if local.closing {
                        self.check_closing(id, local.pending.is_some());
                    }
                    &local.pending
                }
                Slot::Retired => continue,
            };
            let flushes = self.actions.iter().filter(|op| matches!(op, Action::Flush(other) if *other == id)).count();
            if let Some(pending) = pending {
                held += pending.counted;
                answers += pending.answers;
                check_pending(id, pending, flushes);
            }
        }
        let held = self.memory.tails.held() + held;
        assert_eq!(self.memory.held(), held, "bytes that are held and those that are counted");
        assert_eq!(self.memory.answers(), answers, "bytes of answers");
        self.memory.check_invariants(|id| self.slots.device(id).is_some_and(|slot| !slot.is_closing()));
        assert_eq!(self.memory.waiting(), paused, "devices that wait for memory, and those in its lists");
        assert_eq!(self.readers, readers, "local streams that may be written to");
        assert_eq!(self.ending.len(), closing, "devices that end, and reasons for it");
        assert_eq!(self.wheel.len(), self.slots.device_count(), "one timer for each device");
        let stats = &self.stats;
        let objects: u64 = stats.messages.values().iter().chain(stats.rejected.values()).map(|count| count.bytes).sum();
        let booked = objects + stats.padding_bytes + stats.unfinished_bytes + stats.discarded_bytes;
        assert_eq!(stats.received_bytes, booked + unfinished, "bytes are lost or booked twice: {stats:?}");
        let closed: u64 = stats.closed.total();
        assert_eq!(stats.accepted, closed + self.slots.device_count() as u64, "devices are lost or counted twice");
    }

    /// A stream whose end has begun is closed when nothing waits for it any more, and not before.
    fn check_closing(&self, id: ConnectionId, waits: bool) {
        let asked = self.actions.iter().any(|op| matches!(op, Action::Close(other, _) if *other == id));
        assert!(waits || asked, "{id} is to be closed, and nobody will do it");
    }
}

fn check_pending(id: ConnectionId, pending: &SendQueue, flushes: usize) {
    assert!(!pending.outbox.is_empty(), "{id} holds an outbox for nothing");
    assert_eq!(pending.counted, super::output::held(pending), "{id}: what its outbox holds is counted");
    assert_eq!(flushes, usize::from(pending.queued), "{id}: a flush that was asked for is in the list, once");
    let waiting: usize = pending.messages.iter().map(|bytes| *bytes as usize).sum();
    assert_eq!(pending.open + waiting, pending.outbox.len(), "{id}: bytes of its messages");
    assert!(
        pending.blocked || pending.queued || pending.open == 0,
        "{id}: bytes wait, and nothing will ever send them"
    );
    let left = pending.awaited.last().map_or(0, |ticket| ticket.left);
    assert!(left <= pending.outbox.len(), "{id}: a command ends behind all that waits");
    assert!(pending.awaited.is_sorted_by_key(|ticket| ticket.left), "{id}: commands are out of order");
    assert!(pending.awaited.len() <= pending.commands as usize, "{id}: more commands are awaited than wait");
}
