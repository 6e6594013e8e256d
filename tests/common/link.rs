//! One virtual device and its wire, up to and including the gateway's socket at the end of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pulsegate::ConnectionId;
use pulsegate::unstable::connection::{ClientConnection, Heard};

/// A device's number in its network. It never means another device.
pub(crate) type SimDeviceId = usize;

/// How the bytes of a device are cut into reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// As they have come.
    Whole,
    /// The number of bytes that each read takes.
    Every(usize),
    /// Anywhere.
    Anywhere,
}

/// One device and its wire.
#[derive(Debug)]
pub(crate) struct SimDevice {
    /// `None` until the gateway has let it in.
    pub(crate) id: Option<ConnectionId>,
    /// A process on the gateway's own machine, and no device: it answers no beats.
    pub(crate) local: bool,
    pub(crate) address: SocketAddr,
    /// One way.
    pub(crate) latency: Duration,
    pub(crate) cut: Cut,
    /// The time that the gateway works for each byte of this device.
    pub(crate) byte_cost: Duration,
    /// Whether it answers beats.
    pub(crate) answers: bool,
    /// Whether it reads what is sent to it. See [`super::Network::set_reading`].
    pub(crate) reading: bool,
    /// Bytes that the path holds for a device that does not read.
    pub(crate) window: usize,
    /// Whether the kernel at times takes less than would fit.
    pub(crate) short_writes: bool,
    /// The gateway has been given the stream, and has not closed it.
    pub(crate) open: bool,
    /// The device, or the cable to it, is gone without a word.
    pub(crate) vanished: bool,
    /// The kernel broke the stream, though nobody wanted it.
    pub(crate) broken: bool,
    /// Bytes that it has sent or is about to: where in its stream the next one will stand.
    pub(crate) sent: u64,
    /// The answers to beats that it sent, by where they stand in its stream; emptied by who wants to know.
    pub(crate) answered: Vec<u64>,
    /// The gateway has been told of the end of its sending.
    pub(crate) end_told: bool,
    /// Bytes that were handed to the gateway.
    pub(crate) delivered: u64,
    /// When the last of them were.
    pub(crate) delivered_at: Instant,
    /// Bytes that the kernel took from the gateway.
    pub(crate) taken: u64,
    /// How many of them are no beats.
    pub(crate) text_taken: u64,
    /// When it took the last of them.
    pub(crate) taken_at: Instant,
    /// The kernel took less than it was offered.
    pub(crate) blocked: bool,
    /// When it last took bytes after that, which shows that the device lives.
    pub(crate) unblocked_at: Instant,
    /// When something last waited to be taken: meanwhile no beat is sent.
    pub(crate) waited_at: Instant,
    /// Something waits to be taken, and since when.
    pub(crate) waiting: bool,
    pub(crate) waiting_since: Instant,
    /// When beats were heard.
    pub(crate) beats: Vec<Instant>,
    /// Commands that the device received.
    pub(crate) text: Vec<u8>,
    /// Whether the device has seen the gateway end the stream, and by an RST.
    pub(crate) ended: Option<bool>,
    client: ClientConnection,
    /// Tells commands and beats apart in what the kernel took.
    offered: ClientConnection,
    /// When the last of what it sent will have arrived: bytes do not overtake each other.
    pub(super) arrival: Instant,
    pub(super) unread: Vec<u8>,
    pub(super) socket: Socket,
}

/// The gateway's end of a link, as its kernel keeps it.
#[derive(Debug)]
pub(super) struct Socket {
    /// What has come and was not read.
    pub(super) received: VecDeque<u8>,
    /// The peer's end is behind it.
    pub(super) ended: bool,
    /// It broke; the error is told once.
    pub(super) reset: bool,
    pub(super) error: Option<i32>,
    /// Of the window.
    pub(super) used: usize,
    /// It takes nothing until then.
    pub(super) full_until: Option<Instant>,
    /// The token, and whether it is watched for being writable.
    pub(super) watched: Option<(usize, bool)>,
    /// Since when there has been something to read.
    pub(super) unread_since: Option<Instant>,
    /// Since when there has been room to write, or when that was last tried.
    pub(super) room_since: Instant,
    /// In the list of what is ready.
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
            end_told: false,
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

    /// The kernel takes bytes from the gateway.
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

    /// The device reads: how many beats it is to answer.
    pub(super) fn hear(&mut self, mut bytes: &[u8], now: Instant) -> usize {
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

    /// Whether reading it gives anything but `WouldBlock`.
    pub(super) fn is_readable(&self) -> bool {
        !self.received.is_empty() || self.ended || self.reset
    }

    pub(super) fn is_writable(&self, window: usize, now: Instant) -> bool {
        self.reset || self.used < window && self.full_until.is_none_or(|until| until <= now)
    }
}
