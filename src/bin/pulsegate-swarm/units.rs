//! Parses the values of options: sizes, shares, source addresses, intervals.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use pulsegate::{ByteSize, ByteSizeError};

/// A size such as `128KiB`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let size = text.parse::<ByteSize>().map_err(|error| format!("invalid size '{text}': {error}"))?;
    usize::try_from(size.0).map_err(|_| format!("invalid size '{text}': {}", ByteSizeError::OutOfRange))
}

/// A share: `5%` or `0.05`.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let value = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|p| p / 100.0),
        None => text.parse(),
    };
    match value {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("invalid share '{text}': expected 0% to 100%")),
    }
}

/// A duration such as `500ms` or `1min 30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("invalid duration '{text}': expected one such as 500ms or 30s"))
}

/// A period from 10 ms to one day, or `off`.
pub(crate) fn every(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    match duration(text)? {
        period if period < Duration::from_millis(10) || period > DAY => {
            Err(format!("invalid period '{text}': expected 10ms to 1day, or off"))
        }
        period => Ok(Some(period)),
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The source addresses of the devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sources {
    first: u32,
    count: u32,
}

impl Sources {
    /// Parses an IPv4 range such as `127.1.0.0/16`, or one address.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("invalid range '{text}': expected IPv4 addresses such as 127.1.0.0/16");
        let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
        let address = u32::from(address.parse::<Ipv4Addr>().map_err(|_| wrong())?);
        let bits: u32 = bits.parse().ok().filter(|bits| (1..=32).contains(bits)).ok_or_else(wrong)?;
        let network = address & (u32::MAX << (32 - bits));
        Ok(match bits {
            31 | 32 => Self { first: network, count: 1 << (32 - bits) },
            // The network address and the broadcast address are left out.
            _ => Self { first: network + 1, count: (u32::MAX >> bits) - 1 },
        })
    }

    /// Returns the source address of device `index`. Devices share addresses if the range is too small.
    pub(crate) fn address(self, index: u32) -> IpAddr {
        Ipv4Addr::from(self.first + index % self.count).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_fraction_or_a_percentage() {
        for (text, expected) in [("0", 0.0), ("5%", 0.05), ("0.5", 0.5), ("100%", 1.0), ("12.5%", 0.125)] {
            assert_eq!(share(text), Ok(expected), "{text}");
        }
        for text in ["", "%", "101%", "-1%", "2", "NaN", "five"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_period_has_bounds() {
        assert_eq!(every("off"), Ok(None));
        assert_eq!(every("1s"), Ok(Some(Duration::from_secs(1))));
        assert_eq!(every("500ms"), Ok(Some(Duration::from_millis(500))));
        for text in ["", "0s", "1", "9ms", "2days", "often"] {
            assert!(every(text).is_err(), "{text}");
        }
    }

    #[test]
    fn devices_share_the_addresses_of_a_small_range() {
        let check = |range: &str, index, expected: &str| {
            assert_eq!(Sources::parse(range).unwrap().address(index).to_string(), expected, "{range} {index}");
        };
        check("127.1.0.0/16", 0, "127.1.0.1");
        check("127.1.2.3/16", 255, "127.1.1.0");
        check("127.1.0.0/16", 65_533, "127.1.255.254");
        check("127.1.0.0/16", 65_534, "127.1.0.1");
        check("127.0.0.8/30", 1, "127.0.0.10");
        check("127.0.0.8/30", 2, "127.0.0.9");
        check("127.0.0.8/31", 0, "127.0.0.8");
        check("127.0.0.8", 5, "127.0.0.8");
        for text in ["", "127.1.0.0/", "127.1.0.0/33", "127.1.0.0/0", "::1/64", "127.1.0/16"] {
            assert!(Sources::parse(text).is_err(), "{text}");
        }
    }
}
