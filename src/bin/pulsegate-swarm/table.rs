//! The report as a table for people.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use pulsegate::ByteSize;

use crate::costs::Costs;
use crate::human::{count, micros, rate};
use crate::report::{Quantiles, Report};

/// Displays a report as a table.
pub(crate) struct Table<'a>(pub(crate) &'a Report);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Report { run, connects, sent, beats, cuts, .. } = self.0;
        let ended = if run.interrupted { ", interrupted" } else { "" };
        writeln!(
            f,
            "{} devices on {}, profile {}, {:.1} s{ended}\n",
            count(run.devices.into()),
            run.gateway,
            run.profile,
            run.ran_s
        )?;

        row(f, "devices up at the end", &count(connects.up_at_end.into()))?;
        row(f, "connects", &format!("{}, {} of them repeated", count(connects.connected), count(connects.reconnects)))?;
        if !connects.failed.is_empty() {
            row(f, "failed dials", &causes(&connects.failed))?;
        }
        for error in &connects.errors {
            row(f, "error", error)?;
        }
        let kinds = sent.by_kind;
        let kinds = [
            ("project", kinds.project),
            ("performance", kinds.performance),
            ("status", kinds.status),
            ("picture", kinds.picture),
        ];
        let kinds = BTreeMap::from_iter(kinds.into_iter().filter(|(_, count)| *count > 0));
        row(f, "messages sent", &summed(sent.messages, &kinds))?;
        let seconds = run.ran_s.max(1e-3);
        let per_second = format!(
            "{} msg/s, {}/s",
            rate(sent.messages as f64 / seconds),
            ByteSize((sent.bytes as f64 / seconds) as u64)
        );
        row(f, "bytes sent", &format!("{} ({per_second})", ByteSize(sent.bytes)))?;
        for (name, number) in [
            ("reports skipped", sent.skipped),
            ("garbage sent", sent.garbage),
            ("heartbeats flooded", sent.spam_heartbeats),
        ] {
            if number > 0 {
                row(f, name, &count(number))?;
            }
        }
        row(f, "beats received", &format!("{}, answered {}", count(beats.received), count(beats.answered)))?;
        row(f, "healthy devices cut", &summed(cuts.healthy, &cuts.healthy_by_cause))?;
        for fault in &self.0.faults {
            let mut devices =
                format!("{} devices, cut {}", count(fault.devices as u64), summed(fault.cuts, &fault.by_cause));
            if fault.own_resets > 0 {
                devices.push_str(&format!(", own resets {}", count(fault.own_resets)));
            }
            row(f, &format!("faulty: {}", fault.fault), &devices)?;
        }
        if let Some(echo) = &self.0.echo {
            row(f, "echoes asked", &format!("{}, answered {}", count(echo.asked), count(echo.answered)))?;
        }

        writeln!(f, "\n  {:22}{:>10}{:>10}{:>10}{:>10}{:>10}", "", "p50", "p90", "p99", "p99.9", "max")?;
        quantiles(f, "time to connect", &connects.time_us)?;
        quantiles(f, "beat spacing error", &beats.spacing_error_us)?;
        if let Some(echo) = &self.0.echo {
            quantiles(f, "round trip", &echo.round_trip_us)?;
        }

        if let Some(gateway) = &self.0.gateway {
            costs(f, "gateway", gateway)?;
        }
        if let Some(swarm) = &self.0.swarm {
            costs(f, "swarm", swarm)?;
        }
        Ok(())
    }
}

fn row(f: &mut Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "  {name:22}  {value}")
}

/// A sum and its parts.
fn summed(sum: u64, parts: &BTreeMap<&'static str, u64>) -> String {
    match parts.len() {
        0 => count(sum),
        _ => format!("{} ({})", count(sum), causes(parts)),
    }
}

fn causes(causes: &BTreeMap<&'static str, u64>) -> String {
    let parts: Vec<String> = causes.iter().map(|(cause, number)| format!("{cause} {}", count(*number))).collect();
    parts.join(", ")
}

fn quantiles(f: &mut Formatter<'_>, name: &str, q: &Quantiles) -> fmt::Result {
    write!(f, "  {name:22}")?;
    for value in [q.p50, q.p90, q.p99, q.p999, q.max] {
        let text = value.map_or_else(|| "–".into(), micros);
        write!(f, "{text:>10}")?;
    }
    writeln!(f)
}

fn costs(f: &mut Formatter<'_>, name: &str, costs: &Costs) -> fmt::Result {
    writeln!(f, "\n  {name}, process {}", costs.pid)?;
    let pss = costs.pss_full_bytes.map_or(String::new(), |pss| format!(", PSS {}", ByteSize(pss)));
    let (before, full) = (ByteSize(costs.rss_before_bytes), ByteSize(costs.rss_full_bytes));
    row(f, "  memory", &format!("RSS {before} before, {full} with all devices{pss}"))?;
    if let Some(each) = costs.bytes_per_device {
        row(f, "  bytes per device", &format!("{each:.0} (added RSS, lower in a process that had devices before)"))?;
    }
    row(f, "  CPU time", &format!("{:.2} s", costs.cpu_seconds))?;
    if let Some(each) = costs.cpu_us_per_message {
        row(f, "  CPU per message", &format!("{each:.2} µs (all CPU time, divided by messages)"))?;
    }
    if let Some(each) = costs.cpu_us_per_beat {
        row(f, "  CPU per beat", &format!("{each:.2} µs (all CPU time, divided by beats)"))?;
    }
    Ok(())
}
