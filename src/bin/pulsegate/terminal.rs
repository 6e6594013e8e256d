//! Text for a terminal. A device must not send commands to it, reorder its characters, or hide some of them.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns the text with control and format characters as JSON escapes. An escape within a JSON string keeps its meaning.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// As [`visible`], for text that ends its lines itself.
pub(crate) fn visible_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |char| char == '\n')
}

fn escaped(text: &str, is_kept: fn(char) -> bool) -> Cow<'_, str> {
    let is_escaped = |char: char| is_invisible(char) && !is_kept(char);
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_escaped(char) {
            // JSON writes a character above U+FFFF as two escapes (RFC 8259 §7).
            for unit in char.encode_utf16(&mut [0; 2]) {
                let _ = write!(visible, "\\u{unit:04x}");
            }
        } else {
            visible.push(char);
        }
    }
    Cow::Owned(visible)
}

/// Whether a terminal obeys the character, or shows others in another order or place because of it: control characters,
/// line separators, and format characters such as U+202E (right-to-left override).
fn is_invisible(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(char, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_is_the_same_json() {
        let hostile = "\u{9b}2J\u{7f}\u{202e}\u{2066}\u{2028}\u{2029}\u{200b}\u{feff}\u{e0041}é温\u{10ffff}";
        let sent = format!(r#"{{"Type":"{hostile}"}}"#);
        let shown = visible(&sent);
        assert!(!shown.contains(is_invisible), "{shown}");
        assert!(shown.contains("\\u009b2J\\u007f\\u202e") && shown.contains("\\udb40\\udc41é温\u{10ffff}"), "{shown}");
        let [given, shown] = [&sent, &*shown].map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
        assert_eq!(given, shown);
    }

    #[test]
    fn lines_keep_their_ends_alone() {
        assert_eq!(visible_lines("a\n\u{85}\r\n"), "a\n\\u0085\\u000d\n");
        assert!(matches!(visible_lines("{\"Type\":\"é\"}\n"), Cow::Borrowed(_)));
    }
}
