//! A gateway that is out of file descriptors, and its reloads.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::devices::{datagrams, device};
use crate::gateway::{Control, Gateway, PATIENCE, Start, pause};
use crate::stage::{Fault, Stage};

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        Fault::quick("descriptors exhausted, then a reload", exhausted).with(few),
        Fault::quick("reload with hardly a descriptor left", reload_with_few).with(few),
    ]
}

const FEW: usize = 64;

fn few(start: &mut Start) -> Result<(), String> {
    let line = ["/bin/sh", "-c", "ulimit -n 64 && exec \"$@\"", "sh"];
    start.before = line.map(str::to_owned).to_vec();
    Ok(())
}

/// The results of reloads, in the words of the log.
fn reloads(gateway: &Gateway) -> Vec<String> {
    let is_result = |line: &&String| line.contains("reload:") && !line.contains("asked by");
    gateway.written.lines.lock().unwrap().iter().filter(is_result).cloned().collect()
}

/// Requests a reload by signal, and waits for its log line.
fn reload(stage: &mut Stage) -> String {
    let before = reloads(&stage.gateway).len();
    stage.gateway.signal(Signal::SIGHUP);
    stage.gateway.until("the reload is over", |gateway| reloads(gateway).len() > before);
    reloads(&stage.gateway).pop().expect("a line")
}

fn exhausted(stage: &mut Stage) {
    // Many more devices than file descriptors wait in the accept queue.
    let mut streams: Vec<TcpStream> = (0..200).map(|n| device(n, stage.gateway.tcp)).collect();
    stage.gateway.until("all descriptors are taken", |gateway| gateway.figures().descriptors >= FEW);
    stage.gateway.until("a log line", |gateway| gateway.has_logged("cannot accept connections"));
    // The gateway neither spins nor fills the log.
    let errors = |control: &mut Control| control.stats()["connections"]["accept_errors"].as_u64().unwrap();
    let before = (errors(&mut stage.control), stage.gateway.figures().log);
    pause(Duration::from_secs(3));
    let tries = errors(&mut stage.control) - before.0;
    let lines = stage.gateway.figures().log - before.1;
    // A pause of a second follows each error. Without it there are thousands of errors a second.
    assert!(tries < 500, "{tries} failed calls of accept");
    // Each command to a healthy device has a log line.
    assert!(
        !stage.gateway.has_logged("panicked") && lines < 150,
        "{lines} lines in 3 s: {:?}",
        stage.gateway.log_tail()
    );
    // Actions without a new file descriptor work.
    let socket = datagrams("127.8.0.1");
    socket.send_to(b"", stage.gateway.udp).unwrap();
    let mut answer = [0; 100];
    assert_eq!(socket.recv(&mut answer).expect("an answer to a probe"), 13);
    // A reload cannot read its file, so nothing changes.
    let config = fs::read_to_string(stage.gateway.config_path()).unwrap();
    let changed = config.replace("[discovery]\n", "[discovery]\nreply = \"changed\"\n");
    fs::write(stage.gateway.config_path(), changed).unwrap();
    let result = reload(stage);
    assert!(result.contains("keeps its configuration") && result.contains("Too many open files"), "{result}");
    assert_eq!(stage.control.call(json!({ "op": "reload" }))["error"], "bad_configuration");
    stage.gateway.until("both are logged", |gateway| reloads(gateway).len() == 2);
    // When the devices have left, a reload works, and a new device connects.
    streams.clear();
    // The gateway accepts the waiting connections, which end at once.
    stage.gateway.until("all have come and gone", |gateway| {
        gateway.count("connect") == 200 && gateway.count("disconnect") == 200
    });
    let result = reload(stage);
    assert!(result.contains("changed discovery.reply"), "{result}");
    let mut stream = device(999, stage.gateway.tcp);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_exact(&mut [0; 9]).expect("a beat for a new device");
    fs::write(stage.gateway.config_path(), config).unwrap();
    reload(stage);
}

/// With any number of free file descriptors a reload applies everything or nothing.
fn reload_with_few(stage: &mut Stage) {
    let config = fs::read_to_string(stage.gateway.config_path()).unwrap();
    let folder = stage.gateway.folder.clone();
    let control = |n: usize| folder.join(if n == 0 { "control.sock".into() } else { format!("control-{n}.sock") });
    let more = |n: usize| {
        // Changes that need file descriptors: another listener, another control socket, standard output opened again.
        let port = stage_port(&config);
        config
            .replacen("\"]\n", &format!("\", \"127.9.0.{}:{port}\"]\n", n + 1), 1)
            .replace("control.sock", control(n).file_name().and_then(|name| name.to_str()).unwrap())
            + &format!("[events]\nbuffer_bytes_max = \"{}KiB\"\n", 1024 + 4 * n)
    };
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut at: PathBuf = control(0);
    let (mut done, mut refused) = (0, 0);
    for free in 0..12 {
        while stage.gateway.figures().descriptors < FEW - free {
            let before = stage.gateway.count("connect");
            streams.push(device(streams.len(), stage.gateway.tcp));
            stage.gateway.until("it is accepted", |gateway| gateway.count("connect") > before);
        }
        while stage.gateway.figures().descriptors > FEW - free {
            let before = stage.gateway.count("disconnect");
            drop(streams.pop());
            stage.gateway.until("it is gone", |gateway| gateway.count("disconnect") > before);
        }
        fs::write(stage.gateway.config_path(), more(free + 1)).unwrap();
        let result = reload(stage);
        if result.contains("keeps its configuration") {
            refused += 1;
        } else {
            done += 1;
            at = control(free + 1);
        }
        // A file descriptor for a control client.
        let before = stage.gateway.count("disconnect");
        streams.drain(..4);
        stage
            .gateway
            .until(&format!("events with {free} left: {result}"), |gateway| gateway.count("disconnect") == before + 4);
        let descriptors = stage.gateway.figures().descriptors;
        let mut client =
            Control::try_connect(&at).unwrap_or_else(|| panic!("{free} left, {result}: no control socket"));
        assert_eq!(client.call(json!({ "op": "ping" }))["ok"], true, "{free} left");
        drop(client);
        stage.gateway.until("it has gone", |gateway| gateway.figures().descriptors == descriptors);
        // A long interval, so that no device is silent.
        for stream in &mut streams {
            stream.write_all(br#"{"Type":"Status"}"#).unwrap();
        }
    }
    assert!(done > 0 && refused > 0, "{done} done, {refused} refused");
    drop(streams);
    fs::write(stage.gateway.config_path(), &config).unwrap();
    stage.gateway.until("there is room", |gateway| gateway.figures().descriptors < FEW / 2);
    reload(stage);
}

fn stage_port(config: &str) -> &str {
    config.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('"').next()).expect("a port")
}
