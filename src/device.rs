//! A device's end of the protocol: bytes go in, beats and commands come out. It has no sockets and no clock.
//!
//! A program for a device needs the library alone:
//!
//! ```toml
//! [dependencies]
//! pulsegate = { version = "0.1", default-features = false }
//! ```
//!
//! `docs/protocol.md` describes the bytes, and `examples/device.rs` is a complete device. The device
//!
//! 1. sends any datagram to UDP port [`DISCOVERY_PORT`](crate::DISCOVERY_PORT) by broadcast, and waits for a datagram that is
//!    [`DISCOVERY_REPLY`],
//! 2. connects to the sender of this datagram on TCP port [`TCP_PORT`](crate::TCP_PORT),
//! 3. sends JSON objects with a top-level string `Type`, one behind the other,
//! 4. passes received bytes to [`ClientLines`], or to [`ClientConnection`] where the gateway has no terminator,
//! 5. answers each beat with [`HEARTBEAT_ANSWER`] within one heartbeat interval,
//! 6. connects anew when the connection ends, or after 30 s without a byte from the gateway. It waits before each attempt:
//!    1 s to 30 s, with jitter.
//!
//! ```
//! use pulsegate::device::{ClientLines, HEARTBEAT_ANSWER, Line};
//!
//! let mut lines = ClientLines::new(b"\n", 4096);
//! let (mut sent, mut commands) = (Vec::new(), Vec::new());
//! // TCP may cut the stream anywhere.
//! for read in [&b"heartb"[..], b"eat\nset heartbeat 5\nreb", b"oot\n"] {
//!     let mut rest = read;
//!     loop {
//!         let (used, line) = lines.handle_data(rest);
//!         rest = &rest[used..];
//!         match line {
//!             Some(Line::Beat) => sent.extend_from_slice(HEARTBEAT_ANSWER),
//!             Some(Line::Command(text)) => commands.push(String::from_utf8_lossy(text).into_owned()),
//!             Some(Line::Overlong) => eprintln!("a command is too long"),
//!             None => break,
//!         }
//!     }
//! }
//! assert_eq!(sent, br#"{"Type":"Heartbeat"}"#);
//! assert_eq!(commands, ["set heartbeat 5", "reboot"]);
//! ```

pub use crate::connection::{ClientConnection, ClientLines, Heard, Line};
pub use crate::proto::discovery::REPLY as DISCOVERY_REPLY;
pub use crate::proto::heartbeat::ANSWER as HEARTBEAT_ANSWER;
