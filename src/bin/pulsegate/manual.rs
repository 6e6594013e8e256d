//! Tests that keep the manual in step with the code.
//!
//! The program's tables generate the shell completions, pulsegate.toml(5), the list of commands in pulsegate(1)
//! and the statistics in pulsegate-control(7). `PULSEGATE_WRITE_MANUAL=1 cargo test manual` writes these files.

mod completions;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use pulsegate::{CloseReason, Kind, Reason, Refusal, SendError, Suppressed};

use crate::commands::{COMMANDS, Spec};
use crate::control::{ErrorWord, Operation};
use crate::stats::{FIGURES, Figure, Metric};
use crate::{Failure, config, control};

/// Text in roff: special characters escaped, one sentence a line.
pub(crate) fn roff(text: &str) -> String {
    let mut escaped = String::new();
    for char in text.chars() {
        match char {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '"' => escaped.push_str("\\(dq"),
            '\'' => escaped.push_str("\\(aq"),
            '^' => escaped.push_str("\\(ha"),
            '…' => escaped.push_str("..."),
            '~' => escaped.push_str("\\(ti"),
            char => {
                assert!(char.is_ascii(), "say here how roff writes {char:?}");
                escaped.push(char);
            }
        }
    }
    let escaped = escaped.replace(". ", ".\n");
    if escaped.starts_with('.') { format!("\\&{escaped}") } else { escaped }
}

/// The commands and their options for pulsegate(1).
fn commands() -> String {
    let mut text = String::new();
    for spec @ Spec { arguments, about, options, .. } in COMMANDS {
        let name = spec.name();
        let heading = format!("{name} {arguments}");
        let _ = writeln!(text, ".SS {}\n{}{}.", roff(heading.trim_end()), about[..1].to_uppercase(), roff(&about[1..]));
        for option in *options {
            let value = option.value.map(|value| format!(" \\fI{}\\fR", roff(value))).unwrap_or_default();
            let _ = writeln!(text, ".TP\n\\fB\\-\\-{}\\fR{value}\n{}", roff(option.name), roff(option.about));
        }
    }
    text
}

/// The statistics for pulsegate-control(7).
fn figures() -> String {
    let entry = |figure: &Figure| {
        let metric = match figure.metric {
            Metric::Counter(name) | Metric::Gauge(name) | Metric::Histogram(name) => {
                format!("\nMetric: pulsegate_{name}.")
            }
            Metric::CounterBy(name, label) | Metric::Info(name, label) => {
                format!("\nMetric: pulsegate_{name}, label {label}.")
            }
            Metric::CountAndBytesBy([count, bytes], label) => {
                format!("\nMetrics: pulsegate_{count} and pulsegate_{bytes}, label {label}.")
            }
            Metric::Part => String::new(),
        };
        format!(".TP\n.B {}\n{}{metric}\n", roff(figure.path), roff(figure.about))
    };
    FIGURES.iter().map(entry).collect()
}

/// The counters for pulsegate-mqtt(1).
#[cfg(feature = "mqtt")]
fn uplink_counters() -> String {
    let entry =
        |counter: &crate::mqtt::Counter| format!(".TP\n.B {}\n{}\n", roff(counter.as_str()), roff(counter.about()));
    crate::mqtt::Counter::ALL.iter().map(entry).collect()
}

/// The page with `generated` between the two comments that mark the part from `source`.
fn page_with(page: &str, source: &str, generated: &str) -> String {
    let (page, begin, end) =
        (read(page), format!(".\\\" Generated from {source}. Edit that file.\n"), ".\\\" End of the generated part.\n");
    let (head, rest) = page.split_once(&begin).expect("a comment begins the generated part");
    let (_, tail) = rest.split_once(end).expect("a comment ends the generated part");
    format!("{head}{begin}{generated}{end}{tail}")
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn check(path: &str, expected: &str) {
    if std::env::var_os("PULSEGATE_WRITE_MANUAL").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), expected).unwrap();
    }
    let message = "is out of date: run `PULSEGATE_WRITE_MANUAL=1 cargo test manual`";
    assert!(read(path) == expected, "{path} {message}");
}

#[test]
fn generated_files_are_up_to_date() {
    check("man/pulsegate.toml.5", &config::page());
    check(PAGE, &page_with(PAGE, "src/bin/pulsegate/commands.rs", &commands()));
    check(CONTROL_PAGE, &page_with(CONTROL_PAGE, "src/bin/pulsegate/stats.rs", &figures()));
    #[cfg(feature = "mqtt")]
    check(UPLINK_PAGE, &page_with(UPLINK_PAGE, "src/bin/pulsegate/mqtt/counters.rs", &uplink_counters()));
    check("completions/pulsegate.bash", &completions::bash());
    check("completions/_pulsegate", &completions::zsh());
}

/// The page without roff's escapes and fonts.
fn plain(page: &str) -> String {
    let mut text = read(page);
    for (roff, char) in [("\\-", "-"), ("\\(dq", "\""), ("\\(aq", "'"), ("\\fB", ""), ("\\fI", ""), ("\\fR", "")] {
        text = text.replace(roff, char);
    }
    text.replace("\\e", "\\")
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_').any(|found| found == word)
}

fn must_have<'a>(page: &str, what: &str, words: impl IntoIterator<Item = &'a str>) {
    let text = plain(page);
    let missing: Vec<_> = words.into_iter().filter(|word| !has_word(&text, word)).collect();
    assert!(missing.is_empty(), "{page} does not name the {what} {missing:?}");
}

/// The string literals of a source file that are single words: events and names of members.
fn words_of(source: &str) -> Vec<&str> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code_lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let strings = code_lines.flat_map(|line| line.split('"').skip(1).step_by(2));
    strings.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).collect()
}

#[test]
fn the_page_names_every_word_of_the_control_socket() {
    for (what, words) in [
        ("operations", Operation::WORDS),
        ("error words", ErrorWord::WORDS),
        ("error words", SendError::WORDS),
        ("reasons of a disconnect", CloseReason::WORDS),
        ("refusals", Refusal::WORDS),
        ("reasons to reject an object", Reason::WORDS),
        ("reasons to answer no probe", Suppressed::WORDS),
        ("kinds of messages", Kind::WORDS),
    ] {
        must_have(CONTROL_PAGE, what, words.iter().copied());
    }
    let words = words_of(include_str!("events.rs"));
    assert!(words.len() > 10, "{words:?}");
    must_have(CONTROL_PAGE, "events and their members", words);
    let page = plain(CONTROL_PAGE);
    for limit in [
        format!("{} clients", control::CLIENTS_MAX),
        format!("{} commands", control::SENDING_MAX),
        format!("{} bytes", control::REQUEST_BYTES_MAX),
    ] {
        assert!(page.contains(&limit), "{CONTROL_PAGE} does not name the limit of {limit}");
    }
}

#[test]
fn the_page_names_every_member_of_a_request() {
    let error =
        serde_json::from_str::<control::Request<'_>>(r#"{"no such member":1}"#).map(drop).unwrap_err().to_string();
    // Serde lists the known members between back quotes.
    let (_, known) = error.split_once("expected one of").expect("a list of members");
    must_have(CONTROL_PAGE, "members of requests", known.split('`').skip(1).step_by(2));
}

#[test]
fn the_page_explains_every_close_reason() {
    must_have(PAGE, "reasons of a disconnect", CloseReason::WORDS.iter().copied());
    must_have(PAGE, "refusals", Refusal::WORDS.iter().copied());
}

#[test]
fn page_and_help_name_every_exit_code() {
    let page = plain(PAGE);
    let text = String::new;
    for failure in [
        Failure::Failed(text()),
        Failure::Usage(text()),
        Failure::NoGateway(text()),
        Failure::NoAnswer(text()),
        Failure::Config(text()),
    ] {
        // A new failure does not compile here, so the list above gets it too.
        match failure {
            Failure::Failed(_)
            | Failure::Usage(_)
            | Failure::NoGateway(_)
            | Failure::NoAnswer(_)
            | Failure::Config(_) => {}
        }
        let code = failure.code();
        assert!(page.contains(&format!("\n.B {code}\n")), "{PAGE} does not name exit code {code}");
        let help = crate::commands::help(None);
        let line = help.lines().find(|line| line.starts_with("Exit codes:")).unwrap();
        assert!(has_word(line, &code.to_string()), "the help does not name exit code {code}");
    }
}

#[test]
fn the_pages_name_every_environment_variable() {
    let text = plain("man/pulsegate.toml.5");
    let missing: Vec<_> = config::environment().filter(|name| !has_word(&text, name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // The variables of other programs, such as systemd's.
    for source in [include_str!("systemd.rs"), include_str!("control_socket.rs"), include_str!("client.rs")] {
        let names = source.split("env::var").skip(1).filter_map(|rest| rest.split('"').nth(1));
        must_have(PAGE, "variables", names.filter(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')));
    }
}

const PAGE: &str = "man/pulsegate.1";
const CONTROL_PAGE: &str = "man/pulsegate-control.7";
#[cfg(feature = "mqtt")]
const UPLINK_PAGE: &str = "man/pulsegate-mqtt.1";
