//! Any bytes at any cuts give the objects, verdicts, faults and offsets of a reference that follows the protocol byte by byte.
//! The reference uses serde_json to check JSON.
//!
//! Input: the size limit, the number of read lengths, the read lengths (used in turn), the stream.

#![no_main]

use std::fmt;

use libfuzzer_sys::fuzz_target;
use pulsegate::unstable::proto::{FramingCause, Message, Reason, Splitter, PartialObjects, Reassembled};
use pulsegate_fuzz::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Offset, depth, ascii, bytes, and the `Type` or what is wrong: with its place and words among runs.
#[derive(Debug, PartialEq)]
struct Seen<V> {
    offset: u64,
    depth: u32,
    ascii: bool,
    bytes: Vec<u8>,
    verdict: V,
}

/// The fault, or the position in the stream and the partial object there.
type End = Result<(u64, Option<(u64, usize)>), (FramingCause, u64)>;
type Verdict = Result<String, (Reason, u64, &'static str)>;

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes(data);
    let limit = match input.byte() {
        255 => 1 << 20,
        small => u32::from(small) * 8,
    };
    let lengths = input.below(16);
    let lengths: Vec<usize> = input.take(lengths).iter().map(|&length| usize::from(length)).collect();
    let stream = input.0;

    let whole = run([stream], limit);
    let expected = reference(stream, limit as usize);
    // An object that is too large is broken before that, where the check of its part says so.
    let broken = matches!((&whole.1, &expected.1), (Err((FramingCause::InvalidJson(_), at)), Err((FramingCause::TooLarge, start))) if at > start);
    assert!(broken || whole.1 == expected.1, "{:?}, but expected {:?}", whole.1, expected.1);
    assert_eq!(whole.0.len(), expected.0.len());
    for (seen, expected) in whole.0.iter().zip(&expected.0) {
        let outer = |seen: &Seen<Verdict>| (seen.offset, seen.depth, seen.ascii);
        assert_eq!(outer(seen), (expected.offset, expected.depth, expected.ascii));
        assert_eq!(seen.bytes, expected.bytes);
        assert!(
            expected.verdict.iter().any(|verdict| verdict.fits(&seen.verdict, seen.offset)),
            "{:?}, but expected {:?} of {}",
            seen.verdict,
            expected.verdict,
            String::from_utf8_lossy(&seen.bytes)
        );
    }
    assert_eq!(run(stream.chunks(1), limit), whole, "byte by byte");
    if lengths.iter().any(|&length| length > 0) {
        let mut rest = stream;
        let reads = lengths.iter().cycle().map_while(|&length| {
            let (read, behind) = rest.split_at(length.min(rest.len()));
            rest = behind;
            (!rest.is_empty() || !read.is_empty()).then_some(read)
        });
        assert_eq!(run(reads, limit), whole, "cut to {lengths:?}");
    }
});

fn run<'a>(reads: impl IntoIterator<Item = &'a [u8]>, limit: u32) -> (Vec<Seen<Verdict>>, End) {
    let (mut splitter, mut tails, mut whole, mut seen, mut sent) =
        (Splitter::new(), PartialObjects::new(), Reassembled::default(), Vec::new(), 0);
    for read in reads {
        let mut rest = read;
        loop {
            let (used, object) = match splitter.push(rest, limit, &mut tails, &mut whole) {
                Ok(pushed) => pushed,
                Err(fault) => return (seen, Err((fault.cause, fault.offset))),
            };
            rest = &rest[used..];
            let Some(object) = object else { break };
            let message = Message::check(&object, 127);
            if let Ok(message) = &message {
                assert_eq!((message.bytes(), message.offset()), (object.bytes, object.offset));
            }
            seen.push(Seen {
                offset: object.offset,
                depth: object.depth,
                ascii: object.ascii,
                bytes: object.bytes.to_vec(),
                verdict: message
                    .map(|message| message.type_name().to_owned())
                    .map_err(|error| (error.reason, error.offset, error.detail)),
            });
        }
        sent += read.len() as u64;
        assert!(rest.is_empty());
        assert_eq!(splitter.offset(), sent);
        // The check between two reads makes no difference to what follows.
        let _ = splitter.check_unfinished(&mut tails);
        let held = splitter.unfinished().map_or(0, |(_, bytes)| bytes);
        assert!(splitter.held(&tails) <= held * 8 + 256, "{held} bytes are held in {}", splitter.held(&tails));
    }
    (seen, Ok((splitter.offset(), splitter.unfinished())))
}

/// The reference, which follows the protocol byte by byte.
fn reference(stream: &[u8], limit: usize) -> (Vec<Seen<Vec<Expected>>>, End) {
    let mark = b"\xEF\xBB\xBF";
    let mut at = 0;
    let mut seen = Vec::new();
// The begin of the partial object, and its open containers.
    let mut start = None;
    let (mut braces, mut brackets, mut depth, mut quoted, mut escaped) = (0, 0_u32, 0, false, false);
    while let Some(&byte) = stream.get(at) {
        if start.is_none() {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | 0 | 0x1E | b',' => {
                    at += 1;
                    continue;
                }
                0xEF => {
                    let part = mark.iter().zip(&stream[at..]).take_while(|(mark, byte)| mark == byte).count();
                    if part == mark.len() {
                        at += part;
                        continue;
                    }
                    let end = match at + part == stream.len() {
                        true => Ok((stream.len() as u64, Some((at as u64, part)))),
                        false => Err((FramingCause::UnexpectedByte(byte), at as u64)),
                    };
                    return (seen, end);
                }
                b'{' => (start, depth) = (Some(at), 0),
                _ => {
                    return (seen, Err((FramingCause::UnexpectedByte(byte), at as u64)));
                }
            }
        }
        let first = start.unwrap_or(at);
        if at - first >= limit {
            return (seen, Err((FramingCause::TooLarge, first as u64)));
        }
        at += 1;
        match (quoted, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => quoted = !quoted,
            (true, _) => {}
            (_, b'{') => braces += 1,
            (_, b'[') => brackets += 1,
            (_, b'}') => braces -= 1,
            (_, b']') => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        depth = depth.max(braces + brackets);
        if braces == 0 {
            let bytes = stream[first..at].to_vec();
            let (offset, ascii, verdict) = (first as u64, bytes.is_ascii(), expected(&bytes, depth));
            seen.push(Seen { offset, depth, ascii, bytes, verdict });
            (start, brackets) = (None, 0);
        }
    }
    (seen, Ok((at as u64, start.map(|start| (start as u64, at - start)))))
}

/// An expected verdict. It has the place in the object if the reference knows it.
#[derive(Debug)]
enum Expected {
    Type(String),
    Refused(Reason, Option<usize>),
}

impl Expected {
    fn fits(&self, verdict: &Verdict, offset: u64) -> bool {
        match (self, verdict) {
            (Self::Type(expected), Ok(name)) => expected == name,
            (Self::Refused(expected, place), Err((reason, at, _))) => {
                expected == reason && *at >= offset && place.is_none_or(|place| offset + place as u64 == *at)
            }
            _ => false,
        }
    }
}

/// The verdicts on an object that are right: one, but where two things are wrong with its `Type`.
fn expected(bytes: &[u8], depth: u32) -> Vec<Expected> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return vec![Expected::Refused(Reason::InvalidUtf8, Some(error.valid_up_to()))],
    };
    if depth > 127 {
        return vec![Expected::Refused(Reason::TooDeep, None)];
    }
// serde_json accepts control characters in strings that it reads as bytes, such as the keys below. So it checks twice.
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    let Some(top) = serde_json::from_str::<Top<'_>>(text).ok().filter(|_| is_json) else {
        return vec![Expected::Refused(Reason::InvalidJson, None)];
    };
    // serde_json lets it pass in values that it skips.
    if has_unpaired_surrogate(text) {
        return vec![Expected::Refused(Reason::InvalidJson, None)];
    }
    let mut verdicts = Vec::new();
    match &top.types[..] {
        [] => verdicts.push(Expected::Refused(Reason::NoType, Some(0))),
        [value] if !value.get().starts_with('"') => {
            let at = value.get().as_ptr() as usize - text.as_ptr() as usize;
            verdicts.push(Expected::Refused(Reason::TypeNotString, Some(at)));
        }
        [value] => verdicts.extend(serde_json::from_str::<String>(value.get()).map(|name| match name.len() {
            ..=256 => Expected::Type(name),
            _ => {
                let at = value.get().as_ptr() as usize - text.as_ptr() as usize;
                Expected::Refused(Reason::TypeTooLong, Some(at))
            }
        })),
        _ => verdicts.push(Expected::Refused(Reason::DuplicateType, None)),
    }
    verdicts
}

/// Of valid JSON: whether the escape of a surrogate stands without its other half.
fn has_unpaired_surrogate(text: &str) -> bool {
    let mut escapes = text.split('\\').skip(1).fuse();
    while let Some(escape) = escapes.next() {
        let unit = |escape: &str| u16::from_str_radix(escape.strip_prefix('u')?.get(..4)?, 16).ok();
        match unit(escape) {
            // An escaped backslash leaves an empty piece, and the next piece begins with what it escapes.
            _ if escape.is_empty() => drop(escapes.next()),
            Some(0xD800..0xDC00) if escape.len() == 5 => {
                let low = escapes.next().and_then(unit);
                if !low.is_some_and(|low| (0xDC00..0xE000).contains(&low)) {
                    return true;
                }
            }
            Some(0xD800..0xE000) => return true,
            _ => {}
        }
    }
    false
}

/// The values of every `Type` at the top level.
struct Top<'a> {
    types: Vec<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Top<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top<'de>, A::Error> {
        let mut types = Vec::new();
        while let Some((IsType(is_type), value)) = map.next_entry::<IsType, &RawValue>()? {
            if is_type {
                types.push(value);
            }
        }
        Ok(Top { types })
    }
}

/// Whether a key is `Type`. It is read as bytes, because a key may have unpaired surrogates.
struct IsType(bool);

impl<'de> Deserialize<'de> for IsType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl Visitor<'_> for Key {
            type Value = IsType;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<IsType, E> {
                Ok(IsType(bytes == b"Type"))
            }
        }
        deserializer.deserialize_bytes(Key)
    }
}
