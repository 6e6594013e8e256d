//! Reads a configuration file: its values with their places, and its unknown names.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Origin, Position};
use super::format::Input;
use super::keys::{FOREIGN_SECTIONS, KEYS, Key, sections};
use super::load::Loader;
use super::suggest::{brief, nearest, question};

/// The maximum size of a file.
const BYTES_MAX: u64 = 1 << 20;

/// Reads a file. Returns `None` if it does not exist and is not `required`.
pub(super) fn read(path: &Path, required: bool) -> Result<Option<Vec<u8>>, String> {
    let mut bytes = Vec::new();
    // A read of a pipe would wait for its writer, and a reload could not read the pipe again.
    let open = || {
        let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        match file.metadata()?.file_type().is_fifo() {
            true => Err(io::Error::other("it is a pipe, which a reload cannot read again")),
            false => Ok(file),
        }
    };
    // A dangling link is a mistake: its target is missing.
    let is_absent = || fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    match open().and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes)) {
        Ok(_) if bytes.len() as u64 > BYTES_MAX => Err("the file is larger than 1MiB".into()),
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required && is_absent() => Ok(None),
        Err(error) => Err(format!("cannot read the file: {error}")),
    }
}

/// The place of a name in a file.
struct Offset {
    bytes: usize,
    /// The name is quoted and contains a dot.
    is_quoted: bool,
}

/// An entry of a file: the full name, its place and the value.
struct Found<'a> {
    name: String,
    offset: Offset,
    value: &'a Spanned<DeValue<'a>>,
}

impl Loader {
    /// Reads the values of the file at `path`.
    pub(super) fn read_file(&mut self, path: &Path, bytes: &[u8]) {
        // A byte order mark does not belong to the text (RFC 3629 section 6).
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let at = |offset| Origin::File(path.into(), Position::of(bytes, offset));
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => return self.errors.add(at(error.valid_up_to()), "the file must be UTF-8".into()),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        let broken_lines = self.add_syntax_errors(&errors, at);
        for Found { name, offset, value } in entries(table.get_ref()) {
            // The report contains all errors of the file, up to its limit.
            if self.errors.is_full() {
                break;
            }
            // After a syntax error the rest of the line has no meaning.
            if !broken_lines.is_empty() && broken_lines.contains(&Position::of(bytes, offset.bytes).line) {
                continue;
            }
            match Key::find(&name) {
                Some(_) if offset.is_quoted => {
                    self.errors.add(at(offset.bytes), format!("invalid key '{name}': remove its quotes"))
                }
                Some(key) => {
                    let whole = value.span();
                    self.read_value(key, Input::Toml(value), |part| at(part.unwrap_or(whole.clone()).start));
                }
                None => self.errors.add(at(offset.bytes), unknown(&name, value.get_ref())),
            }
        }
    }
}

impl Loader {
    /// Adds the first syntax error of each line, and returns those lines.
    fn add_syntax_errors(&mut self, errors: &[toml::de::Error], at: impl Fn(usize) -> Origin) -> Vec<usize> {
        let mut errors: Vec<_> =
            errors.iter().map(|error| (error.span().map_or(0, |span| span.start), error.message())).collect();
        errors.sort_unstable_by_key(|(offset, _)| *offset);
        let mut lines = Vec::new();
        for (offset, message) in errors {
            if self.errors.is_full() {
                break;
            }
            let origin = at(offset);
            let Origin::File(_, Position { line, .. }) = origin else { continue };
            if lines.last() != Some(&line) {
                lines.push(line);
                self.errors.add(origin, format!("invalid TOML: {}", one_line(message)));
            }
        }
        lines
    }
}

/// Returns the entries of a table in the order of the file. The table itself is sorted by name.
fn entries<'a>(table: &'a DeTable<'a>) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    for (name, value) in table {
        let (offset, name) = (name.span().start, name.get_ref());
        match value.get_ref() {
            DeValue::Table(_) if FOREIGN_SECTIONS.contains(&&**name) => {}
            DeValue::Table(section) if is_section(name) => section_entries(name, section, &mut found),
            _ => {
                let offset = Offset { bytes: offset, is_quoted: name.contains('.') };
                found.push(Found { name: name.clone().into_owned(), offset, value });
            }
        }
    }
    found.sort_unstable_by_key(|found| found.offset.bytes);
    found
}

/// Adds the values of a section and of the sections in it.
fn section_entries<'a>(section: &str, table: &'a DeTable<'a>, found: &mut Vec<Found<'a>>) {
    for (key, value) in table {
        let name = format!("{section}.{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if is_section(&name) => section_entries(&name, inner, found),
            _ => found.push(Found { name, offset: Offset { bytes: key.span().start, is_quoted: false }, value }),
        }
    }
}

fn is_section(name: &str) -> bool {
    sections().any(|(section, _)| section == name)
}

/// Returns the error for a name that is no key.
fn unknown(name: &str, value: &DeValue<'_>) -> String {
    if is_section(name) {
        return format!("{name} is a section: write [{name}] on a line of its own, and its keys below it");
    }
    let (section, last) = name.rsplit_once('.').map_or((None, name), |(section, last)| (Some(section), last));
    if section.is_none() && value.is_table() {
        let near = nearest(name, sections().map(|(section, _)| section));
        return format!("unknown section '{}'{}", brief(name), question(near));
    }
    let elsewhere = || KEYS.iter().find(|key| key.parts().1 == last).map(|key| key.name);
    let near_elsewhere = || {
        let near = nearest(last, KEYS.iter().map(|key| key.parts().1))?;
        KEYS.iter().find(|key| key.parts().1 == near).map(|key| key.name)
    };
    let near = elsewhere().or_else(|| nearest(name, KEYS.iter().map(|key| key.name))).or_else(near_elsewhere);
    format!("unknown key '{}'{}", brief(name), question(near))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
