//! A handle on the gateway for other threads. Floor 2.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use super::{Context, Device, Queued, SendError, Target};

/// Sends, removes and stops from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    requests: SyncSender<Request>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Remote {
    /// Sends a command, as [`Context::try_send`] does.
    ///
    /// # Errors
    /// [`RemoteError::Ended`], or [`RemoteError::Busy`] while too many requests wait.
    pub fn send(&self, to: impl Into<Target>, text: impl Into<Vec<u8>>) -> Result<Receipt<Queued>, RemoteError> {
        self.ask(|reply| Request::Send { to: to.into(), text: text.into(), reply })
    }

    /// Closes connections, as [`Context::remove`] does.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn remove(&self, target: impl Into<Target>) -> Result<Receipt<usize>, RemoteError> {
        self.ask(|reply| Request::Remove { target: target.into(), reply })
    }

    /// Lists the connected devices, as [`Context::devices`] does.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn devices(&self) -> Result<Receipt<Vec<Device>>, RemoteError> {
        self.ask(|reply| Request::Devices { reply })
    }

    /// Begins a stop, as [`Context::stop`] does.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn stop(&self) -> Result<(), RemoteError> {
        self.hand_over(Request::Stop)
    }

    fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<Receipt<T>, RemoteError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.hand_over(request(reply))?;
        Ok(Receipt(answer))
    }

    fn hand_over(&self, request: Request) -> Result<(), RemoteError> {
        self.requests.try_send(request).map_err(|e| match e {
            TrySendError::Full(_) => RemoteError::Busy,
            TrySendError::Disconnected(_) => RemoteError::Ended,
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

/// The place where the answer to a request arrives. A caller that needs no answer drops it.
#[derive(Debug)]
pub struct Receipt<T>(Receiver<Result<T, RemoteError>>);

type Reply<T> = SyncSender<Result<T, RemoteError>>;

impl<T> Receipt<T> {
    /// Waits for the answer, at most `timeout`. The gateway's own thread answers, so that a callback uses [`Context`]
    /// instead.
    ///
    /// # Errors
    /// [`RemoteError::Refused`], [`RemoteError::Timeout`] or [`RemoteError::Ended`].
    pub fn wait(self, timeout: Duration) -> Result<T, RemoteError> {
        self.0.recv_timeout(timeout).map_err(|e| match e {
            RecvTimeoutError::Timeout => RemoteError::Timeout,
            RecvTimeoutError::Disconnected => RemoteError::Ended,
        })?
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteError {
    /// Too many requests wait.
    Busy,
    /// The answer did not come in time. The gateway may still carry the request out.
    Timeout,
    /// The gateway refused the command.
    Refused(SendError),
    /// The gateway has ended.
    Ended,
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many requests wait for the gateway"),
            Self::Timeout => f.write_str("the gateway did not answer in time"),
            Self::Refused(error) => error.fmt(f),
            Self::Ended => f.write_str("the gateway has ended"),
        }
    }
}

impl std::error::Error for RemoteError {}

pub(super) enum Request {
    Send { to: Target, text: Vec<u8>, reply: Reply<Queued> },
    Remove { target: Target, reply: Reply<usize> },
    Devices { reply: Reply<Vec<Device>> },
    Stop,
}

impl Request {
    pub(super) fn execute(self, gateway: &mut Context<'_>) {
        // The other thread may have dropped its receipt: then the answer has no reader.
        match self {
            Self::Send { to, text, reply } => {
                _ = reply.try_send(gateway.try_send(to, text).map_err(RemoteError::Refused));
            }
            Self::Remove { target, reply } => _ = reply.try_send(Ok(gateway.remove(target))),
            Self::Devices { reply } => _ = reply.try_send(Ok(gateway.devices().collect())),
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
