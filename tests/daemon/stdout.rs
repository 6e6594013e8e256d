//! Standard output on a full disk, and standard output without a reader.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::Value;

use super::environment::program;
use super::{call, event, pulsegate, text, wait_until};

/// The size limit of the file.
const SIZE_MAX: usize = 4096;

/// A gateway whose standard output is a file of limited size.
struct Limited {
    process: Child,
    events: PathBuf,
    control: PathBuf,
}

impl Limited {
    fn start(name: &str) -> Self {
        let path = |end: &str| std::env::temp_dir().join(format!("pulsegate-{}-{name}.{end}", std::process::id()));
        let (events, control) = (path("jsonl"), path("sock"));
        let file = OpenOptions::new().create(true).append(true).open(&events).unwrap();
        // Blocks of 512 bytes (POSIX, ulimit).
        let process = program("sh")
            .args(["-c", "ulimit -f 8; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_pulsegate")])
            .args(["--listen", "127.0.0.1:0", "--discovery", "off", "--control"])
            .arg(&control)
            .env("PULSEGATE_LIMITS_OBJECT_BYTES_MAX", "1000B")
            .env("PULSEGATE_EVENTS_BUFFER_BYTES_MAX", "8KiB")
            .stdout(file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, events, control }
    }

    fn written(&self) -> String {
        fs::read_to_string(&self.events).unwrap()
    }

    fn connect(&self) -> TcpStream {
        wait_until("it listens", || self.written().contains('\n'));
        let listening = event(self.written().lines().next().unwrap().to_owned());
        TcpStream::connect(listening["tcp"].as_str().unwrap()).unwrap()
    }

    fn stats(&self) -> Value {
        stats(&self.control)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.events);
    }
}

fn stats(control: &Path) -> Value {
    let output = call(control, &["stats", "--json"]);
    serde_json::from_str(&text(&output).1).unwrap_or_else(|error| panic!("{error}: {:?}", text(&output)))
}

fn status(number: usize) -> String {
    format!(r#"{{"Type":"Status","N":{number},"Pad":"{}"}}"#, "x".repeat(400))
}

/// Like a full disk, or a log file that another program truncates.
#[test]
fn a_file_that_cannot_grow_for_a_while_gets_its_events_later_and_the_rest_is_counted() {
    const SENT: usize = 60;
    let gateway = Limited::start("full");
    let mut device = gateway.connect();
    for number in 0..SENT {
        device.write_all(status(number).as_bytes()).unwrap();
    }
    wait_until("all is read", || gateway.stats()["messages"]["Status"]["count"] == SENT);
    let is_full = || gateway.written().len() == SIZE_MAX;
    let is_done = || gateway.stats()["memory"]["outboxes_bytes"] == 0;
    assert!(is_full() && !gateway.written().ends_with('\n'), "{}", gateway.written());
    let mut written = String::new();
    loop {
        wait_until("it goes on where there is room", || is_full() || is_done());
        let done = is_done();
        written += &gateway.written();
        if done {
            break;
        }
        OpenOptions::new().write(true).truncate(true).open(&gateway.events).unwrap();
    }
    let events: Vec<Value> = written.lines().map(|line| event(line.to_owned())).collect();
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["data"]["N"].as_u64()).collect();
    let missed: u64 = events.iter().filter_map(|event| event["events"].as_u64()).sum();
    assert!(missed > 0 && numbers.is_sorted(), "{missed} {numbers:?}");
    assert_eq!(numbers.len() as u64 + missed, SENT as u64);
    assert_eq!(gateway.stats()["events_missed"], missed);
}

fn closed(name: &str, on_closed: &str) -> (Child, TcpStream, PathBuf) {
    let control = std::env::temp_dir().join(format!("pulsegate-{}-{name}.sock", std::process::id()));
    let mut process = pulsegate()
        .args(["--listen", "127.0.0.1:0", "--discovery", "off", "--control"])
        .arg(&control)
        .env("PULSEGATE_EVENTS_ON_CLOSED", on_closed)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let device = TcpStream::connect(event(line)["tcp"].as_str().unwrap()).unwrap();
    (process, device, control)
}

#[test]
fn events_that_a_closed_standard_output_misses_are_counted_and_the_gateway_runs_on() {
    let (mut process, mut device, control) = closed("closed", "continue");
    for number in 0..10 {
        device.write_all(status(number).as_bytes()).unwrap();
    }
    // One of them is the connect event.
    wait_until("all is missed", || stats(&control)["events_missed"] == 11);
    let figures = stats(&control);
    assert_eq!((&figures["stdout"]["state"], &figures["stdout"]["missed"]), (&"closed".into(), &11.into()));
    assert_eq!(figures["connections"]["now"], 1);
    assert_eq!(text(&call(&control, &["stop"])).0, 0);
    assert!(process.wait().unwrap().success());
    let log = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(log.filter(|line| line.contains("no more events go to standard output")).count(), 1);
}

#[test]
fn a_closed_standard_output_ends_the_gateway_in_order_where_the_configuration_asks_for_it() {
    let (mut process, mut device, control) = closed("closed-stop", "stop");
    assert_eq!(process.wait().unwrap().code(), Some(1));
    let log: Vec<String> = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok).collect();
    assert!(log.iter().any(|line| line.contains("events.on_closed")), "{log:?}");
    // In order: the device reads a FIN instead of an RST, and the gateway removes its control socket.
    assert_eq!(device.read(&mut [0; 64]).unwrap(), 0);
    assert!(!control.exists(), "the control socket is left");
}
