//! Promise 8: closing. What the system was given arrives; an abort is seen as one.

use throng_transport::{Driver, Sent};

use super::rig::{End, TICK, queue_of};
use super::{Buffers, Bytes, Far, Fixture, Reset, Rig};

/// Everything that was sent before a close arrives, and then the end.
pub fn close_delivers_what_was_sent<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    for length in [0, 1, 5000, 60_000] {
        for waits in 0..2 {
            let (key, mut far) = rig.open();
            let bytes = Bytes::of(81, length);
            let _ = rig.send(key, &bytes);
            rig.until("sent", |rig| !rig.connection(key).pending);
            for _ in 0..waits {
                rig.wait(TICK);
            }
            rig.close(key);
            let (read, end) = rig.far_reads_to_end(&mut far);
            Bytes::assert_same(&read, &bytes, "before the close");
            assert_eq!(end, End::Ended);
        }
    }
    rig.quiet();
}

/// A close while the peer reads slowly: whatever was done, or reported as sent, still arrives.
pub fn close_delivers_to_a_slow_reader<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open_with(Buffers::Small);
    let stuck = rig.send_until_pending(key, 82, 1000);
    rig.close(key);
    let (read, end) = rig.far_reads_to_end(&mut far);
    Bytes::assert_prefix(&read, &stuck.bytes, "before the close");
    // Of the last grain the system may have a part, which is of no use without the rest.
    assert!(read.len() + F::GRAIN > stuck.done, "what was done arrives");
    assert_eq!(end, End::Ended);
}

/// What was said to be done arrives, also when the system turns out to have no room for it and the
/// service, who cannot know, closes at once.
pub fn what_is_done_arrives_whatever_follows<F: Fixture>() {
    for (size, finished) in [(1000, false), (100_000, false), (100_000, true)] {
        let mut rig = Rig::<F>::new();
        let (key, mut far) = rig.open_with(Buffers::Small);
        let bytes = Bytes::of(87, size);
        let sent = rig.send(key, &bytes);
        if finished {
            rig.driver.finish(key);
        }
        rig.close(key);
        let (read, end) = rig.far_reads_to_end(&mut far);
        Bytes::assert_prefix(&read, &bytes, "before the close");
        if sent == Sent::Done {
            assert_eq!(read.len(), size, "what was done arrives");
        }
        assert_eq!(end, End::Ended);
    }
}

/// Finishing behind a send that is done, or turns out not to be, loses none of it, and who was not told
/// that it is pending is told then.
pub fn finish_waits_for_what_is_done<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open_with(Buffers::Small);
    let bytes = Bytes::of(88, 100_000);
    let _ = rig.send(key, &bytes);
    rig.driver.finish(key);
    rig.quiet();
    if rig.connection(key).pending {
        let unsent = rig.driver.unsent(key);
        assert!((1..=bytes.len()).contains(&unsent), "{unsent} bytes unsent");
    }
    let (read, end) = rig.far_reads_to_end(&mut far);
    Bytes::assert_same(&read, &bytes, "before the end");
    assert_eq!(end, End::Ended);
    rig.until("sent", |rig| !rig.connection(key).pending);
    rig.far_writes(&mut far, b"the other side goes on");
    rig.until_received(key, 22);
}

/// A close while bytes of the peer wait undelivered, which the system would take as a reason
/// to reset the connection and drop what it holds.
pub fn close_over_undelivered_bytes_delivers_what_was_sent<F: Fixture>() {
    for paused in [false, true] {
        let mut rig = Rig::<F>::with_receive_buffer(100);
        let (key, mut far) = rig.open_with(Buffers::Small);
        if paused {
            rig.pause(key);
        }
        rig.far_writes(&mut far, &[7; 1024]);
        let stuck = rig.send_until_pending(key, 83, 1000);
        rig.wait(TICK);
        rig.close(key);
        let (read, end) = rig.far_reads_to_end(&mut far);
        Bytes::assert_prefix(&read, &stuck.bytes, "before the close");
        assert!(
            read.len() + F::GRAIN > stuck.done,
            "{} bytes of {} that were done arrive (paused: {paused})",
            read.len(),
            stuck.done
        );
        assert_eq!(end, End::Ended);
    }
}

/// Finishing with nothing pending ends our side at once; the other goes on.
pub fn finish_ends_our_side_only<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open();
    assert_eq!(rig.send(key, b"goodbye"), Sent::Done);
    rig.driver.finish(key);
    rig.driver.finish(key);
    let (read, end) = rig.far_reads_to_end(&mut far);
    assert_eq!((read.as_slice(), end), (&b"goodbye"[..], End::Ended));
    let bytes = Bytes::of(84, 300_000);
    rig.far_writes(&mut far, &bytes);
    far.finish();
    rig.until("the end", |rig| rig.connection(key).ended);
    Bytes::assert_same(&rig.connection(key).received, &bytes, "after our end");
    rig.quiet();
}

/// Finishing with a send pending: the peer gets all of it, then the end, and we are told that
/// it is sent and go on receiving.
pub fn finish_waits_for_a_pending_send<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open_with(Buffers::Small);
    let bytes = Bytes::of(85, 1 << 20);
    rig.send_more_than_fits(key, queue_of(&bytes));
    rig.driver.finish(key);
    rig.driver.finish(key);
    rig.wait(TICK);
    let (read, end) = rig.far_reads_to_end(&mut far);
    Bytes::assert_same(&read, &bytes, "before the end");
    assert_eq!(end, End::Ended);
    rig.until("sent", |rig| rig.connection(key).sent == 1);
    rig.far_writes(&mut far, b"thanks");
    rig.until_received(key, 6);
    rig.close(key);
    rig.quiet();
}

/// Both sides end, in either order; the service is told, and the socket stays until released.
pub fn both_sides_end<F: Fixture>() {
    for ours_first in [false, true] {
        let mut rig = Rig::<F>::new();
        let (key, mut far) = rig.open();
        if ours_first {
            rig.driver.finish(key);
            assert_eq!(rig.far_reads_to_end(&mut far).1, End::Ended);
        }
        far.finish();
        rig.until("the end", |rig| rig.connection(key).ended);
        if !ours_first {
            rig.driver.finish(key);
            assert_eq!(rig.far_reads_to_end(&mut far).1, End::Ended);
        }
        rig.quiet();
        assert!(rig.connection(key).is_open(), "an end is not a failure");
        rig.close(key);
    }
}

/// An abort resets the connection, whatever was sent or is pending.
pub fn abort_resets<F: Fixture<Far: Reset>>() {
    for finished in [false, true] {
        for paused in [false, true] {
            let mut rig = Rig::<F>::new();
            let (key, mut far) = rig.open_with(Buffers::Small);
            if paused {
                rig.pause(key);
                rig.far_writes(&mut far, b"unread");
            }
            let stuck = rig.send_until_pending(key, 86, 1000);
            if finished {
                rig.driver.finish(key);
            }
            rig.wait(TICK);
            rig.abort(key);
            let (read, end) = rig.far_reads_to_end(&mut far);
            Bytes::assert_prefix(&read, &stuck.bytes, "before the abort");
            assert_eq!(end, End::Reset);
            rig.quiet();
        }
    }
}

/// An idle connection that is aborted is reset, too.
pub fn abort_resets_an_idle_connection<F: Fixture<Far: Reset>>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open();
    rig.abort(key);
    assert_eq!(rig.far_reads_to_end(&mut far), (Vec::new(), End::Reset));
}

/// Dropping the driver closes what it held.
pub fn dropping_the_driver_closes<F: Fixture>() {
    let mut rig = Rig::<F>::new();
    let (key, mut far) = rig.open();
    assert_eq!(rig.send(key, b"last"), Sent::Done);
    drop(rig.replace_driver());
    let (read, end) = rig.far_reads_to_end(&mut far);
    assert_eq!((read.as_slice(), end), (&b"last"[..], End::Ended));
}
