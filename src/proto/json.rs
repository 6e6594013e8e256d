//! Checks that one object is JSON (RFC 8259) and finds its top-level `Type`, in one pass. Floor 0.
//!
//! A general parser would build or skip values; this one only walks over them: iteratively, the open containers kept as
//! bits of one number, without allocation. It does not look at UTF-8, which has been checked before.

use std::{borrow::Cow, ops::Range};

use super::block::{self, STEP};

/// Containers that may be open at once, the object itself among them.
pub(super) const DEPTH_MAX: u32 = 127;

/// What the top level says of `Type`. Positions count from the object's first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type<'a> {
    /// There is none.
    Missing,
    /// Its value, unescaped.
    String(Cow<'a, [u8]>),
    /// Its value stands here and is no string.
    Other(usize),
    /// Its key stands here for the second time.
    Twice(usize),
}

/// The first byte that cannot stand where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) detail: &'static str,
}

/// Checks `object`. Of `plain` it is known that no `"`, `\` or control character stands in it.
pub(super) fn check<'a>(object: &'a [u8], plain: &Range<u32>) -> Result<Type<'a>, Fault> {
    let plain = plain.start as usize..(plain.end as usize).min(object.len());
    Walk { bytes: object, at: 0, plain }.object()
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    plain: Range<usize>,
}

/// The open containers, from the lowest bit outwards: 1 is an object, 0 an array. Above them stands a single 1.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Open(u128);

impl Open {
    const NONE: Self = Self(1);
    const TOP_OBJECT: Self = Self(0b11);

    fn in_object(self) -> bool {
        self.0 & 1 != 0
    }

    fn is_full(self) -> bool {
        self.0 >> DEPTH_MAX != 0
    }

    fn push(self, object: bool) -> Self {
        Self(self.0 << 1 | u128::from(object))
    }

    fn pop(self) -> Self {
        Self(self.0 >> 1)
    }
}

impl<'a> Walk<'a> {
    /// The whole text: one object and nothing else.
    fn object(mut self) -> Result<Type<'a>, Fault> {
        let mut found = Type::Missing;
        let mut open = Open::TOP_OBJECT;
        self.expect(b'{', "expected '{'")?;
        if self.token() == b'}' {
            self.at += 1;
            return self.end(found);
        }
        loop {
            // A member or an element begins.
            let is_type = open.in_object() && self.key(open, &mut found)?;
            let first = self.token();
            let start = self.at;
            if is_type {
                found = Type::Other(start);
            }
            match first {
                b'"' => {
                    let escapes = self.string()?;
                    if is_type {
                        found = Type::String(self.content(start, escapes)?);
                    }
                }
                b'{' | b'[' => {
                    if open.is_full() {
                        return Err(self.fault("nested too deep"));
                    }
                    open = open.push(first == b'{');
                    self.at += 1;
                    // '}' and ']' stand two behind '{' and '['.
                    if self.token() != first + 2 {
                        continue;
                    }
                }
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => self.number(first)?,
            }
            // It has ended, and perhaps what contains it has too.
            loop {
                match self.token() {
                    b',' => break,
                    b'}' if open.in_object() => {}
                    b']' if !open.in_object() => {}
                    _ if open.in_object() => return Err(self.fault("expected ',' or '}'")),
                    _ => return Err(self.fault("expected ',' or ']'")),
                }
                self.at += 1;
                open = open.pop();
                if open == Open::NONE {
                    return self.end(found);
                }
            }
            self.at += 1;
        }
    }

    /// A key and its colon. Says whether it is the first top-level `Type`; a second one is noted in `found`.
    #[inline(always)]
    fn key(&mut self, open: Open, found: &mut Type<'a>) -> Result<bool, Fault> {
        if self.token() != b'"' {
            return Err(self.fault("expected a key"));
        }
        let start = self.at;
        let escapes = self.string()?;
        let raw = &self.bytes[start + 1..self.at - 1];
        self.token();
        self.expect(b':', "expected ':'")?;
        if open != Open::TOP_OBJECT || !is_type(raw, escapes) {
            return Ok(false);
        }
        match found {
            Type::Missing => return Ok(true),
            Type::Twice(_) => {}
            _ => *found = Type::Twice(start),
        }
        Ok(false)
    }

    /// A string from its quote on (section 7). Says whether there are escapes in it.
    #[inline(always)]
    fn string(&mut self) -> Result<bool, Fault> {
        self.at += 1;
        let mut escapes = false;
        loop {
            self.plain();
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(escapes);
                }
                b'\\' => self.escape()?,
                _ => return Err(self.fault("control character in a string")),
            }
            escapes = true;
        }
    }

    /// Goes to the first byte that may not stand in a string as it is, or to the end.
    #[inline(always)]
    fn plain(&mut self) {
        for _ in 0..STEPS_BEFORE_LEAP {
            let Some(step) = self.bytes[self.at..].first_chunk() else { return self.plain_bytes() };
            let plain = block::leading_plain(step);
            self.at += plain;
            if plain < STEP {
                return;
            }
        }
        self.plain_leap();
    }

    /// The same for a string that is not short.
    #[inline(never)]
    fn plain_leap(&mut self) {
        if self.plain.contains(&self.at) {
            self.at = self.plain.end;
        }
        let stretch = block::stretch(&self.bytes[self.at..]);
        if stretch.printable {
            self.at += stretch.bytes;
        } else {
            self.plain_bytes();
        }
    }

    #[inline(never)]
    fn plain_bytes(&mut self) {
        let rest = &self.bytes[self.at..];
        self.at += rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\').unwrap_or(rest.len());
    }

    /// A backslash and what belongs to it.
    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                for _ in 0..4 {
                    self.at += 1;
                    if !self.peek().is_ascii_hexdigit() {
                        return Err(self.fault("expected four hexadecimal digits"));
                    }
                }
                self.at += 1;
            }
            _ => return Err(self.fault("unknown escape in a string")),
        }
        Ok(())
    }

    /// What stands in the string from the quote at `start` to here.
    fn content(&self, start: usize, escapes: bool) -> Result<Cow<'a, [u8]>, Fault> {
        let raw = &self.bytes[start + 1..self.at - 1];
        if !escapes {
            return Ok(raw.into());
        }
        let unpaired = |at| Fault { at: start + 1 + at, detail: "unpaired surrogate in Type" };
        unescape(raw).map(Cow::Owned).map_err(unpaired)
    }

    /// A number (section 6), or nothing that a value could be.
    #[inline(always)]
    fn number(&mut self, first: u8) -> Result<(), Fault> {
        match first {
            b'-' => self.at += 1,
            b'0'..=b'9' => {}
            _ => return Err(self.fault("expected a value")),
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if let b'e' | b'E' = self.peek() {
            self.at += 1;
            if let b'+' | b'-' = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    #[inline(always)]
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(step) = self.bytes[self.at..].first_chunk() {
            let digits = block::leading_digits(step);
            self.at += digits;
            if digits < STEP {
                break;
            }
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start { Err(self.fault("expected a digit")) } else { Ok(()) }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        self.at += rest.iter().zip(word).take_while(|(byte, letter)| byte == letter).count();
        Err(self.fault("expected true, false or null"))
    }

    /// Nothing may stand behind the object.
    fn end(&self, found: Type<'a>) -> Result<Type<'a>, Fault> {
        if self.at == self.bytes.len() { Ok(found) } else { Err(self.fault("expected the end")) }
    }

    /// Skips space (section 2); gives the byte behind it, and 0 at the end.
    #[inline(always)]
    fn token(&mut self) -> u8 {
        loop {
            let byte = self.peek();
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return byte;
            }
            self.at += 1;
        }
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8, detail: &'static str) -> Result<(), Fault> {
        if self.peek() != byte {
            return Err(self.fault(detail));
        }
        self.at += 1;
        Ok(())
    }

    /// The next byte; 0, which is never right, at the end.
    #[inline(always)]
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[cold]
    fn fault(&self, detail: &'static str) -> Fault {
        let at_end = self.at == self.bytes.len();
        Fault { at: self.at, detail: if at_end { "unexpected end" } else { detail } }
    }
}

/// Steps through a string before it counts as a long one.
const STEPS_BEFORE_LEAP: usize = 8;

/// Whether a key says `Type`, in whatever spelling; the longest escapes every letter.
#[inline(always)]
fn is_type(raw: &[u8], escapes: bool) -> bool {
    raw == b"Type" || escapes && raw.len() <= 4 * r"\u0054".len() && unescape(raw).is_ok_and(|key| key == b"Type")
}

/// Decodes the escapes of a string whose grammar is right. The error is where a surrogate stands without its other half.
fn unescape(raw: &[u8]) -> Result<Vec<u8>, usize> {
    let mut text = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        let letter = if byte == b'\\' { raw.get(at + 1) } else { None };
        let Some(letter) = letter else {
            text.push(byte);
            at += 1;
            continue;
        };
        at += 2;
        text.push(match letter {
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                at -= 2;
                let units = utf16_unit(raw, at).into_iter().chain(utf16_unit(raw, at + 6));
                let Some(Ok(char)) = char::decode_utf16(units).next() else { return Err(at) };
                text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                at += 6 * char.len_utf16();
                continue;
            }
            &itself => itself,
        });
    }
    Ok(text)
}

/// The number in `\uXXXX`, if that stands there.
fn utf16_unit(raw: &[u8], at: usize) -> Option<u16> {
    let digits = raw.get(at..at + 6)?.strip_prefix(br"\u")?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)? as u16))
}
