//! pulsegate is a gateway for the devices of a LAN. It answers their discovery probes, splits their streams of unframed
//! JSON into objects, notices a dead device within seconds, and sends commands to devices.
//!
//! An application implements [`Handler`] and owns the thread:
//!
//! ```no_run
//! use pulsegate::{Context, Device, Handler, Kind, Message, Server};
//!
//! struct App;
//!
//! impl Handler for App {
//!     fn on_message(&mut self, device: &Device, message: &Message<'_>, gateway: &mut Context<'_>) {
//!         if message.kind() == Kind::Status {
//!             gateway.send(device.id(), "ack");
//!         }
//!     }
//! }
//!
//! fn main() -> Result<(), pulsegate::Error> {
//!     Server::builder().listen("0.0.0.0:5556".parse()?).discovery("0.0.0.0:5555".parse()?).build(App)?.run()
//! }
//! ```
//!
//! A program for a device uses the module [`device`].
//!
//! In scope: discovery, framing, the check of objects, heartbeats, commands, and bounds on all of them. Out of scope: the
//! meaning of messages, their storage, encryption.
//!
//! # Two tiers
//!
//! The names of this page are promised. A release that breaks their callers has a new major version (a new minor
//! version before 1.0). Types that can grow are `#[non_exhaustive]`: a caller begins with a default and sets fields.
//!
//! The module [`unstable`] is for programs that drive the gateway themselves, build another endpoint on the
//! reactor, or embed the protocol. Any release may change it.

mod blocks;
mod byte_size;
mod closed_list;
mod connection;
pub mod device;
mod endpoint;
mod gateway;
mod proto;
mod reactor;
mod server;
mod tick;
mod wheel;

pub mod unstable;

pub use byte_size::{ByteSize, ByteSizeError};
pub use closed_list::{ClosedList, Counters};
pub use connection::CreditFrom;
pub use endpoint::{ConnectionId, Credentials, Errno, ListenerId, StreamEnd};
pub use gateway::{
    Access, Bound, Broadcast, Cidr, CidrError, CloseReason, Command, CommandEnd, CommandReport, Context, Count,
    Delivery, Device, DeviceMap, Disconnect, Discovery, Glob, GlobError, Handler, Heartbeat, Histogram, Identification,
    Identity, InterfaceRule, Limits, Match, MatchError, Missing, Name, NameError, Queued, Receipt, Refusal, Remote,
    RemoteError, SendError, Settings, SettingsError, Stats, StreamEvent, Submitted, Takeover, Target, TargetError,
};
pub use proto::discovery::PORT as DISCOVERY_PORT;
pub use proto::{FramingCause, FramingFault, Kind, Message, MessageError, Near, Reason, Suppressed};
pub use reactor::TurnLimits;
pub use server::{Builder, Error, Server, TCP_PORT};
