//! The control socket: requests and answers as JSON Lines, for the commands of this program and for other programs. The
//! bytes of a request and the queued bytes of a client are bounded.

mod client;
mod dispatch;
mod operations;
mod reply;
mod request;
mod watch;

use pulsegate::{CommandReport, ConnectionId, Context, StreamEvent};
use serde_json::{Value, json};

use self::client::Client;
use self::operations::Sending;
use crate::events::Consumer;
use crate::stats::DaemonStats;

pub(crate) use self::reply::{ErrorWord, Refused, ReplyTo};
#[cfg(any(test, feature = "mqtt"))]
pub(crate) use self::request::REQUEST_BYTES_MAX;
/// The words and limits that the manual must name.
#[cfg(test)]
pub(crate) use self::{client::CLIENTS_MAX, operations::SENDING_MAX, request::Request};

pulsegate::closed_list! {
/// The operations of the control socket.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Operation {
        Ping => "ping",
        Devices => "devices",
        Send => "send",
        Remove => "remove",
        Watch => "watch",
        Stats => "stats",
        Config => "config",
        Reload => "reload",
        Stop => "stop",
    }
}

/// All clients of the control socket.
#[derive(Default)]
pub(crate) struct Control {
    clients: Vec<Client>,
    /// Commands whose senders await their end.
    sending: Vec<Sending>,
    /// The number of connections and requests. It orders clients by their last use.
    uses: u64,
    reloads: Vec<Option<ReplyTo>>,
    config_requests: Vec<ReplyTo>,
}

impl Control {
    /// The streams of all clients.
    pub(crate) fn streams(&self) -> impl Iterator<Item = ConnectionId> {
        self.clients.iter().map(Client::stream)
    }

    /// The clients that watch.
    pub(crate) fn consumers(&mut self) -> impl Iterator<Item = &mut Consumer> {
        self.clients.iter_mut().filter_map(Client::consumer)
    }

    /// Asks for a reload. A signal asks with `None` and gets no answer.
    pub(crate) fn ask_reload(&mut self, reply_to: Option<ReplyTo>) {
        self.reloads.push(reply_to);
    }

    /// The requests for a reload since the last call.
    pub(crate) fn take_reloads(&mut self) -> Vec<Option<ReplyTo>> {
        std::mem::take(&mut self.reloads)
    }

    /// The requests for the configuration since the last call.
    pub(crate) fn take_config_requests(&mut self) -> Vec<ReplyTo> {
        std::mem::take(&mut self.config_requests)
    }

    /// Answers `config`.
    pub(crate) fn configured(&mut self, reply_to: ReplyTo, config: &Value, gateway: &mut Context<'_>) {
        reply_to.accept(gateway, json!({ "config": config }));
        self.answered(reply_to.stream, gateway);
    }

    /// Answers `reload`.
    pub(crate) fn reloaded(
        &mut self,
        reply_to: ReplyTo,
        result: &Result<Vec<&'static str>, Refused>,
        gateway: &mut Context<'_>,
    ) {
        match result {
            Ok(changed) => reply_to.accept(gateway, json!({ "changed": changed })),
            Err(refused) => reply_to.refuse(gateway, refused),
        }
        self.answered(reply_to.stream, gateway);
    }

    /// Answers `send`: the command has ended. Returns whether it waited for a name or awaited an answer.
    pub(crate) fn command_ended(&mut self, report: &CommandReport<'_>, gateway: &mut Context<'_>) -> bool {
        let Some(at) = self.sending.iter().position(|sending| sending.command == report.command) else { return true };
        let sending = self.sending.remove(at);
        sending.reply(report, gateway);
        self.answered(sending.reply_to.stream, gateway);
        !sending.is_plain
    }

    /// Handles an event of a control stream.
    pub(crate) fn on_stream(
        &mut self,
        stream: ConnectionId,
        event: StreamEvent<'_>,
        figures: &DaemonStats,
        gateway: &mut Context<'_>,
    ) {
        match event {
            StreamEvent::Opened(_, credentials) => self.open(stream, credentials, gateway),
            StreamEvent::Data(bytes) => self.read(stream, bytes, figures, gateway),
            StreamEvent::Drained => {
                if let Some(client) = self.client(stream) {
                    client.resume(gateway);
                }
            }
            StreamEvent::End => self.end(stream, figures, gateway),
            _ => self.forget(stream),
        }
    }

    /// Counts an outstanding answer of a client as written.
    fn answered(&mut self, stream: ConnectionId, gateway: &mut Context<'_>) {
        if let Some(client) = self.client(stream) {
            client.answered(gateway);
        }
    }

    fn client(&mut self, stream: ConnectionId) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.stream() == stream)
    }

    fn forget(&mut self, stream: ConnectionId) {
        self.clients.retain(|client| client.stream() != stream);
    }
}

#[cfg(test)]
mod tests;
