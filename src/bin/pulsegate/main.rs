//! `pulsegate`: the gateway as a daemon, and the commands that use a running gateway.

mod app;
mod client;
mod commands;
mod config;
mod control;
mod control_socket;
mod discover;
mod events;
mod logging;
#[cfg(test)]
mod manual;
#[cfg(feature = "mqtt")]
mod mqtt;
mod prometheus;
mod reload;
mod render;
mod serve;
#[cfg(any(feature = "mqtt", feature = "web"))]
mod service;
mod stats;
mod stdio;
mod stdout;
mod systemd;
mod terminal;
#[cfg(feature = "web")]
mod web;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use client::{Answer, ControlCommand, Send, Watch};
use commands::{Command, Parsed};
use config::{Config, single_quoted};

/// The failure of a command, with a sentence for people.
#[derive(Debug)]
enum Failure {
    /// The command failed.
    Failed(String),
    /// The command line is wrong.
    Usage(String),
    /// No gateway listens on the control socket.
    NoGateway(String),
    /// A gateway listens, but has not answered in time.
    NoAnswer(String),
    /// The configuration has an error.
    Config(String),
}

impl Failure {
    /// The exit code. 69 and 78 come from sysexits.h.
    fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NoGateway(_) | Self::NoAnswer(_) => 69,
            Self::Config(_) => 78,
        }
    }

    /// The sentence to print. Errors of the configuration begin with their place, as editors expect.
    fn sentence(&self) -> String {
        match self {
            Self::Failed(text) | Self::NoGateway(text) | Self::NoAnswer(text) => format!("pulsegate: {text}"),
            Self::Usage(text) => format!("pulsegate: {text} (see 'pulsegate --help')"),
            Self::Config(text) => text.clone(),
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing is left to do when standard error is closed.
            let _ = writeln!(std::io::stderr(), "{}", failure.sentence());
            ExitCode::from(failure.code())
        }
    }
}

fn run() -> Result<(), Failure> {
    #[cfg(feature = "mqtt")]
    if let [Some(command), Some(host), None] = std::array::from_fn(|place| std::env::args().nth(place + 1))
        && command == mqtt::resolve::COMMAND
    {
        return mqtt::resolve::run(&host);
    }
    let (command, options, arguments) = match commands::parse(std::env::args_os().skip(1)).map_err(Failure::Usage)? {
        Parsed::Run { command, options, arguments } => (command, options, arguments),
        Parsed::Help(command) => return print(&commands::help(command)),
        Parsed::Version => return print(concat!("pulsegate ", env!("CARGO_PKG_VERSION"), "\n")),
    };
    let given = |wanted: &str| options.iter().rev().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
    let json = given("json").is_some();
    let ask = match command {
        Command::Serve => return serve(&options),
        Command::Mqtt => return mqtt(&options),
        Command::CheckConfig => {
            let file = match (&arguments[..], given("defaults")) {
                ([], Some(_)) => return print(&Config::defaults_file()),
                (_, Some(_)) => return Err(Failure::Usage("check-config takes --defaults or a FILE".into())),
                ([], None) => None,
                ([file], None) => Some(Path::new(file)),
                _ => return Err(Failure::Usage("check-config takes one FILE".into())),
            };
            return check_config(&load(file, &[])?);
        }
        Command::Discover => {
            let timeout = given("timeout").map_or(Ok(Duration::from_secs(2)), seconds)?;
            let port = given("port").map_or(Ok(pulsegate::DISCOVERY_PORT), |port| {
                port.parse().ok().filter(|&port| port > 0).ok_or_else(|| {
                    let port = single_quoted(port);
                    Failure::Usage(format!("invalid port {port}: expected a number from 1 to 65535"))
                })
            })?;
            return discover::run(timeout, port);
        }
        Command::Web => return web(&options, given("control")),
        Command::Devices => ControlCommand::Devices { json, all: given("all").is_some() },
        Command::Stats => {
            let prometheus = given("prometheus").is_some();
            if json && prometheus {
                return Err(Failure::Usage("stats takes --json or --prometheus".into()));
            }
            ControlCommand::Stats { json, prometheus }
        }
        Command::Config => ControlCommand::Config { json },
        Command::Reload => ControlCommand::Reload,
        Command::Stop => ControlCommand::Stop,
        Command::Remove => match &arguments[..] {
            [name] => ControlCommand::Remove { device: device(name)? },
            _ => return Err(Failure::Usage("remove takes one DEVICE".into())),
        },
        Command::Send => match &arguments[..] {
            [name, text @ ..] if !text.is_empty() => {
                let answer = Answer {
                    wait: given("wait").map(seconds).transpose()?,
                    type_name: given("type").map(str::to_owned),
                    member: given("match").map(member).transpose()?,
                };
                if answer.wait.is_none() && (answer.type_name.is_some() || answer.member.is_some()) {
                    return Err(Failure::Usage("send takes --type and --match with --wait".into()));
                }
                let queue = given("queue").map(seconds).transpose()?;
                ControlCommand::Send(Send { device: device(name)?, text: text.join(" "), answer, queue })
            }
            _ => return Err(Failure::Usage("send takes a DEVICE and the TEXT of a command".into())),
        },
        Command::Watch => {
            let types = options.iter().filter(|(name, _)| *name == "type").map(|(_, value)| value.clone()).collect();
            let device = given("device").map(device).transpose()?;
            ControlCommand::Watch(Watch { types, device, json, reconnect: given("reconnect").is_some() })
        }
    };
    client::run(&ask, given("control"))
}

/// Checks the name of a device, so that an invalid name is wrong usage and needs no gateway.
fn device(name: &str) -> Result<String, Failure> {
    let known = name.parse::<pulsegate::Target>();
    known.map(|_| name.to_owned()).map_err(|e| Failure::Usage(format!("invalid device {}: {e}", single_quoted(name))))
}

/// The key and the value of a match.
fn member(text: &str) -> Result<(String, String), Failure> {
    let parts = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let expected = "expected MEMBER=VALUE, for example Id=42";
    parts.ok_or_else(|| Failure::Usage(format!("invalid match {}: {expected}", single_quoted(text))))
}

/// The longest time that an option takes. A longer one could overflow the clock.
const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);

fn seconds(text: &str) -> Result<Duration, Failure> {
    // A number without a unit means seconds. Parsing it as floating point would add 14 KB of tables.
    let unit = if text.ends_with(|last: char| last.is_ascii_digit()) { "s" } else { "" };
    let known = humantime::parse_duration(&format!("{text}{unit}")).ok().filter(|duration| *duration <= YEAR);
    let expected = "expected seconds or a duration, such as 5 or 500ms";
    known.ok_or_else(|| Failure::Usage(format!("invalid time {}: {expected}", single_quoted(text))))
}

/// Runs the uplink.
#[cfg(feature = "mqtt")]
fn mqtt(options: &[(&'static str, String)]) -> Result<(), Failure> {
    let given = |wanted: &str| options.iter().any(|(name, _)| *name == wanted);
    if given("stats") {
        return mqtt::show_stats(given("json"));
    }
    let config = Sources::new(options).load()?;
    if given("print-config") {
        return print(&config.print());
    }
    start_logging(&config)?;
    mqtt::run(&config)
}

#[cfg(not(feature = "mqtt"))]
fn mqtt(_: &[(&'static str, String)]) -> Result<(), Failure> {
    Err(Failure::Usage("this build has no uplink: the package pulsegate-full has one".into()))
}

fn start_logging(config: &Config) -> Result<(), Failure> {
    logging::start(config.log_level).map_err(|e| Failure::Failed(format!("cannot log to standard error: {e}")))?;
    log_configuration(config);
    Ok(())
}

fn serve(options: &[(&'static str, String)]) -> Result<(), Failure> {
    let handed = systemd::Sockets::from_environment().map_err(Failure::Failed)?;
    let given = |wanted: &str| options.iter().rev().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    let sources = Sources::new(options);
    let config = sources.load()?;
    if given("print-config").is_some() {
        return print(&config.print());
    }
    start_logging(&config)?;
    serve::run(config, sources, handed).map_err(Failure::Failed)
}

/// Runs the page. Its `--listen` is not that of the gateway.
#[cfg(feature = "web")]
fn web(options: &[(&'static str, String)], control: Option<&str>) -> Result<(), Failure> {
    let given = |wanted: &str| options.iter().rev().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    let keys = [("listen", "web.listen"), ("log-level", "log.level")];
    let overrides: Vec<(&'static str, String)> = keys
        .into_iter()
        .flat_map(|(option, key)| {
            options.iter().filter(move |(name, _)| *name == option).map(move |(_, value)| (key, value.clone()))
        })
        .collect();
    let config = load(given("config").map(Path::new), &overrides)?;
    start_logging(&config)?;
    web::run(&config, control)
}

#[cfg(not(feature = "web"))]
fn web(_: &[(&'static str, String)], _: Option<&str>) -> Result<(), Failure> {
    Err(Failure::Usage("this executable has no page: install pulsegate-full, or build with the feature web".into()))
}

/// The sources of the configuration, for the start and for every reload.
pub(crate) struct Sources {
    file: Option<PathBuf>,
    overrides: Vec<(&'static str, String)>,
}

impl Sources {
    /// The file and the keys that options name.
    fn new(options: &[(&'static str, String)]) -> Self {
        let file = options.iter().rev().find(|(name, _)| *name == "config").map(|(_, file)| PathBuf::from(file));
        let key = |(name, value): &(&'static str, String)| Some((Config::key_of_option(name)?, value.clone()));
        Self { file, overrides: options.iter().filter_map(key).collect() }
    }

    fn load(&self) -> Result<Config, Failure> {
        load(self.file.as_deref(), &self.overrides)
    }

    /// Loads the configuration for a gateway that runs with `running`.
    fn reload(&self, running: &Config) -> Result<Config, Failure> {
        let new = self.load()?;
        new.replaces(running).map_err(Failure::Config)?;
        Ok(new)
    }
}

fn load(file: Option<&Path>, overrides: &[(&'static str, String)]) -> Result<Config, Failure> {
    Config::load(file, std::env::vars_os(), overrides).map_err(|error| match error.is_usage() {
        true => Failure::Usage(error.to_string()),
        false => Failure::Config(error.to_string()),
    })
}

/// Logs the file that the gateway has read, and warns of suspicious values.
fn log_configuration(config: &Config) {
    log::info!("configuration: {}", config.source());
    config.warnings().iter().for_each(|warning| log::warn!("configuration: {warning}"));
}

/// Prints that a configuration is valid, and warns of suspicious values.
fn check_config(config: &Config) -> Result<(), Failure> {
    for warning in config.warnings().into_iter().chain(config.absent_addresses()) {
        // Nothing is left to do when standard error is closed.
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    print(&format!("{}: the configuration is valid\n", config.source()))
}

/// Prints lines to standard output. A terminal gets no control characters. Exits with success when its reader has ended, as `head` does.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let text = if out.is_terminal() { terminal::visible_lines(text) } else { text.into() };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::Failed(format!("cannot write to standard output: {error}"))),
    }
}
