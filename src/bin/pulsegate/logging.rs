//! The log on standard error: one write a line, and none that waits.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use log::LevelFilter;
use simplelog::{ConfigBuilder, WriteLogger};

use crate::stdio::Output;

/// Starts logging to standard error. Lines carry no time: journald, procd and logread stamp them.
pub(crate) fn start(level: LevelFilter) -> io::Result<()> {
    let output = match Output::open(io::stderr(), 2)? {
        Output::Socket(fd) => Sink::Socket(fd.into()),
        Output::File(file) => Sink::File(file),
    };
    let config = ConfigBuilder::new()
        .set_time_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build();
    let lines = Lines { output, line: Vec::new(), lost: 0 };
    // A reload may change the level: what is logged is decided by the one of the `log` crate.
    WriteLogger::init(LevelFilter::Trace, config, lines).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(())
}

enum Sink {
    Socket(UnixStream),
    File(File),
}

/// Gathers what the logger writes piece by piece into lines. A line that standard error does not
/// take at once is lost, counted, and told of when it takes one again.
struct Lines {
    output: Sink,
    line: Vec<u8>,
    lost: u64,
}

impl Lines {
    fn put(&mut self) -> bool {
        let taken = match &mut self.output {
            Sink::Socket(socket) => socket.write(&self.line),
            Sink::File(file) => file.write(&self.line),
        };
        // Part of a line is better than none; there is no telling it twice.
        matches!(taken, Ok(bytes) if bytes > 0)
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if self.line.last() == Some(&b'\n') {
            if self.lost > 0 {
                let told = format!("[WARN] {} log lines were lost\n", self.lost);
                self.line.splice(0..0, told.into_bytes());
            }
            self.lost = if self.put() { 0 } else { self.lost + 1 };
            self.line.clear();
        }
        // An error would make the logger complain to the very same place.
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
