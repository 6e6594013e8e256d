//! The device's end of a stream whose gateway has a terminator: each line is a beat or a whole command. Layer 1.

use crate::proto::heartbeat::BEAT;

/// A line from the gateway.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A beat. Answer it with [`HEARTBEAT_ANSWER`](crate::proto::heartbeat::ANSWER).
    Beat,
    /// A whole command, without its terminator.
    Command(&'a [u8]),
    /// A command that exceeded the limit and is lost.
    Overlong,
}

/// Cuts a stream into lines, where the gateway's configuration has a `terminator`. Every new device should use one.
#[derive(Debug, Clone)]
pub struct ClientLines {
    terminator: Box<[u8]>,
    /// The longest command, in bytes.
    command_bytes_max: usize,
    line: Vec<u8>,
    overlong: bool,
    /// The caller has seen the line.
    complete: bool,
}

impl ClientLines {
    /// A device that has received nothing yet. It holds at most `command_bytes_max` bytes and the terminator.
    ///
    /// # Panics
    ///
    /// Without a terminator. Use [`ClientConnection`](super::ClientConnection) then.
    pub fn new(terminator: &[u8], command_bytes_max: usize) -> Self {
        assert!(!terminator.is_empty(), "a line needs a terminator");
        Self {
            terminator: terminator.into(),
            // A beat always fits.
            command_bytes_max: command_bytes_max.max(BEAT.len()),
            line: Vec::new(),
            overlong: false,
            complete: false,
        }
    }

    /// Takes the rest of a read. Returns the number of bytes that it used, and the line that they end. Call it again with
    /// the remaining bytes until it returns no line.
    pub fn handle_data(&mut self, input: &[u8]) -> (usize, Option<Line<'_>>) {
        if self.complete {
            self.line.clear();
            (self.complete, self.overlong) = (false, false);
        }
        for (at, byte) in input.iter().enumerate() {
            if self.line.len() == self.command_bytes_max + self.terminator.len() {
                // These bytes may begin the terminator.
                self.line.drain(..self.line.len() + 1 - self.terminator.len());
                self.overlong = true;
            }
            self.line.push(*byte);
            if self.line.ends_with(&self.terminator) {
                self.complete = true;
                return (at + 1, Some(self.current()));
            }
        }
        (input.len(), None)
    }

    fn current(&self) -> Line<'_> {
        match &self.line[..self.line.len() - self.terminator.len()] {
            _ if self.overlong => Line::Overlong,
            BEAT => Line::Beat,
            command => Line::Command(command),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what the device receives: `*` for a beat, `!` for an overlong command, else the command and a bar.
    fn receive(terminator: &str, pieces: &[&[u8]]) -> String {
        let (mut lines, mut received) = (ClientLines::new(terminator.as_bytes(), 12), String::new());
        for piece in pieces {
            let mut rest = *piece;
            loop {
                let (used, line) = lines.handle_data(rest);
                rest = &rest[used..];
                match line {
                    Some(Line::Beat) => received.push('*'),
                    Some(Line::Overlong) => received.push('!'),
                    Some(Line::Command(text)) => received += &(String::from_utf8_lossy(text) + "|"),
                    None => break,
                }
            }
            assert!(rest.is_empty());
        }
        received
    }

    #[test]
    fn lines_are_the_same_at_every_pair_of_cuts() {
        for (terminator, stream, expected) in [
            ("\n", "heartbeat\nheartbeat\n", "**"),
            ("\n", "set heartbeat\n\nheartbeat\nled", "!|*"),
            ("\r\n", "a\rb\nc\r\nheartbeat\r\n\r\r\n", "a\rb\nc|*\r|"),
            ("\r\n", "0123456789ab\r\n0123456789abc\r\nheartbeat\r\n", "0123456789ab|!*"),
            ("aab", "aaaabxaabheartbeataab", "aa|x|*"),
        ] {
            let bytes = stream.as_bytes();
            for a in 0..=bytes.len() {
                for b in a..=bytes.len() {
                    let received = receive(terminator, &[&bytes[..a], &bytes[a..b], &bytes[b..]]);
                    assert_eq!(received, expected, "{stream:?} cut at {a} and {b}");
                }
            }
        }
    }
}
