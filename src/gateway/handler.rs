//! The trait that an application implements. Layer 2.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{CommandReport, Context, Name};
use crate::closed_list;
use crate::endpoint::{ConnectionId, Credentials, Errno, ListenerId, StreamEnd};
use crate::proto::{FramingFault, Kind, Message, MessageError};
use crate::tick::TICK;

/// An application on the gateway. Every callback runs on the thread of the loop and should return
/// soon: while it runs, no device is heard. What it asks of [`Context`] is carried out after it has
/// returned; no other callback runs inside it.
pub trait Handler {
    /// The event loop begins: the first callback of all. Timers that run from the beginning start here.
    fn on_start(&mut self, gateway: &mut Context<'_>) {
        let _ = gateway;
    }

    /// A device has sent an object that passed every check. Heartbeat answers are not shown.
    fn on_message(&mut self, device: &Device, message: &Message<'_>, gateway: &mut Context<'_>);

    /// A device has connected.
    fn on_connect(&mut self, device: &Device, gateway: &mut Context<'_>) {
        let _ = (device, gateway);
    }

    /// A device is gone, and why. The last call for its id.
    fn on_disconnect(&mut self, device: &Device, end: &Disconnect, gateway: &mut Context<'_>) {
        let _ = (device, end, gateway);
    }

    /// An object of a device was dropped, and why; the stream goes on.
    fn on_rejected(&mut self, device: &Device, error: &MessageError, gateway: &mut Context<'_>) {
        let _ = (device, error, gateway);
    }

    /// A device has got its name, from the object that the next callback shows, unless that is a heartbeat answer.
    fn on_identified(&mut self, device: &Device, gateway: &mut Context<'_>) {
        let _ = (device, gateway);
    }

    /// A command from [`Context::submit`] has ended. There is one such call for each command.
    fn on_command(&mut self, report: &CommandReport<'_>, gateway: &mut Context<'_>) {
        let _ = (report, gateway);
    }

    /// A command from [`Context::send_tagged`] with this tag was sent or lost.
    fn on_sent(&mut self, tag: u64, delivery: Delivery, gateway: &mut Context<'_>) {
        let _ = (tag, delivery, gateway);
    }

    /// A connection was turned away before it counted as a device.
    fn on_refused(&mut self, from: SocketAddr, refusal: Refusal, gateway: &mut Context<'_>) {
        let _ = (from, refusal, gateway);
    }

    /// Something happened on a local stream: one that the application gave to
    /// [`crate::Server::attach`], or that came to a listener of [`crate::Server::listen_unix`].
    fn on_stream(&mut self, stream: ConnectionId, event: StreamEvent<'_>, gateway: &mut Context<'_>) {
        let _ = (stream, event, gateway);
    }

    /// The timer that [`Context::set_timer`] started under this key has expired. It does not repeat.
    fn on_timer(&mut self, key: u64, gateway: &mut Context<'_>) {
        let _ = (key, gateway);
    }
}

/// A connected device, as it stood when the callback began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    pub(super) id: ConnectionId,
    pub(super) address: SocketAddr,
    pub(super) connected_for: u32,
    pub(super) idle_for: u32,
    pub(super) credit: u8,
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) last_kind: Option<Kind>,
    pub(super) name: Option<Name>,
}

impl Device {
    /// The id of the connection, never used again for another.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Where it connects from; an IPv4 address is never written as IPv6.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name, once an object has given it.
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// The IP part of [`Self::address`].
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// The port part of [`Self::address`].
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Beats that it may still leave unanswered.
    pub fn credit(&self) -> u8 {
        self.credit
    }

    /// Objects accepted from it, heartbeat answers included.
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// What its last message was, heartbeat answers aside.
    pub fn last_kind(&self) -> Option<Kind> {
        self.last_kind
    }

    /// Bytes that came from it.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long it has been connected, to a [`TICK`].
    pub fn connected_for(&self) -> Duration {
        TICK * self.connected_for
    }

    /// How long ago the gateway accepted an object of it, or the connection if it has sent none, to a [`TICK`].
    pub fn idle_for(&self) -> Duration {
        TICK * self.idle_for
    }
}

/// How a device's connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect {
    /// Why.
    pub reason: CloseReason,
    /// The object that had not come whole: where it began in the stream, and how many of its bytes
    /// had come. They were not delivered.
    pub unfinished: Option<(u64, usize)>,
    /// Bytes of commands that the kernel had not taken.
    pub unsent: usize,
}

closed_list! {
    /// Why a connection ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum CloseReason {
        /// The device ended it.
        Closed => "closed",
        /// It write_error.
        Reset(Errno) => "reset",
        /// The device left too many beats unanswered.
        Silent => "silent",
        /// The stream cannot be cut into further objects.
        Framing(FramingFault) => "framing",
        /// Too many objects in a row were rejected.
        Faulty => "faulty",
        /// The device took no byte for too long while something waited for it.
        Stalled => "stalled",
        /// The application asked for it.
        Removed => "removed",
        /// Its address may no longer connect, by settings that came while it was connected. Or it was beyond
        /// [`Access::connections_per_ip_max`](crate::Access::connections_per_ip_max), and took no older connection's place.
        Refused(Refusal) => "refused",
        /// The gateway is stopping.
        Shutdown => "shutdown",
        /// When the memory budget was used up, it held more than any other; or it held a place that others
        /// waited for, and sent nothing.
        Memory => "memory",
        /// A newer connection has its name. Or it had left beats unanswered, and a newer connection from its address needed
        /// its place.
        Replaced => "replaced",
        /// Its name belongs to another connection.
        Conflict => "conflict",
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Reset(error) => write!(f, ": {error}"),
            Self::Refused(refusal) => write!(f, ": {refusal}"),
            Self::Framing(fault) => write!(f, ": {fault}"),
            _ => Ok(()),
        }
    }
}

closed_list! {
    /// What became of a command.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Delivery {
        /// The kernel has all of it. Whether the device reads it, nobody here can know.
        Sent => "sent",
        /// The connection ended before.
        Lost(CloseReason) => "lost",
    }
}

closed_list! {
    /// Why a connection was refused.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Refusal {
        /// As many devices are connected as may be.
        ConnectionsMax => "connections_max",
        /// The gateway is stopping.
        Shutdown => "shutdown",
        /// No device may connect from its address.
        AddressDenied => "address_denied",
        /// As many devices are connected from its address as may be.
        ConnectionsPerIpMax => "connections_per_ip_max",
    }
}

/// What happened on a local stream.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEvent<'a> {
    /// A process has connected to a listener.
    Opened(ListenerId, Credentials),
    /// Bytes have come.
    Data(&'a [u8]),
    /// The other end sends no more.
    End,
    /// Everything written has been taken, after something had to wait.
    Drained,
    /// The stream has ended. The last call for its id.
    Closed {
        /// Why it has ended.
        end: StreamEnd,
        /// Queued bytes that the kernel has not taken.
        unsent: &'a [u8],
    },
}
