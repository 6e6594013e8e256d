//! The gateway and the reactor on the simulated kernel, in virtual time, with hundreds or thousands of devices that behave
//! well or badly. A seed makes a list of [`Action`]s. After every step the state of the gateway must agree with the model in
//! [`World`].
//!
//! `PULSEGATE_TEST_SECONDS=600` tries seeds for longer, and `PULSEGATE_TEST_SEED=…` replays one seed. A failing list shrinks
//! for at most a minute, and the test prints it.

#[path = "../common/mod.rs"]
mod common;

mod action;
mod audit;
mod books;
mod fair;
mod local;
mod names;
mod shrink;
mod stage;
mod world;

use std::time::{Duration, Instant};

use action::Action;
use common::{base_seed, fixed_seed, number};
use pulsegate::{CloseReason, Counters};
use shrink::{check, shrink};
use stage::Stage;
use world::{Outcome, World};

#[test]
fn devices_at_random() {
    if let Some(seed) = fixed_seed() {
        try_seed(seed);
        return;
    }
    let begun = clock();
    let first = base_seed();
    let mut seed = first;
    let mut closed = Counters::<CloseReason>::default();
    let (mut devices, mut hours) = (0, 0.0);
    while begun.elapsed() < seconds() {
        let outcome = try_seed(seed);
        for (sum, count) in closed.values_mut().iter_mut().zip(outcome.stats.closed.values()) {
            *sum += count;
        }
        devices += outcome.stats.accepted;
        hours += outcome.device_time.as_secs_f64() / 3600.0;
        seed += 1;
    }
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let ends: Vec<_> = closed.iter().map(|(word, count)| format!("{count} {word}")).collect();
    eprintln!("{} seeds from {first}, {devices} devices: {}", seed - first, ends.join(", "));
    eprintln!("{hours:.0} virtual device-hours, {:.0} a minute", hours / minutes);
}

/// A seed in the text of a failure must repeat the failure.
#[test]
fn the_same_seed_gives_the_same_events() {
    let seed = base_seed();
    let stage = Stage::new(seed);
    let actions = action::generate(seed, false);
    let [first, second] =
        [(); 2].map(|()| check(seed, &stage, &actions).unwrap_or_else(|why| panic!("seed {seed}: {why}")));
    assert_eq!(first, second, "seed {seed}");
}

fn try_seed(seed: u64) -> Outcome {
    let stage = Stage::new(seed);
    let actions = action::generate(seed, stage.crowd);
    let why = match check(seed, &stage, &actions) {
        Ok(outcome) => return outcome,
        Err(why) => why,
    };
    // Prints the seed before the list shrinks, because a person may end the test meanwhile.
    eprintln!("seed {seed} (replay with PULSEGATE_TEST_SEED={seed}): {why}");
    let (stage, least) = shrink(seed, stage, actions, clock() + Duration::from_secs(60), clock);
    let least_why = check(seed, &stage, &least).err().unwrap_or_default();
    let listed: String = least.iter().map(|action| format!("    {action:?}\n")).collect();
    panic!(
        "seed {seed} (replay with PULSEGATE_TEST_SEED={seed}): {why}\nshrunk to {} actions: {least_why}\n{listed}with {:?}, {:?}",
        least.len(),
        stage.faults,
        stage.budget,
    );
}

fn seconds() -> Duration {
    Duration::from_secs(number("SECONDS").unwrap_or(30))
}

#[expect(clippy::disallowed_methods, reason = "the time limit of the search is real time")]
fn clock() -> Instant {
    Instant::now()
}
