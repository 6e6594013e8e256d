//! Numbers of bytes as people read and write them, in units of 1024.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
///
/// `{}` rounds down to a short text, such as `1.5 MiB`. `{:#}` is exact, as configurations write it, such as
/// `256KiB` or `1500B`, and parses as the same number.
///
/// ```
/// use pulsegate::ByteSize;
///
/// assert_eq!(ByteSize(1_600_000).to_string(), "1.5 MiB");
/// assert_eq!("256KiB".parse(), Ok(ByteSize(262_144)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// The error of a text that is not a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteSizeError {
    /// The text is not a whole number, with or without a unit from `B` to `TiB`.
    Invalid,
    /// The number is negative or does not fit into 64 bits.
    OutOfRange,
}

/// The units, the largest first, and their powers of two.
const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
const BYTE: (&str, u32) = UNITS[UNITS.len() - 1];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let fits = |&&(_, bits): &&(&str, u32)| bytes >> bits != 0;
        if f.alternate() {
            let is_whole = |unit: &&(&str, u32)| fits(unit) && bytes.trailing_zeros() >= unit.1;
            let (unit, bits) = *UNITS.iter().find(is_whole).unwrap_or(&BYTE);
            return write!(f, "{}{unit}", bytes >> bits);
        }
        let (unit, bits) = *UNITS.iter().find(fits).unwrap_or(&BYTE);
        let whole = bytes >> bits;
        // Three digits are precise enough.
        match ((u128::from(bytes) * 10) >> bits) % 10 {
            tenths if whole < 100 && bits > 0 => write!(f, "{whole}.{tenths} {unit}"),
            _ => write!(f, "{whole} {unit}"),
        }
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let found = UNITS.iter().find_map(|&(unit, bits)| Some((text.strip_suffix(unit)?, bits)));
        let (number, bits) = found.unwrap_or((text, 0));
        let number = if bits == 0 && found.is_none() { number } else { number.strip_suffix(' ').unwrap_or(number) };
        let digits = number.strip_prefix('-').unwrap_or(number);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ByteSizeError::Invalid);
        }
        let number = number.parse::<u64>().map_err(|_| ByteSizeError::OutOfRange)?;
        number.checked_mul(1 << bits).map(Self).ok_or(ByteSizeError::OutOfRange)
    }
}

impl fmt::Display for ByteSizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "expected a number of bytes, such as 256KiB, 1MiB or 4096",
            Self::OutOfRange => "the number of bytes is out of range",
        })
    }
}

impl std::error::Error for ByteSizeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed_and_formatted() {
        for (text, bytes, exact, short) in [
            ("0", 0, "0B", "0 B"),
            ("4096", 4096, "4KiB", "4.0 KiB"),
            ("1500B", 1500, "1500B", "1.4 KiB"),
            ("1 KiB", 1024, "1KiB", "1.0 KiB"),
            ("256KiB", 262_144, "256KiB", "256 KiB"),
            ("570037981", 570_037_981, "570037981B", "543 MiB"),
            ("3TiB", 3 << 40, "3TiB", "3.0 TiB"),
            ("18446744073709551615", u64::MAX, "18446744073709551615B", "16777215 TiB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, format!("{size:#}"), size.to_string()), (bytes, exact.into(), short.into()), "{text}");
        }
        for text in ["", "MiB", " 1", "1 ", "1.5MiB", "1  MiB", "1mib", "1MB", "+1", "é"] {
            assert_eq!(text.parse::<ByteSize>(), Err(ByteSizeError::Invalid), "{text}");
        }
        for text in ["-1", "-5KiB", "18446744073709551616", "99999999TiB"] {
            assert_eq!(text.parse::<ByteSize>(), Err(ByteSizeError::OutOfRange), "{text}");
        }
    }
}
