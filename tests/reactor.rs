//! The real reactor on the simulated kernel, with failing calls and delayed or duplicate readiness. Tests on the real kernel
//! are in `loopback`.

mod common;

use std::time::Duration;

use common::{Call, Cut, Network, RESET, Seen, device_address, object, object_of, v4};
use pulsegate::unstable::endpoint::PacketInfo;
use pulsegate::{CloseReason, Settings, TurnLimits};

const SECOND: Duration = Duration::from_secs(1);
const EMFILE: i32 = 24;
const EINTR: i32 = 4;
const ENOMEM: i32 = 12;
const ENOBUFS: i32 = 105;
const ECONNREFUSED: i32 = 111;
const EPIPE: i32 = 32;

fn network(budget: TurnLimits) -> Network {
    Network::seeded(Settings::default(), budget, 1)
}

/// The remaining datagrams need no new edge.
#[test]
fn datagrams_after_an_icmp_error_are_read() {
    for error in [ECONNREFUSED, EINTR, ENOBUFS] {
        let mut network = network(TurnLimits { datagrams_per_turn_max: 2, ..TurnLimits::default() });
        for _ in 0..3 {
            network.datagram(v4(1, 40_000), PacketInfo::default(), b"?");
        }
        // The first datagram is read, and then the error uses the limit of the turn.
        network.failures.extend([(Call::Receive, EINTR), (Call::Receive, error)]);
        network.run_for(SECOND * 2);
        assert_eq!(network.stats().probes, 3, "after error {error}");
    }
}

#[test]
fn a_device_survives_a_lack_of_kernel_memory() {
    for error in [ENOBUFS, ENOMEM, EINTR] {
        let mut network = network(TurnLimits::default());
        let link = network.connect(device_address(1));
        network.failures.extend([(Call::Read, error), (Call::Write, error)]);
        network.send(link, object(1));
        network.run_for(SECOND / 2);
        network.expect_messages(link, &[object(1)]);
        network.failures.push((Call::Write, error));
        network.command(network.id(link), b"reboot").expect("a command");
        network.run_for(SECOND / 2);
        assert_eq!(network.links[link].text, b"reboot");
        assert_eq!(network.end_of(link), None, "after error {error}");
    }
}

#[test]
fn writing_continues_when_a_full_disk_has_room() {
    const ENOSPC: i32 = 28;
    const EFBIG: i32 = 27;
    const EDQUOT: i32 = 122;
    for error in [ENOSPC, EFBIG, EDQUOT] {
        let mut network = network(TurnLimits::default());
        let link = network.connect_local();
        let stream = network.id(link);
        network.failures.extend([(Call::Write, error); 3]);
        for line in [&b"one\n"[..], b"two\n"] {
            assert!(network.gateway.parts(network.now).1.write(stream, line));
            network.run_for(SECOND / 20);
        }
        network.run_for(SECOND);
        assert_eq!(network.links[link].text, b"one\ntwo\n", "after error {error}");
    }
}

#[test]
fn a_queued_connection_is_accepted_when_a_descriptor_is_free() {
    let mut network = network(TurnLimits::default());
    let first = network.connect(device_address(1));
    network.descriptors_max = 1;
    let second = network.connect(device_address(2));
    network.run_for(SECOND * 30);
    assert_eq!(network.links[second].id, None);
    network.reset(first);
    network.run_for(Duration::from_millis(10));
    assert!(network.links[second].id.is_some(), "it waits though a descriptor is free");
    // The whole system may lack file descriptors, while this process frees none.
    network.failures.push((Call::Accept, EMFILE));
    network.descriptors_max = 2;
    let third = network.connect(device_address(3));
    assert_eq!(network.links[third].id, None);
    network.run_for(SECOND);
    assert!(network.links[third].id.is_some(), "nobody tries again");
}

/// The reactor reads a failed stream to its end, even if only a write found the failure.
#[test]
fn objects_before_a_failed_write_are_delivered_and_then_the_device_is_closed() {
    let mut network =
        network(TurnLimits { read_buffer_bytes: 100, read_bytes_per_turn_max: 300, ..TurnLimits::default() });
    let link = network.connect(device_address(1));
    let sent: Vec<Vec<u8>> = (0..100).map(object).collect();
    network.send(link, sent.concat());
    network.failures.push((Call::Write, EPIPE));
    network.command(network.id(link), b"reboot").expect("a command");
    network.run_for(SECOND / 10);
    // The write failed before any byte arrived.
    assert!(matches!(network.end_of(link), Some((_, end)) if matches!(end.reason, CloseReason::Reset(_))));

    let link = network.connect(device_address(2));
    network.links[link].latency = Duration::ZERO;
    network.send(link, sent.concat());
    network.failures.push((Call::Write, RESET.0));
    network.command(network.id(link), b"reboot").expect("a command");
    network.run_for(SECOND / 10);
    network.expect_messages(link, &sent);
    assert_eq!(network.end_of(link).map(|(_, end)| end.reason), Some(CloseReason::Reset(RESET)));
}

/// The failed device holds memory that others wait for.
#[test]
fn a_paused_device_whose_stream_fails_is_closed_at_once() {
    let mut settings = Settings::default();
    settings.limits.memory_budget = 256 << 10;
    settings.limits.object_bytes_max = 60_000;
    settings.limits.outbox_bytes_max = 1_000;
    let mut network = Network::new(settings);
    network.cut = Cut::Every(1_000);
    let links: Vec<_> = (0..10).map(|number| network.connect(device_address(number))).collect();
    for &link in &links {
        network.send(link, &object_of(50_000, 1)[..49_000]);
    }
    network.run_for(SECOND / 10);
    assert!(network.gateway.parts(network.now).1.memory().1 > 0, "nobody waits for memory");
    for &link in &links {
        network.reset(link);
    }
    network.run_for(SECOND / 10);
    assert_eq!(network.gateway.connections(), 0);
}

#[test]
fn a_duplicate_half_close_is_delivered_once() {
    let mut network = network(TurnLimits::default());
    network.faults.again = 10_000;
    let link = network.connect_local();
    network.send(link, b"stats\n");
    network.half_close(link);
    network.run_for(SECOND);
    let ends = network.log.iter().filter(|(_, seen)| matches!(seen, Seen::End(_))).count();
    assert_eq!(ends, 1);
}

#[test]
fn a_turn_accepts_connections_up_to_its_limit() {
    let mut network = network(TurnLimits { accepts_per_turn_max: 7, ..TurnLimits::default() });
    for number in 0..20 {
        network.dial_device(device_address(number), Duration::ZERO);
    }
    let mut accepted = Vec::new();
    for _ in 0..3 {
        network.step();
        accepted.push(network.gateway.connections());
    }
    assert_eq!(accepted, [7, 14, 20]);
}

/// The reactor skips errors of single connections. A listener that only fails pauses longer and longer.
#[test]
fn a_listener_that_only_fails_pauses_longer_and_recovers() {
    const EINVAL: i32 = 22;
    const SECONDS: u32 = 60;
    let mut network = network(TurnLimits::default());
    network.dial_device(device_address(1), Duration::ZERO);
    network.failures.extend(std::iter::repeat_n((Call::Accept, EINVAL), 10));
    network.run_for(SECOND / 100);
    assert_eq!((network.gateway.connections(), network.reactor.accept_errors()), (1, 10));

    network.failures.extend(std::iter::repeat_n((Call::Accept, EINVAL), 100_000));
    network.dial_device(device_address(2), Duration::ZERO);
    network.run_for(SECOND * SECONDS);
    let errors = network.reactor.accept_errors() - 10;
    assert!((16..40).contains(&errors), "{errors} calls failed in {SECONDS} s");
    network.failures.clear();
    network.run_for(SECOND * 7);
    assert_eq!(network.gateway.connections(), 2);
}
