//! What membership costs, and finding the members of an audience.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use throng::internals::RoomsBench;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MEMBERS: u32 = 10_000;
/// Slots between two members of a sparse room.
const SPACING: u32 = 100;

fn membership(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("join and leave");
    let mut rooms = RoomsBench::default();
    for slot in 0..MEMBERS {
        rooms.join("large", slot);
    }
    group.bench_function("a room of 10,000", |bencher| {
        bencher.iter(|| {
            let room = rooms.join("large", MEMBERS);
            room.into_iter().for_each(|room| rooms.leave(room, MEMBERS));
        });
    });
    group.bench_function("a room of its own", |bencher| {
        bencher.iter(|| {
            let room = rooms.join("small", 7);
            room.into_iter().for_each(|room| rooms.leave(room, 7));
        });
    });
}

fn walking(criterion: &mut Criterion) {
    let mut rooms = RoomsBench::default();
    for member in 0..MEMBERS {
        rooms.join("dense", member);
        rooms.join("sparse", member * SPACING);
        rooms.join("odd", member * 2 + 1);
    }
    let mut group = criterion.benchmark_group("walk 10,000 members");
    group.throughput(Throughput::Elements(MEMBERS.into()));
    for (name, audience, except) in [
        ("dense", &["dense"][..], None),
        ("sparse", &["sparse"], None),
        ("dense and sparse united", &["dense", "sparse"], None),
        ("dense less another room", &["dense"], Some("odd")),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| rooms.walk(audience, except));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = membership, walking
}
criterion_main!(benches);
