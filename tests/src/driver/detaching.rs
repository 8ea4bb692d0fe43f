//! Detaching: a socket is given away whole.

use throng_transport::{Driver, Socket};

use super::rig::{End, TICK, write_some};
use super::{Buffers, Bytes, Far, Fixture, Rig};

/// What a second driver is told of a socket, bytes up to the end.
fn read_elsewhere<F: Fixture>(rig: &mut Rig<F>, socket: Socket) -> Vec<u8> {
    drop(rig.replace_driver());
    let key = rig.fresh_key();
    rig.adopt(key, socket);
    rig.until("the end", |rig| rig.connection(key).ended);
    rig.close(key);
    rig.record.connections[&key].received.clone()
}

/// Undelivered bytes go along, whether the driver was paused, in the middle of a message, or had
/// not looked yet.
pub fn undelivered_bytes_go_along<F: Fixture>() {
    for (paused, waits) in [(false, 0), (false, 1), (false, 3), (true, 0), (true, 3)] {
        let mut rig = Rig::<F>::with_receive_buffer(1000);
        let (key, mut far) = rig.open();
        if paused {
            rig.pause(key);
        }
        let bytes = Bytes::of(91, 10_500);
        rig.far_writes(&mut far, &bytes);
        for _ in 0..waits {
            rig.wait(TICK);
        }
        let mut all = rig.connection(key).received.clone();
        assert!(all.len() < bytes.len(), "the case leaves bytes undelivered");
        let detached = rig.detach(key).expect("nothing is pending");
        assert!(rig.driver.detach(key).is_none(), "it is gone");
        rig.quiet();
        far.finish();
        all.extend(detached.undelivered);
        all.extend(read_elsewhere(&mut rig, detached.socket));
        Bytes::assert_same(&all, &bytes, "here and elsewhere");
    }
}

/// A socket with a pending send stays, undisturbed, and may go once it is sent.
pub fn a_pending_send_holds_a_socket<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open_with(Buffers::Small);
    let stuck = rig.send_until_pending(key, 92, 50_000);
    assert!(rig.driver.detach(key).is_none(), "a send is pending");
    rig.wait(TICK);
    assert!(rig.driver.detach(key).is_none(), "a send is pending");
    let read = rig.far_reads(&mut far, stuck.bytes.len());
    Bytes::assert_same(&read, &stuck.bytes, "in spite of detaching");
    rig.until("sent", |rig| !rig.connection(key).pending);
    assert!(rig.detach(key).is_some());
}

/// A detached socket can come back, under another key, time and again.
pub fn a_detached_socket_can_come_back<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (mut key, mut far) = rig.open();
    for round in 0..20 {
        rig.assert_alive(key, &mut far, 93 + round);
        let detached = rig.detach(key).expect("nothing is pending");
        assert!(detached.undelivered.is_empty(), "all was delivered");
        key.generation += 1;
        rig.adopt(key, detached.socket);
    }
    far.finish();
    rig.until("the end", |rig| rig.connection(key).ended);
    drop(rig.detach(key).expect("an end does not hold a socket"));
    assert_eq!(rig.far_reads_to_end(&mut far), (Vec::new(), End::Ended));
}

/// What several sockets have received at the same time is each one's own, whoever leaves.
pub fn each_detached_socket_has_its_own_bytes<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let mut ends: Vec<_> = (0..4).map(|_| rig.open()).collect();
    rig.quiet();
    let said: Vec<Vec<u8>> = (0..4).map(|end| Bytes::of(95 + end, 500)).collect();
    for ((_, far), bytes) in ends.iter_mut().zip(&said) {
        assert_eq!(write_some(far, bytes), bytes.len());
    }
    // What the driver has received of others while it gave one away.
    let leave = [0, 3, 1].map(|end| (end, rig.detach(ends[end].0).expect("nothing is pending")));
    rig.until_received(ends[2].0, said[2].len());
    let received = &rig.connection(ends[2].0).received;
    Bytes::assert_same(received, &said[2], "of the one that stays");
    for (end, detached) in leave {
        ends[end].1.finish();
        let mut all = detached.undelivered;
        all.extend(read_elsewhere(&mut rig, detached.socket));
        Bytes::assert_same(&all, &said[end], "of one that left");
    }
}
