//! Cuts a byte stream without framing into JSON objects. Floor 0; knows braces and strings, no other JSON.
//!
//! The one sound boundary is the byte after the brace that closes the outermost object. *Invariant:* the same bytes give
//! the same objects, the same fault and the same offsets, however they are cut into reads; every byte is scanned once.
//!
//! Blocks of 64 bytes become bit masks, in which one shift-and-xor tells all bytes inside strings from those outside.
//! Long strings are leapt over. The end of an input, and blocks of a rare kind, go byte by byte.

use std::{error, fmt, mem, ops::Range};

use super::block::{self, BLOCK, Masks};

/// The splitter of one connection. Between objects it holds no heap; after an error it must not be used again.
#[derive(Debug, Default)]
pub struct Splitter {
    /// Bytes consumed since the connection began.
    offset: u64,
    /// The object, or byte order mark, of which only a part has come.
    unfinished: Option<Box<Unfinished>>,
}

const _: () = assert!(size_of::<Splitter>() <= 16);

/// One whole object: from `{` to its `}`. Its content is unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<'a> {
    /// The bytes as they were sent.
    pub bytes: &'a [u8],
    /// Where the first of them stands in the connection's stream.
    pub offset: u64,
    /// The deepest nesting, braces and brackets counted alike; at least 1.
    pub depth: u32,
    /// No byte is 0x80 or above.
    pub ascii: bool,
    /// Some range of `bytes` without `"`, `\` and control characters, often the picture: the check need not look again.
    pub(super) plain: Range<u32>,
}

impl Splitter {
    /// The splitter of a connection that has just begun.
    pub const fn new() -> Self {
        Self { offset: 0, unfinished: None }
    }

    /// Takes what is left of a read: gives the bytes used, and the object if one ended there.
    ///
    /// Call it with the rest until it gives `None`, even when the rest is empty: then all is used, and what was lent
    /// is free again. An object that lies whole in `input` is lent from there. One that was cut is gathered on the heap,
    /// never in more than `object_bytes_max` bytes; big allocations come from `spare`, and go back there for the next.
    ///
    /// An object of more than `object_bytes_max` bytes is a fault as soon as its first byte too many has come.
    pub fn push<'a>(
        &'a mut self,
        input: &'a [u8],
        object_bytes_max: u32,
        spare: &mut Vec<u8>,
    ) -> Result<(usize, Option<Object<'a>>), SplitError> {
        if self.unfinished.as_ref().is_some_and(|unfinished| unfinished.lent) {
            self.recycle(spare);
        }
        let max = object_bytes_max as usize;
        if self.unfinished.as_ref().is_some_and(|unfinished| !unfinished.is_mark()) {
            return self.resume(input, max, spare);
        }
        let padding = self.skip_padding(input)?;
        let input = &input[padding..];
        let Some(&first) = input.first() else { return Ok((padding, None)) };
        if first != b'{' {
            return Err(SplitError { fault: SplitFault::Garbage(first), offset: self.offset });
        }
        let (object, next) = input.split_at(input.len().min(max));
        let mut scan = Scan::default();
        let end = scan.run(object, 0);
        if end.is_none() && !next.is_empty() {
            return Err(SplitError { fault: SplitFault::TooLarge, offset: self.offset });
        }
        let offset = self.offset;
        let object = &object[..end.unwrap_or(object.len())];
        self.offset += object.len() as u64;
        let used = padding + object.len();
        if end.is_some() {
            return Ok((used, Some(scan.object(object, offset))));
        }
        let mut unfinished = Box::new(Unfinished { tail: Vec::new(), scan, lent: false });
        unfinished.append(object, max, spare);
        self.unfinished = Some(unfinished);
        Ok((used, None))
    }

    /// Bytes consumed since the connection began.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the unfinished object starts in the stream, and how many bytes of it have come. (A part of a byte order
    /// mark counts as one, so that a connection cannot rest on it for ever.)
    pub fn unfinished(&self) -> Option<(u64, usize)> {
        let unfinished = self.unfinished.as_ref().filter(|unfinished| !unfinished.lent)?;
        let bytes = if unfinished.is_mark() { self.offset as usize } else { unfinished.tail.len() };
        Some((self.offset - bytes as u64, bytes))
    }

    /// Heap bytes held.
    pub fn buffered(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |unfinished| size_of::<Unfinished>() + unfinished.tail.capacity())
    }

    /// Gives back what is held of an unfinished object; the splitter must not be used again.
    pub fn release(&mut self) {
        self.unfinished = None;
    }

    /// Goes on with an object that began in an earlier input.
    fn resume<'a>(
        &'a mut self,
        input: &'a [u8],
        max: usize,
        spare: &mut Vec<u8>,
    ) -> Result<(usize, Option<Object<'a>>), SplitError> {
        let Some(unfinished) = &mut self.unfinished else { return Ok((0, None)) };
        let before = unfinished.tail.len();
        let (object, next) = input.split_at(input.len().min(max.saturating_sub(before)));
        let end = unfinished.scan.run(object, before);
        let offset = self.offset - before as u64;
        if end.is_none() && !next.is_empty() {
            return Err(SplitError { fault: SplitFault::TooLarge, offset });
        }
        let used = end.unwrap_or(object.len());
        self.offset += used as u64;
        unfinished.append(&object[..used], max, spare);
        unfinished.lent = end.is_some();
        Ok((used, end.map(|_| unfinished.scan.object(&unfinished.tail, offset))))
    }

    /// Skips padding, and at the stream's start a byte order mark.
    fn skip_padding(&mut self, input: &[u8]) -> Result<usize, SplitError> {
        let mark = if self.offset == 0 || self.unfinished.is_some() { self.skip_mark(input)? } else { 0 };
        let input = &input[mark..];
        let is_padding = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0);
        let padding = input.iter().position(|byte| !is_padding(byte)).unwrap_or(input.len());
        self.offset += padding as u64;
        Ok(mark + padding)
    }

    /// Skips a byte order mark (RFC 3629, section 6). Within it, `offset` is also the number of its bytes that have
    /// come. One that breaks off with a wrong byte is garbage from its first byte.
    fn skip_mark(&mut self, input: &[u8]) -> Result<usize, SplitError> {
        let rest = &BYTE_ORDER_MARK[self.offset as usize..];
        let used = input.iter().zip(rest).take_while(|(byte, mark)| byte == mark).count();
        self.offset += used as u64;
        if used == rest.len() {
            self.unfinished = None;
        } else if used < input.len() && self.offset > 0 {
            return Err(SplitError { fault: SplitFault::Garbage(BYTE_ORDER_MARK[0]), offset: 0 });
        } else if used > 0 {
            self.unfinished = Some(Box::default());
        }
        Ok(used)
    }

    /// Frees what was lent; a good allocation becomes the spare one.
    #[cold]
    fn recycle(&mut self, spare: &mut Vec<u8>) {
        let Some(Unfinished { mut tail, .. }) = self.unfinished.take().map(|unfinished| *unfinished) else { return };
        if tail.capacity() > spare.capacity() && tail.capacity() <= SPARE_BYTES_MAX {
            tail.clear();
            *spare = tail;
        }
    }
}

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];
/// No bigger allocation is kept for later.
const SPARE_BYTES_MAX: usize = 256 * 1024;
/// The spare allocation serves a tail of at least one part in this of its size, so that few bytes never hold many.
const SPARE_PER_TAIL_MAX: usize = 8;
const TAIL_BYTES_MIN: usize = 64;

/// An object that is still coming or, `lent`, has come in several inputs.
#[derive(Debug, Default)]
struct Unfinished {
    tail: Vec<u8>,
    scan: Scan,
    lent: bool,
}

impl Unfinished {
    /// It is no object but a part of the byte order mark.
    fn is_mark(&self) -> bool {
        self.tail.is_empty()
    }

    /// Copies `bytes` behind what has come. Capacity doubles, so the copying stays linear, but never beyond `max`.
    fn append(&mut self, bytes: &[u8], max: usize, spare: &mut Vec<u8>) {
        let tail = &mut self.tail;
        let need = tail.len() + bytes.len();
        if need > tail.capacity() {
            if spare.capacity() >= need && spare.capacity() / SPARE_PER_TAIL_MAX <= need {
                mem::swap(tail, spare);
                tail.clear();
                tail.extend_from_slice(spare);
                spare.clear();
            } else {
                let capacity = (tail.capacity() * 2).max(TAIL_BYTES_MIN).min(max).max(need);
                tail.reserve_exact(capacity - tail.len());
            }
        }
        tail.extend_from_slice(bytes);
    }
}

/// What is known of an object up to some byte.
#[derive(Clone, Debug, Default)]
struct Scan {
    /// Open now, outside strings.
    braces: u32,
    /// Open now, outside strings; those closed too often do not count.
    brackets: u32,
    /// The most that were open at once, braces and brackets together.
    depth: u32,
    /// The next byte is inside a string.
    quoted: bool,
    /// The next byte follows an escaping backslash.
    escaped: bool,
    /// A byte of 0x80 or above has come.
    high: bool,
    /// See [`Object::plain`].
    plain: Range<u32>,
}

impl Scan {
    fn object<'a>(&self, bytes: &'a [u8], offset: u64) -> Object<'a> {
        Object { bytes, offset, depth: self.depth, ascii: !self.high, plain: self.plain.clone() }
    }

    /// Reads on, `before` bytes into the object; gives where behind its last brace the object has ended, if it has.
    fn run(&mut self, input: &[u8], before: usize) -> Option<usize> {
        let mut at = 0;
        while let Some(block) = input[at..].first_chunk() {
            let masks = Masks::of(block);
            if let Some(end) = self.block(&masks, block) {
                return Some(at + end);
            }
            at += if self.quoted && masks.quotes | masks.backslashes == 0 {
                self.leap(&input[at..], before + at)
            } else {
                BLOCK
            };
        }
        // The last, partial block is read as the end of a whole one where there is one.
        let rest = &input[at..];
        let end = match input.last_chunk() {
            Some(block) if !rest.is_empty() => self.block(&Masks::of(block).without_first(BLOCK - rest.len()), rest),
            _ => self.bytes(rest),
        };
        end.map(|end| at + end)
    }

    /// Skips what follows in a string: a block at least, as one without end or escape has been seen.
    fn leap(&mut self, input: &[u8], at: usize) -> usize {
        let stretch = block::stretch(input);
        self.high |= !stretch.ascii;
        if stretch.printable {
            let (start, end) = (at as u32, (at + stretch.bytes) as u32);
            if start == self.plain.end {
                self.plain.end = end;
            } else if end - start > self.plain.end - self.plain.start {
                self.plain = start..end;
            }
        }
        stretch.bytes
    }

    /// Reads 1 to 64 bytes by their masks.
    #[inline(always)]
    fn block(&mut self, masks: &Masks, bytes: &[u8]) -> Option<usize> {
        let (escaped, escaped_next) = escaped(masks.backslashes, self.escaped);
        let quoted = parity(masks.quotes & !escaped) ^ if self.quoted { u64::MAX } else { 0 };
        // A backslash outside strings escapes nothing, but has just been taken for one that does.
        if masks.backslashes & !quoted != 0 {
            return self.bytes(bytes);
        }
        let mut brackets = masks.brackets & !quoted;
        while brackets != 0 {
            let at = brackets.trailing_zeros() as usize;
            brackets &= brackets - 1;
            if self.bracket(bytes[at]) {
                self.high |= !bytes[..=at].is_ascii();
                return Some(at + 1);
            }
        }
        self.quoted = quoted >> (BLOCK - 1) != 0;
        self.escaped = if bytes.len() < BLOCK { escaped >> bytes.len() & 1 != 0 } else { escaped_next };
        self.high |= !bytes.is_ascii();
        None
    }

    /// Reads byte by byte: the rule itself, for few bytes and for those that the masks cannot tell.
    #[inline(never)]
    fn bytes(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, &byte) in bytes.iter().enumerate() {
            let ends = match byte {
                _ if mem::take(&mut self.escaped) => false,
                b'"' => {
                    self.quoted = !self.quoted;
                    false
                }
                b'\\' => {
                    self.escaped = self.quoted;
                    false
                }
                b'{' | b'}' | b'[' | b']' if !self.quoted => self.bracket(byte),
                _ => false,
            };
            self.high |= byte >= 0x80;
            if ends {
                return Some(at + 1);
            }
        }
        None
    }

    /// Counts a brace or bracket outside strings; says whether the object has ended with it.
    #[inline(always)]
    fn bracket(&mut self, byte: u8) -> bool {
        match byte {
            b'{' => self.braces += 1,
            b'[' => self.brackets += 1,
            b'}' => self.braces -= 1,
            _ => self.brackets = self.brackets.saturating_sub(1),
        }
        self.depth = self.depth.max(self.braces + self.brackets);
        self.braces == 0
    }
}

/// Which bytes follow an escaping backslash: a run of them escapes by turns. `first` says it of the first byte; the
/// second answer says it of the byte behind the block.
#[inline(always)]
fn escaped(backslashes: u64, first: bool) -> (u64, bool) {
    const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
    let first = u64::from(first);
    if backslashes == 0 {
        return (first, false);
    }
    // The subtraction borrows through each run and leaves every other bit of it, counted from its start (simdjson).
    let starts = backslashes & !first;
    let turns = (starts << 1 | ODD).wrapping_sub(starts) ^ ODD;
    (turns ^ (backslashes | first), (turns & backslashes) >> (BLOCK - 1) != 0)
}

/// Bit k says whether an odd number of bits is set in 0..=k. Of quotes: the string with its first quote, not its last.
#[inline(always)]
fn parity(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

/// The stream cannot be cut further: all that was whole has been given, and nothing behind this will be.
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
            Self::Garbage(byte @ 0x21..=0x7E) => write!(f, "expected an object, found '{}'", char::from(byte)),
            Self::Garbage(byte) => write!(f, "expected an object, found byte 0x{byte:02X}"),
            Self::TooLarge => f.write_str("object too large"),
        }
    }
}

impl error::Error for SplitError {}
