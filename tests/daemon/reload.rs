//! Reloads, seen by connected devices and clients.

use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Daemon, File, PATIENCE, call, event, lines, pulsegate, text, unread};

#[test]
fn a_reload_applies_changed_keys_and_closes_no_allowed_device() {
    let file = File::new("reload", "[limits]\nconnections_max = 5\n");
    let gateway = Daemon::start_with("reload", |call| {
        call.arg("--config").arg(&file.0);
    });
    let device = gateway.connect();
    gateway.event("connect");
    file.write("[limits]\nconnections_max = 1\n[log]\nlevel = \"debug\"\n");
    let (code, output, _) = text(&gateway.call(&["reload"]));
    assert_eq!((code, output.as_str()), (0, "changed: limits.connections_max, log.level\n"));
    let refused = gateway.connect();
    assert_eq!(gateway.event("disconnect")["detail"], "connections_max");
    // An error changes nothing, and has its place.
    file.write("[limits]\nconnections_max = 1\nconections_max = 2\n");
    let (code, _, why) = text(&gateway.call(&["reload"]));
    assert_eq!(code, 78);
    assert!(why.contains(":3:1: ") && why.contains("connections_max"), "{why}");
    gateway.signal(Signal::SIGHUP);
    while !gateway.log.recv_timeout(PATIENCE).expect("a log line").contains("keeps its configuration") {}
    let (_, devices, _) = text(&gateway.call(&["devices"]));
    assert_eq!(devices.lines().last(), Some("1 device"), "the device that was there still is");
    // Only an address rule closes a device.
    file.write("[access]\ndeny = [\"127.0.0.0/8\"]\n");
    gateway.call(&["reload"]);
    assert_eq!(gateway.event("disconnect")["reason"], "refused");
    drop((device, refused));
}

/// Numbered objects of about a kilobyte.
fn send_numbered(device: &mut TcpStream, numbers: std::ops::Range<u64>, control: &Path) {
    for number in numbers.clone() {
        write!(device, r#"{{"Type":"Status","N":{number},"Fill":"{}"}}"#, "x".repeat(1000)).unwrap();
    }
    let asked = (0..1_000).map(|_| stats(control)["messages"]["Status"]["count"].as_u64().unwrap());
    assert!(asked.into_iter().any(|count| count == numbers.end), "not all {} objects were heard", numbers.end);
}

fn stats(control: &Path) -> Value {
    let (code, stats, why) = text(&call(control, &["stats", "--json"]));
    assert_eq!(code, 0, "{why}");
    event(stats)
}

#[test]
fn events_stay_complete_and_in_order_when_a_reload_changes_their_destination() {
    let file = File::new("whole", "");
    let control = file.0.with_extension("sock");
    let (mut process, events, mut device) = unread(|call| {
        call.arg("--config").arg(&file.0).arg("--control").arg(&control);
    });
    // More than the pipe holds, without a reader.
    send_numbered(&mut device, 0..200, &control);
    let reload = |text: &str| {
        file.write(text);
        assert!(call(&control, &["reload"]).status.success());
    };
    reload("events.buffer_bytes_max = \"2MiB\"");
    send_numbered(&mut device, 200..400, &control);
    reload("events.output = \"none\"");
    send_numbered(&mut device, 400..450, &control);
    reload("# Every value has its default.");
    send_numbered(&mut device, 450..500, &control);
    let events = lines(events, event);
    let next = || loop {
        let event = events.recv_timeout(PATIENCE).expect("more events");
        if event["event"] == "message" {
            return event["data"]["N"].as_u64().unwrap();
        }
    };
    let expected: Vec<u64> = (0..400).chain(450..500).collect();
    let received: Vec<u64> = expected.iter().map(|_| next()).collect();
    assert_eq!(received, expected);
    process.kill().unwrap();
    process.wait().unwrap();
}

/// Returns the events of a client that watches.
fn watch(control: &Path) -> Receiver<Value> {
    let mut stream = UnixStream::connect(control).unwrap();
    stream.write_all(b"{\"op\":\"watch\"}\n").unwrap();
    let events = lines(stream, event);
    assert_eq!(events.recv_timeout(PATIENCE).unwrap()["ok"], true);
    events
}

#[test]
fn a_longer_object_after_a_reload_reaches_every_consumer() {
    let file = File::new("longer", "");
    let gateway = Daemon::start_with("longer", |call| {
        call.arg("--config").arg(&file.0);
    });
    let before = watch(&gateway.control);
    file.write("limits.object_bytes_max = \"4MiB\"");
    assert!(gateway.call(&["reload"]).status.success());
    let after = watch(&gateway.control);
    let readers = [&gateway.events, &before, &after];
    let next = |kind: &str| {
        for (number, reader) in readers.iter().enumerate() {
            let event = reader.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("reader {number}: no {kind}: {e}"));
            assert_eq!(event["event"], kind, "reader {number}");
        }
    };
    let mut device = gateway.connect();
    next("connect");
    write!(device, r#"{{"Type":"Picture","Fill":"{}"}}"#, "x".repeat(2 << 20)).unwrap();
    next("message");
}

/// Returns a free port below the range of outgoing connections.
fn free_port() -> u16 {
    let first = 10_000 + (std::process::id() * 37 % 20_000) as u16;
    let is_free =
        |port: &u16| TcpListener::bind(("0.0.0.0", *port)).is_ok() && UdpSocket::bind(("0.0.0.0", *port)).is_ok();
    (first..).find(is_free).expect("a free port")
}

#[test]
fn a_reload_may_narrow_and_widen_addresses() {
    let port = free_port();
    let addresses = |tcp_ip: &str, udp_ip: &str, more: &str| {
        format!("listen = [\"{tcp_ip}:{port}\"{more}]\ndiscovery.listen = [\"{udp_ip}:{port}\"]")
    };
    let file = File::new("narrower", &addresses("[::]", "0.0.0.0", ""));
    let mut call = pulsegate();
    call.arg("--config").arg(&file.0);
    let gateway = Daemon::run(call, file.0.with_extension("sock"));
    let is_listened_on = |ip: &str| TcpStream::connect((ip, port)).is_ok();
    // If another program has the port, nothing changes. The configuration itself is valid.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    file.write(&addresses("127.0.0.1", "127.0.0.1", &format!(", \"{taken}\"")));
    let (code, _, why) = text(&gateway.call(&["reload"]));
    assert_eq!(code, 1, "{why}");
    assert!(why.contains(&format!("cannot listen on TCP {taken}")), "{why}");
    assert!(is_listened_on("127.0.0.2"));
    for ip in ["127.0.0.1", "0.0.0.0"] {
        file.write(&addresses(ip, ip, ""));
        let (code, output, why) = text(&gateway.call(&["reload"]));
        assert_eq!((code, output.as_str()), (0, "changed: listen, discovery.listen\n"), "{ip}: {why}");
        assert_eq!(gateway.event("listening")["tcp"], format!("{ip}:{port}"));
        assert!(is_listened_on("127.0.0.1") && UdpSocket::bind(("127.0.0.1", port)).is_err(), "{ip}");
        let (tcp, udp) = (is_listened_on("127.0.0.2"), UdpSocket::bind(("127.0.0.2", port)).is_err());
        assert_eq!((tcp, udp), (ip == "0.0.0.0", ip == "0.0.0.0"), "{ip}");
    }
}

#[test]
fn a_reload_with_a_missing_or_emptied_file_changes_nothing() {
    let file = File::new("vanishes", "[access]\nallow = [\"192.0.2.0/24\"]\n");
    let gateway = Daemon::start_with("vanishes", |call| {
        call.arg("--config").arg(&file.0);
    });
    let is_refused = |what: &str| {
        let device = gateway.connect();
        assert_eq!(gateway.event("disconnect")["detail"], "address_denied", "{what}");
        drop(device);
    };
    let fails = |what: &str, why: &str| {
        let (code, _, error) = text(&gateway.call(&["reload"]));
        assert_eq!(code, 78, "{what}: {error}");
        assert!(error.contains(&file.0.display().to_string()) && error.contains(why), "{what}: {error}");
        is_refused(what);
    };
    is_refused("at the start");
    file.write("");
    fails("an emptied file", "the file is empty");
    file.write("\n \n");
    fails("a file of white space", "the file is empty");
    std::fs::remove_file(&file.0).unwrap();
    fails("no file", "cannot read the file");
    std::fs::create_dir(&file.0).unwrap();
    fails("a directory", "cannot read the file");
    std::fs::remove_dir(&file.0).unwrap();
    std::os::unix::fs::symlink("/nonexistent/pulsegate.toml", &file.0).unwrap();
    fails("a link to nothing", "cannot read the file");
    std::fs::remove_file(&file.0).unwrap();
    file.write("[access]\nallow = [\"127.0.0.0/8\"]\n");
    assert_eq!(text(&gateway.call(&["reload"])).0, 0);
    let _device = gateway.connect();
    gateway.event("connect");
}

/// Counts the answered ones of some probes. Each probe waits a little for its answer.
fn answered(gateway: &Daemon, probes: usize) -> usize {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let ask = |_| socket.send_to(b"?", gateway.udp).is_ok() && socket.recv(&mut [0; 64]).is_ok();
    (0..probes).filter(|&probe| ask(probe)).count()
}

#[test]
fn a_reload_changes_the_rate_of_discovery() {
    let narrow = "discovery.rate = \"1/s\"\ndiscovery.burst = 1\n";
    let file = File::new("rates", narrow);
    let gateway = Daemon::start_with("rates", |call| {
        call.arg("--config").arg(&file.0);
    });
    let few = answered(&gateway, 40);
    file.write("# Every value has its default.");
    let (_, changed, _) = text(&gateway.call(&["reload"]));
    assert_eq!(changed, "changed: discovery.rate, discovery.burst\n");
    // The default rate is 50 a second for one source. One a second would take 40 seconds.
    let many = answered(&gateway, 40);
    assert!(few <= 10 && many >= 30, "{few} of 40 probes were answered before the reload, {many} behind it");
}

#[test]
fn a_reload_closes_the_addresses_that_it_removes() {
    let file = File::new("removed", "listen = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\ndiscovery.listen = \"127.0.0.1:0\"");
    let mut call = pulsegate();
    call.arg("--config").arg(&file.0);
    let gateway = Daemon::run(call, file.0.with_extension("sock"));
    let second = gateway.event("listening")["tcp"].as_str().unwrap().to_owned();
    let device = TcpStream::connect(&second).expect("both addresses are listened on");
    gateway.event("connect");
    file.write("listen = [\"127.0.0.1:0\"]\ndiscovery.listen = \"off\"");
    let (code, _, why) = text(&gateway.call(&["reload"]));
    assert_eq!(code, 0, "{why}");
    assert!(TcpStream::connect(&second).is_err(), "{second} is still listened on");
    assert!(UdpSocket::bind(gateway.udp).is_ok(), "{} is still open", gateway.udp);
    // The first address stays, and so does the device that used the second one.
    let other = gateway.connect();
    gateway.event("connect");
    assert_eq!(text(&gateway.call(&["devices"])).1.lines().last(), Some("2 devices"));
    drop((device, other));
}
