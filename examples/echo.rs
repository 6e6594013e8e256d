//! An application that counts messages and answers messages with a member `Echo`.
//!
//! A `Status` with `"Echo":"x"` gets the command `echo x`. A `Status` with `"Echo":"count"` gets
//! `echo count=<messages so far>;`. `examples/device.py` is a device for it.
//!
//!     cargo run --release --example echo -- --listen 0.0.0.0:5556 --discovery 0.0.0.0:5555

use std::borrow::Cow;
use std::process::ExitCode;

use pulsegate::{Context, Device, Handler, Kind, Message, Server};

#[derive(Default)]
struct Echo {
    messages: u64,
}

impl Handler for Echo {
    fn on_message(&mut self, device: &Device, message: &Message<'_>, gateway: &mut Context<'_>) {
        match message.kind() {
            Kind::Project | Kind::Performance | Kind::Status => self.messages += 1,
            _ => return,
        }
        if message.kind() != Kind::Status {
            return;
        }
        // One member is all that this application reads of a `Status`, however large the rest is.
        let Some(text) = message.member("Echo") else { return };
        match serde_json::from_slice::<Cow<'_, str>>(text) {
            Ok(text) if text == "count" => gateway.send(device.id(), format!("echo count={};", self.messages)),
            Ok(text) => gateway.send(device.id(), format!("echo {text}")),
            // Something else than a string asks for nothing.
            Err(_) => {}
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
    let mut server = builder.build(Echo::default())?;
    for address in server.listen_addresses() {
        eprintln!("echo: devices are awaited on {address}");
    }
    server.run()?;
    Ok(())
}
