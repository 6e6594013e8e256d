//! Requests of the control socket.

use std::borrow::Cow;

use pulsegate::Target;
use serde::Deserialize;
use serde::de::Error;

use super::reply::{ErrorWord, Refused};

/// Length of a request in bytes.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request<'a> {
    pub(super) id: Option<u64>,
    #[serde(borrow)]
    pub(super) op: Cow<'a, str>,
    #[serde(borrow, default)]
    device: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) types: Vec<String>,
}

/// The id of a request that is wrong: a client with several requests must know which one it was.
#[derive(Deserialize)]
struct OnlyId {
    id: Option<u64>,
}

impl<'a> Request<'a> {
    /// Reads a line. The error has the id of the request, if it has one.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, (Option<u64>, Refused)> {
        // Serde would take an array for an object's values in order.
        let request = match line.trim_ascii_start().starts_with(b"{") {
            true => serde_json::from_slice::<Self>(line),
            false => Err(serde_json::Error::custom("it is no object")),
        };
        request.map_err(|error| {
            let id = serde_json::from_slice::<OnlyId>(line).map_or(None, |request| request.id);
            (id, Refused::new(ErrorWord::BadRequest, format!("invalid request: {error}")))
        })
    }

    /// The device of a request that needs one, as the client wrote it.
    pub(super) fn device(&self) -> Result<&str, Refused> {
        needed(self.device.as_deref(), "device")
    }

    /// The text of a request that needs one.
    pub(super) fn text(&self) -> Result<&str, Refused> {
        needed(self.text.as_deref(), "text")
    }

    /// The device, if the request has one.
    pub(super) fn target(&self) -> Result<Option<Target>, Refused> {
        self.device.as_deref().map(target).transpose()
    }
}

/// The device of that name.
pub(super) fn target(text: &str) -> Result<Target, Refused> {
    text.parse().map_err(|e: pulsegate::TargetError| Refused::new(ErrorWord::BadDevice, e.to_string()))
}

/// Why the gateway closes a client whose request does not end.
pub(super) fn too_long() -> Refused {
    Refused::new(ErrorWord::BadRequest, format!("a request has at most {REQUEST_BYTES_MAX} bytes"))
}

fn needed<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str, Refused> {
    value.ok_or_else(|| Refused::new(ErrorWord::BadRequest, format!("the request needs {name:?}")))
}
