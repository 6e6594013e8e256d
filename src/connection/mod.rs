//! One peer's state, at each end of a stream: the partial object, and the credit. Bytes and ticks go in, events come out.
//! Layer 1. A program for a device uses [`crate::device`].

mod client;
mod lines;
mod server;

pub use client::{ClientConnection, Heard};
pub use lines::{ClientLines, Line};
pub use server::{CreditFrom, Event, Fault, Rules, ServerConnection};
