//! The wire protocol: the meaning of the bytes between a device and a gateway.
//!
//! These modules take bytes and return values. They have no clock (time is a parameter), no sockets, no ids and no log.
//!
//! * [`splitter`] splits a byte stream into objects by brace depth,
//! * [`message`] checks one object and finds its `Type`,
//! * [`heartbeat`] counts the beats that a device may still leave unanswered,
//! * [`discovery`] decides which UDP probes get an answer, and how many.
//!
//! Their parts: `scan` finds the end of an object, and `json` checks the grammar of RFC 8259 in one pass. `grammar` checks
//! a partial object, and `partial_objects` holds it. `escapes` decodes strings, `member` finds one member, `identity` reads a name, and `swar` tests
//! eight bytes at a time. `framing` and `near` describe faults.

pub mod discovery;
mod escapes;
mod framing;
mod grammar;
pub mod heartbeat;
mod identity;
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
pub(crate) use escapes::unescape;
pub use framing::{FramingCause, FramingFault};
pub use heartbeat::{Beat, HeartbeatCredit, UnansweredBeats};
pub use identity::{NAME_BYTES_MAX, is_name};
pub use message::{Kind, Message, MessageError, Reason, TYPE_BYTES_MAX};
pub use near::Near;
pub use object::Object;
pub(crate) use partial_objects::PAGE_BYTES;
pub use partial_objects::{PartialObjects, Reassembled};
pub use splitter::Splitter;
