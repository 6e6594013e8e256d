//! One gateway and one device, sometimes a few, in virtual time: beats, closes, framing and commands.

mod common;

use std::net::{SocketAddr, SocketAddrV6};
use std::time::Duration;

use common::{Cut, Network, Seen, TICK, device_address, object, object_of, rejected_samples, v4};
use pulsegate::unstable::proto::heartbeat::ANSWER;
use pulsegate::{CloseReason, CreditFrom, FramingCause, Refusal, SendError, Settings, Target};

const SECOND: Duration = Duration::from_secs(1);

/// Returns the default settings with a change.
fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings);
    settings
}

/// Returns the close reason of a device that connected at the start, and the time of its end.
fn end(network: &Network, link: usize) -> (CloseReason, Duration) {
    let (at, end) = network.end_of(link).expect("the device should have ended");
    (end.reason, at - network.start)
}

/// Returns cause and offset of a framing error.
fn framing(reason: CloseReason) -> Option<(FramingCause, u64)> {
    match reason {
        CloseReason::Framing(fault) => Some((fault.cause, fault.offset)),
        _ => None,
    }
}

#[test]
fn a_device_that_answers_its_beats_lives_for_an_hour() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.run_for(SECOND * 3600);
    assert!(network.end_of(link).is_none());
    let beats = &network.links[link].beats;
    assert_eq!(beats.len(), 1800);
    // One beat in every interval, without drift, each less than a tick late.
    for (number, beat) in beats.iter().enumerate() {
        let late = *beat - beats[0];
        assert_eq!(late, SECOND * 2 * number as u32, "beat {number}");
    }
    assert!(network.messages_of(link).is_empty(), "heartbeats are not shown to the application");
}

#[test]
fn a_silent_device_is_reported_10_to_12_seconds_after_its_last_answer() {
    for late_ms in (0..4000).step_by(90) {
        let mut network = Network::new(Settings::default());
        network.run_for(Duration::from_millis(late_ms % 370));
        let link = network.connect(device_address(1));
        network.links[link].answers = false;
        network.run_for(Duration::from_millis(3000 + late_ms));
        network.links[link].latency = Duration::ZERO;
        network.send(link, ANSWER);
        let last = network.now;
        network.run_for(SECOND * 20);
        let (at, end) = network.end_of(link).expect("a silent device ends");
        assert_eq!(end.reason, CloseReason::Silent);
        let silence = at - last;
        assert!(silence >= SECOND * 10 && silence <= SECOND * 12 + TICK, "{silence:?} when {late_ms} ms late");
        assert_eq!(network.links[link].ended, Some(true), "no close waits for a peer that is gone");
    }
}

#[test]
fn a_device_that_never_answers_is_silent_within_credit_and_one_interval() {
    for (credit, interval_ms) in [(5, 2000), (1, 100), (255, 300), (2, 7_500)] {
        let interval = Duration::from_millis(interval_ms);
        let mut network = Network::new(settings(|s| (s.heartbeat.credit, s.heartbeat.interval) = (credit, interval)));
        let links: Vec<_> = (0..20).map(|number| network.connect(device_address(number))).collect();
        for &link in &links {
            network.links[link].answers = false;
        }
        network.run_for(interval * 300);
        for link in links {
            let (reason, after) = end(&network, link);
            assert_eq!(reason, CloseReason::Silent);
            let full = interval * u32::from(credit);
            assert!(after > full && after <= full + interval + TICK, "{after:?} for {credit} times {interval:?}");
            assert_eq!(network.links[link].beats.len(), usize::from(credit));
        }
    }
}

#[test]
fn any_object_refills_the_credit_unless_only_heartbeats_do() {
    for (credit_from, lives) in [(CreditFrom::Any, true), (CreditFrom::Heartbeat, false)] {
        let mut network = Network::new(settings(|s| s.heartbeat.credit_from = credit_from));
        let link = network.connect(device_address(1));
        network.links[link].answers = false;
        for number in 0..10 {
            network.send(link, object(number));
            network.run_for(SECOND * 5);
        }
        assert_eq!(network.end_of(link).is_none(), lives, "{credit_from:?}");
    }
}

/// A picture is one object, so the device cannot answer a beat before its end.
#[test]
fn a_slow_picture_keeps_a_device_alive_until_it_stalls() {
    let mut network = Network::new(Settings::default());
    let [busy, dying] = [1, 2].map(|number| network.connect(device_address(number)));
    let picture = object_of(64_000, 1);
    for link in [busy, dying] {
        network.links[link].answers = false;
    }
    for (second, piece) in picture.chunks(2_300).enumerate() {
        network.send(busy, piece);
        if second < 5 {
            network.send(dying, piece);
        }
        network.run_for(SECOND);
    }
    network.expect_messages(busy, std::slice::from_ref(&picture));
    let (reason, after) = end(&network, dying);
    assert_eq!(reason, CloseReason::Silent);
    assert!(after >= SECOND * 14 && after <= SECOND * 16 + TICK, "{after:?}, when the last byte came after 4 s");
}

#[test]
fn rejected_objects_are_no_sign_of_life() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.links[link].answers = false;
    for _ in 0..12 {
        network.send(link, br#"{"no":"type"}"#);
        network.run_for(SECOND);
    }
    network.run_for(TICK);
    assert_eq!(end(&network, link).0, CloseReason::Silent);
}

#[test]
fn an_object_that_takes_too_long_is_a_framing_error() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.links[link].answers = false;
    network.send(link, [object(1), b"  {\"Type\":".to_vec()].concat());
    // More bytes of it keep the device alive, but do not extend `object_timeout`.
    for _ in 0..40 {
        network.send(link, b"  ");
        network.run_for(SECOND);
    }
    let offset = object(1).len() as u64 + 2;
    let (reason, after) = end(&network, link);
    assert_eq!(framing(reason), Some((FramingCause::Timeout, offset)));
    assert!(after >= SECOND * 30 && after <= SECOND * 30 + TICK * 2, "{after:?}");
    let (_, end) = network.end_of(link).unwrap();
    assert_eq!(end.unfinished.map(|(offset, _)| offset), Some(offset));
    network.expect_messages(link, &[object(1)]);
}

#[test]
fn a_device_that_takes_no_byte_is_stalled() {
    for reloaded in [false, true] {
        let mut network = Network::new(Settings::default());
        let link = network.connect(device_address(1));
        network.links[link].window = 1000;
        network.set_reading(link, false);
        network.command(network.id(link), &[b'x'; 5000]).unwrap();
        for number in 0..32 {
            if reloaded && number == 29 {
                network.configure(settings(|s| s.heartbeat.interval = SECOND * 20));
            }
            network.send(link, object(number));
            network.run_for(SECOND);
        }
        let (reason, after) = end(&network, link);
        assert_eq!(reason, CloseReason::Stalled);
        assert!(after >= SECOND * 30 && after <= SECOND * 30 + TICK * 2, "{after:?}");
        assert_eq!(network.end_of(link).unwrap().1.unsent, 4000);
        assert_eq!(network.links[link].ended, Some(true), "no resource waits for it");
        assert_eq!(network.stats().unsent_bytes, 4000);
    }
}

#[test]
fn a_device_that_takes_a_byte_now_and_then_is_not_stalled() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    (network.links[link].window, network.links[link].answers) = (1, false);
    let text: Vec<u8> = (0..20).map(|n| b'A' + n).collect();
    network.set_reading(link, false);
    network.command(network.id(link), &text).unwrap();
    for second in 0..220 {
        if second % 10 == 9 {
            network.set_reading(link, true);
            network.set_reading(link, false);
        }
        network.send(link, ANSWER);
        network.run_for(SECOND);
    }
    assert!(network.end_of(link).is_none());
    assert_eq!(network.links[link].text, text);
    assert!(network.stats().beats_withheld > 50, "a beat does not queue behind what waits");
}

#[test]
fn a_withheld_beat_costs_credit() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.links[link].window = 10;
    network.set_reading(link, false);
    network.command(network.id(link), &[b'x'; 20]).unwrap();
    network.run_for(SECOND * 13);
    let (reason, after) = end(&network, link);
    assert_eq!(reason, CloseReason::Silent);
    assert!(after <= SECOND * 12 + TICK, "{after:?}");
    assert_eq!((network.stats().beats_sent, network.stats().beats_withheld), (0, 5));
}

/// A device with queued bytes gets no beat to answer. It shows that it is alive by taking these bytes.
#[test]
fn a_withheld_beat_costs_no_credit_while_the_device_takes_queued_bytes() {
    for credit_from in [CreditFrom::Any, CreditFrom::Heartbeat] {
        let mut network = Network::new(settings(|s| s.heartbeat.credit_from = credit_from));
        let link = network.connect(device_address(1));
        (network.links[link].window, network.links[link].answers) = (1_000, false);
        network.set_reading(link, false);
        network.command(network.id(link), &[b'x'; 60_000]).unwrap();
        for _ in 0..50 {
            network.run_for(SECOND);
            network.set_reading(link, true);
            network.set_reading(link, false);
        }
        assert!(network.stats().beats_withheld >= 20, "{credit_from:?}");
        let id = network.id(link);
        let credit = network.gateway.parts(network.now).1.device(id).map(|device| device.credit());
        assert_eq!(credit, Some(5), "{credit_from:?}");
        let last = network.now;
        network.run_for(SECOND * 20);
        let (at, end) = network.end_of(link).expect("a device that takes no more is gone");
        assert_eq!(end.reason, CloseReason::Silent);
        // The first beat after its last sign of life costs no credit.
        assert!(at - last >= SECOND * 12 && at - last <= SECOND * 14 + TICK, "{:?}", at - last);
    }
}

#[test]
fn the_round_trip_counts_from_the_answered_beat() {
    for late_ms in [500, 1_500, 2_500, 4_000, 4_100, 7_500, 9_000] {
        let late = Duration::from_millis(late_ms);
        let mut network = Network::new(Settings::default());
        let link = network.connect(device_address(1));
        network.links[link].latency = late / 2;
        network.run_for(SECOND * 60);
        let round_trip = network.stats().beat_round_trip;
        assert_eq!((round_trip.longest(), round_trip.percentile(1)), (late, Some(late)), "{late:?}");
        assert!(round_trip.count() >= 24, "{late:?}: every answer is measured, not {}", round_trip.count());
    }
}

/// A device that reads two beats at once sends one answer, and answers every later beat at once.
#[test]
fn a_device_that_skips_beats_is_not_measured_as_late_for_ever() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.run_for(SECOND * 10);
    network.links[link].answers = false;
    network.run_for(SECOND * 6);
    network.links[link].answers = true;
    network.run_for(SECOND * 60);
    let round_trip = network.stats().beat_round_trip;
    assert!(round_trip.longest() <= TICK, "{:?}", round_trip.longest());
    assert!(round_trip.count() >= 33, "{}", round_trip.count());
}

/// After a stop the device takes its queued bytes in a later turn, when the stream becomes writable.
#[test]
fn no_device_is_stalled_by_a_stopped_process() {
    let budget = pulsegate::TurnLimits { events_per_turn_max: 1, ..Default::default() };
    let mut network = Network::seeded(Settings::default(), budget, 1);
    let links: Vec<_> = (0..20).map(|number| network.connect(device_address(number))).collect();
    for &link in &links {
        network.links[link].window = 1000;
        network.command(network.id(link), &[b'x'; 5000]).unwrap();
    }
    network.jump(SECOND * 40);
    network.run_for(SECOND * 60);
    for link in links {
        assert_eq!(network.end_of(link), None, "device {link}");
        assert_eq!(network.links[link].text.len(), 5000);
    }
}

/// A stopped process, or a busy machine.
#[test]
fn no_device_is_silent_before_a_late_turn_reads_it() {
    for jump in [3, 11, 15, 25, 600] {
        let mut network = Network::new(Settings::default());
        let links: Vec<_> = (0..100).map(|number| network.connect(device_address(number))).collect();
        network.run_for(SECOND * 7);
        network.jump(SECOND * jump);
        network.run_for(SECOND * 60);
        for link in links {
            assert!(network.end_of(link).is_none(), "device {link} after {jump} s: {:?}", network.end_of(link));
        }
    }
}

/// The gateway has read the first part of the object in time, and could not read the rest.
#[test]
fn no_object_times_out_before_a_late_turn_reads_it() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    let whole = object_of(100_000, 1);
    let (head, rest) = whole.split_at(1000);
    network.links[link].answers = false;
    network.send(link, head);
    network.run_for(SECOND);
    network.jump(SECOND * 40);
    network.step();
    // The device sends more as soon as the gateway's socket buffer has room.
    network.send(link, rest);
    network.run_for(SECOND);
    network.expect_messages(link, &[whole]);
}

/// The heartbeat interval is longer than the stop.
#[test]
fn a_stopped_process_extends_deadlines_even_without_a_due_beat() {
    let mut network = Network::new(settings(|s| s.heartbeat.interval = SECOND * 300));
    let (reader, writer) = (network.connect(device_address(1)), network.connect(device_address(2)));
    let whole = object_of(500_000, 1);
    let (head, rest) = whole.split_at(100);
    network.links[reader].window = 1000;
    network.command(network.id(reader), &[b'x'; 5000]).unwrap();
    network.send(writer, head);
    network.run_for(SECOND * 3);
    network.jump(SECOND * 40);
    network.send(writer, &rest[..1000]);
    network.run_for(SECOND / 10);
    network.send(writer, &rest[1000..]);
    network.run_for(SECOND);
    network.expect_messages(writer, &[whole]);
    assert_eq!(network.end_of(reader), None);
}

#[test]
fn a_stopped_process_does_not_extend_the_time_of_a_later_object() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.run_for(SECOND * 5);
    network.links[link].answers = false;
    // The object arrives while the process is stopped, and the late turn reads it.
    network.send(link, b"{\"Type\":");
    network.jump(SECOND * 3600);
    for _ in 0..40 {
        network.send(link, b" ");
        network.run_for(SECOND);
    }
    let (reason, _) = end(&network, link);
    assert!(matches!(framing(reason), Some((FramingCause::Timeout, _))), "{reason:?}");
}

#[test]
fn a_late_turn_takes_no_credit_for_beats_that_were_not_sent() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.run_for(SECOND * 10);
    network.links[link].answers = false;
    for _ in 0..8 {
        network.jump(SECOND * 15);
        network.step();
    }
    assert!(network.end_of(link).is_none());
    network.run_for(SECOND * 14);
    assert_eq!(end(&network, link).0, CloseReason::Silent, "and yet the dead are found");
}

#[test]
fn beats_of_devices_that_join_together_are_spread_evenly() {
    let mut network = Network::new(Settings::default());
    let links: Vec<_> = (0..1000).map(|number| network.connect(device_address(number))).collect();
    network.run_for(SECOND * 60);
    let mut by_tick = [0; 20];
    for &link in &links {
        let beats = &network.links[link].beats;
        assert!((29..=30).contains(&beats.len()), "{} beats in a minute", beats.len());
        let phase = (beats[0] - network.start).as_millis() / 100 % 20;
        by_tick[phase as usize] += 1;
        assert!(beats.windows(2).all(|pair| pair[1] - pair[0] == SECOND * 2));
    }
    assert!(by_tick.iter().all(|n| (40..=60).contains(n)), "{by_tick:?}: each should be about 50");
}

/// A device that lost its power still has its old connections.
#[test]
fn a_newcomer_replaces_the_connection_of_its_address_that_left_most_beats_unanswered() {
    let mut network = Network::new(settings(|s| s.access.connections_per_ip_max = 2));
    let links: Vec<_> = (0..2).map(|port| network.connect(v4(7, 1000 + port))).collect();
    let elsewhere = network.connect(v4(8, 1000));
    network.links[elsewhere].answers = false;
    network.run_for(SECOND * 60);
    for (boot, dead) in [links[1], links[0]].into_iter().enumerate() {
        network.links[dead].answers = false;
        network.links[dead].vanished = true;
        network.run_for(SECOND * 4);
        let newcomer = network.connect(v4(7, 2000 + boot as u16));
        let (reason, _) = end(&network, dead);
        assert_eq!(reason, CloseReason::Replaced);
        assert_eq!(network.links[dead].ended, Some(true), "no resource waits for it");
        network.send(newcomer, object(boot as u64));
        network.run_for(SECOND * 60);
        network.expect_messages(newcomer, &[object(boot as u64)]);
    }
    assert_eq!(network.stats().refused.total(), 0);
    assert_eq!(network.stats().closed[&CloseReason::Replaced], 2);
}

#[test]
fn a_device_that_answers_its_beats_is_not_replaced() {
    let mut network = Network::new(settings(|s| s.access.connections_per_ip_max = 1));
    let link = network.connect(v4(7, 1000));
    network.links[link].latency = Duration::from_millis(200);
    for attempt in 0..200 {
        network.run_for(Duration::from_millis(130));
        network.connect(v4(7, 2000 + attempt));
    }
    assert_eq!(network.end_of(link), None);
    assert_eq!(network.stats().refused[&Refusal::ConnectionsPerIpMax], 200);
}

/// Returns the time and the bytes of each message that reached a device, and whether it is a beat.
fn heard(network: &mut Network, link: usize, time: Duration) -> Vec<(Duration, usize, bool)> {
    let (mut heard, end) = (Vec::new(), network.now + time);
    let [mut text, mut beats] = [network.links[link].text.len(), network.links[link].beats.len()];
    while network.now < end {
        network.run_for(Duration::from_millis(10));
        let (at, state) = (network.now - network.start, &network.links[link]);
        if state.text.len() > text {
            heard.push((at, state.text.len() - text, false));
        }
        heard.extend((beats..state.beats.len()).map(|_| (at, 9, true)));
        (text, beats) = (state.text.len(), state.beats.len());
    }
    heard
}

#[test]
fn beats_and_commands_to_one_device_are_as_far_apart_as_the_gap_says() {
    let gap = Duration::from_millis(500);
    let mut network = Network::new(settings(|s| s.command_gap = gap));
    let link = network.connect(device_address(1));
    network.run_for(SECOND * 5);
    for length in 1..=12 {
        network.command(network.id(link), &vec![b'x'; length]).unwrap();
    }
    let all = heard(&mut network, link, SECOND * 20);
    assert!(all.windows(2).all(|pair| pair[1].0 - pair[0].0 >= gap), "{all:?}");
    let commands: Vec<_> = all.iter().filter(|message| !message.2).map(|message| message.1).collect();
    assert_eq!(commands, Vec::from_iter(1..=12), "each by itself, in order");
    let beats: Vec<_> = all.iter().filter(|message| message.2).map(|message| message.0).collect();
    let late = gap + TICK * 2;
    assert!(beats.windows(2).all(|pair| pair[1] - pair[0] <= SECOND * 2 + late), "{beats:?}");
    assert!((9..=10).contains(&beats.len()), "no beat is left out: {beats:?}");
    assert_eq!((network.stats().commands_sent, network.stats().beats_withheld), (12, 0));
    assert_eq!(network.stats().unsent_bytes, 0);
    network.check_invariants();
}

#[test]
fn a_gap_that_a_reload_removes_delays_no_message() {
    let mut network = Network::new(settings(|s| s.command_gap = SECOND));
    let link = network.connect(device_address(1));
    for _ in 0..5 {
        network.command(network.id(link), b"reboot").unwrap();
    }
    network.configure(Settings::default());
    network.run_for(TICK);
    assert_eq!(network.links[link].text, b"reboot".repeat(5));
    network.check_invariants();
}

#[test]
fn a_removed_device_gets_commands_behind_the_gap_within_the_close_timeout() {
    let mut network = Network::new(settings(|s| s.command_gap = Duration::from_millis(400)));
    let link = network.connect(device_address(1));
    for number in 0..5 {
        network.command_tagged(network.id(link), b"reboot", number).unwrap();
    }
    network.remove(network.id(link));
    let heard = heard(&mut network, link, SECOND * 2);
    assert!(heard.iter().all(|message| message.1 == 6), "{heard:?}");
    let (_, end) = network.end_of(link).expect("a removed device ends");
    assert_eq!(end.unsent, 30 - network.links[link].text.len());
    assert!(heard.len() >= 2, "{heard:?}");
}

#[test]
fn a_command_that_a_device_would_misread_is_refused() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    let id = network.id(link);
    assert_eq!(network.command(id, b"set heartbeat 5"), Err(SendError::HasBeat));
    assert_eq!(network.command(id, b"heartbeat"), Err(SendError::HasBeat));
    assert!(network.command(id, b"heart beat\n").is_ok());

    network.configure(settings(|s| s.terminator = b"\n".to_vec()));
    assert_eq!(network.command(id, b"a\nb"), Err(SendError::HasTerminator));
    assert_eq!(network.command(id, b"heartbeat"), Err(SendError::HasBeat), "the device would answer it");
    assert!(network.command(id, b"set heartbeat 5").is_ok(), "a line that is more than a beat is none");
    assert_eq!(network.stats().commands_refused.total(), 4);
}

/// The new settings apply to all beats.
#[test]
fn beats_have_the_terminator_and_payload_that_a_reload_has_set() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.links[link].answers = false;
    network.configure(settings(|s| {
        s.terminator = b"\r\n".to_vec();
        s.heartbeat.payload = b"PING".to_vec();
    }));
    network.run_for(SECOND * 5);
    network.command(network.id(link), b"reboot").unwrap();
    network.run_for(SECOND / 10);
    let text = String::from_utf8_lossy(&network.links[link].text).into_owned();
    assert!(text.starts_with("PING\r\nPING\r\n") && text.ends_with("reboot\r\n"), "{text:?}");
    network.configure(Settings::default());
    network.run_for(SECOND * 3);
    assert!(!network.links[link].beats.is_empty(), "and again without");
}

#[test]
fn removal_sends_queued_bytes_and_closes_the_connection() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(v4(7, 1000));
    let text = vec![b'x'; 200_000];
    network.links[link].window = 50_000;
    network.command(network.id(link), &text).unwrap();
    assert_eq!(network.remove(v4(7, 1000).ip()), 1);
    assert_eq!(network.remove(v4(7, 1000).ip()), 0, "it is on its way out");
    assert_eq!(network.command(network.id(link), b"late"), Err(SendError::NoSuchDevice));
    // The gateway discards and counts later bytes.
    network.send(link, object(1));
    network.run_for(SECOND);
    let (_, end) = network.end_of(link).expect("a removed device ends");
    assert_eq!((end.reason, end.unsent), (CloseReason::Removed, 0));
    assert_eq!(network.links[link].text, text);
    assert_eq!(network.links[link].ended, Some(false), "closed in good order");
    assert!(network.messages_of(link).is_empty());
    let stats = network.stats();
    assert_eq!(stats.received_bytes, stats.discarded_bytes);
}

#[test]
fn removal_waits_at_most_the_close_timeout() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.links[link].window = 100;
    network.set_reading(link, false);
    network.command(network.id(link), &[b'x'; 1000]).unwrap();
    network.remove(network.id(link));
    network.run_for(SECOND * 2);
    let (reason, after) = end(&network, link);
    assert_eq!(reason, CloseReason::Removed);
    assert!(after >= SECOND && after <= SECOND + TICK * 2, "{after:?}");
    assert_eq!(network.end_of(link).unwrap().1.unsent, 900);
}

#[test]
fn bytes_of_a_removed_device_are_discarded_and_counted() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.gateway.handler_mut().reaction = Some(Box::new(|device, message, gateway| {
        gateway.send(device.id(), "bye");
        if message.bytes() == object(2) {
            assert_eq!(gateway.remove(device.id()), 1);
            assert_eq!(gateway.connections(), 1, "no slot is freed inside a callback");
        }
    }));
    network.send(link, [object(1), object(2), object(3), b"garbage".to_vec()].concat());
    network.run_for(SECOND);
    network.expect_messages(link, &[object(1), object(2)]);
    assert_eq!(end(&network, link).0, CloseReason::Removed);
    assert_eq!(network.links[link].text, b"byebye");
    assert_eq!(network.stats().discarded_bytes, object(3).len() as u64 + 7);
}

#[test]
fn a_half_closed_device_gets_queued_bytes_and_its_partial_object_is_reported() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    let text = vec![b'x'; 200_000];
    network.links[link].window = 1000;
    network.command(network.id(link), &text).unwrap();
    network.send(link, [object(1), b"\n{\"Type\":\"Status\"".to_vec()].concat());
    network.half_close(link);
    network.run_for(SECOND * 20);
    let (_, end) = network.end_of(link).expect("a half closed device ends");
    assert_eq!((end.reason, end.unsent), (CloseReason::Closed, 0));
    assert_eq!(end.unfinished, Some((object(1).len() as u64 + 1, 16)));
    assert_eq!(network.links[link].text, text);
    assert_eq!(network.links[link].ended, Some(false));
    network.expect_messages(link, &[object(1)]);
}

#[test]
fn a_slow_half_closed_device_can_be_removed() {
    let denied = settings(|s| s.access.deny = vec!["10.0.0.0/8".parse().unwrap()]);
    for (expected, within) in [
        (CloseReason::Removed, SECOND),
        (CloseReason::Refused(Refusal::AddressDenied), Duration::ZERO),
        (CloseReason::Closed, SECOND),
    ] {
        let mut network = Network::new(Settings::default());
        let link = network.connect(device_address(1));
        network.links[link].window = 1000;
        network.set_reading(link, false);
        network.command(network.id(link), &[b'x'; 5000]).unwrap();
        network.half_close(link);
        network.run_for(SECOND);
        assert!(network.end_of(link).is_none(), "it may take what waits");
        let from = network.now;
        match expected {
            CloseReason::Removed => assert_eq!(network.remove(network.id(link)), 1),
            CloseReason::Refused(_) => network.configure(denied.clone()),
            // The device ended the connection, and a stop only speeds it up.
            _ => network.stop(),
        }
        network.run_for(SECOND * 5);
        let (at, end) = network.end_of(link).expect("an end");
        assert_eq!((end.reason, end.unsent), (expected, 4000));
        assert!(at - from <= within + TICK * 2, "{expected}: {:?}", at - from);
    }
}

#[test]
fn connections_that_end_count_for_the_limit_of_their_address() {
    let mut network = Network::new(settings(|s| s.access.connections_per_ip_max = 1));
    let address = |port| SocketAddr::from(([192, 0, 2, 7], port));
    let link = network.connect(address(1));
    network.links[link].window = 10;
    network.set_reading(link, false);
    network.command(network.id(link), &[b'x'; 1000]).unwrap();
    network.half_close(link);
    network.run_for(SECOND);
    let second = network.connect(address(2));
    assert_eq!(network.links[second].id, None, "one is enough");
}

/// Counters and callbacks must not depend on the cuts of the stream.
#[test]
fn counters_and_callbacks_do_not_depend_on_cuts() {
    let too_large = [b"  {\"Type\":\"".to_vec(), vec![b'a'; 2000]].concat();
    for (stream, expected) in [
        (b"    x".to_vec(), (4, 0, None)),
        (b"\xef\xbbx".to_vec(), (2, 0, None)),
        (b" {} \n}".to_vec(), (3, 0, None)),
        (too_large, (2, 1000, Some((2, 1000)))),
    ] {
        for cut in [Cut::Whole, Cut::Every(1), Cut::Every(3), Cut::Every(100)] {
            let mut network = Network::new(settings(|s| s.limits.object_bytes_max = 1000));
            network.cut = cut;
            let link = network.connect(device_address(1));
            network.send(link, stream.clone());
            network.run_for(SECOND);
            let (stats, (_, end)) = (network.stats(), network.end_of(link).expect("a fault"));
            let counted = (stats.padding_bytes, stats.unfinished_bytes, end.unfinished);
            assert_eq!(counted, expected, "{cut:?} of {} bytes", stream.len());
        }
    }
}

#[test]
fn a_framing_error_has_cause_and_place_and_keeps_complete_objects() {
    let large = [br#"{"Type":""#.to_vec(), vec![b'a'; 1 << 20]].concat();
    let cases: [(&[u8], FramingCause, u64); 6] = [
        (b"GET / HTTP/1.1\r\n", FramingCause::UnexpectedByte(b'G'), 0),
        (b" \t\r\n\0}", FramingCause::UnexpectedByte(b'}'), 5),
        (b"[{}]", FramingCause::UnexpectedByte(b'['), 0),
        (b" \xef\xbb\xff{}", FramingCause::UnexpectedByte(0xef), 1),
        (b"heartbeat", FramingCause::UnexpectedByte(b'h'), 0),
        (&large, FramingCause::TooLarge, 0),
    ];
    for (bytes, fault, at) in cases {
        for cut in [Cut::Whole, Cut::Every(5), Cut::Anywhere] {
            let mut network = Network::new(Settings::default());
            network.cut = cut;
            let link = network.connect(device_address(1));
            network.command(network.id(link), b"never mind").unwrap();
            network.send(link, [&object(1), bytes, &object(2)].concat());
            network.run_for(SECOND);
            let offset = object(1).len() as u64 + at;
            let name = String::from_utf8_lossy(&bytes[..bytes.len().min(20)]);
            assert_eq!(framing(end(&network, link).0), Some((fault, offset)), "{name}, {cut:?}");
            network.expect_messages(link, &[object(1)]);
        }
    }
}

/// An object without its closing brace, or without the quote of a string, would swallow all later objects for 30 s.
#[test]
fn a_partial_object_that_cannot_become_json_ends_within_an_interval() {
    for (bytes, at) in [
        (&br#"{"Type":"Performance","Temp":21.5{"Type":"Status"}"#[..], 33),
        (br#"{"Type":"Status","SSID":"3.5" disk","n":0}{"Type":"Status"}"#, 30),
    ] {
        for cut in [Cut::Whole, Cut::Every(1), Cut::Anywhere] {
            let mut network = Network::new(Settings::default());
            network.cut = cut;
            let link = network.connect(device_address(1));
            network.send(link, [object(1), bytes.to_vec()].concat());
            network.run_for(SECOND * 2 + TICK);
            let (reason, after) = end(&network, link);
            let (cause, offset) = framing(reason).expect("a framing fault");
            assert!(matches!(cause, FramingCause::InvalidJson(_)), "{cause:?}");
            assert_eq!(offset, object(1).len() as u64 + at);
            assert!(after <= SECOND * 2 + TICK, "{after:?}");
            network.expect_messages(link, &[object(1)]);
        }
    }
}

#[test]
fn the_end_of_a_stream_names_the_fault_of_the_object_that_it_cut() {
    for (bytes, broken) in [(&br#"{"Type":"Status","a":1"#[..], false), (br#"{"Type":"Status" "a":1"#, true)] {
        let mut network = Network::new(Settings::default());
        let link = network.connect(device_address(1));
        network.send(link, bytes);
        network.half_close(link);
        network.run_for(TICK * 2);
        let (reason, _) = end(&network, link);
        let expected = broken.then_some((FramingCause::InvalidJson("expected ',' or '}'"), 17));
        assert_eq!(framing(reason), expected, "{reason:?}");
    }
}

/// An incomplete byte order mark belongs to no object.
#[test]
fn a_byte_order_mark_is_skipped_before_every_object_and_a_broken_one_is_a_fault() {
    for cut in [Cut::Whole, Cut::Every(1), Cut::Every(2)] {
        let mut network = Network::new(Settings::default());
        network.cut = cut;
        let good = network.connect(device_address(1));
        let mark = b"\xef\xbb\xbf".to_vec();
        network.send(good, [mark.clone(), object(1), b"\x1e".to_vec(), mark, object(2), b",".to_vec()].concat());
        let bad = network.connect(device_address(2));
        network.send(bad, [b"\xef\xbb".to_vec(), object(1)].concat());
        network.run_for(SECOND);
        network.expect_messages(good, &[object(1), object(2)]);
        let fault = Some((FramingCause::UnexpectedByte(0xef), 0));
        assert_eq!(framing(end(&network, bad).0), fault, "{cut:?}");
    }
}

/// The second read has a wrong byte in the mark.
#[test]
fn a_broken_byte_order_mark_over_two_reads_is_counted_like_any_fault() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.send(link, b"\xef");
    network.send(link, [b"\xbb".to_vec(), object(1)].concat());
    network.run_for(SECOND);
    assert_eq!(framing(end(&network, link).0), Some((FramingCause::UnexpectedByte(0xef), 0)));
    let stats = network.stats();
    let counted = stats.padding_bytes + stats.discarded_bytes + stats.unfinished_bytes;
    assert_eq!(stats.received_bytes, counted, "every byte counts once");
}

#[test]
fn each_reason_to_reject_an_object_is_reported_and_the_stream_continues() {
    for cut in [Cut::Whole, Cut::Every(7)] {
        let mut network = Network::new(Settings::default());
        network.cut = cut;
        let link = network.connect(device_address(1));
        for (_, bytes) in rejected_samples() {
            network.send(link, bytes);
        }
        network.send(link, object(1));
        network.run_for(SECOND);
        let id = network.id(link);
        let rejected = |seen: &Seen| match *seen {
            Seen::Rejected(of, error) if of == id => Some(error.reason),
            _ => None,
        };
        let reported: Vec<_> = network.log.iter().filter_map(|(_, seen)| rejected(seen)).collect();
        let expected: Vec<_> = rejected_samples().iter().map(|(reason, _)| *reason).collect();
        assert_eq!(reported, expected);
        network.expect_messages(link, &[object(1)]);
        assert!(network.end_of(link).is_none());
    }
}

#[test]
fn sixteen_rejected_objects_in_a_row_end_the_connection_and_a_good_one_resets_the_count() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    let rejected = |network: &Network| network.log.iter().filter(|(_, s)| matches!(s, Seen::Rejected(..))).count();
    for _ in 0..3 {
        network.send(link, [b"{} ".repeat(15), object(1)].concat());
    }
    network.run_for(SECOND);
    assert!(network.end_of(link).is_none());
    assert_eq!((rejected(&network), network.messages_of(link).len()), (45, 3));
    network.send(link, [b"{}".repeat(16), object(2)].concat());
    network.run_for(SECOND);
    assert_eq!(end(&network, link).0, CloseReason::Faulty);
    assert_eq!((rejected(&network), network.messages_of(link).len()), (61, 3), "the last one is reported, too");
    assert_eq!(network.stats().discarded_bytes, object(2).len() as u64);
}

#[test]
fn a_command_that_does_not_fit_is_refused_and_counted() {
    let mut network = Network::new(settings(|s| s.limits.outbox_bytes_max = 1000));
    let link = network.connect(device_address(1));
    let id = network.id(link);
    network.links[link].window = 100;
    network.set_reading(link, false);
    assert_eq!(network.command(id, &[b'x'; 1001]), Err(SendError::Full { waiting: 0, max: 1000 }));
    assert_eq!(network.command(id, &[b'a'; 600]).map(|queued| queued.id), Ok(id));
    assert_eq!(network.command(id, &[b'b'; 501]), Err(SendError::Full { waiting: 500, max: 1000 }));
    assert!(network.command(id, &[b'c'; 500]).is_ok());
    assert_eq!(network.command(id, b""), Err(SendError::Empty));
    network.set_reading(link, true);
    network.run_for(SECOND);
    assert_eq!(network.links[link].text, [[b'a'; 600].as_slice(), &[b'c'; 500]].concat());
    let stats = network.stats();
    assert_eq!((stats.commands_queued, stats.commands_refused[&SendError::Full { waiting: 0, max: 0 }]), (2, 2));
    assert_eq!(network.buffered(), (0, 0), "an outbox that is empty costs nothing");
}

#[test]
fn the_terminator_ends_commands_and_beats() {
    let mut network = Network::new(settings(|s| s.terminator = b"\r\n".to_vec()));
    let link = network.connect(device_address(1));
    network.links[link].window = 3;
    network.command(network.id(link), b"one").unwrap();
    network.command(network.id(link), b"two").unwrap();
    network.run_for(SECOND * 2 + TICK);
    // The received text contains the terminator of the beat, but not the beat.
    assert_eq!(network.links[link].beats.len(), 1);
    assert_eq!(network.links[link].text, b"one\r\ntwo\r\n\r\n");
}

#[test]
fn a_stop_reports_every_device_and_sends_queued_bytes() {
    let mut network = Network::new(Settings::default());
    let links: Vec<_> = (0..6000).map(|number| network.connect(device_address(number))).collect();
    for &link in &links {
        network.links[link].window = 20;
        let id = network.id(link);
        let _ = network.gateway.parts(network.now).1.try_send(id, [b'x'; 100]);
    }
    assert!(!network.gateway.is_stopped());
    let stopped = network.now;
    network.stop();
    let late = network.connect(device_address(9_999));
    assert_eq!(network.links[late].id, None, "no one is let in any more");
    network.settle(SECOND + TICK * 2);
    assert!(network.gateway.is_stopped());
    assert!(network.now - stopped <= SECOND + TICK);
    for link in links {
        let (reason, _) = end(&network, link);
        assert_eq!(reason, CloseReason::Shutdown);
        assert_eq!(network.links[link].text.len(), 100);
    }
    assert_eq!(network.stats().closed[&CloseReason::Shutdown], 6000);
    assert_eq!(network.stats().refused[&Refusal::Shutdown], 1);
}

#[test]
fn a_stop_waits_at_most_the_close_timeout() {
    let mut network = Network::new(Settings::default());
    let stuck = network.connect(device_address(1));
    let leaving = network.connect(device_address(2));
    let removed = network.connect(device_address(3));
    for link in [stuck, leaving, removed] {
        network.links[link].window = 10;
        network.set_reading(link, false);
        network.command(network.id(link), &[b'x'; 100]).unwrap();
    }
    // Both connections are closing already, and may take until `close_timeout`.
    network.half_close(leaving);
    network.remove(network.id(removed));
    network.run_for(SECOND / 2);
    network.stop();
    network.run_for(SECOND + TICK * 2);
    assert!(network.gateway.is_stopped(), "{} devices are left", network.gateway.connections());
    assert_eq!(end(&network, stuck).0, CloseReason::Shutdown);
    assert_eq!(end(&network, leaving).0, CloseReason::Closed);
    assert_eq!(end(&network, removed).0, CloseReason::Removed);
}

#[test]
fn connections_beyond_the_limit_are_refused() {
    let mut network = Network::new(settings(|s| s.limits.connections_max = 3));
    let links: Vec<_> = (0..5).map(|number| network.connect(device_address(number))).collect();
    assert_eq!(links.iter().filter(|&&link| network.links[link].id.is_some()).count(), 3);
    let refused = Seen::Refused(device_address(4), Refusal::ConnectionsMax);
    assert_eq!(network.log.last().map(|(_, seen)| seen), Some(&refused));
    network.reset(links[0]);
    network.run_for(SECOND);
    let next = network.connect(device_address(6));
    assert!(network.links[next].id.is_some(), "there is room again");
    assert!(network.links[next].id != network.links[links[0]].id, "an id is never used again");
    let stats = network.stats();
    assert_eq!((stats.accepted, stats.refused[&Refusal::ConnectionsMax]), (4, 2));
}

#[test]
fn without_devices_there_is_no_wake_up() {
    let mut network = Network::new(Settings::default());
    assert_eq!(network.next_event(), None);
    let link = network.connect(device_address(1));
    assert!(network.next_event().is_some());
    network.send(link, [object(1), b"{".to_vec()].concat());
    network.half_close(link);
    network.settle(SECOND);
    assert_eq!(network.next_event(), None);
    assert_eq!(network.buffered(), (0, 0));
}

/// Events and tables show no IPv6 zone.
#[test]
fn a_link_local_device_is_found_by_its_shown_address() {
    let mut network = Network::new(Settings::default());
    let on_link = |zone| SocketAddrV6::new("fe80::1".parse().unwrap(), 40_112, 0, zone).into();
    network.connect(on_link(2));
    network.run_for(SECOND);
    let shown: Target = "[fe80::1]:40112".parse().unwrap();
    assert!(network.command(shown, b"x").is_ok());
    let elsewhere = Target::from(on_link(3));
    assert_eq!((network.remove(elsewhere), network.remove(shown)), (0, 1));
}

#[test]
fn a_shorter_interval_applies_at_once() {
    let mut network = Network::new(settings(|s| s.heartbeat.interval = SECOND * 3_600));
    let silent = network.connect(device_address(1));
    network.links[silent].answers = false;
    let alive = network.connect(device_address(2));
    network.run_for(SECOND * 10);
    network.configure(Settings::default());
    let from = network.now;
    network.run_for(SECOND * 60);
    let (at, end) = network.end_of(silent).expect("it is dead");
    assert_eq!(end.reason, CloseReason::Silent);
    assert!(at - from <= SECOND * 12, "after {:?}", at - from);
    assert!(network.end_of(alive).is_none());
}

#[test]
fn a_lowered_limit_of_rejected_objects_closes_no_device_whose_next_object_is_good() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    for _ in 0..5 {
        network.send(link, &b"{}"[..]);
    }
    network.run_for(SECOND);
    network.configure(settings(|s| s.limits.rejected_in_a_row_max = 3));
    network.send(link, object(1));
    network.run_for(SECOND);
    assert_eq!(network.messages_of(link).len(), 1);
    assert!(network.end_of(link).is_none());
}

/// Each beat takes a credit.
#[test]
fn many_reloads_do_not_bunch_beats() {
    let mut network = Network::new(Settings::default());
    let link = network.connect(device_address(1));
    network.links[link].answers = false;
    for _ in 0..100 {
        network.configure(settings(|s| s.heartbeat.interval = TICK * 19));
        network.run_for(TICK);
        network.configure(Settings::default());
        network.run_for(TICK);
    }
    let (reason, after) = end(&network, link);
    assert_eq!(reason, CloseReason::Silent);
    assert!(after >= TICK * 19 * 5, "after {after:?}");
}
