//! Promise 6: fairness. Nobody waits for somebody else's flood, and leftovers need no event.

use std::time::Instant;

use throng_transport::driver::RECEIVED_PER_WAIT;

use super::rig::{PATIENCE, write_some};
use super::{Bytes, Fixture, Rig};

/// Sockets that say a little beside one that says a lot.
const BYSTANDERS: usize = 50;
/// How often each of them says something.
const ROUNDS: usize = 20;
/// Waits that one round may take on average; a fair driver takes one or two once the bytes have
/// arrived, which the system does not promise to happen at once.
const WAITS_PER_ROUND: u64 = 200;

/// Bystanders are served beside a flood, all in about the same wait.
pub fn a_flood_does_not_hold_others_up<F: Fixture>() {
    let mut rig = Rig::<F>::with_receive_buffer(4096);
    let (flooding, mut flood) = rig.open();
    let mut others: Vec<_> = (0..BYSTANDERS).map(|_| rig.open()).collect();
    let water = Bytes::of(71, 64 * 1024);
    while write_some(&mut flood, &water) > 0 {}
    rig.until_received(flooding, 1);
    let before = rig.record.waits;
    for round in 1..=ROUNDS {
        for (_, far) in &mut others {
            assert_eq!(write_some(far, b"?"), 1);
        }
        rig.until("bystanders", |rig| {
            while write_some(&mut flood, &water) > 0 {}
            std::thread::yield_now();
            let heard = |key| rig.connection(key).received.len() == round;
            others.iter().all(|(key, _)| heard(*key))
        });
    }
    let waits = rig.record.waits - before;
    // A grain larger than the buffer is taken in piece by piece, and delivered so: no time passes in a
    // wait that does but the one or the other.
    let ways = 1 + u64::from(F::GRAIN > rig.receive_buffer);
    assert!(
        waits <= ROUNDS as u64 * WAITS_PER_ROUND * ways,
        "{ROUNDS} rounds of bystanders took {waits} waits"
    );
    assert!(rig.connection(flooding).received.len() > 4096);
}

/// What one wait left over is delivered by the following ones, none of which parks: there may
/// be no further event.
pub fn leftovers_are_delivered_without_an_event<F: Fixture>() {
    let mut rig = Rig::<F>::with_receive_buffer(1000);
    for buffers in [1, 3, 10] {
        let (key, mut far) = rig.open();
        let bytes = Bytes::of(72, buffers * 1000 + 500);
        rig.far_writes(&mut far, &bytes);
        let begun = Instant::now();
        while rig.connection(key).received.len() < bytes.len() {
            rig.wait(PATIENCE);
        }
        assert!(begun.elapsed() < PATIENCE, "a wait parked on leftovers");
        Bytes::assert_same(&rig.connection(key).received, &bytes, "in several waits");
    }
}

/// Eight floods share: while all have bytes waiting, none gets far ahead.
pub fn floods_share<F: Fixture>() {
    const BUFFER: usize = 1024;
    let mut rig = Rig::<F>::with_receive_buffer(BUFFER);
    let mut ends: Vec<_> = (0..8).map(|_| rig.open()).collect();
    let water = Bytes::of(73, 64 * 1024);
    for (key, far) in &mut ends {
        rig.pause(*key);
        rig.far_writes(far, &water);
    }
    rig.quiet();
    for (key, _) in &ends {
        rig.resume(*key);
    }
    rig.until("buffers full for all", |rig| {
        let received = |key| rig.connection(key).received.len();
        let least = ends.iter().map(|(key, _)| received(*key)).min().unwrap();
        let most = ends.iter().map(|(key, _)| received(*key)).max().unwrap();
        let ahead = 8 * BUFFER + F::GRAIN;
        assert!(most - least <= ahead, "from {least} to {most} bytes");
        least >= 20 * BUFFER
    });
}

/// However many sockets have however much to deliver, a wait delivers a bounded amount, and the
/// following ones begin with those who got nothing.
pub fn a_wait_delivers_a_bounded_amount<F: Fixture>() {
    const BUFFER: usize = 256 * 1024;
    const FLOODS: usize = 32;
    let mut rig = Rig::<F>::with_receive_buffer(BUFFER);
    let water = Bytes::of(74, BUFFER);
    let mut ends: Vec<_> = (0..FLOODS).map(|_| rig.open()).collect();
    for (key, far) in &mut ends {
        rig.pause(*key);
        while write_some(far, &water) > 0 {}
    }
    rig.quiet();
    let before: Vec<_> = ends
        .iter()
        .map(|(key, _)| rig.connection(*key).received.len())
        .collect();
    for (key, _) in &ends {
        rig.resume(*key);
    }
    let mut waits = 0;
    let is_unheard = |rig: &Rig<F>| {
        let received = |key| rig.connection(key).received.len();
        ends.iter()
            .zip(&before)
            .any(|((key, _), before)| received(*key) == *before)
    };
    while is_unheard(&rig) {
        rig.wait(PATIENCE);
        waits += 1;
        let delivered: usize = ends
            .iter()
            .map(|(key, _)| rig.connection(*key).in_this_wait)
            .sum();
        assert!(
            delivered < RECEIVED_PER_WAIT + BUFFER,
            "{delivered} bytes in one wait"
        );
        assert!(
            waits <= FLOODS,
            "somebody was passed over for {waits} waits"
        );
    }
}
