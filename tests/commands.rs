//! Commands with a reported end: queued for a name, answered, or lost. Each has exactly one end.

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use common::{Network, Seen, SimDeviceId, TICK, v4};
use pulsegate::{CloseReason, Command, CommandEnd, Match, Name, SendError, Settings, Submitted, Target};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.identity.member = "Name".into();
    settings
}

fn pump() -> Target {
    Name::new("pump-7").expect("a name").into()
}

fn join(network: &mut Network, address: SocketAddr) -> SimDeviceId {
    let device = network.connect(address);
    network.send(device, &br#"{"Type":"Hello","Name":"pump-7"}"#[..]);
    network.run_for(TICK);
    device
}

fn answer(id: u32) -> Vec<u8> {
    format!(r#"{{"Type":"Answer","Id":"{id}"}}"#).into_bytes()
}

fn by_id(id: u32) -> Match {
    Match::next().with_member("Id", &id.to_string()).expect("a short text")
}

fn ask(network: &mut Network, to: impl Into<Target>, answer: Match, timeout: Duration) -> u64 {
    let submitted = network.submit(to, &Command::new("status").answer(answer, timeout)).expect("a device");
    assert!(submitted.queued.is_some());
    submitted.command
}

/// How commands have ended. Panics where one has ended twice.
fn ends(network: &Network) -> HashMap<u64, (CommandEnd, Option<Vec<u8>>)> {
    let mut ends = HashMap::new();
    for (_, seen) in &network.log {
        if let Seen::Command(command, end, answer) = seen {
            assert_eq!(ends.insert(*command, (*end, answer.clone())), None, "command {command} has two ends");
        }
    }
    ends
}

fn end(network: &Network, command: u64) -> Option<CommandEnd> {
    ends(network).get(&command).map(|(end, _)| *end)
}

fn answered(network: &Network, command: u64) -> Option<Vec<u8>> {
    ends(network).get(&command).and_then(|(_, answer)| answer.clone())
}

#[test]
fn the_object_that_fits_answers_and_reports_between_do_not() {
    let mut network = Network::new(settings());
    let device = join(&mut network, v4(7, 1));
    let id = network.id(device);
    let command = ask(&mut network, pump(), by_id(42), SECOND * 5);
    for number in 0..20 {
        network.send(device, format!(r#"{{"Type":"Status","N":{number},"Id":41}}"#));
        network.run_for(SECOND / 10);
    }
    assert_eq!(end(&network, command), None);
    network.send(device, answer(42));
    network.send(device, answer(42));
    network.run_for(SECOND);
    assert_eq!(answered(&network, command), Some(answer(42)));
    let shown = network.messages_of(device).iter().filter(|object| ***object == *answer(42)).count();
    assert_eq!(shown, 2, "an answer is still an event for everybody");
    assert_eq!(network.gateway.parts(network.now).1.commands_out(), (0, 0));
    let typed = ask(&mut network, id, Match::next().of_type("Answer").expect("a short text"), SECOND * 5);
    let any = ask(&mut network, id, Match::next(), SECOND * 5);
    network.run_for(TICK);
    network.send(device, [&br#"{"Type":"Heartbeat"}{"Type":"Status"}"#[..], &answer(1)].concat());
    network.run_for(SECOND);
    assert_eq!(answered(&network, typed), Some(answer(1)));
    assert_eq!(answered(&network, any).as_deref(), Some(&br#"{"Type":"Status"}"#[..]));
    network.check_invariants();
}

#[test]
fn the_first_command_that_fits_takes_the_object() {
    let mut network = Network::new(settings());
    let device = join(&mut network, v4(7, 1));
    let first = ask(&mut network, pump(), Match::next(), SECOND * 5);
    let second = ask(&mut network, pump(), Match::next(), SECOND * 5);
    network.run_for(TICK);
    network.send(device, answer(1));
    network.run_for(TICK);
    assert_eq!((answered(&network, first), end(&network, second)), (Some(answer(1)), None));
    network.send(device, answer(2));
    network.run_for(TICK);
    assert_eq!(answered(&network, second), Some(answer(2)));
}

#[test]
fn an_object_that_was_sent_before_the_command_is_no_answer() {
    let mut network = Network::new(settings());
    let device = join(&mut network, v4(7, 1));
    network.set_reading(device, false);
    network.links[device].window = 0;
    let command = ask(&mut network, pump(), Match::next(), SECOND * 5);
    network.send(device, answer(1));
    network.run_for(SECOND);
    assert_eq!(end(&network, command), None, "the kernel has not taken the command");
    network.run_for(SECOND * 5);
    assert_eq!(end(&network, command), Some(CommandEnd::Timeout));
}

#[test]
fn a_timeout_is_the_end_and_a_late_answer_is_a_report() {
    let mut network = Network::new(settings());
    let device = join(&mut network, v4(7, 1));
    let command = ask(&mut network, pump(), by_id(1), SECOND * 2);
    network.run_for(SECOND * 2 - TICK);
    assert_eq!(end(&network, command), None);
    // A reload in between changes nothing.
    network.configure(settings());
    network.run_for(TICK * 3);
    assert_eq!(end(&network, command), Some(CommandEnd::Timeout));
    network.send(device, answer(1));
    network.run_for(SECOND);
    assert_eq!(network.messages_of(device).last(), Some(&&answer(1)[..]));
    assert_eq!(ends(&network).len(), 1);
}

#[test]
fn a_device_that_goes_away_ends_what_it_was_to_answer() {
    let mut network = Network::new(settings());
    type Leave = fn(&mut Network, SimDeviceId);
    let leaves: [(Leave, &str); 5] = [
        (|network, device| network.half_close(device), "closed"),
        (|network, device| network.reset(device), "reset"),
        (
            |network, device| {
                network.remove(network.id(device));
            },
            "removed",
        ),
        (|network, device| network.links[device].vanished = true, "silent"),
        (
            |network, _| {
                join(network, v4(9, 9));
            },
            "replaced",
        ),
    ];
    for (leave, word) in leaves {
        let device = join(&mut network, v4(7, 1));
        let command = ask(&mut network, pump(), Match::next(), SECOND * 60);
        network.run_for(TICK);
        leave(&mut network, device);
        network.run_for(SECOND * 15);
        let reason = match end(&network, command) {
            Some(CommandEnd::Lost(reason)) => reason.as_str(),
            other => panic!("{word}: {other:?}"),
        };
        assert_eq!(reason, word);
        network.check_invariants();
    }
}

#[test]
fn queued_commands_come_first_and_in_order_when_the_name_connects() {
    let mut network = Network::new(settings());
    let queue = |network: &mut Network, text: &str| {
        network.submit(pump(), &Command::new(text).queue_for(HOUR)).expect("room in the queue")
    };
    let waiting: Vec<Submitted> = ["one;", "two;", "three;"].map(|text| queue(&mut network, text)).into();
    assert!(waiting.iter().all(|submitted| submitted.queued.is_none()));
    assert_eq!(network.gateway.parts(network.now).1.commands_out(), (3, 0));
    network.run_for(SECOND * 100);
    let device = network.connect(v4(7, 1));
    network.gateway.handler_mut().reaction = Some(Box::new(|device, _, gateway| gateway.send(device.id(), "later;")));
    network.send(device, &br#"{"Type":"Hello","Name":"pump-7"}"#[..]);
    network.run_for(SECOND);
    assert_eq!(network.links[device].text, b"one;two;three;later;");
    for submitted in waiting {
        assert_eq!(end(&network, submitted.command), Some(CommandEnd::Sent));
    }
    let at_once = queue(&mut network, "four;");
    assert_eq!(at_once.queued.map(|queued| queued.id), network.links[device].id);
    assert_eq!(network.gateway.parts(network.now).1.memory().0, 6 + 48 + network.buffered().1);
    network.check_invariants();
}

#[test]
fn a_queued_command_can_be_answered() {
    let mut network = Network::new(settings());
    let command = Command::new("status").queue_for(HOUR).answer(by_id(7), SECOND * 5);
    let [first, second] = [(); 2].map(|()| network.submit(pump(), &command).expect("room in the queue").command);
    network.run_for(SECOND * 600);
    let device = join(&mut network, v4(7, 1));
    network.send(device, answer(7));
    network.run_for(SECOND * 6);
    assert_eq!(answered(&network, first), Some(answer(7)));
    assert_eq!(end(&network, second), Some(CommandEnd::Timeout));
}

#[test]
fn a_queued_command_expires_and_a_stop_loses_it() {
    let mut network = Network::new(settings());
    let expiring = network.submit(pump(), &Command::new("a").queue_for(SECOND * 10)).expect("room").command;
    let lasting = network.submit(pump(), &Command::new("b").queue_for(HOUR)).expect("room").command;
    network.run_for(SECOND * 10 - TICK);
    assert_eq!(end(&network, expiring), None);
    network.run_for(TICK * 3);
    assert_eq!((end(&network, expiring), end(&network, lasting)), (Some(CommandEnd::Expired), None));
    network.stop();
    network.run_for(SECOND);
    assert_eq!(end(&network, lasting), Some(CommandEnd::Lost(CloseReason::Shutdown)));
    assert_eq!(network.submit(pump(), &Command::new("c").queue_for(HOUR)), Err(SendError::NoSuchDevice));
    network.check_invariants();
}

#[test]
fn commands_for_one_name_have_a_bound_in_bytes() {
    let mut settings = settings();
    settings.identity.queued_bytes_max = 10;
    let mut network = Network::new(settings.clone());
    let queue = |network: &mut Network, name: &str, text: &str| {
        let name = Name::new(name).expect("a name");
        network.submit(name, &Command::new(text).queue_for(HOUR)).map(|submitted| submitted.command)
    };
    let first = queue(&mut network, "pump-7", "12345678").expect("room");
    assert_eq!(queue(&mut network, "pump-7", "123"), Err(SendError::QueueFull { waiting: 8, max: 10 }));
    assert!(queue(&mut network, "pump-8", "123").is_ok(), "each name has its own room");
    assert_eq!(queue(&mut network, "pump-8", ""), Err(SendError::Empty));
    assert_eq!(queue(&mut network, "pump-8", "heartbeat"), Err(SendError::HasBeat));
    assert_eq!(network.submit(pump(), &Command::new("1")), Err(SendError::NoSuchDevice));
    // A reload made this text impossible.
    settings.terminator = b"4".to_vec();
    network.configure(settings);
    join(&mut network, v4(7, 1));
    assert_eq!(end(&network, first), Some(CommandEnd::Refused(SendError::HasTerminator)));
    network.check_invariants();
}

#[test]
fn commands_that_are_out_are_bounded() {
    let mut network = Network::new(settings());
    join(&mut network, v4(7, 1));
    let command = Command::new("s").answer(Match::next(), HOUR);
    let mut submit = || network.gateway.parts(network.start).1.submit(pump(), &command);
    let out = (0..).take_while(|_| submit().is_ok()).count();
    assert_eq!((out, submit()), (4_096, Err(SendError::TooMany)));
}
