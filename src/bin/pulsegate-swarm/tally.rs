//! Counters and histograms of a run.

use hdrhistogram::Histogram;
use pulsegate::{Counters, Errno};

use crate::faults::Fault;

/// A histogram of microseconds, from 1 µs to two minutes, with three significant digits.
pub(crate) type Micros = Histogram<u32>;

/// An empty histogram.
pub(crate) fn micros() -> Micros {
    Histogram::new_with_bounds(1, 120_000_000, 3).expect("these bounds are valid")
}

pulsegate::closed_list! {
    /// The cause of a failed dial or of the end of a connection.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Cause {
        /// The gateway closed the connection.
        Closed => "closed",
        /// The gateway reset the connection.
        Reset => "reset",
        /// No program listens at the address.
        Refused => "refused",
        /// The dial got no answer.
        TimedOut => "timed_out",
        /// No source address or port was free.
        NoAddress => "no_address",
        /// The process was out of file descriptors.
        NoDescriptor => "no_descriptor",
        /// Any other error.
        Other => "other",
    }
}

impl Cause {
    pub(crate) fn of_error(error: Errno) -> Self {
        use std::io::ErrorKind;
        // `ErrorKind` has no value for EMFILE and ENFILE.
        if matches!(error.0, 23 | 24) {
            return Self::NoDescriptor;
        }
        match std::io::Error::from_raw_os_error(error.0).kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => Self::Reset,
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse => Self::NoAddress,
            _ => Self::Other,
        }
    }
}

/// One counter for each cause.
pub(crate) type Causes = Counters<Cause>;

/// Counters of the whole run. None of them decreases, except `up` and `connecting`.
pub(crate) struct Tally {
    pub(crate) dials: u64,
    pub(crate) connects: u64,
    /// Connections of devices that had a connection before.
    pub(crate) reconnects: u64,
    pub(crate) failed_dials: Causes,
    /// Each different error of a dial or a connection, once.
    pub(crate) errors: Vec<Errno>,
    /// Connections of healthy devices that ended before the end of the run.
    pub(crate) healthy_cuts: Causes,
    /// The same for faulty devices, by fault.
    pub(crate) faulty_cuts: Counters<Fault, Causes>,
    /// Connections that devices reset by their fault. They are no cuts, because the gateway did not end them.
    pub(crate) own_resets: Counters<Fault>,
    pub(crate) up: u32,
    pub(crate) up_max: u32,
    pub(crate) connecting: u32,
    /// Complete objects, each of which a gateway passes to its application.
    pub(crate) messages: Messages,
    /// Reports that were skipped because the previous one was still queued.
    pub(crate) skipped: u64,
    /// Objects and other bytes that no gateway accepts.
    pub(crate) garbage: u64,
    /// Heartbeat answers without a beat.
    pub(crate) spam: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) beats: u64,
    pub(crate) answers: u64,
    pub(crate) echoes: u64,
    pub(crate) echo_answers: u64,
    pub(crate) connect_us: Micros,
    pub(crate) beat_error_us: Micros,
    pub(crate) round_trip_us: Micros,
    /// Round trips since the last sample.
    pub(crate) recent_us: Micros,
}

/// Objects sent, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Messages {
    pub(crate) project: u64,
    pub(crate) performance: u64,
    pub(crate) status: u64,
    pub(crate) picture: u64,
}

impl Messages {
    pub(crate) fn total(&self) -> u64 {
        self.project + self.performance + self.status + self.picture
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            dials: 0,
            connects: 0,
            reconnects: 0,
            failed_dials: Causes::default(),
            errors: Vec::new(),
            healthy_cuts: Causes::default(),
            faulty_cuts: Counters::default(),
            own_resets: Counters::default(),
            up: 0,
            up_max: 0,
            connecting: 0,
            messages: Messages::default(),
            skipped: 0,
            garbage: 0,
            spam: 0,
            bytes_sent: 0,
            bytes_received: 0,
            beats: 0,
            answers: 0,
            echoes: 0,
            echo_answers: 0,
            connect_us: micros(),
            beat_error_us: micros(),
            round_trip_us: micros(),
            recent_us: micros(),
        }
    }

    /// Counts a cut connection.
    pub(crate) fn cut(&mut self, fault: Option<Fault>, cause: Cause) {
        let causes = match fault {
            None => &mut self.healthy_cuts,
            Some(fault) => &mut self.faulty_cuts[&fault],
        };
        causes[&cause] += 1;
    }

    /// The cut connections of healthy devices, and of faulty devices.
    pub(crate) fn cuts(&self) -> (u64, u64) {
        (self.healthy_cuts.total(), self.faulty_cuts.values().iter().map(Causes::total).sum())
    }

    pub(crate) fn error(&mut self, error: Errno) {
        // The kernel has few error numbers, so the list stays short.
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    pub(crate) fn round_trip(&mut self, micros: u32) {
        self.echo_answers += 1;
        self.round_trip_us.saturating_record(u64::from(micros));
        self.recent_us.saturating_record(u64::from(micros));
    }
}
