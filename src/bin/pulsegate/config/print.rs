//! The configuration as text: every value with its origin, and the shipped file.

use std::fmt::Write as _;

use serde_json::{Value, json};
use toml::de::{DeTable, DeValue};

use super::Config;
use super::error::clean;
use super::format::quote;
use super::keys::{KEYS, Key, SECTIONS};
use super::load::FILE;

impl Config {
    /// The file that the program has read, in words.
    pub(crate) fn source(&self) -> String {
        let none = || format!("no configuration file ({FILE} does not exist)");
        self.file.as_deref().map_or_else(none, clean)
    }

    /// Every value and its origin, as TOML that means the same.
    pub(crate) fn print(&self) -> String {
        let values = KEYS.iter().map(|key| (key.name, (key.show)(self), self.origin(key.name).to_string()));
        print_values(self.file.as_deref().map(clean).as_deref(), values)
    }

    /// Every value and its origin as JSON. `inherited` has the addresses that sockets of the service manager have
    /// instead of the configured ones.
    pub(crate) fn report(&self, inherited: &[(&str, Vec<String>)]) -> Value {
        let value = |key: &Key| match inherited.iter().find(|(name, _)| *name == key.name) {
            Some((name, addresses)) => json!({ "name": name, "value": addresses, "from": "service manager" }),
            None => json!({
                "name": key.name,
                "value": json_of(&(key.show)(self)),
                "from": self.origin(key.name).to_string(),
            }),
        };
        let values: Vec<_> = KEYS.iter().map(value).collect();
        json!({ "file": self.file.as_deref().map(clean), "values": values })
    }

    /// The text of the `pulsegate.toml` that is shipped: every key, what it does, and its default.
    pub(crate) fn defaults_file() -> String {
        let defaults = Self::default();
        let mut text = String::new();
        for paragraph in PREFACE {
            comment(&mut text, paragraph);
            text.push_str(if paragraph.is_empty() { "#\n" } else { "" });
        }
        let mut section = None;
        for key in KEYS {
            text.push('\n');
            let (key_section, name) = key.parts();
            if key_section != section {
                section = key_section;
                let (section, about) = SECTIONS.iter().find(|(known, _)| Some(*known) == section).unwrap_or(&("", ""));
                comment(&mut text, about);
                let _ = writeln!(text, "[{section}]\n");
            }
            let bound = key.bound().map(|bound| format!(" It must {bound}."));
            comment(&mut text, &format!("{}{}", key.doc, bound.unwrap_or_default()));
            let _ = writeln!(text, "{name} = {}", (key.show)(&defaults));
        }
        text
    }
}

/// What [`Config::report`] has made, as TOML with the origins behind the values.
pub(crate) fn print_report(report: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let values: Vec<_> = report["values"].as_array().into_iter().flatten().collect();
    let values = values.iter().map(|value| (value["name"].as_str().unwrap_or_default(), value));
    print_values(
        report["file"].as_str(),
        values.map(|(name, value)| (name, toml_of(&value["value"]), text(&value["from"]))),
    )
}

/// Names of keys, their values in TOML and their origins, in the order of [`KEYS`].
fn print_values<'a>(file: Option<&str>, values: impl Iterator<Item = (&'a str, String, String)>) -> String {
    let lines: Vec<_> = values
        .map(|(name, value, origin)| {
            let (section, name) = name.rsplit_once('.').unwrap_or(("", name));
            (section, format!("{name} = {value}"), origin)
        })
        .collect();
    // Longer lines would push the origins of all others out of sight.
    let width = lines.iter().map(|(_, line, _)| line.chars().count()).filter(|&width| width <= 48).max().unwrap_or(0);
    let file = file.map_or("no file was read".into(), |file| format!("{file} was read"));
    let mut text = format!("# pulsegate {}: {file}.\n", env!("CARGO_PKG_VERSION"));
    let mut last = "";
    for (section, line, origin) in lines {
        if section != last {
            last = section;
            let _ = writeln!(text, "\n[{section}]");
        }
        let _ = writeln!(text, "{line:width$}  # from: {origin}");
    }
    text
}

/// A value in TOML as JSON.
fn json_of(toml: &str) -> Value {
    let line = format!("x = {toml}");
    let table = DeTable::parse(&line);
    table.ok().and_then(|table| Some(json_of_value(table.get_ref().get("x")?.get_ref()))).unwrap_or_default()
}

fn json_of_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Integer(number) => json!(number.as_str().parse::<u64>().ok()),
        DeValue::Array(entries) => entries.iter().map(|entry| json_of_value(entry.get_ref())).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(name, value)| (name.get_ref().to_string(), json_of_value(value.get_ref()))).collect()
        }
        // No key has such a value.
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => Value::Null,
    }
}

/// A value in JSON as TOML.
fn toml_of(json: &Value) -> String {
    match json {
        Value::String(text) => quote(text),
        Value::Array(entries) => format!("[{}]", entries.iter().map(toml_of).collect::<Vec<_>>().join(", ")),
        Value::Object(table) => {
            let entries: Vec<_> =
                table.iter().map(|(name, value)| format!("{} = {}", quote(name), toml_of(value))).collect();
            if entries.is_empty() { "{}".into() } else { format!("{{ {} }}", entries.join(", ")) }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => json.to_string(),
    }
}

const PREFACE: &[&str] = &[
    "The configuration of pulsegate. Every value in this file is the default: what is left out means the same.",
    "",
    "A value may also be given by the environment: interval in [heartbeat] by PULSEGATE_HEARTBEAT_INTERVAL, with lists \
     separated by commas. The environment comes before this file, and options of the command line before both. Which \
     value holds, and where it comes from, is told by: pulsegate --print-config",
    "",
    "Durations are written with their unit, such as \"500ms\", \"2s\" or \"1m 30s\". So are bytes: \"256KiB\" is 262144 of \
     them, \"1MiB\" 1048576. Texts are sent as they are; \"\\n\" is a line end, \"\\u0000\" a NUL.",
];

/// Writes `text` as a comment of short lines.
fn comment(text: &mut String, words: &str) {
    let mut width = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length <= 98 {
            text.push(' ');
            width += 1 + length;
        } else {
            text.push_str(if width == 0 { "# " } else { "\n# " });
            width = 2 + length;
        }
        text.push_str(word);
    }
    if width > 0 {
        text.push('\n');
    }
}
