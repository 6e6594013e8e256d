//! Stopped processes and jumps of the clock.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::devices::{answer_beats, device};
use crate::gateway::{Start, pause};
use crate::stage::{Fault, Stage};

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        // With beats every 500 ms a device is silent after 3 s.
        Fault::quick("SIGSTOP for 5 s, quick beats", |stage| stopped(stage, Duration::from_secs(5))).with(|start| {
            start.set("PULSEGATE_HEARTBEAT_INTERVAL", "500ms");
            start.set("PULSEGATE_LIMITS_OBJECT_TIMEOUT", "3s");
            Ok(())
        }),
        Fault::heavy("SIGSTOP for 15 s", |stage| stopped(stage, Duration::from_secs(15))),
        Fault::heavy("SIGSTOP for 40 s", |stage| stopped(stage, Duration::from_secs(40))),
        Fault::quick("wall clock a year ahead and back", wall_clock).with(faketime),
    ]
}

/// Bytes that arrive during the stop wait in the socket buffers, and no device is silent.
fn stopped(stage: &mut Stage, time: Duration) {
    let mut half = device(0, stage.gateway.tcp);
    half.write_all(br#"{"Type":"Project","x":"#).unwrap();
    pause(Duration::from_millis(300));
    stage.gateway.signal(Signal::SIGSTOP);
    pause(time);
    stage.gateway.signal(Signal::SIGCONT);
    pause(Duration::from_millis(300));
    // A device may complete an object that it began before the stop.
    half.write_all(b"1}").unwrap();
    stage.gateway.until("the message event", |gateway| gateway.count("message") == 1);
    answer_beats(&mut half, Duration::from_secs(4));
    assert_eq!(stage.gateway.count("disconnect"), 0);
    // All messages have arrived, and their latency is no fault.
    stage.healthy.forgive_delay();
}

/// libfaketime changes the time of day for one process. The monotonic clock stays.
fn faketime(start: &mut Start) -> Result<(), String> {
    let library = LIBRARIES.into_iter().find(|path| Path::new(path).exists());
    let library = library.ok_or("libfaketime is not installed (Debian: apt install faketime)")?;
    let file = offset_file();
    fs::write(&file, "+0").map_err(|error| error.to_string())?;
    start.set("LD_PRELOAD", library);
    start.set("FAKETIME_TIMESTAMP_FILE", &file);
    start.set("FAKETIME_NO_CACHE", "1");
    start.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    start.set("DONT_FAKE_MONOTONIC", "1");
    Ok(())
}

const LIBRARIES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/arm-linux-gnueabihf/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

fn offset_file() -> String {
    std::env::temp_dir().join(format!("pulsegate-faults-{}-clock", std::process::id())).display().to_string()
}

fn wall_clock(stage: &mut Stage) {
    let year = |stage: &mut Stage, n: usize| {
        let before = stage.gateway.count("connect");
        drop(device(n, stage.gateway.tcp));
        stage.gateway.until("a connect event", |gateway| gateway.count("connect") > before);
        let events = stage.gateway.events("connect");
        events.last().unwrap()["time"].as_str().unwrap()[..4].parse::<i64>().unwrap()
    };
    let now = year(stage, 0);
    for (n, (offset, years)) in [("+400d", 1), ("-400d", -1), ("+20000d", 54), ("+0", 0)].into_iter().enumerate() {
        fs::write(offset_file(), offset).unwrap();
        pause(Duration::from_secs(3));
        let seen = year(stage, n + 1);
        // 400 days are more than a year.
        assert!((seen - now - years).abs() <= 1 && (years == 0 || seen != now), "{offset}: from {now} to {seen}");
    }
    let _ = fs::remove_file(offset_file());
}
