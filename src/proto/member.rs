//! One member out of an object that is known to be right. Floor 0; walks over everything else without looking.

use std::ops::Range;

use super::swar;

/// Where the first few members begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Members {
    keys: [u16; MEMBERS],
    count: u8,
    /// There are others behind them.
    more: bool,
}

const MEMBERS: usize = 12;

impl Members {
    /// A key's text begins here. One with escapes is left, with all behind it, to whoever looks for it.
    #[inline(always)]
    pub(super) fn note(&mut self, at: usize, escapes: bool) {
        let free = self.keys.get_mut(usize::from(self.count));
        match (free, u16::try_from(at)) {
            (Some(free), Ok(at)) if !escapes && !self.more => {
                *free = at;
                self.count += 1;
            }
            _ => self.more = true,
        }
    }

    /// Where the texts of the keys begin, and whether there are more.
    fn keys(&self) -> (&[u16], bool) {
        (&self.keys[..usize::from(self.count)], self.more)
    }
}

/// The value of the first top-level member of that name, as JSON text. `object` has passed the check, by which
/// `members` were found; in `plain`, a range of it, there is no `"` and no `\`.
pub(super) fn find<'a>(object: &'a [u8], name: &str, plain: &Range<u32>, members: &Members) -> Option<&'a [u8]> {
    let object = Object { bytes: object, plain: plain.start as usize..plain.end as usize };
    let (keys, more) = members.keys();
    for key in keys.iter().map(|key| usize::from(*key)) {
        if object.bytes.get(key..)?.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'"')) {
            let value = object.space(object.space(key + name.len() + 1) + 1);
            return object.bytes.get(value..object.value(value));
        }
    }
    // From the quote of the last of them on.
    let mut at = keys.last().map_or_else(|| object.space(1), |key| usize::from(*key) - 1);
    while more && object.byte(at) == b'"' {
        let key = at;
        let (end, escapes) = object.string(at);
        // Over the colon.
        let value = object.space(object.space(end) + 1);
        at = object.value(value);
        if is_named(object.bytes.get(key..end)?, name, escapes) {
            return object.bytes.get(value..at);
        }
        // Over the comma, or the last brace.
        at = object.space(object.space(at) + 1);
    }
    None
}

/// Whether a key, in its quotes, says `name`, in whatever spelling.
fn is_named(key: &[u8], name: &str, escapes: bool) -> bool {
    if escapes {
        return serde_json::from_slice::<String>(key).is_ok_and(|key| key == name);
    }
    key.len() == name.len() + 2 && key[1..].starts_with(name.as_bytes())
}

/// Steps through a string before it is taken for a long one.
const STEPS_BEFORE_RUN: usize = 4;

/// Each method goes from the first byte of what it is named after to behind its last. All ends are found, as the
/// object is right; at the end of the text they would stop as well.
struct Object<'a> {
    bytes: &'a [u8],
    plain: Range<usize>,
}

impl Object<'_> {
    /// The byte there, or 0 at the end.
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// Outside of strings, nothing else is that small.
    fn space(&self, mut at: usize) -> usize {
        while self.bytes.get(at).is_some_and(|byte| *byte <= b' ') {
            at += 1;
        }
        at
    }

    /// Says whether there are escapes in it, too.
    fn string(&self, mut at: usize) -> (usize, bool) {
        at += 1;
        let (mut escapes, mut steps) = (false, 0);
        loop {
            if self.plain.contains(&at) {
                at = self.plain.end;
            }
            let rest = self.bytes.get(at..).unwrap_or_default();
            at += match rest.first_chunk() {
                // Most strings are short: a call would cost more than they do.
                Some(step) if steps < STEPS_BEFORE_RUN => swar::leading_plain(step),
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
        let found = json::check(object, &(0..0)).expect("a right object");
        find(object, name, &(0..0), &found.members)
    }

    #[test]
    fn members() {
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

    /// More than are remembered, beyond what a `u16` reaches, with a key in a spelling of its own among them.
    #[test]
    fn many_members() {
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
    fn what_is_known_to_be_plain_is_leapt_over() {
        // Quotes where none can be: who looks there is led astray.
        let object = br#"{"a":"xx""""xx","b":7}"#;
        let unknown = json::check(br#"{"\n":1}"#, &(0..0)).expect("a right object").members;
        assert_eq!(find(object, "b", &(6..14), &unknown), Some(&b"7"[..]));
        assert_eq!(find(object, "a", &(6..14), &unknown), Some(&br#""xx""""xx""#[..]));
    }

    /// Against serde_json: every member of random objects, at the top level, whatever else is around it.
    #[test]
    fn model() {
        use crate::proto::testing::{Rng, object};
        for seed in 1..=2000 {
            let text = object(&mut Rng(seed), 4, None).into_bytes();
            let Ok(serde_json::Value::Object(model)) = serde_json::from_slice(&text) else { continue };
            for (name, value) in &model {
                let found = look(&text, name).expect("the member is there");
                let found: serde_json::Value = serde_json::from_slice(found).expect("its value is JSON");
                // Of members of one name this finds the first, and serde_json keeps the last.
                let twice = text.windows(name.len() + 2).filter(|w| *w == format!("{name:?}").as_bytes()).count() > 1;
                let same = found == *value || twice || name.is_empty() || text.contains(&b'\\');
                assert!(same, "seed {seed}: {name:?} in {}", String::from_utf8_lossy(&text));
            }
        }
    }
}
