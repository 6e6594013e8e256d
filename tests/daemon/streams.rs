//! Events of unusual objects.

use std::io::Write;
use std::net::TcpStream;

use super::Daemon;

#[test]
fn the_longest_object_with_the_longest_type_is_an_event_in_the_smallest_buffer() {
    let gateway = Daemon::start_with("longest", |call| {
        call.env("PULSEGATE_LIMITS_OBJECT_BYTES_MAX", "16KiB").env("PULSEGATE_EVENTS_BUFFER_BYTES_MAX", "16KiB");
    });
    let mut device = TcpStream::connect(gateway.tcp).unwrap();
    // An event needs six bytes for each of these characters.
    let mut object = format!(r#"{{"Type":"{}","Fill":""#, r"\u0001".repeat(256));
    object += &"x".repeat((16 << 10) - object.len() - 2);
    object += r#""}"#;
    device.write_all(object.as_bytes()).unwrap();
    let message = gateway.event("message");
    assert_eq!(message["type"], "\u{1}".repeat(256));
    assert_eq!(message["data"]["Fill"].as_str().map(str::len), Some((16 << 10) - 6 * 256 - 21));
}

#[test]
fn an_object_that_other_parsers_reject_is_rejected() {
    let gateway = Daemon::start("refused-elsewhere");
    let mut device = TcpStream::connect(gateway.tcp).unwrap();
    let nested = |levels: usize| format!(r#"{{"Type":"S","a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    for (object, reason) in [
        (r#"{"Type":"Status","Name":"cut emoji \ud83d"}"#.into(), "invalid_json"),
        // serde_json rejects a depth of 128, and the event adds one level to the object.
        (nested(126), "too_deep"),
        (format!(r#"{{"Type":"{}"}}"#, "t".repeat(530_000)), "type_too_long"),
    ] {
        device.write_all(object.as_bytes()).unwrap();
        assert_eq!(gateway.event("rejected")["reason"], reason);
    }
    device.write_all(nested(125).as_bytes()).unwrap();
    assert_eq!(gateway.event("message")["type"], "S");
}
