//! The requests of an application. Layer 2.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::commands::{Command, Submitted};
use super::core::{CloseMode, Core};
use super::handler::{CloseReason, Device};
use super::identity::{Missing, Name};
use super::settings::{Settings, SettingsError};
use super::stats::Stats;
use crate::closed_list;
use crate::endpoint::ConnectionId;
use crate::proto::discovery::canonical;
use crate::tick::{TICK, Tick};

/// Lent to every callback. Nothing is written and no other callback runs before the present one has
/// returned.
pub struct Context<'a> {
    core: &'a mut Core,
}

impl<'a> Context<'a> {
    pub(super) fn new(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Sends a command, if it can be: a refusal is counted in [`Stats`], nothing more.
    /// [`Self::try_send`] tells.
    pub fn send(&mut self, to: impl Into<Target>, text: impl AsRef<[u8]>) {
        // The counters have noted a refusal.
        let _ = self.try_send(to, text);
    }

    /// Queues a command for one device, whole, with the terminator behind it. An IP address with
    /// several connections means the newest of them.
    ///
    /// # Errors
    /// If there is no such device, if too much already waits for it
    /// ([`super::Limits::outbox_bytes_max`]), or if the text is empty or contains what stands between messages: the
    /// terminator, or without one a beat.
    pub fn try_send(&mut self, to: impl Into<Target>, text: impl AsRef<[u8]>) -> Result<Queued, SendError> {
        self.core.send(to.into(), text.as_ref(), None)
    }

    /// As [`Self::try_send`], and when the kernel has all of the command, or never will,
    /// [`super::Handler::on_sent`] tells so under `tag`.
    ///
    /// # Errors
    /// As [`Self::try_send`]; then no [`super::Handler::on_sent`] follows.
    pub fn send_tagged(
        &mut self,
        to: impl Into<Target>,
        text: impl AsRef<[u8]>,
        tag: u64,
    ) -> Result<Queued, SendError> {
        self.core.send(to.into(), text.as_ref(), Some(tag))
    }

    /// Sends a command whose end [`super::Handler::on_command`] reports once: sent, answered, or why not. It may wait for a
    /// name that is not connected.
    ///
    /// # Errors
    /// As [`Self::try_send`], or if too many commands are out. No report follows an error.
    pub fn submit(&mut self, to: impl Into<Target>, command: &Command<'_>) -> Result<Submitted, SendError> {
        self.core.submit(to.into(), command)
    }

    /// The named devices that are not connected, the longest missing first.
    pub fn missing(&self) -> impl Iterator<Item = Missing<'_>> {
        self.missing_after(0)
    }

    /// The missing devices behind that number. A caller can read a long list piece by piece.
    pub fn missing_after(&self, last: u64) -> impl Iterator<Item = Missing<'_>> {
        self.core.registry.missing(last, self.core.now)
    }

    /// Commands from [`Self::submit`] that wait for a name, and that await an answer.
    pub fn commands_out(&self) -> (usize, usize) {
        (self.core.commands.waiting(), self.core.commands.awaiting())
    }

    /// Closes every connection that `target` means, when what is queued for it has gone out, within
    /// [`super::Limits::close_timeout`]. Tells how many there were.
    pub fn remove(&mut self, target: impl Into<Target>) -> usize {
        let found: Vec<_> = self.core.find(target.into()).map(|(id, _)| id).collect();
        found.into_iter().filter(|&id| self.core.begin_close(id, CloseReason::Removed, CloseMode::Graceful)).count()
    }

    /// A device, if it is connected.
    pub fn device(&self, id: ConnectionId) -> Option<Device> {
        self.core.device(id)
    }

    /// All connected devices.
    pub fn devices(&self) -> impl Iterator<Item = Device> {
        self.devices_after(None)
    }

    /// The connected devices behind the one of that id, in the order of their slots: a list that is
    /// too long for one buffer is gone through piece by piece.
    pub fn devices_after(&self, last: Option<ConnectionId>) -> impl Iterator<Item = Device> {
        let from = last.map_or(0, |id| id.index() + 1);
        self.core.slots.devices_from(from).filter_map(|(id, _)| self.core.device(id))
    }

    /// Calls `visit` for every connected device. It may send, close and ask, so this is the way to command many devices.
    pub fn for_each_device(&mut self, mut visit: impl FnMut(&Device, &mut Context<'_>)) {
        let mut last = None;
        loop {
            let next = self.devices_after(last).next();
            let Some(device) = next else { return };
            last = Some(device.id());
            visit(&device, self);
        }
    }

    /// Queues a command for every connected device, each whole or not at all.
    pub fn broadcast(&mut self, text: impl AsRef<[u8]>) -> Broadcast {
        let mut result = Broadcast { queued: 0, refused: 0 };
        self.for_each_device(|device, gateway| match gateway.try_send(device.id(), text.as_ref()) {
            Ok(_) => result.queued += 1,
            Err(_) => result.refused += 1,
        });
        result
    }

    /// How many devices are connected.
    pub fn connections(&self) -> usize {
        self.core.slots.device_count()
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.core.stats
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }

    /// Takes over new settings, see [`super::Gateway::configure`].
    ///
    /// # Errors
    /// If they do not pass [`Settings::check`]; then nothing is changed.
    pub fn configure(&mut self, settings: Settings) -> Result<(), SettingsError> {
        settings.check()?;
        self.core.configure(settings);
        Ok(())
    }

    /// Bytes of the memory budget that are used, and how many devices wait for some to be free.
    pub fn memory(&self) -> (usize, usize) {
        (self.core.memory.held(), self.core.memory.waiting())
    }

    /// Bytes of buffers held: for unfinished objects, and for what waits to be sent. Walks over all
    /// devices.
    pub fn buffered(&self) -> (usize, usize) {
        self.core.memory.parts()
    }

    /// How long the gateway has been running, to a [`TICK`].
    pub fn uptime(&self) -> Duration {
        TICK * self.core.now.since(Tick::default())
    }

    /// Begins a stop: no one is accepted any more, and every device gets what is queued for it and is
    /// closed, within [`super::Limits::close_timeout`].
    pub fn stop(&mut self) {
        self.core.stop();
    }

    /// Starts the timer of `key`: [`super::Handler::on_timer`] gets the key once, `after` from the present callback,
    /// which is at least 1 ms. A running timer of this key starts anew.
    pub fn set_timer(&mut self, key: u64, after: Duration) {
        self.core.timers.set(key, self.core.instant + after.max(TIMER_MIN));
    }

    /// Stops the timer of `key`. Returns whether it was running.
    pub fn cancel_timer(&mut self, key: u64) -> bool {
        self.core.timers.cancel(key)
    }

    /// Queues bytes for a local stream, whole or not at all: whether they fitted.
    #[must_use]
    pub fn write(&mut self, stream: ConnectionId, bytes: &[u8]) -> bool {
        self.core.write(stream, bytes, false)
    }

    /// As [`Self::write`], for an answer to what the local process has asked. Memory is reserved for answers, which events
    /// cannot take.
    #[must_use]
    pub fn write_answer(&mut self, stream: ConnectionId, bytes: &[u8]) -> bool {
        self.core.write(stream, bytes, true)
    }

    /// Changes how many bytes may wait for a local stream. What waits already stays.
    pub fn set_outbox_max(&mut self, stream: ConnectionId, outbox_bytes_max: usize) {
        self.core.set_outbox_max(stream, outbox_bytes_max);
    }

    /// Closes a local stream once what was written to it has been taken.
    pub fn close(&mut self, stream: ConnectionId) {
        self.core.close_app_stream(stream);
    }
}

/// The shortest timer. A callback that restarts its timer each time does not block the event loop.
const TIMER_MIN: Duration = Duration::from_millis(1);

/// The result of [`Context::broadcast`], in devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broadcast {
    /// The command is queued for these.
    pub queued: usize,
    /// The command was refused for these, for instance because their send queue is full.
    pub refused: usize,
}

/// Which device is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// One connection.
    Id(ConnectionId),
    /// The connection from that address and port.
    Address(SocketAddr),
    /// Every connection from that address; for a command, the newest.
    Ip(IpAddr),
    /// The connection of that name.
    Name(Name),
}

impl Target {
    /// Whether it means a connection from `address` of that id; one that was refused has none. An IPv6 address
    /// without a zone means it on any link (RFC 4007, section 11): events and tables show no zone.
    ///
    /// A name means no address: see [`Self::means_device`].
    pub fn means(self, id: Option<ConnectionId>, address: SocketAddr) -> bool {
        match (self, address) {
            (Self::Name(_), _) => false,
            (Self::Id(wanted), _) => id == Some(wanted),
            (Self::Ip(wanted), _) => wanted == address.ip(),
            (Self::Address(SocketAddr::V6(wanted)), SocketAddr::V6(address)) => {
                (wanted.ip(), wanted.port()) == (address.ip(), address.port())
                    && (wanted.scope_id() == 0 || wanted.scope_id() == address.scope_id())
            }
            (Self::Address(wanted), _) => wanted == address,
        }
    }
}

impl Target {
    /// Whether it means a device.
    pub fn means_device(&self, device: &Device) -> bool {
        match self {
            Self::Name(name) => device.name() == Some(name),
            target => target.means(Some(device.id()), device.address()),
        }
    }
}

impl From<Name> for Target {
    fn from(name: Name) -> Self {
        Self::Name(name)
    }
}

impl From<ConnectionId> for Target {
    fn from(id: ConnectionId) -> Self {
        Self::Id(id)
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::Address(canonical(address))
    }
}

impl From<IpAddr> for Target {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip.to_canonical())
    }
}

/// `#ID`, `@NAME`, `IP:PORT` or `IP`, as people write it.
impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(number) = text.strip_prefix('#') {
            let id = number.parse().ok().and_then(ConnectionId::from_u64);
            return id.map(Self::Id).ok_or(TargetError);
        }
        if let Some(name) = text.strip_prefix('@') {
            return Name::new(name).map(Self::Name).ok_or(TargetError);
        }
        let address = text.parse::<SocketAddr>().map(Self::from);
        address.or_else(|_| text.parse::<IpAddr>().map(Self::from)).map_err(|_| TargetError)
    }
}

/// A text that means no device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetError;

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected #ID, @NAME, IP:PORT or IP, for example '#7', @pump-7, 192.0.2.7:40112 or 192.0.2.7")
    }
}

impl std::error::Error for TargetError {}

/// A command that was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// The connection that it goes to.
    pub id: ConnectionId,
    /// How many connections were meant; it goes to the newest.
    pub of: usize,
}

closed_list! {
    /// Why a command was refused.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum SendError {
        /// It does not fit behind the bytes that already wait for the device.
        Full {
            /// Bytes that wait.
            waiting: usize,
            /// Bytes that may wait.
            max: usize,
        } => "outbox_full",
        /// It does not fit behind the commands that already wait for the name.
        QueueFull {
            /// Bytes that wait.
            waiting: usize,
            /// Bytes that may wait.
            max: usize,
        } => "queue_full",
        /// As many commands from [`Context::submit`] are out as may be.
        TooMany => "too_many_commands",
        /// The memory budget is used up.
        Memory => "no_memory",
        /// No device of that name is connected.
        NoSuchDevice => "no_such_device",
        /// There is nothing to send.
        Empty => "bad_request",
        /// It contains the payload of a beat, which the device would take for a beat. Where there is a terminator, only a
        /// text that is nothing else is refused.
        HasBeat => "contains_beat",
        /// It contains the terminator, so the device would take it for several commands.
        HasTerminator => "contains_terminator",
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchDevice => f.write_str("no such device is connected"),
            Self::Full { waiting, max } => {
                write!(f, "the command does not fit: {waiting} bytes already wait for the device, {max} may")
            }
            Self::QueueFull { waiting, max } => {
                write!(f, "the command does not fit: {waiting} bytes already wait for the name, {max} may")
            }
            Self::TooMany => f.write_str("too many commands wait for a device or an answer"),
            Self::Memory => f.write_str("the gateway's memory budget is used up"),
            Self::Empty => f.write_str("a command needs at least one byte"),
            Self::HasBeat => f.write_str(
                "the command contains heartbeat.payload, which the device would take for a beat: set a terminator, \
                 or another payload",
            ),
            Self::HasTerminator => {
                f.write_str("the command contains the terminator, so the device would take it for several commands")
            }
        }
    }
}

impl std::error::Error for SendError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_as_people_write_them() {
        let check = |text: &str, expected: Result<Target, TargetError>| {
            assert_eq!(text.parse::<Target>(), expected, "{text}");
        };
        check("#7", Ok(Target::Id(ConnectionId::new(7, 0))));
        check("192.0.2.7", Ok(Target::Ip([192, 0, 2, 7].into())));
        check("::ffff:192.0.2.7", Ok(Target::Ip([192, 0, 2, 7].into())));
        check("192.0.2.7:80", Ok(Target::Address(([192, 0, 2, 7], 80).into())));
        check("[::ffff:192.0.2.7]:80", Ok(Target::Address(([192, 0, 2, 7], 80).into())));
        check("@pump 7", Ok(Target::Name(Name::new("pump 7").unwrap())));
        check("@", Err(TargetError));
        check("@a\n", Err(TargetError));
        check("7", Err(TargetError));
        check("#x", Err(TargetError));
        check("#99999999999999999999", Err(TargetError));
    }
}
