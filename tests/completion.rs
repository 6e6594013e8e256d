//! The completion in a real bash. Its words come from the table of commands, and this test asks bash for them.

#[path = "common/environment.rs"]
mod environment;

/// Returns the completions of the last word of a line.
fn offered(line: &str) -> Vec<String> {
    let script = r#"
        source "$0"
        read -ra COMP_WORDS <<<"${1//=/ = }"
        [[ $1 == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
        _pulsegate
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/completions/pulsegate.bash");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_pulsegate")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let output = environment::program("bash")
        .args(["-c", script, file, line])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", path)
        .env("PULSEGATE_CONTROL_PATH", "/nonexistent/control.sock")
        .output()
        .expect("bash is needed for this test");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert_eq!(text(output.stderr), "", "{line}");
    text(output.stdout).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    let check = |line: &str, expected: &[&str]| assert_eq!(offered(line), expected, "{line:?}");
    check("pulsegate st", &["stats", "stop"]);
    check("pulsegate devices --", &["--all", "--json", "--control", "--help"]);
    check("pulsegate --pr", &["--print-config"]);
    check("pulsegate --ver", &["--version"]);
    check("pulsegate serve --log-level de", &["debug"]);
    check("pulsegate serve --log-level=de", &["debug"]);
    check("pulsegate serve --events ", &["-", "none"]);
    check("pulsegate --control=o", &["off"]);
    check("pulsegate check-config Cargo.t", &["Cargo.toml"]);
    check("pulsegate watch --type P", &["Project", "Performance"]);
    check("pulsegate send --wait ", &[]);
    // Without a gateway there is no device to complete.
    check("pulsegate send ", &[]);
    assert!(offered("pulsegate ").contains(&"check-config".into()));
}
