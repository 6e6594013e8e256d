//! The real executable: its events, its commands, its signals, and event consumers that do not read.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::unistd::Pid;
use serde_json::Value;

#[path = "daemon/client.rs"]
mod client;
#[path = "daemon/configuration.rs"]
mod configuration;
#[path = "daemon/consumers.rs"]
mod consumers;
#[path = "daemon/control_socket.rs"]
mod control_socket;
#[path = "common/environment.rs"]
mod environment;
#[path = "daemon/names.rs"]
mod names;
#[path = "daemon/reload.rs"]
mod reload;
#[path = "daemon/stdout.rs"]
mod stdout;
#[path = "daemon/streams.rs"]
mod streams;
#[path = "daemon/terminal.rs"]
mod terminal;

/// The longest wait for a result that should come at once, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway on ports of its own. Drop ends it.
struct Daemon {
    process: Child,
    events: Receiver<Value>,
    log: Receiver<String>,
    tcp: SocketAddr,
    udp: SocketAddr,
    boot: String,
    control: PathBuf,
}

/// A configuration file. Drop removes it.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("pulsegate-{}-{name}.toml", std::process::id())));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // A leftover temporary file is harmless.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn pulsegate() -> Command {
    environment::program(env!("CARGO_BIN_EXE_pulsegate"))
}

/// Reads the lines of a stream in a thread, so that a test can wait for a line with a timeout.
#[expect(clippy::disallowed_methods, reason = "a test reads what the process under test writes")]
fn lines<T: Send + 'static>(
    stream: impl Read + Send + 'static,
    parse: impl Fn(String) -> T + Send + 'static,
) -> Receiver<T> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(parse(line)).is_err() {
                break;
            }
        }
    });
    receiver
}

fn event(line: String) -> Value {
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("no event: {line}: {e}"))
}

impl Daemon {
    fn start(name: &str) -> Self {
        Self::start_with(name, |_| ())
    }

    fn start_with(name: &str, change: impl FnOnce(&mut Command)) -> Self {
        let control = std::env::temp_dir().join(format!("pulsegate-{}-{name}.sock", std::process::id()));
        let mut call = pulsegate();
        call.args(["--listen", "127.0.0.1:0", "--discovery", "127.0.0.1:0"]);
        change(&mut call);
        Self::run(call, control)
    }

    fn run(mut call: Command, control: PathBuf) -> Self {
        call.arg("--control").arg(&control).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = call.spawn().expect("the gateway starts");
        let events = lines(process.stdout.take().unwrap(), event);
        let log = lines(process.stderr.take().unwrap(), |line| line);
        let listening = events.recv_timeout(PATIENCE).expect("a listening event");
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        let boot = listening["boot"].as_str().unwrap().to_owned();
        Self { tcp: address("tcp"), udp: address("udp"), boot, process, events, log, control }
    }

    /// Returns the next event of this kind.
    fn event(&self, kind: &str) -> Value {
        loop {
            let event = self.events.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("no {kind} event: {e}"));
            if event["event"] == kind {
                return event;
            }
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tcp).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn call(&self, line: &[&str]) -> Output {
        call(&self.control, line)
    }

    fn stats(&self) -> Value {
        serde_json::from_slice(&self.call(&["stats", "--json"]).stdout).expect("stats are JSON")
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id() as i32), signal).expect("the gateway is there");
    }

    fn wait(&mut self) -> ExitStatus {
        self.process.wait().expect("the gateway ends")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns a gateway whose events are unread so far, and a device of it.
fn unread(change: impl FnOnce(&mut Command)) -> (Child, BufReader<ChildStdout>, TcpStream) {
    let mut call = pulsegate();
    call.args(["--listen", "127.0.0.1:0", "--discovery", "off"]).stdout(Stdio::piped()).stderr(Stdio::null());
    change(&mut call);
    let mut process = call.spawn().unwrap();
    let mut events = BufReader::new(process.stdout.take().unwrap());
    let mut listening = String::new();
    events.read_line(&mut listening).unwrap();
    let device = TcpStream::connect(event(listening)["tcp"].as_str().unwrap()).unwrap();
    (process, events, device)
}

fn call(control: &Path, line: &[&str]) -> Output {
    pulsegate().args(line).arg("--control").arg(control).output().expect("the call runs")
}

fn text(output: &Output) -> (i32, String, String) {
    let read = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), read(&output.stdout), read(&output.stderr))
}

/// Waits until a condition holds.
#[expect(clippy::disallowed_methods, reason = "a test waits for the process under test")]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_device_connects_reports_and_gets_commands() {
    let gateway = Daemon::start("device");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/device.py");
    let (tcp, udp) = (gateway.tcp.port().to_string(), gateway.udp.port().to_string());
    let mut device = environment::program("python3")
        .args([script, "--port", &tcp, "--udp-port", &udp, "--picture", "100000"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed for this test");
    let commands = lines(device.stdout.take().unwrap(), |line| line);

    let connect = gateway.event("connect");
    let mut types: Vec<Value> = (0..3).map(|_| gateway.event("message")["type"].clone()).collect();
    types.sort_by_key(ToString::to_string);
    assert_eq!(types, ["Performance", "Project", "Status"]);

    let id = format!("#{}", connect["conn"]);
    let (code, answer, _) = text(&gateway.call(&["send", &id, "open", "the door", "--wait", "10"]));
    assert_eq!(code, 0);
    let answer: Value = serde_json::from_str(&answer).expect("the answer is an object");
    assert_eq!(answer["State"], "did open the door");
    assert_eq!(commands.recv_timeout(PATIENCE).unwrap(), "open the door");

    let (code, devices, _) = text(&gateway.call(&["devices", "--json"]));
    let shown: Value = serde_json::from_str(&devices).unwrap();
    assert_eq!((code, &shown["conn"], &shown["ip"]), (0, &connect["conn"], &"127.0.0.1".into()));
    device.kill().unwrap();
    device.wait().unwrap();
    assert!(["closed", "reset"].contains(&gateway.event("disconnect")["reason"].as_str().unwrap()));
}

/// With a terminator a command may contain a beat, and commands in a row stay several.
#[test]
fn a_device_with_a_terminator_gets_each_command_as_one_line() {
    let gateway = Daemon::start_with("terminator", |call| {
        call.env("PULSEGATE_TERMINATOR", "\n");
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/device.py");
    let (tcp, udp) = (gateway.tcp.port().to_string(), gateway.udp.port().to_string());
    let mut device = environment::program("python3")
        .args([script, "--port", &tcp, "--udp-port", &udp, "--terminator", r"\n"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed for this test");
    let commands = lines(device.stdout.take().unwrap(), |line| line);
    let id = format!("#{}", gateway.event("connect")["conn"]);
    for command in ["set heartbeat 5", "led on", "reboot"] {
        assert_eq!(text(&gateway.call(&["send", &id, command])).0, 0);
    }
    for command in ["set heartbeat 5", "led on", "reboot"] {
        assert_eq!(commands.recv_timeout(PATIENCE).unwrap(), command);
    }
    for (command, why) in [("heartbeat", "heartbeat.payload"), ("a\nb", "the terminator")] {
        let (code, _, error) = text(&gateway.call(&["send", &id, command]));
        assert!(code == 1 && error.contains(why), "{code} {error}");
    }
    device.kill().unwrap();
    device.wait().unwrap();
}

/// A dead device gets an RST, so that the kernel keeps no bytes for it.
#[test]
fn a_silent_device_is_reset() {
    let gateway = Daemon::start_with("reset", |call| {
        call.env("PULSEGATE_HEARTBEAT_INTERVAL", "100ms").env("PULSEGATE_HEARTBEAT_CREDIT", "1");
    });
    let mut device = gateway.connect();
    let mut heard = Vec::new();
    let end = device.read_to_end(&mut heard).expect_err("an RST");
    assert_eq!((end.kind(), &heard[..]), (ErrorKind::ConnectionReset, &b"heartbeat"[..]));
    assert_eq!(gateway.event("disconnect")["reason"], "silent");
}

/// A host connects and disconnects as fast as possible.
#[test]
fn one_address_cannot_fill_the_log() {
    let mut gateway = Daemon::start("flood");
    for _ in 0..100 {
        drop(gateway.connect());
    }
    for _ in 0..100 {
        let mut stream = gateway.connect();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // The gateway closes it by FIN or RST.
        let _ = stream.read(&mut [0]);
    }
    while gateway.stats()["connections"]["closed"]["framing"] != 100 {
        std::thread::yield_now();
    }
    gateway.signal(Signal::SIGTERM);
    gateway.wait();
    let lines: Vec<_> = gateway.log.iter().filter(|line| line.contains("device ")).collect();
    assert_eq!(lines.len(), 6, "a port scan is no news, and the rest is three of each: {lines:?}");
    let warned = lines.iter().filter(|line| line.starts_with("[WARN]") && line.contains("gone: framing")).count();
    assert_eq!(warned, 3, "{lines:?}");
    assert!(lines[5].ends_with("(the log counts more of these for 10 minutes)"), "{lines:?}");
}

#[test]
fn an_event_has_the_object_as_the_device_sent_it() {
    let gateway = Daemon::start("events");
    let mut device = gateway.connect();
    let sent = "{ \"Type\" : \"Status\",\r\n\t\"S\":\"a\\\"}{\\u007b\",\"N\":1.50e+01}";
    write!(device, "{sent}{{\"Type\":\"heartbeat\"}} {{\"Type\":7}}{{\"Type\":\"Odd\\n\"}}").unwrap();
    let port = u64::from(device.local_addr().unwrap().port());
    let message = gateway.event("message");
    assert_eq!((&message["type"], &message["port"]), (&"Status".into(), &port.into()));
    assert_eq!(message["data"]["S"], "a\"}{{");
    let rejected = gateway.event("rejected");
    assert_eq!(rejected["reason"], "type_not_string");
    assert_eq!(rejected["offset"], (sent.len() + 20 + 1 + 8) as u64);
    assert_eq!(gateway.event("message")["type"], "Odd\n");
    device.write_all(b"x").unwrap();
    let disconnect = gateway.event("disconnect");
    assert_eq!((&disconnect["reason"], &disconnect["conn"]), (&"framing".into(), &message["conn"]));
    assert!(disconnect["offset"].is_u64() && disconnect["detail"].is_string(), "{disconnect}");
    assert_eq!(device.read(&mut [0; 100]).unwrap_or(0), 0, "the connection is closed");
}

#[test]
fn a_signal_stops_the_gateway_with_an_event_for_each_device() {
    let mut gateway = Daemon::start("stop");
    let devices: Vec<TcpStream> = (0..5).map(|_| gateway.connect()).collect();
    devices.iter().for_each(|_| drop(gateway.event("connect")));
    gateway.signal(Signal::SIGTERM);
    for _ in &devices {
        assert_eq!(gateway.event("disconnect")["reason"], "shutdown");
    }
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(!gateway.control.exists());
}

#[test]
fn a_second_signal_ends_the_gateway_at_once() {
    let mut gateway = Daemon::start("twice");
    // Both signals come before the event loop handles the first one.
    gateway.signal(Signal::SIGSTOP);
    gateway.signal(Signal::SIGTERM);
    gateway.signal(Signal::SIGINT);
    gateway.signal(Signal::SIGCONT);
    assert_eq!(gateway.wait().code(), Some(1));
}

#[test]
fn a_consumer_that_does_not_read_loses_only_events() {
    let (mut process, events, mut device) = unread(|call| {
        call.args(["--control", "off"]);
    });
    device.set_read_timeout(Some(PATIENCE)).unwrap();
    // Far more than pipe and buffer hold, without a reader.
    let sent = 400;
    let object = format!(r#"{{"Type":"Performance","Fill":"{}"}}"#, "x".repeat(20_000));
    for _ in 0..sent {
        device.write_all(object.as_bytes()).unwrap();
    }
    // The gateway still sends beats, and handles the half-close of the device.
    let mut beat = [0; 9];
    device.read_exact(&mut beat).expect("a beat");
    assert_eq!(&beat, b"heartbeat");
    device.shutdown(Shutdown::Write).unwrap();
    device.read_to_end(&mut Vec::new()).unwrap();
    // Every event is either written or counted as missed: connect, messages, disconnect.
    let events = lines(events, event);
    let (mut written, mut messages, mut missed) = (0, 0, 0);
    while written + missed < sent + 2 {
        let event = events.recv_timeout(PATIENCE).expect("more events");
        match event["event"].as_str() {
            Some("missed") => missed += event["events"].as_u64().unwrap(),
            kind => {
                written += 1;
                messages += u64::from(kind == Some("message"));
            }
        }
    }
    assert!(missed > 0 && messages > 0, "{messages} messages, {missed} missed");
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn the_gateway_runs_on_without_a_reader_of_its_output() {
    let mut gateway = Daemon::start("closed");
    // The thread that reads events ends with its receiver, and the pipe with it.
    let (_, nothing) = channel();
    gateway.events = nothing;
    let mut first = gateway.connect();
    let mut warnings = 0;
    while warnings == 0 {
        first.write_all(br#"{"Type":"Status"}"#).unwrap();
        warnings = gateway.log.try_iter().filter(|line| line.contains("no more events")).count();
    }
    let second = gateway.connect();
    let (code, devices, _) = text(&gateway.call(&["devices"]));
    assert_eq!((code, devices.lines().last()), (0, Some("2 devices")));
    drop((first, second));
}

#[test]
fn wrong_usage_gets_one_sentence_and_an_exit_code() {
    let check = |line: &[&str], code: i32, sentence: &str| {
        let (found, out, err) = text(&pulsegate().args(line).output().unwrap());
        assert_eq!((found, out.as_str()), (code, ""), "{line:?}: {err}");
        assert!(err.contains(sentence) && err.lines().count() == 1, "{line:?}: {err}");
    };
    check(&["--lisen", "x"], 2, "unknown option '--lisen' of serve, did you mean --listen?");
    check(&["send", "#7"], 2, "send takes a DEVICE and the TEXT");
    check(&["remove", "seven"], 2, "invalid device 'seven': expected #ID, @NAME, IP:PORT or IP");
    check(&["frobnicate"], 2, "unknown command 'frobnicate'");
    check(&["stats", "--control", "/nonexistent/sock"], 69, "/nonexistent/sock");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check(
        &["--listen", &address, "--discovery", "off", "--control", "off", "--log-level", "error"],
        1,
        &format!("cannot listen on TCP {address}"),
    );
}

#[test]
fn a_command_finds_the_control_socket_of_the_configuration() {
    let gateway = Daemon::start("named");
    let file = gateway.control.with_extension("toml");
    std::fs::write(&file, format!("control.path = {:?}", gateway.control)).unwrap();
    let stats = pulsegate().args(["stats"]).env("PULSEGATE_CONFIG", &file).output().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(stats.status.code(), Some(0), "{stats:?}");
}

#[test]
fn a_gateway_keeps_a_regular_file_in_place_of_its_control_socket() {
    let file = std::env::temp_dir().join(format!("pulsegate-{}-no-socket", std::process::id()));
    std::fs::write(&file, "precious").unwrap();
    let why = why_not_with_control(&file);
    assert!(why.contains(&format!("{}: a file has that name, and it is no socket", file.display())), "{why}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    std::fs::remove_file(&file).unwrap();
}

/// Like the socket of a stopped process: its accept queue is full.
#[test]
fn a_gateway_keeps_the_live_control_socket_of_a_busy_gateway() {
    let path = std::env::temp_dir().join(format!("pulsegate-{}-crowded", std::process::id()));
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(socket.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&socket, Backlog::new(0).unwrap()).unwrap();
    let _waits = UnixStream::connect(&path).unwrap();
    let why = why_not_with_control(&path);
    assert!(why.contains(&format!("cannot open the control socket {}", path.display())), "{why}");
    assert!(path.exists());
    std::fs::remove_file(&path).unwrap();
}

/// Returns the error of a gateway that cannot start with this control socket.
fn why_not_with_control(path: &Path) -> String {
    let mut process = pulsegate()
        .args(["--listen", "127.0.0.1:0", "--discovery", "off", "--events", "none"])
        .args(["--log-level", "error", "--control"])
        .arg(path)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let why = lines(process.stderr.take().unwrap(), |line| line).recv_timeout(PATIENCE).unwrap_or_default();
    if !why.starts_with("pulsegate: ") {
        // The gateway runs or hangs, so it would not end.
        process.kill().unwrap();
    }
    assert_eq!(process.wait().unwrap().code(), Some(1), "{why}");
    why
}
