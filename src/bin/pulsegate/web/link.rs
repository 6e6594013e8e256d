//! One connection to the control socket of a gateway, without the socket: lines in, requests out.

use std::time::{Duration, Instant};

use pulsegate::ConnectionId;
use pulsegate::unstable::endpoint::Outbox;
use serde_json::Value;

use crate::service::Lines;

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
    lines: Lines,
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
        *self = Self::Up(Up { id, queue: Outbox::default(), lines: Lines::default() });
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

    /// Takes bytes of the gateway, and passes each complete line on.
    ///
    /// # Errors
    /// If a line has more than 16 MiB, which no gateway sends.
    pub(super) fn receive(&mut self, bytes: &[u8], mut on_line: impl FnMut(&str)) -> Result<(), &'static str> {
        let mut is_good = true;
        self.lines.feed(bytes, LINE_BYTES_MAX, |line| match line {
            Some(line) => std::str::from_utf8(line).into_iter().for_each(&mut on_line),
            None => is_good = false,
        });
        is_good.then_some(()).ok_or("the gateway sent a line of more than 16 MiB")
    }
}
