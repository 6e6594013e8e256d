//! A gateway and its commands in a terminal.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::environment::program;
use super::{File, PATIENCE, event, lines, pulsegate, wait_until};

/// Starts a gateway whose standard input is a terminal. The test reads its log.
fn in_terminal(call: &mut Command) -> (Child, Receiver<String>, OwnedFd) {
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

/// A process that ends with the test, also with one that fails.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A terminal as standard output, and the lines that a process writes to it.
fn screen() -> (OwnedFd, Receiver<String>) {
    let terminal = openpty(None, None).unwrap();
    (terminal.slave, lines(std::fs::File::from(terminal.master), |line| line))
}

#[test]
fn a_device_sends_no_commands_to_a_terminal() {
    let control = std::env::temp_dir().join(format!("pulsegate-{}-screen.sock", std::process::id()));
    let (slave, events) = screen();
    let mut call = pulsegate();
    call.args(["--listen", "127.0.0.1:0", "--discovery", "off", "--control"]).arg(&control);
    let _gateway = Process(call.stdin(Stdio::null()).stdout(slave).stderr(Stdio::null()).spawn().unwrap());
    let listening = event(events.recv_timeout(PATIENCE).unwrap());
    let watch = |options: &[&str], slave: OwnedFd| {
        let mut call = pulsegate();
        Process(call.arg("watch").args(options).arg("--control").arg(&control).stdout(slave).spawn().unwrap())
    };
    let ((json, raw), (people, short)) = (screen(), screen());
    let _watches = [watch(&["--json"], json), watch(&[], people)];
    let mut device = TcpStream::connect(listening["tcp"].as_str().unwrap()).unwrap();
    let hostile = "\u{9b}2J\u{7f}\u{202e}\u{2066}\u{2028}\u{200b}";
    for screen in [&events, &raw, &short] {
        let mut line = None;
        wait_until("the message is on the screen", || {
            // Again and again, because a watch may begin late.
            write!(device, r#"{{"Type":"{hostile}","Text":"{hostile}"}}"#).unwrap();
            line = screen.try_iter().find(|line| line.contains("Text"));
            line.is_some()
        });
        let line = line.unwrap();
        assert!(line.contains("\\u009b2J\\u007f\\u202e"), "{line}");
        assert!(!line.trim_end().contains(|char: char| char.is_control() || !char.is_ascii()), "{line:?}");
    }
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
