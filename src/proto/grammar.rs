//! The grammar of RFC 8259 as a state machine that takes an object in any pieces.
//!
//! [`json`] is several times as fast and needs the complete object. This machine checks a partial object, and takes each
//! byte once. Both find the same fault at the same byte.

use super::{
    json::{self, DEPTH_MAX, Fault, detail},
    swar,
};

/// The state of the check of one object.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Grammar {
    /// A bit for each open container, the outermost first. The bit of an object is 1.
    objects: [u64; 2],
    /// The number of bytes so far.
    at: u32,
    state: State,
    depth: u8,
    /// The current string is a key.
    key: bool,
}

/// The expectation for the next byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    FirstKey,
    Key,
    Colon,
    FirstElement,
    Value,
    AfterValue,
    String,
    Escape,
    /// Behind `\u`: the number of digits so far, and their value.
    Unit(u8, u16),
    /// Behind a high surrogate: the number of bytes of the low one so far.
    LowSurrogate(u8),
    /// In one of [`LITERALS`]: its index, and the number of letters so far.
    Literal(u8, u8),
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// More containers are open than the bits can hold. The gateway rejects the object in any case.
    TooDeep,
    End,
}

const LITERALS: [&[u8]; 3] = [b"true", b"false", b"null"];

impl Grammar {
    /// Returns the number of bytes so far.
    pub(super) fn taken(&self) -> usize {
        self.at as usize
    }

    /// Takes the next bytes of the object. After a fault it takes no more.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while let Some(&byte) = bytes.first() {
            let run = if self.state == State::String { unescaped(bytes) } else { 0 };
            if run == 0 {
                self.state = self.step(byte)?;
            }
            self.at += run.max(1) as u32;
            bytes = &bytes[run.max(1)..];
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Result<State, Fault> {
        use State::*;
        Ok(match (self.state, byte) {
            (FirstKey | Key | Colon | FirstElement | Value | AfterValue, b' ' | b'\t' | b'\n' | b'\r') => self.state,
            (Start, b'{') => self.open(true),
            (FirstKey, b'}') | (FirstElement, b']') => self.close(),
            (FirstKey | Key, b'"') => self.string(true),
            (Colon, b':') => Value,
            (FirstElement | Value, _) => self.value(byte)?,
            (AfterValue, b',') if self.in_object() => Key,
            (AfterValue, b',') => Value,
            (AfterValue, b'}') if self.in_object() => self.close(),
            (AfterValue, b']') if !self.in_object() => self.close(),
            (String, b'"') if self.key => Colon,
            (String, b'"') => AfterValue,
            (String, b'\\') => Escape,
            (String, b' '..) => String,
            (Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => String,
            (Escape, b'u') => Unit(0, 0),
            (Unit(digits, unit), _) => self.unit(digits, unit, byte)?,
            (LowSurrogate(seen), _) if json::fits_low_surrogate(seen, byte) => match seen {
                5 => String,
                _ => LowSurrogate(seen + 1),
            },
            (Literal(word, letters), _) if byte == LITERALS[usize::from(word)][usize::from(letters)] => {
                let ends = usize::from(letters) + 1 == LITERALS[usize::from(word)].len();
                if ends { AfterValue } else { Literal(word, letters + 1) }
            }
            (Minus, b'0') => Zero,
            (Minus | Digits, b'0'..=b'9') => Digits,
            (Zero | Digits, b'.') => Point,
            (Point | Fraction, b'0'..=b'9') => Fraction,
            (Zero | Digits | Fraction, b'e' | b'E') => Exponent,
            (Exponent, b'+' | b'-') => ExponentSign,
            (Exponent | ExponentSign | ExponentDigits, b'0'..=b'9') => ExponentDigits,
            (Zero | Digits | Fraction | ExponentDigits, _) => {
                self.state = AfterValue;
                self.step(byte)?
            }
            (TooDeep, _) => TooDeep,
            _ => return Err(self.fault()),
        })
    }

    /// Takes the first byte of a value.
    fn value(&mut self, byte: u8) -> Result<State, Fault> {
        Ok(match byte {
            b'"' => self.string(false),
            b'{' => self.open(true),
            b'[' => self.open(false),
            b't' => State::Literal(0, 1),
            b'f' => State::Literal(1, 1),
            b'n' => State::Literal(2, 1),
            b'-' => State::Minus,
            b'0' => State::Zero,
            b'1'..=b'9' => State::Digits,
            _ => return Err(self.fault()),
        })
    }

    fn string(&mut self, key: bool) -> State {
        self.key = key;
        State::String
    }

    fn unit(&self, digits: u8, unit: u16, byte: u8) -> Result<State, Fault> {
        let digit = char::from(byte).to_digit(16).ok_or_else(|| self.fault())?;
        let unit = unit << 4 | digit as u16;
        Ok(match unit {
            _ if digits < 3 => State::Unit(digits + 1, unit),
            0xD800..0xDC00 => State::LowSurrogate(0),
            // The fault is at the backslash.
            0xDC00..0xE000 => return Err(Fault { at: self.taken() - 5, detail: detail::SURROGATE }),
            _ => State::String,
        })
    }

    fn open(&mut self, object: bool) -> State {
        if u32::from(self.depth) == DEPTH_MAX {
            return State::TooDeep;
        }
        let (word, bit) = (usize::from(self.depth / 64), self.depth % 64);
        self.objects[word] = self.objects[word] & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
        if object { State::FirstKey } else { State::FirstElement }
    }

    fn close(&mut self) -> State {
        self.depth -= 1;
        if self.depth == 0 { State::End } else { State::AfterValue }
    }

    fn in_object(&self) -> bool {
        let innermost = self.depth - 1;
        self.objects[usize::from(innermost / 64)] >> (innermost % 64) & 1 != 0
    }

    /// Returns the fault of the next byte.
    #[cold]
    fn fault(&self) -> Fault {
        use State::*;
        let detail = match self.state {
            Start => detail::OBJECT,
            FirstKey | Key => detail::KEY,
            Colon => detail::COLON,
            FirstElement | Value => detail::VALUE,
            AfterValue if self.in_object() => detail::COMMA_OR_BRACE,
            AfterValue => detail::COMMA_OR_BRACKET,
            String => detail::CONTROL,
            Escape => detail::ESCAPE,
            Unit(..) => detail::HEX,
            LowSurrogate(_) => detail::SURROGATE,
            Literal(..) => detail::LITERAL,
            Minus | Zero | Digits | Point | Fraction | Exponent | ExponentSign | ExponentDigits => detail::DIGIT,
            TooDeep => detail::DEPTH,
            End => detail::END,
        };
        // The fault of half a surrogate pair is at its backslash.
        let back = if let LowSurrogate(seen) = self.state { 6 + usize::from(seen) } else { 0 };
        Fault { at: self.taken() - back, detail }
    }
}

/// Counts the leading bytes that a string may contain without an escape.
fn unescaped(bytes: &[u8]) -> usize {
    let run = swar::run(bytes);
    if run.printable { run.bytes } else { bytes.iter().position(|byte| *byte < 0x20).unwrap_or(run.bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::{self, Rng};

    fn take<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<State, Fault> {
        let mut grammar = Grammar::default();
        pieces.into_iter().try_for_each(|piece| grammar.take(piece))?;
        Ok(grammar.state)
    }

    /// Asserts that both checks have the same verdict on the text and on every prefix, at several cuts.
    fn compare(text: &[u8]) {
        let whole = json::check(text, &(0..0), "");
        for end in 0..=text.len() {
            let part = &text[..end];
            let found = take([part]);
            assert_eq!(take(part.chunks(1)), found);
            assert_eq!(take([&part[..end / 2], &part[end / 2..]]), found);
            match (json::check(part, &(0..0), ""), found) {
                (Ok(_), found) => assert_eq!(found, Ok(State::End)),
                // Behind too deep a nesting, the verdict on the rest does not matter.
                (Err(Fault { detail: detail::DEPTH, .. }), found) => assert_eq!(found, Ok(State::TooDeep)),
                (Err(Fault { detail: detail::UNEXPECTED_END, .. }), found) => assert!(found.is_ok(), "{found:?}"),
                (Err(fault), found) => {
                    assert_eq!(found, Err(fault), "{}", String::from_utf8_lossy(part));
                    // A prefix has the fault of the whole.
                    assert_eq!(whole, Err(fault));
                }
            }
        }
    }

    #[test]
    fn the_check_of_parts_agrees_with_the_check_of_the_whole() {
        for text in [
            r#"{"a":[1,-0.5e+10,0E0,true,false,null,"\"\\\/\b\f\n\r\t\u00fF\ud83d\ude00"],"":{}}"#,
            r#"{"Type":"Performance","Temp":21.5{"Type":"Status","n":0}"#,
            r#"{"Type":"Status","SSID":"3.5" disk","n":0}"#,
            r#"{"a":"\ud83d\u0041"}"#,
            r#"{"a":"\ud83d\ud83d"}"#,
            r#"{"a":"\ud83dx"}"#,
            r#"{"a":"\ude00"}"#,
            r#"{"a":[1}"#,
            r#"{"a":01}"#,
            r#"{"a":truE}"#,
            r#"{"a":1} "#,
            "{\"a\":\"abc\n\"}",
        ] {
            compare(text.as_bytes());
        }
        let deep = |levels| format!("{}0{}", r#"{"a":["#.repeat(levels), "]}".repeat(levels));
        compare(deep(63).as_bytes());
        compare(deep(64).as_bytes());
        compare(deep(63).replacen("]}", "}]", 1).as_bytes());
        for seed in 1..400 {
            let mut rng = Rng(seed);
            let mut text = testing::object(&mut rng, 4, None).into_bytes();
            text.truncate(400);
            for _ in 0..rng.below(3) {
                let at = rng.below(text.len());
                text[at] = rng.pick(b"{}[]\",:\\/ \n\0\x1f01.eE+-tfnudD8");
            }
            compare(&text);
        }
    }

    #[test]
    fn the_state_of_a_check_has_32_bytes() {
        assert!(size_of::<Grammar>() <= 32);
    }
}
