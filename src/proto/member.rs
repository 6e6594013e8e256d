//! One member out of an object that is known to be right. Floor 0; walks over everything else without looking.

use std::ops::Range;

/// The value of the first top-level member of that name, as JSON text. `object` has passed the check, and in `plain`,
/// a range of it, there is no `"` and no `\`.
pub(super) fn find<'a>(object: &'a [u8], name: &str, plain: &Range<u32>) -> Option<&'a [u8]> {
    let object = Object { bytes: object, plain: plain.start as usize..plain.end as usize };
    let mut at = object.skip_space(1);
    while object.bytes.get(at) == Some(&b'"') {
        let key = at;
        at = object.skip_string(at);
        let found = is_named(&object.bytes[key..at], name);
        at = object.skip_space(at);
        // Over the colon.
        at = object.skip_space(at + 1);
        let value = at;
        at = object.skip_value(at);
        if found {
            return object.bytes.get(value..at);
        }
        at = object.skip_space(at);
        // Over the comma, or the last brace.
        at = object.skip_space(at + 1);
    }
    None
}

/// Whether a key, in its quotes, says `name`, in whatever spelling.
fn is_named(key: &[u8], name: &str) -> bool {
    let raw = &key[1..key.len() - 1];
    raw == name.as_bytes()
        || memchr::memchr(b'\\', raw).is_some() && serde_json::from_slice::<String>(key).is_ok_and(|key| key == name)
}

struct Object<'a> {
    bytes: &'a [u8],
    plain: Range<usize>,
}

impl Object<'_> {
    fn skip_space(&self, at: usize) -> usize {
        let rest = self.bytes.get(at..).unwrap_or_default();
        at + rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).unwrap_or(rest.len())
    }

    /// From a quote to behind the one that closes it.
    fn skip_string(&self, mut at: usize) -> usize {
        at += 1;
        loop {
            if self.plain.contains(&at) {
                at = self.plain.end;
            }
            let Some(next) = memchr::memchr2(b'"', b'\\', self.bytes.get(at..).unwrap_or_default()) else {
                return self.bytes.len();
            };
            at += next + 1;
            if self.bytes[at - 1] == b'"' {
                return at;
            }
            at += 1;
        }
    }

    /// From the first byte of a value to behind its last.
    fn skip_value(&self, mut at: usize) -> usize {
        let mut depth = 0;
        while let Some(byte) = self.bytes.get(at) {
            match byte {
                b'"' => {
                    at = self.skip_string(at);
                    if depth == 0 {
                        return at;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth <= 1 => return at + depth,
                b'}' | b']' => depth -= 1,
                // A number or a literal ends where anything but itself begins.
                b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
                _ => {}
            }
            at += 1;
        }
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members() {
        let check = |object: &str, name: &str, expected: Option<&str>| {
            let found = find(object.as_bytes(), name, &(0..0)).map(|value| std::str::from_utf8(value).unwrap());
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

    #[test]
    fn what_is_known_to_be_plain_is_leapt_over() {
        // Quotes where none can be: who looks there is led astray.
        let object = br#"{"a":"xx""""xx","b":7}"#;
        assert_eq!(find(object, "b", &(6..14)), Some(&b"7"[..]));
        assert_eq!(find(object, "a", &(6..14)), Some(&br#""xx""""xx""#[..]));
    }

    /// Against serde_json: every member of random objects, at the top level, whatever else is around it.
    #[test]
    fn model() {
        use crate::proto::testing::{Rng, object};
        for seed in 1..=2000 {
            let text = object(&mut Rng(seed), 4, None).into_bytes();
            let Ok(serde_json::Value::Object(model)) = serde_json::from_slice(&text) else { continue };
            for (name, value) in &model {
                let found = find(&text, name, &(0..0)).expect("the member is there");
                let found: serde_json::Value = serde_json::from_slice(found).expect("its value is JSON");
                // Of members of one name this finds the first, and serde_json keeps the last.
                let twice = text.windows(name.len() + 2).filter(|w| *w == format!("{name:?}").as_bytes()).count() > 1;
                let same = found == *value || twice || name.is_empty() || text.contains(&b'\\');
                assert!(same, "seed {seed}: {name:?} in {}", String::from_utf8_lossy(&text));
            }
        }
    }
}
