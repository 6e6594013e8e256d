//! The library in an application: timers with keys, iteration over devices, broadcast.

mod common;

use std::time::{Duration, Instant};

use common::{device_address, object};
use pulsegate::unstable::Gateway;
use pulsegate::unstable::endpoint::{Endpoint, Output, Peer};
use pulsegate::unstable::proto::heartbeat::BEAT;
use pulsegate::{Broadcast, ConnectionId, Context, Device, DeviceMap, Handler, ListenerId, Message, Settings};

const SECOND: Duration = Duration::from_secs(1);
const POLL: u64 = 1;
const ONCE: u64 = 2;

/// Asks each device for its status every 10 s, and counts the reports of each.
#[derive(Default)]
struct App {
    reports: DeviceMap<u32>,
    expired: Vec<u64>,
    ages: Vec<(Duration, Duration)>,
}

impl Handler for App {
    fn on_start(&mut self, gateway: &mut Context<'_>) {
        gateway.set_timer(POLL, SECOND * 10);
        gateway.set_timer(ONCE, SECOND * 15);
        gateway.set_timer(ONCE, SECOND * 25);
        gateway.set_timer(3, SECOND);
        assert!(gateway.cancel_timer(3) && !gateway.cancel_timer(3));
    }

    fn on_message(&mut self, device: &Device, _: &Message<'_>, _: &mut Context<'_>) {
        *self.reports.entry(device.id()) += 1;
    }

    fn on_timer(&mut self, key: u64, gateway: &mut Context<'_>) {
        self.expired.push(key);
        if key == POLL {
            gateway.set_timer(POLL, SECOND * 10);
            gateway.for_each_device(|device, gateway| gateway.send(device.id(), "status"));
            self.ages.extend(gateway.devices().map(|device| (device.connected_for(), device.idle_for())));
        }
    }
}

struct Run {
    gateway: Gateway<App>,
    now: Instant,
    sent: Vec<(ConnectionId, Vec<u8>)>,
}

impl Run {
    #[expect(clippy::disallowed_methods, reason = "virtual time starts from any instant")]
    fn new() -> Self {
        let now = Instant::now();
        let mut settings = Settings::default();
        settings.heartbeat.interval = SECOND * 60;
        let mut gateway = Gateway::new(App::default(), settings, now, 1);
        gateway.start(now);
        Self { gateway, now, sent: Vec::new() }
    }

    fn connect(&mut self, number: usize) -> ConnectionId {
        let peer = Peer::Tcp(device_address(number));
        self.gateway.handle_accept(ListenerId(0), peer, self.now).expect("there is room")
    }

    fn run_until(&mut self, until: Instant) {
        while let Some(at) = self.gateway.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.gateway.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn drain(&mut self) {
        while let Some(output) = self.gateway.poll_output() {
            if let Output::Send { id, bytes } = output {
                self.sent.push((id, bytes.to_vec()));
                let taken = bytes.len();
                self.gateway.handle_sent(id, taken, self.now);
            }
        }
    }

    /// Returns the commands to `id`, without beats.
    fn commands(&self, id: ConnectionId) -> Vec<&str> {
        let of = self.sent.iter().filter(|(to, bytes)| *to == id && bytes != BEAT);
        of.map(|(_, bytes)| std::str::from_utf8(bytes).expect("commands are text")).collect()
    }
}

#[test]
fn timers_with_keys_ask_every_device_every_ten_seconds() {
    let mut run = Run::new();
    let start = run.now;
    let (one, two) = (run.connect(1), run.connect(2));
    run.run_until(start + SECOND * 5);
    run.gateway.handle_data(two, &object(1), run.now);
    run.drain();
    run.run_until(start + SECOND * 35);
    assert_eq!(run.gateway.handler().expired, [POLL, POLL, ONCE, POLL]);
    assert_eq!(run.commands(one), ["status"; 3]);
    assert_eq!(run.commands(two), ["status"; 3]);
    let app = run.gateway.handler();
    assert_eq!((app.reports.get(one), app.reports.get(two)), (None, Some(&1)));
    assert_eq!(app.ages[..2], [(SECOND * 10, SECOND * 10), (SECOND * 10, SECOND * 5)]);
}

#[test]
fn a_broadcast_reaches_every_device_and_counts_the_refusals() {
    let mut run = Run::new();
    let ids = [run.connect(1), run.connect(2), run.connect(3)];
    let mut long = vec![b'x'; Settings::default().limits.outbox_bytes_max];
    let (_, mut gateway) = run.gateway.parts(run.now);
    gateway.try_send(ids[1], &long).expect("it fills the send queue");
    assert_eq!((gateway.broadcast("reboot").queued, gateway.broadcast("").refused), (2, 3));
    run.drain();
    assert_eq!((run.commands(ids[0]), run.commands(ids[2])), (vec!["reboot"], vec!["reboot"]));
    long.push(b'x');
    let (_, mut gateway) = run.gateway.parts(run.now);
    let Broadcast { queued, refused, .. } = gateway.broadcast(long);
    assert_eq!((queued, refused), (0, 3), "no send queue has room for it");
}
