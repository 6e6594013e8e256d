//! Feeds the bytes of a device to its connection, and accounts for each of them. Layer 2.

use std::mem;

use super::Core;
use crate::connection::Event;
use crate::endpoint::ConnectionId;
use crate::proto::Reassembled;

impl Core {
    /// Returns the next event of `rest`, the unused bytes of a read, and accounts for the bytes that it used.
    /// After `None` the read is used up: a fault has begun to close the device, or its object is unfinished.
    pub(in crate::gateway) fn next_event<'a, 'read: 'a>(
        &mut self,
        id: ConnectionId,
        rest: &mut &'read [u8],
        whole: &'a mut Reassembled,
    ) -> Option<Event<'a>> {
        let slot = self.slots.device_mut(id)?;
        if slot.is_closing() {
            self.stats.discarded_bytes += mem::take(rest).len() as u64;
            return None;
        }
        let (offset, begun) = (slot.connection.offset(), slot.connection.unfinished_bytes());
        let event = slot.connection.handle_data(rest, &self.rules, &mut self.memory.tails, whole, self.now);
        let used = (slot.connection.offset() - offset) as usize;
        *rest = &rest[used..];
        let object = event.iter().flatten().map(Event::object_bytes).sum::<usize>();
        let separators = (begun + used) - (object + slot.connection.unfinished_bytes());
        self.stats.padding_bytes += separators as u64;
        match event {
            Ok(Some(event)) => {
                self.account_for(id, &event);
                Some(event)
            }
            Ok(None) => None,
            Err(fault) => {
                self.stats.discarded_bytes += mem::take(rest).len() as u64;
                self.handle_fault(id, fault);
                None
            }
        }
    }

    /// Counts an object, and notes it as a sign of life if it was accepted.
    fn account_for(&mut self, id: ConnectionId, event: &Event<'_>) {
        // A device that has sent an object gives its place to others, even if it has begun the next.
        self.memory.release(id);
        let message = match event {
            Event::Heartbeat(message) | Event::Message(message) => message,
            Event::Rejected(error, bytes) => {
                self.stats.rejected[&error.reason].add(*bytes);
                return;
            }
        };
        self.stats.messages[&message.kind()].add(message.bytes().len());
        let large = self.memory.stub_bytes();
        let Some(slot) = self.slots.device_mut(id) else { return };
        slot.objects.add(message.bytes().len() > large);
        slot.seen = self.now;
        if let Event::Message(message) = event {
            slot.last_kind = Some(message.kind());
        }
    }
}
