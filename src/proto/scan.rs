//! Finds the end of one object, whatever else is in it. Floor 0; knows braces, brackets and
//! strings, no other JSON.
//!
//! Blocks of 64 bytes become bit masks, in which shift and xor tell the bytes inside strings from
//! those outside. Long strings are skipped. The end of a short input, and blocks of a rare kind,
//! go byte by byte.

use std::{mem, ops::Range};

use super::{
    object::Object,
    swar::{self, BLOCK, Masks},
};

/// What is known of an object up to some byte.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
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
    /// The object that has ended.
    pub(super) fn object<'a>(&self, bytes: &'a [u8], offset: u64) -> Object<'a> {
        Object { bytes, offset, depth: self.depth, ascii: !self.high, plain: self.plain.clone(), valid: None }
    }

    /// Reads on, `before` bytes into the object; gives where behind its last brace the object has
    /// ended, if it has.
    pub(super) fn run(&mut self, input: &[u8], before: usize) -> Option<usize> {
        #[cfg(test)]
        SCANNED.set(SCANNED.get() + input.len());
        let mut at = 0;
        while let Some(block) = input[at..].first_chunk() {
            let masks = Masks::of(block);
            if let Some(end) = self.block(&masks, block) {
                return Some(at + end);
            }
            at += if self.quoted && masks.quotes | masks.backslashes == 0 {
                self.skip_run(&input[at..], before + at)
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

    /// Skips what follows in a string: a block at least, as one without end or escape has been
    /// seen.
    fn skip_run(&mut self, input: &[u8], at: usize) -> usize {
        let run = swar::run(input);
        self.high |= !run.ascii;
        if run.printable && run.ascii {
            let (start, end) = (at as u32, (at + run.bytes) as u32);
            if start == self.plain.end {
                self.plain.end = end;
            } else if end - start > self.plain.end - self.plain.start {
                self.plain = start..end;
            }
        }
        run.bytes
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

/// Which bytes follow an escaping backslash: a run of them escapes by turns. `first` says it of the
/// first byte; the second answer says it of the byte behind the block.
#[inline(always)]
fn escaped(backslashes: u64, first: bool) -> (u64, bool) {
    const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
    let first = u64::from(first);
    if backslashes == 0 {
        return (first, false);
    }
    // The subtraction borrows through each run and leaves every other bit of it, counted from its
    // start (simdjson).
    let starts = backslashes & !first;
    let turns = (starts << 1 | ODD).wrapping_sub(starts) ^ ODD;
    (turns ^ (backslashes | first), (turns & backslashes) >> (BLOCK - 1) != 0)
}

/// Bit k says whether an odd number of bits is set in 0..=k. Of quotes: the string with its first
/// quote, not its last.
#[inline(always)]
fn parity(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(test)]
thread_local! {
    /// Bytes given to [`Scan::run`] by this thread: the tests' measure of work.
    pub(super) static SCANNED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
