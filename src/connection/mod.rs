//! One peer's state, both ends of it: what has come of an object, what credit is left. Pure: bytes
//! and ticks go in, events come out. Floor 1.

mod client;
mod server;

pub use client::{ClientConnection, Heard};
pub use server::{CreditFrom, Event, Fault, Rules, ServerConnection};
