//! The parts under the promised names. **Any release may change this module.**
//!
//! * [`Gateway`] is the state machine without sockets. A program that has its own event loop drives it through
//!   [`endpoint::Endpoint`].
//! * [`reactor`] runs any other [`endpoint::Endpoint`] on sockets, as the simulator `pulsegate-swarm` does.
//! * [`connection`] and [`proto`] are the protocol of one stream, for both ends.
//! * [`tick`] and [`wheel`] are the timers.
//!
//! Each layer uses only the layers below: `proto`, `wheel`, `tick` and `endpoint` (0), `connection` (1), `gateway` (2),
//! `reactor` (3), the server (4). ARCHITECTURE.md has the reasons.
//!
//! ```
//! use pulsegate::unstable::proto::{PartialObjects, Reassembled, Splitter};
//!
//! let mut splitter = Splitter::new();
//! let (mut partial, mut reassembled) = (PartialObjects::new(), Reassembled::default());
//! let (used, object) = splitter.push(br#"{"Type":"Status"}{"#, 1024, &mut partial, &mut reassembled)?;
//! assert_eq!(used, 17);
//! assert_eq!(object.expect("the first object is complete").bytes, br#"{"Type":"Status"}"#);
//! # Ok::<(), pulsegate::FramingFault>(())
//! ```

pub use crate::gateway::{Gateway, InterfaceName};

/// The state of one stream, at the gateway's end and at the device's end.
pub mod connection {
    pub use crate::connection::*;
}

/// The sans-I/O interface between a state machine and the reactor.
pub mod endpoint {
    pub use crate::endpoint::*;
}

/// The wire protocol: the meaning of the bytes between a device and a gateway.
pub mod proto {
    pub use crate::proto::*;
}

/// The event loop, which owns every socket.
pub mod reactor {
    pub use crate::reactor::*;
}

/// Time in steps of 100 ms.
pub mod tick {
    pub use crate::tick::*;
}

/// A hashed timer wheel.
pub mod wheel {
    pub use crate::wheel::*;
}
