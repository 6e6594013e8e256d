//! The test acts as the service manager. It checks the notifications of start, reload and stop, the watchdog, and inherited
//! sockets.

#[path = "common/environment.rs"]
mod environment;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The longest wait for a result that should come at once, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory for sockets and files. Drop removes it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pulsegate-systemd-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A gateway. Drop ends it.
struct Daemon(Child);

impl Daemon {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).expect("the gateway is there");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The socket for notifications.
struct Notified(UnixDatagram);

impl Notified {
    fn bind(place: &Place) -> Self {
        let socket = UnixDatagram::bind(place.file("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn message(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).expect("a message to the service manager");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Returns the next notification, apart from those for the watchdog.
    fn news(&self) -> String {
        loop {
            let message = self.message();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }
}

fn command(place: &Place) -> Command {
    let mut command = environment::program(env!("CARGO_BIN_EXE_pulsegate"));
    command
        .args(["serve", "--config"])
        .arg(place.file("pulsegate.toml"))
        .env("NOTIFY_SOCKET", place.file("notify"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

fn configure(place: &Place, text: &str) {
    let control = format!("[control]\npath = {:?}\n", place.file("control.sock"));
    fs::write(place.file("pulsegate.toml"), format!("{text}\n{control}")).unwrap();
}

#[test]
fn the_manager_is_notified_of_start_reload_and_stop() {
    let place = Place::new("notified");
    let notified = Notified::bind(&place);
    configure(&place, "listen = ['127.0.0.1:0']\ndiscovery.listen = 'off'");
    let mut gateway = Daemon(command(&place).spawn().unwrap());
    let ready = notified.news();
    assert!(ready.starts_with("READY=1\nSTATUS=listening on TCP 127.0.0.1:"), "{ready}");
    // After READY=1 the gateway serves.
    let port = ready.rsplit_once("127.0.0.1:").unwrap().1.split(',').next().unwrap();
    TcpStream::connect(format!("127.0.0.1:{port}")).expect("the gateway is ready");

    for (text, what) in [
        ("listen = ['127.0.0.1:0']\ndiscovery.listen = 'off'\nlimits.connections_max = 7", "a good file"),
        ("listen = 5", "a bad one"),
    ] {
        configure(&place, text);
        let before = monotonic_micros();
        gateway.signal(Signal::SIGHUP);
        let reloading = notified.news();
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{reloading}"));
        let micros: u128 = micros.parse().unwrap();
        assert!((before..=monotonic_micros()).contains(&micros), "{what}: {before} {micros}");
        assert!(notified.news().starts_with("READY=1\n"), "{what}");
    }

    gateway.signal(Signal::SIGTERM);
    assert!(notified.news().starts_with("STOPPING=1"));
    assert_eq!(gateway.0.wait().unwrap().code(), Some(0));
}

fn monotonic_micros() -> u128 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    Duration::from(now).as_micros()
}

#[test]
fn the_watchdog_is_notified_only_by_a_running_event_loop() {
    let place = Place::new("watchdog");
    let notified = Notified::bind(&place);
    configure(&place, "listen = ['127.0.0.1:0']\ndiscovery.listen = 'off'");
    let gateway = Daemon(command(&place).env("WATCHDOG_USEC", "400000").spawn().unwrap());
    assert!(notified.news().starts_with("READY=1"));
    for _ in 0..5 {
        assert_eq!(notified.message(), "WATCHDOG=1");
    }
    gateway.signal(Signal::SIGSTOP);
    let stat = format!("/proc/{}/stat", gateway.0.id());
    while !fs::read_to_string(&stat).unwrap().contains(") T ") {
        std::thread::yield_now();
    }
    // Notifications from before the stop of the process.
    notified.0.set_nonblocking(true).unwrap();
    let mut buffer = [0; 100];
    while notified.0.recv(&mut buffer).is_ok() {}
    notified.0.set_nonblocking(false).unwrap();
    notified.0.set_read_timeout(Some(Duration::from_millis(800))).unwrap();
    assert!(notified.0.recv(&mut buffer).is_err(), "a stopped process notified the watchdog");
    gateway.signal(Signal::SIGCONT);
    notified.0.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(notified.message(), "WATCHDOG=1");
}

#[test]
fn the_watchdog_is_not_notified_without_a_request() {
    let place = Place::new("quiet");
    let notified = Notified::bind(&place);
    configure(&place, "listen = ['127.0.0.1:0']\ndiscovery.listen = 'off'");
    let (usec, pid) = ("200000", "1");
    let _gateway = Daemon(command(&place).env("WATCHDOG_USEC", usec).env("WATCHDOG_PID", pid).spawn().unwrap());
    assert!(notified.message().starts_with("READY=1"));
    notified.0.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    assert!(notified.0.recv(&mut [0; 100]).is_err(), "the watchdog is another process's");
}

/// Starts the gateway with these descriptors as 3, 4, ..., as a service manager does. LISTEN_PID is only known after fork(2),
/// so a shell does the last step.
fn start_with(place: &Place, sockets: Vec<OwnedFd>) -> Child {
    let moves: Vec<String> = sockets
        .iter()
        .enumerate()
        .map(|(n, socket)| {
            fcntl(socket, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
            format!("{}<&{}", n + 3, socket.as_raw_fd())
        })
        .collect();
    // The source numbers must differ from the target numbers.
    assert!(sockets.iter().all(|socket| socket.as_raw_fd() >= 10), "descriptors are taken care of below");
    let mut command = environment::program("bash");
    let close: String = sockets.iter().map(|socket| format!(" {}<&-", socket.as_raw_fd())).collect();
    let script = format!(
        "exec {}{close}; export LISTEN_PID=$$ LISTEN_FDS={}; exec \"$0\" serve --config \"$1\"",
        moves.join(" "),
        sockets.len()
    );
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_pulsegate")])
        .arg(place.file("pulsegate.toml"))
        .env("NOTIFY_SOCKET", place.file("notify"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("bash is needed for this test")
}

/// Duplicates a descriptor to a number that a shell does not use.
fn high(socket: impl Into<OwnedFd>) -> OwnedFd {
    let low: OwnedFd = socket.into();
    let mut copies = vec![low];
    loop {
        let copy = copies[0].try_clone().unwrap();
        if copy.as_raw_fd() >= 10 {
            return copy;
        }
        copies.push(copy);
    }
}

#[test]
fn inherited_sockets_are_used_and_kept() {
    let place = Place::new("sockets");
    let notified = Notified::bind(&place);
    // The gateway cannot listen on these: no machine has the first, and the second is taken.
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let never = "listen = ['192.0.2.1:1']\ndiscovery.listen = '".to_owned() + &taken.local_addr().unwrap().to_string();
    configure(&place, &format!("{never}'"));
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let control = UnixListener::bind(place.file("handed.sock")).unwrap();
    let (tcp_address, udp_address) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
    // The order does not matter, because the kind of a socket decides its purpose.
    let mut gateway = Daemon(start_with(&place, vec![high(control), high(udp), high(tcp)]));
    let mut events = BufReader::new(gateway.0.stdout.take().unwrap()).lines();
    assert!(notified.news().contains(&format!("listening on TCP {tcp_address}, UDP {udp_address}")));
    let listening = events.next().unwrap().unwrap();
    assert!(listening.contains(&format!("\"tcp\":\"{tcp_address}\",\"udp\":\"{udp_address}\"")), "{listening}");

    let mut device = TcpStream::connect(tcp_address).unwrap();
    assert_eq!(ask_reply(udp_address), b"udp responsed");
    configure(&place, &format!("{}'\nlimits.connections_max = 9", never.replace("192.0.2.1:1", "192.0.2.1:2")));
    let ping = |op: &str| {
        let mut client = UnixStream::connect(place.file("handed.sock")).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(client, "{{\"op\":\"{op}\"}}").unwrap();
        let mut answer = String::new();
        BufReader::new(client).read_line(&mut answer).unwrap();
        answer
    };
    let answer = ping("reload");
    assert!(answer.contains("\"changed\":[\"listen\",\"limits.connections_max\"]"), "{answer}");
    assert!(notified.news().starts_with("RELOADING=1"));
    assert!(notified.news().contains(&format!("listening on TCP {tcp_address}, UDP {udp_address}")));
    // All sockets are unchanged, and the device is still connected.
    TcpStream::connect(tcp_address).unwrap();
    assert_eq!(ask_reply(udp_address), b"udp responsed");
    device.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut beat = [0; 9];
    device.read_exact(&mut beat).expect("a beat");

    gateway.signal(Signal::SIGTERM);
    assert!(notified.news().starts_with("STOPPING=1"));
    assert_eq!(gateway.0.wait().unwrap().code(), Some(0));
    assert!(place.file("handed.sock").exists(), "the name is the service manager's");
    let mut log = String::new();
    gateway.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("listen has no effect: the service manager's sockets override it"), "{log}");
}

fn ask_reply(gateway: SocketAddr) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"?", gateway).unwrap();
    let mut buffer = [0; 100];
    let length = socket.recv(&mut buffer).expect("an answer");
    buffer[..length].to_vec()
}

#[test]
fn an_unusable_inherited_socket_is_an_error() {
    let check = |name: &str, socket: OwnedFd, sentence: &str| {
        let place = Place::new(name);
        configure(&place, "");
        let output = start_with(&place, vec![high(socket)]).wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(sentence), "{error}");
    };
    check("datagram", UnixDatagram::unbound().unwrap().into(), "invalid descriptor 3 of LISTEN_FDS: expected a TCP");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    check("stream", stream.into(), "the socket does not listen");
}

/// Returns the value of a key of the shipped unit.
fn unit(key: &str) -> String {
    let unit = include_str!("../packaging/systemd/pulsegate.service");
    let prefix = format!("{key}=");
    let value = unit.lines().find_map(|line| line.strip_prefix(&prefix));
    value.unwrap_or_else(|| panic!("the unit has no {key}")).to_owned()
}

#[test]
fn the_unit_repeats_a_failed_start_without_a_limit() {
    let place = Place::new("passing");
    let exit_code = |text: &str| {
        configure(&place, text);
        command(&place).stdout(Stdio::null()).status().unwrap().code().unwrap().to_string()
    };
    let lasting = unit("RestartPreventExitStatus");
    // No machine has an address of TEST-NET-1 (RFC 5737), so it represents one that comes late at boot.
    assert_ne!(exit_code("listen = ['192.0.2.1:5556']\ndiscovery.listen = 'off'"), lasting);
    assert_eq!(exit_code("listen = 5"), lasting);
    assert_eq!(unit("Restart"), "on-failure");
    assert_eq!(unit("StartLimitIntervalSec"), "0", "systemd gives up after five starts unless this is 0");
    let seconds = |key| unit(key).trim_end_matches('s').parse::<u32>().unwrap();
    assert!(seconds("RestartSec") >= 1 && seconds("RestartMaxDelaySec") > seconds("RestartSec"), "no back-off");
    assert!(unit("RestartSteps").parse::<u32>().unwrap() > 0);
}
