//! The commands that use a running gateway, as clients of its control socket.

mod connection;
mod send;
mod watch;

use serde_json::json;

use self::connection::{Connection, checked};
use crate::config::print_report;
use crate::{Failure, print, prometheus, render};

/// A command for a running gateway.
#[derive(Debug)]
pub(crate) enum ControlCommand {
    Devices { json: bool, all: bool },
    Send(Send),
    Remove { device: String },
    Watch(Watch),
    Stats { json: bool, prometheus: bool },
    Config { json: bool },
    Reload,
    Stop,
}

pub(crate) use self::send::{Answer, Send};
pub(crate) use self::watch::Watch;

/// Sends the request of a command, and prints the answer.
pub(crate) fn run(command: &ControlCommand, control: Option<&str>) -> Result<(), Failure> {
    if let ControlCommand::Watch(watch) = command {
        return watch.run(control);
    }
    let mut gateway = Connection::open(control)?;
    match command {
        ControlCommand::Devices { json, all } => devices(&mut gateway, *json, *all),
        ControlCommand::Send(send) => send.run(&mut gateway),
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

fn devices(gateway: &mut Connection, json: bool, all: bool) -> Result<(), Failure> {
    gateway.put(&json!({ "id": 1, "op": "devices", "all": all }))?;
    let (mut table, mut missing) = (render::Table::devices(), render::Table::missing());
    loop {
        let line = gateway.line()?;
        let (device, gone) = (&line["device"], &line["missing"]);
        match (device.is_null(), gone.is_null()) {
            (false, _) if json => print(&format!("{device}\n"))?,
            (false, _) => table.device(device),
            (true, false) if json => print(&format!("{gone}\n"))?,
            (true, false) => missing.gone(gone),
            (true, true) => {
                checked(line)?;
                let below = if all { format!("\n{}", missing.print()) } else { String::new() };
                return if json { Ok(()) } else { print(&(table.print() + &below)) };
            }
        }
    }
}
