//! Framing errors, which end a stream.

use std::{error, fmt};

use super::near::Near;

/// A framing error: the gateway cannot find the next object. It has delivered every object before the fault, and delivers
/// none behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramingFault {
    /// The cause.
    pub cause: FramingCause,
    /// The position in the connection's stream: the wrong byte, or the first byte of an object that is too long or too
    /// late.
    pub offset: u64,
    /// The received bytes from that position on.
    pub near: Near,
}

/// The cause of a framing error.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingCause {
    /// This byte between objects is neither a separator nor `{`.
    UnexpectedByte(u8),
    /// The partial object can no longer become JSON (RFC 8259). The text is the expectation of the grammar.
    InvalidJson(&'static str),
    /// The object has more than `object_bytes_max` bytes.
    TooLarge,
    /// The object was partial for longer than `object_timeout`.
    Timeout,
}

impl FramingFault {
    /// Returns the description of the fault without its position.
    pub fn detail(&self) -> String {
        match (self.cause, self.near.protocol()) {
            (FramingCause::UnexpectedByte(_), Some(protocol)) => format!("expected an object, found {protocol}"),
            (FramingCause::UnexpectedByte(byte @ 0x21..=0x7E), None) => {
                format!("expected an object, found '{}'", char::from(byte))
            }
            (FramingCause::UnexpectedByte(byte), None) => format!("expected an object, found byte 0x{byte:02X}"),
            (FramingCause::InvalidJson(expected), _) => format!("invalid_json: {expected}"),
            (FramingCause::TooLarge, _) => "object too large".into(),
            (FramingCause::Timeout, _) => "object not finished in time".into(),
        }
    }
}

impl fmt::Display for FramingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}, near \"{}\"", self.detail(), self.offset, self.near)
    }
}

impl error::Error for FramingFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_fault_names_expectation_finding_and_place() {
        use FramingCause::{InvalidJson, Timeout, TooLarge, UnexpectedByte};
        let check = |cause, near: &[u8], expected: &str| {
            let fault = FramingFault { cause, offset: 7, near: Near::of(near, b"") };
            assert_eq!(fault.to_string(), expected);
        };
        check(UnexpectedByte(b'r'), b"rst\n", r#"expected an object, found 'r' at byte 7, near "rst\x0a""#);
        check(UnexpectedByte(0xEF), b"\xEF", r#"expected an object, found byte 0xEF at byte 7, near "\xef""#);
        check(UnexpectedByte(b'G'), b"GET / ", r#"expected an object, found HTTP at byte 7, near "GET / ""#);
        check(InvalidJson("expected ':'"), b"}", r#"invalid_json: expected ':' at byte 7, near "}""#);
        check(TooLarge, b"{", r#"object too large at byte 7, near "{""#);
        check(Timeout, b"{", r#"object not finished in time at byte 7, near "{""#);
    }
}
