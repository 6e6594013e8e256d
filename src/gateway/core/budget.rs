//! Keeps the memory budget: who is read, who waits, and who must go. Floor 2.

use super::Core;
use super::life::Ending;
use super::output::Op;
use crate::endpoint::ConnectionId;
use crate::gateway::handler::CloseReason;
use crate::gateway::slots::{DeviceSlot, Pending, Phase};

impl Core {
    /// How much of a stream is wanted now. A device that must wait for memory is remembered.
    pub(in crate::gateway) fn poll_read(&mut self, id: ConnectionId) -> usize {
        if !self.memory.is_tight() {
            return usize::MAX;
        }
        let Some(slot) = self.slots.device_mut(id).filter(|slot| !slot.is_closing()) else { return usize::MAX };
        let begun = slot.connection.unfinished().map_or(0, |(_, bytes)| bytes);
        let allowance = self.memory.allowance();
        if begun < allowance {
            return allowance - begun;
        }
        if self.memory.serve(id) {
            return usize::MAX;
        }
        if std::mem::replace(&mut slot.phase, Phase::Paused) == Phase::Open {
            self.stats.pauses += 1;
            self.memory.wait(id);
        }
        0
    }

    /// A device's connection has gone from holding `before` bytes to `after`: keeps the budget.
    pub(in crate::gateway) fn balance(&mut self, id: ConnectionId, before: usize, after: usize) {
        self.memory.changed(before, after);
        if after == 0 {
            self.memory.done(id);
        }
        while self.memory.is_over() {
            let held = |slot: &DeviceSlot| slot.connection.buffered() + slot.pending.as_ref().map_or(0, |p| p.counted);
            let largest = self.slots.devices().max_by_key(|(_, slot)| held(slot));
            let Some((largest, _)) = largest.filter(|(_, slot)| held(slot) > 0) else { break };
            self.begin_close(largest, CloseReason::Memory, Ending::Abort);
        }
    }

    /// Lets those who wait for memory be read again, as far as there is some.
    pub(in crate::gateway) fn resume(&mut self) {
        for _ in 0..self.memory.waiting().min(RESUMED_AT_ONCE) {
            let Some(id) = self.memory.next() else { break };
            match self.slots.device_mut(id).filter(|slot| !slot.is_closing()) {
                Some(slot) => {
                    slot.phase = Phase::Open;
                    slot.connection.expect_progress();
                    self.ops.push_back(Op::Read(id));
                }
                None => self.memory.done(id),
            }
        }
    }

    /// Bytes of buffers held, by what they are for: unfinished objects, and what waits to be sent.
    pub(in crate::gateway) fn buffered(&self) -> (usize, usize) {
        let held = |pending: &Option<Box<Pending>>| pending.as_ref().map_or(0, |p| p.outbox.capacity());
        let devices = self.slots.devices().fold((0, 0), |(objects, out), (_, slot)| {
            (objects + slot.connection.buffered(), out + held(&slot.pending))
        });
        let locals: usize = self.slots.locals().map(|slot| held(&slot.pending)).sum();
        (devices.0, devices.1 + locals)
    }
}

/// Devices that are read again at once, before it is looked at what that costs.
const RESUMED_AT_ONCE: usize = 64;
