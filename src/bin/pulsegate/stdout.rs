//! Standard output as an event consumer. Its end affects no device and no other consumer.

use std::io::{self, IsTerminal};
use std::time::Duration;

use log::warn;
use pulsegate::{ConnectionId, Context, StreamEnd};

use crate::events::{Consumer, Unsent};

/// Standard output, and the number of events that it has missed.
#[derive(Debug, Default)]
pub(crate) struct Stdout {
    state: State,
    /// Standard output stays open while the configuration wants no events. A second stream would not know the queued bytes
    /// of the first, and would write into the middle of a line.
    muted: bool,
    /// Events that the gateway dropped because standard output was closed.
    missed: u64,
    /// The number of missed events and the uptime at the last warning.
    warned: (u64, Duration),
}

/// Whether events can go to standard output.
#[derive(Debug, Default)]
enum State {
    /// The gateway has not opened it.
    #[default]
    Unused,
    Open(Consumer),
    /// The reader has ended, or a write has failed permanently.
    Closed,
}

/// The interval of warnings while standard output is closed.
const WARN_EVERY: Duration = Duration::from_secs(600);

impl Stdout {
    /// Sends events to `stream`, which is standard output. A `missed` event with the number comes first.
    pub(crate) fn open(&mut self, stream: ConnectionId) {
        self.state = State::Open(Consumer::behind(stream, self.missed, io::stdout().is_terminal()));
    }

    /// Whether events go to standard output.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether its reader has ended.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether the configuration wants no events on it.
    pub(crate) fn mute(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Returns its stream, while it is open.
    pub(crate) fn stream(&self) -> Option<ConnectionId> {
        match &self.state {
            State::Open(consumer) => Some(consumer.stream),
            _ => None,
        }
    }

    /// Returns the consumer for the next event. `missed` counts the event if standard output is closed.
    pub(crate) fn consumer(&mut self, missed: &mut u64) -> Option<&mut Consumer> {
        match &mut self.state {
            State::Open(consumer) => Some(consumer).filter(|_| !self.muted),
            State::Closed if !self.muted => {
                self.missed += 1;
                *missed += 1;
                None
            }
            _ => None,
        }
    }

    /// Handles an empty send queue.
    pub(crate) fn drained(&mut self, gateway: &mut Context<'_>) {
        if let State::Open(consumer) = &mut self.state {
            consumer.catch_up(gateway);
        }
    }

    /// Handles the end of the stream. Returns the number of events in its queued bytes `unsent`.
    pub(crate) fn closed(&mut self, end: StreamEnd, unsent: &[u8], uptime: Duration) -> u64 {
        let unsent = Unsent::of(unsent);
        if let State::Open(consumer) = std::mem::replace(&mut self.state, State::Closed) {
            self.missed = unsent.events + unsent.reported + consumer.missed();
        }
        let why = match end {
            StreamEnd::Failed(error) => error.to_string(),
            StreamEnd::Closed => "closed".into(),
        };
        warn!("no more events go to standard output: {why}. The gateway counts them as missed");
        self.warned = (self.missed, uptime);
        unsent.events
    }

    /// Warns every ten minutes while standard output is closed and events are missed. Returns whether it has warned.
    pub(crate) fn warn_again(&mut self, uptime: Duration) -> bool {
        let (missed, at) = self.warned;
        let due = self.is_closed() && self.missed > missed && uptime.saturating_sub(at) >= WARN_EVERY;
        if due {
            self.warned = (self.missed, uptime);
            warn!("{}", self.status());
        }
        due
    }

    /// Returns its state as a sentence.
    pub(crate) fn status(&self) -> String {
        format!("standard output is closed, {} events missed since", self.missed)
    }

    /// Returns its state as a word for `stats`, and the number of events that it has missed.
    pub(crate) fn figures(&self) -> (&'static str, u64) {
        let word = match self.state {
            State::Closed => "closed",
            State::Open(_) if !self.muted => "open",
            _ => "none",
        };
        (word, self.missed)
    }
}

#[cfg(test)]
mod tests {
    use pulsegate::Errno;

    use super::*;

    #[test]
    fn a_closed_standard_output_is_warned_of_every_ten_minutes_while_events_are_missed() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let (mut stdout, mut missed) = (Stdout::default(), 0);
        stdout.open(ConnectionId::from_u64(1).expect("an id"));
        missed += stdout.closed(StreamEnd::Failed(Errno(32)), b"{}\n", minutes(5));
        assert!(!stdout.warn_again(minutes(20)), "no event was missed since the first warning");
        assert!(stdout.consumer(&mut missed).is_none());
        assert!(!stdout.warn_again(minutes(14)) && stdout.warn_again(minutes(15)) && !stdout.warn_again(minutes(16)));
        assert_eq!((missed, stdout.figures()), (2, ("closed", 2)));
        stdout.mute(true);
        assert!(stdout.consumer(&mut missed).is_none());
        assert_eq!(missed, 2, "an event that the configuration does not want counts as missed");
    }
}
