//! `pulsegate mqtt --stats`: the counters of the uplink that runs, by a socket of its own.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::geteuid;
use serde_json::Value;

use super::counters::Counter;
use crate::control_socket::connect;
use crate::{Failure, print};

/// The directory of the socket where a service manager or root runs the uplink.
const SYSTEM_DIRECTORY: &str = "/run/pulsegate-mqtt";
/// How long the uplink may take for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The longest answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Where the socket of this user's uplink is, if there is a place for it.
fn own_path() -> Option<PathBuf> {
    let made = std::env::var_os("RUNTIME_DIRECTORY").and_then(|all| std::env::split_paths(&all).next());
    if let Some(directory) = made {
        return Some(directory.join("stats.sock"));
    }
    if geteuid().is_root() {
        return Some(PathBuf::from(SYSTEM_DIRECTORY).join("stats.sock"));
    }
    let directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty())?;
    Some(PathBuf::from(directory).join("pulsegate-mqtt.sock"))
}

/// Opens the socket. Without a place for it, or beside an uplink that has it, there is none.
pub(super) fn listen() -> Result<UnixListener, String> {
    let path = own_path().ok_or("XDG_RUNTIME_DIR is not set")?;
    if connect(&path, ANSWER_WITHIN).is_ok() {
        return Err(format!("another uplink has {}", path.display()));
    }
    let open = || {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        // A file that an earlier uplink has left, if there is one.
        let _ = fs::remove_file(&path);
        UnixListener::bind(&path)
    };
    open().map_err(|error| format!("{}: {error}", path.display()))
}

/// Prints the counters of the uplink that runs.
pub(crate) fn show(json: bool) -> Result<(), Failure> {
    let report = ask()?;
    if json {
        return print(&format!("{report}\n"));
    }
    let members = report.as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let members = members.filter(|(_, value)| !value.is_object());
    let members = members.map(|(name, value)| format!("{name:<20} {}\n", text(value)));
    let counter = |counter: &Counter| {
        let count = &report["counters"][counter.as_str()];
        format!("{counter:<20} {count:>10}  {}\n", counter.about())
    };
    print(&members.chain(Counter::ALL.iter().map(counter)).collect::<String>())
}

fn ask() -> Result<Value, Failure> {
    let paths = own_path().into_iter().chain([PathBuf::from(SYSTEM_DIRECTORY).join("stats.sock")]);
    let mut failures = Vec::new();
    for path in paths {
        let mut text = String::new();
        let answer = connect(&path, ANSWER_WITHIN)
            .and_then(|stream| stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text))
            .and_then(|_| Ok(serde_json::from_str(&text)?));
        match answer {
            Ok(report) => return Ok(report),
            Err(error) => failures.push(format!("{}: {error}", path.display())),
        }
    }
    failures.dedup();
    Err(Failure::NoGateway(format!("no uplink answers on {}", failures.join(", nor on "))))
}
