//! Names of hosts. A look-up blocks for as long as DNS is away, so a child process does it: `pulsegate resolve HOST`.

use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use crate::{Failure, print};

/// The word that makes the program look up a name. No manual has it.
pub(crate) const COMMAND: &str = "resolve";

/// Prints the addresses of a host, one a line.
pub(crate) fn run(host: &str) -> Result<(), Failure> {
    let addresses = (host, 0).to_socket_addrs().map_err(|error| Failure::Failed(format!("{host}: {error}")))?;
    print(&addresses.map(|address| format!("{}\n", address.ip())).collect::<String>())
}

/// Starts a look-up. Its output ends when it is complete.
pub(super) fn start(host: &str) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    // The path of the executable may belong to a newer version by now.
    let mut command = Command::new("/proc/self/exe");
    command.args([COMMAND, host]).stdin(Stdio::null()).stdout(OwnedFd::from(theirs)).stderr(Stdio::null());
    Ok((command.spawn()?, ours))
}
