//! The control socket in the file system, for the gateway and for its clients.

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
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Group, chown, geteuid};
use pulsegate::{ListenerId, Server};

use crate::app::App;
use crate::config::{Config, Control};

/// The control socket of the system's gateway.
pub(crate) const SYSTEM_PATH: &str = "/run/pulsegate/control.sock";

/// The longest wait for a connect while the accept queue is full. A full queue already proves a live gateway, and a reload
/// connects inside the event loop.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(10);

/// Returns the default path of the control socket, or `None` if this user has no place for it.
pub(crate) fn default_path() -> Option<PathBuf> {
    path_for(geteuid().is_root(), std::env::var_os("RUNTIME_DIRECTORY"), std::env::var_os("XDG_RUNTIME_DIR"))
}

fn path_for(root: bool, made: Option<OsString>, own: Option<OsString>) -> Option<PathBuf> {
    // The service manager creates these directories for the gateway's user. Colons separate several.
    let mut made = made.iter().flat_map(std::env::split_paths);
    if let Some(directory) = made.find(|path| !path.as_os_str().is_empty()) {
        return Some(directory.join("control.sock"));
    }
    if root {
        return Some(SYSTEM_PATH.into());
    }
    own.filter(|directory| !directory.is_empty()).map(|directory| Path::new(&directory).join("pulsegate.sock"))
}

/// Connects with a timeout for the connect, for every write and for every read. The standard library's connect waits for
/// ever while the accept queue is full.
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

/// The gateway's control socket. Drop removes its name, unless the socket belongs to the service manager.
pub(crate) struct ControlSocket {
    listener: ListenerId,
    name: Option<Name>,
}

impl ControlSocket {
    /// Opens the control socket of the configuration. A failure at the default path is only a warning, unless another
    /// gateway answers there.
    pub(crate) fn open(server: &mut Server<App>, config: &Config, access: Access) -> Result<Option<Self>, String> {
        let Some((path, insist)) = place(config) else {
            if config.control == Control::Default {
                info!("no control socket: XDG_RUNTIME_DIR is not set");
            }
            return Ok(None);
        };
        let shown = path.display().to_string();
        // Holds the lock until the socket listens. Otherwise another gateway that starts would take it for a stale one.
        let _lock = lock(&path);
        match connect(&path, CONNECT_TIMEOUT) {
            Ok(_) => {
                return Err(format!(
                    "another gateway answers on the control socket {shown}; give this one --control PATH or --control off"
                ));
            }
            // No gateway answers.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
            // A gateway may answer, so its socket stays.
            Err(error) if insist => return Err(format!("cannot open the control socket {shown}: {error}")),
            Err(error) => {
                warn!("no control socket: cannot open {shown}: {error}");
                return Ok(None);
            }
        }
        let (listener, name) = match bind(path, access, insist) {
            Ok(bound) => bound,
            Err(error) if insist => return Err(format!("cannot open the control socket {shown}: {error}")),
            Err(error) => {
                warn!("no control socket: cannot open {shown}: {error}");
                return Ok(None);
            }
        };
        let listener = server.listen_unix(listener, config.consumer_bytes_max()).map_err(|e| e.to_string())?;
        Ok(Some(Self { listener, name: Some(name) }))
    }

    /// Adopts an inherited socket. Its name, mode and group belong to the service manager.
    pub(crate) fn adopt(server: &mut Server<App>, listener: UnixListener, config: &Config) -> Result<Self, String> {
        let listener = server.listen_unix(listener, config.consumer_bytes_max()).map_err(|e| e.to_string())?;
        Ok(Self { listener, name: None })
    }

    /// Whether it is an inherited socket.
    pub(crate) fn is_handed(&self) -> bool {
        self.name.is_none()
    }

    /// Whether it has the path of the configuration.
    pub(crate) fn is_where_wanted(&self, config: &Config) -> bool {
        self.name.as_ref().is_some_and(|name| place(config).is_some_and(|(path, _)| path == name.path))
    }

    /// Changes the queue limit of each later client.
    pub(crate) fn resize(&self, server: &mut Server<App>, config: &Config) {
        server.set_outbox_max(self.listener, config.consumer_bytes_max());
    }

    /// Whether its name exists and leads to this socket.
    pub(crate) fn has_its_name(&self) -> bool {
        self.name.as_ref().is_none_or(Name::is_ours)
    }

    /// Changes group and mode of the socket.
    pub(crate) fn set_access(&self, access: Access) -> Result<(), String> {
        let Some(name) = &self.name else { return Ok(()) };
        name.set_access(access)
            .map_err(|error| format!("cannot change the control socket {}: {error}", name.path.display()))
    }

    /// Stops listening. Connected clients stay.
    pub(crate) fn close(mut self, server: &mut Server<App>) {
        server.unlisten(self.listener);
        if !self.has_its_name() {
            // An inherited socket has no name to remove.
            self.name.take().into_iter().for_each(Name::forget);
        }
    }
}

/// Group and mode of the socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    mode: u32,
    /// `None` leaves the group that the system gives to new files.
    group: Option<Gid>,
}

impl Access {
    /// Returns group and mode of the configuration. An unknown group is an error.
    pub(crate) fn of(config: &Config) -> Result<Self, String> {
        let group = config.control_group.as_ref().map(|name| match Group::from_name(name) {
            Ok(Some(group)) => Ok(group.gid),
            Ok(None) => Err(format!("control.group: this machine has no group '{name}'")),
            Err(error) => Err(format!("control.group: cannot look up the group '{name}': {error}")),
        });
        Ok(Self { mode: config.control_mode, group: group.transpose()? })
    }
}

/// Keeps other gateways from opening a socket in the same directory at the same time. The kernel releases the lock with
/// the process, and the directory needs no file for it. A directory that cannot be locked is used without.
#[expect(clippy::disallowed_methods, reason = "only a start or a reload waits here, for 100 ms at most")]
fn lock(path: &Path) -> Option<Flock<File>> {
    let mut directory = File::open(path.parent()?).ok()?;
    for _ in 0..LOCK_TRIES {
        directory = match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Some(lock),
            Err((directory, _)) => directory,
        };
        std::thread::sleep(LOCK_PAUSE);
    }
    None
}

/// A gateway holds the lock for some milliseconds, but any program that may open the directory can hold it for ever.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The socket's name in the file system. Drop removes it.
struct Name {
    path: PathBuf,
    /// The socket. Another program may have put another file in its place. The open file keeps the inode, which another
    /// file could get otherwise.
    file: File,
    /// The group that the system gave to the new socket.
    group: u32,
}

impl Name {
    fn new(path: PathBuf) -> io::Result<Self> {
        // With musl the standard library rejects O_PATH, which it takes for an access mode.
        let file = open(&path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        let file = File::from(file);
        let metadata = file.metadata()?;
        // The gateway must not change mode and group of a link's target or of another program's socket.
        if !metadata.file_type().is_socket() || metadata.nlink() != 1 {
            return Err(io::Error::other("another program has replaced the socket"));
        }
        Ok(Self { path, group: metadata.gid(), file })
    }

    fn is_ours(&self) -> bool {
        let identity = |file: Metadata| (file.dev(), file.ino());
        let there = fs::symlink_metadata(&self.path).map(identity);
        there.is_ok_and(|there| self.file.metadata().map(identity).is_ok_and(|ours| ours == there))
    }

    /// Changes group and mode of the open file, independent of its path. The mode never gives access to the wrong group.
    fn set_access(&self, access: Access) -> io::Result<()> {
        let open = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        let group = access.group.map_or(self.group, Gid::as_raw);
        if self.file.metadata()?.gid() != group {
            fs::set_permissions(&open, fs::Permissions::from_mode(access.mode & 0o600))?;
            chown(&open, None, Some(Gid::from_raw(group)))?;
        }
        fs::set_permissions(&open, fs::Permissions::from_mode(access.mode))
    }

    /// Leaves the path as it is.
    fn forget(mut self) {
        self.path.clear();
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        let removed = match self.is_ours() {
            true => fs::remove_file(&self.path),
            false => Err(io::Error::other("another file has its name, or none")),
        };
        if let Err(error) = removed {
            warn!("the control socket {} could not be removed: {error}", self.path.display());
        }
    }
}

/// Returns the path of the control socket, and whether the configuration names it.
fn place(config: &Config) -> Option<(PathBuf, bool)> {
    match &config.control {
        Control::Off => None,
        Control::Path(path) => Some((path.clone(), true)),
        Control::Default => default_path().map(|path| (path, false)),
    }
}

/// Binds the socket, in place of a stale one. The program makes the directory of the default path if it is missing.
/// Other directories are the administrator's.
fn bind(path: PathBuf, access: Access, insist: bool) -> io::Result<(UnixListener, Name)> {
    if let (false, Some(directory)) = (insist, path.parent()) {
        fs::create_dir_all(directory)?;
    }
    match fs::symlink_metadata(&path) {
        // A connect to a file that is no socket fails in the same way as a connect to a stale socket.
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::other("a file has that name, and it is no socket"));
        }
        Ok(_) => fs::remove_file(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = bind_for_owner(&path)?;
    // From here on, an error removes the name.
    let name = Name::new(path)?;
    name.set_access(access)?;
    Ok((listener, name))
}

/// Binds a socket that only its owner can connect to, until mode and group are set.
fn bind_for_owner(path: &Path) -> io::Result<UnixListener> {
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    listener
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
        drop(bind(path.clone(), ACCESS, true).unwrap());
        assert!(!path.exists());
        // A stop closes the listener first and removes the name at its end. Another file could get the inode meanwhile.
        let (listener, name) = bind(path.clone(), ACCESS, true).unwrap();
        drop(listener);
        fs::remove_file(&path).unwrap();
        let another = UnixListener::bind(&path).unwrap();
        drop(name);
        assert!(path.exists(), "another gateway's socket stays");
        drop(another);
        fs::remove_file(&path).unwrap();
    }

    const ACCESS: Access = Access { mode: 0o660, group: None };

    #[test]
    fn a_group_that_the_machine_lacks_is_an_error() {
        let mut config = Config::default();
        config.control_group = Some("no-such-group".into());
        assert!(Access::of(&config).unwrap_err().contains("no-such-group"));
        assert!(Access::of(&Config::default()).is_ok());
    }

    #[test]
    fn one_gateway_at_a_time_opens_a_socket_in_a_directory() {
        let directory = path("lock");
        fs::create_dir(&directory).unwrap();
        let socket = directory.join("control.sock");
        let first = lock(&socket);
        assert!(first.is_some() && lock(&directory.join("another.sock")).is_none());
        drop(first);
        assert!(lock(&socket).is_some());
        fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn only_the_owner_can_connect_before_group_and_mode_are_set() {
        let path = path("owner");
        let before = umask(Mode::empty());
        let listener = bind_for_owner(&path);
        let mode = fs::metadata(&path).unwrap().mode() & 0o777;
        umask(before);
        assert_eq!(mode, 0o600);
        drop(listener.unwrap());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_socket_has_the_group_and_mode_that_the_configuration_asks_for() {
        let path = path("access");
        // Root may give a file to any group, and other users to their own groups.
        let groups = nix::unistd::getgroups().unwrap();
        let other = groups.into_iter().map(Gid::as_raw).chain(geteuid().is_root().then_some(12));
        let own = nix::unistd::getegid().as_raw();
        let (_listener, name) = bind(path.clone(), ACCESS, true).unwrap();
        let seen = || fs::metadata(&path).map(|file| (file.mode() & 0o777, file.gid())).unwrap();
        assert_eq!(seen(), (0o660, own));
        if let Some(group) = other.into_iter().find(|&group| group != own) {
            name.set_access(Access { mode: 0o620, group: Some(Gid::from_raw(group)) }).unwrap();
            assert_eq!(seen(), (0o620, group));
        }
        name.set_access(Access { mode: 0o600, group: None }).unwrap();
        assert_eq!(seen(), (0o600, own));
    }

    #[test]
    fn a_link_in_the_sockets_place_is_left_alone() {
        let (path, other) = (path("link"), path("target"));
        fs::write(&other, "").unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        // Another program puts it there after the gateway has bound its socket.
        assert!(Name::new(path.clone()).is_err());
        fs::remove_file(&path).unwrap();
        let (_listener, name) = bind(path.clone(), ACCESS, true).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        name.set_access(ACCESS).unwrap();
        assert_eq!(fs::metadata(&other).unwrap().mode() & 0o777, 0o600);
        name.forget();
        fs::remove_file(&path).unwrap();
        fs::remove_file(&other).unwrap();
    }
}
