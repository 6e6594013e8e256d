//! The name of a device, as the identity member of an object gives it.

use std::borrow::Cow;

use super::escapes::unescape;

/// The longest name in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// The longest value that can be a name: an escape has at most six bytes for each byte of text, and two quotes.
const VALUE_BYTES_MAX: usize = 6 * NAME_BYTES_MAX + 2;

/// Whether a text can be a device's name: 1 to [`NAME_BYTES_MAX`] bytes without control, format or line characters. Such
/// characters forge lines of a terminal or a log, and two names with them can look alike.
pub fn is_name(text: &str) -> bool {
    let is_plain = |text: &str| text.bytes().all(|byte| (b' '..0x7F).contains(&byte));
    (1..=NAME_BYTES_MAX).contains(&text.len()) && (is_plain(text) || !text.chars().any(is_invisible))
}

/// Control characters, and the Unicode categories Cf, Zl and Zp.
fn is_invisible(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{AD}' | '\u{600}'..='\u{605}' | '\u{61C}' | '\u{6DD}' | '\u{70F}' | '\u{890}'..='\u{891}' | '\u{8E2}'
            | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}' | '\u{110BD}' | '\u{110CD}' | '\u{13430}'..='\u{1343F}'
            | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E007F}')
}

/// The name that the value at the start of `text` gives. `text` belongs to an object that has passed the check.
pub(super) fn name(text: &[u8]) -> Option<Cow<'_, str>> {
    let text = &text[..text.len().min(VALUE_BYTES_MAX)];
    let name = match behind_quote(text) {
        Some(text) => string(text)?,
        None => Cow::Borrowed(integer(text)?),
    };
    is_name(&name).then_some(name)
}

/// Whether the value at the start of `text` is the string `name`, without escapes: the usual spelling of a name.
pub(super) fn says(text: &[u8], name: &str) -> bool {
    let rest = behind_quote(text).and_then(|text| text.strip_prefix(name.as_bytes()));
    rest.is_some_and(|rest| rest.first() == Some(&b'"'))
}

fn behind_quote(text: &[u8]) -> Option<&[u8]> {
    text.split_first().filter(|(first, _)| **first == b'"').map(|(_, rest)| rest)
}

/// The string behind its first quote, if it ends in `text`.
fn string(text: &[u8]) -> Option<Cow<'_, str>> {
    let (end, escapes) = string_end(text)?;
    if escapes {
        return String::from_utf8(unescape(&text[..end])).ok().map(Cow::Owned);
    }
    std::str::from_utf8(&text[..end]).ok().map(Cow::Borrowed)
}

/// Where the string behind its first quote ends, and whether it has escapes.
pub(super) fn string_end(text: &[u8]) -> Option<(usize, bool)> {
    let (mut at, mut escapes) = (0, false);
    loop {
        match text.get(at)? {
            b'"' => return Some((at, escapes)),
            b'\\' => (at, escapes) = (at + 2, true),
            _ => at += 1,
        }
    }
}

/// An integer, as its digits were sent.
fn integer(text: &[u8]) -> Option<&str> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'-')?;
    let is_whole = end > 0 && matches!(text[end], b',' | b'}' | ..=b' ');
    if is_whole { std::str::from_utf8(&text[..end]).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_short_visible_string_or_an_integer() {
        let check = |value: &str, expected: Option<&str>| {
            assert_eq!(name(format!("{value}}}").as_bytes()).as_deref(), expected, "{value}");
        };
        let longest = "x".repeat(128);
        let escaped = r"\u00e9".repeat(64);
        check(r#""pump-7""#, Some("pump-7"));
        check(r#""温 7""#, Some("温 7"));
        check(r#""\u0070ump\/7""#, Some("pump/7"));
        check(&format!("{longest:?}"), Some(&longest));
        check(&format!("\"{escaped}\""), Some(&"é".repeat(64)));
        check("7", Some("7"));
        check("-12 ", Some("-12"));
        check("7,\"Type\":1", Some("7"));
        for value in ["\"\"", "1.5", "1e3", "true", "null", "[7]", "{\"a\":7}", "-1E3"] {
            check(value, None);
        }
        check(&format!("\"{longest}x\""), None);
        check(&format!("\"{escaped}\\u0041\""), None);
        check(&"1".repeat(129), None);
        for invisible in
            ["\\n", "\\u0000", "\u{7F}", "\u{85}", "\u{202E}", "\u{2066}", "\u{2028}", "\u{200B}", "\u{FEFF}"]
        {
            check(&format!("\"pump{invisible}7\""), None);
        }
    }

    #[test]
    fn a_name_is_recognized_without_decoding_it() {
        assert!(says(br#""pump-7","a":1}"#, "pump-7"));
        for other in [&br#""pump-70"}"#[..], br#""pump-"}"#, b"7}", br#""pump-7"#] {
            assert!(!says(other, "pump-7"));
        }
    }
}
