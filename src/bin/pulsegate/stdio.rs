//! Standard output and error, whatever they are, such that writing never blocks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// A descriptor to write to that never blocks.
#[derive(Debug)]
pub(crate) enum Output {
    /// A stream socket, as a service manager gives.
    Socket(OwnedFd),
    /// A terminal, a pipe, a file, a device.
    File(File),
}

impl Output {
    /// The output behind `fd`, which is descriptor `number` of this process.
    ///
    /// Non-blocking mode belongs to the open file and not to the descriptor: switching it on where
    /// the shell has opened the file would switch it on for the shell. So a terminal or pipe is
    /// opened once more, by its name in /proc, and only where that cannot be is the mode switched on.
    /// Writing to a regular file never waits for a peer; it keeps its place and mode as they are.
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
