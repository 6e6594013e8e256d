//! SIGHUP, with and without a terminal.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::environment::program;
use super::{File, PATIENCE, lines, pulsegate};

/// Starts a gateway whose standard input is a terminal. The test reads its log.
fn in_terminal(call: &mut Command) -> (Child, std::sync::mpsc::Receiver<String>, OwnedFd) {
    let terminal = openpty(None, None).unwrap();
    call.args(["--listen", "127.0.0.1:0", "--discovery", "off", "--control", "off"]);
    let mut process = call.stdin(terminal.slave).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = lines(process.stderr.take().unwrap(), |line| line);
    let mut listening = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut listening).unwrap();
    assert!(listening.contains("listening"), "{listening}");
    (process, log, terminal.master)
}

fn hang_up(process: &Child) {
    kill(Pid::from_raw(process.id() as i32), Signal::SIGHUP).unwrap();
}

#[test]
fn a_gateway_in_a_terminal_ends_with_it() {
    // A test runner under nohup(1) ignores SIGHUP, and the gateway would inherit that.
    let mut call = program("env");
    call.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_pulsegate")]).env_remove("NOTIFY_SOCKET");
    let (mut process, log, _terminal) = in_terminal(&mut call);
    hang_up(&process);
    while !log.recv_timeout(PATIENCE).expect("a log line").contains("stopping: asked by a signal") {}
    assert_eq!(process.wait().unwrap().code(), Some(0));
}

#[test]
fn under_nohup_or_a_service_manager_sighup_reloads() {
    let file = File::new("terminal", "# Every value has its default.");
    let manager = std::env::temp_dir().join(format!("pulsegate-{}-notify.sock", std::process::id()));
    let _manager = std::os::unix::net::UnixDatagram::bind(&manager).unwrap();
    let mut nohup = program("sh");
    // Like nohup(1).
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_pulsegate")]);
    let mut managed = pulsegate();
    managed.env("NOTIFY_SOCKET", &manager);
    for mut call in [nohup, managed] {
        call.arg("--config").arg(&file.0);
        let (mut process, log, _terminal) = in_terminal(&mut call);
        hang_up(&process);
        while !log.recv_timeout(PATIENCE).expect("a log line").contains("reload: no key has changed") {}
        process.kill().unwrap();
        process.wait().unwrap();
    }
    std::fs::remove_file(&manager).unwrap();
}
