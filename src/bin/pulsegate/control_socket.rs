//! The control socket's place in the file system, for both of its ends.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use log::{info, warn};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Group, chown, geteuid};
use pulsegate::{ListenerId, Server};

use crate::app::App;
use crate::config::{Config, Control};

/// Where the control socket of a gateway of the system is.
pub(crate) const SYSTEM_PATH: &str = "/run/pulsegate/control.sock";

/// Where the control socket is, unless told otherwise: none, if this user has no place for it.
pub(crate) fn default_path() -> Option<PathBuf> {
    // Made by the service manager for the gateway, whoever that runs as.
    if let Some(directory) = std::env::var_os("RUNTIME_DIRECTORY").filter(|directory| !directory.is_empty()) {
        return Some(Path::new(&directory).join("control.sock"));
    }
    if geteuid().is_root() {
        return Some(SYSTEM_PATH.into());
    }
    std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("pulsegate.sock"))
}

/// The socket, whose name goes when the gateway does, unless it belongs to the service manager.
pub(crate) struct ControlSocket {
    listener: ListenerId,
    path: Option<PathBuf>,
}

impl ControlSocket {
    /// Opens the control socket that the configuration asks for. One that was not asked for by name
    /// is not insisted on, except where another gateway answers on it.
    pub(crate) fn open(server: &mut Server<App>, config: &Config) -> Result<Option<Self>, String> {
        let Some((path, insist)) = place(config) else {
            if config.control == Control::Default {
                info!("no control socket: XDG_RUNTIME_DIR is not set");
            }
            return Ok(None);
        };
        let shown = path.display().to_string();
        match UnixStream::connect(&path) {
            Ok(_) => {
                return Err(format!(
                    "another gateway answers on the control socket {shown}; give this one --control PATH or --control off"
                ));
            }
            // There is nobody.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
            // There may be somebody, whose socket is not to be taken away.
            Err(error) if insist => return Err(format!("cannot open the control socket {shown}: {error}")),
            Err(error) => {
                warn!("no control socket: cannot open {shown}: {error}");
                return Ok(None);
            }
        }
        let listener = match bind(&path, config, insist) {
            Ok(listener) => listener,
            Err(error) if insist => return Err(format!("cannot open the control socket {shown}: {error}")),
            Err(error) => {
                warn!("no control socket: cannot open {shown}: {error}");
                return Ok(None);
            }
        };
        let listener = server.listen_local(listener, config.consumer_bytes_max()).map_err(|e| e.to_string())?;
        Ok(Some(Self { listener, path: Some(path) }))
    }

    /// Takes over a socket that was handed in: its name, mode and group are the service manager's.
    pub(crate) fn adopt(server: &mut Server<App>, listener: UnixListener, config: &Config) -> Result<Self, String> {
        let listener = server.listen_local(listener, config.consumer_bytes_max()).map_err(|e| e.to_string())?;
        Ok(Self { listener, path: None })
    }

    /// Whether it was handed in.
    pub(crate) fn is_handed(&self) -> bool {
        self.path.is_none()
    }

    /// Whether it has the name that the configuration asks for.
    pub(crate) fn is_where_wanted(&self, config: &Config) -> bool {
        self.path.is_some() && self.path == place(config).map(|(path, _)| path)
    }

    /// Changes how much may wait for each client that comes from now on.
    pub(crate) fn resize(&self, server: &mut Server<App>, config: &Config) {
        server.set_outbox_max(self.listener, config.consumer_bytes_max());
    }

    /// Takes no more clients; those that are connected stay.
    pub(crate) fn close(self, server: &mut Server<App>) {
        server.unlisten(self.listener);
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let Some(path) = &self.path else { return };
        if let Err(error) = fs::remove_file(path) {
            warn!("the control socket {} could not be removed: {error}", path.display());
        }
    }
}

/// Where the control socket is to be, if there is to be one, and whether that place was asked for by name.
fn place(config: &Config) -> Option<(PathBuf, bool)> {
    match &config.control {
        Control::Off => None,
        Control::Path(path) => Some((path.clone(), true)),
        Control::Default => default_path().map(|path| (path, false)),
    }
}

/// Binds the socket, in place of one that nobody answers on. The directory of the default path is
/// made where there is none; others are the administrator's.
fn bind(path: &Path, config: &Config, insist: bool) -> io::Result<UnixListener> {
    if let (false, Some(directory)) = (insist, path.parent()) {
        fs::create_dir_all(directory)?;
    }
    match fs::symlink_metadata(path) {
        // Connecting to a file that is no socket fails as connecting to a socket that nobody answers on does.
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::other("a file has that name, and it is no socket"));
        }
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Nobody may connect before mode and group are what they should be.
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener?;
    if let Some(name) = &config.control_group {
        let group = Group::from_name(name)?.ok_or_else(|| io::Error::other(format!("there is no group {name:?}")))?;
        chown(path, None, Some(group.gid))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(config.control_mode))?;
    Ok(listener)
}
