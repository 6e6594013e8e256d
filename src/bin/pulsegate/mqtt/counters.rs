//! The counters of the uplink.

use pulsegate::Counters;
use serde_json::{Map, Value, json};

pulsegate::closed_list! {
    /// A counter of the uplink.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Counter {
        /// Messages of devices that the broker has acknowledged.
        Delivered => "delivered",
        /// Bytes of their payloads.
        DeliveredBytes => "delivered_bytes",
        /// Messages that were sent again.
        Repeated => "repeated",
        /// Messages that found no room in the queue.
        Dropped => "dropped",
        /// Events that the gateway reports as missed.
        Missed => "missed",
        /// Messages that the broker refused, or that ended three connections.
        SetAside => "set_aside",
        /// Objects longer than `mqtt.object_bytes_max`.
        TooLarge => "too_large",
        /// Lines of the gateway that are no events.
        Unreadable => "unreadable",
        /// Connections that a broker accepted.
        Connections => "connections",
        /// Attempts to connect that failed, and connections that ended.
        Disconnections => "disconnections",
        /// Commands and requests that the uplink passed to the gateway.
        Commands => "commands",
        /// Commands that a broker had retained. They do not run.
        RetainedCommands => "retained_commands",
        /// Commands that a broker sent a second time. They do not run.
        DuplicateCommands => "duplicate_commands",
        /// Commands that waited while this process was stopped. They do not run.
        LateCommands => "late_commands",
        /// Answers to commands that found no room.
        LostAnswers => "lost_answers",
        /// Devices whose presence the broker kept wrongly.
        StalePresence => "stale_presence",
    }
}

/// All counters as JSON.
pub(super) fn report(counters: &Counters<Counter>) -> Value {
    counters.iter().map(|(name, count)| (name.to_owned(), json!(count))).collect::<Map<_, _>>().into()
}
