//! The device's end of a stream: tells the gateway's beats from its commands, which come raw and
//! without framing. Used by the tests and by the load simulator. Floor 1.

use crate::proto::heartbeat::BEAT;

/// What the gateway said.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A beat, to be answered with [`crate::proto::heartbeat::ANSWER`].
    Beat,
    /// A piece of command text. Pieces of one command are not put together: only who knows the
    /// commands can tell where one ends.
    Text(&'a [u8]),
}

/// A device's view of its stream. The one state it needs is how much of a beat has come so far.
#[derive(Debug, Default, Clone, Copy)]
pub struct ClientConnection {
    /// Bytes of [`BEAT`] that the stream ended with when last looked at.
    matched: u8,
}

impl ClientConnection {
    /// A device that has heard nothing yet.
    pub const fn new() -> Self {
        Self { matched: 0 }
    }

    /// Feeds the rest of a read: how much of it was used, and what that was. Call it again with what
    /// is left until it gives nothing. Text that could be the beginning of a beat is held back until
    /// the next byte decides.
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

    /// Goes on matching a beat at the front of `input`.
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
        // Not a beat after all. `h` stands only at a beat's start, so what matched is text as a whole.
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
