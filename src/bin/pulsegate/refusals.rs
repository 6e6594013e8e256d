//! Tells the log of devices that are turned away. One that tries again every second must not fill it: an
//! address is told of once per reason, and again after a while with how often it came in between.

use std::net::IpAddr;
use std::time::Duration;

use log::info;
use pulsegate::Refusal;

/// What was told, and when.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    told: Vec<Told>,
}

#[derive(Debug)]
struct Told {
    ip: IpAddr,
    refusal: Refusal,
    at: Duration,
    since: u64,
}

/// After this time the same is told again.
const AGAIN: Duration = Duration::from_secs(600);
/// Addresses and reasons that are kept apart. When all are in use, `stats` and `watch` still tell the rest.
const TOLD_MAX: usize = 64;

impl Refusals {
    /// A device from `ip` was turned away; `now` is the gateway's uptime.
    pub(crate) fn note(&mut self, ip: IpAddr, refusal: Refusal, now: Duration) {
        if let Some(line) = self.line(ip, refusal, now) {
            info!("{line}");
        }
    }

    fn line(&mut self, ip: IpAddr, refusal: Refusal, now: Duration) -> Option<String> {
        let known = self.told.iter().position(|told| told.ip == ip && told.refusal == refusal);
        let old = |told: &Told| now.saturating_sub(told.at) >= AGAIN;
        let word = refusal.as_str();
        let Some(place) = known else {
            let free = (self.told.len() < TOLD_MAX).then_some(self.told.len());
            let place = free.or_else(|| self.told.iter().position(old))?;
            let told = Told { ip, refusal, at: now, since: 0 };
            if place == self.told.len() {
                self.told.push(told)
            } else {
                self.told[place] = told
            }
            return Some(format!("device from {ip} refused: {word}"));
        };
        let told = &mut self.told[place];
        told.since += 1;
        if !old(told) {
            return None;
        }
        let times = std::mem::take(&mut told.since);
        told.at = now;
        Some(format!("device from {ip} refused: {word}, {times} more since this was last told"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_told_of_and_none_fills_the_log() {
        let mut refusals = Refusals::default();
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut check = |last: u8, refusal, seconds, expected: Option<&str>| {
            let line = refusals.line(ip(last), refusal, Duration::from_secs(seconds));
            assert_eq!(line.as_deref(), expected);
        };
        check(7, Refusal::AddressDenied, 0, Some("device from 192.0.2.7 refused: address_denied"));
        check(7, Refusal::AddressDenied, 1, None);
        check(7, Refusal::ConnectionsMax, 1, Some("device from 192.0.2.7 refused: connections_max"));
        check(8, Refusal::AddressDenied, 2, Some("device from 192.0.2.8 refused: address_denied"));
        let again = "device from 192.0.2.7 refused: address_denied, 2 more since this was last told";
        check(7, Refusal::AddressDenied, 601, Some(again));
        for last in 10..200 {
            let told = refusals.line(ip(last), Refusal::AddressDenied, Duration::from_secs(602));
            // Those of the first seconds have made room.
            assert_eq!(told.is_some(), last < 10 + 61 + 2, "{last}");
        }
    }
}
