//! What is refused, and what is said of it.

use super::*;

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
    check("'heartbeat.interval' = '3s'", "1:1: heartbeat.interval in quotes is no key of a section: leave them out");
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
        "2:20: limits.memory_budget must be at least twice limits.object_bytes_max",
    );
    check(
        "[limits]\nmemory_budget = '128KiB'",
        "2:17: limits.memory_budget must be at least twice limits.object_bytes_max",
    );
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
    let wider = "1:10: listen has [::]:7, which means all addresses, so 0.0.0.0:7 cannot be there too";
    check("listen = ['0.0.0.0:7', '[::]:7']", wider);
    check(
        "[discovery]\nlisten = ['192.0.2.1:7', '0.0.0.0:7']",
        "2:10: discovery.listen has 0.0.0.0:7, which means all addresses, so 192.0.2.1:7 cannot be there too",
    );
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
    let pipe = std::env::temp_dir().join(format!("pulsegate-{}-pipe.toml", std::process::id()));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let refused = Config::load(Some(&pipe), none.clone(), &[]).unwrap_err();
    assert!(refused.to_string().contains("it is a pipe"), "{refused}");
    std::fs::remove_file(&pipe).unwrap();
    let folder = Config::load(Some(Path::new("/")), none, &[]).unwrap_err();
    assert_eq!(folder.to_string(), "/: the file cannot be read: Is a directory (os error 21)");
}
