//! Opens standard output and standard error so that a write never blocks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// A file descriptor in non-blocking mode.
#[derive(Debug)]
pub(crate) enum Output {
    /// A stream socket, which service managers use.
    Socket(OwnedFd),
    /// A terminal, a pipe, a regular file or a character device.
    File(File),
}

impl Output {
    /// Opens `fd`, which is descriptor `number` of this process.
    ///
    /// Non-blocking mode belongs to the open file description, which the shell shares. So the function opens a terminal or
    /// a pipe again, by its name in /proc, and sets the mode of the shared description only if that fails. A regular file
    /// keeps its description and offset, because a write to it never waits for a peer.
    pub(crate) fn open(fd: impl AsFd, number: i32) -> io::Result<Self> {
        let file = File::from(fd.as_fd().try_clone_to_owned()?);
        let kind = file.metadata()?.file_type();
        if kind.is_file() {
            return Ok(Self::File(file));
        }
        if kind.is_socket() {
            set_nonblocking(&file)?;
            return Ok(Self::Socket(file.into()));
        }
        let again = OpenOptions::new()
            .write(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
            .open(format!("/proc/self/fd/{number}"));
        again.or_else(|_| set_nonblocking(&file).map(|()| file)).map(Self::File)
    }
}

fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
