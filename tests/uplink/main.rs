//! `pulsegate mqtt` beside a real gateway and a real broker, mosquitto.

#[path = "../common/environment.rs"]
mod environment;
mod stage;

use std::io::Read;

use nix::sys::signal::Signal;
use serde_json::Value;

use self::stage::{PATIENCE, Stage, pause};

const STATE: &str = "pulsegate/attic/state";
const DEVICE: &str = "pulsegate/attic/device/127.0.0.1";

/// The topic of the test's device.
fn topic(name: &str) -> String {
    format!("{DEVICE}/{name}")
}

#[test]
fn a_devices_object_arrives_byte_for_byte() {
    let stage = Stage::new("object");
    let _broker = stage.broker();
    let subscriber = stage.subscribe("pulsegate/#");
    let _uplink = stage.uplink(&[]);
    subscriber.wait_for(STATE, "online");
    let mut device = stage.device();
    subscriber.wait_for(&topic("availability"), "online");
    let object = r#"{"Type":"Status", "Door" : "open","n":1.50,"s":"\u00e9é"}"#;
    stage.say(&mut device, object);
    assert_eq!(subscriber.payload(&topic("Status")), object);
    stage.say(&mut device, r#"{"Type":"a/b+#$"}"#);
    assert_eq!(subscriber.payload(&topic("a_b___")), r#"{"Type":"a/b+#$"}"#);
    drop(device);
    subscriber.wait_for(&topic("availability"), "offline");
    // Statuses are retained, other messages are not.
    let late = stage.subscribe("pulsegate/attic/device/#");
    assert_eq!(late.payload(&topic("Status")), object);
}

#[test]
fn a_command_reaches_the_device_and_its_answer_comes_back() {
    let stage = Stage::new("command");
    let _broker = stage.broker();
    let subscriber = stage.subscribe("pulsegate/#");
    stage.publish(&topic("set"), "retained", &["-r"]);
    let _uplink = stage.uplink(&[]);
    let mut device = stage.device();
    subscriber.wait_for(&topic("availability"), "online");
    let result: Value = serde_json::from_str(&subscriber.payload(&topic("result"))).unwrap();
    assert_eq!(result["error"], "retained");
    stage.publish(&topic("set"), "reboot now", &[]);
    let mut text = [0; 10];
    device.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"reboot now", "the retained command did not run");
    let result: Value = serde_json::from_str(&subscriber.payload(&topic("result"))).unwrap();
    assert_eq!((&result["ok"], &result["of"]), (&true.into(), &1.into()));
    stage.publish("pulsegate/attic/device/192.0.2.99/set", "x", &[]);
    let result = subscriber.payload("pulsegate/attic/device/192.0.2.99/result");
    assert_eq!(serde_json::from_str::<Value>(&result).unwrap()["error"], "no_such_device");
    stage.publish("pulsegate/attic/request/stats", r#"{"id":"mine"}"#, &[]);
    let response = subscriber.payload("pulsegate/attic/response/stats");
    let response: Value = serde_json::from_str(&response).unwrap();
    assert_eq!((&response["ok"], &response["id"]), (&true.into(), &"mine".into()));
    // The response topic of version 5 has precedence.
    stage.publish(&topic("set"), "again", &["-V", "5", "-D", "publish", "response-topic", "pulsegate/answers"]);
    assert!(subscriber.payload("pulsegate/answers").contains(r#""ok":true"#));
}

#[test]
fn messages_outlive_a_broker_that_dies() {
    let stage = Stage::new("broker");
    let mut broker = stage.broker();
    let (uplink, log) = stage.uplink(&[]);
    log.iter().find(|line| line.contains("connected to broker")).expect("a connection");
    let mut device = stage.device();
    for round in 0..3 {
        broker.kill();
        for number in 0..100 {
            stage.say(&mut device, &format!(r#"{{"Type":"Test","n":{}}}"#, round * 100 + number));
        }
        // The uplink sleeps until the subscriber is there: no broker keeps messages for absent readers.
        uplink.signal(Signal::SIGSTOP);
        broker = stage.broker();
        let subscriber = stage.subscribe("pulsegate/#");
        stage.publish("pulsegate/marker", "here", &["-r"]);
        subscriber.wait_for("pulsegate/marker", "here");
        uplink.signal(Signal::SIGCONT);
        let mut next = round * 100;
        while next < (round + 1) * 100 {
            let number =
                serde_json::from_str::<Value>(&subscriber.payload(&topic("Test"))).unwrap()["n"].as_u64().unwrap();
            assert!(number <= next, "message {next} is lost: {number} came");
            next = next.max(number + 1);
        }
    }
}

#[test]
fn a_store_keeps_messages_over_a_restart() {
    let stage = Stage::new("store");
    let folder = stage.file("store");
    let store =
        [("PULSEGATE_MQTT_STORE_PATH", folder.to_str().unwrap()), ("PULSEGATE_MQTT_STORE_SPILL_AFTER", "100ms")];
    let mut device = stage.device();
    let mut next = 0;
    for round in 0..3 {
        let (mut uplink, log) = stage.uplink_with(&[], &store);
        log.iter().find(|line| line.contains("connected to the gateway")).expect("a connection");
        for number in 0..200 {
            stage.say(&mut device, &format!(r#"{{"Type":"Test","n":{}}}"#, round * 200 + number));
        }
        while stage.counter("queued") < 200 * (round + 1) || stage.counter("stored_bytes") == 0 {
            pause();
        }
        // Nothing is in memory from here on.
        while stage.counter("queued_bytes") > 0 {
            pause();
        }
        match round {
            0 => uplink.kill(),
            _ => {
                uplink.signal(Signal::SIGTERM);
                assert_eq!(uplink.0.wait().unwrap().code(), Some(0));
            }
        }
    }
    let _broker = stage.broker();
    let subscriber = stage.subscribe("pulsegate/#");
    stage.publish("pulsegate/marker", "here", &["-r"]);
    subscriber.wait_for("pulsegate/marker", "here");
    let (_uplink, _log) = stage.uplink_with(&[], &store);
    while next < 600 {
        let payload = subscriber.payload(&topic("Test"));
        assert_eq!(serde_json::from_str::<Value>(&payload).unwrap()["n"], next);
        next += 1;
    }
}

#[test]
fn presence_is_true_after_any_death() {
    let mut stage = Stage::new("presence");
    let _broker = stage.broker();
    let subscriber = stage.subscribe("pulsegate/#");
    let (mut uplink, _log) = stage.uplink(&[]);
    let device = stage.device();
    subscriber.wait_for(STATE, "online");
    subscriber.wait_for(&topic("availability"), "online");
    uplink.kill();
    subscriber.wait_for(STATE, "offline");
    drop(device);
    // The broker keeps "online" of a device that is gone.
    let (_uplink, _log) = stage.uplink(&[]);
    subscriber.wait_for(&topic("availability"), "offline");
    stage.restart_gateway();
    let _device = stage.device();
    subscriber.wait_for(&topic("availability"), "online");
}

#[test]
fn sigterm_says_offline_and_exits_with_0() {
    let stage = Stage::new("stop");
    let broker = stage.broker();
    let subscriber = stage.subscribe("pulsegate/#");
    let (mut uplink, _log) = stage.uplink(&[]);
    let mut device = stage.device();
    subscriber.wait_for(&topic("availability"), "online");
    let stats: Value = serde_json::from_slice(&stage.stats().stdout).unwrap();
    assert_eq!((&stats["broker"], &stats["devices"]), (&"online".into(), &1.into()));
    stage.say(&mut device, r#"{"Type":"Test"}"#);
    subscriber.payload(&topic("Test"));
    uplink.signal(Signal::SIGTERM);
    subscriber.wait_for(STATE, "offline");
    assert_eq!(uplink.0.wait().unwrap().code(), Some(0));
    assert_eq!(stage.stats().status.code(), Some(69), "no uplink answers");
    // A broker that hangs does not keep the uplink.
    let (mut uplink, _log) = stage.uplink(&[]);
    subscriber.wait_for(STATE, "online");
    broker.signal(Signal::SIGSTOP);
    uplink.signal(Signal::SIGTERM);
    assert_eq!(uplink.0.wait().unwrap().code(), Some(0));
    broker.signal(Signal::SIGCONT);
}

#[test]
fn the_uplink_waits_for_a_broker_that_is_away() {
    let stage = Stage::new("away");
    let (_uplink, log) = stage.uplink(&["--log-level", "info"]);
    let refused = log.recv_timeout(PATIENCE).and_then(|_| {
        loop {
            let line = log.recv_timeout(PATIENCE)?;
            if line.contains("next attempt in") {
                return Ok(line);
            }
        }
    });
    assert!(refused.expect("a line about the broker").contains("mqtt://localhost"));
    let _broker = stage.broker();
    let subscriber = stage.subscribe("pulsegate/#");
    subscriber.wait_for(STATE, "online");
    assert!(subscriber.now("pulsegate/attic/missed").is_empty() && !pause());
}

#[test]
fn wrong_settings_are_errors_before_anything_starts() {
    let check = |arguments: &[&str], code: i32, expected: &str| {
        let output =
            environment::program(env!("CARGO_BIN_EXE_pulsegate")).arg("mqtt").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    check(&["--broker", "http://x"], 2, "expected mqtt://HOST");
    check(&["--broker", "mqtts://x"], 78, "stunnel");
    check(&["--control", "off"], 78, "control.path");
    check(&["--brokr", "x"], 2, "did you mean --broker?");
}
