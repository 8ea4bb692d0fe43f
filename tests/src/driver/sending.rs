//! Promise 4: sending. Done or pending, told once, and buffers untouched until then.

use std::time::Duration;

use throng_transport::{ChunkPool, Driver, SendQueue, Sent, Slice};

use super::rig::{End, PATIENCE, TICK, queue_of, read_some};
use super::{Buffers, Bytes, Far, Fixture, Random, Rig};

/// What a reader can take at most without being seen to. Linux opens a TCP window that was closed once a
/// sixteenth of the receive buffer is free, which grows by itself, and frees segments as a whole.
const A_LITTLE: usize = 512 * 1024;
/// Turns of the case that keeps writing into one pool.
const TURNS: u64 = 300;

/// What fits is done at once and is not reported again.
pub fn what_fits_is_done_at_once<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open();
    let mut all = Vec::new();
    for seed in 0..50 {
        let bytes = Bytes::of(seed, 100);
        let _ = rig.send(key, &bytes);
        rig.until("sent", |rig| !rig.connection(key).pending);
        all.extend_from_slice(&bytes);
    }
    let read = rig.far_reads(&mut far, all.len());
    Bytes::assert_same(&read, &all, "many small sends");
    rig.quiet();
}

/// A queue of nothing is done, and slices of nothing between others disturb nobody.
pub fn sending_nothing_is_harmless<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open();
    assert_eq!(rig.send_queue(key, SendQueue::new()), Sent::Done);
    let _ = rig.send(key, b"");
    rig.until("sent", |rig| !rig.connection(key).pending);
    let mut queue = SendQueue::new();
    for part in [&b""[..], b"", b"some", b"", b"thing", b"", b""] {
        queue.push(Slice::with_len(part.len(), |out| out.copy_from_slice(part)));
    }
    let _ = rig.send_queue(key, queue);
    assert_eq!(rig.far_reads(&mut far, 9), b"something");
    let mut queue = SendQueue::new();
    (0..100).for_each(|_| queue.push(Slice::with_len(0, |_| {})));
    queue.push(Slice::with_len(3, |out| out.copy_from_slice(b"end")));
    let _ = rig.send_queue(key, queue);
    assert_eq!(rig.far_reads(&mut far, 3), b"end");
    rig.assert_alive(key, &mut far, 50);
}

/// A send that a slow reader holds up is reported once, when the reader has read.
pub fn a_slow_reader_holds_a_send_up<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open_with(Buffers::Small);
    for round in 1..=5 {
        let bytes = Bytes::of(51 + round, 1 << 20);
        rig.send_more_than_fits(key, queue_of(&bytes));
        rig.quiet();
        assert!(rig.connection(key).pending, "nobody has read it");
        let stuck = rig.driver.unsent(key);
        assert!((1..bytes.len()).contains(&stuck), "{stuck} bytes unsent");
        let mut read = rig.far_reads(&mut far, bytes.len() / 2);
        rig.until("progress", |rig| rig.driver.unsent(key) < stuck);
        read.extend(rig.far_reads(&mut far, bytes.len() - read.len()));
        Bytes::assert_same(&read, &bytes, "through a slow reader");
        rig.until("sent", |rig| !rig.connection(key).pending);
        rig.quiet();
        assert_eq!(rig.connection(key).sent as u64, round);
    }
}

/// A reader that takes a little now and then is seen to do so, however long it will be until the
/// system tells of room.
pub fn a_little_progress_shows<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open();
    let bytes = Bytes::of(57, 16 << 20);
    rig.send_more_than_fits(key, queue_of(&bytes));
    rig.quiet();
    let mut before = rig.driver.unsent(key);
    let mut read = Vec::new();
    for _ in 0..5 {
        let begun = read.len();
        // What is read first may have left the system before.
        let upto = read.len() + A_LITTLE + F::GRAIN;
        while rig.driver.unsent(key) == before {
            assert!(read.len() < upto, "{} bytes were read unseen", upto - begun);
            read.extend(rig.far_reads(&mut far, 4096));
            rig.wait(TICK);
        }
        let left = rig.driver.unsent(key);
        assert!(left < before, "{left} bytes unsent after {before}");
        before = left;
    }
    let rest = rig.far_reads(&mut far, bytes.len() - read.len());
    read.extend(rest);
    Bytes::assert_same(&read, &bytes, "to a slow reader");
    rig.until("sent", |rig| rig.connection(key).sent == 1);
    rig.quiet();
}

/// A send that is completed by asking how it stands is reported by the following wait, once, and
/// our side ends behind it when it was finished meanwhile.
pub fn a_send_completed_by_asking_is_reported_once<F: Fixture>() {
    for finished in [false, true] {
        let mut rig = Rig::<F>::new();
        let (key, mut far) = rig.open();
        let stuck = rig.send_until_pending(key, 58, 1000);
        rig.wait(TICK);
        if finished {
            rig.driver.finish(key);
        }
        let mut read = Vec::new();
        while rig.driver.unsent(key) > 0 {
            rig.wait(Duration::ZERO);
            read.extend(rig.far_reads(&mut far, 4096));
        }
        // A driver that heard of room by itself has reported already.
        if rig.connection(key).pending {
            assert_eq!(rig.driver.unsent(key), 0);
            assert!(rig.driver.detach(key).is_none(), "not before the report");
            rig.wait(PATIENCE);
        }
        assert_eq!(rig.connection(key).sent, 1, "reported without an event");
        let rest = rig.far_reads(&mut far, stuck.bytes.len() - read.len());
        read.extend(rest);
        Bytes::assert_same(&read, &stuck.bytes, "completed by asking");
        if finished {
            assert_eq!(rig.far_reads_to_end(&mut far).1, End::Ended);
        } else {
            rig.assert_alive(key, &mut far, 59);
        }
        rig.quiet();
    }
}

/// Queues of few and many slices, small and large, arrive as they were pushed.
pub fn gathered_slices_arrive_in_order<F: Fixture>() {
    let mut random = Random::new(52);
    for buffers in [Buffers::Default, Buffers::Small] {
        let mut rig = Rig::<F>::new();
        let (key, mut far) = rig.open_with(buffers);
        for slices in [1, 2, 63, 64, 65, 128, 129, 1000, 1025, 2500] {
            for most in [1, 40, 3000] {
                let mut queue = SendQueue::new();
                let mut expected = Vec::new();
                for _ in 0..slices {
                    let part = Bytes::of(random.next_u64(), random.between(1, most));
                    queue.push(Slice::with_len(part.len(), |out| {
                        out.copy_from_slice(&part);
                    }));
                    expected.extend_from_slice(&part);
                }
                let _ = rig.send_queue(key, queue);
                let read = rig.far_reads(&mut far, expected.len());
                Bytes::assert_same(&read, &expected, "gathered slices");
                rig.until("sent", |rig| !rig.connection(key).pending);
            }
        }
    }
}

/// Slices of many megabytes.
pub fn large_slices_arrive<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open();
    let expected = Bytes::of(53, 24 << 20);
    let mut queue = SendQueue::new();
    for part in [
        &expected[..5 << 20],
        &expected[5 << 20..12 << 20],
        &expected[12 << 20..],
    ] {
        queue.push(Slice::with_len(part.len(), |out| out.copy_from_slice(part)));
    }
    rig.send_more_than_fits(key, queue);
    let read = rig.far_reads(&mut far, expected.len());
    Bytes::assert_same(&read, &expected, "large slices");
    rig.until("sent", |rig| rig.connection(key).sent == 1);
}

/// The same slices go to many sockets of different speeds, as a broadcast does.
pub fn slices_are_shared_between_sockets<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let mut ends: Vec<_> = [Buffers::Small, Buffers::Default, Buffers::Small]
        .map(|buffers| rig.open_with(buffers))
        .into();
    let parts: Vec<_> = (0..40u64).map(|seed| Bytes::of(seed, 9000)).collect();
    let mut pool = ChunkPool::new();
    let slices: Vec<_> = parts
        .iter()
        .map(|part| pool.write(part.len(), |out| out.copy_from_slice(part)))
        .collect();
    for (key, _) in &ends {
        let mut queue = SendQueue::new();
        for slice in &slices {
            queue.push(slice.clone());
        }
        let _ = rig.send_queue(*key, queue);
    }
    drop(slices);
    let expected = parts.concat();
    for (_, far) in ends.iter_mut().rev() {
        let read = rig.far_reads(far, expected.len());
        Bytes::assert_same(&read, &expected, "a broadcast");
    }
}

/// Writes a part that `turn` is known by into the pool.
fn write_turn(pool: &mut ChunkPool, turn: u64) -> (Slice, Vec<u8>) {
    let bytes = Bytes::of(turn, 1000 + usize::try_from(turn % 7).unwrap() * 9000);
    let slice = pool.write(bytes.len(), |out| out.copy_from_slice(&bytes));
    (slice, bytes)
}

/// One pool is written turn after turn while sends are pending: no chunk is written anew
/// before the bytes that were in it have gone.
pub fn buffers_are_not_reused_before_they_are_sent<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open_with(Buffers::Small);
    let mut pool = ChunkPool::new();
    let (mut expected, mut arrived) = (Vec::new(), Vec::new());
    let mut random = Random::new(54);
    let mut part = vec![0; 70_000];
    for turn in 0..TURNS {
        pool.rewind();
        let (slice, bytes) = write_turn(&mut pool, turn);
        if !rig.connection(key).pending {
            let mut queue = SendQueue::new();
            queue.push(slice);
            let _ = rig.send_queue(key, queue);
            expected.extend_from_slice(&bytes);
        }
        let most = random.between(1, part.len());
        let (count, _) = read_some(&mut far, &mut part[..most]);
        arrived.extend_from_slice(&part[..count]);
        rig.wait(Duration::ZERO);
    }
    let rest = rig.far_reads(&mut far, expected.len() - arrived.len());
    arrived.extend_from_slice(&rest);
    Bytes::assert_same(&arrived, &expected, "what the pool held");
}

/// A socket is released with a send pending, and its buffers' pool is written on: what arrives
/// is a clean prefix.
pub fn released_with_a_send_pending<F: Fixture>() {
    for abort in [false, true] {
        let mut rig = Rig::<F>::new();
        let (key, mut far) = rig.open_with(Buffers::Small);
        let mut pool = ChunkPool::new();
        let mut queue = SendQueue::new();
        let mut expected = Vec::new();
        for turn in 0..100 {
            let (slice, bytes) = write_turn(&mut pool, turn);
            queue.push(slice);
            expected.extend_from_slice(&bytes);
        }
        rig.send_more_than_fits(key, queue);
        rig.wait(TICK);
        match abort {
            true => rig.abort(key),
            false => rig.close(key),
        }
        for turn in 1000..1100 {
            pool.rewind();
            let _ = write_turn(&mut pool, turn);
            rig.wait(Duration::ZERO);
        }
        let (read, end) = rig.far_reads_to_end(&mut far);
        Bytes::assert_prefix(&read, &expected, "before the release");
        assert!(read.len() < expected.len(), "a pending send was released");
        assert!(abort || end == End::Ended, "a close is not a reset");
    }
}

/// Receiving goes on while a send is pending.
pub fn receiving_goes_on_while_a_send_is_pending<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open_with(Buffers::Small);
    let stuck = rig.send_until_pending(key, 55, 50_000);
    let bytes = Bytes::of(56, 100_000);
    rig.far_writes(&mut far, &bytes);
    far.finish();
    rig.until("the end", |rig| rig.connection(key).ended);
    Bytes::assert_same(&rig.connection(key).received, &bytes, "meanwhile");
    assert!(rig.connection(key).pending);
    let read = rig.far_reads(&mut far, stuck.bytes.len());
    Bytes::assert_same(&read, &stuck.bytes, "after the far end's own end");
    rig.until("sent", |rig| rig.connection(key).sent == 1);
}
