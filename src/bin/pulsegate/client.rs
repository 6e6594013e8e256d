//! The calls that ask a running gateway, as a client of its control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::config::{Control, print_report};
use crate::control_socket::{SYSTEM_PATH, connect, default_path};
use crate::{Failure, load, say, show};

/// What a running gateway can be asked for.
#[derive(Debug)]
pub(crate) enum Ask {
    Devices { json: bool },
    Send { device: String, text: String, wait: Option<Duration> },
    Remove { device: String },
    Watch { types: Vec<String>, device: Option<String>, json: bool },
    Stats { json: bool },
    Config { json: bool },
    Reload,
    Stop,
}

/// Asks, and prints the answer.
pub(crate) fn run(ask: &Ask, control: Option<&str>) -> Result<(), Failure> {
    let mut gateway = Connection::open(control)?;
    match ask {
        Ask::Devices { json } => devices(&mut gateway, *json),
        Ask::Send { device, text, wait } => send(&mut gateway, device, text, *wait),
        Ask::Remove { device } => {
            let answer = gateway.ask(&json!({ "op": "remove", "device": device }))?;
            say(&format!("{} closed\n", show::number_of(answer["removed"].as_u64(), "connection")))
        }
        Ask::Watch { types, device, json } => watch(&mut gateway, types, device.as_deref(), *json),
        Ask::Stats { json } => {
            let answer = gateway.ask(&json!({ "op": "stats" }))?;
            let stats = &answer["stats"];
            say(&if *json { format!("{stats}\n") } else { show::stats(stats) })
        }
        Ask::Config { json } => {
            let answer = gateway.ask(&json!({ "op": "config" }))?;
            let config = &answer["config"];
            say(&if *json { format!("{config}\n") } else { print_report(config) })
        }
        Ask::Reload => {
            let answer = gateway.ask(&json!({ "op": "reload" }))?;
            say(&show::reloaded(&answer["changed"]))
        }
        Ask::Stop => gateway.ask(&json!({ "op": "stop" })).map(drop),
    }
}

fn devices(gateway: &mut Connection, json: bool) -> Result<(), Failure> {
    gateway.put(&json!({ "id": 1, "op": "devices" }))?;
    let mut table = show::Table::devices();
    loop {
        let line = gateway.line()?;
        let device = &line["device"];
        if device.is_null() {
            checked(line)?;
            return if json { Ok(()) } else { say(&table.print()) };
        }
        if json { say(&format!("{device}\n"))? } else { table.device(device) }
    }
}

fn send(gateway: &mut Connection, device: &str, text: &str, wait: Option<Duration>) -> Result<(), Failure> {
    // Watching begins before the command goes: its answer cannot come too early to be seen.
    gateway.ask(&match wait {
        Some(_) => json!({ "op": "watch", "device": device }),
        None => json!({ "op": "ping" }),
    })?;
    // This gateway answers. How long the device may take to read the command is for its limits to say.
    gateway.set_timeout(None)?;
    let sent = gateway.ask(&json!({ "op": "send", "device": device, "text": text }))?;
    if let Some(of) = sent["of"].as_u64().filter(|&of| of > 1) {
        let note = format!("{of} connections from {device}: sent to the newest, #{}", sent["conn"]);
        let _ = writeln!(io::stderr(), "pulsegate: {note}");
    }
    let Some(wait) = wait else { return Ok(()) };
    let deadline = Deadline::after(wait);
    loop {
        let left = deadline.left().ok_or_else(|| {
            Failure::Failed(format!(
                "device #{} sent nothing within {}",
                sent["conn"],
                humantime::format_duration(wait)
            ))
        });
        gateway.set_timeout(Some(left?))?;
        let Some(line) = gateway.line_in_time()? else { continue };
        let (event, object) = gateway.parsed(&line)?;
        if event["conn"] != sent["conn"] {
            continue;
        }
        match event["event"].as_str() {
            Some("message") => return say(&format!("{}\n", show::object(object))),
            Some("disconnect") => {
                let why = event["reason"].as_str().unwrap_or("gone");
                return Err(Failure::Failed(format!("device #{} is gone: {why}", sent["conn"])));
            }
            _ => {}
        }
    }
}

/// An answer or event, and the object in it as the device sent it. That one is not read: it may be nested as deep as
/// a whole line may be.
fn parse(line: &str) -> serde_json::Result<(Value, &str)> {
    #[derive(Deserialize)]
    struct Sent<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let Some(object) = serde_json::from_str::<Sent<'_>>(line)?.data.map(RawValue::get) else {
        return Ok((serde_json::from_str(line)?, ""));
    };
    // No other member can hold it: in a string its quotes would be escaped.
    Ok((serde_json::from_str(&line.replacen(object, "null", 1))?, object))
}

/// A point of time by which something must have happened.
struct Deadline(std::time::Instant);

impl Deadline {
    #[expect(clippy::disallowed_methods, reason = "a call of the program waits for a person's time")]
    fn after(wait: Duration) -> Self {
        Self(std::time::Instant::now() + wait)
    }

    #[expect(clippy::disallowed_methods, reason = "a call of the program waits for a person's time")]
    fn left(&self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(std::time::Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

fn watch(gateway: &mut Connection, types: &[String], device: Option<&str>, json: bool) -> Result<(), Failure> {
    gateway.ask(&json!({ "op": "watch", "types": types, "device": device }))?;
    gateway.set_timeout(None)?;
    loop {
        let ended = || Failure::Failed("the gateway has ended".into());
        let line = gateway.line_in_time()?.ok_or_else(ended)?;
        if json {
            say(&line)?;
        } else {
            let (event, object) = gateway.parsed(&line)?;
            say(&show::event(&event, object))?;
        }
    }
}

/// How long a gateway may take for an answer. One that has no descriptor left for a client does not hear it.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The path that the configuration names, if it does. A faulty one keeps nobody from asking a gateway that runs.
fn configured() -> Option<PathBuf> {
    match load(None, &[]).ok()?.control {
        Control::Path(path) => Some(path),
        Control::Default | Control::Off => None,
    }
}

/// A connection to a gateway's control socket.
struct Connection {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Connection {
    fn open(path: Option<&str>) -> Result<Self, Failure> {
        let named = path.map(PathBuf::from).or_else(|| {
            let path = std::env::var("PULSEGATE_CONTROL_PATH").ok().filter(|path| path.starts_with('/'));
            path.map(PathBuf::from).or_else(configured)
        });
        // Without a name, a gateway of this user's own comes before the system's.
        let defaults = || default_path().into_iter().chain([SYSTEM_PATH.into()]).collect();
        let mut paths: Vec<_> = named.map_or_else(defaults, |path| vec![path]);
        paths.dedup();
        let mut failures = Vec::new();
        for path in paths {
            match connect(&path, ANSWER_WITHIN) {
                Ok(stream) => return Ok(Self { stream: BufReader::new(stream), path }),
                Err(error) => failures.push(format!("{}: {error}", path.display())),
            }
        }
        Err(Failure::NoGateway(format!("no gateway answers on the control socket {}", failures.join(", nor on "))))
    }

    /// Sends a request and gives the answer to it. Events that come before it are passed over.
    fn ask(&mut self, request: &Value) -> Result<Value, Failure> {
        self.put(request)?;
        loop {
            let answer = self.line()?;
            if answer.get("ok").is_some() {
                return checked(answer);
            }
        }
    }

    fn put(&mut self, request: &Value) -> Result<(), Failure> {
        let Err(error) = self.stream.get_ref().write_all(format!("{request}\n").as_bytes()) else { return Ok(()) };
        if is_timeout(&error) {
            return Err(self.lost(error));
        }
        // A gateway that has no place for one more client says so, and closes, before it is asked anything.
        match self.line() {
            Ok(answer) => checked(answer).and(Err(self.lost(error))),
            Err(_) => Err(self.lost(error)),
        }
    }

    fn line(&mut self) -> Result<Value, Failure> {
        let line = self.line_in_time()?.ok_or_else(|| self.lost(io::ErrorKind::TimedOut.into()))?;
        Ok(self.parsed(&line)?.0)
    }

    fn parsed<'a>(&self, line: &'a str) -> Result<(Value, &'a str), Failure> {
        parse(line).map_err(|error| self.lost(error.into()))
    }

    /// The next line, or nothing if none has come in the time that was set.
    fn line_in_time(&mut self) -> Result<Option<String>, Failure> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(Some(line)),
            Err(error) if is_timeout(&error) => Ok(None),
            Err(error) => Err(self.lost(error)),
        }
    }

    fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), Failure> {
        self.stream.get_ref().set_read_timeout(timeout).map_err(|error| self.lost(error))
    }

    fn lost(&self, error: io::Error) -> Failure {
        if is_timeout(&error) {
            return Failure::NoAnswer(format!("the gateway on {} has not answered in time", self.path.display()));
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Failure::NoGateway(format!("the gateway on {} has stopped", self.path.display()));
        }
        Failure::NoGateway(format!("the gateway on {} does not answer: {error}", self.path.display()))
    }
}

/// The answer, or what it says was wrong.
fn checked(answer: Value) -> Result<Value, Failure> {
    if answer["ok"] == true {
        return Ok(answer);
    }
    let detail = answer["detail"].as_str().unwrap_or("the gateway refused").to_owned();
    Err(match answer["error"].as_str() {
        Some("bad_configuration") => Failure::Config(detail),
        _ => Failure::Failed(detail),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use nix::sys::socket::{Backlog, listen};

    use super::*;

    /// A connection, and the gateway's end of it.
    fn connection() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Connection { stream: BufReader::new(ours), path: "test.sock".into() }, theirs)
    }

    #[test]
    fn an_object_may_be_nested_deeper_than_the_line_around_it_may() {
        let object = format!(r#"{{"Type":"Status","A":{}{}}}"#, "[".repeat(1_000), "]".repeat(1_000));
        let line = format!(r#"{{"event":"message","time":"","conn":7,"type":"Status","data":{object}}}"#);
        let (event, sent) = parse(&line).unwrap();
        assert_eq!(sent, object);
        let without = json!({ "event": "message", "time": "", "conn": 7, "type": "Status", "data": null });
        assert_eq!(event, without);
        let (mut gateway, mut end) = connection();
        writeln!(end, "{line}\n{}", json!({ "id": null, "ok": true, "conn": 7 })).unwrap();
        assert_eq!(gateway.ask(&json!({ "op": "send" })).unwrap()["conn"], 7);
    }

    #[test]
    fn a_refusal_that_came_before_the_request_is_told() {
        let (mut gateway, mut end) = connection();
        let refusal = json!({ "id": null, "ok": false, "error": "too_many_clients", "detail": "too many" });
        writeln!(end, "{refusal}").unwrap();
        drop(end);
        let failure = gateway.ask(&json!({ "op": "stats" })).unwrap_err();
        assert!(matches!(&failure, Failure::Failed(detail) if detail == "too many"), "{failure:?}");
    }

    #[test]
    fn a_gateway_that_accepts_nobody_is_not_waited_for() {
        let path = std::env::temp_dir().join(format!("pulsegate-{}-deaf.sock", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let limit = Duration::from_millis(20);
        let stream = connect(&path, limit).unwrap();
        let mut gateway = Connection { stream: BufReader::new(stream), path: path.clone() };
        let failure = gateway.ask(&json!({ "op": "stats" })).unwrap_err();
        assert_eq!((failure.code(), failure.sentence().contains("has not answered in time")), (69, true));
        let failure = gateway.put(&json!({ "text": "x".repeat(4 << 20) })).unwrap_err();
        assert!(matches!(failure, Failure::NoAnswer(_)), "a stop that was not heard is no stop: {failure:?}");
        // Nor can anybody else connect while it waits.
        assert!(is_timeout(&connect(&path, limit).unwrap_err()));
        std::fs::remove_file(&path).unwrap();
    }
}
