//! What the program says of a configuration before it is used, and of the one that holds.

use super::{Daemon, File, pulsegate, text};

#[test]
fn check_config_names_the_file_and_warns_of_what_is_suspicious() {
    let file = File::new("check", "[access]\nallow = []\n");
    let name = file.0.display();
    let check = || text(&pulsegate().arg("check-config").arg(&file.0).output().unwrap());
    let (code, said, warnings) = check();
    assert_eq!((code, said), (0, format!("{name}: the configuration is good\n")));
    assert_eq!(warnings, format!("warning: {name}:2:9: access.allow is empty: no device may connect\n"));
    file.write("credit = 5\n[heartbeat]\ninterval = 2\n");
    let (code, said, faults) = check();
    assert_eq!((code, said.as_str()), (78, ""));
    let places: Vec<_> = faults.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(places, [format!("{name}:1:1"), format!("{name}:3:12")], "{faults}");
}

#[test]
fn the_log_names_the_file_that_was_read() {
    let file = File::new("named", "[discovery]\ninterfaces_deny = [\"no-such0\"]\n");
    let gateway = Daemon::start_with("log", |call| {
        call.arg("--config").arg(&file.0);
    });
    let log: Vec<String> = gateway.log.iter().take(2).collect();
    assert_eq!(log[0], format!("[INFO] configuration: {}", file.0.display()));
    assert!(log[1].starts_with("[WARN] ") && log[1].contains("this machine has no interface 'no-such0'"), "{log:?}");
}
