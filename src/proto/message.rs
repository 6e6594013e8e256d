//! One object, checked: UTF-8, depth, JSON, and its `Type`. Floor 0; its content is never made into
//! a tree of values.

use std::{borrow::Cow, error, fmt, ops::Range, str};

use serde::Deserialize;

use super::{json, member, near::Near, object::Object};

pub use super::json::TYPE_BYTES_MAX;
use crate::closed_list;

/// An object that was accepted: the bytes as they were sent, and what its `Type` says.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    offset: u64,
    type_name: Cow<'a, str>,
    kind: Kind,
    /// See [`Object`].
    plain: Range<u32>,
    members: member::Members,
}

closed_list! {
    /// The kinds of message that the protocol names.
    #[non_exhaustive]
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Kind {
        /// `"Project"`
        Project => "Project",
        /// `"Performance"`
        Performance => "Performance",
        /// `"Status"`
        Status => "Status",
        /// `"Heartbeat"`, in upper or lower case: some devices write it in lower.
        Heartbeat => "Heartbeat",
        /// Any other word.
        Other => "Other",
    }
}

impl Kind {
    fn of(type_name: &str) -> Self {
        match type_name {
            "Project" => Self::Project,
            "Performance" => Self::Performance,
            "Status" => Self::Status,
            _ if type_name.eq_ignore_ascii_case("Heartbeat") => Self::Heartbeat,
            _ => Self::Other,
        }
    }
}

impl<'a> Message<'a> {
    /// Checks an object. Of several things wrong with it the first in the order of [`Reason::ALL`]
    /// is told, wherever it stands. `object_depth_max` is 1 to 127; above that it means 127.
    /// Allocates only for a `Type` with escapes.
    pub fn check(object: &Object<'a>, object_depth_max: u32) -> Result<Self, MessageError> {
        let Object { bytes, offset, .. } = *object;
        let error = |reason, at, detail| MessageError::new(reason, object, at, detail);
        if !object.ascii {
            // The plain range is ASCII, so the parts before and behind it can be judged each alone.
            let (start, end) = (object.plain.start as usize, object.plain.end as usize);
            for (from, part) in [(0, &bytes[..start]), (end, &bytes[end..])] {
                str::from_utf8(part)
                    .map_err(|fault| error(Reason::InvalidUtf8, from + fault.valid_up_to(), "not UTF-8"))?;
            }
        }
        let depth_max = object_depth_max.min(json::DEPTH_MAX);
        if object.depth > depth_max {
            return Err(error(Reason::TooDeep, opener_beyond(bytes, depth_max), "nested too deep"));
        }
        let found = match &object.valid {
            Some(found) => found.clone(),
            None => {
                json::check(bytes, &object.plain).map_err(|fault| error(Reason::InvalidJson, fault.at, fault.detail))?
            }
        };
        let type_name = match found.type_member {
            json::Type::String(name) => name,
            json::Type::Twice(at) => {
                return Err(error(Reason::DuplicateType, at, "Type for the second time"));
            }
            json::Type::Other(at) => {
                return Err(error(Reason::TypeNotString, at, "Type is not a string"));
            }
            json::Type::TooLong(at) => {
                return Err(error(Reason::TypeTooLong, at, "Type has more than 256 bytes"));
            }
            json::Type::Missing => return Err(error(Reason::NoType, 0, "no Type")),
        };
        // A part of what was found to be UTF-8, between two quotes: this cannot fail.
        let type_name = match type_name {
            Cow::Borrowed(name) => str::from_utf8(name).map(Cow::Borrowed).ok(),
            Cow::Owned(name) => String::from_utf8(name).map(Cow::Owned).ok(),
        };
        let type_name = type_name.ok_or_else(|| error(Reason::InvalidUtf8, 0, "not UTF-8"))?;
        Ok(Self {
            bytes,
            offset,
            kind: Kind::of(&type_name),
            type_name,
            plain: object.plain.clone(),
            members: found.members,
        })
    }

    /// The object as it was sent, from `{` to `}`.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where its first byte stands in the connection's stream.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// What its `Type` means.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What its `Type` says, unescaped.
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// The value of the first top-level member of that name, as the JSON text that was sent: what else
    /// is in the object, such as a picture, is leapt over, so that a member of a large object costs
    /// about as much as one of a small object.
    pub fn member(&self, name: &str) -> Option<&'a [u8]> {
        member::find(self.bytes, name, &self.plain, &self.members)
    }

    /// Reads it into a type of the application's.
    pub fn deserialize<T: Deserialize<'a>>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.bytes)
    }
}

/// Finds the brace or bracket that is the first to be open together with `depth_max` others; counts
/// as the splitter does.
#[cold]
fn opener_beyond(bytes: &[u8], depth_max: u32) -> usize {
    let (mut braces, mut brackets) = (0_u32, 0_u32);
    let (mut quoted, mut escaped) = (false, false);
    bytes
        .iter()
        .position(|&byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = quoted,
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b'{' => braces += 1,
                b'[' => brackets += 1,
                b'}' => braces = braces.saturating_sub(1),
                b']' => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            braces + brackets > depth_max
        })
        .unwrap_or(0)
}

/// An object that was refused. The stream goes on behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageError {
    /// Why.
    pub reason: Reason,
    /// Where in the connection's stream: the first byte at fault, or of the value, key or object at
    /// fault.
    pub offset: u64,
    /// What was wrong, or was expected, at that place.
    pub detail: &'static str,
    /// The bytes of the object from there on.
    pub near: Near,
}

impl MessageError {
    /// What is wrong `at` bytes into the object.
    #[cold]
    fn new(reason: Reason, object: &Object<'_>, at: usize, detail: &'static str) -> Self {
        let near = Near::of(object.bytes.get(at..).unwrap_or_default(), b"");
        Self { reason, offset: object.offset + at as u64, detail: near.explain(at, detail), near }
    }
}

closed_list! {
    /// Why an object is rejected. [`Message::check`] looks for the reasons in this order.
    #[non_exhaustive]
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Reason {
        /// Not UTF-8. The offset is that of the first byte which is not.
        InvalidUtf8 => "invalid_utf8",
        /// Braces and brackets nested too deep. The offset is that of the first one too deep.
        TooDeep => "too_deep",
        /// Not JSON (RFC 8259). The offset is that of the first byte that cannot stand where it does.
        InvalidJson => "invalid_json",
        /// `Type` twice at the top level. The offset is that of the second key.
        DuplicateType => "duplicate_type",
        /// The top-level `Type` is not a string. The offset is that of its value.
        TypeNotString => "type_not_string",
        /// The top-level `Type` has more than [`TYPE_BYTES_MAX`] bytes. The offset is that of its value.
        TypeTooLong => "type_too_long",
        /// No `Type` at the top level. The offset is that of the object.
        NoType => "no_type",
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}, near \"{}\"", self.reason, self.offset, self.detail, self.near)
    }
}

impl error::Error for MessageError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{PartialObjects, Reassembled, Splitter};

    /// Puts `input` 10 bytes into a stream, whole and cut everywhere, and gives kind and type, or
    /// reason and offset.
    fn check_with(input: &[u8], depth_max: u32, expected: Result<(Kind, &str), (Reason, u64)>) {
        let stream = [b"          ", input].concat();
        for cut in 10..=stream.len() {
            let (mut splitter, mut tails, mut whole) = (Splitter::new(), PartialObjects::new(), Reassembled::default());
            let mut answers = Vec::new();
            for mut rest in [&stream[..cut], &stream[cut..]] {
                loop {
                    let (used, object) =
                        splitter.push(rest, 1 << 20, &mut tails, &mut whole).expect("no fault in framing");
                    rest = &rest[used..];
                    let Some(object) = object else { break };
                    let message = Message::check(&object, depth_max);
                    if let Ok(message) = &message {
                        assert_eq!((message.bytes(), message.offset()), (input, 10));
                    }
                    let answer = message.map(|message| (message.kind(), message.type_name().to_owned()));
                    answers.push(answer.map_err(|error| (error.reason, error.offset - 10)));
                }
            }
            let expected = expected.map(|(kind, name)| (kind, name.to_owned()));
            assert_eq!(answers, [expected], "cut at {cut}: {}", String::from_utf8_lossy(input));
        }
    }

    fn check(input: &str, expected: Result<(Kind, &str), (Reason, u64)>) {
        check_with(input.as_bytes(), 127, expected);
    }

    #[test]
    fn kinds() {
        check(r#"{"Type":"Project"}"#, Ok((Kind::Project, "Project")));
        check(r#"{"Cpu":1,"Type":"Performance"}"#, Ok((Kind::Performance, "Performance")));
        check(r#"{"Type":"\u0053tatus"}"#, Ok((Kind::Status, "Status")));
        check(r#"{"Type":"Heartbeat"}"#, Ok((Kind::Heartbeat, "Heartbeat")));
        check(r#"{"Type":"heartBEAT"}"#, Ok((Kind::Heartbeat, "heartBEAT")));
        check(r#"{"Type":"status"}"#, Ok((Kind::Other, "status")));
        check(r#"{"Type":"温度"}"#, Ok((Kind::Other, "温度")));
        check(r#"{"Type":""}"#, Ok((Kind::Other, "")));
        let picture = format!(r#"{{"Name":"é","Data":"{}","Note":"é","Type":"Project"}}"#, "/9j/".repeat(60));
        check(&picture, Ok((Kind::Project, "Project")));
    }

    #[test]
    fn reasons_in_their_order() {
        check("{}", Err((Reason::NoType, 0)));
        check(r#"{"a":{"Type":"Status"}}"#, Err((Reason::NoType, 0)));
        check(r#"{"a":1,"Type":[]}"#, Err((Reason::TypeNotString, 14)));
        check(r#"{"Type":1,"Type":"a"}"#, Err((Reason::DuplicateType, 10)));
        check(r#"{"Type":1,"Type":"a",}"#, Err((Reason::InvalidJson, 21)));
        check(r#"{"Type":"\udc00"}"#, Err((Reason::InvalidJson, 9)));
        check(r#"{"Type":"Status","Name":"cut emoji \ud83d"}"#, Err((Reason::InvalidJson, 35)));
        check(&format!(r#"{{"Type":"{}"}}"#, "x".repeat(257)), Err((Reason::TypeTooLong, 8)));
        check(r#"{"x":[}"#, Err((Reason::InvalidJson, 6)));
        check_with(br#"{"a":[[0,]]}"#, 2, Err((Reason::TooDeep, 6)));
        check_with(br#"{"Type":"a","b":[]}"#, 1, Err((Reason::TooDeep, 16)));
        check_with(br#"{"Type":"[\"[","b":[]}"#, 2, Ok((Kind::Other, "[\"[")));
        check_with(b"{\"a\":[[,\"\xFF\"}", 2, Err((Reason::InvalidUtf8, 9)));
        check_with(b"{\"a\":\"\xC3\xA9\xE6\xB8\"}", 2, Err((Reason::InvalidUtf8, 8)));
        let picture = format!("{{\"Data\":\"{}\"}}", "/9j/".repeat(50));
        check_with(
            &[&picture.as_bytes()[..150], b"\xE6\xB8", &picture.as_bytes()[150..]].concat(),
            9,
            Err((Reason::InvalidUtf8, 150)),
        );
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(127), "]".repeat(127));
        check_with(deep.as_bytes(), 1000, Err((Reason::TooDeep, 5 + 126)));
    }

    #[test]
    fn deserialize() {
        #[derive(Deserialize)]
        struct Status<'a> {
            #[serde(rename = "Door")]
            door: &'a str,
        }
        let (mut splitter, mut tails, mut whole) = (Splitter::new(), PartialObjects::new(), Reassembled::default());
        let (_, object) =
            splitter.push(br#"{"Type":"Status","Door":"open"}"#, 100, &mut tails, &mut whole).expect("no fault");
        let message = Message::check(&object.expect("an object"), 127).expect("a message");
        assert_eq!(message.deserialize::<Status<'_>>().expect("a status").door, "open");
        assert!(message.deserialize::<u32>().is_err());
    }

    #[test]
    fn sentences() {
        let near = Near::of(b"-nan}", b"");
        let error = MessageError { reason: Reason::InvalidJson, offset: 8123, detail: "expected a digit", near };
        assert_eq!(error.to_string(), "invalid_json at byte 8123: expected a digit, near \"-nan}\"");
    }
}
