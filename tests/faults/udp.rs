//! Floods of datagrams.

use std::time::Duration;

use crate::clock;
use crate::devices::datagrams;
use crate::gateway::{in_a, pause};
use crate::stage::{Fault, Stage};

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        Fault::quick("UDP flood, empty datagrams", |stage| flood(stage, 0)),
        Fault::quick("UDP flood, 65,000 bytes each", |stage| flood(stage, 65_000)),
    ]
}

fn flood(stage: &mut Stage, bytes: usize) {
    let sockets: Vec<_> = (1..=100).map(|n| datagrams(&format!("127.8.1.{n}"))).collect();
    let payload = vec![b'a'; bytes];
    let uptime = |stage: &mut Stage| stage.control.stats()["uptime_s"].as_u64().unwrap();
    let begun = uptime(stage);
    let until = in_a(Duration::from_secs(3));
    let mut sent = 0u64;
    while clock() < until {
        for socket in &sockets {
            // The socket buffer may be full for a moment.
            sent += u64::from(socket.send_to(&payload, stage.gateway.udp).is_ok());
        }
    }
    let mut stats = stage.control.stats();
    // Measures with the gateway's uptime, because its clock also refills the token bucket.
    let took = stats["uptime_s"].as_u64().unwrap() - begun + 1;
    let probes = stats["discovery"].take();
    let number = |name: &str| probes[name].as_u64().unwrap();
    println!("{sent} datagrams of {bytes} bytes were sent: {probes}");
    assert!(number("asked") > 1000, "{probes}");
    // A burst of 1,000 and 1,000 answers a second, so the gateway is no amplifier.
    assert!((1..=1000 + 1000 * took).contains(&number("answered")), "{probes} in {took} s");
    // A later probe gets an answer.
    let socket = datagrams("127.8.2.1");
    let mut answer = [0; 100];
    let answered = (0..20).any(|_| {
        pause(Duration::from_millis(100));
        socket.send_to(b"?", stage.gateway.udp).unwrap();
        socket.recv(&mut answer).is_ok()
    });
    assert!(answered, "nobody is answered after a flood");
}
