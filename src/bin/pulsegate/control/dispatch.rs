//! Dispatches the line of a client to its operation.

use log::info;
use pulsegate::{ConnectionId, Context, Credentials};
use serde_json::json;

use super::reply::{ErrorWord, Refused, ReplyTo};
use super::request::Request;
use super::{Control, Operation};
use crate::stats::{self, DaemonStats};

impl Control {
    /// Runs the request of a line, or refuses it.
    pub(super) fn request(
        &mut self,
        stream: ConnectionId,
        line: &[u8],
        figures: &DaemonStats,
        gateway: &mut Context<'_>,
    ) {
        if line.trim_ascii().is_empty() {
            return;
        }
        match Request::parse(line) {
            Ok(request) => {
                let reply_to = ReplyTo { stream, id: request.id };
                if let Err(refused) = self.dispatch(reply_to, &request, figures, gateway) {
                    reply_to.refuse(gateway, &refused);
                }
            }
            Err((id, refused)) => ReplyTo { stream, id }.refuse(gateway, &refused),
        }
    }

    fn dispatch(
        &mut self,
        reply_to: ReplyTo,
        request: &Request<'_>,
        figures: &DaemonStats,
        gateway: &mut Context<'_>,
    ) -> Result<(), Refused> {
        let Some(client) = self.clients.iter_mut().find(|client| client.stream() == reply_to.stream) else {
            return Ok(());
        };
        let Credentials { pid, uid, .. } = client.credentials;
        let operation = Operation::find(&request.op)
            .ok_or_else(|| Refused::new(ErrorWord::UnknownOp, format!("unknown operation {:?}", request.op)))?;
        match operation {
            Operation::Ping => reply_to.accept(gateway, json!({ "version": env!("CARGO_PKG_VERSION") })),
            Operation::Devices => client.list_devices(reply_to, request.all, gateway)?,
            Operation::Watch => self.watch(reply_to, request, figures, gateway)?,
            Operation::Stats => reply_to.accept(gateway, json!({ "stats": stats::collect(gateway, figures) })),
            Operation::Config => {
                client.outstanding += 1;
                self.config_requests.push(reply_to);
            }
            Operation::Send => self.send(reply_to, request, gateway)?,
            Operation::Remove => self.remove(reply_to, request, gateway)?,
            Operation::Reload => {
                info!("reload: asked by uid {uid}, pid {pid}");
                client.outstanding += 1;
                self.ask_reload(Some(reply_to));
            }
            Operation::Stop => {
                info!("stopping: asked by uid {uid}, pid {pid}");
                reply_to.accept(gateway, json!({}));
                gateway.stop();
            }
        }
        Ok(())
    }
}
