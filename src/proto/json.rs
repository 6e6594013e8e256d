//! Checks that one object is JSON (RFC 8259) and finds its top-level `Type`, in one pass. Floor 0.
//!
//! A general parser would build or skip values; this one only walks over them: iteratively, the open containers kept as
//! bits of one number, without allocation. It does not look at UTF-8, which has been checked before.

use std::{borrow::Cow, ops::Range};

use super::block::{self, STEP};

/// Containers that may be open at once, the object itself among them.
pub(super) const DEPTH_MAX: u32 = 127;

/// What the walk over one object has found. Positions count from the object's first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walked<'a> {
    /// The object's length.
    pub(super) bytes: usize,
    /// Its deepest nesting, itself included.
    pub(super) depth: u32,
    pub(super) found: Type<'a>,
}

/// What the top level says of `Type`.
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

/// Walks over the object at the start of `input`. Of `plain` it is known that no `"`, `\` or control character stands
/// in it.
#[inline(never)]
pub(super) fn walk<'a>(input: &'a [u8], plain: &Range<u32>) -> Result<Walked<'a>, Fault> {
    Walk { bytes: input, at: 0 }.object(plain)
}

/// Walks over `object`, behind which nothing may stand.
pub(super) fn check<'a>(object: &'a [u8], plain: &Range<u32>) -> Result<Type<'a>, Fault> {
    let walked = walk(object, plain)?;
    if walked.bytes < object.len() {
        return Err(Fault { at: walked.bytes, detail: "expected the end" });
    }
    Ok(walked.found)
}

/// A place in the text. What is not inlined takes it by value and gives a new place, so that it stays in registers.
#[derive(Clone, Copy)]
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    /// The object that begins here.
    fn object(mut self, plain: &Range<u32>) -> Result<Walked<'a>, Fault> {
        // What closes the innermost container, and what lies around it: a bit each, 1 for an object, 0 for an array.
        let mut closer = b'}';
        let mut around = 0_u128;
        let mut depth = 1;
        let mut deepest = 1;
        let mut found = Type::Missing;
        self.expect(b'{', "expected '{'")?;
        if self.token() == b'}' {
            return Ok(Walked { bytes: self.at + 1, depth, found });
        }
        loop {
            // A member or an element begins.
            if closer == b'}' {
                let start = self.at_token();
                self.expect(b'"', "expected a key")?;
                let escapes = self.string(plain)?;
                let is_type = depth == 1 && says_type(&self.bytes[start + 1..self.at - 1], escapes);
                self.at_token();
                self.expect(b':', "expected ':'")?;
                if is_type {
                    self.note_type(start, &mut found)?;
                }
            }
            match self.token() {
                b'"' => {
                    self.at += 1;
                    self.string(plain)?;
                }
                opener @ (b'{' | b'[') => {
                    if depth == DEPTH_MAX {
                        return Err(self.fault("nested too deep"));
                    }
                    around = around << 1 | u128::from(closer == b'}');
                    // In ASCII, '}' stands two behind '{', and ']' behind '['.
                    closer = opener + 2;
                    depth += 1;
                    deepest = deepest.max(depth);
                    self.at += 1;
                    if self.token() != closer {
                        continue;
                    }
                }
                b't' => self.at = self.literal(b"true")?,
                b'f' => self.at = self.literal(b"false")?,
                b'n' => self.at = self.literal(b"null")?,
                first => self.number(first)?,
            }
            // It has ended, and perhaps what contains it has too.
            loop {
                let byte = self.token();
                if byte == b',' {
                    self.at += 1;
                    break;
                }
                if byte != closer {
                    return Err(self.fault(if closer == b'}' { "expected ',' or '}'" } else { "expected ',' or ']'" }));
                }
                self.at += 1;
                depth -= 1;
                if depth == 0 {
                    return Ok(Walked { bytes: self.at, depth: deepest, found });
                }
                closer = if around & 1 != 0 { b'}' } else { b']' };
                around >>= 1;
            }
        }
    }

    /// Notes a top-level `Type`, whose key stands at `key` and whose value comes next. Only looks ahead.
    #[inline(never)]
    fn note_type(mut self, key: usize, found: &mut Type<'a>) -> Result<(), Fault> {
        *found = match found {
            Type::Missing if self.token() == b'"' => {
                self.at += 1;
                let start = self.at;
                let escapes = self.string(&(0..0))?;
                let raw = &self.bytes[start..self.at - 1];
                if escapes {
                    let unpaired = |at| Fault { at: start + at, detail: "unpaired surrogate in Type" };
                    Type::String(unescape(raw).map_err(unpaired)?.into())
                } else {
                    Type::String(raw.into())
                }
            }
            Type::Missing => Type::Other(self.at),
            Type::String(_) | Type::Other(_) => Type::Twice(key),
            Type::Twice(first) => Type::Twice(*first),
        };
        Ok(())
    }

    /// A string from behind its first quote (section 7). Says whether there are escapes in it.
    #[inline(always)]
    fn string(&mut self, plain: &Range<u32>) -> Result<bool, Fault> {
        let mut escapes = false;
        loop {
            self.plain(plain);
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(escapes);
                }
                b'\\' => self.at = self.escape()?,
                _ => return Err(self.fault("control character in a string")),
            }
            escapes = true;
        }
    }

    /// Goes to the first byte that may not stand in a string as it is, or to the end.
    #[inline(always)]
    fn plain(&mut self, known: &Range<u32>) {
        for _ in 0..STEPS_BEFORE_LEAP {
            let Some(step) = self.bytes[self.at..].first_chunk() else {
                self.at = self.plain_bytes();
                return;
            };
            let plain = block::leading_plain(step);
            self.at += plain;
            if plain < STEP {
                return;
            }
        }
        self.at = self.plain_leap(known);
    }

    #[inline(never)]
    fn plain_leap(mut self, known: &Range<u32>) -> usize {
        if known.contains(&(self.at as u32)) {
            self.at = known.end as usize;
        }
        let stretch = block::stretch(self.bytes.get(self.at..).unwrap_or_default());
        if stretch.printable { self.at + stretch.bytes } else { self.plain_bytes() }
    }

    #[inline(never)]
    fn plain_bytes(self) -> usize {
        let rest = &self.bytes[self.at..];
        self.at + rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\').unwrap_or(rest.len())
    }

    /// A backslash and what belongs to it.
    fn escape(mut self) -> Result<usize, Fault> {
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
        Ok(self.at)
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
        if let b'.' | b'e' | b'E' = self.peek() {
            self.at = self.fraction()?;
        }
        Ok(())
    }

    /// What may follow a number's whole part.
    fn fraction(mut self) -> Result<usize, Fault> {
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
        Ok(self.at)
    }

    /// One digit or more.
    #[inline(always)]
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        if let Some(step) = self.bytes[start..].first_chunk() {
            self.at += block::leading_digits(step);
        }
        if self.at == start || self.at == start + STEP {
            while self.peek().is_ascii_digit() {
                self.at += 1;
            }
        }
        if self.at == start { Err(self.fault("expected a digit")) } else { Ok(()) }
    }

    fn literal(mut self, word: &[u8]) -> Result<usize, Fault> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(word) {
            return Ok(self.at + word.len());
        }
        self.at += rest.iter().zip(word).take_while(|(byte, letter)| byte == letter).count();
        Err(self.fault("expected true, false or null"))
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

    /// Skips space; gives the place behind it.
    #[inline(always)]
    fn at_token(&mut self) -> usize {
        self.token();
        self.at
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
    fn peek(self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[cold]
    fn fault(self, detail: &'static str) -> Fault {
        let at_end = self.at == self.bytes.len();
        Fault { at: self.at, detail: if at_end { "unexpected end" } else { detail } }
    }
}

/// Steps through a string before it counts as a long one.
const STEPS_BEFORE_LEAP: usize = 8;

/// Whether a key says `Type`, in whatever spelling.
#[inline(always)]
fn says_type(raw: &[u8], escapes: bool) -> bool {
    if escapes { says_type_escaped(raw) } else { raw == b"Type" }
}

#[cold]
fn says_type_escaped(raw: &[u8]) -> bool {
    let longest = 4 * r"\u0054".len();
    raw.len() <= longest && unescape(raw).is_ok_and(|key| key == b"Type")
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
        assert_eq!(check(text.as_bytes(), &(0..0)), expected, "{text}");
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
            r#"{"a":"\"\\\/\b\f\n\r\t\u00fF\uD800"}"#,
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
        table(r#"{"type":1,"Type ":1,"\u0054ype\n":1,"Typ":1,"\ud800":1}"#, missing());
        table(r#"{"a":0,"Type":  1}"#, Ok(Type::Other(16)));
        table(r#"{"Type":{"Type":"a"}}"#, Ok(Type::Other(8)));
        table(r#"{"Type":null}"#, Ok(Type::Other(8)));
        table(r#"{"Type":"a","Type":"b","Type":1}"#, Ok(Type::Twice(12)));
        table(r#"{"Type":1,"\u0054ype":"b"}"#, Ok(Type::Twice(10)));
        let unpaired = "unpaired surrogate in Type";
        table(r#"{"Type":"a\ud800"}"#, fault(10, unpaired));
        table(r#"{"Type":"\ude00\ud83d"}"#, fault(9, unpaired));
        table(r#"{"Type":"\ud83d\ud83d\ude00"}"#, fault(9, unpaired));
        table(r#"{"Type":"\ud83dx"}"#, fault(9, unpaired));
        table(r#"{"Type":"\ud83d\n"}"#, fault(9, unpaired));
        table(r#"{"Type":"\ud800","a":01}"#, fault(9, unpaired));
        table(r#"{"Type":"a"x}"#, fault(11, "expected ',' or '}'"));
    }

    #[test]
    fn depth() {
        for (levels, ok) in [(1, true), (126, true), (127, false), (1000, false)] {
            for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
                let inner = if open == "[" { "" } else { "0" };
                let text = format!(r#"{{"a":{}{inner}{}}}"#, open.repeat(levels), close.repeat(levels));
                let walked = walk(text.as_bytes(), &(0..0));
                assert_eq!(walked.map(|walked| walked.depth as usize).ok(), ok.then_some(levels + 1));
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

    /// `serde_json` skips a value by the same grammar: numbers of any size, lone surrogates too. It tells an end that
    /// comes too early from a wrong byte, but in numbers, which therefore get another digit.
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
            Err(Fault { detail: "unpaired surrogate in Type", .. }) => {}
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
