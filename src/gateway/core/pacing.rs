//! `commands.gap`: keeps beats and commands to one device apart, for devices that take each read for one message. Layer 2.
//!
//! A message is a beat or a command with its terminator. Of a device's send queue, the first `open` bytes may go now. The
//! messages behind them each wait until the gap since the message before is over.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Core;
use super::output::{count, flush, open};
use crate::endpoint::ConnectionId;
use crate::gateway::settings::timeout;
use crate::gateway::slots::{DeviceSlot, SendQueue};
use crate::tick::Tick;

/// When the next message to each device may go. It holds nothing while the gap is 0.
pub(super) struct Pacing {
    /// Ticks between two messages; 0 is no gap.
    gap: u32,
    /// By slot: when the next message may go, of devices to which one went out of step with their beats.
    next: BTreeMap<u32, Tick>,
}

impl Pacing {
    pub(super) fn new(gap: Duration) -> Self {
        Self { gap: ticks(gap), next: BTreeMap::new() }
    }

    pub(super) fn is_off(&self) -> bool {
        self.gap == 0
    }

    /// A message has gone to the device in slot `index`.
    pub(super) fn sent(&mut self, index: u32, now: Tick) {
        if self.gap > 0 {
            self.next.insert(index, now.after(self.gap));
        }
    }

    /// When the next message to the device in slot `index` may go.
    pub(super) fn earliest(&self, index: u32, slot: &DeviceSlot, interval: u32) -> Tick {
        let next = self.next.get(&index).copied().unwrap_or_default();
        let last_beat = Tick::new(slot.beat_due.get().saturating_sub(interval));
        match last_beat > slot.since {
            true if self.gap > 0 => next.max(last_beat.after(self.gap)),
            _ => next,
        }
    }

    /// Whether the device in slot `index` was sent a message a moment ago, its beats aside.
    pub(super) fn holds(&self, index: u32, now: Tick) -> bool {
        self.next.get(&index).is_some_and(|next| *next > now)
    }

    /// Forgets the device in slot `index`, unless its gap still runs.
    pub(super) fn tidy(&mut self, index: u32, now: Tick) {
        if self.next.get(&index).is_some_and(|next| *next <= now) {
            self.next.remove(&index);
        }
    }

    /// The device in slot `index` is gone.
    pub(super) fn forget(&mut self, index: u32) {
        self.next.remove(&index);
    }
}

fn ticks(gap: Duration) -> u32 {
    if gap.is_zero() { 0 } else { timeout(gap) }
}

impl Core {
    /// Changes the gap. Without one, everything that waits may go.
    pub(super) fn set_gap(&mut self, gap: Duration) {
        self.pacing.gap = ticks(gap);
        if self.pacing.gap > 0 {
            return;
        }
        self.pacing.next.clear();
        for index in 0..self.slots.capacity() as u32 {
            let id = self.slots.id_at(index);
            if let Some(Some(pending)) = self.slots.pending_mut(id)
                && !pending.messages.is_empty()
            {
                pending.open += pending.messages.drain(..).map(|bytes| bytes as usize).sum::<usize>();
                pending.beat_waits = false;
                flush(&mut self.actions, id, pending);
            }
        }
    }

    /// Accounts for a message of `bytes` bytes at the end of a device's send queue. Flushes it at once, or sets the timer.
    pub(super) fn pace(&mut self, id: ConnectionId, bytes: usize) {
        let (index, now) = (id.index() as u32, self.now);
        let Some(slot) = self.slots.device_mut(id) else { return };
        let earliest = self.pacing.earliest(index, slot, self.timing.interval);
        let Some(pending) = &mut slot.pending else { return };
        let is_first = pending.open == 0 && pending.messages.is_empty();
        if self.pacing.is_off() || is_first && earliest <= now {
            pending.open += bytes;
            flush(&mut self.actions, id, pending);
        } else {
            pending.messages.push_back(bytes as u32);
        }
        let (before, after) = count(pending);
        self.memory.queue_changed(before, after);
        if pending.open == 0 && is_first {
            self.wake_by(id, earliest);
        }
    }

    /// A message has gone whole, and others wait for the gap or not.
    pub(super) fn message_sent(&mut self, id: ConnectionId) {
        if self.pacing.is_off() {
            return;
        }
        let index = id.index() as u32;
        self.pacing.sent(index, self.now);
        if let Some(slot) = self.slots.device(id).filter(|slot| slot.pending.is_some()) {
            self.wake_by(id, self.pacing.earliest(index, slot, self.timing.interval));
        }
    }

    /// Lets the next message of a device go, if the gap is over.
    pub(super) fn begin_message(&mut self, id: ConnectionId) {
        let (index, now) = (id.index() as u32, self.now);
        let Some(slot) = self.slots.device_mut(id).filter(|slot| slot.pending.is_some()) else {
            return self.pacing.tidy(index, now);
        };
        let is_early = self.pacing.earliest(index, slot, self.timing.interval) > now;
        let Some(pending) = slot.pending.as_mut().filter(|pending| pending.open == 0 && !is_early) else { return };
        let Some(bytes) = pending.messages.pop_front() else { return };
        (pending.open, pending.progress) = (bytes as usize, now);
        self.stats.beats_sent += u64::from(std::mem::take(&mut pending.beat_waits));
        flush(&mut self.actions, id, pending);
    }

    /// A beat is due within the gap behind a command: it goes before the commands that wait. False where one waits already.
    pub(super) fn delay_beat(&mut self, id: ConnectionId) -> bool {
        let now = self.now;
        let Some(slot) = self.slots.device_mut(id) else { return false };
        let pending = open(&mut slot.pending, &mut self.spare_pending, now);
        if std::mem::replace(&mut pending.beat_waits, true) {
            return false;
        }
        pending.outbox.push_front(&self.beat);
        pending.messages.push_front(self.beat.len() as u32);
        pending.awaited.iter_mut().for_each(|ticket| ticket.left += self.beat.len());
        let (before, after) = count(pending);
        self.memory.queue_changed(before, after);
        true
    }

    /// When a device's next message may go, if one waits for the gap.
    pub(super) fn gap_over(&self, id: ConnectionId) -> Option<Tick> {
        let slot = self.slots.device(id)?;
        let waits = |pending: &SendQueue| pending.open == 0 && !pending.messages.is_empty();
        let waits = slot.pending.as_deref().is_some_and(waits);
        waits.then(|| self.pacing.earliest(id.index() as u32, slot, self.timing.interval))
    }

    /// Has a device's timer fire at `at`, or earlier.
    fn wake_by(&mut self, id: ConnectionId, at: Tick) {
        let Some(slot) = self.slots.device(id) else { return };
        if self.wheel.pending(slot.timer).is_some_and(|(due, _)| due > at) {
            self.wheel.reschedule(slot.timer, at);
        }
    }
}
