//! Environment variables: those of the program, those of others, and their errors.

use super::*;

/// As Kubernetes sets them for services named pulsegate and pulsegate-web, and Docker for a link.
const SERVICE_LINKS: &[(&str, &str)] = &[
    ("PULSEGATE_SERVICE_HOST", "10.43.0.9"),
    ("PULSEGATE_SERVICE_PORT", "5556"),
    ("PULSEGATE_SERVICE_PORT_DEVICES", "5556"),
    ("PULSEGATE_PORT", "tcp://10.43.0.9:5556"),
    ("PULSEGATE_PORT_5556_TCP", "tcp://10.43.0.9:5556"),
    ("PULSEGATE_PORT_5556_TCP_PROTO", "tcp"),
    ("PULSEGATE_PORT_5556_TCP_PORT", "5556"),
    ("PULSEGATE_PORT_5556_TCP_ADDR", "10.43.0.9"),
    ("PULSEGATE_PORT_5555_UDP", "udp://10.43.0.9:5555"),
    ("PULSEGATE_WEB_SERVICE_HOST", "10.43.0.10"),
    ("PULSEGATE_WEB_PORT", "tcp://10.43.0.10:5580"),
    ("PULSEGATE_CONTROL_SERVICE_PORT", "1"),
    ("PULSEGATE_WEB_PORT_5580_TCP_ADDR", "10.43.0.10"),
];

#[test]
fn variables_that_kubernetes_sets_for_a_service_are_ignored() {
    let config = load_rest(SERVICE_LINKS, &[]).unwrap();
    assert_eq!(config.warnings(), []);
    assert_eq!(values(config), Config::default());
}

#[test]
fn an_unknown_variable_is_a_warning_and_a_misspelt_one_an_error() {
    for (variable, value) in [("PULSEGATE_VERSION", "1"), ("PULSEGATE_PORT", "5556"), ("PULSEGATE_", "")] {
        let warnings = load_rest(&[(variable, value)], &[]).unwrap().warnings();
        let shown: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(shown, [format!("environment {variable}: ignored: no key has this variable")]);
    }
    for (variable, meant) in [
        ("PULSEGATE_LISTEN_", ", did you mean PULSEGATE_LISTEN?"),
        ("PULSEGATE_HEARTBEAT_INTERVALL", ", did you mean PULSEGATE_HEARTBEAT_INTERVAL?"),
        ("PULSEGATE_LIMITS_OBJECTS", ""),
    ] {
        let error = load_rest(&[(variable, "1")], &[]).unwrap_err();
        assert_eq!(error, format!("environment {variable}: no key has this variable{meant}"));
    }
    // A key in the form of a service link is still that key.
    assert!(load_rest(&[("PULSEGATE_LISTEN", "tcp://192.0.2.1:5556")], &[]).is_err());
}

#[test]
fn an_error_shows_a_quoted_or_empty_value() {
    let check = |value: &str, expected: &str| {
        let error = load_rest(&[("PULSEGATE_HEARTBEAT_INTERVAL", value)], &[]).unwrap_err();
        let begin = "environment PULSEGATE_HEARTBEAT_INTERVAL: heartbeat.interval: invalid value";
        assert!(error.starts_with(&format!("{begin} {expected}: expected a duration")), "{error}");
        assert_eq!(error.ends_with("(the quotes are part of the value: remove them)"), value.len() > 1, "{error}");
    };
    check("\"3s\"", "'\"3s\"'");
    check("'3s'", "''3s''");
    check("", "''");
    let error = load_rest(&[(FILE_VARIABLE, "")], &[]).unwrap_err();
    assert_eq!(error, "environment PULSEGATE_CONFIG: invalid value '': expected the path of a file");
    let entry = load_rest(&[("PULSEGATE_LISTEN", "127.0.0.1:80000,localhost:1")], &[]).unwrap_err();
    let expected = "listen: invalid entry '127.0.0.1:80000': expected a port from 0 to 65535";
    assert_eq!(entry.lines().next(), Some(&*format!("environment PULSEGATE_LISTEN: {expected}")));
    assert!(entry.lines().nth(1).unwrap().contains("'localhost:1': expected an IP address with a port"), "{entry}");
}
