//! Topics and the templates that they are made of.

use std::fmt::Write;

/// The longest topic, in bytes (MQTT 5 §1.5.4).
const TOPIC_BYTES_MAX: usize = 65_535;

/// The name of a topic: neither empty nor too long, without wildcards and NUL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Topic(String);

impl Topic {
    /// The topic of that name, if a message may have it.
    pub(super) fn new(name: impl Into<String>) -> Option<Self> {
        let name = name.into();
        let is_valid = !name.is_empty() && name.len() <= TOPIC_BYTES_MAX && !name.contains(['+', '#', '\0']);
        is_valid.then_some(Self(name))
    }

    /// As [`Self::new`], for a borrowed name.
    pub(super) fn new_ref(name: &str) -> Option<Self> {
        Self::new(name)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A placeholder of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Device,
    Type,
    Operation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Place),
}

/// A topic with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

/// The fixed values of a configuration's templates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fixed<'a> {
    /// The name of the gateway, as one level of a topic.
    pub(crate) gateway: &'a str,
    /// `mqtt.prefix` with the gateway's name in its place.
    pub(crate) prefix: &'a str,
}

impl Template {
    /// Reads a template. The error says what is wrong with it.
    pub(crate) fn parse(text: &str, fixed: Fixed<'_>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let end = rest.find('}').filter(|end| *end > start).ok_or("expected } behind {")?;
            push_text(&mut parts, &rest[..start]);
            match &rest[start + 1..end] {
                "gateway" => push_text(&mut parts, fixed.gateway),
                "prefix" => push_text(&mut parts, fixed.prefix),
                "device" => parts.push(Part::Place(Place::Device)),
                "type" => parts.push(Part::Place(Place::Type)),
                "op" => parts.push(Part::Place(Place::Operation)),
                _ => return Err("expected {prefix}, {gateway}, {device} or {type} in braces".into()),
            }
            rest = &rest[end + 1..];
        }
        push_text(&mut parts, rest);
        let template = Self(parts);
        match Topic::new(template.fill("d", "t", "o")) {
            Some(_) => Ok(template),
            None => Err("expected a topic without + # and NUL".into()),
        }
    }

    /// The topic of a device.
    pub(super) fn device(&self, device: &str) -> Option<Topic> {
        self.message(device, "")
    }

    /// The topic of a device's message of that type.
    pub(super) fn message(&self, device: &str, kind: &str) -> Option<Topic> {
        Topic::new(self.fill(device, kind, ""))
    }

    /// The topic of an operation.
    pub(super) fn operation(&self, operation: &str) -> Option<Topic> {
        Topic::new(self.fill("", "", operation))
    }

    fn fill(&self, device: &str, kind: &str, operation: &str) -> String {
        let mut topic = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => topic.push_str(text),
                Part::Place(Place::Device) => push_level(&mut topic, device),
                Part::Place(Place::Type) => push_level(&mut topic, kind),
                Part::Place(Place::Operation) => push_level(&mut topic, operation),
            }
        }
        topic
    }

    /// Whether exactly one level is a placeholder: then the template can be subscribed to, and each topic names one
    /// device or operation.
    pub(crate) fn is_subscribable(&self) -> bool {
        let places: Vec<_> = self.0.iter().enumerate().filter(|(_, part)| matches!(part, Part::Place(_))).collect();
        let [(at, _)] = places[..] else { return false };
        let before = at.checked_sub(1).is_none_or(|at| matches!(&self.0[at], Part::Text(text) if text.ends_with('/')));
        let behind = self.0.get(at + 1).is_none_or(|part| matches!(part, Part::Text(text) if text.starts_with('/')));
        before && behind
    }

    /// The topic filter with a wildcard for the placeholder.
    pub(super) fn filter(&self) -> String {
        let mut filter = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filter.push_str(text),
                Part::Place(_) => filter.push('+'),
            }
        }
        filter
    }

    /// The level in the place of the placeholder, if the template fits the topic.
    pub(super) fn level<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let text = |part: Option<&'_ Part>| match part {
            Some(Part::Text(text)) => text.clone(),
            _ => String::new(),
        };
        let at = self.0.iter().position(|part| matches!(part, Part::Place(_)))?;
        let before = text(at.checked_sub(1).and_then(|at| self.0.get(at)));
        let level = topic.strip_prefix(before.as_str())?.strip_suffix(text(self.0.get(at + 1)).as_str())?;
        (!level.contains('/')).then_some(level)
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Text(last)) => last.push_str(text),
        _ if text.is_empty() => {}
        _ => parts.push(Part::Text(text.into())),
    }
}

/// A text as one level of a topic: characters with a meaning in topics become `_`, and an empty text, too.
pub(crate) fn level(text: &str) -> String {
    let mut topic = String::new();
    push_level(&mut topic, text);
    topic
}

fn push_level(topic: &mut String, text: &str) {
    let escaped = text.chars().map(|char| if matches!(char, '+' | '#' | '/' | '$' | '\0') { '_' } else { char });
    topic.extend(escaped);
    if text.is_empty() {
        let _ = topic.write_char('_');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: Fixed<'_> = Fixed { gateway: "attic", prefix: "pulsegate/attic" };

    fn template(text: &str) -> Template {
        Template::parse(text, FIXED).unwrap()
    }

    #[test]
    fn placeholders_take_a_level_each() {
        let check = |text: &str, device: &str, kind: &str, expected: &str| {
            let topic = template(text).message(device, kind).unwrap();
            assert_eq!(topic.as_str(), expected, "{text} {device} {kind}");
        };
        let usual = "{prefix}/device/{device}/{type}";
        check(usual, "pump-7", "Status", "pulsegate/attic/device/pump-7/Status");
        check(usual, "192.0.2.7", "a/b+c#d$e\0f", "pulsegate/attic/device/192.0.2.7/a_b_c_d_e_f");
        check(usual, "", "", "pulsegate/attic/device/_/_");
        check(usual, "2001:db8::7", "Täst", "pulsegate/attic/device/2001:db8::7/Täst");
        check("x-{gateway}-{device}.{type}", "{type}", "t", "x-attic-{type}.t");
        check("v1/gateway/telemetry", "pump-7", "Status", "v1/gateway/telemetry");
    }

    #[test]
    fn a_template_that_is_no_topic_is_an_error() {
        for text in ["", "a/#", "a/+/b", "a\0b", "{devices}/a", "{device", "}{", "a{}b"] {
            assert!(Template::parse(text, FIXED).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_filter_finds_the_topics_of_its_template() {
        let command = template("{prefix}/device/{device}/set");
        assert!(command.is_subscribable());
        assert_eq!(command.filter(), "pulsegate/attic/device/+/set");
        assert_eq!(command.level("pulsegate/attic/device/pump-7/set"), Some("pump-7"));
        for topic in ["pulsegate/attic/device/a/b/set", "pulsegate/attic/device/a", "pulsegate/other/device/a/set", ""]
        {
            assert_eq!(command.level(topic), None, "{topic}");
        }
        assert_eq!(template("{device}").level("a"), Some("a"));
        for text in ["a/b", "{device}/{type}", "a/{device}-set", "a-{device}/set"] {
            assert!(!template(text).is_subscribable(), "{text}");
        }
    }
}
