//! Counters. Every received byte that the gateway does not deliver adds to one of them.

use super::commands::CommandEnd;
use super::context::SendError;
use super::handler::{CloseReason, Refusal};
use super::identity::Identification;
use super::latency::Histogram;
use crate::closed_list::Counters;
use crate::proto::{Kind, Reason, Suppressed};

/// Counters since the start of the gateway. They never decrease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that counted as devices.
    pub accepted: u64,
    /// Refused connections.
    pub refused: Counters<Refusal>,
    /// Ended connections.
    pub closed: Counters<CloseReason>,
    /// Bytes from devices. Accepted objects, rejected objects, padding, unfinished and discarded bytes add up to them.
    pub received_bytes: u64,
    /// Accepted objects and their bytes, including heartbeat answers.
    pub messages: Counters<Kind, Count>,
    /// Rejected objects and their bytes.
    pub rejected: Counters<Reason, Count>,
    /// Whitespace between objects, including NULs and byte order marks.
    pub padding_bytes: u64,
    /// Bytes of objects that never became complete.
    pub unfinished_bytes: u64,
    /// Bytes behind a framing error, or of a closing connection.
    pub discarded_bytes: u64,
    /// Sent beats. The kernel may have taken only a part of one.
    pub beats_sent: u64,
    /// Beats that the gateway did not send, because the device had queued bytes.
    pub beats_withheld: u64,
    /// Beats that were due while an earlier beat was unanswered.
    pub beats_missed: u64,
    /// The times from a beat to its answer.
    pub beat_round_trip: Histogram,
    /// Commands that the gateway queued.
    pub commands_queued: u64,
    /// Commands that the kernel took. They count when the send queue of their device is empty.
    pub commands_sent: u64,
    /// Refused commands.
    pub commands_refused: Counters<SendError>,
    /// Ended commands of [`Context::submit`](crate::Context::submit).
    pub commands_ended: Counters<CommandEnd>,
    /// Results of identity members.
    pub names: Counters<Identification>,
    /// The number of times that the gateway paused a device for lack of memory.
    pub pauses: u64,
    /// Bytes of commands and beats that the kernel took.
    pub sent_bytes: u64,
    /// Bytes of commands and beats that were still queued when their connection ended.
    pub unsent_bytes: u64,
    /// Received probes.
    pub probes: u64,
    /// Answered probes.
    pub probes_answered: u64,
    /// Probes without an answer.
    pub probes_suppressed: Counters<Suppressed>,
}

/// A number of objects and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// The number of objects.
    pub count: u64,
    /// The bytes of all of them.
    pub bytes: u64,
}

impl Count {
    /// Counts an object of `bytes` bytes.
    pub(super) fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }
}
