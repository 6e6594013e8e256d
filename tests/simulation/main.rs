//! A whole gateway in virtual time with hundreds of devices that do what devices do, and worse. What happens is a list of
//! [`Action`]s made from a seed; after every step the gateway must agree with the [`World`]'s own books.
//!
//! `PULSEGATE_SECONDS=600` looks for longer, `PULSEGATE_SEED=…` replays one seed. A list that fails is shrunk, as far as
//! that goes in a minute, and printed.

#[path = "../common/mod.rs"]
mod common;

mod action;
mod shrink;
mod world;

use std::time::{Duration, Instant};

use action::Action;
use common::{base_seed, fixed_seed};
use pulsegate::{CloseReason, Stats};
use shrink::{check, shrink};
use world::World;

#[test]
fn devices_at_random() {
    if let Some(seed) = fixed_seed() {
        try_seed(seed);
        return;
    }
    let end = clock() + seconds();
    let first = base_seed();
    let mut seed = first;
    let mut closed = [0; CloseReason::WORDS.len()];
    while clock() < end {
        for (sum, count) in closed.iter_mut().zip(try_seed(seed).closed) {
            *sum += count;
        }
        seed += 1;
    }
    eprintln!("{} seeds from {first}: {:?} {closed:?}", seed - first, CloseReason::WORDS);
}

/// Otherwise a seed in a failure's text would be worth nothing.
#[test]
fn the_same_seed_gives_the_same_events() {
    let seed = base_seed();
    let actions = action::generate(seed);
    let [first, second] = [(); 2].map(|()| World::run(seed, &actions));
    assert_eq!(first, second, "seed {seed}");
}

fn try_seed(seed: u64) -> Stats {
    let actions = action::generate(seed);
    let why = match check(seed, &actions) {
        Ok(stats) => return stats,
        Err(why) => why,
    };
    let least = shrink(seed, actions, clock() + Duration::from_secs(60), clock);
    let least_why = check(seed, &least).err().unwrap_or_default();
    let listed: String = least.iter().map(|action| format!("    {action:?}\n")).collect();
    panic!(
        "seed {seed} (replay with PULSEGATE_SEED={seed}): {why}\nshrunk to {} actions: {least_why}\n{listed}",
        least.len()
    );
}

fn seconds() -> Duration {
    let text = std::env::var("PULSEGATE_SECONDS").unwrap_or_else(|_| "8".to_owned());
    Duration::from_secs(text.parse().unwrap_or_else(|_| panic!("PULSEGATE_SECONDS must be a number, not {text:?}")))
}

#[expect(clippy::disallowed_methods, reason = "how long to look is told in real time")]
fn clock() -> Instant {
    Instant::now()
}
