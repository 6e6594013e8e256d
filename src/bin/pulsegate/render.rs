//! Output for people: aligned tables and short lines, with long strings cut and control characters escaped.

use std::fmt::Write;

use pulsegate::ByteSize;
use serde_json::Value;

use crate::terminal::visible;

/// A table whose columns are as wide as their widest cell.
pub(crate) struct Table {
    head: Vec<&'static str>,
    /// What its last line counts.
    noun: &'static str,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates the table of `pulsegate devices`.
    pub(crate) fn devices() -> Self {
        let head = vec!["ID", "NAME", "ADDRESS", "CONNECTED", "LAST SEEN", "CREDIT", "OBJECTS", "BYTES", "LAST TYPE"];
        Self { head, noun: "device", rows: Vec::new() }
    }

    /// The second table of `pulsegate devices --all`.
    pub(crate) fn missing() -> Self {
        Self { head: vec!["NAME", "GONE FOR", "REASON"], noun: "missing device", rows: Vec::new() }
    }

    /// Adds a missing device as the control socket describes it.
    pub(crate) fn gone(&mut self, gone: &Value) {
        let text = |name: &str| gone[name].as_str().unwrap_or("?").to_owned();
        self.rows.push(vec![text("name"), age(&gone["gone_s"]), text("reason")]);
    }

    /// Adds a device as the control socket describes it.
    pub(crate) fn device(&mut self, device: &Value) {
        let ip = device["ip"].as_str().unwrap_or("?");
        let address =
            if ip.contains(':') { format!("[{ip}]:{}", device["port"]) } else { format!("{ip}:{}", device["port"]) };
        self.rows.push(vec![
            format!("#{}", device["conn"]),
            device["name"].as_str().unwrap_or("-").to_owned(),
            address,
            age(&device["connected_s"]),
            age(&device["seen_s"]),
            device["credit"].to_string(),
            device["objects"].to_string(),
            bytes(&device["bytes"]),
            device["last_type"].as_str().unwrap_or("-").to_owned(),
        ]);
    }

    /// Returns the table as text, with the number of rows below it.
    pub(crate) fn print(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.head[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = String::new();
        let head: Vec<String> = self.head.iter().map(ToString::to_string).collect();
        for row in [&head].into_iter().chain(&self.rows) {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            let _ = writeln!(text, "{}", cells.join("  ").trim_end());
        }
        let _ = writeln!(text, "{}", number_of(Some(self.rows.len() as u64), self.noun));
        text
    }
}

/// Returns a short line for an event. `sent` is the object of a message, as the device sent it.
pub(crate) fn event(event: &Value, sent: &str) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or("");
    // With the Z of UTC (RFC 3339 section 2).
    let time = text("time").get(11..).unwrap_or("");
    let device = match (event.get("conn"), event.get("ip")) {
        (Some(conn), _) => format!("#{conn} {}:{}", text("ip"), event["port"]),
        (None, Some(_)) => format!("{}:{}", text("ip"), event["port"]),
        (None, None) => String::new(),
    };
    let device = match text("name") {
        "" => device,
        name => format!("@{name} {device}").trim_end().to_owned(),
    };
    let line = match text("event") {
        "message" => format!("{time} {device} {} {}", cut(text("type"), STRING_CHARS), shorten(sent)),
        "missed" => format!("{time} {} missed", number_of(event["events"].as_u64(), "event")),
        "listening" => format!("{time} listening on {} {}", text("tcp"), text("udp")),
        other => {
            let mut line = format!("{time} {device} {other}");
            if let Some(reason) = event["reason"].as_str() {
                let _ = write!(line, " {reason}");
            }
            for (name, value) in event.as_object().into_iter().flatten() {
                if !matches!(name.as_str(), "event" | "time" | "seq" | "conn" | "ip" | "port" | "reason" | "name") {
                    let _ = write!(line, " {name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                }
            }
            line
        }
    };
    visible(&line).into_owned() + "\n"
}

/// Returns an object without control characters. It has the same meaning as JSON.
pub(crate) fn object(sent: &str) -> String {
    // JSON has tabs only outside strings (RFC 8259 §7), where any whitespace has the same meaning.
    visible(&sent.replace('\t', " ")).into_owned()
}

/// Returns an object with long strings cut, cut to [`LINE_CHARS`] as a whole.
fn shorten(object: &str) -> String {
    let mut text = String::new();
    // Text between two quotes is a string. An escaped quote does not end it.
    let (mut string, mut escaped) = (String::new(), false);
    let mut quoted = false;
    for char in object.chars() {
        if !quoted {
            text.push(if char == '\t' { ' ' } else { char });
        } else if char == '"' && !escaped {
            match string.char_indices().nth(STRING_CHARS) {
                Some((at, _)) => text.push_str(&format!("{}... ({})", &string[..at], ByteSize(string.len() as u64))),
                None => text.push_str(&string),
            }
            string.clear();
            text.push('"');
        } else {
            string.push(char);
        }
        let quote = !escaped && char == '"';
        escaped = quoted && char == '\\' && !escaped;
        quoted ^= quote;
    }
    cut(&text, LINE_CHARS)
}

fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.into(),
    }
}

const LINE_CHARS: usize = 200;
const STRING_CHARS: usize = 40;

/// Returns the statistics, one paragraph a group. Counters by reason are left out if they are 0.
pub(crate) fn stats(stats: &Value) -> String {
    let mut text = String::new();
    for (group, value) in stats.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) => {
                let mut shown = String::new();
                lines(&mut shown, group, "", value);
                if !shown.is_empty() {
                    let _ = writeln!(text, "{group}\n{}", shown.trim_end());
                }
            }
            _ => {
                let (name, figure) = figure("", group, value);
                let _ = writeln!(text, "{name} {figure}");
            }
        }
    }
    text
}

/// Appends the statistics of a group. `path` leads from the group to `value`.
fn lines(text: &mut String, group: &str, path: &str, value: &Value) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        match value {
            Value::Object(_) => lines(text, group, &path, value),
            Value::Number(number) if number.as_u64() == Some(0) && path.contains(' ') => {}
            // Buckets are for programs.
            Value::Array(_) => {}
            _ => {
                let (name, figure) = figure(group, &path, value);
                let _ = writeln!(text, "  {name:<34} {figure}");
            }
        }
    }
}

/// Returns the name and the value of a statistic, with its unit. The unit of a time moves from the name to the value.
fn figure(group: &str, path: &str, value: &Value) -> (String, String) {
    if value.is_null() {
        (path.replace("_us", ""), "-".into())
    } else if let Some(name) = path.strip_suffix("_s") {
        (name.into(), age(value))
    } else if path.contains("_us") {
        (path.replace("_us", ""), milliseconds(value.as_u64().unwrap_or(0)))
    } else if group == "bytes" || path.contains("bytes") {
        (path.into(), bytes(value))
    } else {
        (path.into(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }
}

/// Returns the sentence for a reload.
pub(crate) fn reloaded(changed: &Value) -> String {
    let names: Vec<&str> = changed.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { "no key has changed\n".into() } else { format!("changed: {}\n", names.join(", ")) }
}

/// `1 device`, `2 devices`.
pub(crate) fn number_of(number: Option<u64>, thing: &str) -> String {
    let number = number.unwrap_or(0);
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

fn bytes(number: &Value) -> String {
    ByteSize(number.as_u64().unwrap_or(0)).to_string()
}

/// Formats with integers, because the code for floating-point numbers takes 10 KB.
fn milliseconds(micros: u64) -> String {
    format!("{}.{:03} ms", micros / 1_000, micros % 1_000)
}

fn age(seconds: &Value) -> String {
    let tenths = (seconds.as_f64().unwrap_or(0.0) * 10.0 + 0.5) as u64;
    if tenths < 100 {
        return format!("{}.{}s", tenths / 10, tenths % 10);
    }
    let whole = std::time::Duration::from_secs(tenths / 10);
    humantime::format_duration(whole).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statistics_have_their_units() {
        let figures = json!({
            "uptime_s": 3_600,
            "bytes": { "received": 570_037_981, "padding": 0 },
            "beats": { "sent": 0, "round_trip_us": { "p50": 1_250, "max": null } },
            "memory": { "used_bytes": 20_480 },
            "rejected": { "no_type": { "count": 0 } },
        });
        let text = stats(&figures);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let expected: [&[&str]; 10] = [
            &["beats"],
            &["round_trip", "max", "-"],
            &["round_trip", "p50", "1.250", "ms"],
            &["sent", "0"],
            &["bytes"],
            &["padding", "0", "B"],
            &["received", "543", "MiB"],
            &["memory"],
            &["used_bytes", "20.0", "KiB"],
            &["uptime", "1h"],
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn a_device_cannot_control_the_terminal() {
        let name = "\x1b]0;owned\x07\n05:00:00.000 #9 gone\u{9b}2J\x7f";
        let sent = "{\t\"Type\":\"\u{9b}2J\"}";
        let message = json!({ "event": "message", "conn": 7, "ip": "192.0.2.7", "port": 1, "type": name });
        let shown = event(&message, sent);
        let expected = r#"\u001b]0;owned\u0007\u000a05:00:00.000 #9 gone\u009b2J\u007f"#;
        assert_eq!(shown, format!(" #7 192.0.2.7:1 {expected} {{ \"Type\":\"\\u009b2J\"}}\n"));
        let long = json!({ "event": "message", "conn": 7, "ip": "192.0.2.7", "port": 1, "type": "T".repeat(5000) });
        assert!(event(&long, "{}").len() < 80);
        let rejected = json!({ "event": "rejected", "conn": 7, "ip": "192.0.2.7", "port": 1, "detail": "\n" });
        assert_eq!(event(&rejected, ""), " #7 192.0.2.7:1 rejected detail=\\u000a\n");
        // Programs parse the output of `send --wait`.
        let object = object(sent);
        assert!(!object.contains(char::is_control));
        let [given, shown] = [sent, &object].map(|text| serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(given, shown);
    }

    #[test]
    fn only_long_strings_of_an_object_are_cut() {
        let sent = r#"{"Type":"S","Z":1e2,"A":1.10,"A":"\"}\\","B":{"c":[]}}"#;
        assert_eq!(shorten(sent), sent);
        let long = format!(r#"{{"P":"{}","Q":"é"}}"#, "x".repeat(20_000));
        assert_eq!(shorten(&long), format!(r#"{{"P":"{}... (19.5 KiB)","Q":"é"}}"#, "x".repeat(40)));
    }
}
