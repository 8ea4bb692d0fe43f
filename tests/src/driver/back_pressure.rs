//! Promise 5: back-pressure. A paused socket is silent and its peer is held up.

use std::time::Duration;

use super::rig::{TICK, write_some};
use super::{Buffers, Bytes, Far, Fixture, Rig};

/// More than any system and driver hold for a socket that nobody reads.
const FLOOD: usize = 64 << 20;
/// Attempts without room after which a sender counts as held up.
const HELD_UP: usize = 25;

/// Floods a paused socket until there is no room any more. What was written.
fn flood<F: Fixture>(rig: &mut Rig<F>, far: &mut F::Far, seed: u64) -> Vec<u8> {
    let bytes = Bytes::of(seed, FLOOD);
    let (mut written, mut refused) = (0, 0);
    while refused < HELD_UP {
        let upto = (written + 256 * 1024).min(FLOOD);
        let count = write_some(far, &bytes[written..upto]);
        written += count;
        refused = if count == 0 { refused + 1 } else { 0 };
        rig.wait(if count == 0 { TICK } else { Duration::ZERO });
        assert!(written < FLOOD, "the sender is never held up");
    }
    bytes[..written].to_vec()
}

/// A paused socket delivers nothing, its sender is held up, and resuming delivers everything.
pub fn a_paused_socket_holds_its_sender_up<F: Fixture>() {
    for buffers in [Buffers::Default, Buffers::Small] {
        let mut rig = Rig::<F>::with_receive_buffer(64 * 1024);
        let (key, mut far) = rig.open_with(buffers);
        rig.pause(key);
        let written = flood(&mut rig, &mut far, 61);
        assert!(rig.connection(key).received.is_empty());
        rig.resume(key);
        rig.until_received(key, written.len());
        Bytes::assert_same(&rig.connection(key).received, &written, "after resuming");
        rig.assert_alive(key, &mut far, 62);
        rig.quiet();
    }
}

/// Pausing and resuming over and over, within a turn and between turns, neither loses nor
/// repeats anything nor delivers more per wait.
pub fn pausing_and_resuming_over_and_over<F: Fixture>() {
    let mut rig = Rig::<F>::with_receive_buffer(1000);
    let (key, mut far) = rig.open();
    let bytes = Bytes::of(63, 300_000);
    let mut written = 0;
    let mut turn = 0;
    rig.until("everything in spite of pauses", |rig| {
        turn += 1;
        let upto = (written + 5000).min(bytes.len());
        written += write_some(&mut far, &bytes[written..upto]);
        for _ in 0..turn % 7 {
            rig.pause(key);
            rig.resume(key);
        }
        if turn % 5 == 0 {
            rig.pause(key);
            rig.wait(Duration::ZERO);
            rig.resume(key);
        }
        rig.resume(key);
        rig.connection(key).received.len() == bytes.len()
    });
    Bytes::assert_same(&rig.connection(key).received, &bytes, "in spite of pauses");
}

/// A pause takes hold of what was due already: the leftovers of a large message.
pub fn a_pause_takes_hold_of_leftovers<F: Fixture>() {
    let mut rig = Rig::<F>::with_receive_buffer(100);
    let (key, mut far) = rig.open();
    let bytes = Bytes::of(64, 5000);
    rig.far_writes(&mut far, &bytes);
    for step in 1..=20 {
        rig.until_received(key, step * 100);
        rig.pause(key);
        rig.wait(TICK);
        rig.wait(TICK);
        rig.resume(key);
    }
    rig.until_received(key, bytes.len());
    Bytes::assert_same(&rig.connection(key).received, &bytes, "in steps");
}

/// Bytes that wait at a paused socket do not keep the driver from parking, and other sockets are
/// served.
pub fn a_paused_socket_lets_the_driver_park<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open();
    let (other, mut other_far) = rig.open();
    rig.pause(key);
    rig.far_writes(&mut far, &Bytes::of(65, 100));
    far.finish();
    rig.assert_alive(other, &mut other_far, 66);
    let park = Duration::from_millis(20);
    rig.until("a wait that parks", |rig| rig.park(park) >= park);
    assert!(rig.connection(key).received.is_empty());
}

/// A pending send to a peer that has ended its side and reads no more does not keep the driver from
/// parking, whether or not the socket is paused.
pub fn a_pending_send_behind_an_end_lets_the_driver_park<F: Fixture>() {
    for paused in [false, true] {
        let mut rig = Rig::<F>::new();
        let (key, mut far) = rig.open_with(Buffers::Small);
        if paused {
            rig.pause(key);
        }
        let stuck = rig.send_until_pending(key, 69, 50_000);
        far.finish();
        let park = Duration::from_millis(300);
        rig.until("a wait that parks", |rig| rig.park(park) >= park);
        let read = rig.far_reads(&mut far, stuck.bytes.len());
        Bytes::assert_same(&read, &stuck.bytes, "behind the end");
        rig.until("sent", |rig| !rig.connection(key).pending);
    }
}

/// Resuming what was never paused, and pausing twice, change nothing.
pub fn pausing_is_idempotent<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open();
    rig.resume(key);
    rig.assert_alive(key, &mut far, 67);
    rig.pause(key);
    rig.pause(key);
    rig.far_writes(&mut far, b"late");
    rig.quiet();
    rig.resume(key);
    rig.resume(key);
    rig.until_received(key, 68);
    rig.assert_alive(key, &mut far, 68);
}
