//! Faults in the stream of one device.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::devices::{device, devices, flood, is_closed, object_of, reset, source};
use crate::gateway::{PATIENCE, in_a, pause};
use crate::stage::{Fault, Stage};
use crate::{clock, many};

pub(crate) fn faults() -> Vec<Fault> {
    let impatient = |start: &mut crate::gateway::Start| {
        start.set("PULSEGATE_LIMITS_OBJECT_TIMEOUT", "3s");
        start.set("PULSEGATE_LIMITS_WRITE_TIMEOUT", "3s");
        Ok(())
    };
    vec![
        Fault::quick("endless object", endless_object),
        Fault::quick("endless padding", endless_padding),
        Fault::quick("nesting", nesting),
        Fault::quick("a byte at a time", a_byte_at_a_time).with(impatient),
        Fault::heavy("a byte at a time, default timeout", never_finished),
        Fault::quick("300,000 objects in one breath", one_breath),
        Fault::quick("refused objects without end", refused_objects),
        Fault::quick("never reads", never_reads).with(impatient),
        Fault::heavy("never reads, default timeout", never_reads),
        Fault::quick("silence after connect", silence),
        Fault::quick("heartbeat spam", heartbeat_spam),
        Fault::quick("half close in the middle of an object", half_close),
        Fault::quick("foreign protocols", foreign_protocols),
        Fault::quick("SIGTERM in the middle of an object", sigterm),
    ]
}

/// Objects beyond the size limit, of each kind that makes a parser buffer bytes.
fn endless_object(stage: &mut Stage) {
    let beginnings: [(&[u8], &[u8]); 6] = [
        (br#"{"Type":"Project","x":""#, b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (br#"{"Type":"Project","x":""#, br"\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\"),
        (b"{", b"                                                                "),
        (br#"{"Type":"Project","x":["#, b"0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,"),
        (b"{", br#"{"a":{},"b":{},"c":{},"d":{},"e":{},"f":{},"g":{},"h":{},"i":{}},"#),
        (br#"{"Type":"Project""#, br#","Type":"Project","Type":"Project","Type":"Project","Type":"Pro""#),
    ];
    // All at once, because each device may fill a reassembly buffer.
    for (n, (beginning, more)) in beginnings.into_iter().enumerate() {
        let mut stream = device(n, stage.gateway.tcp);
        stream.write_all(beginning).unwrap();
        let taken = flood(&mut stream, &more.repeat(1000), PATIENCE);
        // The bytes in the kernel's buffers count on top.
        assert!(taken > 900 << 10 && taken < 16 << 20, "{taken} bytes were taken of {}", beginning.escape_ascii());
        let events = n as u64 + 1;
        stage.gateway.until("it is cut", |gateway| gateway.count("disconnect framing") == events);
    }
    assert_eq!(stage.gateway.count("message"), 0);
    let first = &stage.gateway.events("disconnect")[0];
    assert!(first["detail"].as_str().is_some_and(|detail| detail.contains("large")), "{first}");
}

/// Whitespace between objects is no sign of life, in any amount.
fn endless_padding(stage: &mut Stage) {
    let mut stream = device(0, stage.gateway.tcp);
    let taken = flood(&mut stream, &b" \t\r\n\0".repeat(10_000), PATIENCE);
    stage.gateway.until("it is found dead", |gateway| gateway.count("disconnect silent") == 1);
    assert!(taken > 1 << 20, "{taken}");
}

fn nesting(stage: &mut Stage) {
    let mut stream = device(0, stage.gateway.tcp);
    let deep = |open: &str, close: &str, depth: usize| {
        format!(r#"{{"Type":"Status","x":{}0{}}}"#, open.repeat(depth), close.repeat(depth))
    };
    // At the depth limit, one level deeper, and at the deepest possible nesting. The stream continues.
    for text in [
        deep(r#"{"a":"#, "}", 125),
        deep(r#"{"a":"#, "}", 126),
        deep("[", "]", 126),
        deep(r#"{"a":"#, "}", 170_000),
        deep("[", "]", 500_000),
        deep("[", "", 900_000),
        deep(r#"{"a":"#, "}", 125),
    ] {
        stream.write_all(text.as_bytes()).unwrap();
    }
    stage.gateway.until("both message events", |gateway| gateway.count("message") == 2);
    assert_eq!(stage.gateway.count("rejected too_deep"), 5);
    assert_eq!(stage.gateway.count("disconnect"), 0);
    // Nesting without an end.
    flood(&mut stream, &br#"{"a":"#.repeat(10_000), PATIENCE);
    stage.gateway.until("it is cut", |gateway| gateway.count("disconnect framing") == 1);
}

fn a_byte_at_a_time(stage: &mut Stage) {
    // 50 devices that send each byte in its own packet.
    let object = br#"{"Type":"Status","Text":"\"}{\\","List":[1,2,{"a":null}]}"#;
    let mut streams = devices(50, stage.gateway.tcp);
    for byte in object {
        streams.iter_mut().for_each(|stream| stream.write_all(&[*byte]).unwrap());
        pause(Duration::from_millis(2));
    }
    stage.gateway.until("all events", |gateway| gateway.count("message") == 50);
    drop(streams);
    // The kernel closes the stream, or resets it if a beat is unread.
    stage.gateway.until("all are gone", |gateway| gateway.count("disconnect") == 50);
    never_finished(stage);
}

/// More than any timeout of these gateways. `tests/pair.rs` compares times, in virtual time.
const TIMEOUT_PATIENCE: Duration = Duration::from_secs(60);

/// Sends bytes of an object without an end.
fn never_finished(stage: &mut Stage) {
    let before = stage.gateway.count("disconnect framing");
    let mut stream = device(99, stage.gateway.tcp);
    stream.write_all(br#"{"Type":"Project","x":""#).unwrap();
    stage.gateway.until_in(TIMEOUT_PATIENCE, "the gateway closes the connection", |gateway| {
        // The write fails once the gateway has closed the connection.
        let _ = stream.write(b"a");
        gateway.count("disconnect framing") > before
    });
    let end = stage.gateway.events("disconnect").pop().expect("an event");
    assert!(end["detail"].as_str().is_some_and(|detail| detail.contains("not finished in time")), "{end}");
}

fn one_breath(stage: &mut Stage) {
    let number = 300_000;
    let breath: Vec<u8> = (0..number).flat_map(|n| format!(r#"{{"Type":"Status","N":{n}}}"#).into_bytes()).collect();
    let mut stream = device(0, stage.gateway.tcp);
    stream.write_all(&breath).unwrap();
    // Event consumers may be too slow, and the gateway counts dropped events.
    stage.gateway.until_in(Duration::from_secs(60), "all events, or their count as missed", |gateway| {
        gateway.count("message") + gateway.count("missed") >= number
    });
    assert_eq!(stage.gateway.count("disconnect"), 0);
    stage.may.growth_kib = 12 << 10;
}

/// Each device sends 16 rejected objects in a row, and then connects again.
fn refused_objects(stage: &mut Stage) {
    let until = in_a(Duration::from_secs(3));
    let (mut cut, mut n) = (0, 0);
    // Few enough for an event consumer on a busy machine.
    while clock() < until && cut < 500 {
        n += 1;
        let mut stream = device(n, stage.gateway.tcp);
        let _ = stream.write_all(&br#"{"Type":7}{"Type":"a","Type":"b"}{]}{"x":"\q"}{"Type":"\ud800"}"#.repeat(10));
        assert!(is_closed(&mut stream, PATIENCE));
        cut += 1;
    }
    let stats = stage.control.stats();
    assert_eq!(stats["connections"]["closed"]["faulty"].as_u64(), Some(cut));
    let rejected = stats["rejected"].as_object().into_iter().flatten().filter_map(|(_, count)| count["count"].as_u64());
    assert_eq!(rejected.sum::<u64>(), cut * 16);
    stage.may.log_lines = cut * 2 + 100;
}

/// The device answers beats and reads nothing.
fn never_reads(stage: &mut Stage) {
    let mut stream = device(0, stage.gateway.tcp);
    let to = stream.local_addr().unwrap().to_string();
    let text = "x".repeat(30_000);
    // Until the kernel's buffers and the send queue are full. The answer to a command comes when it is sent or lost, so the
    // test does not wait for answers.
    let mut asker = stage.gateway.control();
    let mut commands = 0;
    while stage.control.stats()["commands"]["refused"]["outbox_full"].as_u64() < Some(10) {
        asker.ask(json!({ "op": "send", "device": to, "text": text }));
        stream.write_all(br#"{"Type":"Heartbeat"}"#).unwrap();
        commands += 1;
        // 600 MB, far more than both socket buffers hold.
        assert!(commands < 20_000, "the send queue has no bound");
    }
    stage.gateway.until_in(TIMEOUT_PATIENCE, "the device is found to have stalled", |gateway| {
        let _ = stream.write_all(br#"{"Type":"Heartbeat"}"#);
        gateway.count("disconnect stalled") == 1
    });
    let event = &stage.gateway.events("disconnect")[0];
    assert!(event["unsent_bytes"].as_u64() > Some(100_000), "{event}");
}

fn silence(stage: &mut Stage) {
    let streams = devices(200, stage.gateway.tcp);
    stage.gateway.until("all are found dead", |gateway| gateway.count("disconnect silent") == 200);
    drop(streams);
}

/// Heartbeat answers without a beat do not add credit.
fn heartbeat_spam(stage: &mut Stage) {
    let mut stream = device(0, stage.gateway.tcp);
    let taken = flood(&mut stream, &br#"{"Type":"Heartbeat"}"#.repeat(1000), Duration::from_secs(3));
    assert_eq!(stage.gateway.count("disconnect"), 0, "spam is bearable");
    let device = stage.control.device(stream.local_addr().unwrap().port()).expect("the device");
    assert!(device["credit"].as_u64() <= Some(5), "{taken} bytes of heartbeats made this credit: {device}");
    // The gateway reads the bytes in the sockets first.
    stage.gateway.until("it is found dead", |gateway| gateway.count("disconnect silent") == 1);
    drop(stream);
}

fn half_close(stage: &mut Stage) {
    let mut streams = devices(20, stage.gateway.tcp);
    for stream in &mut streams {
        stream.write_all(br#"{"Type":"Status"}{"Type":"Project","x":"#).unwrap();
    }
    stage.gateway.until("all events", |gateway| gateway.count("message") == 20);
    for stream in &streams {
        let to = stream.local_addr().unwrap().to_string();
        stage.control.ask(json!({ "op": "send", "device": to, "text": "farewell" }));
        stream.shutdown(Shutdown::Write).unwrap();
    }
    stage.gateway.until("all are gone", |gateway| gateway.count("disconnect closed") == 20);
    for event in stage.gateway.events("disconnect") {
        assert_eq!((&event["truncated_offset"], &event["truncated_bytes"]), (&json!(17), &json!(22)), "{event}");
    }
    for stream in &mut streams {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        let got = String::from_utf8(got).unwrap().replace("heartbeat", "");
        // The gateway refuses a request that comes after the end.
        assert!(got == "farewell" || got.is_empty(), "{got}");
    }
    // A half-closed device that takes nothing is closed soon.
    for (n, stream) in devices(20, stage.gateway.tcp).into_iter().enumerate() {
        if n % 2 == 0 { drop(stream) } else { reset(stream) }
    }
    stage.gateway.until("all are gone", |gateway| gateway.count("disconnect") == 40);
}

fn foreign_protocols(stage: &mut Stage) {
    let seed = many::seed();
    let mut noise = many::Noise::new(seed);
    let tls: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x20";
    let mut samples: Vec<Vec<u8>> = [
        b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n".as_slice(),
        b"POST / HTTP/1.1\r\nContent-Length: 17\r\n\r\n{\"Type\":\"Status\"}",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        tls,
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00{\"Type\":\"Status\"}",
        b"\x05\x01\x00",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x00\x00\x00\x11{\"Type\":\"Status\"}X",
        b"[{\"Type\":\"Status\"}]",
        b"\xff\xfe{\x00\"\x00",
        b"\xef\xbb{\"Type\":\"Status\"}",
        b"heartbeat",
        b"}",
        b"\"{\"Type\":\"Status\"}\"",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    let clean = samples.len();
    samples.extend((0..200).map(|_| noise.bytes(300)));
    for (n, sample) in samples.iter().enumerate() {
        let mut stream = device(n, stage.gateway.tcp);
        stream.write_all(sample).unwrap();
        // Random bytes may begin with `{`, which begins an object.
        let closed = is_closed(&mut stream, if n < clean { PATIENCE } else { Duration::from_millis(100) });
        assert!(
            closed || n >= clean && sample.iter().find(|b| !b" \t\r\n\0".contains(b)) == Some(&b'{'),
            "{n}: {seed}"
        );
    }
    stage.gateway.until("all are gone", |gateway| gateway.count("disconnect") == samples.len() as u64);
    // `\0\0\0\x11` is whitespace and then a wrong byte. So the gateway must deliver no object behind it.
    assert_eq!(stage.gateway.count("message"), 0, "seed {seed}");
    assert!(stage.gateway.count("disconnect framing") >= clean as u64);
}

fn sigterm(stage: &mut Stage) {
    let mut streams = devices(50, stage.gateway.tcp);
    for stream in &mut streams {
        stream.write_all(br#"{"Type":"Project","x":""#).unwrap();
        stream.write_all(&[b'a'; 10_000]).unwrap();
    }
    // A device that takes nothing, so that the stop has to wait.
    let mut deaf = device(100, stage.gateway.tcp);
    deaf.write_all(&object_of(1000)).unwrap();
    let to = deaf.local_addr().unwrap().to_string();
    stage.gateway.until("all have come", |gateway| gateway.count("connect") == 51);
    // Each request takes at least one turn, so the gateway has read all earlier bytes.
    for _ in 0..200 {
        stage.control.ask(json!({ "op": "send", "device": to, "text": "x".repeat(30_000) }));
    }
    stage.gateway.signal(Signal::SIGTERM);
    // Within `PATIENCE`, since the close timeout is 1 s. The write timeout of 30 s would be too late.
    assert_eq!(stage.gateway.wait(), Some(0));
    stage.gateway.until("all events", |gateway| gateway.count("disconnect shutdown") == 51);
    let truncated = |event: &serde_json::Value| event["truncated_bytes"] == 10_023;
    assert_eq!(stage.gateway.events("disconnect").iter().filter(|event| truncated(event)).count(), 50);
    assert!(stage.gateway.events("disconnect").iter().all(|event| event["ip"] != source(9999)));
    stage.has_ended = true;
}
