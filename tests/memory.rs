//! The memory budget: many pictures arrive at the same time, no device can use the whole budget, and memory is freed.

mod common;

use std::time::Duration;

use common::{Cut, LOCAL, Network, device_address};
use pulsegate::unstable::endpoint::Endpoint;
use pulsegate::{CreditFrom, SendError, Settings};

const SECOND: Duration = Duration::from_secs(1);
const BUDGET: usize = 2 << 20;

fn network() -> Network {
    network_with(|_| ())
}

fn network_with(change: impl FnOnce(&mut Settings)) -> Network {
    let mut settings = Settings::default();
    settings.limits.memory_budget = BUDGET as u64;
    settings.limits.object_bytes_max = 200_000;
    settings.limits.outbox_bytes_max = 100_000;
    change(&mut settings);
    let mut network = Network::new(settings);
    network.cut = Cut::Every(8 << 10);
    network
}

/// Returns a `Project` of about `bytes` bytes that names its sender.
fn picture(number: usize, bytes: usize) -> Vec<u8> {
    format!(r#"{{"Type":"Project","Number":{number},"Picture":"{}"}}"#, "P".repeat(bytes)).into_bytes()
}

/// Runs for a duration and asserts the budget after each step. Returns the most bytes that were held.
fn run(network: &mut Network, seconds: u32) -> usize {
    let (end, mut most) = (network.now + SECOND * seconds, 0);
    while network.now < end && network.step() {
        let (held, _) = network.gateway.parts(network.now).1.memory();
        assert!(held <= BUDGET, "{held} bytes are held");
        most = most.max(held);
    }
    most
}

#[test]
fn pictures_of_all_devices_at_the_same_time_arrive() {
    let mut network = network();
    let devices: Vec<_> = (0..300).map(|number| network.connect(device_address(number))).collect();
    // All pictures are twenty times the budget. They arrive in small, interleaved pieces.
    for &device in &devices {
        network.send_slowly(device, &picture(device, 150_000), 10_000, Duration::from_millis(50));
    }
    run(&mut network, 60);
    assert!(network.stats().pauses > 0, "memory was never short");
    for &device in &devices {
        network.expect_messages(device, &[picture(device, 150_000)]);
        assert!(network.end_of(device).is_none(), "device {device} was cut");
    }
    assert_eq!(network.gateway.parts(network.now).1.memory(), (0, 0));
}

/// The read that ends one picture begins the next, so the device always has a partial object.
#[test]
fn a_device_that_sends_picture_after_picture_does_not_starve_others() {
    let mut network = network();
    let devices: Vec<_> = (0..300).map(|number| network.connect(device_address(number))).collect();
    let streamer = network.connect(device_address(1000));
    let all: Vec<u8> = (0..60).flat_map(|_| picture(streamer, 150_000)).collect();
    network.send_slowly(streamer, &all, 7_500, Duration::from_millis(100));
    run(&mut network, 2);
    for &device in &devices {
        network.send_slowly(device, &picture(device, 150_000), 10_000, Duration::from_millis(50));
    }
    run(&mut network, 60);
    for &device in &devices {
        network.expect_messages(device, &[picture(device, 150_000)]);
    }
    assert!(network.messages_of(streamer).len() < 60, "it is still at it");
}

#[test]
fn small_objects_of_one_device_do_not_block_others() {
    for credit_from in [CreditFrom::Any, CreditFrom::Heartbeat] {
        let mut network = network_with(|settings| {
            (settings.heartbeat.credit, settings.heartbeat.credit_from) = (255, credit_from);
        });
        let devices: Vec<_> = (0..40).map(|number| network.connect(device_address(number))).collect();
        for &device in &devices {
            network.send_slowly(device, &picture(device, 150_000), 10_000, SECOND);
        }
        run(&mut network, 120);
        assert!(network.stats().pauses > 0, "memory was never tight");
        for &device in &devices {
            network.expect_messages(device, &[picture(device, 150_000)]);
        }
    }
}

#[test]
fn the_largest_object_passes_with_the_smallest_budget() {
    let mut settings = Settings::default();
    (settings.limits.object_bytes_max, settings.limits.outbox_bytes_max) = (200_000, 100_000);
    settings.limits.memory_budget = 400_000;
    let mut network = Network::new(settings);
    network.cut = Cut::Every(8 << 10);
    let device = network.connect(device_address(1));
    let object = picture(device, 199_900);
    network.send(device, object.clone());
    network.run_until(network.now + SECOND);
    network.expect_messages(device, &[object]);
    assert!(network.end_of(device).is_none());
}

#[test]
fn a_device_that_dies_in_a_picture_makes_place_for_another() {
    let mut network = network();
    let dead: Vec<_> = (0..100).map(|number| network.connect(device_address(number))).collect();
    for &device in &dead {
        network.links[device].answers = false;
        network.send(device, &picture(device, 150_000)[..100_000]);
    }
    run(&mut network, 1);
    let late = network.connect(device_address(200));
    network.send(late, picture(late, 150_000));
    // After an interval without progress another device is admitted.
    run(&mut network, 300);
    assert!(dead.iter().all(|&device| network.end_of(device).is_some()), "the dead are gone");
    network.expect_messages(late, &[picture(late, 150_000)]);
    assert!(network.end_of(late).is_none());
    assert_eq!(network.gateway.parts(network.now).1.memory(), (0, 0));
}

#[test]
fn many_new_devices_do_not_starve_a_returning_device() {
    let mut network = network();
    let known = network.connect(device_address(500));
    network.send(known, picture(known, 2_000));
    for number in 0..200 {
        let device = network.connect(device_address(number));
        network.links[device].answers = false;
        network.send(device, &picture(device, 150_000)[..100_000]);
    }
    run(&mut network, 1);
    assert!(network.stats().pauses > 0, "memory was never short");
    network.send(known, picture(known, 150_000));
    // A place is free after an interval at the latest, and every other place is for a returning device.
    run(&mut network, 10);
    network.expect_messages(known, &[picture(known, 2_000), picture(known, 150_000)]);
    assert!(network.end_of(known).is_none());
}

#[test]
fn a_device_within_its_allowance_blocks_no_other() {
    let mut network = network();
    let slow = network.connect(device_address(500));
    let object = picture(slow, 200);
    network.links[slow].answers = false;
    network.send(slow, &object[..180]);
    for number in 0..200 {
        let device = network.connect(device_address(number));
        network.links[device].answers = false;
        network.send(device, &picture(device, 150_000)[..100_000]);
    }
    run(&mut network, 1);
    assert!(network.stats().pauses > 0, "memory was never short");
    // For three intervals others wait, and the device sends nothing.
    run(&mut network, 6);
    assert!(network.end_of(slow).is_none(), "{:?}", network.end_of(slow));
    network.send(slow, &object[180..]);
    run(&mut network, 1);
    network.expect_messages(slow, &[object]);
}

#[test]
fn event_consumers_that_do_not_read_leave_room_for_one_that_does() {
    let mut network = network();
    network.gateway.remove_listener(LOCAL);
    network.gateway.add_unix(LOCAL, 1 << 20);
    let stuck: Vec<_> = (0..4).map(|_| network.connect_local()).collect();
    let line = [b'e'; 500];
    for _ in 0..500 {
        for &reader in &stuck {
            network.links[reader].reading = false;
            let id = network.id(reader);
            network.write_local(id, &line);
        }
    }
    run(&mut network, 1);
    let (held, _) = network.gateway.parts(network.now).1.memory();
    assert!((BUDGET / 16..=BUDGET / 8).contains(&held), "{held} bytes are held for those who do not read");
    let reader = network.connect_local();
    let id = network.id(reader);
    for _ in 0..100 {
        assert!(network.write_local(id, &line) && network.write_local(id, &line), "there was no room for two lines");
        run(&mut network, 1);
    }
    assert_eq!(network.links[reader].text.len(), 200 * line.len());
    // One event may be larger than the per-consumer limit.
    assert!(network.write_local(id, &[b'e'; BUDGET / 4]) && !network.write_local(id, &line));
}

/// The events of one read of small objects could exceed the queue of a consumer.
#[test]
fn reads_are_short_while_an_event_consumer_is_connected() {
    let mut network = network();
    network.gateway.remove_listener(LOCAL);
    network.gateway.add_unix(LOCAL, 1 << 20);
    let link = network.connect(device_address(1));
    let device = network.id(link);
    assert!(network.gateway.poll_read(device) > 64 << 10);
    let reader = network.connect_local();
    assert_eq!(network.gateway.poll_read(device), 64 << 10);
    network.links[reader].reading = false;
    let id = network.id(reader);
    while network.write_local(id, &[b'e'; 8 << 10]) {}
    assert_eq!(network.gateway.poll_read(device), 16 << 10);
    network.gateway.parts(network.now).1.set_outbox_max(id, 0);
    assert!(network.gateway.poll_read(device) > 64 << 10);
    network.gateway.parts(network.now).1.set_outbox_max(id, 1);
    assert_eq!(network.gateway.poll_read(device), 16 << 10);
    network.reset(reader);
    run(&mut network, 1);
    assert!(network.gateway.poll_read(device) > 64 << 10);
    network.check_invariants();
}

#[test]
fn small_messages_pass_while_pictures_are_paused() {
    let mut network = network();
    for number in 0..200 {
        let device = network.connect(device_address(number));
        network.send(device, &picture(device, 150_000)[..100_000]);
    }
    run(&mut network, 1);
    assert!(network.stats().pauses > 0, "memory was never short");
    let small = network.connect(device_address(200));
    let objects: Vec<Vec<u8>> = (0..100).map(|number| picture(number, 10)).collect();
    for object in &objects {
        network.send(small, object.clone());
    }
    run(&mut network, 1);
    network.expect_messages(small, &objects);
}

#[test]
fn commands_that_no_device_takes_stay_within_the_budget() {
    let mut network = network();
    let devices: Vec<_> = (0..100).map(|number| network.connect(device_address(number))).collect();
    let mut refused = 0;
    for &device in &devices {
        network.links[device].window = 1_000;
        network.set_reading(device, false);
        let id = network.id(device);
        refused += usize::from(network.command(id, &[b'x'; 90_000]) == Err(SendError::Memory));
    }
    run(&mut network, 1);
    assert!(refused > 0, "everything was taken");
    assert_eq!(network.stats().commands_refused[&SendError::Memory], refused as u64);
    run(&mut network, 60);
    assert_eq!(network.gateway.parts(network.now).1.memory(), (0, 0), "devices that take nothing are stalled");
}

#[test]
fn a_pause_of_an_interval_within_an_object_is_tolerated() {
    for cut in [Cut::Whole, Cut::Every(8 << 10)] {
        pause_within_objects(cut);
    }
}

/// Thirty devices pause within objects that are together five times a small budget.
fn pause_within_objects(cut: Cut) {
    let mut settings = Settings::default();
    settings.limits.memory_budget = 256 << 10;
    (settings.limits.object_bytes_max, settings.limits.outbox_bytes_max) = (64 << 10, 8 << 10);
    let interval = settings.heartbeat.interval;
    let mut network = Network::new(settings);
    network.cut = cut;
    let objects: Vec<_> = (0..30).map(|number| picture(number, 40_000)).collect();
    let devices: Vec<_> = (0..30).map(|number| network.connect(device_address(number))).collect();
    for (&device, object) in devices.iter().zip(&objects) {
        network.links[device].answers = false; // not in the middle of an object
        network.send(device, object[..30_000].to_vec());
    }
    network.run_for(interval * 9 / 10);
    for (&device, object) in devices.iter().zip(&objects) {
        network.send(device, object[30_000..].to_vec());
        network.links[device].answers = true;
    }
    network.run_for(SECOND * 30);
    for (&device, object) in devices.iter().zip(&objects) {
        assert!(network.end_of(device).is_none(), "device {device} was cut ({cut:?})");
        network.expect_messages(device, std::slice::from_ref(object));
    }
}
