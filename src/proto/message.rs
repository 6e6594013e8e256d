//! Checks one object: UTF-8, depth, JSON, and its `Type`. It builds no tree of values.

use std::{borrow::Cow, error, fmt, ops::Range, str};

use serde::Deserialize;

use super::{identity, json, member, near::Near, object::Object};

pub use super::json::TYPE_BYTES_MAX;
use crate::closed_list;

/// An accepted object: its bytes as the device sent them, and its `Type`.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    offset: u64,
    type_name: Cow<'a, str>,
    kind: Kind,
    /// See [`Object`].
    unescaped: Range<u32>,
    members: member::Members,
    /// The offset of the value of the identity member, 0 without one.
    identity: u32,
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
        /// `"Heartbeat"` in upper or lower case, because some devices use lower case.
        Heartbeat => "Heartbeat",
        /// Any other Type.
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
    /// Checks an object. Of several faults it returns the first in the order of [`Reason::ALL`], independent of their
    /// places. `object_depth_max` is 1 to 127, and larger values mean 127. It allocates only for a `Type` with escapes.
    pub fn check(object: &Object<'a>, object_depth_max: u32) -> Result<Self, MessageError> {
        Self::check_and_find(object, object_depth_max, "")
    }

    /// As [`Self::check`]. The same pass finds the top-level member with the key `identity`, for [`Self::identity`].
    /// [`Splitter::push_and_find`](super::Splitter::push_and_find) returned `object` for the same key.
    pub fn check_and_find(object: &Object<'a>, object_depth_max: u32, identity: &str) -> Result<Self, MessageError> {
        let Object { bytes, offset, .. } = *object;
        let error = |reason, at, detail| MessageError::new(reason, object, at, detail);
        if !object.ascii {
            // The unescaped range is ASCII, so the parts before and behind it are checked separately.
            let (start, end) = (object.unescaped.start as usize, object.unescaped.end as usize);
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
            None => json::check(bytes, &object.unescaped, identity)
                .map_err(|fault| error(Reason::InvalidJson, fault.at, fault.detail))?,
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
            json::Type::Missing => return Err(error(Reason::NoType, 0, missing_type(bytes, object, &found.members))),
        };
        // This cannot fail: the name is a part of checked UTF-8 between two quotes.
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
            unescaped: object.unescaped.clone(),
            members: found.members,
            identity: found.identity,
        })
    }

    /// Returns the object as the device sent it, from `{` to `}`.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the position of its first byte in the connection's stream.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the kind of its `Type`.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns its `Type`, unescaped.
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// Returns the value of the first top-level member with this name, as JSON text. It skips other values, such as
    /// pictures, so that a member of a large object costs about as much as a member of a small one.
    pub fn member(&self, name: &str) -> Option<&'a [u8]> {
        member::find(self.bytes, name, &self.unescaped, &self.members)
    }

    /// Returns the name that the identity member gives: `None` without the member, and `Some(None)` for an invalid name.
    pub fn identity(&self) -> Option<Option<Cow<'a, str>>> {
        self.identity_value().map(identity::name)
    }

    /// Whether the identity member gives another name than `name`.
    pub(crate) fn contradicts(&self, name: &str) -> bool {
        self.identity_value().is_some_and(|value| {
            !identity::says(value, name) && identity::name(value).is_none_or(|other| other != name)
        })
    }

    fn identity_value(&self) -> Option<&'a [u8]> {
        let at = self.identity as usize;
        if at == 0 { None } else { self.bytes.get(at..) }
    }

    /// Deserializes the object into a type of the application.
    pub fn deserialize<T: Deserialize<'a>>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.bytes)
    }
}

/// Explains why an object has no `Type`. The names of members are case-sensitive.
#[cold]
fn missing_type(bytes: &[u8], object: &Object<'_>, members: &member::Members) -> &'static str {
    let hints = [("type", "has 'type', expected 'Type'"), ("TYPE", "has 'TYPE', expected 'Type'")];
    let is_member = |name| member::find(bytes, name, &object.unescaped, members).is_some();
    hints.iter().find(|(name, _)| is_member(name)).map_or("no Type", |(_, hint)| hint)
}

/// Finds the first brace or bracket that opens inside `depth_max` others. It counts as the splitter does.
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

/// A rejected object. The stream continues behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageError {
    /// The reason.
    pub reason: Reason,
    /// The position in the connection's stream: the first wrong byte, or the begin of the wrong value, key or object.
    pub offset: u64,
    /// The fault or the expectation at that place.
    pub detail: &'static str,
    /// The bytes of the object from that place on.
    pub near: Near,
}

impl MessageError {
    /// Creates the error of a fault `at` bytes into the object.
    #[cold]
    fn new(reason: Reason, object: &Object<'_>, at: usize, detail: &'static str) -> Self {
        let near = Near::of(object.bytes.get(at..).unwrap_or_default(), b"");
        Self { reason, offset: object.offset + at as u64, detail: near.explain(at, detail), near }
    }
}

closed_list! {
    /// The reason of a rejected object. [`Message::check`] tests the reasons in this order.
    #[non_exhaustive]
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Reason {
        /// The object is not UTF-8. The offset is the first byte that is not.
        InvalidUtf8 => "invalid_utf8",
        /// Braces and brackets are nested too deep. The offset is the first one beyond the limit.
        TooDeep => "too_deep",
        /// The object is not JSON (RFC 8259). The offset is the first byte that violates the grammar.
        InvalidJson => "invalid_json",
        /// The top level has two members `Type`. The offset is the second key.
        DuplicateType => "duplicate_type",
        /// The top-level `Type` is not a string. The offset is its value.
        TypeNotString => "type_not_string",
        /// The top-level `Type` has more than [`TYPE_BYTES_MAX`] bytes. The offset is its value.
        TypeTooLong => "type_too_long",
        /// The top level has no `Type`. The offset is the begin of the object.
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

    /// Splits `input`, 10 bytes into a stream, at every cut. Expects kind and type, or reason and offset.
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
    fn an_object_without_a_type_hints_at_its_case() {
        let check = |input: &str, expected: &str| {
            let (mut splitter, mut tails, mut whole) = (Splitter::new(), PartialObjects::new(), Reassembled::default());
            let (_, object) = splitter.push(input.as_bytes(), 1 << 20, &mut tails, &mut whole).expect("no fault");
            let error = Message::check(&object.expect("an object"), 127).expect_err("no Type");
            assert_eq!((error.reason, error.detail), (Reason::NoType, expected), "{input}");
        };
        check(r#"{"type":"Status"}"#, "has 'type', expected 'Type'");
        check(r#"{"a":[{"b":1}], "TYPE" : 7}"#, "has 'TYPE', expected 'Type'");
        check(r#"{"a":{"type":"Status"},"b":"type"}"#, "no Type");
        check("{}", "no Type");
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
