//! Reasons for the end of a connection to a broker.

use std::fmt;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The broker sent no CONNACK in time.
    NoConnack,
    /// The broker refused the connection with this code.
    Refused(u8),
    /// The broker does not know the version of the protocol.
    Version,
    /// The broker left a message or PINGREQ unanswered for too long.
    NoAnswer,
    /// The broker's bytes are no MQTT, or a packet is too long.
    Malformed,
    /// The broker sent DISCONNECT with this code.
    Disconnected(u8),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConnack => f.write_str("no answer to CONNECT within 10 s"),
            Self::Refused(code) => write!(f, "the broker refused the connection with code 0x{code:02x}"),
            Self::Version => f.write_str("the broker does not know this version of MQTT: see mqtt.version"),
            Self::NoAnswer => f.write_str("no acknowledgement within 30 s"),
            Self::Malformed => f.write_str("the broker sent bytes that are no valid MQTT"),
            Self::Disconnected(code) => write!(f, "the broker disconnected with code 0x{code:02x}"),
        }
    }
}
