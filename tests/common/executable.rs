//! A gateway as a process: the executable under test, its events and its commands.

#![allow(dead_code, reason = "each test uses its part")]

#[path = "environment.rs"]
mod environment;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Output, Stdio};

use serde_json::Value;

/// A process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Gateway {
    _process: Process,
    events: BufReader<ChildStdout>,
    pub(crate) tcp: SocketAddr,
    pub(crate) udp: SocketAddr,
    pub(crate) control: PathBuf,
}

impl Gateway {
    /// Starts a gateway. `variables` are its environment.
    pub(crate) fn start(name: &str, listen: &str, discovery: &str, variables: &[(&str, &str)]) -> Self {
        let control = std::env::temp_dir().join(format!("pulsegate-{}-{name}.sock", std::process::id()));
        let mut program = environment::program(env!("CARGO_BIN_EXE_pulsegate"));
        program.args(["--listen", listen, "--discovery", discovery, "--control"]).arg(&control);
        program.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = program.spawn().unwrap();
        let mut events = BufReader::new(process.stdout.take().unwrap());
        let listening = next(&mut events, "listening");
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        Self { tcp: address("tcp"), udp: address("udp"), _process: Process(process), events, control }
    }

    /// Returns the next event of this kind, and drops those before it.
    pub(crate) fn event(&mut self, kind: &str) -> Value {
        next(&mut self.events, kind)
    }

    /// Returns the next object of this type, and drops the events before it.
    pub(crate) fn object(&mut self, kind: &str) -> Value {
        loop {
            let mut message = self.event("message");
            if message["type"] == kind {
                return message["data"].take();
            }
        }
    }

    /// Runs a command of the executable against this gateway.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = environment::program(env!("CARGO_BIN_EXE_pulsegate"));
        command.args(arguments).arg("--control").arg(&self.control).output().unwrap()
    }

    /// Sends a command to the devices' address of this machine.
    pub(crate) fn send(&self, text: &str) {
        let sent = self.run(&["send", "127.0.0.1", text]);
        assert!(sent.status.success(), "{text}: {}", String::from_utf8_lossy(&sent.stderr));
    }

    /// Returns the number of beats that devices have answered.
    pub(crate) fn answered_beats(&self) -> u64 {
        let stats: Value = serde_json::from_slice(&self.run(&["stats", "--json"]).stdout).unwrap();
        stats["beats"]["answered"].as_u64().unwrap()
    }
}

/// Returns the next event of this kind.
fn next(events: &mut impl BufRead, kind: &str) -> Value {
    loop {
        let mut line = String::new();
        assert_ne!(events.read_line(&mut line).unwrap(), 0, "the gateway ended before a {kind} event");
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["event"] == kind {
            return event;
        }
    }
}
