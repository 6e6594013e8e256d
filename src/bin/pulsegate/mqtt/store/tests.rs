//! The store on a disk that forgets: at a power cut each file loses a part of the bytes that no sync covered.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::*;
use crate::mqtt::backoff::Random;
use crate::mqtt::queue::tests::message;

/// A file as programs see it, and as the medium has it.
#[derive(Clone, Default)]
struct SimFile {
    seen: Vec<u8>,
    kept: Vec<u8>,
}

#[derive(Clone, Default)]
pub(in crate::mqtt) struct SimDisk {
    files: Rc<RefCell<BTreeMap<String, SimFile>>>,
    /// The number of calls that succeed before all others fail.
    budget: Rc<RefCell<Option<u64>>>,
}

impl SimDisk {
    fn call(&self) -> io::Result<()> {
        match &mut *self.budget.borrow_mut() {
            Some(0) => Err(io::ErrorKind::StorageFull.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn change<T>(&self, name: &str, change: impl FnOnce(&mut SimFile) -> T) -> io::Result<T> {
        self.call()?;
        Ok(change(self.files.borrow_mut().entry(name.into()).or_default()))
    }

    /// The power fails. Of bytes that no sync covered, any part is on the medium.
    fn cut(&self, random: &mut Random) {
        *self.budget.borrow_mut() = None;
        for file in self.files.borrow_mut().values_mut() {
            let SimFile { seen, kept } = file.clone();
            let from = kept.len().min(seen.len());
            let to = from + random.below((seen.len() - from) as u64 + 1) as usize;
            let mut bytes = if random.below(2) == 0 { kept } else { seen[..to].to_vec() };
            // The length may be there before the bytes.
            if random.below(4) == 0 && bytes.len() < seen.len() && bytes.len() >= from {
                bytes.resize(seen.len(), 0);
            }
            *file = SimFile { seen: bytes.clone(), kept: bytes };
        }
    }
}

impl Disk for SimDisk {
    fn list(&mut self) -> io::Result<Vec<String>> {
        self.call()?;
        Ok(self.files.borrow().keys().cloned().collect())
    }

    fn read(&mut self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        self.call()?;
        let files = self.files.borrow();
        let file = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.seen[..file.seen.len().min(bytes_max as usize)].to_vec())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // A full disk takes a part.
        if self.call().is_err() {
            self.files.borrow_mut().entry(name.into()).or_default().seen.extend(&bytes[..bytes.len() / 2]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.files.borrow_mut().entry(name.into()).or_default().seen.extend(bytes);
        Ok(())
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(name, |file| {
            let end = offset as usize + bytes.len();
            file.seen.resize(file.seen.len().max(end), 0);
            file.seen[offset as usize..end].copy_from_slice(bytes);
        })
    }

    fn truncate(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        self.change(name, |file| file.seen.truncate(bytes as usize))
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.change(name, |file| file.kept = file.seen.clone())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.call()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.call()?;
        self.files.borrow_mut().remove(name);
        Ok(())
    }
}

fn open(disk: &SimDisk, bytes_max: u64) -> Store {
    Store::open(Box::new(disk.clone()), bytes_max, Full::DropOldest).unwrap()
}

/// The number in a message of [`message`].
fn number_of(item: &Item) -> Option<u64> {
    match item {
        Item::Message(message) => Some(message.seq.parse().unwrap()),
        Item::Missed(_) => None,
    }
}

#[test]
fn messages_come_back_in_order_and_leave_nothing_behind() {
    let disk = SimDisk::default();
    let mut store = open(&disk, 4 << 20);
    let mut expected = Vec::new();
    for number in 0..2_000 {
        store.push(&message(number, 300)).unwrap();
        expected.push(number);
    }
    drop(store);
    let mut store = open(&disk, 4 << 20);
    assert_eq!(store.len(), 2_000);
    let mut found = Vec::new();
    while let Some(item) = store.take() {
        found.extend(number_of(&item));
        // Every tenth message is sent twice.
        if found.len() % 10 == 0 && found.last() != found.get(found.len().wrapping_sub(2)) {
            found.pop();
            store.put_back(vec![item]);
            let item = store.take().unwrap();
            found.extend(number_of(&item));
            store.done(item.number().unwrap());
            continue;
        }
        store.done(item.number().unwrap());
    }
    assert_eq!(found, expected);
    assert!(store.is_empty());
    let files: Vec<_> = disk.files.borrow().keys().cloned().collect();
    assert_eq!(files, [CURSOR]);
    drop(store);
    let mut store = open(&disk, 4 << 20);
    assert!(store.take().is_none());
    store.push(&message(7, 10)).unwrap();
    drop(store);
    assert_eq!(open(&disk, 4 << 20).take().as_ref().and_then(number_of), Some(7));
}

#[test]
fn a_full_store_drops_its_oldest_segment_and_says_how_many() {
    let disk = SimDisk::default();
    let mut store = open(&disk, 256 << 10);
    for number in 0..5_000 {
        store.push(&message(number, 200)).unwrap();
        assert!(store.bytes() <= 256 << 10);
    }
    let Some(Item::Missed(missed)) = store.take() else { panic!("no number of missing messages") };
    assert_eq!(missed, store.dropped());
    let mut next = missed;
    while let Some(item) = store.take() {
        assert_eq!(number_of(&item), Some(next));
        next += 1;
    }
    assert_eq!(next, 5_000);
}

#[test]
fn a_power_cut_costs_only_what_no_sync_covered() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let disk = SimDisk::default();
        let mut store = open(&disk, 4 << 20);
        let (mut received, mut synced, mut pushed) = (Vec::new(), 0, 0);
        // Messages between a sync and the power cut behind it.
        let mut at_risk = Vec::new();
        for _ in 0..8 {
            for _ in 0..random.below(60) {
                match random.below(8) {
                    0..=4 => {
                        store.push(&message(pushed, random.below(6_000) as usize)).unwrap();
                        pushed += 1;
                    }
                    5 => {
                        store.sync().unwrap();
                        synced = pushed;
                    }
                    _ => {
                        if let Some(item) = store.take() {
                            received.extend(number_of(&item));
                            item.number().into_iter().for_each(|number| store.done(number));
                        }
                    }
                }
            }
            drop(store);
            disk.cut(&mut random);
            at_risk.push(synced..pushed);
            synced = pushed;
            store = open(&disk, 4 << 20);
        }
        while let Some(item) = store.take() {
            received.extend(number_of(&item));
        }
        let mut found: Vec<_> = received.clone();
        found.sort_unstable();
        found.dedup();
        assert!(found.iter().all(|number| *number < pushed), "seed {seed}: a message that was never sent");
        let is_at_risk = |number: &u64| at_risk.iter().any(|range| range.contains(number));
        let lost = (0..pushed).find(|number| !found.contains(number) && !is_at_risk(number));
        assert_eq!(lost, None, "seed {seed}: {at_risk:?}");
    }
}

#[test]
fn a_synced_message_survives_every_power_cut() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let disk = SimDisk::default();
        let mut store = open(&disk, 4 << 20);
        let synced = random.below(100);
        for number in 0..synced {
            store.push(&message(number, random.below(5_000) as usize)).unwrap();
        }
        store.sync().unwrap();
        for number in 0..random.below(50) {
            store.push(&message(synced + number, random.below(5_000) as usize)).unwrap();
        }
        drop(store);
        disk.cut(&mut random);
        let mut store = open(&disk, 4 << 20);
        let found: Vec<_> = std::iter::from_fn(|| store.take()).filter_map(|item| number_of(&item)).collect();
        assert!(found.is_sorted_by(|a, b| a < b), "seed {seed}: {found:?}");
        assert!((0..synced).all(|number| found.contains(&number)), "seed {seed}: {synced} of {found:?}");
    }
}

#[test]
fn a_disk_that_fails_at_any_call_harms_nothing() {
    for budget in (4..400).step_by(5) {
        let disk = SimDisk::default();
        let mut store = open(&disk, 4 << 20);
        *disk.budget.borrow_mut() = Some(budget);
        let mut taken = Vec::new();
        for number in 0..200 {
            if store.push(&message(number, 2_000)).is_ok() {
                taken.push(number);
            }
            let _ = store.sync();
        }
        *disk.budget.borrow_mut() = None;
        for number in 200..210 {
            store.push(&message(number, 2_000)).unwrap();
            taken.push(number);
        }
        drop(store);
        let mut store = open(&disk, 4 << 20);
        let found: Vec<_> = std::iter::from_fn(|| store.take()).filter_map(|item| number_of(&item)).collect();
        assert_eq!(found, taken, "budget {budget}");
    }
}

#[test]
fn a_folder_with_anything_in_it_starts_and_delivers_nothing_that_was_not_sent() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let disk = SimDisk::default();
        let mut store = open(&disk, 4 << 20);
        let count = random.below(400);
        for number in 0..count {
            store.push(&message(number, 1_000)).unwrap();
        }
        drop(store);
        for _ in 0..1 + random.below(3) {
            let names: Vec<_> = disk.files.borrow().keys().cloned().collect();
            let Some(name) = names.get(random.below(1 + names.len() as u64) as usize).cloned() else { continue };
            let other = format!("{:020}.seg", random.below(600));
            let mut files = disk.files.borrow_mut();
            let mut file = files.get(&name).cloned().unwrap_or_default();
            match random.below(5) {
                0 if !file.seen.is_empty() => {
                    let at = random.below(file.seen.len() as u64) as usize;
                    file.seen[at] ^= 1 << random.below(8);
                    files.insert(name, file);
                }
                1 => drop(files.insert(other, file)),
                2 => drop(files.remove(&name)),
                3 => {
                    file.seen = (0..random.below(3_000)).map(|_| random.below(256) as u8).collect();
                    files.insert([name, other][random.below(2) as usize].clone(), file);
                }
                _ => drop(
                    files.insert(["x.seg", "99999999999999999999.seg", "y"][random.below(3) as usize].into(), file),
                ),
            }
        }
        let mut store = open(&disk, 4 << 20);
        let mut last = None;
        while let Some(item) = store.take() {
            let Some(number) = number_of(&item) else { continue };
            assert!(number < count && last < Some(number), "seed {seed}: {number} behind {last:?}");
            last = Some(number);
        }
        store.push(&message(9, 10)).unwrap();
        assert_eq!(store.take().as_ref().and_then(number_of), Some(9), "seed {seed}");
    }
}
