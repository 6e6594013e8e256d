//! Discovery, and the times of a connection.

use crate::harness::{Harness, harnesses, hex};

#[test]
fn pauses_grow_to_30_s_with_jitter_and_a_silent_gateway_is_gone_after_30_s() {
    for mut harness in harnesses() {
        let mut firsts = Vec::new();
        for seed in [0, 1, 2, 0x00A0_C914, u32::MAX] {
            let answer = harness.ask(&format!("b {seed}"));
            let pauses: Vec<u32> = answer.split_whitespace().map(|pause| pause.parse().unwrap()).collect();
            let most = [1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000, 30000, 30000, 1000];
            for (pause, most) in pauses.iter().zip(most) {
                assert!((most / 2..=most).contains(pause), "{pauses:?}");
            }
            firsts.push(pauses[0]);
        }
        firsts.dedup();
        assert!(firsts.len() > 1, "devices with different seeds come back at different times");
        let gone = |harness: &mut Harness, heard: u32, now: u32| harness.ask(&format!("g {heard} {now}")) == "1";
        assert!(!gone(&mut harness, 5, 30_004) && gone(&mut harness, 5, 30_005));
        assert!(!gone(&mut harness, u32::MAX - 9, 29_989), "the clock wraps");
        assert!(gone(&mut harness, u32::MAX - 9, 29_990), "the clock wraps");
        let answers = ["udp responsed", "udp response", "udp responsed!", "x"]
            .map(|text| harness.ask(&format!("a {}", hex(text.as_bytes()))));
        assert_eq!(answers, ["1", "0", "0", "0"]);
    }
}
