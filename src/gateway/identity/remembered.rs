//! The names that have gone, so that the gateway can say who is missing. Layer 2.

use std::collections::VecDeque;

use crate::gateway::CloseReason;
use crate::tick::Tick;

/// The last names that have gone, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    gone: VecDeque<Gone>,
    bytes: usize,
}

#[derive(Debug)]
struct Gone {
    name: Box<str>,
    since: Tick,
    /// The place of the close reason among [`CloseReason::WORDS`].
    reason: u8,
}

/// The cost of a remembered name beside its text.
const EXTRA_BYTES: usize = size_of::<Gone>() + 16;

impl Remembered {
    pub(super) fn held(&self) -> usize {
        self.bytes
    }

    /// Remembers a name, in place of the oldest where `max` are remembered.
    pub(super) fn add(&mut self, name: &str, reason: &CloseReason, now: Tick, max: usize) {
        self.forget(name);
        if max == 0 {
            return;
        }
        self.limit(max - 1);
        self.bytes += name.len() + EXTRA_BYTES;
        self.gone.push_back(Gone { name: name.into(), since: now, reason: reason.index() as u8 });
    }

    /// The name is connected, or of no interest.
    pub(super) fn forget(&mut self, name: &str) {
        let found = self.gone.iter().position(|gone| *gone.name == *name);
        found.and_then(|at| self.gone.remove(at)).into_iter().for_each(|gone| self.bytes -= cost(&gone));
    }

    /// Forgets the oldest names until at most `max` are left.
    pub(super) fn limit(&mut self, max: usize) {
        while self.gone.len() > max {
            self.gone.pop_front().into_iter().for_each(|gone| self.bytes -= cost(&gone));
        }
        if self.gone.capacity() > 4 * self.gone.len() + 64 {
            self.gone.shrink_to_fit();
        }
    }

    /// Names with when and why they have gone.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Tick, &'static str)> {
        self.gone.iter().map(|gone| (&*gone.name, gone.since, CloseReason::WORDS[usize::from(gone.reason)]))
    }
}

fn cost(gone: &Gone) -> usize {
    gone.name.len() + EXTRA_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_names_make_room_for_newer_ones() {
        let mut remembered = Remembered::default();
        for (tick, name) in ["a", "b", "a", "c"].iter().enumerate() {
            remembered.add(name, &CloseReason::Silent, Tick::new(tick as u32), 2);
        }
        let names: Vec<_> = remembered.iter().collect();
        assert_eq!(names, [("a", Tick::new(2), "silent"), ("c", Tick::new(3), "silent")]);
        remembered.forget("a");
        remembered.add("d", &CloseReason::Closed, Tick::new(9), 0);
        assert_eq!(remembered.iter().map(|(name, ..)| name).collect::<Vec<_>>(), ["c"]);
        remembered.limit(0);
        assert_eq!(remembered.held(), 0);
    }
}
