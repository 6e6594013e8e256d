//! The control socket's place in the file system, for both of its ends.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{info, warn};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Group, chown, geteuid};
use pulsegate::{ListenerId, Server};

use crate::app::App;
use crate::config::{Config, Control};

/// Where the control socket of a gateway of the system is.
pub(crate) const SYSTEM_PATH: &str = "/run/pulsegate/control.sock";

/// How long to wait where so many clients wait to be accepted that there is no room for one more. They wait for somebody,
/// so nothing is to be learned; and a reload comes here from within the loop.
const ROOM_WITHIN: Duration = Duration::from_millis(10);

/// Where the control socket is, unless told otherwise: none, if this user has no place for it.
pub(crate) fn default_path() -> Option<PathBuf> {
    path_for(geteuid().is_root(), std::env::var_os("RUNTIME_DIRECTORY"), std::env::var_os("XDG_RUNTIME_DIR"))
}

fn path_for(root: bool, made: Option<OsString>, own: Option<OsString>) -> Option<PathBuf> {
    // Made by the service manager for the gateway, whoever that runs as. There may be several, with colons between.
    let mut made = made.iter().flat_map(std::env::split_paths);
    if let Some(directory) = made.find(|path| !path.as_os_str().is_empty()) {
        return Some(directory.join("control.sock"));
    }
    if root {
        return Some(SYSTEM_PATH.into());
    }
    own.filter(|directory| !directory.is_empty()).map(|directory| Path::new(&directory).join("pulsegate.sock"))
}

/// Connects, and sets a limit of time for that, for every write and for every read. The standard library's own way
/// waits for ever while more clients than the system keeps in a row have not been accepted.
pub(crate) fn connect(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let stream = UnixStream::from(socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?);
    stream.set_write_timeout(Some(limit))?;
    stream.set_read_timeout(Some(limit))?;
    match nix::sys::socket::connect(stream.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) => Ok(stream),
        Err(Errno::EAGAIN) => Err(io::ErrorKind::TimedOut.into()),
        Err(error) => Err(error.into()),
    }
}

/// The socket, whose name goes when the gateway does, unless it belongs to the service manager.
pub(crate) struct ControlSocket {
    listener: ListenerId,
    name: Option<Name>,
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
        match connect(&path, ROOM_WITHIN) {
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
        let (listener, name) = match bind(path, config, insist) {
            Ok(bound) => bound,
            Err(error) if insist => return Err(format!("cannot open the control socket {shown}: {error}")),
            Err(error) => {
                warn!("no control socket: cannot open {shown}: {error}");
                return Ok(None);
            }
        };
        let listener = server.listen_local(listener, config.consumer_bytes_max()).map_err(|e| e.to_string())?;
        Ok(Some(Self { listener, name: Some(name) }))
    }

    /// Takes over a socket that was handed in: its name, mode and group are the service manager's.
    pub(crate) fn adopt(server: &mut Server<App>, listener: UnixListener, config: &Config) -> Result<Self, String> {
        let listener = server.listen_local(listener, config.consumer_bytes_max()).map_err(|e| e.to_string())?;
        Ok(Self { listener, name: None })
    }

    /// Whether it was handed in.
    pub(crate) fn is_handed(&self) -> bool {
        self.name.is_none()
    }

    /// Whether it has the name that the configuration asks for.
    pub(crate) fn is_where_wanted(&self, config: &Config) -> bool {
        self.name.as_ref().is_some_and(|name| place(config).is_some_and(|(path, _)| path == name.path))
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

/// The socket's name in the file system, which goes when this does.
struct Name {
    path: PathBuf,
    /// The socket, which someone may have put another file in the place of. It is held open, since an inode that
    /// nobody holds may be that of the other file.
    file: File,
}

impl Name {
    fn new(path: PathBuf) -> io::Result<Self> {
        // The standard library's way to open takes O_PATH for an access mode where the C library is musl.
        let file = open(&path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { path, file: file.into() })
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let identity = |file: Metadata| (file.dev(), file.ino());
        let is_ours = || Ok(identity(fs::symlink_metadata(&self.path)?) == identity(self.file.metadata()?));
        let removed = is_ours().and_then(|ours| match ours {
            true => fs::remove_file(&self.path),
            false => Err(io::Error::other("another file has its name")),
        });
        if let Err(error) = removed {
            warn!("the control socket {} could not be removed: {error}", self.path.display());
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
fn bind(path: PathBuf, config: &Config, insist: bool) -> io::Result<(UnixListener, Name)> {
    if let (false, Some(directory)) = (insist, path.parent()) {
        fs::create_dir_all(directory)?;
    }
    match fs::symlink_metadata(&path) {
        // Connecting to a file that is no socket fails as connecting to a socket that nobody answers on does.
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::other("a file has that name, and it is no socket"));
        }
        Ok(_) => fs::remove_file(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Nobody may connect before mode and group are what they should be.
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(&path);
    umask(before);
    let listener = listener?;
    // From here on, whatever fails takes the name along.
    let name = Name::new(path)?;
    if let Some(group) = &config.control_group {
        let group = Group::from_name(group)?.ok_or_else(|| io::Error::other(format!("there is no group {group:?}")))?;
        chown(&name.path, None, Some(group.gid))?;
    }
    fs::set_permissions(&name.path, fs::Permissions::from_mode(config.control_mode))?;
    Ok((listener, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("pulsegate-{}-{name}", std::process::id()))
    }

    #[test]
    fn the_place_is_the_first_directory_that_was_given() {
        let check = |root: bool, made: Option<&str>, own: Option<&str>, expected: Option<&str>| {
            let path = path_for(root, made.map(OsString::from), own.map(OsString::from));
            assert_eq!(path, expected.map(PathBuf::from), "{made:?} {own:?}");
        };
        check(false, Some("/run/a:/run/b"), Some("/run/user/1"), Some("/run/a/control.sock"));
        check(true, Some("/run/a"), None, Some("/run/a/control.sock"));
        check(true, Some(""), None, Some(SYSTEM_PATH));
        check(false, None, Some("/run/user/1"), Some("/run/user/1/pulsegate.sock"));
        check(false, Some(""), Some(""), None);
        check(false, None, None, None);
    }

    #[test]
    fn only_the_socket_that_was_made_is_removed() {
        let path = path("name");
        drop(bind(path.clone(), &Config::default(), true).unwrap());
        assert!(!path.exists());
        // Its listener is closed when a stop begins, its name goes at the end; its inode might be another's meanwhile.
        let (listener, name) = bind(path.clone(), &Config::default(), true).unwrap();
        drop(listener);
        fs::remove_file(&path).unwrap();
        let another = UnixListener::bind(&path).unwrap();
        drop(name);
        assert!(path.exists(), "another gateway's socket stays");
        drop(another);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_socket_that_cannot_have_its_group_leaves_nothing_behind() {
        let path = path("group");
        let mut config = Config::default();
        config.control_group = Some("no-such-group".into());
        let error = bind(path.clone(), &config, true).map(drop).unwrap_err();
        assert!(error.to_string().contains("no-such-group"), "{error}");
        assert!(!path.exists());
    }
}
