//! Any configuration is valid or has readable errors. A valid one keeps its meaning when it is printed and read again.
//!
//! Input: the text of a file. Each NUL begins a `VARIABLE=value` of the environment or a `--key=value`.

#![no_main]

#[allow(dead_code, unused_imports, reason = "the daemon uses all of it")]
#[path = "../../src/bin/pulsegate/config/mod.rs"]
mod config;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|&byte| byte == 0);
    let file = parts.next().unwrap_or_default();
    let (mut environment, mut overrides) = (Vec::new(), Vec::new());
    for part in parts {
        let (name, value) = part.split_at(part.iter().position(|&byte| byte == b'=').unwrap_or(part.len()));
        let value = value.get(1..).unwrap_or_default().to_vec();
        if let Some(option) = name.strip_prefix(b"--") {
            let key = std::str::from_utf8(option).ok().and_then(Config::key_of_option);
            overrides.extend(key.zip(String::from_utf8(value).ok()));
        // Another file would be read.
        } else if name != b"PULSEGATE_CONFIG" {
            environment.push((OsString::from_vec(name.to_vec()), OsString::from_vec(value)));
        }
    }
    match load(file, environment, &overrides) {
        Ok(config) => {
            config.settings.check().expect("settings in their bounds");
            let printed = config.print();
            let again = load(printed.as_bytes(), Vec::new(), &[]);
            let again = again.unwrap_or_else(|error| panic!("what was printed is refused: {error}\n{printed}"));
            assert_eq!(config.changes(&again), [""; 0], "{printed}");
        }
        Err(error) => {
            let error = error.to_string();
            assert!(!error.is_empty() && error.len() < 4096, "{error}");
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }
});

fn load(
    file: &[u8],
    environment: Vec<(OsString, OsString)>,
    overrides: &[(&'static str, String)],
) -> Result<Config, impl std::fmt::Display> {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let name = || std::env::temp_dir().join(format!("pulsegate-fuzz-{}.toml", std::process::id()));
    let path: &Path = PATH.get_or_init(name);
    std::fs::write(path, file).expect("a temporary file");
    Config::load(Some(path), environment, overrides)
}
