//! The keys of `[mqtt]`.

use super::*;

#[test]
fn every_key_of_the_uplink_can_be_set() {
    let text = r#"
[mqtt]
broker = ["mqtt://192.0.2.1", "mqtts://broker.example:1884"]
version = "3.1.1"
client_id = "c"
username = "u"
password_file = "/p"
keep_alive = "1m"
gateway = "attic"
prefix = "x/{gateway}"
topic = "v1/gateway/telemetry"
availability = "{prefix}/{device}/a"
command = "{prefix}/{device}/c"
result = "{prefix}/{device}/r"
event = "{prefix}/event"
payload = "event"
retain = []
types = ["Status"]
object_bytes_max = "16MiB"
window = 1

[mqtt.store]
path = "/var/lib/pulsegate-mqtt"
bytes_max = "1MiB"
memory = "16KiB"
spill_after = "1s"
sync = "2s"
full = "drop_newest"
"#;
    let config = load(text).unwrap();
    let defaults = Config::default();
    for key in KEYS.iter().filter(|key| key.name.starts_with("mqtt.")) {
        assert_ne!((key.show)(&config), (key.show)(&defaults), "{}", key.name);
    }
    assert_eq!(values(load(config.print()).unwrap()), values(config));
}

#[test]
fn values_of_the_uplink_that_cannot_work_are_errors() {
    let check = |line: &str, expected: &str| {
        let error = load(format!("[mqtt]\n{line}\n")).unwrap_err();
        assert!(error.starts_with(&format!("test.toml:2:{expected}")), "{line}: {error}");
    };
    check("broker = []", "10: mqtt.broker: invalid value []: must have from 1 to 8 entries");
    check(
        "broker = \"x\"",
        "10: mqtt.broker: invalid entry 'x': expected mqtt://HOST, mqtt://HOST:PORT or mqtts://HOST",
    );
    check("keep_alive = \"1s\"", "14: mqtt.keep_alive: invalid value \"1s\": must be from 5s to 65535s");
    check("window = 0", "10: mqtt.window: invalid value 0: must be from 1 to 65534");
    check("topic = \"a/#\"", "9: mqtt.topic: invalid value \"a/#\": must be a topic without + and #");
    check("command = \"a\"", "11: mqtt.command: invalid value \"a\": must be a topic without + and #, with {device}");
    check("prefix = \"{prefix}\"", "10: mqtt.prefix: invalid value \"{prefix}\": must be a topic without + and #, and");
    check("password_file = \"p\"", "17: mqtt.password_file: invalid value \"p\": expected an absolute path, or \"\"");
}
