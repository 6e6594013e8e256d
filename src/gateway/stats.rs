//! Counters: what came, what went, and under which reason every byte that was not delivered is
//! booked. Floor 2.

use super::commands::CommandEnd;
use super::context::SendError;
use super::handler::{CloseReason, Refusal};
use super::identity::Identification;
use super::latency::Histogram;
use crate::closed_list::Counters;
use crate::proto::{Kind, Reason, Suppressed};

/// What has happened since the gateway was made. Counters never run backwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that counted as devices.
    pub accepted: u64,
    /// Refused connections.
    pub refused: Counters<Refusal>,
    /// Ended connections.
    pub closed: Counters<CloseReason>,
    /// Bytes received from devices: the sum of all the `*_bytes` below.
    pub received_bytes: u64,
    /// Accepted objects and their bytes. Heartbeat answers are among them.
    pub messages: Counters<Kind, Count>,
    /// Rejected objects and their bytes.
    pub rejected: Counters<Reason, Count>,
    /// Bytes between objects: white space, NULs, a byte order mark.
    pub padding_bytes: u64,
    /// Bytes of objects that never came whole.
    pub unfinished_bytes: u64,
    /// Bytes from a framing fault on, and those that came on a connection that was being closed.
    pub discarded_bytes: u64,
    /// Beats that were due and sent; what the kernel did not take of one waits.
    pub beats_sent: u64,
    /// Beats that were due and not sent, because something still waited to be sent; credit was taken.
    pub beats_withheld: u64,
    /// Beats that were due while an earlier one was still unanswered.
    pub beats_missed: u64,
    /// From a beat to its answer.
    pub beat_round_trip: Histogram,
    /// Commands queued for sending.
    pub commands_queued: u64,
    /// Commands that the kernel has taken, once nothing more waited for their device.
    pub commands_sent: u64,
    /// Refused commands.
    pub commands_refused: Counters<SendError>,
    /// Ends of commands from [`Context::submit`](crate::Context::submit).
    pub commands_ended: Counters<CommandEnd>,
    /// What identity members have led to.
    pub names: Counters<Identification>,
    /// Times that a device was not read because memory was tight.
    pub pauses: u64,
    /// Bytes of commands and beats that the kernel took.
    pub sent_bytes: u64,
    /// Bytes of commands, or of one beat that the kernel did not take whole, that a device's end left unsent.
    pub unsent_bytes: u64,
    /// Probes that came.
    pub probes: u64,
    /// Probes that were answered.
    pub probes_answered: u64,
    /// Probes that were not answered.
    pub probes_suppressed: Counters<Suppressed>,
}

/// How many, and how many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub count: u64,
    /// How many bytes in all.
    pub bytes: u64,
}

impl Count {
    /// One more, of so many bytes.
    pub(super) fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }
}
