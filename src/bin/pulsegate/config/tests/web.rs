//! The keys of `[web]`.

use super::*;

#[test]
fn every_key_of_the_page_can_be_set() {
    let text = r#"
[web]
listen = "192.0.2.1:80"
hosts = ["Gate.example"]
commands = true
token_file = "/etc/pulsegate/token"
"#;
    let config = load(text).unwrap();
    let shown: Vec<_> = KEYS.iter().filter(|key| key.name.starts_with("web.")).map(|key| (key.show)(&config)).collect();
    assert_eq!(shown, [r#"["192.0.2.1:80"]"#, r#"["gate.example"]"#, "true", r#""/etc/pulsegate/token""#]);
    assert_eq!(values(load(config.print()).unwrap()), values(config));
}

#[test]
fn values_of_the_page_that_cannot_work_are_errors() {
    let check = |line: &str, expected: &str| {
        let error = load(format!("[web]\n{line}\n")).unwrap_err();
        assert!(error.contains(expected), "{line}: {error}");
    };
    check("listen = []", "web.listen: invalid value []: must have at least one address");
    check("hosts = \"a b\"", "expected the name of a host without a port");
    check("commands = \"yes\"", "expected true or false");
    check("token_file = \"token\"", "expected an absolute path");
}
