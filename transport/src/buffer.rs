//! Shared buffers for sending: bytes are written once into a pooled chunk and referred to by
//! any number of [`Slice`]s on any thread.
//!
//! A [`ChunkPool`] appends to its current chunk, so what one turn sends lies side by side, and
//! two slices that touch can become one ([`Slice::try_extend`]): a receiver of thirty-two small
//! frames of a turn holds one slice, not thirty-two.
//!
//! This file is a leaf of unsafe code. The argument is one for all blocks: a byte of a chunk is
//! written at most once between two moments at which the pool alone refers to the chunk
//! (`Arc::get_mut` proves it), and a slice over it is made only after that write. So readers
//! never see a byte that may still be written, and the writer never touches a byte that has a
//! reader.

#![allow(unsafe_code)]

#[cfg(test)]
mod tests;

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use crate::memory::Charge;

/// Size of the chunks that small writes are packed into. Small ones serve Miri, which looks at each
/// byte for microseconds.
pub const CHUNK_SIZE: usize = if cfg!(miri) { 256 } else { 64 * 1024 };
/// A write above this size gets a chunk of its own.
pub const MAX_PACKED: usize = CHUNK_SIZE / 2;
/// Number of size classes: [`CHUNK_SIZE`], and doubled up to 1 MiB ([`LARGEST_POOLED`]). Larger writes
/// are not pooled.
const CLASSES: usize = 5;
/// Bytes that one pool keeps at the most for reuse.
pub const MAX_POOLED_BYTES: usize = 8 * LARGEST_POOLED;
/// The largest chunk that a pool keeps for reuse.
const LARGEST_POOLED: usize = CHUNK_SIZE << (CLASSES - 1);
/// Retired chunks that are looked at for one that is free before another is allocated.
const REUSE_ATTEMPTS: usize = 4;
/// A slice of less than its chunk's capacity divided by this is worth a copy when it is to be kept
/// for long: so what is kept occupies no more than that many times its length.
const SPARSE: usize = 8;

/// What a chunk takes besides its bytes: itself and two counts of references.
const CHUNK_OVERHEAD: usize = size_of::<Chunk>() + 2 * size_of::<usize>();

/// The bytes that slices refer to.
struct Chunk {
    bytes: Box<[UnsafeCell<u8>]>,
    /// Never looked at: it counts for as long as the chunk is there.
    _charge: Charge,
}

// SAFETY: shared access is only to bytes that are no longer written (module docs).
unsafe impl Sync for Chunk {}

impl Chunk {
    fn with_capacity(capacity: usize) -> Arc<Chunk> {
        let bytes = std::iter::repeat_with(|| UnsafeCell::new(0))
            .take(capacity)
            .collect();
        Arc::new(Chunk {
            bytes,
            _charge: Charge::new(capacity + CHUNK_OVERHEAD),
        })
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes `start..end`, to be written.
    ///
    /// # Safety
    /// No slice over these bytes may exist, and none may be made before the borrow ends.
    #[allow(clippy::mut_from_ref)]
    unsafe fn writable(&self, start: usize, end: usize) -> &mut [u8] {
        let cells: &[UnsafeCell<u8>] = &self.bytes[start..end];
        let first = UnsafeCell::raw_get(cells.as_ptr());
        // SAFETY: `cells` is in bounds; the caller promises that nobody else refers to it.
        unsafe { std::slice::from_raw_parts_mut(first, cells.len()) }
    }
}

/// An immutable run of bytes in a shared chunk. Cloning it copies no bytes.
#[derive(Clone)]
pub struct Slice {
    chunk: Arc<Chunk>,
    start: u32,
    end: u32,
}

impl Slice {
    /// Allocates `len` bytes outside any pool and lets `fill` write them.
    ///
    /// # Panics
    /// When `len` does not fit in 32 bits.
    pub fn with_len(len: usize, fill: impl FnOnce(&mut [u8])) -> Slice {
        let end = u32::try_from(len).unwrap_or_else(|_| panic!("a slice of {len} bytes"));
        let chunk = Chunk::with_capacity(len);
        // SAFETY: the chunk was made here and no slice over it exists yet.
        fill(unsafe { chunk.writable(0, len) });
        Slice {
            chunk,
            start: 0,
            end,
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        let cells = &self.chunk.bytes[self.start as usize..self.end as usize];
        let first = UnsafeCell::raw_get(cells.as_ptr());
        // SAFETY: in bounds, initialised, and never written while a slice over them lives.
        unsafe { std::slice::from_raw_parts(first, cells.len()) }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there are no bytes (left).
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Grows this slice by `next` when `next` follows it directly in the same chunk.
    #[inline]
    pub fn try_extend(&mut self, next: &Slice) -> bool {
        let touches = self.end == next.start && Arc::ptr_eq(&self.chunk, &next.chunk);
        if touches {
            self.end = next.end;
        }
        touches
    }

    /// Forgets the first `count` bytes.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn advance(&mut self, count: usize) {
        assert!(
            count <= self.len(),
            "advance by {count} in a slice of {}",
            self.len()
        );
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most the length, which is u32"
        )]
        let count = count as u32;
        self.start += count;
    }

    /// Moves the bytes into memory of their own when they are but a small part of their chunk, for
    /// which they would keep all of it from being reused. For a slice that will be kept for long.
    pub fn compact(&mut self) {
        if self.len() < self.chunk.capacity() / SPARSE {
            *self = Slice::with_len(self.len(), |out| out.copy_from_slice(self.as_bytes()));
        }
    }

    /// The part of the bytes in `range`, counted from the first.
    ///
    /// # Panics
    /// When the range ends behind the last one, or before it begins.
    pub fn slice(&self, range: Range<usize>) -> Slice {
        let mut part = self.clone();
        part.advance(range.start);
        part.split_to(range.end - range.start)
    }

    /// Splits off and returns the first `count` bytes.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn split_to(&mut self, count: usize) -> Slice {
        let mut head = self.clone();
        self.advance(count);
        head.end = self.start;
        head
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slice")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Chunks of one size, each reused once nobody else refers to it, those retired long ago first.
#[derive(Default)]
struct Ring {
    retired: VecDeque<Arc<Chunk>>,
}

impl Ring {
    /// A retired chunk that nobody refers to any more. One that is still referred to goes to the
    /// back, so that a slice held for ever does not keep the others from being reused.
    fn reuse(&mut self) -> Option<Arc<Chunk>> {
        for _ in 0..REUSE_ATTEMPTS.min(self.retired.len()) {
            let mut oldest = self.retired.pop_front()?;
            if Arc::get_mut(&mut oldest).is_some() {
                return Some(oldest);
            }
            self.retired.push_back(oldest);
        }
        None
    }
}

/// Writes bytes into pooled chunks and hands out [`Slice`]s over them.
///
/// Owned by one thread; its slices may go anywhere. Keeps at most [`MAX_POOLED_BYTES`], or what it
/// is told to, for reuse beside the current chunk; more are allocated when receivers are slow, and freed with
/// their last slice.
pub struct ChunkPool {
    current: Arc<Chunk>,
    written: usize,
    /// What was written into other chunks since the last [`ChunkPool::rewind`].
    written_before: usize,
    rings: [Ring; CLASSES],
    pooled_bytes: usize,
    most_pooled: usize,
}

impl fmt::Debug for ChunkPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkPool")
            .field("written", &self.written)
            .field("pooled_bytes", &self.pooled_bytes)
            .finish_non_exhaustive()
    }
}

impl Default for ChunkPool {
    fn default() -> Self {
        ChunkPool::new()
    }
}

impl ChunkPool {
    /// A pool with one chunk.
    pub fn new() -> ChunkPool {
        ChunkPool::keeping(MAX_POOLED_BYTES)
    }

    /// A pool with one chunk that keeps so many bytes for reuse at the most.
    pub fn keeping(most_pooled: usize) -> ChunkPool {
        ChunkPool {
            current: Chunk::with_capacity(CHUNK_SIZE),
            written: 0,
            written_before: 0,
            rings: Default::default(),
            pooled_bytes: 0,
            most_pooled,
        }
    }

    /// Lets `fill` write `len` bytes and returns the slice over them. What `fill` finds in the
    /// bytes is unspecified.
    ///
    /// Slices of successive calls touch (see [`Slice::try_extend`]) unless a chunk ended between.
    ///
    /// # Panics
    /// When `len` does not fit in 32 bits, and when `fill` panics.
    #[inline]
    pub fn write(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Slice {
        if len > MAX_PACKED {
            return self.write_large(len, fill);
        }
        if self.written + len > self.current.capacity() {
            self.rotate();
        }
        let (start, end) = (self.written, self.written + len);
        // SAFETY: bytes from `written` on have had no slice since the chunk was last exclusive.
        fill(unsafe { self.current.writable(start, end) });
        self.written = end;
        #[expect(clippy::cast_possible_truncation, reason = "bounded by CHUNK_SIZE")]
        let (start, end) = (start as u32, end as u32);
        Slice {
            chunk: Arc::clone(&self.current),
            start,
            end,
        }
    }

    /// Lets `fill` write `len` bytes behind `last` and grows `last` by them, when it ends where the
    /// pool would write next. Otherwise returns false and writes nothing.
    ///
    /// The same as [`ChunkPool::write`] and [`Slice::try_extend`], without counting references.
    ///
    /// # Panics
    /// When `fill` panics.
    #[inline]
    pub fn write_behind(
        &mut self,
        last: &mut Slice,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> bool {
        let (start, end) = (self.written, self.written + len);
        let touches = last.end as usize == start && Arc::ptr_eq(&last.chunk, &self.current);
        if !touches || len > MAX_PACKED || end > self.current.capacity() {
            return false;
        }
        // SAFETY: bytes from `written` on have had no slice since the chunk was last exclusive.
        fill(unsafe { self.current.writable(start, end) });
        self.written = end;
        #[expect(clippy::cast_possible_truncation, reason = "bounded by CHUNK_SIZE")]
        let end = end as u32;
        last.end = end;
        true
    }

    /// Begins the current chunk anew when nobody refers to it. Called between turns, so that
    /// a service whose sends complete at once writes the same warm bytes turn after turn.
    pub fn rewind(&mut self) {
        if Arc::get_mut(&mut self.current).is_some() {
            self.written = 0;
        }
        self.written_before = 0;
    }

    /// Bytes written since the last [`ChunkPool::rewind`], to within a chunk.
    #[inline]
    pub fn produced(&self) -> usize {
        self.written_before + self.written
    }

    /// Bytes kept for reuse, the current chunk not included.
    pub fn pooled_bytes(&self) -> usize {
        self.pooled_bytes
    }

    /// Gives up what is kept for reuse: chunks that nobody refers to are freed now, others with their
    /// last slice.
    pub fn trim(&mut self) {
        self.rings = Default::default();
        self.pooled_bytes = 0;
    }

    #[cold]
    fn rotate(&mut self) {
        self.written_before += self.written;
        let fresh = self.take(0);
        let full = std::mem::replace(&mut self.current, fresh);
        self.written = 0;
        self.retire(0, full);
    }

    #[cold]
    fn write_large(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Slice {
        self.written_before += len;
        let Some(class) = (0..CLASSES).find(|class| CHUNK_SIZE << class >= len) else {
            return Slice::with_len(len, fill);
        };
        let chunk = self.take(class);
        // SAFETY: `take` returns a chunk that nobody else refers to.
        fill(unsafe { chunk.writable(0, len) });
        self.retire(class, Arc::clone(&chunk));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "bounded by the largest class"
        )]
        let end = len as u32;
        Slice {
            chunk,
            start: 0,
            end,
        }
    }

    /// A chunk of the class that nobody else refers to.
    fn take(&mut self, class: usize) -> Arc<Chunk> {
        match self.rings[class].reuse() {
            Some(chunk) => {
                self.pooled_bytes -= chunk.capacity();
                chunk
            }
            None => Chunk::with_capacity(CHUNK_SIZE << class),
        }
    }

    /// Keeps a chunk for reuse, if the cap allows.
    fn retire(&mut self, class: usize, chunk: Arc<Chunk>) {
        if self.pooled_bytes + chunk.capacity() <= self.most_pooled {
            self.pooled_bytes += chunk.capacity();
            self.rings[class].retired.push_back(chunk);
        }
    }
}

/// What is to be sent on one socket, in order.
#[derive(Debug, Default)]
pub struct SendQueue {
    slices: VecDeque<Slice>,
    bytes: usize,
    /// Of the entries, once they are kept for long.
    charge: Charge,
}

impl SendQueue {
    /// An empty queue. Allocates nothing.
    pub fn new() -> SendQueue {
        SendQueue::default()
    }

    /// Appends a slice. An empty one is dropped: the queue holds only what is to be sent.
    #[inline]
    pub fn push(&mut self, slice: Slice) {
        if !slice.is_empty() {
            self.bytes += slice.len();
            self.slices.push_back(slice);
        }
    }

    /// Bytes in the queue.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Slices in the queue.
    pub fn len(&self) -> usize {
        self.slices.len()
    }

    /// Whether nothing is left to send.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// The slices in order.
    pub fn iter(&self) -> impl Iterator<Item = &Slice> {
        self.slices.iter()
    }

    /// Takes the slices out, in order, keeping the queue's own memory.
    pub fn drain(&mut self) -> impl Iterator<Item = Slice> {
        self.bytes = 0;
        self.slices.drain(..)
    }

    /// Moves what `other` holds behind what is here.
    pub fn append(&mut self, other: &mut SendQueue) {
        self.bytes += std::mem::take(&mut other.bytes);
        self.slices.append(&mut other.slices);
    }

    /// The only slice, when there is exactly one.
    #[inline]
    pub fn single(&self) -> Option<&Slice> {
        if self.slices.len() == 1 {
            self.slices.front()
        } else {
            None
        }
    }

    /// Fills `out` with the first slices and returns how many were filled.
    pub fn gather<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (entry, slice) in out.iter_mut().zip(&self.slices) {
            *entry = IoSlice::new(slice.as_bytes());
            count += 1;
        }
        count
    }

    /// Forgets the first `count` bytes, which have been sent.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while count > 0 {
            let Some(front) = self.slices.front_mut() else {
                unreachable!("the queue holds the bytes it counts")
            };
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.slices.pop_front();
        }
    }

    /// Makes every slice [compact](Slice::compact), for a queue that will be kept for long, and has
    /// the queue's own memory counted from now on.
    pub fn compact(&mut self) {
        self.slices.iter_mut().for_each(Slice::compact);
        self.charge.set(self.slices.capacity() * size_of::<Slice>());
    }

    /// Drops everything, keeping the queue's own memory.
    pub fn clear(&mut self) {
        self.slices.clear();
        self.bytes = 0;
    }
}
