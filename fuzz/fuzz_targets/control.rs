//! Any bytes on the daemon's control socket, in any reads, while devices connect, send and disconnect. Every request gets its
//! answer, and every line is JSON.
//!
//! Input: how the bytes are cut and taken, then the bytes. 0xFF, which no JSON has, begins an event of a device instead.

#![no_main]

macro_rules! daemon {
    ($($name:ident $path:literal),*) => {
        $(
            #[allow(dead_code, unused_imports, reason = "the daemon uses all of it")]
            #[path = $path]
            mod $name;
        )*
    };
}
daemon!(
    app "../../src/bin/pulsegate/app.rs",
    config "../../src/bin/pulsegate/config/mod.rs",
    control "../../src/bin/pulsegate/control/mod.rs",
    events "../../src/bin/pulsegate/events.rs",
    stats "../../src/bin/pulsegate/stats.rs",
    stdout "../../src/bin/pulsegate/stdout.rs",
    systemd "../../src/bin/pulsegate/systemd.rs"
);

use std::collections::HashMap;
use std::time::{Duration, Instant};

use app::App;
use control::{ErrorWord, Refused};
use libfuzzer_sys::fuzz_target;
use pulsegate::unstable::Gateway;
use pulsegate::unstable::endpoint::{Endpoint, Output, Peer};
use pulsegate::{ConnectionId, Credentials, ListenerId, Errno, Settings, StreamEnd};
use pulsegate_fuzz::{Bytes, beginning};

const CONTROL: ListenerId = ListenerId(2);

struct World {
    gateway: Gateway<App>,
    client: ConnectionId,
    devices: Vec<ConnectionId>,
    /// Streams that are open, and whether they take nothing at present.
    open: HashMap<ConnectionId, bool>,
    heard: Vec<u8>,
    window: usize,
    now: Instant,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes(data);
    let choice = input.byte();
    let mut world = World::new(if choice & 0x80 == 0 { usize::MAX } else { 3 });
    let cut = match choice & 0x7f {
        0 => usize::MAX,
        bytes => usize::from(bytes),
    };
    let mut asked = Vec::new();
    while !input.is_empty() {
        if input.0[0] == 0xFF {
            input.byte();
            let (device, what) = (input.below(3), input.byte());
            world.event(device, what);
        } else {
            let run = input.0.iter().position(|&byte| byte == 0xFF).unwrap_or(input.0.len()).min(cut);
            let bytes = input.take(run);
            if world.open.contains_key(&world.client) {
                asked.extend_from_slice(bytes);
                world.gateway.handle_data(world.client, bytes, world.now);
                world.drain();
            }
        }
    }
    world.take_all();
    world.check(&asked);
});

impl World {
    fn new(window: usize) -> Self {
        let now = beginning();
        let mut gateway = Gateway::new(App::default(), Settings::default(), now, 1);
        gateway.add_unix(CONTROL, 64 << 10);
        let credentials = Credentials { pid: 1, uid: 0, gid: 0 };
        let client = gateway.handle_accept(CONTROL, Peer::Unix(credentials), now).expect("a place for a client");
        let open = HashMap::from([(client, false)]);
        let mut world = Self { gateway, client, devices: Vec::new(), open, heard: Vec::new(), window, now };
        for number in 0..3 {
            let id = world.connect(number);
            world.devices.push(id);
        }
        world
    }

    fn connect(&mut self, number: u8) -> ConnectionId {
        let from = ([192, 0, 2, 7 + number / 2], 40_000 + u16::from(number)).into();
        let id = self.gateway.handle_accept(ListenerId(1), Peer::Tcp(from), self.now);
        let id = id.unwrap_or(ConnectionId::new(1000, 1000));
        self.open.insert(id, false);
        self.drain();
        id
    }

    fn event(&mut self, device: usize, what: u8) {
        let id = self.devices[device];
        let is_open = self.open.contains_key(&id) && id.index() != 1000;
        match what % 8 {
            0 if is_open => self.gateway.handle_data(id, b"{\"Type\":\"Status\",\n\"a\":\"\\n\"}", self.now),
            1 if is_open => {
                self.gateway.handle_data(id, b"{\"Type\":\"a\\u0000\\\"\"}{}{\"Type\":\"Heartbeat\"}", self.now)
            }
            2 if is_open => self.gateway.handle_data(id, b"{\"Type\":\"Status\"}GET", self.now),
            3 if is_open => {
                self.open.remove(&id);
                self.gateway.handle_close(id, StreamEnd::Failed(Errno(104)), self.now);
            }
            4 if !is_open => self.devices[device] = self.connect(device as u8),
            5 => {
                self.now += Duration::from_millis(u64::from(what) * 50);
                for _ in 0..100 {
                    if self.gateway.poll_timeout().is_none_or(|at| at > self.now) {
                        break;
                    }
                    self.gateway.handle_timeout(self.now);
                    self.drain();
                }
            }
            6 => self.window = [usize::MAX, 0, 1, 100][usize::from(what / 8) % 4],
            7 => self.writable(),
            _ => {}
        }
        self.drain();
    }

    fn writable(&mut self) {
        let blocked = self.open.iter_mut().filter_map(|(&id, blocked)| std::mem::take(blocked).then_some(id));
        for id in blocked.collect::<Vec<_>>() {
            self.gateway.handle_writable(id, self.now);
            self.drain();
        }
    }

    /// Whatever waits is taken.
    fn take_all(&mut self) {
        self.window = usize::MAX;
        while self.open.values().any(|&blocked| blocked) {
            self.writable();
        }
    }

    fn drain(&mut self) {
        let mut left = 100_000;
        loop {
            left -= 1;
            assert!(left > 0, "there is no end of what is to be done");
            let (id, taken, lent) = match self.gateway.poll_output() {
                None => {
                    let (app, mut commands) = self.gateway.parts(self.now);
                    let reloads = app.control.take_reloads();
                    for asker in reloads.iter().flatten() {
                        let refused = Err(Refused::new(ErrorWord::Failed, "no configuration"));
                        app.control.reloaded(*asker, &refused, &mut commands);
                    }
                    if reloads.is_empty() {
                        return;
                    }
                    continue;
                }
                Some(Output::Send { id, bytes }) => {
                    let taken = bytes.len().min(self.window);
                    if id == self.client {
                        self.heard.extend_from_slice(&bytes[..taken]);
                    }
                    (id, taken, bytes.len())
                }
                Some(Output::Close { id, .. }) => {
// A second or late close of a stream is no fault.
                    if self.open.remove(&id).is_some() {
                        self.gateway.handle_close(id, StreamEnd::Closed, self.now);
                    }
                    continue;
                }
                Some(Output::Read { .. }) => continue,
                Some(other) => panic!("{other:?}"),
            };
            let blocked = self.open.get_mut(&id).expect("a stream that is open");
            assert!(!*blocked, "nothing is offered to one that takes no more");
            *blocked = taken < lent;
            self.gateway.handle_sent(id, taken, self.now);
        }
    }

    fn check(&self, asked: &[u8]) {
        let is_open = self.open.contains_key(&self.client);
        assert!(!is_open || self.heard.is_empty() || self.heard.ends_with(b"\n"), "lines are written whole");
        let mut answers = 0;
        for line in self.heard.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let value: serde_json::Value = serde_json::from_slice(line).expect("a line of JSON");
            let is_event = value["event"].is_string() && value["time"].is_string() || value["event"] == "missed";
            assert!(is_event || value["device"].is_object() || value["ok"].is_boolean(), "{value}");
            assert!(value["ok"] != false || value["error"].is_string() && value["detail"].is_string(), "{value}");
            answers += usize::from(value["ok"].is_boolean());
        }
        let whole = asked.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let requests = whole.filter(|line| !line.trim_ascii().is_empty()).count();
        assert!(answers <= requests + 1);
        if is_open {
            assert_eq!(answers, requests, "{}", String::from_utf8_lossy(&self.heard));
        }
    }
}
