//! `pulsegate watch`: prints the events of a gateway, also across its restarts.

use std::io::{self, Write};
use std::time::Duration;

use pulsegate::Kind;
use serde_json::{Value, json};

use super::connection::Connection;
use crate::{Failure, print, render};

/// The options of `watch`.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) types: Vec<String>,
    pub(crate) device: Option<String>,
    pub(crate) json: bool,
    /// Whether to wait for a gateway, at the start and after it ends.
    pub(crate) reconnect: bool,
}

/// The first and the longest pause between two attempts to connect.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];

impl Watch {
    pub(super) fn run(&self, control: Option<&str>) -> Result<(), Failure> {
        let mut pause = PAUSES[0];
        loop {
            let mut gateway = match Connection::open(control) {
                Ok(gateway) => gateway,
                Err(failure) => {
                    // Only the first attempt prints the reason.
                    self.wait_or_fail(failure, pause == PAUSES[0])?;
                    wait(pause);
                    pause = PAUSES[1].min(pause * 2);
                    continue;
                }
            };
            if pause > PAUSES[0] {
                note(&format!("connected to the gateway on {}", gateway.path().display()));
            }
            pause = PAUSES[0];
            let Err(failure) = self.follow(&mut gateway) else { return Ok(()) };
            self.wait_or_fail(failure, true)?;
            wait(pause);
            pause *= 2;
        }
    }

    /// Returns the failure, unless `--reconnect` waits for a gateway. `print` prints the reason of the wait.
    fn wait_or_fail(&self, failure: Failure, print: bool) -> Result<(), Failure> {
        match failure {
            Failure::NoGateway(reason) | Failure::NoAnswer(reason) if self.reconnect => {
                if print {
                    note(&format!("{reason}: waiting for a gateway"));
                }
                Ok(())
            }
            other => Err(other),
        }
    }

    /// Prints events until the connection ends.
    fn follow(&self, gateway: &mut Connection) -> Result<(), Failure> {
        gateway.ask(&json!({ "op": "watch", "types": self.types, "device": self.device }))?;
        if !self.types.is_empty() {
            let answer = gateway.ask(&json!({ "op": "stats" }))?;
            unseen(&self.types, &answer["stats"]["messages"]).into_iter().for_each(|text| note(&text));
        }
        gateway.set_timeout(None)?;
        loop {
            let ended = || Failure::Failed("the gateway has ended".into());
            let line = gateway.line_in_time()?.ok_or_else(ended)?;
            if self.json {
                print(&line)?;
            } else {
                let (event, object) = gateway.parsed(&line)?;
                print(&render::event(&event, object))?;
            }
        }
    }
}

/// Returns a note for each wanted type without a message so far, with the types of earlier messages. Types are
/// case-sensitive: no message has the type `status` if devices send `Status`.
fn unseen(types: &[String], messages: &Value) -> Vec<String> {
    let seen: Vec<&str> = Kind::ALL
        .iter()
        .filter(|kind| **kind != Kind::Heartbeat && messages[kind.as_str()]["count"].as_u64().unwrap_or(0) > 0)
        .map(|kind| kind.as_str())
        .collect();
    let note = |wanted: &String| {
        let near = Kind::WORDS.iter().find(|word| word.eq_ignore_ascii_case(wanted));
        let meant = near
            .filter(|near| **near != wanted.as_str())
            .map(|word| format!(" Did you mean {word}?"))
            .unwrap_or_default();
        let seen = if seen.is_empty() { "none".into() } else { seen.join(", ") };
        format!("no message of type '{wanted}' so far, earlier messages have types: {seen}.{meant}")
    };
    // The gateway counts every type without a kind of its own as Other.
    let is_unseen = |wanted: &&String| {
        let is_known = Kind::WORDS.contains(&wanted.as_str());
        !seen.contains(&wanted.as_str()) && (is_known || !seen.contains(&Kind::Other.as_str()))
            || !is_known && Kind::WORDS.iter().any(|word| word.eq_ignore_ascii_case(wanted))
    };
    types.iter().filter(is_unseen).map(note).collect()
}

#[expect(clippy::disallowed_methods, reason = "a command waits in real time")]
fn wait(pause: Duration) {
    std::thread::sleep(pause);
}

/// Prints a line for people, apart from the events.
fn note(text: &str) {
    // Nothing is left to do when standard error is closed.
    let _ = writeln!(io::stderr(), "pulsegate: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_without_messages_is_noted() {
        let check = |wanted: &str, messages: Value, expected: &[&str]| {
            assert_eq!(unseen(&[wanted.to_owned()], &messages), expected, "{wanted} {messages}");
        };
        let count = |count: u64| json!({ "count": count, "bytes": 0 });
        let some = || json!({ "Status": count(3), "Performance": count(0), "Other": count(1), "Heartbeat": count(9) });
        check("Status", some(), &[]);
        check("Alarm", some(), &[]);
        check(
            "status",
            some(),
            &["no message of type 'status' so far, earlier messages have types: Status, Other. Did you mean Status?"],
        );
        check("Alarm", json!({}), &["no message of type 'Alarm' so far, earlier messages have types: none."]);
    }
}
