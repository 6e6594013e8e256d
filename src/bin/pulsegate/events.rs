//! Events as JSON Lines, and their consumers.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::SocketAddr;
use std::time::SystemTime;

use pulsegate::{
    CloseReason, CommandEnd, CommandReport, ConnectionId, Context, Device, Disconnect, Message, MessageError, Name,
    Refusal, Target,
};

use crate::terminal;

/// Formats events, one at a time, in a reused buffer.
#[derive(Default)]
pub(crate) struct EventLine {
    line: Vec<u8>,
    seq: u64,
}

impl EventLine {
    /// Sets the number of the next event.
    pub(crate) fn numbered(&mut self, seq: u64) -> &mut Self {
        self.seq = seq;
        self
    }

    /// `{"event":"listening"…}` with the word of this run and the addresses.
    pub(crate) fn listening(&mut self, boot: Boot, tcp: Option<SocketAddr>, udp: Option<SocketAddr>) -> &[u8] {
        self.begin("listening");
        self.text("boot", &boot.to_string());
        for (name, address) in [("tcp", tcp), ("udp", udp)] {
            if let Some(address) = address {
                self.text(name, &address.to_string());
            }
        }
        self.end()
    }

    /// `{"event":"connect"…}`
    pub(crate) fn connect(&mut self, device: &Device) -> &[u8] {
        self.begin("connect");
        self.device(device);
        self.end()
    }

    /// `{"event":"message"…}` with the object as the device sent it, with spaces for line ends.
    pub(crate) fn message(&mut self, device: &Device, message: &Message<'_>) -> &[u8] {
        self.begin("message");
        self.device(device);
        self.text("type", message.type_name());
        append_data(&mut self.line, message);
        self.end()
    }

    /// `{"event":"identified"…}`
    pub(crate) fn identified(&mut self, device: &Device) -> &[u8] {
        self.begin("identified");
        self.device(device);
        self.end()
    }

    /// `{"event":"command"…}` with the end of a command. A command that was refused is lost.
    pub(crate) fn command(&mut self, report: &CommandReport<'_>) -> &[u8] {
        self.begin("command");
        if let Some((id, address)) = report.device {
            self.put(format_args!(r#","conn":{id},"ip":"{}","port":{}"#, address.ip(), address.port()));
        }
        if let Some(name) = &report.name {
            self.text("name", name);
        }
        self.number("command", report.command);
        match report.end {
            CommandEnd::Lost(reason) => {
                self.text("state", "lost");
                self.text("reason", reason.as_str());
            }
            CommandEnd::Refused(error) => {
                self.text("state", "lost");
                self.text("detail", &error.to_string());
            }
            end => self.text("state", end.as_str()),
        }
        self.end()
    }

    /// `{"event":"rejected"…}`
    pub(crate) fn rejected(&mut self, device: &Device, error: &MessageError) -> &[u8] {
        self.begin("rejected");
        self.device(device);
        self.text("reason", error.reason.as_str());
        self.number("offset", error.offset);
        self.text("detail", error.detail);
        self.text("near", &error.near.to_string());
        self.end()
    }

    /// `{"event":"disconnect"…}`
    pub(crate) fn disconnect(&mut self, device: &Device, end: &Disconnect) -> &[u8] {
        self.begin("disconnect");
        self.device(device);
        self.text("reason", end.reason.as_str());
        match end.reason {
            CloseReason::Framing(fault) => {
                self.text("detail", &fault.detail());
                self.number("offset", fault.offset);
                self.text("near", &fault.near.to_string());
            }
            CloseReason::Reset(error) => self.text("detail", &error.to_string()),
            CloseReason::Refused(refusal) => self.text("detail", refusal.as_str()),
            _ => {}
        }
        if let Some((offset, bytes)) = end.unfinished {
            self.number("truncated_offset", offset);
            self.number("truncated_bytes", bytes as u64);
        }
        if end.unsent > 0 {
            self.number("unsent_bytes", end.unsent as u64);
        }
        self.end()
    }

    /// `{"event":"disconnect"…,"reason":"refused"…}` of a connection that never counted as a device.
    pub(crate) fn refused(&mut self, from: SocketAddr, refusal: Refusal) -> &[u8] {
        self.begin("disconnect");
        self.text("ip", &from.ip().to_string());
        self.number("port", from.port().into());
        self.text("reason", "refused");
        self.text("detail", refusal.as_str());
        self.end()
    }

    /// `{"event":"missed"…}`
    pub(crate) fn missed(&mut self, events: u64) -> &[u8] {
        self.begin_unnumbered("missed");
        self.number("events", events);
        self.end()
    }

    fn begin(&mut self, event: &str) {
        self.begin_unnumbered(event);
        self.number("seq", self.seq);
    }

    #[expect(clippy::disallowed_methods, reason = "events are stamped with the time of day")]
    fn begin_unnumbered(&mut self, event: &str) {
        self.line.clear();
        self.line.shrink_to(LINE_KEPT);
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        self.put(format_args!(r#"{{"event":"{event}","time":"{time}""#));
    }

    fn device(&mut self, device: &Device) {
        let (id, ip, port) = (device.id(), device.ip(), device.port());
        self.put(format_args!(r#","conn":{id},"ip":"{ip}","port":{port}"#));
        if let Some(name) = device.name() {
            self.text("name", name);
        }
    }

    fn number(&mut self, name: &str, number: u64) {
        self.put(format_args!(r#","{name}":{number}"#));
    }

    fn text(&mut self, name: &str, text: &str) {
        self.put(format_args!(r#","{name}":"#));
        // A write into a `Vec` cannot fail, and every string can become JSON.
        let _ = serde_json::to_writer(&mut self.line, text);
    }

    fn end(&mut self) -> &[u8] {
        self.line.extend_from_slice(b"}\n");
        &self.line
    }

    fn put(&mut self, text: fmt::Arguments<'_>) {
        // A write into a `Vec` cannot fail.
        let _ = self.line.write_fmt(text);
    }
}

/// Appends an object as the member `data`. JSON has line ends only outside strings (RFC 8259 §7), where spaces replace them.
pub(crate) fn append_data(line: &mut Vec<u8>, message: &Message<'_>) {
    line.extend_from_slice(br#","data":"#);
    let start = line.len();
    line.extend_from_slice(message.bytes());
    let mut rest = &mut line[start..];
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        rest[at] = b' ';
        rest = &mut rest[at + 1..];
    }
}

/// The capacity of the buffer between events. A picture needs more for a moment.
const LINE_KEPT: usize = 4 << 10;

/// A random word for one run of the gateway. Event numbers of two runs do not compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Boot(u64);

impl Default for Boot {
    /// The keys of a new hasher are random numbers of the system.
    fn default() -> Self {
        Self(RandomState::new().hash_one(()))
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The properties of an event that filters compare.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Subject<'a> {
    /// The connection. A refused one has no id, and `listening` is about none.
    pub(crate) device: Option<(Option<ConnectionId>, SocketAddr)>,
    /// The name of the device.
    pub(crate) name: Option<Name>,
    /// The `Type` of a message.
    pub(crate) message_type: Option<&'a str>,
}

/// The events that a consumer wants. An empty filter wants all.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) types: Vec<String>,
    pub(crate) device: Option<Target>,
}

impl Filter {
    /// Whether the consumer wants an event about `subject`.
    pub(crate) fn wants(&self, subject: &Subject<'_>) -> bool {
        let this_type = match subject.message_type {
            Some(word) => self.types.is_empty() || self.types.iter().any(|wanted| wanted == word),
            None => self.types.is_empty(),
        };
        let is_meant = |target: Target| match target {
            Target::Name(_) => subject.name.map(Target::Name) == Some(target),
            target => subject.device.is_some_and(|(id, address)| target.means(id, address)),
        };
        this_type && self.device.is_none_or(is_meant)
    }
}

/// A stream that receives events. Events that do not fit behind its queued bytes are dropped and counted.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) stream: ConnectionId,
    pub(crate) filter: Filter,
    missed: u64,
    /// Whether its lines are for a terminal.
    is_terminal: bool,
}

impl Consumer {
    pub(crate) fn new(stream: ConnectionId, filter: Filter) -> Self {
        Self { stream, filter, missed: 0, is_terminal: false }
    }

    /// A consumer of all events that has missed some already. A terminal gets no control characters.
    pub(crate) fn behind(stream: ConnectionId, missed: u64, is_terminal: bool) -> Self {
        Self { stream, filter: Filter::default(), missed, is_terminal }
    }

    /// Events that it has missed and that no `missed` line has reported.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    /// Queues a line, complete or not at all, behind a line with the number of dropped events. Returns whether it
    /// queued the line.
    pub(crate) fn put(&mut self, line: &[u8], gateway: &mut Context<'_>) -> bool {
        let escaped = self.is_terminal.then(|| String::from_utf8_lossy(line));
        let escaped = escaped.as_deref().map(terminal::visible_lines);
        let line = escaped.as_deref().map_or(line, str::as_bytes);
        let written = match self.missed {
            0 => gateway.write(self.stream, line),
            // Together, or there would be a line for each event that is left out, as long as those lines fit.
            missed => gateway.write(self.stream, &[EventLine::default().missed(missed), line].concat()),
        };
        self.missed = if written { 0 } else { self.missed + 1 };
        written
    }

    /// Reports the dropped events, if there are any and the report fits.
    pub(crate) fn catch_up(&mut self, gateway: &mut Context<'_>) {
        if self.missed > 0 && gateway.write(self.stream, EventLine::default().missed(self.missed)) {
            self.missed = 0;
        }
    }
}

/// Queued bytes that a stream has not taken, as events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsent {
    /// Events whose lines were not taken completely.
    pub(crate) events: u64,
    /// Dropped events that a `missed` line among the bytes reports.
    pub(crate) reported: u64,
}

impl Unsent {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut unsent = Self::default();
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            match missed_events(line) {
                Some(events) => unsent.reported += events,
                None => unsent.events += 1,
            }
        }
        unsent
    }
}

/// The number in a `missed` line.
fn missed_events(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line.strip_prefix(br#"{"event":"missed","#)?).ok()?;
    line.rsplit_once(':')?.1.trim_end().strip_suffix('}')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsent_bytes_count_as_the_events_that_they_stand_for() {
        let missed = EventLine::default().missed(12).to_vec();
        let bytes = [br#"end of a line"}"#, &b"\n"[..], &missed, b"{\"event\":\"message\"}\n"].concat();
        assert_eq!(Unsent::of(&bytes), Unsent { events: 2, reported: 12 });
        assert_eq!(Unsent::of(b""), Unsent::default());
    }
}
