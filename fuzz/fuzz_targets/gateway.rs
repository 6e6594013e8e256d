//! A gateway without sockets: any connections, bytes, ends, datagrams, commands and times, in any order that `Endpoint` allows.
//! The counters add up, every connect has its disconnect, and every accepted command has its delivery.
//!
//! Input: the settings, then operations with their arguments.

#![no_main]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use pulsegate::unstable::Gateway;
use pulsegate::unstable::endpoint::{Endpoint, Output, Peer, PacketInfo};
use pulsegate::{
    CloseReason, Context, ConnectionId, CreditFrom, Delivery, Device, Disconnect, Handler, ListenerId,
    Message, MessageError, Errno, Refusal, SendError, Settings, StreamEnd, Target,
};
use pulsegate_fuzz::{Bytes, beginning};

/// Every connected device and its callbacks.
#[derive(Default)]
struct App {
    devices: BTreeMap<ConnectionId, Vec<u8>>,
    /// Commands that wait for their report.
    tags: BTreeMap<u64, ConnectionId>,
    last_tag: u64,
    closed: u64,
    refused: u64,
}

impl App {
    fn send(&mut self, target: Target, text: &[u8], gateway: &mut Context<'_>) {
        self.last_tag += 1;
        match gateway.send_tagged(target, text, self.last_tag) {
            Ok(queued) => {
                assert!(self.devices.contains_key(&queued.id) && queued.of >= 1);
                assert_eq!(self.tags.insert(self.last_tag, queued.id), None);
            }
            Err(SendError::Empty) => assert!(text.is_empty()),
            Err(SendError::NoSuchDevice | SendError::Full { .. } | SendError::Memory) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

impl Handler for App {
    fn on_connect(&mut self, device: &Device, gateway: &mut Context<'_>) {
        assert_eq!(self.devices.insert(device.id(), Vec::new()), None, "an id is never used again");
        assert!(gateway.device(device.id()).is_some());
        if device.port() == 5555 {
            self.send(device.id().into(), b"welcome", gateway);
        }
    }

    fn on_message(&mut self, device: &Device, message: &Message<'_>, gateway: &mut Context<'_>) {
        let sent = &self.devices[&device.id()];
        let at = message.offset() as usize;
        assert_eq!(sent.get(at..at + message.bytes().len()), Some(message.bytes()));
        match message.type_name() {
            "Status" => self.send(device.id().into(), b"ack", gateway),
            "Project" => assert_eq!(gateway.remove(device.id()), 1),
            "Performance" => drop(gateway.remove(device.ip())),
            "stop" => gateway.stop(),
            _ => self.send(device.ip().into(), message.bytes(), gateway),
        }
    }

    fn on_rejected(&mut self, device: &Device, error: &MessageError, gateway: &mut Context<'_>) {
        assert!(error.offset < self.devices[&device.id()].len() as u64);
        if error.offset % 8 == 7 {
            gateway.remove(device.address());
        }
    }

    fn on_disconnect(&mut self, device: &Device, end: &Disconnect, gateway: &mut Context<'_>) {
        let sent = self.devices.remove(&device.id()).expect("one connect and one disconnect");
        if let Some((offset, bytes)) = end.unfinished {
            assert!(offset as usize + bytes <= sent.len());
        }
        assert!(gateway.device(device.id()).is_none());
        assert_eq!(gateway.try_send(device.id(), "too late"), Err(SendError::NoSuchDevice));
        assert!(!self.tags.values().any(|&id| id == device.id()), "its commands were reported before");
        if let CloseReason::Framing(fault) = end.reason {
            assert!(fault.offset <= sent.len() as u64);
        }
        self.closed += 1;
    }

    fn on_sent(&mut self, tag: u64, _: Delivery, _: &mut Context<'_>) {
        assert!(self.tags.remove(&tag).is_some(), "one delivery");
    }

    fn on_refused(&mut self, _: SocketAddr, _: Refusal, _: &mut Context<'_>) {
        self.refused += 1;
    }
}

/// The driver's state of a stream.
struct Stream {
    id: ConnectionId,
    /// The kernel takes no more until it is writable.
    blocked: bool,
    half_closed: bool,
}

struct World {
    gateway: Gateway<App>,
    streams: Vec<Stream>,
    gone: Vec<ConnectionId>,
    now: Instant,
    /// Bytes that the kernel takes at most with one send.
    window: usize,
    received: u64,
    taken: u64,
    probes: u64,
}

const SOCKET: ListenerId = ListenerId(9);

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes(data);
    let mut world = World::new(input.byte());
    while !input.is_empty() {
        world.act(&mut input);
        world.look();
    }
    world.end();
});

impl World {
    fn new(choice: u8) -> Self {
        let mut settings = Settings::default();
        if choice & 1 != 0 {
            settings.limits.object_bytes_max = 256;
            settings.limits.outbox_bytes_max = 1 << 10;
        }
        if choice & 2 != 0 {
            settings.limits.connections_max = 3;
            settings.limits.rejected_in_a_row_max = 2;
        }
        if choice & 4 != 0 {
            settings.heartbeat.credit_from = CreditFrom::Heartbeat;
            settings.heartbeat.credit = 1;
            settings.terminator = b"\n".to_vec();
        }
        if choice & 16 != 0 {
            settings.limits.object_bytes_max = 64 << 10;
            settings.limits.outbox_bytes_max = 64 << 10;
            settings.limits.memory_budget = 128 << 10;
        }
        settings.check().expect("settings in their bounds");
        let mut gateway = Gateway::new(App::default(), settings, beginning(), 1);
        gateway.add_discovery(SOCKET, ([0, 0, 0, 0], 5555).into());
        let window = if choice & 8 != 0 { 5 } else { usize::MAX };
        let (streams, gone) = (Vec::new(), Vec::new());
        Self { gateway, streams, gone, now: beginning(), window, received: 0, taken: 0, probes: 0 }
    }

    fn act(&mut self, input: &mut Bytes<'_>) {
        let operation = input.byte() % 12;
        let number = self.streams.len().max(1);
        match operation {
            0 => self.connect(input.address()),
            1 => {
                let (stream, bytes) = (input.below(number), input.below(256));
                self.data(stream, input.take(bytes));
            }
            2 => {
                let (stream, object) = (input.below(number), input.below(OBJECTS.len()));
                self.data(stream, OBJECTS[object]);
            }
            3 => self.window = [0, 1, 5, usize::MAX][input.below(4)],
            4 => {
                let stream = input.below(number);
                if let Some(stream) = self.streams.get_mut(stream).filter(|stream| !stream.half_closed) {
                    stream.half_closed = true;
                    let id = stream.id;
                    self.gateway.handle_end(id, self.now);
                    self.drain();
                }
            }
            5 => {
                let stream = input.below(number);
                if stream < self.streams.len() {
                    self.close(stream, StreamEnd::Failed(Errno(104)));
                    self.drain();
                }
            }
            6 => {
                let stream = input.below(number);
                if let Some(stream) = self.streams.get_mut(stream).filter(|stream| stream.blocked) {
                    stream.blocked = false;
                    let id = stream.id;
                    self.gateway.handle_writable(id, self.now);
                    self.drain();
                }
            }
            7 => {
                let from = input.address();
                let bytes = input.below(8);
                let (via, bytes) = (PacketInfo { local: Some(from.ip()), interface: 0 }, input.take(bytes));
                self.gateway.handle_datagram(SOCKET, from, via, bytes, self.now);
                self.probes += 1;
                self.drain();
            }
            8 => {
                let step = match input.byte() {
                    255 => u64::from(input.number()) % 100_000_000,
                    tenths => u64::from(tenths) * 50,
                };
                self.wait(Duration::from_millis(step));
            }
            9 => {
                let (choice, stream) = (input.byte(), input.below(number));
                let length = input.below(256);
                let text = input.take(length);
                let id = self.streams.get(stream).map_or(ConnectionId::new(7, 7), |stream| stream.id);
                let settings = self.gateway.settings().clone();
                let (app, mut commands) = self.gateway.parts(self.now);
                match choice % 6 {
                    0 => app.send(id.into(), text, &mut commands),
                    1 => app.send(Target::Ip([192, 0, 2, 7].into()), text, &mut commands),
                    2 => drop(commands.remove(id)),
                    3 => drop(commands.remove(Target::Ip([192, 0, 2, 7].into()))),
                    4 => {
                        let mut settings = settings;
                        settings.limits.connections_max = usize::from(choice) + 1;
                        settings.limits.object_bytes_max = 64 + u32::from(choice) * 16;
                        settings.heartbeat.interval = Duration::from_millis(100 * (1 + u64::from(choice)));
                        settings.heartbeat.credit = 1 + choice % 9;
                        if settings.check().is_ok() {
                            commands.configure(settings).expect("they have been checked");
                        }
                    }
                    _ if choice > 240 => commands.stop(),
                    _ => commands.set_timer(u64::from(choice % 4), Duration::from_millis(u64::from(choice))),
                }
                self.drain();
            }
            10 => {
                self.gateway.handle_timeout(self.now);
                self.drain();
            }
            _ => {
// Bytes for a closed stream reach no other stream.
                if let Some(&id) = self.gone.last() {
                    self.gateway.handle_data(id, b"{\"Type\":\"Status\"}", self.now);
                    self.gateway.handle_writable(id, self.now);
                    self.gateway.handle_end(id, self.now);
                    self.drain();
                }
            }
        }
    }

    fn connect(&mut self, from: SocketAddr) {
        let before = self.gateway.connections();
        let id = self.gateway.handle_accept(ListenerId(1), Peer::Tcp(from), self.now);
        assert_eq!(self.gateway.connections(), before + usize::from(id.is_some()));
        if let Some(id) = id {
            assert!(!self.gone.contains(&id) && self.streams.iter().all(|s| s.id != id && s.id.index() != id.index()));
            self.streams.push(Stream { id, blocked: false, half_closed: false });
        }
        self.drain();
    }

    fn data(&mut self, stream: usize, bytes: &[u8]) {
        let Some(stream) = self.streams.get(stream).filter(|stream| !stream.half_closed && !bytes.is_empty()) else {
            return;
        };
        let id = stream.id;
// Unwanted bytes stay in the kernel, as if they were not sent.
        let bytes = &bytes[..bytes.len().min(self.gateway.poll_read(id))];
        if bytes.is_empty() {
            return self.drain();
        }
        if let Some(sent) = self.gateway.handler_mut().devices.get_mut(&id) {
            sent.extend_from_slice(bytes);
        }
        self.received += bytes.len() as u64;
        self.gateway.handle_data(id, bytes, self.now);
        self.drain();
    }

    fn close(&mut self, stream: usize, end: StreamEnd) {
        let id = self.streams.remove(stream).id;
        self.gone.push(id);
        self.gateway.handle_close(id, end, self.now);
    }

    /// Carries out what the gateway wants.
    fn drain(&mut self) {
        // No more than a few things for every stream come of one call.
        for _ in 0..10_000 {
            let (id, taken, lent) = match self.gateway.poll_output() {
                None => return,
// The input decides when bytes of a device come.
                Some(Output::Read { .. }) => continue,
                Some(Output::SendTo { bytes, .. }) => {
                    assert!(!bytes.is_empty());
                    self.gateway.handle_sent_to(self.window > 0);
                    continue;
                }
                Some(Output::Send { id, bytes }) => {
                    assert!(!bytes.is_empty());
                    (id, bytes.len().min(self.window), bytes.len())
                }
                Some(Output::Close { id, .. }) => {
// A second or late close of a stream is no fault.
                    if let Some(stream) = self.streams.iter().position(|stream| stream.id == id) {
                        self.close(stream, StreamEnd::Closed);
                    }
                    continue;
                }
                Some(other @ Output::Connect { .. }) => panic!("{other:?}"),
            };
            let stream = self.streams.iter_mut().find(|stream| stream.id == id).expect("a stream that is open");
            assert!(!stream.blocked, "nothing is offered to one that takes no more");
            stream.blocked = taken < lent;
            self.taken += taken as u64;
            self.gateway.handle_sent(id, taken, self.now);
        }
        panic!("there is no end of what is to be done");
    }

    /// Lets time pass, and calls when it wants to be called.
    fn wait(&mut self, step: Duration) {
        let end = self.now + step;
        let mut calls_left = 100;
        while let Some(at) = self.gateway.poll_timeout().filter(|&at| at <= end) {
            let passed = at > self.now;
            self.now = self.now.max(at);
            // Every device may be called at every tick, but none for ever at the same.
            calls_left = if passed { 100 } else { calls_left - 1 };
            assert!(calls_left > 0, "it wants to be called again and again");
            if step > Duration::from_secs(100) {
                // The process was stopped.
                self.now = end;
            }
            self.gateway.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

/// Asserts the invariants after every call.
    fn look(&mut self) {
        let (received, taken, probes, streams) = (self.received, self.taken, self.probes, self.streams.len());
        let (app, commands) = self.gateway.parts(self.now);
        let stats = commands.stats();
        assert_eq!(app.devices.len(), streams);
        assert!(commands.connections() <= streams);
        assert_eq!(stats.accepted, app.closed + streams as u64);
        assert_eq!(stats.closed.total(), app.closed);
        assert_eq!(stats.refused.total(), app.refused);
        assert_eq!((stats.received_bytes, stats.sent_bytes, stats.probes), (received, taken, probes));
        assert_eq!(stats.probes_answered + stats.probes_suppressed.total(), probes);
        assert!(counted(&commands) <= received);
    }

    /// Everything comes to its end, and the books balance.
    fn end(&mut self) {
        while !self.streams.is_empty() {
            self.close(0, StreamEnd::Closed);
            self.drain();
        }
        self.look();
        let (app, commands) = self.gateway.parts(self.now);
        assert!(app.devices.is_empty() && app.tags.is_empty());
        assert_eq!(counted(&commands), commands.stats().received_bytes);
        assert_eq!((commands.connections(), commands.buffered()), (0, (0, 0)));
        self.wait(Duration::from_secs(60));
        assert_eq!(self.gateway.poll_timeout(), None, "with nobody there it sleeps for ever");
    }
}

/// The bytes that stand in the books.
fn counted(commands: &Context<'_>) -> u64 {
    let stats = commands.stats();
    let objects = stats.messages.values().iter().chain(stats.rejected.values()).map(|count| count.bytes).sum::<u64>();
    objects + stats.padding_bytes + stats.unfinished_bytes + stats.discarded_bytes
}

const OBJECTS: [&[u8]; 17] = [
    br#"{"Type":"Status","Door":"open"}"#,
    br#"{"Type":"Heartbeat"}"#,
    br#"{"Type":"heartbeat"}{"Type":"HEARTBEAT"}"#,
    br#"{"Type":"Project","Data":"/9j/4AAQSkZJRgABAQAAAQABAAD"}"#,
    br#"{"Type":"Performance"}"#,
    br#"{"Type":"Other","a":"\"}{"}"#,
    br#"{"Type":"stop"}"#,
    br#"{"Type":"Status","a":"#,
    b"\"}",
    b" \t\r\n\0",
    b"{}",
    br#"{"Type":7}{"Type":"a","Type":"b"}"#,
    b"{\"Type\":\"\xFF\"}",
    br#"{"x":[}"#,
    b"GET / HTTP/1.1\r\n",
    b"\xEF\xBB\xBF",
    // A part of a picture: a few of them use up a small memory budget.
    &[b'x'; 20_000],
];
