//! The last hour, one value every ten seconds, for the plots of the page.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

/// The time from one sample to the next.
pub(super) const STEP: Duration = Duration::from_secs(10);
/// Samples of one hour.
const SAMPLES: usize = 360;
/// Bound on series. A gateway of another version may send other kinds of messages.
const SERIES_MAX: usize = 64;

/// Values of one figure, the newest last. `None` stands for a time without a gateway.
type Series = VecDeque<Option<f64>>;

/// Samples of the gauges of `stats`, and the growth of its counters.
#[derive(Debug, Default)]
pub(super) struct History {
    series: BTreeMap<String, Series>,
    samples: usize,
    previous: Option<Value>,
}

impl History {
    /// Takes a sample. `None` is a gateway that does not answer.
    pub(super) fn record(&mut self, stats: Option<Value>) {
        let values = stats.as_ref().map(|stats| self.values(stats)).unwrap_or_default();
        self.samples = (self.samples + 1).min(SAMPLES);
        for name in values.keys() {
            if self.series.len() < SERIES_MAX && !self.series.contains_key(name) {
                // Before its first sample a figure was unknown.
                self.series.insert(name.clone(), std::iter::repeat_n(None, self.samples - 1).collect());
            }
        }
        for (name, series) in &mut self.series {
            series.push_back(values.get(name).copied());
            while series.len() > SAMPLES {
                series.pop_front();
            }
        }
        self.previous = stats;
    }

    /// The growth of a counter since the last sample. A gateway that restarted counts from 0 again.
    fn growth(&self, pointer: &str, stats: &Value) -> Option<f64> {
        let now = total(stats.pointer(pointer)?);
        let before = self.previous.as_ref()?.pointer(pointer).map_or(0, total);
        Some(if now >= before { now - before } else { now } as f64)
    }

    fn values(&self, stats: &Value) -> BTreeMap<String, f64> {
        let mut values = BTreeMap::new();
        let mut put = |name: &str, value: Option<f64>| {
            if let Some(value) = value {
                values.insert(name.to_owned(), value);
            }
        };
        let number = |pointer: &str| stats.pointer(pointer).and_then(Value::as_f64);
        let per_second = |pointer: &str| self.growth(pointer, stats).map(|grown| round(grown / STEP.as_secs_f64()));
        put("devices", number("/connections/now"));
        put("bytes", per_second("/bytes/received"));
        put("memory_bytes", number("/memory/used_bytes"));
        put("longest_turn_us", number("/longest_turn_us"));
        put("rejected", self.growth("/rejected", stats));
        put("refused", self.growth("/connections/refused", stats));
        put("closed", self.growth("/connections/closed", stats));
        put("missed", self.growth("/events_missed", stats));
        for kind in stats.get("messages").and_then(Value::as_object).into_iter().flat_map(|kinds| kinds.keys()) {
            put(&format!("messages.{kind}"), per_second(&format!("/messages/{kind}/count")));
        }
        let buckets = self.buckets(stats);
        put("round_trip_p50_us", quantile(&buckets, 0.5));
        put("round_trip_p99_us", quantile(&buckets, 0.99));
        values
    }

    /// Round trips since the last sample: upper bounds in microseconds, and how many were within each.
    fn buckets(&self, stats: &Value) -> Vec<(f64, f64)> {
        const POINTER: &str = "/beats/round_trip_us/buckets";
        let pairs = |stats: &Value| -> Vec<(f64, f64)> {
            let pairs = stats.pointer(POINTER).and_then(Value::as_array).into_iter().flatten();
            pairs.map(|pair| (pair[0].as_f64().unwrap_or(f64::INFINITY), pair[1].as_f64().unwrap_or(0.0))).collect()
        };
        let now = pairs(stats);
        let before = self.previous.as_ref().map(pairs).unwrap_or_default();
        if before.len() != now.len() || before.last().map(|last| last.1) > now.last().map(|last| last.1) {
            return now;
        }
        now.iter().zip(before).map(|(now, before)| (now.0, now.1 - before.1)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// The sum of the last hour of a series.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.series.get(name).map_or(0.0, |series| series.iter().flatten().sum())
    }

    /// All series for the page. `end` is the time of the newest sample (RFC 3339).
    pub(super) fn json(&self, end: &str) -> Value {
        let mut series = json!({ "messages": {} });
        for (name, values) in &self.series {
            // A kind without messages for an hour needs no line.
            match name.strip_prefix("messages.") {
                Some(_) if values.iter().flatten().all(|value| *value == 0.0) => {}
                Some(kind) => series["messages"][kind] = hour(values),
                None => series[name] = hour(values),
            }
        }
        json!({ "step_s": STEP.as_secs(), "end": end, "series": series })
    }
}

/// A whole hour, also soon after the start.
fn hour(values: &Series) -> Value {
    let before = std::iter::repeat_n(&None, SAMPLES - values.len());
    before.chain(values).map(|value| json!(value)).collect()
}

/// A number, or the sum of all numbers of an object. Of `{"count":1,"bytes":2}` only the count is one.
fn total(value: &Value) -> u64 {
    match value {
        Value::Object(members) => match members.get("count") {
            Some(count) => total(count),
            None => members.values().map(total).sum(),
        },
        other => other.as_u64().unwrap_or(0),
    }
}

/// Three digits behind the point are more than a plot shows.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The upper bound of the bucket that holds the given part of all.
fn quantile(buckets: &[(f64, f64)], part: f64) -> Option<f64> {
    let all = buckets.last().map(|last| last.1).filter(|all| *all > 0.0)?;
    let bound = buckets.iter().find(|(_, within)| *within >= all * part).map(|(bound, _)| *bound);
    bound.filter(|bound| bound.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(received: u64, within: [u64; 3]) -> Value {
        json!({
            "connections": { "now": 3, "closed": { "silent": 1, "reset": 2 }, "refused": {} },
            "bytes": { "received": received }, "messages": { "Status": { "count": received / 10, "bytes": received } },
            "rejected": { "no_type": { "count": 2, "bytes": 9 } }, "events_missed": 0, "longest_turn_us": 90,
            "beats": { "round_trip_us": { "buckets": [[128, within[0]], [256, within[1]], [null, within[2]]] } },
        })
    }

    #[test]
    fn counters_become_growth_and_gaps_stay_gaps() {
        let mut history = History::default();
        history.record(Some(stats(100, [1, 1, 1])));
        history.record(None);
        history.record(Some(stats(100, [1, 1, 1])));
        history.record(Some(stats(350, [1, 11, 11])));
        history.record(Some(stats(50, [0, 0, 0])));
        let shown = history.json("now");
        let series = |pointer: &str| &shown["series"].pointer(pointer).unwrap().as_array().unwrap()[SAMPLES - 5..];
        assert_eq!(series("/devices"), [json!(3.0), Value::Null, json!(3.0), json!(3.0), json!(3.0)]);
        let bytes = [Value::Null, Value::Null, Value::Null, json!(25.0), json!(5.0)];
        assert_eq!(series("/bytes"), bytes, "a restart counts from 0");
        assert_eq!(series("/messages/Status")[3..], [json!(2.5), json!(0.5)]);
        assert_eq!(series("/round_trip_p50_us")[3], json!(256.0));
        assert_eq!(series("/rejected")[3], json!(0.0));
        assert_eq!(history.sum("closed"), 0.0);
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let mut history = History::default();
        (0..SAMPLES + 40).for_each(|sample| history.record(Some(stats(sample as u64, [0; 3]))));
        assert!(history.series.values().all(|series| series.len() <= SAMPLES));
        let many: serde_json::Map<_, _> = (0..1000).map(|kind| (kind.to_string(), json!({ "count": 1 }))).collect();
        history.record(Some(json!({ "messages": many })));
        history.record(Some(json!({ "messages": many })));
        assert!(history.series.len() <= SERIES_MAX);
    }
}
