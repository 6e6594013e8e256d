//! Names of devices, commands that wait for a name, and answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Daemon, File, PATIENCE, pulsegate, text};

fn gateway(name: &str) -> (Daemon, File) {
    let file = File::new(name, "[identity]\nmember = \"Name\"\n[access]\nconnections_per_ip_max = 1\n");
    let gateway = Daemon::start_with(name, |call| {
        call.arg("--config").arg(&file.0);
    });
    (gateway, file)
}

/// A device connects and says its name.
fn join(gateway: &Daemon, name: &str) -> TcpStream {
    let mut device = gateway.connect();
    write!(device, r#"{{"Type":"Hello","Name":"{name}"}}"#).unwrap();
    device
}

/// Reads a command of the same length as `expected`, and skips beats.
fn expect_command(device: &mut TcpStream, expected: &str) {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).replace("heartbeat", "").contains(expected) {
        let mut byte = [0];
        device.read_exact(&mut byte).expect("a command");
        read.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&read).replace("heartbeat", "");
    assert_eq!(text, expected);
}

#[test]
fn a_power_cycled_device_gets_its_queued_commands_first() {
    let (gateway, _file) = gateway("cycle");
    let mut old = join(&gateway, "pump-7");
    let identified = gateway.event("identified");
    assert_eq!(identified["name"], "pump-7");
    assert_eq!(gateway.event("message")["name"], "pump-7");
    // The device loses its power: its connection stays open.
    let new = join(&gateway, "pump-7");
    let end = gateway.event("disconnect");
    assert_eq!(
        (&end["reason"], &end["name"], &end["conn"]),
        (&json!("replaced"), &json!("pump-7"), &identified["conn"])
    );
    let mut rest = Vec::new();
    // The gateway resets the old connection.
    let _ = old.read_to_end(&mut rest);
    new.shutdown(Shutdown::Both).unwrap();
    gateway.event("disconnect");
    let (code, out, _) = text(&gateway.call(&["devices", "--all"]));
    assert_eq!(code, 0);
    assert!(out.contains("0 devices\n") && out.contains("pump-7") && out.contains("1 missing device\n"), "{out}");

    let (code, out, err) = text(&gateway.call(&["send", "@pump-7", "one;", "--queue", "1h"]));
    assert_eq!((code, out.ends_with(" waits for @pump-7\n")), (0, true), "{out}{err}");
    let (code, ..) = text(&gateway.call(&["send", "@pump-7", "two;", "--queue", "10m"]));
    assert_eq!(code, 0);
    let mut back = join(&gateway, "pump-7");
    expect_command(&mut back, "one;two;");
    for _ in 0..2 {
        let command = gateway.event("command");
        assert_eq!((&command["state"], &command["name"]), (&json!("sent"), &json!("pump-7")));
    }
    let (_, out, _) = text(&gateway.call(&["devices"]));
    assert!(out.lines().nth(1).is_some_and(|row| row.contains(" pump-7 ")), "{out}");
    let (_, out, _) = text(&gateway.call(&["devices", "--all", "--json"]));
    assert_eq!(out.lines().count(), 1, "{out}");
    let (code, out, _) = text(&gateway.call(&["remove", "@pump-7"]));
    assert_eq!((code, &out[..]), (0, "1 connection closed\n"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a device reports in real time")]
fn a_command_gets_its_answer_beside_a_busy_device() {
    let (gateway, _file) = gateway("answer");
    let mut device = join(&gateway, "pump-7");
    gateway.event("identified");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut reports = device.try_clone().unwrap();
        let stop = &stop;
        scope.spawn(move || {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                write!(reports, r#"{{"Type":"Report","Id":"{number}"}}"#).unwrap();
                number = (number + 1) % 40;
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        scope.spawn(move || {
            expect_command(&mut device, "status");
            write!(device, r#"{{"Type":"Answer","Id":"42","Text":"fine"}}"#).unwrap();
        });
        let (code, out, err) = text(&gateway.call(&["send", "@pump-7", "status", "--match", "Id=42", "--wait", "20"]));
        assert_eq!((code, &out[..]), (0, "{\"Type\":\"Answer\",\"Id\":\"42\",\"Text\":\"fine\"}\n"), "{err}");
        let ended = gateway.event("command");
        assert_eq!((&ended["state"], &ended["name"]), (&json!("answered"), &json!("pump-7")));
        let (code, out, err) = text(&gateway.call(&["send", "@pump-7", "x", "--type", "None", "--wait", "300ms"]));
        assert_eq!((code, &out[..]), (1, ""));
        assert!(err.contains("sent no answer in time"), "{err}");
        assert_eq!(gateway.event("command")["state"], "timeout");
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_device_that_disconnects_ends_the_wait_for_its_answer() {
    let (gateway, _file) = gateway("ended");
    let device = join(&gateway, "pump-7");
    gateway.event("identified");
    let mut send = pulsegate();
    send.args(["send", "@pump-7", "status", "--wait", "60", "--control"]).arg(&gateway.control);
    let send = send.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut device = device;
    expect_command(&mut device, "status");
    device.shutdown(Shutdown::Both).unwrap();
    let (code, _, err) = text(&send.wait_with_output().unwrap());
    assert_eq!(code, 1);
    assert!(err.contains("disconnected before it answered: closed"), "{err}");
    let ended = gateway.event("command");
    assert_eq!((&ended["state"], &ended["reason"]), (&json!("lost"), &json!("closed")));
    let (code, _, err) = text(&gateway.call(&["send", "@pump-7", "x"]));
    assert_eq!((code, err.contains("no such device is connected")), (1, true), "{err}");
    let (code, _, err) = text(&gateway.call(&["send", "@pump-7", "x", "--wait", "1", "--queue", "300ms"]));
    assert_eq!((code, err.contains("did not connect in time")), (1, true), "{err}");
    for (line, usage) in [
        (&["send", "@", "x"][..], "invalid device '@'"),
        (&["send", "#1", "x", "--type", "T"], "with --wait"),
        (&["send", "#1", "x", "--wait", "1", "--match", "Id"], "expected MEMBER=VALUE"),
    ] {
        let (code, _, err) = text(&gateway.call(line));
        assert_eq!((code, err.contains(usage)), (2, true), "{err}");
    }
}

#[test]
fn a_watch_follows_a_name_across_connections() {
    let (gateway, _file) = gateway("follow");
    let mut watch = UnixStream::connect(&gateway.control).unwrap();
    watch.set_read_timeout(Some(PATIENCE)).unwrap();
    writeln!(watch, "{}", json!({ "op": "watch", "device": "@pump-7" })).unwrap();
    let mut lines = BufReader::new(watch).lines();
    let mut next = || super::event(lines.next().expect("a line").expect("a line in time"));
    assert_eq!(next()["ok"], true);
    let mut seen: Vec<(Value, Value)> = Vec::new();
    let mut devices = Vec::new();
    for _ in 0..2 {
        devices.push(join(&gateway, "pump-7"));
        gateway.event("message");
    }
    while seen.len() < 5 {
        let event = next();
        seen.push((event["event"].clone(), event["name"].clone()));
    }
    let kinds: Vec<_> = seen.iter().map(|(kind, _)| kind.as_str().unwrap()).collect();
    assert_eq!(kinds, ["identified", "message", "identified", "message", "disconnect"]);
    assert!(seen.iter().all(|(_, name)| name == "pump-7"), "{seen:?}");
}
