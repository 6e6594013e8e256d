//! Faults of event consumers, of the log's reader and of control clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock;
use crate::devices::{device, devices, object_of};
use crate::gateway::{Output, PATIENCE, in_a, pause};
use crate::stage::{Fault, Stage};

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        Fault::quick("stdout stopped", stdout_stopped).with(|start| {
            start.stdout = Output::Stopped;
            Ok(())
        }),
        Fault::quick("stdout closed", stdout_closed).with(|start| {
            start.stdout = Output::Closed;
            Ok(())
        }),
        Fault::quick("stdout on a full disk", unheard).with(|start| {
            start.stdout = Output::Full;
            Ok(())
        }),
        Fault::quick("no stdout, no stderr", unheard).with(|start| {
            (start.stdout, start.stderr) = (Output::Absent, Output::Absent);
            Ok(())
        }),
        Fault::quick("log on a full disk", unheard).with(|start| {
            start.stderr = Output::Full;
            start.set("PULSEGATE_LOG_LEVEL", "trace");
            Ok(())
        }),
        Fault::quick("log stopped", unheard).with(|start| {
            start.stderr = Output::Stopped;
            start.set("PULSEGATE_LOG_LEVEL", "trace");
            Ok(())
        }),
        Fault::quick("control clients", control_clients),
    ]
}

/// Far more than a pipe and the gateway's buffer hold.
fn stdout_stopped(stage: &mut Stage) {
    let mut stream = device(0, stage.gateway.tcp);
    let sent = 300;
    for _ in 0..sent {
        stream.write_all(&object_of(20_000)).unwrap();
    }
    let control = &mut stage.control;
    stage.gateway.until("all is read", |_| control.stats()["messages"]["Project"]["count"] == sent);
    drop(stream);
    pause(Duration::from_secs(2));
    let missed = control.stats()["events_missed"].as_u64().unwrap();
    assert!(missed > 100, "{missed}");
    // The consumer reads again: it gets complete lines, and a count of dropped events.
    let stdout = stage.gateway.take_stdout();
    let (mut received, mut counted) = (0, 0);
    for line in BufReader::new(stdout).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).expect("a whole line");
        match event["event"].as_str() {
            Some("missed") => counted += event["events"].as_u64().unwrap(),
            _ => received += 1,
        }
        // The healthy devices continue.
        if counted >= missed && received > 100 {
            break;
        }
    }
}

fn stdout_closed(stage: &mut Stage) {
    stage.gateway.close_stdout();
    stage.gateway.until("a log line", |gateway| gateway.has_logged("no more events"));
    let before = stage.gateway.figures().log;
    let streams = devices(50, stage.gateway.tcp);
    drop(streams);
    pause(Duration::from_secs(2));
    let lines = stage.gateway.written.lines.lock().unwrap();
    assert_eq!(lines.iter().filter(|line| line.contains("events")).count(), 1, "the log has one line");
    drop(lines);
    assert!(stage.gateway.figures().log - before < 250, "{:?}", stage.gateway.log_tail());
}

/// Standard output and standard error have no reader, and many events happen.
fn unheard(stage: &mut Stage) {
    stage.may.log_lines = 1500;
    for round in 0..10 {
        let mut streams = devices(50, stage.gateway.tcp);
        for stream in &mut streams {
            stream.write_all(&br#"{"Type":"Status"}{"Type":7}"#.repeat(15)).unwrap();
        }
        let control = &mut stage.control;
        stage.gateway.until("all are heard", |_| {
            control.stats()["rejected"]["type_not_string"]["count"] == (round + 1) * 50 * 15
        });
    }
}

/// No control client can stop the gateway from serving devices, apart from the operation `stop`.
fn control_clients(stage: &mut Stage) {
    let path = stage.gateway.control_path();
    let connect = || {
        let stream = UnixStream::connect(&path).expect("a control client");
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    // A request without a line end.
    let mut endless = connect();
    let piece = [b'a'; 10_000];
    while endless.write_all(&piece).is_ok() {}
    let mut answer = String::new();
    // The gateway may close the client before the answer is read.
    let _ = endless.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.contains("a request has at most"), "{answer}");
    // Clients that send requests and never read.
    let mut deaf: Vec<UnixStream> = (0..10).map(|_| connect()).collect();
    for stream in &mut deaf {
        let _ = stream.write_all(b"{\"op\":\"watch\"}\n");
        let until = in_a(Duration::from_millis(300));
        let requests =
            b"{\"op\":\"stats\"}\n{\"op\":\"devices\"}\n{\"op\":[]}\n\x00\xff\n{\"op\":\"frob\"}\n".repeat(200);
        while clock() < until && stream.write(&requests).is_ok() {}
    }
    // More clients than places.
    let mut many: Vec<UnixStream> = (0..200).map(|_| connect()).collect();
    let mut refused = 0;
    for stream in &mut many {
        let mut line = String::new();
        let _ = stream.write_all(b"{\"op\":\"ping\"}\n");
        let _ = BufReader::new(stream).read_line(&mut line);
        refused += u64::from(!line.contains("\"ok\":true"));
    }
    assert!(refused > 100, "{refused} were refused");
    // The clients above took the place of this idle client. A new client of the gateway's user always gets a place.
    stage.control = stage.gateway.control();
    // Consumers that read still get events.
    assert_eq!(stage.control.call(json!({ "op": "ping" }))["ok"], true);
    drop((deaf, many));
    // Each client may have a megabyte in its send queue.
    stage.may.growth_kib = 32 << 10;
    stage.may.stay_kib = 12 << 10;
}
