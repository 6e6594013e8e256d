//! Shrinks a failing list of actions.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Mutex;
use std::time::Instant;

use pulsegate::TurnLimits;

use super::common::Faults;
use super::{Action, Outcome, Stage, World};

/// Returns the failure of these actions, if they fail.
pub(crate) fn check(seed: u64, stage: &Stage, actions: &[Action]) -> Result<Outcome, String> {
    let caught = catch_unwind(AssertUnwindSafe(|| World::run(seed, stage, actions)));
    caught.map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// Removes faults of the kernel, and smaller and smaller parts of the list, while the rest still fails. The result is
/// readable, but not minimal.
pub(crate) fn shrink(
    seed: u64,
    mut stage: Stage,
    mut actions: Vec<Action>,
    end: Instant,
    clock: fn() -> Instant,
) -> (Stage, Vec<Action>) {
    static HOOK: Mutex<()> = Mutex::new(());
    let _held = HOOK.lock();
    // Hides hundreds of expected panics. Only the last one matters.
    let hook = take_hook();
    set_hook(Box::new(|_| ()));
    let simpler: [fn(&mut Stage); 8] = [
        |stage| stage.faults = Faults::default(),
        |stage| stage.budget = TurnLimits::default(),
        |stage| stage.faults.interrupted = 0,
        |stage| stage.faults.would_block = 0,
        |stage| stage.faults.exhausted = 0,
        |stage| stage.faults.reset = 0,
        |stage| stage.faults.late = 0,
        |stage| stage.faults.again = 0,
    ];
    let simplify = |stage: &mut Stage, actions: &[Action]| {
        for change in simpler {
            let mut simple = stage.clone();
            change(&mut simple);
            if clock() < end && check(seed, &simple, actions).is_err() {
                *stage = simple;
            }
        }
    };
    simplify(&mut stage, &actions);
    let mut part = actions.len().div_ceil(2);
    while part > 0 && clock() < end {
        let mut at = 0;
        let before = actions.len();
        while at < actions.len() && clock() < end {
            let mut fewer = actions.clone();
            fewer.drain(at..(at + part).min(actions.len()));
            if check(seed, &stage, &fewer).is_err() {
                actions = fewer;
            } else {
                at += part;
            }
        }
        part = if part == 1 && actions.len() < before { 1 } else { part / 2 };
    }
    simplify(&mut stage, &actions);
    set_hook(hook);
    (stage, actions)
}
