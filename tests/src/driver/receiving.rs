//! Promise 3: receiving. Delivered bytes are lent; the buffer's size shows nowhere.

use super::rig::TICK;
use super::{Bytes, Fixture, Rig};

/// A message that fills the buffer exactly, once or several times, hides nothing that follows:
/// neither an end nor more bytes nor silence.
pub fn full_buffers_hide_nothing<F: Fixture>() {
    for buffer in [1, 2, 64, 4096] {
        let mut rig = Rig::<F>::with_receive_buffer(buffer);
        let (key, mut far) = rig.open();
        let mut all = Vec::new();
        for buffers in [1, 2, 5] {
            let bytes = Bytes::of(41, buffers * buffer);
            rig.far_writes(&mut far, &bytes);
            all.extend_from_slice(&bytes);
            rig.until_received(key, all.len());
            rig.wait(TICK);
            rig.far_writes(&mut far, b"!");
            all.push(b'!');
            rig.until_received(key, all.len());
        }
        Bytes::assert_same(&rig.connection(key).received, &all, "around full buffers");
        rig.quiet();
    }
}

/// What the service does to delivered bytes reaches neither later bytes nor other sockets. (It
/// scribbles over all of them in every case.)
pub fn delivered_bytes_may_be_changed<F: Fixture>() {
    let mut rig = Rig::<F>::with_receive_buffer(512);
    let mut ends: Vec<_> = (0..4).map(|_| rig.open()).collect();
    let bytes: Vec<_> = (0..4).map(|seed| Bytes::of(42 + seed, 20_000)).collect();
    for ((_, far), bytes) in ends.iter_mut().zip(&bytes) {
        rig.far_writes(far, bytes);
    }
    for ((key, _), bytes) in ends.iter().zip(&bytes) {
        rig.until_received(*key, bytes.len());
        let received = &rig.connection(*key).received;
        Bytes::assert_same(received, bytes, "beside other sockets");
    }
}

/// Bytes that were there before the driver got the socket are found.
pub fn bytes_from_before_adoption_are_delivered<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (socket, mut far) = rig.fixture.pair(super::Buffers::Default);
    far_says(&mut far, b"early");
    rig.quiet();
    let key = rig.fresh_key();
    rig.adopt(key, socket);
    rig.until_received(key, 5);
    assert_eq!(rig.connection(key).received, b"early");
}

fn far_says(far: &mut impl super::Far, bytes: &[u8]) {
    assert_eq!(super::rig::write_some(far, bytes), bytes.len());
}
