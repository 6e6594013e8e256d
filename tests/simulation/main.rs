//! A whole gateway in virtual time, on a reactor whose kernel is simulated, with hundreds or thousands of devices that do
//! what devices do, and worse. What happens is a list of [`Action`]s made from a seed; after every step the gateway must
//! agree with the [`World`]'s own books, and with its own.
//!
//! `PULSEGATE_SECONDS=600` looks for longer, `PULSEGATE_SEED=…` replays one seed. A list that fails is shrunk, as far as
//! that goes in a minute, and printed.

#[path = "../common/mod.rs"]
mod common;

mod action;
mod audit;
mod books;
mod fair;
mod local;
mod shrink;
mod stage;
mod world;

use std::time::{Duration, Instant};

use action::Action;
use common::{base_seed, fixed_seed};
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

/// Otherwise a seed in a failure's text would be worth nothing.
#[test]
fn the_same_seed_gives_the_same_events() {
    let seed = base_seed();
    let stage = Stage::new(seed);
    let actions = action::generate(seed, false);
    let [first, second] = [(); 2].map(|()| World::run(seed, &stage, &actions));
    assert_eq!(first, second, "seed {seed}");
}

fn try_seed(seed: u64) -> Outcome {
    let stage = Stage::new(seed);
    let actions = action::generate(seed, stage.crowd);
    let why = match check(seed, &stage, &actions) {
        Ok(outcome) => return outcome,
        Err(why) => why,
    };
    let (stage, least) = shrink(seed, stage, actions, clock() + Duration::from_secs(60), clock);
    let least_why = check(seed, &stage, &least).err().unwrap_or_default();
    let listed: String = least.iter().map(|action| format!("    {action:?}\n")).collect();
    panic!(
        "seed {seed} (replay with PULSEGATE_SEED={seed}): {why}\nshrunk to {} actions: {least_why}\n{listed}with {:?}, {:?}",
        least.len(),
        stage.faults,
        stage.budget,
    );
}

fn seconds() -> Duration {
    let text = std::env::var("PULSEGATE_SECONDS").unwrap_or_else(|_| "30".to_owned());
    Duration::from_secs(text.parse().unwrap_or_else(|_| panic!("PULSEGATE_SECONDS must be a number, not {text:?}")))
}

#[expect(clippy::disallowed_methods, reason = "how long to look is told in real time")]
fn clock() -> Instant {
    Instant::now()
}
