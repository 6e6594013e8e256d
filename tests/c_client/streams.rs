//! Beats and commands in a stream.

use pulsegate::unstable::connection::{ClientConnection, Heard};

use crate::chance::rounds;
use crate::harness::{Harness, harnesses, hex, unhex};

/// A part of the bytes to a device: `None` for a beat, else text.
type Sound = Option<Vec<u8>>;

/// Joins texts that follow each other: without a terminator pieces have no meaning.
fn joined(heard: Vec<Sound>) -> Vec<Sound> {
    let mut joined: Vec<Sound> = Vec::new();
    for event in heard {
        match (joined.last_mut(), event) {
            (Some(Some(text)), Some(more)) => text.extend(more),
            (_, event) => joined.push(event),
        }
    }
    joined
}

/// The gateway's own understanding of a stream without a terminator.
fn understood(stream: &[u8]) -> Vec<Sound> {
    let (mut client, mut rest, mut heard) = (ClientConnection::new(), stream, Vec::new());
    loop {
        let (used, event) = client.handle_data(rest);
        rest = &rest[used..];
        match event {
            Some(Heard::Beat) => heard.push(None),
            Some(Heard::Text(text)) => heard.push(Some(text.to_vec())),
            None => break,
        }
    }
    // The device gets a held beginning of a beat as text after a pause.
    let held = (1..9).rev().find(|held| stream.ends_with(&b"heartbeat"[..*held]));
    let shown: usize = heard.iter().map(|event| event.as_ref().map_or(9, Vec::len)).sum();
    if let Some(held) = held.filter(|held| shown + held == stream.len()) {
        heard.push(Some(b"heartbeat"[..held].to_vec()));
    }
    joined(heard)
}

/// The same with a terminator: complete lines only. A line that does not fit the buffer with its terminator is lost.
fn lines(stream: &[u8], terminator: &[u8], capacity: usize) -> Vec<Sound> {
    let (mut heard, mut start, mut at) = (Vec::new(), 0, 0);
    while at + terminator.len() <= stream.len() {
        if stream[at..].starts_with(terminator) {
            heard.push(match &stream[start..at] {
                line if line.len() + terminator.len() > capacity => Some(OVERLONG.to_vec()),
                b"heartbeat" => None,
                line => Some(line.to_vec()),
            });
            at += terminator.len();
            start = at;
        } else {
            at += 1;
        }
    }
    heard
}

/// No stream of a test has these bytes.
const OVERLONG: &[u8] = b"(overlong)";

/// A stream in pieces, and the device's buffer.
struct Case {
    terminator: Vec<u8>,
    stream: Vec<u8>,
    capacity: usize,
    question: String,
}

impl Case {
    fn new(terminator: &[u8], capacity: usize, stream: &[u8], pieces: &[std::ops::Range<usize>]) -> Self {
        let pieces: Vec<_> = pieces.iter().map(|piece| hex(&stream[piece.clone()])).collect();
        let question = format!("r {} {capacity} {}", hex(terminator), pieces.join(","));
        Self { terminator: terminator.to_vec(), stream: stream.to_vec(), capacity, question }
    }
}

/// Returns the meaning of an answer.
fn heard(answer: &str) -> Vec<Sound> {
    let heard = answer.split_whitespace().map(|event| match event.split_at(1) {
        ("B", _) => None,
        ("C" | "T", text) => Some(unhex(text)),
        ("O", _) => Some(OVERLONG.to_vec()),
        _ => panic!("{event}"),
    });
    heard.collect()
}

fn assert_agrees(harness: &mut Harness, cases: &[Case]) {
    let questions: Vec<_> = cases.iter().map(|case| case.question.clone()).collect();
    for (case, answer) in cases.iter().zip(harness.ask_all(&questions)) {
        let heard = heard(&answer);
        let (heard, expected) = if case.terminator.is_empty() {
            (joined(heard), understood(&case.stream))
        } else {
            (heard, lines(&case.stream, &case.terminator, case.capacity))
        };
        let stream = String::from_utf8_lossy(&case.stream);
        assert_eq!(heard, expected, "{}: {stream:?}, {}", harness.name, case.question);
    }
}

#[test]
fn beats_and_commands_are_the_gateways_at_every_pair_of_cuts() {
    let streams: [(&[u8], &[u8]); 10] = [
        (b"", b"heartbeatheartbeat"),
        (b"", b"rebootheartbeatecho 1"),
        (b"", b"heartheartbeathe"),
        (b"", b"hhheartbeatheartbeef."),
        (b"", b"she hears heartbea"),
        (b"\n", b"heartbeat\nreboot\n\nset x\nheartb"),
        (b"\r\n", b"heartbeat\r\n\rreboot\n\r\n"),
        (b"\0", b"say heartbeat\0heartbeat\0"),
        (b"aab", b"aaaabxaabheartbeataab"),
        (b"\r\n", b"0123456789abcdef\r\n0123456789ab\r\n0123456789abc\r\nheartbeat\r\n"),
    ];
    let mut cases = Vec::new();
    for (terminator, stream) in streams {
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [0..first, first..second, second..stream.len()];
                cases.push(Case::new(terminator, 14, stream, &pieces));
            }
        }
    }
    for mut harness in harnesses() {
        assert_agrees(&mut harness, &cases);
    }
}

#[test]
fn random_streams_mean_the_same_at_every_cut() {
    let words: [&[u8]; 12] = [
        b"heartbeat",
        b"heart",
        b"h",
        b"beat",
        b"\n",
        b"\r\n",
        b"reboot",
        b"\xff\0",
        b"t",
        b"{\"Type\":\"File\"}",
        b"a",
        b"ab",
    ];
    let terminators: [&[u8]; 9] = [b"", b"", b"", b"\n", b"\r\n", b"\0", b"ab", b"aab", b"heart"];
    let mut all = harnesses();
    rounds(3, |chance| {
        let mut cases = Vec::new();
        for _ in 0..200 {
            let terminator = chance.pick(&terminators);
            let mut stream = Vec::new();
            while chance.below(10) > 0 && stream.len() < 50 {
                stream.extend_from_slice(chance.pick(&words));
            }
            // The shortest buffer holds a beat and its terminator.
            let capacity = 9 + terminator.len() + chance.below(12);
            let each: Vec<_> = (0..stream.len()).map(|at| at..at + 1).collect();
            cases.push(Case::new(terminator, capacity, &stream, &each));
            let cut = chance.below(stream.len() + 1);
            cases.push(Case::new(terminator, capacity, &stream, &[0..cut, cut..stream.len()]));
            cases.push(Case::new(terminator, capacity, &stream, &chance.cuts(stream.len())));
        }
        for harness in &mut all {
            assert_agrees(harness, &cases);
        }
    });
}
