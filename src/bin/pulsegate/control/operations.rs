//! Operations that change a device.

use log::info;
use pulsegate::{CommandEnd, CommandReport, Context, Credentials, SendError, Submitted};
use serde_json::json;

use super::Control;
use super::reply::{ErrorWord, Refused, ReplyTo};
use super::request::{Request, target};

/// Commands of one client that have no end yet, at one time.
pub(crate) const SENDING_MAX: usize = 256;

/// A command whose sender awaits its end.
pub(super) struct Sending {
    pub(super) command: u64,
    pub(super) reply_to: ReplyTo,
    /// The number of connections that the sender's address means.
    of: usize,
    awaits_answer: bool,
    /// It neither waits for a name nor awaits an answer.
    pub(super) is_plain: bool,
}

impl Sending {
    /// Reports the end of the command to its sender.
    pub(super) fn reply(&self, report: &CommandReport<'_>, gateway: &mut Context<'_>) {
        let conn = report.device.map(|(id, _)| id.get());
        let mut sent = json!({ "conn": conn, "of": self.of });
        if !self.is_plain {
            sent["command"] = json!(report.command);
            sent["state"] = json!(report.end.as_str());
        }
        let device = conn.map_or_else(|| "the device".to_owned(), |conn| format!("device #{conn}"));
        let (word, detail, reason) = match report.end {
            CommandEnd::Lost(reason) if self.awaits_answer => {
                (ErrorWord::Disconnected, format!("{device} disconnected before it answered: {reason}"), Some(reason))
            }
            CommandEnd::Lost(reason) => {
                (ErrorWord::Lost, format!("the device was gone before it took the command: {reason}"), Some(reason))
            }
            CommandEnd::Timeout => (ErrorWord::Timeout, format!("{device} sent no answer in time"), None),
            CommandEnd::Expired => (ErrorWord::Expired, "the device did not connect in time".to_owned(), None),
            CommandEnd::Refused(error) => return self.reply_to.refuse(gateway, &error.into()),
            _ => match report.answer {
                Some(object) => return self.reply_to.accept_object(gateway, sent, object),
                None => return self.reply_to.accept(gateway, sent),
            },
        };
        self.reply_to
            .refuse(gateway, &Refused { reason: reason.map(|reason| reason.as_str()), ..Refused::new(word, detail) });
    }
}

impl Control {
    pub(super) fn send(
        &mut self,
        reply_to: ReplyTo,
        request: &Request<'_>,
        gateway: &mut Context<'_>,
    ) -> Result<(), Refused> {
        let (name, text) = (request.device()?, request.text()?);
        let (to, command) = (target(name)?, request.command(text)?);
        let waiting = self.sending.iter().filter(|sending| sending.reply_to.stream == reply_to.stream);
        if waiting.count() >= SENDING_MAX {
            let detail = format!("{SENDING_MAX} commands of the client are queued already");
            return Err(Refused::new(ErrorWord::Busy, detail));
        }
        let Submitted { command, queued, .. } = gateway.submit(to, &command)?;
        let awaits_answer = request.answer.is_some();
        let Some(client) = self.client(reply_to.stream) else { return Ok(()) };
        let Credentials { pid, uid, .. } = client.credentials;
        info!("command {command} of {} bytes to device {name}: asked by uid {uid}, pid {pid}", text.len());
        if queued.is_none() && !awaits_answer {
            reply_to.accept(gateway, json!({ "command": command, "state": "queued" }));
            return Ok(());
        }
        client.outstanding += 1;
        let of = queued.map_or(1, |queued| queued.of);
        let is_plain = !awaits_answer && request.queue.is_none();
        self.sending.push(Sending { command, reply_to, of, awaits_answer, is_plain });
        Ok(())
    }

    pub(super) fn remove(
        &mut self,
        reply_to: ReplyTo,
        request: &Request<'_>,
        gateway: &mut Context<'_>,
    ) -> Result<(), Refused> {
        let name = request.device()?;
        let removed = gateway.remove(target(name)?);
        if let Some(client) = self.client(reply_to.stream) {
            let Credentials { pid, uid, .. } = client.credentials;
            info!("{removed} connections of {name} removed: asked by uid {uid}, pid {pid}");
        }
        if removed == 0 {
            return Err(SendError::NoSuchDevice.into());
        }
        reply_to.accept(gateway, json!({ "removed": removed }));
        Ok(())
    }
}
