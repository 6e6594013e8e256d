//! P6: a name is on one connection at most. P7: each command from `submit` has exactly one end, and it is true.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::action::{By, Submit};
use super::common::{Seen, TICK};
use super::world::{SECOND, World};
use pulsegate::{Command, CommandEnd, ConnectionId, Match, Name, SendError, Target};

/// The model of names and of commands that are out.
#[derive(Default)]
pub(super) struct Named {
    owners: HashMap<Name, ConnectionId>,
    pub(super) out: HashMap<u64, Out>,
    /// The last object that the application saw, and its device.
    pub(super) last_shown: Option<(usize, Vec<u8>)>,
}

/// A command that has no end yet.
#[derive(Debug)]
pub(super) struct Out {
    name: Option<Name>,
    /// The text, while it waits for its name.
    waiting: Option<Vec<u8>>,
    /// The device, and where the command ends among the device's commands.
    sent_to: Option<(usize, usize)>,
    answer: Option<Duration>,
    queue: Option<Duration>,
    since: Instant,
}

pub(super) fn name(number: usize) -> Name {
    Name::new(&format!("n{number}")).expect("a name")
}

/// The commands that the gateway refused when their name connected.
pub(super) fn refused_commands(log: &[(Instant, Seen)]) -> HashSet<u64> {
    let refused = |seen: &Seen| match seen {
        Seen::Command(command, CommandEnd::Refused(_), _) => Some(*command),
        _ => None,
    };
    log.iter().filter_map(|(_, seen)| refused(seen)).collect()
}

impl Named {
    /// A connection has ended.
    pub(super) fn gone(&mut self, id: ConnectionId) {
        self.owners.retain(|_, owner| *owner != id);
    }
}

impl World {
    pub(super) fn submit(&mut self, link: usize, submit: &Submit) {
        let name = self.devices[link].claimed.filter(|_| submit.by_name);
        let target = name.map_or_else(|| self.target(link, By::Id), Target::Name);
        let text = self.command_text(submit.bytes);
        let (answer, queue) = (submit.answer_ms, submit.queue_ms);
        let [answer, queue] = [answer, queue].map(|ms| ms.map(Duration::from_millis));
        let mut command = Command::new(&text);
        if let Some(timeout) = answer {
            command = command.answer(Match::next(), timeout);
        }
        if let Some(duration) = queue {
            command = command.queue_for(duration);
        }
        let owner = name.map(|name| self.named.owners.get(&name).copied());
        let since = self.network.now;
        match self.network.submit(target, &command) {
            Ok(submitted) => {
                let mut out = Out { name, waiting: None, sent_to: None, answer, queue, since };
                match submitted.queued {
                    Some(queued) => {
                        assert!(owner.is_none_or(|owner| owner == Some(queued.id)), "{name:?} is another connection");
                        out.sent_to = Some(self.queued_for(self.ids[&queued.id], &text));
                    }
                    None => {
                        assert!(owner.is_some() && queue.is_some() && !self.stopped, "a command waits for no name");
                        out.waiting = Some(text);
                    }
                }
                assert!(self.named.out.insert(submitted.command, out).is_none(), "two commands have one number");
            }
            Err(SendError::NoSuchDevice) => {
                let waits = name.is_some() && queue.is_some() && !self.stopped;
                assert!(!waits, "a command may wait for {name:?} and does not");
            }
            Err(SendError::Memory) => assert!(self.stage.tight),
            Err(SendError::Full { .. } | SendError::QueueFull { .. } | SendError::TooMany) => {}
            Err(error) => panic!("device {link}: {error}"),
        }
    }

    fn queued_for(&mut self, link: usize, text: &[u8]) -> (usize, usize) {
        self.devices[link].queued.extend_from_slice(text);
        (link, self.devices[link].queued.len())
    }

    pub(super) fn identified(&mut self, id: ConnectionId, name: Name, refused: &HashSet<u64>) {
        let link = self.ids[&id];
        assert_eq!(self.devices[link].claimed.map(|_| ()), Some(()), "device {link} has claimed no name");
        if let Some(old) = self.named.owners.insert(name, id) {
            assert_ne!(old, id, "{id} gets its name twice");
            self.devices[self.ids[&old]].replaced = true;
        }
        let waits = |(_, out): &(&u64, &Out)| out.waiting.is_some() && out.name == Some(name);
        let mut waiting: Vec<_> = self.named.out.iter().filter(waits).map(|(command, _)| *command).collect();
        waiting.sort_unstable();
        for command in waiting {
            let out = self.named.out.get_mut(&command).expect("it is out");
            out.since = self.network.now;
            let text = out.waiting.take().unwrap_or_default();
            if !refused.contains(&command) {
                let sent_to = Some(self.queued_for(link, &text));
                self.named.out.get_mut(&command).into_iter().for_each(|out| out.sent_to = sent_to);
            }
        }
    }

    pub(super) fn command_ended(&mut self, command: u64, end: CommandEnd, answer: Option<&[u8]>) {
        let out = self.named.out.remove(&command);
        let out = out.unwrap_or_else(|| panic!("command {command} has two ends, the second is {end:?}"));
        let age = self.network.now - out.since;
        let late = TICK * 3 + self.jumped_since(out.since);
        let is_in_time = |limit: Option<Duration>| limit.is_some_and(|limit| (limit..=limit + late).contains(&age));
        let fair = match end {
            CommandEnd::Sent => {
                let taken = |(link, end): (usize, usize)| end as u64 <= self.network.links[link].text_taken;
                out.answer.is_none() && out.sent_to.is_some_and(taken)
            }
            CommandEnd::Answered => {
                let last = self.named.last_shown.as_ref();
                let is_last = last.is_some_and(|(link, object)| {
                    answer == Some(object) && out.sent_to.is_some_and(|(to, _)| to == *link)
                });
                out.answer.is_some() && is_last
            }
            CommandEnd::Timeout => out.sent_to.is_some() && is_in_time(out.answer),
            CommandEnd::Expired => out.waiting.is_some() && is_in_time(out.queue),
            CommandEnd::Lost(_) => out.sent_to.is_some() || self.stopped,
            CommandEnd::Refused(_) => out.sent_to.is_none() && out.waiting.is_none(),
            _ => false,
        };
        assert!(fair, "command {command} ended unfairly after {age:?}: {end:?}, {out:?}");
    }

    fn jumped_since(&self, then: Instant) -> Duration {
        let jumps = self.jumps.iter().filter(|(at, _)| *at >= then);
        jumps.map(|(_, duration)| *duration + SECOND).sum()
    }

    pub(super) fn audit_names(&mut self) {
        let now = self.network.now;
        let context = self.network.gateway.parts(now).1;
        let mut names = HashSet::new();
        for device in context.devices() {
            if let Some(name) = device.name() {
                assert!(names.insert(*name), "{name} is on two connections");
                assert_eq!(self.named.owners.get(name), Some(&device.id()), "{name} is on another connection");
            }
        }
        let missing: Vec<_> = context.missing().map(|gone| gone.name.to_owned()).collect();
        assert!(missing.len() <= self.settings.identity.remembered_max, "{} names are remembered", missing.len());
        let connected = missing.iter().find(|gone| names.iter().any(|name| name.as_str() == *gone));
        assert_eq!(connected, None, "a connected device is missing");
    }

    /// Whether an address may have so few connections that newcomers are let in on trial.
    pub(super) fn has_few_places(&self) -> bool {
        self.settings.access.connections_per_ip_max < 100 && !self.settings.identity.member.is_empty()
    }
}
