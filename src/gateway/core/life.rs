//! How long a device lives, and how it ends. Floor 2.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Core;
use super::output::Action;
use crate::connection::Fault;
use crate::endpoint::ConnectionId;
use crate::gateway::handler::{CloseReason, Delivery, Device, Disconnect};
use crate::gateway::memory::MemoryBudget;
use crate::gateway::slots::{DeviceSlot, Phase, SendQueue, Tag};
use crate::proto::Beat;
use crate::tick::{TICK, Tick};

/// An answer within this part of the interval behind a beat comes at once.
const AT_ONCE: u32 = 32;

/// Whether what waits for a stream is sent before it is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum CloseMode {
    /// Sent, as far as it can be in the close timeout.
    Graceful,
    /// Thrown away.
    Immediate,
    /// Thrown away, with what the kernel holds.
    Reset,
}

impl Core {
    /// Begins a device's end. Its buffers are free from here on but for what is to be flushed; the
    /// slot itself is freed when the stream is. One that has ended its own sending, and takes its time
    /// with what waits for it, ends for another reason that comes meanwhile. False where there is
    /// nothing to end.
    pub(in crate::gateway) fn begin_close(&mut self, id: ConnectionId, reason: CloseReason, ending: CloseMode) -> bool {
        let index = id.index() as u32;
        let Some(slot) = self.slots.device_mut(id) else { return false };
        if !slot.is_closing() {
            let waited = std::mem::replace(&mut slot.phase, Phase::Closing) == Phase::Paused;
            let unfinished = slot.connection.unfinished();
            slot.connection.release(&mut self.memory.tails);
            self.stats.unfinished_bytes += unfinished.map_or(0, |(_, bytes)| bytes as u64);
            self.ending.insert(index, Disconnect { reason, unfinished, unsent: 0 });
            self.lose_answers(id, reason);
            self.leave_memory(id, waited);
        } else if !self.takes_its_time(id) || reason == CloseReason::Closed {
            return false;
        }
        let (Some(slot), Some(end)) = (self.slots.device_mut(id), self.ending.get_mut(&index)) else { return false };
        // A stop hurries one that has ended its own sending; it has ended by itself all the same.
        if reason != CloseReason::Shutdown {
            end.reason = reason;
        }
        if let (CloseMode::Graceful, Some(pending)) = (ending, &mut slot.pending) {
            let deadline = match reason {
                CloseReason::Closed => pending.progress.after(self.timing.write_timeout),
                _ => self.stop_deadline.unwrap_or(self.now.after(self.timing.close_timeout)),
            };
            pending.close_at = Some(deadline);
            let timer = slot.timer;
            self.wheel.reschedule(timer, self.gap_over(id).map_or(deadline, |over| over.min(deadline)));
        } else {
            end.unsent = lose(&mut slot.pending, end.reason, &mut self.reports, &mut self.memory);
            self.actions.push_back(Action::Close(id, ending == CloseMode::Reset));
        }
        true
    }

    /// The device has half-closed its stream. An object that cannot become JSON any more is the reason, if there is one.
    pub(in crate::gateway) fn end_of_stream(&mut self, id: ConnectionId) {
        let slot = self.slots.device(id).filter(|slot| !slot.is_closing());
        let broken = slot.and_then(|slot| slot.connection.check_unfinished(&mut self.memory.tails).err());
        self.begin_close(id, broken.map_or(CloseReason::Closed, CloseReason::Framing), CloseMode::Graceful);
    }

    /// Why a connection is closing, or gone.
    pub(in crate::gateway) fn close_reason(&self, id: ConnectionId) -> Option<CloseReason> {
        match self.slots.device(id) {
            Some(slot) if !slot.is_closing() => None,
            Some(_) => Some(self.ending.get(&(id.index() as u32)).map_or(CloseReason::Closed, |end| end.reason)),
            None => Some(CloseReason::Closed),
        }
    }

    /// Whether that device has ended its own sending, and something still waits for it.
    fn takes_its_time(&self, id: ConnectionId) -> bool {
        let waits = self.slots.device(id).is_some_and(|slot| slot.pending.is_some());
        waits && self.ending.get(&(id.index() as u32)).is_some_and(|end| end.reason == CloseReason::Closed)
    }

    /// That device, which `waited` for memory or did not, is done with it.
    fn leave_memory(&mut self, id: ConnectionId, waited: bool) {
        self.memory.release(id);
        if waited {
            self.memory.left(|id| self.slots.waits(id));
        }
    }

    /// A device's stream is gone: frees its slot and tells who it was and how it ended.
    pub(in crate::gateway) fn end(
        &mut self,
        id: ConnectionId,
        mut slot: DeviceSlot,
        write_error: CloseReason,
    ) -> (Device, Disconnect) {
        self.wheel.cancel(slot.timer);
        self.pacing.forget(id.index() as u32);
        self.leave_memory(id, slot.phase == Phase::Paused);
        let broken = slot.connection.check_unfinished(&mut self.memory.tails).err();
        let unfinished = slot.connection.unfinished();
        slot.connection.release(&mut self.memory.tails);
        if self.slots.device_count() == 0 {
            // Nobody is there to have it trimmed later.
            self.memory.trim();
            self.memory.trim();
            self.slots.trim();
        }
        let mut end = self.ending.remove(&(id.index() as u32)).unwrap_or_else(|| {
            self.stats.unfinished_bytes += unfinished.map_or(0, |(_, bytes)| bytes as u64);
            Disconnect { reason: broken.map_or(write_error, CloseReason::Framing), unfinished, unsent: 0 }
        });
        end.unsent += lose(&mut slot.pending, end.reason, &mut self.reports, &mut self.memory);
        self.stats.unsent_bytes += end.unsent as u64;
        self.stats.closed[&end.reason] += 1;
        self.lose_answers(id, end.reason);
        let index = id.index() as u32;
        let device = Device { name: self.registry.name_of(index), ..slot.device(id, self.now) };
        self.registry.end(index, &end.reason, self.settings.identity.remembered_max, self.now);
        self.charge_names();
        (device, end)
    }

    /// A device's timer, which was due at `due`, has fired: looks after every deadline it may stand for.
    pub(in crate::gateway) fn handle_timer(&mut self, due: Tick, index: u32) {
        let id = self.slots.id_at(index);
        let (now, interval, check) = (self.now, self.timing.interval, self.timing.check);
        let takes_its_time = self.takes_its_time(id);
        self.begin_message(id);
        let gap_over = self.gap_over(id);
        let Some(slot) = self.slots.device_mut(id) else { return };
        let late = now.since(due);
        let process_was_stopped = late > check;
        if let (true, Some(pending)) = (process_was_stopped, &mut slot.pending) {
            // It may well take something, and nobody has looked.
            pending.progress = pending.progress.after(late).min(now);
        }
        let stalls = |slot: &DeviceSlot| {
            let since = gap_over.unwrap_or(slot.pending.as_ref()?.progress);
            Some(since.after(self.timing.write_timeout))
        };
        if slot.is_closing() {
            // A device that ended its own sending may take its time, as long as it takes something and the gateway stays.
            let patient = takes_its_time && self.stop_deadline.is_none();
            let deadline =
                if patient { stalls(slot) } else { slot.pending.as_ref().and_then(|pending| pending.close_at) };
            let next = deadline.filter(|deadline| *deadline > now);
            let soon = gap_over.unwrap_or(now.after(check)).min(now.after(check));
            slot.timer = self.wheel.insert(next.map_or(now.after(interval), |next| next.min(soon)), index);
            if next.is_none() {
                self.actions.push_back(Action::Close(id, true));
            }
            return;
        }
        if slot.phase == Phase::Paused {
            // What is not read cannot be finished, nor a beat answered.
            slot.connection.extend_deadline(late.saturating_add(check), now);
        } else if process_was_stopped {
            slot.connection.extend_deadline(late, now);
        }
        let (object, stalled) = (slot.connection.object_deadline(&self.rules), stalls(slot));
        let mut end = None;
        if object.is_some_and(|deadline| deadline <= now) && slot.phase != Phase::Paused {
            let fault = slot.connection.object_timeout(&mut self.memory.tails);
            end = Some((CloseReason::Framing(fault), CloseMode::Immediate));
        } else if stalled.is_some_and(|deadline| deadline <= now) {
            end = Some((CloseReason::Stalled, CloseMode::Reset));
        } else if slot.beat_due <= now
            && let Err(fault) = slot.connection.check_unfinished(&mut self.memory.tails)
        {
            // The object would swallow all that the device sends, up to the object timeout.
            end = Some((CloseReason::Framing(fault), CloseMode::Immediate));
        } else if slot.beat_due <= now {
            // From the moment it was due, without drift; beats whose time has passed are not made up for.
            let late = now.since(slot.beat_due);
            slot.beat_due = slot.beat_due.after((late / interval + 1) * interval);
            self.beat_times.record(slot.beat_due, self.instant);
            self.stats.beats_missed += u64::from(slot.connection.credit() < self.settings.heartbeat.credit);
            if late >= interval {
                slot.connection.forget_beats();
            }
            // A peer that takes what waits for it lives, though no beat can reach it meanwhile.
            let takes = slot.pending.as_mut().is_some_and(|pending| std::mem::take(&mut pending.taken_since_beat));
            let free = late > interval || slot.phase == Phase::Paused || takes;
            match slot.connection.handle_beat(free, &self.rules) {
                Beat::Dead => end = Some((CloseReason::Silent, CloseMode::Reset)),
                Beat::Send => self.send_beat(id, late),
            }
        }
        let gap_over = self.gap_over(id);
        let Some(slot) = self.slots.device_mut(id) else { return };
        let next = [Some(slot.beat_due), object, stalled, gap_over].into_iter().flatten().min();
        let next = next.unwrap_or(slot.beat_due).min(now.after(check));
        slot.timer = self.wheel.insert(next.max(now.after(1)), index);
        if let Some((reason, ending)) = end {
            self.begin_close(id, reason, ending);
        }
    }

    /// A beat is to go out, which was due `late` ticks ago: now, or when `commands.gap` is over, or never where the kernel is
    /// full.
    fn send_beat(&mut self, id: ConnectionId, late: u32) {
        let index = id.index() as u32;
        let Some(slot) = self.slots.device_mut(id) else { return };
        let is_full = slot.pending.as_ref().is_some_and(|pending| pending.open > 0);
        if !is_full && slot.pending.is_none() && !self.pacing.holds(index, self.now) {
            slot.connection.beat_sent();
            if late > 0 {
                self.pacing.sent(index, self.now);
            }
            return self.actions.push_back(Action::Beat(id));
        }
        // Its answer could not be told from that of another beat.
        slot.connection.forget_beats();
        if is_full || !self.delay_beat(id) {
            self.stats.beats_withheld += 1;
        }
    }

    /// The device has answered a beat: returns the round-trip time, if it is clear which beat that was.
    pub(in crate::gateway) fn beat_answered(&mut self, id: ConnectionId, now: Instant) -> Option<Duration> {
        let slot = self.slots.device_mut(id)?;
        let (interval, beat_due) = (self.timing.interval, slot.beat_due);
        let latest = self.beat_times.sent(beat_due);
        let at_once = latest.is_some_and(|sent| now - sent <= TICK * interval / AT_ONCE);
        let back = u32::from(slot.connection.beat_answered(at_once)?) - 1;
        // Beats are found by when the next one was due.
        let due = Tick::new(beat_due.get().checked_sub(back * interval).filter(|due| *due >= interval)?);
        // A beat that is no longer remembered went out within a tick of when it was due.
        let sent = self.beat_times.sent(due).unwrap_or_else(|| self.clock.instant(Tick::new(due.get() - interval)));
        Some(now.saturating_duration_since(sent))
    }

    /// A connection's bytes have shown a fault.
    pub(in crate::gateway) fn handle_fault(&mut self, id: ConnectionId, fault: Fault) {
        let reason = match fault {
            Fault::Framing(fault) => CloseReason::Framing(fault),
            Fault::Faulty => CloseReason::Faulty,
        };
        self.begin_close(id, reason, CloseMode::Immediate);
    }
}

/// Throws away what waits, reports the commands that are lost with it, and tells how many bytes that was.
fn lose(
    slot: &mut Option<Box<SendQueue>>,
    reason: CloseReason,
    reports: &mut VecDeque<(Tag, Delivery)>,
    memory: &mut MemoryBudget,
) -> usize {
    let Some(pending) = slot.take() else { return 0 };
    memory.queue_changed(pending.counted, 0);
    reports.extend(pending.awaited.iter().map(|ticket| (ticket.tag, Delivery::Lost(reason))));
    pending.outbox.len()
}
