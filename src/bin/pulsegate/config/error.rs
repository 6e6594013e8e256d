//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody has set it.
    Default,
    /// A file, and the place in it.
    File(PathBuf, Position),
    /// An environment variable.
    Environment(String),
    /// An option.
    CommandLine(&'static str),
}

/// A place in a file: line and column, in characters, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Position {
    /// The place of byte `offset` of a text.
    pub(super) fn of(text: &[u8], offset: usize) -> Self {
        let before = &text[..offset.min(text.len())];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        // All bytes of a character but the first are continuation bytes (RFC 3629 section 3).
        let is_first = |byte: &&u8| **byte & 0xc0 != 0x80;
        Self {
            line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
            column: before[line_start..].iter().filter(is_first).count() + 1,
        }
    }
}

/// As `--print-config` shows it.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, position) => write!(f, "{}:{}", clean(path), position.line),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::CommandLine(_) => f.write_str("command line"),
        }
    }
}

/// Why there is no configuration: one sentence, with the place that it is about.
#[derive(Debug)]
pub(crate) struct ConfigError {
    pub(super) origin: Origin,
    pub(super) text: String,
}

impl ConfigError {
    /// Whether it is the command line that is wrong.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self.origin, Origin::CommandLine(_))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => {}
            Origin::File(path, Position { line, column }) => write!(f, "{}:{line}:{column}: ", clean(path))?,
            Origin::Environment(variable) => write!(f, "environment {variable}: ")?,
            Origin::CommandLine(option) => write!(f, "{option}: ")?,
        }
        f.write_str(&self.text)
    }
}

impl std::error::Error for ConfigError {}

/// A path on one line, whatever is in it.
pub(super) fn clean(path: &Path) -> String {
    path.to_string_lossy().chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}
