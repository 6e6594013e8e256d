//! The uplink in virtual time, between a simulated gateway and a simulated broker that misbehaves by seed.

mod broker;
mod commands;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::broker::{Fault, SimBroker};
use super::*;
use crate::config::Mqtt;
use crate::mqtt::backoff::Random;
use crate::mqtt::queue::Full;
use crate::mqtt::session::{ACK_TIMEOUT, CONNACK_TIMEOUT};
use crate::mqtt::store::tests::SimDisk;

/// Everything around one uplink.
struct World {
    uplink: Uplink,
    broker: SimBroker,
    now: Instant,
    /// Requests of the uplink to the gateway, which answers them at once.
    asked: Vec<Value>,
    /// When connections to the broker were asked for.
    dials: Vec<Instant>,
    gateway_is_up: bool,
    sent: u64,
}

#[expect(clippy::disallowed_methods, reason = "the standard library has no other Instant, and all time counts from it")]
fn beginning() -> Instant {
    Instant::now()
}

impl World {
    fn new(seed: u64, change: impl FnOnce(&mut Mqtt)) -> Self {
        let mut config = Mqtt { gateway: "attic".into(), memory: 1 << 20, ..Mqtt::default() };
        change(&mut config);
        let now = beginning();
        Self {
            uplink: Uplink::new(Settings::new(&config, "host").unwrap(), seed, "2026-11-25T12:00:00Z".into(), now),
            broker: SimBroker::new(config.version),
            now,
            asked: Vec::new(),
            dials: Vec::new(),
            gateway_is_up: true,
            sent: 0,
        }
    }

    /// Carries bytes and requests until nothing is left to do at this time.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "the uplink never rests");
            let mut idle = true;
            while let Some(request) = self.uplink.take_request() {
                idle = false;
                match request {
                    Request::DialBroker(_) => self.dial(),
                    Request::CloseBroker => {
                        self.broker.close();
                        self.uplink.broker_closed("closed", self.now);
                    }
                    Request::DialGateway if self.gateway_is_up => self.uplink.gateway_connected(self.now),
                    Request::DialGateway | Request::CloseGateway => self.uplink.gateway_closed("away", self.now),
                }
            }
            idle &= !self.answer();
            let bytes = self.uplink.broker_out().to_vec();
            if self.broker.is_open && !bytes.is_empty() {
                idle = false;
                self.broker.receive(&bytes);
                self.uplink.broker_sent(bytes.len(), self.now);
            }
            let bytes = self.broker.take();
            if !bytes.is_empty() {
                idle = false;
                self.uplink.broker_data(&bytes, self.now);
            }
            if self.broker.has_hung_up() {
                idle = false;
                self.broker.close();
                self.uplink.broker_closed("hung up", self.now);
            }
            if idle {
                return;
            }
        }
    }

    fn dial(&mut self) {
        self.dials.push(self.now);
        match self.broker.accept() {
            true => self.uplink.broker_connected(self.now),
            false => self.uplink.broker_failed("refused", self.now),
        }
    }

    /// Answers the uplink's requests to the gateway. Returns whether there was one.
    fn answer(&mut self) -> bool {
        let bytes = self.uplink.gateway_out().to_vec();
        self.uplink.gateway_sent(bytes.len());
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let request: Value = serde_json::from_slice(line).unwrap();
            let mut answer = json!({ "id": request["id"], "ok": true, "boot": "b" });
            if request["op"] == "send" && request["device"] == "@none" {
                answer = json!({ "id": request["id"], "ok": false, "error": "no_such_device", "detail": "d" });
            }
            self.asked.push(request);
            self.gateway_says(&answer);
        }
        !bytes.is_empty()
    }

    fn gateway_says(&mut self, line: &Value) {
        self.uplink.gateway_data(format!("{line}\n").as_bytes(), self.now);
    }

    /// A device sends its next message.
    fn message(&mut self, device: &str) {
        self.sent += 1;
        let seq = self.sent;
        let data = json!({ "Type": "Test", "n": seq });
        self.gateway_says(&json!({
            "event": "message", "time": "t", "seq": seq, "conn": 1, "ip": "192.0.2.1", "name": device, "type": "Test", "data": data,
        }));
        self.settle();
    }

    /// Lets time pass, with the uplink's timers.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        self.settle();
        let mut calls = 0;
        while let Some(at) = self.uplink.poll_timeout().filter(|at| *at <= until) {
            calls = if at <= self.now { calls + 1 } else { 0 };
            assert!(calls < 1000, "a timer never ends");
            self.now = self.now.max(at);
            self.uplink.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
    }

    fn command(&mut self, topic: &str, payload: &str, flags: u8) {
        self.broker.publish(topic, payload.as_bytes(), flags);
        self.settle();
    }

    fn counter(&self, counter: Counter) -> u64 {
        self.uplink.report()["counters"][counter.as_str()].as_u64().unwrap()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn every_message_arrives_in_order_whatever_the_broker_does() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut world = World::new(seed, |config| config.window = 1 + (seed % 20) as u16);
        if seed % 2 == 1 {
            world.uplink.settings.path = Some("/simulated".into());
            world.uplink.set_store(Store::open(Box::new(SimDisk::default()), 4 << 20, Full::DropOldest).unwrap());
        }
        world.broker.receive_maximum = 1 + (seed % 7) as u16;
        for _ in 0..150 {
            world.broker.fault = match random.below(12) {
                0 => Fault::Refuses,
                1 => Fault::Silent,
                2 => Fault::HangsUpAfter(random.below(5)),
                3 => Fault::Rejects(0x88),
                4 => Fault::Garbage,
                5 => Fault::AcksBackwards,
                _ => Fault::None,
            };
            for _ in 0..random.below(6) {
                world.message(["a", "b", "c"][random.below(3) as usize]);
            }
            if random.below(20) == 0 {
                world.gateway_is_up = false;
                world.uplink.gateway_closed("gone", world.now);
                world.pass(SECOND * random.below(10) as u32);
                world.gateway_is_up = true;
            }
            world.pass(Duration::from_millis(random.below(20_000)));
        }
        world.broker.fault = Fault::None;
        world.pass(SECOND * 200);
        assert!(world.broker.in_flight_max <= world.broker.receive_maximum.into(), "seed {seed}: Receive Maximum");
        let mut firsts: Vec<u64> = Vec::new();
        for number in world.broker.numbers() {
            if firsts.last().is_none_or(|last| *last < number) {
                firsts.push(number);
            }
            assert!(firsts.contains(&number), "seed {seed}: {number} came after {:?}", firsts.last());
        }
        // Chance may end three connections with one message.
        let arrived = firsts.len() as u64 + world.counter(Counter::SetAside);
        assert_eq!(arrived, world.sent, "seed {seed}: {}", world.uplink.report());
        let pauses = world.dials.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(pauses.min().unwrap_or(SECOND) >= SECOND, "seed {seed}: the uplink hurries");
    }
}

#[test]
fn a_broker_that_never_answers_is_left_after_its_time() {
    for (fault, patience) in [(Fault::Silent, CONNACK_TIMEOUT), (Fault::NeverAcks, ACK_TIMEOUT)] {
        let mut world = World::new(1, |_| {});
        world.broker.fault = fault;
        world.pass(SECOND / 10);
        world.message("a");
        world.pass(patience - SECOND);
        assert_eq!(world.dials.len(), 1, "{fault:?}");
        world.pass(SECOND * 5);
        assert_eq!(world.dials.len(), 2, "{fault:?}");
    }
}

#[test]
fn an_idle_connection_lives_and_a_dead_one_is_noticed() {
    let mut world = World::new(1, |_| {});
    world.pass(SECOND * 600);
    assert_eq!((world.dials.len(), world.broker.pings), (1, 20));
    world.broker.keep_alive = Some(10);
    world.broker.fault = Fault::HangsUpAfter(0);
    world.pass(SECOND * 60);
    let pings = world.broker.pings;
    world.broker.fault = Fault::None;
    world.pass(SECOND * 300);
    assert!(world.broker.pings - pings >= 20, "Server Keep Alive is obeyed: {}", world.broker.pings - pings);
    let dials = world.dials.len();
    world.broker.fault = Fault::NeverAcks;
    world.pass(SECOND * 60);
    assert!(world.dials.len() > dials, "no PINGRESP came");
}

#[test]
fn a_deadly_message_is_set_aside_and_those_behind_it_arrive() {
    let mut world = World::new(3, |_| {});
    world.pass(SECOND);
    world.broker.deadly = Some(5);
    for _ in 0..9 {
        world.message("a");
    }
    world.pass(SECOND * 600);
    let arrived: Vec<_> = world.broker.numbers();
    assert!((1..=9).filter(|number| *number != 5).all(|number| arrived.contains(&number)), "{arrived:?}");
    assert_eq!((arrived.contains(&5), world.counter(Counter::SetAside)), (false, 1));
    assert_eq!(world.broker.count("pulsegate/attic/missed"), 1);
}

#[test]
fn messages_that_the_broker_does_not_take_block_nothing() {
    let mut world = World::new(3, |_| {});
    world.broker.forbidden = Some(2);
    world.broker.packet_bytes_max = Some(200);
    world.pass(SECOND);
    world.message("a");
    world.message("a");
    world.gateway_says(&json!({
        "event": "message", "time": "t", "conn": 1, "ip": "192.0.2.1", "type": "Test", "data": { "x": "y".repeat(300) },
    }));
    world.message("a");
    world.pass(SECOND);
    assert_eq!(world.broker.numbers(), [1, 2, 3]);
    assert_eq!((world.counter(Counter::SetAside), world.counter(Counter::Delivered)), (2, 2));
}

#[test]
fn the_limits_of_a_broker_without_acknowledgements_are_obeyed() {
    let mut world = World::new(3, |config| config.retain = vec!["Test".into()]);
    (world.broker.qos_max, world.broker.retain_available) = (Some(0), false);
    world.pass(SECOND);
    world.message("a");
    assert_eq!(world.broker.numbers(), [1]);
    assert_eq!((world.broker.acks_asked, world.broker.retained), (0, 0));
    assert_eq!(world.counter(Counter::Delivered), 1);
}

#[test]
fn a_full_queue_drops_the_oldest_and_says_how_many() {
    let mut world = World::new(3, |config| config.memory = 16 << 10);
    world.broker.fault = Fault::Refuses;
    for _ in 0..500 {
        world.message("a");
    }
    world.broker.fault = Fault::None;
    world.pass(SECOND * 120);
    let arrived = world.broker.numbers();
    let missed = world.counter(Counter::Dropped);
    assert_eq!(arrived, (missed + 1..=500).collect::<Vec<_>>());
    let told = world.broker.payloads("pulsegate/attic/missed");
    assert_eq!(told, [json!({ "event": "missed", "messages": missed }).to_string()]);
}

#[test]
fn presence_is_true() {
    let mut world = World::new(3, |_| {});
    let state = |world: &World| world.broker.payloads("pulsegate/attic/state").last().cloned();
    let device = |world: &World| world.broker.payloads("pulsegate/attic/device/pump/availability").last().cloned();
    world.pass(SECOND);
    world.gateway_says(&json!({ "event": "connect", "conn": 7, "ip": "192.0.2.1", "name": "pump" }));
    world.pass(SECOND);
    assert_eq!((state(&world).as_deref(), device(&world).as_deref()), (Some("online"), Some("online")));
    // The gateway restarts within its grace, and the device comes back later.
    world.uplink.gateway_closed("gone", world.now);
    world.pass(SECOND);
    assert_eq!((state(&world).as_deref(), device(&world).as_deref()), (Some("online"), Some("offline")));
    world.gateway_says(&json!({ "event": "connect", "conn": 1, "ip": "192.0.2.1", "name": "pump" }));
    world.pass(SECOND);
    assert_eq!(device(&world).as_deref(), Some("online"));
    // The gateway stays away.
    world.gateway_is_up = false;
    world.uplink.gateway_closed("gone", world.now);
    world.pass(SECOND * 6);
    assert_eq!((state(&world).as_deref(), device(&world).as_deref()), (Some("offline"), Some("offline")));
    // The broker keeps presence of before, which is not true.
    let stale = "pulsegate/attic/device/old/availability";
    world.command(stale, "online", 1);
    assert_eq!(world.broker.count(stale), 0, "nothing is known before the gateway is there");
    world.gateway_is_up = true;
    world.pass(SECOND * 6);
    assert_eq!(world.broker.payloads(stale), ["offline"]);
}

#[test]
fn a_stop_delivers_says_offline_and_ends() {
    let mut world = World::new(3, |_| {});
    world.pass(SECOND);
    world.message("a");
    world.uplink.stop(world.now);
    world.settle();
    assert!(world.uplink.is_stopped());
    assert_eq!(world.broker.payloads("pulsegate/attic/state").last().map(String::as_str), Some("offline"));
    assert!(world.broker.has_goodbye);
    for fault in [Fault::Silent, Fault::NeverAcks, Fault::Refuses] {
        let mut world = World::new(3, |_| {});
        world.broker.fault = fault;
        world.pass(SECOND);
        world.message("a");
        world.uplink.stop(world.now);
        world.pass(SECOND);
        assert!(world.uplink.is_stopped(), "{fault:?}");
    }
}

#[test]
fn version_3_1_1_carries_the_same() {
    let mut world = World::new(3, |config| config.version = crate::mqtt::Version::V3);
    world.pass(SECOND);
    world.message("a");
    world.command(commands::SET, "x", 0);
    assert_eq!(world.broker.numbers(), [1]);
    assert_eq!(world.broker.payloads(commands::RESULT).len(), 1);
}

#[test]
fn an_old_form_of_refusal_is_understood() {
    let mut world = World::new(3, |_| {});
    world.broker.fault = Fault::OldForm;
    world.pass(SECOND / 2);
    assert!(!world.uplink.links().0);
    assert_eq!(world.counter(Counter::Disconnections), 1);
}
