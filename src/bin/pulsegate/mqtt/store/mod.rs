//! Messages on disk while no broker takes them: numbered records in segments, and a cursor behind the last acknowledged
//! record. Every state of the folder is a valid start: a harmed record ends its segment.

mod disk;
mod record;
#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::io;

use log::warn;

pub(super) use self::disk::{Disk, Folder};
use super::queue::{Full, Item};

/// A segment takes no more records from this length on.
const SEGMENT_BYTES: u64 = 128 << 10;
/// The longest segment: one record may begin below [`SEGMENT_BYTES`].
const SEGMENT_BYTES_MAX: u64 = SEGMENT_BYTES + (18 << 20);
/// The file with the cursor: two slots, written in turn, so that one is valid whenever power fails.
const CURSOR: &str = "cursor";
const SLOT_BYTES: u64 = 12;

/// A file of records whose numbers follow each other.
#[derive(Debug)]
struct Segment {
    first: u64,
    /// The number behind the last record.
    end: u64,
    bytes: u64,
}

impl Segment {
    fn name(&self) -> String {
        format!("{:020}.seg", self.first)
    }
}

pub(super) struct Store {
    disk: Box<dyn Disk>,
    bytes_max: u64,
    full: Full,
    /// From the oldest to the newest. The last one takes new records.
    segments: VecDeque<Segment>,
    /// The number of the next new record.
    next: u64,
    /// The number of the next record to lend. The entries of `loaded` begin with it.
    unread: u64,
    loaded: VecDeque<Item>,
    /// Messages that were dropped before `unread` and not reported.
    missed: u64,
    /// Records that are lent.
    lent: BTreeSet<u64>,
    /// The cursor on disk, and the slot that is written next.
    cursor: u64,
    slot: u64,
    /// Segments that have bytes which may not be on the medium.
    unsynced: BTreeSet<u64>,
    names_changed: bool,
    dropped: u64,
}

impl Store {
    /// Opens a folder, whatever is in it. An error means that the folder cannot be used at all.
    pub(super) fn open(disk: Box<dyn Disk>, bytes_max: u64, full: Full) -> io::Result<Self> {
        let mut store = Self {
            disk,
            bytes_max,
            full,
            segments: VecDeque::new(),
            next: 0,
            unread: 0,
            loaded: VecDeque::new(),
            missed: 0,
            lent: BTreeSet::new(),
            cursor: 0,
            slot: 0,
            unsynced: BTreeSet::new(),
            names_changed: false,
            dropped: 0,
        };
        let names = store.disk.list()?;
        store.read_cursor();
        let number = |name: &String| name.strip_suffix(".seg").filter(|digits| digits.len() == 20)?.parse().ok();
        let mut firsts: Vec<u64> = names.iter().filter_map(number).collect();
        firsts.sort_unstable();
        for first in firsts {
            store.open_segment(first)?;
        }
        store.next = store.segments.back().map_or(0, |last| last.end).max(store.cursor);
        store.unread = store.cursor.max(store.segments.front().map_or(store.next, |first| first.first));
        // Numbers are never used again, so new records begin a segment of their own.
        store.write_cursor()?;
        store.remove_done();
        Ok(store)
    }

    /// Adds a segment of before. A harmed record ends it.
    fn open_segment(&mut self, first: u64) -> io::Result<()> {
        let mut segment = Segment { first, end: first, bytes: 0 };
        let name = segment.name();
        let end = self.segments.back().map_or(0, |last| last.end);
        let Ok(bytes) = self.disk.read(&name, SEGMENT_BYTES_MAX) else {
            warn!("the store's file {name} cannot be read and is left alone");
            return Ok(());
        };
        while let Some((_, length)) = record::decode(&bytes[segment.bytes as usize..], segment.end) {
            segment.end += 1;
            segment.bytes += length as u64;
        }
        // A file that overlaps the one before it is foreign.
        let is_foreign = first < end;
        if is_foreign || segment.bytes < bytes.len() as u64 {
            self.keep_bad(&name, &bytes);
        }
        if is_foreign || segment.end == first || segment.end <= self.cursor {
            return self.disk.remove(&name);
        }
        if segment.bytes < bytes.len() as u64 {
            self.disk.truncate(&name, segment.bytes)?;
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// Keeps the bytes of a harmed file once, for people.
    fn keep_bad(&mut self, name: &str, bytes: &[u8]) {
        let bad = format!("{name}.bad");
        warn!("the store's file {name} is harmed: its records up to the damage are used, and {bad} has its bytes");
        // Without room for the copy the start goes on.
        let _ = self.disk.remove(&bad);
        let _ = self.disk.append(&bad, bytes);
    }

    fn read_cursor(&mut self) {
        let bytes = self.disk.read(CURSOR, 2 * SLOT_BYTES).unwrap_or_default();
        for (slot, bytes) in bytes.chunks_exact(SLOT_BYTES as usize).enumerate() {
            let (number, sum) = bytes.split_at(8);
            if crc32fast::hash(number).to_le_bytes() == *sum
                && let Ok(number) = number.try_into().map(u64::from_le_bytes)
                && number >= self.cursor
                && number < u64::MAX / 2
            {
                self.cursor = number;
                self.slot = 1 - slot as u64;
            }
        }
    }

    fn write_cursor(&mut self) -> io::Result<()> {
        let mut bytes = self.cursor.to_le_bytes().to_vec();
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        self.disk.write_at(CURSOR, self.slot * SLOT_BYTES, &bytes)?;
        self.slot = 1 - self.slot;
        Ok(())
    }

    /// Whether no record waits or is lent.
    pub(super) fn is_empty(&self) -> bool {
        self.unread == self.next && self.missed == 0 && self.lent.is_empty()
    }

    /// Records that wait.
    pub(super) fn len(&self) -> u64 {
        self.next - self.unread
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Messages that found no room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether something may be lost with the power.
    pub(super) fn is_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Appends an entry. An error means that the disk does not take it.
    pub(super) fn push(&mut self, item: &Item) -> io::Result<()> {
        let record = record::encode(self.next, item).ok_or(io::ErrorKind::InvalidInput)?;
        while self.bytes() + record.len() as u64 > self.bytes_max && !self.segments.is_empty() {
            match self.full {
                Full::DropNewest => return Err(io::ErrorKind::StorageFull.into()),
                Full::DropOldest => self.drop_oldest(),
            }
        }
        let is_new = self.segments.back().is_none_or(|last| last.end != self.next || last.bytes >= SEGMENT_BYTES);
        if is_new {
            self.segments.push_back(Segment { first: self.next, end: self.next, bytes: 0 });
            self.names_changed = true;
        }
        let Some(last) = self.segments.back_mut() else { return Ok(()) };
        let (name, bytes) = (last.name(), last.bytes);
        if let Err(error) = self.disk.append(&name, &record) {
            // A part of the record may be there. If it cannot be cut off, the next record begins another file.
            if self.disk.truncate(&name, bytes).is_err() || is_new {
                self.next += 1;
                self.missed_at_end();
            }
            return Err(error);
        }
        last.end += 1;
        last.bytes += record.len() as u64;
        self.unsynced.insert(last.first);
        self.next += 1;
        Ok(())
    }

    /// A number was used up without a record.
    fn missed_at_end(&mut self) {
        if self.segments.back().is_some_and(|last| last.bytes == 0) {
            self.segments.pop_back();
        }
        if self.unread + 1 == self.next {
            self.unread = self.next;
        }
    }

    /// Deletes the oldest segment. Records of it that are lent stay lent.
    fn drop_oldest(&mut self) {
        let Some(oldest) = self.segments.pop_front() else { return };
        if self.unread < oldest.end {
            let lost = oldest.end - self.unread.max(oldest.first);
            self.missed += lost;
            self.dropped += lost;
            self.unread = oldest.end;
            self.loaded.clear();
        }
        self.unsynced.remove(&oldest.first);
        // A file that stays is deleted at the next start.
        let _ = self.disk.remove(&oldest.name());
    }

    /// Lends the oldest entry.
    pub(super) fn take(&mut self) -> Option<Item> {
        if self.loaded.is_empty() && self.missed == 0 {
            self.load();
        }
        if self.missed > 0 {
            return Some(Item::Missed(std::mem::take(&mut self.missed)));
        }
        let mut item = self.loaded.pop_front()?;
        if let Item::Message(message) = &mut item {
            message.number = Some(self.unread);
            self.lent.insert(self.unread);
        }
        self.unread += 1;
        Some(item)
    }

    /// Loads the entries of the next segment that has any.
    fn load(&mut self) {
        while self.unread < self.next {
            let Some(segment) = self.segments.iter().find(|segment| segment.end > self.unread) else {
                self.missed += self.next - self.unread;
                self.unread = self.next;
                return;
            };
            let (first, end, name) = (segment.first, segment.end, segment.name());
            self.missed += first.saturating_sub(self.unread);
            self.unread = self.unread.max(first);
            let bytes = self.disk.read(&name, SEGMENT_BYTES_MAX).unwrap_or_default();
            let (mut rest, mut number) = (&bytes[..], first);
            while number < end
                && let Some((item, length)) = record::decode(rest, number)
            {
                if number >= self.unread {
                    self.loaded.push_back(item);
                }
                (rest, number) = (&rest[length..], number + 1);
            }
            if !self.loaded.is_empty() {
                return;
            }
            // The file changed under the store.
            self.missed += end - self.unread;
            self.unread = end;
        }
    }

    /// A broker has acknowledged a lent entry, or no broker ever will.
    pub(super) fn done(&mut self, number: u64) {
        self.lent.remove(&number);
        self.remove_done();
    }

    /// Takes lent entries back, the oldest first.
    pub(super) fn put_back(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            let Some(number) = item.number() else { continue };
            self.lent.remove(&number);
            // A segment that was dropped meanwhile took the numbers between with it.
            if number + 1 != self.unread {
                self.loaded.clear();
            }
            self.unread = number;
            self.loaded.push_front(item);
        }
    }

    /// Deletes the segments behind which the cursor stands.
    fn remove_done(&mut self) {
        let oldest = self.oldest();
        if self.segments.front().is_some_and(|first| first.end <= oldest) && oldest > self.cursor {
            // Otherwise a start would use the numbers of the deleted records again.
            self.cursor = oldest;
            let _ = self.write_cursor();
        }
        while self.segments.front().is_some_and(|first| first.end <= oldest) {
            if let Some(segment) = self.segments.pop_front() {
                self.unsynced.remove(&segment.first);
                let _ = self.disk.remove(&segment.name());
            }
        }
    }

    /// Brings everything to the medium, and moves the cursor.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        for first in std::mem::take(&mut self.unsynced) {
            let name = Segment { first, end: first, bytes: 0 }.name();
            self.disk.sync(&name)?;
        }
        if std::mem::take(&mut self.names_changed) {
            self.disk.sync_names()?;
        }
        let oldest = self.oldest();
        if oldest > self.cursor {
            self.cursor = oldest;
            self.write_cursor()?;
            self.disk.sync(CURSOR)?;
        }
        Ok(())
    }

    /// The oldest record that no broker has acknowledged.
    fn oldest(&self) -> u64 {
        self.lent.first().copied().unwrap_or(self.unread).min(self.unread)
    }
}
