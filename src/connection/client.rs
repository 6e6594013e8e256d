//! The device's end of a stream without a terminator: finds the gateway's beats between its commands. Layer 1.

use crate::proto::heartbeat::BEAT;

/// A part of the gateway's stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A beat. Answer it with [`HEARTBEAT_ANSWER`](crate::proto::heartbeat::ANSWER).
    Beat,
    /// A piece of command text. The end of a command depends on the device's own grammar.
    Text(&'a [u8]),
}

/// Finds beats in a stream, where the gateway's configuration has no `terminator`.
#[derive(Debug, Default, Clone, Copy)]
pub struct ClientConnection {
    /// Bytes of [`BEAT`] at the end of the stream so far.
    matched: u8,
}

impl ClientConnection {
    /// A device that has received nothing yet.
    pub const fn new() -> Self {
        Self { matched: 0 }
    }

    /// Takes the rest of a read. Returns the number of bytes that it used, and their meaning. Call it again with the
    /// remaining bytes until it returns no meaning. It holds text that may begin a beat until the next byte decides.
    pub fn handle_data<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Heard<'a>>) {
        if self.matched > 0 {
            return self.resume(input);
        }
        let start = memchr::memchr(BEAT[0], input).unwrap_or(input.len());
        if start > 0 {
            return (start, Some(Heard::Text(&input[..start])));
        }
        self.resume(input)
    }

    /// Continues a beat at the front of `input`.
    fn resume<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Heard<'a>>) {
        let held = usize::from(self.matched);
        let same = BEAT[held..].iter().zip(input).take_while(|(a, b)| a == b).count();
        if held + same == BEAT.len() {
            self.matched = 0;
            return (same, Some(Heard::Beat));
        }
        if same == input.len() {
            self.matched += same as u8;
            return (same, None);
        }
        // Only the first letter of a beat is an `h`, so no part of the matched bytes begins a beat.
        self.matched = 0;
        if held > 0 {
            return (0, Some(Heard::Text(&BEAT[..held])));
        }
        (same, Some(Heard::Text(&input[..same])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `pieces` and gives what was heard: `*` for a beat, text as it is.
    fn hear(pieces: &[&[u8]]) -> String {
        let (mut client, mut heard) = (ClientConnection::new(), String::new());
        for piece in pieces {
            let mut rest = *piece;
            loop {
                let (used, event) = client.handle_data(rest);
                rest = &rest[used..];
                match event {
                    Some(Heard::Beat) => heard.push('*'),
                    Some(Heard::Text(text)) => heard.push_str(std::str::from_utf8(text).unwrap()),
                    None => break,
                }
            }
            assert!(rest.is_empty());
        }
        heard
    }

    #[test]
    fn beats_and_commands_at_every_pair_of_cuts() {
        for (stream, expected) in [
            ("heartbeat", "*"),
            ("heartbeatheartbeat", "**"),
            ("rebootheartbeatecho 1", "reboot*echo 1"),
            ("heartheartbeat", "heart*"),
            ("hhheartbeatheartbeef.", "hh*heartbeef."),
            ("she hears", "she hears"),
        ] {
            let bytes = stream.as_bytes();
            for a in 0..=bytes.len() {
                for b in a..=bytes.len() {
                    let heard = hear(&[&bytes[..a], &bytes[a..b], &bytes[b..]]);
                    assert_eq!(heard, expected, "{stream} cut at {a} and {b}");
                }
            }
        }
    }
}
