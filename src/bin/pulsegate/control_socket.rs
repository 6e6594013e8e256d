//! The control socket's place in the file system, for both of its ends.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use log::{info, warn};
use nix::unistd::geteuid;
use pulsegate::Server;

use crate::app::App;
use crate::config::{Config, ControlPath};

/// Where the control socket is, unless told otherwise: none, if this user has no place for it.
pub(crate) fn default_path() -> Option<PathBuf> {
    if geteuid().is_root() {
        return Some("/run/pulsegate/control.sock".into());
    }
    std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("pulsegate.sock"))
}

/// The socket's name, which goes when the gateway does.
pub(crate) struct ControlSocket(PathBuf);

impl ControlSocket {
    /// Opens the control socket that the configuration asks for. One that was not asked for by name
    /// is not insisted on, except where another gateway answers on it.
    pub(crate) fn open(server: &mut Server<App>, config: &Config) -> Result<Option<Self>, String> {
        let (path, insist) = match &config.control {
            ControlPath::Off => return Ok(None),
            ControlPath::At(path) => (path.clone(), true),
            ControlPath::Default => match default_path() {
                Some(path) => (path, false),
                None => {
                    info!("no control socket: XDG_RUNTIME_DIR is not set");
                    return Ok(None);
                }
            },
        };
        let shown = path.display().to_string();
        if UnixStream::connect(&path).is_ok() {
            return Err(format!(
                "another gateway answers on the control socket {shown}; give this one --control PATH or off"
            ));
        }
        let listener = match bind(&path, config.control_mode, insist) {
            Ok(listener) => listener,
            Err(error) if insist => return Err(format!("cannot open the control socket {shown}: {error}")),
            Err(error) => {
                warn!("no control socket: cannot open {shown}: {error}");
                return Ok(None);
            }
        };
        server.listen_local(listener).map_err(|e| e.to_string())?;
        Ok(Some(Self(path)))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            warn!("the control socket {} could not be removed: {error}", self.0.display());
        }
    }
}

/// Binds the socket, in place of a file that nobody answers on. Its own directory below /run is made
/// where there is none; others are the administrator's.
fn bind(path: &Path, mode: u32, insist: bool) -> io::Result<UnixListener> {
    if let (false, Some(directory)) = (insist, path.parent()) {
        fs::create_dir_all(directory)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}
