//! Names of devices: takeovers, conflicts, the bound on connections of one address, and missing names.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Network, Seen, SimDeviceId, TICK, v4};
use pulsegate::{CloseReason, ConnectionId, Identification, Name, Refusal, Settings, Takeover, Target};

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.identity.member = "Id".into();
    settings
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn report(name: &str) -> Vec<u8> {
    format!(r#"{{"Type":"Status","Id":{name:?}}}"#).into_bytes()
}

/// A device connects and says its name.
fn join(network: &mut Network, address: SocketAddr, name: &str) -> SimDeviceId {
    let device = network.connect(address);
    network.send(device, report(name));
    network.run_for(TICK);
    device
}

fn reason(network: &Network, device: SimDeviceId) -> Option<CloseReason> {
    network.end_of(device).map(|(_, end)| end.reason)
}

fn named(network: &mut Network, name: &str) -> Option<ConnectionId> {
    let target = Target::Name(self::name(name));
    network.gateway.parts(network.now).1.devices().find(|device| target.means_device(device)).map(|device| device.id())
}

fn names(network: &mut Network) -> Vec<String> {
    network.gateway.parts(network.now).1.devices().filter_map(|device| device.name().map(Name::to_string)).collect()
}

fn missing(network: &mut Network) -> Vec<(String, &'static str)> {
    let context = network.gateway.parts(network.now).1;
    context.missing().map(|gone| (gone.name.to_owned(), gone.reason)).collect()
}

fn count(network: &mut Network, what: Identification) -> u64 {
    network.stats().names[&what]
}

#[test]
fn the_first_object_with_the_member_names_its_connection_for_good() {
    let mut network = Network::new(settings());
    let device = network.connect(v4(7, 1));
    let objects: [&[u8]; 6] = [
        br#"{"Type":"Heartbeat"}"#,
        br#"{"Type":"Status","Id":""}"#,
        br#"{"Type":"Status","Id":{"Id":"x"}}"#,
        br#"{"Type":"Status","Id":7}"#,
        br#"{"Type":"Status","Id":"7"}"#,
        br#"{"Type":"Status","Id":"8"}"#,
    ];
    network.send(device, objects.concat());
    network.run_for(SECOND);
    assert_eq!(named(&mut network, "7"), network.links[device].id);
    network.expect_messages(device, &objects[1..].iter().map(|object| object.to_vec()).collect::<Vec<_>>());
    let id = network.id(device);
    let identified = network.log.iter().position(|(_, seen)| *seen == Seen::Identified(id, name("7")));
    let message = network.log.iter().position(|(_, seen)| *seen == Seen::Message(id, objects[3].to_vec()));
    assert!(identified.is_some() && identified < message, "the name is known before the object is shown");
    let counted = [Identification::Identified, Identification::Invalid, Identification::Changed];
    assert_eq!(counted.map(|what| count(&mut network, what)), [1, 2, 1]);
    network.check_invariants();
}

#[test]
fn an_answer_to_a_beat_can_give_the_name() {
    let mut network = Network::new(settings());
    let device = network.connect(v4(7, 1));
    network.send(device, &br#"{"Type":"Heartbeat","Id":"pump-7"}"#[..]);
    network.run_for(SECOND);
    assert_eq!(names(&mut network), ["pump-7"]);
}

#[test]
fn without_the_setting_no_device_has_a_name() {
    let mut network = Network::new(Settings::default());
    join(&mut network, v4(7, 1), "pump-7");
    assert_eq!(names(&mut network), [""; 0]);
    network.configure(settings());
    join(&mut network, v4(8, 1), "pump-8");
    assert_eq!(names(&mut network), ["pump-8"]);
}

#[test]
fn a_device_that_comes_back_replaces_its_old_connection() {
    let mut network = Network::new(settings());
    let old = join(&mut network, v4(7, 1), "pump-7");
    network.links[old].vanished = true;
    let new = join(&mut network, v4(8, 2), "pump-7");
    assert_eq!((reason(&network, old), reason(&network, new)), (Some(CloseReason::Replaced), None));
    assert_eq!(named(&mut network, "pump-7"), network.links[new].id);
    assert_eq!(missing(&mut network), []);
    let queued = network.command(name("pump-7"), b"hello").expect("it is connected");
    assert_eq!((Some(queued.id), queued.of), (network.links[new].id, 1));
    assert_eq!(network.remove(name("pump-7")), 1);
    network.run_for(SECOND);
    assert_eq!(missing(&mut network), [("pump-7".to_owned(), "removed")]);
    network.check_invariants();
}

#[test]
fn the_oldest_connection_keeps_its_name_where_the_settings_say_so() {
    let mut settings = settings();
    settings.identity.takeover = Takeover::Oldest;
    let mut network = Network::new(settings);
    let old = join(&mut network, v4(7, 1), "pump-7");
    let new = join(&mut network, v4(8, 2), "pump-7");
    assert_eq!((reason(&network, old), reason(&network, new)), (None, Some(CloseReason::Conflict)));
    network.expect_messages(new, &[report("pump-7")]);
    network.links[old].vanished = true;
    network.run_for(SECOND * 15);
    let newer = join(&mut network, v4(8, 3), "pump-7");
    assert_eq!(named(&mut network, "pump-7"), network.links[newer].id);
}

#[test]
fn two_devices_with_one_name_do_not_replace_each_other_for_ever() {
    let mut network = Network::new(settings());
    let devices: Vec<_> = (0..14).map(|port| join(&mut network, v4(7 + (port % 2) as u8, port), "pump-7")).collect();
    let ends: Vec<_> = devices.iter().map(|&device| reason(&network, device)).collect();
    assert_eq!(ends[..10], [Some(CloseReason::Replaced); 10]);
    assert_eq!(
        ends[10..],
        [None, Some(CloseReason::Conflict), Some(CloseReason::Conflict), Some(CloseReason::Conflict)]
    );
    let counted = [Identification::Takeover, Identification::Conflict];
    assert_eq!(counted.map(|what| count(&mut network, what)), [10, 3]);
    network.run_for(SECOND * 60);
    let later = join(&mut network, v4(9, 99), "pump-7");
    assert_eq!((reason(&network, devices[10]), reason(&network, later)), (Some(CloseReason::Replaced), None));
    network.check_invariants();
}

fn one_per_address() -> Settings {
    let mut settings = settings();
    settings.access.connections_per_ip_max = 1;
    settings
}

#[test]
fn a_named_device_comes_back_at_once_where_one_connection_is_allowed() {
    let mut network = Network::new(one_per_address());
    let old = join(&mut network, v4(7, 1), "pump-7");
    // A moment later, so that no beat of the old connection is unanswered.
    let new = join(&mut network, v4(7, 2), "pump-7");
    assert_eq!((reason(&network, old), reason(&network, new)), (Some(CloseReason::Replaced), None));
    // A device whose first words are answers to beats has the time that a silent one has.
    let newest = network.connect(v4(7, 3));
    network.run_for(SECOND * 8);
    network.send(newest, report("pump-7"));
    network.run_for(SECOND);
    assert_eq!((reason(&network, new), reason(&network, newest)), (Some(CloseReason::Replaced), None));
    network.check_invariants();
}

#[test]
fn a_name_is_no_way_around_the_bound_on_connections_of_an_address() {
    let mut network = Network::new(one_per_address());
    let first = join(&mut network, v4(7, 1), "pump-7");
    let refused = CloseReason::Refused(Refusal::ConnectionsPerIpMax);
    let other = join(&mut network, v4(7, 2), "pump-8");
    assert_eq!(reason(&network, other), Some(refused));
    let nameless = network.connect(v4(7, 3));
    network.send(nameless, &br#"{"Type":"Status"}"#[..]);
    // One newcomer at a time.
    let crowd: Vec<_> = (4..9).map(|port| network.connect(v4(7, port))).collect();
    network.run_for(TICK);
    assert_eq!(reason(&network, nameless), Some(refused));
    let refusals =
        network.log.iter().filter(|(_, seen)| matches!(seen, Seen::Refused(_, Refusal::ConnectionsPerIpMax)));
    assert_eq!(refusals.count(), 5, "{crowd:?}");
    // One that only answers beats has the time of a silent device.
    let silent = network.connect(v4(7, 10));
    network.run_for(SECOND * 14);
    assert_eq!((reason(&network, silent), reason(&network, first)), (Some(refused), None));
    network.check_invariants();
}

#[test]
fn names_that_have_gone_are_remembered_up_to_the_bound() {
    let mut settings = settings();
    settings.identity.remembered_max = 3;
    let mut network = Network::new(settings.clone());
    for number in 0..5 {
        let device = join(&mut network, v4(7, number), &format!("pump-{number}"));
        if number % 2 == 0 {
            network.half_close(device)
        } else {
            network.reset(device)
        }
        network.run_for(SECOND);
    }
    let gone = |number: u16, reason: &'static str| (format!("pump-{number}"), reason);
    assert_eq!(missing(&mut network), [gone(2, "closed"), gone(3, "reset"), gone(4, "closed")]);
    join(&mut network, v4(7, 9), "pump-3");
    assert_eq!(missing(&mut network), [gone(2, "closed"), gone(4, "closed")]);
    settings.identity.remembered_max = 1;
    network.configure(settings);
    assert_eq!(missing(&mut network), [gone(4, "closed")]);
    network.check_invariants();
}

#[test]
fn a_name_costs_its_bytes_and_at_most_48_more() {
    let mut network = Network::new(settings());
    let nameless = network.connect(v4(7, 1));
    network.send(nameless, &br#"{"Type":"Status"}"#[..]);
    network.run_for(TICK);
    assert_eq!(network.gateway.parts(network.now).1.memory().0, 0);
    join(&mut network, v4(7, 2), "pump-7");
    assert_eq!(network.gateway.parts(network.now).1.memory().0, 6 + 48);
}

#[test]
fn no_name_is_given_where_memory_is_full() {
    let mut settings = settings();
    settings.limits.memory_budget = 64 << 10;
    settings.limits.object_bytes_max = 16 << 10;
    settings.limits.outbox_bytes_max = 16 << 10;
    let mut network = Network::new(settings);
    let long = "n".repeat(120);
    let devices: Vec<_> = (0..600).map(|port| join(&mut network, v4(7, port), &format!("{long}{port}"))).collect();
    assert!(devices.iter().all(|&device| reason(&network, device).is_none()), "names close no device");
    assert!(count(&mut network, Identification::NoMemory) > 0);
    let (held, _) = network.gateway.parts(network.now).1.memory();
    assert!(held <= 64 << 10, "{held} bytes are held");
    network.check_invariants();
}
