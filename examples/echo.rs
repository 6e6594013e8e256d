//! An application on the gateway: counts messages and answers those that ask for it.
//!
//! A `Status` with `"Echo":"x"` gets the command `echo x`; one with `"Echo":"count"` gets
//! `echo count=<messages so far>;`. Try it with `examples/device.py`.
//!
//!     cargo run --release --example echo -- --listen 0.0.0.0:5556 --discovery 0.0.0.0:5555

use std::borrow::Cow;
use std::process::ExitCode;

use pulsegate::{Commands, Device, Handler, Kind, Message, Server};
use serde::Deserialize;

#[derive(Default)]
struct Echo {
    messages: u64,
}

/// All that this application reads of a `Status`. Strings are borrowed where no escape forbids it.
#[derive(Deserialize)]
struct Status<'a> {
    #[serde(rename = "Echo", borrow, default)]
    echo: Option<Cow<'a, str>>,
}

impl Handler for Echo {
    fn on_message(&mut self, device: &Device, message: &Message<'_>, gateway: &mut Commands<'_>) {
        match message.kind() {
            Kind::Project | Kind::Performance | Kind::Status => self.messages += 1,
            _ => return,
        }
        if message.kind() != Kind::Status {
            return;
        }
        match message.deserialize::<Status<'_>>() {
            Ok(Status { echo: Some(text) }) if text == "count" => {
                gateway.send(device.id(), format!("echo count={};", self.messages));
            }
            Ok(Status { echo: Some(text) }) => gateway.send(device.id(), format!("echo {text}")),
            Ok(Status { echo: None }) => {}
            Err(error) => eprintln!("status of device {} not understood: {error}", device.id()),
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    use lexopt::prelude::*;
    let mut builder = Server::builder();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        builder = match argument {
            Long("listen") => builder.listen(arguments.value()?.parse()?),
            Long("discovery") => builder.discovery(arguments.value()?.parse()?),
            other => return Err(other.unexpected().into()),
        };
    }
    builder.build(Echo::default())?.run()?;
    Ok(())
}
