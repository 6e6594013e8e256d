//! Shared parts of the benchmarks: objects of devices, and short runs.

#![allow(dead_code, reason = "each benchmark uses its part")]

use std::time::Duration;

use criterion::Criterion;

/// A name, and an object of that kind: about 60 bytes, 2 KB, 128 KB.
pub(crate) fn objects() -> [(&'static str, Vec<u8>); 3] {
    let reading =
        |n: usize| format!(r#"{{"Sensor":"s{n}","Value":{n}.25,"Unit":"°C","Valid":true,"Limits":[{n},null]}}"#);
    let readings: Vec<_> = (0..27).map(reading).collect();
    let medium = format!(r#"{{"Type":"Performance","Readings":[{}]}}"#, readings.join(","));
    let picture = "/9j/4AAQSkZJRgABAQAAAQABAAD+ABCD".repeat(4096);
    [
        ("small", br#"{"Type":"Status","Door":"open","Locked":false,"Uptime":86400}"#.to_vec()),
        ("medium", medium.into_bytes()),
        ("picture", format!(r#"{{"Type":"Project","Data":"{picture}","Number":7}}"#).into_bytes()),
    ]
}

/// Short runs: all benchmarks together take minutes. `cargo bench -- --measurement-time 5` takes longer.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args()
}
