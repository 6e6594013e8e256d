//! `watch`: a client becomes a consumer of events.

use pulsegate::Context;
use serde_json::json;

use super::Control;
use super::client::CLIENTS_MAX;
use super::reply::{ErrorWord, Refused, ReplyTo};
use super::request::Request;
use crate::events::{Consumer, Filter};
use crate::stats::DaemonStats;

/// The maximum of types in one `watch`.
const TYPES_MAX: usize = 64;
/// The maximum length of a type. The gateway accepts no longer `Type`.
const TYPE_BYTES_MAX: usize = 256;

impl Control {
    pub(super) fn watch(
        &mut self,
        reply_to: ReplyTo,
        request: &Request<'_>,
        figures: &DaemonStats,
        gateway: &mut Context<'_>,
    ) -> Result<(), Refused> {
        let Some(client) = self.client(reply_to.stream) else { return Ok(()) };
        let device = request.target()?;
        if client.reserved {
            let detail = format!("{CLIENTS_MAX} control clients are connected already: no other may watch");
            return Err(Refused::new(ErrorWord::TooManyClients, detail));
        }
        check_types(&request.types)?;
        let filter = Filter { types: request.types.clone(), device };
        match &mut client.consumer {
            Some(consumer) => {
                // Dropped events belong before the answer, as the events in their place would.
                consumer.catch_up(gateway);
                consumer.filter = filter;
            }
            none => *none = Some(Consumer::new(reply_to.stream, filter)),
        }
        reply_to.accept(gateway, json!({ "boot": figures.boot.to_string(), "seq": figures.events }));
        Ok(())
    }
}

/// The gateway compares each message with every type, and keeps them all.
fn check_types(types: &[String]) -> Result<(), Refused> {
    let detail = if types.len() > TYPES_MAX {
        format!("a watch has at most {TYPES_MAX} types")
    } else if types.iter().any(|word| word.len() > TYPE_BYTES_MAX) {
        format!("a type has at most {TYPE_BYTES_MAX} bytes")
    } else {
        return Ok(());
    };
    Err(Refused::new(ErrorWord::BadRequest, detail))
}
