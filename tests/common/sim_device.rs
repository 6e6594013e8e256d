//! One virtual device with its network path and the gateway's socket at the end of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pulsegate::ConnectionId;
use pulsegate::unstable::connection::{ClientConnection, Heard};

/// A device's index in its network. It never refers to another device.
pub(crate) type SimDeviceId = usize;

/// The cuts of a device's bytes into reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A read takes all received bytes.
    Whole,
    /// A read takes this number of bytes.
    Every(usize),
    /// A read takes a random number of bytes.
    Anywhere,
}

/// One device and its network path.
#[derive(Debug)]
pub(crate) struct SimDevice {
    /// `None` until the gateway has accepted it.
    pub(crate) id: Option<ConnectionId>,
    /// Whether it is a local process, which answers no beats.
    pub(crate) local: bool,
    pub(crate) address: SocketAddr,
    /// The latency in one direction.
    pub(crate) latency: Duration,
    pub(crate) cut: Cut,
    /// The time that the gateway works for each byte of this device.
    pub(crate) byte_cost: Duration,
    /// Whether it answers beats.
    pub(crate) answers: bool,
    /// Whether it reads. See [`super::Network::set_reading`].
    pub(crate) reading: bool,
    /// Bytes that the path holds for a device that does not read.
    pub(crate) window: usize,
    /// Whether the kernel sometimes takes less than would fit.
    pub(crate) short_writes: bool,
    /// Whether the gateway has the stream open.
    pub(crate) open: bool,
    /// Whether the device or its cable has vanished without FIN or RST.
    pub(crate) vanished: bool,
    /// Whether an injected fault has failed the stream.
    pub(crate) broken: bool,
    /// Bytes that it has sent or scheduled, which is the position of the next one.
    pub(crate) sent: u64,
    /// The positions of its heartbeat answers in the stream. The reader of this list empties it.
    pub(crate) answered: Vec<u64>,
    /// Whether the gateway has received its half-close.
    pub(crate) end_delivered: bool,
    /// Bytes that the gateway has read.
    pub(crate) delivered: u64,
    /// The time of the last such read.
    pub(crate) delivered_at: Instant,
    /// Bytes that the kernel took from the gateway.
    pub(crate) taken: u64,
    /// The part of these bytes that is no beat.
    pub(crate) text_taken: u64,
    /// The time of the last such write.
    pub(crate) taken_at: Instant,
    /// Whether the last write was short.
    pub(crate) blocked: bool,
    /// The time of the last write after a short one, which is a sign of life.
    pub(crate) unblocked_at: Instant,
    /// The last time with queued bytes. Meanwhile the gateway sends no beat.
    pub(crate) waited_at: Instant,
    /// Whether the gateway has queued bytes, and since when.
    pub(crate) waiting: bool,
    pub(crate) waiting_since: Instant,
    /// The times of received beats.
    pub(crate) beats: Vec<Instant>,
    /// Commands that the device received.
    pub(crate) text: Vec<u8>,
    /// Whether the device has seen the gateway end the stream, and by an RST.
    pub(crate) ended: Option<bool>,
    client: ClientConnection,
    /// Separates commands and beats in the bytes that the kernel took.
    offered: ClientConnection,
    /// The arrival of its last bytes, because bytes do not overtake each other.
    pub(super) arrival: Instant,
    pub(super) unread: Vec<u8>,
    pub(super) socket: Socket,
}

/// The gateway's socket in the simulated kernel.
#[derive(Debug)]
pub(super) struct Socket {
    /// Received bytes that the gateway has not read.
    pub(super) received: VecDeque<u8>,
    /// Whether a FIN follows these bytes.
    pub(super) ended: bool,
    /// Whether the stream has failed. The kernel returns the error once.
    pub(super) reset: bool,
    pub(super) error: Option<i32>,
    /// Used bytes of the window.
    pub(super) used: usize,
    /// The socket takes no byte until this time.
    pub(super) full_until: Option<Instant>,
    /// The token, and whether the gateway waits for the EPOLLOUT edge.
    pub(super) watched: Option<(usize, bool)>,
    /// The time since which it is readable.
    pub(super) unread_since: Option<Instant>,
    /// The time since which it is writable, or of the last write.
    pub(super) room_since: Instant,
    /// Whether it is in the ready list.
    pub(super) listed: bool,
    /// The next close sends an RST.
    pub(super) aborted: bool,
}

impl SimDevice {
    pub(super) fn new(address: SocketAddr, local: bool, latency: Duration, cut: Cut, now: Instant) -> Self {
        Self {
            id: None,
            local,
            address,
            latency,
            cut,
            byte_cost: Duration::ZERO,
            answers: !local,
            reading: true,
            window: 128 << 10,
            short_writes: false,
            open: false,
            vanished: false,
            broken: false,
            sent: 0,
            answered: Vec::new(),
            end_delivered: false,
            delivered: 0,
            delivered_at: now,
            taken: 0,
            text_taken: 0,
            taken_at: now,
            blocked: false,
            unblocked_at: now,
            waited_at: now,
            waiting: false,
            waiting_since: now,
            beats: Vec::new(),
            text: Vec::new(),
            ended: None,
            client: ClientConnection::new(),
            offered: ClientConnection::new(),
            arrival: now,
            unread: Vec::new(),
            socket: Socket::new(now),
        }
    }

    /// Takes bytes from the gateway.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        self.socket.used += bytes.len();
        self.taken += bytes.len() as u64;
        if self.local {
            self.text_taken += bytes.len() as u64;
            return;
        }
        loop {
            let (used, heard) = self.offered.handle_data(bytes);
            bytes = &bytes[used..];
            match heard {
                Some(Heard::Text(text)) => self.text_taken += text.len() as u64,
                Some(Heard::Beat) => {}
                None => return,
            }
        }
    }

    /// Reads bytes. Returns the number of beats to answer.
    pub(super) fn receive_bytes(&mut self, mut bytes: &[u8], now: Instant) -> usize {
        self.socket.used -= bytes.len();
        if self.local {
            self.text.extend_from_slice(bytes);
            return 0;
        }
        let mut answers = 0;
        loop {
            let (used, heard) = self.client.handle_data(bytes);
            bytes = &bytes[used..];
            match heard {
                Some(Heard::Beat) => {
                    self.beats.push(now);
                    answers += usize::from(self.answers);
                }
                Some(Heard::Text(text)) => self.text.extend_from_slice(text),
                None => return answers,
            }
        }
    }
}

impl Socket {
    fn new(now: Instant) -> Self {
        Self {
            received: VecDeque::new(),
            ended: false,
            reset: false,
            error: None,
            used: 0,
            full_until: None,
            watched: None,
            unread_since: None,
            room_since: now,
            listed: false,
            aborted: false,
        }
    }

    /// Whether a read does not return `WouldBlock`.
    pub(super) fn is_readable(&self) -> bool {
        !self.received.is_empty() || self.ended || self.reset
    }

    pub(super) fn is_writable(&self, window: usize, now: Instant) -> bool {
        self.reset || self.used < window && self.full_until.is_none_or(|until| until <= now)
    }
}
