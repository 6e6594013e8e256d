//! The parts that the services beside the gateway share: the control socket, signals, and the name of the machine.

mod lines;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};

pub(crate) use self::lines::Lines;
use crate::Failure;
use crate::config::{Config, Control};
use crate::control_socket::{SYSTEM_PATH, connect, default_path};

/// How long a connection to the control socket may take. A gateway that accepts no client must not stop a service.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);
/// The exit code of a stop that a second signal cuts short.
const EXIT_SECOND_SIGNAL: i32 = 1;

/// The paths of the gateway's control socket, in the order of the attempts. `named` is the path of the command line.
///
/// # Errors
/// If the configuration switches the socket off.
pub(crate) fn control_paths(config: &Config, named: Option<&str>) -> Result<Vec<PathBuf>, Failure> {
    match (named, &config.control) {
        (Some(path), _) => Ok(vec![Path::new(path).into()]),
        (None, Control::Path(path)) => Ok(vec![path.clone()]),
        (None, Control::Default) => Ok(default_path().into_iter().chain([SYSTEM_PATH.into()]).collect()),
        (None, Control::Off) => {
            Err(Failure::Config("control.path is \"off\", but services reach the gateway by this socket".into()))
        }
    }
}

/// Connects to the first of these sockets on which a gateway listens.
///
/// # Errors
/// A sentence with the reason for each path.
pub(crate) fn open_control(paths: &[PathBuf]) -> Result<UnixStream, String> {
    let mut failures = Vec::new();
    for path in paths {
        match connect(path, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failures.push(format!("{}: {error}", path.display())),
        }
    }
    Err(format!("no gateway answers on the control socket {}", failures.join(", nor on ")))
}

/// Returns a stream that becomes readable with the first signal to stop. A second signal ends the process at once.
///
/// # Errors
/// If the system refuses the handlers or the stream.
pub(crate) fn stop_signals() -> io::Result<UnixStream> {
    let stopping = Arc::new(AtomicBool::new(false));
    let (ours, theirs) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_SECOND_SIGNAL, Arc::clone(&stopping))?;
        signal_hook::flag::register(signal, Arc::clone(&stopping))?;
        signal_hook::low_level::pipe::register(signal, theirs.try_clone()?)?;
    }
    Ok(ours)
}

/// The name of this machine, if it is text.
pub(crate) fn host_name() -> Option<String> {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok())
}
