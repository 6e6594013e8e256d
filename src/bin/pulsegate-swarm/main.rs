//! pulsegate-swarm: thousands of simulated devices for a gateway, on one thread. It stands on the
//! library's own seam: the same reactor that drives the gateway drives a [`fleet::Fleet`].

mod clock;
mod content;
mod device;
mod faults;
mod finder;
mod fleet;
mod html;
mod human;
mod options;
mod process;
mod report;
mod rng;
mod run;
mod schedule;
mod status;
mod table;
mod tally;
mod timeline;
mod units;
mod watch;

use std::io::Write as _;
use std::process::ExitCode;

use options::{Call, Options};
use report::Report;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Call::Run(options)) => options,
        Ok(Call::Help) => return print(include_str!("help.txt")),
        Ok(Call::Version) => return print(concat!("pulsegate-swarm ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(error) => {
            complain(&format!("{error} (see --help)"));
            return ExitCode::from(2);
        }
    };
    let done = can_write(&options).and_then(|()| run::run(&options)).and_then(|report| show(&options, &report));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &str) {
    // If standard error is gone, there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "pulsegate-swarm: {error}");
}

/// Better said before a long run than behind it.
fn can_write(options: &Options) -> Result<(), String> {
    let Some(file) = &options.html else { return Ok(()) };
    let opened = std::fs::File::options().append(true).create(true).open(file);
    opened.map(drop).map_err(|error| format!("{} cannot be written: {error}", file.display()))
}

/// Writes the report wherever it is wanted.
fn show(options: &Options, report: &Report) -> Result<(), String> {
    let table = table::Table(report).to_string();
    let told = |error: &dyn std::fmt::Display| format!("the report cannot be written: {error}");
    let mut stdout = std::io::stdout().lock();
    if options.json {
        let _ = write!(std::io::stderr(), "{table}");
        let json = serde_json::to_string_pretty(report).map_err(|error| told(&error))?;
        writeln!(stdout, "{json}").map_err(|error| told(&error))?;
    } else {
        write!(stdout, "{table}").map_err(|error| told(&error))?;
    }
    if let Some(file) = &options.html {
        let page = html::page(report).map_err(|error| told(&error))?;
        std::fs::write(file, page).map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    }
    Ok(())
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
