//! Errors of a configuration, with their places.

use std::fmt;
use std::path::{Path, PathBuf};

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The default.
    Default,
    /// A place in a file.
    File(PathBuf, Position),
    /// An environment variable.
    Environment(String),
    /// A command-line option.
    CommandLine(&'static str),
}

/// A place in a file: line and column, in characters, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Position {
    /// Returns the place of byte `offset` of a text.
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

/// An error or a warning, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(super) origin: Origin,
    pub(super) text: String,
}

/// `FILE:LINE:COLUMN: text`, as editors expect it.
impl fmt::Display for Finding {
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

/// The maximum of findings in one report. A file of 1 MiB may have an error in every third byte.
pub(super) const FINDINGS_MAX: usize = 20;

/// The errors of a configuration, in the order in which the program reads it.
#[derive(Debug, Default)]
pub(crate) struct ConfigErrors {
    findings: Vec<Finding>,
    /// There are more errors than [`FINDINGS_MAX`].
    has_more: bool,
}

impl ConfigErrors {
    pub(super) fn add(&mut self, origin: Origin, text: String) {
        match self.findings.len() < FINDINGS_MAX {
            true => self.findings.push(Finding { origin, text }),
            false => self.has_more = true,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether the report has no room for another error.
    pub(super) fn is_full(&self) -> bool {
        self.has_more
    }

    /// Whether all errors come from the command line.
    pub(crate) fn is_usage(&self) -> bool {
        self.findings.iter().all(|finding| matches!(finding.origin, Origin::CommandLine(_)))
    }
}

/// One finding a line.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, finding) in self.findings.iter().enumerate() {
            write!(f, "{}{finding}", if number > 0 { "\n" } else { "" })?;
        }
        f.write_str(if self.has_more { "\nthere are more errors" } else { "" })
    }
}

impl std::error::Error for ConfigErrors {}

/// Returns a path on one line, with control characters replaced.
pub(super) fn clean(path: &Path) -> String {
    path.to_string_lossy().chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}
