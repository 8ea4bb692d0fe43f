//! Promise 2, failures: a broken connection is told once, after the bytes before it, and then
//! its key is stale.

use throng_transport::{Driver, Sent, SocketKey};

use super::rig::{TICK, write_some};
use super::{Buffers, Bytes, Far, Fixture, Reset, Rig};

fn until_failed<F: Fixture>(rig: &mut Rig<F>, key: SocketKey) {
    rig.until("failed", |rig| rig.connection(key).failed.is_some());
    rig.quiet();
}

/// Bytes, then a reset: the bytes are delivered, then one failure.
pub fn reset_follows_the_bytes_before_it<F: Fixture<Far: Reset>>() {
    let mut rig = Rig::<F>::with_receive_buffer(100);
    for length in [0, 1, 99, 100, 101, 300, 350] {
        let (key, mut far) = rig.open();
        let bytes = Bytes::of(31, length);
        rig.far_writes(&mut far, &bytes);
        far.reset();
        until_failed(&mut rig, key);
        let received = &rig.connection(key).received;
        Bytes::assert_same(received, &bytes, "before the reset");
        assert!(!rig.connection(key).ended, "a reset is not an end");
    }
}

/// A reset while megabytes are on their way: a clean prefix of them, then one failure.
pub fn reset_amid_a_flood<F: Fixture<Far: Reset>>() {
    let mut rig = Rig::<F>::new();
    for waits in 0..10 {
        let (key, mut far) = rig.open();
        let flood = Bytes::of(32, 1 << 20);
        let written = write_some(&mut far, &flood);
        for _ in 0..waits {
            rig.wait(TICK);
        }
        far.reset();
        until_failed(&mut rig, key);
        let received = &rig.connection(key).received;
        Bytes::assert_prefix(received, &flood[..written], "before the reset");
    }
}

/// A reset while a send is pending: one failure, the send is never done, and what the peer had
/// said before is not lost.
pub fn reset_while_a_send_is_pending<F: Fixture<Far: Reset>>() {
    let mut rig = Rig::<F>::with_receive_buffer(100);
    for length in [0, 1, 250] {
        let (key, mut far) = rig.open_with(Buffers::Small);
        rig.send_until_pending(key, 33, 100_000);
        let bytes = Bytes::of(34, length);
        assert_eq!(write_some(&mut far, &bytes), length);
        far.reset();
        until_failed(&mut rig, key);
        assert_eq!(rig.connection(key).sent, 0);
        let received = &rig.connection(key).received;
        Bytes::assert_same(received, &bytes, "before the reset");
    }
}

/// A peer that had ended its side resets the connection, while nothing is sent to it. Who has no request
/// under way does not hear of that before the next send; who is told of edges does.
pub fn reset_behind_the_end<F: Fixture<Far: Reset>>() {
    let mut rig = Rig::<F>::new();
    for has_sent in [false, true] {
        let (key, mut far) = rig.open();
        if has_sent {
            rig.assert_alive(key, &mut far, 35);
        }
        far.finish();
        rig.until("ended", |rig| rig.connection(key).ended);
        rig.quiet();
        far.reset();
        until_failed(&mut rig, key);
    }
}

/// A paused socket is told of a reset without being resumed.
pub fn reset_while_paused<F: Fixture<Far: Reset>>() {
    let mut rig = Rig::<F>::new();
    for length in [0, 10] {
        let (key, mut far) = rig.open();
        rig.pause(key);
        rig.far_writes(&mut far, &Bytes::of(35, length));
        rig.wait(TICK);
        far.reset();
        until_failed(&mut rig, key);
    }
}

/// A paused socket whose send is pending is told of a reset, once.
pub fn reset_while_paused_with_a_send_pending<F: Fixture<Far: Reset>>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open_with(Buffers::Small);
    rig.pause(key);
    rig.send_until_pending(key, 36, 100_000);
    rig.far_writes(&mut far, b"unread");
    far.reset();
    until_failed(&mut rig, key);
    assert_eq!(rig.connection(key).sent, 0);
}

/// A reset that a send finds first: what the peer had said before is still delivered, and there
/// is one failure.
pub fn reset_found_by_a_send<F: Fixture<Far: Reset>>() {
    let mut rig = Rig::<F>::with_receive_buffer(100);
    for length in [0, 1, 250] {
        let (key, mut far) = rig.open();
        let bytes = Bytes::of(37, length);
        assert_eq!(write_some(&mut far, &bytes), length);
        far.reset();
        let _: Sent = rig.send(key, b"unheard");
        until_failed(&mut rig, key);
        let received = &rig.connection(key).received;
        Bytes::assert_same(received, &bytes, "before the reset");
    }
}

/// A reset that is found by asking how a pending send stands: nothing is left of the send, and what
/// the peer had said before still comes ahead of the one failure.
pub fn reset_found_by_asking<F: Fixture<Far: Reset>>() {
    let mut rig = Rig::<F>::with_receive_buffer(100);
    for length in [0, 1, 250] {
        let (key, mut far) = rig.open_with(Buffers::Small);
        rig.send_until_pending(key, 37, 100_000);
        rig.quiet();
        let bytes = Bytes::of(38, length);
        assert_eq!(write_some(&mut far, &bytes), length);
        far.reset();
        rig.driver.unsent(key);
        until_failed(&mut rig, key);
        assert_eq!(rig.connection(key).sent, 0);
        let received = &rig.connection(key).received;
        Bytes::assert_same(received, &bytes, "before the reset");
    }
}

/// A socket is released, and its slot given away, while its failure is still to be told.
pub fn failures_die_with_their_socket<F: Fixture<Far: Reset>>() {
    let mut rig = Rig::<F>::new();
    let (mut key, mut far) = rig.open();
    for round in 0..20 {
        far.reset();
        if round % 2 == 0 {
            let _: Sent = rig.send(key, b"unheard");
        }
        match round % 3 {
            0 => rig.close(key),
            _ => rig.abort(key),
        }
        key.generation += 1;
        far = rig.open_as(key, Buffers::Default);
    }
    rig.assert_alive(key, &mut far, 38);
    rig.quiet();
}

/// A failed connection's key is stale: its slot may be used at once.
pub fn a_failed_slot_is_free<F: Fixture<Far: Reset>>() {
    let mut rig = Rig::<F>::new();
    let (mut key, mut far) = rig.open();
    for _ in 0..20 {
        far.reset();
        rig.until("failed", |rig| rig.connection(key).failed.is_some());
        key.generation += 1;
        far = rig.open_as(key, Buffers::Default);
    }
    rig.assert_alive(key, &mut far, 39);
}
