//! The timer wheel, compared with a `BinaryHeap` of deadlines that skips cancelled timers when they are due. Each figure is
//! for one timer among the given number.

mod common;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use pulsegate::unstable::tick::Tick;
use pulsegate::unstable::wheel::{TimerKey, TimerWheel};

/// Ticks from one beat to the next, over which the timers are spread.
const INTERVAL: u32 = 20;

fn main() {
    let mut criterion = common::criterion();
    bench(&mut criterion);
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion) {
    for number in [10, 10_000, 100_000] {
        let mut group = criterion.benchmark_group("wheel");
        group.throughput(Throughput::Elements(number.into()));
        let size = BatchSize::LargeInput;
        group.bench_function(BenchmarkId::new("insert", number), |b| {
            b.iter_batched(TimerWheel::new, |wheel| fill(wheel, number), size);
        });
        group.bench_function(BenchmarkId::new("insert_heap", number), |b| {
            b.iter_batched(Heap::default, |heap| heap.fill(number), size);
        });
        group.bench_function(BenchmarkId::new("cancel", number), |b| {
            b.iter_batched(|| fill(TimerWheel::new(), number), cancel, size);
        });
        group.bench_function(BenchmarkId::new("cancel_heap", number), |b| {
            b.iter_batched(|| Heap::default().fill(number), Heap::cancel, size);
        });
        // One interval of beats: every timer comes up once and is set again.
        group.bench_function(BenchmarkId::new("expire", number), |b| {
            b.iter_batched(|| fill(TimerWheel::new(), number).0, |wheel| expire(wheel, number), size);
        });
        group.bench_function(BenchmarkId::new("expire_heap", number), |b| {
            b.iter_batched(|| Heap::default().fill(number), |heap| heap.expire(number), size);
        });
    }
}

/// Steps of the golden ratio, as the gateway spreads beats.
fn deadline(number: u32) -> u32 {
    ((u64::from(number.wrapping_mul(0x9e37_79b9)) * u64::from(INTERVAL)) >> 32) as u32 + 1
}

fn fill(mut wheel: TimerWheel<u32>, number: u32) -> (TimerWheel<u32>, Vec<TimerKey>) {
    let keys = (0..number).map(|n| wheel.insert(Tick::new(deadline(n)), n)).collect();
    (wheel, keys)
}

fn cancel((mut wheel, keys): (TimerWheel<u32>, Vec<TimerKey>)) -> TimerWheel<u32> {
    for key in keys {
        wheel.cancel(key);
    }
    assert_eq!(wheel.expire(Tick::new(INTERVAL)), None);
    wheel
}

fn expire(mut wheel: TimerWheel<u32>, number: u32) -> TimerWheel<u32> {
    let mut fired = 0;
    for now in 1..=INTERVAL {
        while let Some((_, payload)) = wheel.expire(Tick::new(now)) {
            wheel.insert(Tick::new(now + INTERVAL), payload);
            fired += 1;
        }
    }
    assert_eq!(fired, number);
    wheel
}

#[derive(Default)]
struct Heap {
    timers: BinaryHeap<Reverse<(u32, u32)>>,
    cancelled: Vec<bool>,
}

impl Heap {
    fn fill(mut self, number: u32) -> Self {
        for n in 0..number {
            self.timers.push(Reverse((deadline(n), n)));
            self.cancelled.push(false);
        }
        self
    }

    fn cancel(mut self) -> Self {
        self.cancelled.fill(true);
        assert_eq!(self.next(INTERVAL), None);
        self
    }

    fn expire(mut self, number: u32) -> Self {
        let mut fired = 0;
        for now in 1..=INTERVAL {
            while let Some(payload) = self.next(now) {
                self.timers.push(Reverse((now + INTERVAL, payload)));
                fired += 1;
            }
        }
        assert_eq!(fired, number);
        self
    }

    fn next(&mut self, now: u32) -> Option<u32> {
        while let Some(&Reverse((deadline, payload))) = self.timers.peek() {
            if deadline > now {
                return None;
            }
            self.timers.pop();
            if !self.cancelled[payload as usize] {
                return Some(payload);
            }
        }
        None
    }
}
