//! Operations that change a device.

use log::info;
use pulsegate::{ConnectionId, Context, Credentials, Delivery, SendError};
use serde_json::json;

use super::Control;
use super::reply::{ErrorWord, Refused, ReplyTo};
use super::request::{Request, target};

/// Queued commands of one client at one time.
pub(crate) const SENDING_MAX: usize = 256;

/// A queued command whose sender awaits an answer.
pub(super) struct Sending {
    pub(super) tag: u64,
    pub(super) reply_to: ReplyTo,
    to: ConnectionId,
    of: usize,
}

impl Sending {
    pub(super) fn answer(&self, delivery: Delivery, gateway: &mut Context<'_>) {
        let Self { reply_to, to, of, .. } = self;
        match delivery {
            Delivery::Sent => reply_to.accept(gateway, json!({ "conn": to.get(), "of": of })),
            Delivery::Lost(reason) => {
                let detail = format!("the device was gone before it took the command: {reason}");
                reply_to.refuse(gateway, &Refused::new(ErrorWord::Lost, detail));
            }
        }
    }
}

impl Control {
    pub(super) fn send(
        &mut self,
        reply_to: ReplyTo,
        request: &Request<'_>,
        gateway: &mut Context<'_>,
    ) -> Result<(), Refused> {
        let (to, text) = (target(request.device()?)?, request.text()?);
        let waiting = self.sending.iter().filter(|sending| sending.reply_to.stream == reply_to.stream);
        if waiting.count() >= SENDING_MAX {
            let detail = format!("{SENDING_MAX} commands of the client are queued already");
            return Err(Refused::new(ErrorWord::Busy, detail));
        }
        self.last_tag += 1;
        let tag = self.last_tag;
        let queued = gateway.send_tagged(to, text, tag)?;
        self.sending.push(Sending { tag, reply_to, to: queued.id, of: queued.of });
        if let Some(client) = self.client(reply_to.stream) {
            client.outstanding += 1;
            let Credentials { pid, uid, .. } = client.credentials;
            info!("command of {} bytes to device {}: asked by uid {uid}, pid {pid}", text.len(), queued.id);
        }
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
