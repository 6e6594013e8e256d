//! The log of connections and limits, which no peer can fill.
//!
//! The log counts repeated lines about one address instead of writing them. A rate limits all lines together. At the level
//! `debug` it writes every line.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use log::{Level, LevelFilter, debug, log};

use super::handler::{CloseReason, Device, Disconnect, Refusal};
use crate::tick::Tick;

/// The topic of a line. The log counts repeated lines with one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    Connected(IpAddr),
    Gone(IpAddr, &'static str),
    Refused(IpAddr, Refusal),
    Limit(&'static str),
    Nameless(IpAddr),
    Conflict(IpAddr),
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(ip) => write!(f, "device from {ip} connected"),
            Self::Gone(ip, reason) => write!(f, "device from {ip} gone: {reason}"),
            Self::Refused(ip, refusal) => write!(f, "device from {ip} refused: {refusal}"),
            Self::Limit(limit) => write!(f, "limit reached: {limit}"),
            Self::Nameless(ip) => write!(f, "device from {ip} gave no valid name"),
            Self::Conflict(ip) => write!(f, "device from {ip} shares its name with another device"),
        }
    }
}

#[derive(Debug)]
struct Entry {
    topic: Topic,
    level: Level,
    since: Tick,
    lines: u32,
    /// Counted lines since then.
    folded: u64,
}

/// Written lines with one topic within [`WINDOW`]. The log counts further ones.
const LINES_MAX: u32 = 3;
/// Ticks after which the log writes the count: 10 minutes.
const WINDOW: u32 = 6_000;
/// The maximum of topics.
const TOPICS_MAX: usize = 64;
/// The burst of lines with any topic.
const BURST: u32 = 1_000;
/// Ticks for each token of the rate limit.
const TOKEN_TICKS: u32 = 10;

/// Decides which lines to write.
#[derive(Debug)]
pub(super) struct ConnectionLog {
    entries: Vec<Entry>,
    /// Lines that may be written at once.
    tokens: u32,
    filled: Tick,
    /// Lines that the rate limit suppressed.
    left_out: u64,
    /// The time of the next [`Self::flush`].
    due: Option<Tick>,
}

/// The decision on a line.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Write,
    /// Write this line and count the next ones.
    WriteLast,
    Fold,
}

impl ConnectionLog {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), tokens: BURST, filled: Tick::default(), left_out: 0, due: None }
    }

    /// Logs a device that sent its first bytes. A connection without bytes is logged at `debug` only.
    pub(super) fn connected(&mut self, device: &Device, now: Tick) {
        let line = format_args!("device {} from {} connected", device.id(), device.address());
        self.line(Topic::Connected(device.ip()), Level::Info, now, line);
    }

    /// Logs the end of a device's connection.
    pub(super) fn gone(&mut self, device: &Device, end: &Disconnect, now: Tick) {
        use CloseReason::{Conflict, Faulty, Framing, Memory, Silent, Stalled};
        let reason = end.reason;
        let is_fault = matches!(reason, Silent | Framing(..) | Faulty | Stalled | Memory | Conflict);
        let line = format_args!("device {} from {} gone: {reason}", device.id(), device.address());
        if device.bytes() == 0 && !matches!(reason, Framing(..)) {
            return debug!("{line}");
        }
        let level = if is_fault { Level::Warn } else { Level::Info };
        self.line(Topic::Gone(device.ip(), reason.as_str()), level, now, line);
    }

    /// Logs a refused connection.
    pub(super) fn refused(&mut self, from: SocketAddr, refusal: Refusal, now: Tick) {
        let line = format_args!("device from {from} refused: {refusal}");
        self.line(Topic::Refused(from.ip(), refusal), Level::Warn, now, line);
    }

    /// Logs an identity member without a valid name.
    pub(super) fn nameless(&mut self, device: &Device, now: Tick) {
        let line = format_args!("device {} from {} gave no valid name", device.id(), device.address());
        self.line(Topic::Nameless(device.ip()), Level::Warn, now, line);
    }

    /// Logs two devices with one name. The device that keeps the name has the address `ip`.
    pub(super) fn conflict(&mut self, ip: IpAddr, line: fmt::Arguments<'_>, now: Tick) {
        self.line(Topic::Conflict(ip), Level::Warn, now, line);
    }

    /// Logs a reached limit by its key.
    pub(super) fn limit(&mut self, limit: &'static str, now: Tick) {
        let topic = Topic::Limit(limit);
        self.line(topic, Level::Warn, now, format_args!("{topic}"));
    }

    fn line(&mut self, topic: Topic, level: Level, now: Tick, line: fmt::Arguments<'_>) {
        if level > log::max_level() {
            return;
        }
        if log::max_level() >= LevelFilter::Debug {
            return log!(level, "{line}");
        }
        match self.verdict(topic, level, now) {
            Verdict::Write => log!(level, "{line}"),
            Verdict::WriteLast => log!(level, "{line} (the log counts more of these for 10 minutes)"),
            Verdict::Fold => {}
        }
    }

    fn verdict(&mut self, topic: Topic, level: Level, now: Tick) -> Verdict {
        let known = self.entries.iter_mut().find(|entry| entry.topic == topic);
        let Some(entry) = known else {
            self.remember(Entry { topic, level, since: now, lines: 1, folded: 0 }, now);
            return self.spend(now, Verdict::Write);
        };
        if entry.lines >= LINES_MAX {
            entry.folded += 1;
            let over = entry.since.after(WINDOW).max(now);
            self.due = Some(self.due.map_or(over, |due| due.min(over)));
            return Verdict::Fold;
        }
        entry.lines += 1;
        let verdict = if entry.lines == LINES_MAX { Verdict::WriteLast } else { Verdict::Write };
        self.spend(now, verdict)
    }

    /// Adds a topic. If there is no place, it replaces the oldest topic without counted lines.
    fn remember(&mut self, entry: Entry, now: Tick) {
        if self.entries.len() < TOPICS_MAX {
            return self.entries.push(entry);
        }
        let written = self.entries.iter_mut().filter(|known| known.folded == 0);
        if let Some(oldest) = written.max_by_key(|known| now.since(known.since)) {
            *oldest = entry;
        }
    }

    fn spend(&mut self, now: Tick, verdict: Verdict) -> Verdict {
        let gained = now.since(self.filled) / TOKEN_TICKS;
        self.tokens = self.tokens.saturating_add(gained).min(BURST);
        self.filled = self.filled.after(gained * TOKEN_TICKS);
        if self.tokens == 0 {
            self.left_out += 1;
            self.due.get_or_insert(now.after(WINDOW));
            return Verdict::Fold;
        }
        self.tokens -= 1;
        verdict
    }

    /// Writes the counts whose window is over.
    pub(super) fn flush(&mut self, now: Tick) {
        if self.due.is_some_and(|due| due <= now) {
            self.counts(now).into_iter().for_each(|(level, line)| log!(level, "{line}"));
        }
    }

    fn counts(&mut self, now: Tick) -> Vec<(Level, String)> {
        let over = |entry: &Entry| now.since(entry.since) >= WINDOW;
        let folded = self.entries.iter().filter(|entry| over(entry) && entry.folded > 0);
        let line = |entry: &Entry| (entry.level, format!("{} more times in 10 minutes: {}", entry.folded, entry.topic));
        let mut lines: Vec<_> = folded.map(line).collect();
        self.entries.retain(|entry| !over(entry));
        if self.left_out > 0 {
            let left_out = std::mem::take(&mut self.left_out);
            lines.push((Level::Warn, format!("{left_out} lines about connections suppressed, see 'pulsegate stats'")));
        }
        self.due = self.entries.iter().filter(|entry| entry.folded > 0).map(|entry| entry.since.after(WINDOW)).min();
        lines
    }

    /// Returns the time of the next [`Self::flush`], or `None` without counted lines.
    pub(super) fn due(&self) -> Option<Tick> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn repetitions_of_one_address_become_a_count() {
        let mut log = ConnectionLog::new();
        let topic = Topic::Refused(ip(7), Refusal::AddressDenied);
        let mut written = 0;
        for tick in 0..50_000 {
            written += usize::from(log.verdict(topic, Level::Warn, Tick::new(tick / 10)) != Verdict::Fold);
        }
        assert_eq!(written, 3);
        assert_eq!(log.verdict(Topic::Connected(ip(7)), Level::Info, Tick::new(5_000)), Verdict::Write);
        assert_eq!(log.due(), Some(Tick::new(6_000)));
        let line = "49997 more times in 10 minutes: device from 192.0.2.7 refused: address_denied";
        assert_eq!(log.counts(Tick::new(6_000)), [(Level::Warn, line.to_owned())]);
        assert_eq!(log.due(), None, "nothing wakes the loop for nothing");
        assert_eq!(log.verdict(topic, Level::Warn, Tick::new(6_001)), Verdict::Write);
    }

    #[test]
    fn many_addresses_cannot_fill_the_log_either() {
        let mut log = ConnectionLog::new();
        let from = |number: u32| Topic::Gone(IpAddr::from(number.to_be_bytes()), "framing");
        let now = |number: u32| Tick::new(number / 100);
        let written = (0..100_000).filter(|&n| log.verdict(from(n), Level::Warn, now(n)) != Verdict::Fold).count();
        assert!(written as u32 <= BURST + 100, "{written} lines in 100 s");
        assert!(log.entries.len() <= TOPICS_MAX);
        let line = format!("{} lines about connections suppressed, see 'pulsegate stats'", 100_000 - written);
        assert_eq!(log.counts(log.due().unwrap()), [(Level::Warn, line)]);
    }
}
