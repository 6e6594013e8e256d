//! The check of one object that came in two reads, beside serde_json for the `Type` alone and for the whole tree.
//! An object that comes whole is checked while it is cut, so it has no check of its own. The cut also skips the plain
//! text of a picture for the check: this bench counts objects, and `cut_and_check` in `splitter` counts bytes.

mod common;

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{Criterion, Throughput};
use pulsegate::unstable::proto::{Message, PartialObjects, Reassembled, Splitter};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "Type")]
    kind: Cow<'a, str>,
}

fn main() {
    let mut criterion = common::criterion();
    bench(&mut criterion);
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion) {
    for (kind, bytes) in common::objects() {
        let mut group = criterion.benchmark_group(format!("check/{kind}"));
        group.throughput(Throughput::Elements(1));
        let (mut splitter, mut tails, mut whole) = (Splitter::new(), PartialObjects::new(), Reassembled::default());
        let (begun, rest) = bytes.split_at(5);
        splitter.push(begun, 1 << 20, &mut tails, &mut whole).expect("the beginning of an object");
        let (_, object) = splitter.push(rest, 1 << 20, &mut tails, &mut whole).expect("the rest of it");
        let object = object.expect("an object");
        group.bench_function("message", |b| {
            b.iter(|| Message::check(black_box(&object), 127).expect("a message").kind());
        });
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let text = |bytes| std::str::from_utf8(black_box(bytes)).expect("UTF-8");
        group.bench_function("serde_json_type", |b| {
            b.iter(|| serde_json::from_str::<Envelope<'_>>(text(&bytes)).expect("JSON").kind.len());
        });
        group.bench_function("serde_json_value", |b| {
            b.iter(|| serde_json::from_str::<Value>(text(&bytes)).expect("JSON"));
        });
    }
}
