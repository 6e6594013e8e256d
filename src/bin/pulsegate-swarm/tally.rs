//! What is counted and measured while the fleet runs.

use hdrhistogram::Histogram;
use pulsegate::{Counters, Errno};

use crate::faults::Fault;

/// A histogram of microseconds: from 1 µs to two minutes, to three digits.
pub(crate) type Micros = Histogram<u32>;

/// An empty histogram.
pub(crate) fn micros() -> Micros {
    Histogram::new_with_bounds(1, 120_000_000, 3).expect("these bounds are valid")
}

pulsegate::closed_list! {
    /// Why a dial failed or a connection ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Cause {
        /// The gateway closed it.
        Closed => "closed",
        /// The gateway reset it.
        Reset => "reset",
        /// Nobody listens there.
        Refused => "refused",
        /// No answer came.
        TimedOut => "timed_out",
        /// No address or port was left to dial from.
        NoAddress => "no_address",
        /// No descriptor was left.
        NoDescriptor => "no_descriptor",
        /// Any other error.
        Other => "other",
    }
}

impl Cause {
    pub(crate) fn of_error(error: Errno) -> Self {
        use std::io::ErrorKind;
        // EMFILE and ENFILE have no kind of their own.
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

/// One counter per cause.
pub(crate) type Causes = Counters<Cause>;

/// Counters of the whole run. None is ever set back.
pub(crate) struct Tally {
    pub(crate) dials: u64,
    pub(crate) connects: u64,
    /// Connects of devices that had been connected before.
    pub(crate) reconnects: u64,
    pub(crate) failed_dials: Causes,
    /// The first error of each kind that a dial or a connection had.
    pub(crate) errors: Vec<Errno>,
    /// Connections that ended before the end of the run: of healthy devices.
    pub(crate) healthy_cuts: Causes,
    /// And of faulty ones, by fault.
    pub(crate) faulty_cuts: Counters<Fault, Causes>,
    /// Connections that devices reset by their fault. They are no cuts: the gateway did nothing.
    pub(crate) own_resets: Counters<Fault>,
    pub(crate) up: u32,
    pub(crate) up_max: u32,
    pub(crate) connecting: u32,
    /// Objects that were sent whole: those that a gateway hands to its application.
    pub(crate) messages: Messages,
    /// Reports left out because the one before was still on its way.
    pub(crate) skipped: u64,
    /// Objects and byte strings sent that no gateway accepts.
    pub(crate) garbage: u64,
    /// Heartbeats that answer no beat.
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

    /// Counts the end of a connection that was up.
    pub(crate) fn cut(&mut self, fault: Option<Fault>, cause: Cause) {
        let causes = match fault {
            None => &mut self.healthy_cuts,
            Some(fault) => &mut self.faulty_cuts[&fault],
        };
        causes[&cause] += 1;
    }

    /// Connections cut: of healthy devices, and of faulty ones.
    pub(crate) fn cuts(&self) -> (u64, u64) {
        (self.healthy_cuts.total(), self.faulty_cuts.values().iter().map(Causes::total).sum())
    }

    pub(crate) fn error(&mut self, error: Errno) {
        // There are few kinds of error: this list stays short.
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
