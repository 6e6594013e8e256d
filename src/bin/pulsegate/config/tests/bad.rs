//! Invalid configurations and their errors.

use std::ffi::OsString;
use std::path::Path;

use super::*;

#[test]
fn an_invalid_file_has_an_error_with_its_place() {
    let check = |text: &str, expected: &str| {
        let got = load(text).map(|_| ()).unwrap_err();
        assert_eq!(got, format!("test.toml:{expected}"), "{text}");
    };
    // Not TOML.
    check("x", "1:2: invalid TOML: key with no value, expected `=`");
    check("\n[limits\n", "2:8: invalid TOML: unclosed table, expected `]`");
    check(
        "terminator = \"abc\nlisten = 1",
        "1:18: invalid TOML: invalid basic string, expected `\"`\ntest.toml:2:10: listen: expected a list of texts, such as [\"…\", \"…\"], found a bare number",
    );
    check("[log]\nlevel = 'off'\nlevel = 'off'\n", "3:1: invalid TOML: duplicate key");
    check("hé = \"éé\" x", "1:2: invalid TOML: invalid unquoted key, expected letters, numbers, `-`, `_`");
    // Unknown names, in the order of the file.
    check("[limits]\nzzz = 1\naaa = 1\n", "2:1: unknown key 'limits.zzz'\ntest.toml:3:1: unknown key 'limits.aaa'");
    check("credit = 5", "1:1: unknown key 'credit', did you mean heartbeat.credit?");
    check("[limits]\nallow = []", "2:1: unknown key 'limits.allow', did you mean access.allow?");
    check("[heartbeat]\n  intervall = 1", "2:3: unknown key 'heartbeat.intervall', did you mean heartbeat.interval?");
    check("terminater = 1", "1:1: unknown key 'terminater', did you mean terminator?");
    check("payloads = 1", "1:1: unknown key 'payloads', did you mean heartbeat.payload?");
    check("[heartbeet]\ninterval = 1", "1:2: unknown section 'heartbeet', did you mean heartbeat?");
    check("'heartbeat.interval' = '3s'", "1:1: invalid key 'heartbeat.interval': remove its quotes");
    check("[colours]", "1:2: unknown section 'colours'");
    check("\"a\\nb\" = 1", "1:1: unknown key 'a\\nb'");
    check("\"\" = 1", "1:1: unknown key ''");
    check("limits = 3", "1:1: limits is a section: write [limits] on a line of its own, and its keys below it");
    check("[[log]]", "1:3: log is a section: write [log] on a line of its own, and its keys below it");
    check("limits.credit.x = 3", "1:8: unknown key 'limits.credit', did you mean heartbeat.credit?");
    // Types.
    check("listen = 5", "1:10: listen: expected a list of texts, such as [\"…\", \"…\"], found a bare number");
    check("[listen]", "1:1: listen: expected a list of texts, such as [\"…\", \"…\"], found a table");
    check("listen = ['[::]:1', 2]", "1:21: listen: invalid entry 2: expected a text in quotes");
    check("terminator = 1979-05-27", "1:14: terminator: expected a text in quotes, found a date or time");
    check(
        "[log]\nlevel = true",
        "2:9: log.level: expected \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\", found true or false",
    );
    check("[heartbeat]\ncredit = \"5\"", "2:10: heartbeat.credit: expected a whole number, found a text in quotes");
    check(
        "[heartbeat]\ncredit = 5.0",
        "2:10: heartbeat.credit: expected a whole number, found a number with a fraction",
    );
    check(
        "[heartbeat]\ninterval = 2",
        "2:12: heartbeat.interval: expected a duration with its unit, such as \"2s\", \"500ms\" or \"1m 30s\", found a bare number",
    );
    check(
        "[discovery]\nrate = 5",
        "2:8: discovery.rate: expected a number per second, such as \"50/s\", found a bare number",
    );
    check(
        "[access]\nconnections_per_ip_overrides = []",
        "2:32: access.connections_per_ip_overrides: expected a table of blocks and numbers, such as { \"192.0.2.0/24\" = 100 }, found a list",
    );
    // Values.
    let duration = |text: &str| {
        format!(
            "2:12: heartbeat.interval: invalid value \"{text}\": expected a duration with its unit, such as \"2s\", \
             \"500ms\" or \"1m 30s\""
        )
    };
    for text in ["2", "0", "", "s", "-2s", "2 parsecs", "2s\\u0000", "1.s"] {
        check(&format!("[heartbeat]\ninterval = \"{text}\""), &duration(text));
    }
    for text in ["150ms", "0s", "1day 1h", "1year", "9999999999s", "18446744073709551615s 1000ms"] {
        let must = "must be a multiple of 100ms, from 100ms to 1day";
        check(
            &format!("[heartbeat]\ninterval = \"{text}\""),
            &format!("2:12: heartbeat.interval: invalid value \"{text}\": {must}"),
        );
    }
    for number in ["0", "256", "-1", "99999999999999999999999", "0xffffffffffffffffff"] {
        check(
            &format!("[heartbeat]\ncredit = {number}"),
            &format!("2:10: heartbeat.credit: invalid value {number}: must be from 1 to 255"),
        );
    }
    for size in ["\"1B\"", "\"2GiB\"", "\"99999999TiB\"", "-5", "99999999999999999999999"] {
        check(
            &format!("[limits]\nobject_bytes_max = {size}"),
            &format!("2:20: limits.object_bytes_max: invalid value {size}: must be from 2B to 1GiB"),
        );
    }
    for size in ["", "1MB", "MiB", "1.5MiB", "1  MiB", "1mib"] {
        let expected = "expected a number of bytes, such as \"256KiB\", \"1MiB\" or 4096";
        check(
            &format!("[limits]\nobject_bytes_max = \"{size}\""),
            &format!("2:20: limits.object_bytes_max: invalid value \"{size}\": {expected}"),
        );
    }
    check(
        "[limits]\nobject_bytes_max = '64MiB'",
        "2:20: limits.memory_budget: invalid value \"32MiB\": must be at least twice limits.object_bytes_max",
    );
    check(
        "[limits]\nmemory_budget = '128KiB'",
        "2:17: limits.memory_budget: invalid value \"128KiB\": must be at least twice limits.object_bytes_max",
    );
    check("[discovery]\nrate = '0/s'", "2:8: discovery.rate: invalid value \"0/s\": must be from 1/s to 1000000/s");
    check(
        "[discovery]\nrate = '5/min'",
        "2:8: discovery.rate: invalid value \"5/min\": expected a number per second, such as \"50/s\"",
    );
    check("[discovery]\nreply = ''", "2:9: discovery.reply: invalid value \"\": must have from 1 to 512 bytes");
    check(
        "[discovery]\nlisten = ['off']",
        "2:11: discovery.listen: invalid entry 'off': expected an IP address with a port, such as 192.0.2.1:5556 or [2001:db8::1]:5556",
    );
    check(
        "[discovery]\nlisten = 5",
        "2:10: discovery.listen: expected \"off\" or a list of texts, such as [\"…\", \"…\"], found a bare number",
    );
    check(
        "[discovery]\ninterfaces_deny = ['eth 0']",
        "2:20: discovery.interfaces_deny: invalid entry 'eth 0': expected a name or a pattern with * and ?, such as eth0 or br-*, in at most 64 characters of ASCII without spaces and slashes",
    );
    check("listen = []", "1:10: listen: invalid value []: must have at least one address");
    let wider = "1:10: listen: invalid entry '0.0.0.0:7': [::]:7 includes it";
    check("listen = ['0.0.0.0:7', '[::]:7']", wider);
    check(
        "[discovery]\nlisten = ['192.0.2.1:7', '0.0.0.0:7']",
        "2:10: discovery.listen: invalid entry '192.0.2.1:7': 0.0.0.0:7 includes it",
    );
    check(
        "listen = ['[::]:1', '192.0.2.1']",
        "1:21: listen: invalid entry '192.0.2.1': expected an IP address with a port, such as 192.0.2.1:5556 or [2001:db8::1]:5556",
    );
    check("listen = ['[::]:1', '[::]:1']", "1:10: listen: invalid entry '[::]:1': the list contains it twice");
    check(
        "terminator = '0123456789abcdefg'",
        "1:14: terminator: invalid value \"0123456789abcdefg\": must have at most 16 bytes",
    );
    check(
        "[access]\nallow = [\n  '192.0.2.0/24',\n  '192.0.2.7/24',\n]",
        "4:3: access.allow: invalid entry '192.0.2.7/24': 192.0.2.7 has bits set after its first 24: write 192.0.2.0/24 for the block, or 192.0.2.7 for the address",
    );
    check(
        "[access]\ndeny = '192.0.2.0/33'",
        "2:8: access.deny: invalid entry '192.0.2.0/33': expected a prefix length from 0 to 32 after the slash",
    );
    let number = |entry: &str| {
        format!(
            "2:9: access.connections_per_ip_overrides: invalid entry {entry}: expected a whole number from 1 to 1048576"
        )
    };
    let overrides =
        |table: &str, expected: &str| check(&format!("[access.connections_per_ip_overrides]\n{table}"), expected);
    overrides(
        "'x' = 1",
        "2:1: access.connections_per_ip_overrides: invalid entry 'x': expected an IP address or a block, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32",
    );
    overrides("'::1' = '1'", &number("\"1\""));
    overrides("'::1' = 0", &number("0"));
    overrides("'::1' = -1", &number("-1"));
    overrides(
        "'::1' = 1\n'::1/128' = 2",
        "1:1: access.connections_per_ip_overrides: invalid value { \"::1\" = 1, \"::1\" = 2 }: must name each block once",
    );
    check("[events]\noutput = 'stdout'", "2:10: events.output: invalid value \"stdout\": expected \"-\" or \"none\"");
    check(
        "[events]\nbuffer_bytes_max = 1",
        "2:20: events.buffer_bytes_max: invalid value \"1B\": must be from 4KiB to 1GiB",
    );
    for mode in ["\"660x\"", "\"1777\"", "\"66\"", "\"0888\"", "0o1777"] {
        let expected = "expected permissions in octal, such as \"0660\", at most \"0777\"";
        check(&format!("[control]\nmode = {mode}"), &format!("2:8: control.mode: invalid value {mode}: {expected}"));
    }
    check(
        "[control]\nmode = 660",
        "2:8: control.mode: expected permissions in octal, such as \"0660\", at most \"0777\", found a bare number",
    );
    let slashes = "/".repeat(108);
    for (path, shown) in [("", "\"\""), ("a\\u0000b", "\"a\\u0000b\""), (&slashes, &format!("\"{}…", &slashes[..63]))]
    {
        let expected = "expected \"default\", \"off\" or the path of a socket in at most 107 bytes";
        check(
            &format!("[control]\npath = \"{path}\""),
            &format!("2:8: control.path: invalid value {shown}: {expected}"),
        );
    }
    check(
        "[control]\ngroup = 'a b'",
        "2:9: control.group: invalid value \"a b\": expected the name of a group, or \"\"",
    );
    assert_eq!(load(b"x = 1\ny = '\xff'").unwrap_err(), "test.toml:2:6: the file must be UTF-8");
}

#[test]
fn a_report_has_every_error() {
    let text = "listen = ['x', '[::]:1', 'y']
[heartbeat]
credit = 0
intervall = '1s'
payload = 'a' 'b'
[limits]
object_bytes_max = '64MiB'
memory_budget = 'much'
";
    let errors = load(text).unwrap_err();
    let places: Vec<_> = errors.lines().map(|line| line.splitn(4, ':').skip(1).take(2).collect::<Vec<_>>()).collect();
    // An unreadable budget is not compared with the length of an object.
    let expected = [["5", "15"], ["1", "11"], ["1", "26"], ["4", "1"], ["8", "17"], ["3", "10"]];
    assert_eq!(places, expected, "{errors}");
    let environment = [("PULSEGATE_LOG_LEVEL", "loud"), ("PULSEGATE_ACCESS_DENY", "192.0.2.0/33")];
    let errors = load_rest(&environment, &[("events.output", "x"), ("listen", "5556")]).unwrap_err();
    assert_eq!(errors.lines().count(), 4, "{errors}");
    let many = load(format!("[access]\nallow = [{}]", "'x',".repeat(10_000))).unwrap_err();
    assert_eq!((many.lines().count(), many.lines().last()), (21, Some("there are more errors")));
}

#[test]
fn an_invalid_variable_or_option_has_an_error() {
    let check = |environment: &[(&str, &str)], overrides: &[(&'static str, &str)], expected: &str| {
        assert_eq!(load_rest(environment, overrides).map(|_| ()).unwrap_err(), expected);
    };
    let e = |variable, value, expected: &str| {
        check(&[(variable, value)], &[], &format!("environment {variable}: {expected}"));
    };
    e("PULSEGATE_HEARTBEAT_CREDIT", "0", "heartbeat.credit: invalid value 0: must be from 1 to 255");
    e("PULSEGATE_HEARTBEAT_CREDIT", "-1", "heartbeat.credit: invalid value '-1': must be from 1 to 255");
    e("PULSEGATE_HEARTBEAT_CREDIT", "+1", "heartbeat.credit: invalid value '+1': expected a whole number");
    e("PULSEGATE_LISTEN", "", "listen: invalid value []: must have at least one address");
    e(
        "PULSEGATE_LISTEN",
        "[::]:1,",
        "listen: invalid entry '': expected an IP address with a port, such as 192.0.2.1:5556 or [2001:db8::1]:5556",
    );
    e(
        "PULSEGATE_ACCESS_CONNECTIONS_PER_IP_OVERRIDES",
        "::1",
        "access.connections_per_ip_overrides: invalid entry '::1': expected a block and a number, such as 192.0.2.0/24=100",
    );
    e(
        "PULSEGATE_CONFIG",
        "/nonexistent/file",
        "/nonexistent/file: cannot read the file: No such file or directory (os error 2)",
    );
    check(
        &[],
        &[("listen", "x")],
        "--listen: listen: invalid entry 'x': expected an IP address with a port, such as 192.0.2.1:5556 or [2001:db8::1]:5556",
    );
    check(
        &[],
        &[("log.level", "loud")],
        "--log-level: log.level: invalid value 'loud': expected \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
    );
    check(&[], &[("colour", "x")], "command line: unknown key colour");
    let listen = "listen: invalid entry '192.0.2.1:5556': the list contains it twice";
    check(&[], &[("listen", "192.0.2.1:5556"), ("listen", "192.0.2.1:5556")], &format!("--listen: {listen}"));
    // The file is the default one's namesake only where it exists.
    let none: [(OsString, OsString); 0] = [];
    let missing = Config::load_or(Path::new("/x"), Some(Path::new("/nonexistent/a\nb")), none, &[]).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "/nonexistent/a\u{fffd}b: cannot read the file: No such file or directory (os error 2)"
    );
    let bytes = std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
    let environment = [("PULSEGATE_TERMINATOR".into(), bytes)];
    let error = Config::load_or(Path::new("/x"), None, environment, &[]).unwrap_err();
    assert_eq!(error.to_string(), "environment PULSEGATE_TERMINATOR: the value must be UTF-8");
}

#[test]
fn a_deep_or_long_file_has_an_error() {
    for (text, expected) in [
        (
            "a=".to_string() + &"[".repeat(100_000),
            "1:83: invalid TOML: cannot recurse further; max recursion depth met",
        ),
        (
            "a=".to_string() + &"{a=".repeat(100_000),
            "1:243: invalid TOML: cannot recurse further; max recursion depth met",
        ),
        ("a.".repeat(100_000) + "a=1", "1:1: invalid TOML: recursion limit"),
        (format!("[{}a]", "a.".repeat(100_000)), "1:1: invalid TOML: recursion limit"),
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
    assert_eq!(folder.to_string(), "/: cannot read the file: Is a directory (os error 21)");
}
