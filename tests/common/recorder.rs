//! An application that records its callbacks.

use std::net::SocketAddr;

use pulsegate::{
    CommandEnd, CommandReport, ConnectionId, Context, Delivery, Device, Disconnect, Handler, Message, MessageError,
    Name, Refusal, StreamEvent,
};

/// A callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Connect(ConnectionId, SocketAddr),
    Message(ConnectionId, Vec<u8>),
    Rejected(ConnectionId, MessageError),
    Disconnect(ConnectionId, SocketAddr, Disconnect),
    Refused(SocketAddr, Refusal),
    Sent(u64, Delivery),
    Identified(ConnectionId, Name),
    /// The end of a command, and the object that answers it.
    Command(u64, CommandEnd, Option<Vec<u8>>),
    /// A local process has connected.
    Opened(ConnectionId),
    /// A local process has sent bytes.
    Received(ConnectionId, Vec<u8>),
    /// A local process has half-closed its stream.
    End(ConnectionId),
    /// The stream of a local process is closed.
    Gone(ConnectionId),
}

impl Seen {
    /// Returns the connection of the callback.
    pub(crate) fn id(&self) -> Option<ConnectionId> {
        match self {
            Self::Connect(id, _) | Self::Message(id, _) | Self::Rejected(id, _) | Self::Disconnect(id, _, _) => {
                Some(*id)
            }
            Self::Opened(id) | Self::Received(id, _) | Self::End(id) | Self::Gone(id) => Some(*id),
            Self::Identified(id, _) => Some(*id),
            Self::Refused(..) | Self::Sent(..) | Self::Command(..) => None,
        }
    }
}

/// An action of a test inside `on_message`.
pub(crate) type Reaction = Box<dyn FnMut(&Device, &Message<'_>, &mut Context<'_>) + Send>;

#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) seen: Vec<Seen>,
    pub(crate) reaction: Option<Reaction>,
}

impl Recorder {
    /// Returns the objects of one connection.
    pub(crate) fn messages_of(&self, id: ConnectionId) -> Vec<&[u8]> {
        let of = |seen: &Seen| seen.id() == Some(id);
        self.seen.iter().filter(|seen| of(seen)).filter_map(message).collect()
    }

    /// Returns the disconnects in order.
    pub(crate) fn ends(&self) -> Vec<(ConnectionId, Disconnect)> {
        let end = |seen: &Seen| match *seen {
            Seen::Disconnect(id, _, end) => Some((id, end)),
            _ => None,
        };
        self.seen.iter().filter_map(end).collect()
    }

    /// Returns the connects in order.
    pub(crate) fn connects(&self) -> Vec<(ConnectionId, SocketAddr)> {
        let connect = |seen: &Seen| match *seen {
            Seen::Connect(id, address) => Some((id, address)),
            _ => None,
        };
        self.seen.iter().filter_map(connect).collect()
    }
}

fn message(seen: &Seen) -> Option<&[u8]> {
    match seen {
        Seen::Message(_, bytes) => Some(bytes),
        _ => None,
    }
}

impl Handler for Recorder {
    fn on_message(&mut self, device: &Device, message: &Message<'_>, gateway: &mut Context<'_>) {
        self.seen.push(Seen::Message(device.id(), message.bytes().to_vec()));
        if let Some(reaction) = &mut self.reaction {
            reaction(device, message, gateway);
        }
    }

    fn on_connect(&mut self, device: &Device, _: &mut Context<'_>) {
        self.seen.push(Seen::Connect(device.id(), device.address()));
    }

    fn on_disconnect(&mut self, device: &Device, end: &Disconnect, _: &mut Context<'_>) {
        self.seen.push(Seen::Disconnect(device.id(), device.address(), *end));
    }

    fn on_rejected(&mut self, device: &Device, error: &MessageError, _: &mut Context<'_>) {
        self.seen.push(Seen::Rejected(device.id(), *error));
    }

    fn on_sent(&mut self, tag: u64, delivery: Delivery, _: &mut Context<'_>) {
        self.seen.push(Seen::Sent(tag, delivery));
    }

    fn on_identified(&mut self, device: &Device, _: &mut Context<'_>) {
        self.seen.push(Seen::Identified(device.id(), *device.name().expect("a name")));
    }

    fn on_command(&mut self, report: &CommandReport<'_>, _: &mut Context<'_>) {
        let answer = report.answer.map(|message| message.bytes().to_vec());
        self.seen.push(Seen::Command(report.command, report.end, answer));
    }

    fn on_stream(&mut self, stream: ConnectionId, event: StreamEvent<'_>, _: &mut Context<'_>) {
        match event {
            StreamEvent::Opened(..) => self.seen.push(Seen::Opened(stream)),
            StreamEvent::Data(bytes) => self.seen.push(Seen::Received(stream, bytes.to_vec())),
            StreamEvent::End => self.seen.push(Seen::End(stream)),
            StreamEvent::Closed { .. } => self.seen.push(Seen::Gone(stream)),
            _ => {}
        }
    }

    fn on_refused(&mut self, from: SocketAddr, refusal: Refusal, _: &mut Context<'_>) {
        self.seen.push(Seen::Refused(from, refusal));
    }
}
