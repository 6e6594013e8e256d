//! The newest events, kept once for all pages that follow them.
//!
//! A follower is a position in the ring. A follower that falls behind the oldest event gets the number of events that it
//! missed. So a page that never reads costs nothing but its connection.

use std::collections::VecDeque;
use std::net::IpAddr;

use pulsegate::Target;
use serde::Deserialize;

/// One line of the gateway's events.
#[derive(Debug)]
pub(super) struct Event {
    /// Its number since the gateway started. `missed` has none.
    seq: Option<u64>,
    line: Box<str>,
    conn: Option<u64>,
    address: Option<(IpAddr, u16)>,
    name: Option<Box<str>>,
    kind: Option<Box<str>>,
}

/// The members of a line that filters use. The object of a device is not parsed.
#[derive(Deserialize)]
struct Members<'a> {
    seq: Option<u64>,
    conn: Option<u64>,
    ip: Option<IpAddr>,
    port: Option<u16>,
    #[serde(borrow)]
    name: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Option<std::borrow::Cow<'a, str>>,
}

impl Event {
    fn new(line: &str) -> Option<Self> {
        let members: Members<'_> = serde_json::from_str(line).ok()?;
        Some(Self {
            seq: members.seq,
            line: line.into(),
            conn: members.conn,
            address: members.ip.map(|ip| (ip, members.port.unwrap_or(0))),
            name: members.name.map(|name| name.into_owned().into_boxed_str()),
            kind: members.kind.map(|kind| kind.into_owned().into_boxed_str()),
        })
    }

    /// The cost in bytes: the line and the record.
    fn cost(&self) -> usize {
        self.line.len() + size_of::<Self>() + 64
    }

    /// The event of a stream of events, with `boot.seq` as its id.
    pub(super) fn write(&self, boot: &str, out: &mut Vec<u8>) {
        if let Some(seq) = self.seq {
            out.extend_from_slice(format!("id: {boot}.{seq}\n").as_bytes());
        }
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(self.line.as_bytes());
        out.extend_from_slice(b"\n\n");
    }
}

/// Which events a page follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) kind: Option<String>,
    pub(super) device: Option<Target>,
}

impl Filter {
    /// # Errors
    /// A sentence on what is no device.
    pub(super) fn new(kind: Option<&str>, device: Option<&str>) -> Result<Self, String> {
        let device = device.filter(|text| !text.is_empty());
        let device = device.map(|text| text.parse().map_err(|error| format!("invalid device '{text}': {error}")));
        Ok(Self { kind: kind.filter(|kind| !kind.is_empty()).map(str::to_owned), device: device.transpose()? })
    }

    fn wants(&self, event: &Event) -> bool {
        // A `missed` event may stand for any kind and device.
        if event.seq.is_none() && event.conn.is_none() {
            return true;
        }
        let of_kind = self.kind.as_deref().is_none_or(|kind| event.kind.as_deref() == Some(kind));
        of_kind
            && match &self.device {
                None => true,
                Some(Target::Name(name)) => event.name.as_deref() == Some(name.as_str()),
                Some(Target::Id(id)) => event.conn == Some(id.get()),
                Some(Target::Address(address)) => event.address == Some((address.ip(), address.port())),
                Some(Target::Ip(ip)) => event.address.is_some_and(|(from, _)| from == *ip),
            }
    }
}

/// The ring.
#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Event>,
    bytes: usize,
    bytes_max: usize,
    /// The position of the oldest event that is kept.
    first: u64,
    boot: String,
}

impl Ring {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { events: VecDeque::new(), bytes: 0, bytes_max, first: 0, boot: String::new() }
    }

    /// The run of the gateway that events come from. Numbers of another run mean nothing.
    pub(super) fn set_boot(&mut self, boot: &str) {
        if self.boot != boot {
            self.first = self.end();
            self.events.clear();
            self.bytes = 0;
            boot.clone_into(&mut self.boot);
        }
    }

    /// The last event that is known, for the gateway to resume behind it.
    pub(super) fn last(&self) -> Option<(&str, u64)> {
        self.events.iter().rev().find_map(|event| event.seq).map(|seq| (self.boot.as_str(), seq))
    }

    /// Keeps a line. The oldest ones go when there is no room.
    pub(super) fn push(&mut self, line: &str) {
        let Some(event) = Event::new(line) else { return };
        self.bytes += event.cost();
        self.events.push_back(event);
        while self.bytes > self.bytes_max && self.events.len() > 1 {
            self.bytes -= self.events.pop_front().map_or(0, |event| event.cost());
            self.first += 1;
        }
    }

    /// The position behind the newest event.
    pub(super) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// Returns the position behind the event `id`, which is `boot.seq`, and the number of events that are gone between.
    /// An `id` of another run of the gateway is behind none of these events.
    pub(super) fn position_behind(&self, id: &str) -> (u64, u64) {
        let seen = id.rsplit_once('.').filter(|(boot, _)| *boot == self.boot).and_then(|(_, seq)| seq.parse().ok());
        let Some(seen) = seen else { return (self.first, 0) };
        let behind = |event: &&Event| event.seq.is_none_or(|seq| seq <= seen);
        let skipped = self.events.iter().take_while(behind).count() as u64;
        let oldest = self.events.iter().find_map(|event| event.seq).unwrap_or(u64::MAX);
        let gone = if skipped == 0 && oldest != u64::MAX { oldest.saturating_sub(seen + 1) } else { 0 };
        (self.first + skipped, gone)
    }

    /// Writes wanted events from `position` on until `out` holds `bytes_max`, and gives the new position. Events that
    /// are gone are written as `missed`.
    pub(super) fn write(&self, mut position: u64, filter: &Filter, bytes_max: usize, out: &mut Vec<u8>) -> u64 {
        if position < self.first {
            missed(self.first - position, out);
            position = self.first;
        }
        while out.len() < bytes_max {
            let Some(event) = self.events.get((position - self.first) as usize) else { break };
            if filter.wants(event) {
                event.write(&self.boot, out);
            }
            position += 1;
        }
        position
    }
}

/// Writes a line that says how many events are gone.
pub(super) fn missed(events: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("data: {{\"event\":\"missed\",\"events\":{events}}}\n\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, kind: &str) -> String {
        format!(
            r#"{{"event":"message","seq":{seq},"conn":7,"ip":"192.0.2.7","port":9,"type":"{kind}","data":{{"Type":"{kind}"}}}}"#
        )
    }

    fn written(ring: &Ring, position: u64, filter: &Filter) -> (String, u64) {
        let mut out = Vec::new();
        let position = ring.write(position, filter, usize::MAX, &mut out);
        (String::from_utf8(out).unwrap(), position)
    }

    #[test]
    fn a_follower_gets_each_event_once_and_learns_what_is_gone() {
        let cost = Event::new(&line(1, "Status")).unwrap().cost();
        let mut ring = Ring::new(3 * cost);
        ring.set_boot("abc");
        (1..=5).for_each(|seq| ring.push(&line(seq, "Status")));
        let (text, position) = written(&ring, 0, &Filter::default());
        assert!(text.starts_with("data: {\"event\":\"missed\",\"events\":2}\n\nid: abc.3\ndata: "), "{text}");
        assert_eq!((text.matches("id: ").count(), position), (3, 5));
        assert_eq!(written(&ring, position, &Filter::default()), (String::new(), 5));
    }

    #[test]
    fn a_page_goes_on_behind_the_last_event_that_it_has_seen() {
        let cost = Event::new(&line(1, "Status")).unwrap().cost();
        let mut ring = Ring::new(4 * cost);
        ring.set_boot("abc");
        (1..=9).for_each(|seq| ring.push(&line(seq, "Status")));
        assert_eq!(ring.position_behind("abc.7"), (7, 0));
        assert_eq!(ring.position_behind("abc.9"), (9, 0));
        assert_eq!(ring.position_behind("abc.3"), (5, 2), "4 and 5 are gone");
        assert_eq!(ring.position_behind("other.3"), (5, 0), "another run");
        assert_eq!(ring.position_behind("nonsense"), (5, 0));
    }

    #[test]
    fn a_filter_passes_one_type_or_one_device() {
        let mut ring = Ring::new(1 << 20);
        ring.push(&line(1, "Status"));
        ring.push(&line(2, "Project"));
        ring.push(r#"{"event":"missed","events":4}"#);
        let count = |kind, device| written(&ring, 0, &Filter::new(kind, device).unwrap()).0.matches("data: ").count();
        assert_eq!(count(None, None), 3);
        assert_eq!(count(Some("Status"), None), 2, "missed events may have had any type");
        assert_eq!(count(None, Some("192.0.2.7")), 3);
        assert_eq!(count(None, Some("192.0.2.7:9")), 3);
        assert_eq!(count(None, Some("#8")), 1);
        assert_eq!(count(None, Some("@pump")), 1);
        assert!(Filter::new(None, Some("x")).is_err());
    }
}
