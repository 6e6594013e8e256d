//! A hashed timer wheel: thousands of deadlines, each set, moved and dropped in constant time.
//!
//! Floor 0. Knows no clock: the owner hands in what time it is. Knows no connection: a payload is
//! any small `Copy` value. Time is counted in whole ticks, since nothing that the gateway waits for
//! is finer, and since a tick is a quarter of an `Instant`. The idea is Varghese and Lauck's
//! ("Hashed and Hierarchical Timing Wheels", scheme 6).

use crate::tick::Tick;

/// Names one pending timer. Good until that timer has fired or was cancelled; after that the wheel
/// may give the same key to another timer, so the owner forgets it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerKey(u32);

/// Pending timers, each with a deadline and a payload.
///
/// A timer waits in the slot `deadline % SLOTS`, whichever round of the wheel it is for. The first
/// `expire` of a tick sweeps the slots passed since the last one, each once however long that was,
/// and moves what is due to the *due list*; further calls only take from that list. So a timer is
/// looked at once per round it waits, and once to fire.
///
/// *Invariant:* a timer is in the due list exactly if its deadline is before `swept_to`; otherwise
/// it is in its slot. So the deadline alone says which list a timer is in.
pub struct TimerWheel<T> {
    /// First entry of each slot's list and, last, of the due list.
    heads: [u32; SLOTS + 1],
    /// One bit per slot: its list is not empty.
    occupied: [u64; WORDS],
    entries: Vec<Entry<T>>,
    /// First of the unused entries, chained by `next`.
    free: u32,
    len: usize,
    /// The first tick that was not swept yet.
    swept_to: Tick,
    /// Entries looked at by sweeps: the tests' measure of work.
    #[cfg(test)]
    visited: usize,
}

impl<T: Copy> TimerWheel<T> {
    /// An empty wheel. Allocates with the first timer.
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

    /// Adds a timer. One whose deadline has passed fires at the next [`expire`](Self::expire),
    /// after those that were due before it came.
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

    /// Drops a pending timer and gives its payload back.
    pub fn cancel(&mut self, key: TimerKey) -> T {
        self.remove(key.0)
    }

    /// Moves a pending timer, which keeps its key, as if it were inserted anew.
    pub fn reschedule(&mut self, key: TimerKey, deadline: Tick) {
        self.unlink(key.0, self.list_of(self.entries[key.0 as usize].deadline));
        self.entries[key.0 as usize].deadline = deadline;
        self.link(key.0, self.list_of(deadline));
    }

    /// The deadline and payload of a timer, if it is pending.
    pub fn pending(&self, key: TimerKey) -> Option<(Tick, T)> {
        let entry = self.entries.get(key.0 as usize).filter(|entry| entry.prev != NONE)?;
        Some((entry.deadline, entry.payload))
    }

    /// Takes one timer whose deadline is `now` or earlier: its deadline and payload. Call until
    /// `None`; `now` must not go back.
    ///
    /// Timers of one tick fire in the order they were inserted. Ticks fire in order too, unless
    /// `SLOTS` ticks or more have passed since the last call.
    ///
    /// Between two calls anything may be inserted or cancelled. A timer inserted with a deadline of
    /// `now` or earlier fires in a later call with the same `now`, behind all others that are due.
    /// So an owner that answers each timer with one already due must bound its loop, for which
    /// [`len`](Self::len) before the first call is a fair number; whatever it leaves fires at the
    /// next chance.
    pub fn expire(&mut self, now: Tick) -> Option<(Tick, T)> {
        // Swept even if there is still something due, or an owner that bounds its loop could starve
        // what came since.
        if self.swept_to <= now {
            self.sweep(now);
        }
        let index = self.heads[DUE];
        (index != NONE).then(|| (self.entries[index as usize].deadline, self.remove(index)))
    }

    /// When `expire` wants to be called. It may be early, for a timer of a later round, but never
    /// late; once `expire` has said `None` it lies after that call's `now`. `None` with no timer
    /// pending: then nothing need wake up.
    pub fn next_deadline(&self) -> Option<Tick> {
        match self.heads[DUE] {
            NONE => Some(self.swept_to.after(self.distance_to_occupied(self.swept_to)?)),
            index => Some(self.entries[index as usize].deadline),
        }
    }

    /// How many timers are pending.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is pending.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Moves all that is due at `now` from the slots to the due list.
    fn sweep(&mut self, now: Tick) {
        // So that `swept_to` cannot pass "never", which would break the invariant.
        let now = now.min(Tick::new(u32::MAX - 1));
        // A whole round sees every slot: however long the sleep was, more is never needed.
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

    /// Ticks from `from` to the next one whose slot is not empty, be it for this round or a later
    /// one.
    fn distance_to_occupied(&self, from: Tick) -> Option<u32> {
        let (word, bit) = (slot_of(from) / 64, slot_of(from) % 64);
        let first = self.occupied[word] >> bit;
        if first != 0 {
            return Some(first.trailing_zeros());
        }
        // Once around, and at last the first word again: of it only the bits below `bit` can still
        // be set.
        (1..=WORDS).find_map(|step| {
            let bits = self.occupied[(word + step) % WORDS];
            (bits != 0).then(|| (64 * step - bit) as u32 + bits.trailing_zeros())
        })
    }

    fn list_of(&self, deadline: Tick) -> usize {
        if deadline < self.swept_to { DUE } else { slot_of(deadline) }
    }

    /// Appends to a list. Lists are rings, so the head leads to the tail too and 2 KiB of heads are
    /// enough.
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
        debug_assert!(prev != NONE, "a timer key was used after its timer had gone");
        self.entries[prev as usize].next = next;
        self.entries[next as usize].prev = prev;
        if next == index {
            self.heads[list] = NONE;
            self.flip_occupied(list);
        } else if self.heads[list] == index {
            self.heads[list] = next;
        }
    }

    /// A slot became empty or ceased to be. The due list needs no bit and has none.
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
            // Nothing is pending: begin anew, and give back what a crowd has left behind.
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

/// A timer. While pending it is linked into one ring; while unused it is in the free list, and
/// `prev` is `NONE`.
#[derive(Clone, Copy)]
struct Entry<T> {
    next: u32,
    prev: u32,
    deadline: Tick,
    payload: T,
}

/// Ticks in a round: 51.2 s, so that beats and most limits fall due within the first.
const SLOTS: usize = 512;
const WORDS: usize = SLOTS / 64;
/// The due list's place in `heads`.
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
        // Already due when set: in the order they came.
        check(100, &[100, 0, 99], &[(100, &[100, 0, 99])]);
        // The same slot, several rounds.
        check(0, &[1025, 513, 1], &[(1, &[1]), (512, &[]), (513, &[513]), (1024, &[]), (1025, &[1025])]);
        // The bitmap's first word again, below the bit where the search began.
        check(70, &[70 + 511, 70 + 507], &[(576, &[]), (577, &[577]), (581, &[581])]);
        check(0, &[511, 512], &[(510, &[]), (511, &[511]), (512, &[512])]);
        // Sleeps of one tick less than a round, a round, and years.
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
    fn a_timer_set_while_expiring_waits_behind_the_others() {
        let mut wheel = TimerWheel::new();
        wheel.insert(Tick::new(5), 'a');
        let b = wheel.insert(Tick::new(5), 'b');
        wheel.insert(Tick::new(5), 'c');
        assert_eq!(wheel.expire(Tick::new(5)), Some((Tick::new(5), 'a')));
        wheel.insert(Tick::new(5), 'A');
        assert_eq!(wheel.cancel(b), 'b', "due, yet still pending");
        assert_eq!(wheel.expire(Tick::new(5)), Some((Tick::new(5), 'c')));
        wheel.insert(Tick::new(6), 'd');
        // An owner that stopped here does not make `d` wait for more than what was due before it.
        assert_eq!(wheel.expire(Tick::new(6)), Some((Tick::new(5), 'A')));
        wheel.insert(Tick::new(0), 'B');
        assert_eq!(wheel.expire(Tick::new(6)), Some((Tick::new(6), 'd')));
        assert_eq!(wheel.expire(Tick::new(6)), Some((Tick::new(0), 'B')));
        assert_eq!(wheel.expire(Tick::new(6)), None);
    }

    /// Random inserts, moves, cancels and clock jumps, against a sorted map of (deadline, order of
    /// insertion).
    #[test]
    fn behaves_like_a_sorted_map() {
        let seeds = match std::env::var("PULSEGATE_TEST_SEED") {
            Ok(seed) => vec![seed.parse().unwrap()],
            Err(_) => (1..=100).collect::<Vec<u64>>(),
        };
        for seed in seeds {
            // Shown if the test fails.
            println!("PULSEGATE_TEST_SEED={seed}");
            behaves_like_a_sorted_map_with(Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1));
        }
    }

    fn behaves_like_a_sorted_map_with(mut rng: Rng) {
        let mut wheel = TimerWheel::new();
        // (deadline, order) to (key, payload); moving a timer changes its order, not its payload.
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
                    // Sometimes the owner stops before all have fired.
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
    fn survivors_are_looked_at_once_a_round() {
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
    fn a_long_sleep_costs_one_round() {
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
    fn entries_are_reused_and_a_crowd_leaves_no_memory_behind() {
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
    #[should_panic(expected = "timer key")]
    #[cfg(debug_assertions)]
    fn a_stale_key_is_noticed() {
        let mut wheel = TimerWheel::new();
        let key = wheel.insert(Tick::new(1), ());
        wheel.insert(Tick::new(1), ());
        wheel.cancel(key);
        wheel.cancel(key);
    }

    /// Xorshift: the same numbers for the same seed, everywhere.
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
