//! The ten faults of the system that pulsegate replaces, with one test each. That system fails every test.

mod common;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::{Cut, Network, Seen, TICK, device_address, object, object_of, v4};
use pulsegate::unstable::endpoint::PacketInfo;
use pulsegate::unstable::proto::heartbeat::ANSWER;
use pulsegate::{CloseReason, FramingFault, Refusal, SendError, Settings, Suppressed, Target};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn fault_1_two_objects_in_one_read_fail_together_and_nothing_cut_comes_out_after_them() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.send(link, [object(1), object(2), ANSWER.to_vec(), object(3)].concat());
    let cut = object(4);
    let (head, tail) = cut.split_at(20);
    network.send(link, [ANSWER, head].concat());
    network.send(link, [tail, &object(5)].concat());
    network.run_for(SECOND);
    network.expect_messages(link, &[object(1), object(2), object(3), object(4), object(5)]);
}

/// The unit tests of `Splitter` count scanned bytes: each byte counts once.
#[test]
fn fault_2_every_read_looks_at_everything_again() {
    let mut network = Network::new(Settings::default());
    network.cut = Cut::Every(1);
    let link = network.connect(device_address(1));
    let picture = object_of(170_000, 1);
    network.send(link, &picture[..]);
    network.run_for(TICK);
    network.expect_messages(link, &[picture]);
}

#[test]
fn fault_3_what_waits_for_its_end_grows_for_ever() {
    let mut network = Network::new(Settings::default());
    network.cut = Cut::Every(1400);
    let [endless, padding] = [1, 2].map(|number| network.connect(device_address(number)));
    // A heartbeat answer within the string would break its grammar.
    network.links[endless].answers = false;
    network.send(endless, br#"{"Type":""#);
    for _ in 0..80 {
        network.send(endless, [b'a'; 16 << 10]);
        network.send(padding, [b' '; 16 << 10]);
        network.run_for(TICK);
        let (objects, _) = network.buffered();
        assert!(objects <= (1 << 20) + 8192, "{objects} bytes are held");
    }
    let (_, end) = network.end_of(endless).expect("an object beyond the limit is a fault");
    assert!(matches!(end.reason, CloseReason::Framing(FramingFault { offset: 0, .. })), "{}", end.reason);
    assert!(network.end_of(padding).is_none());
    assert_eq!(network.buffered(), (0, 0), "nothing is held once it is over, nor for padding");
}

#[test]
fn fault_4_a_thousand_stray_heartbeats_hide_a_death() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.send(link, ANSWER.repeat(1000));
    network.run_for(SECOND);
    network.links[link].vanished = true;
    let vanished = network.now;
    network.run_for(SECOND * 20);
    let (at, end) = network.end_of(link).expect("a dead device is found");
    assert_eq!(end.reason, CloseReason::Silent);
    assert!(at - vanished <= SECOND * 12 + TICK, "after {:?}", at - vanished);
}

#[test]
fn fault_5_a_device_busy_with_pictures_is_cut() {
    let mut network = Network::new(Settings::default());
    let [one, many] = [1, 2].map(|number| network.connect(device_address(number)));
    for link in [one, many] {
        network.links[link].answers = false;
    }
    // 20 seconds for one picture, and for five.
    let large = object_of(170_000, 1);
    let small: Vec<_> = (0..5).map(|number| object_of(34_000, number)).collect();
    let small_bytes = small.concat();
    for (a, b) in large.chunks(850).zip(small_bytes.chunks(850)) {
        network.send(one, a);
        network.send(many, b);
        network.run_for(TICK);
    }
    network.expect_messages(one, &[large]);
    network.expect_messages(many, &small);
}

#[test]
fn fault_6_two_connections_from_one_address_are_taken_for_one() {
    let mut network = Network::new(Settings::default());
    let ip = v4(7, 0).ip();
    let (old, new) = (network.connect(v4(7, 1000)), network.connect(v4(7, 1001)));
    network.send(old, object(1));
    network.send(new, object(2));
    let queued = network.command(ip, b"both here").expect("a device of that address");
    assert_eq!((queued.id, queued.of), (network.id(new), 2), "a command by IP goes to the newest");
    network.run_for(SECOND);
    network.expect_messages(old, &[object(1)]);
    network.expect_messages(new, &[object(2)]);
    // The end of the old connection does not affect the new one.
    network.half_close(old);
    network.run_for(SECOND);
    assert!(network.end_of(old).is_some() && network.end_of(new).is_none());
    network.send(new, object(3));
    network.run_for(SECOND);
    network.expect_messages(new, &[object(2), object(3)]);
    let queued = network.command(ip, b"one here").expect("a device of that address");
    assert_eq!((queued.id, queued.of), (network.id(new), 1));
    // The same in the other order.
    let newest = network.connect(v4(7, 1002));
    network.reset(newest);
    network.run_for(SECOND);
    assert_eq!(network.command(ip, b"still").map(|queued| queued.id), Ok(network.id(new)));
}

#[test]
fn fault_7_addresses_are_cut_at_a_fixed_place() {
    for (given, shown) in [
        ("[::ffff:192.0.2.7]:40112", "192.0.2.7:40112"),
        ("192.0.2.7:40112", "192.0.2.7:40112"),
        ("[2001:db8::7]:40112", "[2001:db8::7]:40112"),
        ("[fe80::1]:1", "[fe80::1]:1"),
        ("[::1]:2", "[::1]:2"),
        ("[::c000:207]:3", "[::c000:207]:3"),
    ] {
        let mut settings = Settings::default();
        settings.limits.connections_max = 1;
        let mut network = Network::new(settings);
        let given: SocketAddr = given.parse().unwrap();
        let link = network.connect(given);
        let device = network.gateway.parts(network.now).1.devices().next().expect("a device");
        assert_eq!(device.address().to_string(), shown);
        // Every form of the address means this device.
        let shown: SocketAddr = shown.parse().unwrap();
        let texts = [shown.ip().to_string(), given.ip().to_string(), shown.to_string(), given.to_string()];
        for text in texts {
            let target: Target = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(network.command(target, b"x").map(|queued| queued.id), Ok(network.id(link)), "{text}");
        }
        assert_eq!(network.command(IpAddr::from([192, 0, 2, 8]), b"x"), Err(SendError::NoSuchDevice));
        // A refused connection has the same address.
        network.connect(given);
        let refused = Seen::Refused(shown, Refusal::ConnectionsMax);
        assert_eq!(network.log.last().map(|(_, seen)| seen), Some(&refused));
    }
}

#[test]
fn fault_8_a_removed_device_keeps_its_connection() {
    let mut network = Network::new(Settings::default());
    let links = [1000, 1001].map(|port| network.connect(v4(7, port)));
    let other = network.connect(v4(8, 1000));
    assert_eq!(network.remove(v4(7, 0).ip()), 2, "every connection of that address");
    for link in links {
        assert_eq!(network.links[link].ended, Some(false), "the device sees the end");
        assert_eq!(network.end_of(link).map(|(_, end)| end.reason), Some(CloseReason::Removed));
    }
    assert!(network.links[other].open);
    assert_eq!(network.gateway.connections(), 1);
}

#[test]
fn fault_9_a_reader_that_never_reads_makes_the_send_buffer_grow() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.links[link].window = 10_000;
    network.set_reading(link, false);
    let max = Settings::default().limits.outbox_bytes_max;
    let mut refused = 0;
    for _ in 0..1000 {
        refused += usize::from(network.command(network.id(link), &[b'x'; 1000]).is_err());
        let (_, held) = network.buffered();
        assert!(held <= 2 * max, "{held} bytes are held for one device");
    }
    let fit = (10_000 + max) / 1000;
    assert_eq!(refused, 1000 - fit);
    for number in 0..31 {
        network.send(link, object(number));
        network.run_for(SECOND);
    }
    assert_eq!(network.end_of(link).map(|(_, end)| end.reason), Some(CloseReason::Stalled));
    assert_eq!(network.buffered(), (0, 0));
}

#[test]
fn fault_10_every_datagram_from_anyone_is_answered() {
    let mut network = Network::new(Settings::default());
    let local = PacketInfo { local: Some([192, 0, 2, 1].into()), interface: 1 };
    // Probes that no device sends, or that would make two gateways answer each other for ever.
    let own = "192.0.2.1:5555";
    for (from, probe, why) in [
        ("192.0.2.7:0", "x", Suppressed::PortZero),
        ("255.255.255.255:5555", "x", Suppressed::Broadcast),
        ("224.0.0.251:5353", "x", Suppressed::Multicast),
        ("[ff02::1]:5353", "x", Suppressed::Multicast),
        ("[::ffff:224.0.0.1]:5353", "x", Suppressed::Multicast),
        ("0.0.0.0:9", "x", Suppressed::Unspecified),
        (own, "x", Suppressed::OwnSocket),
        ("127.0.0.1:5555", "x", Suppressed::OwnSocket),
        ("192.0.2.9:5555", "udp responsed", Suppressed::OwnReply),
    ] {
        let before = network.stats().probes_suppressed[&why];
        network.probe(from.parse().unwrap(), local, probe.as_bytes());
        assert_eq!(network.stats().probes_suppressed[&why], before + 1, "{from}: {}", why.as_str());
        assert!(network.answers.is_empty(), "{from} was answered");
    }
    // A device gets an answer from the address that it asked.
    network.probe(v4(7, 40_000), local, b"anyone?");
    assert_eq!(network.answers, [(v4(7, 40_000), local, b"udp responsed".to_vec())]);

    // One source gets a burst of 50 and 50 a second. All sources together get 1,000.
    network.answers.clear();
    network.run_for(SECOND * 2);
    for _ in 0..5000 {
        network.probe(v4(7, 40_000), local, b"");
    }
    assert_eq!(network.answers.len(), 50);
    network.run_for(SECOND / 2);
    for number in 0..5000 {
        network.probe(device_address(number), local, b"");
    }
    network.probe(device_address(1), local, b"");
    assert!(network.answers.len() <= 50 + 1000, "{} answers", network.answers.len());
    network.answers.clear();
    for _ in 0..100 {
        network.run_for(SECOND / 10);
        for number in 0..500 {
            network.probe(device_address(number), local, b"");
        }
    }
    let count = network.answers.len();
    assert!((9_000..=10_001).contains(&count), "{count} answers in 10 s to 5,000 probes a second");
    let stats = network.stats();
    let suppressed: u64 = stats.probes_suppressed.total();
    assert_eq!(stats.probes, stats.probes_answered + suppressed);
}
