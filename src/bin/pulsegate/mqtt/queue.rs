//! Messages that wait for the broker, in order, within a bound.

use std::collections::VecDeque;

use log::warn;

use super::store::Store;
use super::topics::Topic;

/// A message of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(super) topic: Topic,
    pub(super) payload: Box<[u8]>,
    pub(super) retain: bool,
    /// The time of the event, RFC 3339.
    pub(super) time: Box<str>,
    /// The gateway's run and the number of the event, `boot-seq`. Empty if the gateway numbers no events.
    pub(super) seq: Box<str>,
    /// Whether it waited for a broker that was away, or is sent again.
    pub(super) waited: bool,
    /// Connections that ended while this was the oldest message without acknowledgement.
    pub(super) strikes: u8,
    /// The number of its record, if the store lent it.
    pub(super) number: Option<u64>,
}

/// An entry of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Message(Message),
    /// This number of messages is missing here.
    Missed(u64),
}

impl Item {
    /// Bytes that the entry counts as.
    fn bytes(&self) -> usize {
        match self {
            Self::Message(message) => {
                let texts = message.topic.as_str().len() + message.time.len() + message.seq.len();
                message.payload.len() + texts + ITEM_BYTES
            }
            Self::Missed(_) => ITEM_BYTES,
        }
    }

    /// The number of the entry's record in the store, if it has one.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Message(message) => message.number,
            Self::Missed(_) => None,
        }
    }

    /// The messages that the entry stands for.
    pub(super) fn messages(&self) -> u64 {
        match self {
            Self::Message(_) => 1,
            Self::Missed(messages) => *messages,
        }
    }
}

/// Bytes of an entry besides its texts: the entry and the allocator's share of four allocations.
const ITEM_BYTES: usize = 160;

/// Which messages go when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    DropOldest,
    DropNewest,
}

/// Messages that wait, and the bytes of messages on their way. `take` lends an entry to the session, and `done` or
/// `put_back` ends the loan. Entries in memory are older than those in the store: while the store has any, new ones go
/// there.
pub(super) struct Queue {
    waiting: VecDeque<Item>,
    bytes: usize,
    bytes_max: usize,
    full: Full,
    /// Messages that found no room since the process started.
    dropped: u64,
    store: Option<Store>,
    /// Messages that the disk did not take, and that no entry reports.
    missed: u64,
}

impl Queue {
    /// A queue of at most `bytes_max` bytes, or of one message.
    pub(super) fn new(bytes_max: usize, full: Full) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, bytes_max, full, dropped: 0, store: None, missed: 0 }
    }

    /// Bytes of all entries that no `done` has ended.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Entries that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.store.as_ref().map_or(0, |store| store.len() as usize)
    }

    /// Whether entries wait in memory.
    pub(super) fn has_memory(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped + self.store.as_ref().map_or(0, Store::dropped)
    }

    /// Appends an entry. Without a broker, what memory has no room for goes to the store. The oldest or the newest
    /// messages go if there is no room at all.
    pub(super) fn push(&mut self, item: Item, broker_is_up: bool) {
        let is_spilling = self.store.as_ref().is_some_and(|store| !store.is_empty());
        if !is_spilling && self.store.is_some() && !broker_is_up && self.has_no_room(&item) {
            self.spill();
            return self.append_to_store(&item);
        }
        if is_spilling {
            return self.append_to_store(&item);
        }
        self.push_to_memory(item);
    }

    fn push_to_memory(&mut self, item: Item) {
        match item {
            // Numbers that follow each other become one.
            Item::Missed(messages) => match self.waiting.back_mut() {
                Some(Item::Missed(earlier)) => *earlier += messages,
                _ => self.append(item),
            },
            Item::Message(_) => {
                while self.has_no_room(&item) {
                    match self.full {
                        Full::DropOldest => self.drop_oldest(),
                        Full::DropNewest => {
                            self.dropped += 1;
                            return self.push_to_memory(Item::Missed(1));
                        }
                    }
                }
                self.append(item);
            }
        }
    }

    fn append(&mut self, item: Item) {
        self.bytes += item.bytes();
        self.waiting.push_back(item);
    }

    fn has_no_room(&self, item: &Item) -> bool {
        let has_messages = self.waiting.iter().take(2).any(|item| matches!(item, Item::Message(_)));
        has_messages && self.bytes + item.bytes() > self.bytes_max
    }

    /// Drops the oldest message that waits, and leaves its number in its place.
    fn drop_oldest(&mut self) {
        let mut missed = 0;
        while let Some(item) = self.waiting.pop_front() {
            self.bytes -= item.bytes();
            missed += item.messages();
            if let Item::Message(_) = item {
                self.dropped += 1;
                break;
            }
        }
        if let Some(Item::Missed(later)) = self.waiting.front_mut() {
            *later += missed;
            return;
        }
        let item = Item::Missed(missed);
        self.bytes += item.bytes();
        self.waiting.push_front(item);
    }

    /// Lends the oldest entry.
    pub(super) fn take(&mut self) -> Option<Item> {
        if let Some(item) = self.waiting.pop_front() {
            return Some(item);
        }
        let store = self.store.as_mut().filter(|_| self.bytes < self.bytes_max)?;
        let item = store.take().or_else(|| {
            let missed = std::mem::take(&mut self.missed);
            (missed > 0).then_some(Item::Missed(missed))
        })?;
        self.bytes += item.bytes();
        Some(item)
    }

    /// The entry has reached its end.
    pub(super) fn done(&mut self, item: &Item) {
        self.bytes -= item.bytes();
        if let (Some(number), Some(store)) = (item.number(), &mut self.store) {
            store.done(number);
        }
    }

    /// A lent entry will never be delivered: its number stays in its place.
    pub(super) fn set_aside(&mut self, item: Item) {
        self.done(&item);
        if let Item::Message(_) = item {
            let missed = Item::Missed(1);
            self.bytes += missed.bytes();
            self.put_back(vec![missed]);
        }
    }

    /// Takes lent entries back, the oldest first.
    pub(super) fn put_back(&mut self, items: Vec<Item>) {
        let (stored, items): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| item.number().is_some());
        if let Some(store) = &mut self.store {
            self.bytes -= stored.iter().map(Item::bytes).sum::<usize>();
            store.put_back(stored);
        }
        for item in items.into_iter().rev() {
            match (&item, self.waiting.front_mut()) {
                (Item::Missed(earlier), Some(Item::Missed(later))) => {
                    *later += earlier;
                    self.done(&item);
                }
                _ => self.waiting.push_front(item),
            }
        }
    }
}

impl Queue {
    /// Gives the queue a store. Messages in it are older than all others.
    pub(super) fn set_store(&mut self, store: Store) {
        self.store = Some(store);
    }

    /// Moves everything in memory to the store.
    pub(super) fn spill(&mut self) {
        if self.store.is_none() {
            return;
        }
        for item in std::mem::take(&mut self.waiting) {
            self.bytes -= item.bytes();
            self.append_to_store(&item);
        }
    }

    fn append_to_store(&mut self, item: &Item) {
        let Some(store) = &mut self.store else { return };
        if self.missed > 0 && store.push(&Item::Missed(self.missed)).is_ok() {
            self.missed = 0;
        }
        if let Err(error) = store.push(item) {
            self.missed += item.messages();
            self.dropped += item.messages();
            if self.dropped.is_power_of_two() {
                warn!("the store does not take a message: {error} ({} so far)", self.dropped);
            }
        }
    }

    /// Whether a power cut may cost messages that the store has taken.
    pub(super) fn is_unsynced(&self) -> bool {
        self.store.as_ref().is_some_and(Store::is_unsynced)
    }

    /// Brings the store to the medium.
    pub(super) fn sync(&mut self) {
        if let Some(Err(error)) = self.store.as_mut().map(Store::sync) {
            warn!("the store cannot be synced: {error}");
        }
    }

    /// Bytes of the store.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.store.as_ref().map_or(0, Store::bytes)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message with that number as its `seq`.
    pub(in super::super) fn message(number: u64, payload_bytes: usize) -> Item {
        Item::Message(Message {
            topic: Topic::new("a").unwrap(),
            payload: vec![b'x'; payload_bytes].into(),
            retain: false,
            time: "".into(),
            seq: number.to_string().into(),
            waited: false,
            strikes: 0,
            number: None,
        })
    }

    /// The numbers of the messages that wait, and the missing ones in brackets.
    fn shown(queue: &mut Queue) -> String {
        let mut shown = Vec::new();
        while let Some(item) = queue.take() {
            queue.done(&item);
            shown.push(match item {
                Item::Message(message) => message.seq.to_string(),
                Item::Missed(messages) => format!("[{messages}]"),
            });
        }
        assert_eq!(queue.bytes(), 0);
        shown.join(" ")
    }

    fn fill(full: Full, lent: usize) -> (Queue, Vec<Item>) {
        // Room for three messages and a number.
        let mut queue = Queue::new(3 * message(1, 100).bytes() + ITEM_BYTES, full);
        let mut items = Vec::new();
        for number in 1..=9 {
            queue.push(message(number, 100), false);
            if items.len() < lent {
                items.extend(queue.take());
            }
        }
        (queue, items)
    }

    #[test]
    fn the_oldest_messages_go_and_their_number_stays_in_their_place() {
        let (mut queue, _) = fill(Full::DropOldest, 0);
        assert_eq!(queue.dropped(), 6);
        assert_eq!(shown(&mut queue), "[6] 7 8 9");
        let (mut queue, lent) = fill(Full::DropOldest, 2);
        queue.put_back(lent);
        assert_eq!(shown(&mut queue), "1 2 [6] 9");
    }

    #[test]
    fn the_newest_messages_go_where_the_configuration_says_so() {
        let (mut queue, _) = fill(Full::DropNewest, 0);
        assert_eq!(queue.dropped(), 6);
        assert_eq!(shown(&mut queue), "1 2 3 [6]");
    }

    #[test]
    fn one_message_has_room_whatever_its_length() {
        let mut queue = Queue::new(100, Full::DropOldest);
        queue.push(message(1, 1000), false);
        queue.push(message(2, 2000), false);
        assert_eq!(shown(&mut queue), "[1] 2");
    }
}
