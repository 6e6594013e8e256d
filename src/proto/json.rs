//! Checks that one object is JSON (RFC 8259) and finds its top-level `Type` and identity member, in one pass.
//!
//! In contrast to a general parser, the walk builds no values and allocates no memory. It is iterative, and keeps the open
//! containers as bits of one number. The caller has checked UTF-8 before.

use std::{borrow::Cow, ops::Range};

use super::{escapes::unescape, identity, member::Members};

mod cursor;

use cursor::{Cursor, Hints, Stop};

/// The maximum of open containers, including the object itself.
pub(super) const DEPTH_MAX: u32 = 127;

/// The maximum length of a `Type` in bytes, unescaped.
pub const TYPE_BYTES_MAX: usize = 256;

/// The result of a walk over one object. Positions count from the object's first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome<'a> {
    /// The object's length.
    pub(super) bytes: usize,
    /// Its nesting depth, including itself.
    pub(super) depth: u32,
    pub(super) found: Found<'a>,
}

/// The top level of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) type_member: Type<'a>,
    pub(super) members: Members,
    /// The offset of the value of the identity member, 0 without one.
    pub(super) identity: u32,
}

/// The top-level member `Type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type<'a> {
    /// The member is missing.
    Missing,
    /// The unescaped value.
    String(Cow<'a, [u8]>),
    /// The value at this position has more than [`TYPE_BYTES_MAX`] bytes.
    TooLong(usize),
    /// The value at this position is not a string.
    Other(usize),
    /// The key at this position is the second one.
    Twice(usize),
}

/// The first byte that violates the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) detail: &'static str,
}

/// The expectations of the grammar at a fault.
pub(super) mod detail {
    pub(in crate::proto) const OBJECT: &str = "expected '{'";
    pub(in crate::proto) const KEY: &str = "expected a key";
    pub(in crate::proto) const COLON: &str = "expected ':'";
    pub(in crate::proto) const VALUE: &str = "expected a value";
    pub(in crate::proto) const COMMA_OR_BRACE: &str = "expected ',' or '}'";
    pub(in crate::proto) const COMMA_OR_BRACKET: &str = "expected ',' or ']'";
    pub(in crate::proto) const DIGIT: &str = "expected a digit";
    pub(in crate::proto) const LITERAL: &str = "expected true, false or null";
    pub(in crate::proto) const CONTROL: &str = "control character in a string";
    pub(in crate::proto) const ESCAPE: &str = "unknown escape in a string";
    pub(in crate::proto) const HEX: &str = "expected four hexadecimal digits";
    pub(in crate::proto) const SURROGATE: &str = "unpaired surrogate";
    pub(in crate::proto) const DEPTH: &str = "nested too deep";
    pub(in crate::proto) const END: &str = "expected the end";
    pub(in crate::proto) const UNEXPECTED_END: &str = "unexpected end";
}

/// Walks over the object at the start of `input`. The range `unescaped` of it is known to be unescaped ASCII.
/// `identity` is the key of the identity member, or empty.
pub(super) fn walk<'a>(input: &'a [u8], unescaped: &Range<u32>, identity: &str) -> Result<Outcome<'a>, Fault> {
    let hints = Hints {
        identity: identity.as_bytes(),
        bytes: input.len(),
        left_before: input.len().saturating_sub(unescaped.start as usize),
        left_behind: input.len().saturating_sub(unescaped.end as usize),
    };
    Cursor(input).object(&hints).map_err(|Stop { left, detail }| Fault { at: input.len() - left, detail })
}

/// Walks over `object`, which must end with its closing brace.
pub(super) fn check<'a>(object: &'a [u8], unescaped: &Range<u32>, identity: &str) -> Result<Found<'a>, Fault> {
    let outcome = walk(object, unescaped, identity)?;
    if outcome.bytes < object.len() {
        return Err(Fault { at: outcome.bytes, detail: detail::END });
    }
    Ok(outcome.found)
}

/// Whether a byte can follow the first `seen` bytes of a low surrogate's escape, `\uDC00` to `\uDFFF`.
pub(super) fn fits_low_surrogate(seen: u8, byte: u8) -> bool {
    match seen {
        0 => byte == b'\\',
        1 => byte == b'u',
        2 => matches!(byte, b'd' | b'D'),
        3 => matches!(byte, b'c'..=b'f' | b'C'..=b'F'),
        _ => byte.is_ascii_hexdigit(),
    }
}

impl<'a> Cursor<'a> {
    /// Walks over the object at the cursor.
    fn object(mut self, hints: &Hints<'_>) -> Result<Outcome<'a>, Stop> {
        // `closer` closes the innermost container. `around` has a bit for each outer one: 1 for an object, 0 for an array.
        let mut closer = b'}';
        let mut around = 0_u128;
        let mut depth = 1;
        let mut deepest = 1;
        let mut found = Found { type_member: Type::Missing, members: Members::default(), identity: 0 };
        self.expect(b'{', detail::OBJECT)?;
        if self.token() == b'}' {
            self.skip(1);
            return Ok(Outcome { bytes: hints.bytes - self.0.len(), depth, found });
        }
        loop {
            // A member or an element begins.
            if closer == b'}' {
                self.token();
                self.expect(b'"', detail::KEY)?;
                let key = self;
                let escapes = self.string(hints)?;
                let is_type = depth == 1 && key.is_type(escapes);
                let mut is_identity = false;
                if depth == 1 {
                    found.members.record(hints.bytes - key.0.len(), escapes);
                    is_identity = key.is_identity(hints.identity, escapes);
                }
                self.token();
                self.expect(b':', detail::COLON)?;
                if is_identity && found.identity == 0 {
                    self.token();
                    found.identity = (hints.bytes - self.0.len()) as u32;
                }
                if is_type {
                    self.record_type(key, hints, &mut found.type_member)?;
                }
            }
            match self.token() {
                b'"' => {
                    self.skip(1);
                    self.string(hints)?;
                }
                opener @ (b'{' | b'[') => {
                    if depth == DEPTH_MAX {
                        return Err(self.stop(detail::DEPTH));
                    }
                    around = around << 1 | u128::from(closer == b'}');
                    // In ASCII, '}' is '{' + 2, and ']' is '[' + 2.
                    closer = opener + 2;
                    depth += 1;
                    deepest = deepest.max(depth);
                    self.skip(1);
                    if self.token() != closer {
                        continue;
                    }
                }
                b't' => self = self.literal(b"true")?,
                b'f' => self = self.literal(b"false")?,
                b'n' => self = self.literal(b"null")?,
                first => self.number(first)?,
            }
            // The value has ended, and its containers may end with it.
            loop {
                let byte = self.token();
                if byte == b',' {
                    self.skip(1);
                    break;
                }
                if byte != closer {
                    return Err(self.stop(if closer == b'}' {
                        detail::COMMA_OR_BRACE
                    } else {
                        detail::COMMA_OR_BRACKET
                    }));
                }
                self.skip(1);
                depth -= 1;
                if depth == 0 {
                    return Ok(Outcome { bytes: hints.bytes - self.0.len(), depth: deepest, found });
                }
                closer = if around & 1 != 0 { b'}' } else { b']' };
                around >>= 1;
            }
        }
    }

    /// Records a top-level `Type`. `key` is the cursor behind its first quote, and the value follows. Consumes nothing.
    #[inline(never)]
    fn record_type(mut self, key: Self, hints: &Hints<'_>, found: &mut Type<'a>) -> Result<(), Stop> {
        *found = match found {
            Type::Missing if self.token() == b'"' => {
                self.skip(1);
                let value = self;
                let escapes = self.string(hints)?;
                let raw = &value.0[..value.0.len() - self.0.len() - 1];
                // An escape has at most six bytes for each byte of text, so a longer text is too long in any case.
                let name = match escapes {
                    true if raw.len() <= 6 * TYPE_BYTES_MAX => unescape(raw).into(),
                    _ => Cow::Borrowed(raw),
                };
                let at = hints.bytes - value.0.len() - 1;
                if name.len() > TYPE_BYTES_MAX { Type::TooLong(at) } else { Type::String(name) }
            }
            Type::Missing => Type::Other(hints.bytes - self.0.len()),
            Type::String(_) | Type::TooLong(_) | Type::Other(_) => Type::Twice(hints.bytes - key.0.len() - 1),
            Type::Twice(at) => Type::Twice(*at),
        };
        Ok(())
    }

    /// Whether the key behind its first quote is `Type`, also with escapes.
    #[inline(always)]
    fn is_type(self, escapes: bool) -> bool {
        if escapes { self.is_escaped_type() } else { self.0.starts_with(b"Type\"") }
    }

    /// Whether the key behind its first quote is `identity`, also with escapes. The first byte decides for most keys.
    #[inline(always)]
    fn is_identity(self, identity: &[u8], escapes: bool) -> bool {
        match identity.first() {
            None => false,
            Some(_) if escapes => self.is_escaped_identity(identity),
            Some(first) => self.0.first() == Some(first) && self.is_unescaped_identity(identity),
        }
    }

    #[inline(never)]
    fn is_unescaped_identity(self, identity: &[u8]) -> bool {
        self.0.strip_prefix(identity).is_some_and(|rest| rest.first() == Some(&b'"'))
    }

    #[cold]
    fn is_escaped_identity(self, identity: &[u8]) -> bool {
        // An escape has at most six bytes for each byte of text.
        let longest = &self.0[..self.0.len().min(6 * identity.len() + 1)];
        identity::string_end(longest).is_some_and(|(end, _)| unescape(&longest[..end]) == identity)
    }

    #[cold]
    fn is_escaped_type(self) -> bool {
        // The longest form escapes each of the four letters. None of them is a quote, so the next quote ends the key.
        let longest = &self.0[..self.0.len().min(4 * r"\u0054".len() + 1)];
        let end = longest.iter().position(|byte| *byte == b'"');
        end.is_some_and(|end| unescape(&longest[..end]) == b"Type")
    }
}

#[cfg(test)]
mod tests;
