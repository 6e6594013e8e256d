//! The real executable: its start, its measurements from /proc, its events and its log.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::{clock, environment};

/// The longest wait for a result that should come at once, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The start of the gateway.
#[derive(Default)]
pub(crate) struct Start {
    /// The command before the executable, such as a shell that lowers a limit.
    pub(crate) before: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

/// The destination of an output.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// The test reads it.
    #[default]
    Read,
    /// A pipe without a reader's reads.
    Stopped,
    /// A pipe whose reading end closes when the fault begins.
    Closed,
    /// Closed at the start.
    Absent,
    /// A full disk.
    Full,
}

impl Start {
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }
}

/// The output of the gateway so far.
#[derive(Default)]
pub(crate) struct Written {
    /// The number of log lines.
    pub(crate) log: AtomicU64,
    pub(crate) lines: Mutex<Vec<String>>,
    pub(crate) events: Mutex<Events>,
}

/// Events of all devices, apart from the healthy ones.
#[derive(Default)]
pub(crate) struct Events {
    /// The number of events, by kind and reason.
    pub(crate) count: BTreeMap<String, u64>,
    /// The events themselves, up to a limit.
    pub(crate) kept: Vec<Value>,
}

/// The limit of kept events and log lines.
const KEPT: usize = 20_000;

pub(crate) struct Gateway {
    process: Child,
    pub(crate) written: Arc<Written>,
    pub(crate) tcp: SocketAddr,
    pub(crate) udp: SocketAddr,
    pub(crate) folder: PathBuf,
    /// The reading ends of pipes that the test does not read.
    kept: (Option<ChildStdout>, Option<ChildStderr>),
    ended: Option<ExitStatus>,
}

/// The resources of a process at one moment.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Figures {
    pub(crate) rss_kib: u64,
    pub(crate) descriptors: usize,
    pub(crate) cpu: f64,
    pub(crate) log: u64,
}

#[expect(clippy::disallowed_methods, reason = "a test reads what the process under test writes")]
fn follow(stream: impl Read + Send + 'static, written: Arc<Written>, line: fn(&Written, String)) {
    std::thread::spawn(move || {
        let mut stream = BufReader::with_capacity(1 << 20, stream);
        let mut text = String::new();
        // A gateway that ends by SIGKILL after a failed test may leave an incomplete line.
        while stream.read_line(&mut text).is_ok_and(|_| text.ends_with('\n')) {
            text.pop();
            line(&written, std::mem::take(&mut text));
        }
    });
}

impl Gateway {
    /// Starts the gateway on free ports of 127.0.0.1, with its files in a directory of its own.
    pub(crate) fn start(name: &str, start: &Start) -> Self {
        let folder = std::env::temp_dir().join(format!("pulsegate-faults-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the test");
        let control = folder.join("control.sock");
        // The addresses are in the file, because a reload cannot change an address of the command line.
        let (tcp, udp) = (free_port(), free_port());
        let config = format!(
            "listen = [\"{tcp}\"]\n[discovery]\nlisten = [\"{udp}\"]\n[control]\npath = \"{}\"\n",
            control.display()
        );
        fs::write(folder.join("pulsegate.toml"), config).expect("a configuration");
        let mut line = start.before.clone();
        line.extend([env!("CARGO_BIN_EXE_pulsegate").to_owned(), "serve".into(), "--config".into()]);
        line.push(folder.join("pulsegate.toml").display().to_string());
        let output = |output: Output| match output {
            Output::Full => fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full").into(),
            Output::Absent => Stdio::null(),
            _ => Stdio::piped(),
        };
        // A shell closes the descriptor, because std cannot start a process without it.
        let close = [(start.stdout, " >&-"), (start.stderr, " 2>&-")];
        let close: String = close.iter().filter(|(o, _)| *o == Output::Absent).map(|(_, text)| *text).collect();
        if !close.is_empty() {
            let shell = ["/bin/sh".to_owned(), "-c".to_owned(), format!("exec \"$@\"{close}"), "sh".to_owned()];
            line.splice(0..0, shell);
        }
        let mut process = environment::program(&line[0])
            .args(&line[1..])
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output(start.stdout))
            .stderr(output(start.stderr))
            .spawn()
            .expect("the gateway starts");
        let written = Arc::new(Written::default());
        let (mut stdout, mut stderr) = (process.stdout.take(), process.stderr.take());
        if start.stdout == Output::Read {
            follow(stdout.take().expect("a pipe"), Arc::clone(&written), Written::event);
        }
        if start.stderr == Output::Read {
            follow(stderr.take().expect("a pipe"), Arc::clone(&written), Written::log);
        }
        let mut gateway =
            Self { process, written, tcp: addr(&tcp), udp: addr(&udp), folder, kept: (stdout, stderr), ended: None };
        gateway.until("it listens", |gateway| {
            assert!(gateway.is_running(), "the gateway ended: {:?}", gateway.log_tail());
            UnixStream::connect(gateway.control_path()).is_ok()
        });
        gateway
    }

    pub(crate) fn control_path(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.join("pulsegate.toml")
    }

    pub(crate) fn control(&self) -> Control {
        Control::connect(&self.control_path())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.ended = self.ended.or(self.process.try_wait().expect("its state"));
        self.ended.is_none()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id() as i32), signal).expect("the gateway is there");
    }

    /// Closes the pipe that the test does not read.
    pub(crate) fn close_stdout(&mut self) {
        self.kept.0 = None;
    }

    /// Returns the pipe that is unread so far.
    pub(crate) fn take_stdout(&mut self) -> ChildStdout {
        self.kept.0.take().expect("a pipe that is not read")
    }

    /// Returns its exit code, or `None` if a signal ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.until("it ends", |gateway| !gateway.is_running());
        self.ended.and_then(|status| status.code())
    }

    pub(crate) fn figures(&self) -> Figures {
        let log = self.written.log.load(Ordering::Relaxed);
        Figures { log, ..figures(self.process.id()).unwrap_or_default() }
    }

    pub(crate) fn log_tail(&self) -> Vec<String> {
        let lines = self.written.lines.lock().unwrap();
        lines[lines.len().saturating_sub(5)..].to_vec()
    }

    pub(crate) fn has_logged(&self, what: &str) -> bool {
        self.written.lines.lock().unwrap().iter().any(|line| line.contains(what))
    }

    /// Counts the events of a kind, or of a kind and reason such as `disconnect silent`, apart from healthy devices.
    pub(crate) fn count(&self, kind: &str) -> u64 {
        self.written.events.lock().unwrap().count.get(kind).copied().unwrap_or(0)
    }

    /// Returns the kept events of a kind.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let events = self.written.events.lock().unwrap();
        events.kept.iter().filter(|event| event["event"] == kind).cloned().collect()
    }

    pub(crate) fn until(&mut self, what: &str, done: impl FnMut(&mut Self) -> bool) {
        self.until_in(PATIENCE, what, done);
    }

    /// Waits until a condition holds, with a timeout.
    pub(crate) fn until_in(&mut self, patience: Duration, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = clock() + patience;
        while !done(self) {
            let counts = || self.written.events.lock().unwrap().count.clone();
            assert!(clock() < deadline, "{what}: not within {patience:?}; {:?} {:?}", counts(), self.log_tail());
            pause(Duration::from_millis(20));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Written {
    fn log(&self, line: String) {
        self.log.fetch_add(1, Ordering::Relaxed);
        let mut lines = self.lines.lock().unwrap();
        if lines.len() < KEPT {
            lines.push(line);
        }
    }

    fn event(&self, line: String) {
        // Most lines are messages of a flood, and the count needs no parser.
        let healthy = line.contains(&format!("\"ip\":\"{}\"", crate::healthy::ADDRESS));
        let message = line.starts_with("{\"event\":\"message\"");
        if message {
            if !healthy {
                self.count("message", 1);
            }
            return;
        }
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("no event: {line}: {e}"));
        let kind = event["event"].as_str().expect("a kind of event").to_owned();
        if kind == "missed" {
            self.count("missed", event["events"].as_u64().expect("a number"));
        } else if !healthy {
            self.count(&kind, 1);
            if let Some(reason) = event["reason"].as_str() {
                self.count(&format!("{kind} {reason}"), 1);
            }
            let mut events = self.events.lock().unwrap();
            if events.kept.len() < KEPT {
                events.kept.push(event);
            }
        }
    }

    fn count(&self, kind: &str, number: u64) {
        *self.events.lock().unwrap().count.entry(kind.to_owned()).or_default() += number;
    }
}

/// A client of the control socket.
pub(crate) struct Control {
    stream: BufReader<UnixStream>,
    last: u64,
}

impl Control {
    pub(crate) fn connect(path: &Path) -> Self {
        Self::try_connect(path).unwrap_or_else(|| panic!("no control socket {}", path.display()))
    }

    pub(crate) fn try_connect(path: &Path) -> Option<Self> {
        let stream = UnixStream::connect(path).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(Self { stream: BufReader::with_capacity(1 << 16, stream), last: 0 })
    }

    /// Sends a request without waiting for its answer.
    pub(crate) fn ask(&mut self, mut request: Value) -> u64 {
        self.last += 1;
        request["id"] = json!(self.last);
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes()).expect("the gateway takes a request");
        self.last
    }

    pub(crate) fn call(&mut self, request: Value) -> Value {
        let id = self.ask(request);
        loop {
            let answer = self.line().expect("an answer");
            if answer["id"] == id {
                return answer;
            }
        }
    }

    /// Like [`Self::call`], but returns `None` if the gateway has ended.
    pub(crate) fn try_call(&mut self, mut request: Value) -> Option<Value> {
        self.last += 1;
        request["id"] = json!(self.last);
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes()).ok()?;
        loop {
            let answer = self.line()?;
            if answer["id"] == self.last {
                return Some(answer);
            }
        }
    }

    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.stream.get_ref().set_read_timeout(Some(patience)).unwrap();
    }

    pub(crate) fn stats(&mut self) -> Value {
        self.call(json!({ "op": "stats" }))["stats"].take()
    }

    /// Returns the device with a port.
    pub(crate) fn device(&mut self, port: u16) -> Option<Value> {
        self.ask(json!({ "op": "devices" }));
        let lines = std::iter::from_fn(|| self.line()).take_while(|line| line["ok"].is_null());
        lines.map(|mut line| line["device"].take()).filter(|device| device["port"] == port).last()
    }

    pub(crate) fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|e| panic!("no JSON: {line}: {e}"))),
        }
    }
}

/// Returns RSS, file descriptors and CPU time of a process.
fn figures(pid: u32) -> Option<Figures> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let rss_kib = rss.trim().trim_end_matches(" kB").parse().ok()?;
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name may contain spaces, so the fields count from its closing parenthesis. Linux reports 100 ticks a
    // second to all programs.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let cpu = (ticks()? + ticks()?) as f64 / 100.0;
    Some(Figures { rss_kib, descriptors, cpu, log: 0 })
}

fn free_port() -> String {
    // Below the range of outgoing connections, so that no other program gets the port by chance.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) + u64::from(std::process::id()) * 37;
        let address = format!("127.0.0.1:{}", 10_000 + step % 20_000);
        let tcp = std::net::TcpListener::bind(&address);
        if tcp.is_ok() && std::net::UdpSocket::bind(&address).is_ok() {
            return address;
        }
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Sleeps, because these tests need real time.
#[expect(clippy::disallowed_methods, reason = "a test waits for another process")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Samples the resources of a process in the background, and keeps the maximum.
pub(crate) struct Sampler {
    peak: Arc<Mutex<Figures>>,
    stop: Arc<std::sync::atomic::AtomicBool>,
}

impl Sampler {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test measures the process under test while it does something else"
    )]
    pub(crate) fn start(pid: u32) -> Self {
        let sampler = Self { peak: Arc::default(), stop: Arc::default() };
        let (peak, stop) = (Arc::clone(&sampler.peak), Arc::clone(&sampler.stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Some(now) = figures(pid) else { break };
                let mut peak = peak.lock().unwrap();
                peak.rss_kib = peak.rss_kib.max(now.rss_kib);
                peak.descriptors = peak.descriptors.max(now.descriptors);
                drop(peak);
                pause(Duration::from_millis(20));
            }
        });
        sampler
    }

    pub(crate) fn peak(&self) -> Figures {
        *self.peak.lock().unwrap()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The end of a wait.
pub(crate) fn in_a(time: Duration) -> Instant {
    clock() + time
}
