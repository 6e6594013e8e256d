//! Faults of many devices and many bytes.

use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::devices::{device, devices, reset};
use crate::gateway::{PATIENCE, Start, in_a, pause};
use crate::stage::{Fault, Stage};
use crate::{clock, environment};

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        Fault::quick("reset storm", reset_storm),
        Fault::quick("everybody reconnects at once", |stage| reconnect(stage, 1_000, 3)),
        Fault::heavy("10,000 reconnect at once", |stage| reconnect(stage, 10_000, 3)),
        Fault::quick("64 unfinished megabytes", |stage| unfinished(stage, 64, 1 << 20)),
        Fault::quick("1,000 half-sent objects of 64 KiB", |stage| unfinished(stage, 1_000, 64 << 10)),
        Fault::heavy("10,000 half-sent objects of 64 KiB", |stage| unfinished(stage, 10_000, 64 << 10)).with(optimized),
        Fault::heavy("4,000 unfinished megabytes", |stage| unfinished(stage, 4_000, 1 << 20)).with(optimized),
        Fault::heavy("18,000 connects, then silence", eighteen_thousand),
    ]
}

/// A debug build is too slow for gigabytes.
fn optimized(_: &mut Start) -> Result<(), String> {
    if cfg!(debug_assertions) { Err("it needs an optimized build: cargo test --release".into()) } else { Ok(()) }
}

/// The seed of random numbers, which the test prints.
pub(crate) fn seed() -> u64 {
    let seed = environment::number("SEED").unwrap_or_else(|| RandomState::new().hash_one(0) % 1_000_000_000);
    println!("seed {seed}");
    seed
}

/// Marsaglia's xorshift.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn bytes(&mut self, number: usize) -> Vec<u8> {
        let mut next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 24) as u8
        };
        (0..number).map(|_| next()).collect()
    }
}

/// Connects, sends a partial object or nothing, and resets the connection, again and again.
fn reset_storm(stage: &mut Stage) {
    let until = in_a(Duration::from_secs(3));
    let (mut number, mut refused) = (0, 0);
    while clock() < until {
        for _ in 0..50 {
            // The accept queue may be full for a while.
            match crate::devices::connect_from(&crate::devices::source(number), stage.gateway.tcp) {
                Ok(mut stream) => {
                    let _ = stream.write_all(&br#"{"Type":"Status"}{"Type":"#[..number % 26]);
                    reset(stream);
                    number += 1;
                }
                Err(error) => {
                    assert!(error.kind() != ErrorKind::ConnectionRefused, "nobody listens any more: {error}");
                    refused += 1;
                }
            }
        }
    }
    // A connection that ended before accept counts as no device.
    let control = &mut stage.control;
    stage.gateway.until("all are gone", |_| control.stats()["connections"]["now"] == 5);
    let connections = control.stats()["connections"].clone();
    let accepted = connections["accepted"].as_u64().unwrap() - 5;
    let gone: u64 = ["closed", "reset"].iter().map(|word| connections["closed"][word].as_u64().unwrap()).sum();
    assert_eq!(accepted, gone, "{connections}");
    assert!(accepted > 100 && accepted <= number as u64, "{accepted} of {number}, {refused} in vain");
    println!("{number} connections were reset, {accepted} of them after accept, {refused} dials failed");
    stage.may.log_lines = 2 * accepted + 100;
}

/// After a power cut all devices connect at once, twice.
fn reconnect(stage: &mut Stage, number: usize, times: u64) {
    raise_descriptors();
    let all = number as u64;
    let mut streams: Vec<TcpStream> = Vec::new();
    for time in 1..=times {
        drop(std::mem::take(&mut streams));
        let begun = clock();
        streams = devices(number, stage.gateway.tcp);
        for stream in &mut streams {
            stream.write_all(br#"{"Type":"Status"}"#).unwrap();
        }
        let control = &mut stage.control;
        stage.gateway.until_in(Duration::from_secs(60), "all are heard", |_| {
            let stats = control.stats();
            stats["connections"]["now"] == all + 5 && stats["connections"]["accepted"].as_u64() == Some(all * time + 5)
        });
        println!("{number} devices were connected and heard within {:?}", begun.elapsed());
    }
    drop(streams);
    let control = &mut stage.control;
    stage.gateway.until("all are gone", |_| control.stats()["connections"]["now"] == 5);
    let closed = control.stats()["connections"]["closed"].clone();
    assert_eq!(closed["closed"].as_u64().unwrap() + closed["reset"].as_u64().unwrap(), all * times, "{closed}");
    // One line for each connect, and one for each disconnect.
    stage.may.log_lines = 2 * all * times + 1_000;
    stage.may.growth_kib = (8 << 10) + all;
}

/// Every device holds a partial object of nearly `bytes` bytes. The memory of all of them is bounded, and freed when they
/// have left.
fn unfinished(stage: &mut Stage, number: usize, size: usize) {
    raise_descriptors();
    let piece = vec![b'a'; (size / 2).min(64 << 10)];
    let control = &mut stage.control;
    let budget = BUDGET_KIB;
    let mut streams = Vec::new();
    let mut taken = 0u64;
    for n in 0..number {
        let mut stream = device(n, stage.gateway.tcp);
        stream.set_nonblocking(true).unwrap();
        let _ = stream.write(br#"{"Type":"Project","x":""#);
        streams.push((stream, 0usize));
    }
    // The devices send pieces in turn, so that all objects grow together. A paused or closed device sends none.
    let until = in_a(Duration::from_secs(if number > 1000 { 25 } else { 10 }));
    let mut moved = true;
    while moved && clock() < until {
        moved = false;
        for (stream, sent) in &mut streams {
            if *sent + piece.len() < size
                && let Ok(bytes) = stream.write(&piece)
            {
                *sent += bytes;
                taken += bytes as u64;
                moved = true;
            }
        }
        if !moved {
            pause(Duration::from_millis(200));
        }
    }
    let stats = control.stats();
    println!("{number} unfinished: {} MiB taken, held {}", taken >> 20, stats["memory"]);
    // The other memory of the gateway, including its code and its table of devices.
    stage.may.growth_kib = budget + (8 << 10) + number as u64;
    stage.may.stay_kib = 1_500;
    stage.may.log_lines = 3 * number as u64 + 1_000;
    stage.may.settle = Duration::from_secs(60);
    drop(streams);
    stage.gateway.until_in(Duration::from_secs(60), "all are gone", |_| control.stats()["connections"]["now"] == 5);
    assert_eq!(stage.gateway.count("message"), 0);
    // The gateway frees spare buffers after a while without partial objects.
    pause(Duration::from_secs(3));
}

/// The default of `limits.memory_budget`.
const BUDGET_KIB: u64 = 32 << 10;

fn eighteen_thousand(stage: &mut Stage) {
    raise_descriptors();
    // With the healthy devices the limit is reached.
    let number = 18_000 - 5;
    let streams = devices(number, stage.gateway.tcp);
    let control = &mut stage.control;
    stage.gateway.until_in(Duration::from_secs(60), "all are connected", |_| {
        control.stats()["connections"]["accepted"] == number as u64 + 5
    });
    stage.gateway.until_in(Duration::from_secs(60), "all are found dead", |_| {
        control.stats()["connections"]["closed"]["silent"] == number as u64
    });
    drop(streams);
    stage.may.log_lines = 2 * number as u64 + 1_000;
    stage.may.growth_kib = 16 << 10;
    stage.may.stay_kib = 8 << 10;
    pause(PATIENCE / 20);
}

/// Raises the limit of file descriptors, because this process is all devices.
fn raise_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the limit is raised");
}
