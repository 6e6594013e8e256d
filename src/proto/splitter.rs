//! Cuts a byte stream without framing into JSON objects. Floor 0.
//!
//! The one sound boundary is the byte after the brace that closes the outermost object; braces and
//! strings decide it, no other JSON does. *Invariant:* the same bytes give the same objects, the
//! same fault and the same offsets, however they are cut into reads, in time linear in the bytes.
//!
//! A short object that lies whole in the input and is valid, as nearly all are, is told by the walk
//! that checks it: one pass gives both its end and the verdict. All others are scanned.

use std::{error, fmt};

use super::tails::{Key, Tails, Whole};
use super::{json, object::Object, scan::Scan};

/// The splitter of one connection. What it holds of an unfinished object lies in [`Tails`]; after an
/// error it must not be used again.
#[derive(Debug, Default)]
pub struct Splitter {
    /// Bytes consumed since the connection began.
    offset: u64,
    /// How many of them are the part of an object that has come, or of a byte order mark.
    begun: u32,
    /// That part, if it is one of an object.
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
    /// An object that lies whole in `input` is lent from there. One that was cut is gathered in
    /// `tails`, never in more than `object_bytes_max` bytes, and lent from `whole`.
    ///
    /// An object of more than `object_bytes_max` bytes is a fault as soon as its first byte too
    /// many has come; those before it are used, and unfinished.
    pub fn push<'a>(
        &mut self,
        input: &'a [u8],
        object_bytes_max: u32,
        tails: &mut Tails,
        whole: &'a mut Whole,
    ) -> Result<(usize, Option<Object<'a>>), SplitError> {
        let max = object_bytes_max as usize;
        tails.recycle(whole);
        if let Some(tail) = self.tail {
            return self.resume(tail, input, max, tails, whole);
        }
        let padding = self.skip_padding(input)?;
        let input = &input[padding..];
        let Some(&first) = input.first() else {
            return Ok((padding, None));
        };
        if first != b'{' {
            return Err(SplitError { fault: SplitFault::Garbage(first), offset: self.offset });
        }
        let (object, next) = input.split_at(input.len().min(max));
        if let Some(object) = self.valid_object(object) {
            self.offset += object.bytes.len() as u64;
            return Ok((padding + object.bytes.len(), Some(object)));
        }
        let mut scan = Scan::default();
        let end = scan.run(object, 0);
        let offset = self.offset;
        let object = &object[..end.unwrap_or(object.len())];
        self.offset += object.len() as u64;
        let used = padding + object.len();
        if end.is_some() {
            return Ok((used, Some(scan.object(object, offset))));
        }
        self.begun = object.len() as u32;
        if !next.is_empty() {
            return Err(SplitError { fault: SplitFault::TooLarge, offset });
        }
        self.tail = Some(tails.begin(object, scan));
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

    /// Bytes held for it in `tails`.
    pub fn held(&self, tails: &Tails) -> usize {
        self.tail.map_or(0, |tail| tails.held_by(tail))
    }

    /// The object at the start of `input`, if it lies there whole, is not long, and is JSON. Then
    /// its braces balance where the walk ends and nowhere before, so the scan would give the same.
    fn valid_object<'a>(&self, input: &'a [u8]) -> Option<Object<'a>> {
        let walked = json::walk(&input[..input.len().min(WALK_BYTES_MAX)], &(0..0)).ok()?;
        let bytes = &input[..walked.bytes];
        let (depth, ascii) = (walked.depth, bytes.is_ascii());
        Some(Object { bytes, offset: self.offset, depth, ascii, plain: 0..0, valid: Some(walked.found) })
    }

    /// Gives back what is held of an unfinished object; the splitter must not be used again.
    pub fn release(&mut self, tails: &mut Tails) {
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
        tails: &mut Tails,
        whole: &'a mut Whole,
    ) -> Result<(usize, Option<Object<'a>>), SplitError> {
        let before = self.begun as usize;
        let (object, next) = input.split_at(input.len().min(max.saturating_sub(before)));
        let end = tails.scan(tail).run(object, before);
        let offset = self.offset - before as u64;
        let Some(end) = end else {
            self.offset += object.len() as u64;
            self.begun += object.len() as u32;
            if !next.is_empty() {
                return Err(SplitError { fault: SplitFault::TooLarge, offset });
            }
            tails.append(tail, before, object, max);
            return Ok((object.len(), None));
        };
        self.offset += end as u64;
        (self.begun, self.tail) = (0, None);
        let (scan, bytes) = tails.finish(tail, before, &object[..end], whole);
        Ok((end, Some(scan.object(bytes, offset))))
    }

    /// Skips padding, and at the stream's start a byte order mark.
    fn skip_padding(&mut self, input: &[u8]) -> Result<usize, SplitError> {
        let mark = if self.offset == 0 || self.begun > 0 { self.skip_mark(input)? } else { 0 };
        let input = &input[mark..];
        let is_padding = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0);
        let padding = input.iter().position(|byte| !is_padding(byte)).unwrap_or(input.len());
        self.offset += padding as u64;
        Ok(mark + padding)
    }

    /// Skips a byte order mark (RFC 3629, section 6). Within it, `offset` is also the number of its
    /// bytes that have come. One that breaks off with a wrong byte is garbage from its first byte.
    fn skip_mark(&mut self, input: &[u8]) -> Result<usize, SplitError> {
        let rest = &BYTE_ORDER_MARK[self.offset as usize..];
        let used = input.iter().zip(rest).take_while(|(byte, mark)| byte == mark).count();
        let broken = used < rest.len() && used < input.len() && self.offset as usize + used > 0;
        self.offset += used as u64;
        self.begun = if used == rest.len() || broken { 0 } else { self.offset as u32 };
        if broken {
            return Err(SplitError { fault: SplitFault::Garbage(BYTE_ORDER_MARK[0]), offset: 0 });
        }
        Ok(used)
    }
}

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];
/// The walk is tried on no more than this, so that a cut or faulty object costs little more for it.
const WALK_BYTES_MAX: usize = 4096;

/// The stream cannot be cut further: all that was whole has been given, and nothing behind this
/// will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitError {
    /// What was wrong.
    pub fault: SplitFault,
    /// Where in the connection's stream: the byte of garbage, or the first one of the object.
    pub offset: u64,
}

/// What ends a stream.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitFault {
    /// This byte between objects is neither padding nor `{`.
    Garbage(u8),
    /// The object has more than `object_bytes_max` bytes.
    TooLarge,
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.fault, self.offset)
    }
}

impl fmt::Display for SplitFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Garbage(byte @ 0x21..=0x7E) => {
                write!(f, "expected an object, found '{}'", char::from(byte))
            }
            Self::Garbage(byte) => write!(f, "expected an object, found byte 0x{byte:02X}"),
            Self::TooLarge => f.write_str("object too large"),
        }
    }
}

impl error::Error for SplitError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::{self, Rng};

    /// Offset, depth, ascii and bytes.
    type Seen = (u64, u32, bool, Vec<u8>);

    /// All objects of a stream, then its fault or, if there is none, its end and what is unfinished
    /// there.
    #[derive(Debug, PartialEq)]
    struct Outcome {
        objects: Vec<Seen>,
        end: Result<(), SplitError>,
        used: u64,
        unfinished: Option<(u64, usize)>,
    }

    impl Outcome {
        /// The first `used` bytes were used, and of those the last `begun` are the part of an object.
        fn new(objects: Vec<Seen>, end: Result<(), SplitError>, used: usize, begun: usize) -> Self {
            let unfinished = (begun > 0).then_some(((used - begun) as u64, begun));
            Self { objects, end, used: used as u64, unfinished }
        }
    }

    fn split<'a>(reads: impl IntoIterator<Item = &'a [u8]>, max: u32) -> Outcome {
        let mut splitter = Splitter::new();
        let (mut tails, mut whole) = (Tails::new(), Whole::default());
        let mut objects = Vec::new();
        let mut sent = 0;
        for read in reads {
            let mut rest = read;
            loop {
                let (used, object) = match splitter.push(rest, max, &mut tails, &mut whole) {
                    Ok(pushed) => pushed,
                    Err(error) => {
                        let (used, unfinished) = (splitter.offset(), splitter.unfinished());
                        return Outcome { objects, end: Err(error), used, unfinished };
                    }
                };
                rest = &rest[used..];
                let Some(object) = object else { break };
                assert!(object.plain.is_empty() || is_plain(&object), "{object:?}");
                objects.push((object.offset, object.depth, object.ascii, object.bytes.to_vec()));
            }
            sent += read.len() as u64;
            assert_eq!((rest.len(), splitter.offset()), (0, sent));
            let unfinished = splitter.unfinished().map_or(0, |(_, bytes)| bytes);
            assert_eq!(tails.held(), splitter.held(&tails));
            assert!(tails.held() <= unfinished * 8 + 200, "{} bytes for {unfinished}", tails.held());
            assert!(unfinished > 0 || tails.is_empty());
        }
        Outcome { objects, end: Ok(()), used: splitter.offset(), unfinished: splitter.unfinished() }
    }

    fn is_plain(object: &Object<'_>) -> bool {
        let range = object.plain.start as usize..object.plain.end as usize;
        object.bytes[range].iter().all(|byte| matches!(byte, b' '..0x80) && *byte != b'"' && *byte != b'\\')
    }

    /// The rules of the protocol, one byte after the other.
    fn naive(stream: &[u8], max: u32) -> Outcome {
        let mut objects = Vec::new();
        let garbage = |byte, at| Err(SplitError { fault: SplitFault::Garbage(byte), offset: at as u64 });
        let mut at = 0;
        if stream.first() == Some(&0xEF) {
            for (index, mark) in BYTE_ORDER_MARK.iter().enumerate() {
                match stream.get(index) {
                    None => return Outcome::new(objects, Ok(()), index, index),
                    Some(byte) if byte != mark => return Outcome::new(objects, garbage(0xEF, 0), index, 0),
                    Some(_) => at = index + 1,
                }
            }
        }
        loop {
            while at < stream.len() && b" \t\n\r\0".contains(&stream[at]) {
                at += 1;
            }
            let Some(&first) = stream.get(at) else {
                return Outcome::new(objects, Ok(()), at, 0);
            };
            if first != b'{' {
                return Outcome::new(objects, garbage(first, at), at, 0);
            }
            let start = at;
            let (mut braces, mut brackets, mut depth, mut quoted, mut escaped) = (0, 0_u32, 0, false, false);
            while at == start || braces > 0 {
                if at - start == max as usize && at < stream.len() {
                    let end = Err(SplitError { fault: SplitFault::TooLarge, offset: start as u64 });
                    return Outcome::new(objects, end, at, at - start);
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
    fn check(stream: &[u8], objects: &[&str], fault: Option<(SplitFault, u64)>) {
        check_cuts(stream, 1000);
        let outcome = split([stream], 1000);
        let seen: Vec<_> = outcome.objects.iter().map(|object| String::from_utf8_lossy(&object.3)).collect();
        assert_eq!(seen, objects);
        assert_eq!(outcome.end.err(), fault.map(|(fault, offset)| SplitError { fault, offset }));
    }

    #[test]
    fn rules() {
        use SplitFault::Garbage;
        check(b"", &[], None);
        check(b" \t\r\n\0", &[], None);
        check(
            br#"{}{"Type":"Heartbeat"}{"a":{"b":{}}}"#,
            &["{}", r#"{"Type":"Heartbeat"}"#, r#"{"a":{"b":{}}}"#],
            None,
        );
        check(b"\0{}\n\0 {}\r\n", &["{}", "{}"], None);
        check(b"\xEF\xBB\xBF \n{}", &["{}"], None);
        check(b"{}\xEF\xBB\xBF{}", &["{}"], Some((Garbage(0xEF), 2)));
        check(b" \xEF\xBB\xBF{}", &[], Some((Garbage(0xEF), 1)));
        check(b"\xEF\xBB{}", &[], Some((Garbage(0xEF), 0)));
        check(b"\xEF\xBB\xBF\xEF\xBB\xBF{}", &[], Some((Garbage(0xEF), 3)));
        check(b"\xEF\xBB", &[], None);
        check(b"{}GET / HTTP/1.1\r\n{}", &["{}"], Some((Garbage(b'G'), 2)));
        check(b"{},{}", &["{}"], Some((Garbage(b','), 2)));
        check(b"{}}", &["{}"], Some((Garbage(b'}'), 2)));
        check(b"[{}]", &[], Some((Garbage(b'['), 0)));
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
        // A limit that was lowered meanwhile.
        let (mut splitter, mut tails, mut whole) = (Splitter::new(), Tails::new(), Whole::default());
        assert_eq!(splitter.push(b"{        ", 100, &mut tails, &mut whole), Ok((9, None)));
        assert_eq!(splitter.push(b"", 4, &mut tails, &mut whole), Ok((0, None)));
        let error = SplitError { fault: SplitFault::TooLarge, offset: 0 };
        assert_eq!(splitter.push(b"}", 4, &mut tails, &mut whole), Err(error));
    }

    #[test]
    fn random_streams() {
        for seed in 1..1500 {
            let mut rng = Rng(seed);
            let mut stream = Vec::new();
            if rng.below(8) == 0 {
                stream.extend_from_slice(&BYTE_ORDER_MARK[..rng.below(4)]);
            }
            for _ in 0..rng.below(8) {
                match rng.below(4) {
                    0 => {
                        stream.push(b'{');
                        let nasty = b"{{}}[]\"\"\"\\\\ \n\0a,:1\xEF\xBB\xBF\x80";
                        let bytes = rng.below(200);
                        stream.extend((0..bytes).map(|_| rng.pick(nasty)));
                    }
                    1 => stream.extend((0..rng.below(3)).map(|_| rng.pick(b" \n\0"))),
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
        let (mut tails, mut whole) = (Tails::new(), Whole::default());
        let mut splitters: Vec<_> = (0..1000).map(|_| Splitter::new()).collect();
        let object = format!(r#"{{"a":"{}"}}"#, "x".repeat(70_000));
        let mut sent = 0;
        // All grow together, from a few bytes to more than any block has.
        for bytes in [1, 3, 100, 1000, 5000, 30_000] {
            for splitter in &mut splitters {
                let part = &object.as_bytes()[sent..sent + bytes];
                assert_eq!(splitter.push(part, 1 << 20, &mut tails, &mut whole), Ok((bytes, None)));
                assert!(splitter.held(&tails) < 2 * (sent + bytes) + 200);
            }
            sent += bytes;
            assert_eq!(tails.held(), splitters.iter().map(|splitter| splitter.held(&tails)).sum::<usize>());
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
        assert_eq!((tails.held(), tails.is_empty()), (0, true));
    }

    #[test]
    fn sentences() {
        let sentence = |fault| SplitError { fault, offset: 7 }.to_string();
        assert_eq!(sentence(SplitFault::Garbage(b'G')), "expected an object, found 'G' at byte 7");
        assert_eq!(sentence(SplitFault::Garbage(0xEF)), "expected an object, found byte 0xEF at byte 7");
        assert_eq!(sentence(SplitFault::TooLarge), "object too large at byte 7");
    }
}
