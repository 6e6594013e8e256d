//! Missing names: the gateway lists the named devices that are gone. Layer 2.

use std::collections::VecDeque;

use crate::gateway::CloseReason;
use crate::tick::Tick;

/// The latest missing names, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    gone: VecDeque<Gone>,
    bytes: usize,
    /// Names so far.
    last: u64,
}

#[derive(Debug)]
struct Gone {
    name: Box<str>,
    since: Tick,
    /// Orders the names.
    number: u64,
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
        self.last += 1;
        let (number, reason) = (self.last, reason.index() as u8);
        self.gone.push_back(Gone { name: name.into(), since: now, number, reason });
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

    /// The names behind number `last`, each with its number, the time of its end and the reason.
    pub(super) fn after(&self, last: u64) -> impl Iterator<Item = (u64, &str, Tick, &'static str)> {
        let from = self.gone.partition_point(|gone| gone.number <= last);
        let word = |gone: &Gone| CloseReason::WORDS[usize::from(gone.reason)];
        self.gone.range(from..).map(move |gone| (gone.number, &*gone.name, gone.since, word(gone)))
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
        let names: Vec<_> = remembered.after(0).collect();
        assert_eq!(names, [(3, "a", Tick::new(2), "silent"), (4, "c", Tick::new(3), "silent")]);
        assert_eq!(remembered.after(3).count(), 1);
        remembered.forget("a");
        remembered.add("d", &CloseReason::Closed, Tick::new(9), 0);
        assert_eq!(remembered.after(0).map(|(_, name, ..)| name).collect::<Vec<_>>(), ["c"]);
        remembered.limit(0);
        assert_eq!(remembered.held(), 0);
    }
}
