//! Commands from the broker.

use super::*;

pub(super) const SET: &str = "pulsegate/attic/device/pump/set";
pub(super) const RESULT: &str = "pulsegate/attic/device/pump/result";

#[test]
fn a_command_runs_once_and_its_answer_arrives() {
    let mut world = World::new(3, |_| {});
    world.pass(SECOND);
    world.asked.clear();
    world.command(SET, "reboot \"now\"\n", 0);
    assert_eq!(world.asked.len(), 1);
    assert_eq!(world.asked[0]["device"], "@pump");
    assert_eq!(world.asked[0]["text"], "reboot \"now\"\n");
    assert_eq!(world.broker.payloads(RESULT).len(), 1);
    world.command("pulsegate/attic/device/none/set", "x", 0);
    let result = world.broker.payloads("pulsegate/attic/device/none/result");
    assert_eq!(result, [r#"{"detail":"d","error":"no_such_device","ok":false}"#]);
    world.command("pulsegate/attic/request/stats", r#"{"id":{"a":1}}"#, 0);
    let response = world.broker.payloads("pulsegate/attic/response/stats");
    assert_eq!(response, [r#"{"boot":"b","id":{"a":1},"ok":true}"#]);
}

#[test]
fn commands_that_are_old_or_wrong_do_not_run() {
    let mut world = World::new(3, |_| {});
    world.pass(SECOND);
    world.asked.clear();
    // The flags of PUBLISH: bit 0 is RETAIN, bit 3 is DUP, bits 1 and 2 are the QoS.
    world.command(SET, "retained", 0b0001);
    world.command(SET, "duplicate", 0b1010);
    world.command(SET, &"x".repeat(100_000), 0);
    world.command("pulsegate/attic/request/stop", "", 0);
    world.command("pulsegate/attic/request/send", "[]", 0);
    world.command("elsewhere", "x", 0);
    // The process was stopped, and commands wait in its socket.
    world.now += SECOND * 60;
    world.command(SET, "late", 0);
    assert_eq!(world.asked, [] as [Value; 0]);
    let errors: Vec<_> = world.broker.payloads(RESULT).iter().map(|text| error(text)).collect();
    assert_eq!(errors, ["retained", "bad_request", "late"]);
    world.gateway_is_up = false;
    world.uplink.gateway_closed("gone", world.now);
    world.pass(SECOND * 2);
    world.command(SET, "nobody", 0);
    assert_eq!(world.broker.payloads(RESULT).last().map(|text| error(text)).as_deref(), Some("no_gateway"));
    let counters = [Counter::RetainedCommands, Counter::DuplicateCommands, Counter::LateCommands, Counter::Commands];
    assert_eq!(counters.map(|counter| world.counter(counter)), [1, 1, 1, 0]);
}

fn error(answer: &str) -> String {
    serde_json::from_str::<Value>(answer).unwrap()["error"].as_str().unwrap().to_owned()
}
