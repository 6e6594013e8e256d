//! What the tests share: a seeded source of chance, a handler that writes down what it is told, and a network without
//! sockets in which time passes only as the test says.

#![allow(dead_code, unused_imports, reason = "each test uses its part")]

mod environment;
mod kernel;
mod link;
mod network;
mod objects;
mod recorder;
mod rng;
mod wires;

pub(crate) use environment::{number, program, setting};
pub(crate) use link::{Cut, SimDevice, SimDeviceId};
pub(crate) use network::{LOCAL, LOCAL_OUTBOX_BYTES_MAX, Network, RESET, TICK, brief};
pub(crate) use objects::{device_address, object, object_of, rejected_samples, v4};
pub(crate) use recorder::{Recorder, Seen};
pub(crate) use rng::{Rng, base_seed, fixed_seed};
pub(crate) use wires::{Call, Faults, SimKernel};
