//! A hashed timer wheel: insert, move and cancel take constant time, for thousands of deadlines.
//!
//! The owner passes the time, in whole ticks. The payload of a timer is any small `Copy` value. The algorithm is scheme 6 of
//! Varghese and Lauck, "Hashed and Hierarchical Timing Wheels".

use crate::tick::Tick;

/// Identifies one pending timer. The key is valid until the timer fires or is cancelled. After that another timer may get
/// the same key, so the owner must drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerKey(u32);

/// Pending timers, each with a deadline and a payload.
///
/// A timer is in the slot `deadline % SLOTS`, in any round of the wheel. The first `expire` of a tick sweeps the slots since
/// the last sweep, each at most once. It moves due timers to the *due list*, and further calls take timers from that list.
/// So a timer is visited once per round, and once to fire.
///
/// *Invariant:* a timer is in the due list exactly if its deadline is before `swept_to`. Otherwise it is in its slot. So
/// the deadline alone determines the list of a timer.
pub struct TimerWheel<T> {
    /// The first entry of each slot's list, and last of the due list.
    heads: [u32; SLOTS + 1],
    /// One bit per slot, set if its list is not empty.
    occupied: [u64; WORDS],
    entries: Vec<Entry<T>>,
    /// The first unused entry. `next` links the others.
    free: u32,
    len: usize,
    /// The first tick that is not swept.
    swept_to: Tick,
    /// Entries that sweeps have visited. Tests measure work by it.
    #[cfg(test)]
    visited: usize,
}

impl<T: Copy> TimerWheel<T> {
    /// Creates an empty wheel. The first timer allocates.
    pub const fn new() -> Self {
        Self {
            heads: [NONE; SLOTS + 1],
            occupied: [0; WORDS],
            entries: Vec::new(),
            free: NONE,
            len: 0,
            swept_to: Tick::new(0),
            #[cfg(test)]
            visited: 0,
        }
    }

    /// Adds a timer. A timer with a past deadline fires at the next [`expire`](Self::expire), after the timers that are due
    /// already.
    pub fn insert(&mut self, deadline: Tick, payload: T) -> TimerKey {
        let entry = Entry { next: NONE, prev: NONE, deadline, payload };
        let index = self.free;
        let index = if index == NONE {
            debug_assert!(self.entries.len() < NONE as usize);
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        } else {
            self.free = self.entries[index as usize].next;
            self.entries[index as usize] = entry;
            index
        };
        self.len += 1;
        self.link(index, self.list_of(deadline));
        TimerKey(index)
    }

    /// Cancels a pending timer and returns its payload.
    pub fn cancel(&mut self, key: TimerKey) -> T {
        self.remove(key.0)
    }

    /// Changes the deadline of a pending timer. The timer keeps its key, and fires after earlier timers of its tick.
    pub fn reschedule(&mut self, key: TimerKey, deadline: Tick) {
        self.unlink(key.0, self.list_of(self.entries[key.0 as usize].deadline));
        self.entries[key.0 as usize].deadline = deadline;
        self.link(key.0, self.list_of(deadline));
    }

    /// Returns the deadline and the payload of a pending timer.
    pub fn pending(&self, key: TimerKey) -> Option<(Tick, T)> {
        let entry = self.entries.get(key.0 as usize).filter(|entry| entry.prev != NONE)?;
        Some((entry.deadline, entry.payload))
    }

    /// Removes one timer whose deadline is `now` or earlier, and returns its deadline and payload. Call it until `None`. `now`
    /// must not run backwards.
    ///
    /// Timers of one tick fire in the order of their insertion. Ticks fire in order, unless `SLOTS` or more ticks have
    /// passed since the last call.
    ///
    /// Timers may be inserted and cancelled between two calls. A timer with a deadline of `now` or earlier fires in a later
    /// call with the same `now`, after all other due timers. So an owner that inserts a due timer for each fired one must
    /// bound its loop, for instance by [`len`](Self::len) before the first call. The rest fires in the next loop.
    pub fn expire(&mut self, now: Tick) -> Option<(Tick, T)> {
        // Sweeps even if timers are due already. Otherwise an owner with a bounded loop could starve later timers.
        if self.swept_to <= now {
            self.sweep(now);
        }
        let index = self.heads[DUE];
        (index != NONE).then(|| (self.entries[index as usize].deadline, self.remove(index)))
    }

    /// Returns the tick for the next call of `expire`. It may be early, for a timer of a later round, but never late. After
    /// `expire` has returned `None`, it is later than that call's `now`. It is `None` without a pending timer.
    pub fn next_deadline(&self) -> Option<Tick> {
        match self.heads[DUE] {
            NONE => Some(self.swept_to.after(self.distance_to_occupied(self.swept_to)?)),
            index => Some(self.entries[index as usize].deadline),
        }
    }

    /// Returns the number of pending timers.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is pending.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Moves all timers that are due at `now` from the slots to the due list.
    fn sweep(&mut self, now: Tick) {
        // `swept_to` must not pass "never", which would break the invariant.
        let now = now.min(Tick::new(u32::MAX - 1));
        // One round visits every slot, so more is never necessary.
        let last = now.min(self.swept_to.after(SLOTS as u32 - 1));
        let mut from = self.swept_to;
        while let Some(distance) = self.distance_to_occupied(from) {
            let tick = from.after(distance);
            if tick > last {
                break;
            }
            self.sweep_slot(slot_of(tick), now);
            from = tick.after(1);
        }
        self.swept_to = now.after(1);
    }

    fn sweep_slot(&mut self, slot: usize, now: Tick) {
        let mut index = self.heads[slot];
        let last = self.entries[index as usize].prev;
        loop {
            #[cfg(test)]
            {
                self.visited += 1;
            }
            let Entry { next, deadline, .. } = self.entries[index as usize];
            if deadline <= now {
                self.unlink(index, slot);
                self.link(index, DUE);
            }
            if index == last {
                break;
            }
            index = next;
        }
    }

    /// Returns the ticks from `from` to the next tick whose slot is not empty, for any round.
    fn distance_to_occupied(&self, from: Tick) -> Option<u32> {
        let (word, bit) = (slot_of(from) / 64, slot_of(from) % 64);
        let first = self.occupied[word] >> bit;
        if first != 0 {
            return Some(first.trailing_zeros());
        }
        // One round, which ends with the first word again. Only its bits below `bit` can be set then.
        (1..=WORDS).find_map(|step| {
            let bits = self.occupied[(word + step) % WORDS];
            (bits != 0).then(|| (64 * step - bit) as u32 + bits.trailing_zeros())
        })
    }

    fn list_of(&self, deadline: Tick) -> usize {
        if deadline < self.swept_to { DUE } else { slot_of(deadline) }
    }

    /// Appends an entry to a list. Lists are rings, so a head also leads to the tail, and 2 KiB of heads are enough.
    fn link(&mut self, index: u32, list: usize) {
        let head = self.heads[list];
        let (next, prev) = if head == NONE {
            self.heads[list] = index;
            self.flip_occupied(list);
            (index, index)
        } else {
            let tail = std::mem::replace(&mut self.entries[head as usize].prev, index);
            self.entries[tail as usize].next = index;
            (head, tail)
        };
        let entry = &mut self.entries[index as usize];
        (entry.next, entry.prev) = (next, prev);
    }

    fn unlink(&mut self, index: u32, list: usize) {
        let Entry { next, prev, .. } = self.entries[index as usize];
        debug_assert!(prev != NONE, "a key of a timer that has fired");
        self.entries[prev as usize].next = next;
        self.entries[next as usize].prev = prev;
        if next == index {
            self.heads[list] = NONE;
            self.flip_occupied(list);
        } else if self.heads[list] == index {
            self.heads[list] = next;
        }
    }

    /// Flips the bit of a slot that became empty or non-empty. The due list has no bit.
    fn flip_occupied(&mut self, list: usize) {
        if let Some(word) = self.occupied.get_mut(list / 64) {
            *word ^= 1 << (list % 64);
        }
    }

    /// Unlinks an entry and puts it on the free list.
    fn remove(&mut self, index: u32) -> T {
        let Entry { deadline, payload, .. } = self.entries[index as usize];
        self.unlink(index, self.list_of(deadline));
        self.len -= 1;
        if self.len == 0 {
            // No timer is pending, so the memory of many timers can be freed.
            self.entries.clear();
            self.entries.shrink_to(KEPT);
            self.free = NONE;
        } else {
            let entry = &mut self.entries[index as usize];
            (entry.next, entry.prev) = (self.free, NONE);
            self.free = index;
        }
        payload
    }
}

impl<T: Copy> Default for TimerWheel<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A timer. A pending timer is in one ring. An unused entry is in the free list, and its `prev` is `NONE`.
#[derive(Clone, Copy)]
struct Entry<T> {
    next: u32,
    prev: u32,
    deadline: Tick,
    payload: T,
}

/// Ticks in a round, which takes 51.2 s. Beats and most limits are due within the first round.
const SLOTS: usize = 512;
const WORDS: usize = SLOTS / 64;
/// The due list's index in `heads`.
const DUE: usize = SLOTS;
/// No entry.
const NONE: u32 = u32::MAX;
/// Entries whose memory an empty wheel keeps, so that a few devices that come and go cost no
/// allocation.
const KEPT: usize = 64;

// Paid once per connection.
const _: () = assert!(size_of::<Entry<u32>>() == 16);

const fn slot_of(tick: Tick) -> usize {
    tick.get() as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Inserts `deadlines` at tick `start` and checks which of them have fired at each of the
    /// `steps`.
    fn check(start: u32, deadlines: &[u32], steps: &[(u32, &[u32])]) {
        let mut wheel = TimerWheel::new();
        assert_eq!(wheel.expire(Tick::new(start)), None);
        for &deadline in deadlines {
            wheel.insert(Tick::new(deadline), deadline);
        }
        for &(now, expected) in steps {
            let fired: Vec<u32> = std::iter::from_fn(|| wheel.expire(Tick::new(now))).map(|(_, fired)| fired).collect();
            assert_eq!(fired, expected, "at {now} of {deadlines:?} set at {start}");
        }
    }

    #[test]
    fn timers_fire_when_due_and_in_order() {
        check(0, &[], &[(0, &[]), (u32::MAX, &[])]);
        check(0, &[1], &[(0, &[]), (1, &[1]), (2, &[])]);
        check(0, &[3, 1, 2], &[(3, &[1, 2, 3])]);
        check(0, &[3, 1, 2], &[(2, &[1, 2]), (3, &[3])]);
        // Past deadlines fire in the order of their insertion.
        check(100, &[100, 0, 99], &[(100, &[100, 0, 99])]);
        // The same slot, several rounds.
        check(0, &[1025, 513, 1], &[(1, &[1]), (512, &[]), (513, &[513]), (1024, &[]), (1025, &[1025])]);
        // The bitmap's first word again, below the bit where the search began.
        check(70, &[70 + 511, 70 + 507], &[(576, &[]), (577, &[577]), (581, &[581])]);
        check(0, &[511, 512], &[(510, &[]), (511, &[511]), (512, &[512])]);
        // Pauses of one tick less than a round, of a round, and of years.
        check(0, &[511, 512, 513], &[(511, &[511]), (1023, &[512, 513])]);
        check(7, &[8, 519, 520], &[(518, &[8]), (519, &[519]), (520, &[520])]);
        check(
            0,
            &[5_000_000, 1_000_000_000],
            &[(4_999_999, &[]), (999_999_999, &[5_000_000]), (u32::MAX, &[1_000_000_000])],
        );
        // The last tick but one fires, "never" does not.
        check(0, &[u32::MAX, u32::MAX - 1], &[(u32::MAX - 2, &[]), (u32::MAX, &[u32::MAX - 1]), (u32::MAX, &[])]);
    }

    #[test]
    fn next_deadline_is_exact_within_a_round_and_early_beyond() {
        let mut wheel = TimerWheel::new();
        assert_eq!(wheel.next_deadline(), None);
        let far = wheel.insert(Tick::new(512 + 20), 'f');
        assert_eq!(wheel.next_deadline(), Some(Tick::new(20)));
        assert_eq!(wheel.expire(Tick::new(20)), None);
        assert_eq!(wheel.next_deadline(), Some(Tick::new(532)));
        let near = wheel.insert(Tick::new(500), 'n');
        assert_eq!(wheel.next_deadline(), Some(Tick::new(500)));
        wheel.reschedule(near, Tick::new(3));
        assert_eq!(wheel.next_deadline(), Some(Tick::new(3)), "already due");
        assert_eq!(wheel.cancel(near), 'n');
        assert_eq!(wheel.cancel(far), 'f');
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn a_due_timer_inserted_while_expiring_fires_last() {
        let mut wheel = TimerWheel::new();
        wheel.insert(Tick::new(5), 'a');
        let b = wheel.insert(Tick::new(5), 'b');
        wheel.insert(Tick::new(5), 'c');
        assert_eq!(wheel.expire(Tick::new(5)), Some((Tick::new(5), 'a')));
        wheel.insert(Tick::new(5), 'A');
        assert_eq!(wheel.cancel(b), 'b', "a due timer is still pending");
        assert_eq!(wheel.expire(Tick::new(5)), Some((Tick::new(5), 'c')));
        wheel.insert(Tick::new(6), 'd');
        // If the owner stops here, `d` still waits only for timers that were due before it.
        assert_eq!(wheel.expire(Tick::new(6)), Some((Tick::new(5), 'A')));
        wheel.insert(Tick::new(0), 'B');
        assert_eq!(wheel.expire(Tick::new(6)), Some((Tick::new(6), 'd')));
        assert_eq!(wheel.expire(Tick::new(6)), Some((Tick::new(0), 'B')));
        assert_eq!(wheel.expire(Tick::new(6)), None);
    }

    /// Compares random inserts, moves, cancels and clock jumps with a map sorted by deadline and order of insertion.
    #[test]
    fn behaves_like_a_sorted_map() {
        let seeds = match std::env::var("PULSEGATE_TEST_SEED") {
            Ok(seed) => vec![seed.parse().unwrap()],
            Err(_) => (1..=100).collect::<Vec<u64>>(),
        };
        for seed in seeds {
            // The harness prints it if the test fails.
            println!("PULSEGATE_TEST_SEED={seed}");
            behaves_like_a_sorted_map_with(Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1));
        }
    }

    fn behaves_like_a_sorted_map_with(mut rng: Rng) {
        let mut wheel = TimerWheel::new();
        // Maps (deadline, order) to (key, payload). A move changes the order of a timer, not its payload.
        let mut model = BTreeMap::new();
        let mut now = rng.below(2000);
        let mut peak = 0;
        for order in 0..2000 {
            let deadline = match rng.below(8) {
                0 => now.saturating_sub(rng.below(600)),
                1..=4 => now + rng.below(40),
                5 | 6 => now + rng.below(1600),
                _ => now + rng.below(100_000),
            };
            match rng.below(16) {
                0..=7 => {
                    let key = wheel.insert(Tick::new(deadline), order);
                    model.insert((deadline, order), (key, order));
                }
                8 | 9 if !model.is_empty() => {
                    let (key, payload) = model.remove(&rng.pick(&model)).unwrap();
                    wheel.reschedule(key, Tick::new(deadline));
                    model.insert((deadline, order), (key, payload));
                }
                10 | 11 if !model.is_empty() => {
                    let (key, payload) = model.remove(&rng.pick(&model)).unwrap();
                    assert_eq!(wheel.cancel(key), payload);
                }
                _ => {
                    now += match rng.below(8) {
                        0 => 0,
                        1..=5 => rng.below(30),
                        6 => 500 + rng.below(30),
                        _ => rng.below(50_000),
                    };
                    // Sometimes the owner stops before all due timers have fired.
                    let budget = if rng.below(3) == 0 { rng.below(4) } else { u32::MAX };
                    let mut fired: Vec<(u32, u32)> = Vec::new();
                    for _ in 0..budget {
                        let Some((deadline, payload)) = wheel.expire(Tick::new(now)) else {
                            assert!(model.range(..=(now, u32::MAX)).next().is_none(), "late");
                            assert!(wheel.next_deadline().is_none_or(|at| at > Tick::new(now)), "spins");
                            break;
                        };
                        let (&(at, order), _) = model.iter().find(|(_, (_, known))| *known == payload).unwrap();
                        model.remove(&(at, order));
                        assert_eq!(deadline, Tick::new(at));
                        assert!(at <= now, "early: {at} at {now}");
                        let in_order = fired.iter().all(|other| other.0 != at || other.1 < order);
                        assert!(in_order, "{:?} after {fired:?}", (at, order));
                        fired.push((at, order));
                    }
                }
            }
            assert_eq!(wheel.len(), model.len());
            peak = peak.max(model.len());
            assert!(wheel.entries.len() <= peak, "entries are lost");
            assert_eq!(wheel.next_deadline().is_none(), model.is_empty());
            if let Some((&(deadline, _), _)) = model.first_key_value() {
                let latest = Tick::new(deadline.max(now));
                assert!(wheel.next_deadline().unwrap() <= latest, "would wake too late");
            }
        }
    }

    #[test]
    fn a_sweep_visits_a_later_timer_once_a_round() {
        let mut wheel = TimerWheel::new();
        for round in [1, 4] {
            for _ in 0..1000 {
                wheel.insert(Tick::new(512 * round), round);
            }
        }
        for now in 0..512 {
            assert_eq!(wheel.expire(Tick::new(now)), None);
        }
        assert_eq!(wheel.visited, 2000, "tick 0, all for later");
        for _ in 0..1000 {
            assert_eq!(wheel.expire(Tick::new(512)), Some((Tick::new(512), 1)));
        }
        assert_eq!(wheel.expire(Tick::new(512)), None);
        assert_eq!(wheel.visited, 4000, "half of them due");
    }

    #[test]
    fn a_sweep_after_a_long_pause_visits_one_round() {
        let mut wheel = TimerWheel::new();
        for slot in 0..512 {
            wheel.insert(Tick::new(u32::MAX - 512 + slot), slot);
        }
        assert_eq!(wheel.expire(Tick::new(3_000_000_000)), None);
        assert_eq!(wheel.visited, 512);
        assert_eq!(std::iter::from_fn(|| wheel.expire(Tick::new(u32::MAX))).count(), 512);
        assert_eq!(wheel.visited, 1024);
    }

    #[test]
    fn entries_are_reused_and_their_memory_is_freed() {
        let mut wheel = TimerWheel::new();
        assert_eq!(wheel.entries.capacity(), 0);
        let keys: Vec<_> = (0..10_000).map(|order| wheel.insert(Tick::new(order), order)).collect();
        for (order, key) in keys.into_iter().enumerate() {
            assert_eq!(wheel.cancel(key), order as u32);
            wheel.insert(Tick::new(9), 0);
        }
        assert_eq!(wheel.entries.len(), 10_000);
        while wheel.expire(Tick::new(9)).is_some() {}
        assert!(wheel.is_empty() && wheel.entries.capacity() <= KEPT);
        assert!(wheel.occupied == [0; WORDS] && wheel.heads == [NONE; SLOTS + 1]);
    }

    #[test]
    #[should_panic(expected = "a timer that has fired")]
    #[cfg(debug_assertions)]
    fn a_stale_key_panics_in_debug_builds() {
        let mut wheel = TimerWheel::new();
        let key = wheel.insert(Tick::new(1), ());
        wheel.insert(Tick::new(1), ());
        wheel.cancel(key);
        wheel.cancel(key);
    }

    /// Xorshift: a seed gives the same numbers on every machine.
    struct Rng(u64);

    impl Rng {
        fn below(&mut self, limit: u32) -> u32 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (((self.0 >> 32) * u64::from(limit)) >> 32) as u32
        }

        fn pick<K: Copy, V>(&mut self, map: &BTreeMap<K, V>) -> K {
            *map.keys().nth(self.below(map.len() as u32) as usize).unwrap()
        }
    }
}
