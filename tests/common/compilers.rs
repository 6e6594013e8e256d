//! The C compilers of this machine.

#![allow(dead_code, reason = "each test uses its part")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const STRICT: [&str; 6] = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"];

/// The sanitizers. A fault ends the program.
pub(crate) const SANITIZERS: [&str; 3] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"];

/// Reports on the terminal, whatever the test harness captures, that a tool is absent.
pub(crate) fn not_checked(what: &str, package: &str) {
    let _ = writeln!(std::io::stderr(), "NOT CHECKED: {what}: install Debian's package {package}");
}

pub(crate) fn exists(tool: &str) -> bool {
    Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Compiles C files with the strict warnings, and returns the executable.
pub(crate) fn compile(compiler: &str, name: &str, sources: &[&str], options: &[&str]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("pulsegate-c-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join(format!("{name}-{compiler}"));
    let mut command = Command::new(compiler);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(STRICT).args(["-O1", "-Iclients/c", "-o"]).arg(&program);
    let output = command.args(sources).args(options).output().unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
    program
}
