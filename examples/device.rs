//! A device on the library: it finds the gateway, reports, answers beats, obeys commands, and reconnects.
//!
//! It uses [`pulsegate::device`] alone, so a program like it builds with `default-features = false`:
//!
//!     cargo run --release --no-default-features --example device -- --name pump-7 --terminator '\n'

#![expect(clippy::disallowed_methods, reason = "a device has its own clock and waits between two attempts")]

use std::hash::{BuildHasher, RandomState};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use pulsegate::device::{ClientConnection, ClientLines, DISCOVERY_REPLY, HEARTBEAT_ANSWER, Heard, Line};
use pulsegate::{DISCOVERY_PORT, TCP_PORT};
use serde_json::json;

/// A gateway without a byte for this long is gone: a gateway that loses its power closes no connection.
const SILENCE: Duration = Duration::from_secs(30);
/// Of connect and of each write: an object that goes out in part ends the connection.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(10);
/// A read returns at least this often.
const TICK: Duration = Duration::from_millis(300);
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
const COMMAND_BYTES_MAX: usize = 65_536;

struct Options {
    host: Option<IpAddr>,
    port: u16,
    udp_port: u16,
    name: String,
    terminator: Vec<u8>,
    interval: Duration,
}

/// One connection.
struct Device<'a> {
    stream: TcpStream,
    options: &'a Options,
    interval: Duration,
}

impl Device<'_> {
    fn report(&mut self, state: &str) -> Result<()> {
        // Objects go back to back: the brace that closes an object is all the framing there is.
        let object = json!({"Type": "Status", "Id": self.options.name, "State": state});
        self.stream.write_all(object.to_string().as_bytes())
    }

    fn obey(&mut self, command: &[u8]) -> Result<()> {
        let command = String::from_utf8_lossy(command);
        println!("{command}");
        match command.trim().split_once(' ') {
            None if command.trim() == "status" => self.report("ready"),
            Some(("interval", seconds)) => match seconds.parse() {
                Ok(seconds @ 1..) => {
                    self.interval = Duration::from_secs(seconds);
                    self.report("ready")
                }
                _ => self.report("invalid interval"),
            },
            _ => self.report("unknown command"),
        }
    }

    /// Reads until the gateway closes the connection or falls silent. Each end is an error.
    fn talk(&mut self) -> Result<()> {
        let mut receiver = Receiver::new(&self.options.terminator);
        let (mut buffer, mut last_byte, mut last_report) = ([0; 4096], Instant::now(), Instant::now());
        self.report("ready")?;
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Error::other("the gateway closed the connection")),
                Ok(length) => {
                    last_byte = Instant::now();
                    receiver.receive(&buffer[..length], self)?;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    receiver.pause(self)?
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if last_byte.elapsed() >= SILENCE {
                return Err(Error::other("the gateway is silent"));
            }
            if last_report.elapsed() >= self.interval {
                self.report("ready")?;
                last_report = Instant::now();
            }
        }
    }
}

/// Finds beats and commands in the stream.
enum Receiver {
    Lines(ClientLines),
    /// Without a terminator the device has to guess where a command ends: at a beat, and at a pause.
    Raw(ClientConnection, Vec<u8>),
}

impl Receiver {
    fn new(terminator: &[u8]) -> Self {
        match terminator {
            [] => Self::Raw(ClientConnection::new(), Vec::new()),
            _ => Self::Lines(ClientLines::new(terminator, COMMAND_BYTES_MAX)),
        }
    }

    fn receive(&mut self, mut input: &[u8], device: &mut Device<'_>) -> Result<()> {
        loop {
            let used = match self {
                Self::Lines(lines) => match lines.handle_data(input) {
                    (_, None) => return Ok(()),
                    (used, Some(line)) => {
                        match line {
                            Line::Beat => device.stream.write_all(HEARTBEAT_ANSWER)?,
                            Line::Command(command) => device.obey(command)?,
                            Line::Overlong => device.report("a command was too long")?,
                        }
                        used
                    }
                },
                Self::Raw(connection, held) => match connection.handle_data(input) {
                    (_, None) => return Ok(()),
                    (used, Some(Heard::Text(text))) => {
                        held.extend_from_slice(text);
                        if held.len() > COMMAND_BYTES_MAX {
                            return Err(Error::other("a command does not end"));
                        }
                        used
                    }
                    (used, Some(Heard::Beat)) => {
                        device.stream.write_all(HEARTBEAT_ANSWER)?;
                        self.pause(device)?;
                        used
                    }
                },
            };
            input = &input[used..];
        }
    }

    /// The gateway paused, or sent a beat: the text before it is a whole command.
    fn pause(&mut self, device: &mut Device<'_>) -> Result<()> {
        match self {
            Self::Raw(_, held) if !held.is_empty() => device.obey(&std::mem::take(held)),
            _ => Ok(()),
        }
    }
}

/// Returns the address of a gateway that answers a broadcast.
fn discover(udp_port: u16) -> Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_broadcast(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    // A machine without a network can still ask itself.
    for target in ["255.255.255.255", "127.0.0.1"] {
        let _ = socket.send_to(b"where are you?", (target, udp_port));
    }
    let mut answer = [0; 64];
    loop {
        let (length, gateway) = socket.recv_from(&mut answer)?;
        if &answer[..length] == DISCOVERY_REPLY {
            return Ok(gateway.ip());
        }
    }
}

fn connect(options: &Options) -> Result<()> {
    let host = options.host.map_or_else(|| discover(options.udp_port), Ok)?;
    let stream = TcpStream::connect_timeout(&(host, options.port).into(), SOCKET_TIMEOUT)?;
    stream.set_write_timeout(Some(SOCKET_TIMEOUT))?;
    stream.set_read_timeout(Some(TICK))?;
    Device { stream, options, interval: options.interval }.talk()
}

fn run(options: &Options) {
    let mut pause = PAUSE_MIN;
    loop {
        let started = Instant::now();
        let Err(error) = connect(options) else { continue };
        if started.elapsed() >= PAUSE_MAX {
            pause = PAUSE_MIN;
        }
        // Devices that lost their gateway in one moment must not return in one moment.
        let wait = pause.mul_f64(0.5 + (RandomState::new().hash_one(()) % 1024) as f64 / 2048.0);
        eprintln!("device: {error}; next attempt in {:.1} s", wait.as_secs_f64());
        std::thread::sleep(wait);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    use lexopt::prelude::*;
    let mut options = Options {
        host: None,
        port: TCP_PORT,
        udp_port: DISCOVERY_PORT,
        name: "device-rs".to_owned(),
        terminator: Vec::new(),
        interval: Duration::from_secs(5),
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Value(host) => options.host = Some(host.parse()?),
            Long("port") => options.port = arguments.value()?.parse()?,
            Long("udp-port") => options.udp_port = arguments.value()?.parse()?,
            Long("name") => options.name = arguments.value()?.parse()?,
            Long("interval") => options.interval = Duration::from_secs(arguments.value()?.parse()?),
            Long("terminator") => {
                options.terminator = arguments.value()?.string()?.replace("\\r", "\r").replace("\\n", "\n").into();
            }
            other => return Err(other.unexpected().into()),
        }
    }
    run(&options);
    Ok(())
}
