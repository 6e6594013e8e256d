//! The statistics in the Prometheus text format 0.0.4, from the same table as the JSON and the manual.

use std::fmt::Write;

use serde_json::Value;

use crate::stats::{FIGURES, Figure, Metric};

/// Converts the answer to `stats`. A gateway of another version may lack some statistics.
pub(crate) fn text(stats: &Value) -> String {
    let mut page = Page(String::new());
    for figure in FIGURES {
        let (group, name) = figure.path.rsplit_once('.').unwrap_or(("", figure.path));
        let group = group.split('.').filter(|name| !name.is_empty()).fold(stats, |place, name| &place[name]);
        // Without a value, such as an unreadable file of /proc, there is no sample.
        if !group[name].is_null() {
            page.figure(figure, &group[name], group);
        }
    }
    page.0
}

struct Page(String);

impl Page {
    fn figure(&mut self, figure: &Figure, value: &Value, group: &Value) {
        let number = |value: &Value| in_base_unit(figure.path, value);
        match figure.metric {
            Metric::Counter(name) => {
                self.head(name, "counter", figure.about);
                self.sample(name, "", &number(value));
            }
            Metric::Gauge(name) => {
                self.head(name, "gauge", figure.about);
                self.sample(name, "", &number(value));
            }
            Metric::CounterBy(name, label) => {
                self.head(name, "counter", figure.about);
                for (word, count) in value.as_object().into_iter().flatten() {
                    self.sample(name, &format!("{{{label}=\"{word}\"}}"), &number(count));
                }
            }
            Metric::CountAndBytesBy(names, label) => {
                for (name, member) in names.into_iter().zip(["count", "bytes"]) {
                    self.head(name, "counter", figure.about);
                    for (word, counts) in value.as_object().into_iter().flatten() {
                        self.sample(name, &format!("{{{label}=\"{word}\"}}"), &number(&counts[member]));
                    }
                }
            }
            Metric::Info(name, label) => {
                self.head(name, "gauge", figure.about);
                self.sample(name, &format!("{{{label}={value}}}"), "1");
            }
            Metric::Histogram(name) => {
                self.head(name, "histogram", figure.about);
                let pairs = value.as_array().into_iter().flatten();
                for [bound, below] in pairs.map(|pair| [&pair[0], &pair[1]]) {
                    let bound = if bound.is_null() { "+Inf".into() } else { number(bound) };
                    self.sample(&format!("{name}_bucket"), &format!("{{le=\"{bound}\"}}"), &below.to_string());
                }
                self.sample(&format!("{name}_sum"), "", &number(&group["sum"]));
                let all = value.as_array().and_then(|pairs| pairs.last()).map(|pair| &pair[1]);
                self.sample(&format!("{name}_count"), "", &all.map(ToString::to_string).unwrap_or_default());
            }
            Metric::Part => {}
        }
    }

    fn head(&mut self, name: &str, kind: &str, about: &str) {
        // Writing to memory does not fail.
        let _ = writeln!(self.0, "# HELP pulsegate_{name} {about}\n# TYPE pulsegate_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: &str) {
        let _ = writeln!(self.0, "pulsegate_{name}{labels} {value}");
    }
}

/// Converts microseconds to seconds, if the path ends in that unit.
fn in_base_unit(path: &str, value: &Value) -> String {
    match value.as_u64() {
        Some(micros) if path.contains("_us") => {
            let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statistics_are_metrics_in_base_units() {
        let text = text(&json!({
            "version": "1.2.3",
            "longest_turn_us": 1_500,
            "connections": { "closed": { "silent": 3 } },
            "messages": { "Status": { "count": 2, "bytes": 80 } },
            "beats": { "round_trip_us": { "p50": 9, "sum": 2_000_001, "buckets": [[128, 1], [256, 2], [null, 2]] } },
            "process": { "resident_bytes": null },
        }));
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "pulsegate_build_info{version=\"1.2.3\"} 1",
            "pulsegate_longest_turn_seconds 0.0015",
            "pulsegate_connections_closed_total{reason=\"silent\"} 3",
            "pulsegate_messages_total{kind=\"Status\"} 2",
            "pulsegate_message_bytes_total{kind=\"Status\"} 80",
            "pulsegate_beat_round_trip_seconds_bucket{le=\"0.000128\"} 1",
            "pulsegate_beat_round_trip_seconds_bucket{le=\"0.000256\"} 2",
            "pulsegate_beat_round_trip_seconds_bucket{le=\"+Inf\"} 2",
            "pulsegate_beat_round_trip_seconds_sum 2.000001",
            "pulsegate_beat_round_trip_seconds_count 2",
        ];
        assert_eq!(samples, expected);
        let heads = text.lines().filter(|line| line.starts_with("# TYPE pulsegate_connections_closed_total counter"));
        assert_eq!(heads.count(), 1);
    }
}
