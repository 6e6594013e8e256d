//! The trait that an application implements, and the types of its callbacks.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{CommandReport, Context, Name};
use crate::closed_list;
use crate::endpoint::{ConnectionId, Credentials, Errno, ListenerId, StreamEnd};
use crate::proto::{FramingFault, Kind, Message, MessageError};
use crate::tick::TICK;

/// An application of the gateway. Each callback runs on the thread of the event loop and should return soon, because the
/// gateway reads no device meanwhile. Actions on [`Context`] run after the callback has returned, and no other callback
/// runs inside it.
pub trait Handler {
    /// The event loop begins. This is the first callback, for instance to start timers.
    fn on_start(&mut self, gateway: &mut Context<'_>) {
        let _ = gateway;
    }

    /// A device has sent an accepted object. Heartbeat answers cause no callback.
    fn on_message(&mut self, device: &Device, message: &Message<'_>, gateway: &mut Context<'_>);

    /// A device has connected.
    fn on_connect(&mut self, device: &Device, gateway: &mut Context<'_>) {
        let _ = (device, gateway);
    }

    /// A device's connection has ended. This is the last callback with its id.
    fn on_disconnect(&mut self, device: &Device, end: &Disconnect, gateway: &mut Context<'_>) {
        let _ = (device, end, gateway);
    }

    /// The gateway has rejected an object of a device. The stream continues.
    fn on_rejected(&mut self, device: &Device, error: &MessageError, gateway: &mut Context<'_>) {
        let _ = (device, error, gateway);
    }

    /// A device has its name. The object with the name follows in the next callback, unless it is a heartbeat answer.
    fn on_identified(&mut self, device: &Device, gateway: &mut Context<'_>) {
        let _ = (device, gateway);
    }

    /// A command of [`Context::submit`] has ended. Each command has one such callback.
    fn on_command(&mut self, report: &CommandReport<'_>, gateway: &mut Context<'_>) {
        let _ = (report, gateway);
    }

    /// The delivery of the command that [`Context::send_tagged`] sent with this tag.
    fn on_sent(&mut self, tag: u64, delivery: Delivery, gateway: &mut Context<'_>) {
        let _ = (tag, delivery, gateway);
    }

    /// The gateway has refused a connection before it counted as a device.
    fn on_refused(&mut self, from: SocketAddr, refusal: Refusal, gateway: &mut Context<'_>) {
        let _ = (from, refusal, gateway);
    }

    /// An event of a local stream, from [`crate::Server::attach`] or from a listener of [`crate::Server::listen_unix`].
    fn on_stream(&mut self, stream: ConnectionId, event: StreamEvent<'_>, gateway: &mut Context<'_>) {
        let _ = (stream, event, gateway);
    }

    /// The timer of [`Context::set_timer`] with this key has expired. It does not repeat.
    fn on_timer(&mut self, key: u64, gateway: &mut Context<'_>) {
        let _ = (key, gateway);
    }
}

/// A connected device, at the begin of the callback.
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
    /// Returns the id of the connection. No other connection gets the same id.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Returns its address. An IPv4-mapped address is converted to IPv4.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its name, if an object has set it.
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Returns the IP part of [`Self::address`].
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// Returns the port part of [`Self::address`].
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the number of beats that it may still leave unanswered.
    pub fn credit(&self) -> u8 {
        self.credit
    }

    /// Returns the number of accepted objects, including heartbeat answers.
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// Returns the kind of its last message. Heartbeat answers do not count.
    pub fn last_kind(&self) -> Option<Kind> {
        self.last_kind
    }

    /// Returns the number of received bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the time since it connected, with the resolution of a [`TICK`].
    pub fn connected_for(&self) -> Duration {
        TICK * self.connected_for
    }

    /// Returns the time since its last accepted object or since it connected, with the resolution of a [`TICK`].
    pub fn idle_for(&self) -> Duration {
        TICK * self.idle_for
    }
}

/// The end of a device's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect {
    /// The close reason.
    pub reason: CloseReason,
    /// The partial object at the end: its position in the stream, and its received bytes. The gateway did not deliver them.
    pub unfinished: Option<(u64, usize)>,
    /// Bytes of commands that the kernel had not taken.
    pub unsent: usize,
}

closed_list! {
    /// The reason for the end of a connection.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum CloseReason {
        /// The device ended the connection.
        Closed => "closed",
        /// The connection failed with this error.
        Reset(Errno) => "reset",
        /// The device left too many beats unanswered (liveness timeout).
        Silent => "silent",
        /// The gateway cannot find the next object (framing error).
        Framing(FramingFault) => "framing",
        /// The gateway rejected too many objects in a row.
        Faulty => "faulty",
        /// The device took none of its queued bytes for too long (write timeout).
        Stalled => "stalled",
        /// The application removed the device.
        Removed => "removed",
/// New settings forbid its address. Or it exceeds
        /// [`Access::connections_per_ip_max`](crate::Access::connections_per_ip_max), and no older connection made place.
        Refused(Refusal) => "refused",
        /// The gateway is stopping.
        Shutdown => "shutdown",
        /// It held the most memory when the devices' share of the budget was used up. Or other devices waited for memory, and
        /// it sent nothing of its partial object.
        Memory => "memory",
/// A newer connection has its name. Or it had left beats unanswered, and a newer connection from its address took its
        /// place.
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
    /// The result of a command.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Delivery {
        /// The kernel has taken the whole command. The gateway does not know whether the device reads it.
        Sent => "sent",
        /// The connection ended before that.
        Lost(CloseReason) => "lost",
    }
}

closed_list! {
    /// The reason for a refused connection.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Refusal {
        /// `limits.connections_max` devices are connected.
        ConnectionsMax => "connections_max",
        /// The gateway is stopping.
        Shutdown => "shutdown",
        /// Its address may not connect.
        AddressDenied => "address_denied",
        /// The limit of connected devices with its address is reached.
        ConnectionsPerIpMax => "connections_per_ip_max",
    }
}

/// An event of a local stream.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEvent<'a> {
    /// A process has connected to a listener.
    Opened(ListenerId, Credentials),
    /// The process has sent bytes.
    Data(&'a [u8]),
    /// The process has half-closed the stream.
    End,
    /// The kernel has taken all queued bytes.
    Drained,
    /// The stream has ended. This is the last event with its id.
    Closed {
        /// The cause of the end.
        end: StreamEnd,
        /// Queued bytes that the kernel has not taken.
        unsent: &'a [u8],
    },
}
