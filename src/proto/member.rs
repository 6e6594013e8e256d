//! One member out of an object that is known to be right. Floor 0; walks over everything else without looking.

/// The value of the first top-level member of that name, as JSON text. `object` has passed the check.
pub(super) fn find<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut at = skip_space(object, 1);
    while object.get(at) == Some(&b'"') {
        let key = at;
        at = skip_string(object, at);
        let found = is_named(&object[key..at], name);
        at = skip_space(object, at);
        // Over the colon.
        at = skip_space(object, at + 1);
        let value = at;
        at = skip_value(object, at);
        if found {
            return object.get(value..at);
        }
        at = skip_space(object, at);
        // Over the comma, or the last brace.
        at = skip_space(object, at + 1);
    }
    None
}

/// Whether a key, in its quotes, says `name`, in whatever spelling.
fn is_named(key: &[u8], name: &str) -> bool {
    let raw = &key[1..key.len() - 1];
    raw == name.as_bytes()
        || memchr::memchr(b'\\', raw).is_some() && serde_json::from_slice::<String>(key).is_ok_and(|key| key == name)
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).unwrap_or(rest.len())
}

/// From a quote to behind the one that closes it.
fn skip_string(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while let Some(next) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += next + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

/// From the first byte of a value to behind its last.
fn skip_value(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = skip_string(bytes, at);
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
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members() {
        let check = |object: &str, name: &str, expected: Option<&str>| {
            let found = find(object.as_bytes(), name).map(|value| std::str::from_utf8(value).unwrap());
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

    /// Against serde_json: every member of random objects, at the top level, whatever else is around it.
    #[test]
    fn model() {
        use crate::proto::testing::{Rng, object};
        for seed in 1..=2000 {
            let text = object(&mut Rng(seed), 4, None).into_bytes();
            let Ok(serde_json::Value::Object(model)) = serde_json::from_slice(&text) else { continue };
            for (name, value) in &model {
                let found = find(&text, name).expect("the member is there");
                let found: serde_json::Value = serde_json::from_slice(found).expect("its value is JSON");
                // Of members of one name this finds the first, and serde_json keeps the last.
                let twice = text.windows(name.len() + 2).filter(|w| *w == format!("{name:?}").as_bytes()).count() > 1;
                let same = found == *value || twice || name.is_empty() || text.contains(&b'\\');
                assert!(same, "seed {seed}: {name:?} in {}", String::from_utf8_lossy(&text));
            }
        }
    }
}
