//! The counters of the uplink.

use pulsegate::Counters;
use serde_json::{Map, Value, json};

pulsegate::closed_list! {
    /// A counter of the uplink.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Counter {
        Delivered => "delivered",
        DeliveredBytes => "delivered_bytes",
        Repeated => "repeated",
        Dropped => "dropped",
        Missed => "missed",
        SetAside => "set_aside",
        TooLarge => "too_large",
        Unreadable => "unreadable",
        Connections => "connections",
        Disconnections => "disconnections",
        Commands => "commands",
        RetainedCommands => "retained_commands",
        DuplicateCommands => "duplicate_commands",
        LateCommands => "late_commands",
        LostAnswers => "lost_answers",
        StalePresence => "stale_presence",
    }
}

impl Counter {
    /// The meaning, for people.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Delivered => "Messages of devices that the broker has acknowledged.",
            Self::DeliveredBytes => "Bytes of their payloads.",
            Self::Repeated => "Messages that were sent again.",
            Self::Dropped => "Messages that found no room in the queue.",
            Self::Missed => "Events that the gateway reports as missed.",
            Self::SetAside => "Messages that the broker refused, or that ended three connections.",
            Self::TooLarge => "Objects longer than `mqtt.object_bytes_max`.",
            Self::Unreadable => "Lines of the gateway that are no events.",
            Self::Connections => "Connections that a broker accepted.",
            Self::Disconnections => "Attempts to connect that failed, and connections that ended.",
            Self::Commands => "Commands and requests that the uplink passed to the gateway.",
            Self::RetainedCommands => "Commands that a broker had retained. They do not run.",
            Self::DuplicateCommands => "Commands that a broker sent a second time. They do not run.",
            Self::LateCommands => "Commands that waited while this process was stopped. They do not run.",
            Self::LostAnswers => "Answers to commands that found no room.",
            Self::StalePresence => "Devices whose presence the broker kept wrongly.",
        }
    }
}

/// All counters as JSON.
pub(super) fn report(counters: &Counters<Counter>) -> Value {
    counters.iter().map(|(name, count)| (name.to_owned(), json!(count))).collect::<Map<_, _>>().into()
}
