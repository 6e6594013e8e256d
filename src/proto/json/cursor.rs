//! The steps of the walk over one object: strings, numbers, literals and whitespace.

use super::{detail, fits_low_surrogate};
use crate::proto::swar::{self, STEP};

/// Facts about the text.
pub(super) struct Hints<'h> {
    /// The key of the identity member, or empty.
    pub(super) identity: &'h [u8],
    /// Its length.
    pub(super) bytes: usize,
    /// The remaining bytes at the beginning and at the end of the unescaped range.
    pub(super) left_before: usize,
    pub(super) left_behind: usize,
}

/// A fault, as the number of remaining bytes.
pub(super) struct Stop {
    pub(super) left: usize,
    pub(super) detail: &'static str,
}

/// The rest of the text, which is the walk's only state beside the open containers. A slice stays in registers. An index
/// would need a bounds check, and would be spilt, in every iteration.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

/// Steps of 8 bytes in a string before the walk takes it for a long one.
const STEPS_BEFORE_RUN: usize = 8;

impl Cursor<'_> {
    /// Walks over a string from behind its first quote (section 7). Returns whether it has escapes.
    #[inline(always)]
    pub(super) fn string(&mut self, hints: &Hints<'_>) -> Result<bool, Stop> {
        let mut escapes = false;
        loop {
            match self.unescaped(hints) {
                b'"' => {
                    self.skip(1);
                    return Ok(escapes);
                }
                b'\\' => *self = self.escape()?,
                _ => return Err(self.stop(detail::CONTROL)),
            }
            escapes = true;
        }
    }

    /// Skips unescaped characters of a string. Returns the next byte, or 0 at the end.
    #[inline(always)]
    fn unescaped(&mut self, hints: &Hints<'_>) -> u8 {
        for _ in 0..STEPS_BEFORE_RUN {
            let Some(step) = self.0.first_chunk() else {
                break;
            };
            let unescaped = swar::leading_unescaped(step);
            self.skip(unescaped);
            if let Some(&stop) = step.get(unescaped) {
                return stop;
            }
        }
        *self = self.skip_run(hints);
        self.peek()
    }

    /// The same for long strings and at the end of the text.
    #[inline(never)]
    fn skip_run(mut self, hints: &Hints<'_>) -> Self {
        if (hints.left_behind..=hints.left_before).contains(&self.0.len()) {
            self.skip(self.0.len() - hints.left_behind);
        }
        let run = swar::run(self.0);
        let control = if run.printable { None } else { self.0.iter().position(|byte| *byte < 0x20) };
        self.skip(control.unwrap_or(run.bytes));
        self
    }

    /// Walks over an escape from its backslash on.
    fn escape(mut self) -> Result<Self, Stop> {
        self.skip(1);
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
            b'u' => return self.unicode_escape(),
            _ => return Err(self.stop(detail::ESCAPE)),
        }
        self.skip(1);
        Ok(self)
    }

    /// Walks over `\uXXXX` from its `u` on, with the second half of a surrogate pair. I-JSON (RFC 7493, section 2.1)
    /// forbids half a pair, and most parsers reject it.
    fn unicode_escape(mut self) -> Result<Self, Stop> {
        let start = self;
        let unit = self.utf16_unit()?;
        let low = match unit {
            0xD800..0xDC00 => self.low_surrogate()?,
            0xDC00..0xE000 => false,
            _ => true,
        };
        // The fault is at the backslash before the `u`.
        if low { Ok(self) } else { Err(Stop { left: start.0.len() + 1, detail: detail::SURROGATE }) }
    }

    /// Skips the escape of a low surrogate. Returns false at the first byte that does not belong to one.
    fn low_surrogate(&mut self) -> Result<bool, Stop> {
        for seen in 0..6 {
            let byte = *self.0.first().ok_or_else(|| self.stop(""))?;
            if !fits_low_surrogate(seen, byte) {
                return Ok(false);
            }
            self.skip(1);
        }
        Ok(true)
    }

    /// Parses the four digits behind a `u`.
    fn utf16_unit(&mut self) -> Result<u32, Stop> {
        let mut unit = 0;
        for _ in 0..4 {
            self.skip(1);
            let digit = char::from(self.peek()).to_digit(16);
            unit = unit << 4 | digit.ok_or_else(|| self.stop(detail::HEX))?;
        }
        self.skip(1);
        Ok(unit)
    }

    /// Walks over a number (section 6), or stops at a byte that begins no value.
    #[inline(always)]
    pub(super) fn number(&mut self, first: u8) -> Result<(), Stop> {
        match first {
            b'-' => self.skip(1),
            b'0'..=b'9' => {}
            _ => return Err(self.stop(detail::VALUE)),
        }
        if self.peek() == b'0' {
            self.skip(1);
        } else {
            self.digits()?;
        }
        if let b'.' | b'e' | b'E' = self.peek() {
            *self = self.fraction()?;
        }
        Ok(())
    }

    /// Walks over the fraction and the exponent of a number.
    fn fraction(mut self) -> Result<Self, Stop> {
        if self.peek() == b'.' {
            self.skip(1);
            self.digits()?;
        }
        if let b'e' | b'E' = self.peek() {
            self.skip(1);
            if let b'+' | b'-' = self.peek() {
                self.skip(1);
            }
            self.digits()?;
        }
        Ok(self)
    }

    /// Walks over one or more digits.
    #[inline(always)]
    fn digits(&mut self) -> Result<(), Stop> {
        if !self.peek().is_ascii_digit() {
            return Err(self.stop(detail::DIGIT));
        }
        while let Some(step) = self.0.first_chunk() {
            let digits = swar::leading_digits(step);
            self.skip(digits);
            if digits < STEP {
                return Ok(());
            }
        }
        while self.peek().is_ascii_digit() {
            self.skip(1);
        }
        Ok(())
    }

    pub(super) fn literal(mut self, word: &[u8]) -> Result<Self, Stop> {
        if let Some(rest) = self.0.strip_prefix(word) {
            return Ok(Self(rest));
        }
        self.skip(self.0.iter().zip(word).take_while(|(byte, letter)| byte == letter).count());
        Err(self.stop(detail::LITERAL))
    }

    /// Skips whitespace (section 2). Returns the next byte, or 0 at the end.
    #[inline(always)]
    pub(super) fn token(&mut self) -> u8 {
        loop {
            let byte = self.peek();
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return byte;
            }
            self.skip(1);
        }
    }

    #[inline(always)]
    pub(super) fn expect(&mut self, byte: u8, detail: &'static str) -> Result<(), Stop> {
        if self.peek() != byte {
            return Err(self.stop(detail));
        }
        self.skip(1);
        Ok(())
    }

    /// Returns the next byte, or 0 at the end. The grammar allows 0 nowhere.
    #[inline(always)]
    fn peek(self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, bytes: usize) {
        self.0 = &self.0[bytes..];
    }

    #[cold]
    pub(super) fn stop(self, detail: &'static str) -> Stop {
        Stop { left: self.0.len(), detail: if self.0.is_empty() { detail::UNEXPECTED_END } else { detail } }
    }
}
