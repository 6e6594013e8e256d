//! Messages about a configuration file, and the report of the running configuration.

use serde_json::Value;

use super::environment::{program, setting};
use super::{Daemon, File, pulsegate, text};

#[test]
fn check_config_names_the_file_and_warns_of_suspicious_values() {
    let file = File::new("check", "[access]\nallow = []\n");
    let name = file.0.display();
    let check = || text(&pulsegate().arg("check-config").arg(&file.0).output().unwrap());
    let (code, output, warnings) = check();
    assert_eq!((code, output), (0, format!("{name}: the configuration is valid\n")));
    assert_eq!(warnings, format!("warning: {name}:2:9: access.allow is empty: no device may connect\n"));
    file.write("credit = 5\n[heartbeat]\ninterval = 2\n");
    let (code, output, faults) = check();
    assert_eq!((code, output.as_str()), (78, ""));
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

#[test]
fn config_shows_every_value_and_its_origin() {
    let file = File::new("holds", "[heartbeat]\ncredit = 7\n[access.connections_per_ip_overrides]\n'::1' = 3\n");
    let gateway = Daemon::start_with("holds", |call| {
        call.arg("--config").arg(&file.0).env("PULSEGATE_LIMITS_OBJECT_BYTES_MAX", "2MiB");
    });
    let name = file.0.display();
    let line = |key: &str| {
        let (code, shown, why) = text(&gateway.call(&["config"]));
        assert_eq!(code, 0, "{why}");
        assert!(
            shown.starts_with(&format!("# pulsegate {}, configuration file {name}\n", env!("CARGO_PKG_VERSION"))),
            "{shown}"
        );
        let line = shown.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("no {key}: {shown}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("credit ="), format!("credit = 7 # from: {name}:2"));
    let bytes = "object_bytes_max = \"2MiB\" # from: environment PULSEGATE_LIMITS_OBJECT_BYTES_MAX";
    assert_eq!(line("object_bytes_max"), bytes);
    assert_eq!(line("listen"), "listen = [\"127.0.0.1:0\"] # from: command line");
    assert_eq!(
        line("connections_per_ip_overrides"),
        format!("connections_per_ip_overrides = {{ \"::1\" = 3 }} # from: {name}:3")
    );
    assert_eq!(line("interval"), "interval = \"2s\" # from: default");
    // A reload that fails changes no value.
    file.write("[heartbeat]\ncredit = 8\n");
    gateway.call(&["reload"]);
    file.write("[heartbeat]\ncredit = 0\n");
    gateway.call(&["reload"]);
    assert_eq!(line("credit ="), format!("credit = 8 # from: {name}:2"));
    let (_, json, _) = text(&gateway.call(&["config", "--json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    let credit = json["values"].as_array().unwrap().iter().find(|value| value["name"] == "heartbeat.credit").unwrap();
    assert_eq!((&credit["value"], &json["file"]), (&8.into(), &name.to_string().into()));
}

/// The test starts itself with a setting, since a process cannot change its own variables safely.
#[test]
fn settings_of_the_tests_do_not_reach_the_gateway() {
    let name = "configuration::settings_of_the_tests_do_not_reach_the_gateway";
    if setting("SEED").is_none() {
        let mut tests = program(std::env::current_exe().unwrap());
        assert!(tests.args(["--exact", name]).env("PULSEGATE_SEED", "1").status().unwrap().success());
        return;
    }
    let (_, inherited, _) = text(&program("env").output().unwrap());
    assert!(!inherited.contains("PULSEGATE_"), "{inherited}");
}
