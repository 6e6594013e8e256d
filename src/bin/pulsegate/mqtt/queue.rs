//! Messages that wait for the broker, in order, within a bound.

use std::collections::VecDeque;

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
/// `put_back` ends the loan.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Item>,
    bytes: usize,
    bytes_max: usize,
    full: Full,
    /// Messages that found no room since the process started.
    dropped: u64,
}

impl Queue {
    /// A queue of at most `bytes_max` bytes, or of one message.
    pub(super) fn new(bytes_max: usize, full: Full) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, bytes_max, full, dropped: 0 }
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
        self.waiting.len()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Appends an entry. The oldest or the newest messages go if there is no room.
    pub(super) fn push(&mut self, item: Item) {
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
                            return self.push(Item::Missed(1));
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
        self.waiting.pop_front()
    }

    /// The entry has reached its end.
    pub(super) fn done(&mut self, item: &Item) {
        self.bytes -= item.bytes();
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
            queue.push(message(number, 100));
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
        queue.push(message(1, 1000));
        queue.push(message(2, 2000));
        assert_eq!(shown(&mut queue), "[1] 2");
    }
}
