//! What is to be done, in order, and the bytes that wait for it. Floor 2.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::Core;
use crate::endpoint::{ConnectionId, ListenerId, Output, PacketInfo};
use crate::gateway::handler::Delivery;
use crate::gateway::slots::{SendQueue, Slot, Tag, Ticket};
use crate::gateway::{Queued, SendError, Target};
use crate::tick::Tick;

/// What is to be done, in order.
pub(super) enum Action {
    Flush(ConnectionId),
    Beat(ConnectionId),
    Close(ConnectionId, bool),
    Read(ConnectionId),
}

/// What was lent with the last [`Output::Send`].
pub(super) enum Lent {
    Outbox,
    Beat,
}

impl Core {
    /// Queues a command, whole or not at all. With a tag, what becomes of it is reported.
    pub(in crate::gateway) fn send(
        &mut self,
        target: Target,
        text: &[u8],
        tag: Option<u64>,
    ) -> Result<Queued, SendError> {
        let queued = self.queue(target, text, tag.map(Tag::App));
        if let Err(refused) = &queued {
            self.count_refused(refused);
        }
        queued
    }

    /// Counts a refused command.
    pub(in crate::gateway) fn count_refused(&mut self, refused: &SendError) {
        self.stats.commands_refused[refused] += 1;
        match refused {
            SendError::Full { .. } => self.log.limit("limits.outbox_bytes_max", self.now),
            SendError::QueueFull { .. } => self.log.limit("identity.queued_bytes_max", self.now),
            SendError::Memory => self.log.limit("limits.memory_budget", self.now),
            _ => {}
        }
    }

    /// Whether a text can be a command.
    pub(in crate::gateway) fn check_text(&self, text: &[u8]) -> Result<(), SendError> {
        let terminator = &self.settings.terminator;
        let is_beat =
            if terminator.is_empty() { contains(text, &self.beat) } else { self.settings.heartbeat.payload == text };
        if text.is_empty() {
            Err(SendError::Empty)
        } else if is_beat {
            Err(SendError::HasBeat)
        } else if contains(text, terminator) {
            Err(SendError::HasTerminator)
        } else {
            Ok(())
        }
    }

    /// Puts a command into the send queue of a device.
    pub(in crate::gateway) fn queue(
        &mut self,
        target: Target,
        text: &[u8],
        tag: Option<Tag>,
    ) -> Result<Queued, SendError> {
        if text.is_empty() {
            return Err(SendError::Empty);
        }
        let mut found = self.find(target).filter(|(_, slot)| !slot.is_closing()).map(|(id, _)| id);
        let (id, of) = (found.next(), found.count() + 1);
        let id = id.ok_or(SendError::NoSuchDevice)?;
        let max = self.settings.limits.outbox_bytes_max;
        self.check_text(text)?;
        let terminator = &self.settings.terminator;
        let Some(slot) = self.slots.device_mut(id) else { return Err(SendError::NoSuchDevice) };
        let waiting = slot.pending.as_ref().map_or(0, |pending| pending.outbox.len());
        if !self.memory.has_room_for_command(waiting, text.len() + terminator.len()) {
            return Err(SendError::Memory);
        }
        if waiting + text.len() + terminator.len() > max {
            return Err(SendError::Full { waiting, max });
        }
        let pending = open(&mut slot.pending, &mut self.spare_pending, self.now);
        pending.outbox.reserve(text.len() + terminator.len());
        pending.outbox.push(text);
        pending.outbox.push(terminator);
        if let Some(tag) = tag {
            pending.awaited.push(Ticket { left: pending.outbox.len(), tag });
        }
        pending.commands += 1;
        let bytes = text.len() + terminator.len();
        self.pace(id, bytes);
        self.stats.commands_queued += 1;
        Ok(Queued { id, of })
    }

    /// Queues bytes for a local stream, whole or not at all: whether they fitted. Answers have a reserve of their own beside
    /// events.
    pub(in crate::gateway) fn write(&mut self, id: ConnectionId, bytes: &[u8], is_answer: bool) -> bool {
        let Some(slot) = self.slots.app_stream_mut(id).filter(|slot| !slot.closing) else { return false };
        let waiting = slot.pending.as_ref().map_or(0, |pending| pending.outbox.len());
        let (own, answers) = slot.pending.as_ref().map_or((0, 0), |pending| (pending.counted, pending.answers));
        let fits = waiting + bytes.len() <= slot.outbox_bytes_max;
        let fits = fits && self.memory.has_room_for_events(waiting, bytes.len(), own);
        let from_reserve = is_answer && !fits && self.memory.has_room_for_answer(bytes.len(), answers);
        if !fits && !from_reserve {
            return false;
        }
        if !bytes.is_empty() {
            let pending = open(&mut slot.pending, &mut self.spare_pending, self.now);
            if from_reserve {
                pending.answers += bytes.len();
                self.memory.answers_changed(answers, pending.answers);
                pending.outbox.reserve_exact(bytes.len());
            }
            pending.outbox.push(bytes);
            pending.open += bytes.len();
            let (before, after) = count(pending);
            self.memory.app_queue_changed(before, after);
            flush(&mut self.actions, id, pending);
        }
        true
    }

    /// Changes how many bytes may wait for a local stream.
    pub(in crate::gateway) fn set_outbox_max(&mut self, id: ConnectionId, outbox_bytes_max: usize) {
        if let Some(slot) = self.slots.app_stream_mut(id) {
            self.readers -= usize::from(slot.may_be_written_to());
            slot.outbox_bytes_max = outbox_bytes_max;
            self.readers += usize::from(slot.may_be_written_to());
        }
    }

    /// Closes a local stream, when what waits for it has been taken.
    pub(in crate::gateway) fn close_app_stream(&mut self, id: ConnectionId) {
        let Some(slot) = self.slots.app_stream_mut(id).filter(|slot| !slot.closing) else { return };
        slot.closing = true;
        if slot.pending.is_none() {
            self.actions.push_back(Action::Close(id, false));
        }
    }

    /// The kernel takes bytes of `id` again.
    pub(in crate::gateway) fn handle_writable(&mut self, id: ConnectionId) {
        let Some(Some(pending)) = self.slots.pending_mut(id) else { return };
        pending.blocked = false;
        flush(&mut self.actions, id, pending);
    }

    /// The kernel has taken the first `taken` of the bytes lent last. True when with them everything
    /// has gone of what had to wait.
    pub(in crate::gateway) fn handle_sent(&mut self, id: ConnectionId, taken: usize) -> bool {
        if self.slots.device(id).is_some() {
            self.stats.sent_bytes += taken as u64;
        }
        let lent = self.lent.take();
        let now = self.now;
        let Some(slot) = self.slots.pending_mut(id) else { return false };
        if let Some(Lent::Beat) = lent {
            self.stats.beats_sent += 1;
            if taken < self.beat.len() {
                let pending = open(slot, &mut self.spare_pending, now);
                let rest = &self.beat[taken..];
                pending.outbox.push_front(rest);
                pending.open += rest.len();
                pending.awaited.iter_mut().for_each(|ticket| ticket.left += rest.len());
                (pending.blocked, pending.was_blocked) = (true, true);
                let (before, after) = count(pending);
                self.memory.queue_changed(before, after);
            }
            return false;
        }
        let Some(pending) = slot else { return false };
        pending.outbox.advance(taken);
        pending.open -= taken;
        for ticket in &mut pending.awaited {
            ticket.left = ticket.left.saturating_sub(taken);
        }
        let sent = pending.awaited.iter().take_while(|ticket| ticket.left == 0).count();
        self.reports.extend(pending.awaited.drain(..sent).map(|ticket| (ticket.tag, Delivery::Sent)));
        if taken > 0 {
            pending.progress = now;
        }
        let answers = pending.answers.min(pending.outbox.len());
        self.memory.answers_changed(std::mem::replace(&mut pending.answers, answers), answers);
        let peer_took = taken > 0 && pending.was_blocked;
        pending.taken_since_beat |= peer_took;
        let (emptied, whole) = (pending.outbox.is_empty(), pending.open == 0);
        pending.was_blocked = !whole;
        pending.blocked |= !whole;
        if let (true, Some(device)) = (peer_took, self.slots.device_mut(id)) {
            device.connection.peer_took_bytes(&self.rules);
        }
        if emptied {
            self.release_queue(id);
        }
        if whole && self.slots.device(id).is_some() {
            self.message_sent(id);
        }
        emptied
    }

    /// Everything has been taken that waited for a stream: gives the queue back, and closes a stream that waited for that.
    fn release_queue(&mut self, id: ConnectionId) {
        let mut done = self.slots.pending_mut(id).and_then(Option::take);
        if let Some(pending) = &mut done {
            self.stats.commands_sent += u64::from(std::mem::take(&mut pending.commands));
        }
        let counted = done.as_mut().map_or(0, |pending| std::mem::take(&mut pending.counted));
        // A large buffer is not kept for the next use.
        self.spare_pending = done.filter(|pending| held(pending) <= self.memory.stub_bytes());
        let closing = match self.slots.get_mut(id) {
            Some(Slot::Device(device)) => {
                self.memory.queue_changed(counted, 0);
                device.is_closing()
            }
            Some(Slot::Stream(local)) => {
                self.memory.app_queue_changed(counted, 0);
                local.closing
            }
            _ => false,
        };
        if closing {
            self.actions.push_back(Action::Close(id, false));
        }
    }

    pub(in crate::gateway) fn answer(&mut self, socket: ListenerId, to: SocketAddr, via: PacketInfo) {
        self.answer = Some((socket, to, via));
    }

    /// Whether [`Self::poll_output`] has something to give.
    pub(in crate::gateway) fn has_output(&self) -> bool {
        self.answer.is_some() || !self.actions.is_empty()
    }

    pub(in crate::gateway) fn poll_output(&mut self) -> Option<Output<'_>> {
        if let Some((socket, to, via)) = self.answer.take() {
            return Some(Output::SendTo { socket, to, via, bytes: &self.settings.discovery.reply });
        }
        let id = loop {
            let Some(op) = self.actions.pop_front() else {
                self.actions.shrink_to(OPS_KEPT);
                return None;
            };
            match op {
                Action::Close(id, abort) => return Some(Output::Close { id, abort }),
                Action::Read(id) => return Some(Output::Read { id }),
                Action::Beat(id) => {
                    let pending = self.slots.pending_mut(id);
                    if pending.is_some_and(|pending| pending.as_ref().is_none_or(|pending| pending.open == 0)) {
                        self.lent = Some(Lent::Beat);
                        return Some(Output::Send { id, bytes: &self.beat });
                    }
                    self.stats.beats_withheld += 1;
                    if let Some(slot) = self.slots.device_mut(id) {
                        slot.connection.forget_beats();
                    }
                }
                Action::Flush(id) => {
                    if let Some(Some(pending)) = self.slots.pending_mut(id) {
                        pending.queued = false;
                        if !pending.blocked && pending.open > 0 {
                            break id;
                        }
                    }
                }
            }
        };
        self.lent = Some(Lent::Outbox);
        let pending = self.slots.pending_mut(id)?.as_ref()?;
        Some(Output::Send { id, bytes: &pending.outbox.waiting()[..pending.open] })
    }
}

/// Operations whose room is kept between calls.
const OPS_KEPT: usize = 1024;

/// Whether `part`, which is more than nothing, stands anywhere in `text`.
fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

/// The stream's [`SendQueue`], taken from the spare one where there is none yet.
pub(super) fn open<'a>(
    slot: &'a mut Option<Box<SendQueue>>,
    spare: &mut Option<Box<SendQueue>>,
    now: Tick,
) -> &'a mut SendQueue {
    slot.get_or_insert_with(|| {
        let mut pending = spare.take().unwrap_or_default();
        (pending.progress, pending.close_at) = (now, None);
        (pending.was_blocked, pending.taken_since_beat) = (false, false);
        pending
    })
}

/// What an outbox holds, for the memory budget: before, and now.
pub(super) fn count(pending: &mut SendQueue) -> (usize, usize) {
    let held = held(pending);
    (std::mem::replace(&mut pending.counted, held), held)
}

/// Bytes of what waits, and of what is known of it.
pub(super) fn held(pending: &SendQueue) -> usize {
    let notes = pending.awaited.capacity() * size_of::<Ticket>() + pending.messages.capacity() * size_of::<u32>();
    pending.outbox.capacity() + notes
}

/// Asks for what waits to be offered to the kernel, unless that is asked for or of no use.
pub(super) fn flush(actions: &mut VecDeque<Action>, id: ConnectionId, pending: &mut SendQueue) {
    if !pending.blocked && !std::mem::replace(&mut pending.queued, true) {
        actions.push_back(Action::Flush(id));
    }
}
