//! Discovery: decides which UDP probes get an answer, and how many. It sends nothing and reads no clock.
//!
//! An attacker with a forged source address can direct answers at a victim. So addresses are checked, and rates limited.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use crate::closed_list;

/// The default UDP port of a gateway.
pub const PORT: u16 = 5555;
/// The default answer of a gateway.
pub const REPLY: &[u8] = b"udp responsed";

closed_list! {
    /// The reason of a probe without an answer.
    #[non_exhaustive]
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Suppressed {
        /// The source port is 0, which no datagram can reach.
        PortZero => "port_zero",
        /// The source is the broadcast address.
        Broadcast => "broadcast",
        /// The source is a multicast address.
        Multicast => "multicast",
        /// The source is `0.0.0.0` or `::`.
        Unspecified => "unspecified",
        /// The source is a socket of this gateway: one of its ports, at the destination address or a loopback address.
        OwnSocket => "own_socket",
        /// The probe is itself a gateway's answer. With an answer, one forged datagram could start an endless exchange of
        /// two gateways.
        OwnReply => "own_reply",
        /// All sources together exceed the rate.
        Rate => "rate",
        /// The source exceeds its rate.
        SourceRate => "source_rate",
        /// The gateway does not answer on this interface.
        Interface => "interface",
        /// The kernel did not send the answer: it has no route, or the address is a network's broadcast address.
        NotSent => "not_sent",
    }
}

/// Whether `reply` may answer a probe of the source `from`. `to` is the destination address, if known. `local_ports` are
/// the ports of all sockets that answer. Call it before [`RateLimit::take`], so that a suppressed probe costs no token.
pub fn answerable(
    from: SocketAddr,
    to: Option<IpAddr>,
    mut local_ports: impl Iterator<Item = u16>,
    probe: &[u8],
    reply: &[u8],
) -> Result<(), Suppressed> {
    let source = from.ip().to_canonical();
    let is_here = source.is_loopback() || to.is_some_and(|to| to.to_canonical() == source);
    let rules = [
        (from.port() == 0, Suppressed::PortZero),
        (source == Ipv4Addr::BROADCAST, Suppressed::Broadcast),
        (source.is_multicast(), Suppressed::Multicast),
        (source.is_unspecified(), Suppressed::Unspecified),
        (is_here && local_ports.any(|port| port == from.port()), Suppressed::OwnSocket),
        (probe == reply || probe == REPLY, Suppressed::OwnReply),
    ];
    match rules.into_iter().find(|(applies, _)| *applies) {
        Some((_, suppressed)) => Err(suppressed),
        None => Ok(()),
    }
}

/// Converts an IPv4-mapped address to IPv4, such as `::ffff:192.0.2.7` to `192.0.2.7`. Other addresses stay as they are.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, addr.port()),
        IpAddr::V6(_) => addr,
    }
}

/// Limits the answers per second, in all and to one source.
///
/// Sources share 256 hashed rate-limit buckets (4 KiB) by a seeded hash of their address. So the memory is constant, a
/// source cannot choose its bucket, and many addresses do not get more tokens than 256 sources.
#[derive(Debug)]
pub struct RateLimit {
    all: Bucket,
    all_rate: Rate,
    buckets: Box<[Bucket; BUCKETS]>,
    source_rate: Rate,
    seed: u64,
}

const BUCKETS: usize = 256;

impl RateLimit {
    /// Creates full buckets with a rate and a burst, for all sources together and for each source. A burst of 0 allows no
    /// answer. `now_ms` is a monotonic time in milliseconds from any start. `seed` should be secret.
    pub fn new(per_second: u32, burst: u32, source_per_second: u32, source_burst: u32, now_ms: u64, seed: u64) -> Self {
        let all_rate = Rate { per_second, burst };
        let source_rate = Rate { per_second: source_per_second, burst: source_burst };
        Self {
            all: Bucket::full(all_rate, now_ms),
            all_rate,
            buckets: Box::new([Bucket::full(source_rate, now_ms); BUCKETS]),
            source_rate,
            seed,
        }
    }

    /// Changes the rates. The buckets keep their tokens up to the new burst.
    pub fn configure(&mut self, per_second: u32, burst: u32, source_per_second: u32, source_burst: u32) {
        self.all_rate = Rate { per_second, burst };
        self.source_rate = Rate { per_second: source_per_second, burst: source_burst };
    }

    /// Takes a token of both buckets for one answer to `source`. If one bucket is empty, it takes none and returns which.
    pub fn take(&mut self, source: IpAddr, now_ms: u64) -> Result<(), Suppressed> {
        let bucket = &mut self.buckets[bucket_of(source, self.seed)];
        if !bucket.has_token(self.source_rate, now_ms) {
            return Err(Suppressed::SourceRate);
        }
        if !self.all.has_token(self.all_rate, now_ms) {
            return Err(Suppressed::Rate);
        }
        bucket.take();
        self.all.take();
        Ok(())
    }
}

fn bucket_of(source: IpAddr, seed: u64) -> usize {
    let mut hasher = DefaultHasher::new();
    (seed, source.to_canonical()).hash(&mut hasher);
    hasher.finish() as usize % BUCKETS
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: u32,
    burst: u32,
}

/// Counts thousandths of tokens, because each millisecond adds `per_second` of them. So no remainder gets lost.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    thousandths: u64,
    filled_ms: u64,
}

const TOKEN: u64 = 1000;

impl Bucket {
    fn full(rate: Rate, now_ms: u64) -> Self {
        Self { thousandths: u64::from(rate.burst) * TOKEN, filled_ms: now_ms }
    }

    /// Refills the bucket up to `now_ms`. Returns whether it has a whole token.
    fn has_token(&mut self, rate: Rate, now_ms: u64) -> bool {
        let added = now_ms.saturating_sub(self.filled_ms).saturating_mul(rate.per_second.into());
        self.thousandths = self.thousandths.saturating_add(added).min(u64::from(rate.burst) * TOKEN);
        self.filled_ms = self.filled_ms.max(now_ms);
        self.thousandths >= TOKEN
    }

    fn take(&mut self) {
        self.thousandths -= TOKEN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &str, to: &str, probe: &[u8], expected: Result<(), Suppressed>) {
        let from = from.parse().expect("an address and port");
        let to = (!to.is_empty()).then(|| to.parse().expect("an address"));
        assert_eq!(answerable(from, to, [5555, 5556].into_iter(), probe, b"here"), expected, "{from} {to:?}");
    }

    #[test]
    fn only_probes_of_reachable_foreign_sources_get_an_answer() {
        use Suppressed::*;
        check("192.0.2.7:4000", "192.0.2.1", b"hello", Ok(()));
        check("192.0.2.7:5555", "192.0.2.1", b"", Ok(()));
        check("192.0.2.1:4000", "192.0.2.1", b"hello", Ok(()));
        check("127.0.0.1:4000", "127.0.0.1", b"hello", Ok(()));
        check("[fe80::1%3]:4000", "", b"hello", Ok(()));
        check("192.0.2.7:0", "192.0.2.1", b"hello", Err(PortZero));
        check("255.255.255.255:4000", "", b"hello", Err(Broadcast));
        check("[::ffff:255.255.255.255]:4000", "", b"hello", Err(Broadcast));
        check("224.0.0.1:4000", "", b"hello", Err(Multicast));
        check("[ff02::1]:4000", "", b"hello", Err(Multicast));
        check("0.0.0.0:4000", "", b"hello", Err(Unspecified));
        check("[::]:4000", "", b"hello", Err(Unspecified));
        check("192.0.2.1:5555", "192.0.2.1", b"hello", Err(OwnSocket));
        check("[::ffff:192.0.2.1]:5555", "192.0.2.1", b"hello", Err(OwnSocket));
        check("127.0.0.2:5555", "127.0.0.1", b"hello", Err(OwnSocket));
        check("127.0.0.2:5556", "127.0.0.1", b"hello", Err(OwnSocket));
        check("[::1]:5555", "", b"hello", Err(OwnSocket));
        check("192.0.2.7:4000", "192.0.2.1", b"here", Err(OwnReply));
        check("192.0.2.7:4000", "192.0.2.1", REPLY, Err(OwnReply));
    }

    #[test]
    fn an_ipv4_mapped_address_becomes_ipv4() {
        for (addr, expected) in [
            ("192.0.2.7:1", "192.0.2.7:1"),
            ("[::ffff:192.0.2.7]:1", "192.0.2.7:1"),
            ("[2001:db8::1]:1", "[2001:db8::1]:1"),
            ("[fe80::1%7]:1", "[fe80::1%7]:1"),
            ("[::192.0.2.7]:1", "[::192.0.2.7]:1"),
        ] {
            let parsed = |addr: &str| addr.parse::<SocketAddr>().expect("an address");
            assert_eq!(canonical(parsed(addr)), parsed(expected));
        }
    }

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    /// Counts the answers to `tries` probes at one time.
    fn answered(limit: &mut RateLimit, source: IpAddr, now_ms: u64, tries: u32) -> usize {
        (0..tries).filter(|_| limit.take(source, now_ms).is_ok()).count()
    }

    #[test]
    fn a_source_gets_its_burst_and_then_its_rate() {
        let mut limit = RateLimit::new(1000, 1000, 3, 2, 5000, 1);
        assert_eq!(answered(&mut limit, ip(1), 5000, 10), 2);
        assert_eq!(answered(&mut limit, ip(1), 5333, 10), 0);
        // Three answers in a second are exact, although their interval (333.3 ms) is no whole number of milliseconds.
        assert_eq!(answered(&mut limit, ip(1), 5334, 10), 1);
        assert_eq!((5335..=1_005_000).map(|now| answered(&mut limit, ip(1), now, 2)).sum::<usize>(), 2999);
        // Time that runs backwards neither adds nor removes tokens.
        assert_eq!(answered(&mut limit, ip(1), 0, 10), 0);
        assert_eq!(answered(&mut limit, ip(1), 1_005_000, 10), 0);
        assert_eq!(answered(&mut limit, ip(1), u64::MAX, 10), 2);
    }

    #[test]
    fn all_sources_share_one_rate() {
        let mut limit = RateLimit::new(10, 3, 1000, 1, 0, 7);
        let refused: Vec<_> = (0..=255).filter_map(|last| limit.take(ip(last), 0).err()).collect();
        assert_eq!(refused.iter().filter(|why| **why == Suppressed::Rate).count() + 3, {
            256 - refused.iter().filter(|why| **why == Suppressed::SourceRate).count()
        });
        // A suppressed probe takes no token, neither of its source nor of all.
        let mut limit = RateLimit::new(0, 2, 0, 1, 0, 7);
        assert_eq!(limit.take(ip(1), 0), Ok(()));
        assert_eq!(answered(&mut limit, ip(1), 0, 100), 0);
        let other =
            (2..=255).map(ip).find(|other| bucket_of(*other, 7) != bucket_of(ip(1), 7)).expect("another bucket");
        assert_eq!(limit.take(other, 0), Ok(()));
        assert_eq!(limit.take(ip(1), 1 << 40), Err(Suppressed::SourceRate));
        let mut none = RateLimit::new(1000, 0, 1000, 1000, 0, 7);
        assert_eq!(none.take(ip(1), 1 << 40), Err(Suppressed::Rate));
    }

    #[test]
    fn a_seed_spreads_sources_over_the_buckets() {
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
        assert_eq!(bucket_of(mapped.into(), 1), bucket_of(ip(1), 1));
        let used: std::collections::HashSet<_> = (0..=255).map(|last| bucket_of(ip(last), 1)).collect();
        assert!(used.len() > 128, "{}", used.len());
        assert!((0..=255).any(|last| bucket_of(ip(last), 1) != bucket_of(ip(last), 2)));
        assert!(size_of::<Bucket>() * BUCKETS == 4096);
    }
}
