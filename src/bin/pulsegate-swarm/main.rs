//! pulsegate-swarm simulates thousands of devices of a gateway on one thread. A [`fleet::Fleet`] implements the
//! library's `Endpoint`, so the reactor of the gateway drives it too.

mod clock;
mod content;
mod costs;
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

use std::io::Write as _;
use std::process::ExitCode;

use options::{Invocation, Options};
use report::Report;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Run(options)) => options,
        Ok(Invocation::Help) => return print(include_str!("help.txt")),
        Ok(Invocation::Version) => return print(concat!("pulsegate-swarm ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(error) => {
            print_error(&format!("{error} (see --help)"));
            return ExitCode::from(2);
        }
    };
    let result =
        can_write(&options).and_then(|()| run::run(&options)).and_then(|report| write_report(&options, &report));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn print_error(error: &str) {
    // Nothing is left to do when standard error is closed.
    let _ = writeln!(std::io::stderr(), "pulsegate-swarm: {error}");
}

/// Fails before a long run, not after it.
fn can_write(options: &Options) -> Result<(), String> {
    let Some(file) = &options.html else { return Ok(()) };
    let opened = std::fs::File::options().append(true).create(true).open(file);
    opened.map(drop).map_err(|error| format!("{} cannot be written: {error}", file.display()))
}

/// Writes the report as a table, as JSON and as a page, as the options say.
fn write_report(options: &Options, report: &Report) -> Result<(), String> {
    let table = table::Table(report).to_string();
    let failed = |error: &dyn std::fmt::Display| format!("the report cannot be written: {error}");
    let mut stdout = std::io::stdout().lock();
    if options.json {
        let _ = write!(std::io::stderr(), "{table}");
        let json = serde_json::to_string_pretty(report).map_err(|error| failed(&error))?;
        writeln!(stdout, "{json}").map_err(|error| failed(&error))?;
    } else {
        write!(stdout, "{table}").map_err(|error| failed(&error))?;
    }
    if let Some(file) = &options.html {
        let page = html::page(report).map_err(|error| failed(&error))?;
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
