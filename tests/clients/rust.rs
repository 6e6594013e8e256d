//! `examples/device.rs`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::executable::{Gateway, Process};
use crate::life::{FAST, await_beats, state_after};

/// Builds the example without the features of the programs, as its author does.
fn example() -> PathBuf {
    let programs = Path::new(env!("CARGO_BIN_EXE_pulsegate")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["build", "--quiet", "--offline", "--locked", "--no-default-features", "--example", "device"]);
    if programs.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.arg("--target-dir").arg(programs.parent().unwrap()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    programs.join("examples/device")
}

fn start(gateway: &Gateway, arguments: &[&str]) -> Process {
    let mut program = Command::new(example());
    program.args(["--port", &gateway.tcp.port().to_string(), "--udp-port", &gateway.udp.port().to_string()]);
    program.args(["--interval", "600", "--name", "pump-7"]).args(arguments);
    Process(program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn the_rust_device_lives_obeys_and_returns() {
    let mut gateway = Gateway::start("rust", "127.0.0.1:0", "127.0.0.1:0", &FAST);
    let (tcp, udp) = (gateway.tcp, gateway.udp);
    let _process = start(&gateway, &["--terminator", r"\n"]);
    assert_eq!(gateway.object("Status")["Id"], "pump-7");
    await_beats(&gateway);
    assert_eq!(state_after(&gateway, "status"), "ready");
    assert_eq!(state_after(&gateway, "interval 700"), "ready");
    assert_eq!(state_after(&gateway, "set heartbeat 5"), "unknown command");

    drop(gateway);
    let mut gateway = Gateway::start("rust", &tcp.to_string(), &udp.to_string(), &FAST);
    assert_eq!(gateway.object("Status")["Id"], "pump-7", "the device finds a gateway that was restarted");
}

/// Without a terminator a beat or a pause ends a command.
#[test]
fn the_rust_device_needs_no_terminator() {
    let interval = [("PULSEGATE_HEARTBEAT_INTERVAL", "200ms")];
    let mut gateway = Gateway::start("raw", "127.0.0.1:0", "127.0.0.1:0", &interval);
    let address = gateway.tcp.ip().to_string();
    let _process = start(&gateway, &[&address]);
    assert_eq!(gateway.object("Status")["Id"], "pump-7");
    await_beats(&gateway);
    assert_eq!(state_after(&gateway, "status"), "ready");
}
