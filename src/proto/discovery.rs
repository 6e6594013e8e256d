//! Discovery: which UDP probes are answered, and how many. Floor 0; sends nothing, reads no clock.
//!
//! Whoever can forge a sender's address can aim the answers at another. Hence rules on addresses,
//! and limits on rates.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use crate::closed_list;

/// Where a gateway listens for probes, unless configured otherwise.
pub const PORT: u16 = 5555;
/// What a gateway answers, unless configured otherwise.
pub const REPLY: &[u8] = b"udp responsed";

closed_list! {
    /// Why a probe is not answered.
    #[non_exhaustive]
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Suppressed {
        /// It came from port 0, to which nothing can be sent.
        PortZero => "port_zero",
        /// It came from the broadcast address.
        Broadcast => "broadcast",
        /// It came from a multicast address.
        Multicast => "multicast",
        /// It came from `0.0.0.0` or `::`.
        Unspecified => "unspecified",
        /// It came from this gateway's own socket: a port of its own, at the address it came to or at a loopback
        /// address.
        OwnSocket => "own_socket",
        /// It is itself a gateway's answer: to answer would let one forged datagram start two gateways
        /// on an endless talk.
        OwnReply => "own_reply",
        /// All sources together ask too often.
        Rate => "rate",
        /// Its source asks too often.
        SourceRate => "source_rate",
        /// It came by an interface on which the gateway is not to answer.
        Interface => "interface",
        /// The kernel did not send the answer: there is no way there, or it is the broadcast address of a network.
        NotSent => "not_sent",
    }
}

/// May a probe that came `from` there be answered with `reply`? `to` is the local address it came
/// to, if that is known, and `local_ports` are those of all sockets that answer. Call it before the rate is asked, so that what
/// is never answered costs no token.
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

/// The one way to write an address: `::ffff:192.0.2.7` is `192.0.2.7`; real IPv6 stays, its scope
/// with it.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, addr.port()),
        IpAddr::V6(_) => addr,
    }
}

/// Bounds answers per second: all of them, and those to one source.
///
/// Sources share 256 cells by a seeded hash of their address: nothing grows, nobody can choose his
/// cell, and nobody gets a full bucket by coming from many addresses and returning. About 4 KiB.
#[derive(Debug)]
pub struct RateLimit {
    all: Bucket,
    all_rate: Rate,
    cells: Box<[Bucket; CELLS]>,
    source_rate: Rate,
    seed: u64,
}

const CELLS: usize = 256;

impl RateLimit {
    /// Tokens per second and their most at once (a burst of 0 answers nothing), for all sources and
    /// for each cell. All buckets begin full. `now_ms` is monotonic, in milliseconds from any
    /// start; `seed` should be unknown outside.
    pub fn new(per_second: u32, burst: u32, source_per_second: u32, source_burst: u32, now_ms: u64, seed: u64) -> Self {
        let all_rate = Rate { per_second, burst };
        let source_rate = Rate { per_second: source_per_second, burst: source_burst };
        Self {
            all: Bucket::full(all_rate, now_ms),
            all_rate,
            cells: Box::new([Bucket::full(source_rate, now_ms); CELLS]),
            source_rate,
            seed,
        }
    }

    /// Changes the rates; what is in the buckets stays, as far as they still hold it.
    pub fn configure(&mut self, per_second: u32, burst: u32, source_per_second: u32, source_burst: u32) {
        self.all_rate = Rate { per_second, burst };
        self.source_rate = Rate { per_second: source_per_second, burst: source_burst };
    }

    /// Takes a token for one answer to `source`, or says whose are lacking; then none is taken from
    /// either.
    pub fn take(&mut self, source: IpAddr, now_ms: u64) -> Result<(), Suppressed> {
        let cell = &mut self.cells[cell_of(source, self.seed)];
        if !cell.has_token(self.source_rate, now_ms) {
            return Err(Suppressed::SourceRate);
        }
        if !self.all.has_token(self.all_rate, now_ms) {
            return Err(Suppressed::Rate);
        }
        cell.take();
        self.all.take();
        Ok(())
    }
}

fn cell_of(source: IpAddr, seed: u64) -> usize {
    let mut hasher = DefaultHasher::new();
    (seed, source.to_canonical()).hash(&mut hasher);
    hasher.finish() as usize % CELLS
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: u32,
    burst: u32,
}

/// Counts thousandths of tokens, as `per_second` of them come each millisecond: exact, without a
/// remainder to keep.
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

    /// Fills it up to now; says whether a whole token is in it.
    fn has_token(&mut self, rate: Rate, now_ms: u64) -> bool {
        let come = now_ms.saturating_sub(self.filled_ms).saturating_mul(rate.per_second.into());
        self.thousandths = self.thousandths.saturating_add(come).min(u64::from(rate.burst) * TOKEN);
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
    fn answers() {
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
    fn canonical_addresses() {
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

    /// How many of `tries` at one moment are answered.
    fn answered(limit: &mut RateLimit, source: IpAddr, now_ms: u64, tries: u32) -> usize {
        (0..tries).filter(|_| limit.take(source, now_ms).is_ok()).count()
    }

    #[test]
    fn bursts_and_rates() {
        let mut limit = RateLimit::new(1000, 1000, 3, 2, 5000, 1);
        assert_eq!(answered(&mut limit, ip(1), 5000, 10), 2);
        assert_eq!(answered(&mut limit, ip(1), 5333, 10), 0);
        // Three a second are exactly three: 1/3 s is not a whole number of milliseconds.
        assert_eq!(answered(&mut limit, ip(1), 5334, 10), 1);
        assert_eq!((5335..=1_005_000).map(|now| answered(&mut limit, ip(1), now, 2)).sum::<usize>(), 2999);
        // Time that goes back gives nothing, and takes nothing away.
        assert_eq!(answered(&mut limit, ip(1), 0, 10), 0);
        assert_eq!(answered(&mut limit, ip(1), 1_005_000, 10), 0);
        assert_eq!(answered(&mut limit, ip(1), u64::MAX, 10), 2);
    }

    #[test]
    fn all_sources_together() {
        let mut limit = RateLimit::new(10, 3, 1000, 1, 0, 7);
        let refused: Vec<_> = (0..=255).filter_map(|last| limit.take(ip(last), 0).err()).collect();
        assert_eq!(refused.iter().filter(|why| **why == Suppressed::Rate).count() + 3, {
            256 - refused.iter().filter(|why| **why == Suppressed::SourceRate).count()
        });
        // A refused source takes nothing from the others, and the others' lack nothing from it.
        let mut limit = RateLimit::new(0, 2, 0, 1, 0, 7);
        assert_eq!(limit.take(ip(1), 0), Ok(()));
        assert_eq!(answered(&mut limit, ip(1), 0, 100), 0);
        let other = (2..=255).map(ip).find(|other| cell_of(*other, 7) != cell_of(ip(1), 7)).expect("another cell");
        assert_eq!(limit.take(other, 0), Ok(()));
        assert_eq!(limit.take(ip(1), 1 << 40), Err(Suppressed::SourceRate));
        let mut none = RateLimit::new(1000, 0, 1000, 1000, 0, 7);
        assert_eq!(none.take(ip(1), 1 << 40), Err(Suppressed::Rate));
    }

    #[test]
    fn cells() {
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
        assert_eq!(cell_of(mapped.into(), 1), cell_of(ip(1), 1));
        let used: std::collections::HashSet<_> = (0..=255).map(|last| cell_of(ip(last), 1)).collect();
        assert!(used.len() > 128, "{}", used.len());
        assert!((0..=255).any(|last| cell_of(ip(last), 1) != cell_of(ip(last), 2)));
        assert!(size_of::<Bucket>() * CELLS == 4096);
    }
}
