//! A handle on the gateway for other threads. Floor 2.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use super::{Commands, Queued, SendError, Target};

/// Sends, removes and stops from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    requests: SyncSender<Request>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Remote {
    /// Sends a command, as [`Commands::try_send`] does.
    ///
    /// # Errors
    /// If the gateway is gone, or has too many requests waiting.
    pub fn send(
        &self,
        to: impl Into<Target>,
        text: impl Into<Vec<u8>>,
    ) -> Result<Receipt<Result<Queued, SendError>>, RemoteError> {
        self.ask(|reply| Request::Send { to: to.into(), text: text.into(), reply })
    }

    /// Closes connections, as [`Commands::remove`] does.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn remove(&self, target: impl Into<Target>) -> Result<Receipt<usize>, RemoteError> {
        self.ask(|reply| Request::Remove { target: target.into(), reply })
    }

    /// Begins a stop, as [`Commands::stop`] does.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn stop(&self) -> Result<(), RemoteError> {
        self.hand_over(Request::Stop)
    }

    fn ask<T>(&self, request: impl FnOnce(SyncSender<T>) -> Request) -> Result<Receipt<T>, RemoteError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.hand_over(request(reply))?;
        Ok(Receipt(answer))
    }

    fn hand_over(&self, request: Request) -> Result<(), RemoteError> {
        self.requests.try_send(request).map_err(|e| match e {
            TrySendError::Full(_) => RemoteError::Busy,
            TrySendError::Disconnected(_) => RemoteError::Gone,
        })?;
        (self.wake)();
        Ok(())
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// What will become of a request. It may be dropped by who does not care.
#[derive(Debug)]
pub struct Receipt<T>(Receiver<T>);

impl<T> Receipt<T> {
    /// Waits for the answer. On the gateway's own thread that would be for ever: a callback uses
    /// [`Commands`].
    ///
    /// # Errors
    /// If the gateway is gone, or does not answer in time.
    pub fn wait(self, timeout: Duration) -> Result<T, RemoteError> {
        self.0.recv_timeout(timeout).map_err(|e| match e {
            RecvTimeoutError::Timeout => RemoteError::Busy,
            RecvTimeoutError::Disconnected => RemoteError::Gone,
        })
    }
}

/// Why a request did not reach the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteError {
    /// Too many requests wait, or the answer did not come in time.
    Busy,
    /// The gateway has ended.
    Gone,
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the gateway is busy",
            Self::Gone => "the gateway has ended",
        })
    }
}

impl std::error::Error for RemoteError {}

pub(super) enum Request {
    Send { to: Target, text: Vec<u8>, reply: SyncSender<Result<Queued, SendError>> },
    Remove { target: Target, reply: SyncSender<usize> },
    Stop,
}

impl Request {
    pub(super) fn carry_out(self, gateway: &mut Commands<'_>) {
        // A reply that nobody waits for any more is no fault.
        match self {
            Self::Send { to, text, reply } => drop(reply.try_send(gateway.try_send(to, text))),
            Self::Remove { target, reply } => drop(reply.try_send(gateway.remove(target))),
            Self::Stop => gateway.stop(),
        }
    }
}

/// The gateway's end of all [`Remote`]s.
pub(super) struct Requests {
    sender: SyncSender<Request>,
    waiting: Receiver<Request>,
}

impl Requests {
    /// Requests that may wait for the loop's next turn.
    const WAITING_MAX: usize = 64;

    pub(super) fn new() -> Self {
        let (sender, waiting) = mpsc::sync_channel(Self::WAITING_MAX);
        Self { sender, waiting }
    }

    pub(super) fn remote(&self, wake: Box<dyn Fn() + Send + Sync>) -> Remote {
        Remote { requests: self.sender.clone(), wake: wake.into() }
    }

    /// None is taken any more, and who waits for an answer is told that the gateway has ended.
    pub(super) fn close(&mut self) {
        self.waiting = mpsc::sync_channel(1).1;
    }

    /// Those that have come, no more than may wait at one time.
    pub(super) fn waiting(&mut self) -> impl Iterator<Item = Request> {
        self.waiting.try_iter().take(Self::WAITING_MAX)
    }
}
