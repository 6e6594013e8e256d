//! The live status: one line that is rewritten in place on a terminal, or a plain line every 5 s.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use pulsegate::ByteSize;

use crate::human;
use crate::tally::Tally;
use crate::timeline::Sample;

/// Writes to standard error, because standard output is for the report.
pub(crate) struct Status {
    terminal: bool,
    /// The time of the next line. `None` with `--quiet`.
    next: Option<Instant>,
    duration: Duration,
}

impl Status {
    pub(crate) fn new(quiet: bool, duration: Duration, now: Instant) -> Self {
        let terminal = io::stderr().is_terminal();
        let next = (!quiet).then(|| if terminal { now } else { now + PLAIN_INTERVAL });
        Self { terminal, next, duration }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Prints the status if a line is due. `sample` is the latest.
    pub(crate) fn show(&mut self, passed: Duration, sample: &Sample, tally: &Tally, now: Instant) {
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        let line = line(passed, self.duration, sample, tally, self.terminal);
        let mut stderr = io::stderr().lock();
        // A failed write does not end the run.
        let _ = if self.terminal {
            // Line wrapping is off, because a wrapped line cannot be rewritten.
            write!(stderr, "\r\x1b[?7l{line}\x1b[K\x1b[?7h").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "{line}")
        };
        self.next = Some(now + if self.terminal { LIVE_INTERVAL } else { PLAIN_INTERVAL });
    }

    /// Replaces the live line by `what`.
    pub(crate) fn print(&self, what: &str) {
        if self.next.is_some() && self.terminal {
            let _ = write!(io::stderr(), "\r{what}\x1b[K").and_then(|()| io::stderr().flush());
        }
    }

    /// Removes the live line.
    pub(crate) fn clear(&self) {
        if self.next.is_some() && self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

const LIVE_INTERVAL: Duration = Duration::from_millis(250);
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

fn line(passed: Duration, duration: Duration, sample: &Sample, tally: &Tally, bar: bool) -> String {
    let share = (passed.as_secs_f64() / duration.as_secs_f64()).min(1.0);
    let (passed, whole) = (human::clock(passed.as_secs_f64()), human::clock(duration.as_secs_f64()));
    let progress = if bar {
        const WIDTH: usize = 12;
        let full = (share * WIDTH as f64) as usize;
        format!("{passed} ▕{}{}▏{whole}", "█".repeat(full), "·".repeat(WIDTH - full))
    } else {
        format!("{passed}/{whole}")
    };
    let cuts = tally.cuts().0 + tally.cuts().1;
    let round_trip = match (sample.round_trip_p50_us, sample.round_trip_p99_us) {
        (Some(p50), Some(p99)) => format!("  rtt p50 {} p99 {}", human::micros(p50), human::micros(p99)),
        _ => String::new(),
    };
    format!(
        "{progress}  up {}  connecting {}  cut {}  {} msg/s  {}/s  {} beats/s{round_trip}",
        human::count(tally.up.into()),
        human::count(tally.connecting.into()),
        human::count(cuts),
        human::rate(sample.messages_per_s),
        ByteSize(sample.bytes_per_s as u64),
        human::rate(sample.beats_per_s),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_has_progress_connections_and_rates() {
        let mut tally = Tally::new();
        (tally.up, tally.connecting) = (1500, 3);
        let sample = Sample {
            messages_per_s: 2400.4,
            bytes_per_s: 9.1e6,
            beats_per_s: 750.0,
            round_trip_p50_us: Some(210),
            round_trip_p99_us: Some(1300),
            ..Sample::default()
        };
        let (passed, duration) = (Duration::from_secs(30), Duration::from_secs(60));
        assert_eq!(
            line(passed, duration, &sample, &tally, true),
            "00:30 ▕██████······▏01:00  up 1,500  connecting 3  cut 0  2,400 msg/s  8.6 MiB/s  750 beats/s  \
             rtt p50 210 µs p99 1.30 ms"
        );
        assert!(line(passed, duration, &Sample::default(), &tally, false).starts_with("00:30/01:00  up 1,500"));
    }
}
