//! `pulsegate`: the gateway as a daemon, and the calls by which people and scripts use one that runs.

mod app;
mod calls;
mod client;
mod config;
mod control;
mod control_socket;
mod discover;
mod events;
mod logging;
mod serve;
mod show;
mod stats;
mod stdio;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use calls::Given;
use client::Ask;
use config::{Config, ControlPath, Events};

/// Why the program ends without having done what it was asked to, with a sentence for people.
#[derive(Debug)]
enum Failure {
    /// It could not be done.
    Failed(String),
    /// The call was wrong.
    Usage(String),
    /// No gateway answers on the control socket.
    NoGateway(String),
    /// The configuration is wrong.
    Config(String),
}

impl Failure {
    /// The exit code; 69 and 78 are those of sysexits.h.
    fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NoGateway(_) => 69,
            Self::Config(_) => 78,
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::Failed(text) | Self::NoGateway(text) | Self::Config(text) => text.clone(),
            Self::Usage(text) => format!("{text}; see 'pulsegate --help'"),
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If standard error is gone, there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "pulsegate: {}", failure.sentence());
            ExitCode::from(failure.code())
        }
    }
}

fn run() -> Result<(), Failure> {
    let (name, options, arguments) = match calls::parse(std::env::args_os().skip(1)).map_err(Failure::Usage)? {
        Given::Call { name, options, arguments } => (name, options, arguments),
        Given::Help(call) => return say(&calls::help(call)),
        Given::Version => return say(concat!("pulsegate ", env!("CARGO_PKG_VERSION"), "\n")),
    };
    let given = |wanted: &str| options.iter().rev().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
    let json = given("json").is_some();
    let ask = match name {
        "serve" => return serve(&options),
        "discover" => {
            let timeout = given("timeout").map_or(Ok(Duration::from_secs(2)), seconds)?;
            let port = given("port")
                .map_or(Ok(5555), |port| port.parse().map_err(|_| Failure::Usage(format!("{port:?} is not a port"))))?;
            return discover::run(timeout, port);
        }
        "devices" => Ask::Devices { json },
        "stats" => Ask::Stats { json },
        "reload" => Ask::Reload,
        "stop" => Ask::Stop,
        "remove" => match &arguments[..] {
            [name] => Ask::Remove { device: device(name)? },
            _ => return Err(Failure::Usage("remove takes one DEVICE".into())),
        },
        "send" => match &arguments[..] {
            [name, text @ ..] if !text.is_empty() => {
                let wait = given("wait").map(seconds).transpose()?;
                Ask::Send { device: device(name)?, text: text.join(" "), wait }
            }
            _ => return Err(Failure::Usage("send takes a DEVICE and the TEXT of a command".into())),
        },
        _ => {
            let types = options.iter().filter(|(name, _)| *name == "type").map(|(_, value)| value.clone()).collect();
            Ask::Watch { types, device: given("device").map(device).transpose()?, json }
        }
    };
    client::run(&ask, given("control"))
}

/// The name of a device, checked here so that a wrong one is wrong usage and no question to the gateway.
fn device(name: &str) -> Result<String, Failure> {
    let known = name.parse::<pulsegate::Target>();
    known.map(|_| name.to_owned()).map_err(|e| Failure::Usage(format!("{name:?} is no device: {e}")))
}

fn seconds(text: &str) -> Result<Duration, Failure> {
    let plain = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let known = plain.or_else(|| humantime::parse_duration(text).ok());
    known.ok_or_else(|| Failure::Usage(format!("{text:?} is not a number of seconds")))
}

fn serve(options: &[(&str, String)]) -> Result<(), Failure> {
    let wrong = |name: &str, value: &str| Failure::Usage(format!("--{name} {value:?} is not understood"));
    let mut config = Config::default();
    config.listen.clear();
    for (name, value) in options {
        let wrong = || wrong(name, value);
        match *name {
            "listen" => config.listen.push(value.parse().map_err(|_| wrong())?),
            "discovery" if value == "off" => config.discovery.clear(),
            "discovery" => config.discovery = vec![value.parse().map_err(|_| wrong())?],
            "control" if value == "off" => config.control = ControlPath::Off,
            "control" => config.control = ControlPath::At(value.into()),
            "events" => {
                config.events = match value.as_str() {
                    "-" => Events::Stdout,
                    "none" => Events::None,
                    _ => return Err(wrong()),
                }
            }
            "log-level" => config.log_level = value.parse().map_err(|_| wrong())?,
            _ => {}
        }
    }
    logging::start(config.log_level).map_err(|e| Failure::Failed(format!("standard error cannot be used: {e}")))?;
    serve::run(&config).map_err(Failure::Failed)
}

/// Prints to standard output. That its reader has gone is no failure of ours.
fn say(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
