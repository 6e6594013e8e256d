//! What all kinds of values have in common: where they are read from, and what can be wrong with them.

use std::fmt::{self, Display};
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

/// A value as it is found.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    /// In the environment or on the command line. Lists are separated by commas.
    Text(&'a str),
    /// In a file.
    Toml(&'a Spanned<DeValue<'a>>),
}

/// Why a value cannot be read, and, of a list in a file, at which of its entries.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: Option<Range<usize>>,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// It is not as [`Format::WANT`] says.
    Unlike,
    /// It is of that type, which is not the one that is wanted.
    OfType(&'static str),
    /// It is a number too small or too large to be stored, let alone to be within its bounds.
    OutOfBounds,
    /// As the text says.
    Other(String),
}

impl From<What> for Fault {
    fn from(what: What) -> Self {
        Self { span: None, what }
    }
}

/// How values of a kind are written.
pub(super) trait Format<T> {
    /// What such a value must be.
    const WANT: &'static str;
    /// Whether several are one list.
    const LIST: bool = false;

    fn read(input: Input<'_>) -> Result<T, Fault>;

    /// The value in TOML, on one line.
    fn show(value: &T) -> String;
}

/// The text of a value that is a string in TOML.
pub(super) fn text(input: Input<'_>) -> Result<&str, What> {
    match input {
        Input::Text(text) => Ok(text),
        Input::Toml(value) => value.get_ref().as_str().ok_or_else(|| What::OfType(type_of(value.get_ref()))),
    }
}

pub(super) fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text in quotes",
        DeValue::Integer(_) => "a bare number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Text in quotes as TOML has it.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            char if char.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(char))),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// What is wrong with the value of a key of that name, of which `want` and `bound` tell what it must be.
pub(super) struct Sentence<'a> {
    pub(super) name: &'a str,
    pub(super) want: &'a str,
    pub(super) bound: Option<String>,
    pub(super) what: What,
}

impl Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, want, .. } = self;
        match (&self.what, &self.bound) {
            (What::OutOfBounds, Some(bound)) => write!(f, "{name} must {bound}"),
            (What::Unlike | What::OutOfBounds, _) => write!(f, "{name} must be {want}"),
            (What::OfType(found), _) => write!(f, "{name} must be {want}, not {found}"),
            (What::Other(text), _) => write!(f, "{name}: {text}"),
        }
    }
}
