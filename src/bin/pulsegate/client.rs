//! The commands that use a running gateway, as clients of its control socket.

mod connection;
mod watch;

use std::io::{self, Write};
use std::time::Duration;

use serde_json::json;

use self::connection::{Connection, checked};
use crate::config::print_report;
use crate::{Failure, print, prometheus, render};

/// A command for a running gateway.
#[derive(Debug)]
pub(crate) enum ControlCommand {
    Devices { json: bool },
    Send { device: String, text: String, wait: Option<Duration> },
    Remove { device: String },
    Watch(Watch),
    Stats { json: bool, prometheus: bool },
    Config { json: bool },
    Reload,
    Stop,
}

pub(crate) use self::watch::Watch;

/// Sends the request of a command, and prints the answer.
pub(crate) fn run(command: &ControlCommand, control: Option<&str>) -> Result<(), Failure> {
    if let ControlCommand::Watch(watch) = command {
        return watch.run(control);
    }
    let mut gateway = Connection::open(control)?;
    match command {
        ControlCommand::Devices { json } => devices(&mut gateway, *json),
        ControlCommand::Send { device, text, wait } => send(&mut gateway, device, text, *wait),
        ControlCommand::Remove { device } => {
            let answer = gateway.ask(&json!({ "op": "remove", "device": device }))?;
            print(&format!("{} closed\n", render::number_of(answer["removed"].as_u64(), "connection")))
        }
        // Handled above, because it may open its connection several times.
        ControlCommand::Watch(_) => Ok(()),
        ControlCommand::Stats { json, prometheus } => {
            let answer = gateway.ask(&json!({ "op": "stats" }))?;
            let stats = &answer["stats"];
            print(&match (json, prometheus) {
                (true, _) => format!("{stats}\n"),
                (false, true) => prometheus::text(stats),
                (false, false) => render::stats(stats),
            })
        }
        ControlCommand::Config { json } => {
            let answer = gateway.ask(&json!({ "op": "config" }))?;
            let config = &answer["config"];
            print(&if *json { format!("{config}\n") } else { print_report(config) })
        }
        ControlCommand::Reload => {
            let answer = gateway.ask(&json!({ "op": "reload" }))?;
            print(&render::reloaded(&answer["changed"]))
        }
        ControlCommand::Stop => gateway.ask(&json!({ "op": "stop" })).map(drop),
    }
}

fn devices(gateway: &mut Connection, json: bool) -> Result<(), Failure> {
    gateway.put(&json!({ "id": 1, "op": "devices" }))?;
    let mut table = render::Table::devices();
    loop {
        let line = gateway.line()?;
        let device = &line["device"];
        if device.is_null() {
            checked(line)?;
            return if json { Ok(()) } else { print(&table.print()) };
        }
        if json { print(&format!("{device}\n"))? } else { table.device(device) }
    }
}

fn send(gateway: &mut Connection, device: &str, text: &str, wait: Option<Duration>) -> Result<(), Failure> {
    // The watch begins before the command, so that it cannot miss an early answer.
    gateway.ask(&match wait {
        Some(_) => json!({ "op": "watch", "device": device }),
        None => json!({ "op": "ping" }),
    })?;
    // The gateway has answered, so it runs. From here its own timeouts bound the wait for the device.
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
                "device #{} sent no object within {}",
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
            Some("message") => return print(&format!("{}\n", render::object(object))),
            Some("disconnect") => {
                let reason = event["reason"].as_str().unwrap_or("closed");
                return Err(Failure::Failed(format!("device #{} disconnected: {reason}", sent["conn"])));
            }
            _ => {}
        }
    }
}

/// The end of a wait.
struct Deadline(std::time::Instant);

impl Deadline {
    #[expect(clippy::disallowed_methods, reason = "a command waits in real time")]
    fn after(wait: Duration) -> Self {
        Self(std::time::Instant::now() + wait)
    }

    #[expect(clippy::disallowed_methods, reason = "a command waits in real time")]
    fn left(&self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(std::time::Instant::now());
        (!left.is_zero()).then_some(left)
    }
}
