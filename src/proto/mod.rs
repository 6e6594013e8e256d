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
//! `escapes` decodes, `member` finds one member, and `block` looks at many bytes at a time. `tails` keeps
//! what is unfinished.

mod block;
pub mod discovery;
mod escapes;
pub mod heartbeat;
mod json;
mod member;
pub mod message;
mod object;
mod scan;
pub mod splitter;
mod tails;
#[cfg(test)]
pub(crate) mod testing;

pub use discovery::*;
pub use heartbeat::{Beat, HeartbeatCredit, UnansweredBeats};
pub use message::{Kind, Message, MessageError, Reason, TYPE_BYTES_MAX};
pub use object::Object;
pub use splitter::{SplitError, SplitFault, Splitter};
pub use tails::{Tails, Whole};
