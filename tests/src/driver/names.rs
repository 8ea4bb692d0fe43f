//! Promise 1: names. A stale key does nothing, and no callback carries one.

use throng_transport::{Driver, SendQueue, Sent, Slice, SocketKey};

use super::rig::{TICK, write_some};
use super::{Buffers, Bytes, Far, Fixture, Rig};

/// Connections of the case that reuses slots.
const SLOTS: u32 = 16;
/// How often it gives half of them to new connections.
const ROUNDS: u64 = 60;

/// Does everything that can be done to a key that names no open socket.
fn try_everything(driver: &mut impl Driver, key: SocketKey) {
    let mut queue = SendQueue::new();
    queue.push(Slice::with_len(3, |out| out.copy_from_slice(b"no!")));
    assert_eq!(
        driver.send(key, &mut queue),
        Sent::Done,
        "nothing to wait for"
    );
    assert!(queue.is_empty(), "a send leaves its queue empty");
    driver.pause(key);
    driver.resume(key);
    driver.pause(key);
    driver.finish(key);
    assert!(driver.detach(key).is_none(), "{key:?} names no socket");
    driver.close(key);
    driver.abort(key);
}

/// Earlier and later generations of an open socket's slot, and slots never used, are nobody.
pub fn stale_keys_do_nothing<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let key = SocketKey {
        slot: 3,
        generation: 7,
    };
    let mut far = rig.open_as(key, Buffers::Default);
    for (slot, generation) in [(3, 6), (3, 8), (3, 0), (2, 7), (0, 0), (4, 7), (9999, 7)] {
        try_everything(&mut rig.driver, SocketKey { slot, generation });
    }
    rig.assert_alive(key, &mut far, 1);
    rig.close(key);
    let next = SocketKey {
        generation: 8,
        ..key
    };
    try_everything(&mut rig.driver, key);
    let mut far = rig.open_as(next, Buffers::Default);
    try_everything(&mut rig.driver, key);
    rig.assert_alive(next, &mut far, 2);
}

/// A key whose socket ended at the peer's hand still works; once released it does not.
pub fn keys_outlive_the_end_but_not_the_release<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open();
    far.finish();
    rig.until("the end", |rig| rig.connection(key).ended);
    assert_eq!(rig.send(key, b"still here"), Sent::Done);
    assert_eq!(rig.far_reads(&mut far, 10), b"still here");
    rig.close(key);
    try_everything(&mut rig.driver, key);
    rig.quiet();
}

/// Slots change hands while events of their former sockets wait: each connection is told its own
/// bytes and nothing else.
pub fn slots_are_reused_while_events_wait<F: Fixture>() {
    let mut rig = Rig::<F>::with_receive_buffer(64);
    let mut open = Vec::new();
    for slot in 0..SLOTS {
        let key = SocketKey {
            slot,
            generation: 1,
        };
        open.push((key, rig.open_as(key, Buffers::Default)));
    }
    for round in 0..ROUNDS {
        // More than a buffer full, so that sockets are also released with leftovers due.
        for (key, far) in &mut open {
            write_some(far, &[tag(*key); 150]);
        }
        if round % 2 == 1 {
            rig.wait(TICK);
        }
        for (index, (key, far)) in open.iter_mut().enumerate() {
            if (index as u64 + round).is_multiple_of(2) {
                continue;
            }
            match round % 3 {
                0 => rig.close(*key),
                1 => rig.abort(*key),
                _ => drop(rig.detach(*key)),
            }
            key.generation += 1;
            *far = rig.open_as(*key, Buffers::Default);
        }
    }
    for (key, far) in &mut open {
        rig.far_writes(far, &[tag(*key)]);
        far.finish();
    }
    for (key, _) in &open {
        rig.until("the end", |rig| rig.connection(*key).ended);
    }
    for (key, connection) in &rig.record.connections {
        let own = connection.received.iter().all(|byte| *byte == tag(*key));
        assert!(own, "{key:?} was given bytes of another connection");
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a tag of a few values")]
fn tag(key: SocketKey) -> u8 {
    (key.slot as u8)
        .wrapping_mul(16)
        .wrapping_add(key.generation as u8 % 16)
}

/// Slots and generations are told apart in all their bits, up to the largest generation.
pub fn keys_keep_their_bits<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let key = SocketKey {
        slot: 100_000,
        generation: (1 << 31) - 1,
    };
    let mut far = rig.open_as(key, Buffers::Default);
    rig.assert_alive(key, &mut far, 5);
    let other = SocketKey {
        slot: 34_464,
        ..key
    };
    assert_eq!(other.slot, key.slot & 0xFFFF, "the low bits agree");
    let mut other_far = rig.open_as(other, Buffers::Default);
    rig.assert_alive(other, &mut other_far, 6);
    rig.assert_alive(key, &mut far, 7);
    Bytes::assert_same(
        &rig.connection(other).received.clone(),
        &Bytes::of(6, 64),
        "what the other was told",
    );
}

/// A generation of 2³¹ or more, and a slot that is taken, are refused; whoever has the slot keeps it.
pub fn keys_out_of_bounds_are_refused<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open();
    let taken = SocketKey {
        generation: key.generation + 1,
        ..key
    };
    let beyond = SocketKey {
        slot: key.slot + 1,
        generation: 1 << 31,
    };
    for refused in [key, taken, beyond] {
        let (socket, _far) = rig.fixture.pair(Buffers::Default);
        let error = rig
            .driver
            .adopt(refused, socket)
            .expect_err("a key out of bounds");
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::InvalidInput,
            "{refused:?}"
        );
    }
    rig.assert_alive(key, &mut far, 3);
}
