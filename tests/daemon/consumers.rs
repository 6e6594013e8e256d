//! Event numbers, and consumers that come back for the events that they missed.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::Receiver;

use serde_json::Value;

use super::{Daemon, PATIENCE, event, lines};

/// A client of the control socket, and the lines that it receives.
fn client(control: &Path) -> (UnixStream, Receiver<Value>) {
    let stream = UnixStream::connect(control).unwrap();
    let received = lines(stream.try_clone().unwrap(), event);
    (stream, received)
}

#[test]
fn events_have_the_numbers_from_1_on_without_a_gap() {
    let gateway = Daemon::start("seq");
    let mut device = gateway.connect();
    device.write_all(br#"{"Type":"Status"}{"Type":3}{"Type":"Alarm"}"#).unwrap();
    drop(device);
    // The listening event, which the start has read, has number 1.
    for (seq, kind) in (2..).zip(["connect", "message", "rejected", "message", "disconnect"]) {
        let event = gateway.event(kind);
        assert_eq!(event["seq"], seq, "{event}");
    }
}

#[test]
fn a_watch_says_which_run_it_is_and_where_it_begins() {
    let gateway = Daemon::start("boot");
    let (mut watch, received) = client(&gateway.control);
    watch.write_all(b"{\"op\":\"watch\"}\n").unwrap();
    let answer: Value = received.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        (&answer["ok"], &answer["seq"], &answer["boot"]),
        (&true.into(), &1.into(), &gateway.boot.clone().into())
    );
    let _device = gateway.connect();
    let connect = received.recv_timeout(PATIENCE).unwrap();
    assert_eq!((&connect["event"], &connect["seq"]), (&"connect".into(), &2.into()));
}
