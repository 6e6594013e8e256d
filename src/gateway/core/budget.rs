//! Keeps the memory budget: who is read, who waits, and who must go. Floor 2.

use std::cmp::Reverse;

use super::Core;
use super::life::CloseMode;
use super::output::Action;
use crate::endpoint::ConnectionId;
use crate::gateway::handler::CloseReason;
use crate::gateway::slots::Phase;

impl Core {
    /// How much of a stream is wanted now. A device that must wait for memory is remembered.
    pub(in crate::gateway) fn poll_read(&mut self, id: ConnectionId) -> usize {
        // A read of small objects becomes ten times as many bytes of events, and nothing of them is written before
        // its end: so reads are short while someone may follow events, and shorter while those wait.
        let most = match (self.readers, self.memory.held_by_app()) {
            (0, _) => usize::MAX,
            (_, 0..READERS_BEHIND) => READ_BYTES_MAX,
            _ => READ_BYTES_MAX / 4,
        };
        if !self.memory.is_tight() {
            return most;
        }
        let Some(slot) = self.slots.device_mut(id).filter(|slot| !slot.is_closing()) else { return most };
        let begun = slot.connection.unfinished().map_or(0, |(_, bytes)| bytes);
        let allowance = self.memory.allowance();
        if begun < allowance {
            return (allowance - begun).min(most);
        }
        if self.memory.serve(id) {
            return most;
        }
        if std::mem::replace(&mut slot.phase, Phase::Paused) == Phase::Open {
            self.stats.pauses += 1;
            self.log.limit("limits.memory_budget", self.now);
            self.memory.wait(id, slot.objects > 0);
        }
        0
    }

    /// A device's unfinished object has grown, or is finished: keeps the budget.
    pub(in crate::gateway) fn balance(&mut self, id: ConnectionId) {
        if self.slots.device(id).is_none_or(|slot| slot.connection.unfinished().is_none()) {
            self.memory.done(id);
        }
        let Some(mut excess) = self.memory.excess() else { return };
        let held = self.slots.devices().map(|(id, slot)| {
            let outbox = slot.pending.as_ref().map_or(0, |pending| pending.counted);
            (slot.connection.held(&self.memory.tails) + outbox, id)
        });
        let mut largest: Vec<_> = held.filter(|(held, _)| *held > 0).collect();
        largest.sort_unstable_by_key(|(held, _)| Reverse(*held));
        for (held, id) in largest {
            // One that is on its way out keeps what it holds for a moment.
            if self.begin_close(id, CloseReason::Memory, CloseMode::Reset) {
                excess = excess.saturating_sub(held);
            }
            if excess == 0 {
                break;
            }
        }
    }

    /// Gives back, from time to time, what has been kept for devices and objects that did not come.
    pub(in crate::gateway) fn trim(&mut self) {
        if self.now.since(self.trimmed) >= TRIM_TICKS {
            self.trimmed = self.now;
            self.memory.trim();
            self.slots.trim();
        }
    }

    /// Lets those who wait for memory be read again, as far as there is some.
    pub(in crate::gateway) fn resume(&mut self) {
        for _ in 0..self.memory.waiting().min(RESUMED_AT_ONCE) {
            let Some(id) = self.memory.next(|id| self.slots.waits(id)) else { break };
            let Some(slot) = self.slots.device_mut(id) else { break };
            slot.phase = Phase::Open;
            slot.connection.expect_progress(&self.rules);
            self.actions.push_back(Action::Read(id));
        }
    }
}

/// Devices that are read again at once, before it is looked at what that costs.
const RESUMED_AT_ONCE: usize = 8;
/// Bytes read at once while someone may follow events.
const READ_BYTES_MAX: usize = 64 << 10;
/// Bytes held for those who follow events above which they are behind.
const READERS_BEHIND: usize = 64 << 10;
/// How often memory is looked for that can be given back: once a second.
const TRIM_TICKS: u32 = 10;
