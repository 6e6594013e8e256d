//! pulsegate finds devices on a LAN, cuts the JSON objects they send back to back out of their
//! streams, notices within seconds when one has died, and sends commands back.
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
//! In scope: discovery, cutting and checking, heartbeats, commands, and bounds on all of them. Out
//! of scope: what the messages mean, storing them, encryption.
//!
//! The library stands in floors, each of which knows only those below it: `proto`, [`wheel`],
//! [`tick`] and [`endpoint`] (0), [`connection`] (1), `gateway` (2), [`reactor`] (3), `server` (4).
//! ARCHITECTURE.md says why.

mod blocks;
mod byte_size;
mod closed_list;
pub mod connection;
pub mod endpoint;
mod gateway;
pub mod proto;
pub mod reactor;
mod server;
pub mod tick;
pub mod wheel;

pub use byte_size::{ByteSize, ByteSizeError};
pub use closed_list::{ClosedList, Counters};
pub use connection::CreditFrom;
pub use endpoint::{ConnectionId, Credentials, ListenerId, OsError, StreamEnd};
pub use gateway::{
    Access, Bound, Broadcast, Cidr, CidrError, CloseReason, Context, Count, Delivery, Device, DeviceMap, Disconnect,
    Discovery, Gateway, Glob, GlobError, Handler, Heartbeat, Histogram, InterfaceName, InterfaceRule, Limits, Queued,
    Receipt, Refusal, Remote, RemoteError, SendError, Settings, SettingsError, Stats, StreamEvent, Target, TargetError,
};
pub use proto::discovery::PORT as DISCOVERY_PORT;
pub use proto::{FramingCause, FramingFault, Kind, Message, MessageError, Near, Reason, Suppressed};
pub use reactor::{Io, TurnLimits};
pub use server::{Builder, Error, Server, TCP_PORT};
