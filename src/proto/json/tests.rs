use serde::de::IgnoredAny;

use super::*;
use crate::proto::testing::{self, Rng};

fn missing() -> Result<Type<'static>, Fault> {
    Ok(Type::Missing)
}

fn string(value: &str) -> Result<Type<'_>, Fault> {
    Ok(Type::String(value.as_bytes().into()))
}

fn fault(at: usize, detail: &'static str) -> Result<Type<'static>, Fault> {
    Err(Fault { at, detail })
}

fn table(text: &str, expected: Result<Type<'_>, Fault>) {
    let found = check(text.as_bytes(), &(0..0), "").map(|found| found.type_member);
    assert_eq!(found, expected, "{text}");
}

#[test]
fn objects_obey_the_grammar() {
    for text in [
        "{}",
        "{ }",
        " \t\r\n{ \t\r\n}".trim_start(),
        r#"{"a":0}"#,
        r#"{"":-0,"a":-1.5e+10,"b":0E0,"c":10.01e-1}"#,
        r#"{"a" : [ ] , "b" : [ 1 , 2 ] , "c" : { "Type" : 1 } }"#,
        r#"{"a":[[],{},[{}],"",true,false,null]}"#,
        r#"{"a":"\"\\\/\b\f\n\r\t\u00fF\uD834\uDd1E"}"#,
        "{\"a\":\"\u{7f}é温😀\"}",
        r#"{"a":1,"a":2}"#,
        r#"{"a":123456789012345678901234567890}"#,
    ] {
        table(text, missing());
    }
    let comma = "expected ',' or '}'";
    for (text, at, detail) in [
        ("", 0, "unexpected end"),
        ("[]", 0, "expected '{'"),
        ("{", 1, "unexpected end"),
        ("{}}", 2, "expected the end"),
        ("{} ", 2, "expected the end"),
        ("{,}", 1, "expected a key"),
        ("{a:1}", 1, "expected a key"),
        (r#"{"a"}"#, 4, "expected ':'"),
        (r#"{"a":}"#, 5, "expected a value"),
        (r#"{"a":1,}"#, 7, "expected a key"),
        (r#"{"a":1 "b":2}"#, 7, comma),
        (r#"{"a":1]"#, 6, comma),
        (r#"{"a":[1,]}"#, 8, "expected a value"),
        (r#"{"a":[1}"#, 7, "expected ',' or ']'"),
        (r#"{"a":[}"#, 6, "expected a value"),
        (r#"{"a":01}"#, 6, comma),
        (r#"{"a":-}"#, 6, "expected a digit"),
        (r#"{"a":-01}"#, 7, comma),
        (r#"{"a":+1}"#, 5, "expected a value"),
        (r#"{"a":.5}"#, 5, "expected a value"),
        (r#"{"a":1.}"#, 7, "expected a digit"),
        (r#"{"a":1.e5}"#, 7, "expected a digit"),
        (r#"{"a":1e}"#, 7, "expected a digit"),
        (r#"{"a":1e+}"#, 8, "expected a digit"),
        (r#"{"a":0x1}"#, 6, comma),
        (r#"{"a":NaN}"#, 5, "expected a value"),
        (r#"{"a":nul}"#, 8, "expected true, false or null"),
        (r#"{"a":truE}"#, 8, "expected true, false or null"),
        (r#"{"a":nullx}"#, 9, comma),
        (r#"{"a":'b'}"#, 5, "expected a value"),
        ("{\"a\":\"\t\"}", 6, "control character in a string"),
        ("{\"a\":\"\0\"}", 6, "control character in a string"),
        (r#"{"a":"\x"}"#, 7, "unknown escape in a string"),
        (r#"{"a":"\u12g4"}"#, 10, "expected four hexadecimal digits"),
        (r#"{"a":"\u12"}"#, 10, "expected four hexadecimal digits"),
        (r#"{"a":"b}"#, 8, "unexpected end"),
        ("{\u{a0}}", 1, "expected a key"),
        ("{\0}", 1, "expected a key"),
        ("{\u{c}}", 1, "expected a key"),
        (r#"{"a":1/**/}"#, 6, comma),
        (r"{\u0022a", 1, "expected a key"),
    ] {
        table(text, fault(at, detail));
    }
}

#[test]
fn the_top_level_type_is_found() {
    table(r#"{"Type":"Status"}"#, string("Status"));
    table(r#"{"a":{"Type":1},"Type" : "é","b":[{"Type":2}]}"#, string("é"));
    table(r#"{"\u0054ype":""}"#, string(""));
    table(r#"{"\u0054\u0079\u0070\u0065":"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}"#, string("a\"\\/\u{8}\u{c}\n\r\té😀"));
    table(r#"{"type":1,"Type ":1,"\u0054ype\n":1,"Typ":1,"\ud7ff":1}"#, missing());
    table(r#"{"a":0,"Type":  1}"#, Ok(Type::Other(16)));
    table(r#"{"Type":{"Type":"a"}}"#, Ok(Type::Other(8)));
    table(r#"{"Type":null}"#, Ok(Type::Other(8)));
    table(r#"{"Type":"a","Type":"b","Type":1}"#, Ok(Type::Twice(12)));
    table(r#"{"Type":1,"\u0054ype":"b"}"#, Ok(Type::Twice(10)));
    table(r#"{"Type":"a"x}"#, fault(11, "expected ',' or '}'"));
}

#[test]
fn an_unpaired_surrogate_is_a_fault_anywhere() {
    for (object, at) in [
        (r#"{"Type":"a\ud800"}"#, 10),
        (r#"{"Type":"Status","Name":"cut emoji \ud83d"}"#, 35),
        (r#"{"\ud83d":1}"#, 2),
        (r#"{"a":[{"b":"\ude00\ud83d"}]}"#, 12),
        (r#"{"a":"\ud83d\ud83d\ude00"}"#, 6),
        (r#"{"a":"\ud83dx"}"#, 6),
        (r#"{"a":"\ud83d\n"}"#, 6),
        (r#"{"a":"\ud83d\ue000"}"#, 6),
        (r#"{"a":"\ud83d\u00"}"#, 6),
        (r#"{"a":"\uDBFF\uDBFF"}"#, 6),
        (r#"{"a":"\ud83d\udcgg"}"#, 6),
    ] {
        table(object, fault(at, "unpaired surrogate"));
    }
    for text in [r#"{"a":"\ud83d"#, r#"{"a":"\ud83d\"#, r#"{"a":"\ud83d\uDe"#] {
        table(text, fault(text.len(), "unexpected end"));
    }
    table(r#"{"\ud83d\ude00":"\uDBFF\uDFFF\ud7ff\uE000"}"#, missing());
}

#[test]
fn a_type_has_at_most_256_bytes() {
    for (letter, bytes) in [("x", 1), ("é", 2), (r"\u0041", 1), (r"\ud83d\ude00", 4), (r"\n", 1)] {
        let text = |count| format!(r#"{{"a":0,"Type" : "{}"}}"#, letter.repeat(count));
        let fits = text(256 / bytes);
        let found = check(fits.as_bytes(), &(0..0), "").map(|found| found.type_member);
        assert!(matches!(&found, Ok(Type::String(name)) if name.len() == 256), "{letter}: {found:?}");
        table(&text(256 / bytes + 1), Ok(Type::TooLong(16)));
        table(&text(300_000), Ok(Type::TooLong(16)));
    }
    table(&format!(r#"{{"Type":"{}","Type":1}}"#, "x".repeat(300)), Ok(Type::Twice(311)));
}

#[test]
fn the_same_pass_finds_the_identity_member() {
    for (text, at) in [
        (r#"{"Type":"a","Id":"pump"}"#, 17),
        (r#"{"Id" : 7,"Type":"a"}"#, 8),
        (r#"{"I\u0064":"x"}"#, 11),
        (r#"{"a":{"Id":1},"Idx":2,"I":3,"Id":4}"#, 33),
        (r#"{"Id":1,"Id":2}"#, 6),
        (r#"{"\"Id":1,"id":2}"#, 0),
    ] {
        let found = check(text.as_bytes(), &(0..0), "Id").map(|found| found.identity);
        assert_eq!(found, Ok(at), "{text}");
        assert_eq!(check(text.as_bytes(), &(0..0), "").map(|found| found.identity), Ok(0), "{text}");
    }
    let quoted = r#"{"a\"b":1}"#;
    assert_eq!(check(quoted.as_bytes(), &(0..0), "a\"b").map(|found| found.identity), Ok(8));
}

#[test]
fn at_most_127_containers_are_open() {
    for (levels, ok) in [(1, true), (126, true), (127, false), (1000, false)] {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let inner = if open == "[" { "" } else { "0" };
            let text = format!(r#"{{"a":{}{inner}{}}}"#, open.repeat(levels), close.repeat(levels));
            let outcome = walk(text.as_bytes(), &(0..0), "");
            assert_eq!(outcome.map(|outcome| outcome.depth as usize).ok(), ok.then_some(levels + 1));
        }
    }
    // The kinds of all 127 containers are kept.
    let mixed = r#"{"a":["#.repeat(63) + &"]}".repeat(63);
    table(&mixed, missing());
    table(&mixed.replacen("]}", "}]", 1), fault(63 * 6, "expected a value"));
}

#[test]
fn long_strings_need_no_second_look_at_the_unescaped_range() {
    for length in 0..140 {
        for end in ["", r"\n", "é", "\u{1f}", r"\v"] {
            let text = format!("{{\"a\":\"{}{end}\",\"b\":0}}", "x".repeat(length));
            check_against_serde(&text);
            let unescaped = 6..(6 + length as u32);
            assert_eq!(check(text.as_bytes(), &unescaped, ""), check(text.as_bytes(), &(0..0), ""));
        }
    }
}

/// `serde_json` skips a value by the same grammar, with numbers of any size and unpaired surrogates. It distinguishes
/// an early end from a wrong byte, except in numbers, so numbers get another digit.
fn check_against_serde(text: &str) -> bool {
    let is_valid = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
    let may_go_on = |text: &str| {
        [text, &format!("{text}0")]
            .iter()
            .any(|text| serde_json::from_str::<IgnoredAny>(text).map_or_else(|error| error.is_eof(), |_| true))
    };
    let is_object = text.starts_with('{') && text.ends_with('}') && is_valid(text);
    match check(text.as_bytes(), &(0..0), "") {
        Ok(_) => assert!(is_object, "{text}"),
        // serde_json accepts it in skipped values.
        Err(Fault { detail: "unpaired surrogate", .. }) => return false,
        Err(Fault { at, .. }) => {
            assert!(!is_object, "{text}");
            if let (Some(before), Some(after)) = (text.get(..at), text.get(..=at))
                && text.starts_with('{')
            {
                assert!(may_go_on(before), "{before}");
                // serde_json checks four hexadecimal digits only when all are there.
                let is_wrong = |text: &str| !may_go_on(text) || !may_go_on(&format!("{text}000"));
                assert!(is_valid(before) || is_wrong(after), "{after}");
            }
        }
    }
    is_object
}

#[test]
fn the_verdict_agrees_with_serde_json() {
    for seed in 1..4000 {
        let mut rng = Rng(seed);
        let member = rng.pick(&[r#""Type":"Status""#, r#""Type": {}"#, r#""\u0054ype":"\ud83d\ude00""#]);
        let mut text = testing::object(&mut rng, 4, Some(member));
        for mutations in 0..4 {
            let outcome = std::panic::catch_unwind(|| check_against_serde(&text));
            assert!(outcome.is_ok_and(|valid| valid || mutations > 0), "seed {seed}: {text}");
            let mut chars: Vec<_> = text.chars().collect();
            let at = rng.below(chars.len());
            match rng.below(3) {
                0 => drop(chars.remove(at)),
                1 => chars[at] = char::from(rng.pick(b"{}[]\",:\\/ \n\0\x1f01.eE+-tfnu")),
                _ => chars.insert(at, char::from(rng.pick(b"{}[]\",:\\/ \n\0\x1f01.eE+-tfnu"))),
            }
            text = chars.into_iter().collect();
            if text.is_empty() {
                break;
            }
        }
    }
}
