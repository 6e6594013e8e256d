//! A connection to a gateway's control socket.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Gid, Group};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::Control;
use crate::control_socket::{SYSTEM_PATH, connect, default_path};
use crate::{Failure, load};

/// The time for an answer. A gateway that is out of file descriptors accepts no client.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Returns the path that the configuration names, if any. A faulty configuration does not stop a command.
fn configured() -> Option<PathBuf> {
    match load(None, &[]).ok()?.control {
        Control::Path(path) => Some(path),
        Control::Default | Control::Off => None,
    }
}

/// A connection to a gateway's control socket.
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Connection {
    pub(super) fn open(path: Option<&str>) -> Result<Self, Failure> {
        let named = path.map(PathBuf::from).or_else(|| {
            let path = std::env::var("PULSEGATE_CONTROL_PATH").ok().filter(|path| path.starts_with('/'));
            path.map(PathBuf::from).or_else(configured)
        });
        // Without a path, this user's own gateway comes before the system's.
        let defaults = || default_path().into_iter().chain([SYSTEM_PATH.into()]).collect();
        let mut paths: Vec<_> = named.map_or_else(defaults, |path| vec![path]);
        paths.dedup();
        let mut failures = Vec::new();
        for path in paths {
            match connect(&path, ANSWER_TIMEOUT) {
                Ok(stream) => return Ok(Self { stream: BufReader::new(stream), path }),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(Failure::Failed(denied(&path)));
                }
                Err(error) => failures.push(format!("{}: {error}", path.display())),
            }
        }
        Err(Failure::NoGateway(format!("no gateway answers on the control socket {}", failures.join(", nor on "))))
    }

    /// Sends a request and returns its answer. Skips events before the answer.
    pub(super) fn ask(&mut self, request: &Value) -> Result<Value, Failure> {
        self.put(request)?;
        loop {
            let answer = self.line()?;
            if answer.get("ok").is_some() {
                return checked(answer);
            }
        }
    }

    pub(super) fn put(&mut self, request: &Value) -> Result<(), Failure> {
        let Err(error) = self.stream.get_ref().write_all(format!("{request}\n").as_bytes()) else { return Ok(()) };
        if is_timeout(&error) {
            return Err(self.lost(error));
        }
        // A gateway without a free place for a client answers and closes before it reads a request.
        match self.line() {
            Ok(answer) => checked(answer).and(Err(self.lost(error))),
            Err(_) => Err(self.lost(error)),
        }
    }

    pub(super) fn line(&mut self) -> Result<Value, Failure> {
        let line = self.line_in_time()?.ok_or_else(|| self.lost(io::ErrorKind::TimedOut.into()))?;
        Ok(self.parsed(&line)?.0)
    }

    pub(super) fn parsed<'a>(&self, line: &'a str) -> Result<(Value, &'a str), Failure> {
        parse(line).map_err(|error| self.lost(error.into()))
    }

    /// Returns the next line, or `None` if none comes before the timeout.
    pub(super) fn line_in_time(&mut self) -> Result<Option<String>, Failure> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(Some(line)),
            Err(error) if is_timeout(&error) => Ok(None),
            Err(error) => Err(self.lost(error)),
        }
    }

    pub(super) fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), Failure> {
        self.stream.get_ref().set_read_timeout(timeout).map_err(|error| self.lost(error))
    }

    /// Returns the path of the control socket.
    pub(super) fn path(&self) -> &Path {
        &self.path
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

/// Explains a control socket that refuses this user, and names the group that may use it.
fn denied(path: &Path) -> String {
    // A user who may not search the directory cannot see the socket in it.
    let place = [Some(path), path.parent()].into_iter().flatten().find_map(|place| fs::metadata(place).ok());
    let group = place.map(|place| {
        let name = Group::from_gid(Gid::from_raw(place.gid())).ok().flatten().map(|group| group.name);
        name.unwrap_or_else(|| place.gid().to_string())
    });
    let members = group.map(|group| format!(": members of the group '{group}' may use it")).unwrap_or_default();
    format!("permission denied on the control socket {}{members}", path.display())
}

/// Parses an answer or event without the object in it, and returns that object as the device sent it. The object may be
/// nested as deep as the parser allows for a whole line.
fn parse(line: &str) -> serde_json::Result<(Value, &str)> {
    #[derive(Deserialize)]
    struct Sent<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let Some(object) = serde_json::from_str::<Sent<'_>>(line)?.data.map(RawValue::get) else {
        return Ok((serde_json::from_str(line)?, ""));
    };
    // No other member contains this text, because a string would escape its quotes.
    Ok((serde_json::from_str(&line.replacen(object, "null", 1))?, object))
}

/// Returns the answer, or its error as a failure.
pub(super) fn checked(answer: Value) -> Result<Value, Failure> {
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
    use serde_json::json;

    use super::*;

    /// Returns a connection and the gateway's end of it.
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
    fn a_refusal_that_came_before_the_request_is_its_answer() {
        let (mut gateway, mut end) = connection();
        let refusal = json!({ "id": null, "ok": false, "error": "too_many_clients", "detail": "too many" });
        writeln!(end, "{refusal}").unwrap();
        drop(end);
        let failure = gateway.ask(&json!({ "op": "stats" })).unwrap_err();
        assert!(matches!(&failure, Failure::Failed(detail) if detail == "too many"), "{failure:?}");
    }

    #[test]
    fn a_command_ends_in_time_when_the_gateway_accepts_no_client() {
        let path = std::env::temp_dir().join(format!("pulsegate-{}-full.sock", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let limit = Duration::from_millis(20);
        let stream = connect(&path, limit).unwrap();
        let mut gateway = Connection { stream: BufReader::new(stream), path: path.clone() };
        let failure = gateway.ask(&json!({ "op": "stats" })).unwrap_err();
        assert_eq!((failure.code(), failure.sentence().contains("has not answered in time")), (69, true));
        let failure = gateway.put(&json!({ "text": "x".repeat(4 << 20) })).unwrap_err();
        assert!(matches!(failure, Failure::NoAnswer(_)), "the gateway has not read the request: {failure:?}");
        // The accept queue is full, so another connect times out as well.
        assert!(is_timeout(&connect(&path, limit).unwrap_err()));
        fs::remove_file(&path).unwrap();
    }
}
