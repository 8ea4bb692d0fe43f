//! What a message costs between being queued and being handed to the driver.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use throng::internals::{Lane, OutboxBench};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PAYLOAD: [u8; 20] = [7; 20];

/// A turn: some messages are queued, taken as one batch, and sent.
fn turns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("turn");
    for count in [1, 16, 256] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("one lane", count), |bencher| {
            let mut outbox = OutboxBench::default();
            bencher.iter(|| {
                for _ in 0..count {
                    let frame = outbox.frame(&PAYLOAD);
                    outbox.push(&frame, Lane::Normal);
                }
                let bytes = outbox.batch();
                outbox.sent();
                bytes
            });
        });
        group.bench_function(BenchmarkId::new("two lanes", count), |bencher| {
            let mut outbox = OutboxBench::default();
            bencher.iter(|| {
                for number in 0..count {
                    let lane = if number % 2 == 0 {
                        Lane::High
                    } else {
                        Lane::Normal
                    };
                    let frame = outbox.frame(&PAYLOAD);
                    outbox.push(&frame, lane);
                }
                let bytes = outbox.batch();
                outbox.sent();
                bytes
            });
        });
    }
}

/// A peer that is behind and whose outbox is full: each message takes the place of the oldest.
fn overflowing(criterion: &mut Criterion) {
    criterion.bench_function("drop oldest", |bencher| {
        let mut outbox = OutboxBench::default();
        let frame = outbox.frame(&PAYLOAD);
        outbox.push(&frame, Lane::Normal);
        outbox.batch();
        bencher.iter(|| outbox.push(&frame, Lane::Normal));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = turns, overflowing
}
criterion_main!(benches);
