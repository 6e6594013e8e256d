//! `pulsegate send`: sends a command, and waits for its end.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::connection::{Connection, checked};
use crate::{Failure, print, render};

/// A command for a device.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) device: String,
    pub(crate) text: String,
    pub(crate) answer: Answer,
    /// How long the command may wait for a name that is not connected.
    pub(crate) queue: Option<Duration>,
}

/// The object that answers a command.
#[derive(Debug)]
pub(crate) struct Answer {
    /// How long to wait for it. Without a time, the command has no answer.
    pub(crate) wait: Option<Duration>,
    pub(crate) type_name: Option<String>,
    pub(crate) member: Option<(String, String)>,
}

impl Send {
    pub(super) fn run(&self, gateway: &mut Connection) -> Result<(), Failure> {
        gateway.ask(&json!({ "op": "ping" }))?;
        // The gateway has answered, so it runs. From here its own timeouts bound the wait for the device.
        gateway.set_timeout(None)?;
        gateway.put(&self.request())?;
        let (answer, object) = loop {
            let Some(line) = gateway.line_in_time()? else { continue };
            let (answer, object) = gateway.parsed(&line)?;
            if answer.get("ok").is_some() {
                break (checked(answer)?, object.to_owned());
            }
        };
        if let Some(of) = answer["of"].as_u64().filter(|&of| of > 1) {
            let note = format!("{of} connections from {}: sent to the newest, #{}", self.device, answer["conn"]);
            let _ = writeln!(io::stderr(), "pulsegate: {note}");
        }
        match answer["state"].as_str() {
            Some("queued") => print(&format!("command {} waits for {}\n", answer["command"], self.device)),
            Some("answered") => print(&format!("{}\n", render::object(&object))),
            _ => Ok(()),
        }
    }

    fn request(&self) -> Value {
        let mut request = json!({ "op": "send", "device": self.device, "text": self.text });
        let time = |duration| json!(humantime::format_duration(duration).to_string());
        if let Some(wait) = self.answer.wait {
            request["answer"] = json!({ "timeout": time(wait) });
            if let Some(type_name) = &self.answer.type_name {
                request["answer"]["type"] = json!(type_name);
            }
            if let Some((key, value)) = &self.answer.member {
                request["answer"]["match"] = json!({ key: value });
            }
        }
        if let Some(queue) = self.queue {
            request["queue"] = time(queue);
        }
        request
    }
}
