//! Reads a configuration file: where its values stand, and which of them nobody knows.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin, Position, clean};
use super::format::{Fault, Input};
use super::keys::{KEYS, Key, SECTIONS};
use super::suggest::{brief, nearest, question};
use super::{Config, sentence};

/// The longest file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// A file's bytes. `None` where there is no such file and nobody has named it; else `named` is where it
/// was named.
pub(super) fn read(path: &Path, named: Option<Origin>) -> Result<Option<Vec<u8>>, ConfigError> {
    let required = named.is_some();
    let fail = |text: String| ConfigError {
        origin: named.unwrap_or(Origin::Default),
        text: format!("{}: {text}", clean(path)),
    };
    let mut bytes = Vec::new();
    // A pipe would be waited for, and would have nothing more to say at a reload.
    let open = || {
        let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        match file.metadata()?.file_type().is_fifo() {
            true => Err(io::Error::other("it is a pipe, which cannot be read again at a reload")),
            false => Ok(file),
        }
    };
    match open().and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes)) {
        Ok(_) if bytes.len() as u64 > BYTES_MAX => Err(fail("the file is larger than 1MiB".into())),
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => Ok(None),
        Err(error) => Err(fail(format!("the file cannot be read: {error}"))),
    }
}

/// What a file holds at one place: a name in full, where it stands, and its value.
struct Found<'a> {
    name: String,
    offset: usize,
    value: &'a Spanned<DeValue<'a>>,
}

impl Config {
    /// Takes over what the file at `path` says.
    pub(super) fn read_file(&mut self, path: &Path, bytes: &[u8]) -> Result<(), ConfigError> {
        // A byte order mark is no part of the text (RFC 3629 section 6).
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let at = |offset| Origin::File(path.into(), Position::of(bytes, offset));
        let fail = |offset, text| Err(ConfigError { origin: at(offset), text });
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => return fail(error.valid_up_to(), "the file must be UTF-8".into()),
        };
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                return fail(offset, format!("this is not TOML: {}", one_line(error.message())));
            }
        };
        let mut found = Vec::new();
        for (name, value) in table.get_ref() {
            let (offset, name) = (name.span().start, name.get_ref());
            match value.get_ref() {
                DeValue::Table(section) if is_section(name) => {
                    found.extend(section.iter().map(|(key, value)| Found {
                        name: format!("{name}.{}", key.get_ref()),
                        offset: key.span().start,
                        value,
                    }));
                }
                _ if name.contains('.') && Key::find(name).is_some() => {
                    return fail(offset, format!("{name} in quotes is no key of a section: leave them out"));
                }
                _ => found.push(Found { name: name.clone().into_owned(), offset, value }),
            }
        }
        // The table is sorted by name; faults are told in the order of the file.
        found.sort_unstable_by_key(|found| found.offset);
        for Found { name, offset, value } in found {
            let Some(key) = Key::find(&name) else {
                return fail(offset, unknown(&name, value.get_ref()));
            };
            if let Err(Fault { span, what }) = (key.read)(self, Input::Toml(value)) {
                return fail(span.unwrap_or(value.span()).start, sentence(key, what));
            }
            self.origins[key.number()] = at(value.span().start);
        }
        Ok(())
    }
}

fn is_section(name: &str) -> bool {
    SECTIONS.iter().any(|&(section, _)| section == name)
}

/// What is wrong with a name that no key has.
fn unknown(name: &str, value: &DeValue<'_>) -> String {
    if is_section(name) {
        return format!("{name} is a section: [{name}] stands on a line of its own, and its keys below it");
    }
    let (section, last) = name.rsplit_once('.').map_or((None, name), |(section, last)| (Some(section), last));
    if section.is_none() && value.is_table() {
        let near = nearest(name, SECTIONS.iter().map(|&(section, _)| section));
        return format!("there is no section {}{}", brief(name), question(near));
    }
    let elsewhere = || KEYS.iter().find(|key| key.parts().1 == last).map(|key| key.name);
    let near_elsewhere = || {
        let near = nearest(last, KEYS.iter().map(|key| key.parts().1))?;
        KEYS.iter().find(|key| key.parts().1 == near).map(|key| key.name)
    };
    let near = elsewhere().or_else(|| nearest(name, KEYS.iter().map(|key| key.name))).or_else(near_elsewhere);
    format!("there is no key {}{}", brief(name), question(near))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
