//! Faults of devices, networks, file systems and operators against the real executable, beside five healthy devices, which
//! must lose nothing. At its end the test prints a table of the costs.
//!
//! `cargo test` runs the quick ones. With `PULSEGATE_TEST_FAULTS=all` the heavy ones run as well, which takes several
//! minutes and up to 20,000 descriptors. Any other argument is a part of a name, as for other tests:
//! `PULSEGATE_TEST_FAULTS=all cargo test --release --test faults -- stopped`. `PULSEGATE_TEST_SEED` repeats random choices.

mod descriptors;
mod devices;
#[path = "../common/environment.rs"]
mod environment;
mod gateway;
mod healthy;
mod many;
mod outputs;
mod stage;
mod streams;
mod time;
mod udp;

use std::collections::VecDeque;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use stage::{Fault, Outcome, Row};

/// Faults that run at the same time, each with its own gateway, because most of them wait.
const BESIDE: usize = 3;

/// The real time of the test.
#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
fn clock() -> Instant {
    Instant::now()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let faults: Vec<Fault> =
        [streams::faults(), many::faults(), descriptors::faults(), udp::faults(), outputs::faults(), time::faults()]
            .concat();
    if arguments.iter().any(|argument| argument == "--list") {
        faults.iter().for_each(|fault| println!("{}: test", fault.name));
        return ExitCode::SUCCESS;
    }
    // An argument such as --nocapture is for the usual harness.
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let all = environment::setting("FAULTS").is_some_and(|which| which == "all");
    let chosen: Vec<Fault> = faults.into_iter().filter(|fault| is_wanted(fault.name)).collect();
    let (heavy, quick): (Vec<Fault>, Vec<Fault>) = chosen.into_iter().partition(|fault| fault.heavy);
    let mut rows = run(quick, BESIDE);
    if all {
        rows.extend(run(heavy, 1));
    } else {
        rows.extend(
            heavy.iter().map(|fault| Row::skipped(fault.name, "heavy: PULSEGATE_TEST_FAULTS=all runs it".into())),
        );
    }
    if rows.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\n{}", stage::table(&rows));
    for row in &rows {
        match &row.outcome {
            Outcome::Passed => {}
            Outcome::Skipped(why) => println!("SKIPPED {}: {why}", row.name),
            Outcome::Failed(why) => println!("FAILED {}: {why}\n", row.name),
        }
    }
    let count = |wanted: fn(&Outcome) -> bool| rows.iter().filter(|row| wanted(&row.outcome)).count();
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    println!("{} faults passed, {failed} failed, {skipped} SKIPPED", rows.len() - failed - skipped);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the faults, several at a time.
fn run(faults: Vec<Fault>, beside: usize) -> Vec<Row> {
    let (waiting, rows) = (Mutex::new(VecDeque::from(faults)), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..beside {
            scope.spawn(|| {
                loop {
                    let Some(fault) = waiting.lock().unwrap().pop_front() else { break };
                    let row = catch_unwind(|| stage::run(&fault)).unwrap_or_else(|panic| {
                        let text = panic.downcast_ref::<String>().map(String::as_str);
                        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
                        Row::failed(fault.name, text.to_owned())
                    });
                    println!("{row}");
                    rows.lock().unwrap().push(row);
                }
            });
        }
    });
    rows.into_inner().unwrap()
}
