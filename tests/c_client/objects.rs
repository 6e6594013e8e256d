//! Objects that the device writes, and members of commands that it reads.

use pulsegate::unstable::proto::{Message, PartialObjects, Reassembled, Splitter};
use serde_json::{Value, json};

use crate::chance::{Chance, rounds};
use crate::files::base64;
use crate::harness::{harnesses, hex, unhex};

#[test]
fn objects_are_json_whatever_the_text_and_never_exceed_their_buffer() {
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
    let mut numbers = vec![i64::MIN, i64::MAX, 0, -5];
    rounds(200, |chance| {
        let text: Vec<u8> = (0..chance.below(6)).flat_map(|_| chance.pick(&parts)).copied().collect();
        let random = || (chance.below(1 << 30) as i64 - (1 << 29)) << chance.below(30);
        let number = numbers.pop().unwrap_or_else(random);
        for harness in &mut all {
            let object = unhex(&harness.ask(&format!("w {} {number} 4000", hex(&text))));
            assert_object(&object, &text, number);
            let capacity = chance.below(object.len() + 2);
            let fits = harness.ask(&format!("w {} {number} {capacity}", hex(&text)));
            assert_eq!(fits.is_empty(), capacity < object.len(), "{} of {}", capacity, object.len());
        }
    });
}

/// The gateway accepts the object of the harness, and reads the same members.
fn assert_object(bytes: &[u8], text: &[u8], number: i64) {
    assert!(accepted(bytes, |message| assert_eq!(message.type_name(), "Status")), "{bytes:?}");
    let object: Value = serde_json::from_slice(bytes).unwrap();
    // One replacement for each wrong byte, where Rust makes one for several.
    let shown = object["Text"].as_str().unwrap().replace('\u{fffd}', "");
    assert_eq!(shown, String::from_utf8_lossy(text).replace('\u{fffd}', ""), "{text:?}");
    assert_eq!(object["Number"], json!(number));
    let sign = if number < 0 { "-" } else { "" };
    let (whole, thousandths) = (number.unsigned_abs() / 1000, number.unsigned_abs() % 1000);
    let decimal = format!("\"Decimal\":{sign}{whole}.{thousandths:03},");
    assert!(String::from_utf8_lossy(bytes).contains(&decimal), "{decimal} in {object}");
    assert_eq!(object["Data"], base64(text), "{text:?}");
    assert_eq!((&object["List"], &object["Yes"], &object["No"]), (&json!([1, {}, "two"]), &json!(true), &json!(false)));
}

/// Returns whether the gateway takes these bytes as one object, and shows it.
fn accepted(bytes: &[u8], show: impl FnOnce(&Message<'_>)) -> bool {
    let (mut splitter, mut partial, mut whole) = (Splitter::new(), PartialObjects::new(), Reassembled::default());
    let Ok((used, Some(object))) = splitter.push(bytes, 1 << 20, &mut partial, &mut whole) else { return false };
    let checked = Message::check(&object, 126);
    let taken = checked.as_ref().is_ok_and(|_| used == bytes.len() && object.bytes.len() == bytes.len());
    if let (true, Ok(message)) = (taken, checked) {
        show(&message);
    }
    taken
}

const NAMES: [&str; 6] = ["Name", "Size", "Offset", "Op", "N", "Type"];

/// Writes a random object as a sender of commands may write it: any order, any spaces, members twice.
fn random_object(chance: &mut Chance) -> String {
    let spaces = ["", "", "", " ", "\t", "\r\n", "  "];
    let values = [
        "0",
        "7",
        "-1",
        "1.5e3",
        "9999999999999999999",
        "123456789012345678",
        "true",
        "null",
        "\"\"",
        "\"a b\"",
        "\"a\\\"b\"",
        "\"\\\\\"",
        "\"\\n/\\/\"",
        "\"\\u00e9\"",
        "\"]}{,:\"",
        "[]",
        "{}",
        "[1,[2,\"]\"]]",
        "{\"Name\":\"inner\"}",
        "[{\"Size\":1},{}]",
        "\"ü€\"",
    ];
    let mut members = vec!["\"Type\":\"File\"".to_owned()];
    for _ in 0..chance.below(6) {
        let name = chance.pick(&NAMES[..5]);
        let parts = [chance.pick(&spaces), ":", chance.pick(&spaces), chance.pick(&values), chance.pick(&spaces)];
        let place = chance.below(members.len() + 1);
        members.insert(place, format!("{}\"{name}\"{}", chance.pick(&spaces), parts.concat()));
    }
    format!("{{{}}}", members.join(","))
}

/// Returns the answer of the harness about a member that the gateway found.
fn expected_answer(value: Option<&[u8]>) -> String {
    let Some(value) = value else { return String::new() };
    let mut answer = vec![format!("={}", hex(value))];
    let text = String::from_utf8_lossy(value);
    if let Ok(string) = serde_json::from_slice::<String>(value)
        && !text.contains("\\u")
        && string.len() < 40
    {
        answer.push(format!("s{}", if string.is_empty() { String::new() } else { hex(string.as_bytes()) }));
    }
    if text.len() < 20 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        answer.push(format!("u{}", text.parse::<u64>().unwrap()));
    }
    answer.join(" ")
}

#[test]
fn random_commands_have_the_members_that_the_gateway_finds() {
    let mut all = harnesses();
    rounds(3, |chance| {
        let (mut questions, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            let mut object = random_object(chance).into_bytes();
            if chance.below(3) == 0 {
                let place = chance.below(object.len());
                object[place] = b"\"{}[],: 7\0"[chance.below(10)];
            }
            let name = chance.pick(&NAMES);
            questions.push(format!("m {} {name}", hex(&object)));
            let mut answer = None;
            accepted(&object, |message| answer = Some(expected_answer(message.member(name))));
            expected.push((answer, object));
        }
        for harness in &mut all {
            for (answer, (expected, object)) in harness.ask_all(&questions).iter().zip(&expected) {
                let object = String::from_utf8_lossy(object);
                // Where the gateway accepts no object, the device may answer anything, and the sanitizers watch.
                assert!(
                    expected.as_ref().is_none_or(|expected| expected == answer),
                    "{}: {object}: {answer}",
                    harness.name
                );
            }
        }
    });
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
