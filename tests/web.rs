//! `pulsegate web` beside a real gateway, with well-behaved and with hostile clients.

#![expect(clippy::disallowed_methods, reason = "a test waits for processes and reads their output")]

#[path = "common/executable.rs"]
mod executable;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use executable::{Gateway, Process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A time that only a broken program exceeds: the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A page of its own for each test.
struct Web {
    process: Process,
    address: SocketAddr,
}

/// The answer to one request.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn gateway(name: &str) -> Gateway {
    Gateway::start(name, "127.0.0.1:0", "127.0.0.1:0", &[])
}

impl Web {
    fn start(control: &Path, variables: &[(&str, &str)]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_pulsegate"));
        program.args(["web", "--listen", "127.0.0.1:0", "--control"]).arg(control).envs(variables.iter().copied());
        let mut process = program.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let process = Process(process);
        let mut line = String::new();
        while !line.contains("http://") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "pulsegate web has not started");
        }
        let address = line.split("http://").nth(1).and_then(|rest| rest.trim().trim_end_matches('/').parse().ok());
        let address = address.unwrap_or_else(|| panic!("pulsegate web has not started: {line}"));
        // Nobody reads the log, and a full pipe must not matter.
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Self { process, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// Sends bytes and returns all that comes until the connection ends.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may have ended the connection already.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn request(&self, line: &str, fields: &str, body: &str) -> Answer {
        let length = body.len();
        let host = self.address;
        let text = self.raw(
            format!(
                "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}"
            )
            .as_bytes(),
        );
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {line}: {text}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.into(), body: body.into() }
    }

    fn get(&self, path: &str) -> Answer {
        self.request(&format!("GET {path}"), "", "")
    }

    /// Asks until the answer is as wanted.
    fn wait_for(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let end = Instant::now() + TIMEOUT;
        loop {
            let answer = self.get(path);
            if wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "{path}: {} {}", answer.status, answer.body);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_for_gateway(&self) {
        self.wait_for("/healthz", |answer| answer.status == 200);
    }
}

fn device(gateway: &Gateway, object: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.tcp).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(object.as_bytes()).unwrap();
    stream
}

/// A token in a file that only its owner may read.
fn token_file(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pulsegate-{}-{name}.token", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
    file.write_all(b"0123456789abcdef\n").unwrap();
    path
}

#[test]
fn devices_appear_and_vanish() {
    let gateway = gateway("web-devices");
    let web = Web::start(&gateway.control, &[]);
    web.wait_for_gateway();
    assert_eq!(web.get("/api/devices").json()["total"], 0);
    let streams = [r#"{"Type":"Status"}"#, r#"{"Type":"Project"}"#].map(|object| device(&gateway, object));
    let answer = web.wait_for("/api/devices?sort=-conn", |answer| answer.status != 200 || answer.json()["total"] == 2);
    assert_eq!(answer.status, 400, "conn is no column");
    let list = web.wait_for("/api/devices?sort=last_type", |answer| {
        let list = answer.json();
        list["total"] == 2 && list["devices"][0]["last_type"] == "Project"
    });
    let conn = list.json()["devices"][1]["conn"].to_string();
    assert_eq!(web.get(&format!("/api/devices/{conn}")).json()["device"]["last_type"], "Status");
    assert_eq!(web.get("/api/devices?query=project").json()["total"], 1);
    assert_eq!(web.get("/api/devices?query=%23123456").json()["total"], 0);
    drop(streams);
    web.wait_for("/api/devices", |answer| answer.json()["total"] == 0);
    assert_eq!(web.wait_for(&format!("/api/devices/{conn}"), |answer| answer.status == 404).status, 404);
}

#[test]
fn events_reach_a_page_as_they_happen() {
    let gateway = gateway("web-events");
    let web = Web::start(&gateway.control, &[]);
    web.wait_for_gateway();
    let mut stream = web.connect();
    write!(stream, "GET /api/events?type=Status HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "Content-Type: text/event-stream"));
    assert!(lines.any(|line| line.starts_with("retry: ")));
    let end = Instant::now() + TIMEOUT;
    // The first objects may come before the gateway has the page as a consumer.
    let mut devices = Vec::new();
    let (sender, events) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.filter(|line| line.starts_with("data: ")).try_for_each(|line| sender.send(line)));
    let event = loop {
        devices.push(device(&gateway, "{\"Type\":\"Project\"}{\"Type\":\"Status\",\"A\":\"<b>\u{e4}\"}"));
        if let Ok(line) = events.recv_timeout(Duration::from_millis(200)) {
            break line;
        }
        assert!(Instant::now() < end, "no event");
    };
    let event: Value = serde_json::from_str(&event["data: ".len()..]).unwrap();
    assert_eq!((&event["event"], &event["data"]["A"]), (&Value::from("message"), &Value::from("<b>\u{e4}")));
}

#[test]
fn commands_need_the_token_and_the_own_origin() {
    let gateway = gateway("web-commands");
    let token = token_file("web-commands");
    let variables = [("PULSEGATE_WEB_COMMANDS", "true"), ("PULSEGATE_WEB_TOKEN_FILE", token.to_str().unwrap())];
    let web = Web::start(&gateway.control, &variables);
    web.wait_for_gateway();
    let mut stream = device(&gateway, r#"{"Type":"Status"}"#);
    let list = web.wait_for("/api/devices", |answer| answer.json()["total"] == 1).json();
    let path = format!("/api/devices/{}", list["devices"][0]["conn"]);
    let post = |fields: &str| web.request(&format!("POST {path}/commands"), fields, r#"{"text":"reboot"}"#);
    let origin = format!("Origin: http://{}\r\n", web.address);
    assert_eq!(post("").status, 403);
    assert_eq!(post(&origin).status, 401);
    assert_eq!(post("Origin: http://evil.example\r\nAuthorization: Bearer 0123456789abcdef\r\n").status, 403);
    let signed = web.request("POST /api/sign-in", &origin, r#"{"token":"0123456789abcdef"}"#);
    let cookie = signed.head.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    let fields = format!("{origin}Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let sent = post(&fields);
    assert_eq!((sent.status, &sent.json()["ok"]), (200, &Value::from(true)), "{}", sent.body);
    let mut command = [0; 6];
    stream.read_exact(&mut command).unwrap();
    assert_eq!(&command, b"reboot");
    assert_eq!(post("Authorization: Bearer 0123456789abcdef\r\n").status, 200);
    assert_eq!(web.request("POST /api/sign-out", &fields, "").status, 200);
    assert_eq!(post(&fields).status, 401, "the session has ended");
    assert_eq!(web.request("POST /api/sign-in", &origin, r#"{"token":"wrong"}"#).status, 401);
    let slowed = web.request("POST /api/sign-in", &origin, r#"{"token":"0123456789abcdef"}"#);
    assert_eq!(slowed.status, 429);
    assert!(slowed.head.contains("Retry-After: "), "{}", slowed.head);
    let end = Instant::now() + TIMEOUT;
    let removed = loop {
        let answer = web.request(&format!("DELETE {path}"), "Authorization: Bearer 0123456789abcdef\r\n", "");
        if answer.status != 429 || Instant::now() > end {
            break answer;
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(removed.status, 200, "{}", removed.body);
    assert_eq!(
        stream.read_to_end(&mut Vec::new()).unwrap_or(0) % "heartbeat".len(),
        6,
        "the second reboot, then the end"
    );
    fs::remove_file(token).unwrap();
}

#[test]
fn the_page_outlives_its_gateway() {
    let first = gateway("web-outlives");
    let control = first.control.clone();
    let web = Web::start(&control, &[]);
    web.wait_for_gateway();
    drop(first);
    web.wait_for("/healthz", |answer| answer.status == 503);
    let status = web.wait_for("/api/status", |answer| answer.json()["gateway"]["connected"] == false).json();
    assert!(status["gateway"]["error"].as_str().unwrap().contains("control socket"), "{status}");
    assert_eq!(web.get("/api/devices").status, 503);
    assert_eq!(web.get("/").status, 200);
    let _second = gateway("web-outlives");
    web.wait_for_gateway();
}

#[test]
fn metrics_satisfy_promtool() {
    let gateway = gateway("web-metrics");
    let web = Web::start(&gateway.control, &[]);
    let metrics = web.wait_for("/metrics", |answer| answer.status == 200).body;
    assert!(metrics.contains("\npulsegate_connections 0\n"), "{metrics}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is not installed: install Debian's package prometheus");
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
}

#[test]
fn hostile_requests_get_an_error_and_the_end_of_the_connection() {
    let gateway = gateway("web-hostile");
    let web = Web::start(&gateway.control, &[]);
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "421"),
        ("GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", "505"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n",
            "501",
        ),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", "400"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n", "413"),
        ("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", "405"),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", "400"),
        ("GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "404"),
        ("GET / HTTP/1.0\r\n\r\n", "200"),
        ("HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "200"),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\r\n",
            "200",
        ),
    ] {
        let answer = web.raw(bytes.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "nothing behind it is a request: {answer}");
    }
    let huge = format!("GET / HTTP/1.1\r\nHost: localhost\r\nA: {}\r\n\r\n", "x".repeat(20_000));
    assert!(web.raw(huge.as_bytes()).starts_with("HTTP/1.1 431 "));
}

#[test]
fn requests_in_one_write_are_answered_in_order() {
    let gateway = gateway("web-pipeline");
    let web = Web::start(&gateway.control, &[]);
    web.wait_for_gateway();
    let request = |path: &str, last: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n");
    let text =
        [request("/icon.svg", ""), request("/api/devices", ""), request("/none", "Connection: close\r\n")].concat();
    let answer = web.raw(text.as_bytes());
    let places =
        ["<svg", "\"total\"", "not_found"].map(|word| answer.find(word).unwrap_or_else(|| panic!("{word}: {answer}")));
    assert!(places.is_sorted(), "{answer}");
}

#[test]
fn many_connections_leave_the_page_and_the_devices_alone() {
    let gateway = gateway("web-many");
    let web = Web::start(&gateway.control, &[]);
    web.wait_for_gateway();
    let device = device(&gateway, r#"{"Type":"Status"}"#);
    let idle: Vec<TcpStream> = (0..1000).filter_map(|_| TcpStream::connect(web.address).ok()).collect();
    assert!(idle.len() > 16, "{}", idle.len());
    drop(idle);
    web.wait_for("/api/devices", |answer| answer.json()["total"] == 1);
    drop(device);
}

#[test]
fn a_signal_ends_it_with_success() {
    let gateway = gateway("web-signal");
    let mut web = Web::start(&gateway.control, &[]);
    web.wait_for_gateway();
    kill(Pid::from_raw(web.process.0.id() as i32), Signal::SIGTERM).unwrap();
    assert!(web.process.0.wait().unwrap().success());
}

#[test]
fn a_token_that_others_may_read_is_refused() {
    let token = token_file("web-mode");
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_pulsegate"));
    program.args(["web", "--listen", "127.0.0.1:0"]).env("PULSEGATE_WEB_COMMANDS", "true");
    let output = program.env("PULSEGATE_WEB_TOKEN_FILE", &token).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("has the mode 0644: expected 0600"), "{text}");
    fs::remove_file(token).unwrap();
}
