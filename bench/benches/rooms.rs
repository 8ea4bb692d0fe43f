//! What membership costs, and finding the members of an audience.

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use throng::internals::{MembershipsBench, RoomsBench};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MEMBERS: u32 = 10_000;
/// Slots between two members of a sparse room.
const SPACING: u32 = 100;
/// As many rooms as an engine may well have when each is a conversation.
const SMALL_ROOMS: u32 = 100_000;
const MEMBERS_OF_SMALL: u32 = 3;

fn membership(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("join and leave");
    // 4096 is where a bitmap changes its form, there and back.
    for members in [6, MEMBERS, 4096, 100_000] {
        let mut rooms = RoomsBench::default();
        for slot in 0..members {
            rooms.join("room", slot);
        }
        group.bench_function(format!("a room of {members}"), |bencher| {
            bencher.iter(|| {
                let room = rooms.join("room", members);
                room.into_iter().for_each(|room| rooms.leave(room, members));
            });
        });
    }
    let mut rooms = RoomsBench::default();
    group.bench_function("a room of its own", |bencher| {
        bencher.iter(|| {
            let room = rooms.join("small", 7);
            room.into_iter().for_each(|room| rooms.leave(room, 7));
        });
    });
    for others in [0u32, 4, 100, 5000] {
        let mut memberships = MembershipsBench::new(2);
        // In the middle of the connection's rooms is where changing them costs most on average.
        for room in 0..=others {
            memberships.join(&format!("room-{room}"), 0);
        }
        let name = format!("room-{}", others / 2);
        memberships.leave(&name, 0);
        memberships.join(&name, 1);
        group.bench_function(format!("beside {others} other rooms"), |bencher| {
            bencher.iter(|| {
                memberships.join(&name, 0);
                memberships.leave(&name, 0);
            });
        });
    }
}

fn small_rooms(criterion: &mut Criterion) {
    let names: Vec<String> = (0..SMALL_ROOMS)
        .map(|room| format!("room-{room}"))
        .collect();
    let members =
        |room: u32| (0..MEMBERS_OF_SMALL).map(move |at| (room + at * 9_973) % SMALL_ROOMS);
    let fill = || {
        let mut memberships = MembershipsBench::new(SMALL_ROOMS as usize);
        for (name, room) in names.iter().zip(0..) {
            members(room).for_each(|slot| memberships.join(name, slot));
        }
        memberships
    };
    let mut group = criterion.benchmark_group("100,000 rooms of 3");
    group.sample_size(10);
    group.throughput(Throughput::Elements(
        (SMALL_ROOMS * MEMBERS_OF_SMALL).into(),
    ));
    group.bench_function("join", |bencher| {
        bencher.iter_batched(|| (), |()| fill(), BatchSize::PerIteration);
    });
    group.bench_function("walk", |bencher| {
        let mut memberships = fill();
        let rooms = memberships.rooms();
        bencher.iter(|| {
            names
                .iter()
                .map(|name| rooms.walk(&[name], None))
                .sum::<u64>()
        });
    });
    group.bench_function("leave", |bencher| {
        let empty = |mut memberships: MembershipsBench| {
            (0..SMALL_ROOMS).for_each(|slot| memberships.leave_all(slot));
            memberships
        };
        bencher.iter_batched(fill, empty, BatchSize::PerIteration);
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
    drop(group);
    let mut group = criterion.benchmark_group("walk");
    for (name, members, spacing) in [
        ("3 of 100,000", 3, 30_000),
        ("100 of 100,000", 100, 1000),
        ("100,000 of 100,000", 100_000, 1),
    ] {
        let room = (0..members)
            .filter_map(|member| rooms.join(name, member * spacing))
            .last();
        group.throughput(Throughput::Elements(members.into()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| rooms.walk(&[name], None));
        });
        group.bench_function(format!("{name}, handed over"), |bencher| {
            bencher.iter(|| room.map(|room| rooms.walk_room(room)));
        });
    }
}

fn uniting(criterion: &mut Criterion) {
    const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut group = criterion.benchmark_group("unite 8 rooms");
    for members in [3u32, 5, 8, 16, 32, 100, 10_000] {
        let mut rooms = RoomsBench::default();
        for (room, name) in (0..).zip(NAMES) {
            // Each shares half of its members with the next one.
            for at in 0..members {
                rooms.join(name, room * members / 2 + at);
            }
        }
        group.bench_function(format!("of {members}"), |bencher| {
            bencher.iter(|| rooms.walk(&NAMES, None));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = membership, small_rooms, walking, uniting
}
criterion_main!(benches);
