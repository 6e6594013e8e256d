//! Answers of the control socket.

use pulsegate::{ConnectionId, Context, SendError};
use serde_json::{Value, json};

pulsegate::closed_list! {
    /// The word for the reason of a refusal. The words of [`SendError`] are used beside these.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum ErrorWord {
        BadRequest => "bad_request",
        UnknownOp => "unknown_op",
        BadDevice => "bad_device",
        Lost => "lost",
        Busy => "busy",
        BadConfiguration => "bad_configuration",
        Failed => "failed",
        TooManyClients => "too_many_clients",
    }
}

/// A refusal: its word for programs, and a sentence for people.
#[derive(Debug)]
pub(crate) struct Refused {
    word: &'static str,
    pub(crate) detail: String,
}

impl Refused {
    pub(crate) fn new(word: ErrorWord, detail: impl Into<String>) -> Self {
        Self { word: word.as_str(), detail: detail.into() }
    }
}

impl From<SendError> for Refused {
    fn from(error: SendError) -> Self {
        Self { word: error.as_str(), detail: error.to_string() }
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
    pub(super) fn refuse(self, gateway: &mut Context<'_>, Refused { word, detail }: &Refused) {
        self.reply(gateway, &json!({ "id": self.id, "ok": false, "error": word, "detail": detail }));
    }

    /// Closes a client for which an answer has no room: it would wait for that answer in vain.
    fn reply(self, gateway: &mut Context<'_>, answer: &Value) {
        if !gateway.write(self.stream, format!("{answer}\n").as_bytes()) {
            gateway.close(self.stream);
        }
    }
}
