//! An application that keeps the latest `Performance` of each device, and asks each for its status every 10 s.
//!
//!     cargo run --release --example latest

use std::time::Duration;

use pulsegate::{Context, Device, DeviceMap, Disconnect, Handler, Kind, Message, Server};

/// The key of the timer that asks for the status.
const ASK: u64 = 1;
const ASK_INTERVAL: Duration = Duration::from_secs(10);

/// The members of a `Performance` that this application reads.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Performance {
    #[serde(default)]
    cpu: f64,
}

#[derive(Default)]
struct App {
    latest: DeviceMap<Performance>,
}

impl Handler for App {
    fn on_start(&mut self, gateway: &mut Context<'_>) {
        gateway.set_timer(ASK, ASK_INTERVAL);
    }

    fn on_message(&mut self, device: &Device, message: &Message<'_>, _: &mut Context<'_>) {
        match message.kind() {
            Kind::Performance => match message.deserialize() {
                Ok(performance) => _ = self.latest.insert(device.id(), performance),
                Err(error) => eprintln!("{}: unusable Performance: {error}", device.address()),
            },
            Kind::Status => println!("{}: {}", device.address(), String::from_utf8_lossy(message.bytes())),
            _ => {}
        }
    }

    fn on_disconnect(&mut self, device: &Device, end: &Disconnect, _: &mut Context<'_>) {
        self.latest.remove(device.id());
        println!("{} left: {}", device.address(), end.reason);
    }

    fn on_timer(&mut self, _: u64, gateway: &mut Context<'_>) {
        gateway.set_timer(ASK, ASK_INTERVAL);
        let latest = &self.latest;
        gateway.for_each_device(|device, gateway| {
            if let Some(performance) = latest.get(device.id()) {
                println!("{}: CPU {} %", device.address(), performance.cpu);
            }
            gateway.send(device.id(), "status");
        });
    }
}

fn main() -> Result<(), pulsegate::Error> {
    Server::builder().listen("[::]:5556".parse()?).discovery("0.0.0.0:5555".parse()?).build(App::default())?.run()
}
