//! Access control: rules for canonical addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::endpoint::ConnectionId;

/// The addresses that may connect. An IPv4-mapped address such as `::ffff:192.0.2.7` counts as `192.0.2.7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Blocks that may connect. Without a block no device may connect. Default: all of IPv4 and IPv6.
    pub allow: Vec<Cidr>,
    /// Blocks that may not connect, even if `allow` contains them. Default: none.
    pub deny: Vec<Cidr>,
    /// The number of connected devices with one address. Default 1,048,576, which is the maximum of all connections.
    pub connections_per_ip_max: usize,
    /// Another limit for each address of a block. The longest prefix applies. Default: none.
    pub connections_per_ip_overrides: Vec<(Cidr, usize)>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            allow: vec![Cidr::ALL_IPV4, Cidr::ALL_IPV6],
            deny: Vec::new(),
            connections_per_ip_max: ConnectionId::SLOTS_MAX,
            connections_per_ip_overrides: Vec::new(),
        }
    }
}

impl Access {
    /// Whether the canonical address `ip` may connect.
    pub fn allows(&self, ip: IpAddr) -> bool {
        let covers = |block: &Cidr| block.contains(ip);
        self.allow.iter().any(covers) && !self.deny.iter().any(covers)
    }

    /// Returns the limit of connected devices with the canonical address `ip`.
    pub fn connections_max_of(&self, ip: IpAddr) -> usize {
        let covering = self.connections_per_ip_overrides.iter().filter(|(block, _)| block.contains(ip));
        covering.max_by_key(|(block, _)| block.prefix).map_or(self.connections_per_ip_max, |&(_, max)| max)
    }
}

/// A block of addresses, such as `192.0.2.0/24` or `2001:db8::/32` (RFC 4632 §3.1, RFC 4291 §2.3). A single address is a
/// block of one. Blocks are canonical: `::ffff:192.0.2.0/120` is `192.0.2.0/24`, and no other IPv6 block contains an IPv4
/// address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    /// The first address.
    address: IpAddr,
    /// The number of leading bits that all addresses of the block share.
    prefix: u8,
}

impl Cidr {
    /// Every IPv4 address.
    pub const ALL_IPV4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 };
    /// Every IPv6 address.
    pub const ALL_IPV6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 };

    /// Returns the block of all addresses that share the first `prefix` bits of `address`.
    ///
    /// # Errors
    /// If the prefix is longer than the address, or `address` is not the first of the block.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, CidrError> {
        let bits = bits_of(address);
        if prefix > bits {
            return Err(CidrError::Prefix { bits });
        }
        let first = first_of(address, prefix);
        if first != address {
            return Err(CidrError::HostBits { address, block: Self { address: first, prefix } });
        }
        Ok(match address.to_canonical() {
            // Mapped addresses begin with 96 fixed bits (RFC 4291 §2.5.5.2). With a shorter prefix the check above fails,
            // because some of these bits are set.
            v4 @ IpAddr::V4(_) if address.is_ipv6() => Self { address: v4, prefix: prefix - (128 - 32) },
            _ => Self { address, prefix },
        })
    }

    /// Whether the block contains the canonical address `ip`.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.address.is_ipv4() == ip.is_ipv4() && first_of(ip, self.prefix) == self.address
    }
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Returns the address with all bits after the first `prefix` cleared.
fn first_of(address: IpAddr, prefix: u8) -> IpAddr {
    // `checked_shl`, because a shift by the full width overflows.
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError::Address)?;
        let bits = bits_of(address);
        let prefix = match prefix {
            // No sign and no leading zero, as in addresses.
            Some(digits) if digits.starts_with('+') || digits.len() > 1 && digits.starts_with('0') => None,
            Some(digits) => digits.parse().ok(),
            None => Some(bits),
        };
        Self::new(address, prefix.ok_or(CidrError::Prefix { bits })?)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        if self.prefix < bits_of(self.address) { write!(f, "/{}", self.prefix) } else { Ok(()) }
    }
}

/// The error of a text that is not a [`Cidr`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CidrError {
    /// The text does not begin with an address.
    Address,
    /// The text after the slash is no prefix length.
    Prefix {
        /// The longest prefix of such an address.
        bits: u8,
    },
    /// The address is not the first of the block.
    HostBits {
        /// The address.
        address: IpAddr,
        /// The block that contains it.
        block: Cidr,
    },
}

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => {
                f.write_str("expected an IP address or a block, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32")
            }
            Self::Prefix { bits } => write!(f, "expected a prefix length from 0 to {bits} after the slash"),
            Self::HostBits { address, block } => write!(
                f,
                "{address} has bits set after its first {}: write {block} for the block, or {address} for the address",
                block.prefix
            ),
        }
    }
}

impl std::error::Error for CidrError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_parsed_and_formatted() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let got = text.parse::<Cidr>();
            let got = got.map(|block| block.to_string()).map_err(|error| error.to_string());
            assert_eq!(got, expected.map(String::from).map_err(String::from), "{text}");
        };
        check("192.0.2.0/24", Ok("192.0.2.0/24"));
        check("192.0.2.7", Ok("192.0.2.7"));
        check("192.0.2.7/32", Ok("192.0.2.7"));
        check("0.0.0.0/0", Ok("0.0.0.0/0"));
        check("2001:db8::/32", Ok("2001:db8::/32"));
        check("2001:DB8:0::1", Ok("2001:db8::1"));
        check("2001:db8::1/128", Ok("2001:db8::1"));
        check("::/0", Ok("::/0"));
        check("fe80::/10", Ok("fe80::/10"));
        check("::ffff:192.0.2.0/120", Ok("192.0.2.0/24"));
        check("::ffff:192.0.2.7", Ok("192.0.2.7"));
        check("::ffff:0.0.0.0/96", Ok("0.0.0.0/0"));

        let rule = "expected an IP address or a block, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32";
        for text in ["", "/", "/24", "192.0.2/24", "192.0.2.0 /24", "host", "[::1]", "fe80::1%eth0", "192.0.2.07", "é"]
        {
            check(text, Err(rule));
        }
        for text in ["192.0.2.0/33", "192.0.2.0/", "192.0.2.0/+24", "192.0.2.0/024", "192.0.2.0/-1", "192.0.2.0/24/24"]
        {
            check(text, Err("expected a prefix length from 0 to 32 after the slash"));
        }
        check("2001:db8::/129", Err("expected a prefix length from 0 to 128 after the slash"));
        check("2001:db8::/9999999999", Err("expected a prefix length from 0 to 128 after the slash"));
        check(
            "192.0.2.7/24",
            Err("192.0.2.7 has bits set after its first 24: write 192.0.2.0/24 for the block, or 192.0.2.7 for the \
                 address"),
        );
        check(
            "::ffff:0.0.0.0/95",
            Err(
                "::ffff:0.0.0.0 has bits set after its first 95: write ::fffe:0:0/95 for the block, or ::ffff:0.0.0.0 \
                 for the address",
            ),
        );
        check(
            "1.0.0.0/0",
            Err("1.0.0.0 has bits set after its first 0: write 0.0.0.0/0 for the block, or 1.0.0.0 for the \
                 address"),
        );
    }

    fn blocks(texts: &[&str]) -> Vec<Cidr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn deny_overrides_allow() {
        let check = |allow: &[&str], deny: &[&str], allowed: &[&str], denied: &[&str]| {
            let access = Access { allow: blocks(allow), deny: blocks(deny), ..Access::default() };
            for (ips, expected) in [(allowed, true), (denied, false)] {
                for ip in ips {
                    assert_eq!(access.allows(ip.parse().unwrap()), expected, "{ip}, allow {allow:?}, deny {deny:?}");
                }
            }
        };
        let all = ["0.0.0.0", "192.0.2.7", "255.255.255.255", "::", "::1", "2001:db8::1"];
        assert!(all.iter().all(|ip| Access::default().allows(ip.parse().unwrap())));
        check(&[], &[], &[], &all);
        check(&["0.0.0.0/0", "::/0"], &["0.0.0.0/0", "::/0"], &[], &all);
        check(&["0.0.0.0/0"], &[], &all[..3], &all[3..]);
        check(&["::/0"], &[], &all[3..], &all[..3]);
        check(&["192.0.2.0/24"], &["192.0.2.7"], &["192.0.2.6", "192.0.2.255"], &["192.0.2.7", "192.0.3.0", "::"]);
        check(&["192.0.2.7"], &["192.0.2.0/24"], &[], &["192.0.2.7"]);
        check(&["192.0.2.128/25"], &[], &["192.0.2.128", "192.0.2.255"], &["192.0.2.127", "192.0.3.0"]);
        check(&["2001:db8::/33"], &[], &["2001:db8:7fff::1"], &["2001:db8:8000::", "2001:db7::"]);
        check(&["::ffff:192.0.2.0/120"], &[], &["192.0.2.7"], &["192.0.3.7", "::c000:207"]);
    }

    #[test]
    fn the_longest_prefix_limits_an_address() {
        let overrides = [("10.0.0.0/8", 10), ("10.1.0.0/16", 20), ("10.1.0.0/24", 5), ("::/0", 2)];
        let access = Access {
            connections_per_ip_max: 3,
            connections_per_ip_overrides: overrides.iter().map(|&(text, max)| (text.parse().unwrap(), max)).collect(),
            ..Access::default()
        };
        let max = |ip: &str| access.connections_max_of(ip.parse().unwrap());
        assert_eq!(["192.0.2.7", "10.2.0.1", "10.1.1.1", "10.1.0.9", "::1"].map(max), [3, 10, 20, 5, 2]);
    }
}
