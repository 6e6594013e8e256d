//! The commands that use a running gateway.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use nix::unistd::{Group, geteuid};

use super::environment::program;
use super::{Daemon, File, PATIENCE, event, lines, pulsegate, text};

#[test]
fn a_user_without_permission_learns_which_group_may_use_the_socket() {
    let file = File::new("denied", "[control]\nmode = \"0060\"\n");
    let gateway = Daemon::start_with("denied", |call| {
        call.arg("--config").arg(&file.0);
    });
    let copy = std::env::temp_dir().join(format!("pulsegate-{}-copy", std::process::id()));
    std::fs::copy(env!("CARGO_BIN_EXE_pulsegate"), &copy).unwrap();
    let mut stats = program(&copy);
    stats.args(["stats", "--control"]).arg(&gateway.control);
    if geteuid().is_root() {
        // Root may use every socket, so another user runs the command.
        stats.uid(65_534).gid(65_534);
    }
    let (code, _, why) = text(&stats.output().unwrap());
    std::fs::remove_file(&copy).unwrap();
    let group = Group::from_gid(nix::unistd::getegid()).unwrap().expect("the group has a name").name;
    let path = gateway.control.display();
    let expected = format!("permission denied on the control socket {path}: members of the group '{group}' may use it");
    assert_eq!((code, why), (1, format!("pulsegate: {expected}\n")));
}

#[test]
fn watch_waits_for_a_gateway_that_restarts() {
    let first = Daemon::start("restart");
    let mut watch = pulsegate();
    watch.args(["watch", "--json", "--reconnect", "--type", "status", "--control"]).arg(&first.control);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let notes = lines(watch.stderr.take().unwrap(), |line| line);
    let events = lines(watch.stdout.take().unwrap(), event);
    let note = |expected: &str| {
        let note = notes.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("no {expected}: {error}"));
        assert!(note.contains(expected), "{note}");
    };
    note("no message of type 'status' so far, earlier messages have types: none. Did you mean Status?");
    drop(first);
    note("waiting for a gateway");
    let second = Daemon::start("restart");
    note("connected to the gateway on");
    note("no message of type 'status'");
    let mut device = second.connect();
    device.write_all(br#"{"Type":"status","N":1}"#).unwrap();
    assert_eq!(events.recv_timeout(PATIENCE).expect("an event")["data"]["N"], 1);
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn prometheus_accepts_the_statistics() {
    let gateway = Daemon::start("prometheus");
    let mut device = gateway.connect();
    device.write_all(br#"{"Type":"Status"}{"Type":7}"#).unwrap();
    gateway.event("rejected");
    let (code, metrics, why) = text(&gateway.call(&["stats", "--prometheus"]));
    assert_eq!(code, 0, "{why}");
    for sample in [
        "pulsegate_connections 1",
        "pulsegate_messages_total{kind=\"Status\"} 1",
        "pulsegate_message_bytes_total{kind=\"Status\"} 17",
        "pulsegate_rejected_objects_total{reason=\"type_not_string\"} 1",
        "pulsegate_beat_round_trip_seconds_bucket{le=\"+Inf\"} 0",
    ] {
        assert!(metrics.lines().any(|line| line == sample), "no {sample} in:\n{metrics}");
    }
    // Each metric has one TYPE line, and no label depends on the devices.
    let mut names: Vec<_> = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(!metrics.contains("127.0.0.1"), "{metrics}");
    let promtool = program("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("NOT TESTED: promtool (Debian package prometheus) is not installed, nobody has checked the metrics");
        return;
    };
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
