//! Memory and CPU time of a process, from /proc (proc_pid_stat(5) and others).

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use serde::Serialize;

/// A process to measure.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    folder: PathBuf,
}

/// The memory and CPU time of a process at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// Resident memory.
    pub(crate) rss_bytes: u64,
    /// Proportional set size: shared pages count in part.
    pub(crate) pss_bytes: Option<u64>,
    /// CPU time of all threads.
    pub(crate) cpu_seconds: f64,
}

impl Process {
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid, folder: format!("/proc/{pid}").into() }
    }

    /// Returns this process.
    pub(crate) fn own() -> Self {
        Self::new(std::process::id())
    }

    /// Finds the process that listens at `address`, if it is on this machine and readable.
    pub(crate) fn listening_at(address: SocketAddr) -> Option<Self> {
        if !is_local(address.ip()) {
            return None;
        }
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
        let lines = tables.iter().flat_map(|table| table.lines());
        let inodes = lines.filter_map(|line| listener(line, address));
        let inodes: Vec<String> = inodes.map(|inode| format!("socket:[{inode}]")).collect();
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let holds = |pid: &u32| {
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
            let mut links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
            links.find(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
        };
        pids.find(|pid| holds(pid).is_some()).map(Self::new)
    }

    /// Reads memory and CPU time. Returns `None` if the process has ended.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let status = self.read("status")?;
        let pss = self.read("smaps_rollup").and_then(|rollup| kibibytes(&rollup, "Pss:"));
        Some(Usage {
            rss_bytes: kibibytes(&status, "VmRSS:")?,
            pss_bytes: pss,
            cpu_seconds: self.cpu_nanos().map(|nanos| nanos as f64 / 1e9).or_else(|| self.cpu_ticks())?,
        })
    }

    /// CPU time from schedstat, in nanoseconds. It covers living threads only.
    fn cpu_nanos(&self) -> Option<u64> {
        let threads = fs::read_dir(self.folder.join("task")).ok()?.flatten();
        threads.map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok().as_deref().and_then(on_cpu)).sum()
    }

    /// CPU time from stat, in steps of 10 ms.
    fn cpu_ticks(&self) -> Option<f64> {
        let stat = self.read("stat")?;
        // The second field is the name in parentheses. A name may contain spaces and parentheses.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (user, system) = (fields.get(11)?.parse::<u64>().ok()?, fields.get(12)?.parse::<u64>().ok()?);
        Some((user + system) as f64 / 100.0)
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(file)).ok()
    }
}

/// Parses the nanoseconds of CPU time from a schedstat file.
fn on_cpu(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// Parses the value of a line such as `VmRSS:   1234 kB`, in bytes.
fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Returns the inode of the socket in a line of /proc/net/tcp, if the socket listens at `address`.
fn listener(line: &str, address: SocketAddr) -> Option<&str> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace();
    let (ip, port) = fields.nth(1)?.rsplit_once(':')?;
    // An address is printed as 32-bit words in native byte order.
    let hex = |octets: &[u8]| -> String {
        let words = octets.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        words.map(|word| format!("{word:08X}")).collect()
    };
    let same = match address.ip() {
        IpAddr::V4(v4) => ip == hex(&v4.octets()) || ip == hex(&v4.to_ipv6_mapped().octets()),
        IpAddr::V6(v6) => ip == hex(&v6.octets()),
    };
    let any = ip.bytes().all(|digit| digit == b'0');
    let is_it = fields.nth(1)? == LISTEN && (same || any) && u16::from_str_radix(port, 16) == Ok(address.port());
    is_it.then(|| fields.nth(5))?
}

/// Whether `ip` is an address of this machine: the kernel would use it as source address for itself.
fn is_local(ip: IpAddr) -> bool {
    let own_address_to = |ip: IpAddr| {
        let socket = UdpSocket::bind((if ip.is_ipv4() { "0.0.0.0" } else { "::" }, 0)).ok()?;
        // connect(2) of a UDP socket sends nothing. It only chooses the source address.
        socket.connect((ip, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    ip.is_loopback() || own_address_to(ip) == Some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_parsed() {
        let line =
            "   0: 0100007F:15B4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 24681 1 x";
        let at = |line: &str, address: &str| listener(line, address.parse().unwrap()).map(str::to_owned);
        assert_eq!(at(line, "127.0.0.1:5556").as_deref(), Some("24681"));
        assert_eq!(at(line, "127.0.0.1:5555"), None);
        assert_eq!(at(line, "127.0.0.2:5556"), None);
        assert_eq!(at(&line.replace("0100007F:", "00000000:"), "127.0.0.2:5556").as_deref(), Some("24681"));
        assert_eq!(at(&line.replace(" 0A ", " 01 "), "127.0.0.1:5556"), None);
        assert_eq!(at("  sl  local_address rem_address", "127.0.0.1:5556"), None);
        let status = "Name:\tx\nVmRSS:\t    1234 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(1234 * 1024));
        assert_eq!(kibibytes(status, "Pss:"), None);
        assert_eq!(on_cpu("123456 7 8\n"), Some(123_456));
    }

    #[test]
    fn this_process_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = Process::listening_at(address).expect("this process listens");
        assert_eq!(found.pid, std::process::id());
        let usage = found.usage().unwrap();
        assert!(usage.rss_bytes > 0 && usage.cpu_seconds >= 0.0);
        assert!(found.cpu_ticks().is_some());
        assert!(Process::listening_at("192.0.2.1:1".parse().unwrap()).is_none());
    }
}
