//! What memberships and rooms take, counted byte by byte: bitmaps, names, tables, and each
//! connection's list of its rooms. `--nocapture` prints the figures.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test fails by panicking, its numbers are small, and its figures are for reading"
)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use throng::internals::MembershipsBench;
use throng_tests::hostile::{Counting, Watch};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The allocator counts for the whole process: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

const MIB: usize = 1 << 20;
/// What a connection has of itself for its rooms, in its 192 bytes.
const WITHIN_CONNECTION: usize = 24;

/// Bytes that the memberships of so many connections, each in all of so many rooms, take beyond
/// the connections themselves.
fn dense(rooms: usize, connections: usize) -> usize {
    let watch = Watch::begin();
    let mut memberships = MembershipsBench::new(connections);
    for room in 0..rooms {
        let name = format!("room-{room}");
        (0..connections).for_each(|slot| memberships.join(&name, slot as u32));
    }
    let bytes = watch.held() - connections * WITHIN_CONNECTION;
    println!(
        "{rooms} rooms × {connections} connections: {bytes} bytes, {:.2} per membership",
        bytes as f64 / (rooms * connections) as f64
    );
    drop(memberships);
    // Whatever else the process allocates meanwhile is small.
    assert!(watch.held() < 64 * 1024, "all of it was counted, and freed");
    bytes
}

/// Bytes that each of 100,000 rooms takes, each with so many members out of 100,000 connections.
/// Members are spread, so that no two of a room are neighbours.
fn small(members: u32) -> usize {
    const ROOMS: u32 = 100_000;
    let mut memberships = MembershipsBench::new(ROOMS as usize);
    let watch = Watch::begin();
    for room in 0..ROOMS {
        let name = format!("room-{room}");
        (0..members).for_each(|at| memberships.join(&name, (room + at * 9_973) % ROOMS));
    }
    let bytes = watch.held() / ROOMS as usize;
    println!("{ROOMS} rooms of {members}: {bytes} bytes each");
    bytes
}

#[test]
fn a_dense_million_of_memberships_fits_in_4_mib() {
    let _turn = turn();
    for (rooms, connections) in [(100, 10_000), (10, 100_000)] {
        let bytes = dense(rooms, connections);
        assert!(bytes <= 4 * MIB, "{rooms} × {connections}: {bytes}");
    }
}

#[test]
fn a_small_room_takes_few_bytes() {
    let _turn = turn();
    for (members, most) in [(1, 200), (3, 200), (6, 240), (7, 320), (10, 340)] {
        let bytes = small(members);
        assert!(bytes <= most, "of {members}: {bytes}");
    }
}

#[test]
fn a_room_of_100_000_slots_takes_a_bit_for_each() {
    let _turn = turn();
    let bytes = dense(1, 100_000);
    assert!(bytes <= 32 * 1024, "{bytes}");
}
