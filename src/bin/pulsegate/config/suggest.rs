//! Suggestions for unknown names.

/// Returns the `known` name that is most similar to `name`, if it is similar enough for a typing error.
pub(crate) fn nearest<T: AsRef<str>>(name: &str, known: impl Iterator<Item = T>) -> Option<T> {
    // Bounds the work for untrusted input.
    if name.len() > 64 {
        return None;
    }
    let near = known.map(|known| (distance(name, known.as_ref()), known)).min_by_key(|(distance, _)| *distance)?;
    (near.0 <= 1 + name.len() / 6).then_some(near.1)
}

/// The Levenshtein distance: the number of insertions, deletions and changes between two texts.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // The distances from the characters of `a` so far to each prefix of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, in_a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &in_b) in b.iter().enumerate() {
            let changed = diagonal + usize::from(in_a != in_b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Returns the end of a sentence about an unknown name.
pub(crate) fn question(near: Option<impl std::fmt::Display>) -> String {
    near.map(|near| format!(", did you mean {near}?")).unwrap_or_default()
}

/// Returns untrusted text escaped and shortened for a message.
pub(super) fn brief(text: &str) -> String {
    let mut brief = String::new();
    for char in text.chars().take(SHOWN_CHARS + 1) {
        match char {
            '"' | '\'' | '\\' => brief.push(char),
            _ => brief.extend(char.escape_debug()),
        }
    }
    short(&brief)
}

/// The maximum of characters that a message shows.
const SHOWN_CHARS: usize = 64;

/// Returns the beginning of a text.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similar_name_is_suggested() {
        let known = ["interval", "credit", "credit_from", "payload"];
        for (name, expected) in [
            ("intervall", Some("interval")),
            ("intreval", Some("interval")),
            ("credits", Some("credit")),
            ("creditfrom", Some("credit_from")),
            ("crédit", Some("credit")),
            ("colour", None),
            ("", None),
            (&"interval".repeat(100), None),
        ] {
            assert_eq!(nearest(name, known.into_iter()), expected, "{name}");
        }
        assert_eq!(brief("a\nb"), "a\\nb");
        assert_eq!(brief(&"é".repeat(70)), "é".repeat(64) + "…");
    }
}
