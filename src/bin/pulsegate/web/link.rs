//! One connection to the control socket of a gateway, without the socket: lines in, requests out.

use std::time::{Duration, Instant};

use pulsegate::ConnectionId;
use pulsegate::unstable::endpoint::Outbox;
use serde_json::Value;

/// Bytes of one line from the gateway. An event holds an object, and limits.object_bytes_max may be raised.
const LINE_BYTES_MAX: usize = 16 << 20;
/// The first and the longest pause between two attempts to connect.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(4)];

/// A connection that is up, or the next attempt.
#[derive(Debug)]
pub(super) enum Link {
    Up(Up),
    Down { error: String, pause: Duration, retry_at: Instant },
}

/// A connection that is up.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) id: ConnectionId,
    pub(super) queue: Outbox,
    /// A line whose end has not come.
    partial: Vec<u8>,
}

impl Link {
    /// A link that connects at once.
    pub(super) fn new(now: Instant) -> Self {
        Self::Down { error: "the first attempt is under way".into(), pause: PAUSES[0], retry_at: now }
    }

    pub(super) fn up(&mut self) -> Option<&mut Up> {
        match self {
            Self::Up(up) => Some(up),
            Self::Down { .. } => None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }

    /// When the next attempt is due.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        match self {
            Self::Up(_) => None,
            Self::Down { retry_at, .. } => Some(*retry_at),
        }
    }

    pub(super) fn connected(&mut self, id: ConnectionId) {
        *self = Self::Up(Up { id, queue: Outbox::default(), partial: Vec::new() });
    }

    /// The connection broke or did not come up. Each failure in a row doubles the pause.
    pub(super) fn failed(&mut self, error: String, now: Instant) {
        let pause = match self {
            Self::Up(_) => PAUSES[0],
            Self::Down { pause, .. } => (*pause * 2).min(PAUSES[1]),
        };
        *self = Self::Down { error, pause, retry_at: now + pause };
    }
}

impl Up {
    /// Queues a request.
    pub(super) fn send(&mut self, request: &Value) {
        self.queue.push(format!("{request}\n").as_bytes());
    }

    /// Cuts bytes into lines.
    ///
    /// # Errors
    /// If a line has more than 16 MiB, after which nothing of the connection is of use.
    pub(super) fn receive(&mut self, bytes: &[u8], mut on_line: impl FnMut(&str)) -> Result<(), &'static str> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, behind) = rest.split_at(end);
            rest = &behind[1..];
            match self.partial.is_empty() {
                true => std::str::from_utf8(line).into_iter().for_each(&mut on_line),
                false => {
                    self.partial.extend_from_slice(line);
                    std::str::from_utf8(&self.partial).into_iter().for_each(&mut on_line);
                    // A picture's memory is not kept for the next line.
                    self.partial = Vec::new();
                }
            }
        }
        if self.partial.len() + rest.len() > LINE_BYTES_MAX {
            return Err("the gateway sent a line of more than 16 MiB");
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_the_bytes_are_cut() {
        let bytes = b"{\"a\":1}\n\n{\"b\":\"\xc3\xa4\"}\n{\"c\"";
        for cut in 1..bytes.len() {
            let mut up = Up { id: ConnectionId::new(0, 0), queue: Outbox::default(), partial: Vec::new() };
            let mut lines = Vec::new();
            bytes.chunks(cut).for_each(|part| up.receive(part, |line| lines.push(line.to_owned())).unwrap());
            assert_eq!(lines, ["{\"a\":1}", "", "{\"b\":\"ä\"}"], "{cut}");
            assert_eq!(up.partial, b"{\"c\"");
        }
    }
}
