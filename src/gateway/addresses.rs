//! Finds the slots of an IP address, the newest first, in constant time among thousands of devices.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;

/// A hash table with chains by slot index: 8 bytes a slot, and 2 to 4 for the heads. The hash is keyed, so that an attacker
/// cannot choose addresses with the same hash.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    heads: Vec<u32>,
    links: Vec<Link>,
    len: usize,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
}

/// The average length of a chain at which the table grows.
const CHAIN: usize = 2;
/// The end of a chain.
const NONE: u32 = u32::MAX;
const UNLINKED: Link = Link { previous: NONE, next: NONE };

impl Addresses {
    /// Inserts slot `index` before the other slots of its address. `ip_of` returns the address of any slot in the table.
    pub(super) fn insert(&mut self, index: u32, ip: IpAddr, ip_of: impl Fn(u32) -> IpAddr) {
        if self.len == self.heads.len() * CHAIN {
            self.grow(ip_of);
        }
        if self.links.len() <= index as usize {
            self.links.resize(index as usize + 1, UNLINKED);
        }
        self.len += 1;
        self.link(index, ip);
    }

    /// Removes slot `index`.
    pub(super) fn remove(&mut self, index: u32, ip: IpAddr) {
        let Link { previous, next } = self.links[index as usize];
        match previous {
            NONE => {
                let bucket = self.bucket(ip);
                debug_assert_eq!(self.heads[bucket], index);
                self.heads[bucket] = next;
            }
            _ => self.links[previous as usize].next = next,
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        self.len -= 1;
        if self.len == 0 {
            self.heads = Vec::new();
            self.links = Vec::new();
        }
    }

    /// Returns the slots that may belong to `ip`, the newest first. The caller compares their addresses.
    pub(super) fn candidates(&self, ip: IpAddr) -> impl Iterator<Item = u32> {
        let first = if self.heads.is_empty() { NONE } else { self.heads[self.bucket(ip)] };
        let some = |index| (index != NONE).then_some(index);
        std::iter::successors(some(first), move |&index| some(self.links[index as usize].next))
    }

    /// Panics unless each slot of `slots`, and no other, is in one chain, the chain of its address, with correct links in both
    /// directions.
    pub(super) fn check_invariants(&self, slots: impl Iterator<Item = u32>, ip_of: impl Fn(u32) -> IpAddr) {
        let mut chained = vec![false; self.links.len()];
        for (bucket, &head) in self.heads.iter().enumerate() {
            let (mut previous, mut index) = (NONE, head);
            while index != NONE {
                let link = self.links[index as usize];
                assert!(!std::mem::replace(&mut chained[index as usize], true), "slot {index} is chained twice");
                assert_eq!(link.previous, previous, "slot {index} has a wrong link backwards");
                assert_eq!(self.bucket(ip_of(index)), bucket, "slot {index} is in the chain of another address");
                (previous, index) = (index, link.next);
            }
        }
        let mut count = 0;
        for slot in slots {
            assert!(chained[slot as usize], "slot {slot} is in no chain");
            count += 1;
        }
        assert_eq!((chained.iter().filter(|chained| **chained).count(), self.len), (count, count));
    }

    fn link(&mut self, index: u32, ip: IpAddr) {
        let bucket = self.bucket(ip);
        let next = std::mem::replace(&mut self.heads[bucket], index);
        self.links[index as usize] = Link { previous: NONE, next };
        if next != NONE {
            self.links[next as usize].previous = index;
        }
    }

    /// Doubles the heads and inserts all slots again. The slots of one address keep their order.
    fn grow(&mut self, ip_of: impl Fn(u32) -> IpAddr) {
        let heads = vec![NONE; (self.heads.len() * 2).max(16)];
        let mut chain = Vec::new();
        for head in std::mem::replace(&mut self.heads, heads) {
            let mut index = head;
            while index != NONE {
                chain.push(index);
                index = self.links[index as usize].next;
            }
            for index in chain.drain(..).rev() {
                self.link(index, ip_of(index));
            }
        }
    }

    /// Returns the head's index. The number of heads is a power of two.
    fn bucket(&self, ip: IpAddr) -> usize {
        self.hasher.hash_one(ip) as usize & (self.heads.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_first_through_growth_and_removal() {
        let ip_of = |index: u32| IpAddr::from([127, 0, 0, (index % 7) as u8]);
        let mut addresses = Addresses::default();
        let found =
            |addresses: &Addresses, ip| addresses.candidates(ip).filter(|&i| ip_of(i) == ip).collect::<Vec<_>>();
        for index in 0..700 {
            addresses.insert(index, ip_of(index), ip_of);
        }
        let expected: Vec<u32> = (0..700).rev().filter(|i| i % 7 == 3).collect();
        assert_eq!(found(&addresses, ip_of(3)), expected);
        for index in (0..700).filter(|i| i % 2 == 0) {
            addresses.remove(index, ip_of(index));
        }
        let expected: Vec<u32> = (0..700).rev().filter(|i| i % 7 == 3 && i % 2 == 1).collect();
        assert_eq!(found(&addresses, ip_of(3)), expected);
        for index in (0..700).filter(|i| i % 2 == 1) {
            addresses.remove(index, ip_of(index));
        }
        assert!(addresses.heads.is_empty());
        assert!(found(&addresses, ip_of(3)).is_empty());
    }
}
