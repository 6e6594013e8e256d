//! Takeovers of one name, as many as the environment asks for. Alone in this process, whose memory it measures.

use std::time::{Duration, Instant};

use pulsegate::unstable::Gateway;
use pulsegate::unstable::endpoint::{Endpoint, Output, Peer};
use pulsegate::{Context, Device, Handler, Identification, ListenerId, Message, Settings, StreamEnd};

const REPORT: &[u8] = br#"{"Type":"Status","Id":"pump-7"}"#;

/// Counts nothing and says nothing.
struct Deaf;

impl Handler for Deaf {
    fn on_message(&mut self, _: &Device, _: &Message<'_>, _: &mut Context<'_>) {}
}

/// `PULSEGATE_TAKEOVERS=100000 cargo test --release --test takeovers -- --nocapture` does it as often as that.
#[test]
#[expect(clippy::disallowed_methods, reason = "an Instant cannot be had otherwise")]
fn takeovers_leave_memory_and_connections_where_they_were() {
    let takeovers = std::env::var("PULSEGATE_TAKEOVERS").map_or(100_000, |text| text.parse().expect("a number"));
    let mut now = Instant::now();
    let mut settings = Settings::default();
    settings.identity.member = "Id".into();
    let mut gateway = Gateway::new(Deaf, settings, now, 1);
    let mut resident = 0;
    for number in 0..=takeovers {
        if number == 1_000 {
            resident = resident_kilobytes();
        }
        // At most ten of them a minute.
        now += Duration::from_secs(7);
        let peer = Peer::Tcp(([10, 0, 0, (number % 200) as u8], 1_000 + (number % 50_000) as u16).into());
        let id = gateway.handle_accept(ListenerId(1), peer, now).expect("room for a device");
        gateway.handle_data(id, REPORT, now);
        let mut closed = Vec::new();
        while let Some(output) = gateway.poll_output() {
            if let Output::Close { id, .. } = output {
                closed.push(id);
            }
        }
        closed.into_iter().for_each(|id| gateway.handle_close(id, StreamEnd::Closed, now));
        assert_eq!((gateway.connections(), gateway.parts(now).1.memory().0), (1, 6 + 48), "takeover {number}");
    }
    gateway.check_invariants();
    assert_eq!(gateway.parts(now).1.stats().names[&Identification::Takeover], takeovers);
    let grown = resident_kilobytes().saturating_sub(resident);
    println!("{takeovers} takeovers: {grown} kB more are resident");
    assert!(grown < 512, "{grown} kB more are resident after {takeovers} takeovers");
}

fn resident_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line with VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}
