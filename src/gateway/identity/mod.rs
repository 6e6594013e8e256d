//! The names of connections, and the missing names. Layer 2.

mod claim;
mod name;
mod names;
mod remembered;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::names::Names;
use self::remembered::Remembered;
use super::CloseReason;
use crate::closed_list;
use crate::tick::{TICK, Tick};

pub(super) use self::claim::Claim;
pub use self::name::{Name, NameError};

/// All names that the gateway knows. It holds nothing for a device without a name.
#[derive(Debug, Default)]
pub(super) struct Registry {
    names: Names,
    remembered: Remembered,
    /// Names of closing connections that another connection took over, by slot.
    replaced: BTreeMap<u32, Name>,
    /// Slots beyond `access.connections_per_ip_max`, which may yet take the place of an older connection of their name.
    provisional: BTreeSet<u32>,
    /// Slots whose useless identity member is in the log.
    logged: BTreeSet<u32>,
}

impl Registry {
    /// Bytes that the names hold.
    pub(super) fn held(&self) -> usize {
        self.names.held() + self.remembered.held()
    }

    /// The name of the connection in a slot.
    pub(super) fn name_of(&self, slot: u32) -> Option<Name> {
        let name = || self.names.name_of(slot).and_then(Name::of_valid);
        self.replaced.get(&slot).copied().or_else(name)
    }

    /// The slot of the connection that has a name.
    pub(super) fn slot_of(&self, name: &Name) -> Option<u32> {
        self.names.slot_of(name)
    }

    /// The connection in a slot has ended: remembers its name, unless another connection has it.
    pub(super) fn end(&mut self, slot: u32, reason: &CloseReason, remembered_max: usize, now: Tick) {
        self.provisional.remove(&slot);
        self.logged.remove(&slot);
        if self.replaced.remove(&slot).is_none()
            && let Some(name) = self.names.remove(slot)
        {
            self.remembered.add(&name, reason, now, remembered_max);
        }
    }

    /// Forgets the oldest missing names until at most `max` are left.
    pub(super) fn limit_remembered(&mut self, max: usize) {
        self.remembered.limit(max);
    }

    /// The missing names behind number `last`, the longest missing first.
    pub(super) fn missing(&self, last: u64, now: Tick) -> impl Iterator<Item = Missing<'_>> {
        self.remembered.after(last).map(move |(number, name, since, reason)| Missing {
            number,
            name,
            gone_for: TICK * now.since(since),
            reason,
        })
    }

    /// Panics if the lists contradict each other. `is_device` says whether a slot holds a device.
    pub(super) fn check_invariants(&self, is_device: impl Fn(u32) -> bool) {
        self.names.check_invariants();
        let slots = self.names.slots().chain(self.replaced.keys().copied());
        let slots = slots.chain(self.provisional.iter().copied()).chain(self.logged.iter().copied());
        assert!(slots.into_iter().all(is_device), "a name outlives its connection");
        let both = self.replaced.keys().find(|slot| self.names.name_of(**slot).is_some());
        assert_eq!(both, None, "a connection has two names");
    }
}

/// A device that is not connected, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing<'a> {
    /// Grows with each name that goes, for [`Context::missing_after`](crate::Context::missing_after).
    pub number: u64,
    /// Its name.
    pub name: &'a str,
    /// How long ago its last connection ended, to a [`TICK`].
    pub gone_for: Duration,
    /// The word of the [`CloseReason`] of that connection.
    pub reason: &'static str,
}

closed_list! {
    /// Effects of identity members, for the counters.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Identification {
        /// A connection got a name.
        Identified => "identified",
        /// It took the name from an older connection. These are also counted as identified.
        Takeover => "takeover",
        /// A connection was closed because its name belongs to another connection.
        Conflict => "conflict",
        /// An object had a value that is no name.
        Invalid => "invalid",
        /// An object had another value than the name of its connection.
        Changed => "changed",
        /// The memory budget had no room for the name.
        NoMemory => "no_memory",
    }
}
