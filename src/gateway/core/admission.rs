//! Carries out the memory policy: pauses devices, reads them again, and evicts. Layer 2.

use super::Core;
use super::life::CloseMode;
use super::output::Action;
use crate::endpoint::ConnectionId;
use crate::gateway::handler::CloseReason;
use crate::gateway::memory::{Decision, Step};
use crate::gateway::slots::Phase;

impl Core {
    /// How many bytes of a stream the reactor may read. A device that gets 0 queues for memory.
    pub(in crate::gateway) fn poll_read(&mut self, id: ConnectionId) -> usize {
        // A read of small objects becomes ten times as many bytes of events, and nothing of them is written before
        // its end: so reads are short while someone may follow events, and shorter while those wait.
        let most = match (self.readers, self.memory.held_by_app()) {
            (0, _) => usize::MAX,
            (_, 0..READERS_BEHIND) => READ_BYTES_MAX,
            _ => READ_BYTES_MAX / 4,
        };
        let Some(slot) = self.slots.device_mut(id).filter(|slot| !slot.is_closing()) else { return most };
        if slot.phase == Phase::Paused {
            return 0;
        }
        let begun = slot.connection.unfinished().map_or(0, |(_, bytes)| bytes);
        let room = slot.connection.room(&self.memory.tails);
        match self.memory.decide(id, begun, room, slot.objects.had_large(), self.now) {
            Decision::Read(bytes) => bytes.min(most),
            Decision::Queue => {
                slot.phase = Phase::Paused;
                self.stats.pauses += 1;
                self.log.limit("limits.memory_budget", self.now);
                self.memory.enqueue(id, slot.objects.had_large(), self.now);
                0
            }
        }
    }

    /// A device was read: brings the accounting up to date.
    pub(in crate::gateway) fn account(&mut self, id: ConnectionId) {
        let Some(slot) = self.slots.device(id) else { return };
        let begun = slot.connection.unfinished().map_or(0, |(_, bytes)| bytes);
        let charged = slot.connection.region(&self.memory.tails);
        self.memory.account(id, begun, charged, slot.objects.had_large(), self.now);
    }

    /// Gives memory back that was kept for the next burst, about once a second.
    pub(in crate::gateway) fn trim(&mut self) {
        if self.now.since(self.trimmed) >= TRIM_TICKS {
            self.trimmed = self.now;
            self.memory.trim();
            self.slots.trim();
        }
    }

    /// Reads devices again that queue for memory, as far as there is some, and evicts a device where none could be read.
    pub(in crate::gateway) fn resume(&mut self) {
        for _ in 0..self.memory.waiting().min(RESUMED_AT_ONCE) {
            let slots = &self.slots;
            let begun = |id| {
                let slot = slots.device(id).filter(|slot| slot.phase == Phase::Paused)?;
                Some(slot.connection.unfinished().map_or(0, |(_, bytes)| bytes))
            };
            match self.memory.next(begun, self.now) {
                Some(Step::Resume(id)) => {
                    let Some(slot) = self.slots.device_mut(id) else { break };
                    slot.phase = Phase::Open;
                    slot.connection.expect_progress(&self.rules);
                    self.actions.push_back(Action::Read(id));
                }
                Some(Step::Evict(id)) => {
                    self.begin_close(id, CloseReason::Memory, CloseMode::Reset);
                }
                None => break,
            }
        }
    }
}

/// Devices that are read again at once, before it is looked at what that costs.
const RESUMED_AT_ONCE: usize = 8;
/// Bytes read at once while someone may follow events.
const READ_BYTES_MAX: usize = 64 << 10;
/// Queued bytes of event consumers above which the gateway reads less.
const READERS_BEHIND: usize = 64 << 10;
/// How often memory is looked for that can be given back: once a second.
const TRIM_TICKS: u32 = 10;
