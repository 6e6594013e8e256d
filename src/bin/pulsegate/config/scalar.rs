//! Single values: numbers, sizes, durations, texts and words.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use pulsegate::{ByteSize, ByteSizeError, CreditFrom, Takeover};
use toml::de::DeValue;

use super::format::{Fault, Format, Input, What, quote, text, type_of};
use super::{Control, Events, OnClosed};

/// A whole number without a unit.
pub(super) struct Count;

impl<T: TryFrom<u64> + Display> Format<T> for Count {
    const WANT: &'static str = "a whole number";

    fn read(input: Input<'_>) -> Result<T, Vec<Fault>> {
        let number = match input {
            Input::Text(text) => digits(text)?,
            Input::Toml(value) => integer(value.get_ref())?,
        };
        T::try_from(number).map_err(|_| What::OutOfBounds.into())
    }

    fn show(value: &T) -> String {
        value.to_string()
    }
}

/// A whole number in decimal digits.
fn digits(text: &str) -> Result<u64, What> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(What::Unlike);
    }
    text.parse().map_err(|_| What::OutOfBounds)
}

fn integer(value: &DeValue<'_>) -> Result<u64, What> {
    let number = value.as_integer().ok_or_else(|| What::OfType(type_of(value)))?;
    u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| What::OutOfBounds)
}

/// A number of bytes, with or without a unit.
pub(super) struct Bytes;

impl<T: TryFrom<u64> + TryInto<u64> + Copy> Format<T> for Bytes {
    const WANT: &'static str = "a number of bytes, such as \"256KiB\", \"1MiB\" or 4096";

    fn read(input: Input<'_>) -> Result<T, Vec<Fault>> {
        let number = match input {
            Input::Toml(value) if value.get_ref().is_integer() => integer(value.get_ref())?,
            _ => {
                let size: ByteSize = text(input)?.parse().map_err(|error| match error {
                    ByteSizeError::Invalid => What::Unlike,
                    ByteSizeError::OutOfRange => What::OutOfBounds,
                })?;
                size.0
            }
        };
        T::try_from(number).map_err(|_| What::OutOfBounds.into())
    }

    fn show(value: &T) -> String {
        format!("\"{:#}\"", ByteSize((*value).try_into().unwrap_or(u64::MAX)))
    }
}

/// A number per second.
pub(super) struct Rate;

impl Format<u32> for Rate {
    const WANT: &'static str = "a number per second, such as \"50/s\"";

    fn read(input: Input<'_>) -> Result<u32, Vec<Fault>> {
        let number = digits(text(input)?.strip_suffix("/s").ok_or(What::Unlike)?)?;
        u32::try_from(number).map_err(|_| What::OutOfBounds.into())
    }

    fn show(value: &u32) -> String {
        format!("\"{value}/s\"")
    }
}

/// A duration.
pub(super) struct Time;

impl Format<Duration> for Time {
    const WANT: &'static str = "a duration with its unit, such as \"2s\", \"500ms\" or \"1m 30s\"";

    fn read(input: Input<'_>) -> Result<Duration, Vec<Fault>> {
        let text = text(input)?;
        // humantime 2.4 panics if a sum just exceeds a `Duration`. No sensible duration has numbers this long.
        if text.split(|char: char| !char.is_ascii_digit()).any(|number| number.len() > 9) {
            return Err(What::OutOfBounds.into());
        }
        // humantime accepts "0" without a unit.
        if text.len() > 64 || text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(What::Unlike.into());
        }
        humantime::parse_duration(text).map_err(|_| What::Unlike.into())
    }

    fn show(value: &Duration) -> String {
        format!("\"{}\"", humantime::format_duration(*value))
    }
}

/// The UTF-8 bytes of a text.
pub(super) struct Raw;

impl Format<Vec<u8>> for Raw {
    const WANT: &'static str = "a text in quotes";

    fn read(input: Input<'_>) -> Result<Vec<u8>, Vec<Fault>> {
        Ok(text(input)?.into())
    }

    fn show(value: &Vec<u8>) -> String {
        quote(&String::from_utf8_lossy(value))
    }
}

impl Format<String> for Raw {
    const WANT: &'static str = "a text in quotes";

    fn read(input: Input<'_>) -> Result<String, Vec<Fault>> {
        Ok(text(input)?.into())
    }

    fn show(value: &String) -> String {
        quote(value)
    }
}

/// One word of a closed list.
pub(super) struct Word;

/// A type with a word for each value.
pub(super) trait Words: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
    /// The words as a sentence lists them.
    const WANT: &'static str;
}

impl<T: Words> Format<T> for Word {
    const WANT: &'static str = T::WANT;

    fn read(input: Input<'_>) -> Result<T, Vec<Fault>> {
        let text = text(input)?;
        let found = T::WORDS.iter().find(|(word, _)| *word == text);
        found.map(|&(_, value)| value).ok_or_else(|| What::Unlike.into())
    }

    fn show(value: &T) -> String {
        T::WORDS.iter().find(|(_, known)| known == value).map(|(word, _)| quote(word)).unwrap_or_default()
    }
}

impl Words for CreditFrom {
    const WORDS: &'static [(&'static str, Self)] = &[("any", Self::Any), ("heartbeat", Self::Heartbeat)];
    const WANT: &'static str = "\"any\" or \"heartbeat\"";
}

impl Words for Takeover {
    const WORDS: &'static [(&'static str, Self)] = &[("newest", Self::Newest), ("oldest", Self::Oldest)];
    const WANT: &'static str = "\"newest\" or \"oldest\"";
}

impl Words for Events {
    const WORDS: &'static [(&'static str, Self)] = &[("-", Self::Stdout), ("none", Self::None)];
    const WANT: &'static str = "\"-\" or \"none\"";
}

impl Words for OnClosed {
    const WORDS: &'static [(&'static str, Self)] = &[("continue", Self::Continue), ("stop", Self::Stop)];
    const WANT: &'static str = "\"continue\" or \"stop\"";
}

impl Words for LevelFilter {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
    const WANT: &'static str = "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
}

/// The path of the control socket.
pub(super) struct Socket;

impl Format<Control> for Socket {
    const WANT: &'static str = "\"default\", \"off\" or the path of a socket in at most 107 bytes";

    fn read(input: Input<'_>) -> Result<Control, Vec<Fault>> {
        match text(input)? {
            "default" => Ok(Control::Default),
            "off" => Ok(Control::Off),
            // A Unix address has room for 107 bytes and a NUL (unix(7)).
            path if (1..108).contains(&path.len()) && !path.contains('\0') => Ok(Control::Path(PathBuf::from(path))),
            _ => Err(What::Unlike.into()),
        }
    }

    fn show(value: &Control) -> String {
        match value {
            Control::Default => quote("default"),
            Control::Off => quote("off"),
            Control::Path(path) => quote(&path.to_string_lossy()),
        }
    }
}

/// The permission bits of a file.
pub(super) struct Mode;

impl Format<u32> for Mode {
    const WANT: &'static str = "permissions in octal, such as \"0660\", at most \"0777\"";

    fn read(input: Input<'_>) -> Result<u32, Vec<Fault>> {
        let digits = match input {
            // The decimal number 660 would be 01224.
            Input::Toml(value) if value.get_ref().as_integer().is_some_and(|number| number.radix() == 8) => {
                value.get_ref().as_integer().map(|number| number.as_str()).unwrap_or_default()
            }
            _ => text(input)?,
        };
        let octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let mode = u32::from_str_radix(digits, 8).ok().filter(|&mode| octal && mode <= 0o777);
        mode.ok_or_else(|| What::Unlike.into())
    }

    fn show(value: &u32) -> String {
        format!("\"{value:04o}\"")
    }
}

/// The name of a group, or an empty text for no group.
pub(super) struct Group;

impl Format<Option<String>> for Group {
    const WANT: &'static str = "the name of a group, or \"\"";

    fn read(input: Input<'_>) -> Result<Option<String>, Vec<Fault>> {
        let name = text(input)?;
        if name.len() > 64 || name.contains(|char: char| char.is_control() || char.is_whitespace() || char == ':') {
            return Err(What::Unlike.into());
        }
        Ok((!name.is_empty()).then(|| name.into()))
    }

    fn show(value: &Option<String>) -> String {
        quote(value.as_deref().unwrap_or_default())
    }
}

/// The absolute path of a file. An empty text is none.
#[cfg(any(feature = "mqtt", feature = "web"))]
pub(super) struct FilePath;

#[cfg(any(feature = "mqtt", feature = "web"))]
impl Format<Option<PathBuf>> for FilePath {
    const WANT: &'static str = "an absolute path, or \"\"";

    fn read(input: Input<'_>) -> Result<Option<PathBuf>, Vec<Fault>> {
        match text(input)? {
            "" => Ok(None),
            path if path.starts_with('/') && !path.contains('\0') => Ok(Some(path.into())),
            _ => Err(What::Unlike.into()),
        }
    }

    fn show(value: &Option<PathBuf>) -> String {
        quote(&value.as_deref().unwrap_or(std::path::Path::new("")).to_string_lossy())
    }
}
