//! The problems of a gateway, in words, with the setting or the manual section that helps.

use serde_json::{Value, json};

use super::history::History;

/// The statistics and the last hour, for the rules.
struct Figures<'a> {
    stats: &'a Value,
    history: &'a History,
}

impl Figures<'_> {
    fn number(&self, pointer: &str) -> f64 {
        self.stats.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0)
    }
}

/// One thing that can be wrong.
struct Rule {
    /// Whether messages or devices are lost for it.
    is_error: bool,
    /// The sentence, if it is wrong.
    check: fn(&Figures<'_>) -> Option<String>,
    help: &'static str,
}

/// A number of things, with the word for one of them.
fn count(number: f64, one: &str) -> String {
    format!("{number:.0} {one}{}", if number == 1.0 { "" } else { "s" })
}

/// A sentence if a counter has grown within the hour.
fn grown(from: &Figures<'_>, series: &str, one: &str, rest: &str) -> Option<String> {
    let number = from.history.sum(series);
    let were = if number == 1.0 { "was" } else { "were" };
    (number > 0.0).then(|| format!("{} {were} {rest} in the last hour.", count(number, one)))
}

/// The rules, the gravest first.
const RULES: &[Rule] = &[
    Rule {
        is_error: true,
        check: |from| grown(from, "missed", "event", "missed"),
        help: "A consumer is too slow: events.buffer_bytes_max in pulsegate.toml(5).",
    },
    Rule {
        is_error: true,
        check: |from| {
            let closed = from.stats.pointer("/stdout/state").and_then(Value::as_str) == Some("closed");
            closed.then(|| "The reader of standard output has ended, and its events are missed.".to_owned())
        },
        help: "Restart the pipeline, or set events.output in pulsegate.toml(5).",
    },
    Rule {
        is_error: true,
        check: |from| {
            let (now, most) = (from.number("/process/descriptors"), from.number("/process/descriptors_max"));
            (most > 0.0 && now > most * 0.9).then(|| format!("{now:.0} of {most:.0} file descriptors are in use."))
        },
        help: "LimitNOFILE in the service's unit, or ulimit -n.",
    },
    Rule {
        is_error: true,
        check: |from| {
            let closed = from.number("/connections/closed/memory");
            (closed > 0.0).then(|| format!("{} closed for want of memory.", count(closed, "connection")))
        },
        help: "limits.memory_budget in pulsegate.toml(5).",
    },
    Rule {
        is_error: false,
        check: |from| {
            let waiting = from.number("/memory/devices_waiting");
            (waiting > 0.0).then(|| format!("{} paused until memory is free.", count(waiting, "device")))
        },
        help: "limits.memory_budget in pulsegate.toml(5).",
    },
    Rule {
        is_error: false,
        check: |from| {
            let micros = from.number("/longest_turn_us");
            let long = micros > 500_000.0;
            long.then(|| format!("The event loop served no device for {:.1} s in the last minute.", micros / 1e6))
        },
        help: "The machine is too busy: longest_turn_us in pulsegate-control(7).",
    },
    Rule {
        is_error: false,
        check: |from| grown(from, "refused", "connection", "refused"),
        help: "See the reasons below: limits.connections_max and [access] in pulsegate.toml(5).",
    },
    Rule {
        is_error: false,
        check: |from| grown(from, "rejected", "object", "rejected"),
        help: "See the reasons below, and the rejected bytes in the view of the device.",
    },
];

/// The problems of this moment and of the last hour.
pub(super) fn problems(stats: &Value, history: &History) -> Vec<Value> {
    let from = Figures { stats, history };
    let found = RULES.iter().filter_map(|rule| Some((rule, (rule.check)(&from)?)));
    found
        .map(|(rule, text)| {
            let level = if rule.is_error { "error" } else { "warning" };
            json!({ "level": level, "text": text, "help": rule.help })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_gateway_has_no_problem() {
        let stats = json!({ "process": { "descriptors": 12, "descriptors_max": 1024 }, "longest_turn_us": 900 });
        assert_eq!(problems(&stats, &History::default()), Vec::<Value>::new());
    }

    #[test]
    fn trouble_is_said_in_words_with_help() {
        let mut history = History::default();
        history.record(Some(json!({ "events_missed": 0, "rejected": { "no_type": { "count": 1 } } })));
        history.record(Some(json!({ "events_missed": 12, "rejected": { "no_type": { "count": 2 } } })));
        let stats =
            json!({ "process": { "descriptors": 1000, "descriptors_max": 1024 }, "stdout": { "state": "closed" } });
        let found = problems(&stats, &history);
        let texts: Vec<&str> = found.iter().filter_map(|problem| problem["text"].as_str()).collect();
        assert_eq!(texts[0], "12 events were missed in the last hour.");
        assert!(texts[1].contains("standard output"), "{texts:?}");
        assert_eq!(texts[2], "1000 of 1024 file descriptors are in use.");
        assert_eq!(texts[3], "1 object was rejected in the last hour.");
        assert_eq!((found[0]["level"].as_str(), found[3]["level"].as_str()), (Some("error"), Some("warning")));
    }
}
