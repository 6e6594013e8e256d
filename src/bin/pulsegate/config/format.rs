//! The common part of all kinds of values: their input and their errors.

use std::fmt::{self, Display};
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::error::FINDINGS_MAX;
use super::suggest::{brief, short};

/// An unparsed value.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    /// From the environment or the command line. Commas separate the entries of a list.
    Text(&'a str),
    /// From a file.
    Toml(&'a Spanned<DeValue<'a>>),
}

/// The error of a value. `span` is the place of a wrong entry in a list.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: Option<Range<usize>>,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// The value does not have the form of [`Format::WANT`].
    Unlike,
    /// The value has this type instead of the expected one.
    OfType(&'static str),
    /// The number is too small or too large.
    OutOfBounds,
    /// An entry of a list (the first text) is wrong. The second text is the reason.
    Entry(String, String),
}

impl From<What> for Fault {
    fn from(what: What) -> Self {
        Self { span: None, what }
    }
}

/// The errors of one value. A list may have several.
impl From<What> for Vec<Fault> {
    fn from(what: What) -> Self {
        vec![what.into()]
    }
}

/// Returns the entries of a list, or the errors of its first [`FINDINGS_MAX`] wrong entries.
pub(super) fn all<T>(entries: impl Iterator<Item = Result<T, Fault>>) -> Result<Vec<T>, Vec<Fault>> {
    let (mut values, mut faults) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Ok(value) => values.push(value),
            // One error more than the report can hold shows that there are more.
            Err(_) if faults.len() > FINDINGS_MAX => break,
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(values) } else { Err(faults) }
}

/// Parses and formats one kind of values.
pub(super) trait Format<T> {
    /// The accepted form of a value.
    const WANT: &'static str;
    /// Whether the value is a list.
    const LIST: bool = false;

    fn read(input: Input<'_>) -> Result<T, Vec<Fault>>;

    /// Formats the value as TOML on one line.
    fn show(value: &T) -> String;
}

/// Returns the text of a value.
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

/// Returns a text as a TOML string.
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

/// Returns a value as messages show it: as TOML, or in single quotes.
pub(super) fn shown(input: Input<'_>) -> String {
    match input {
        Input::Text(text) => single_quoted(text),
        Input::Toml(value) => match value.get_ref() {
            DeValue::String(text) => short(&quote(text)),
            DeValue::Integer(number) => {
                let prefix = [(16, "0x"), (8, "0o"), (2, "0b")].iter().find(|(radix, _)| *radix == number.radix());
                short(&format!("{}{}", prefix.map_or("", |(_, prefix)| prefix), number.as_str()))
            }
            other => type_of(other).into(),
        },
    }
}

/// Returns untrusted text in single quotes, shortened and on one line.
pub(crate) fn single_quoted(text: &str) -> String {
    format!("'{}'", brief(text))
}

/// Displays the error of a value. `want` is the accepted form, and `bound` has the accepted numbers.
pub(super) struct Sentence<'a> {
    pub(super) name: &'a str,
    pub(super) want: &'a str,
    pub(super) bound: Option<String>,
    pub(super) input: Input<'a>,
    pub(super) what: What,
}

impl Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, want, input, .. } = self;
        match (&self.what, &self.bound) {
            (What::OutOfBounds, Some(bound)) => write!(f, "{name}: invalid value {}: must {bound}", shown(*input))?,
            (What::Unlike | What::OutOfBounds, _) => {
                write!(f, "{name}: invalid value {}: expected {want}", shown(*input))?;
            }
            (What::OfType(found), _) => write!(f, "{name}: expected {want}, found {found}")?,
            (What::Entry(entry, text), _) => write!(f, "{name}: invalid entry {entry}: {text}")?,
        }
        // A shell removes quotes. An env file or a container's configuration may keep them.
        match self.input {
            Input::Text(text) if text.len() > 1 && text.starts_with(['"', '\'']) && text.ends_with(&text[..1]) => {
                f.write_str(" (the quotes are part of the value: remove them)")
            }
            _ => Ok(()),
        }
    }
}
