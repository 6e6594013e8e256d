//! The control socket's place in the file system.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use nix::sys::signal::Signal;

use super::{Daemon, call, pulsegate, text, wait_until};

#[test]
fn a_reload_restores_a_removed_or_replaced_control_socket() {
    let gateway = Daemon::start("restored");
    fs::remove_file(&gateway.control).unwrap();
    gateway.signal(Signal::SIGHUP);
    wait_until("it is there again", || gateway.control.exists());
    assert_eq!(text(&gateway.call(&["stats"])).0, 0);
    // Another program puts a stale socket in its place.
    fs::remove_file(&gateway.control).unwrap();
    drop(UnixListener::bind(&gateway.control).unwrap());
    gateway.signal(Signal::SIGHUP);
    wait_until("it answers again", || text(&gateway.call(&["stats"])).0 == 0);
    assert_eq!(text(&gateway.call(&["reload"])).0, 0);
}

#[test]
fn a_reload_with_an_unknown_group_changes_nothing() {
    let file = std::env::temp_dir().join(format!("pulsegate-{}-group.toml", std::process::id()));
    fs::write(&file, "[heartbeat]\ncredit = 7\n").unwrap();
    let gateway = Daemon::start_with("group", |call| {
        call.arg("--config").arg(&file);
    });
    fs::write(&file, "[heartbeat]\ncredit = 8\n[control]\ngroup = \"no-such-group\"\n").unwrap();
    let (code, _, error) = text(&gateway.call(&["reload"]));
    assert!(code == 1 && error.contains("no-such-group"), "{code} {error}");
    let (code, config, _) = text(&gateway.call(&["config"]));
    assert!(code == 0 && config.contains("credit = 7"), "{code} {config}");
    fs::remove_file(&file).unwrap();
}

#[test]
fn of_two_gateways_that_start_together_on_a_stale_control_socket_one_runs() {
    let control = std::env::temp_dir().join(format!("pulsegate-{}-race.sock", std::process::id()));
    for round in 0..10 {
        drop(UnixListener::bind(&control).unwrap());
        let mut gateways = [0, 1].map(|_| {
            let mut call = pulsegate();
            call.args(["--listen", "127.0.0.1:0", "--discovery", "off", "--events", "none", "--control"]).arg(&control);
            call.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        });
        let mut ended = || gateways.iter_mut().filter_map(|gateway| gateway.try_wait().unwrap()).count();
        wait_until("one gives way", || ended() > 0);
        assert_eq!(text(&call(&control, &["stop"])).0, 0, "round {round}: the other does not answer");
        let codes = gateways.each_mut().map(|gateway| gateway.wait().unwrap().code());
        assert!(codes.contains(&Some(0)) && codes.contains(&Some(1)), "round {round}: {codes:?}");
    }
}
