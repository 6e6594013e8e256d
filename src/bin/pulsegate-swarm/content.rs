//! The objects that devices send. The corpus makes them once, before the run, and lends them to all devices, so a device
//! needs no memory for content. The objects contain what a splitter may trip over: nesting, escapes, braces and quotes
//! in strings, and text that is not ASCII.

use std::fmt::Write as _;

use pulsegate::unstable::proto::heartbeat::ANSWER;

use crate::device::Job;
use crate::rng::Rng;

/// Every object that devices send.
pub(crate) struct Corpus {
    project: Vec<Vec<u8>>,
    performance: Vec<Vec<u8>>,
    status: Vec<Vec<u8>>,
    pictures: Vec<Vec<u8>>,
    rejected: Vec<Vec<u8>>,
    spam: Vec<u8>,
}

/// Objects of each kind, except pictures.
const VARIANTS: usize = 64;
const PICTURES: usize = 4;
/// Objects that [`Job::Coalesced`] sends in one write.
pub(crate) const COALESCED: u64 = 8;
/// Heartbeats that [`Job::Spam`] sends in one write.
pub(crate) const SPAM: usize = 50;

impl Corpus {
    /// `picture_bytes` is the length of an object with a picture.
    pub(crate) fn new(seed: u64, picture_bytes: usize) -> Self {
        let mut rng = Rng::new(seed);
        let mut many = |make: fn(&mut Rng) -> String| (0..VARIANTS).map(|_| make(&mut rng).into_bytes()).collect();
        let (project, performance, status) = (many(project), many(performance), many(status));
        let pictures = (0..PICTURES).map(|_| picture(&mut rng, picture_bytes)).collect();
        Self { project, performance, status, pictures, rejected: rejected(), spam: ANSWER.repeat(SPAM) }
    }

    /// Returns the bytes of a job. Jobs that the corpus does not contain are built in `scratch`. Each call gives the same
    /// bytes, because a job may be lent in several pieces.
    pub(crate) fn bytes<'a>(&'a self, job: Job, echo: u32, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        match job {
            Job::Answer => ANSWER,
            Job::Project(n) => pick(&self.project, n),
            Job::Performance(n) => pick(&self.performance, n),
            Job::Status(n) => pick(&self.status, n),
            Job::Picture(n) => pick(&self.pictures, n),
            Job::Echo(n) => {
                scratch.clear();
                // The semicolon ends the number in the answer, because a command has no framing.
                scratch.extend_from_slice(format!(r#"{{"Echo":"{echo};","#).as_bytes());
                scratch.extend_from_slice(&pick(&self.status, n)[1..]);
                scratch
            }
            Job::Coalesced(n, answer) => {
                scratch.clear();
                for next in 0..COALESCED as u16 {
                    scratch.extend_from_slice(pick(&self.performance, n.wrapping_add(next)));
                    if answer && next == 2 {
                        scratch.extend_from_slice(ANSWER);
                    }
                }
                scratch
            }
            Job::Rejected(n) => pick(&self.rejected, n),
            Job::Garbage(n) => GARBAGE[usize::from(n) % GARBAGE.len()],
            Job::Spam => &self.spam,
        }
    }
}

fn pick(variants: &[Vec<u8>], n: u16) -> &[u8] {
    &variants[usize::from(n) % variants.len()]
}

const PLACES: [&str; 6] = ["Kühlraum 3 – Süd", "北门 {7}", "Dock \\\"B\\\"", "Étage 2", "цех №4", "\\u4e2d\\u5e93 }"];

fn place(rng: &mut Rng) -> &'static str {
    PLACES[rng.below(PLACES.len() as u32) as usize]
}

fn project(rng: &mut Rng) -> String {
    format!(
        r#"{{"Project":{{"Name":"{}","Serial":"PG-{:06}","Firmware":"2.{}.{}","Channels":[{{"Id":1,"Unit":"°C","Range":[-40,85]}},{{"Id":2,"Unit":"%","Range":[0,100]}}],"Path":"C:\\devices\\{}\\","Remark":"replaces {{old}} \"unit\" \/ see note"}},"Type":"Project"}}"#,
        place(rng),
        rng.below(1_000_000),
        rng.below(10),
        rng.below(100),
        rng.below(100),
    )
}

fn performance(rng: &mut Rng) -> String {
    format!(
        r#"{{"Type":"Performance","Place":"{}","Cpu":{{"Load":[{}.{:02},0.{:02},0.{:02}],"TempC":{}.5}},"Memory":{{"TotalKiB":1048576,"FreeKiB":{}}},"Disk":[{{"Mount":"\/","Used":{}}},{{"Mount":"\/data {{log}}","Used":{}}}],"Uptime":{}}}"#,
        place(rng),
        rng.below(4),
        rng.below(100),
        rng.below(100),
        rng.below(100),
        30 + rng.below(40),
        rng.below(1_000_000),
        rng.below(100),
        rng.below(100),
        rng.below(10_000_000),
    )
}

fn status(rng: &mut Rng) -> String {
    let door = ["open", "closed", "ajar"][rng.below(3) as usize];
    let lamps = ["[true,false,true]", "[]", "[false]"][rng.below(3) as usize];
    format!(
        r#"{{"Type":"Status","Door":"{door}","Alarm":null,"Lamps":{lamps},"Text":"{} – \"ok\" }}{{","Log":"line 1\r\nline 2\t\\end\\","Position":{{"Lat":{}.{:06},"Lon":-0.{:06},"Fix":{{"Sats":{},"Hdop":1e-1}}}}}}"#,
        place(rng),
        rng.below(90),
        rng.below(1_000_000),
        rng.below(1_000_000),
        rng.below(20),
    )
}

/// Returns an object with a base64 picture. It has `bytes` bytes, or more if the members need them.
fn picture(rng: &mut Rng, bytes: usize) -> Vec<u8> {
    let mut text = String::new();
    let number = rng.below(100);
    // Some devices write `Type` last, so a parser has to pass the picture first.
    let _ = write!(text, r#"{{"Camera":"yard \"{number:02}\" {{N}}","Format":"jpeg","Picture":"/9j/4AAQSkZJRgABAQ"#);
    let end = r#"","Type":"Project"}"#;
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    while text.len() + end.len() < bytes {
        text.push(char::from(alphabet[rng.below(64) as usize]));
    }
    text.push_str(end);
    text.into_bytes()
}

/// Objects with balanced braces that every gateway rejects.
fn rejected() -> Vec<Vec<u8>> {
    let deep = format!(r#"{{"Type":"Status","Deep":{}1{}}}"#, r#"{"a":"#.repeat(200), "}".repeat(200));
    vec![
        br#"{"Type":"Status","Door":"open",}"#.to_vec(),
        br#"{"Door":"open","Nested":{"Type":"Status"}}"#.to_vec(),
        br#"{"Type":7}"#.to_vec(),
        br#"{"Type":"Status","Type":"Status"}"#.to_vec(),
        br#"{"Type":"Status","List":[}"#.to_vec(),
        b"{\"Type\":\"Status\",\"Text\":\"\xff\xfe\"}".to_vec(),
        deep.into_bytes(),
    ]
}

/// Bytes that must not stand between objects.
const GARBAGE: [&[u8]; 5] = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
    b"}}",
    b"\"Type\":\"Status\"",
    b"\xde\xad\xbe\xef{\"Type\":\"Status\"}",
];

#[cfg(test)]
mod tests {
    use pulsegate::unstable::proto::{Message, PartialObjects, Reassembled, Splitter};

    use super::*;

    /// Splits `bytes` as a gateway does. Returns the first letter of the Type of each accepted object, `!` for each
    /// rejected object, and `x` for a framing error.
    fn split(bytes: &[u8]) -> String {
        let (mut splitter, mut partials, mut complete, mut types) =
            (Splitter::new(), PartialObjects::new(), Reassembled::default(), String::new());
        let mut rest = bytes;
        loop {
            match splitter.push(rest, 1 << 20, &mut partials, &mut complete) {
                Ok((used, Some(object))) => {
                    match Message::check(&object, 127) {
                        Ok(message) => types.push_str(&message.type_name()[..1]),
                        Err(_) => types.push('!'),
                    }
                    rest = &rest[used..];
                }
                Ok((_, None)) => break,
                Err(_) => {
                    types.push('x');
                    break;
                }
            }
        }
        types
    }

    #[test]
    fn a_gateway_accepts_and_rejects_the_objects_as_intended() {
        let corpus = Corpus::new(1, 4096);
        let mut scratch = Vec::new();
        let mut check = |job, expected: &str| {
            for n in 0..4 {
                let bytes = corpus.bytes(job, n, &mut scratch);
                assert_eq!(split(bytes), expected, "{job:?} {}", String::from_utf8_lossy(bytes));
            }
        };
        for n in 0..VARIANTS as u16 {
            check(Job::Answer, "H");
            check(Job::Project(n), "P");
            check(Job::Performance(n), "P");
            check(Job::Status(n), "S");
            check(Job::Echo(n), "S");
            check(Job::Picture(n), "P");
            check(Job::Coalesced(n, true), "PPPHPPPPP");
            check(Job::Coalesced(n, false), "PPPPPPPP");
            check(Job::Rejected(n), "!");
            check(Job::Garbage(n), "x");
        }
        check(Job::Spam, &"H".repeat(SPAM));
        assert_eq!(corpus.bytes(Job::Picture(0), 0, &mut scratch).len(), 4096);
        assert!(String::from_utf8_lossy(corpus.bytes(Job::Echo(0), 77, &mut scratch)).starts_with(r#"{"Echo":"77;","#));
    }
}
