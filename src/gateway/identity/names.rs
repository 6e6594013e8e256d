//! Which connection has which name: a hash table by name and by slot over one list of entries. Layer 2.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::name::Name;
use super::texts::Texts;
use crate::tick::Tick;

/// The names of connections. A name belongs to one slot, and a slot has at most one name.
#[derive(Debug, Default)]
pub(super) struct Names {
    entries: Vec<Entry>,
    /// The first free entry. Free entries are linked by `next_name`.
    free: Option<u32>,
    len: usize,
    texts: Texts,
    text_bytes: usize,
    /// The first entry of each chain. The number of chains is a power of two.
    by_name: Vec<u32>,
    by_slot: Vec<u32>,
    /// Keyed, so that no device can choose names that fall together.
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    slot: u32,
    next_name: u32,
    next_slot: u32,
    /// The place of the name among the texts.
    text: u32,
    /// When the minute began in which `takeovers` are counted.
    since: Tick,
    takeovers: u16,
    len: u8,
}

/// Bytes for a name beside its text: its entry, its part of both tables, and the rest of its last cell.
pub(super) const NAME_EXTRA_BYTES: usize = 48;
const _: () = assert!(size_of::<Entry>() + CHAIN_BYTES_MAX + 15 <= NAME_EXTRA_BYTES);
/// With one chain or more for every second entry, and at most one for each.
const CHAIN_BYTES_MAX: usize = 2 * size_of::<u32>();
/// Entries in a chain on average, before there are more chains.
const CHAIN: usize = 2;
const NONE: u32 = u32::MAX;
/// A minute in ticks.
const MINUTE: u32 = 600;

/// The meaning of another claim to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A device is back.
    Takeover,
    /// Two devices have the name. This is the first sign of it.
    Conflict,
    /// They have shown it within the last minute.
    KnownConflict,
}

impl Names {
    /// Bytes that the names hold.
    pub(super) fn held(&self) -> usize {
        self.text_bytes + self.len * NAME_EXTRA_BYTES
    }

    /// The slot that has this name.
    pub(super) fn slot_of(&self, name: &str) -> Option<u32> {
        self.entry_of(name).map(|at| self.entries[at as usize].slot)
    }

    /// The name of a slot.
    pub(super) fn name_of(&self, slot: u32) -> Option<&str> {
        let mut at = *self.by_slot.get(self.slot_chain(slot))?;
        while at != NONE {
            let entry = &self.entries[at as usize];
            if entry.slot == slot {
                return Some(self.texts.get(entry.text, entry.len.into()));
            }
            at = entry.next_slot;
        }
        None
    }

    /// All slots that have a name.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        let some = |at: u32| (at != NONE).then_some(at);
        let chain =
            move |first: u32| std::iter::successors(some(first), move |at| some(self.entries[*at as usize].next_name));
        self.by_name.iter().flat_map(move |first| chain(*first)).map(|at| self.entries[at as usize].slot)
    }

    /// Gives a name that no slot has to a slot that has none.
    pub(super) fn insert(&mut self, slot: u32, name: &Name) {
        if self.len == self.by_name.len() * CHAIN {
            self.grow();
        }
        let text = self.texts.insert(name);
        let (next_name, next_slot) = (NONE, NONE);
        let entry =
            Entry { slot, next_name, next_slot, text, since: Tick::default(), takeovers: 0, len: name.len() as u8 };
        let at = match self.free {
            Some(at) => {
                let next = self.entries[at as usize].next_name;
                self.free = (next != NONE).then_some(next);
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        self.len += 1;
        self.text_bytes += name.len();
        self.link_name(at);
        self.link_slot(at);
    }

    /// Gives a name to another slot, which has none.
    pub(super) fn reassign(&mut self, name: &str, slot: u32) {
        let Some(at) = self.entry_of(name) else { return };
        self.unlink_slot(at);
        self.entries[at as usize].slot = slot;
        self.link_slot(at);
    }

    /// Takes the name of a slot away.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Name> {
        let name = Name::new(self.name_of(slot)?)?;
        let at = self.entry_of(&name)?;
        self.unlink_slot(at);
        self.unlink_name(at, &name);
        let Entry { text, len, .. } = self.entries[at as usize];
        self.texts.remove(text, len.into());
        self.entries[at as usize].next_name = self.free.unwrap_or(NONE);
        self.free = Some(at);
        self.len -= 1;
        self.text_bytes -= name.len();
        if self.len == 0 {
            *self = Self { hasher: self.hasher.clone(), ..Self::default() };
        }
        Some(name)
    }

    /// Another connection claims `name`: counts that, and says whether one device is back or two devices have the name.
    pub(super) fn claimed_again(&mut self, name: &str, max: u32, now: Tick) -> Verdict {
        let Some(at) = self.entry_of(name) else { return Verdict::Takeover };
        let entry = &mut self.entries[at as usize];
        if entry.takeovers == 0 || now.since(entry.since) >= MINUTE {
            (entry.since, entry.takeovers) = (now, 0);
        }
        let before = u32::from(entry.takeovers);
        if before > max {
            return Verdict::KnownConflict;
        }
        entry.takeovers += 1;
        if before < max {
            return Verdict::Takeover;
        }
        entry.since = now;
        Verdict::Conflict
    }

    fn entry_of(&self, name: &str) -> Option<u32> {
        let mut at = *self.by_name.get(self.name_chain(name))?;
        while at != NONE {
            let entry = &self.entries[at as usize];
            if self.texts.get(entry.text, entry.len.into()) == name {
                return Some(at);
            }
            at = entry.next_name;
        }
        None
    }

    fn name_chain(&self, name: &str) -> usize {
        self.hasher.hash_one(name) as usize & self.by_name.len().wrapping_sub(1)
    }

    /// Slots are numbered without gaps, so that their numbers spread by themselves.
    fn slot_chain(&self, slot: u32) -> usize {
        slot as usize & self.by_slot.len().wrapping_sub(1)
    }

    fn link_name(&mut self, at: u32) {
        let Entry { text, len, .. } = self.entries[at as usize];
        let chain = self.name_chain(self.texts.get(text, len.into()));
        self.entries[at as usize].next_name = std::mem::replace(&mut self.by_name[chain], at);
    }

    fn link_slot(&mut self, at: u32) {
        let chain = self.slot_chain(self.entries[at as usize].slot);
        self.entries[at as usize].next_slot = std::mem::replace(&mut self.by_slot[chain], at);
    }

    fn unlink_name(&mut self, at: u32, name: &str) {
        let chain = self.name_chain(name);
        let next = self.entries[at as usize].next_name;
        let mut before = self.by_name[chain];
        if before == at {
            self.by_name[chain] = next;
            return;
        }
        while self.entries[before as usize].next_name != at {
            before = self.entries[before as usize].next_name;
        }
        self.entries[before as usize].next_name = next;
    }

    fn unlink_slot(&mut self, at: u32) {
        let chain = self.slot_chain(self.entries[at as usize].slot);
        let next = self.entries[at as usize].next_slot;
        let mut before = self.by_slot[chain];
        if before == at {
            self.by_slot[chain] = next;
            return;
        }
        while self.entries[before as usize].next_slot != at {
            before = self.entries[before as usize].next_slot;
        }
        self.entries[before as usize].next_slot = next;
    }

    /// Doubles the number of chains. No entry is free then.
    fn grow(&mut self) {
        let chains = (self.by_name.len() * 2).max(4);
        self.by_name = vec![NONE; chains];
        self.by_slot = vec![NONE; chains];
        for at in 0..self.entries.len() as u32 {
            self.link_name(at);
            self.link_slot(at);
        }
    }

    /// Panics if the tables contradict each other: for tests.
    pub(super) fn check_invariants(&self) {
        let slots: Vec<_> = self.slots().collect();
        assert_eq!(slots.len(), self.len, "names are counted");
        let mut bytes = 0;
        for slot in slots {
            let name = self.name_of(slot).expect("a slot of the table has a name");
            assert_eq!(self.slot_of(name), Some(slot), "{name:?} is on two connections");
            bytes += name.len();
        }
        assert_eq!(bytes, self.text_bytes, "bytes of names are counted");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::proto::testing::Rng;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    /// Against two maps of the standard library.
    #[test]
    fn a_name_is_found_by_slot_and_a_slot_by_name() {
        let mut rng = Rng(7);
        let mut names = Names::default();
        let (mut by_slot, mut by_name) = (BTreeMap::new(), BTreeMap::new());
        for round in 0..30_000 {
            let (slot, text) = (rng.below(300) as u32, format!("{}{}", "x".repeat(rng.below(100)), rng.below(3)));
            let flood = round / 3_000 % 2 == 0;
            match (by_slot.contains_key(&slot), by_name.get(&text).copied()) {
                (false, None) if flood => {
                    names.insert(slot, &name(&text));
                    by_slot.insert(slot, text.clone());
                    by_name.insert(text, slot);
                }
                (false, Some(owner)) => {
                    names.reassign(&text, slot);
                    by_slot.remove(&owner);
                    by_slot.insert(slot, text.clone());
                    by_name.insert(text, slot);
                }
                (is_named, _) if is_named != flood => {
                    assert_eq!(names.remove(slot).as_deref(), by_slot.get(&slot).map(String::as_str));
                    by_slot.remove(&slot).into_iter().for_each(|text| _ = by_name.remove(&text));
                }
                (_, owner) => assert_eq!(names.slot_of(&text), owner),
            }
            assert_eq!(names.name_of(slot), by_slot.get(&slot).map(String::as_str));
            if round % 500 == 0 {
                names.check_invariants();
                assert_eq!(names.len, by_slot.len());
            }
        }
    }

    #[test]
    fn more_claims_in_a_minute_than_one_device_makes_are_a_conflict_for_a_minute() {
        let mut names = Names::default();
        names.insert(1, &name("pump-7"));
        let mut claim = |now| names.claimed_again("pump-7", 2, Tick::new(now));
        assert_eq!([0, 599].map(&mut claim), [Verdict::Takeover; 2]);
        assert_eq!([600, 601, 602].map(&mut claim), [Verdict::Takeover, Verdict::Takeover, Verdict::Conflict]);
        assert_eq!([603, 1_201].map(&mut claim), [Verdict::KnownConflict; 2]);
        assert_eq!(claim(1_202), Verdict::Takeover);
    }
}
