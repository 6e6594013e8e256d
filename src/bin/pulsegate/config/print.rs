//! The configuration as text: every value with its origin, and the shipped file.

use std::fmt::Write as _;

use serde_json::{Value, json};
use toml::de::{DeTable, DeValue};

use super::Config;
use super::error::clean;
use super::format::quote;
use super::keys::{KEYS, Key, sections};
use super::load::FILE;

impl Config {
    /// Returns the path of the configuration file, or a sentence where there is none.
    pub(crate) fn source(&self) -> String {
        let none = || format!("no configuration file ({FILE} does not exist)");
        self.file.as_deref().map_or_else(none, clean)
    }

    /// Returns every value as TOML, with its origin in a comment.
    pub(crate) fn print(&self) -> String {
        let values = KEYS.iter().map(|key| (key.name, (key.show)(self), self.origin(key.name).to_string()));
        print_values(self.file.as_deref().map(clean).as_deref(), values)
    }

    /// Returns every value with its origin as JSON. `inherited` has the keys that inherited sockets override, with
    /// the addresses of those sockets.
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

    /// Returns the text of the shipped `pulsegate.toml`: every key with its description and its default.
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
                let (section, about) = sections().find(|(known, _)| Some(*known) == section).unwrap_or(("", ""));
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

/// Returns a report of [`Config::report`] as TOML, with the origins in comments.
pub(crate) fn print_report(report: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let values: Vec<_> = report["values"].as_array().into_iter().flatten().collect();
    let values = values.iter().map(|value| (value["name"].as_str().unwrap_or_default(), value));
    print_values(
        report["file"].as_str(),
        values.map(|(name, value)| (name, toml_of(&value["value"]), text(&value["from"]))),
    )
}

/// Prints keys as `(name, value in TOML, origin)`, in the order of [`KEYS`].
fn print_values<'a>(file: Option<&str>, values: impl Iterator<Item = (&'a str, String, String)>) -> String {
    let lines: Vec<_> = values
        .map(|(name, value, origin)| {
            let (section, name) = name.rsplit_once('.').unwrap_or(("", name));
            (section, format!("{name} = {value}"), origin)
        })
        .collect();
    // A longer line keeps its length, so that it does not move the origins of all other lines.
    let width = lines.iter().map(|(_, line, _)| line.chars().count()).filter(|&width| width <= 48).max().unwrap_or(0);
    let file = file.map_or("no configuration file".into(), |file| format!("configuration file {file}"));
    let mut text = format!("# pulsegate {}, {file}\n", env!("CARGO_PKG_VERSION"));
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

/// Converts a value from TOML to JSON.
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
        DeValue::Boolean(yes) => json!(yes),
        // No key has a value of these types.
        DeValue::Float(_) | DeValue::Datetime(_) => Value::Null,
    }
}

/// Converts a value from JSON to TOML.
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
    "The configuration of pulsegate. Every value in this file is the default, so a key may be left out.",
    "",
    "Environment variables override this file: PULSEGATE_HEARTBEAT_INTERVAL sets interval in [heartbeat]. In a variable, \
     commas separate the entries of a list. Command-line options override both. `pulsegate --print-config` prints every \
     value with its origin.",
    "",
    "Durations have a unit, such as \"500ms\", \"2s\" or \"1m 30s\". Sizes may have one: \"256KiB\" is 262144 bytes, and \
     \"1MiB\" is 1048576 bytes. In a text, \"\\n\" is a line end, and \"\\u0000\" is a NUL.",
];

/// Appends `words` as a comment with lines of at most 98 characters.
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
