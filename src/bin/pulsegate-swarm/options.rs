//! The command line.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use pulsegate::unstable::proto::heartbeat;

use crate::faults::Fault;
use crate::schedule::Load;
use crate::units::{self, Sources};

/// The options of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    /// With `None`, discovery finds the gateway.
    pub(crate) gateway: Option<SocketAddr>,
    /// With `None`, probes go to the default port, by broadcast and on this machine.
    pub(crate) discovery: Option<SocketAddr>,
    pub(crate) port: u16,
    pub(crate) sources: Option<Sources>,
    pub(crate) devices: u32,
    pub(crate) rate: f64,
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
    pub(crate) profile: String,
    pub(crate) load: Load,
    pub(crate) beat_interval: Duration,
    pub(crate) echo: bool,
    pub(crate) faulty: f64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) json: bool,
    pub(crate) html: Option<PathBuf>,
    pub(crate) pid: Option<u32>,
    pub(crate) quiet: bool,
}

/// A parsed command line.
#[derive(Debug, PartialEq)]
pub(crate) enum Invocation {
    Run(Box<Options>),
    Help,
    Version,
}

/// Each device takes a file descriptor and, on loopback, one of 28,000 ports.
const DEVICES_MAX: u32 = 18_000;
/// The default TCP port of a gateway.
const PORT: u16 = pulsegate::TCP_PORT;

impl Default for Options {
    fn default() -> Self {
        Self {
            gateway: None,
            discovery: None,
            port: PORT,
            sources: None,
            devices: 100,
            rate: 1000.0,
            duration: Duration::from_secs(60),
            seed: 1,
            profile: "steady".into(),
            load: Load::profile("steady").expect("a profile of this name"),
            beat_interval: heartbeat::INTERVAL,
            echo: false,
            faulty: 0.0,
            faults: Fault::ALL.to_vec(),
            json: false,
            html: None,
            pid: None,
            quiet: false,
        }
    }
}

impl Options {
    /// Parses the arguments behind the program's name. The error is a sentence for people.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, String> {
        use lexopt::prelude::*;
        let mut options = Self::default();
        let (mut performance, mut status, mut picture, mut picture_bytes) = (None, None, None, None);
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next().map_err(sentence)? {
            let name = match &argument {
                Long(name) => format!("--{name}"),
                Short(name) => format!("-{name}"),
                Value(_) => return Err(sentence(argument.unexpected())),
            };
            let unknown = sentence(argument.unexpected());
            let mut value = || parser.value().and_then(|value| value.string()).map_err(sentence);
            let in_option = |error: String| format!("{name}: {error}");
            match name.as_str() {
                "--gateway" => options.gateway = Some(address(&value()?, PORT).map_err(in_option)?),
                "--discovery" => options.discovery = Some(address(&value()?, DISCOVERY_PORT).map_err(in_option)?),
                "--port" => options.port = number(&value()?, 1, 65_535).map_err(in_option)? as u16,
                "--sources" => options.sources = Some(Sources::parse(&value()?).map_err(in_option)?),
                "-n" | "--devices" => {
                    options.devices = number(&value()?, 1, u64::from(DEVICES_MAX)).map_err(in_option)? as u32;
                }
                "--rate" => options.rate = rate(&value()?).map_err(in_option)?,
                "--duration" => {
                    options.duration = units::duration(&value()?).map_err(in_option)?;
                    if options.duration.is_zero() || options.duration > LONGEST {
                        return Err(format!("{name}: expected more than 0s and at most 30days"));
                    }
                }
                "--seed" => options.seed = number(&value()?, 0, u64::MAX).map_err(in_option)?,
                "--profile" => {
                    options.profile = value()?;
                    options.load = Load::profile(&options.profile).ok_or_else(|| {
                        let known = Load::PROFILES.join(", ");
                        format!("{name}: invalid profile '{}': expected one of {known}", options.profile)
                    })?;
                }
                "--performance-every" => performance = Some(units::every(&value()?).map_err(in_option)?),
                "--status-every" => status = Some(units::every(&value()?).map_err(in_option)?),
                "--picture-every" => picture = Some(units::every(&value()?).map_err(in_option)?),
                "--picture-bytes" => {
                    let bytes = units::size(&value()?).map_err(in_option)?;
                    if !(128..=PICTURE_BYTES_MAX).contains(&bytes) {
                        return Err(format!("{name}: expected 128 bytes to 64MiB"));
                    }
                    picture_bytes = Some(bytes);
                }
                "--beat-interval" => {
                    options.beat_interval = units::every(&value()?)
                        .and_then(|period| period.ok_or_else(|| "invalid interval 'off': expected a duration".into()))
                        .map_err(in_option)?;
                }
                "--echo" => options.echo = true,
                "--faulty" => options.faulty = units::share(&value()?).map_err(in_option)?,
                "--faults" => options.faults = Fault::parse_list(&value()?).map_err(in_option)?,
                "--json" => options.json = true,
                "--html" => options.html = Some(value()?.into()),
                "--pid" => options.pid = Some(number(&value()?, 1, u64::from(u32::MAX)).map_err(in_option)? as u32),
                "-q" | "--quiet" => options.quiet = true,
                "-h" | "--help" => return Ok(Invocation::Help),
                "-V" | "--version" => return Ok(Invocation::Version),
                _ => return Err(unknown),
            }
        }
        let load = &mut options.load;
        load.performance = performance.unwrap_or(load.performance);
        load.status = status.unwrap_or(load.status);
        load.picture = picture.unwrap_or(load.picture);
        load.picture_bytes = picture_bytes.unwrap_or(load.picture_bytes);
        options.check()?;
        Ok(Invocation::Run(Box::new(options)))
    }

    /// Checks options that depend on each other.
    fn check(&self) -> Result<(), String> {
        if self.echo && self.load.status.is_none() {
            return Err("--echo needs status reports: add --status-every or choose another --profile".into());
        }
        if self.sources.is_some() && self.gateway.is_some_and(|gateway| gateway.is_ipv6()) {
            return Err("--sources has IPv4 addresses, but --gateway is an IPv6 address".into());
        }
        Ok(())
    }
}

const DISCOVERY_PORT: u16 = pulsegate::DISCOVERY_PORT;
const PICTURE_BYTES_MAX: usize = 64 << 20;
/// Milliseconds of the run fit into 32 bits.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

fn sentence(error: lexopt::Error) -> String {
    error.to_string()
}

fn address(text: &str, port: u16) -> Result<SocketAddr, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port)))
        .map_err(|_| format!("invalid address '{text}': expected one such as 192.0.2.1:{port}"))
}

fn number(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("invalid number '{text}': expected {min} to {max}"))
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.01..=100_000.0).contains(rate));
    rate.ok_or_else(|| format!("invalid rate '{text}': expected 0.01 to 100000 per second"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, String> {
        Options::parse(line.split_whitespace().map(OsString::from))
    }

    fn run(line: &str) -> Options {
        match parse(line) {
            Ok(Invocation::Run(options)) => *options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_value_follows_its_option_behind_a_space_or_an_equals_sign() {
        assert_eq!(run(""), Options::default());
        let spaced = run("--devices 18000 --gateway 127.0.0.1:7000 --faulty 5% --faults silent,slow --rate 2.5");
        let joined = run("--devices=18000 --gateway=127.0.0.1:7000 --faulty=5% --faults=silent,slow --rate=2.5");
        assert_eq!(spaced, joined);
        assert_eq!(joined.faults, [Fault::Silent, Fault::Slow]);
        assert_eq!(run("--gateway 127.0.0.1").gateway, run("--gateway 127.0.0.1:5556").gateway);
        assert_eq!(run("--gateway ::1").gateway.unwrap().port(), 5556);
    }

    #[test]
    fn single_periods_override_the_profile_in_any_order() {
        let options = run("--status-every 500ms --profile mixed --picture-every off --picture-bytes 64KiB");
        let mixed = Load::profile("mixed").unwrap();
        let expected =
            Load { status: Some(Duration::from_millis(500)), picture: None, picture_bytes: 64 << 10, ..mixed };
        assert_eq!(options.load, expected);
        assert!(run("--profile idle").load.is_idle());
    }

    #[test]
    fn help_and_version() {
        assert_eq!(parse("--devices 5 --help"), Ok(Invocation::Help));
        assert_eq!(parse("-h"), Ok(Invocation::Help));
        assert_eq!(parse("-V"), Ok(Invocation::Version));
    }

    #[test]
    fn an_error_names_the_option_the_value_and_the_accepted_values() {
        for (line, expected) in [
            ("--devices 0", "--devices: invalid number '0': expected 1 to 18000"),
            ("--devices 18001", "--devices: invalid number '18001': expected 1 to 18000"),
            ("--rate 0", "--rate: invalid rate '0': expected 0.01 to 100000 per second"),
            (
                "--profile loud",
                "--profile: invalid profile 'loud': expected one of steady, burst, pictures, idle, mixed",
            ),
            ("--gateway localhost", "--gateway: invalid address 'localhost': expected one such as 192.0.2.1:5556"),
            ("--duration 0s", "--duration: expected more than 0s and at most 30days"),
            ("--duration", "missing argument for option '--duration'"),
            ("--echo=yes", "unexpected argument for option '--echo': \"yes\""),
            ("--loud", "invalid option '--loud'"),
            ("loud", "unexpected argument \"loud\""),
            ("--picture-bytes 1", "--picture-bytes: expected 128 bytes to 64MiB"),
            ("--profile idle --echo", "--echo needs status reports: add --status-every or choose another --profile"),
        ] {
            assert_eq!(parse(line), Err(expected.into()), "{line}");
        }
    }

    #[test]
    fn the_help_fits_a_terminal_and_names_every_option() {
        let help = include_str!("help.txt");
        assert!(help.lines().all(|line| line.chars().count() <= 80));
        for fault in Fault::ALL {
            assert!(help.contains(fault.as_str()));
        }
        for name in Load::PROFILES {
            assert!(help.contains(&format!("{name}: ")));
        }
    }
}
