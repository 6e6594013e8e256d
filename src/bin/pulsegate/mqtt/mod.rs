//! `pulsegate mqtt`: passes messages of devices to an MQTT broker, and commands back. A process of its own beside the
//! gateway, on one thread.

mod backoff;
mod codec;
mod counters;
mod driver;
mod end;
mod lines;
mod presence;
mod queue;
pub(crate) mod resolve;
mod service;
mod session;
mod settings;
mod stats;
mod store;
mod topics;
mod uplink;
mod url;

pub(crate) use self::codec::Version;
#[cfg(test)]
pub(crate) use self::counters::Counter;
pub(crate) use self::queue::Full;
pub(crate) use self::service::run;
pub(crate) use self::stats::show as show_stats;
pub(crate) use self::topics::{Fixed, Template};
pub(crate) use self::url::Broker;
