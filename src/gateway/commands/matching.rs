//! Which object answers a command. Layer 2.

use std::fmt;

use crate::proto::{Message, unescape};

/// The rule by which an object answers a command: by default, the next object of the device does. A heartbeat answer
/// never does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    type_name: Option<Box<str>>,
    member: Option<(Box<str>, Box<str>)>,
}

/// The longest type, member key or member value in bytes.
const TEXT_BYTES_MAX: usize = 256;

impl Match {
    /// The next object of any kind.
    pub fn next() -> Self {
        Self::default()
    }

    /// Only an object of this `Type`.
    ///
    /// # Errors
    /// If the text has more than 256 bytes.
    pub fn of_type(mut self, type_name: &str) -> Result<Self, MatchError> {
        self.type_name = Some(text(type_name)?);
        Ok(self)
    }

    /// Only an object whose top-level member has this value. The value of a string is its text, the value of a number or a
    /// literal is what the device sent.
    ///
    /// # Errors
    /// As [`Self::of_type`].
    pub fn with_member(mut self, key: &str, value: &str) -> Result<Self, MatchError> {
        self.member = Some((text(key)?, text(value)?));
        Ok(self)
    }

    /// Whether an object is the answer.
    pub fn fits(&self, message: &Message<'_>) -> bool {
        self.type_name.as_deref().is_none_or(|wanted| wanted == message.type_name())
            && self
                .member
                .as_ref()
                .is_none_or(|(key, wanted)| message.member(key).is_some_and(|value| says(value, wanted)))
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        let member = self.member.as_ref().map_or(0, |(key, value)| key.len() + value.len());
        self.type_name.as_ref().map_or(0, |name| name.len()) + member
    }
}

fn text(text: &str) -> Result<Box<str>, MatchError> {
    if text.len() > TEXT_BYTES_MAX { Err(MatchError) } else { Ok(text.into()) }
}

/// Whether a JSON text means `wanted`.
fn says(value: &[u8], wanted: &str) -> bool {
    if value.first() != Some(&b'"') {
        return value == wanted.as_bytes();
    }
    // An escape has at most six bytes for each byte of text.
    let inner = value.get(1..value.len() - 1).filter(|inner| inner.len() <= 6 * wanted.len());
    inner.is_some_and(|inner| unescape(inner) == wanted.as_bytes())
}

/// A text that no [`Match`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchError;

impl fmt::Display for MatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a type, a member or a value of a match has at most {TEXT_BYTES_MAX} bytes")
    }
}

impl std::error::Error for MatchError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_compared_as_people_write_it() {
        for (value, wanted, fits) in [
            (r#""42""#, "42", true),
            ("42", "42", true),
            (r#""\u00e9\/""#, "é/", true),
            ("true", "true", true),
            (r#""""#, "", true),
            ("42.0", "42", false),
            (r#""420""#, "42", false),
            ("[42]", "42", false),
        ] {
            assert_eq!(says(value.as_bytes(), wanted), fits, "{value} {wanted}");
        }
        assert_eq!(Match::next().of_type(&"x".repeat(257)), Err(MatchError));
    }
}
