//! The log on standard error. Each line is one write, which never blocks.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{CombinedLogger, Config, SharedLogger};

use crate::stdio::Output;

/// Starts logging to standard error. Lines have no time, because journald, procd and logread add one.
pub(crate) fn start(level: LevelFilter) -> io::Result<()> {
    let output = match Output::open(io::stderr(), 2)? {
        Output::Socket(fd) => Sink::Socket(fd.into()),
        Output::File(file) => Sink::File(file),
    };
    let lines = Lines { output, line: Vec::new(), lost: 0 };
    CombinedLogger::init(vec![Box::new(Logger(Mutex::new(lines)))]).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(())
}

/// A logger for simplelog. simplelog's own loggers write a record in several pieces. They can also format time, which adds
/// 40 KB of unused code.
struct Logger(Mutex<Lines>);

impl SharedLogger for Logger {
    /// A reload may change the level, so the maximum level of the `log` crate decides.
    fn level(&self) -> LevelFilter {
        LevelFilter::Trace
    }

    fn config(&self) -> Option<&Config> {
        None
    }

    fn as_log(self: Box<Self>) -> Box<dyn Log> {
        self
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(record);
    }

    fn flush(&self) {}
}

enum Sink {
    Socket(UnixStream),
    File(File),
}

/// Drops and counts a line that standard error does not take at once. The next line reports the count.
struct Lines {
    output: Sink,
    line: Vec<u8>,
    lost: u64,
}

impl Lines {
    fn put(&mut self, record: &Record<'_>) {
        self.line.clear();
        if self.lost > 0 {
            let _ = writeln!(self.line, "[WARN] {} log lines were lost", self.lost);
        }
        // Writing to memory does not fail.
        let _ = writeln!(self.line, "[{}] {}", record.level(), record.args());
        let taken = match &mut self.output {
            Sink::Socket(socket) => socket.write(&self.line),
            Sink::File(file) => file.write(&self.line),
        };
        // A line that standard error took in part counts as written, because repeating it would duplicate that part.
        self.lost = if matches!(taken, Ok(bytes) if bytes > 0) { 0 } else { self.lost + 1 };
    }
}
