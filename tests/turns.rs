//! A turn of the event loop is bounded in time. The simulated kernel charges virtual time for
//! calls and bytes.

mod common;

use std::time::{Duration, Instant};

use common::{Network, SimDeviceId, TICK, device_address, object, object_of, v4};
use pulsegate::{CloseReason, Refusal, Settings, TurnLimits};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// No turn may work for longer: the limit, and the last step of each part.
const TURN_MAX: Duration = Duration::from_millis(20);
/// The cost of a byte of rejected objects, each of which becomes an event.
const DEAR_BYTE: Duration = Duration::from_nanos(300);
/// The cost of a system call.
const CALL: Duration = Duration::from_micros(5);

/// Returns a network with `flooders` devices, whose sockets are never empty, and one healthy device.
struct Flood {
    network: Network,
    flooders: Vec<SimDeviceId>,
    healthy: SimDeviceId,
}

impl Flood {
    fn new(flooders: usize, interval: Duration, credit: u8) -> Self {
        let mut settings = Settings::default();
        settings.heartbeat.interval = interval;
        settings.heartbeat.credit = credit;
        let mut network = Network::seeded(settings, TurnLimits::default(), 1);
        network.latency = Duration::ZERO;
        let healthy = network.connect(device_address(1));
        let flooders: Vec<_> = (0..flooders).map(|number| network.connect(device_address(number + 2))).collect();
        network.run_for(SECOND);
        network.call_cost = CALL;
        for &link in &flooders {
            network.links[link].byte_cost = DEAR_BYTE;
        }
        Self { network, flooders, healthy }
    }

    /// Lets time pass during the flood. The healthy device sends an object every 50 ms. Returns the latency of each object.
    fn run_for(&mut self, duration: Duration) -> Vec<Duration> {
        let end = self.network.now + duration;
        let mut sent: Vec<Instant> = Vec::new();
        let mut ways = Vec::new();
        let mut next = self.network.now;
        let mut logged = self.network.log.len();
        let healthy = self.network.id(self.healthy);
        while self.network.now < end {
            self.flood();
            if self.network.now >= next {
                self.network.send(self.healthy, object(sent.len() as u64));
                sent.push(self.network.now);
                next += MS * 50;
            }
            self.network.step_until(next);
            for (at, seen) in &self.network.log[logged..] {
                if matches!(seen, common::Seen::Message(id, _) if *id == healthy) {
                    ways.push(*at - sent[ways.len()]);
                }
            }
            logged = self.network.log.len();
        }
        ways
    }

    fn flood(&mut self) {
        for &link in &self.flooders {
            let state = &self.network.links[link];
            if state.open && state.sent - state.delivered < 100_000 {
                self.network.send(link, object_of(1000, 1).repeat(100));
            }
        }
    }
}

#[test]
fn a_turn_is_bounded_in_time_and_reads_other_devices_beside_any_flood() {
    for flooders in [1, 60, 250] {
        let mut flood = Flood::new(flooders, SECOND * 2, 5);
        // The reactor learns within a second what the bytes of each device cost.
        flood.run_for(SECOND);
        let mut ways = flood.run_for(SECOND * 4);
        ways.sort_unstable();
        let p99 = ways[ways.len() * 99 / 100];
        assert!(ways.len() >= 75, "{} messages of the healthy device arrived", ways.len());
        assert!(p99 <= TURN_MAX, "p99 {p99:?} beside {flooders}");
        let longest = flood.network.longest_turn;
        assert!(longest <= TURN_MAX, "a turn worked for {longest:?} beside {flooders}");
        assert!(longest >= MS, "there was no flood");
    }
}

#[test]
fn no_device_dies_falsely_or_late_beside_a_flood() {
    let mut flood = Flood::new(100, MS * 200, 1);
    let dead = flood.network.connect(v4(99, 1));
    flood.network.links[dead].vanished = true;
    let vanished = flood.network.now;
    flood.run_for(SECOND * 5);
    let (at, end) = flood.network.end_of(dead).expect("the dead device is found");
    assert_eq!(end.reason, CloseReason::Silent);
    // The first beat comes within an interval, the second finds it dead. A timer is late by a tick and a turn.
    assert!(at - vanished <= MS * 400 + TICK + TURN_MAX, "after {:?}", at - vanished);
    for &link in flood.flooders.iter().chain([&flood.healthy]) {
        assert_eq!(flood.network.end_of(link), None, "device {link} lives");
    }
}

#[test]
fn a_stop_ends_in_time_beside_a_flood() {
    let mut flood = Flood::new(250, SECOND * 2, 5);
    flood.run_for(SECOND);
    let asked = flood.network.now;
    flood.network.stop();
    while !flood.network.gateway.is_stopped() {
        flood.flood();
        flood.network.step_until(asked + SECOND * 2);
        assert!(flood.network.now - asked <= SECOND, "the close timeout is over");
    }
    assert!(flood.network.longest_turn <= TURN_MAX, "{:?}", flood.network.longest_turn);
}

/// The devices of a large site. A recursion for each device would overflow the stack.
const MANY: usize = 20_000;

fn many(network: &mut Network, one_address: bool) -> Vec<SimDeviceId> {
    let address = |number: usize| match one_address {
        true => v4(7, 1 + number as u16),
        false => device_address(number),
    };
    let latency = Duration::ZERO;
    let links: Vec<_> = (0..MANY).map(|number| network.dial_device(address(number), latency)).collect();
    network.run_for(SECOND);
    assert_eq!(network.gateway.connections(), MANY);
    network.call_cost = CALL;
    links
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.limits.connections_max = MANY;
    settings
}

#[track_caller]
fn expect_all_closed(network: &Network, links: &[SimDeviceId], reason: CloseReason) {
    assert_eq!(network.gateway.connections(), 0);
    let gone = network
        .log
        .iter()
        .filter(|(_, seen)| matches!(seen, common::Seen::Disconnect(_, _, end) if end.reason == reason));
    assert_eq!(gone.count(), links.len());
    assert!(network.longest_turn <= TURN_MAX, "a turn worked for {:?}", network.longest_turn);
    network.check_invariants();
}

#[test]
fn a_reload_closes_as_many_devices_as_there_can_be() {
    let mut network = Network::new(settings());
    let links = many(&mut network, false);
    let mut denying = settings();
    denying.access.deny = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    network.configure(denying);
    network.run_for(SECOND);
    expect_all_closed(&network, &links, CloseReason::Refused(Refusal::AddressDenied));
}

#[test]
fn remove_closes_as_many_devices_as_one_address_can_have() {
    let mut network = Network::new(settings());
    let links = many(&mut network, true);
    assert_eq!(network.remove(v4(7, 0).ip()), MANY);
    network.run_for(SECOND);
    expect_all_closed(&network, &links, CloseReason::Removed);
}

#[test]
fn a_stop_closes_as_many_devices_as_there_can_be() {
    let mut network = Network::new(settings());
    let links = many(&mut network, false);
    network.stop();
    network.run_for(SECOND);
    expect_all_closed(&network, &links, CloseReason::Shutdown);
}

#[test]
fn timers_close_as_many_devices_as_there_can_be() {
    let mut network = Network::new(settings());
    let links = many(&mut network, false);
    for &link in &links {
        network.links[link].vanished = true;
    }
    network.run_for(SECOND * 13);
    expect_all_closed(&network, &links, CloseReason::Silent);
}
