//! Answers of the control socket.

use pulsegate::{ConnectionId, Context, Message, SendError};
use serde_json::{Value, json};

use crate::events::append_data;

pulsegate::closed_list! {
    /// The word for the reason of a refusal. The words of [`SendError`] are used beside these.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum ErrorWord {
        BadRequest => "bad_request",
        UnknownOp => "unknown_op",
        BadDevice => "bad_device",
        Lost => "lost",
        Timeout => "timeout",
        Disconnected => "disconnected",
        Expired => "expired",
        Busy => "busy",
        BadConfiguration => "bad_configuration",
        Failed => "failed",
        TooManyClients => "too_many_clients",
    }
}

/// A refusal: its word for programs, and a sentence for people.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(super) word: &'static str,
    pub(crate) detail: String,
    /// The close reason of the device, where that is the cause.
    pub(super) reason: Option<&'static str>,
}

impl Refused {
    pub(crate) fn new(word: ErrorWord, detail: impl Into<String>) -> Self {
        Self { word: word.as_str(), detail: detail.into(), reason: None }
    }
}

impl From<SendError> for Refused {
    fn from(error: SendError) -> Self {
        Self { word: error.as_str(), detail: error.to_string(), reason: None }
    }
}

/// The client that gets an answer, and the id of its request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyTo {
    pub(super) stream: ConnectionId,
    pub(super) id: Option<u64>,
}

impl ReplyTo {
    /// Answers that the gateway carried out the request, with the members of `answer`.
    pub(super) fn accept(self, gateway: &mut Context<'_>, mut answer: Value) {
        answer["id"] = json!(self.id);
        answer["ok"] = json!(true);
        self.reply(gateway, &answer);
    }

    /// Answers that the gateway refused the request.
    pub(super) fn refuse(self, gateway: &mut Context<'_>, Refused { word, detail, reason }: &Refused) {
        let mut answer = json!({ "id": self.id, "ok": false, "error": word, "detail": detail });
        if let Some(reason) = reason {
            answer["reason"] = json!(reason);
        }
        self.reply(gateway, &answer);
    }

    /// As [`Self::accept`], with an object of a device as the member `data`.
    pub(super) fn accept_object(self, gateway: &mut Context<'_>, mut answer: Value, object: &Message<'_>) {
        answer["id"] = json!(self.id);
        answer["ok"] = json!(true);
        let mut line = answer.to_string().into_bytes();
        // The object goes in front of the last brace.
        line.pop();
        append_data(&mut line, object);
        line.extend_from_slice(b"}\n");
        self.write(gateway, &line);
    }

    /// Writes an answer. Closes a client without room for it, because that client would wait in vain.
    fn reply(self, gateway: &mut Context<'_>, answer: &Value) {
        self.write(gateway, format!("{answer}\n").as_bytes());
    }

    fn write(self, gateway: &mut Context<'_>, line: &[u8]) {
        if !gateway.write_answer(self.stream, line) {
            gateway.close(self.stream);
        }
    }
}
