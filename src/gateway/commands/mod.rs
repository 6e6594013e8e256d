//! Commands with a reported end: queued for a name, sent, answered, or lost. Layer 2.
//!
//! A command is *out* from [`Core::submit`] until its one end. It waits for its name, then in the send queue of a device,
//! then for its answer. A deadline may end it in each of these states.

mod matching;
mod report;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::core::Core;
use super::handler::{CloseReason, Delivery};
use super::settings::timeout;
use super::slots::Tag;
use super::{Name, SendError, Target};
use crate::endpoint::ConnectionId;
use crate::proto::Message;
use crate::tick::Tick;

pub use matching::{Match, MatchError};
pub use report::{Command, CommandEnd, CommandReport, Submitted};

/// Commands that may be out at one time.
const COMMANDS_MAX: usize = 4_096;
/// The longest time that a command waits for its name or its answer.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The cost of a command beside its texts: its entry, and its places in the lists.
const EXTRA_BYTES: usize = size_of::<Out>() + 64;

/// The commands that are out.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// In the order of their numbers.
    out: Vec<(u64, Box<Out>)>,
    last: u64,
    /// Slots and numbers of the commands that the kernel has taken and that await an answer, in order.
    awaiting: Vec<(u32, u64)>,
    /// Deadlines and numbers, in order.
    deadlines: Vec<(u32, u64)>,
    /// Ended commands that the application does not know yet.
    ended: VecDeque<Ended>,
    bytes: usize,
}

/// A command that is out.
#[derive(Debug)]
struct Out {
    /// The text, while the command waits for its name.
    text: Option<Box<[u8]>>,
    name: Option<Name>,
    device: Option<(ConnectionId, SocketAddr)>,
    /// The answer that the sender awaits, and for how many ticks.
    answer: Option<(Match, u32)>,
    deadline: Option<Tick>,
    bytes: usize,
}

/// A command that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) command: u64,
    pub(super) name: Option<Name>,
    pub(super) device: Option<(ConnectionId, SocketAddr)>,
    pub(super) end: CommandEnd,
}

impl Commands {
    /// Bytes that the commands hold.
    pub(super) fn held(&self) -> usize {
        self.bytes
    }

    /// How many commands wait for a name that is not connected.
    pub(super) fn waiting(&self) -> usize {
        self.out.iter().filter(|(_, out)| out.text.is_some()).count()
    }

    /// How many commands await an answer.
    pub(super) fn awaiting(&self) -> usize {
        self.awaiting.len()
    }

    /// The next deadline of a command.
    pub(super) fn next_deadline(&self) -> Option<Tick> {
        self.deadlines.first().map(|&(tick, _)| Tick::new(tick))
    }

    /// Whether the application has yet to hear of a command's end.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    fn add(&mut self, out: Out) -> u64 {
        self.last += 1;
        let command = self.last;
        if let Some(deadline) = out.deadline {
            insert(&mut self.deadlines, (deadline.get(), command));
        }
        self.bytes += out.bytes;
        self.out.push((command, Box::new(out)));
        command
    }

    fn place(&self, command: u64) -> Option<usize> {
        self.out.binary_search_by_key(&command, |(number, _)| *number).ok()
    }

    fn get_mut(&mut self, command: u64) -> Option<&mut Out> {
        let at = self.place(command)?;
        Some(&mut self.out[at].1)
    }

    fn set_deadline(&mut self, command: u64, deadline: Option<Tick>) {
        let Some(out) = self.get_mut(command) else { return };
        let old = std::mem::replace(&mut out.deadline, deadline);
        if let Some(old) = old {
            remove(&mut self.deadlines, (old.get(), command));
        }
        if let Some(deadline) = deadline {
            insert(&mut self.deadlines, (deadline.get(), command));
        }
    }

    /// Takes a command that has ended out of all lists.
    fn take(&mut self, command: u64) -> Option<Box<Out>> {
        self.set_deadline(command, None);
        let at = self.place(command)?;
        let (_, out) = self.out.remove(at);
        if let Some((id, _)) = out.device {
            remove(&mut self.awaiting, (id.index() as u32, command));
        }
        self.bytes -= out.bytes;
        if self.out.is_empty() {
            (self.out, self.awaiting, self.deadlines) = Default::default();
        }
        Some(out)
    }

    fn end(&mut self, command: u64, end: CommandEnd) {
        if let Some(out) = self.take(command) {
            self.ended.push_back(Ended { command, name: out.name, device: out.device, end });
        }
    }

    /// The next command whose end the application has not heard.
    pub(super) fn next_ended(&mut self) -> Option<Ended> {
        let ended = self.ended.pop_front();
        if self.ended.is_empty() {
            self.ended.shrink_to(ENDED_KEPT);
        }
        ended
    }

    /// Panics if the lists contradict each other: for tests.
    pub(super) fn check_invariants(&self) {
        assert!(self.out.is_sorted_by_key(|(command, _)| *command), "commands are out of order");
        assert!(self.awaiting.is_sorted() && self.deadlines.is_sorted(), "lists of commands are out of order");
        let bytes: usize = self.out.iter().map(|(_, out)| out.bytes).sum();
        assert_eq!(bytes, self.bytes, "bytes of commands are counted");
        for &(slot, command) in &self.awaiting {
            let at = self.place(command).expect("a command that awaits an answer is out");
            let out = &self.out[at].1;
            assert_eq!(
                out.device.map(|(id, _)| id.index() as u32),
                Some(slot),
                "command {command} awaits another device"
            );
            assert!(out.answer.is_some() && out.text.is_none(), "command {command} awaits nothing");
        }
        let deadlines = self.out.iter().filter(|(_, out)| out.deadline.is_some()).count();
        assert_eq!(deadlines, self.deadlines.len(), "a command has no deadline, or two");
        let endless =
            |(_, out): &(u64, Box<Out>)| out.deadline.is_none() && (out.text.is_some() || out.answer.is_some());
        assert!(!self.out.iter().any(endless), "a command can wait for ever");
    }
}

/// Ends whose room is kept between calls.
const ENDED_KEPT: usize = 64;

fn insert(list: &mut Vec<(u32, u64)>, entry: (u32, u64)) {
    if let Err(at) = list.binary_search(&entry) {
        list.insert(at, entry);
    }
}

fn remove(list: &mut Vec<(u32, u64)>, entry: (u32, u64)) {
    if let Ok(at) = list.binary_search(&entry) {
        list.remove(at);
    }
}

impl Core {
    /// Sends a command, or lets it wait for its name. Its end is reported once.
    pub(super) fn submit(&mut self, target: Target, command: &Command<'_>) -> Result<Submitted, SendError> {
        let submitted = self.try_submit(target, command);
        if let Err(refused) = &submitted {
            self.count_refused(refused);
        }
        self.charge_names();
        submitted
    }

    fn try_submit(&mut self, target: Target, command: &Command<'_>) -> Result<Submitted, SendError> {
        if self.commands.out.len() >= COMMANDS_MAX {
            return Err(SendError::TooMany);
        }
        let wait = |duration: Duration| timeout(duration.min(WAIT_MAX));
        let answer = command.answer.as_ref().map(|(answer, duration)| (answer.clone(), wait(*duration)));
        let bytes = EXTRA_BYTES + answer.as_ref().map_or(0, |(answer, _)| answer.held());
        let tag = Tag::Command(self.commands.last + 1);
        match (self.queue(target, command.text, Some(tag)), target, command.queue_for) {
            (Ok(queued), _, _) => {
                let deadline = answer.as_ref().map(|(_, ticks)| self.now.after(*ticks));
                let address = self.slots.device(queued.id).map(|slot| (queued.id, slot.address()));
                let name = self.registry.name_of(queued.id.index() as u32);
                let out = Out { text: None, name, device: address, answer, deadline, bytes };
                Ok(Submitted { command: self.commands.add(out), queued: Some(queued) })
            }
            (Err(SendError::NoSuchDevice), Target::Name(name), Some(duration)) if self.stop_deadline.is_none() => {
                self.check_waiting(&name, command.text)?;
                let bytes = bytes + command.text.len();
                let deadline = Some(self.now.after(wait(duration)));
                let text = Some(command.text.into());
                let out = Out { text, name: Some(name), device: None, answer, deadline, bytes };
                Ok(Submitted { command: self.commands.add(out), queued: None })
            }
            (Err(error), _, _) => Err(error),
        }
    }

    /// Whether a command may wait for a name.
    fn check_waiting(&self, name: &Name, text: &[u8]) -> Result<(), SendError> {
        self.check_text(text)?;
        let waiting = self.commands.out.iter().filter(|(_, out)| out.name == Some(*name));
        let waiting: usize = waiting.filter_map(|(_, out)| out.text.as_ref()).map(|text| text.len()).sum();
        let max = self.settings.identity.queued_bytes_max;
        if waiting + text.len() > max {
            return Err(SendError::QueueFull { waiting, max });
        }
        if self.memory.is_full() { Err(SendError::Memory) } else { Ok(()) }
    }

    /// The name is connected: sends the commands that wait for it, in order.
    pub(super) fn send_waiting(&mut self, id: ConnectionId, name: &Name) {
        let waits =
            |(command, out): &(u64, Box<Out>)| (out.text.is_some() && out.name == Some(*name)).then_some(*command);
        let waiting: Vec<_> = self.commands.out.iter().filter_map(waits).collect();
        for command in waiting {
            let Some(out) = self.commands.get_mut(command) else { continue };
            let Some(text) = out.text.take() else { continue };
            let ticks = out.answer.as_ref().map(|(_, ticks)| *ticks);
            let freed = text.len();
            out.bytes -= freed;
            self.commands.bytes -= freed;
            self.commands.set_deadline(command, ticks.map(|ticks| self.now.after(ticks)));
            match self.queue(Target::Id(id), &text, Some(Tag::Command(command))) {
                Ok(_) => {
                    let address = self.slots.device(id).map(|slot| (id, slot.address()));
                    self.commands.get_mut(command).into_iter().for_each(|out| out.device = address);
                }
                Err(error) => {
                    self.count_refused(&error);
                    self.commands.end(command, CommandEnd::Refused(error));
                }
            }
        }
    }

    /// The kernel has taken a command, or never will.
    pub(super) fn command_delivered(&mut self, command: u64, delivery: Delivery) {
        let Some(out) = self.commands.get_mut(command) else { return };
        let (device, awaits) = (out.device, out.answer.is_some());
        match (delivery, device) {
            (Delivery::Lost(reason), _) => self.commands.end(command, CommandEnd::Lost(reason)),
            (Delivery::Sent, Some((id, _))) if awaits => match self.close_reason(id) {
                Some(reason) => self.commands.end(command, CommandEnd::Lost(reason)),
                None => insert(&mut self.commands.awaiting, (id.index() as u32, command)),
            },
            (Delivery::Sent, _) => self.commands.end(command, CommandEnd::Sent),
        }
    }

    /// The connection sends no more: the commands that await an answer of it are lost.
    pub(super) fn lose_answers(&mut self, id: ConnectionId, reason: CloseReason) {
        let slot = id.index() as u32;
        while let Some(command) = self.commands.first_awaiting(slot, 0) {
            self.commands.end(command, CommandEnd::Lost(reason));
        }
    }

    /// Returns the first command whose match fits the object, and ends it.
    pub(super) fn answered(&mut self, id: ConnectionId, message: &Message<'_>) -> Option<Ended> {
        if self.commands.awaiting.is_empty() {
            return None;
        }
        let slot = id.index() as u32;
        let mut next = 0;
        while let Some(command) = self.commands.first_awaiting(slot, next) {
            let out = self.commands.get_mut(command)?;
            if out.answer.as_ref().is_some_and(|(answer, _)| answer.fits(message)) {
                let out = self.commands.take(command)?;
                self.charge_names();
                return Some(Ended { command, name: out.name, device: out.device, end: CommandEnd::Answered });
            }
            next = command + 1;
        }
        None
    }

    /// Ends the commands whose deadline is over.
    pub(super) fn expire_commands(&mut self) {
        while let Some(&(deadline, command)) = self.commands.deadlines.first()
            && Tick::new(deadline) <= self.now
        {
            let waits = self.commands.get_mut(command).is_some_and(|out| out.text.is_some());
            self.commands.end(command, if waits { CommandEnd::Expired } else { CommandEnd::Timeout });
        }
    }

    /// The gateway stops: commands that wait for a name are lost.
    pub(super) fn lose_waiting(&mut self) {
        let waits = |(command, out): &(u64, Box<Out>)| out.text.is_some().then_some(*command);
        let waiting: Vec<_> = self.commands.out.iter().filter_map(waits).collect();
        for command in waiting {
            self.commands.end(command, CommandEnd::Lost(CloseReason::Shutdown));
        }
    }
}

impl Commands {
    /// The first command from number `from` on that awaits an answer of the device in `slot`.
    fn first_awaiting(&self, slot: u32, from: u64) -> Option<u64> {
        let at = self.awaiting.partition_point(|entry| *entry < (slot, from));
        self.awaiting.get(at).filter(|(other, _)| *other == slot).map(|&(_, command)| command)
    }
}
