//! What all kinds of values have in common: where they are read from, and what can be wrong with them.

use std::fmt::{self, Display};
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::error::FINDINGS_MAX;
use super::suggest::{brief, short};

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
    /// It is of that type, which is not the expected one.
    OfType(&'static str),
    /// The number is too small or too large to be stored.
    OutOfBounds,
    /// An entry of a list, as shown, is wrong, as the text says.
    Entry(String, String),
}

impl From<What> for Fault {
    fn from(what: What) -> Self {
        Self { span: None, what }
    }
}

/// The faults of one value: of a list, those of its entries.
impl From<What> for Vec<Fault> {
    fn from(what: What) -> Self {
        vec![what.into()]
    }
}

/// The entries of a list, or the faults of the first [`FINDINGS_MAX`] entries that have one.
pub(super) fn all<T>(entries: impl Iterator<Item = Result<T, Fault>>) -> Result<Vec<T>, Vec<Fault>> {
    let (mut values, mut faults) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Ok(value) => values.push(value),
            // One more says that there are more.
            Err(_) if faults.len() > FINDINGS_MAX => break,
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(values) } else { Err(faults) }
}

/// How values of a kind are written.
pub(super) trait Format<T> {
    /// What such a value must be.
    const WANT: &'static str;
    /// Whether several are one list.
    const LIST: bool = false;

    fn read(input: Input<'_>) -> Result<T, Vec<Fault>>;

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

/// A value as a message shows it: as it stands in the file, or in single quotes.
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

/// Text from outside in single quotes, short and on one line.
pub(crate) fn single_quoted(text: &str) -> String {
    format!("'{}'", brief(text))
}

/// What is wrong with the value of a key of that name, of which `want` and `bound` tell what it must be.
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
        // A shell takes quotes away. An env file or a container's configuration may leave them in place.
        match self.input {
            Input::Text(text) if text.len() > 1 && text.starts_with(['"', '\'']) && text.ends_with(&text[..1]) => {
                f.write_str(" (the quotes are part of the value: leave them out)")
            }
            _ => Ok(()),
        }
    }
}
