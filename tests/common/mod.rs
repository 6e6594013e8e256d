//! Shared parts of the tests: seeded random numbers, a recording handler, and a simulated network without sockets. In that
//! network the test controls the time.

#![allow(dead_code, unused_imports, reason = "each test uses its part")]

mod environment;
mod kernel_calls;
mod network;
mod objects;
mod recorder;
mod rng;
mod sim_device;
mod sim_kernel;

pub(crate) use environment::{number, program, setting};
pub(crate) use network::{LOCAL, LOCAL_OUTBOX_BYTES_MAX, Network, RESET, TICK, brief};
pub(crate) use objects::{device_address, object, object_of, rejected_samples, v4};
pub(crate) use recorder::{Recorder, Seen};
pub(crate) use rng::{Rng, base_seed, fixed_seed};
pub(crate) use sim_device::{Cut, SimDevice, SimDeviceId};
pub(crate) use sim_kernel::{Call, Faults, SimKernel};
