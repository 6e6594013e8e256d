//! `clients/c/pulsegate.h` says the same about the same bytes as the gateway's side, in every build that this machine can
//! make: gcc, clang, with sanitizers, and big-endian under an emulator. `PULSEGATE_C_SEED` repeats the random part.

#[path = "common/compilers.rs"]
mod compilers;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pulsegate::unstable::connection::{ClientConnection, Heard};
use serde_json::{Value, json};

use compilers::{compile, exists, not_checked};

/// One build of `tests/c_client/harness.c` that runs.
struct Harness {
    name: &'static str,
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Harness {
    fn start(name: &'static str, mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (questions, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { name, process, questions, answers: BufReader::new(answers) }
    }

    fn ask(&mut self, question: &str) -> String {
        self.ask_all(&[question.to_owned()]).remove(0)
    }

    /// The answers to many questions. A switch between the processes costs more than an answer.
    fn ask_all(&mut self, questions: &[String]) -> Vec<String> {
        let mut answers = Vec::new();
        // A pipe holds this many, so neither side waits for the other.
        for some in questions.chunks(100) {
            self.questions.write_all((some.join("\n") + "\n").as_bytes()).unwrap();
            for question in some {
                let mut answer = String::new();
                self.answers.read_line(&mut answer).unwrap();
                assert!(answer.ends_with('\n'), "{}: the harness ended at {question}", self.name);
                answers.push(answer.trim().to_owned());
            }
        }
        answers
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Every build of the harness that this machine can make: its name and the command that runs it.
fn builds() -> &'static [(&'static str, Vec<String>)] {
    static BUILDS: OnceLock<Vec<(&'static str, Vec<String>)>> = OnceLock::new();
    BUILDS.get_or_init(|| {
        let build = |compiler: &str, name: &str, options: &[&str]| {
            compile(compiler, name, &["tests/c_client/harness.c"], options).to_str().unwrap().to_owned()
        };
        let mut all = Vec::new();
        for compiler in ["gcc", "clang"] {
            if exists(compiler) {
                all.push((compiler, vec![build(compiler, "harness", &[])]));
            } else {
                not_checked(compiler, compiler);
            }
        }
        if exists("gcc") {
            let options = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"];
            all.push(("sanitizers", vec![build("gcc", "sanitized", &options)]));
        }
        if exists("s390x-linux-gnu-gcc") && exists("qemu-s390x") {
            let program = build("s390x-linux-gnu-gcc", "harness", &["-static"]);
            all.push(("big-endian", vec!["qemu-s390x".to_owned(), program]));
        } else {
            not_checked("a big-endian processor", "gcc-s390x-linux-gnu, libc6-dev-s390x-cross and qemu-user");
        }
        assert!(!all.is_empty(), "no C compiler is installed: install Debian's package gcc");
        all
    })
}

/// A process of every build.
fn harnesses() -> Vec<Harness> {
    let start = |(name, command): &(&'static str, Vec<String>)| {
        let mut process = Command::new(&command[0]);
        process.args(&command[1..]);
        Harness::start(name, process)
    };
    builds().iter().map(start).collect()
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() { "-".to_owned() } else { bytes.iter().map(|byte| format!("{byte:02x}")).collect() }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A part of what a device hears: `None` for a beat, else text.
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

/// The same with a terminator: complete lines only.
fn lines(stream: &[u8], terminator: &[u8]) -> Vec<Sound> {
    let (mut heard, mut start, mut at) = (Vec::new(), 0, 0);
    while at + terminator.len() <= stream.len() {
        if stream[at..].starts_with(terminator) {
            let line = &stream[start..at];
            heard.push((line != b"heartbeat").then(|| line.to_vec()));
            at += terminator.len();
            start = at;
        } else {
            at += 1;
        }
    }
    heard
}

/// The question what a device hears of a stream that comes in these pieces.
fn question(terminator: &[u8], capacity: usize, pieces: &[&[u8]]) -> String {
    let pieces: Vec<_> = pieces.iter().map(|piece| hex(piece)).collect();
    format!("r {} {capacity} {}", hex(terminator), pieces.join(","))
}

/// Returns the meaning of an answer.
fn heard(answer: &str) -> Vec<Sound> {
    let heard = answer.split_whitespace().map(|event| match event.split_at(1) {
        ("B", _) => None,
        ("C" | "T", text) => Some(unhex(text)),
        ("O", _) => Some(b"(overlong)".to_vec()),
        _ => panic!("{event}"),
    });
    heard.collect()
}

/// Streams in pieces: the terminator, the stream, and the question.
type Cases = Vec<(Vec<u8>, Vec<u8>, String)>;

fn agrees(harness: &mut Harness, cases: &Cases) {
    let questions: Vec<_> = cases.iter().map(|(_, _, question)| question.clone()).collect();
    for ((terminator, stream, question), answer) in cases.iter().zip(harness.ask_all(&questions)) {
        let heard = heard(&answer);
        let (heard, expected) = if terminator.is_empty() {
            (joined(heard), understood(stream))
        } else {
            (heard, lines(stream, terminator))
        };
        assert_eq!(heard, expected, "{}: {:?}, {question}", harness.name, String::from_utf8_lossy(stream));
    }
}

#[test]
fn beats_and_commands_are_the_gateways_at_every_pair_of_cuts() {
    let streams: [(&[u8], &[u8]); 9] = [
        (b"", b"heartbeatheartbeat"),
        (b"", b"rebootheartbeatecho 1"),
        (b"", b"heartheartbeathe"),
        (b"", b"hhheartbeatheartbeef."),
        (b"", b"she hears heartbea"),
        (b"\n", b"heartbeat\nreboot\n\nset x\nheartb"),
        (b"\r\n", b"heartbeat\r\n\rreboot\n\r\n"),
        (b"\0", b"say heartbeat\0heartbeat\0"),
        (b"aab", b"aaaabxaabheartbeataab"),
    ];
    let mut cases = Cases::new();
    for (terminator, stream) in streams {
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                cases.push((terminator.to_vec(), stream.to_vec(), question(terminator, 64, &pieces)));
            }
        }
    }
    for mut harness in harnesses() {
        agrees(&mut harness, &cases);
    }
}

/// xorshift: enough chance for a test, with a seed to repeat it.
struct Chance(u64);

impl Chance {
    fn seeded() -> Self {
        let given = std::env::var("PULSEGATE_C_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x51ED);
        println!("PULSEGATE_C_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[test]
fn random_streams_mean_the_same_in_random_pieces() {
    let mut chance = Chance::seeded();
    let words: [&[u8]; 9] = [b"heartbeat", b"heart", b"h", b"beat", b"\n", b"\r\n", b"reboot", b"\xff\0", b"t"];
    let terminators: [&[u8]; 4] = [b"", b"", b"\n", b"\r\n"];
    let mut cases = Cases::new();
    for _ in 0..3000 {
        let terminator = terminators[chance.below(terminators.len())];
        let mut stream = Vec::new();
        while chance.below(8) > 0 && stream.len() < 50 {
            stream.extend_from_slice(words[chance.below(words.len())]);
        }
        let mut cuts: Vec<_> = (0..chance.below(6)).map(|_| chance.below(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
        let question = question(terminator, 64, &pieces);
        cases.push((terminator.to_vec(), stream, question));
    }
    for mut harness in harnesses() {
        agrees(&mut harness, &cases);
    }
}

#[test]
fn a_command_that_does_not_fit_is_reported_and_the_next_is_whole() {
    for mut harness in harnesses() {
        let stream: &[u8] = b"0123456789abcdef\r\nreboot\r\n0123456789ab\r\n0123456789abc\r\nheartbeat\r\n";
        let expected = vec![
            Some(b"(overlong)".to_vec()),
            Some(b"reboot".to_vec()),
            Some(b"0123456789ab".to_vec()),
            Some(b"(overlong)".to_vec()),
            None,
        ];
        for cut in 0..=stream.len() {
            let answer = harness.ask(&question(b"\r\n", 14, &[&stream[..cut], &stream[cut..]]));
            assert_eq!(heard(&answer), expected, "{} at {cut}", harness.name);
        }
    }
}

#[test]
fn objects_are_json_whatever_the_text_and_never_exceed_their_buffer() {
    let mut chance = Chance::seeded();
    let parts: [&[u8]; 14] = [
        b"plain",
        b"\"",
        b"\\",
        b"\n",
        b"\0",
        b"\x1f",
        b"\x7f",
        "ü€😀".as_bytes(),
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
        b"</",
    ];
    let mut all = harnesses();
    for round in 0..200 {
        let text: Vec<u8> = (0..chance.below(6)).flat_map(|_| parts[chance.below(parts.len())]).copied().collect();
        let number = match round {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => 0,
            3 => -5,
            _ => (chance.below(1 << 30) as i64 - (1 << 29)) << chance.below(30),
        };
        for harness in &mut all {
            let whole = unhex(&harness.ask(&format!("w {} {number} 4000", hex(&text))));
            let object: Value = serde_json::from_slice(&whole).unwrap_or_else(|error| panic!("{error}: {whole:?}"));
            // One replacement for each wrong byte, where Rust makes one for several.
            let shown = object["Text"].as_str().unwrap().replace('\u{fffd}', "");
            assert_eq!(shown, String::from_utf8_lossy(&text).replace('\u{fffd}', ""), "{text:?}");
            assert_eq!((&object["Type"], &object["Number"]), (&json!("Status"), &json!(number)));
            let decimal = format!(
                "\"Decimal\":{}{}.{:03},",
                if number < 0 { "-" } else { "" },
                number.unsigned_abs() / 1000,
                number.unsigned_abs() % 1000
            );
            assert!(String::from_utf8_lossy(&whole).contains(&decimal), "{decimal} in {object}");
            assert_eq!(object["Data"], base64(&text), "{text:?}");
            assert_eq!(
                (&object["List"], &object["Yes"], &object["No"]),
                (&json!([1, {}, "two"]), &json!(true), &json!(false))
            );
            let capacity = chance.below(whole.len() + 2);
            let fits = harness.ask(&format!("w {} {number} {capacity}", hex(&text)));
            assert_eq!(fits.is_empty(), capacity < whole.len(), "{} of {}", capacity, whole.len());
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[test]
fn members_of_commands_are_found_and_broken_commands_are_harmless() {
    let object = r#" { "A" : {"Name":"x","l":[1,"]}"]} ,"Name":"a\"\\\n\/b", "Size":1844674407370955161, "Last":true}"#;
    let cases = [
        ("Name", r#"="a\"\\\n\/b""#, Some("a\"\\\n/b"), None),
        ("Size", "=1844674407370955161", None, Some("1844674407370955161")),
        ("Last", "=true", None, None),
        ("l", "", None, None),
    ];
    for mut harness in harnesses() {
        for (name, value, string, number) in cases {
            let answer = harness.ask(&format!("m {} {name}", hex(object.as_bytes())));
            let mut expected = Vec::new();
            if let Some(value) = value.strip_prefix('=') {
                expected.push(format!("={}", hex(value.as_bytes())));
            }
            expected.extend(string.map(|text| format!("s{}", hex(text.as_bytes()))));
            expected.extend(number.map(|digits| format!("u{digits}")));
            assert_eq!(answer, expected.join(" "), "{}: {name}", harness.name);
        }
        // Every beginning of an object, and every object with one wrong byte: the sanitizers watch.
        let mut questions = Vec::new();
        for end in 0..object.len() {
            questions.push(format!("m {} Size", hex(&object.as_bytes()[..end])));
            for byte in *b"\"\\{}[],: \0" {
                let mut broken = object.as_bytes().to_vec();
                broken[end] = byte;
                questions.push(format!("m {} Last", hex(&broken)));
            }
        }
        harness.ask_all(&questions);
    }
}

#[test]
fn pauses_grow_to_30_s_with_jitter_and_a_silent_gateway_is_gone_after_30_s() {
    for mut harness in harnesses() {
        let mut firsts = Vec::new();
        for seed in [0, 1, 2, 0x00A0_C914, u32::MAX] {
            let answer = harness.ask(&format!("b {seed}"));
            let pauses: Vec<u32> = answer.split_whitespace().map(|pause| pause.parse().unwrap()).collect();
            let most = [1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000, 30000, 30000, 1000];
            for (pause, most) in pauses.iter().zip(most) {
                assert!((most / 2..=most).contains(pause), "{pauses:?}");
            }
            firsts.push(pauses[0]);
        }
        firsts.dedup();
        assert!(firsts.len() > 1, "devices with different seeds come back at different times");
        let gone = |harness: &mut Harness, heard: u32, now: u32| harness.ask(&format!("g {heard} {now}")) == "1";
        assert!(!gone(&mut harness, 5, 30_004) && gone(&mut harness, 5, 30_005));
        assert!(!gone(&mut harness, u32::MAX - 9, 29_989), "the clock wraps");
        assert!(gone(&mut harness, u32::MAX - 9, 29_990), "the clock wraps");
        let answers = ["udp responsed", "udp response", "udp responsed!", "x"]
            .map(|text| harness.ask(&format!("a {}", hex(text.as_bytes()))));
        assert_eq!(answers, ["1", "0", "0", "0"]);
    }
}

/// The content that the harness gives to its files.
fn content(size: u64) -> Vec<u8> {
    (0..size).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn command(value: &Value) -> String {
    hex(value.to_string().as_bytes())
}

/// The object at the front of an answer.
fn object(answer: &str) -> Value {
    let word = answer.split_whitespace().next().unwrap_or_default();
    if word.len() > 2 { serde_json::from_slice(&unhex(word)).unwrap() } else { Value::Null }
}

#[test]
fn a_file_of_the_device_goes_up_in_pieces_in_any_order() {
    for mut harness in harnesses() {
        let size = 5000_u64;
        let offer = object(&harness.ask(&format!("o {size}")));
        assert_eq!(offer, json!({"Type":"File","Op":"offer","Name":"log-3.bin","Size":size}));
        let mut file = vec![0; size as usize];
        // A gateway may ask for several pieces at once, again, and for more than there is or than the buffer holds.
        for (offset, length, capacity) in
            [(3000, 9999, 6000), (0, 1, 4000), (0, 3000, 6000), (3000, 2000, 1300), (2999, 3, 4000)]
        {
            let get = json!({"Type":"File","Op":"get","Name":"log-3.bin","Offset":offset,"Length":length});
            let answer = harness.ask(&format!("O {} {capacity}", command(&get)));
            let data = object(&answer);
            assert_eq!((&data["Op"], &data["Offset"]), (&json!("data"), &json!(offset)), "{get}");
            let piece = STANDARD.decode(data["Data"].as_str().unwrap()).unwrap();
            assert!(!piece.is_empty() && piece.len() <= length, "{} bytes of {length}", piece.len());
            file[offset..offset + piece.len()].copy_from_slice(&piece);
        }
        assert!(file == content(size), "{}: the file has other bytes", harness.name);
        for (command_of, reply) in [
            (json!({"Type":"File","Op":"get","Name":"log-3.bin","Offset":5000,"Length":1}), "1"),
            (json!({"Type":"File","Op":"get","Name":"other","Offset":0,"Length":1}), "1"),
            (json!({"Type":"File","Op":"failed","Name":"log-3.bin","Reason":"full"}), "3 full"),
            (json!({"Type":"File","Op":"done","Name":"log-3.bin"}), "2 full"),
        ] {
            assert_eq!(harness.ask(&format!("O {} 4000", command(&command_of))), reply, "{command_of}");
        }
    }
}

#[test]
fn a_file_of_the_gateway_comes_down_in_pieces_and_goes_on_after_a_break() {
    for mut harness in harnesses() {
        let bytes = content(4000);
        harness.ask("i 1500 0");
        let offer = json!({"Type":"File","Op":"offer","Name":"firmware.bin","Size":4000,"Sha256":"00"});
        let mut asked = object(&harness.ask(&format!("I {}", command(&offer))));
        let mut pieces = 0;
        while asked["Op"] == "get" {
            let (offset, length) =
                (asked["Offset"].as_u64().unwrap() as usize, asked["Length"].as_u64().unwrap() as usize);
            assert!(length <= 1500 && offset + length <= 4000);
            let data = |offset: usize, bytes: &[u8]| json!({"Type":"File","Op":"data","Name":"firmware.bin","Offset":offset,"Data":base64(bytes)});
            pieces += 1;
            if pieces == 2 {
                // A piece for another offset, a too long piece and a piece without base64 change nothing.
                for (dropped, wrong) in [
                    (1, data(offset + 1, &bytes[..10])),
                    (2, data(offset, &bytes[..1501])),
                    (3, json!({"Type":"File","Op":"data","Name":"firmware.bin","Offset":offset,"Data":"A=BC"})),
                ] {
                    assert_eq!(harness.ask(&format!("I {}", command(&wrong))), format!("1 {dropped}"));
                }
                let again = object(&harness.ask("R"));
                assert_eq!(again, asked, "after a timeout it asks again");
                // After a break the gateway offers the file again, and the stored bytes count.
                asked = object(&harness.ask(&format!("I {}", command(&offer))));
                assert_eq!(asked["Offset"], offset);
            }
            // Fewer bytes than asked for are an answer, too.
            let end = offset + length.min(1100);
            asked = object(&harness.ask(&format!("I {}", command(&data(offset, &bytes[offset..end])))));
        }
        assert_eq!(asked, json!({"Type":"File","Op":"done","Name":"firmware.bin"}));

        let busy = json!({"Type":"File","Op":"offer","Name":"../x","Size":1});
        assert_eq!(object(&harness.ask(&format!("I {}", command(&busy))))["Reason"], "name");
        let large = json!({"Type":"File","Op":"offer","Name":"large","Size":100_000});
        assert_eq!(object(&harness.ask(&format!("I {}", command(&large))))["Reason"], "quota");
        harness.ask("i 3000 0");
        harness.ask(&format!("I {}", command(&offer)));
        let other = json!({"Type":"File","Op":"offer","Name":"other","Size":1});
        assert_eq!(object(&harness.ask(&format!("I {}", command(&other))))["Reason"], "busy");
        let forged = |offset: usize, length: usize| json!({"Type":"File","Op":"data","Name":"firmware.bin","Offset":offset,"Data":base64(&vec![7; length])});
        harness.ask(&format!("I {}", command(&forged(0, 3000))));
        let failed = object(&harness.ask(&format!("I {}", command(&forged(3000, 1000)))));
        assert_eq!((&failed["Op"], &failed["Reason"]), (&json!("failed"), &json!("sha256")));
    }
}
