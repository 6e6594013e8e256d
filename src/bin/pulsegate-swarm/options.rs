//! The command line.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use pulsegate::unstable::proto::heartbeat;

use crate::faults::Fault;
use crate::schedule::Load;
use crate::units::{self, Sources};

/// What a run is to be like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    /// None: to be found by discovery.
    pub(crate) gateway: Option<SocketAddr>,
    /// None: the usual port, by broadcast and on this machine.
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

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Call {
    Run(Box<Options>),
    Help,
    Version,
}

/// Devices that one process can play: one descriptor and, on loopback, one of 28,000 ports each.
const DEVICES_MAX: u32 = 18_000;
/// The port that devices connect to, unless configured otherwise.
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
            load: Load::profile("steady").expect("it is one of them"),
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
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Call, String> {
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
                        return Err(format!("{name}: it must be more than 0s and at most 30days"));
                    }
                }
                "--seed" => options.seed = number(&value()?, 0, u64::MAX).map_err(in_option)?,
                "--profile" => {
                    options.profile = value()?;
                    options.load = Load::profile(&options.profile).ok_or_else(|| {
                        let known = Load::PROFILES.join(", ");
                        format!("{name}: there is no profile '{}', only {known}", options.profile)
                    })?;
                }
                "--performance-every" => performance = Some(units::every(&value()?).map_err(in_option)?),
                "--status-every" => status = Some(units::every(&value()?).map_err(in_option)?),
                "--picture-every" => picture = Some(units::every(&value()?).map_err(in_option)?),
                "--picture-bytes" => {
                    let bytes = units::size(&value()?).map_err(in_option)?;
                    if !(128..=PICTURE_BYTES_MAX).contains(&bytes) {
                        return Err(format!("{name}: it must be from 128 bytes to 64MiB"));
                    }
                    picture_bytes = Some(bytes);
                }
                "--beat-interval" => {
                    options.beat_interval = units::every(&value()?)
                        .and_then(|period| period.ok_or_else(|| "beats cannot be off".into()))
                        .map_err(in_option)?;
                }
                "--echo" => options.echo = true,
                "--faulty" => options.faulty = units::share(&value()?).map_err(in_option)?,
                "--faults" => options.faults = Fault::parse_list(&value()?).map_err(in_option)?,
                "--json" => options.json = true,
                "--html" => options.html = Some(value()?.into()),
                "--pid" => options.pid = Some(number(&value()?, 1, u64::from(u32::MAX)).map_err(in_option)? as u32),
                "-q" | "--quiet" => options.quiet = true,
                "-h" | "--help" => return Ok(Call::Help),
                "-V" | "--version" => return Ok(Call::Version),
                _ => return Err(unknown),
            }
        }
        let load = &mut options.load;
        load.performance = performance.unwrap_or(load.performance);
        load.status = status.unwrap_or(load.status);
        load.picture = picture.unwrap_or(load.picture);
        load.picture_bytes = picture_bytes.unwrap_or(load.picture_bytes);
        options.check()?;
        Ok(Call::Run(Box::new(options)))
    }

    /// What options must keep to together.
    fn check(&self) -> Result<(), String> {
        if self.echo && self.load.status.is_none() {
            return Err("--echo needs a status to ask by: give --status-every or another --profile".into());
        }
        if self.sources.is_some() && self.gateway.is_some_and(|gateway| gateway.is_ipv6()) {
            return Err("--sources are IPv4 addresses, but --gateway is an IPv6 address".into());
        }
        Ok(())
    }
}

const DISCOVERY_PORT: u16 = pulsegate::DISCOVERY_PORT;
const PICTURE_BYTES_MAX: usize = 64 << 20;
/// Milliseconds of the run are counted in 32 bits.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

fn sentence(error: lexopt::Error) -> String {
    error.to_string()
}

fn address(text: &str, port: u16) -> Result<SocketAddr, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port)))
        .map_err(|_| format!("'{text}' is not an address such as 192.0.2.1:{port}"))
}

fn number(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("'{text}' is not a number from {min} to {max}"))
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.01..=100_000.0).contains(rate));
    rate.ok_or_else(|| format!("'{text}' is not a number per second from 0.01 to 100000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Call, String> {
        Options::parse(line.split_whitespace().map(OsString::from))
    }

    fn run(line: &str) -> Options {
        match parse(line) {
            Ok(Call::Run(options)) => *options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn both_ways_to_write_a_value() {
        assert_eq!(run(""), Options::default());
        let spaced = run("--devices 18000 --gateway 127.0.0.1:7000 --faulty 5% --faults silent,slow --rate 2.5");
        let joined = run("--devices=18000 --gateway=127.0.0.1:7000 --faulty=5% --faults=silent,slow --rate=2.5");
        assert_eq!(spaced, joined);
        assert_eq!(joined.faults, [Fault::Silent, Fault::Slow]);
        assert_eq!(run("--gateway 127.0.0.1").gateway, run("--gateway 127.0.0.1:5556").gateway);
        assert_eq!(run("--gateway ::1").gateway.unwrap().port(), 5556);
    }

    #[test]
    fn single_periods_override_the_profile_wherever_they_stand() {
        let options = run("--status-every 500ms --profile mixed --picture-every off --picture-bytes 64KiB");
        let mixed = Load::profile("mixed").unwrap();
        let expected =
            Load { status: Some(Duration::from_millis(500)), picture: None, picture_bytes: 64 << 10, ..mixed };
        assert_eq!(options.load, expected);
        assert!(run("--profile idle").load.is_idle());
    }

    #[test]
    fn help_and_version() {
        assert_eq!(parse("--devices 5 --help"), Ok(Call::Help));
        assert_eq!(parse("-h"), Ok(Call::Help));
        assert_eq!(parse("-V"), Ok(Call::Version));
    }

    #[test]
    fn what_is_wrong_is_said_in_a_sentence() {
        for (line, expected) in [
            ("--devices 0", "--devices: '0' is not a number from 1 to 18000"),
            ("--devices 18001", "--devices: '18001' is not a number from 1 to 18000"),
            ("--rate 0", "--rate: '0' is not a number per second from 0.01 to 100000"),
            ("--profile loud", "--profile: there is no profile 'loud', only steady, burst, pictures, idle, mixed"),
            ("--gateway localhost", "--gateway: 'localhost' is not an address such as 192.0.2.1:5556"),
            ("--duration 0s", "--duration: it must be more than 0s and at most 30days"),
            ("--duration", "missing argument for option '--duration'"),
            ("--echo=yes", "unexpected argument for option '--echo': \"yes\""),
            ("--loud", "invalid option '--loud'"),
            ("loud", "unexpected argument \"loud\""),
            ("--picture-bytes 1", "--picture-bytes: it must be from 128 bytes to 64MiB"),
            ("--profile idle --echo", "--echo needs a status to ask by: give --status-every or another --profile"),
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
