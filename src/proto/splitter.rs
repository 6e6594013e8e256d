//! Cuts a byte stream without framing into JSON objects. Layer 0.
//!
//! The one sound boundary is the byte after the brace that closes the outermost object. Braces and strings decide it, no
//! other JSON does. *Invariant:* the same bytes give the same objects, the same fault and the same offsets, however they
//! are cut into reads, in time linear in the bytes.
//!
//! Most objects are short, valid, and lie whole in the input. The walk that checks such an object also finds its end, in
//! one pass. All others are scanned.

use super::framing::{FramingCause, FramingFault};
use super::grammar::Grammar;
use super::near::Near;
use super::partial_objects::{Key, PartialObjects, Reassembled};
use super::{json, object::Object, scan::Scan};

/// The splitter of one connection. The bytes of an unfinished object lie in [`PartialObjects`]. After a fault it must not be used
/// again.
#[derive(Debug, Default)]
pub struct Splitter {
    /// Bytes consumed since the connection began.
    offset: u64,
    /// Bytes of them that belong to an unfinished object or byte order mark.
    begun: u32,
    /// The unfinished object, if there is one.
    tail: Option<Key>,
}

const _: () = assert!(size_of::<Splitter>() <= 16);

impl Splitter {
    /// The splitter of a connection that has just begun.
    pub const fn new() -> Self {
        Self { offset: 0, begun: 0, tail: None }
    }

    /// Takes what is left of a read: gives the bytes used, and the object if one ended there.
    ///
    /// Call it with the rest until it gives `None`, even when the rest is empty: then all is used.
    /// An object that lies whole in `input` is lent from there. The parts of any other are gathered in
    /// `tails`, never in more than `object_bytes_max` bytes, and lent from `whole`.
    ///
    /// An object of more than `object_bytes_max` bytes is a fault as soon as one byte more has come. The bytes in
    /// front of that byte count as used, and unfinished.
    pub fn push<'a>(
        &mut self,
        input: &'a [u8],
        object_bytes_max: u32,
        tails: &mut PartialObjects,
        whole: &'a mut Reassembled,
    ) -> Result<(usize, Option<Object<'a>>), FramingFault> {
        self.push_and_find(input, object_bytes_max, "", tails, whole)
    }

    /// As [`Self::push`]. The pass that checks an object also finds its top-level member with the key `identity`, if that
    /// is not empty.
    pub fn push_and_find<'a>(
        &mut self,
        input: &'a [u8],
        object_bytes_max: u32,
        identity: &str,
        tails: &mut PartialObjects,
        whole: &'a mut Reassembled,
    ) -> Result<(usize, Option<Object<'a>>), FramingFault> {
        let max = object_bytes_max as usize;
        tails.recycle(whole);
        if let Some(tail) = self.tail {
            return self.resume(tail, input, max, tails, whole);
        }
        let separators = self.skip_separators(input)?;
        let input = &input[separators..];
        match input.first() {
            Some(b'{') => {}
            Some(&byte) => {
                return Err(self.fault(FramingCause::UnexpectedByte(byte), Near::of(input, b"")));
            }
            None => return Ok((separators, None)),
        }
        let (object, next) = input.split_at(input.len().min(max));
        if let Some(object) = self.valid_object(object, identity) {
            self.offset += object.bytes.len() as u64;
            return Ok((separators + object.bytes.len(), Some(object)));
        }
        let mut scan = Scan::default();
        let end = scan.run(object, 0);
        let offset = self.offset;
        let object = &object[..end.unwrap_or(object.len())];
        self.offset += object.len() as u64;
        let used = separators + object.len();
        if end.is_some() {
            return Ok((used, Some(scan.object(object, offset))));
        }
        self.begun = object.len() as u32;
        if !next.is_empty() {
            let broken = Grammar::default().take(object).err();
            return Err(self.object_fault(FramingCause::TooLarge, broken, input, b""));
        }
        self.tail = Some(tails.begin(object, scan, object_bytes_max));
        Ok((used, None))
    }

    /// Bytes consumed since the connection began.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the unfinished object starts in the stream, and how many bytes of it have come. (A
    /// part of a byte order mark counts as one, so that a connection cannot rest on it for ever.)
    pub fn unfinished(&self) -> Option<(u64, usize)> {
        (self.begun > 0).then_some((self.offset - u64::from(self.begun), self.begun as usize))
    }

    /// Checks whether the unfinished object can still become JSON. Each byte is looked at in one call alone.
    pub fn check_unfinished(&self, tails: &mut PartialObjects) -> Result<(), FramingFault> {
        let Some(tail) = self.tail else { return Ok(()) };
        let begun = self.begun as usize;
        match tails.check_grammar(tail, begun, b"") {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.object_fault(FramingCause::Timeout, Some(fault), tails.received(tail, begun), b"")),
        }
    }

    /// The fault that ends an object which takes too long. An object that cannot become JSON any more ends for that.
    pub fn timeout(&self, tails: &mut PartialObjects) -> FramingFault {
        let late = |received: &[u8]| self.object_fault(FramingCause::Timeout, None, received, b"");
        self.check_unfinished(tails).err().unwrap_or_else(|| match self.tail {
            Some(tail) => late(tails.received(tail, self.begun as usize)),
            None => late(&BYTE_ORDER_MARK[..self.begun as usize]),
        })
    }

    /// Resident bytes of its region in `tails`, 0 while it fits a stub.
    pub fn region(&self, tails: &PartialObjects) -> usize {
        self.tail.map_or(0, |tail| tails.region_of(tail))
    }

    /// Bytes that it, or the next object, can take without more resident memory.
    pub(crate) fn room(&self, tails: &PartialObjects) -> usize {
        tails.room_of(self.tail, self.begun as usize)
    }

    /// The object at the start of `input`, if it lies there whole, is not long, and is JSON. Then
    /// its braces balance where the walk ends and nowhere before, so the scan would give the same.
    fn valid_object<'a>(&self, input: &'a [u8], identity: &str) -> Option<Object<'a>> {
        let outcome = json::walk(&input[..input.len().min(WALK_BYTES_MAX)], &(0..0), identity).ok()?;
        let bytes = &input[..outcome.bytes];
        let (depth, ascii) = (outcome.depth, bytes.is_ascii());
        Some(Object { bytes, offset: self.offset, depth, ascii, unescaped: 0..0, valid: Some(outcome.found) })
    }

    /// Gives back the memory of an unfinished object. The splitter must not be used again.
    pub fn release(&mut self, tails: &mut PartialObjects) {
        if let Some(tail) = self.tail.take() {
            tails.release(tail);
        }
        self.begun = 0;
    }

    /// Goes on with an object that began in an earlier input.
    fn resume<'a>(
        &mut self,
        tail: Key,
        input: &[u8],
        max: usize,
        tails: &mut PartialObjects,
        whole: &'a mut Reassembled,
    ) -> Result<(usize, Option<Object<'a>>), FramingFault> {
        let before = self.begun as usize;
        // A limit that a reload lowers holds for objects that begin afterwards.
        let max = max.max(tails.bytes_max(tail) as usize);
        let (object, next) = input.split_at(input.len().min(max.saturating_sub(before)));
        let end = tails.scan(tail).run(object, before);
        let offset = self.offset - before as u64;
        let Some(end) = end else {
            self.offset += object.len() as u64;
            self.begun += object.len() as u32;
            if !next.is_empty() {
                let broken = tails.check_grammar(tail, before, object).err();
                return Err(self.object_fault(FramingCause::TooLarge, broken, tails.received(tail, before), input));
            }
            tails.append(tail, before, object);
            return Ok((object.len(), None));
        };
        self.offset += end as u64;
        (self.begun, self.tail) = (0, None);
        let (scan, bytes) = tails.finish(tail, before, &object[..end], whole);
        Ok((end, Some(scan.object(bytes, offset))))
    }

    /// Skips all that may stand between objects: separators, and byte order marks (RFC 3629, section 6), each of which
    /// may be cut. The first byte of a mark with a wrong byte is unexpected.
    fn skip_separators(&mut self, input: &[u8]) -> Result<usize, FramingFault> {
        let mut used = 0;
        while let Some(&byte) = input.get(used) {
            let mark = self.begun as usize;
            if byte == BYTE_ORDER_MARK[mark] {
                self.begun = (self.begun + 1) % BYTE_ORDER_MARK.len() as u32;
            } else if mark > 0 {
                self.begun = 0;
                let fault = self.fault(
                    FramingCause::UnexpectedByte(BYTE_ORDER_MARK[0]),
                    Near::of(&BYTE_ORDER_MARK[..mark], &input[used..]),
                );
                return Err(FramingFault { offset: fault.offset - mark as u64, ..fault });
            } else if !is_separator(byte) {
                break;
            }
            used += 1;
            self.offset += 1;
        }
        Ok(used)
    }

    /// A fault at the next byte of the stream.
    fn fault(&self, cause: FramingCause, near: Near) -> FramingFault {
        FramingFault { cause, offset: self.offset, near }
    }

    /// The fault that ends the unfinished object: `broken`, if its grammar is, else `cause`. Its bytes lie in `received`
    /// and `input`.
    #[cold]
    fn object_fault(
        &self,
        cause: FramingCause,
        broken: Option<json::Fault>,
        received: &[u8],
        input: &[u8],
    ) -> FramingFault {
        let at = broken.map_or(0, |fault| fault.at);
        let from_input = at.saturating_sub(received.len()).min(input.len());
        let near = Near::of(received.get(at..).unwrap_or_default(), &input[from_input..]);
        let cause = broken.map_or(cause, |fault| FramingCause::InvalidJson(near.explain(at, fault.detail)));
        FramingFault { cause, offset: self.offset - u64::from(self.begun) + at as u64, near }
    }
}

/// Whether a byte may stand between objects: whitespace, the NUL behind a C string, RS (RFC 7464), or a comma.
const fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0 | 0x1E | b',')
}

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];
/// The walk is tried on no more than this, so that a cut or faulty object costs little more for it.
const WALK_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::scan::SCANNED;
    use crate::proto::testing::{self, Rng};

    /// Offset, depth, ascii and bytes.
    type Seen = (u64, u32, bool, Vec<u8>);

    /// All objects of a stream, then its fault or, if there is none, its end and what is unfinished
    /// there.
    #[derive(Debug, PartialEq)]
    struct Outcome {
        objects: Vec<Seen>,
        end: End,
        used: u64,
        unfinished: Option<(u64, usize)>,
    }

    #[test]
    fn every_byte_is_scanned_once_however_an_object_is_cut() {
        let object = format!(r#"{{"Type":"Project","Picture":"{}"}}"#, "QUJD".repeat(4_000));
        for piece in [1, 7, 1_448, 9_000] {
            SCANNED.set(0);
            let (mut splitter, mut tails, mut whole) = (Splitter::new(), PartialObjects::new(), Reassembled::default());
            // Unlike `split`, which compares every read with a model of the whole stream.
            let push = |part| splitter.push(part, 1 << 20, &mut tails, &mut whole).expect("an object").1.is_some();
            let objects = object.as_bytes().chunks(piece).map(push).filter(|is_complete| *is_complete).count();
            assert_eq!((objects, SCANNED.get()), (1, object.len()), "in pieces of {piece} bytes");
        }
    }

    /// The fault's cause and offset, if there is one.
    type End = Result<(), (FramingCause, u64)>;

    impl Outcome {
        /// The first `used` bytes were used, and of those the last `begun` are the part of an object.
        fn new(objects: Vec<Seen>, end: End, used: usize, begun: usize) -> Self {
            let unfinished = (begun > 0).then_some(((used - begun) as u64, begun));
            Self { objects, end, used: used as u64, unfinished }
        }
    }

    fn split<'a>(reads: impl IntoIterator<Item = &'a [u8]>, max: u32) -> Outcome {
        let mut splitter = Splitter::new();
        let (mut tails, mut whole) = (PartialObjects::new(), Reassembled::default());
        let (mut objects, mut stream) = (Vec::new(), Vec::new());
        for read in reads {
            stream.extend_from_slice(read);
            let mut rest = read;
            loop {
                let (used, object) = match splitter.push(rest, max, &mut tails, &mut whole) {
                    Ok(pushed) => pushed,
                    Err(fault) => {
                        let from = &stream[fault.offset as usize..];
                        assert_eq!(fault.near.bytes(), &from[..from.len().min(32)], "{fault:?}");
                        let (used, unfinished) = (splitter.offset(), splitter.unfinished());
                        return Outcome { objects, end: Err((fault.cause, fault.offset)), used, unfinished };
                    }
                };
                rest = &rest[used..];
                let Some(object) = object else { break };
                assert!(object.unescaped.is_empty() || is_unescaped(&object), "{object:?}");
                objects.push((object.offset, object.depth, object.ascii, object.bytes.to_vec()));
            }
            assert_eq!((rest.len(), splitter.offset()), (0, stream.len() as u64));
            let unfinished = splitter.unfinished().map_or(0, |(_, bytes)| bytes);
            check_unfinished(&splitter, &mut tails, &stream[stream.len() - unfinished..]);
            tails.check_invariants();
            let (region, spare) = (splitter.region(&tails), 4096);
            assert!(region <= unfinished + spare, "{region} bytes for {unfinished}");
            assert!(unfinished > 0 || tails.is_empty());
        }
        Outcome { objects, end: Ok(()), used: splitter.offset(), unfinished: splitter.unfinished() }
    }

    /// Between any two reads the check says what the walk over the part says, and whether the object is late or broken
    /// makes no difference to what follows.
    fn check_unfinished(splitter: &Splitter, tails: &mut PartialObjects, part: &[u8]) {
        let found = splitter.check_unfinished(tails).map_err(|fault| (fault.cause, fault.offset, fault.near));
        let expected = broken(part).map_or(Ok(()), |fault| {
            let offset = splitter.offset() - part.len() as u64 + fault.at as u64;
            Err((FramingCause::InvalidJson(fault.detail), offset, Near::of(&part[fault.at..], b"")))
        });
        assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(part));
        let (start, late) = (splitter.offset() - part.len() as u64, splitter.timeout(tails));
        let expected = expected.err().unwrap_or((FramingCause::Timeout, start, Near::of(part, b"")));
        assert_eq!((late.cause, late.offset, late.near), expected);
    }

    /// Where the grammar of an unfinished object broke.
    fn broken(part: &[u8]) -> Option<json::Fault> {
        let fault = json::walk(part, &(0..0), "").err().filter(|_| part.first() == Some(&b'{'))?;
        let is_open = [json::detail::UNEXPECTED_END, json::detail::DEPTH].contains(&fault.detail);
        let detail = Near::of(&part[fault.at..], b"").explain(fault.at, fault.detail);
        (!is_open).then_some(json::Fault { detail, ..fault })
    }

    fn is_unescaped(object: &Object<'_>) -> bool {
        let range = object.unescaped.start as usize..object.unescaped.end as usize;
        object.bytes[range].iter().all(|byte| matches!(byte, b' '..0x80) && *byte != b'"' && *byte != b'\\')
    }

    /// The rules of the protocol, one byte after the other.
    fn naive(stream: &[u8], max: u32) -> Outcome {
        let mut objects = Vec::new();
        let unexpected = |byte, at| Err((FramingCause::UnexpectedByte(byte), at as u64));
        let mut at = 0;
        loop {
            loop {
                let part = BYTE_ORDER_MARK.iter().zip(&stream[at..]).take_while(|(mark, byte)| mark == byte).count();
                match part {
                    3 => at += 3,
                    1 | 2 if at + part == stream.len() => return Outcome::new(objects, Ok(()), stream.len(), part),
                    1 | 2 => return Outcome::new(objects, unexpected(0xEF, at), at + part, 0),
                    _ if at < stream.len() && b" \t\n\r\0\x1e,".contains(&stream[at]) => at += 1,
                    _ => break,
                }
            }
            let Some(&first) = stream.get(at) else {
                return Outcome::new(objects, Ok(()), at, 0);
            };
            if first != b'{' {
                return Outcome::new(objects, unexpected(first, at), at, 0);
            }
            let start = at;
            let (mut braces, mut brackets, mut depth, mut quoted, mut escaped) = (0, 0_u32, 0, false, false);
            while at == start || braces > 0 {
                if at - start == max as usize && at < stream.len() {
                    let fault = broken(&stream[start..at]).map_or((FramingCause::TooLarge, start), |fault| {
                        (FramingCause::InvalidJson(fault.detail), start + fault.at)
                    });
                    return Outcome::new(objects, Err((fault.0, fault.1 as u64)), at, at - start);
                }
                let Some(&byte) = stream.get(at) else {
                    return Outcome::new(objects, Ok(()), at, at - start);
                };
                at += 1;
                if quoted {
                    if escaped {
                        escaped = false;
                    } else if byte == b'\\' {
                        escaped = true;
                    } else if byte == b'"' {
                        quoted = false;
                    }
                    continue;
                }
                match byte {
                    b'"' => quoted = true,
                    b'{' => braces += 1,
                    b'}' => braces -= 1,
                    b'[' => brackets += 1,
                    b']' => brackets = brackets.saturating_sub(1),
                    _ => {}
                }
                depth = depth.max(braces + brackets);
            }
            let object = &stream[start..at];
            objects.push((start as u64, depth, object.is_ascii(), object.to_vec()));
        }
    }

    /// At every pair of cuts, and byte by byte.
    fn check_cuts(stream: &[u8], max: u32) {
        let expected = naive(stream, max);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let reads = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(
                    split(reads, max),
                    expected,
                    "cut at {first}, {second} of {:?}",
                    String::from_utf8_lossy(stream)
                );
            }
        }
        assert_eq!(split(stream.chunks(1), max), expected);
    }

    /// What comes out whole: objects as text, then the fault and its offset.
    fn check(stream: &[u8], objects: &[&str], fault: Option<(FramingCause, u64)>) {
        check_cuts(stream, 1000);
        let outcome = split([stream], 1000);
        let seen: Vec<_> = outcome.objects.iter().map(|object| String::from_utf8_lossy(&object.3)).collect();
        assert_eq!(seen, objects);
        assert_eq!(outcome.end.err(), fault);
    }

    #[test]
    fn rules() {
        use FramingCause::UnexpectedByte;
        check(b"", &[], None);
        check(b" \t\r\n\0", &[], None);
        check(
            br#"{}{"Type":"Heartbeat"}{"a":{"b":{}}}"#,
            &["{}", r#"{"Type":"Heartbeat"}"#, r#"{"a":{"b":{}}}"#],
            None,
        );
        check(b"\0{}\n\0 {}\r\n", &["{}", "{}"], None);
        check(b"\xEF\xBB\xBF \n{}", &["{}"], None);
        check(b"\xEF\xBB\xBF{}\xEF\xBB\xBF{} \xEF\xBB\xBF\n\xEF\xBB\xBF\xEF\xBB\xBF{}", &["{}", "{}", "{}"], None);
        check(b"\xEF\xBB{}", &[], Some((UnexpectedByte(0xEF), 0)));
        check(b"{}\xEF{}", &["{}"], Some((UnexpectedByte(0xEF), 2)));
        check(b"{}\xEF\xBB\xEF\xBB\xBF{}", &["{}"], Some((UnexpectedByte(0xEF), 2)));
        check(b"{}\xBB\xBF{}", &["{}"], Some((UnexpectedByte(0xBB), 2)));
        check(b"\xEF\xBB", &[], None);
        check(b"{}GET / HTTP/1.1\r\n{}", &["{}"], Some((UnexpectedByte(b'G'), 2)));
        check(b"{},{}\x1e{}\n\x1e,,{},\0", &["{}", "{}", "{}", "{}"], None);
        check(b"\0\0\0\x17{}", &[], Some((UnexpectedByte(0x17), 3)));
        check(b"{}}", &["{}"], Some((UnexpectedByte(b'}'), 2)));
        check(b"[{}]", &[], Some((UnexpectedByte(b'['), 0)));
        // Strings hide braces; escapes hide quotes; an escape may itself be escaped.
        check(br#"{"a":"}{"}{"\"}":"\\"}{"\\\"}":1}"#, &[r#"{"a":"}{"}"#, r#"{"\"}":"\\"}"#, r#"{"\\\"}":1}"#], None);
        // Outside strings a backslash is an ordinary byte.
        check(br#"{\"a}"}{\\"}"}{\}{}"#, &[r#"{\"a}"}"#, r#"{\\"}"}"#, r"{\}", "{}"], None);
        // Brackets never end an object, nor keep it open.
        check(br#"{"x":[}{]]]}{[[]}{}"#, &[r#"{"x":[}"#, "{]]]}", "{[[]}", "{}"], None);
        check("{\"é\":\"温度\"}{\"a\u{1}\":\n1}".as_bytes(), &["{\"é\":\"温度\"}", "{\"a\u{1}\":\n1}"], None);
    }

    #[test]
    fn long_strings_are_leapt_over() {
        for (before, after) in [("", ""), ("é", ""), ("", "é"), (r"\\", r#"\""#), ("\u{1}", ""), ("", "\u{1}")] {
            let text = format!("{before}{}{after}", "0123456789".repeat(7));
            check_cuts(format!(r#"{{"{text}":"{text}{{"}}{{}}"#).as_bytes(), 2000);
        }
    }

    #[test]
    fn depth() {
        for (stream, depth) in [
            ("{}", 1),
            (r#"{"a":[[{}]]}"#, 4),
            (r#"{"a":[],"b":[]}"#, 2),
            (r#"{"a":"[[["}"#, 1),
            ("{[[[}", 4),
            ("{]]]]][[}", 3),
        ] {
            assert_eq!(split([stream.as_bytes()], 1000).objects[0].1, depth, "{stream}");
        }
        let deep = "{\"a\":[".repeat(500) + &"]}".repeat(500);
        assert_eq!(split([deep.as_bytes()], 10_000).objects[0].1, 1000);
    }

    #[test]
    fn size_limit() {
        for bytes in 2..150 {
            let object = format!("{{{}}}", " ".repeat(bytes - 2));
            for max in bytes.saturating_sub(2)..=bytes + 1 {
                let stream = format!("{{}}{object}{{}}");
                let outcome = split([stream.as_bytes()], max as u32);
                assert_eq!(outcome, naive(stream.as_bytes(), max as u32), "{bytes} {max}");
                assert_eq!(outcome.end.is_ok(), bytes <= max && max >= 2, "{bytes} {max}");
            }
        }
        let stream = br#" {"a":1}{"ab":2}{"abc":3}"#;
        for max in 0..12 {
            check_cuts(stream, max);
        }
        // A limit that a reload lowers meanwhile holds for the next object.
        let (mut splitter, mut tails, mut whole) = (Splitter::new(), PartialObjects::new(), Reassembled::default());
        assert_eq!(splitter.push(b"{        ", 100, &mut tails, &mut whole), Ok((9, None)));
        let (used, object) = splitter.push(b"}{    }", 4, &mut tails, &mut whole).expect("the older limit");
        assert_eq!((used, object.map(|object| object.bytes.len())), (1, Some(10)));
        let fault = FramingFault { cause: FramingCause::TooLarge, offset: 10, near: Near::of(b"{    }", b"") };
        assert_eq!(splitter.push(b"{    }", 4, &mut tails, &mut whole), Err(fault));
    }

    #[test]
    fn random_streams() {
        for seed in 1..1500 {
            let mut rng = Rng(seed);
            let mut stream = Vec::new();
            for _ in 0..rng.below(8) {
                match rng.below(5) {
                    0 => {
                        stream.push(b'{');
                        let nasty = b"{{}}[]\"\"\"\\\\ \n\0a,:1\xEF\xBB\xBF\x80";
                        let bytes = rng.below(200);
                        stream.extend((0..bytes).map(|_| rng.pick(nasty)));
                    }
                    1 => stream.extend((0..rng.below(3)).map(|_| rng.pick(b" \n\0,\x1e"))),
                    2 => stream.extend_from_slice(&BYTE_ORDER_MARK[..if rng.below(8) == 0 { rng.below(3) } else { 3 }]),
                    _ => stream.extend_from_slice(testing::object(&mut rng, 3, None).as_bytes()),
                }
            }
            if rng.below(3) == 0 && !stream.is_empty() {
                let at = rng.below(stream.len());
                stream[at] = rng.pick(b"{}[]\"\\x");
            }
            let max = rng.pick(&[40, 200, 1000, 100_000]);
            let expected = naive(&stream, max);
            assert_eq!(split([&stream[..]], max), expected, "seed {seed}");
            for _ in 0..8 {
                let mut cuts: Vec<_> = (0..rng.below(6)).map(|_| rng.below(stream.len() + 1)).collect();
                cuts.extend([0, stream.len()]);
                cuts.sort_unstable();
                let reads = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]);
                assert_eq!(split(reads, max), expected, "seed {seed}, cuts {cuts:?}");
            }
            assert_eq!(split(stream.chunks(1), max), expected, "seed {seed}, byte by byte");
        }
    }

    #[test]
    fn what_is_held_is_given_back() {
        let (mut tails, mut whole) = (PartialObjects::new(), Reassembled::default());
        let mut splitters: Vec<_> = (0..1000).map(|_| Splitter::new()).collect();
        let object = format!(r#"{{"a":"{}"}}"#, "x".repeat(70_000));
        let mut sent = 0;
        // All grow together, from a few bytes to more than any block has.
        for bytes in [1, 3, 100, 1000, 5000, 30_000] {
            for splitter in &mut splitters {
                let part = &object.as_bytes()[sent..sent + bytes];
                assert_eq!(splitter.push(part, 1 << 20, &mut tails, &mut whole), Ok((bytes, None)));
                assert!(splitter.region(&tails) < sent + bytes + 4096);
            }
            sent += bytes;
            tails.check_invariants();
        }
        let (some, others) = splitters.split_at_mut(500);
        for splitter in some {
            splitter.release(&mut tails);
            assert_eq!(splitter.unfinished(), None);
        }
        for splitter in others {
            let rest = &object.as_bytes()[sent..];
            let (used, whole) = splitter.push(rest, 1 << 20, &mut tails, &mut whole).expect("an object");
            assert_eq!((used, whole.map(|whole| whole.bytes)), (rest.len(), Some(object.as_bytes())));
        }
        // What is kept for the next object goes, too, once none has come for a while.
        tails.recycle(&mut whole);
        tails.trim();
        tails.trim();
        assert_eq!((tails.held(), tails.is_empty()), (0, true));
    }

    #[test]
    fn an_object_that_can_never_end_as_json_is_broken_where_its_grammar_is() {
        for (stream, at, detail) in [
            (r#"{"Type":"Performance","Temp":21.5{"Type":"Status","n":0}"#, 33, json::detail::COMMA_OR_BRACE),
            (r#"{"Type":"Status","SSID":"3.5" disk","n":0}{"Type""#, 30, json::detail::COMMA_OR_BRACE),
            ("{\"a\":\"abc\n{", 9, json::detail::CONTROL),
            ("{\0\"\0T\0y\0", 1, "expected UTF-8, found UTF-16 text"),
        ] {
            let (mut splitter, mut tails, mut whole) = (Splitter::new(), PartialObjects::new(), Reassembled::default());
            assert_eq!(splitter.push(stream.as_bytes(), 1000, &mut tails, &mut whole), Ok((stream.len(), None)));
            let near = Near::of(&stream.as_bytes()[at..], b"");
            let fault = FramingFault { cause: FramingCause::InvalidJson(detail), offset: at as u64, near };
            assert_eq!(splitter.check_unfinished(&mut tails), Err(fault));
        }
    }

    /// The object arrives slowly, and a check follows each piece. A check that began anew would take minutes.
    #[test]
    fn each_byte_of_an_unfinished_object_is_checked_once() {
        let (mut splitter, mut tails, mut whole) = (Splitter::new(), PartialObjects::new(), Reassembled::default());
        let list = "[0],".repeat(200_000);
        for piece in format!("{{\"a\":[{list}").as_bytes().chunks(8) {
            assert!(splitter.push(piece, 1 << 20, &mut tails, &mut whole).is_ok());
            assert_eq!(splitter.check_unfinished(&mut tails), Ok(()));
        }
    }
}
