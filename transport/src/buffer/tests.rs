use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn text(pool: &mut ChunkPool, bytes: &[u8]) -> Slice {
    pool.write(bytes.len(), |out| out.copy_from_slice(bytes))
}

#[test]
fn slices_of_one_turn_touch_and_merge() {
    let mut pool = ChunkPool::new();
    let mut first = text(&mut pool, b"one");
    let second = text(&mut pool, b"two");
    assert!(first.try_extend(&second));
    assert_eq!(first.as_bytes(), b"onetwo");
    let fourth = {
        text(&mut pool, b"gap");
        text(&mut pool, b"four")
    };
    assert!(
        !first.try_extend(&fourth),
        "a slice that leaves a gap must not merge"
    );
    let mut other = ChunkPool::new();
    let elsewhere = text(&mut other, b"onetwo");
    assert!(!first.try_extend(&elsewhere));
}

#[test]
fn writing_behind_a_slice_grows_it_while_its_chunk_lasts() {
    let mut pool = ChunkPool::new();
    let mut run = text(&mut pool, b"one");
    let shared = run.clone();
    assert!(pool.write_behind(&mut run, 3, |out| out.copy_from_slice(b"two")));
    assert_eq!(
        (run.as_bytes(), shared.as_bytes()),
        (&b"onetwo"[..], &b"one"[..])
    );
    let mut gap = shared;
    assert!(!pool.write_behind(&mut gap, 1, |_| panic!("nothing may be written")));
    pool.write(MAX_PACKED, |out| out.fill(0));
    assert!(!pool.write_behind(&mut run, 1, |_| panic!("nothing may be written")));
    let mut last = pool.write(MAX_PACKED - 6, |out| out.fill(0));
    assert!(!pool.write_behind(&mut last, 1, |_| panic!("the chunk is full")));
    let mut other = ChunkPool::new();
    assert!(!other.write_behind(&mut last, 1, |_| panic!("nothing may be written")));
}

#[test]
fn rewind_waits_for_the_last_reader() {
    let mut pool = ChunkPool::new();
    let held = text(&mut pool, b"held");
    pool.rewind();
    let next = text(&mut pool, b"next");
    assert_eq!(
        (held.as_bytes(), next.as_bytes()),
        (&b"held"[..], &b"next"[..])
    );
    drop((held, next));
    pool.rewind();
    assert_eq!(pool.written, 0);
}

#[test]
fn a_full_chunk_is_reused_only_when_free() {
    let mut pool = ChunkPool::new();
    let held: Vec<Slice> = (0..8u8)
        .map(|i| pool.write(MAX_PACKED, |out| out.fill(i)))
        .collect();
    for (i, slice) in held.iter().enumerate() {
        assert!(slice.as_bytes().iter().all(|&b| usize::from(b) == i));
    }
    let pooled = pool.pooled_bytes();
    assert_eq!(pooled, 3 * CHUNK_SIZE);
    drop(held);
    for i in 0..100u8 {
        pool.write(MAX_PACKED, |out| out.fill(i));
    }
    assert_eq!(
        pool.pooled_bytes(),
        pooled,
        "free chunks are reused, no more are made"
    );
}

#[test]
fn a_slice_held_for_ever_keeps_only_its_own_chunk() {
    let mut pool = ChunkPool::new();
    let held = text(&mut pool, b"for ever");
    let fill_a_chunk = |pool: &mut ChunkPool| {
        let half = pool.write(MAX_PACKED, |out| out.fill(1));
        pool.write(MAX_PACKED, |out| out.fill(2));
        Arc::as_ptr(&half.chunk)
    };
    let chunks: HashSet<_> = (0..50).map(|_| fill_a_chunk(&mut pool)).collect();
    assert!(chunks.len() <= 3, "{} chunks were filled", chunks.len());
    assert_eq!(held.as_bytes(), b"for ever");
}

#[test]
fn a_small_part_of_a_chunk_is_moved_out_of_it() {
    let mut pool = ChunkPool::new();
    let mut small = text(&mut pool, b"small");
    let mut large = pool.write(CHUNK_SIZE / SPARSE, |out| out.fill(7));
    small.compact();
    assert_eq!(small.as_bytes(), b"small");
    assert_eq!(small.chunk.capacity(), 5);
    large.compact();
    assert_eq!(large.chunk.capacity(), CHUNK_SIZE, "it fills enough of it");
    pool.rewind();
    assert_ne!(pool.written, 0, "the large one is still there");
    large.advance(1);
    large.compact();
    pool.rewind();
    assert_eq!(pool.written, 0, "nobody refers to the chunk");
    text(&mut pool, b"other");
    assert_eq!(small.as_bytes(), b"small");
    assert!(large.as_bytes().iter().all(|byte| *byte == 7));
    assert_eq!(large.len(), CHUNK_SIZE / SPARSE - 1);
    let own = Arc::as_ptr(&small.chunk);
    small.compact();
    assert_eq!(Arc::as_ptr(&small.chunk), own, "it is copied once");
}

#[test]
fn a_compact_queue_leaves_the_pool_its_chunk() {
    let mut pool = ChunkPool::new();
    let mut queue = SendQueue::new();
    for part in [&b"abc"[..], b"de", b"fghi"] {
        queue.push(text(&mut pool, part));
    }
    queue.advance(1);
    queue.compact();
    assert_eq!((queue.len(), queue.bytes()), (3, 8));
    pool.rewind();
    assert_eq!(pool.written, 0, "nobody refers to the chunk");
    pool.write(100, |out| out.fill(0));
    let left: Vec<&[u8]> = queue.iter().map(Slice::as_bytes).collect();
    assert_eq!(left.concat(), b"bcdefghi");
}

#[test]
fn large_writes_have_chunks_of_their_own_and_the_pool_is_capped() {
    let mut pool = ChunkPool::new();
    let held: Vec<Slice> = (0..20u8)
        .map(|i| pool.write(LARGEST_POOLED - 1, |out| out.fill(i)))
        .collect();
    assert!(pool.pooled_bytes() <= MAX_POOLED_BYTES);
    assert!(
        held.iter()
            .enumerate()
            .all(|(i, s)| s.as_bytes()[0] as usize == i)
    );
    let huge = pool.write(3 * LARGEST_POOLED, |out| out.fill(7));
    assert_eq!(huge.len(), 3 * LARGEST_POOLED);
}

#[test]
fn slices_cross_threads() {
    let mut pool = ChunkPool::new();
    let slice = text(&mut pool, b"across");
    let other = thread::spawn(move || slice.as_bytes().to_vec());
    text(&mut pool, b"meanwhile");
    assert_eq!(other.join().unwrap(), b"across");
}

/// Has another thread read the bytes and drop the slice.
fn read_elsewhere(slice: Slice, byte: u8) -> JoinHandle<bool> {
    thread::spawn(move || slice.as_bytes().iter().all(|read| *read == byte))
}

/// Nothing but the count of references tells the pool that the others are done.
#[test]
fn a_chunk_is_written_anew_once_other_threads_have_dropped_their_slices() {
    let mut pool = ChunkPool::new();
    for round in 0..4u8 {
        let readers = [(); 3].map(|()| {
            let slice = pool.write(MAX_PACKED / 2, |out| out.fill(round));
            read_elsewhere(slice, round)
        });
        let begun = Instant::now();
        while pool.produced() > 0 {
            assert!(begun.elapsed() < PATIENCE, "the slices are still held");
            thread::yield_now();
            pool.rewind();
        }
        pool.write(MAX_PACKED, |out| out.fill(0xff));
        assert!(readers.into_iter().all(|reader| reader.join().unwrap()));
        pool.rewind();
    }
}

#[test]
fn a_retired_chunk_is_reused_once_another_thread_has_dropped_its_slice() {
    let mut pool = ChunkPool::new();
    for round in 0..4u8 {
        let slice = pool.write(LARGEST_POOLED, |out| out.fill(round));
        let chunk = Arc::as_ptr(&slice.chunk);
        let reader = read_elsewhere(slice, round);
        let begun = Instant::now();
        loop {
            let other = pool.write(LARGEST_POOLED, |out| out.fill(0xff));
            if Arc::as_ptr(&other.chunk) == chunk {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "the slice is still held");
            thread::yield_now();
        }
        assert!(reader.join().unwrap());
    }
}

#[test]
fn a_write_that_panics_leaves_nothing_behind() {
    let mut pool = ChunkPool::new();
    let mut run = text(&mut pool, b"before");
    let mut attempt = |write: &mut dyn FnMut(&mut ChunkPool)| {
        catch_unwind(AssertUnwindSafe(|| write(&mut pool))).expect_err("it panics");
        pool.produced()
    };
    let fail = |out: &mut [u8]| {
        out.fill(0);
        panic!("as told");
    };
    let behind = attempt(&mut |pool| {
        pool.write_behind(&mut run, 10, fail);
    });
    assert_eq!(behind, 6);
    assert_eq!(attempt(&mut |pool| drop(pool.write(10, fail))), 6);
    attempt(&mut |pool| drop(pool.write(LARGEST_POOLED, fail)));
    attempt(&mut |pool| drop(pool.write(LARGEST_POOLED + 1, fail)));
    assert!(pool.write_behind(&mut run, 6, |out| out.copy_from_slice(b", then")));
    assert_eq!(run.as_bytes(), b"before, then");
}

/// Numbers from a seed.
fn numbers(mut seed: u32) -> impl FnMut(usize) -> usize {
    move |below| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as usize % below
    }
}

/// One step of a service: `held` are its slices, each with the bytes that it must show.
fn any_step(
    pool: &mut ChunkPool,
    held: &mut Vec<(Slice, Vec<u8>)>,
    number: &mut impl FnMut(usize) -> usize,
) {
    let fresh = vec![u8::try_from(number(256)).unwrap(); number(MAX_PACKED / 4)];
    let fill = |out: &mut [u8]| out.copy_from_slice(&fresh);
    let place = number(held.len().max(1));
    match (number(10), held.get_mut(place)) {
        (1, Some((slice, bytes))) => {
            if pool.write_behind(slice, fresh.len(), fill) {
                bytes.extend(&fresh);
            }
        }
        (2, Some((slice, bytes))) => {
            let count = number(bytes.len() + 1);
            let head = (slice.split_to(count), bytes.drain(..count).collect());
            held.push(head);
        }
        (3, Some((slice, _))) => slice.compact(),
        (4, Some(slice)) => {
            let clone = slice.clone();
            held.push(clone);
        }
        (5 | 6, Some(_)) => drop(held.swap_remove(place)),
        (7, _) => pool.rewind(),
        (8, Some((slice, bytes))) => {
            let next = pool.write(fresh.len(), fill);
            if slice.try_extend(&next) {
                bytes.extend(&fresh);
            }
        }
        (9, _) => {
            let len = MAX_PACKED + number(2 * MAX_PACKED);
            held.push((pool.write(len, |out| out.fill(9)), vec![9; len]));
        }
        _ => held.push((pool.write(fresh.len(), fill), fresh.clone())),
    }
}

#[test]
fn slices_show_what_was_written_whatever_happens_to_others() {
    const STEPS: usize = if cfg!(miri) { 150 } else { 20_000 };
    let (mut pool, mut held) = (ChunkPool::new(), Vec::new());
    let mut number = numbers(0x5eed);
    for step in 0..STEPS {
        any_step(&mut pool, &mut held, &mut number);
        let is_last = step + 1 == STEPS;
        for (slice, bytes) in held.iter().filter(|_| is_last || step % 16 == 0) {
            assert!(slice.as_bytes() == &bytes[..], "after {step} steps");
        }
        if held.len() > 40 {
            held.drain(..20);
        }
    }
}

#[test]
fn send_queue_advances_over_slices() {
    let mut pool = ChunkPool::new();
    let mut queue = SendQueue::new();
    for part in [&b"abc"[..], b"de", b"fghi"] {
        queue.push(text(&mut pool, part));
    }
    queue.advance(4);
    assert_eq!((queue.len(), queue.bytes()), (2, 5));
    let mut io = [IoSlice::new(&[]); 4];
    let count = queue.gather(&mut io);
    let gathered: Vec<&[u8]> = io[..count].iter().map(|part| &**part).collect();
    assert_eq!(gathered.concat(), b"efghi");
    queue.advance(5);
    assert!(queue.is_empty());
    let mut slice = text(&mut pool, b"headtail");
    assert_eq!(slice.split_to(4).as_bytes(), b"head");
    assert_eq!(slice.as_bytes(), b"tail");
}

#[test]
fn a_pool_keeps_no_more_than_it_is_told_to() {
    for (most, kept) in [(0, 0), (CHUNK_SIZE, 1), (3 * CHUNK_SIZE - 1, 2)] {
        let mut pool = ChunkPool::keeping(most);
        let slices: Vec<_> = (0..10)
            .map(|_| pool.write(MAX_PACKED, |out| out.fill(1)))
            .collect();
        drop(slices);
        assert_eq!(pool.pooled_bytes(), kept * CHUNK_SIZE);
        // What is not kept is not missed either.
        assert_eq!(pool.write(CHUNK_SIZE, |out| out.fill(2)).len(), CHUNK_SIZE);
    }
}
