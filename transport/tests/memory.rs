//! What is charged for buffers. One test: the sum is one of the process.

use throng_transport::buffer::{CHUNK_SIZE, MAX_POOLED_BYTES};
use throng_transport::memory::charged;
use throng_transport::{ChunkPool, SendQueue, Slice};

/// More than any chunk takes besides its bytes.
const OVERHEAD: usize = 64;

#[test]
fn what_is_allocated_is_charged_once_until_it_is_freed() {
    assert_eq!(charged(), 0);
    let slice = Slice::with_len(10_000, |out| out.fill(1));
    let alone = charged();
    assert!((10_000..10_000 + OVERHEAD).contains(&alone), "{alone}");
    let members = vec![slice; 1000];
    assert_eq!(charged(), alone, "shared by a thousand");
    let elsewhere = std::thread::spawn(move || drop(members));
    elsewhere.join().unwrap();
    assert_eq!(charged(), 0, "freed with the last, on whichever thread");

    let mut pool = ChunkPool::new();
    let empty = charged();
    assert!((CHUNK_SIZE..CHUNK_SIZE + OVERHEAD).contains(&empty));
    let write = |pool: &mut ChunkPool| pool.write(CHUNK_SIZE, |out| out.fill(2));
    let kept = write(&mut pool);
    (0..1000).for_each(|_| drop(write(&mut pool)));
    assert!(charged() - empty <= MAX_POOLED_BYTES + OVERHEAD);
    assert!(pool.pooled_bytes() > 0);
    pool.trim();
    assert_eq!(pool.pooled_bytes(), 0);
    assert_eq!(charged(), 2 * empty, "the current chunk, and the one kept");
    assert!(kept.as_bytes().iter().all(|byte| *byte == 2));

    let mut queue = SendQueue::new();
    for _ in 0..1000 {
        queue.push(kept.clone());
    }
    let before = charged();
    queue.compact();
    let entries = charged() - before;
    assert!(entries >= 1000 * size_of::<Slice>(), "{entries}");
    drop((queue, kept, pool));
    assert_eq!(charged(), 0);
}
