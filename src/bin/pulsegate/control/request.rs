//! Requests of the control socket.

use std::borrow::Cow;
use std::time::Duration;

use pulsegate::{Command, Match, Target};
use serde::Deserialize;
use serde::de::Error;
use serde_json::{Map, Value};

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
    #[serde(default)]
    pub(super) answer: Option<Answer>,
    #[serde(borrow, default)]
    pub(super) queue: Option<Cow<'a, str>>,
    /// `devices`: lists missing names, too.
    #[serde(default)]
    pub(super) all: bool,
}

/// Which object answers a command, and for how long the sender awaits it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    timeout: String,
    #[serde(rename = "type")]
    type_name: Option<String>,
    #[serde(rename = "match", default)]
    members: Map<String, Value>,
}

impl Answer {
    fn parse(&self) -> Result<(Match, Duration), Refused> {
        let wrong = |detail: String| Refused::new(ErrorWord::BadRequest, detail);
        let mut answer = Match::next();
        if let Some(type_name) = &self.type_name {
            answer = answer.of_type(type_name).map_err(|error| wrong(error.to_string()))?;
        }
        if self.members.len() > 1 {
            return Err(wrong("a match has one member".to_owned()));
        }
        for (key, value) in &self.members {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => return Err(wrong("the value of a match is a text, a number, true or false".to_owned())),
            };
            answer = answer.with_member(key, &text).map_err(|error| wrong(error.to_string()))?;
        }
        Ok((answer, duration(&self.timeout)?))
    }
}

/// A time with its unit.
fn duration(text: &str) -> Result<Duration, Refused> {
    let detail = || format!("invalid time {text:?}: expected a duration, such as \"5s\" or \"10m\"");
    humantime::parse_duration(text).map_err(|_| Refused::new(ErrorWord::BadRequest, detail()))
}

/// The id of a request that is wrong: a client with several requests must know which one it was.
#[derive(Deserialize)]
struct OnlyId {
    id: Option<u64>,
}

impl<'a> Request<'a> {
    /// Parses a line. The error has the id of the request, if it has one.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, (Option<u64>, Refused)> {
        // Serde would accept an array of the values in order.
        let request = match line.trim_ascii_start().starts_with(b"{") {
            true => serde_json::from_slice::<Self>(line),
            false => Err(serde_json::Error::custom("it is no object")),
        };
        request.map_err(|error| {
            let id = serde_json::from_slice::<OnlyId>(line).map_or(None, |request| request.id);
            (id, Refused::new(ErrorWord::BadRequest, format!("invalid request: {error}")))
        })
    }

    /// Returns the device of a request that needs one, as the client wrote it.
    pub(super) fn device(&self) -> Result<&str, Refused> {
        needed(self.device.as_deref(), "device")
    }

    /// Returns the text of a request that needs one.
    pub(super) fn text(&self) -> Result<&str, Refused> {
        needed(self.text.as_deref(), "text")
    }

    /// The command with this text.
    pub(super) fn command<'t>(&self, text: &'t str) -> Result<Command<'t>, Refused> {
        let mut command = Command::new(text);
        if let Some(answer) = &self.answer {
            let (answer, timeout) = answer.parse()?;
            command = command.answer(answer, timeout);
        }
        if let Some(queue) = &self.queue {
            command = command.queue_for(duration(queue)?);
        }
        Ok(command)
    }

    /// Returns the device, if the request has one.
    pub(super) fn target(&self) -> Result<Option<Target>, Refused> {
        self.device.as_deref().map(target).transpose()
    }
}

/// Parses the name of a device.
pub(super) fn target(text: &str) -> Result<Target, Refused> {
    text.parse().map_err(|e: pulsegate::TargetError| Refused::new(ErrorWord::BadDevice, e.to_string()))
}

/// The error of a request that is too long.
pub(super) fn too_long() -> Refused {
    Refused::new(ErrorWord::BadRequest, format!("a request has at most {REQUEST_BYTES_MAX} bytes"))
}

fn needed<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str, Refused> {
    value.ok_or_else(|| Refused::new(ErrorWord::BadRequest, format!("the request needs {name:?}")))
}
