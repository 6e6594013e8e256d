//! Splits a stream into objects and checks them, for several sizes of objects and reads. For comparison it runs serde_json's
//! stream deserializer over a buffer that grows with every read.

mod common;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use pulsegate::unstable::proto::{Message, PartialObjects, Reassembled, Splitter};
use serde_json::value::RawValue;

/// The minimum of bytes of each kind.
const STREAM_BYTES: usize = 256 << 10;

fn main() {
    let mut criterion = common::criterion();
    bench(&mut criterion);
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion) {
    for (kind, object) in common::objects() {
        let count = STREAM_BYTES.div_ceil(object.len());
        let stream = object.repeat(count);
        let mut group = criterion.benchmark_group(format!("splitter/{kind}"));
        group.throughput(Throughput::Bytes(stream.len() as u64));
        for read in [1, 64, 1460, 65_536] {
            assert_eq!((cut(&stream, read, true), cut(&stream, read, false)), (count, count));
            group.bench_function(BenchmarkId::new("cut", read), |b| b.iter(|| cut(black_box(&stream), read, false)));
            group.bench_function(BenchmarkId::new("cut_and_check", read), |b| {
                b.iter(|| cut(black_box(&stream), read, true));
            });
        }
        // It begins anew with every read, so that a picture in small reads takes minutes.
        for read in [1, 64, 1460, 65_536].into_iter().filter(|read| object.len() / read < 100) {
            assert_eq!(deserialize(&stream, read), count);
            group.bench_function(BenchmarkId::new("serde_json", read), |b| {
                b.iter(|| deserialize(black_box(&stream), read));
            });
        }
    }
}

fn cut(stream: &[u8], read: usize, check: bool) -> usize {
    let (mut splitter, mut tails, mut whole, mut objects) =
        (Splitter::new(), PartialObjects::new(), Reassembled::default(), 0);
    for mut rest in stream.chunks(read) {
        loop {
            let (used, object) =
                splitter.push(rest, 1 << 20, &mut tails, &mut whole).expect("nothing is wrong with the stream");
            rest = &rest[used..];
            let Some(object) = object else { break };
            if check {
                black_box(Message::check(&object, 127).expect("nothing is wrong with the object"));
            }
            objects += 1;
        }
    }
    objects
}

fn deserialize(stream: &[u8], read: usize) -> usize {
    let (mut buffer, mut objects) = (Vec::new(), 0);
    for bytes in stream.chunks(read) {
        buffer.extend_from_slice(bytes);
        let mut values = serde_json::Deserializer::from_slice(&buffer).into_iter::<&RawValue>();
        let mut used = 0;
        while let Some(value) = values.next() {
            let Ok(value) = value else { break };
            black_box(value);
            objects += 1;
            used = values.byte_offset();
        }
        buffer.drain(..used);
    }
    objects
}
