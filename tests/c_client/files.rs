//! Files in pieces.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::chance::{Chance, rounds};
use crate::harness::{harnesses, hex, unhex};

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
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

fn piece(name: &str, offset: usize, bytes: &[u8]) -> Value {
    json!({"Type":"File","Op":"data","Name":name,"Offset":offset,"Data":base64(bytes)})
}

/// Returns the questions with which random commands reach the device, about half of them in their place.
fn random_commands(chance: &mut Chance, size: usize, stored: usize, bytes: &[u8]) -> Vec<String> {
    let random = |round| {
        let offset = if chance.below(2) == 0 { stored } else { chance.below(size + 10) };
        let data = &bytes[offset..offset + chance.below(2000)];
        let mut object = piece(chance.pick(&["a", "a", "a", "b", ".c"]), offset, data);
        if round % 4 == 0 {
            object["Op"] = json!(chance.pick(&["offer", "offer", "get", "done", "failed", "refuse", "x"]));
        }
        object["Size"] = json!(size);
        let mut text = object.to_string().into_bytes();
        if chance.below(4) == 0 {
            let place = chance.below(text.len());
            text[place] = b"\"{}=7,\0"[chance.below(7)];
        }
        format!("{} {} 4000", chance.pick(&["I", "I", "I", "O"]), hex(&text))
    };
    (0..12).map(random).collect()
}

/// No answer is wrong JSON, the device writes no byte behind the end of a file, and it can take the next file.
#[test]
fn random_commands_of_files_leave_the_device_able_to_take_the_next() {
    let mut all = harnesses();
    rounds(30, |chance| {
        let size = 1 + chance.below(5000);
        let bytes = content(size as u64 + 2010);
        let (most, stored) = (1 + chance.below(1500), chance.below(size + 1));
        let questions = random_commands(chance, size, stored, &bytes);
        for harness in &mut all {
            harness.ask(&format!("o {size}"));
            harness.ask(&format!("i {most} {stored}"));
            for (question, answer) in questions.iter().zip(harness.ask_all(&questions)) {
                let sent = object(&answer);
                assert!(sent.is_null() || sent["Type"] == "File", "{}: {question}: {answer}", harness.name);
            }
            harness.ask(&format!("i {most} 0"));
            let offer = json!({"Type":"File","Op":"offer","Name":"next","Size":size});
            let mut asked = object(&harness.ask(&format!("I {}", command(&offer))));
            while asked["Op"] == "get" {
                let offset = asked["Offset"].as_u64().unwrap() as usize;
                let end = offset + asked["Length"].as_u64().unwrap() as usize;
                let data = piece("next", offset, &bytes[offset..end]);
                asked = object(&harness.ask(&format!("I {}", command(&data))));
            }
            assert_eq!(asked, json!({"Type":"File","Op":"done","Name":"next"}), "{}", harness.name);
        }
    });
}
