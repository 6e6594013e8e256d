//! Checks that one object is JSON (RFC 8259) and finds its top-level `Type`, in one pass. Floor 0.
//!
//! A general parser would build or skip values; this one only walks over them: iteratively, the
//! open containers kept as bits of one number, without allocation. It does not look at UTF-8, which
//! has been checked before.

use std::{borrow::Cow, ops::Range};

use super::{
    escapes::unescape,
    member::Members,
    swar::{self, STEP},
};

/// Containers that may be open at once, the object itself among them.
pub(super) const DEPTH_MAX: u32 = 127;

/// Bytes of a `Type`, unescaped.
pub const TYPE_BYTES_MAX: usize = 256;

/// What the walk over one object has found. Positions count from the object's first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome<'a> {
    /// The object's length.
    pub(super) bytes: usize,
    /// Its deepest nesting, itself included.
    pub(super) depth: u32,
    pub(super) found: Found<'a>,
}

/// What stands at the top level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) type_member: Type<'a>,
    pub(super) members: Members,
}

/// What the top level says of `Type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type<'a> {
    /// There is none.
    Missing,
    /// Its value, unescaped.
    String(Cow<'a, [u8]>),
    /// Its value stands here and has more than [`TYPE_BYTES_MAX`] bytes.
    TooLong(usize),
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

/// What the grammar expects at the place of a fault.
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

/// Walks over the object at the start of `input`. In `plain` no `"`, `\` or
/// control character stands in it.
pub(super) fn walk<'a>(input: &'a [u8], plain: &Range<u32>) -> Result<Outcome<'a>, Fault> {
    let hints = Hints {
        bytes: input.len(),
        left_before: input.len().saturating_sub(plain.start as usize),
        left_behind: input.len().saturating_sub(plain.end as usize),
    };
    Cursor(input).object(&hints).map_err(|Stop { left, detail }| Fault { at: input.len() - left, detail })
}

/// Walks over `object`, behind which nothing may stand.
pub(super) fn check<'a>(object: &'a [u8], plain: &Range<u32>) -> Result<Found<'a>, Fault> {
    let outcome = walk(object, plain)?;
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

/// Facts about the text, from its beginning.
struct Hints {
    /// Its length.
    bytes: usize,
    /// How much is left where the plain range begins, and where it ends.
    left_before: usize,
    left_behind: usize,
}

/// The walk stopped with so many bytes left.
struct Stop {
    left: usize,
    detail: &'static str,
}

/// What is left of the text: the walk's only state besides what is open. As no more than a slice it
/// stays in registers, where an index into one would be checked, and spilt, at every turn.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// The object that begins here.
    fn object(mut self, hints: &Hints) -> Result<Outcome<'a>, Stop> {
        // What closes the innermost container, and what lies around it: a bit each, 1 for an
        // object, 0 for an array.
        let mut closer = b'}';
        let mut around = 0_u128;
        let mut depth = 1;
        let mut deepest = 1;
        let mut found = Found { type_member: Type::Missing, members: Members::default() };
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
                let is_type = depth == 1 && key.says_type(escapes);
                if depth == 1 {
                    found.members.note(hints.bytes - key.0.len(), escapes);
                }
                self.token();
                self.expect(b':', detail::COLON)?;
                if is_type {
                    self.note_type(key, hints, &mut found.type_member)?;
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
                    // In ASCII, '}' stands two behind '{', and ']' behind '['.
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
            // It has ended, and perhaps what contains it has too.
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

    /// Notes a top-level `Type`, the text of whose `key` is given, and whose value comes next. Only
    /// looks ahead.
    #[inline(never)]
    fn note_type(mut self, key: Self, hints: &Hints, found: &mut Type<'a>) -> Result<(), Stop> {
        *found = match found {
            Type::Missing if self.token() == b'"' => {
                self.skip(1);
                let value = self;
                let escapes = self.string(hints)?;
                let raw = &value.0[..value.0.len() - self.0.len() - 1];
                // An escape has at most six bytes a byte of text, so that more than this is not unescaped.
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

    /// Whether a key, from behind its first quote, says `Type`, in whatever spelling.
    #[inline(always)]
    fn says_type(self, escapes: bool) -> bool {
        if escapes { self.says_type_escaped() } else { self.0.starts_with(b"Type\"") }
    }

    #[cold]
    fn says_type_escaped(self) -> bool {
        // The longest spelling escapes each letter. The first quote behind it is the key's, as none
        // of them is one.
        let longest = &self.0[..self.0.len().min(4 * r"\u0054".len() + 1)];
        let end = longest.iter().position(|byte| *byte == b'"');
        end.is_some_and(|end| unescape(&longest[..end]) == b"Type")
    }

    /// A string from behind its first quote (section 7). Says whether there are escapes in it.
    #[inline(always)]
    fn string(&mut self, hints: &Hints) -> Result<bool, Stop> {
        let mut escapes = false;
        loop {
            match self.plain(hints) {
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

    /// Goes to the first byte that may not stand in a string as it is, or to the end; gives that
    /// byte, or 0.
    #[inline(always)]
    fn plain(&mut self, hints: &Hints) -> u8 {
        for _ in 0..STEPS_BEFORE_RUN {
            let Some(step) = self.0.first_chunk() else {
                break;
            };
            let plain = swar::leading_plain(step);
            self.skip(plain);
            if let Some(&stop) = step.get(plain) {
                return stop;
            }
        }
        *self = self.skip_run(hints);
        self.peek()
    }

    /// The same for long strings, and where the text ends.
    #[inline(never)]
    fn skip_run(mut self, hints: &Hints) -> Self {
        if (hints.left_behind..=hints.left_before).contains(&self.0.len()) {
            self.skip(self.0.len() - hints.left_behind);
        }
        let run = swar::run(self.0);
        let control = if run.printable { None } else { self.0.iter().position(|byte| *byte < 0x20) };
        self.skip(control.unwrap_or(run.bytes));
        self
    }

    /// A backslash and what belongs to it.
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

    /// `\uXXXX` from its `u` on, with the second half of a surrogate pair. I-JSON (RFC 7493, section 2.1) forbids
    /// half a pair, and most parsers refuse it.
    fn unicode_escape(mut self) -> Result<Self, Stop> {
        let start = self;
        let unit = self.utf16_unit()?;
        let low = match unit {
            0xD800..0xDC00 => self.low_surrogate()?,
            0xDC00..0xE000 => false,
            _ => true,
        };
        // The place is that of the backslash in front.
        if low { Ok(self) } else { Err(Stop { left: start.0.len() + 1, detail: detail::SURROGATE }) }
    }

    /// Skips the escape of a low surrogate. Gives false at the first byte that belongs to none.
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

    /// The four digits behind a `u`.
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

    /// A number (section 6), or nothing that a value could be.
    #[inline(always)]
    fn number(&mut self, first: u8) -> Result<(), Stop> {
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

    /// What may follow a number's whole part.
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

    /// One digit or more.
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

    fn literal(mut self, word: &[u8]) -> Result<Self, Stop> {
        if let Some(rest) = self.0.strip_prefix(word) {
            return Ok(Self(rest));
        }
        self.skip(self.0.iter().zip(word).take_while(|(byte, letter)| byte == letter).count());
        Err(self.stop(detail::LITERAL))
    }

    /// Skips space (section 2); gives the byte behind it, and 0 at the end.
    #[inline(always)]
    fn token(&mut self) -> u8 {
        loop {
            let byte = self.peek();
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return byte;
            }
            self.skip(1);
        }
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8, detail: &'static str) -> Result<(), Stop> {
        if self.peek() != byte {
            return Err(self.stop(detail));
        }
        self.skip(1);
        Ok(())
    }

    /// The next byte; 0, which is never right, at the end.
    #[inline(always)]
    fn peek(self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }

    #[inline(always)]
    fn skip(&mut self, bytes: usize) {
        self.0 = &self.0[bytes..];
    }

    #[cold]
    fn stop(self, detail: &'static str) -> Stop {
        Stop { left: self.0.len(), detail: if self.0.is_empty() { detail::UNEXPECTED_END } else { detail } }
    }
}

/// Steps through a string before it counts as a long one.
const STEPS_BEFORE_RUN: usize = 8;

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;
    use crate::proto::testing::{self, Rng};

    fn missing() -> Result<Type<'static>, Fault> {
        Ok(Type::Missing)
    }

    fn string(value: &str) -> Result<Type<'_>, Fault> {
        Ok(Type::String(value.as_bytes().into()))
    }

    fn fault(at: usize, detail: &'static str) -> Result<Type<'static>, Fault> {
        Err(Fault { at, detail })
    }

    fn table(text: &str, expected: Result<Type<'_>, Fault>) {
        let found = check(text.as_bytes(), &(0..0)).map(|found| found.type_member);
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn grammar() {
        for text in [
            "{}",
            "{ }",
            " \t\r\n{ \t\r\n}".trim_start(),
            r#"{"a":0}"#,
            r#"{"":-0,"a":-1.5e+10,"b":0E0,"c":10.01e-1}"#,
            r#"{"a" : [ ] , "b" : [ 1 , 2 ] , "c" : { "Type" : 1 } }"#,
            r#"{"a":[[],{},[{}],"",true,false,null]}"#,
            r#"{"a":"\"\\\/\b\f\n\r\t\u00fF\uD834\uDd1E"}"#,
            "{\"a\":\"\u{7f}é温😀\"}",
            r#"{"a":1,"a":2}"#,
            r#"{"a":123456789012345678901234567890}"#,
        ] {
            table(text, missing());
        }
        let comma = "expected ',' or '}'";
        for (text, at, detail) in [
            ("", 0, "unexpected end"),
            ("[]", 0, "expected '{'"),
            ("{", 1, "unexpected end"),
            ("{}}", 2, "expected the end"),
            ("{} ", 2, "expected the end"),
            ("{,}", 1, "expected a key"),
            ("{a:1}", 1, "expected a key"),
            (r#"{"a"}"#, 4, "expected ':'"),
            (r#"{"a":}"#, 5, "expected a value"),
            (r#"{"a":1,}"#, 7, "expected a key"),
            (r#"{"a":1 "b":2}"#, 7, comma),
            (r#"{"a":1]"#, 6, comma),
            (r#"{"a":[1,]}"#, 8, "expected a value"),
            (r#"{"a":[1}"#, 7, "expected ',' or ']'"),
            (r#"{"a":[}"#, 6, "expected a value"),
            (r#"{"a":01}"#, 6, comma),
            (r#"{"a":-}"#, 6, "expected a digit"),
            (r#"{"a":-01}"#, 7, comma),
            (r#"{"a":+1}"#, 5, "expected a value"),
            (r#"{"a":.5}"#, 5, "expected a value"),
            (r#"{"a":1.}"#, 7, "expected a digit"),
            (r#"{"a":1.e5}"#, 7, "expected a digit"),
            (r#"{"a":1e}"#, 7, "expected a digit"),
            (r#"{"a":1e+}"#, 8, "expected a digit"),
            (r#"{"a":0x1}"#, 6, comma),
            (r#"{"a":NaN}"#, 5, "expected a value"),
            (r#"{"a":nul}"#, 8, "expected true, false or null"),
            (r#"{"a":truE}"#, 8, "expected true, false or null"),
            (r#"{"a":nullx}"#, 9, comma),
            (r#"{"a":'b'}"#, 5, "expected a value"),
            ("{\"a\":\"\t\"}", 6, "control character in a string"),
            ("{\"a\":\"\0\"}", 6, "control character in a string"),
            (r#"{"a":"\x"}"#, 7, "unknown escape in a string"),
            (r#"{"a":"\u12g4"}"#, 10, "expected four hexadecimal digits"),
            (r#"{"a":"\u12"}"#, 10, "expected four hexadecimal digits"),
            (r#"{"a":"b}"#, 8, "unexpected end"),
            ("{\u{a0}}", 1, "expected a key"),
            ("{\0}", 1, "expected a key"),
            ("{\u{c}}", 1, "expected a key"),
            (r#"{"a":1/**/}"#, 6, comma),
            (r"{\u0022a", 1, "expected a key"),
        ] {
            table(text, fault(at, detail));
        }
    }

    #[test]
    fn type_member() {
        table(r#"{"Type":"Status"}"#, string("Status"));
        table(r#"{"a":{"Type":1},"Type" : "é","b":[{"Type":2}]}"#, string("é"));
        table(r#"{"\u0054ype":""}"#, string(""));
        table(
            r#"{"\u0054\u0079\u0070\u0065":"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}"#,
            string("a\"\\/\u{8}\u{c}\n\r\té😀"),
        );
        table(r#"{"type":1,"Type ":1,"\u0054ype\n":1,"Typ":1,"\ud7ff":1}"#, missing());
        table(r#"{"a":0,"Type":  1}"#, Ok(Type::Other(16)));
        table(r#"{"Type":{"Type":"a"}}"#, Ok(Type::Other(8)));
        table(r#"{"Type":null}"#, Ok(Type::Other(8)));
        table(r#"{"Type":"a","Type":"b","Type":1}"#, Ok(Type::Twice(12)));
        table(r#"{"Type":1,"\u0054ype":"b"}"#, Ok(Type::Twice(10)));
        table(r#"{"Type":"a"x}"#, fault(11, "expected ',' or '}'"));
    }

    #[test]
    fn a_surrogate_without_its_other_half_is_not_json_wherever_it_stands() {
        for (object, at) in [
            (r#"{"Type":"a\ud800"}"#, 10),
            (r#"{"Type":"Status","Name":"cut emoji \ud83d"}"#, 35),
            (r#"{"\ud83d":1}"#, 2),
            (r#"{"a":[{"b":"\ude00\ud83d"}]}"#, 12),
            (r#"{"a":"\ud83d\ud83d\ude00"}"#, 6),
            (r#"{"a":"\ud83dx"}"#, 6),
            (r#"{"a":"\ud83d\n"}"#, 6),
            (r#"{"a":"\ud83d\ue000"}"#, 6),
            (r#"{"a":"\ud83d\u00"}"#, 6),
            (r#"{"a":"\uDBFF\uDBFF"}"#, 6),
            (r#"{"a":"\ud83d\udcgg"}"#, 6),
        ] {
            table(object, fault(at, "unpaired surrogate"));
        }
        for text in [r#"{"a":"\ud83d"#, r#"{"a":"\ud83d\"#, r#"{"a":"\ud83d\uDe"#] {
            table(text, fault(text.len(), "unexpected end"));
        }
        table(r#"{"\ud83d\ude00":"\uDBFF\uDFFF\ud7ff\uE000"}"#, missing());
    }

    #[test]
    fn a_type_has_at_most_256_bytes() {
        for (letter, bytes) in [("x", 1), ("é", 2), (r"\u0041", 1), (r"\ud83d\ude00", 4), (r"\n", 1)] {
            let text = |count| format!(r#"{{"a":0,"Type" : "{}"}}"#, letter.repeat(count));
            let fits = text(256 / bytes);
            let found = check(fits.as_bytes(), &(0..0)).map(|found| found.type_member);
            assert!(matches!(&found, Ok(Type::String(name)) if name.len() == 256), "{letter}: {found:?}");
            table(&text(256 / bytes + 1), Ok(Type::TooLong(16)));
            table(&text(300_000), Ok(Type::TooLong(16)));
        }
        table(&format!(r#"{{"Type":"{}","Type":1}}"#, "x".repeat(300)), Ok(Type::Twice(311)));
    }

    #[test]
    fn depth() {
        for (levels, ok) in [(1, true), (126, true), (127, false), (1000, false)] {
            for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
                let inner = if open == "[" { "" } else { "0" };
                let text = format!(r#"{{"a":{}{inner}{}}}"#, open.repeat(levels), close.repeat(levels));
                let outcome = walk(text.as_bytes(), &(0..0));
                assert_eq!(outcome.map(|outcome| outcome.depth as usize).ok(), ok.then_some(levels + 1));
            }
        }
        // What lies around is remembered to the last bit.
        let mixed = r#"{"a":["#.repeat(63) + &"]}".repeat(63);
        table(&mixed, missing());
        table(&mixed.replacen("]}", "}]", 1), fault(63 * 6, "expected a value"));
    }

    #[test]
    fn long_strings() {
        for length in 0..140 {
            for end in ["", r"\n", "é", "\u{1f}", r"\v"] {
                let text = format!("{{\"a\":\"{}{end}\",\"b\":0}}", "x".repeat(length));
                check_against_serde(&text);
                let plain = 6..(6 + length as u32);
                assert_eq!(check(text.as_bytes(), &plain), check(text.as_bytes(), &(0..0)));
            }
        }
    }

    /// `serde_json` skips a value by the same grammar: numbers of any size, lone surrogates too. It
    /// tells an end that comes too early from a wrong byte, but in numbers, which therefore get
    /// another digit.
    fn check_against_serde(text: &str) -> bool {
        let is_valid = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
        let may_go_on = |text: &str| {
            [text, &format!("{text}0")]
                .iter()
                .any(|text| serde_json::from_str::<IgnoredAny>(text).map_or_else(|error| error.is_eof(), |_| true))
        };
        let is_object = text.starts_with('{') && text.ends_with('}') && is_valid(text);
        match check(text.as_bytes(), &(0..0)) {
            Ok(_) => assert!(is_object, "{text}"),
            // serde_json lets it pass in what it skips.
            Err(Fault { detail: "unpaired surrogate", .. }) => return false,
            Err(Fault { at, .. }) => {
                assert!(!is_object, "{text}");
                if let (Some(before), Some(after)) = (text.get(..at), text.get(..=at))
                    && text.starts_with('{')
                {
                    assert!(may_go_on(before), "{before}");
                    // Of four hexadecimal digits it looks at none before all are there.
                    let is_wrong = |text: &str| !may_go_on(text) || !may_go_on(&format!("{text}000"));
                    assert!(is_valid(before) || is_wrong(after), "{after}");
                }
            }
        }
        is_object
    }

    #[test]
    fn against_serde() {
        for seed in 1..4000 {
            let mut rng = Rng(seed);
            let member = rng.pick(&[r#""Type":"Status""#, r#""Type": {}"#, r#""\u0054ype":"\ud83d\ude00""#]);
            let mut text = testing::object(&mut rng, 4, Some(member));
            for mutations in 0..4 {
                let outcome = std::panic::catch_unwind(|| check_against_serde(&text));
                assert!(outcome.is_ok_and(|valid| valid || mutations > 0), "seed {seed}: {text}");
                let mut chars: Vec<_> = text.chars().collect();
                let at = rng.below(chars.len());
                match rng.below(3) {
                    0 => drop(chars.remove(at)),
                    1 => chars[at] = char::from(rng.pick(b"{}[]\",:\\/ \n\0\x1f01.eE+-tfnu")),
                    _ => chars.insert(at, char::from(rng.pick(b"{}[]\",:\\/ \n\0\x1f01.eE+-tfnu"))),
                }
                text = chars.into_iter().collect();
                if text.is_empty() {
                    break;
                }
            }
        }
    }
}
