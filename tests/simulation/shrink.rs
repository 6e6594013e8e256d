//! From a list of actions that fails to a short one that still does.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Mutex;
use std::time::Instant;

use pulsegate::Stats;

use super::{Action, World};

/// What the simulation says against these actions, if anything.
pub(crate) fn check(seed: u64, actions: &[Action]) -> Result<Stats, String> {
    let caught = catch_unwind(AssertUnwindSafe(|| World::run(seed, actions)));
    caught.map(|(_, stats)| stats).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// Leaves out ever smaller parts as long as what is left still fails. Not the shortest list there is, but a readable one.
pub(crate) fn shrink(seed: u64, mut actions: Vec<Action>, end: Instant, clock: fn() -> Instant) -> Vec<Action> {
    static HOOK: Mutex<()> = Mutex::new(());
    let _held = HOOK.lock();
    // Hundreds of failures are expected here; only the last is worth reading.
    let hook = take_hook();
    set_hook(Box::new(|_| ()));
    let mut part = actions.len().div_ceil(2);
    while part > 0 && clock() < end {
        let mut at = 0;
        let before = actions.len();
        while at < actions.len() && clock() < end {
            let mut fewer = actions.clone();
            fewer.drain(at..(at + part).min(actions.len()));
            if check(seed, &fewer).is_err() {
                actions = fewer;
            } else {
                at += part;
            }
        }
        part = if part == 1 && actions.len() < before { 1 } else { part / 2 };
    }
    set_hook(hook);
    actions
}
