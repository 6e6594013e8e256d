mod bad;
mod environment;
#[cfg(feature = "mqtt")]
mod mqtt;
mod random;
#[cfg(feature = "web")]
mod web;

use std::ffi::OsString;
use std::path::Path;

use super::keys::sections;
use super::load::{FILE_VARIABLE, Loader};
use super::*;

/// Loads a file.
fn load(text: impl AsRef<[u8]>) -> Result<Config, String> {
    let mut loader = Loader::default();
    loader.read_file(Path::new("test.toml"), text.as_ref());
    loader.finish().map_err(|errors| errors.to_string())
}

/// Loads environment and command line without a file.
fn load_rest(environment: &[(&str, &str)], overrides: &[(&'static str, &str)]) -> Result<Config, String> {
    let environment = environment.iter().map(|&(variable, value)| (variable.into(), value.into()));
    let overrides: Vec<_> = overrides.iter().map(|&(name, text)| (name, text.to_string())).collect();
    let none = Path::new("/nonexistent/pulsegate.toml");
    Config::load_or(none, None, environment, &overrides).map_err(|error| error.to_string())
}

/// Returns the configuration without its origins.
fn values(mut config: Config) -> Config {
    (config.file, config.file_is_empty) = (None, false);
    config.origins.fill(Origin::Default);
    config
}

#[test]
fn the_shipped_file_has_the_defaults() {
    let shipped = include_str!("../../../../../pulsegate.toml");
    let message = "pulsegate.toml is out of date: write it anew with `pulsegate check-config --defaults`";
    assert!(shipped == Config::defaults_file(), "{message}");
    let config = load(shipped).unwrap();
    assert!(config.origins.iter().all(|origin| *origin != Origin::Default), "a key is missing");
    assert_eq!(values(config), Config::default());
    assert!(shipped.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn the_table_of_keys_is_consistent() {
    let variables: std::collections::BTreeSet<_> = KEYS.iter().map(Key::variable).collect();
    assert_eq!(variables.len(), KEYS.len(), "two keys have one variable");
    assert!(!variables.contains(FILE_VARIABLE));
    let mut found: Vec<_> = KEYS.iter().map(|key| key.parts().0).collect();
    found.dedup();
    let expected: Vec<_> = [None].into_iter().chain(sections().map(|(section, _)| Some(section))).collect();
    assert_eq!(found, expected);
    for bound in Settings::BOUNDS {
        assert!(Key::find(bound.name()).is_some(), "{} has bounds and no key", bound.name());
    }
    for key in KEYS {
        assert!(key.doc.ends_with('.'), "{}", key.name);
    }
}

#[test]
fn a_file_sets_every_key() {
    let text = r#"
listen = ["192.0.2.1:5556", "[::1]:0", "[::1]:0"]
terminator = "\n"

[discovery]
listen = "off"
reply = "hé\u0000"
rate = "7/s"
burst = 1_000
source_rate = "1/s"
source_burst = 0x10
interfaces_allow = "eth*"
interfaces_deny = ["eth1", "br-?"]

[heartbeat]
interval = "1m 30s"
credit = 255
credit_from = "heartbeat"
payload = '\"'

[commands]
gap = "700ms"

[limits]
connections_max = 5
object_bytes_max = 4096
object_depth_max = 1
object_timeout = "500ms"
rejected_in_a_row_max = 1
outbox_bytes_max = "1 KiB"
write_timeout = "1day"
close_timeout = "100ms"
memory_budget = "1GiB"

[access]
allow = []
deny = ["::ffff:192.0.2.0/120", "2001:db8::/32"]
connections_per_ip_max = 2
connections_per_ip_overrides = { "192.0.2.0/24" = 10, "::1" = 1 }

[identity]
member = "Id"
takeover = "oldest"
takeovers_per_minute_max = 3
remembered_max = 0
queued_bytes_max = "1KiB"

[events]
output = "none"
on_closed = "stop"
buffer_bytes_max = "5000B"

[control]
path = "./off"
mode = 0o600
group = "pulse"

[log]
level = "trace"
"#;
    let config = load(text).unwrap();
    let shown: Vec<_> = KEYS.iter().map(|key| (key.show)(&config)).collect();
    let expected = [
        r#"["192.0.2.1:5556", "[::1]:0", "[::1]:0"]"#,
        r#""\n""#,
        r#""off""#,
        r#""hé\u0000""#,
        r#""7/s""#,
        "1000",
        r#""1/s""#,
        "16",
        r#"["eth*"]"#,
        r#"["eth1", "br-?"]"#,
        r#""1m 30s""#,
        "255",
        r#""heartbeat""#,
        r#""\\\"""#,
        r#""700ms""#,
        "5",
        r#""4KiB""#,
        "1",
        r#""500ms""#,
        "1",
        r#""1KiB""#,
        r#""1day""#,
        r#""100ms""#,
        r#""1GiB""#,
        r#""8KiB""#,
        "[]",
        r#"["192.0.2.0/24", "2001:db8::/32"]"#,
        "2",
        r#"{ "192.0.2.0/24" = 10, "::1" = 1 }"#,
        r#""Id""#,
        r#""oldest""#,
        "3",
        "0",
        r#""1KiB""#,
        r#""none""#,
        r#""stop""#,
        r#""5000B""#,
        r#""./off""#,
        r#""0600""#,
        r#""pulse""#,
        r#""trace""#,
    ];
    // The keys of the services follow.
    assert_eq!(shown[..expected.len()], expected);
    assert_eq!(config.settings.discovery.reply, b"h\xc3\xa9\0");
    assert_eq!(config.control, Control::Path("./off".into()));
    assert_eq!(values(load(config.print()).unwrap()), values(config.clone()));
    // The report of the control socket prints as the same TOML, with blocks in order.
    let report = print_report(&config.report(&[]));
    assert_eq!(
        report.replace("\"::1\" = 1, \"192.0.2.0/24\" = 10", "\"192.0.2.0/24\" = 10, \"::1\" = 1"),
        config.print()
    );
    // Dotted and inline, with a byte order mark and CRLF.
    let other = "\u{feff}listen = '[::1]:1'\r\nlimits = { connections_max = 3 }\r\nlog.level = 'off'\r\n";
    let config = load(other).unwrap();
    assert_eq!(config.settings.limits.connections_max, 3);
    assert_eq!(config.log_level, LevelFilter::Off);
    assert_eq!(config.origin("log.level").to_string(), "test.toml:3");
}

#[test]
fn commas_separate_the_entries_of_lists_in_variables_and_options() {
    let environment = [
        ("PULSEGATE_ACCESS_ALLOW", "192.0.2.0/24, ::1"),
        ("PULSEGATE_ACCESS_DENY", ""),
        ("PULSEGATE_ACCESS_CONNECTIONS_PER_IP_OVERRIDES", "192.0.2.0/24=100, ::1 = 2"),
        ("PULSEGATE_DISCOVERY_LISTEN", "off"),
        ("PULSEGATE_TERMINATOR", "\n"),
        ("PULSEGATE_LIMITS_OBJECT_BYTES_MAX", "2MiB"),
        ("PULSEGATE_LIMITS_OUTBOX_BYTES_MAX", "4096"),
        ("PULSEGATE_CONTROL_GROUP", ""),
        ("PATH", "/bin"),
        ("pulsegate_x", "is not ours"),
    ];
    let overrides = [("listen", "[::1]:1"), ("control.path", "off"), ("listen", "[::1]:2"), ("events.output", "-")];
    let config = load_rest(&environment, &overrides).unwrap();
    let access = &config.settings.access;
    assert_eq!(access.allow.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.0/24", "::1"]);
    assert_eq!(access.connections_per_ip_overrides.len(), 2);
    assert_eq!(config.settings.limits.object_bytes_max, 2 << 20);
    assert_eq!((config.settings.limits.outbox_bytes_max, config.settings.terminator.as_slice()), (4096, &b"\n"[..]));
    assert_eq!((config.discovery, config.control), (Vec::new(), Control::Off));
    assert_eq!(config.listen.iter().map(SocketAddr::port).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn options_override_variables_and_both_override_the_file() {
    let path = std::env::temp_dir().join(format!("pulsegate-precedence-{}.toml", std::process::id()));
    let text = "[heartbeat]\ncredit = 1\ninterval = '1s'\n\n[log]\nlevel = 'error'\n";
    std::fs::write(&path, text).unwrap();
    let environment = [("PULSEGATE_HEARTBEAT_INTERVAL", "3s"), ("PULSEGATE_LOG_LEVEL", "warn")];
    let environment = environment.map(|(variable, value)| (OsString::from(variable), OsString::from(value)));
    let with_file = [environment.to_vec(), vec![(FILE_VARIABLE.into(), path.clone().into())]].concat();
    let overrides = [("log.level", "debug".to_string())];
    let none = Path::new("/nonexistent/pulsegate.toml");
    let all = [
        Config::load_or(none, Some(&path), environment.clone(), &overrides),
        Config::load_or(none, None, with_file.clone(), &overrides),
        Config::load_or(&path, None, environment, &overrides),
        // The command line's file, not the environment's.
        Config::load_or(
            none,
            Some(&path),
            [(FILE_VARIABLE.into(), none.into())].into_iter().chain(with_file.into_iter().take(2)),
            &overrides,
        ),
    ];
    let _ = std::fs::remove_file(&path);
    for config in all {
        let config = config.unwrap();
        let text = config.print();
        let line = |name: &str| {
            text.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            text.lines().next(),
            Some(&*format!("# pulsegate {}, configuration file {}", env!("CARGO_PKG_VERSION"), path.display()))
        );
        assert_eq!(line("credit ="), format!("credit = 1 # from: {}:2", path.display()));
        assert_eq!(line("interval"), "interval = \"3s\" # from: environment PULSEGATE_HEARTBEAT_INTERVAL");
        assert_eq!(line("level"), "level = \"debug\" # from: command line");
        assert_eq!(line("payload"), "payload = \"heartbeat\" # from: default");
        assert_eq!(values(load(&text).unwrap()), values(config));
    }
    let text = load_rest(&[], &[]).unwrap().print();
    assert!(text.starts_with(&format!("# pulsegate {}, no configuration file\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn changes_are_the_keys_whose_values_differ() {
    let check = |old: &str, new: &str, expected: &[&str]| {
        assert_eq!(load(old).unwrap().changes(&load(new).unwrap()), expected, "{old} {new}");
    };
    check("", "", &[]);
    check("", "listen = '[::]:5556'\nheartbeat.interval = '2000ms'", &[]);
    check("", "listen = '[::]:1'\n[access]\nallow = []", &["listen", "access.allow"]);
    check("heartbeat.credit = 1\nlog.level = 'off'", "log.level = 'off'", &["heartbeat.credit"]);
}

#[test]
fn every_option_has_its_key() {
    let options = ["listen", "discovery", "control", "events", "log-level", "config", "--listen"];
    let keys = [
        Some("listen"),
        Some("discovery.listen"),
        Some("control.path"),
        Some("events.output"),
        Some("log.level"),
        None,
        None,
    ];
    assert_eq!(options.map(Config::key_of_option), keys);
}

#[test]
fn a_missing_or_empty_file_does_not_replace_a_running_configuration() {
    let read = |text: Option<&str>| {
        let mut config = load(text.unwrap_or_default()).unwrap();
        config.file = text.map(|_| "test.toml".into());
        config.file_is_empty = text.is_some_and(|text| text.trim().is_empty());
        config
    };
    let rules = read(Some("[access]\nallow = ['192.0.2.0/24']"));
    for (new, why) in
        [(None, Some("the file is gone")), (Some(" \n"), Some("the file is empty")), (Some("# none"), None)]
    {
        let error = read(new).replaces(&rules).err();
        assert_eq!(error.is_some(), why.is_some(), "{new:?}");
        assert!(error.unwrap_or_default().contains(why.unwrap_or_default()), "{new:?}");
    }
    // An empty file may replace an empty file.
    for (running, new) in [(None, None), (None, Some("")), (Some(""), Some("")), (None, Some("log.level = 'off'"))] {
        assert_eq!(read(new).replaces(&read(running)), Ok(()), "{running:?} {new:?}");
    }
    assert!(read(None).replaces(&read(Some(""))).is_err());
}

#[test]
fn suspicious_values_are_warnings() {
    let check = |text: &str, expected: &[&str]| {
        let shown: Vec<_> = load(text).unwrap().warnings().iter().map(ToString::to_string).collect();
        assert_eq!(shown, expected, "{text}");
    };
    check("", &[]);
    check("[access]\nallow = []", &["test.toml:2:9: access.allow is empty: no device may connect"]);
    check(
        "[discovery]\ninterfaces_allow = ['lo', 'no-such*']",
        &["test.toml:2:20: discovery.interfaces_allow: this machine has no interface 'no-such*'"],
    );
    check(
        "[control]\ngroup = 'no-such-group'",
        &["test.toml:2:9: control.group: this machine has no group 'no-such-group'"],
    );
    let absent = load("listen = ['192.0.2.1:1', '127.0.0.1:1', '[::]:2']").unwrap();
    let absent: Vec<_> = absent.absent_addresses().map(|warning| warning.to_string()).collect();
    assert_eq!(absent, ["test.toml:1:10: listen: this machine has no address 192.0.2.1"]);
}
