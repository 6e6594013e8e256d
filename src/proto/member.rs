//! Finds one member of a checked object. It skips all other values.

use std::ops::Range;

use super::swar;

/// The positions of the first members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Members {
    keys: [u16; MEMBERS],
    count: u8,
    /// The object has more members.
    more: bool,
}

const MEMBERS: usize = 12;

impl Members {
    /// Records the position of a key behind its first quote. A key with escapes, and all keys behind it, are not recorded:
    /// [`find`] walks over them.
    #[inline(always)]
    pub(super) fn record(&mut self, at: usize, escapes: bool) {
        let free = self.keys.get_mut(usize::from(self.count));
        match (free, u16::try_from(at)) {
            (Some(free), Ok(at)) if !escapes && !self.more => {
                *free = at;
                self.count += 1;
            }
            _ => self.more = true,
        }
    }

    /// Returns the recorded positions, and whether there are more keys.
    fn keys(&self) -> (&[u16], bool) {
        (&self.keys[..usize::from(self.count)], self.more)
    }
}

/// Returns the value of the first top-level member with this name, as JSON text. `members` and the range `unescaped` come
/// from the check of `object`.
pub(super) fn find<'a>(object: &'a [u8], name: &str, unescaped: &Range<u32>, members: &Members) -> Option<&'a [u8]> {
    let object = Object { bytes: object, unescaped: unescaped.start as usize..unescaped.end as usize };
    let (keys, more) = members.keys();
    for key in keys.iter().map(|key| usize::from(*key)) {
        if object.bytes.get(key..)?.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'"')) {
            let value = object.space(object.space(key + name.len() + 1) + 1);
            return object.bytes.get(value..object.value(value));
        }
    }
    // Walks on from the quote of the last recorded key.
    let mut at = keys.last().map_or_else(|| object.space(1), |key| usize::from(*key) - 1);
    while more && object.byte(at) == b'"' {
        let key = at;
        let (end, escapes) = object.string(at);
        // Behind the colon.
        let value = object.space(object.space(end) + 1);
        at = object.value(value);
        if is_named(object.bytes.get(key..end)?, name, escapes) {
            return object.bytes.get(value..at);
        }
        // Behind the comma or the closing brace.
        at = object.space(object.space(at) + 1);
    }
    None
}

/// Whether a key in its quotes is `name`, also with escapes.
fn is_named(key: &[u8], name: &str, escapes: bool) -> bool {
    if escapes {
        return serde_json::from_slice::<String>(key).is_ok_and(|key| key == name);
    }
    key.len() == name.len() + 2 && key[1..].starts_with(name.as_bytes())
}

/// Steps of 8 bytes in a string before the walk takes it for a long one.
const STEPS_BEFORE_RUN: usize = 4;

/// A checked object. Each method takes the index of a part's first byte and returns the index behind its last byte. The
/// check guarantees that the part ends.
struct Object<'a> {
    bytes: &'a [u8],
    unescaped: Range<usize>,
}

impl Object<'_> {
    /// Returns the byte at an index, or 0 at the end.
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// Whitespace: outside strings no other byte is that small.
    fn space(&self, mut at: usize) -> usize {
        while self.bytes.get(at).is_some_and(|byte| *byte <= b' ') {
            at += 1;
        }
        at
    }

    /// A string. Also returns whether it has escapes.
    fn string(&self, mut at: usize) -> (usize, bool) {
        at += 1;
        let (mut escapes, mut steps) = (false, 0);
        loop {
            if self.unescaped.contains(&at) {
                at = self.unescaped.end;
            }
            let rest = self.bytes.get(at..).unwrap_or_default();
            at += match rest.first_chunk() {
                // Most strings are short, and a call would cost more.
                Some(step) if steps < STEPS_BEFORE_RUN => swar::leading_unescaped(step),
                _ => memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len()),
            };
            steps += 1;
            match self.bytes.get(at) {
                Some(b'"') => return (at + 1, escapes),
                Some(b'\\') => (at, escapes) = (at + 2, true),
                Some(_) => {}
                None => return (at, escapes),
            }
        }
    }

    fn value(&self, at: usize) -> usize {
        match self.byte(at) {
            b'"' => self.string(at).0,
            b'{' | b'[' => self.container(at),
            _ => self.scalar(at),
        }
    }

    fn container(&self, mut at: usize) -> usize {
        let mut depth = 0;
        while let Some(byte) = self.bytes.get(at) {
            match byte {
                b'"' => {
                    at = self.string(at).0;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 1 => return at + 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            at += 1;
        }
        at
    }

    /// A number or a literal.
    fn scalar(&self, mut at: usize) -> usize {
        while self.bytes.get(at).is_some_and(|byte| !matches!(byte, b',' | b'}' | b']' | ..=b' ')) {
            at += 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::json;

    fn look<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let found = json::check(object, &(0..0), "").expect("a valid object");
        find(object, name, &(0..0), &found.members)
    }

    #[test]
    fn the_first_member_of_a_name_is_found() {
        let check = |object: &str, name: &str, expected: Option<&str>| {
            let found = look(object.as_bytes(), name).map(|value| std::str::from_utf8(value).unwrap());
            assert_eq!(found, expected, "{name} of {object}");
        };
        let object = "{ \"a\" : 1 ,\n\"b\":\"x\\\"}\" , \"c\":{\"a\":[\"]}\",{}],\"d\":2}, \"\\u0064\": [ ] ,\"e\":-1.5e3,\"f\":null}";
        for (name, value) in [
            ("a", Some("1")),
            ("b", Some("\"x\\\"}\"")),
            ("c", Some("{\"a\":[\"]}\",{}],\"d\":2}")),
            ("d", Some("[ ]")),
            ("e", Some("-1.5e3")),
            ("f", Some("null")),
            ("g", None),
            ("", None),
        ] {
            check(object, name, value);
        }
        check("{}", "a", None);
        check("{\"a\":true}", "a", Some("true"));
        check("{\"a\":1,\"a\":2}", "a", Some("1"));
        check("{\"a\":[[1],[2]] }", "a", Some("[[1],[2]]"));
    }

    /// More members than the check records, also beyond the range of a `u16`, with an escaped key among them.
    #[test]
    fn members_beyond_the_recorded_ones_are_found() {
        for long in [0, 70_000] {
            for escaped in [0, 5, 11, 12, 13, 29] {
                let member = |n: usize| {
                    let key = if n == escaped { format!("\\u0061{n}") } else { format!("a{n}") };
                    format!(r#""{key}" : [{n},"{}"]"#, "x".repeat(if n == 3 { long } else { 0 }))
                };
                let members: Vec<_> = (0..30).map(member).collect();
                let object = format!("{{ {} }}", members.join(" , "));
                for (n, member) in members.iter().enumerate() {
                    let value = member.split_once(" : ").map(|(_, value)| value.as_bytes());
                    assert_eq!(look(object.as_bytes(), &format!("a{n}")), value, "{n} with {escaped} escaped");
                }
                assert_eq!(look(object.as_bytes(), "a"), None);
                assert_eq!(look(object.as_bytes(), "a30"), None);
            }
        }
    }

    #[test]
    fn the_unescaped_range_is_skipped() {
        // The range has quotes, which mislead a search that does not skip it.
        let object = br#"{"a":"xx""""xx","b":7}"#;
        let unknown = json::check(br#"{"\n":1}"#, &(0..0), "").expect("a valid object").members;
        assert_eq!(find(object, "b", &(6..14), &unknown), Some(&b"7"[..]));
        assert_eq!(find(object, "a", &(6..14), &unknown), Some(&br#""xx""""xx""#[..]));
    }

    /// Compares every top-level member of random objects with serde_json.
    #[test]
    fn members_agree_with_serde_json() {
        use crate::proto::testing::{Rng, object};
        for seed in 1..=2000 {
            let text = object(&mut Rng(seed), 4, None).into_bytes();
            let Ok(serde_json::Value::Object(model)) = serde_json::from_slice(&text) else { continue };
            for (name, value) in &model {
                let found = look(&text, name).expect("a member");
                let found: serde_json::Value = serde_json::from_slice(found).expect("a JSON value");
                // Of several members with one name this finds the first, and serde_json keeps the last.
                let twice = text.windows(name.len() + 2).filter(|w| *w == format!("{name:?}").as_bytes()).count() > 1;
                let same = found == *value || twice || name.is_empty() || text.contains(&b'\\');
                assert!(same, "seed {seed}: {name:?} in {}", String::from_utf8_lossy(&text));
            }
        }
    }
}
