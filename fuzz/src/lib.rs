//! Shared parts of the fuzz targets.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Instant;

/// The fuzzer's bytes, as far as they have not been used. Behind their end there are zeros.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    pub fn number(&mut self) -> u32 {
        let mut number = [0; 4];
        let bytes = self.take(4);
        number[..bytes.len()].copy_from_slice(bytes);
        u32::from_le_bytes(number)
    }

    pub fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// One of few addresses, so that they meet, or any.
    pub fn address(&mut self) -> SocketAddr {
        let v4 = Ipv4Addr::new(192, 0, 2, 7);
        let choice = self.byte();
        let port = [40_000, 5555, 0, 40_001 + u16::from(choice >> 6)][usize::from(choice >> 4 & 3)];
        match choice & 15 {
            0..=3 => (Ipv4Addr::new(192, 0, 2, choice & 3), port).into(),
            4 | 5 => (v4, port).into(),
            6 | 7 => (v4.to_ipv6_mapped(), port).into(),
            8 => (Ipv6Addr::LOCALHOST, port).into(),
            9 => (Ipv4Addr::LOCALHOST, port).into(),
            10 => (Ipv4Addr::BROADCAST, port).into(),
            11 => (Ipv6Addr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]), port).into(),
            12 => (Ipv4Addr::from(self.number()), self.number() as u16).into(),
            13 => (Ipv4Addr::from(self.number()).to_ipv6_mapped(), port).into(),
            14 => (Ipv4Addr::UNSPECIFIED, port).into(),
            _ => {
                let mut ip = [0; 16];
                let bytes = self.take(16);
                ip[..bytes.len()].copy_from_slice(bytes);
                (Ipv6Addr::from(ip), port).into()
            }
        }
    }
}

/// When virtual time begins: the same instant for all inputs of a process.
#[expect(clippy::disallowed_methods, reason = "an Instant cannot be had otherwise; all else is counted from it")]
pub fn beginning() -> Instant {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    *BEGINNING.get_or_init(Instant::now)
}
