//! The application's side of a command: its wishes, and the report of its end. Layer 2.

use std::net::SocketAddr;
use std::time::Duration;

use super::Match;
use crate::closed_list;
use crate::endpoint::ConnectionId;
use crate::gateway::handler::CloseReason;
use crate::gateway::{Name, Queued, SendError};
use crate::proto::Message;

/// A command with what its sender wants to hear, for [`Context::submit`](crate::Context::submit).
#[derive(Debug, Clone)]
pub struct Command<'a> {
    pub(super) text: &'a [u8],
    pub(super) answer: Option<(Match, Duration)>,
    pub(super) queue_for: Option<Duration>,
}

impl<'a> Command<'a> {
    /// A command whose sender is notified when the kernel has taken it.
    pub fn new(text: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { text: text.as_ref(), answer: None, queue_for: None }
    }

    /// The sender awaits an answer for at most `timeout`, from the time when the command is in the device's send queue.
    #[must_use]
    pub fn answer(mut self, answer: Match, timeout: Duration) -> Self {
        self.answer = Some((answer, timeout));
        self
    }

    /// The command may wait for a name that is not connected, for at most `duration`.
    #[must_use]
    pub fn queue_for(mut self, duration: Duration) -> Self {
        self.queue_for = Some(duration);
        self
    }
}

/// A command that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    /// Its number, by which [`CommandReport`] names it. No other command of the gateway has it.
    pub command: u64,
    /// The connection whose send queue it is in. `None`: it waits for a name.
    pub queued: Option<Queued>,
}

/// The end of a command. Each command has exactly one.
#[derive(Debug)]
#[non_exhaustive]
pub struct CommandReport<'a> {
    /// The number from [`Submitted`].
    pub command: u64,
    /// The connection that it was sent to, and its address.
    pub device: Option<(ConnectionId, SocketAddr)>,
    /// The name that it was meant for, or that its connection had.
    pub name: Option<Name>,
    /// How it ended.
    pub end: CommandEnd,
    /// The object that answers it, if one does. [`Handler::on_message`](crate::Handler::on_message) had it before.
    pub answer: Option<&'a Message<'a>>,
}

closed_list! {
    /// How a command ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum CommandEnd {
        /// The kernel has all of it, and the sender awaits no answer.
        Sent => "sent",
        /// An object of the device answers it.
        Answered => "answered",
        /// No answer came in time.
        Timeout => "timeout",
        /// Its name did not connect in time.
        Expired => "expired",
        /// The connection ended before the command was sent or answered.
        Lost(CloseReason) => "lost",
        /// The name connected, and the gateway refused the command then.
        Refused(SendError) => "refused",
    }
}
