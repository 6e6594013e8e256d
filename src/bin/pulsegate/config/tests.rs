use super::*;

/// What becomes of a file.
fn load(text: impl AsRef<[u8]>) -> Result<Config, String> {
    let mut config = Config::default();
    let read = config.read_file(Path::new("test.toml"), text.as_ref()).and_then(|()| config.check());
    read.map(|()| config).map_err(|error| error.to_string())
}

/// What becomes of environment and command line, without a file.
fn load_rest(environment: &[(&str, &str)], overrides: &[(&'static str, &str)]) -> Result<Config, String> {
    let environment = environment.iter().map(|&(variable, value)| (variable.into(), value.into()));
    let overrides: Vec<_> = overrides.iter().map(|&(name, text)| (name, text.to_string())).collect();
    let none = Path::new("/nonexistent/pulsegate.toml");
    Config::load_or(none, None, environment, &overrides).map_err(|error| error.to_string())
}

/// The values alone.
fn values(mut config: Config) -> Config {
    config.file = None;
    config.origins.fill(Origin::Default);
    config
}

#[test]
fn the_shipped_file_is_the_defaults() {
    let shipped = include_str!("../../../../pulsegate.toml");
    let message = "pulsegate.toml is out of date: write it anew with `pulsegate check-config --defaults`";
    assert!(shipped == Config::defaults_file(), "{message}");
    let config = load(shipped).unwrap();
    assert!(config.origins.iter().all(|origin| *origin != Origin::Default), "a key is missing");
    assert_eq!(values(config), Config::default());
    assert!(shipped.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn the_table_is_sound() {
    let variables: std::collections::BTreeSet<_> = KEYS.iter().map(Key::variable).collect();
    assert_eq!(variables.len(), KEYS.len(), "two keys have one variable");
    assert!(!variables.contains(FILE_VARIABLE));
    let mut sections: Vec<_> = KEYS.iter().map(|key| key.parts().0).collect();
    sections.dedup();
    let expected: Vec<_> = [None].into_iter().chain(SECTIONS.iter().map(|&(section, _)| Some(section))).collect();
    assert_eq!(sections, expected);
    for bound in Settings::BOUNDS {
        assert!(Key::find(bound.name()).is_some(), "{} has bounds and no key", bound.name());
    }
    for key in KEYS {
        assert!(key.doc.ends_with('.'), "{}", key.name);
    }
}

#[test]
fn everything_can_be_set() {
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

[events]
output = "none"
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
        "5",
        r#""4KiB""#,
        "1",
        r#""500ms""#,
        "1",
        r#""1KiB""#,
        r#""1day""#,
        r#""100ms""#,
        r#""1GiB""#,
        "[]",
        r#"["192.0.2.0/24", "2001:db8::/32"]"#,
        "2",
        r#"{ "192.0.2.0/24" = 10, "::1" = 1 }"#,
        r#""none""#,
        r#""5000B""#,
        r#""./off""#,
        r#""0600""#,
        r#""pulse""#,
        r#""trace""#,
    ];
    assert_eq!(shown, expected);
    assert_eq!(config.settings.discovery.reply, b"h\xc3\xa9\0");
    assert_eq!(config.control, Control::Path("./off".into()));
    assert_eq!(values(load(config.print()).unwrap()), values(config));
    // Dotted and inline, with a byte order mark and CRLF.
    let other = "\u{feff}listen = '[::1]:1'\r\nlimits = { connections_max = 3 }\r\nlog.level = 'off'\r\n";
    let config = load(other).unwrap();
    assert_eq!(config.settings.limits.connections_max, 3);
    assert_eq!(config.log_level, LevelFilter::Off);
    assert_eq!(config.origin("log.level").to_string(), "test.toml:3");
}

#[test]
fn bad_files() {
    let check = |text: &str, expected: &str| {
        let got = load(text).map(|_| ()).unwrap_err();
        assert_eq!(got, format!("test.toml:{expected}"), "{text}");
    };
    // Not TOML.
    check("x", "1:2: this is not TOML: key with no value, expected `=`");
    check("\n[limits\n", "2:8: this is not TOML: unclosed table, expected `]`");
    check("terminator = \"abc\nlisten = 1", "1:18: this is not TOML: invalid basic string, expected `\"`");
    check("[log]\nlevel = 'off'\nlevel = 'off'\n", "3:1: this is not TOML: duplicate key");
    check("hé = \"éé\" x", "1:11: this is not TOML: unexpected key or value, expected newline, `#`");
    // Unknown names; the first in the file is told, whatever the alphabet says.
    check("[limits]\nzzz = 1\naaa = 1\n", "2:1: there is no key limits.zzz");
    check("credit = 5", "1:1: there is no key credit; did you mean heartbeat.credit?");
    check("[limits]\nallow = []", "2:1: there is no key limits.allow; did you mean access.allow?");
    check("[heartbeat]\n  intervall = 1", "2:3: there is no key heartbeat.intervall; did you mean heartbeat.interval?");
    check("terminater = 1", "1:1: there is no key terminater; did you mean terminator?");
    check("payloads = 1", "1:1: there is no key payloads; did you mean heartbeat.payload?");
    check("[heartbeet]\ninterval = 1", "1:2: there is no section heartbeet; did you mean heartbeat?");
    check("[colours]", "1:2: there is no section colours");
    check("\"a\\nb\" = 1", "1:1: there is no key a\\nb");
    check("\"\" = 1", "1:1: there is no key \"\"");
    check("limits = 3", "1:1: limits is a section: [limits] stands on a line of its own, and its keys below it");
    check("[[log]]", "1:3: log is a section: [log] stands on a line of its own, and its keys below it");
    check("limits.credit.x = 3", "1:8: there is no key limits.credit; did you mean heartbeat.credit?");
    // Types.
    check("listen = 5", "1:10: listen must be a list of texts, such as [\"…\", \"…\"], not a bare number");
    check("[listen]", "1:1: listen must be a list of texts, such as [\"…\", \"…\"], not a table");
    check("listen = ['[::]:1', 2]", "1:21: listen: an entry of a list must be a text in quotes, not a bare number");
    check("terminator = 1979-05-27", "1:14: terminator must be a text in quotes, not a date or time");
    check(
        "[log]\nlevel = true",
        "2:9: log.level must be \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\", not true or false",
    );
    check("[heartbeat]\ncredit = \"5\"", "2:10: heartbeat.credit must be a whole number, not a text in quotes");
    check("[heartbeat]\ncredit = 5.0", "2:10: heartbeat.credit must be a whole number, not a number with a fraction");
    check(
        "[heartbeat]\ninterval = 2",
        "2:12: heartbeat.interval must be a duration with its unit, such as \"2s\", \"500ms\" or \"1m 30s\", not a bare number",
    );
    check(
        "[limits]\nmemory_budget = 33554432",
        "2:17: limits.memory_budget must be a number of bytes with its unit, such as \"256KiB\" or \"32MiB\", not a bare number",
    );
    check(
        "[discovery]\nrate = 5",
        "2:8: discovery.rate must be a number per second, such as \"50/s\", not a bare number",
    );
    check(
        "[access]\nconnections_per_ip_overrides = []",
        "2:32: access.connections_per_ip_overrides must be a table of blocks and numbers, such as { \"192.0.2.0/24\" = 100 }, not a list",
    );
    // Values.
    let duration = "2:12: heartbeat.interval must be a duration with its unit, such as \"2s\", \"500ms\" or \"1m 30s\"";
    for text in ["2", "0", "", "s", "-2s", "2 parsecs", "2s\\u0000", "1.s"] {
        check(&format!("[heartbeat]\ninterval = \"{text}\""), duration);
    }
    let ticks = "2:12: heartbeat.interval must be a multiple of 100ms, from 100ms to 1day";
    for text in ["150ms", "0s", "25h", "1y", "9999999999s", "18446744073709551615s 1000ms"] {
        check(&format!("[heartbeat]\ninterval = \"{text}\""), ticks);
    }
    for number in ["0", "256", "-1", "99999999999999999999999", "0xffffffffffffffffff"] {
        check(&format!("[heartbeat]\ncredit = {number}"), "2:10: heartbeat.credit must be from 1 to 255");
    }
    for size in ["1", "'1B'", "'2GiB'", "'99999999TiB'", "-5", "99999999999999999999999"] {
        check(&format!("[limits]\nobject_bytes_max = {size}"), "2:20: limits.object_bytes_max must be from 2B to 1GiB");
    }
    for size in ["''", "'1MB'", "'MiB'", "'1.5MiB'", "'1  MiB'", "'1mib'"] {
        check(
            &format!("[limits]\nobject_bytes_max = {size}"),
            "2:20: limits.object_bytes_max must be a number of bytes, such as \"256KiB\", \"1MiB\" or 4096",
        );
    }
    check(
        "[limits]\nobject_bytes_max = '64MiB'",
        "2:20: limits.memory_budget must be at least limits.object_bytes_max",
    );
    check("[limits]\nmemory_budget = '128KiB'", "2:17: limits.memory_budget must be at least limits.object_bytes_max");
    check("[discovery]\nrate = '0/s'", "2:8: discovery.rate must be from 1/s to 1000000/s");
    check("[discovery]\nrate = '5/min'", "2:8: discovery.rate must be a number per second, such as \"50/s\"");
    check("[discovery]\nreply = ''", "2:9: discovery.reply must have from 1 to 512 bytes");
    check(
        "[discovery]\nlisten = ['off']",
        "2:11: discovery.listen: an address is written with its port, such as 192.0.2.1:5556 or [2001:db8::1]:5556",
    );
    check(
        "[discovery]\nlisten = 5",
        "2:10: discovery.listen must be \"off\" or a list of texts, such as [\"…\", \"…\"], not a bare number",
    );
    check(
        "[discovery]\ninterfaces_deny = ['eth 0']",
        "2:20: discovery.interfaces_deny: an interface is given by its name or a pattern with * and ?, such as eth0 or br-*, in at most 64 characters of ASCII without spaces and slashes",
    );
    check("listen = []", "1:10: listen must have at least one address");
    check(
        "listen = ['[::]:1', '192.0.2.1']",
        "1:21: listen: an address is written with its port, such as 192.0.2.1:5556 or [2001:db8::1]:5556",
    );
    check("listen = ['[::]:1', '[::]:1']", "1:10: listen must name each address once, but [::]:1 stands there twice");
    check("terminator = '0123456789abcdefg'", "1:14: terminator must have at most 16 bytes");
    check(
        "[access]\nallow = [\n  '192.0.2.0/24',\n  '192.0.2.7/24',\n]",
        "4:3: access.allow: 192.0.2.7 has bits set behind its first 24: write 192.0.2.0/24 for the block, or 192.0.2.7 for that one address",
    );
    check(
        "[access]\ndeny = '192.0.2.0/33'",
        "2:8: access.deny: what follows the slash must be a whole number from 0 to 32",
    );
    let number =
        "2:9: access.connections_per_ip_overrides: the number for a block must be a whole number from 1 to 1048576";
    let overrides =
        |table: &str, expected: &str| check(&format!("[access.connections_per_ip_overrides]\n{table}"), expected);
    overrides(
        "'x' = 1",
        "2:1: access.connections_per_ip_overrides: an address rule is an IP address or a block, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32",
    );
    overrides("'::1' = '1'", number);
    overrides("'::1' = 0", number);
    overrides("'::1' = -1", number);
    overrides("'::1' = 1\n'::1/128' = 2", "1:1: access.connections_per_ip_overrides must name each block once");
    check("[events]\noutput = 'stdout'", "2:10: events.output must be \"-\" or \"none\"");
    check("[events]\nbuffer_bytes_max = 1", "2:20: events.buffer_bytes_max must be from 4KiB to 1GiB");
    for mode in ["'660x'", "'1777'", "'66'", "'0888'", "0o1777"] {
        check(
            &format!("[control]\nmode = {mode}"),
            "2:8: control.mode must be permissions in octal, such as \"0660\", at most \"0777\"",
        );
    }
    check(
        "[control]\nmode = 660",
        "2:8: control.mode must be permissions in octal, such as \"0660\", at most \"0777\", not a bare number",
    );
    for path in [String::new(), "a\\u0000b".into(), "/".repeat(108)] {
        check(
            &format!("[control]\npath = \"{path}\""),
            "2:8: control.path must be \"default\", \"off\" or the path of a socket in at most 107 bytes",
        );
    }
    check("[control]\ngroup = 'a b'", "2:9: control.group must be the name of a group, or \"\"");
    assert_eq!(load(b"x = 1\ny = '\xff'").unwrap_err(), "test.toml:2:6: the file must be UTF-8");
}

#[test]
fn bad_environments_and_options() {
    let check = |environment: &[(&str, &str)], overrides: &[(&'static str, &str)], expected: &str| {
        assert_eq!(load_rest(environment, overrides).map(|_| ()).unwrap_err(), expected);
    };
    let e = |variable, value, expected: &str| {
        check(&[(variable, value)], &[], &format!("environment {variable}: {expected}"));
    };
    e("PULSEGATE_COLOUR", "red", "nothing is configured by this variable");
    e("PULSEGATE_LISTEN_", "", "nothing is configured by this variable; did you mean PULSEGATE_LISTEN?");
    e("PULSEGATE_", "", "nothing is configured by this variable");
    e("PULSEGATE_HEARTBEAT_CREDIT", "0", "heartbeat.credit must be from 1 to 255");
    e("PULSEGATE_HEARTBEAT_CREDIT", "-1", "heartbeat.credit must be from 1 to 255");
    e("PULSEGATE_HEARTBEAT_CREDIT", "+1", "heartbeat.credit must be a whole number");
    e("PULSEGATE_LISTEN", "", "listen must have at least one address");
    e(
        "PULSEGATE_LISTEN",
        "[::]:1,",
        "listen: an address is written with its port, such as 192.0.2.1:5556 or [2001:db8::1]:5556",
    );
    e(
        "PULSEGATE_ACCESS_CONNECTIONS_PER_IP_OVERRIDES",
        "::1",
        "access.connections_per_ip_overrides: an entry must be a block and a number, such as 192.0.2.0/24=100",
    );
    e(
        "PULSEGATE_CONFIG",
        "/nonexistent/file",
        "/nonexistent/file: the file cannot be read: No such file or directory (os error 2)",
    );
    check(
        &[],
        &[("listen", "x")],
        "--listen: listen: an address is written with its port, such as 192.0.2.1:5556 or [2001:db8::1]:5556",
    );
    check(
        &[],
        &[("log.level", "loud")],
        "--log-level: log.level must be \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
    );
    check(&[], &[("colour", "x")], "command line: there is no key colour");
    let listen = "listen must name each address once, but 192.0.2.1:5556 stands there twice";
    check(&[], &[("listen", "192.0.2.1:5556"), ("listen", "192.0.2.1:5556")], &format!("--listen: {listen}"));
    // The file is the default one's namesake only where it exists.
    let none: [(OsString, OsString); 0] = [];
    let missing = Config::load_or(Path::new("/x"), Some(Path::new("/nonexistent/a\nb")), none, &[]).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "/nonexistent/a\u{fffd}b: the file cannot be read: No such file or directory (os error 2)"
    );
    let bytes = std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
    let environment = [("PULSEGATE_TERMINATOR".into(), bytes)];
    let error = Config::load_or(Path::new("/x"), None, environment, &[]).unwrap_err();
    assert_eq!(error.to_string(), "environment PULSEGATE_TERMINATOR: the value must be UTF-8");
}

#[test]
fn lists_in_environment_and_options() {
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
fn precedence() {
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
            Some(&*format!("# pulsegate {}: {} was read.", env!("CARGO_PKG_VERSION"), path.display()))
        );
        assert_eq!(line("credit ="), format!("credit = 1 # from: {}:2", path.display()));
        assert_eq!(line("interval"), "interval = \"3s\" # from: environment PULSEGATE_HEARTBEAT_INTERVAL");
        assert_eq!(line("level"), "level = \"debug\" # from: command line");
        assert_eq!(line("payload"), "payload = \"heartbeat\" # from: default");
        assert_eq!(values(load(&text).unwrap()), values(config));
    }
    let text = load_rest(&[], &[]).unwrap().print();
    assert!(text.starts_with(&format!("# pulsegate {}: no file was read.\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_reload_knows_what_has_changed() {
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
fn deep_and_long_files_are_refused() {
    for (text, expected) in [
        (
            "a=".to_string() + &"[".repeat(100_000),
            "1:83: this is not TOML: cannot recurse further; max recursion depth met",
        ),
        (
            "a=".to_string() + &"{a=".repeat(100_000),
            "1:243: this is not TOML: cannot recurse further; max recursion depth met",
        ),
        ("a.".repeat(100_000) + "a=1", "1:1: this is not TOML: recursion limit"),
        (format!("[{}a]", "a.".repeat(100_000)), "1:1: this is not TOML: recursion limit"),
    ] {
        assert_eq!(load(text).unwrap_err(), format!("test.toml:{expected}"));
    }
    let none: [(OsString, OsString); 0] = [];
    let endless = Config::load(Some(Path::new("/dev/zero")), none.clone(), &[]).unwrap_err();
    assert_eq!(endless.to_string(), "/dev/zero: the file is larger than 1MiB");
    let folder = Config::load(Some(Path::new("/")), none, &[]).unwrap_err();
    assert_eq!(folder.to_string(), "/: the file cannot be read: Is a directory (os error 21)");
}

/// Broken files, seeded: whatever becomes of them, it is no panic, errors are one line with a place in
/// the file, and what is accepted is shown as TOML that means the same.
#[test]
fn no_file_panics() {
    let pieces: Vec<&[u8]> = [
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\"",
        "'",
        "\"\"\"",
        "'''",
        "\\",
        "\\u0000",
        "\\uD800",
        "\0",
        "\n",
        "\r",
        "#",
        "é",
        "\u{feff}",
        "-",
        "+",
        "_",
        "0x",
        "0o777",
        "0b",
        "inf",
        "nan",
        "1e999",
        "1979-05-27T07:32:00Z",
        "07:32:00",
        "true",
        "99999999999999999999999",
        "\"9999999999y 999999999y\"",
        "\"18446744073709551615s 1000ms\"",
        "\"::/0\"",
        "{ \"::1\" = 1 }",
        "[\"*\"]",
        "\"1MiB\"",
        "\"2s\"",
        "\"5/s\"",
        "limits.",
        "[log]\n",
    ]
    .map(str::as_bytes)
    .to_vec();
    let lines: Vec<&[u8]> = include_bytes!("../../../../pulsegate.toml")
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|line| !line.starts_with(b"#") && line.len() > 1)
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let mut accepted = 0;
    for round in 0..5_000 {
        let mut text: Vec<u8> = Vec::new();
        let from = below(lines.len());
        for line in &lines[from..(from + 1 + below(6)).min(lines.len())] {
            match (line.iter().position(|&byte| byte == b'='), below(4)) {
                (Some(equals), 0) => {
                    text.extend(&line[..=equals]);
                    text.extend(pieces[below(pieces.len())]);
                    text.push(b'\n');
                }
                _ => text.extend(*line),
            }
        }
        for _ in 0..below(3) {
            let at = below(text.len() + 1);
            match below(3) {
                0 => drop(text.splice(at..at, pieces[below(pieces.len())].iter().copied())),
                1 => drop(text.drain(at..(at + below(4)).min(text.len()))),
                _ => text.insert(at, below(256) as u8),
            }
        }
        match load(&text) {
            Ok(config) => {
                accepted += 1;
                let shown = config.print();
                let again = load(&shown).unwrap_or_else(|error| panic!("round {round}: {error}\n{shown}"));
                assert_eq!(values(again), values(config), "round {round}");
            }
            Err(error) => {
                let mut parts = error.splitn(4, ':');
                let is_place =
                    |part: Option<&str>| part.and_then(|part| part.parse::<usize>().ok()).is_some_and(|n| n > 0);
                let fits = parts.next() == Some("test.toml") && is_place(parts.next()) && is_place(parts.next());
                assert!(fits && !error.contains(char::is_control), "round {round}: {error}");
            }
        }
    }
    assert!((250..4_750).contains(&accepted), "{accepted} files were accepted: the test no longer reaches both sides");
}

/// Every key with every text, by the environment.
#[test]
fn no_variable_panics() {
    let long = "9".repeat(1000);
    let texts = [
        "",
        " ",
        "0",
        "-0",
        "-",
        "+",
        "1",
        "off",
        "default",
        "*",
        "=",
        ",",
        ",,",
        "=,=",
        "::1=",
        "::1=1",
        "::/0",
        "0.0.0.0:0",
        "/s",
        "5/s",
        "B",
        "1B",
        "16777216TiB",
        "18446744073709551615B",
        "18446744073709551616B",
        "18446744073709551615s 1000ms",
        "999999999y 999999999y",
        "1ns",
        "0.1s",
        "1e9s",
        "\0",
        "é",
        "\u{feff}",
        "\u{202e}",
        "٣s",
        "[\"x\"]",
        "0777",
        "07777777777777777777777",
        &long,
    ];
    for key in KEYS {
        for text in texts {
            if let Ok(config) = load_rest(&[(&key.variable(), text)], &[]) {
                let shown = config.print();
                let again = load(&shown).unwrap_or_else(|error| panic!("{} = {text}: {error}", key.name));
                assert_eq!(values(again), values(config), "{} = {text}", key.name);
            }
        }
    }
}
