//! Promise 2: order. Every byte once and in order, then the end or a failure, once.

use throng_transport::{SendQueue, Slice, SocketKey};

use super::rig::{End, TICK, queue_of, read_some, write_some};
use super::{Buffers, Bytes, Far, Fixture, Random, Rig};

/// Bytes of the case that sends both ways.
const EACH_WAY: usize = 2 << 20;

/// Lengths around the size of the receive buffer, where counting goes wrong.
fn telling_lengths(buffer: usize) -> [usize; 9] {
    [
        0,
        1,
        buffer - 1,
        buffer,
        buffer + 1,
        2 * buffer,
        2 * buffer + 1,
        5 * buffer - 1,
        5 * buffer + 7,
    ]
}

/// Megabytes in random pieces in both directions at once, with the default buffers.
pub fn bytes_arrive_exactly_both_ways<F: Fixture>() {
    both_ways::<F>(Buffers::Default, 11);
}

/// The same where the system holds so little that nearly every send comes up short.
pub fn bytes_arrive_exactly_through_small_buffers<F: Fixture>() {
    both_ways::<F>(Buffers::Small, 12);
}

fn both_ways<F: Fixture>(buffers: Buffers, seed: u64) {
    let mut rig = Rig::<F>::new();
    let mut random = Random::new(seed);
    let (key, mut far) = rig.open_with(buffers);
    let (up, down) = (Bytes::of(seed + 1, EACH_WAY), Bytes::of(seed + 2, EACH_WAY));
    let (mut written, mut sent) = (0, 0);
    let mut arrived = Vec::new();
    let mut part = vec![0; 50_000];
    rig.until("megabytes both ways", |rig| {
        let upto = (written + random.between(1, 60_000)).min(EACH_WAY);
        written += write_some(&mut far, &up[written..upto]);
        if sent < EACH_WAY && !rig.connection(key).pending {
            let upto = (sent + random.between(1, 60_000)).min(EACH_WAY);
            let _ = rig.send_queue(key, split(&down[sent..upto], &mut random));
            sent = upto;
        }
        let most = random.between(1, part.len());
        let (count, end) = read_some(&mut far, &mut part[..most]);
        assert_eq!(end, None);
        arrived.extend_from_slice(&part[..count]);
        // Parking while there is more to do would only make the case slow.
        rig.wait(std::time::Duration::ZERO);
        let received = rig.connection(key).received.len();
        received == EACH_WAY && arrived.len() == EACH_WAY
    });
    Bytes::assert_same(&rig.connection(key).received, &up, "to the driver");
    Bytes::assert_same(&arrived, &down, "to the far end");
}

/// A queue of the bytes in a few slices of random lengths.
fn split(mut bytes: &[u8], random: &mut Random) -> SendQueue {
    let mut queue = SendQueue::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at(random.between(1, bytes.len()));
        queue.push(Slice::with_len(head.len(), |out| out.copy_from_slice(head)));
        bytes = rest;
    }
    queue
}

fn assert_received_and_ended<F: Fixture>(rig: &mut Rig<F>, key: SocketKey, expected: &[u8]) {
    rig.until("the end of the stream", |rig| rig.connection(key).ended);
    let received = &rig.connection(key).received;
    Bytes::assert_same(received, expected, "before the end");
}

/// The last bytes and the end of the stream arrive together, for all telling lengths.
pub fn data_and_end_together<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    for length in telling_lengths(rig.receive_buffer) {
        let (socket, mut far) = rig.fixture.pair(Buffers::Default);
        let bytes = Bytes::of(21, length);
        // Before the driver knows the socket, so that it finds everything at once.
        assert_eq!(write_some(&mut far, &bytes), length);
        far.finish();
        let key = rig.fresh_key();
        rig.adopt(key, socket);
        assert_received_and_ended(&mut rig, key, &bytes);
    }
    rig.quiet();
}

/// The bytes and the end arrive while the socket is paused and are told after resuming.
pub fn end_while_paused<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    for length in telling_lengths(rig.receive_buffer) {
        let (key, mut far) = rig.open();
        rig.pause(key);
        let bytes = Bytes::of(22, length);
        rig.far_writes(&mut far, &bytes);
        far.finish();
        rig.quiet();
        rig.resume(key);
        assert_received_and_ended(&mut rig, key, &bytes);
    }
    rig.quiet();
}

/// The socket is paused after part of the bytes was delivered, the end already behind them.
pub fn pause_between_bytes_and_end<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    for length in telling_lengths(rig.receive_buffer) {
        let (socket, mut far) = rig.fixture.pair(Buffers::Default);
        let bytes = Bytes::of(23, length + 1);
        assert_eq!(write_some(&mut far, &bytes), bytes.len());
        far.finish();
        let key = rig.fresh_key();
        rig.adopt(key, socket);
        rig.until_received(key, 1);
        rig.until("the end, in steps", |rig| {
            rig.pause(key);
            rig.wait(TICK);
            rig.resume(key);
            rig.wait(TICK);
            rig.connection(key).ended
        });
        assert_received_and_ended(&mut rig, key, &bytes);
    }
}

/// The peer ends its side at once; we still send a lot, and the stream ends once both have.
pub fn half_closed_peer_is_still_sent_to<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open_with(Buffers::Small);
    rig.far_writes(&mut far, b"last words");
    far.finish();
    assert_received_and_ended(&mut rig, key, b"last words");
    let answer = Bytes::of(24, 1 << 20);
    rig.send_more_than_fits(key, queue_of(&answer));
    let read = rig.far_reads(&mut far, answer.len());
    Bytes::assert_same(&read, &answer, "after the peer's end");
    rig.until("sent", |rig| rig.connection(key).sent == 1);
    rig.close(key);
    assert_eq!(rig.far_reads_to_end(&mut far), (Vec::new(), End::Ended));
}

/// The peer goes away while a send is pending: one failure, and the send is never done.
pub fn peer_goes_away_while_a_send_is_pending<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, far) = rig.open_with(Buffers::Small);
    rig.send_until_pending(key, 25, 100_000);
    rig.wait(TICK);
    drop(far);
    rig.until("failed", |rig| rig.connection(key).failed.is_some());
    assert_eq!(rig.connection(key).sent, 0, "nobody has read");
    rig.quiet();
}

/// Sending to a peer that has gone fails, once, even if the service goes on sending.
pub fn sending_to_a_peer_that_has_gone_fails_once<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, far) = rig.open();
    drop(far);
    rig.until("failed", |rig| {
        let connection = rig.connection(key);
        if connection.is_open() && !connection.pending {
            let _ = rig.send(key, b"anybody there?");
        }
        rig.connection(key).failed.is_some()
    });
    rig.quiet();
}
