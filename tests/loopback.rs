//! A real server and real sockets on this machine, for behaviour that depends on the kernel. The test's own thread runs the
//! turns until the expected callback, without sleeps.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Recorder, Seen, brief, object, object_of, rejected_samples};
use nix::sys::socket::{setsockopt, sockopt};
use pulsegate::unstable::proto::discovery::REPLY;
use pulsegate::{
    Builder, CloseReason, Error, Refusal, Remote, RemoteError, SendError, Server, Settings, Target, TurnLimits,
};

/// More than any test takes. It ends a test that would wait for ever.
const LONG: Duration = Duration::from_secs(30);

/// A server on a port of the system's choice, driven by the test's thread.
struct TestServer {
    server: Server<Recorder>,
    address: SocketAddr,
}

impl TestServer {
    fn new(settings: Settings) -> Self {
        Self::build(Server::builder().settings(settings).listen(localhost()))
    }

    fn build(builder: Builder) -> Self {
        let server = builder.build(Recorder::default()).expect("a port of the system's choosing is free");
        let address = server.listen_addresses().next().expect("an address that is listened on");
        Self { server, address }
    }

    fn connect(&mut self) -> TcpStream {
        let before = self.seen().len();
        let client = client(self.address);
        self.turn_until(|seen| seen[before..].iter().any(|seen| matches!(seen, Seen::Connect(..))));
        client
    }

    fn seen(&self) -> &[Seen] {
        &self.server.handler().seen
    }

    /// Runs turns until the application has the expected callback.
    #[track_caller]
    fn turn_until(&mut self, done: impl Fn(&[Seen]) -> bool) {
        let end = clock() + LONG;
        while !done(&self.server.handler().seen) {
            let callbacks: Vec<_> =
                self.seen().iter().rev().take(3).map(|seen| brief(format!("{seen:?}").as_bytes())).collect();
            assert!(clock() < end, "the callback is missing, the last ones are {callbacks:?}");
            self.server.turn().expect("a turn");
        }
    }

    #[track_caller]
    fn turn_until_messages(&mut self, expected: &[Vec<u8>]) {
        let count = |seen: &[Seen]| seen.iter().filter(|seen| matches!(seen, Seen::Message(..))).count();
        self.turn_until(|seen| count(seen) >= expected.len());
        let messages = self.seen().iter().filter_map(|seen| match seen {
            Seen::Message(_, bytes) => Some(brief(bytes)),
            _ => None,
        });
        let expected: Vec<_> = expected.iter().map(|bytes| brief(bytes)).collect();
        assert_eq!(messages.collect::<Vec<_>>(), expected);
    }

    /// Runs turns until `count` devices have disconnected.
    #[track_caller]
    fn turn_until_ends(&mut self, count: usize) -> Vec<CloseReason> {
        self.turn_until(|seen| seen.iter().filter(|seen| matches!(seen, Seen::Disconnect(..))).count() >= count);
        self.server.handler().ends().iter().map(|(_, end)| end.reason).collect()
    }
}

fn localhost() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn client(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect_timeout(&address, LONG).expect("the server listens");
    client.set_read_timeout(Some(LONG)).unwrap();
    client.set_write_timeout(Some(LONG)).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

/// Reads up to the end of the stream.
fn read_all(client: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("the server ends the stream");
    bytes
}

#[expect(clippy::disallowed_methods, reason = "real sockets take real time")]
fn clock() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the other end of a socket that would block this one")]
fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::spawn(work)
}

#[test]
fn objects_arrive_together_and_byte_by_byte() {
    let mut house = TestServer::new(Settings::default());
    let mut client = house.connect();
    client.write_all(&[object(1), object(2)].concat()).unwrap();
    house.turn_until_messages(&[object(1), object(2)]);
    for byte in object(3) {
        client.write_all(&[byte]).unwrap();
        house.server.turn().unwrap();
    }
    house.turn_until_messages(&[object(1), object(2), object(3)]);
}

#[test]
fn objects_of_many_reads_arrive() {
    let mut house = TestServer::new(Settings::default());
    let mut client = house.connect();
    let pictures = [object_of(170_000, 1), object_of(64 << 10, 2), object_of(65_537, 3)];
    let bytes = pictures.concat();
    let writer = spawn(move || client.write_all(&bytes).map(|()| client));
    house.turn_until_messages(&pictures);
    writer.join().unwrap().unwrap();
}

/// No edge follows when the limit of a turn has cut a read short.
#[test]
fn the_next_turn_reads_bytes_beyond_the_limit_of_a_turn() {
    let budget = TurnLimits { read_bytes_per_turn_max: 4096, read_buffer_bytes: 1024, ..TurnLimits::default() };
    let mut house = TestServer::build(Server::builder().listen(localhost()).turn_limits(budget));
    let mut clients = [house.connect(), house.connect()];
    let sent: Vec<_> = (0..2000).map(object).collect();
    let bytes = sent.concat();
    clients[0].write_all(&bytes).unwrap();
    clients[0].shutdown(Shutdown::Write).unwrap();
    // All bytes are in the kernel, so no new edge comes on that stream. The quiet device has its share meanwhile.
    clients[1].write_all(&object(9999)).unwrap();
    house.turn_until(|seen| seen.iter().any(|seen| matches!(seen, Seen::Message(_, bytes) if *bytes == object(9999))));
    let before = house.seen().iter().filter(|seen| matches!(seen, Seen::Message(..))).count();
    assert!(before < sent.len(), "the loud device came first with all it had");
    assert_eq!(house.turn_until_ends(1), [CloseReason::Closed]);
    let loud = house.server.handler().connects()[0].0;
    assert!(house.server.handler().messages_of(loud) == sent.iter().map(|object| &object[..]).collect::<Vec<_>>());
}

#[test]
fn a_device_that_reads_late_gets_all_of_a_large_command() {
    let mut settings = Settings::default();
    settings.limits.outbox_bytes_max = 8 << 20;
    let mut house = TestServer::new(settings);
    let mut client = house.connect();
    let id = house.server.handler().connects()[0].0;
    // More than the kernel holds for both ends. Each byte depends on its position.
    let text: Vec<u8> = (0..6_000_000_u32).map(|n| b'A' + (n % 25) as u8 + (n / 100_000 % 2) as u8).collect();
    house.server.parts().1.try_send(id, &text).expect("it fits");
    client.write_all(&object(1)).unwrap();
    house.turn_until_messages(&[object(1)]);
    assert!(house.server.parts().1.buffered().1 > 0, "it should not have gone out whole: the test shows nothing");
    let bytes = text.len();
    let reader = spawn(move || {
        let mut got = vec![0; bytes];
        client.read_exact(&mut got).map(|()| (client, got))
    });
    let end = clock() + LONG;
    while house.server.parts().1.buffered().1 > 0 {
        assert!(clock() < end, "it does not go out");
        house.server.turn().unwrap();
    }
    let (_, got) = reader.join().unwrap().expect("all of it");
    assert!(got == text, "other bytes came than were sent");
}

/// An application that owns the thread may act between two turns. The next turn must not wait for a device first.
#[test]
#[expect(clippy::disallowed_methods, reason = "another thread ends a turn that waits")]
fn actions_between_two_turns_run_at_once() {
    let mut settings = Settings::default();
    settings.heartbeat.interval = LONG * 6;
    let mut house = TestServer::new(settings);
    let mut client = house.connect();
    let id = house.server.handler().connects()[0].0;
    client.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    house.server.parts().1.try_send(id, "now").unwrap();
    // Another thread's command ends the wait of a turn.
    let mut device = client.try_clone().unwrap();
    let (done, over) = mpsc::channel::<()>();
    let waker = std::thread::spawn(move || {
        if over.recv_timeout(LONG).is_err() {
            device.write_all(&object(1)).unwrap();
        }
    });
    house.server.turn().unwrap();
    let mut text = [0; 3];
    client.read_exact(&mut text).expect("the command has gone out in that turn");
    assert_eq!(&text, b"now");
    assert!(house.server.handler().messages_of(id).is_empty(), "the turn waited for the device");
    done.send(()).unwrap();
    waker.join().unwrap();
}

#[test]
fn objects_right_before_a_reset_or_a_close_are_delivered() {
    for reset in [true, false] {
        let mut house = TestServer::new(Settings::default());
        let mut client = house.connect();
        client.write_all(&[object_of(100_000, 1), object(2), b"{\"Type\"".to_vec()].concat()).unwrap();
        if reset {
            let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&client, sockopt::Linger, &linger).unwrap();
        }
        drop(client);
        house.turn_until_messages(&[object_of(100_000, 1), object(2)]);
        let ends = house.turn_until_ends(1);
        assert_eq!(ends[0].as_str(), if reset { "reset" } else { "closed" });
        let (_, end) = house.server.handler().ends()[0];
        assert_eq!(end.unfinished, Some((100_000 + object(2).len() as u64, 7)));
    }
}

#[test]
fn objects_before_a_reset_that_a_write_finds_are_delivered() {
    let mut house = TestServer::new(Settings::default());
    let mut client = house.connect();
    let id = house.server.handler().connects()[0].0;
    client.write_all(&object(1)).unwrap();
    setsockopt(&client, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(client);
    house.server.parts().1.try_send(id, "too late").unwrap();
    house.turn_until_messages(&[object(1)]);
    assert_eq!(house.turn_until_ends(1)[0].as_str(), "reset");
}

#[test]
fn a_half_closed_device_gets_its_answer() {
    let mut house = TestServer::new(Settings::default());
    house.server.handler_mut().reaction =
        Some(Box::new(|device, _, gateway| gateway.send(device.id(), vec![b'x'; 100_000])));
    let mut client = house.connect();
    client.write_all(&object(1)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let reader = spawn(move || read_all(&mut client));
    assert_eq!(house.turn_until_ends(1), [CloseReason::Closed]);
    assert_eq!(reader.join().unwrap(), vec![b'x'; 100_000]);
}

#[test]
fn a_connection_beyond_the_limit_is_refused() {
    let mut settings = Settings::default();
    settings.limits.connections_max = 2;
    let mut house = TestServer::new(settings);
    let first = house.connect();
    let _second = house.connect();
    let mut third = client(house.address);
    house.turn_until(|seen| matches!(seen.last(), Some(Seen::Refused(_, Refusal::ConnectionsMax))));
    assert_eq!(third.read(&mut [0; 1]).unwrap_or(0), 0, "it is closed at once");
    drop(first);
    house.turn_until_ends(1);
    house.connect();
}

/// An answer never goes to a broadcast address, because the kernel refuses to send it.
#[test]
fn an_inherited_datagram_socket_cannot_send_to_broadcast_addresses() {
    let mut house = TestServer::new(Settings::default());
    let inherited = UdpSocket::bind(localhost()).unwrap();
    inherited.set_broadcast(true).unwrap();
    let same = inherited.try_clone().unwrap();
    house.server.adopt_udp(inherited).unwrap();
    assert!(!same.broadcast().unwrap());
}

#[test]
fn an_inherited_unix_socket_that_does_not_listen_is_refused() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let mut house = TestServer::new(Settings::default());
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap();
    let error = house.server.listen_unix(fd.into(), 1000).expect_err("it does not listen");
    assert_eq!(error.to_string(), "cannot listen on a Unix socket: the socket does not listen");
}

#[test]
fn the_next_turn_accepts_connections_beyond_the_limit_of_a_turn() {
    let budget = TurnLimits { accepts_per_turn_max: 7, ..TurnLimits::default() };
    let mut house = TestServer::build(Server::builder().listen(localhost()).turn_limits(budget));
    let clients: Vec<_> = (0..100).map(|_| client(house.address)).collect();
    house.turn_until(|seen| seen.len() == 100);
    let connects = house.server.handler().connects();
    let mut given: Vec<_> = connects.iter().map(|(_, address)| *address).collect();
    let mut real: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
    given.sort();
    real.sort();
    assert_eq!(given, real);
}

/// Whether this machine has IPv6. Prints a line if it has not.
#[expect(clippy::explicit_write, reason = "what a test that passes says by eprintln! is not shown")]
fn has_ipv6() -> bool {
    let is_there = UdpSocket::bind("[::1]:0").is_ok();
    if !is_there {
        writeln!(std::io::stderr(), "SKIPPED in loopback.rs: a test that needs IPv6, which this machine has not")
            .unwrap();
    }
    is_there
}

#[test]
fn an_ipv4_device_of_a_dual_stack_socket_has_a_plain_ipv4_address() {
    let any: SocketAddr = "[::]:0".parse().unwrap();
    if !has_ipv6() {
        return;
    }
    let mut house = TestServer::build(Server::builder().listen(any).discovery(any));
    let port = house.address.port();
    for (to, ip) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1")] {
        let to: IpAddr = to.parse().unwrap();
        house.address = (to, port).into();
        let client = house.connect();
        let (_, address) = *house.server.handler().connects().last().unwrap();
        assert_eq!((address.ip().to_string().as_str(), address), (ip, client.local_addr().unwrap()));
        assert_eq!(house.server.parts().1.remove(to), 1);
        house.turn_until_ends(1);
        house.server.handler_mut().seen.clear();
    }
    // A probe by IPv4 gets an answer by IPv4.
    let port = house.server.discovery_addresses().next().unwrap().port();
    let (from, reply) = probe(&mut house.server, "127.0.0.1:0", (Ipv4Addr::new(127, 0, 0, 2), port).into(), b"?");
    assert_eq!((from.ip().to_string().as_str(), &reply[..]), ("127.0.0.2", REPLY));
}

/// Sends a probe. Returns the answer and its source.
fn probe(server: &mut Server<Recorder>, from: &str, to: SocketAddr, bytes: &[u8]) -> (SocketAddr, Vec<u8>) {
    let device = UdpSocket::bind(from).unwrap();
    device.set_broadcast(true).unwrap();
    device.set_nonblocking(true).unwrap();
    device.send_to(bytes, to).unwrap();
    let mut reply = [0; 100];
    let (end, remote) = (clock() + LONG, server.remote());
    loop {
        match device.recv_from(&mut reply) {
            Ok((n, from)) => return (from, reply[..n].to_vec()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(clock() < end, "no answer from {to}");
        // Another thread ends the turn even if no probe comes.
        drop(remote.remove(Target::Ip(Ipv4Addr::UNSPECIFIED.into())));
        server.turn().unwrap();
    }
}

#[test]
fn a_probe_of_any_size_is_answered_from_its_destination() {
    let any: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let mut house = TestServer::build(Server::builder().listen(localhost()).discovery(any));
    let port = house.server.discovery_addresses().next().unwrap().port();
    for (to, expected) in [([127, 0, 0, 1], "127.0.0.1"), ([127, 0, 0, 2], "127.0.0.2"), ([127, 9, 8, 7], "127.9.8.7")]
    {
        for bytes in [&b""[..], b"where are you", &[0xff; 65_000]] {
            let (from, reply) = probe(&mut house.server, "0.0.0.0:0", (to, port).into(), bytes);
            assert_eq!((from.to_string(), &reply[..]), (format!("{expected}:{port}"), REPLY), "{} bytes", bytes.len());
        }
    }
    assert_eq!(house.server.parts().1.stats().probes_answered, 9);
}

/// A broadcast address cannot be the source of an answer.
#[test]
fn a_probe_by_broadcast_is_answered_from_an_address_of_its_own() {
    for any in ["0.0.0.0:0", "[::]:0"] {
        if any.starts_with('[') && !has_ipv6() {
            continue;
        }
        let mut house = TestServer::build(Server::builder().listen(localhost()).discovery(any.parse().unwrap()));
        let port = house.server.discovery_addresses().next().unwrap().port();
        let (from, reply) = probe(&mut house.server, "127.0.0.1:0", ([127, 255, 255, 255], port).into(), b"?");
        assert_eq!((from.to_string(), &reply[..]), (format!("127.0.0.1:{port}"), REPLY), "{any}");
    }
}

/// Timestamps come with each datagram, and leave less room for its destination address.
#[test]
fn a_probe_at_an_inherited_socket_with_timestamps_is_answered() {
    if !has_ipv6() {
        return;
    }
    for stamped in [true, false] {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        setsockopt(&socket, sockopt::ReceiveTimestamp, &!stamped).unwrap();
        setsockopt(&socket, sockopt::ReceiveTimestampns, &stamped).unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut house = TestServer::new(Settings::default());
        house.server.adopt_udp(socket).unwrap();
        let (from, reply) = probe(&mut house.server, "127.0.0.1:0", ([127, 0, 0, 2], port).into(), b"?");
        assert_eq!((from.to_string(), &reply[..]), (format!("127.0.0.2:{port}"), REPLY));
    }
}

#[test]
fn an_error_names_the_taken_port() {
    let house = TestServer::new(Settings::default());
    let taken = house.address;
    let error = Server::builder().listen(taken).build(Recorder::default()).err().expect("it is taken");
    assert!(matches!(error, Error::Bind { .. }));
    let text = error.to_string();
    assert!(text.contains(&format!("TCP {taken}")) && text.contains("in use"), "{text}");
    let udp = UdpSocket::bind(localhost()).unwrap();
    let taken = udp.local_addr().unwrap();
    let error = Server::builder().listen(localhost()).discovery(taken).build(Recorder::default()).err();
    assert!(error.expect("it is taken").to_string().contains(&format!("UDP {taken}")));
}

#[test]
fn another_thread_sends_removes_and_stops() {
    let mut house = TestServer::new(Settings::default());
    let (remote, address) = (house.server.remote(), house.address);
    let other = spawn(move || {
        let mut client = client(address);
        // Until the object arrives, the gateway may not have accepted the device.
        client.write_all(&object(1)).unwrap();
        let ip: IpAddr = [127, 0, 0, 1].into();
        let id = loop {
            match remote.send(ip, "hello").unwrap().wait(LONG) {
                Ok(queued) => break queued.id,
                Err(error) => assert_eq!(error, RemoteError::Refused(SendError::NoSuchDevice)),
            }
        };
        let devices = remote.devices().unwrap().wait(LONG).unwrap();
        assert_eq!(devices.iter().map(|device| device.id()).collect::<Vec<_>>(), [id]);
        let mut text = [0; 5];
        client.read_exact(&mut text).unwrap();
        assert_eq!(remote.remove(id).unwrap().wait(LONG), Ok(1));
        let rest = read_all(&mut client);
        assert_eq!(remote.send(id, "gone").unwrap().wait(LONG), Err(RemoteError::Refused(SendError::NoSuchDevice)));
        remote.stop().unwrap();
        (text, rest, remote)
    });
    house.server.run().unwrap();
    let (text, rest, remote): ([u8; 5], Vec<u8>, Remote) = other.join().expect("the other thread's part");
    assert_eq!((&text, rest.len()), (b"hello", 0));
    let ends: Vec<_> = house.server.handler().ends().iter().map(|(_, end)| end.reason).collect();
    assert_eq!(ends, [CloseReason::Removed]);
    assert_eq!(remote.stop(), Err(RemoteError::Ended), "though the server is still there");
}

#[test]
fn a_stop_closes_devices_in_order_and_accepts_no_other() {
    let mut house = TestServer::new(Settings::default());
    let mut clients = [house.connect(), house.connect()];
    let id = house.server.handler().connects()[0].0;
    house.server.parts().1.try_send(id, "last words").unwrap();
    house.server.parts().1.stop();
    house.server.turn().unwrap();
    assert!(TcpStream::connect_timeout(&house.address, LONG).is_err(), "the listener is closed");
    house.server.run().unwrap();
    assert_eq!(clients.each_mut().map(read_all), [b"last words".to_vec(), Vec::new()]);
    let ends: Vec<_> = house.server.handler().ends().iter().map(|(_, end)| end.reason).collect();
    assert_eq!(ends, [CloseReason::Shutdown; 2]);
}

/// A gateway without devices causes no wake-ups. The test counts turns.
#[test]
fn an_idle_server_does_not_wake_up() {
    let mut house = TestServer::new(Settings::default());
    // A device has connected and left, and no timer of it remains.
    let mut client = house.connect();
    client.write_all(&object(1)).unwrap();
    house.turn_until_messages(&[object(1)]);
    drop(client);
    house.turn_until_ends(1);
    let remote = house.server.remote();
    let (turned, turns) = mpsc::channel();
    let server = spawn(move || {
        while house.server.turn().unwrap() {
            turned.send(()).unwrap();
        }
    });
    // The end of the stream causes a few turns. A loop that wakes up every tick never rests for three ticks.
    let rests = (0..50).any(|_| turns.recv_timeout(Duration::from_millis(300)).is_err());
    assert!(rests, "an idle server turned 50 times");
    remote.stop().unwrap();
    server.join().unwrap();
}

#[test]
fn two_devices_behind_one_address() {
    let mut house = TestServer::new(Settings::default());
    let mut clients = [house.connect(), house.connect()];
    let ids = house.server.handler().connects();
    let ip: IpAddr = [127, 0, 0, 1].into();
    let queued = house.server.parts().1.try_send(ip, "newest").unwrap();
    assert_eq!((queued.id, queued.of), (ids[1].0, 2));
    let address = clients[0].local_addr().unwrap();
    let queued = house.server.parts().1.try_send(address, "oldest").unwrap();
    assert_eq!((queued.id, queued.of), (ids[0].0, 1));
    assert_eq!(house.server.parts().1.remove(ip), 2);
    assert_eq!(house.turn_until_ends(2), [CloseReason::Removed; 2]);
    assert_eq!(clients.each_mut().map(read_all), [b"oldest", b"newest"]);
}

/// A device loses its cable and connects again from its address. The old connection ends after that.
#[test]
fn the_end_of_an_old_connection_is_not_the_end_of_the_new_one() {
    let mut house = TestServer::new(Settings::default());
    let old = house.connect();
    let mut new = house.connect();
    let ids: Vec<_> = house.server.handler().connects().iter().map(|(id, _)| *id).collect();
    drop(old);
    house.turn_until_ends(1);
    assert_eq!(house.server.handler().ends()[0].0, ids[0]);
    new.write_all(&object(1)).unwrap();
    house.turn_until_messages(&[object(1)]);
    let queued = house.server.parts().1.try_send(IpAddr::from([127, 0, 0, 1]), "x").unwrap();
    assert_eq!((queued.id, queued.of), (ids[1], 1));
    // Another device may use the slot, but not the id.
    house.connect();
    assert!(house.server.handler().connects().iter().filter(|(id, _)| *id == ids[0]).count() == 1);
}

#[test]
fn the_end_of_a_client_of_another_protocol_names_the_protocol() {
    let mut house = TestServer::new(Settings::default());
    let mut browser = house.connect();
    browser.write_all(&[&b"POST / HTTP/1.1\r\n\r\n"[..], &object(1)].concat()).unwrap();
    assert_eq!(house.turn_until_ends(1)[0].as_str(), "framing");
    let mut faulty = house.connect();
    faulty.write_all(&rejected_samples()[5].1.repeat(16)).unwrap();
    assert_eq!(house.turn_until_ends(2)[1], CloseReason::Faulty);
    assert!(house.seen().iter().all(|seen| !matches!(seen, Seen::Message(..))));
}
