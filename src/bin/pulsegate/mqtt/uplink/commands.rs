//! Commands from the broker to devices and to the gateway. Each runs at most once and never late, and its answer says
//! what became of it.

use std::time::Instant;

use log::debug;
use serde_json::{Value, json};

use super::{Link, Notice, Uplink};
use crate::mqtt::codec::Received;
use crate::mqtt::counters::Counter;
use crate::mqtt::topics::Topic;

/// A command that the gateway has not answered.
#[derive(Debug)]
pub(super) struct Pending {
    topic: Topic,
    correlation: Option<Vec<u8>>,
    /// The id that the request came with.
    id: Option<Value>,
}

/// Commands without answer at one time. The gateway takes as many from one client.
const PENDING_MAX: usize = 256;
/// The longest line that the control socket takes, in bytes.
const REQUEST_BYTES_MAX: usize = crate::control::REQUEST_BYTES_MAX;
/// Operations of the control socket that a broker may ask for.
const OPERATIONS: &[&str] = &["send", "devices", "stats", "remove"];

impl Uplink {
    /// A message of the broker.
    pub(super) fn received(&mut self, received: Received, now: Instant) {
        if let Some(level) = self.settings.availability.level(&received.topic) {
            if received.retain {
                let level = level.to_owned();
                self.retained_presence(&level, &received);
            }
            return;
        }
        let (answer_topic, request) = if let Some(level) = self.settings.command.level(&received.topic) {
            let text = std::str::from_utf8(&received.payload).map_err(|_| "the command is no UTF-8");
            let target = self.presence.target(level);
            let request = text.map(|text| json!({ "op": "send", "device": target, "text": text }));
            (self.settings.result.device(level), request)
        } else if let Some(operation) = self.settings.request.level(&received.topic) {
            (self.settings.response.operation(operation), request_of(operation, &received.payload))
        } else {
            return;
        };
        let named = received.response_topic.as_deref().and_then(Topic::new_ref).filter(|topic| !self.takes(topic));
        let Some(topic) = named.or(answer_topic) else { return };
        let id = request.as_ref().ok().and_then(|request| request.get("id").cloned());
        let pending = Pending { topic, correlation: received.correlation.clone(), id };
        match self.refusal(&received, now) {
            Some(Refusal::Silent) => {}
            Some(Refusal::Said(word, detail)) => self.refuse(pending, word, detail),
            None => match request {
                Ok(request) => self.pass(pending, request),
                Err(detail) => self.refuse(pending, "bad_request", detail),
            },
        }
    }

    /// Whether a command may not run.
    fn refusal(&mut self, received: &Received, now: Instant) -> Option<Refusal> {
        let (counter, refusal) = if received.retain {
            (Counter::RetainedCommands, Refusal::Said("retained", "a retained command does not run"))
        } else if received.duplicate {
            // The first copy has its answer.
            (Counter::DuplicateCommands, Refusal::Silent)
        } else if self.late_until.is_some_and(|until| now < until) {
            (Counter::LateCommands, Refusal::Said("late", "the command waited while the uplink was stopped"))
        } else if self.gateway != Link::Open {
            return Some(Refusal::Said("no_gateway", "the gateway is away"));
        } else if self.pending.len() >= PENDING_MAX {
            return Some(Refusal::Said("busy", "too many commands are without answer"));
        } else {
            return None;
        };
        debug!("a command to {} does not run: {counter}", received.topic);
        self.counters[&counter] += 1;
        Some(refusal)
    }

    /// Whether the uplink is subscribed to a topic. An answer there would come back as a command.
    fn takes(&self, topic: &Topic) -> bool {
        [&self.settings.command, &self.settings.request].iter().any(|t| t.level(topic.as_str()).is_some())
    }

    /// Passes a request to the gateway.
    fn pass(&mut self, pending: Pending, mut request: Value) {
        let id = self.last_id + 1;
        request["id"] = json!(id);
        if request.to_string().len() > REQUEST_BYTES_MAX {
            return self.refuse(pending, "bad_request", "the command is too long");
        }
        self.last_id = id;
        self.counters[&Counter::Commands] += 1;
        self.ask_gateway(&request);
        self.pending.insert(id, pending);
    }

    fn refuse(&mut self, pending: Pending, word: &str, detail: &str) {
        self.give(&pending, json!({ "ok": false, "error": word, "detail": detail }));
    }

    /// Publishes an answer under the id that the request came with.
    fn give(&mut self, pending: &Pending, mut answer: Value) {
        match (&pending.id, answer.as_object_mut()) {
            (Some(id), Some(members)) => drop(members.insert("id".into(), id.clone())),
            (None, Some(members)) => drop(members.remove("id")),
            (_, None) => {}
        }
        self.answer(Notice {
            topic: pending.topic.clone(),
            payload: answer.to_string().into(),
            retain: false,
            correlation: pending.correlation.clone(),
            is_answer: true,
        });
    }

    /// The gateway has answered, completely or with one more row.
    pub(super) fn answer_of(&mut self, id: u64, is_complete: bool, line: &[u8]) {
        let (Some(pending), Ok(answer)) = (self.pending.remove(&id), serde_json::from_slice(line)) else {
            self.counters[&Counter::Unreadable] += 1;
            return;
        };
        self.give(&pending, answer);
        if !is_complete {
            self.pending.insert(id, pending);
        }
    }

    /// The gateway will answer no more. The commands may have run or not.
    pub(super) fn fail_pending(&mut self, why: &str) {
        for (_, pending) in std::mem::take(&mut self.pending) {
            self.refuse(pending, "lost", why);
        }
    }
}

/// Why a command does not run.
enum Refusal {
    /// The word and the sentence of the answer.
    Said(&'static str, &'static str),
    /// Without an answer.
    Silent,
}

/// The request of a message to `request/{op}`. An empty payload is one without members.
fn request_of(operation: &str, payload: &[u8]) -> Result<Value, &'static str> {
    if !OPERATIONS.contains(&operation) {
        return Err("expected send, devices, stats or remove as the last level of the topic");
    }
    let mut request = match payload.trim_ascii() {
        [] => json!({}),
        payload if payload.len() > REQUEST_BYTES_MAX => return Err("the request is too long"),
        payload => serde_json::from_slice(payload).map_err(|_| "the request is no JSON")?,
    };
    let members = request.as_object_mut().ok_or("the request is no JSON object")?;
    members.insert("op".into(), operation.into());
    Ok(request)
}
