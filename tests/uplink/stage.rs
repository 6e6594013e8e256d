//! A gateway, an uplink and a broker, each a process of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::environment;

/// How long a step may take that should happen at once: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).expect("the process runs");
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a stream. A thread reads them, so that a test can wait for one with a limit.
#[expect(clippy::disallowed_methods, reason = "a test reads what the process under test writes")]
pub(crate) fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Everything of one test. The gateway of the topics has the name `attic`.
pub(crate) struct Stage {
    directory: PathBuf,
    /// The port of the broker.
    port: u16,
    gateway: Process,
    devices: u16,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A program of Debian's packages mosquitto and mosquitto-clients.
fn tool(name: &str) -> Command {
    let is_there = |path: &Path| path.join(name).exists();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let place = places.find(|path| is_there(path));
    let place = place.unwrap_or_else(|| panic!("{name} IS MISSING: apt install mosquitto mosquitto-clients"));
    Command::new(place.join(name))
}

impl Stage {
    /// Starts a gateway.
    pub(crate) fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("pulsegate-uplink-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let devices = free_port();
        let gateway = Self::start_gateway(&directory, devices);
        Self { directory, port: free_port(), gateway, devices }
    }

    fn start_gateway(directory: &Path, port: u16) -> Process {
        let mut command = environment::program(env!("CARGO_BIN_EXE_pulsegate"));
        command.args(["--discovery", "off", "--listen", &format!("127.0.0.1:{port}"), "--control"]);
        command.arg(directory.join("control.sock")).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let events = lines(process.stdout.take().unwrap());
        events.recv_timeout(PATIENCE).expect("the gateway listens");
        Process(process)
    }

    /// Ends the gateway as a power cut would, and starts it again.
    pub(crate) fn restart_gateway(&mut self) {
        self.gateway.kill();
        self.gateway = Self::start_gateway(&self.directory, self.devices);
    }

    /// Starts a broker, and waits until it answers.
    pub(crate) fn broker(&self) -> Process {
        let file = self.directory.join("mosquitto.conf");
        let port = self.port;
        fs::write(&file, format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")).unwrap();
        let broker = tool("mosquitto").arg("-c").arg(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let broker = Process(broker);
        let answers = (0..600).any(|_| TcpStream::connect(("127.0.0.1", port)).is_ok() || pause());
        assert!(answers, "mosquitto does not listen on port {port}");
        broker
    }

    fn uplink_command(&self) -> Command {
        let mut command = environment::program(env!("CARGO_BIN_EXE_pulsegate"));
        command.arg("mqtt").env("RUNTIME_DIRECTORY", &self.directory).env("PULSEGATE_MQTT_GATEWAY", "attic");
        command
    }

    /// A path in the directory of the test.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts the uplink, with more options.
    pub(crate) fn uplink(&self, options: &[&str]) -> (Process, Receiver<String>) {
        self.uplink_with(options, &[])
    }

    /// As [`Self::uplink`], with variables.
    pub(crate) fn uplink_with(&self, options: &[&str], variables: &[(&str, &str)]) -> (Process, Receiver<String>) {
        let mut command = self.uplink_command();
        command.envs(variables.iter().copied());
        command.args(["--broker", &format!("mqtt://localhost:{}", self.port), "--control"]);
        command.arg(self.directory.join("control.sock")).args(options);
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = lines(process.stderr.take().unwrap());
        (Process(process), log)
    }

    /// The counters of the uplink that runs.
    pub(crate) fn stats(&self) -> Output {
        self.uplink_command().args(["--stats", "--json"]).output().unwrap()
    }

    /// A number of the uplink's report.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let report: serde_json::Value = serde_json::from_slice(&self.stats().stdout).unwrap();
        report[name].as_u64().unwrap()
    }

    /// Subscribes with mosquitto_sub, which prints topic and payload of each message.
    pub(crate) fn subscribe(&self, filter: &str) -> Subscriber {
        let mut command = tool("mosquitto_sub");
        command.args(["-p", &self.port.to_string(), "-t", filter, "-q", "1", "-v"]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = lines(process.stdout.take().unwrap());
        Subscriber { _process: Process(process), lines }
    }

    /// Publishes with mosquitto_pub.
    pub(crate) fn publish(&self, topic: &str, payload: &str, options: &[&str]) {
        let mut command = tool("mosquitto_pub");
        command.args(["-p", &self.port.to_string(), "-q", "1", "-t", topic, "-m", payload]).args(options);
        assert!(command.status().unwrap().success(), "{topic}");
    }

    /// Connects a device.
    pub(crate) fn device(&self) -> TcpStream {
        let device = TcpStream::connect(("127.0.0.1", self.devices)).unwrap();
        device.set_read_timeout(Some(PATIENCE)).unwrap();
        device
    }

    /// Sends one object of a device.
    pub(crate) fn say(&self, device: &mut TcpStream, object: &str) {
        device.write_all(object.as_bytes()).unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Waits for a moment. Returns false.
#[expect(clippy::disallowed_methods, reason = "the test waits for other processes")]
pub(crate) fn pause() -> bool {
    std::thread::sleep(Duration::from_millis(50));
    false
}

pub(crate) struct Subscriber {
    _process: Process,
    lines: Receiver<String>,
}

impl Subscriber {
    /// The payload of the next message of that topic.
    pub(crate) fn payload(&self, topic: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no message came to {topic}"));
            if let Some(payload) = line.strip_prefix(topic).and_then(|rest| rest.strip_prefix(' ')) {
                return payload.to_owned();
            }
        }
    }

    /// Waits for that message.
    pub(crate) fn wait_for(&self, topic: &str, payload: &str) {
        while self.payload(topic) != payload {}
    }

    /// Messages of that topic that came without waiting.
    pub(crate) fn now(&self, topic: &str) -> Vec<String> {
        let is_of = |line: &String| line.starts_with(topic);
        self.lines.try_iter().filter(is_of).collect()
    }
}
