//! Any probes at any time. The gateway answers only allowed probes, to their sources, within the rates.
//!
//! Input: the rates, then records of a time step, a source, the address it came to, and a probe.

#![no_main]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pulsegate::unstable::Gateway;
use pulsegate::unstable::endpoint::{Endpoint, Output, PacketInfo};
use pulsegate::Suppressed;
use pulsegate::unstable::proto::discovery::REPLY;
use pulsegate::{Context, Counters, Device, Handler, ListenerId, Message, Settings};
use pulsegate_fuzz::{Bytes, beginning};

struct Nobody;

impl Handler for Nobody {
    fn on_message(&mut self, _: &Device, _: &Message<'_>, _: &mut Context<'_>) {}
}

const SOCKET: ListenerId = ListenerId(1);
const PORT: u16 = 5555;

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes(data);
    let mut settings = Settings::default();
    let discovery = &mut settings.discovery;
    if input.byte() % 2 == 1 {
        let numbers = [(); 4].map(|()| input.number() >> (input.byte() % 32));
        [discovery.rate, discovery.burst, discovery.source_rate, discovery.source_burst] = numbers;
    }
    let own = input.below(16);
    discovery.reply = if own == 0 { REPLY.to_vec() } else { input.take(own).to_vec() };
    if settings.check().is_err() {
        return;
    }
    let rules = settings.discovery.clone();
    let start = beginning();
    let mut gateway = Gateway::new(Nobody, settings, start, u64::from(input.number()));
    gateway.add_discovery(SOCKET, SocketAddr::from(([0, 0, 0, 0], PORT)));
    let mut passed = Duration::ZERO;
    let (mut probes, mut answered) = (0_u64, 0_u64);
    let mut answered_to = HashMap::<IpAddr, u64>::new();
    while !input.is_empty() {
        passed += match input.byte() {
            short @ 0..200 => Duration::from_millis(short.into()),
            _ => Duration::from_millis(input.number().into()),
        };
        let now = start + passed;
        let from = input.address();
        let local = match input.below(4) {
            0 => None,
            1 => Some(from.ip()),
            _ => Some(input.address().ip()),
        };
        let probe = match input.below(8) {
            0 => REPLY,
            1 => &rules.reply[..],
            bytes => input.take(bytes),
        };
        let before = gateway_suppressed(&mut gateway);
        gateway.handle_datagram(SOCKET, from, PacketInfo { local, interface: 1 }, probe, now);
        probes += 1;
        let answer = match gateway.poll_output() {
            None => None,
            Some(Output::SendTo { socket, to, via, bytes }) => {
                assert_eq!((socket, to, via.local), (SOCKET, from, local));
                assert_eq!(bytes, rules.reply);
                Some(())
            }
            Some(other) => panic!("{other:?} to a probe"),
        };
        if answer.is_some() {
            gateway.handle_sent_to(true);
        }
        assert_eq!(gateway.poll_output(), None);
        assert_eq!(gateway.poll_timeout(), None, "a probe makes nothing wake up");

        let source = from.ip().to_canonical();
        let own_address = source.is_loopback() || local.is_some_and(|local| local.to_canonical() == source);
        let refused = from.port() == 0
            || source.is_unspecified()
            || source.is_multicast()
            || matches!(source, IpAddr::V4(ip) if ip.is_broadcast())
            || own_address && from.port() == PORT
            || probe == REPLY
            || probe == rules.reply;
        let after = gateway_suppressed(&mut gateway);
        let limited =
            |suppressed: &Counters<Suppressed>| suppressed[&Suppressed::Rate] + suppressed[&Suppressed::SourceRate];
        let was_limited = limited(&after) > limited(&before);
        assert_eq!(after.total() - before.total(), u64::from(answer.is_none()));
        assert!(!refused || (answer.is_none() && !was_limited), "{from} {local:?} {probe:?}");
        assert!(refused || answer.is_some() || was_limited, "{from} {local:?} {probe:?}");

        if answer.is_some() {
            answered += 1;
            let to_source = answered_to.entry(source).or_default();
            *to_source += 1;
            let most = |rate: u32, burst: u32| u128::from(burst) + passed.as_millis() * u128::from(rate) / 1000;
            assert!(u128::from(answered) <= most(rules.rate, rules.burst));
            assert!(u128::from(*to_source) <= most(rules.source_rate, rules.source_burst));
        } else if was_limited && answered == 0 {
            assert!(rules.burst == 0 || rules.source_burst == 0, "the first one is answered");
        }
        let (_, commands) = gateway.parts(now);
        let stats = commands.stats();
        assert_eq!((stats.probes, stats.probes_answered), (probes, answered));
    }
});

fn gateway_suppressed(gateway: &mut Gateway<Nobody>) -> Counters<Suppressed> {
    let (_, commands) = gateway.parts(beginning());
    commands.stats().probes_suppressed.clone()
}
