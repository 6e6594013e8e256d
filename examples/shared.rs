//! An application that shares its state with another thread, which prints it and commands the devices.
//!
//!     cargo run --release --example shared
//!
//! Each line on standard input goes to every device. The end of the input stops the gateway.

use std::io::stdin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use pulsegate::{Context, Device, Handler, Message, Remote, RemoteError, Server};

/// The state that both threads use.
#[derive(Default)]
struct Shared {
    messages: u64,
    last_type: String,
}

struct App {
    shared: Arc<Mutex<Shared>>,
}

impl Handler for App {
    fn on_message(&mut self, _: &Device, message: &Message<'_>, _: &mut Context<'_>) {
        // The lock is short on both sides: while the event loop waits for it, it reads no device.
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.messages += 1;
        message.type_name().clone_into(&mut shared.last_type);
    }
}

/// Sends each line of standard input to every device, then stops the gateway.
fn command(remote: &Remote, shared: &Mutex<Shared>) -> Result<(), RemoteError> {
    const TIMEOUT: Duration = Duration::from_secs(1);
    for line in stdin().lines().map_while(Result::ok) {
        let devices = remote.devices()?.wait(TIMEOUT)?;
        for device in &devices {
            match remote.send(device.id(), line.as_str())?.wait(TIMEOUT) {
                Ok(_) => {}
                Err(RemoteError::Refused(error)) => eprintln!("{}: {error}", device.address()),
                Err(error) => return Err(error),
            }
        }
        let shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{} devices, {} messages, the last a '{}'", devices.len(), shared.messages, shared.last_type);
    }
    remote.stop()
}

fn main() -> Result<(), pulsegate::Error> {
    let shared = Arc::new(Mutex::new(Shared::default()));
    let app = App { shared: Arc::clone(&shared) };
    let mut server = Server::builder().listen("[::]:5556".parse()?).discovery("0.0.0.0:5555".parse()?).build(app)?;
    let remote = server.remote();
    #[expect(clippy::disallowed_methods, reason = "the application's own thread")]
    let _commands = thread::spawn(move || {
        if let Err(error) = command(&remote, &shared) {
            eprintln!("the commands end: {error}");
        }
    });
    server.run()
}
