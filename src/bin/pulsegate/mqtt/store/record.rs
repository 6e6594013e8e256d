//! Records of the store: a header with a check sum, and one entry of the queue.
//!
//! ```text
//! bytes of the body  u32    CRC-32 of number and body  u32    number  u64    body
//! body of a message: 0, retain u8, length of time u8, of seq u8, of topic u16, time, seq, topic, payload
//! body of missing messages: 1, number u64
//! ```

use crate::mqtt::queue::{Item, Message};
use crate::mqtt::topics::Topic;

/// Bytes of a record before its body.
pub(super) const HEADER_BYTES: usize = 16;
/// The longest body. Objects have at most 16 MiB.
const BODY_BYTES_MAX: usize = 17 << 20;

/// Writes an entry. `None` if it does not fit the form.
pub(super) fn encode(number: u64, item: &Item) -> Option<Vec<u8>> {
    let mut record = vec![0; HEADER_BYTES];
    match item {
        Item::Missed(messages) => {
            record.push(1);
            record.extend(messages.to_le_bytes());
        }
        Item::Message(message) => {
            let topic = message.topic.as_str();
            record.extend([0, u8::from(message.retain)]);
            record.extend([u8::try_from(message.time.len()).ok()?, u8::try_from(message.seq.len()).ok()?]);
            record.extend(u16::try_from(topic.len()).ok()?.to_le_bytes());
            for part in [message.time.as_bytes(), message.seq.as_bytes(), topic.as_bytes(), &message.payload] {
                record.extend_from_slice(part);
            }
        }
    }
    let body_bytes = u32::try_from(record.len() - HEADER_BYTES).ok()?;
    record[8..16].copy_from_slice(&number.to_le_bytes());
    let sum = crc32fast::hash(&record[8..]);
    record[..4].copy_from_slice(&body_bytes.to_le_bytes());
    record[4..8].copy_from_slice(&sum.to_le_bytes());
    Some(record)
}

/// Reads the record at the front of `bytes`, if it is complete, unharmed, and has that number. Also returns its length.
pub(super) fn decode(bytes: &[u8], number: u64) -> Option<(Item, usize)> {
    let header = bytes.get(..HEADER_BYTES)?;
    let body_bytes = u32::from_le_bytes(header[..4].try_into().ok()?) as usize;
    let end = HEADER_BYTES.checked_add(body_bytes).filter(|_| body_bytes <= BODY_BYTES_MAX)?;
    let summed = bytes.get(8..end)?;
    let sum = u32::from_le_bytes(header[4..8].try_into().ok()?);
    if header[8..16] != number.to_le_bytes() || crc32fast::hash(summed) != sum {
        return None;
    }
    Some((item(&summed[8..])?, end))
}

fn item(body: &[u8]) -> Option<Item> {
    match *body {
        [1, ref rest @ ..] => Some(Item::Missed(u64::from_le_bytes(rest.try_into().ok()?))),
        [0, retain, time, seq, topic_low, topic_high, ref rest @ ..] => {
            let (time, rest) = rest.split_at_checked(time.into())?;
            let (seq, rest) = rest.split_at_checked(seq.into())?;
            let (topic, payload) = rest.split_at_checked(u16::from_le_bytes([topic_low, topic_high]).into())?;
            let text = |bytes| std::str::from_utf8(bytes).ok();
            Some(Item::Message(Message {
                topic: Topic::new(text(topic)?)?,
                payload: payload.into(),
                retain: retain != 0,
                time: text(time)?.into(),
                seq: text(seq)?.into(),
                waited: true,
                strikes: 0,
                number: Some(0),
            }))
        }
        _ => None,
    }
}
