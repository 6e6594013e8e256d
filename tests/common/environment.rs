//! The settings of the tests, and programs that do not inherit them.

#![allow(dead_code, reason = "each test uses its part")]

use std::ffi::OsStr;
use std::process::Command;

/// Begins the names of all settings of the tests. The gateway reads variables that begin with `PULSEGATE_`.
const PREFIX: &str = "PULSEGATE_TEST_";

/// A setting of the tests: `PULSEGATE_TEST_SEED` or, shorter, `PULSEGATE_SEED`.
pub(crate) fn setting(name: &str) -> Option<String> {
    let long = std::env::var(format!("{PREFIX}{name}"));
    long.or_else(|_| std::env::var(format!("PULSEGATE_{name}"))).ok()
}

/// As [`setting`], for a number.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = setting(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{PREFIX}{name} must be a number, not {text:?}")))
}

/// A program that inherits no variable of the gateway and none of the tests.
pub(crate) fn program(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(path);
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.as_encoded_bytes().starts_with(b"PULSEGATE_")) {
        command.env_remove(name);
    }
    command
}
