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
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Group, chown, geteuid};
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
    pub(crate) fn open(server: &mut Server<App>, config: &Config, access: Access) -> Result<Option<Self>, String> {
        let Some((path, insist)) = place(config) else {
            if config.control == Control::Default {
                info!("no control socket: XDG_RUNTIME_DIR is not set");
            }
            return Ok(None);
        };
        let shown = path.display().to_string();
        // Until the socket listens: another gateway that starts would take it for a stale one.
        let _lock = lock(&path);
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

    /// Takes over a socket that was handed in: its name, mode and group are the service manager's.
    pub(crate) fn adopt(server: &mut Server<App>, listener: UnixListener, config: &Config) -> Result<Self, String> {
        let listener = server.listen_unix(listener, config.consumer_bytes_max()).map_err(|e| e.to_string())?;
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

    /// Whether clients still find it: nobody has removed its name or put another file there.
    pub(crate) fn has_its_name(&self) -> bool {
        self.name.as_ref().is_none_or(Name::is_ours)
    }

    /// Gives the socket another group and mode.
    pub(crate) fn set_access(&self, access: Access) -> Result<(), String> {
        let Some(name) = &self.name else { return Ok(()) };
        name.set_access(access)
            .map_err(|error| format!("cannot change the control socket {}: {error}", name.path.display()))
    }

    /// Takes no more clients. Connected clients stay.
    pub(crate) fn close(mut self, server: &mut Server<App>) {
        server.unlisten(self.listener);
        if !self.has_its_name() {
            // There is no name to remove.
            self.name.take().into_iter().for_each(Name::forget);
        }
    }
}

/// Who may connect to the socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    mode: u32,
    /// `None` leaves the group that the system gives to new files.
    group: Option<Gid>,
}

impl Access {
    /// As the configuration asks for. A group that this machine does not have is an error.
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

/// The socket's name in the file system. Dropping it removes the name.
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
        // The standard library's way to open takes O_PATH for an access mode where the C library is musl.
        let file = open(&path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        let file = File::from(file);
        let metadata = file.metadata()?;
        // Mode and group of a link's target, or of another program's socket, are not for the gateway to change.
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

    /// Changes group and mode of the open file, whatever its path leads to meanwhile. No other group gets in between.
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

/// Where the control socket is to be, if there is to be one, and whether that place was asked for by name.
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
        // Connecting to a file that is no socket fails as connecting to a socket that nobody answers on does.
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
        // Its listener is closed when a stop begins, its name goes at the end; its inode might be another's meanwhile.
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
        // Root may give a file to any group, others to their own groups.
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
        // As if another program had put it there after the gateway had bound its socket.
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
