//! Finds the end of one object. It knows braces, brackets and strings, and no other JSON.
//!
//! Blocks of 64 bytes become bit masks. Shift and xor of the masks separate bytes inside strings from bytes outside. Long
//! strings are skipped. The end of a short input, and blocks with a backslash outside strings, go byte by byte.

use std::{mem, ops::Range};

use super::{
    object::Object,
    swar::{self, BLOCK, Masks},
};

/// The state of the scan of one object.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    /// Open braces outside strings.
    braces: u32,
    /// Open brackets outside strings. Surplus closing brackets do not count.
    brackets: u32,
    /// The maximum of open braces and brackets together.
    depth: u32,
    /// The next byte is inside a string.
    quoted: bool,
    /// The next byte follows an escaping backslash.
    escaped: bool,
    /// The object has a byte of 0x80 or above.
    high: bool,
    /// See [`Object::unescaped`].
    unescaped: Range<u32>,
}

impl Scan {
    /// Returns the complete object.
    pub(super) fn object<'a>(&self, bytes: &'a [u8], offset: u64) -> Object<'a> {
        Object { bytes, offset, depth: self.depth, ascii: !self.high, unescaped: self.unescaped.clone(), valid: None }
    }

    /// Scans the next bytes, which begin `before` bytes into the object. Returns the index behind the closing brace, if the
    /// object ends here.
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
        // The last, partial block is read as the end of a full block if the input is long enough.
        let rest = &input[at..];
        let end = match input.last_chunk() {
            Some(block) if !rest.is_empty() => self.block(&Masks::of(block).without_first(BLOCK - rest.len()), rest),
            _ => self.bytes(rest),
        };
        end.map(|end| at + end)
    }

    /// Skips the rest of a long string, at least one block, because the caller has seen a block without end or escape.
    fn skip_run(&mut self, input: &[u8], at: usize) -> usize {
        let run = swar::run(input);
        self.high |= !run.ascii;
        if run.printable && run.ascii {
            let (start, end) = (at as u32, (at + run.bytes) as u32);
            if start == self.unescaped.end {
                self.unescaped.end = end;
            } else if end - start > self.unescaped.end - self.unescaped.start {
                self.unescaped = start..end;
            }
        }
        run.bytes
    }

    /// Scans 1 to 64 bytes by their masks.
    #[inline(always)]
    fn block(&mut self, masks: &Masks, bytes: &[u8]) -> Option<usize> {
        let (escaped, escaped_next) = escaped(masks.backslashes, self.escaped);
        let quoted = parity(masks.quotes & !escaped) ^ if self.quoted { u64::MAX } else { 0 };
        // The masks treat a backslash outside strings as an escape, which it is not.
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

    /// Scans byte by byte, for few bytes and for blocks that the masks cannot decide.
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

    /// Counts a brace or bracket outside strings. Returns whether it ends the object.
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

/// Returns the bytes that follow an escaping backslash. In a run of backslashes every other one escapes. `first` is this
/// property of the first byte, and the second result is that of the byte behind the block.
#[inline(always)]
fn escaped(backslashes: u64, first: bool) -> (u64, bool) {
    const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
    let first = u64::from(first);
    if backslashes == 0 {
        return (first, false);
    }
    // The subtraction borrows through each run and leaves every other bit, counted from its start (as simdjson does).
    let starts = backslashes & !first;
    let turns = (starts << 1 | ODD).wrapping_sub(starts) ^ ODD;
    (turns ^ (backslashes | first), (turns & backslashes) >> (BLOCK - 1) != 0)
}

/// Bit k of the result is the parity of the bits 0..=k. For quotes this marks each string with its first quote, without
/// its last.
#[inline(always)]
fn parity(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(test)]
thread_local! {
    /// Bytes that this thread has scanned. Tests measure work by it.
    pub(super) static SCANNED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
