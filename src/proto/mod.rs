//! The wire protocol: what the bytes between a device and a gateway mean. Floor 0.
//!
//! Pure: bytes in, values out. No clock (time is a parameter), no sockets, no ids, no logging.
//!
//! * [`splitter`] cuts a byte stream into objects by brace depth;
//! * [`message`] checks one object and names its `Type`;
//! * [`heartbeat`] counts how much silence a device has left;
//! * [`discovery`] says which UDP probes may be answered, and how many.
//!
//! Beneath them: `scan` finds an object's end, `json` checks the grammar of RFC 8259 in one pass,
//! `escapes` decodes, `member` finds one member, and `swar` looks at many bytes at a time. `grammar` checks an
//! object that is still unfinished, `framing` and `near` describe faults. `tails` keeps
//! what is unfinished.

pub mod discovery;
mod escapes;
mod framing;
mod grammar;
pub mod heartbeat;
mod json;
mod member;
pub mod message;
mod near;
mod object;
mod partial_objects;
mod scan;
pub mod splitter;
mod swar;
#[cfg(test)]
pub(crate) mod testing;

pub use discovery::*;
pub use framing::{FramingCause, FramingFault};
pub use heartbeat::{Beat, HeartbeatCredit, UnansweredBeats};
pub use message::{Kind, Message, MessageError, Reason, TYPE_BYTES_MAX};
pub use near::Near;
pub use object::Object;
pub use partial_objects::{PartialObjects, Reassembled};
pub use splitter::Splitter;
