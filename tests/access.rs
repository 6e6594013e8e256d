//! Access control by address and interface, on a gateway without sockets. Real sockets test the kernel's part.

use std::io::Read;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Instant;

use pulsegate::unstable::Gateway;
use pulsegate::unstable::endpoint::{Endpoint, Output, PacketInfo, Peer};
use pulsegate::{
    Cidr, ConnectionId, Context, Device, Disconnect, Handler, InterfaceRule, ListenerId, Message, Refusal, Server,
    Settings, StreamEnd, Suppressed,
};

fn blocks(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Records connects, refusals and disconnects.
#[derive(Default)]
struct Log(Vec<String>);

impl Handler for Log {
    fn on_message(&mut self, _: &Device, _: &Message<'_>, _: &mut Context<'_>) {}

    fn on_connect(&mut self, device: &Device, _: &mut Context<'_>) {
        self.0.push(format!("{} came", device.ip()));
    }

    fn on_refused(&mut self, from: SocketAddr, refusal: Refusal, _: &mut Context<'_>) {
        self.0.push(format!("{} {}", from.ip(), refusal));
    }

    fn on_disconnect(&mut self, device: &Device, end: &Disconnect, _: &mut Context<'_>) {
        self.0.push(format!("{} went: {}", device.ip(), end.reason));
    }
}

/// A gateway, the result of each accept, and the time.
struct Play {
    gateway: Gateway<Log>,
    ids: Vec<Option<ConnectionId>>,
    now: Instant,
}

impl Play {
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be had otherwise")]
    fn new(settings: &Settings) -> Self {
        let now = Instant::now();
        Self { gateway: Gateway::new(Log::default(), settings.clone(), now, 0), ids: Vec::new(), now }
    }

    /// Accepts a connection from each address.
    fn accept(&mut self, ips: &[&str]) {
        for ip in ips {
            let peer = Peer::Tcp(SocketAddr::new(ip.parse().unwrap(), 40_000 + self.ids.len() as u16));
            self.ids.push(self.gateway.handle_accept(ListenerId(1), peer, self.now));
            self.carry_out();
        }
    }

    /// Performs the gateway's outputs. The kernel takes all bytes.
    fn carry_out(&mut self) {
        while let Some(output) = self.gateway.poll_output() {
            match output {
                Output::Close { id, .. } => self.gateway.handle_close(id, StreamEnd::Closed, self.now),
                Output::Send { id, bytes } => {
                    let taken = bytes.len();
                    self.gateway.handle_sent(id, taken, self.now);
                }
                _ => {}
            }
        }
    }

    #[track_caller]
    fn expect(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.gateway.handler_mut().0), expected);
    }
}

fn refused(play: &mut Play, refusal: Refusal) -> u64 {
    play.gateway.parts(play.now).1.stats().refused[&refusal]
}

#[test]
fn an_address_rule_refuses_a_connection() {
    let mut settings = Settings::default();
    settings.access.allow = blocks(&["192.0.2.0/24", "2001:db8::/32"]);
    settings.access.deny = blocks(&["192.0.2.7"]);
    let mut play = Play::new(&settings);
    play.accept(&["192.0.2.6", "192.0.2.7", "::ffff:192.0.2.8", "::ffff:192.0.2.7", "2001:db8::1", "198.51.100.1"]);
    play.expect(&[
        "192.0.2.6 came",
        "192.0.2.7 address_denied",
        "192.0.2.8 came",
        "192.0.2.7 address_denied",
        "2001:db8::1 came",
        "198.51.100.1 address_denied",
    ]);
    assert_eq!(refused(&mut play, Refusal::AddressDenied), 3);
    settings.access.allow.clear();
    play.gateway.configure(settings);
    assert!(play.gateway.poll_timeout().is_some_and(|due| due <= play.now), "the end does not wait for an event");
    play.carry_out();
    play.expect(&[
        "192.0.2.6 went: refused: address_denied",
        "192.0.2.8 went: refused: address_denied",
        "2001:db8::1 went: refused: address_denied",
    ]);
    play.accept(&["192.0.2.6"]);
    play.expect(&["192.0.2.6 address_denied"]);
}

#[test]
fn new_rules_close_only_the_devices_that_they_forbid() {
    let mut settings = Settings::default();
    let mut play = Play::new(&settings);
    play.accept(&["192.0.2.6", "192.0.2.7", "192.0.2.7", "::1"]);
    play.expect(&["192.0.2.6 came", "192.0.2.7 came", "192.0.2.7 came", "::1 came"]);

    // A lowered limit closes no device.
    settings.limits.connections_max = 1;
    settings.access.connections_per_ip_max = 1;
    play.gateway.configure(settings.clone());
    play.carry_out();
    play.expect(&[]);

    settings.access.deny = blocks(&["192.0.2.7"]);
    play.gateway.configure(settings.clone());
    play.carry_out();
    play.expect(&["192.0.2.7 went: refused: address_denied", "192.0.2.7 went: refused: address_denied"]);
    assert_eq!(play.gateway.connections(), 2);

    // The gateway does not send queued bytes to a forbidden device.
    let id = play.ids[0].unwrap();
    play.gateway.parts(play.now).1.send(id, "reboot");
    settings.access.deny = blocks(&["192.0.2.0/24"]);
    play.gateway.configure(settings);
    let Some(Output::Close { id: closed, abort: false }) = play.gateway.poll_output() else {
        panic!("something else than a close");
    };
    assert_eq!(closed, id);
}

#[test]
fn connections_are_counted_by_address() {
    let mut settings = Settings::default();
    settings.access.connections_per_ip_max = 2;
    settings.access.connections_per_ip_overrides = vec![("192.0.2.7".parse().unwrap(), 1)];
    let mut play = Play::new(&settings);
    play.accept(&["192.0.2.6", "::ffff:192.0.2.6", "192.0.2.6", "192.0.2.7", "192.0.2.7", "::1"]);
    play.expect(&[
        "192.0.2.6 came",
        "192.0.2.6 came",
        "192.0.2.6 connections_per_ip_max",
        "192.0.2.7 came",
        "192.0.2.7 connections_per_ip_max",
        "::1 came",
    ]);
    assert_eq!(refused(&mut play, Refusal::ConnectionsPerIpMax), 2);
    let id = play.ids[0].unwrap();
    play.gateway.handle_close(id, StreamEnd::Closed, play.now);
    play.accept(&["192.0.2.6", "192.0.2.6"]);
    play.expect(&["192.0.2.6 went: closed", "192.0.2.6 came", "192.0.2.6 connections_per_ip_max"]);
    settings.limits.connections_max = 4;
    play.gateway.configure(settings);
    play.accept(&["192.0.2.9"]);
    play.expect(&["192.0.2.9 connections_max"]);
}

#[test]
fn probes_are_answered_by_interface() {
    let mut settings = Settings::default();
    settings.discovery.interfaces.allow = vec!["eth*".parse().unwrap()];
    let mut play = Play::new(&settings);
    play.gateway.add_discovery(ListenerId(2), ([0, 0, 0, 0], 5555).into());
    play.gateway.name_interfaces(|index| [None, Some("lo"), Some("eth0")].get(index as usize)?.map(String::from));
    let answered = |play: &mut Play, interface| {
        let via = PacketInfo { local: None, interface };
        play.gateway.handle_datagram(ListenerId(2), ([192, 0, 2, 7], 40_000).into(), via, b"hi", play.now);
        play.gateway.poll_output().is_some()
    };
    assert_eq!([0, 1, 2, 3].map(|interface| answered(&mut play, interface)), [false, false, true, false]);
    let suppressed = play.gateway.parts(play.now).1.stats().probes_suppressed.clone();
    assert_eq!(suppressed[&Suppressed::Interface], 3);
    settings.discovery.interfaces = InterfaceRule::default();
    play.gateway.configure(settings);
    assert!([0, 1, 2, 3].iter().all(|&interface| answered(&mut play, interface)));
}

/// Sends a probe to a real socket. Returns whether an answer comes.
fn probed(allow: &str, deny: &[&str]) -> bool {
    let mut settings = Settings::default();
    settings.discovery.interfaces.allow = vec![allow.parse().unwrap()];
    settings.discovery.interfaces.deny = deny.iter().map(|glob| glob.parse().unwrap()).collect();
    let here = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut server = Server::builder().listen(here).discovery(here).settings(settings).build(Log::default()).unwrap();
    let device = UdpSocket::bind(here).unwrap();
    device.send_to(b"hi", server.discovery_addresses().next().unwrap()).unwrap();
    server.turn().unwrap();
    device.set_nonblocking(true).unwrap();
    device.recv(&mut [0; 64]).is_ok()
}

#[test]
fn interfaces_have_the_names_that_the_system_gives_them() {
    assert!(probed("*", &[]));
    assert!(probed("l?", &["eth*"]));
    assert!(!probed("eth*", &[]));
    assert!(!probed("*", &["lo"]));
}

#[test]
fn a_refused_connection_is_closed_and_a_forbidden_one_as_well() {
    let here = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut settings = Settings::default();
    settings.access.connections_per_ip_max = 1;
    let mut server = Server::builder().listen(here).settings(settings.clone()).build(Log::default()).unwrap();
    let address = server.listen_addresses().next().unwrap();
    let mut first = TcpStream::connect(address).unwrap();
    let mut second = TcpStream::connect(address).unwrap();
    while server.handler().0.len() < 2 {
        server.turn().unwrap();
    }
    assert_eq!(server.handler().0, ["127.0.0.1 came", "127.0.0.1 connections_per_ip_max"]);
    second.read_to_end(&mut Vec::new()).unwrap();

    settings.limits.object_depth_max = 0;
    assert!(server.configure(settings.clone()).is_err());
    settings.limits.object_depth_max = 127;
    settings.access.deny = blocks(&["127.0.0.0/8"]);
    server.configure(settings).unwrap();
    server.turn().unwrap();
    assert_eq!(server.handler().0.last().map(String::as_str), Some("127.0.0.1 went: refused: address_denied"));
    first.read_to_end(&mut Vec::new()).unwrap();
}
