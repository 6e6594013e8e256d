//! Random input.

use super::*;

/// Broken files from a seed. No file panics, each error is one line with a place in the file, and an accepted file is
/// printed as equivalent TOML.
#[test]
fn no_file_panics() {
    let pieces: Vec<&[u8]> = [
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\"",
        "'",
        "\"\"\"",
        "'''",
        "\\",
        "\\u0000",
        "\\uD800",
        "\0",
        "\n",
        "\r",
        "#",
        "é",
        "\u{feff}",
        "-",
        "+",
        "_",
        "0x",
        "0o777",
        "0b",
        "inf",
        "nan",
        "1e999",
        "1979-05-27T07:32:00Z",
        "07:32:00",
        "true",
        "99999999999999999999999",
        "\"9999999999y 999999999y\"",
        "\"18446744073709551615s 1000ms\"",
        "\"::/0\"",
        "{ \"::1\" = 1 }",
        "[\"*\"]",
        "\"1MiB\"",
        "\"2s\"",
        "\"5/s\"",
        "limits.",
        "[log]\n",
    ]
    .map(str::as_bytes)
    .to_vec();
    let lines: Vec<&[u8]> = include_bytes!("../../../../../pulsegate.toml")
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|line| !line.starts_with(b"#") && line.len() > 1)
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let mut accepted = 0;
    for round in 0..5_000 {
        let mut text: Vec<u8> = Vec::new();
        let from = below(lines.len());
        for line in &lines[from..(from + 1 + below(6)).min(lines.len())] {
            match (line.iter().position(|&byte| byte == b'='), below(4)) {
                (Some(equals), 0) => {
                    text.extend(&line[..=equals]);
                    text.extend(pieces[below(pieces.len())]);
                    text.push(b'\n');
                }
                _ => text.extend(*line),
            }
        }
        for _ in 0..below(3) {
            let at = below(text.len() + 1);
            match below(3) {
                0 => drop(text.splice(at..at, pieces[below(pieces.len())].iter().copied())),
                1 => drop(text.drain(at..(at + below(4)).min(text.len()))),
                _ => text.insert(at, below(256) as u8),
            }
        }
        match load(&text) {
            Ok(config) => {
                accepted += 1;
                let shown = config.print();
                let again = load(&shown).unwrap_or_else(|error| panic!("round {round}: {error}\n{shown}"));
                assert_eq!(values(again), values(config), "round {round}");
            }
            Err(errors) => {
                for error in errors.lines().filter(|line| *line != "there are more errors") {
                    let mut parts = error.splitn(4, ':');
                    let is_place =
                        |part: Option<&str>| part.and_then(|part| part.parse::<usize>().ok()).is_some_and(|n| n > 0);
                    let fits = parts.next() == Some("test.toml") && is_place(parts.next()) && is_place(parts.next());
                    assert!(fits && !error.contains(char::is_control), "round {round}: {error}");
                }
            }
        }
    }
    assert!((150..4_750).contains(&accepted), "{accepted} files were accepted: the test no longer reaches both sides");
}

/// Sets every key to every text by the environment.
#[test]
fn no_variable_panics() {
    let long = "9".repeat(1000);
    let texts = [
        "",
        " ",
        "0",
        "-0",
        "-",
        "+",
        "1",
        "off",
        "default",
        "*",
        "=",
        ",",
        ",,",
        "=,=",
        "::1=",
        "::1=1",
        "::/0",
        "0.0.0.0:0",
        "/s",
        "5/s",
        "B",
        "1B",
        "16777216TiB",
        "18446744073709551615B",
        "18446744073709551616B",
        "18446744073709551615s 1000ms",
        "999999999y 999999999y",
        "1ns",
        "0.1s",
        "1e9s",
        "\0",
        "é",
        "\u{feff}",
        "\u{202e}",
        "٣s",
        "[\"x\"]",
        "0777",
        "07777777777777777777777",
        &long,
    ];
    for key in KEYS {
        for text in texts {
            if let Ok(config) = load_rest(&[(&key.variable(), text)], &[]) {
                let shown = config.print();
                let again = load(&shown).unwrap_or_else(|error| panic!("{} = {text}: {error}", key.name));
                assert_eq!(values(again), values(config), "{} = {text}", key.name);
            }
        }
    }
}
